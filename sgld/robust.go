package sgld

import "math"

// Clipping as a robust likelihood. The gradient of a generalised linear model is
// r(u; y)·x with u = xᵀθ and a residual r that does not fall in u, so clipping it to
// norm C in a fixed metric P is clipping the residual to c = C/‖x‖, ‖x‖² = xᵀPx:
//
//	clip_C(r·x) = clip(r, −c, c)·x = ∇ F_c(xᵀθ; y),   F_c(u) = ∫ clip(r(s), −c, c) ds
//
// F_c is ℓ where |r| ≤ c and goes on with slope ∓c beyond; it is convex. So a chain of
// clipped steps samples the law with density ∝ exp(−(Σ F_c + ρ)/T), which is proper
// and log-concave: a Gibbs posterior of Huber's kind, not that of a normalised
// likelihood. The functions here evaluate F_c and its derivative, for any c > 0 and
// finite u. They are for tests and for whoever wants to know what was sampled: the
// sampler itself does not call them.
//
// None of it holds for softmax with three or more classes or for a linear model with
// an unknown noise scale, whose clipped contributions are the gradient of nothing.

// RobustLogistic returns F_c and clip(r, −c, c) of ℓ = log(1 + e^u) − y·u, y 0 or 1.
func RobustLogistic(u, y, c float64) (potential, residual float64) {
	low, high := math.Inf(-1), math.Inf(1)
	if p := y - c; p > 0 && p < 1 {
		low = math.Log(p / (1 - p))
	}
	if p := y + c; p > 0 && p < 1 {
		high = math.Log(p / (1 - p))
	}
	return huberised(u, low, high, c, func(u float64) (float64, float64) {
		// log(1 + e^u) and σ(u) − y, without cancellation.
		soft := math.Max(u, 0) + math.Log1p(math.Exp(-math.Abs(u)))
		return soft - y*u, LogisticMean(u) - y
	})
}

// RobustLinear returns F_c and clip(r, −c, c) of ℓ = (u − y)²/2σ², sd = σ > 0: Huber's
// loss.
func RobustLinear(u, y, sd, c float64) (potential, residual float64) {
	v := sd * sd
	return huberised(u, y-c*v, y+c*v, c, func(u float64) (float64, float64) {
		return (u - y) * (u - y) / (2 * v), (u - y) / v
	})
}

// RobustPoisson returns F_c and clip(r, −c, c) of ℓ = e^u − y·u for y ≥ 0, with the
// mean clamped to e^limit: beyond it ℓ goes on as a straight line. limit may be
// +Inf. Where y − e^limit > c every u is clipped, and F_c meets ℓ at limit.
func RobustPoisson(u, y, limit, c float64) (potential, residual float64) {
	most := math.Exp(limit)
	if y-most > c {
		return most - y*limit - c*(u-limit), -c
	}
	low, high := math.Inf(-1), math.Inf(1)
	if y > c {
		low = math.Log(y - c)
	}
	if y+c < most {
		high = math.Log(y + c)
	}
	return huberised(u, low, high, c, func(u float64) (float64, float64) {
		mean := math.Exp(math.Min(u, limit))
		if u > limit {
			return mean*(1+u-limit) - y*u, mean - y
		}
		return mean - y*u, mean - y
	})
}

// huberised goes on with slope ∓c outside [low, high]. Between them the residual is
// within ±c but for rounding.
func huberised(u, low, high, c float64, loss func(float64) (float64, float64)) (potential, residual float64) {
	switch {
	case u < low:
		at, _ := loss(low)
		return at - c*(u-low), -c
	case u > high:
		at, _ := loss(high)
		return at + c*(u-high), c
	}
	potential, residual = loss(u)
	return potential, math.Min(math.Max(residual, -c), c)
}
