//go:build soak

package datasets

const likenessTrials = 200
