package sgld

import "math"

// The means that models give a target, of a linear predictor u = xᵀθ. Predictions
// are made of them; the sampler has its own arithmetic.

// LogisticMean returns 1/(1 + e^−u), the probability of the positive level.
func LogisticMean(u float64) float64 {
	if u >= 0 {
		return 1 / (1 + math.Exp(-u))
	}
	e := math.Exp(u)
	return e / (1 + e)
}

// SoftmaxMeans writes to dst the probabilities of the levels that have coefficients,
// of their linear predictors u, in the same order, and returns that of the reference
// level.
func SoftmaxMeans(dst, u []float64) (reference float64) {
	most := 0.0
	for _, v := range u {
		most = math.Max(most, v)
	}
	reference = math.Exp(-most)
	total := reference
	for k, v := range u {
		dst[k] = math.Exp(v - most)
		total += dst[k]
	}
	for k := range dst {
		dst[k] /= total
	}
	return reference / total
}
