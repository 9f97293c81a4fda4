//go:build slow && !soak

package datasets

const likenessTrials = 40
