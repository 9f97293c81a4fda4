package accountant

import (
	"math"
	"slices"
)

// Below leastNoise, and where quadrature would need more than maxPoints, a
// simpler bound stands in for the divergence of a sampled Gaussian.
const (
	maxPoints  = 1 << 17
	leastNoise = 0.01
)

// A pair is two distributions that dominate the outputs of one step on
// neighbouring data. It keeps tables between calls, so that it is for one
// goroutine; what rdp returns depends on alpha alone.
type pair interface {
	// rdp is the Rényi divergence of order alpha > 1, rounded up.
	rdp(alpha float64) float64
	// size is how many points the tables hold.
	size() int
}

// The kinds of sampling.
const (
	poisson   = iota // Poisson sampling under add-remove
	antipodal        // Poisson sampling under replace-one
	fixedSize        // samples of fixed size under replace-one
)

func kindOf(adj Adjacency) int {
	if adj == ReplaceOne {
		return antipodal
	}
	return poisson
}

func newPair(kind int, q, z float64) pair {
	q = max(q, 1e-60) // R rises with q, and must not underflow
	z = min(z, 1e30)  // and falls with z
	switch kind {
	case antipodal:
		return newMirrored(antipodal, q, z)
	case fixedSize:
		return newMirrored(fixedSize, q, z/2)
	}
	return newLine(q, z)
}

// sampledGaussianRDP is the divergence of one Poisson-sampled step, rounded up.
func sampledGaussianRDP(s sampledSteps, alpha float64) float64 {
	return newPair(kindOf(s.adj), s.q, s.z).rdp(alpha)
}

// line is the add-remove pair of a sampled Gaussian,
//
//	P = (1−q)·N(0, z²) + q·N(1, z²)    Q = N(0, z²)
//
// whose divergence is larger in this direction than in the other (Mironov,
// Talwar & Zhang 2019, arXiv:1908.10530, Theorem 5), tabulated for
//
//	E_Q[(P/Q)^α] − 1 = (α−1)·KL(P‖Q) + ∫ P·(e^t − 1 − t) dx,
//	t = (α−1)·ℓ,  ℓ = log P/Q = log(1−q + q·e^y),  y = (2x−1)/(2z²).
//
// Nothing on the right is negative, so that nothing cancels, however small q or
// α−1; and but for t nothing depends on α. Both integrals are taken by the
// trapezoidal rule on the points x = k·step; together their integrand is
// Q·g(u), u = q·(e^y−1), with g as below.
//
// # Error of the rule
//
// It is at most 2N/(e^(2πa/step) − 1) where N bounds the integral of
// abs(f(x+ia')) over x for every abs(a') ≤ a (Trefethen & Weideman 2014, SIAM
// Review 56, Theorem 5.1), f = Q·g(u),
//
//	g(u) = (1+u)^α − 1 − α·u = α(α−1)·u²·h(u),  h = ∫₀¹ (1−s)(1+s·u)^(α−2) ds.
//
// With a = θz², θ ≤ 2.9, every 1 + s·u off the real line has a modulus at most
// its value at Re x and at least cos(θ/2) times that, abs(Q) grows by
// e^(θ²z²/2), and abs(e^(y+iθ) − 1)² = (e^y−1)² + 2(1−cos θ)·e^y. Hence
//
//	N ≤ e^(θ²z²/2)/cos(θ/2) · (1 + 2(1−cos θ)·W) · ∫f,  W = E₁[h] / E₁[(e^y−1)²e^−y·h],
//
// E₁ under N(1, z²), where the density of y is e^y times that of −y. Averaged
// over the two signs, h becomes (h(y)e^y + h(−y))/(1+e^y), y ≥ 0. For α ≥ 2 this
// rises with y, as does (e^y−1)²e^−y, so that W ≤ 1/(e^(1/z²)−1) by Chebyshev's
// inequality. For α < 2 it lies between 2h₀/(1+e^y) and 2h₀, h₀ = h at y = 0,
// because h falls and h·e^y rises; so W ≤ 1/E₁[(1−e^−Y)²/(1+e^−Y)], Y = abs(y),
// which is below 6.5·(1+2z)² since y ≥ 1/(2z) with probability 0.3. With
// step = 2πθz²/(42 + θ²z²/2) the relative error is below
//
//	2·e^−42/cos(θ/2)·(1 + 26·(1−cos θ)/2·(1+2z)²) < 2·10⁻¹⁴
//
// where θ = min(2.9, √84/z). Points beyond 10z below 0 and 10z above α+2 hold
// less than 10⁻¹⁷ of the integral: at x ≥ α+2 the integrand falls faster than
// the normal density around α+2+2z²/x.
type line struct {
	q, z         float64
	logQ, logNot float64 // log q, log(1−q)
	step         float64
	first        int // x = (first+i)·step
	points       []linePoint
	kl           float64 // Σ of the first-order terms
	core         int     // how many points kl adds up
}

type linePoint struct {
	loss float64 // ℓ
	logP float64 // log of step·P
	p    float64 // step·P
}

// ruleError is the relative error of the trapezoidal rules here, with what lies
// outside their range.
const ruleError = 3e-14

func newLine(q, z float64) *line {
	theta := min(2.9, math.Sqrt(84)/z)
	l := &line{q: q, z: z, logQ: math.Log(q), logNot: math.Log1p(-q)}
	l.step = 2 * math.Pi * theta * z * z / (42 + theta*theta*z*z/2)
	l.first = -int(math.Ceil(10 * z / l.step))
	return l
}

// index is how many points reach up to x, at most one more than maxPoints.
func (l *line) index(x float64) int {
	return int(min(max(0, math.Ceil(x/l.step)-float64(l.first)+1), maxPoints+1))
}

func (l *line) extend(n int) {
	if n <= len(l.points) {
		return
	}
	l.points = slices.Grow(l.points, n-len(l.points))
	spread := 2 * l.z * l.z
	norm := math.Log(l.step/l.z) - math.Log(2*math.Pi)/2
	for i := len(l.points); i < n; i++ {
		x := float64(l.first+i) * l.step
		loss, _ := mixtureLoss(l.q, l.logQ, (2*x-1)/spread)
		logP := norm - x*x/spread + loss
		l.points = append(l.points, linePoint{loss, logP, math.Exp(logP)})
	}
}

func (l *line) size() int { return len(l.points) }

// prepare tabulates the core, which holds all of P, and its first-order terms
// P·(e^−ℓ − 1 + ℓ).
func (l *line) prepare() bool {
	if l.core > 0 {
		return true
	}
	n := l.index(3 + 10*l.z)
	if n > maxPoints {
		return false
	}
	l.extend(n)
	l.core = n
	for _, p := range l.points[:n] {
		l.kl += p.p * expExcess(-p.loss)
	}
	return true
}

func (l *line) rdp(alpha float64) float64 {
	if l.z == 0 {
		return math.Inf(1)
	}
	beta := alpha - 1
	spread := 2 * l.z * l.z
	peak := up(beta/spread, 2)
	// Sampling never costs: quasi-convexity, Mironov, Talwar & Zhang 2019.
	full := up(alpha/spread, 2)
	if l.z < leastNoise || alpha*peak > 1e300 || !l.prepare() {
		return min(full, minkowski(l.q, l.logQ, peak, alpha))
	}

	// Far out e^y is all of 1+u, and what remains is at most a normal density
	// around α: where that lies apart from the rest, its integral stands for it.
	logTail, closed := math.Inf(-1), false
	end := alpha + 2 + 10*l.z
	if far := 0.5 + spread/2*(l.logNot-l.logQ+37+math.Log(alpha)); far < end &&
		alpha-far >= 10*l.z && beta*(l.logQ+(alpha-10*l.z-0.5)/(spread/2)) > 40 && beta*(l.logQ+alpha/spread) > 60 {
		end, closed = far, true
		logTail = alpha*l.logQ + alpha*peak
	}
	n := l.index(end)
	if n > maxPoints {
		return min(full, minkowski(l.q, l.logQ, peak, alpha))
	}
	l.extend(n)
	points := l.points[:n]

	// The loss rises with x: first the points with t < −½, then those with
	// abs(t) ≤ ½, then the rest, which may be large.
	i := 0
	total := beta * l.kl
	for ; i < n && beta*points[i].loss < -0.5; i++ {
		t := beta * points[i].loss
		total += points[i].p * (math.Exp(t) - 1 - t)
	}
	for ; i < n; i++ {
		t := beta * points[i].loss
		if t > 0.5 {
			break
		}
		total += points[i].p * smallExcess(t)
	}
	top := logTail
	for j := i; j < n; j++ {
		top = max(top, points[j].logP+beta*points[j].loss)
	}
	last := 0
	shift := 0.0
	if top > 300 {
		shift, total = top, 0 // the rest is below e^−250 of it
	}
	// A point below e^−40 of the largest adds less than ulp/4 of the sum, ulp for
	// each being added at the end.
	for j := i; j < n; j++ {
		p := points[j]
		t := beta * p.loss
		switch e := p.logP + t; {
		case e < top-40:
			continue
		case t < 40 && shift == 0:
			total += math.Exp(e) - p.p*(1+t)
		default:
			total += math.Exp(e - shift)
		}
		last = j
	}
	furthest, steepest := float64(l.first+last)*l.step, points[max(last, i-1, 0)].loss
	if closed {
		total += math.Exp(logTail - shift)
		furthest, steepest = max(furthest, alpha), 1
	}
	furthest = max(furthest, 10*l.z)
	// Three roundings each of x²/(2z²) and y, of which the loss passes on what it
	// is of y at most, and of α·ℓ; and those of their sum in an exponent.
	size := furthest*furthest/spread + math.Abs(2*furthest-1)/spread*min(alpha, 2*alpha*max(steepest, -points[0].loss)) +
		alpha*min(1, 2*max(steepest, -points[0].loss)) + 8
	return min(full, logOnePlus(total, shift, ruleError+3*ulp*size+ulp*float64(n), beta))
}

// logOnePlus is log(1 + total·e^shift)/beta, rounded up, for a total with the
// given relative error; with a shift the 1 is negligible.
func logOnePlus(total, shift, relative, beta float64) float64 {
	if shift > 0 {
		return up((shift+math.Log(total)+relative)/beta, 16)
	}
	return up(math.Log1p(total*(1+relative))/beta, 16)
}

// minkowski is α/(α−1)·log(1−q + q·e^peak), rounded up, peak = (α−1)/(2z²), which
// bounds the divergence: the norm of (1−q) + q·e^y in L^α(Q) is at most the sum of
// the norms.
func minkowski(q, logQ, peak, alpha float64) float64 {
	loss, rounding := mixtureLoss(q, logQ, peak)
	return up(loss*(alpha/(alpha-1)), 16+rounding)
}

// mixtureLoss is log(1−q + q·e^y), and its relative error in units of 2⁻⁵².
func mixtureLoss(q, logQ, y float64) (loss, rounding float64) {
	rounding = 8 + 2*math.Abs(y)
	if y > 600 {
		return logQ + y + math.Log1p((1-q)/q*math.Exp(-y)), rounding
	}
	u := q * math.Expm1(y)
	if u < -0.5 {
		return math.Log((1 - q) + q*math.Exp(y)), rounding
	}
	return math.Log1p(u), rounding
}

// expExcess is e^t − 1 − t ≥ 0, without cancellation.
func expExcess(t float64) float64 {
	if math.Abs(t) <= 0.5 {
		return smallExcess(t)
	}
	return math.Expm1(t) - t
}

// smallExcess is e^t − 1 − t for abs(t) ≤ ½.
func smallExcess(t float64) float64 {
	const (
		c2  = 1. / 2
		c3  = c2 / 3
		c4  = c3 / 4
		c5  = c4 / 5
		c6  = c5 / 6
		c7  = c6 / 7
		c8  = c7 / 8
		c9  = c8 / 9
		c10 = c9 / 10
		c11 = c10 / 11
		c12 = c11 / 12
		c13 = c12 / 13
		c14 = c13 / 14
		c15 = c14 / 15
	)
	return t * t * (c2 + t*(c3+t*(c4+t*(c5+t*(c6+t*(c7+t*(c8+t*(c9+t*(c10+t*(c11+t*(c12+t*(c13+t*(c14+t*c15)))))))))))))
}
