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

// LinearMean returns u, the mean of the encoded target: −1 stands for its lower bound
// and 1 for its upper one.
func LinearMean(u float64) float64 { return u }

// PoissonMean returns the mean count e^u, at most the target's upper bound.
func PoissonMean(u, upper float64) float64 { return math.Min(math.Exp(u), upper) }
