package accountant

import "math"

// A closedProfile is a pair whose profile, used once, needs no grid. Both bounds are
// from above, or from below with low; where ok is false the grid must do.
type closedProfile interface {
	profileEpsilon(delta float64, low bool) (eps float64, ok bool)
	profileDelta(eps float64, low bool) (delta float64, ok bool)
}

// single is what is used but once and alone, where its profile has a closed form.
func (u *pairUses) single() closedProfile {
	if len(u.factors) != 1 || u.factors[0].n != 1 {
		return nil
	}
	p, _ := u.pairs[u.factors[0].first].dominatingPair.(closedProfile)
	return p
}

// profileEpsilon solves q·δ(ε′) = δ; see profileDelta.
func (p gaussianPair) profileEpsilon(delta float64, low bool) (eps float64, ok bool) {
	if p.kind == antipodalKind {
		return p.antipodalEpsilon(delta, low)
	}
	mu := up(1/p.z, 2)
	switch {
	case low && p.q == 1:
		return gaussianEpsilonDown(down(mu, 4), delta), true
	case low:
		inner := gaussianEpsilonDown(down(mu, 4), min(1, up(delta/p.q, 2)))
		return down(math.Log1p(down(p.q*math.Expm1(inner), 8)), 4), true
	case p.q == 1:
		return GaussianEpsilon(mu, delta), true
	}
	inner := GaussianEpsilon(mu, down(delta/p.q, 2))
	return up(math.Log1p(up(p.q*math.Expm1(inner), 8)), 4), true
}

// profileDelta is q·δ(ε′), ε′ = log(1 + (e^ε−1)/q), with δ the profile of the Gaussian, in one
// step sampled at rate q or in any number without sampling (Balle, Barthe &
// Gaboardi 2018, arXiv:1807.01647, Theorem 8).
func (p gaussianPair) profileDelta(eps float64, low bool) (delta float64, ok bool) {
	mu := up(1/p.z, 2)
	switch {
	case p.kind == antipodalKind:
		return p.antipodalDelta(eps, low)
	case low:
		if p.q < 1 {
			eps = up(math.Log1p(up(math.Expm1(eps)/p.q, 4)), 4)
		}
		return down(p.q*math.Exp(logGaussianDeltaDown(down(mu, 4), eps)), 8), true
	case p.q == 1:
		return GaussianDelta(mu, eps), true
	}
	return up(p.q*GaussianDelta(mu, down(math.Log1p(down(math.Expm1(eps)/p.q, 4)), 4)), 2), true
}

const (
	mostClosed = 600  // ε past which e^ε is too close to overflow
	littleTail = 12.0 // standard deviations that the integral reaches past its peak
	wideApart  = 0.2  // z below which the modes may be so far apart that nothing cancels

	mostClosedPanels = 1 << 12
)

// antipodalDelta is the profile of one antipodal step. Its loss increases in x, so that
// with x where the loss is ε
//
//	δ(ε) = ∫_x^∞ (P − e^ε·Q)
//	     = q·(Φ((1−x)/z) − e^ε·Φ(−(1+x)/z)) − (1−q)·(e^ε−1)·Φ(−x/z).
//
// Where little noise keeps the modes apart the second form loses no digit that
// matters, and an x that is off by η an error of η²·|P′−e^ε·Q′| at most, the integrand being
// 0 there. Otherwise the first is integrated, in the form and with the errors of cells.
func (p gaussianPair) antipodalDelta(eps float64, low bool) (delta float64, ok bool) {
	if !(eps <= mostClosed) {
		return 0, false
	}
	if low {
		p.z *= 1 + 2*ulp
	} else {
		p.z *= 1 - 2*ulp
	}
	a := p.anchor(eps)
	z2 := p.z * p.z
	if s, s1, s2 := a.x/p.z, (a.x-1)/p.z, (a.x+1)/p.z; p.z < wideApart && s2 < 37 { // Φ does not underflow
		gain, loss := p.q*upperTail(s1), p.q*math.Exp(eps)*upperTail(s2)
		rest := (1 - p.q) * math.Expm1(eps) * upperTail(s)
		err := ulp * (64 + 8*(s*s+s1*s1+s2*s2) + 2*eps) * (gain + loss + rest)
		slip := a.slip / p.z
		err += slip * slip * (1 + math.Exp(eps)) * (1 + s2) * (1 + s2) * (gain + loss + rest + math.Exp(-s*s/2))
		if delta = gain - loss - rest; err < 1e-8*delta {
			return min(1, safely(delta, err, low)), true
		}
	}

	from := a.x
	to := max(from, 1) + littleTail*p.z
	edge := math.Abs(to)
	panels := math.Ceil(max((to-from)*4/p.z, (to-from)*(edge+1)/z2))
	if !(panels <= mostClosedPanels) {
		return 0, false
	}
	norm := -math.Log(p.z) - math.Log(2*math.Pi)/2
	v := (to - from) / panels
	sum := 0.0
	for i := range int(panels) {
		first := from + float64(i)*v
		for k, node := range gaussEight.node {
			x := first + v*node
			e := norm - x*x/(2*z2)
			past := (x - from) / z2
			sum += v * gaussEight.weight[k] * (math.Exp(e+a.logA)*math.Expm1(past) - math.Exp(e+a.logB)*math.Expm1(-past))
		}
	}
	err := 5e-15 + 4*(2*a.slip+ulp*edge)/v +
		8*ulp*(4+edge*edge/z2+math.Abs(a.logA)+math.Abs(norm)+math.Abs(math.Log(p.q))+(2*edge+1)/z2+eps+panels)
	if !(sum >= 0) || math.IsInf(sum, 1) { // overflow
		return 0, false
	}
	if low {
		return max(0, sum*(1-err)), true
	}
	s := (to - 1) / p.z
	tail := up(upperTail(s), 32+8*s*s)
	return min(1, sum*(1+err)+tail+5e-324), true
}

// antipodalEpsilon solves antipodalDelta = δ by bisection, ending on the safe side.
func (p gaussianPair) antipodalEpsilon(delta float64, low bool) (eps float64, ok bool) {
	if delta < 1e-290 {
		return 0, false
	}
	most, ok := p.antipodalDelta(0, low)
	if !ok || most <= delta {
		return 0, ok
	}
	above, beneath := 0.0, 1e-6
	for {
		d, ok := p.antipodalDelta(beneath, low)
		if !ok {
			return 0, false
		}
		if d <= delta {
			break
		}
		above, beneath = beneath, 2*beneath
	}
	for range 60 {
		mid := above + (beneath-above)/2
		d, ok := p.antipodalDelta(mid, low)
		if !ok {
			return 0, false
		}
		if d > delta {
			above = mid
		} else {
			beneath = mid
		}
	}
	if low {
		return above, true
	}
	return beneath, true
}

// profileEpsilon solves δ = 1 − e^((ε−eps)/2).
func (p laplacePair) profileEpsilon(delta float64, low bool) (eps float64, ok bool) {
	e := p.least(low)
	eps = e + 2*math.Log1p(-delta)
	return safely(eps, 8*ulp*(e+math.Abs(eps)), low), true
}

// profileDelta is 1 − e^((ε−eps)/2) for 0 ≤ ε ≤ eps.
func (p laplacePair) profileDelta(eps float64, low bool) (delta float64, ok bool) {
	e := p.least(low)
	if eps >= e {
		return 0, true
	}
	delta = -math.Expm1((eps - e) / 2)
	return min(1, safely(delta, 8*ulp*(delta+e), low)), true
}

// least is eps, or with low a bound from below: it was rounded up.
func (p laplacePair) least(low bool) float64 {
	if low {
		return down(p.eps, 16)
	}
	return p.eps
}

// profileEpsilon solves δ = (e^eps − e^ε)/(1 + e^eps).
func (p responsePair) profileEpsilon(delta float64, low bool) (eps float64, ok bool) {
	lost := delta * (1 + math.Exp(-p.eps))
	if lost >= 1-1e-6 {
		return 0, low
	}
	eps = p.eps + math.Log1p(-lost)
	return safely(eps, 16*ulp*(1+p.eps+math.Abs(eps))/(1-lost), low), true
}

// profileDelta is (e^eps − e^ε)/(1 + e^eps) for 0 ≤ ε ≤ eps.
func (p responsePair) profileDelta(eps float64, low bool) (delta float64, ok bool) {
	if eps >= p.eps {
		return 0, true
	}
	delta = -math.Expm1(eps-p.eps) / (1 + math.Exp(-p.eps))
	return min(1, safely(delta, 8*ulp*(delta+p.eps), low)), true
}

// safely moves x up by its error, or with low down, to 0 at least.
func safely(x, err float64, low bool) float64 {
	if low {
		err = -err
	}
	return max(0, x+err)
}

// gaussianEpsilonDown is GaussianEpsilon, rounded down.
func gaussianEpsilonDown(mu, delta float64) float64 {
	above := func(eps float64) bool { return logGaussianDeltaDown(mu, eps) > math.Log(delta)*(1-4*ulp) }
	if delta >= 1 || !above(0) {
		return 0
	}
	low, high := 0.0, GaussianEpsilon(mu, delta)
	for range 200 {
		if mid := low + (high-low)/2; above(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// logGaussianDeltaDown is log δ of GaussianDelta, rounded down: the allowances of
// logGaussianDelta, twice.
func logGaussianDeltaDown(mu, eps float64) float64 {
	log := logGaussianDelta(mu, eps)
	a := mu/2 - eps/mu
	slip := 1e-12 + 16*ulp*(math.Abs(log)+a*a+math.Abs(a)*(mu+eps/mu))
	if a > 0 {
		slip *= 1 + math.Exp(-log) // an absolute error of δ there
	}
	return log - 2*slip
}
