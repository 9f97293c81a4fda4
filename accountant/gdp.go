package accountant

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/mathext"
)

// MuGDP returns a μ, rounded up, for which e is μ-GDP:
//
//	μ² = Σ count·μᵢ²
//
// with μᵢ = 1/z for a Gaussian (2/z under replace-one), exactly, and for a pure
// event the least μ whose curve dominates randomised response,
//
//	μᵢ = 2·Φ⁻¹(e^ε/(1+e^ε)),
//
// where a (discrete) Laplace event counts as pure with ε = 1/b (2/b under
// replace-one). A sampled Gaussian has no exact amplification here, and an
// approximate, zCDP or discrete Gaussian event no μ: they are ErrUnsupported.
// An invalid event is ErrDomain.
//
// Sources: Dong, Roth & Su 2022, arXiv:1905.02383 (composition); Kairouz, Oh &
// Viswanath 2015, arXiv:1311.0776 (randomised response dominates).
func MuGDP(e Event) (float64, error) {
	c, err := curveOf(e)
	if err != nil {
		return 0, err
	}
	if c.deltaInf > 0 {
		return 0, fmt.Errorf("%w: Gaussian DP has no rule for approximate events", ErrUnsupported)
	}
	mu2, err := c.gdp()
	if err != nil {
		return 0, err
	}
	return up(math.Sqrt(mu2), 2), nil
}

// gdp is μ² of everything but the failures of approximate events, rounded up.
func (c *curve) gdp() (float64, error) {
	if len(c.sampled) > 0 || len(c.fixed) > 0 {
		return 0, fmt.Errorf("%w: Gaussian DP has no amplification by sampling; use rdp or pld, or a sampling rate of 1", ErrUnsupported)
	}
	return c.gdpWithoutAmplification()
}

// gdpWithoutAmplification is μ² when a sampled step is charged like one
// without sampling, rounded up.
func (c *curve) gdpWithoutAmplification() (float64, error) {
	if c.zcdp || len(c.gaussian) > 0 {
		return 0, fmt.Errorf("%w: zCDP and discrete Gaussian events have no bound in Gaussian DP; use rdp", ErrUnsupported)
	}
	terms := []float64{c.mu2}
	distance := c.adj.distance()
	for _, list := range [][]sampledSteps{c.sampled, c.fixed} {
		for _, s := range list {
			mu := distance / s.z
			terms = append(terms, up(s.count*mu*mu, 8))
		}
	}
	for _, list := range [][]responses{c.response, c.laplace} {
		for _, r := range list {
			mu := responseMu(r.eps)
			terms = append(terms, up(r.count*mu*mu, 8))
		}
	}
	for _, s := range c.discrete {
		mu := responseMu(up(distance/s.z, 2))
		terms = append(terms, up(s.count*mu*mu, 8))
	}
	return up(sum(terms), 2), nil
}

// responseMu is 2·Φ⁻¹(e^ε/(1+e^ε)), rounded up.
func responseMu(eps float64) float64 {
	switch {
	case math.IsInf(eps, 1):
		return eps
	case eps < 1:
		// 2p−1 = tanh(ε/2): no cancellation near ½.
		return up(2*math.Sqrt2*math.Erfinv(math.Tanh(eps/2)), 64)
	case eps < 700:
		return up(-2*mathext.NormalQuantile(1/(1+math.Exp(eps))), 64+4*eps)
	}
	// Φ(−t) ≤ e^(−t²/2)/2 for t ≥ 0, hence t = √(2ε) suffices.
	return up(2*math.Sqrt(2*eps), 4)
}

// GaussianDelta returns the least δ, rounded up, at which a Gaussian with
// mean shift mu (in standard deviations) is (eps, δ)-DP:
//
//	δ = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ)
//
// Domain mu ≥ 0, eps ≥ 0; NaN gives 1. A δ below the smallest float64 is
// rounded up to it, unless mu is 0. Source: Balle & Wang 2018,
// arXiv:1805.06530, Theorem 8.
func GaussianDelta(mu, eps float64) float64 {
	if mu == 0 && eps >= 0 {
		return 0
	}
	log := logGaussianDelta(mu, eps)
	return min(1, max(math.SmallestNonzeroFloat64, up(math.Exp(log), 4+math.Abs(log))))
}

// leastMu is the smallest mean shift that logGaussianDelta tells from smaller ones.
const leastMu = 1e-290

// logGaussianDelta is log δ of GaussianDelta, rounded up.
func logGaussianDelta(mu, eps float64) float64 {
	if !(mu >= 0) || !(eps >= 0) || math.IsInf(mu, 1) {
		return 0
	}
	if mu == 0 || math.IsInf(eps, 1) {
		return math.Inf(-1)
	}
	if mu < leastMu {
		mu = leastMu // δ rises with μ; below, products would underflow
	}
	// With e^ε·φ(b) = φ(a), a = μ/2 − ε/μ, b = −μ/2 − ε/μ and the scaled
	// erfcx(t) = e^(t²)·erfc(t), nothing overflows or underflows:
	// δ = e^(−a²/2)/2 · (erfcx(−a/√2) − erfcx(−b/√2)).
	half, ratio := mu/2, eps/mu
	if ratio > 1e150 {
		return -1e299 // δ ≤ e^(−a²/2); a² may overflow
	}
	a, tailB := half-ratio, (half+ratio)/math.Sqrt2
	slip := 2 * ulp * (half + ratio) // absolute error of a and b
	if a > 0 {
		// Φ(a) ≥ ½ and the part taken off is smaller: errors are absolute.
		off := math.Exp(-a*a/2) / 2 * erfcx(tailB)
		delta := math.Erfc(-a/math.Sqrt2)/2 - off
		delta += 16*ulp + slip + off*a*slip
		return min(0, math.Log(delta)+2*ulp)
	}
	var log, relative float64
	if mu < 0.05 {
		// The bracket would cancel; the integral has a positive integrand.
		log, relative = math.Log(gaussianBracket(mu, ratio)), 1e-13
	} else {
		tailA := -a / math.Sqrt2
		high, low := erfcx(tailA), erfcx(tailB)
		bracket := high - low
		slope := 2 / math.SqrtPi * min(1, 1/(1+2*tailA*tailA)) // bounds |erfcx′|
		relative = (8*ulp*(high+low) + 2*slip*slope) / bracket
		log = math.Log(bracket / 2)
	}
	log += -a*a/2 + relative + math.Abs(a)*slip
	return min(0, log+4*ulp*(1+a*a/2+math.Abs(log)))
}

// gaussianBracket is (1/√(2π))·∫₀^∞ exp(−ratio·t − t²/2)·2·sinh(μt/2) dt,
// for small μ, with a relative error below 10⁻¹³.
func gaussianBracket(mu, ratio float64) float64 {
	// Past this end the integrand is below e^−45 of its mass.
	end := min(13, 50/ratio)
	integrand := func(t float64) float64 {
		return math.Exp(-ratio*t-t*t/2) * 2 * math.Sinh(mu*t/2)
	}
	return quad.Fixed(integrand, 0, end, 128, nil, 0) / math.Sqrt(2*math.Pi)
}

// erfcx is e^(t²)·erfc(t) for t ≥ 0, with a relative error of a few ulp.
func erfcx(t float64) float64 {
	if t < 2 {
		return math.Exp(t*t) * math.Erfc(t)
	}
	// Continued fraction of Laplace, from its far end; 120 terms leave e^−60.
	f := t
	for k := 120; k >= 1; k-- {
		f = t + float64(k)/2/f
	}
	return 1 / (math.SqrtPi * f)
}

// GaussianEpsilon returns the least ε ≥ 0, rounded up, at which a Gaussian with
// mean shift mu is (ε, delta)-DP, by the formula of GaussianDelta.
//
// Domain mu ≥ 0. delta ≥ 1 gives 0; delta ≤ 0, an infinite mu and NaN give
// +Inf, unless mu is 0.
func GaussianEpsilon(mu, delta float64) float64 {
	if delta >= 1 || mu == 0 {
		return 0
	}
	if !(delta > 0) || !(mu >= 0) || math.IsInf(mu, 1) {
		return math.Inf(1)
	}
	target := math.Log(delta) - 4*ulp*math.Abs(math.Log(delta))
	if logGaussianDelta(mu, 0) <= target {
		return 0
	}
	low, high := 0.0, mu*mu/2+mu*math.Sqrt(-2*target)
	for logGaussianDelta(mu, high) > target { // the bound holds but for rounding
		low, high = high, 2*high
		if math.IsInf(high, 1) {
			return high
		}
	}
	return bisect(low, high, func(eps float64) bool { return logGaussianDelta(mu, eps) <= target })
}

// gaussianMu is the largest μ with GaussianDelta(μ, eps) ≤ delta, rounded down.
func gaussianMu(eps, delta float64) float64 {
	target := math.Log(delta) - 4*ulp*math.Abs(math.Log(delta))
	fits := func(mu float64) bool { return logGaussianDelta(mu, eps) <= target }
	low, high := 1.0, 1.0
	for !fits(low) {
		if low /= 2; low < 1e-300 {
			return 0
		}
	}
	for fits(high) {
		if high *= 2; high > 1e150 {
			return low
		}
	}
	return -bisect(-high, -low, func(mu float64) bool { return fits(-mu) })
}

// bisect returns the least argument found in (low, high] where ok holds, which
// it must at high; it stops when no float64 lies between.
func bisect(low, high float64, ok func(float64) bool) float64 {
	for range 2000 {
		mid := low + (high-low)/2
		if mid <= low || mid >= high {
			break
		}
		if ok(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}
