//go:build soak

package accountant

const adversarySessions = 100_000
