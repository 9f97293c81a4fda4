package accountant

import (
	"cmp"
	"math"
	"slices"
)

// mechanism is a dominating pair; n is about how often it is used.
type pairUse struct {
	dominatingPair
	n float64
}

const (
	mostPairs  = 96  // sampled steps that are told apart
	mostNodes  = 64  // beyond: noise multipliers of a schedule, in all
	mostRates  = 16  // and rates
	mostLevels = 256 // mixtures of two neighbouring nodes
)

// mechanisms are the dominating pairs of c, and what they are used for. With low
// the pairs are dominated by c instead.
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
// A node's distance d from its neighbour, in log z, thus costs about d²/8, and the
// mixing weight is rounded up to 1/256: with 64 nodes over a factor 3 of z, ε is about
// 10⁻⁴ too large. No such lemma is known for the antipodal pair: there z is rounded
// down to a node, at a cost of about d/2. Rates beyond mostRates are rounded up.
func (c *curve) mechanisms(low bool) ([]pairUse, []lossFactor) {
	var ms []pairUse
	var fs []lossFactor
	put := func(p dominatingPair, n float64) {
		ms = append(ms, pairUse{p, n})
		fs = append(fs, lossFactor{len(ms) - 1, len(ms) - 1, 0, n})
	}
	if c.mu2 > 0 {
		z := 1 / math.Sqrt(c.mu2)
		if low {
			z *= 1 + 32*ulp // Σμ² was rounded up
		} else {
			z *= 1 - 4*ulp
		}
		put(gaussianPair{mirroredKind, 1, z}, 1)
	}
	for _, r := range c.response {
		put(responsePair{r.eps}, r.count)
	}
	for _, r := range c.laplace {
		put(laplacePair{r.eps}, r.count)
	}
	for _, d := range c.discrete {
		put(discreteLaplacePair{up(c.adj.distance()/d.z, 4), float64(d.shift)}, d.count)
	}
	for _, d := range c.gaussian {
		put(discreteGaussianPair{d.z * float64(d.shift) / c.adj.distance(), float64(d.shift)}, d.count)
	}

	steps := make([]gaussianSteps, 0, len(c.sampled)+len(c.fixed))
	for _, s := range c.sampled {
		kind := sampledKind
		if s.adj == ReplaceOne {
			kind = antipodalKind
		}
		steps = append(steps, gaussianSteps{gaussianPair{kind, s.q, s.z}, s.count})
	}
	for _, s := range c.fixed {
		steps = append(steps, gaussianSteps{gaussianPair{mirroredKind, s.q, s.z / c.adj.distance()}, s.count})
	}
	if len(steps) <= mostPairs {
		for _, s := range steps {
			put(s.gaussianPair, s.n)
		}
		return ms, fs
	}
	groups := roundRates(steps, low)
	for _, g := range groups {
		nodes := max(2, mostNodes/len(groups))
		if len(g) <= nodes {
			for _, s := range g {
				put(s.gaussianPair, s.n)
			}
			continue
		}
		base := len(ms)
		zs := make([]float64, nodes)
		from, to := g[0].z, g[len(g)-1].z
		for i := range zs {
			zs[i] = from * math.Pow(to/from, float64(i)/float64(nodes-1))
		}
		zs[nodes-1] = to
		for _, z := range zs {
			ms = append(ms, pairUse{gaussianPair{g[0].kind, g[0].q, z}, 0})
		}
		count := make([][mostLevels + 1]float64, nodes)
		i := 0
		for _, s := range g {
			for i < nodes-2 && zs[i+1] <= s.z {
				i++
			}
			count[i][mixture(s.gaussianPair, zs[i], zs[i+1], low)] += s.n
		}
		for i := range nodes - 1 {
			for level, n := range count[i] {
				if n == 0 {
					continue
				}
				t := float64(level) / mostLevels
				fs = append(fs, lossFactor{base + i + 1, base + i, t, n})
				ms[base+i+1].n += (1 - t) * n
				ms[base+i].n += t * n
			}
		}
	}
	return ms, fs
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
		groups = append(groups, steps[i:j])
		i = j
	}
	return groups
}
