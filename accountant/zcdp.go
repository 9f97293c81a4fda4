package accountant

import (
	"fmt"
	"math"
)

// RhoZCDP returns a ρ, rounded up, for which e is ρ-zCDP: its divergence of order
// α is at most ρ·α at every α > 1. The ρ of parts add up:
//
//	Gaussian, discrete Gaussian   μ²/2, μ = 1/z (2/z under replace-one)
//	sampled Gaussian              μ²/2 as without sampling: under add-remove
//	                              R(α)/α tends to that for large α, whatever the rate
//	pure                          ε·tanh(ε/2)
//	Laplace                       ε + e^−ε − 1, ε = 1/b (2/b under replace-one)
//	discrete Laplace              ε − (1 − e^−ε)·a/sinh a, a = ε/shift
//	zCDP                          ρ
//
// Those for pure and Laplace events are the divergences R(1) of order 1, for pure
// ones that of randomised response, and no lower ones exist. Proof: randomised
// response is discrete Laplace noise at shift k = 1, Laplace noise its limit for
// k → ∞. Its loss takes the values ε, ε−2a, …, −ε, and m(s) = E_P[e^((s−½)L)] is
// e^(−sε)·(A + Bw + … + Bw^(k−1) + Aw^k) with w = e^(2as) and 0 < B ≤ A. Times 1−w the
// sum is (A − Cw) − w^k·(Aw − C), C = A−B, and since |A − Cw| is larger than
// |Aw − C| where |w| < 1 and smaller where |w| > 1, all its zeros have |w| = 1. So
// the zeros of the even function m are imaginary, m(s) = m(0)·Π(1 + s²/y²) by
// Hadamard, log m is concave in s², and below its tangent at s = ½:
// (α−1)·R(α) = log m(α−½) ≤ R(1)·((α−½)² − ¼) = R(1)·α(α−1).
//
// An approximate event with δ > 0 is ErrUnsupported, an invalid event ErrDomain.
// The result is +Inf where a noise multiplier is 0.
//
// Sources: Bun & Steinke 2016, arXiv:1605.02065, Proposition 1.6 (Gaussian) and
// Lemma 1.7 (composition); Canonne, Kamath & Steinke 2020, arXiv:2004.00010
// (discrete Gaussian); Kairouz, Oh & Viswanath 2015, arXiv:1311.0776 (randomised
// response dominates); Harrison & Manurangsi 2025, arXiv:2510.25746 (Laplace).
func RhoZCDP(e Event) (float64, error) {
	c, err := curveOf(e)
	if err != nil {
		return 0, err
	}
	if c.deltaInf > 0 {
		return 0, fmt.Errorf("%w: approximate events are not zCDP", ErrUnsupported)
	}
	distance := e.Adjacency.distance()
	terms := []float64{c.mu2 / 2, c.rho}
	for _, list := range [][]sampledSteps{c.sampled, c.fixed} {
		for _, s := range list {
			mu := distance / s.z
			terms = append(terms, up(s.count*mu*mu/2, 8))
		}
	}
	for _, r := range c.response {
		terms = append(terms, r.count*responseRho(r.eps))
	}
	for _, s := range c.discrete {
		terms = append(terms, s.count*discreteLaplaceRho(up(distance/s.z, 2), float64(s.shift)))
	}
	for _, r := range c.laplace {
		terms = append(terms, up(r.count*expExcess(-r.eps), 32))
	}
	return up(sum(terms), 4), nil
}

// responseRho is ε·tanh(ε/2), rounded up.
func responseRho(eps float64) float64 { return up(eps*math.Tanh(eps/2), 8) }

// discreteLaplaceRho is ε − (1 − e^−ε)·a/sinh a, rounded up and without cancellation:
//
//	(ε + e^−ε − 1) + (1 − e^−ε)·(sinh a − a)/sinh a
//
// It is responseRho at shift 1.
func discreteLaplaceRho(eps, shift float64) float64 {
	a, lattice := up(eps/shift, 2), 1.0 // ρ rises with a
	if a < 600 {
		lattice = sinhExcess(a) / math.Sinh(a)
	}
	return up(expExcess(-eps)-math.Expm1(-eps)*lattice, 64)
}

// EpsilonZCDP returns the least ε, rounded up, at which rho-zCDP implies
// (ε, delta)-DP by the conversion of Epsilon with R(α) = rho·α at its best order,
// which is never above
//
//	ε = ρ + 2·√(ρ·log(1/δ))            Bun & Steinke 2016, Proposition 1.3
//
// Domain rho ≥ 0 and delta ≥ 0, else ErrDomain. delta ≥ 1 gives 0, and delta = 0
// gives +Inf unless rho is 0. Source: arXiv:1605.02065; Canonne, Kamath & Steinke
// 2020, arXiv:2004.00010, Proposition 12.
func EpsilonZCDP(rho, delta float64) (float64, error) {
	switch {
	case !(rho >= 0):
		return 0, fmt.Errorf("%w: rho must be a number that is not negative", ErrDomain)
	case !(delta >= 0):
		return 0, fmt.Errorf("%w: delta must be a number that is not negative", ErrDomain)
	case rho == 0 || delta >= 1:
		return 0, nil
	case delta == 0 || math.IsInf(rho, 1):
		return math.Inf(1), nil
	}
	rho = max(rho, leastLoss)
	eps, _ := (&curve{rho: rho}).epsilonRDP(delta)
	return min(eps, up(rho+2*math.Sqrt(-rho*math.Log(delta)), 8)), nil
}

// EstimateMu is an estimate, not a bound: the μ of the Gaussian DP that steps of e
// tend to when there are many of them with small loss each. It is for planning and
// for a look beside a bound; nothing may decide by it, since the true ε may be
// larger.
//
//	Poisson, add-remove     μ² = Σ q²·(e^(1/z²) − 1)
//	Poisson, replace-one    μ² = Σ 4·q²·sinh(1/z²), of the antipodal pair
//	fixed size γ = m/n      μ² = Σ 2·γ²·(e^(ν²)·Φ(3ν/2) + 3·Φ(−ν/2) − 2), ν = 2/z
//
// and for each step no more than without sampling, where the sum of 1/z² (4/z²) is
// exact. Events other than Gaussian and discrete Gaussian steps are
// ErrUnsupported, an invalid event ErrDomain.
//
// Sources: Bu, Dong, Long & Su 2020, arXiv:1911.11607 (Poisson); Dong, Roth & Su
// 2022, arXiv:1905.02383, section 5 (fixed size).
func EstimateMu(e Event) (float64, error) {
	c, err := curveOf(e)
	if err != nil {
		return 0, err
	}
	if c.zcdp || c.deltaInf > 0 || len(c.response)+len(c.laplace)+len(c.discrete) > 0 {
		return 0, fmt.Errorf("%w: the central-limit estimate is for Gaussian steps", ErrUnsupported)
	}
	distance := e.Adjacency.distance()
	mu2 := c.mu2
	for _, s := range c.gaussian {
		mu2 += s.count * (distance / s.z) * (distance / s.z)
	}
	for _, s := range c.sampled {
		x := 1 / (s.z * s.z)
		deviation := s.q * math.Sqrt(math.Expm1(x))
		if s.adj == ReplaceOne {
			deviation = 2 * s.q * math.Sqrt(math.Sinh(x))
		}
		mu2 += s.count * min(deviation*deviation, distance*distance*x)
	}
	for _, s := range c.fixed {
		nu := distance / s.z
		// Φ(3ν/2) − 3Φ(ν/2) + 1 without its constant parts
		rest := (math.Erf(1.5*nu/math.Sqrt2) - 3*math.Erf(0.5*nu/math.Sqrt2)) / 2
		variance := 2 * s.q * s.q * (math.Expm1(nu*nu)*math.Erfc(-1.5*nu/math.Sqrt2)/2 + rest)
		mu2 += s.count * min(variance, nu*nu)
	}
	return math.Sqrt(mu2), nil
}
