package accountant

import (
	"math"
	"slices"
)

// fewSteps is how many distinct noise multipliers at one rate are accounted one
// by one.
const fewSteps = 512

// sequence is sampled steps of one kind and rate, with noise multipliers that
// may all differ.
//
// A few are accounted one by one. Of many, each is charged as a mixture of two
// noise multipliers close by, common to all sequences of that kind, rate and
// order: a step costs the same whatever stands beside it. That is never less
// than its cost, and 10⁻⁶ more at most in what has been measured (10⁻³ for
// antipodal pairs with q > ½, which are charged at the smaller of the two), for
// this is true of a step's divergence R as a function of s = 1/σ²:
//
// # Lemma
//
// For every order α > 1, R is convex as a function of
//
//	s              for the add-remove pair
//	−e^(−s/2)      for the antipodal pair, q ≤ ½
//	−e^(−s/8)      for the pair of a sample of fixed size
//
// Proof. Let β = α−1, E = E_Q[L^α], L = P/Q, R = (log E)/β. R rises with s. Observe
// m + B with m the mean (0 or ±1) and B Brownian motion at time s, W the Brownian
// motion that remains under Q, and D the difference of the means of m given what
// has been observed, under P and under Q: dL = L·D dW. By Itô′s formula, with T the
// distribution that weighs Q by L^α,
//
//	(log E)′ = ½αβ·X,  X = E_T[D²].
//
// Add-remove: D = π, the probability of m = 1 under P, dπ = π(1−π)(dW − π ds).
// Antipodal: D = π + ρ, ρ that of m = −1 under Q, dρ = −ρ(1−ρ) dW and
// dπ = π(1−π)(dW − D ds). With ρ = 0 for the former and δ = π(1−π) − ρ(1−ρ), both have
// dD = δ dW − π(1−π)·D ds, hence
//
//	X′ = E_T[½αβD⁴ + 2αD²δ − 2π(1−π)D² + δ²] − ½αβX²,
//
// and E_T[D⁴] ≥ X². Add-remove: 2αD²δ − 2π(1−π)D² = 2βπ³(1−π) ≥ 0, so that X′ ≥ 0.
// Antipodal: D is even in x and δ = (π−ρ)(1−D) odd, where T weighs x > 0 by L^α and
// −x by L^(1−α) ≤ L^α; and for q ≤ ½, x > 0 there are π ≥ ρ and D ≤ 1, since
// q²·e^(−s) ≤ (1−q)². So E_T[2αD²δ] ≥ 0, and π(1−π) ≤ ¼ leaves X′ ≥ −½X.
//
// Fixed size: E − 1 is the expectation of φ = L^α + L^(1−α) − L − 1 over L > 1, with
// L = 1−q+N, N = q·e^y, dN = N dW, π = N/L. φ″ = αβ(L^(α−2) + L^(−α−1)), so that
// (log E)′ = ½αβ·X with D = π where L > 1 and 0 elsewhere, T weighing L > 1 by
// L^α + L^(1−α) and what has no loss by 1. Over L > 1 the drift of (L^α + L^(1−α))π²
// is, above ½αβ of its product with π²,
//
//	π²(1−π)·(L^α·(1−π+2βπ) + L^(1−α)·(1−π−2απ)) ≥ L^(1−α)·π²(1−π)(2−4π),
//
// which is at least −¼·L^(1−α)π² ≥ −⅛·(L^α + L^(1−α))π²; the edge L = 1, y = 0 adds
// −½p·(½G − G′) = (3/2)·p·αβ·q²(1−q) ≥ 0 to the derivative of E_Q[φ″N²] = ∫G·p dy, p the
// density of y. So X′ ≥ −⅛X.
//
// Where X′ ≥ −κX, e^(κs)·R′ rises with s: R is convex in v with dv = e^(−κs) ds. ∎
//
// Hence R lies below its chords in v, and a step may be charged as the mixture of
// two s that keeps v. Octaves of s are halved until the chord is close, or a cell
// has two steps or fewer, which are then accounted one by one; fewer steps never
// cost more.
type sequence struct {
	kind  int
	q     float64
	steps []sampledSteps   // ascending in z
	pairs map[float64]pair // by z, of steps, and of the ends of cells
	room  *int             // how many points of tables may still be kept

	tabulated bool
	octaves   []*stepCell
}

const (
	leastListed = 1e-100  // among many, steps with less noise stand alone
	tableRoom   = 1 << 21 // points of the tables that a curve keeps
)

// sequences groups sampled steps of one kind, ascending in q, then z, by rate.
func sequences(kind int, steps []sampledSteps, room *int) []*sequence {
	var list []*sequence
	for len(steps) > 0 {
		n := 1
		for n < len(steps) && steps[n].q == steps[0].q {
			n++
		}
		list = append(list, &sequence{kind: kind, q: steps[0].q, steps: steps[:n], pairs: map[float64]pair{}, room: room})
		steps = steps[n:]
	}
	return list
}

// costs appends the divergences of order alpha of all steps, rounded up, in parts.
func (g *sequence) costs(alpha float64, dst []float64) []float64 {
	if len(g.steps) <= fewSteps {
		for _, s := range g.steps {
			dst = append(dst, up(s.count*g.at(s.z, alpha), 2))
		}
		return dst
	}
	g.tabulate()
	for _, s := range g.steps {
		if s.z > leastListed {
			break
		}
		dst = append(dst, up(s.count*g.at(s.z, alpha), 2))
	}
	high, r := 0.0, 0.0
	for _, c := range g.octaves {
		low := r
		if c.low != high {
			low = g.end(c.low, alpha)
		}
		high, r = c.high, g.end(c.high, alpha)
		dst = g.charge(c, alpha, low, r, dst)
	}
	return dst
}

// stepCell is the steps with low ≤ s < high: count of them, and of their weight in
// the mixture of low and high what falls to high, rounded up.
type stepCell struct {
	low, high   float64
	lowV, highV float64
	steps       []placedStep
	count, atop float64
	left, right *stepCell
}

// placedStep is a step with s = 1/z², rounded up, and v there.
type placedStep struct{ s, v, z, count float64 }

func (g *sequence) tabulate() {
	if g.tabulated {
		return
	}
	g.tabulated = true
	placed := make([]placedStep, 0, len(g.steps))
	for _, s := range slices.Backward(g.steps) {
		if s.z <= leastListed {
			break
		}
		placed = append(placed, placedStep{s: up(1/(s.z*s.z), 4), z: s.z, count: s.count})
	}
	for len(placed) > 0 {
		_, exponent := math.Frexp(placed[0].s)
		low, high := math.Ldexp(0.5, exponent), math.Ldexp(1, exponent)
		n := 0
		for ; n < len(placed) && placed[n].s < high; n++ {
			placed[n].v = g.v(low, placed[n].s)
		}
		c := &stepCell{low: low, high: high, highV: g.v(low, high), steps: placed[:n]}
		c.weigh()
		g.octaves = append(g.octaves, c)
		placed = placed[n:]
	}
}

// v is the lemma's v(s) − v(low), scaled, with a relative error of 2 ulp.
func (g *sequence) v(low, s float64) float64 {
	switch {
	case g.kind == poisson:
		return s - low
	case g.kind == antipodal && g.q > 0.5:
		return 0 // no lemma: see weigh
	}
	return -math.Expm1(-(s - low) / 2) // a fixed size has σ = z/2
}

// weigh counts the steps and their share of the upper end, as far as v can be told
// apart; where it cannot, all of it is the upper end's, because R rises.
func (c *stepCell) weigh() {
	atop := 0.0
	for _, s := range c.steps {
		c.count += s.count // whole numbers, 2⁵³ at most
		atop += s.count * max(0, s.v-c.lowV)
	}
	slip := 4 * ulp * c.highV
	atop = up(atop, float64(len(c.steps))+8) + c.count*slip
	if width := c.highV - c.lowV - slip; width > 0 {
		c.atop = min(c.count, up(atop/width, 4))
	} else {
		c.atop = c.count
	}
}

// end is the divergence at s, rounded up, and at that at z.
func (g *sequence) end(s, alpha float64) float64 { return g.at(down(1/math.Sqrt(s), 4), alpha) }

func (g *sequence) at(z, alpha float64) float64 {
	p, kept := g.pairs[z]
	before := 0
	if kept {
		before = p.size()
	} else {
		p = newPair(g.kind, g.q, z)
	}
	r := p.rdp(alpha)
	if more := p.size() - before; more <= *g.room {
		*g.room -= more
		g.pairs[z] = p
	} else if kept {
		*g.room += before
		delete(g.pairs, z)
	}
	return r
}

// charge appends the cost of a cell's steps, given the divergences at its ends.
// Where a step is charged by chords, those depend on kind, rate and order alone.
func (g *sequence) charge(c *stepCell, alpha, low, high float64, dst []float64) []float64 {
	if len(c.steps) <= 2 {
		for _, s := range c.steps {
			dst = append(dst, up(s.count*g.at(s.z, alpha), 2))
		}
		return dst
	}
	middle := c.low + (c.high-c.low)/2
	if math.IsInf(high, 1) || middle == c.low || middle == c.high {
		return append(dst, c.chord(low, high))
	}
	if c.left == nil {
		n, _ := slices.BinarySearchFunc(c.steps, middle, func(s placedStep, x float64) int {
			if s.s < x {
				return -1
			}
			return 1
		})
		octave := math.Ldexp(0.5, exponentOf(c.low))
		v := g.v(octave, middle)
		c.left = &stepCell{low: c.low, high: middle, lowV: c.lowV, highV: v, steps: c.steps[:n]}
		c.right = &stepCell{low: middle, high: c.high, lowV: v, highV: c.highV, steps: c.steps[n:]}
		c.left.weigh()
		c.right.weigh()
	}
	r, share, tolerance := g.at(down(1/math.Sqrt(middle), 4), alpha), 1.0, 1e-3
	if c.highV > c.lowV {
		// The halves are four times closer than the whole.
		share, tolerance = (c.left.highV-c.lowV)/(c.highV-c.lowV), 4e-6
	}
	if low+(high-low)*share-r <= tolerance*r {
		return append(dst, c.left.chord(low, r), c.right.chord(r, high))
	}
	dst = g.charge(c.left, alpha, low, r, dst)
	return g.charge(c.right, alpha, r, high, dst)
}

// chord is the cost of a cell's steps by the chord between its ends.
func (c *stepCell) chord(low, high float64) float64 {
	switch {
	case c.count == 0:
		return 0
	case math.IsInf(high, 1):
		return high
	}
	return up(c.count*low+c.atop*max(0, high-low), 6)
}

func exponentOf(x float64) int {
	_, exponent := math.Frexp(x)
	return exponent
}
