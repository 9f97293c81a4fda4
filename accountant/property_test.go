package accountant

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// Properties that hold whatever the formulas are. Bounds are compared without a
// tolerance where both are certified, and with a named one where a grid or a
// search moves them.

var everyMethod = []Method{MethodRDP, MethodPLD, MethodGDP}

const (
	// gridSlack is how far the choice of PLD's grid moves ε, relatively.
	gridSlack = 1e-3
	// searchSlack is how far a search for the best order may stop short.
	searchSlack = 1e-6
)

// anyStep is a leaf that does something, of any kind that PLD supports.
func anyStep(adj Adjacency) *rapid.Generator[Event] {
	return rapid.Custom(func(t *rapid.T) Event {
		z, n := rapid.Float64Range(0.6, 20), rapid.Int64Range(1, 200).Draw(t, "count")
		few := 1 + n%5
		switch kind := rapid.IntRange(0, 7).Draw(t, "kind"); {
		case kind == 0:
			return Gaussian(adj, z.Draw(t, "z")*math.Sqrt(float64(n)), n)
		case kind == 1:
			return Laplace(adj, 3*z.Draw(t, "b"), few)
		case kind == 2:
			return Pure(adj, MustAmount(rapid.SampledFrom([]string{"0.001", "0.05", "0.3"}).Draw(t, "ε")), few)
		case kind == 3:
			return Approximate(adj, MustAmount("0.1"), MustAmount(rapid.SampledFrom([]string{"1e-13", "1e-16"}).Draw(t, "δ")), few)
		case kind == 4:
			return DiscreteLaplace(adj, 3*z.Draw(t, "b"), rapid.Int64Range(1, 20).Draw(t, "sensitivity"), few)
		case kind == 5 && adj == ReplaceOne:
			return FixedSizeGaussian(adj, rapid.Int64Range(1, 500).Draw(t, "sample"), 1000, z.Draw(t, "z"), n)
		case kind == 5:
			return DiscreteGaussian(adj, z.Draw(t, "z"), rapid.Int64Range(1, 3).Draw(t, "sensitivity"), few)
		}
		return PoissonGaussian(adj, math.Exp(rapid.Float64Range(math.Log(1e-4), math.Log(0.5)).Draw(t, "log q")), z.Draw(t, "z"), n)
	})
}

// price is ε by a method, and whether the method has a rule for the event.
func price(t *rapid.T, m Method, e Event, delta float64) (float64, bool) {
	eps, _, err := Epsilon(m, e, delta)
	if err != nil {
		if m == MethodGDP {
			return 0, false
		}
		t.Fatalf("%s: %v", m, err)
	}
	if !(eps >= 0) || math.Signbit(eps) {
		t.Fatalf("%s: ε %g", m, eps)
	}
	return eps, true
}

func pldBounds(t *rapid.T, e Event, delta float64, interval float64) Bounds {
	b, err := PLDEpsilon(e, delta, PLDOptions{Interval: interval})
	if err != nil {
		t.Fatal(err)
	}
	if !(0 <= b.Lower && b.Lower <= b.Upper) {
		t.Fatalf("bounds %+v", b)
	}
	return b
}

// However a composition is bracketed, ordered and counted, it is one event and
// costs the same to the last bit.
func TestCompositionIsAssociativeAndCommutative(t *testing.T) {
	checks(t, 8)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		list := rapid.SliceOfN(anyStep(adj), 3, 3).Draw(t, "events")
		a, b, c := list[0], list[1], list[2]
		left, right := Compose(Compose(a, b), c), Compose(a, Compose(b, c))
		mixed := Compose(c, Compose(b), Compose(Compose(a)))
		twice := Compose(left, right)
		counted := left
		counted.Count = 2
		for what, pair := range map[string][2]Event{"associative": {left, right}, "commutative": {left, mixed}, "counted": {twice, counted}} {
			x, y := pair[0], pair[1]
			if !reflect.DeepEqual(x.Merge(), y.Merge()) {
				t.Fatalf("not %s: %+v and %+v", what, x.Merge(), y.Merge())
			}
			for _, m := range everyMethod {
				if what == "counted" && m == MethodPLD {
					continue // the same Merge, as was seen
				}
				u, ok := price(t, m, x, delta)
				if v, _ := price(t, m, y, delta); ok && u != v {
					t.Fatalf("not %s by %s: %.17g and %.17g", what, m, u, v)
				}
			}
			if rx, errX := RDP(x, 3.5); errX == nil {
				if ry, _ := RDP(y, 3.5); rx != ry {
					t.Fatalf("not %s: RDP %.17g and %.17g", what, rx, ry)
				}
			}
		}
	})
}

// More of anything never costs less. PLD's certified lower bound of the less
// never exceeds its upper bound of the more; its own ε rises but for the grid.
func TestEveryAccountantIsMonotone(t *testing.T) {
	checks(t, 15)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		q := math.Exp(rapid.Float64Range(math.Log(1e-4), math.Log(0.5)).Draw(t, "log q"))
		z, n := rapid.Float64Range(0.6, 20).Draw(t, "z"), rapid.Int64Range(1, 2000).Draw(t, "n")
		factor := rapid.Float64Range(1.01, 2).Draw(t, "factor")
		e := PoissonGaussian(adj, q, z, n)
		what := rapid.SampledFrom([]string{"rate", "noise", "steps", "delta", "event"}).Draw(t, "more of")
		more, moreDelta := e, delta
		switch what {
		case "rate":
			more = PoissonGaussian(adj, min(1, q*factor), z, n)
		case "noise":
			more = PoissonGaussian(adj, q, z/factor, n)
		case "steps":
			more = PoissonGaussian(adj, q, z, n+rapid.Int64Range(1, n).Draw(t, "steps"))
		case "delta":
			moreDelta = delta / factor
		case "event":
			more = Compose(e, anyStep(adj).Draw(t, "another"))
		}
		for _, m := range []Method{MethodRDP, MethodPLD} {
			less, _ := price(t, m, e, delta)
			if x, _ := price(t, m, more, moreDelta); less > x*(1+gridSlack)+1e-9 {
				t.Fatalf("%s: ε falls from %.12g to %.12g with more %s", m, less, x, what)
			}
		}
		if a, b := pldBounds(t, e, delta, 0), pldBounds(t, more, moreDelta, 0); a.Lower > b.Upper {
			t.Fatalf("%+v of less, %+v of more %s", a, b, what)
		}
	})
}

// PLD is never worse than RDP, nor than Gaussian DP where that is defined.
func TestPLDIsNeverAboveTheOthers(t *testing.T) {
	checks(t, 8)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		e := Compose(rapid.SliceOfN(anyStep(adj), 1, 3).Draw(t, "events")...)
		pld, _ := price(t, MethodPLD, e, delta)
		rdp, _ := price(t, MethodRDP, e, delta)
		if pld > rdp {
			t.Fatalf("ε by PLD %.17g, by RDP %.17g", pld, rdp)
		}
		if gdp, ok := price(t, MethodGDP, e, delta); ok && pld > gdp*(1+gridSlack)+1e-9 {
			t.Fatalf("ε by PLD %.17g, by GDP %.17g", pld, gdp)
		}
		b := pldBounds(t, e, delta, 0)
		if b.Lower > pld || b.Lower > rdp {
			t.Fatalf("ε by PLD %.17g, by RDP %.17g, but at least %.17g", pld, rdp, b.Lower)
		}
		eps := pld * rapid.Float64Range(0.3, 1.5).Draw(t, "part of ε")
		d, _, err := Delta(MethodPLD, e, eps)
		if err != nil {
			t.Fatal(err)
		}
		if r, _, _ := Delta(MethodRDP, e, eps); d > r {
			t.Fatalf("δ by PLD %.17g, by RDP %.17g", d, r)
		}
	})
}

// ε and δ are each other's inverse: going there and back never lands above by
// more than a search or a grid explains, and never below what is certified.
func TestEpsilonAndDeltaRoundTrip(t *testing.T) {
	checks(t, 8)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		e := Compose(rapid.SliceOfN(anyStep(adj), 1, 2).Draw(t, "events")...)
		for _, m := range everyMethod {
			slack := searchSlack
			if m == MethodPLD {
				if delta < 1e-9 {
					continue // a heavy tail may be hard for one of them
				}
				slack = gridSlack
			}
			eps, ok := price(t, m, e, delta)
			if !ok || math.IsInf(eps, 1) {
				continue
			}
			// A relative change of ε by s changes log δ by the curve's slope: take
			// it into ε, where the tolerance is meant.
			back, _, err := Delta(m, e, eps*(1+slack)+1e-9)
			if err != nil {
				t.Fatal(err)
			}
			if !(back <= delta) {
				t.Fatalf("%s: ε(%g) = %.17g, δ of that and a little %.17g", m, delta, eps, back)
			}
			if eps < 1e-3 {
				continue // a grid may be coarse beside it
			}
			d, _, err := Delta(m, e, eps*0.9)
			if err != nil {
				t.Fatal(err)
			}
			if c, _ := curveOf(e); d <= c.deltaInf*(1+1e-9) {
				continue // nothing but failures are left
			}
			if again, _ := price(t, m, e, d); again > eps*0.9*(1+slack)+1e-9 {
				t.Fatalf("%s: δ(%.17g) = %.17g, ε of that %.17g", m, eps*0.9, d, again)
			}
		}
	})
}

// A rate of 1 is no sampling; a rate of almost 1 goes through the grid and meets
// the exact curve from both sides.
func TestFullRateIsTheGaussian(t *testing.T) {
	checks(t, 20)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		z, n := rapid.Float64Range(0.6, 20).Draw(t, "z"), rapid.Int64Range(2, 500).Draw(t, "n")
		z *= math.Sqrt(float64(n))
		sampled := Event{Type: TypePoissonGaussian, Adjacency: adj, SamplingRate: 1, NoiseMultiplier: z, Count: n}
		exact := GaussianEpsilon(math.Sqrt(float64(n))*adj.distance()/z, delta)
		for _, m := range everyMethod {
			a, _ := price(t, m, sampled, delta)
			if b, _ := price(t, m, Gaussian(adj, z, n), delta); a != b {
				t.Fatalf("%s: rate 1 costs %.17g, no sampling %.17g", m, a, b)
			}
			if m != MethodRDP && (a < exact*(1-1e-12) || a > exact*(1+1e-6)) {
				t.Fatalf("%s: ε %.17g, exactly %.17g", m, a, exact)
			}
		}
		if adj == AddRemove && exact > 0 {
			b := pldBounds(t, PoissonGaussian(adj, 1-1e-12, z, n), delta, 0)
			if b.Interval == 0 || b.Upper < exact*(1-1e-8) || b.Lower > exact || b.Upper > exact*(1+gridSlack)+1e-9 {
				t.Fatalf("a rate of almost 1: %+v, exactly %.17g", b, exact)
			}
		}
	})
}

// Replacing costs twice the distance without sampling, and never less than
// adding or removing with it.
func TestReplacingAgainstAdding(t *testing.T) {
	checks(t, 8)
	rapid.Check(t, func(t *rapid.T) {
		delta := anyDelta(t)
		z, n := rapid.Float64Range(0.6, 20).Draw(t, "z"), rapid.Int64Range(1, 100).Draw(t, "n")
		q := math.Exp(rapid.Float64Range(math.Log(1e-4), math.Log(0.9)).Draw(t, "log q"))
		z2 := z * math.Sqrt(float64(n))
		for _, m := range everyMethod {
			for what, pair := range map[string][2]Event{
				"Gaussian": {Gaussian(ReplaceOne, z2, n), Gaussian(AddRemove, z2/2, n)},
				"Laplace":  {Laplace(ReplaceOne, 5*z, n%7), Laplace(AddRemove, 5*z/2, n%7)},
			} {
				a, _ := price(t, m, pair[0], delta)
				if b, _ := price(t, m, pair[1], delta); a != b {
					t.Fatalf("%s by %s: replace-one %.17g, half the noise %.17g", what, m, a, b)
				}
			}
			if m == MethodGDP {
				continue
			}
			replace, _ := price(t, m, PoissonGaussian(ReplaceOne, q, z, n), delta)
			if add, _ := price(t, m, PoissonGaussian(AddRemove, q, z, n), delta); add > replace*(1+gridSlack)+1e-9 {
				t.Fatalf("%s: add-remove %.17g, replace-one %.17g", m, add, replace)
			}
		}
		replace := pldBounds(t, PoissonGaussian(ReplaceOne, q, z, n), delta, 0)
		if add := pldBounds(t, PoissonGaussian(AddRemove, q, z, n), delta, 0); add.Lower > replace.Upper {
			t.Fatalf("add-remove %+v, replace-one %+v", add, replace)
		}
	})
}

// Sampling never costs: a step on part of the data is charged at most like one
// on all of it, and more of the data never less.
func TestSamplingNeverCosts(t *testing.T) {
	checks(t, 15)
	rapid.Check(t, func(t *rapid.T) {
		delta := anyDelta(t)
		z, n := rapid.Float64Range(0.8, 20).Draw(t, "z"), rapid.Int64Range(1, 100).Draw(t, "n")
		z *= math.Sqrt(float64(n))
		source := rapid.Int64Range(2, 1e6).Draw(t, "source")
		m := rapid.Int64Range(1, source-1).Draw(t, "sample")
		part, all := FixedSizeGaussian(ReplaceOne, m, source, z, n), Gaussian(ReplaceOne, z, n)
		for _, method := range []Method{MethodRDP, MethodPLD} {
			x, _ := price(t, method, part, delta)
			if y, _ := price(t, method, all, delta); x > y*(1+gridSlack)+1e-9 {
				t.Fatalf("%s: %d of %d costs %.17g, all %.17g", method, m, source, x, y)
			}
			whole, _ := price(t, method, FixedSizeGaussian(ReplaceOne, source, source, z, n), delta)
			if y, _ := price(t, method, all, delta); whole != y {
				t.Fatalf("%s: a sample of all costs %.17g, no sampling %.17g", method, whole, y)
			}
		}
		alpha := anyOrder(t)
		if x, y := mustRDP(t, part, alpha), mustRDP(t, all, alpha); x > y {
			t.Fatalf("order %g: %d of %d costs %.17g, all %.17g", alpha, m, source, x, y)
		}
		if a, b := pldBounds(t, part, delta, 0), pldBounds(t, all, delta, 0); a.Lower > b.Upper {
			t.Fatalf("part %+v, all %+v", a, b)
		}
	})
}

// A finer grid is no worse but for rounding, and no grid's upper bound is below
// another's lower bound.
func TestGridsAgree(t *testing.T) {
	checks(t, 6)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		// Atoms off the grid profit from a coarser one by chance.
		smooth := anyStep(adj).Filter(func(e Event) bool {
			return e.Type == TypeGaussian || e.Type == TypePoissonGaussian || e.Type == TypeFixedSizeGaussian
		})
		e := Compose(rapid.SliceOfN(smooth, 1, 2).Draw(t, "events")...)
		h := math.Exp(rapid.Float64Range(math.Log(3e-4), math.Log(1e-2)).Draw(t, "log interval"))
		list := []Bounds{pldBounds(t, e, delta, 0), pldBounds(t, e, delta, 2*h), pldBounds(t, e, delta, h), pldBounds(t, e, delta, h/2)}
		for i, a := range list {
			for j, b := range list {
				if a.Lower > b.Upper {
					t.Fatalf("interval %g: grid %d is %+v, grid %d %+v", h, i, a, j, b)
				}
			}
			if i > 1 && a.Upper > list[i-1].Upper*(1+tolerance)+1e-9 {
				t.Fatalf("interval %g: half of it raises ε from %.17g to %.17g", list[i-1].Interval, list[i-1].Upper, a.Upper)
			}
		}
	})
}

// Whatever did something costs something, at every order.
func TestEveryEventHasADivergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		e := anyStep(adj).Draw(t, "event")
		alpha := 1 + math.Exp(rapid.Float64Range(math.Log(1e-9), math.Log(1e9)).Draw(t, "log(order−1)"))
		scale := math.Exp(rapid.Float64Range(0, math.Log(1e12)).Draw(t, "log scale"))
		e.NoiseMultiplier *= scale
		if e.Type == TypeApproximate {
			return // no finite one
		}
		if r := mustRDP(t, e, alpha); !(r > 0) || math.IsInf(r, 1) {
			t.Fatalf("%+v costs %g at order %.17g", e, r, alpha)
		}
	})
}

// A calibrated parameter keeps the target, and a little less of it would not.
func TestCalibrationsAreTightAndSafe(t *testing.T) {
	checks(t, 3)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		q := math.Exp(rapid.Float64Range(math.Log(1e-3), math.Log(0.3)).Draw(t, "log q"))
		z, n := rapid.Float64Range(1, 10).Draw(t, "z"), rapid.Int64Range(10, 2000).Draw(t, "n")
		target := Target{math.Exp(rapid.Float64Range(math.Log(0.3), math.Log(8)).Draw(t, "log ε")), delta}
		fits := func(m Method, e Event) bool {
			eps, _ := price(t, m, e, delta)
			return eps <= target.Epsilon
		}
		for _, m := range everyMethod {
			rate := q
			if m == MethodGDP {
				rate = 1
			}
			byNoise := func(z float64) Event { return PoissonGaussian(adj, rate, z, n) }
			z2, err := CalibrateNoise(m, target, byNoise)
			if err != nil {
				t.Fatal(err)
			}
			if !fits(m, byNoise(z2)) || fits(m, byNoise(z2*(1-1e-4))) {
				t.Fatalf("%s: noise multiplier %.17g for %+v, rate %g, %d steps", m, z2, target, rate, n)
			}

			bySteps := func(n int64) Event { return PoissonGaussian(adj, rate, z, n) }
			steps, err := CalibrateSteps(m, target, bySteps)
			if err != nil {
				if fits(m, bySteps(1)) {
					t.Fatalf("%s: %v, but one step fits", m, err)
				}
			} else if !fits(m, bySteps(steps)) || fits(m, bySteps(steps+1+steps/10000)) {
				t.Fatalf("%s: %d steps for %+v, rate %g, z %g", m, steps, target, rate, z)
			}

			if m == MethodGDP {
				continue
			}
			byRate := func(q float64) Event { return PoissonGaussian(adj, q, z, n) }
			q2, err := CalibrateRate(m, target, byRate)
			if err != nil {
				t.Fatal(err)
			}
			if !fits(m, byRate(q2)) || q2 < 1 && fits(m, byRate(min(1, q2*(1+1e-4)))) {
				t.Fatalf("%s: rate %.17g for %+v, z %g, %d steps", m, q2, target, z, n)
			}
		}
	})
}

// A schedule of many different steps costs what its parts cost together: it lies
// between its steps at the least and at the greatest noise.
func TestSchedulesLieBetweenTheirEnds(t *testing.T) {
	checks(t, 3)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		q := math.Exp(rapid.Float64Range(math.Log(1e-3), math.Log(0.1)).Draw(t, "log q"))
		z, spread := rapid.Float64Range(0.8, 5).Draw(t, "z"), rapid.Float64Range(1e-3, 1).Draw(t, "spread")
		steps := rapid.IntRange(2, 400).Draw(t, "steps")
		zs := make([]float64, steps)
		for i := range zs {
			zs[i] = z * (1 + spread*float64(i)/float64(steps-1))
		}
		e := Event{Type: TypePoissonGaussian, Adjacency: adj, SamplingRate: q, NoiseMultipliers: zs, Count: 1}
		dear, cheap := PoissonGaussian(adj, q, z, int64(steps)), PoissonGaussian(adj, q, zs[steps-1], int64(steps))
		b := pldBounds(t, e, delta, 0)
		if d := pldBounds(t, dear, delta, 0); b.Lower > d.Upper {
			t.Fatalf("schedule %+v, all at its least noise %+v", b, d)
		}
		if c := pldBounds(t, cheap, delta, 0); b.Upper < c.Lower {
			t.Fatalf("schedule %+v, all at its greatest noise %+v", b, c)
		}
		alpha := anyOrder(t)
		r, total := mustRDP(t, e, alpha), 0.0
		for _, z := range zs {
			total += mustRDP(t, PoissonGaussian(adj, q, z, 1), alpha)
		}
		if r < total*(1-1e-9) || r > total*(1+1e-5) {
			t.Fatalf("order %g: the schedule costs %.17g, its steps %.17g", alpha, r, total)
		}
	})
}
