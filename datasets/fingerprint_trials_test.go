//go:build !slow && !soak

package datasets

// likenessTrials is how many tables TestLikeness tries each trick on.
const likenessTrials = 8
