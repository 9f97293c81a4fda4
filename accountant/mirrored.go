package accountant

import (
	"math"
	"slices"
)

// mirrored is a symmetric pair of distributions by its privacy loss ℓ > 0: under
// Q the loss has a density on x > 0, under P that density times e^ℓ, and what
// has the loss −ℓ is the same with P and Q exchanged. Whatever is left has no
// loss. With t = ℓ,
//
//	E_Q[(P/Q)^α] − 1 = ∫ Q·(e^(αt) + e^((1−α)t) − e^t − 1) dx
//	                 = ∫ Q·(1 − e^(−(α−1)t))·(e^(αt) − 1) dx  over x > 0,
//
// where no factor is negative. Two pairs are of this kind, with standard
// deviation σ:
//
//	antipodal   Poisson sampling under replace-one, σ = z, x from 0:
//	            P = (1−q)·N(0,σ²) + q·N(1,σ²), Q = (1−q)·N(0,σ²) + q·N(−1,σ²)
//	fixedSize   a sample of q·n out of n units under replace-one, σ = z/2 (the two
//	            contributions lie 2 apart), x from ½: Q = N(0,σ²),
//	            P = (1−q)·N(0,σ²) + q·N(1,σ²); the rest has no loss
//
// The second is the dominating pair of sampling without replacement: advanced
// joint convexity (Balle, Barthe & Gaboardi 2018, arXiv:1807.01647, Theorem 2)
// with samples that differ in one unit bounds δ(log(1+q(e^ε−1))), ε ≥ 0, by q
// times the Gaussian's δ(ε), which is the profile of (P, Q). It covers both
// orders of neighbours, so that δ(−ε) = 1 − e^−ε + e^−ε·δ(ε) continues it; the
// result is convex, hence the profile of a pair (Zhu, Dong & Wang 2022,
// arXiv:2106.08567), which is this one. Wang, Balle & Kasiviswanathan 2019
// (arXiv:1808.00087) bound the same divergence.
//
// # The rule and its error
//
// With x = c·log(1+e^(τ/c)) beyond where x starts, the trapezoidal rule runs over
// all τ. In the strip abs(Im τ) ≤ b = 1.3c, c ≤ σ² (antipodal: σ²/2), Re x > 0, and
// φ = Im x/σ² is at most 1.3 (0.65) and at most 3.6·Re x/σ². There
//
//   - abs(N(0,σ²)) grows by e^(b²/(2σ²)); abs(dx) ≤ 3.74·Re dx;
//   - 1+ζ = P/Q, 1+s·ζ for 0 ≤ s ≤ 1, has a modulus of at least 1, since
//     Re e^(x/σ²) ≥ 1 (Re e^(2x/σ²) ≥ 1): Re(w^k) ≥ 1 where Re w ≥ 1 and k ≤ 1;
//   - abs(ζ) ≤ 3.74·η·ζ(Re x), abs(1+sζ) ≤ η·(1+s·ζ(Re x)), where η bounds the loss
//     of abs(1−q+q·e^(−(2x+1)/(2σ²))), antipodal only, against its value at Re x:
//     η^(α+1) ≤ exp(0.54·(α+1)·v·b²/σ⁴), v the largest p(1−p), p ≤ q·e^(−1/(2σ²));
//   - so that abs((1+ζ)^α − 1) ≤ 3.74·η^α times its value at Re x, and
//     abs(1 − (1+ζ)^(1−α)) ≤ min(2, (α−1)·abs(log(1+ζ))) ≤ 8.5·η times it.
//
// The error relative to the integral is therefore below
// 240·e^(K·b² − 2πb/step), K = 1/(2σ²) + 0.54·(α+1)·v/σ⁴, that is below 10⁻¹⁴ with
// step = 2πb/(38 + K·b²); b = √(38/K) makes the step longest. What is left out
// below τ = −14c and 10σ above where the integrand turns down is less than 10⁻¹⁵.
type mirrored struct {
	kind         int
	q, sigma     float64
	logQ, logNot float64
	grids        []*mirroredGrid // by tier of α
}

type mirroredGrid struct {
	c, step float64
	first   int
	points  []mirroredPoint
}

type mirroredPoint struct {
	x          float64 // beyond where x starts
	loss, grow float64 // ℓ, e^ℓ − 1
	logQ, q    float64 // step·Q·dx/dτ
}

func newMirrored(kind int, q, sigma float64) *mirrored {
	return &mirrored{kind: kind, q: q, sigma: sigma, logQ: math.Log(q), logNot: math.Log1p(-q)}
}

// grid returns the grid for orders up to alpha. Only the antipodal one depends
// on it, in steps, so that few are needed.
func (m *mirrored) grid(alpha float64) *mirroredGrid {
	tier, top := 0, 16.0
	if m.kind == antipodal {
		for ; alpha > top; top *= 16 {
			tier++
		}
	}
	for len(m.grids) <= tier {
		m.grids = append(m.grids, nil)
	}
	if m.grids[tier] == nil {
		s2 := m.sigma * m.sigma
		widest, k := 1.3*s2, 1/(2*s2)
		if m.kind == antipodal {
			p := min(0.5, m.q*math.Exp(-1/(2*s2)))
			widest, k = widest/2, k+0.54*(top+1)*p*(1-p)/(s2*s2)
		}
		b := min(widest, math.Sqrt(38/k))
		g := &mirroredGrid{c: b / 1.3, step: 2 * math.Pi * b / (38 + k*b*b)}
		g.first = -int(math.Ceil(14 * g.c / g.step))
		m.grids[tier] = g
	}
	return m.grids[tier]
}

// index is how many points reach up to x, at most one more than maxPoints.
func (g *mirroredGrid) index(x float64) int {
	// x − c·log 2 ≤ τ ≤ x for τ ≥ 0.
	return int(min(max(0, math.Ceil(x/g.step)-float64(g.first)+1), maxPoints+1))
}

func (m *mirrored) extend(g *mirroredGrid, n int) []mirroredPoint {
	if n <= len(g.points) {
		return g.points[:n]
	}
	g.points = slices.Grow(g.points, n-len(g.points))
	s2 := m.sigma * m.sigma
	norm := math.Log(g.step/m.sigma) - math.Log(2*math.Pi)/2
	for i := len(g.points); i < n; i++ {
		w := float64(g.first+i) * g.step / g.c
		e := math.Exp(-math.Abs(w))
		x, slope := g.c*math.Log1p(e), 1/(1+e)
		if w < 0 {
			slope = e / (1 + e)
		} else {
			x += g.c * w
		}
		p := mirroredPoint{x: x}
		if m.kind == fixedSize {
			p.loss, p.grow = m.fixedLoss(x / s2)
			x += 0.5
			p.logQ = norm - x*x/(2*s2)
		} else {
			var other float64
			p.loss, p.grow, other = m.antipodalLoss(x)
			p.logQ = norm - x*x/(2*s2) + other
		}
		p.logQ += math.Log(slope)
		p.q = math.Exp(p.logQ)
		g.points = append(g.points, p)
	}
	return g.points[:n]
}

func (m *mirrored) size() int {
	n := 0
	for _, g := range m.grids {
		if g != nil {
			n += len(g.points)
		}
	}
	return n
}

// fixedLoss is the loss log(1−q + q·e^y) and 1 less than its exponential.
func (m *mirrored) fixedLoss(y float64) (loss, grow float64) {
	loss, _ = mixtureLoss(m.q, m.logQ, y)
	return loss, m.q * math.Expm1(y)
}

// antipodalLoss is the loss log(A/D), 1 less than its exponential, and log D, of
// A = 1−q + q·e^((2x−1)/(2σ²)) and D = 1−q + q·e^((−2x−1)/(2σ²)), x ≥ 0.
func (m *mirrored) antipodalLoss(x float64) (loss, grow, other float64) {
	s2 := m.sigma * m.sigma
	y := (2*x - 1) / (2 * s2)
	other, _ = mixtureLoss(m.q, m.logQ, (-2*x-1)/(2*s2))
	grow = m.q * math.Exp(y-other) * -math.Expm1(-2*x/s2)
	if y-other > 600 {
		loss, _ = mixtureLoss(m.q, m.logQ, y)
		return loss - other, math.Inf(1), other
	}
	return math.Log1p(grow), grow, other
}

func (m *mirrored) rdp(alpha float64) float64 {
	if m.sigma == 0 {
		return math.Inf(1)
	}
	beta := alpha - 1
	s2 := m.sigma * m.sigma
	// Sampling never costs: quasi-convexity. The antipodal Q is at least
	// (1−q)·N(0,σ²), which leaves the add-remove pair.
	peak := up(beta/(2*s2), 2)
	bound := up(alpha/(2*s2), 2)
	if m.kind == antipodal {
		bound = min(4*bound, minkowski(m.q, m.logQ, peak, alpha)+up(-m.logNot, 4))
		bound = up(bound, 2)
	}
	if m.sigma < leastNoise || alpha*peak > 1e300 {
		return bound
	}

	// As in line.rdp: a normal density around α stands for the far points, where
	// it is apart from the rest.
	start, turn, logTail, notQ := 0.5, alpha, alpha*m.logQ+alpha*peak, 0.0
	far := 0.5 + s2*(m.logNot-m.logQ+37+math.Log(alpha))
	if m.kind == antipodal {
		start, notQ = 0, m.logNot
		logTail -= beta * notQ
		far = max(far, s2*(m.logQ-m.logNot+37+math.Log(alpha))-0.5)
		// Q's own part at −1 pulls the integrand's turn out to 2α−1 at most.
		other, _ := mixtureLoss(m.q, m.logQ, (-2*alpha-1)/(2*s2))
		turn += beta * min(1, m.q*math.Exp((-2*alpha-1)/(2*s2)-other))
	}
	end, closed := turn+2+10*m.sigma, false
	if far < end && alpha-far >= 10*m.sigma && beta*(m.logQ-notQ+(alpha-10*m.sigma-0.5)/s2) > 40 {
		end, closed = far, true
	} else {
		logTail = math.Inf(-1)
	}
	g := m.grid(alpha)
	n := g.index(max(0, end-start))
	if n > maxPoints {
		return bound
	}
	points := m.extend(g, n)

	total, i := 0.0, 0
	for ; i < n && alpha*points[i].loss < 40; i++ {
		p := &points[i]
		e := math.Expm1(beta * p.loss)
		total += p.q * e * (e*(1+p.grow) + p.grow) / (1 + e)
	}
	top := logTail
	for j := i; j < n; j++ {
		top = max(top, points[j].logQ+alpha*points[j].loss)
	}
	shift := 0.0
	if top > 300 {
		shift = top
		total *= math.Exp(-shift)
	}
	last := max(0, i-1)
	for j := i; j < n; j++ {
		p := &points[j]
		e := p.logQ + alpha*p.loss
		if e < top-45 { // adds less than 10⁻¹⁷ of the largest
			continue
		}
		last = j
		t := beta * p.loss
		if t < 40 {
			total += math.Exp(e-shift) * -math.Expm1(-t)
		} else {
			total += math.Exp(e - shift)
		}
	}
	furthest, loss := points[last].x+start, points[last].loss
	if closed {
		total += math.Exp(logTail - shift)
		furthest, loss = max(furthest, alpha), 1
	}
	furthest = max(furthest, 10*m.sigma)
	size := furthest*furthest/(2*s2) + (2*furthest+1)/s2*min(alpha, 2*alpha*loss) + alpha*min(1, 2*loss) + alpha*loss + 16
	return min(bound, logOnePlus(total, shift, ruleError+4*ulp*size+ulp*float64(n), beta))
}
