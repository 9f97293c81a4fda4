package accountant

import (
	"fmt"
	"math"
)

// RDP returns the Rényi divergence R of order alpha, rounded up, by which e is
// (alpha, R)-RDP; the costs of parts add up:
//
//	Gaussian   alpha·μ²/2, μ = 1/z (2/z under replace-one)     Mironov 2017
//	sampled    log E_Q[(dP/dQ)^alpha]/(alpha−1) of the pair     Mironov, Talwar & Zhang 2019
//	           P = (1−q)·N(0,z²)+q·N(1,z²), Q = N(0,z²), or under replace-one
//	           Q = (1−q)·N(0,z²)+q·N(−1,z²)
//	Laplace    log(a/(2a−1)·e^((a−1)/b) + (a−1)/(2a−1)·e^(−a/b))/(a−1)
//	pure       log(p·e^((a−1)ε) + (1−p)·e^(−(a−1)ε))/(a−1), p = 1/(1+e^−ε)
//
// For add-remove sampling both directions of the pair count; the one above is
// the larger. Below z = 0.1, and at orders where quadrature would need more than
// 10⁵ points, an upper bound stands in: under add-remove one that is 10⁻⁶ above
// at most in practice, under replace-one the cost without sampling. Domain alpha > 1, finite, else ErrDomain, as for an invalid
// event. An approximate event with δ > 0 has no finite divergence:
// ErrUnsupported. The result is +Inf where a noise multiplier is 0.
//
// Sources: Mironov 2017, arXiv:1702.07476; Mironov, Talwar & Zhang 2019,
// arXiv:1908.10530; Kairouz, Oh & Viswanath 2015, arXiv:1311.0776.
func RDP(e Event, alpha float64) (float64, error) {
	if !(alpha > 1) || math.IsInf(alpha, 1) {
		return 0, fmt.Errorf("%w: an order must be finite and above 1", ErrDomain)
	}
	c, err := curveOf(e)
	if err != nil {
		return 0, err
	}
	if c.deltaInf > 0 {
		return 0, fmt.Errorf("%w: approximate events have no Rényi divergence", ErrUnsupported)
	}
	return c.rdp(alpha), nil
}

// Where quadrature would take too many points, an upper bound serves.
const (
	maxPoints  = 1 << 17
	maxTerms   = 1 << 18
	smallNoise = 0.1 // below it the truncated series is as good and faster
)

// sampledGaussianRDP is the divergence of one step, rounded up.
func sampledGaussianRDP(s sampledSteps, alpha float64) float64 {
	if s.z == 0 {
		return math.Inf(1)
	}
	s.q = max(s.q, leastLoss) // R rises with q, and must not underflow
	// Sampling never costs: quasi-convexity, Mironov, Talwar & Zhang 2019.
	mu := s.adj.distance() / s.z
	full := up(alpha*mu*mu/2, 8)
	points := quadraturePoints(s, alpha)
	whole := math.Floor(alpha)
	binomial := s.adj == AddRemove
	switch {
	case binomial && alpha == whole && alpha <= min(max(1024, points), maxTerms):
		return min(full, binomialRDP(s.q, s.z, alpha))
	case points <= maxPoints && s.z >= smallNoise, !binomial && points <= maxPoints/8:
		return min(full, quadratureRDP(s, alpha))
	case binomial && alpha <= maxTerms:
		return min(full, seriesRDP(s.q, s.z, alpha))
	}
	return full
}

// binomialRDP is the add-remove divergence at an integer order, rounded up:
//
//	E[(1+u)^α] − 1 = Σ_{k=2..α} C(α,k)·q^k·(1−q)^(α−k)·expm1(k(k−1)/(2z²))
//
// All terms are positive, so that nothing cancels however small the result.
func binomialRDP(q, z, alpha float64) float64 {
	n := int(alpha)
	logQ, logRest := math.Log(q), math.Log1p(-q)
	acc := make(logSum, 0, n)
	choose, exact := 1.0, true
	top, _ := math.Lgamma(alpha + 1)
	for k := 1; k <= n; k++ {
		x := float64(k)
		// The recurrence keeps more digits than differences of log-gammas.
		choose *= (alpha - x + 1) / x
		exact = exact && !math.IsInf(choose, 1)
		if k == 1 {
			continue
		}
		var logChoose, size, rounding float64
		if exact {
			logChoose, rounding = math.Log(choose), 2*x
			size = math.Abs(logChoose)
		} else {
			a, _ := math.Lgamma(x + 1)
			b, _ := math.Lgamma(alpha - x + 1)
			logChoose, size = top-a-b, 4*top
		}
		y := x * (x - 1) / (2 * z * z)
		term := logChoose + x*logQ + (alpha-x)*logRest + logExpm1(y)
		size += x*math.Abs(logQ) + (alpha-x)*math.Abs(logRest) + y + math.Abs(math.Log(y))
		acc = append(acc, logTerm{term, rounding + 4*size})
	}
	return acc.divergence(alpha, 0)
}

// seriesRDP is an upper bound on the add-remove divergence at any order, for
// small noise, where quadrature would take many points. It splits the
// expectation of (a+b)^α, a = 1−q, b = q·r(x), where a = b and expands each side
// in the smaller one, to the degree m = ⌈α⌉: all terms are positive, the next
// derivative is negative, so that Taylor's polynomial is never below. With
// N(k) for the normal distribution of mean k and variance z²,
//
//	E ≤ Σ_{k=0..m} C(α,k)·[ (1−q)^(α−k)·q^k·e^(k(k−1)/(2z²))·N(k)(x < x₀)
//	                      + (1−q)^k·q^j·e^(j(j−1)/(2z²))·N(j)(x > x₀) ],  j = α−k.
//
// These are the leading terms of the series of Mironov, Talwar & Zhang 2019,
// section 3.3.
func seriesRDP(q, z, alpha float64) float64 {
	logQ, logRest := math.Log(q), math.Log1p(-q)
	x0 := 0.5 + z*z*(logRest-logQ)
	spread := 2 * z * z
	m := int(math.Ceil(alpha))
	acc := make(logSum, 0, 2*m+2)
	term := func(choose, powerRest, powerQ, distance float64) {
		exponent := powerQ * (powerQ - 1) / spread
		log := choose + powerRest*logRest + powerQ*logQ + exponent + logNormal(distance/z)
		size := 4*math.Abs(choose) + math.Abs(powerRest*logRest) + math.Abs(powerQ*logQ) + math.Abs(exponent)
		if distance < 0 {
			// The distance's own rounding moves its square by as much.
			size += (1 + x0*x0 + powerQ*powerQ) / spread
		}
		acc = append(acc, logTerm{log, 8 * (1 + size)})
	}
	top, _ := math.Lgamma(alpha + 1)
	for i := 0; i <= m; i++ {
		k := float64(i)
		a, _ := math.Lgamma(k + 1)
		b, sign := math.Lgamma(alpha - k + 1)
		if sign < 0 || math.IsInf(b, 0) { // C(α,k) is 0 past an integer α
			continue
		}
		term(top-a-b, alpha-k, k, x0-k)
		term(top-a-b, k, alpha-k, alpha-k-x0)
	}
	log, relative := acc.total()
	// E itself is a sum of parts near 1 here: its error is absolute.
	return up(max(0, log+relative+4*ulp)/(alpha-1), 16)
}

// logNormal is log Φ(t).
func logNormal(t float64) float64 {
	if t < 0 {
		return math.Log(erfcx(-t/math.Sqrt2)/2) - t*t/2
	}
	return math.Log(math.Erfc(-t/math.Sqrt2) / 2)
}

// quadraturePoints is how many points quadratureRDP would use.
func quadraturePoints(s sampledSteps, alpha float64) float64 {
	low, high, step := grid(s, alpha)
	return math.Ceil((high-low)/step) + 1
}

func grid(s sampledSteps, alpha float64) (low, high, step float64) {
	z := s.z
	high = alpha + 14*z + 1
	if s.adj == ReplaceOne {
		high = 2*alpha + 14*z // where Q's own part at −1 matters the mass lies further out
	}
	return -14*z - 1, high, min(0.3*z*z, 0.5*z)
}

// quadratureRDP is the divergence at any order, rounded up, by the trapezoidal
// rule for
//
//	E_Q[(1+w)^α] − 1 = ∫ Q(x)·g(w(x)) dx,   g(w) = (1+w)^α − 1 − α·w ≥ 0,
//
// with 1+w = P/Q and E_Q[w] = 0. The integrand is analytic within |Im x| < πz²,
// so a uniform grid converges geometrically: with this step to 10⁻¹³.
func quadratureRDP(s sampledSteps, alpha float64) float64 {
	low, high, _ := grid(s, alpha)
	n := int(quadraturePoints(s, alpha))
	step := (high - low) / float64(n-1)
	spread := 2 * s.z * s.z
	norm := math.Log(step/s.z) - math.Log(2*math.Pi)/2
	acc := make(logSum, 0, n)
	for i := range n {
		x := low + float64(i)*step
		u := sampledRatio(s.q, (2*x-1)/spread)
		density, size := -x*x/spread, x*x/spread+u.size
		w, logW := u.excess, u.log
		if s.adj == ReplaceOne {
			v := sampledRatio(s.q, (-2*x-1)/spread)
			density += v.log
			logW -= v.log
			// (u−v)/(1+v) with u − v = 2q·e^(−1/(2z²))·sinh(x/z²)
			if big := math.Abs(x) / (s.z * s.z); big < 600 && !math.IsInf(u.excess, 1) && !math.IsInf(v.excess, 1) {
				w = 2 * s.q * math.Exp(-1/spread) * math.Sinh(x/(s.z*s.z)) / (1 + v.excess)
			} else {
				w = math.Expm1(logW)
			}
			size += v.size
		}
		g, gSize := logPowerExcess(w, logW, alpha)
		if !math.IsInf(g, -1) {
			acc = append(acc, logTerm{norm + density + g, 4*(size*max(1, alpha)+math.Abs(g)) + gSize})
		}
	}
	return acc.divergence(alpha, 1e-13)
}

// ratio is 1 + excess = (1−q) + q·e^y with its logarithm, and the size of the
// numbers that went into it.
type ratio struct{ excess, log, size float64 }

func sampledRatio(q, y float64) ratio {
	if y > 600 {
		log := math.Log(q) + y + math.Log1p((1-q)/q*math.Exp(-y))
		return ratio{math.Expm1(log), log, y}
	}
	excess := q * math.Expm1(y)
	if excess < -0.5 {
		return ratio{excess, math.Log((1 - q) + q*math.Exp(y)), 1}
	}
	return ratio{excess, math.Log1p(excess), 1}
}

// logPowerExcess is log g, g(w) = (1+w)^α − 1 − α·w, from w and log(1+w), and a
// bound on its own rounding in units of 2⁻⁵².
func logPowerExcess(w, logW, alpha float64) (g, rounding float64) {
	if alpha*logW > 600 {
		// (1+w)^α·(1 − α·(1+w)^(1−α)), the rest being below e^−600
		left := 1 - alpha*math.Exp(-(alpha-1)*logW)
		return alpha*logW + math.Log(left), 4*alpha*logW + 8*(1+(alpha-1)*logW)/left
	}
	if w == 0 {
		return math.Inf(-1), 0
	}
	if math.Abs(w)*max(1, alpha) < 0.3 {
		// Σ_{k≥2} C(α,k)·w^k, with the first term taken out.
		series, term := 1.0, 1.0
		for k := 2.0; k < 60; k++ {
			term *= (alpha - k) / (k + 1) * w
			series += term
			if math.Abs(term) < ulp/8 {
				break
			}
		}
		return math.Log(alpha*(alpha-1)/2) + 2*math.Log(math.Abs(w)) + math.Log(series), 32
	}
	// (1+w)·((1+w)^(α−1) − 1) − (α−1)·w: exact to first order in α − 1.
	power := (1 + w) * math.Expm1((alpha-1)*logW)
	value := power - (alpha-1)*w
	lost := (math.Abs(power) + (alpha-1)*math.Abs(w)) / value
	return math.Log(value), 8 * lost * (1 + alpha*math.Abs(logW))
}

// logExpm1 is log(e^y − 1) for y > 0.
func logExpm1(y float64) float64 {
	if y > 30 {
		return y + math.Log1p(-math.Exp(-y))
	}
	return math.Log(math.Expm1(y))
}

// logTerm is a positive term by its logarithm, and the bound on that
// logarithm's absolute error in units of 2⁻⁵².
type logTerm struct{ log, rounding float64 }

type logSum []logTerm

// divergence is log(1 + Σ terms)/(α−1), rounded up; the sum is first raised by
// its own error and by the given relative one.
func (t logSum) divergence(alpha, relative float64) float64 {
	log, rounding := t.total()
	if math.IsInf(log, -1) {
		return 0
	}
	relative += rounding
	if log > 30 {
		log += math.Log1p(math.Exp(-log)) + relative
		return up(log/(alpha-1), 16)
	}
	return up(math.Log1p(math.Exp(log)*(1+relative)*(1+4*ulp*(2+math.Abs(log))))/(alpha-1), 16)
}

// total is log Σ terms, and a bound on the relative error of the sum. It is +Inf
// where a term is not a finite number.
func (t logSum) total() (log, relative float64) {
	top := math.Inf(-1)
	for _, x := range t {
		top = max(top, x.log) // NaN wins
	}
	if math.IsInf(top, -1) {
		return top, 0
	}
	if math.IsInf(top, 1) || math.IsNaN(top) {
		return math.Inf(1), 0
	}
	total, err := 0.0, 0.0
	for _, x := range t {
		w := math.Exp(x.log - top)
		total += w
		err += w * x.rounding
	}
	return top + math.Log(total), ulp * (err/total + float64(len(t)) + 8)
}

// responseRDP is the divergence of randomised response with loss ±eps, which
// dominates every eps-DP mechanism, rounded up.
func responseRDP(eps, alpha float64) float64 {
	if eps == 0 || math.IsInf(eps, 1) {
		return eps
	}
	var log float64
	if alpha*eps > 30 {
		log = (alpha-1)*eps - math.Log1p(math.Exp(-eps)) + math.Log1p(math.Exp(-(2*alpha-1)*eps))
	} else {
		a, _ := logPowerExcess(math.Expm1(eps), eps, alpha)
		b, _ := logPowerExcess(math.Expm1(-eps), -eps, alpha)
		p, rest := 1/(1+math.Exp(-eps)), 1/(1+math.Exp(eps)) // 1−p would cancel
		log = math.Log1p(rest*math.Exp(a) + p*math.Exp(b))
	}
	return min(eps, up(log/(alpha-1), smallOrderRounding(alpha)))
}

// laplaceRDP is the divergence of Laplace noise of scale 1/eps, rounded up.
func laplaceRDP(eps, alpha float64) float64 {
	if eps == 0 || math.IsInf(eps, 1) {
		return eps
	}
	var log float64
	if alpha*eps > 30 {
		log = (alpha-1)*eps + math.Log(alpha/(2*alpha-1)) + math.Log1p((alpha-1)/alpha*math.Exp(-(2*alpha-1)*eps))
	} else {
		// The first-order terms of both exponentials cancel: leave them out.
		log = math.Log1p((alpha*expExcess((alpha-1)*eps) + (alpha-1)*expExcess(-alpha*eps)) / (2*alpha - 1))
	}
	return min(eps, up(log/(alpha-1), smallOrderRounding(alpha)))
}

// smallOrderRounding bounds the rounding of responseRDP and laplaceRDP, in ulp.
func smallOrderRounding(alpha float64) float64 { return 512 + 8/(alpha-1) }

// expExcess is e^x − 1 − x, without cancellation.
func expExcess(x float64) float64 {
	if math.Abs(x) > 0.5 {
		return math.Expm1(x) - x
	}
	total, term := 0.0, x
	for k := 2.0; k < 30; k++ {
		term *= x / k
		total += term
		if math.Abs(term) < ulp/8*math.Abs(total) {
			break
		}
	}
	return total
}
