package accountant

import (
	"fmt"
	"math"
)

// Target is an (ε, δ) to be met.
type Target struct {
	Epsilon float64 // > 0
	Delta   float64 // in (0, 1)
}

// GaussianMu returns the largest μ of one full-batch Gaussian whose ε by the
// named accountant is at most eps at delta, rounded down by a relative 10⁻⁹:
// that leaves room for the rounding of z = √T/μ, so that T steps with that
// noise multiplier (2√T/μ under replace-one), or any sequence with
// Σ 1/z² = μ², are within (eps, delta) and are granted by a new filter of these
// terms. Outside 0 < eps, 0 < delta < 1, and for an unknown method, it returns 0.
//
//	rdp   μ² = max over α of 2·B(α)/α, B as in Filter.Limit (α to four digits)
//	gdp   GaussianDelta(μ, eps) = delta
func GaussianMu(m Method, eps, delta float64) float64 {
	if !(eps > 0) || math.IsInf(eps, 1) || !(delta > 0 && delta < 1) {
		return 0
	}
	switch m {
	case MethodRDP:
		order := gaussianOrder(eps, delta)
		return math.Sqrt(2*limitRDP(order, eps, delta)/order) * usable
	case MethodGDP:
		return gaussianMu(eps, delta) * usable
	}
	return 0
}

const usable = 1 - 1e-9

// CalibrateNoise returns the smallest noise multiplier z, at most 10⁻⁴ above
// the true one and never below, for which build(z) is within the target by the
// named accountant; it searches from 10⁻⁹ to 10¹². build must cost less the
// larger z is.
//
// A build of full-batch Gaussians alone also fits a new filter of the target's
// terms. Errors: ErrDomain where the target is out of range or no noise meets
// it (other parts of the event cost too much), and those of Epsilon.
func CalibrateNoise(m Method, t Target, build func(z float64) Event) (float64, error) {
	if !(t.Epsilon > 0) || math.IsInf(t.Epsilon, 1) {
		return 0, fmt.Errorf("%w: epsilon must be positive and finite", ErrDomain)
	}
	if !(t.Delta > 0 && t.Delta < 1) {
		return 0, fmt.Errorf("%w: delta must lie between 0 and 1", ErrDomain)
	}
	mu := GaussianMu(m, t.Epsilon, t.Delta)
	meets := func(z float64) (bool, error) {
		e := build(z)
		eps, _, err := Epsilon(m, e, t.Delta)
		if err != nil || eps > t.Epsilon {
			return false, err
		}
		// The filter's order is rounded: hold plain Gaussians to it.
		c, err := curveOf(e)
		if err == nil && len(c.sampled) == 0 && c.pureSum.IsZero() {
			return c.mu2 <= mu*mu, nil
		}
		return true, err
	}

	const least, greatest = 1e-9, 1e12
	low, high := 1.0, 1.0
	ok, err := meets(high)
	if err != nil {
		return 0, err
	}
	for !ok {
		if high *= 2; high > greatest {
			return 0, fmt.Errorf("%w: no amount of noise meets epsilon and delta", ErrDomain)
		}
		low = high / 2
		if ok, err = meets(high); err != nil {
			return 0, err
		}
	}
	for low == high {
		ok, err := meets(low / 2)
		if err != nil {
			return 0, err
		}
		if low /= 2; ok {
			high = low
		}
		if high < least {
			return high, nil
		}
	}
	for high/low > 1+1e-5 {
		mid := math.Sqrt(low * high)
		ok, err := meets(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			high = mid
		} else {
			low = mid
		}
	}
	return high, nil
}
