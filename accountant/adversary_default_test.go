//go:build !slow && !soak

package accountant

const adversarySessions = 2_000
