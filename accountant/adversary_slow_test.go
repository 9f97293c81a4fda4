//go:build slow && !soak

package accountant

const adversarySessions = 20_000

// longestExactChain is the most steps whose exact law is enumerated.
const longestExactChain = 12
