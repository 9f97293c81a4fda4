package accountant

import (
	"math"
	"testing"
)

// pairCase is a pair with its profile in closed form, forward and backward.
type pairCase struct {
	name    string
	pair    dominatingPair
	profile [2]func(eps float64) float64
}

func pairCases() []pairCase {
	gaussian := func(mu float64) func(float64) float64 {
		return func(eps float64) float64 { // Φ(a) − e^ε·Φ(b), every real ε
			return upperTail(eps/mu-mu/2) - math.Exp(eps)*upperTail(eps/mu+mu/2)
		}
	}
	// back is the profile of the exchanged pair.
	back := func(f func(float64) float64) func(float64) float64 {
		return func(eps float64) float64 { return 1 - math.Exp(eps) + math.Exp(eps)*f(-eps) }
	}
	both := func(f func(float64) float64) [2]func(float64) float64 {
		g := func(eps float64) float64 {
			if eps < 0 {
				return back(f)(eps)
			}
			return f(eps)
		}
		return [2]func(float64) float64{g, g}
	}
	sampled := func(q, z float64) func(float64) float64 {
		f := gaussian(1 / z)
		return func(eps float64) float64 {
			s := 1 + math.Expm1(eps)/q
			if s <= 0 {
				return -math.Expm1(eps)
			}
			return q * f(math.Log(s))
		}
	}
	antipodal := func(q, z float64) func(float64) float64 {
		return func(eps float64) float64 {
			x := gaussianPair{antipodalKind, q, z}.anchor(eps).x
			return (1-q)*-math.Expm1(eps)*upperTail(x/z) + q*(upperTail((x-1)/z)-math.Exp(eps)*upperTail((x+1)/z))
		}
	}
	response := func(e float64) func(float64) float64 {
		return func(eps float64) float64 {
			return max(0, -math.Expm1(eps-e)/(1+math.Exp(-e)), -math.Expm1(eps)) // the last where ε ≤ −e
		}
	}
	laplace := func(e float64) func(float64) float64 {
		return func(eps float64) float64 { return max(0, -math.Expm1((eps-e)/2)) }
	}
	// discrete sums over the points, whose loss falls in x.
	discrete := func(mass, loss func(x float64) float64, from, to float64) func(float64) float64 {
		return func(eps float64) float64 {
			total := 0.0
			for x := from; x <= to; x++ {
				total += mass(x) * max(0, -math.Expm1(eps-loss(x)))
			}
			return total
		}
	}
	list := []pairCase{
		{"gaussian", gaussianPair{mirroredKind, 1, 2}, both(gaussian(0.5))},
		{"gaussian, large", gaussianPair{mirroredKind, 1, 0.2}, both(gaussian(5))},
		{"gaussian, small", gaussianPair{mirroredKind, 1, 300}, both(gaussian(1.0 / 300))},
		{"response", responsePair{0.7}, both(response(0.7))},
		{"laplace", laplacePair{0.7}, both(laplace(0.7))},
		{"laplace, large", laplacePair{12}, both(laplace(12))},
	}
	for _, c := range []struct{ q, z float64 }{{0.01, 1}, {0.3, 0.4}, {0.9, 5}, {1e-5, 0.8}, {0.02, 40}} {
		f := sampled(c.q, c.z)
		list = append(list,
			pairCase{"sampled", gaussianPair{sampledKind, c.q, c.z}, [2]func(float64) float64{f, back(f)}},
			pairCase{"fixed size", gaussianPair{mirroredKind, c.q, c.z}, both(f)},
			pairCase{"antipodal", gaussianPair{antipodalKind, c.q, c.z}, both(antipodal(c.q, c.z))})
	}
	for _, shift := range []float64{1, 7, 3000} {
		p := discreteLaplacePair{1.3, shift}
		s := p.eps / shift
		f := discrete(func(x float64) float64 { return p.mass(s, x, x) },
			func(x float64) float64 { return p.eps * (1 - 2*x/shift) }, 0, shift)
		list = append(list, pairCase{"discrete laplace", p, [2]func(float64) float64{f, f}})
	}
	for _, sigma := range []float64{0.5, 6, 100} {
		p := discreteGaussianPair{sigma, 3}
		all := 0.0
		weight := func(x float64) float64 { return math.Exp(-x * x / (2 * sigma * sigma)) }
		for x := -40*sigma - 40; x <= 40*sigma+40; x++ {
			all += weight(math.Round(x))
		}
		f := discrete(func(x float64) float64 { return weight(x) / all }, p.loss, math.Round(-40*sigma-40), math.Round(40*sigma+40))
		list = append(list, pairCase{"discrete gaussian", p, [2]func(float64) float64{f, f}})
	}
	return list
}

// profile is δ(ε) of points on a grid.
func (p lossPoints) profile(h, eps float64) float64 {
	total := p.inf
	for i, at := range p.at {
		if l := h * float64(at); l > eps {
			total += p.mass[i] * -math.Expm1(eps-l)
		}
	}
	return total
}

// A pair on a grid has the pair's own profile at grid points, raised by rounding
// only and a chord between, or one below it by the order of the grid's square.
func TestPairsOnAGridKeepTheirProfile(t *testing.T) {
	for _, c := range pairCases() {
		f, b := c.pair.outline(1e-25)
		for _, fine := range []float64{20, 100} {
			spread := f.spread(f.mass)
			g := &lattice{h: roundBits(spread/fine, false), width: 1, most: spread, share: tailShare}
			g.beyond = []tailMass{newTailMass(f.loss, f.mass), newTailMass(reversed(b.loss, -1), reversed(b.mass, 1))}
			var high, low [2]*lossCells
			high[0], high[1] = c.pair.cells(g, 1e-25, false)
			low[0], low[1] = c.pair.cells(g, 1e-25, true)
			for d := range 2 {
				if d == 1 && c.pair.symmetric() != (high[1] == nil) {
					t.Fatalf("%s: symmetric %v, second direction %v", c.name, c.pair.symmetric(), high[1] != nil)
				}
				if high[d] == nil {
					continue
				}
				up, down := high[d].high(), low[d].low(g)
				gap := 0.0
				for i := 0; i < len(up.at); i += 1 + len(up.at)/50 {
					at := up.at[i]
					for _, part := range []float64{0, 0.37} { // on the grid, and off it
						eps := g.h * float64(at)
						if part > 0 && i+1 < len(up.at) {
							eps += part * g.h * float64(up.at[i+1]-at)
						}
						want := c.profile[d](eps)
						got, least := up.profile(g.h, eps), down.profile(g.h, eps-down.slack)
						if got < want*(1-1e-11)-1e-15 {
							t.Fatalf("%s, direction %d: δ(%g) %.17g on a grid, %.17g in truth", c.name, d, eps, got, want)
						}
						if _, atoms := c.pair.(gaussianPair); atoms && part == 0 && got > want*(1+1e-8)+2e-12 {
							t.Fatalf("%s, direction %d: δ(%g) %.17g at a grid point, %.17g in truth", c.name, d, eps, got, want)
						}
						if least > want*(1+1e-11)+1e-15 {
							t.Fatalf("%s, direction %d: δ(%g) at least %.17g, %.17g in truth", c.name, d, eps, least, want)
						}
						gap = max(gap, got-least)
					}
				}
				// The loss is off by a tenth of its spread at most, or δ by as much.
				if limit := 2 * spread / fine; gap > limit {
					t.Errorf("%s, direction %d: bounds differ by %g, more than %g", c.name, d, gap, limit)
				}
			}
		}
	}
}

// The union bound is one.
func TestVariationIsAnUpperBound(t *testing.T) {
	for _, c := range pairCases() {
		delta := max(c.profile[0](0), c.profile[1](0))
		if v := c.pair.variation(); v < delta*(1-1e-12) || v > 3*delta+1e-6 {
			t.Errorf("%s: total variation at most %.17g, is %.17g", c.name, v, delta)
		}
	}
}
