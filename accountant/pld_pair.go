package accountant

import "math"

// A pair of distributions (P, Q) that dominates a mechanism: its privacy profile
//
//	δ(ε) = sup over events of P − e^ε·Q = E_P[(1 − e^(ε−L))₊],   L = log dP/dQ,
//
// is nowhere below that of any two neighbours. Dominating pairs of parts compose
// to one of the whole (Zhu, Dong & Wang 2022, Theorem 10). "Forward" is (P, Q),
// "backward" (Q, P): remove and add for a sampled step under add-remove. The
// other pairs here are symmetric: (Q, P) has the same profile.
type dominatingPair interface {
	// outline is a rough picture of the loss under P and, backward, of −L
	// under Q. It decides how fine the work is, never whether it is sound.
	outline(tail float64) (forward, backward outline)
	// cells divides the loss into the cells of a grid; backward is nil where
	// the pair is symmetric. Low asks for a pair that the mechanism dominates.
	cells(g *lattice, tail float64, low bool) (forward, backward *lossCells)
	// variation bounds the total variation between P and Q, δ(0).
	variation() float64
	// spacing is the distance of atoms that deserve grid points; 0: none.
	spacing() float64
	symmetric() bool
}

// tailBound is a t with Φ(−t) ≤ tail for a standard normal, and little more.
func tailBound(tail float64) float64 { return math.Sqrt(-2 * math.Log(min(tail, 0.1))) }

// gaussianPair is one of three pairs of mixtures of normal distributions of
// standard deviation z, all with a loss that increases in x:
//
//	sampled    P = (1−q)·N(0)+q·N(1)   Q = N(0)
//	antipodal  P = (1−q)·N(0)+q·N(1)   Q = (1−q)·N(0)+q·N(−1)
//	mirrored   the symmetric pair with the profile of sampled where ε ≥ 0: loss
//	           L with the mass of P where L > 0, −L with that of Q, the rest at 0
//
// Mirrored with q = 1 is the Gaussian. With q = m/n and z halved it dominates
// m of n units drawn without replacement under replace-one: advanced joint
// convexity and the coupling of samples that differ in one unit give
// δ(log(1+q·(e^ε−1))) ≤ q·δ′(ε), δ′ the profile of a Gaussian with μ = 2/z,
// for neighbours in either order (Balle, Barthe & Gaboardi 2018, Theorem 2), and
// hence the mirror image δ(−ε) = 1 − e^−ε + e^−ε·δ(ε) below 0. That function is
// convex in e^ε, P[L>0] + Q[L>0] being at most 1, and so is the profile of a
// pair.
type gaussianPair struct {
	kind gaussianKind
	q, z float64
}

type gaussianKind int

const (
	sampledKind gaussianKind = iota
	antipodalKind
	mirroredKind
)

func (p gaussianPair) symmetric() bool  { return p.kind != sampledKind }
func (p gaussianPair) spacing() float64 { return 0 }

func (p gaussianPair) variation() float64 {
	if p.kind == antipodalKind {
		return up(p.q*math.Erf(1/(p.z*math.Sqrt2)), 8)
	}
	return up(p.q*math.Erf(0.5/(p.z*math.Sqrt2)), 8)
}

// loss is L(x), without a bound on its error: outlines only.
func (p gaussianPair) loss(x float64) float64 {
	s := 2 * p.z * p.z
	mix := func(y float64) float64 { // log(1−q + q·e^y)
		if y > 600 {
			return y + math.Log(p.q)
		}
		return math.Log1p(p.q * math.Expm1(y))
	}
	if p.kind != antipodalKind {
		return mix((2*x - 1) / s)
	}
	if math.Abs(x) < 1e-3*p.z*p.z {
		return math.Log1p(2 * p.q * math.Exp(-1/s) * math.Sinh(2*x/s) / (1 + p.q*math.Expm1(-(2*x+1)/s)))
	}
	return mix((2*x-1)/s) - mix((-2*x-1)/s)
}

// densities are those of P and Q, outlines only.
func (p gaussianPair) densities(x float64) (P, Q float64) {
	normal := func(t float64) float64 { t /= p.z; return math.Exp(-t*t/2) / (p.z * math.Sqrt(2*math.Pi)) }
	base := (1 - p.q) * normal(x)
	P = base + p.q*normal(x-1)
	if p.kind == antipodalKind {
		return P, base + p.q*normal(x+1)
	}
	return P, normal(x)
}

func (p gaussianPair) outline(tail float64) (forward, backward outline) {
	t := p.z * tailBound(tail)
	low, high := -t, 1+t
	switch p.kind {
	case antipodalKind:
		low = -high
	case mirroredKind:
		low = 0.5
	}
	step := (high - low) / outlinePoints
	n := outlinePoints
	f := outline{loss: make([]float64, n), mass: make([]float64, n)}
	b := outline{loss: make([]float64, n), mass: make([]float64, n)}
	sum := 0.0
	for i := range n {
		x := low + (float64(i)+0.5)*step
		l := p.loss(x)
		P, Q := p.densities(x)
		f.loss[i], f.mass[i] = l, P*step
		b.loss[n-1-i], b.mass[n-1-i] = -l, Q*step
		sum += (P + Q) * step
	}
	if p.kind == mirroredKind {
		b.add(0, max(0, 1-sum))
		b.loss, b.mass = append(b.loss, f.loss...), append(b.mass, f.mass...)
		f = b
	}
	if p.symmetric() {
		b = f
	}
	return f, b
}

// anchor is where the loss has the value of a grid point.
type anchor struct {
	x          float64 // −Inf where no x has so small a loss
	slip       float64 // bounds the error of x
	logA, logB float64
}

// anchor inverts the loss:
//
//	sampled, mirrored  x = ½ + z²·log((e^l − 1 + q)/q)
//	antipodal          x = z²·(l/2 + asinh((1−q)/q·e^(1/(2z²))·sinh(l/2)))
//
// and gives the coefficients with which, for τ = (t − x)/z² and the density
// φ of N(0, z²),
//
//	P(t) − e^l·Q(t) = φ(t)·(A·expm1(τ) − B·expm1(−τ)),
//
// A = q·e^((2x−1)/(2z²)), and B = 0 or, antipodal, q·e^(l − (2x+1)/(2z²)).
func (p gaussianPair) anchor(l float64) anchor {
	z2 := p.z * p.z
	logQ := math.Log(p.q)
	if p.kind == antipodalKind {
		grow, odds := 1/(2*z2), math.Log1p(-p.q)-logQ
		var y, size float64
		if log := odds + grow + l/2; log > 300 {
			y = l/2 + log + math.Log1p(-math.Exp(-l)) // asinh ρ = log 2ρ
			size = 4 * (1 + math.Abs(odds) + grow + l)
		} else {
			rho := math.Exp(odds+grow) * math.Sinh(l/2)
			y = l/2 + math.Asinh(rho)
			size = (8+2*math.Abs(odds)+2*grow)*min(1, rho) + 2*y
		}
		x := z2 * y
		return anchor{x, ulp * (x + z2*size), logQ - grow + x/z2, logQ - grow + l - x/z2}
	}
	e := math.Expm1(l)
	var y, size float64
	switch {
	case l > 600:
		y = l - logQ
		size = 2 * (1 + l + math.Abs(logQ))
	case e+p.q <= 0:
		return anchor{x: math.Inf(-1)}
	case e > -p.q/2:
		y = math.Log1p(e / p.q)
		size = 8 * math.Abs(y)
	default:
		y = math.Log((e + p.q) / p.q)
		size = 1 + math.Abs(y) + 2*(p.q-e)/(e+p.q)
	}
	x := 0.5 + z2*y
	return anchor{x, ulp * (math.Abs(x) + 0.5 + z2*size), logQ + (2*x-1)/(2*z2), math.Inf(-1)}
}

// gauss is Gauss–Legendre quadrature on [0, 1], with four and with eight points.
type gauss struct{ node, weight []float64 }

var gaussFour, gaussEight = newGauss(
	0.3399810435848562648026658, 0.6521451548625461426269361,
	0.8611363115940525752239465, 0.3478548451374538573730639,
), newGauss(
	0.1834346424956498049394761, 0.3626837833783619829651504,
	0.5255324099163289858177390, 0.3137066458778872873379622,
	0.7966664774136267395915539, 0.2223810344533744705443560,
	0.9602898564975362316835609, 0.1012285362903762591525314,
)

// newGauss takes the positive nodes on [−1, 1], each with its weight.
func newGauss(half ...float64) (g gauss) {
	for i := 0; i < len(half); i += 2 {
		x, w := half[i], half[i+1]
		g.node = append(g.node, (1-x)/2, (1+x)/2)
		g.weight = append(g.weight, w/2, w/2)
	}
	return g
}

// cells integrates the two parts of every cell, l ≤ L ≤ l′ = l + w:
//
//	up   = ∫ (P − e^l·Q)/(1 − e^−w)     to the grid point l′
//	down = ∫ (e^l′·Q − P)/(e^w − 1)     to the grid point l
//
// which together keep the cell's mass under P and under Q. With the anchor's
// form no difference is left to cancel.
//
// Quadrature error. On a panel of width v the integrand g is entire; with n points
// the error is v^(2n+1)·(n!)⁴/((2n+1)·(2n)!³)·|g^(2n)|, and Cauchy's estimate on a circle
// of radius r bounds |g^(2n)| by (2n)!/r^(2n) times the largest |g| on it, M. Here v·M is
// at most 2·(1+r/v)·e^(1+(r/v+1)·a+(r/z)²/2) times the integral, a = v·(|x|+1)/z². Eight
// points with v ≤ z/4, a ≤ 1 and r = 8v err by less than 10⁻¹⁷ relatively; four with
// v ≤ z/64, a ≤ 1/16 and r = 64v by less than 5·10⁻¹⁵.
//
// The rest is rounding: that of the exponents, and that of the anchors, which
// moves an integrand that vanishes there by slip/z² times its slope. Each cell
// has the bound on its own relative error.
func (p gaussianPair) cells(g *lattice, tail float64, low bool) (forward, backward *lossCells) {
	// z² is rounded below; less noise dominates more.
	if low {
		p.z *= 1 + 2*ulp
	} else {
		p.z *= 1 - 2*ulp
	}
	t := p.z * tailBound(tail)
	start, end := math.Inf(-1), 1+t
	var at []int64
	if p.kind == sampledKind {
		start = -t
		at = g.cut(p.loss(start), p.loss(end))
		for len(at) > 2 && p.anchor(g.loss(at[1])).x <= start {
			at = at[1:]
		}
	} else {
		at = g.cut(0, p.loss(end))
	}
	if len(at) < 2 {
		return nil, nil
	}
	c := newLosses(at)
	total := 0.0 // panels
	z2 := p.z * p.z
	norm := -math.Log(p.z) - math.Log(2*math.Pi)/2
	logQ := math.Log(p.q)
	left := p.anchor(g.loss(at[0]))
	for j := range c.up {
		l, w := g.loss(at[j]), g.loss(at[j+1]-at[j])
		right := p.anchor(g.loss(at[j+1]))
		from, to := max(left.x, start), min(right.x, end)
		if !(to > from) {
			return nil, nil // finer than float64 can tell apart
		}
		// Between the modes of small noise there may be next to nothing: below
		// e^−690, by Φ(−t) ≤ e^(−t²/2)/2.
		if empty := 37.2 * p.z; to < 1-empty && (from > empty || p.q == 1) || from > 1+empty {
			if !low {
				c.up[j], c.down[j] = 1e-299, 1e-299
			}
			left = right
			continue
		}
		edge := max(math.Abs(from), math.Abs(to))
		panels := math.Ceil(max((to-from)*4/p.z, (to-from)*(edge+1)/z2))
		if total += panels; !(total <= maxPanels) {
			return nil, nil
		}
		v := (to - from) / panels
		rule := &gaussEight
		if v*64 <= p.z && v*16*(edge+1) <= z2 {
			rule = &gaussFour
		}
		bare := math.IsInf(left.x, -1)
		up, down, mass := 0.0, 0.0, 0.0
		for i := range int(panels) {
			first := from + float64(i)*v
			for k, node := range rule.node {
				x := first + v*node
				e := norm - x*x/(2*z2)
				weight := v * rule.weight[k]
				beyond := (x - right.x) / z2
				a := weight * math.Exp(e+right.logA)
				down -= a * math.Expm1(beyond)
				if bare {
					// No x has the loss l: P − e^l·Q = φ·(q·e^y − (e^l−1+q)), a sum.
					mass += weight * math.Exp(e)
					up += a * math.Exp(beyond)
					continue
				}
				past := (x - left.x) / z2
				up += weight * math.Exp(e+left.logA) * math.Expm1(past)
				if p.kind == antipodalKind {
					up -= weight * math.Exp(e+left.logB) * math.Expm1(-past)
					down += weight * math.Exp(e+right.logB) * math.Expm1(-beyond)
				}
			}
		}
		c.err[j] = 5e-15 + 4*(right.slip+ulp*edge)/v +
			8*ulp*(4+edge*edge/z2+math.Abs(right.logA)+math.Abs(norm)+math.Abs(logQ)+(2*edge+1)/z2+math.Abs(l)+panels)
		if bare {
			up -= (math.Expm1(l) + p.q) * mass
			if up > 0 {
				c.err[j] += 2 * ulp * (p.q + math.Abs(l)) * mass / up
			}
		} else {
			c.err[j] += 4 * left.slip / v
		}
		c.up[j] = up / -math.Expm1(-w)
		c.down[j] = down / math.Expm1(w)
		left = right
	}

	end = min(end, left.x)
	mix := func(shift float64) float64 {
		s, r := end/p.z, (end-shift)/p.z
		return up((1-p.q)*upperTail(s)+p.q*upperTail(r), 32+8*(s*s+r*r+(2*end+1)/z2))
	}
	highP, highQ := mix(1), mix(0)
	if p.kind == antipodalKind {
		highQ = mix(-1)
	}
	c.inf = highP
	if p.kind == sampledKind {
		s := t / p.z
		below := up(upperTail(s), 32+8*s*s) // under Q; P has less there
		backward = c.reverse(g)
		backward.add(-at[len(at)-1], highQ)
		backward.add(-at[0], below)
		c.add(at[1], below)
		return c, backward
	}
	full := c.mirror(g)
	if p.kind == mirroredKind {
		full.atom(g, 0, 0, (1-p.q)*math.Erf(0.5/(p.z*math.Sqrt2)), 16*ulp, low)
	}
	full.add(-at[len(at)-1], highQ)
	return full, nil
}

const maxPanels = 1 << 19

// upperTail is Φ(−s).
func upperTail(s float64) float64 { return math.Erfc(s/math.Sqrt2) / 2 }

// laplacePair is Laplace noise whose loss lies in [−eps, eps]: atoms at eps of
// mass ½ and at −eps of mass e^−eps/2, and between them the density e^((l−eps)/2)/4.
type laplacePair struct{ eps float64 }

func (p laplacePair) symmetric() bool    { return true }
func (p laplacePair) spacing() float64   { return p.eps }
func (p laplacePair) variation() float64 { return up(-math.Expm1(-p.eps/2), 8) }

func (p laplacePair) outline(float64) (forward, backward outline) {
	var o outline
	o.pin(-p.eps, math.Exp(-p.eps)/2)
	low := max(-p.eps, p.eps-100)
	step := (p.eps - low) / outlinePoints
	for i := range outlinePoints {
		l := low + (float64(i)+0.5)*step
		o.add(l, math.Exp((l-p.eps)/2)/4*step)
	}
	o.pin(p.eps, 0.5)
	return o, o
}

func (p laplacePair) cells(g *lattice, _ float64, low bool) (forward, backward *lossCells) {
	e := p.eps
	if low {
		e = down(e, 16) // rounded up before; more noise is dominated
	}
	c := newLosses(g.cut(-e, e))
	if c == nil {
		return nil, nil
	}
	rounding := 16 * ulp * (1 + e)
	c.atom(g, -e, 0, math.Exp(-e)/2, rounding, low)
	for j := range c.up {
		// Over a piece of a cell P/Q is exp of the middle, exactly.
		a, b := max(-e, g.loss(c.at[j])), min(e, g.loss(c.at[j+1]))
		if a < b {
			c.atom(g, (a+b)/2, 0, math.Exp((a-e)/2)*math.Expm1((b-a)/2)/2, rounding, low)
		}
	}
	c.atom(g, e, 0, 0.5, rounding, low)
	return c, nil
}

// responsePair is randomised response with loss ±eps, which dominates every
// eps-DP mechanism (Kairouz, Oh & Viswanath 2015).
type responsePair struct{ eps float64 }

func (p responsePair) symmetric() bool    { return true }
func (p responsePair) spacing() float64   { return p.eps }
func (p responsePair) variation() float64 { return up(math.Tanh(p.eps/2), 8) }

func (p responsePair) outline(float64) (forward, backward outline) {
	var o outline
	o.pin(-p.eps, math.Exp(-p.eps)/(1+math.Exp(-p.eps)))
	o.pin(p.eps, 1/(1+math.Exp(-p.eps)))
	return o, o
}

func (p responsePair) cells(g *lattice, _ float64, low bool) (forward, backward *lossCells) {
	e := p.eps
	if low {
		e = down(e, 2)
	}
	c := newLosses(g.around(-e, e))
	if c == nil {
		return nil, nil
	}
	rounding := 16 * ulp * (1 + e)
	c.atom(g, -e, 0, math.Exp(-e)/(1+math.Exp(-e)), rounding, low)
	c.atom(g, e, 0, 1/(1+math.Exp(-e)), rounding, low)
	return c, nil
}

// fewAtoms is how many get grid points of their own.
const fewAtoms = 1024

// discreteLaplacePair is discrete Laplace noise on neighbours that lie shift
// apart: with s = eps/shift and x = 0 … shift the loss is eps·(1 − 2x/shift), of
// mass tanh(s/2)·e^(−sx) inside and 1/(1+e^−s), e^−eps/(1+e^−s) at the ends.
type discreteLaplacePair struct{ eps, shift float64 }

func (p discreteLaplacePair) symmetric() bool    { return true }
func (p discreteLaplacePair) variation() float64 { return responsePair{p.eps}.variation() }

func (p discreteLaplacePair) spacing() float64 {
	if p.shift > 64 {
		return p.eps // the atoms at the ends are the greatest
	}
	return p.eps / p.shift
}

func (p discreteLaplacePair) outline(tail float64) (forward, backward outline) {
	if p.shift > outlinePoints {
		return laplacePair{p.eps}.outline(tail)
	}
	var o outline
	s := p.eps / p.shift
	for x := p.shift; x >= 0; x-- {
		o.pin(p.eps*(1-2*x/p.shift), p.mass(s, x, x))
	}
	return o, o
}

// mass is that of the points from x to y ≥ x, which are all ends or none is.
func (p discreteLaplacePair) mass(s, x, y float64) float64 {
	if x == 0 || x == p.shift {
		return math.Exp(-s*x) / (1 + math.Exp(-s))
	}
	// tanh(s/2)·Σ e^(−sk) = e^(−sx)·(1 − e^(−s·(y−x+1)))/(1 + e^−s)
	return math.Exp(-s*x) * -math.Expm1(-s*(y-x+1)) / (1 + math.Exp(-s))
}

func (p discreteLaplacePair) cells(g *lattice, _ float64, low bool) (forward, backward *lossCells) {
	e := p.eps
	if low {
		e = down(e, 16)
	}
	s := e / p.shift
	loss := func(x float64) float64 { return e * (1 - 2*x/p.shift) }
	at := g.cut(-e, e)
	if p.shift < fewAtoms {
		all := make([]float64, 0, fewAtoms)
		for x := 0.0; x <= p.shift; x++ {
			all = append(all, loss(x))
		}
		at = g.around(all...)
	}
	c := newLosses(at)
	if c == nil {
		return nil, nil
	}
	rounding := 32 * ulp * (1 + e)
	slip := 16 * ulp * e
	put := func(x float64) { c.atom(g, loss(x), slip, p.mass(s, x, x), rounding, low) }
	put(0)
	x := 1.0
	for j := len(c.up) - 1; j >= 0 && x < p.shift; j-- {
		// The points within the cell for certain: their sum has P/Q = exp of
		// the mean loss, and splits like each of them.
		bottom := g.loss(c.at[j])
		for x < p.shift && loss(x)+slip >= g.loss(c.at[j+1]) {
			put(x)
			x++
		}
		last := min(p.shift-1, math.Floor((1-bottom/e)/2*p.shift)+1)
		for last >= x && loss(last)-slip <= bottom {
			last--
		}
		if last >= x {
			c.atom(g, (loss(x)+loss(last))/2, slip, p.mass(s, x, last), rounding, low)
			x = last + 1
		}
		for x < p.shift && loss(x)+slip >= bottom {
			put(x)
			x++
		}
	}
	put(p.shift)
	return c, nil
}

// discreteGaussianPair is discrete Gaussian noise of parameter sigma on
// neighbours that lie shift apart: the loss at x is shift·(shift − 2x)/(2·sigma²),
// of mass proportional to exp(−x²/(2·sigma²)).
type discreteGaussianPair struct{ sigma, shift float64 }

func (p discreteGaussianPair) symmetric() bool { return true }

// variation is Pinsker's bound: the divergence is at most μ²/2 (Canonne, Kamath &
// Steinke 2020).
func (p discreteGaussianPair) variation() float64 { return min(1, up(p.shift/p.sigma/2, 8)) }

func (p discreteGaussianPair) spacing() float64 {
	if p.sigma > 16 {
		return 0
	}
	return p.shift / p.sigma / p.sigma / 2
}

func (p discreteGaussianPair) loss(x float64) float64 {
	return p.shift / p.sigma * ((p.shift - 2*x) / (2 * p.sigma))
}

func (p discreteGaussianPair) outline(tail float64) (forward, backward outline) {
	n := math.Ceil(p.sigma * tailBound(tail))
	step := math.Ceil(2 * n / outlinePoints)
	var o outline
	sum := 0.0
	for x := n; x >= -n; x -= step {
		s := x / p.sigma
		m := math.Exp(-s * s / 2)
		o.pin(p.loss(x), m)
		sum += m
	}
	for i := range o.mass {
		o.mass[i] /= sum
	}
	return o, o
}

func (p discreteGaussianPair) cells(g *lattice, tail float64, low bool) (forward, backward *lossCells) {
	n := math.Ceil(p.sigma*tailBound(tail)) + 1
	at := g.cut(p.loss(n), p.loss(-n))
	if 2*n < fewAtoms {
		all := make([]float64, 0, fewAtoms)
		for x := -n; x <= n; x++ {
			all = append(all, p.loss(x))
		}
		at = g.around(all...)
	}
	c := newLosses(at)
	if c == nil {
		return nil, nil
	}
	weight := func(x float64) float64 { s := x / p.sigma; return math.Exp(-s * s / 2) }
	all := 1.0
	for x := n; x > 0; x-- {
		all += 2 * weight(x)
	}
	// Past n the weights fall faster than a geometric series.
	over := weight(n+1) / -math.Expm1(-n/p.sigma/p.sigma)
	rounding := ulp * (64 + 8*n + 8*(n/p.sigma)*(n/p.sigma))
	if low {
		all += 2 * over
	}
	for x := n; x >= -n; x-- {
		slip := 8 * ulp * p.shift / p.sigma * (p.shift + 2*math.Abs(x)) / p.sigma
		c.atom(g, p.loss(x), slip, weight(x)/all, rounding, low)
	}
	c.add(c.at[0], over/all)
	c.inf = up(over/all, 1/ulp/1024)
	return c, nil
}
