package accountant

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The lemma in sequence.go by second differences: R is convex in s or in
// −e^(−s/2), s = 1/z², also near order 1, before and past the knee; and not where
// it does not say so.
func TestDivergenceIsConvexInPrecision(t *testing.T) {
	in := map[int]func(s float64) float64{
		poisson:   func(s float64) float64 { return s },
		antipodal: func(s float64) float64 { return -2 * math.Exp(-s/2) },
		fixedSize: func(s float64) float64 { return -2 * math.Exp(-s/2) }, // σ = z/2
	}
	for kind, v := range in {
		least := math.Inf(1)
		for _, q := range []float64{1e-6, 0.001, 0.01, 0.1, 0.45, 0.5, 0.7, 0.95} {
			for _, alpha := range []float64{1 + 1e-4, 1.1, 1.5, 2, 3, 8, 30, 100} {
				r := func(s float64) float64 { return newPair(kind, q, 1/math.Sqrt(s)).rdp(alpha) }
				bend := math.Inf(1)
				for s := 1e-3; s < 40; s *= 1.6 {
					a, b, c := s*0.99, s, s*1.01
					slope := (r(c)-r(b))/(v(c)-v(b)) - (r(b)-r(a))/(v(b)-v(a))
					bend = min(bend, slope*(v(c)-v(a))/r(b))
				}
				// The second difference of R cancels 10⁻¹³ of it.
				if kind == antipodal && q > 0.5 {
					least = min(least, bend)
				} else if bend < -1e-12 {
					t.Errorf("kind %d q %g order %g: bends by %.2g of R", kind, q, alpha, bend)
				}
			}
		}
		if kind == antipodal && least > -1e-6 {
			t.Errorf("the antipodal pair bends by %.2g of R at most where q > ½: the bound on q is not needed", least)
		}
	}
}

// anyMultipliers is a list long enough to be charged by chords.
func anyMultipliers(t *rapid.T) []float64 {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	low := math.Exp(rapid.Float64Range(math.Log(0.3), math.Log(50)).Draw(t, "log z"))
	ratio := math.Exp(rapid.Float64Range(0.01, 3).Draw(t, "log ratio"))
	list := make([]float64, fewSteps+rapid.IntRange(1, 300).Draw(t, "more"))
	for i := range list {
		list[i] = low * math.Pow(ratio, random.Float64())
	}
	return list
}

func listed(e Event, list []float64) Event {
	e.NoiseMultiplier, e.NoiseMultipliers = 0, list
	return e
}

// Many noise multipliers cost at least what they cost one by one, and hardly
// more; fewer of them cost less, and their order does not matter.
func TestManyNoiseMultipliers(t *testing.T) {
	checks(t, 4)
	worst := map[string]float64{}
	rapid.Check(t, func(t *rapid.T) {
		list, alpha := anyMultipliers(t), anyOrder(t)
		q := math.Exp(rapid.Float64Range(math.Log(1e-5), math.Log(0.5)).Draw(t, "log q"))
		sample := int64(math.Ceil(q * 1e6))
		for name, c := range map[string]struct {
			e     Event
			limit float64
		}{
			"add-remove":   {PoissonGaussian(AddRemove, q, 1, 1), 2e-6},
			"replace-one":  {PoissonGaussian(ReplaceOne, q, 1, 1), 2e-6},
			"large rate":   {PoissonGaussian(ReplaceOne, 1-q, 1, 1), 1.1e-3},
			"fixed size":   {FixedSizeGaussian(ReplaceOne, sample, 1e6, 1, 1), 2e-6},
			"large sample": {FixedSizeGaussian(ReplaceOne, 1e6-sample, 1e6, 1, 1), 2e-6},
		} {
			var parts []float64
			for _, z := range list {
				one := c.e
				one.NoiseMultiplier = z
				parts = append(parts, mustRDP(t, one, alpha))
			}
			want, got := sum(parts), mustRDP(t, listed(c.e, list), alpha)
			if off := got/want - 1; off < -1e-14 || off > c.limit {
				t.Fatalf("%s q %g order %g: %.17g, one by one %.17g (off by %.2g)", name, q, alpha, got, want, off)
			} else {
				worst[name] = max(worst[name], off)
			}
			if fewer := mustRDP(t, listed(c.e, list[1:]), alpha); fewer > got {
				t.Fatalf("%s q %g order %g: %.17g, without its first step %.17g", name, q, alpha, got, fewer)
			}
			back := slices.Clone(list)
			slices.Reverse(back)
			half := len(back) / 2
			other := Compose(listed(c.e, back[half:]), listed(c.e, back[:half]))
			if again := mustRDP(t, other, alpha); again != got {
				t.Fatalf("%s q %g order %g: %.17g in one order, %.17g in another", name, q, alpha, got, again)
			}
		}
	})
	t.Logf("largest excess: %v", worst)
}

// One curve gives the same at every order, whatever it was asked before.
func TestCurveHasNoMemory(t *testing.T) {
	checks(t, 10)
	rapid.Check(t, func(t *rapid.T) {
		list, q := anyMultipliers(t), anyRate(t)
		var orders []float64
		for range 4 {
			orders = append(orders, anyOrder(t))
		}
		for _, e := range []Event{
			listed(PoissonGaussian(AddRemove, q, 1, 1), list), PoissonGaussian(AddRemove, q, anyNoise(t), 1),
			PoissonGaussian(ReplaceOne, q, anyNoise(t), 1), FixedSizeGaussian(ReplaceOne, 3, 7, anyNoise(t), 1),
		} {
			all, err := RDPCurve(e, orders)
			if err != nil {
				t.Fatal(err)
			}
			for i, alpha := range orders {
				if one := mustRDP(t, e, alpha); one != all[i] {
					t.Fatalf("%s order %g after %v: %.17g, alone %.17g", e.Type, alpha, orders[:i], all[i], one)
				}
			}
		}
	})
}

// Tables that do not fit are made again, and the divergences stay the same.
func TestLittleRoomForTables(t *testing.T) {
	steps := []sampledSteps{{AddRemove, 0.01, 1, 1}, {AddRemove, 0.01, 2, 1}, {AddRemove, 0.02, 1, 3}}
	orders := []float64{2, 50, 3, 5000, 3}
	much := 1 << 21
	want := sequences(poisson, steps, &much)
	for _, room := range []int{0, 150, 300} {
		left := room
		got := sequences(poisson, steps, &left)
		for _, alpha := range orders {
			for i := range want {
				if a, b := got[i].costs(alpha, nil), want[i].costs(alpha, nil); !slices.Equal(a, b) {
					t.Errorf("room %d order %g: %v, want %v", room, alpha, a, b)
				}
			}
			kept := 0
			for _, g := range got {
				for _, p := range g.pairs {
					kept += p.size()
				}
			}
			if left < 0 || kept+left != room {
				t.Errorf("room %d order %g: %d points kept and room for %d", room, alpha, kept, left)
			}
		}
	}
}

// Extreme noise multipliers beside ordinary ones.
func TestManyExtremeNoiseMultipliers(t *testing.T) {
	list := []float64{5e-324, 1e-160, 1e-100, 2e-100, 1e-3, 0.02, 1e20, 1e49, 1e60, math.MaxFloat64}
	for i := range fewSteps {
		list = append(list, 1+float64(i)/100)
	}
	for _, e := range []Event{PoissonGaussian(AddRemove, 0.01, 1, 1), PoissonGaussian(ReplaceOne, 0.01, 1, 1), PoissonGaussian(ReplaceOne, 0.9, 1, 1),
		FixedSizeGaussian(ReplaceOne, 1, 9, 1, 1)} {
		for i, want := range []float64{0, 1e300, 1e190, 1e190, 1e3, 1e2} {
			r := mustRDP(t, listed(e, list[i:]), 2)
			if !(r > want) {
				t.Errorf("%s %s from %g: %g", e.Type, e.Adjacency, list[i], r)
			}
		}
		if r := mustRDP(t, listed(e, append([]float64{0}, list...)), 2); !math.IsInf(r, 1) {
			t.Errorf("%s %s without noise: %g", e.Type, e.Adjacency, r)
		}
		if r := mustRDP(t, listed(e, list[5:]), 1e300); !(r > 0) {
			t.Errorf("%s %s at a great order: %g", e.Type, e.Adjacency, r)
		}
	}
}
