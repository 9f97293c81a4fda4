//go:build soak

package accountant

const adversarySessions = 100_000

// longestExactChain is the most steps whose exact law is enumerated.
const longestExactChain = 12
