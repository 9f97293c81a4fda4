//go:build slow || soak

package accountant_test

import (
	"math"
)

// lossStep is the privacy loss of one direction of one mechanism: atoms, a mass
// at +∞, and continuous parts; and its profile, P[L>ε] − e^ε·Q[L>ε] for any ε,
// by a formula of its own.
type lossStep struct {
	atoms    []atom
	infinite number
	parts    []part
	delta    func(eps number) number
}

type atom struct{ mass, loss number }

// part has the given density and loss at x within points, whose panels suit
// them; scale is log density, about.
type part struct {
	points        []float64
	scale         func(x float64) float64
	density, loss func(x number) number
}

// deltaOf is the profile of the composition of the steps at eps.
func deltaOf(steps []lossStep, eps number, tolerance float64) truth {
	first := steps[0]
	if len(steps) == 1 {
		return exact(first.delta(eps))
	}
	value, err := blank(), blank()
	inner := func(loss number) truth { return deltaOf(steps[1:], sub(eps, loss), tolerance/10) }
	for _, a := range first.atoms {
		d := inner(a.loss)
		value.Add(value, mul(a.mass, d.value))
		err.Add(err, mul(a.mass, d.err))
	}
	if first.infinite != nil {
		value.Add(value, first.infinite)
	}
	for _, p := range first.parts {
		size := func(low, high float64) float64 {
			top := max(p.scale(low), p.scale(high))
			if low < 0 && high > 0 {
				top = max(top, p.scale(0))
			}
			// The profile of the others rises with x, or falls: up to 1.
			other := math.Inf(-1)
			for _, x := range []float64{low, high} {
				if d := inner(p.loss(num(x))).value; d.Sign() > 0 {
					mantissa := blank()
					other = max(other, math.Ln2*float64(d.MantExp(mantissa)))
				}
			}
			return top + other
		}
		worst := blank()
		v, e := integral(p.points, size, tolerance, func(x number) number {
			d := inner(p.loss(x))
			if d.value.Sign() > 0 {
				worst = larger(worst, div(d.err, d.value))
			}
			return mul(p.density(x), d.value)
		})
		value.Add(value, v)
		err.Add(err, add(e, mul(v, add(worst, num(1e-24)))))
	}
	return truth{value, add(err, mul(value, num(0x1p-120)))}
}

// atomsDelta is the profile of atoms and a mass at +∞ besides.
func atomsDelta(atoms []atom, infinite number) func(number) number {
	return func(eps number) number {
		total := blank()
		if infinite != nil {
			total.Set(infinite)
		}
		for _, a := range atoms {
			if less(eps, a.loss) {
				total.Sub(total, mul(a.mass, expm1(sub(eps, a.loss))))
			}
		}
		return total
	}
}

func atomic(atoms []atom, infinite number) lossStep {
	return lossStep{atoms: atoms, infinite: infinite, delta: atomsDelta(atoms, infinite)}
}

// even is [low, high] in equal panels.
func even(low, high, width float64) []float64 {
	n := int(math.Ceil((high - low) / width))
	points := make([]float64, n+1)
	for i := range points {
		points[i] = low + (high-low)*float64(i)/float64(n)
	}
	return points
}

// gaussianStep has mean shift mu, in standard deviations: L = μx + μ²/2 at
// x ~ N(0, 1) under P.
func gaussianStep(mu number) lossStep {
	return lossStep{
		delta: func(eps number) number {
			ratio, middle := div(eps, mu), half(mu)
			return sub(above(sub(ratio, middle)), mul(exp(eps), above(add(ratio, middle))))
		},
		parts: []part{{
			points:  even(-36, 36, 3),
			scale:   func(x float64) float64 { return -x * x / 2 },
			density: func(x number) number { return normal(x, blank(), unit) },
			loss:    func(x number) number { return mul(mu, add(x, half(mu))) },
		}},
	}
}

// sampledStep is one direction of a sampled Gaussian: remove has P with the
// unit. The antipodal pair has one direction only.
func sampledStep(p sampledPair, remove bool) lossStep {
	q, z := num(p.q), num(p.z)
	rest, square := sub(unit, q), mul(num(p.z), num(p.z))
	logRatio := func(x number) number {
		w, ratio, _ := p.excess(x)
		if math.Abs(float(w)) < 1e-3 {
			return log1p(w)
		}
		return log(ratio)
	}
	// mass of x > at, under (1−q)·N(0,z²) + q·N(mean,z²)
	beyond := func(at number, mean float64, q number) number {
		return add(mul(sub(unit, q), above(div(at, z))), mul(q, above(div(sub(at, num(mean)), z))))
	}
	direct := func(x number, mean float64) number {
		return add(mul(rest, normal(x, blank(), z)), mul(q, normal(x, num(mean), z)))
	}
	s := lossStep{}
	reach := 36 * p.z
	var scale func(float64) float64
	var density, loss func(number) number
	switch {
	case p.antipodal:
		// With w = e^(x/z²), c = e^(−1/(2z²)): q·c·w² − (1−q)(e^L−1)·w − q·c·e^L = 0.
		c := exp(div(num(-0.5), square))
		s.delta = func(eps number) number {
			a, b := mul(q, c), mul(rest, expm1(eps))
			r := root(add(mul(b, b), mul(num(4), mul(mul(a, a), exp(eps)))))
			var w number
			if b.Sign() >= 0 {
				w = div(add(b, r), twice(a))
			} else {
				w = div(twice(mul(a, exp(eps))), sub(r, b))
			}
			at := mul(square, log(w))
			return sub(beyond(at, 1, q), mul(exp(eps), beyond(at, -1, q)))
		}
		density, loss = func(x number) number { return direct(x, 1) }, logRatio
		scale = func(x float64) float64 { return max(-x*x, math.Log(p.q)*2*p.z*p.z-(x-1)*(x-1)) / (2 * p.z * p.z) }
	case remove:
		s.delta = func(eps number) number {
			over := add(expm1(eps), q)
			if over.Sign() <= 0 {
				return neg(expm1(eps))
			}
			at := add(num(0.5), mul(square, log(div(over, q))))
			return sub(beyond(at, 1, q), mul(exp(eps), beyond(at, 1, blank())))
		}
		density, loss = func(x number) number { return direct(x, 1) }, logRatio
		scale = func(x float64) float64 { return max(-x*x, math.Log(p.q)*2*p.z*p.z-(x-1)*(x-1)) / (2 * p.z * p.z) }
	default:
		s.delta = func(eps number) number {
			over := add(expm1(neg(eps)), q)
			if over.Sign() <= 0 {
				return blank()
			}
			// mass of x < at: mirrored
			at := neg(add(num(0.5), mul(square, log(div(over, q)))))
			return sub(beyond(at, -1, blank()), mul(exp(eps), beyond(at, -1, q)))
		}
		density, loss = func(x number) number { return normal(x, blank(), z) }, func(x number) number { return neg(logRatio(x)) }
		scale = func(x float64) float64 { return -x * x / (2 * p.z * p.z) }
	}
	s.parts = []part{{p.panels(-reach-1, reach+1), scale, density, loss}}
	return s
}

// fixedSizeStep is a Gaussian on m of n units, γ = m/n, replace-one: the profile
// is γ·δ(log(1 + (e^ε−1)/γ)) of the Gaussian with μ = 2/z for ε ≥ 0 (Balle,
// Barthe & Gaboardi 2018), and 1 − e^ε + e^ε·δ(−ε) below.
func fixedSizeStep(m, n int64, noise float64) lossStep {
	gamma := div(whole(m), whole(n))
	mu := div(num(2), num(noise))
	sd := div(num(noise), num(2)) // of N(0,·) and N(1,·)
	full := gaussianStep(mu)
	var delta func(number) number
	delta = func(eps number) number {
		if eps.Sign() < 0 {
			return add(neg(expm1(eps)), mul(exp(eps), delta(neg(eps))))
		}
		return mul(gamma, full.delta(log(add(unit, div(expm1(eps), gamma)))))
	}
	spread := twice(mul(sd, sd))
	loss := func(x number) number {
		return log(add(unit, mul(gamma, expm1(div(sub(twice(x), unit), spread)))))
	}
	with := func(x number) number { // γ·N(1) + (1−γ)·N(0)
		return add(mul(gamma, normal(x, unit, sd)), mul(sub(unit, gamma), normal(x, blank(), sd)))
	}
	without := func(x number) number { return normal(x, blank(), sd) }
	g, s := float(gamma), noise/2
	pair := sampledPair{q: g, z: s}
	points := pair.panels(0.5, 1+36*s)
	high := add(mul(gamma, above(div(num(-0.5), sd))), mul(sub(unit, gamma), above(div(num(0.5), sd))))
	low := above(div(num(0.5), sd))
	return lossStep{
		delta: delta,
		atoms: []atom{{sub(sub(unit, high), low), blank()}},
		parts: []part{
			{points, func(x float64) float64 { return max(-x*x, math.Log(g)*2*s*s-(x-1)*(x-1)) / (2 * s * s) }, with, loss},
			{points, func(x float64) float64 { return -x * x / (2 * s * s) }, without, func(x number) number { return neg(loss(x)) }},
		},
	}
}

// laplaceStep has loss e with mass ½, −e with e^(−e)/2, and density
// e^((l−e)/2)/4 between.
func laplaceStep(e number) lossStep {
	s := lossStep{
		atoms: []atom{{num(0.5), e}, {half(exp(neg(e))), neg(e)}},
		delta: func(eps number) number {
			switch {
			case !less(eps, e):
				return blank()
			case !less(neg(e), eps):
				return neg(expm1(eps))
			}
			return neg(expm1(half(sub(eps, e))))
		},
	}
	width := float(e)
	s.parts = []part{{
		points:  even(-width, width, min(1, width/4)),
		scale:   func(l float64) float64 { return (l - width) / 2 },
		density: func(l number) number { return mul(num(0.25), exp(half(sub(l, e)))) },
		loss:    func(l number) number { return l },
	}}
	return s
}

// lattice is a loss that is start + i·unit with mass i.
type lattice struct {
	start, unit number
	mass        []number
}

func (a lattice) times(b lattice) lattice {
	c := lattice{add(a.start, b.start), a.unit, make([]number, len(a.mass)+len(b.mass)-1)}
	for i := range c.mass {
		c.mass[i] = blank()
	}
	t := blank()
	for i, x := range a.mass {
		for j, y := range b.mass {
			c.mass[i+j].Add(c.mass[i+j], t.Mul(x, y))
		}
	}
	return c
}

// power composes n times, by squaring.
func (a lattice) power(n int) lattice {
	if n == 1 {
		return a
	}
	h := a.power(n / 2)
	h = h.times(h)
	if n%2 == 1 {
		h = h.times(a)
	}
	return h
}

func (a lattice) step(infinite number) lossStep {
	keep := unit
	if infinite != nil {
		keep = sub(unit, infinite)
	}
	atoms := make([]atom, len(a.mass))
	for i, m := range a.mass {
		atoms[i] = atom{mul(keep, m), add(a.start, mul(whole(int64(i)), a.unit))}
	}
	return atomic(atoms, infinite)
}

// response is randomised response with loss ±eps.
func response(eps number) lattice {
	p := div(unit, add(unit, exp(neg(eps))))
	return lattice{neg(eps), twice(eps), []number{sub(unit, p), p}}
}

// discreteLaplace has noise of mass ∝ e^(−abs(x)/scale) and neighbours shift
// apart: the loss (abs(x) − abs(x−shift))/scale at x−shift ~ noise.
func discreteLaplace(scale number, shift int) lattice {
	t := exp(div(num(-1), scale))
	top := div(sub(unit, t), add(unit, t)) // mass of 0
	weight := func(n int) number { return mul(top, exp(div(whole(int64(-n)), scale))) }
	l := lattice{div(whole(int64(-shift)), scale), div(num(2), scale), make([]number, shift+1)}
	tail := div(unit, add(unit, t)) // mass of noise ≥ 0
	for x := 0; x <= shift; x++ {
		switch {
		case x == 0: // noise ≤ −shift
			l.mass[x] = mul(tail, exp(div(whole(int64(-shift)), scale)))
		case x == shift:
			l.mass[x] = tail
		default:
			l.mass[x] = weight(shift - x)
		}
	}
	return l
}

// discreteGaussian has noise of mass ∝ e^(−x²/(2σ²)): the loss of neighbours
// shift apart is (x² − (x−shift)²)/(2σ²), x−shift ~ noise. Tails below e^−120
// are left out.
func discreteGaussian(sigma number, shift int) lattice {
	reach := int(16*float(sigma)) + 3
	spread := twice(mul(sigma, sigma))
	masses, total := make([]number, 2*reach+1), blank()
	for i := range masses {
		x := int64(i - reach)
		masses[i] = exp(neg(div(whole(x*x), spread)))
		total.Add(total, masses[i])
	}
	for i := range masses {
		masses[i].Quo(masses[i], total)
	}
	// noise n: loss (2·n·shift + shift²)/(2σ²)
	s := int64(shift)
	return lattice{div(whole(s*s-2*s*int64(reach)), spread), div(whole(2*s), spread), masses}
}
