package accountant

import (
	"errors"
	"flag"
	"math"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustEpsilon(t interface{ Fatal(...any) }, m Method, e Event, delta float64) float64 {
	eps, _, err := Epsilon(m, e, delta)
	if err != nil {
		t.Fatal(err)
	}
	return eps
}

// checks lowers the number of cases of a property whose cases are slow, unless
// the command line asks for another.
func checks(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	if usual := f.Value.String(); usual == f.DefValue {
		_ = f.Value.Set(strconv.Itoa(n))
		t.Cleanup(func() { _ = f.Value.Set(usual) })
	}
}

func anyDelta(t *rapid.T) float64 {
	return math.Exp(rapid.Float64Range(math.Log(1e-12), math.Log(0.01)).Draw(t, "log δ"))
}

// The written formula, evaluated apart, at many orders: Epsilon is not above
// the least of them, nor below what its own order gives.
func TestEpsilonIsTheFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		e := Compose(PoissonGaussian(adj, anyRate(t), rapid.Float64Range(0.5, 30).Draw(t, "z"), rapid.Int64Range(1, 1000).Draw(t, "n")), Gaussian(adj, rapid.Float64Range(1, 100).Draw(t, "z₂"), 1))
		formula := func(alpha float64) float64 {
			return mustRDP(t, e, alpha) + math.Log((alpha-1)/alpha) - (math.Log(delta)+math.Log(alpha))/(alpha-1)
		}
		eps, order, err := Epsilon(MethodRDP, e, delta)
		if err != nil {
			t.Fatal(err)
		}
		for alpha := 1.02; alpha < 1000; alpha = 1 + (alpha-1)*1.5 {
			if f := max(0, formula(alpha)); eps > f*(1+1e-4)+1e-12 {
				t.Fatalf("ε %.15g at order %g, but %.15g at order %g", eps, order, f, alpha)
			}
		}
		if f := max(0, formula(order)); eps > 0 && (eps < f*(1-1e-9)-1e-12 || eps > f*(1+1e-9)+1e-12) {
			t.Fatalf("ε %.15g, its order %g gives %.15g", eps, order, f)
		}
	})
}

func TestEpsilonIsMonotone(t *testing.T) {
	checks(t, 40)
	rapid.Check(t, func(t *rapid.T) {
		adj, q, delta := anyAdjacency(t), anyRate(t), anyDelta(t)
		z, n := rapid.Float64Range(0.4, 50).Draw(t, "z"), rapid.Int64Range(1, 2000).Draw(t, "n")
		factor := rapid.Float64Range(1.001, 2).Draw(t, "factor")
		for _, m := range []Method{MethodRDP, MethodGDP} {
			rate := q
			if m == MethodGDP {
				rate = 1
			}
			eps := mustEpsilon(t, m, PoissonGaussian(adj, rate, z, n), delta)
			for what, more := range map[string]float64{
				"rate":  mustEpsilon(t, m, PoissonGaussian(adj, min(1, rate*factor), z, n), delta),
				"noise": mustEpsilon(t, m, PoissonGaussian(adj, rate, z/factor, n), delta),
				"steps": mustEpsilon(t, m, PoissonGaussian(adj, rate, z, n+1), delta),
				"delta": mustEpsilon(t, m, PoissonGaussian(adj, rate, z, n), delta/factor),
				"pure":  mustEpsilon(t, m, Compose(PoissonGaussian(adj, rate, z, n), Pure(adj, MustAmount("0.01"), 1)), delta),
			} {
				// A search may stop 10⁻⁷ short of the optimum.
				if eps > more*(1+1e-7)+1e-12 {
					t.Fatalf("%s, %s: ε %.15g exceeds %.15g", m, what, eps, more)
				}
			}
		}
	})
}

func TestCompositionCommutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		events := rapid.SliceOfN(anyEvent(adj), 1, 4).Draw(t, "events")
		a := Compose(events...)
		b := Compose(rapid.Permutation(events).Draw(t, "shuffled")...)
		for _, m := range []Method{MethodRDP, MethodGDP} {
			x, orderX, errX := Epsilon(m, a, delta)
			y, orderY, errY := Epsilon(m, b.Merge(), delta)
			if x != y || orderX != orderY || (errX == nil) != (errY == nil) {
				t.Fatalf("%s: %.17g (%v) and %.17g (%v)", m, x, errX, y, errY)
			}
			if math.IsNaN(x) || x < 0 || math.Signbit(x) {
				t.Fatalf("%s: ε %g", m, x)
			}
		}
	})
}

func TestEpsilonEdges(t *testing.T) {
	inf := math.Inf(1)
	gauss, pure := Gaussian(AddRemove, 1, 1), Pure(AddRemove, MustAmount("0.1"), 3)
	for name, c := range map[string]struct {
		e     Event
		delta float64
		want  float64
	}{
		"δ of 1":                 {gauss, 1, 0},
		"δ of 0":                 {gauss, 0, inf},
		"nothing":                {Compose(), 0, 0},
		"counted 0 times":        {Gaussian(AddRemove, 1, 0), 1e-6, 0},
		"pure, δ of 0":           {pure, 0, MustAmount("0.3").Float64Up()},
		"pure, tiny δ":           {pure, 1e-300, MustAmount("0.3").Float64Up()},
		"approximate, δ of 0":    {Approximate(AddRemove, one, MustAmount("1e-7"), 1), 0, inf},
		"approximate, used up":   {Approximate(AddRemove, one, MustAmount("1e-7"), 11), 1e-6, inf},
		"approximate without δ":  {Approximate(AddRemove, one, Amount{}, 1), 0, 1},
		"nearly nothing at all":  {Gaussian(AddRemove, 1e9, 1), 1e-6, 0},
		"nearly nothing, pure":   {Pure(AddRemove, MustAmount("1e-14"), 1), 1e-6, 0},
		"approximate, too small": {Approximate(AddRemove, MustAmount("1e-15"), MustAmount("1e-9"), 1), 1e-6, 0},
	} {
		for _, m := range []Method{MethodRDP, MethodGDP} {
			if got := mustEpsilon(t, m, c.e, c.delta); got != c.want {
				t.Errorf("%s, %s: ε %g, want %g", m, name, got, c.want)
			}
		}
	}
	for _, delta := range []float64{-1e-9, math.NaN()} {
		if _, _, err := Epsilon(MethodRDP, gauss, delta); !errors.Is(err, ErrDomain) {
			t.Errorf("δ of %g: %v", delta, err)
		}
	}
	if _, _, err := Epsilon("moments", gauss, 1e-6); !errors.Is(err, ErrDomain) {
		t.Errorf("unknown accountant: %v", err)
	}
	for text, ok := range map[string]bool{"rdp": true, "pld": true, "gdp": true, "RDP": false, "": false} {
		if _, err := ParseMethod(text); (err == nil) != ok {
			t.Errorf("ParseMethod(%q): %v", text, err)
		}
	}
	for text, ok := range map[string]bool{"add-remove": true, "replace-one": true, "": false, "Add-Remove": false} {
		if _, err := ParseAdjacency(text); (err == nil) != ok {
			t.Errorf("ParseAdjacency(%q): %v", text, err)
		}
	}
}

// Long schedules and mixed events are cheap: a ledger converts them at every
// charge.
func TestEpsilonIsFast(t *testing.T) {
	zs := make([]float64, 2000)
	for i := range zs {
		zs[i] = 50 + float64(i)/7
	}
	schedule := Event{Type: TypeGaussian, Adjacency: AddRemove, NoiseMultipliers: zs, Count: 1}
	mixed := Compose(PoissonGaussian(AddRemove, 0.01, 1.1, 1000), PoissonGaussian(AddRemove, 0.02, 2, 500),
		PoissonGaussian(AddRemove, 0.001, 0.7, 100), Laplace(AddRemove, 10, 5))
	for name, e := range map[string]Event{"schedule": schedule, "mixed": mixed} {
		least := time.Hour
		for range 5 {
			start := time.Now()
			mustEpsilon(t, MethodRDP, e, 1e-6)
			least = min(least, time.Since(start))
		}
		t.Logf("%s: %v", name, least)
		if least > 50*time.Millisecond {
			t.Errorf("%s takes %v, more than 50 ms", name, least)
		}
	}
}

func BenchmarkEpsilonSampled(b *testing.B) {
	e := PoissonGaussian(AddRemove, 0.01, 1.1, 1000)
	for b.Loop() {
		mustEpsilon(b, MethodRDP, e, 1e-6)
	}
}
