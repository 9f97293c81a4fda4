//go:build slow && !soak

package accountant

const adversarySessions = 20_000
