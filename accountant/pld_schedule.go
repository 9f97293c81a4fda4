package accountant

import (
	"cmp"
	"math"
	"slices"
)

// pairUse is a dominating pair; n is about how often it is used.
type pairUse struct {
	dominatingPair
	n float64
}

// pairUses are the dominating pairs of a curve, and what they are used for. With δ
// for their profile, that of the curve is at most e^grow·δ(ε − shift) + tail. With low
// the curve dominates them instead, and those three are 0.
type pairUses struct {
	pairs             []pairUse
	factors           []lossFactor
	shift, grow, tail float64
	low               bool
}

func (u *pairUses) put(p dominatingPair, n float64) {
	i := len(u.pairs)
	u.pairs = append(u.pairs, pairUse{p, n})
	u.factors = append(u.factors, lossFactor{i, i, 0, n})
}

const (
	mostPairs  = 96  // sampled steps that are told apart
	mostNodes  = 160 // beyond: noise multipliers of a schedule, in all
	mostRates  = 16  // and rates
	mostLevels = 256 // mixtures of two neighbouring nodes
)

// uses are the dominating pairs of c.
func (c *curve) uses(low bool) *pairUses {
	u := &pairUses{low: low}
	squares := []float64{c.mu2}
	for _, d := range c.gaussian {
		p := discreteGaussianPair{d.z * float64(d.shift) / c.adj.distance(), float64(d.shift)}
		switch {
		case p.sigma == 0 && low:
		case p.sigma == 0:
			squares = append(squares, math.Inf(1))
		case p.sigma <= continuous:
			u.put(p, d.count)
		case !low:
			squares = append(squares, u.smooth(p, d.count))
		}
	}
	if mu2 := up(sum(squares), 2); mu2 > 0 {
		z := 1 / math.Sqrt(mu2)
		switch {
		case !low:
			u.put(gaussianPair{mirroredKind, 1, z * (1 - 4*ulp)}, 1)
		case z < greatestNoise/2: // past it, the true z may be larger
			u.put(gaussianPair{mirroredKind, 1, z * (1 + 32*ulp)}, 1)
		}
	}
	for _, r := range c.response {
		u.put(responsePair{r.eps}, r.count)
	}
	for _, r := range c.laplace {
		u.put(laplacePair{r.eps}, r.count)
	}
	for _, d := range c.discrete {
		u.put(discreteLaplacePair{up(c.adj.distance()/d.z, 4), float64(d.shift)}, d.count)
	}
	c.putSampled(u)
	return u
}

// continuous is the sigma from which a discrete Gaussian is taken for a rounded
// one.
const continuous = 1 << 15

// smooth enters count discrete Gaussians of large sigma as Gaussians, whose μ² it
// returns, rounded up: rounding a Gaussian to whole numbers is post-processing, and
// with a = x/(2σ²) the probabilities satisfy, but for a factor 1 ± e^−2σ²,
//
//	e^(−a²/6) ≤ discrete(x)/rounded(x) ≤ e^(1/(8σ²)),
//
// since rounded(x)/density(x) is the integral of e^(−xu/σ² − u²/(2σ²)) over |u| ≤ ½. So P
// grows by e^(1/(8σ²)) at most, and the loss by that and t²/(24σ²) as long as x is
// within tσ of Q's mean; with t = 24 + μ it is not, under P, with probability 10⁻¹²⁰
// at most.
func (u *pairUses) smooth(p discreteGaussianPair, count float64) (mu2 float64) {
	mu := up(p.shift/p.sigma, 4)
	t := 24 + mu
	grow := up(1/(8*p.sigma*p.sigma), 8)
	u.grow = addUp(u.grow, up(count*grow, 2))
	u.shift = addUp(u.shift, up(count*(grow+up(t*t/(24*p.sigma*p.sigma), 16)), 4))
	u.tail = min(1, addUp(u.tail, up(count*1e-120, 2)))
	return up(count*mu*mu, 4)
}

// putSampled enters the sampled Gaussians.
//
// A long schedule of noise multipliers is brought down to a few nodes, and a step
// between two of them to a mixture of the two. That is sound: for rate q fixed,
// the pair at μ = 1/z is dominated by the mixture of those at μ₁ < μ < μ₂, the one
// drawn being known, as long as it has the same total variation at q = 1,
//
//	τ(μ) = (1−t)·τ(μ₁) + t·τ(μ₂),   τ(μ) = 2Φ(μ/2) − 1.
//
// Proof. The profile of a Gaussian, δ = Φ(a) − e^ε·Φ(a−μ) with a = μ/2 − ε/μ, has
// ∂δ/∂μ = φ(a) and ∂²δ/∂μ² = φ(a)·(ε²/μ³ − μ/4) ≥ −(μ/4)·∂δ/∂μ, while τ″ = −(μ/4)·τ′: as
// a function of τ it is convex, for every real ε. The profile of a sampled step is
// q·δ(ε′) with 1 + (e^ε−1)/q = e^ε′; for the exchanged pair and for mirrored ones it is a
// positive multiple of δ plus a constant. The profile of a mixture of which it is
// known what was drawn is the mixture of the profiles. ∎
//
// The distance d of two nodes in 1/z² thus costs about d²/8 times the second
// derivative of the loss, and the mixing weight is rounded up to 1/256: over a factor 3
// of z ε is about 10⁻⁴ too large. No such lemma is known for the antipodal pair:
// there z is rounded down to a node. Rates beyond mostRates are rounded up.
func (c *curve) putSampled(u *pairUses) {
	steps := make([]gaussianSteps, 0, len(c.sampled)+len(c.fixed))
	for _, s := range c.sampled {
		kind := sampledKind
		if s.adj == ReplaceOne {
			kind = antipodalKind
		}
		if u.low && s.z >= greatestNoise {
			continue // the true z may be larger
		}
		steps = append(steps, gaussianSteps{gaussianPair{kind, s.q, s.z}, s.count})
	}
	for _, s := range c.fixed {
		steps = append(steps, gaussianSteps{gaussianPair{mirroredKind, s.q, s.z / c.adj.distance()}, s.count})
	}
	if len(steps) <= mostPairs {
		for _, s := range steps {
			u.put(s.gaussianPair, s.n)
		}
		return
	}
	groups := roundRates(steps, u.low)
	for _, g := range groups {
		u.putGroup(g, max(3, mostNodes/len(groups)))
	}
}

// putGroup enters steps of one kind and rate, ascending in z, by at most so many nodes.
func (u *pairUses) putGroup(g []gaussianSteps, most int) {
	zs := nodesOf(g[0].z, g[len(g)-1].z, most)
	nodes := len(zs)
	if len(g) <= nodes {
		for _, s := range g {
			u.put(s.gaussianPair, s.n)
		}
		return
	}
	base := len(u.pairs)
	for _, z := range zs {
		u.pairs = append(u.pairs, pairUse{gaussianPair{g[0].kind, g[0].q, z}, 0})
	}
	count := make([][mostLevels + 1]float64, nodes)
	i := 0
	for _, s := range g {
		for i < nodes-2 && zs[i+1] <= s.z {
			i++
		}
		count[i][mixture(s.gaussianPair, zs[i], zs[i+1], u.low)] += s.n
	}
	for i := range nodes - 1 {
		for level, n := range count[i] {
			if n == 0 {
				continue
			}
			t := float64(level) / mostLevels
			u.factors = append(u.factors, lossFactor{base + i + 1, base + i, t, n})
			u.pairs[base+i+1].n += (1 - t) * n
			u.pairs[base+i].n += t * n
		}
	}
}

// nodesOf are about n noise multipliers, both ends among them. Half are evenly spaced in
// 1/z², in which the loss of little noise is nearly straight, and half in log z, for
// schedules that begin or end with a great many steps of much noise.
func nodesOf(from, to float64, n int) []float64 {
	zs := []float64{to}
	last := (n - 1) / 2
	for i := range last {
		t := float64(i) / float64(last)
		zs = append(zs, from*math.Pow(to/from, t))
		if least := from / to; i > 0 {
			zs = append(zs, from/math.Sqrt(1-t*(1-least*least)))
		}
	}
	slices.Sort(zs)
	return slices.Compact(zs)
}

type gaussianSteps struct {
	gaussianPair
	n float64
}

// mixture is the weight of z₁ in 1/mostLevels, z₁ ≤ z ≤ z₂, rounded up; low down.
func mixture(p gaussianPair, z1, z2 float64, low bool) int {
	switch {
	case p.z == z1:
		return mostLevels
	case p.z == z2 || low:
		return 0
	case p.kind == antipodalKind:
		return mostLevels
	}
	tau := func(z float64) float64 { return math.Erf(1 / (2 * math.Sqrt2 * z)) }
	t := (tau(p.z) - tau(z2)) / (tau(z1) - tau(z2))
	t += 8 * ulp * tau(z1) / (tau(z1) - tau(z2))
	if !(t < 1) { // NaN where both are 1
		return mostLevels
	}
	return int(math.Ceil(t * mostLevels))
}

// roundRates groups steps by kind and rate, ascending in z, after rounding up the
// rates (low: down) where there are too many.
func roundRates(steps []gaussianSteps, low bool) [][]gaussianSteps {
	rates := make([]float64, 0, len(steps))
	for _, s := range steps {
		rates = append(rates, s.q)
	}
	slices.Sort(rates)
	rates = slices.Compact(rates)
	if least, most := rates[0], rates[len(rates)-1]; len(rates) > mostRates {
		grid := make([]float64, mostRates)
		for i := range grid {
			grid[i] = least * math.Pow(most/least, float64(i)/(mostRates-1))
		}
		grid[mostRates-1] = most
		for i, s := range steps {
			j, exact := slices.BinarySearch(grid, s.q)
			if low && !exact {
				j = max(0, j-1)
			}
			steps[i].q = grid[j]
		}
	}
	slices.SortFunc(steps, func(a, b gaussianSteps) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.q, b.q), cmp.Compare(a.z, b.z))
	})
	var groups [][]gaussianSteps
	for i := 0; i < len(steps); {
		j := i
		for j < len(steps) && steps[j].kind == steps[i].kind && steps[j].q == steps[i].q {
			j++
		}
		groups = append(groups, mergeSteps(steps[i:j]))
		i = j
	}
	return groups
}

// mergeSteps adds up steps with the same noise multiplier, of a list sorted by it.
func mergeSteps(steps []gaussianSteps) []gaussianSteps {
	merged := steps[:1]
	for _, s := range steps[1:] {
		if last := &merged[len(merged)-1]; last.z == s.z {
			last.n += s.n
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}
