package accountant

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

const (
	ulp = 0x1p-52 // relative distance of neighbouring float64

	// Losses are rounded up and noise down to these before they are squared,
	// so that no cost underflows to 0.
	leastLoss     = 1e-100
	greatestNoise = 1e50
)

// curve is a valid event, sorted by how its parts compose. Under RDP it is a
// function of the order; under Gaussian DP a number.
type curve struct {
	adj      Adjacency
	mu2      float64         // Σ μ² of the Gaussians without sampling, rounded up
	rho      float64         // Σ ρ of zCDP events and discrete Gaussians, rounded up
	sampled  []sampledSteps  // Poisson-sampled Gaussians, ascending in q, then z
	fixed    []sampledSteps  // Gaussians on samples of fixed size, replace-one, ascending too
	response []responses     // pure and approximate events, without their δ
	laplace  []responses     // the ε of Laplace events is 1/b
	discrete []discreteNoise // discrete Laplace
	gaussian []discreteNoise // discrete Gaussians; they are in rho too
	zcdp     bool            // zCDP events, of which nothing but ρ is known
	deltaInf float64         // probability that an approximate event fails at all, rounded up
	pure     bool            // nothing but pure and Laplace events
	pureSum  Amount          // Σ ε of pure, Laplace and approximate events, exact but for Laplace
	deltaSum Amount          // Σ δ of approximate events, exact

	// What rdp keeps between orders; a curve is for one goroutine.
	sequences []*sequence
	terms     []float64
}

// sampledSteps are count steps with rate 0 < q < 1 and noise multiplier z.
type sampledSteps struct {
	adj   Adjacency
	q, z  float64
	count float64
}

// responses are count mechanisms that are eps-DP.
type responses struct{ eps, count float64 }

// discreteNoise are count uses of noise on the integers: z is its parameter
// divided by the add-remove sensitivity, shift how far neighbours lie apart, in
// integers (0: not known).
type discreteNoise struct {
	z     float64
	shift int64
	count float64
}

// curveOf compiles e. The error wraps ErrDomain, or ErrUnsupported where no
// accountant has a rule for an event under its adjacency.
func curveOf(e Event) (*curve, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	c := &curve{adj: e.Adjacency, pure: true}
	distance := e.Adjacency.distance()
	var squares, rhos []float64
	survive := 0.0 // log of the probability that no approximate event fails
	u := e.uses()
	for _, x := range u.list {
		part, n := &u.leaves[x.leaf], float64(x.count)
		z := min(x.z, greatestNoise)
		switch part.kind {
		case TypeGaussian:
			mu := distance / z
			squares = append(squares, n*mu*mu)
			c.pure = false
		case TypePoissonGaussian:
			c.sampled = append(c.sampled, sampledSteps{e.Adjacency, part.q, z, n})
			c.pure = false
		case TypeFixedSizeGaussian:
			if e.Adjacency != ReplaceOne {
				return nil, fmt.Errorf("%w: fixed_size_gaussian is defined under replace-one only: a source of fixed size has no neighbour with one unit more", ErrUnsupported)
			}
			c.pure = false
			if part.sample == part.source {
				mu := distance / z
				squares = append(squares, n*mu*mu)
				continue
			}
			// Both are whole numbers below 2⁵³: one rounding.
			q := math.Nextafter(float64(part.sample)/float64(part.source), 1)
			c.fixed = append(c.fixed, sampledSteps{e.Adjacency, min(q, 1-ulp/2), z, n})
		case TypeDiscreteGaussian:
			mu := distance / z
			rhos = append(rhos, n*mu*mu/2)
			c.gaussian = append(c.gaussian, discreteNoise{z, int64(distance) * part.sensitivity, n})
			c.pure = false
		case TypeLaplace, TypeDiscreteLaplace:
			if z == 0 {
				c.mu2 = math.Inf(1)
				c.pure = false
				continue
			}
			if part.kind == TypeLaplace {
				c.laplace = append(c.laplace, responses{up(distance/z, 2), n})
			} else {
				c.discrete = append(c.discrete, discreteNoise{z, int64(distance) * part.sensitivity, n})
			}
			c.pureSum = c.pureSum.Add(inverseUp(int64(distance), z).times(x.count))
		case TypeZCDP:
			c.zcdp, c.pure = true, false
			if !part.rho.IsZero() {
				rhos = append(rhos, n*max(part.rho.Float64Up(), leastLoss))
			}
		case TypePure, TypeApproximate, TypePartitionSelection:
			if !part.eps.IsZero() {
				c.response = append(c.response, responses{max(part.eps.Float64Up(), leastLoss), n})
			}
			c.pureSum = c.pureSum.Add(part.eps.times(x.count))
			if part.kind != TypePure && !part.delta.IsZero() {
				c.pure = false
				c.deltaSum = c.deltaSum.Add(part.delta.times(x.count))
				survive += n * math.Log1p(-part.delta.Float64Up())
			}
		}
	}
	// Leaves are sorted by noise before size.
	slices.SortStableFunc(c.fixed, func(a, b sampledSteps) int { return cmp.Or(cmp.Compare(a.q, b.q), cmp.Compare(a.z, b.z)) })
	c.rho = up(sum(rhos), 8)
	// Five roundings a term; the compensated sum adds less than one more.
	c.mu2 += up(sum(squares), 8)
	c.deltaInf = min(1, up(-math.Expm1(survive), 16+4*float64(len(c.response))))
	return c, nil
}

// rdp is the Rényi divergence of order alpha > 1 of everything but the failures
// of approximate events, rounded up. It depends on alpha alone, not on earlier
// calls.
func (c *curve) rdp(alpha float64) float64 {
	if c.sequences == nil {
		room := tableRoom
		c.sequences = append(sequences(kindOf(c.adj), c.sampled, &room), sequences(fixedSize, c.fixed, &room)...)
	}
	terms := c.terms[:0]
	if c.mu2 > 0 {
		terms = append(terms, up(alpha*c.mu2/2, 2))
	}
	if c.rho > 0 {
		terms = append(terms, up(alpha*c.rho, 2)) // Bun & Steinke 2016, Definition 1.1
	}
	for _, g := range c.sequences {
		terms = g.costs(alpha, terms)
	}
	for _, r := range c.response {
		terms = append(terms, up(r.count*responseRDP(r.eps, alpha), 2))
	}
	for _, r := range c.laplace {
		terms = append(terms, up(r.count*laplaceRDP(r.eps, alpha), 2))
	}
	for _, s := range c.discrete {
		eps := up(c.adj.distance()/s.z, 2)
		terms = append(terms, up(s.count*discreteLaplaceRDP(eps, float64(s.shift), alpha), 2))
	}
	c.terms = terms
	return up(sum(terms), 2)
}

// up raises x ≥ 0 by n units in the last place and down lowers it, so that a
// result with a relative error of at most n·2⁻⁵² lands on the safe side.
func up(x, n float64) float64 {
	if x == 0 {
		return 0
	}
	return math.Nextafter(x*(1+n*ulp), math.Inf(1))
}

func down(x, n float64) float64 {
	if x <= 0 || math.IsInf(x, 1) {
		return max(x, 0)
	}
	return math.Nextafter(x*(1-n*ulp), 0)
}

// addUp is a + b, rounded up to a float64 for a, b ≥ 0.
func addUp(a, b float64) float64 {
	s := a + b
	if math.IsInf(s, 1) {
		return s
	}
	// Knuth's two-sum: the rounding error of a + b, exactly.
	t := s - a
	if err := (a - (s - t)) + (b - t); err > 0 {
		return math.Nextafter(s, math.Inf(1))
	}
	return s
}

// sum adds terms ≥ 0 with Neumaier's compensation, in ascending order: its
// relative error is below 2⁻⁵² for fewer than 2²⁰ terms.
func sum(terms []float64) float64 {
	slices.Sort(terms)
	total, rest := 0.0, 0.0
	for _, x := range terms {
		t := total + x
		if math.IsInf(t, 1) {
			return t
		}
		if total >= x {
			rest += (total - t) + x
		} else {
			rest += (x - t) + total
		}
		total = t
	}
	return total + rest
}
