package accountant

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What is used once has a closed form, narrow and in agreement with the grid on
// which all else is bounded.
func TestClosedProfilesAgreeWithTheGrid(t *testing.T) {
	if testing.Short() {
		t.Skip("pure functions: nothing for the race detector")
	}
	r := rand.New(rand.NewPCG(7, 8))
	between := func(low, high float64) float64 { return math.Exp(math.Log(low) + r.Float64()*math.Log(high/low)) }
	widest := 0.0
	for i := range 160 {
		pairs := []dominatingPair{
			gaussianPair{antipodalKind, between(1e-4, 1), between(0.1, 20)},
			gaussianPair{sampledKind, between(1e-4, 1), between(0.1, 20)},
			laplacePair{between(0.01, 10)},
			responsePair{between(0.01, 10)},
		}
		p := pairs[r.IntN(len(pairs))]
		delta := p.variation() * between(1e-9, 0.5)
		var one [2]float64 // by the closed form
		var grid [2]float64
		for side, low := range []bool{true, false} {
			u := &pairUses{low: low}
			u.put(p, 1)
			if u.single() == nil {
				t.Fatalf("%+v has no closed form", p)
			}
			var ok bool
			if one[side], ok = u.single().profileEpsilon(delta, low); !ok {
				t.Fatalf("%+v at δ %g: no bound", p, delta)
			}
			// And back: δ at that ε.
			back, ok := u.single().profileDelta(one[side], low)
			if !ok || math.Abs(back/delta-1) > 1e-6+1e-13/delta {
				t.Errorf("%+v at δ %g, low %v: ε %.12g, where δ is %.12g", p, delta, low, one[side], back)
			}
			grid[side] = one[side]
			if i%10 > 0 { // it takes its time
				continue
			}
			u.put(responsePair{1e-30}, 1)
			if grid[side], _, _, ok = u.epsilon(delta, 0, nil); !ok {
				t.Fatalf("%+v at δ %g: no grid", p, delta)
			}
		}
		if one[0] > one[1] || one[0] > grid[1] || one[1] < grid[0] {
			t.Errorf("%+v at δ %g: ε in [%.12g, %.12g], on a grid [%.12g, %.12g]", p, delta, one[0], one[1], grid[0], grid[1])
		}
		if one[1] > one[0]*(1+1e-7)+1e-12 {
			t.Errorf("%+v at δ %g: ε in [%.12g, %.12g]", p, delta, one[0], one[1])
		}
		widest = max(widest, one[1]/one[0]-1)
	}
	t.Logf("widest bounds %.1g", widest)
}

// Noise multipliers that have no noise, or a sign, and failures that leave nothing.
func TestEdgesOfAccountants(t *testing.T) {
	lost := Approximate(AddRemove, MustAmount("0"), MustAmount("0.1"), 1)
	for _, m := range []Method{MethodRDP, MethodPLD, MethodGDP} {
		if eps, _, err := Epsilon(m, lost, 1e-6); err != nil || !math.IsInf(eps, 1) {
			t.Errorf("%s: failures of 0.1 at δ 1e-6: ε %g (%v)", m, eps, err)
		}
		if eps, _, err := Epsilon(m, lost, 0.1*(1+1e-12)); err != nil || eps != 0 {
			t.Errorf("%s: failures of 0.1 at as large a δ: ε %g (%v)", m, eps, err)
		}
	}
	exact := Approximate(AddRemove, MustAmount("0.1"), MustAmount("1e-13"), 2)
	d, _, err := Delta(MethodRDP, exact, 0.2)
	if err != nil || !(d >= 2e-13-1e-26 && d < 2.0001e-13) {
		t.Fatalf("δ %g (%v)", d, err)
	}
	for _, m := range []Method{MethodRDP, MethodPLD} {
		if eps, _, err := Epsilon(m, exact, d); err != nil || eps != 0.2 {
			t.Errorf("%s: ε %g (%v) where δ covers the failures exactly, want 0.2", m, eps, err)
		}
	}
	for _, e := range []Event{
		DiscreteGaussian(AddRemove, 0, 60, 4),
		Compose(Laplace(AddRemove, 2, 3), DiscreteGaussian(AddRemove, 0, 60, 4)),
	} {
		if d, _, err := Delta(MethodPLD, e, 1); err != nil || d != 1 {
			t.Errorf("without noise: δ %g (%v)", d, err)
		}
		if eps, _, err := Epsilon(MethodPLD, e, 1e-6); err != nil || !math.IsInf(eps, 1) {
			t.Errorf("without noise: ε %g (%v)", eps, err)
		}
	}
	negative := FixedSizeGaussian(ReplaceOne, 14, 20, math.Copysign(0, -1), 3)
	if mu, err := EstimateMu(negative); err != nil || !math.IsInf(mu, 1) {
		t.Errorf("noise multiplier −0: μ %g (%v)", mu, err)
	}
}
