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
			eps := rapid.Float64Range(0, 5).Draw(t, "ε")
			x, orderX, errX = Delta(m, a, eps)
			y, orderY, errY = Delta(m, b.Merge(), eps)
			if x != y || orderX != orderY || (errX == nil) != (errY == nil) {
				t.Fatalf("%s: δ %.17g (%v) and %.17g (%v)", m, x, errX, y, errY)
			}
			if !(x >= 0 && x <= 1) || math.Signbit(x) {
				t.Fatalf("%s: δ %g", m, x)
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

func TestDeltaMeetsReference(t *testing.T) {
	var points []struct {
		ID        string
		Events    []goldenEvent
		Epsilon   float64
		Adjacency Adjacency
		Best      float64  `json:"delta_rdp_best"`
		Order     float64  `json:"order"`
		Exact     *float64 `json:"delta_exact"`
		Lower     *float64 `json:"delta_pld_lower"`
	}
	golden(t, "delta.json", &points)
	if len(points) != 53 {
		t.Fatalf("%d points, want 53", len(points))
	}
	for _, p := range points {
		e := compose(t, p.Events, p.Adjacency)
		delta, order, err := Delta(MethodRDP, e, p.Epsilon)
		if err != nil {
			t.Fatalf("%s: %v", p.ID, err)
		}
		// Where total variation says more than any order, δ is less than the best.
		capped := p.Order > orderCap || order == 1+leastGap
		if off := delta/p.Best - 1; off > 1e-9 || off < -1e-9 && !capped {
			t.Errorf("%s: δ %.17g (order %g), the best order's %.17g (%g)", p.ID, delta, order, p.Best, p.Order)
		}
		if off := order/p.Order - 1; math.Abs(off) > 1e-3 && p.Best < 1 && !capped {
			t.Errorf("%s: order %g, reference %g", p.ID, order, p.Order)
		}
		for what, truth := range map[string]*float64{"exact": p.Exact, "PLD": p.Lower} {
			if truth != nil && delta < *truth*(1-1e-9) {
				t.Errorf("%s: δ %.17g is below the true %.17g (%s)", p.ID, delta, *truth, what)
			}
		}
		if p.Exact == nil || !onlyGaussians(e) {
			continue
		}
		if delta, _, err := Delta(MethodGDP, e, p.Epsilon); err != nil || delta < *p.Exact*(1-1e-15) || delta > *p.Exact*(1+1e-9) {
			t.Errorf("%s: Gaussian DP δ %.17g (%v), exact %.17g", p.ID, delta, err, *p.Exact)
		}
	}
}

// Delta and Epsilon are inverse to each other at the order of either, and Delta
// is not above the written formula at any order.
func TestDeltaInvertsEpsilon(t *testing.T) {
	checks(t, 40)
	rapid.Check(t, func(t *rapid.T) {
		adj, delta := anyAdjacency(t), anyDelta(t)
		e := Compose(PoissonGaussian(adj, anyRate(t), rapid.Float64Range(0.5, 30).Draw(t, "z"), rapid.Int64Range(1, 1000).Draw(t, "n")),
			Approximate(adj, MustAmount("0.01"), MustAmount("1e-13"), 2), Laplace(adj, 20, 1))
		eps := mustEpsilon(t, MethodRDP, e, delta)
		again, order, err := Delta(MethodRDP, e, eps)
		if err != nil {
			t.Fatal(err)
		}
		// log δ falls by order − 1 for each ε.
		room := math.Exp(1e-9 + (order-1)*1e-9*(1+eps))
		if again > delta*room || eps > 0 && again < delta/room {
			t.Fatalf("ε %.15g at δ %.15g, δ %.15g at that ε (order %g)", eps, delta, again, order)
		}
		x := eps * rapid.Float64Range(0, 3).Draw(t, "factor")
		got, _, err := Delta(MethodRDP, e, x)
		if err != nil {
			t.Fatal(err)
		}
		failure := -math.Expm1(2 * math.Log1p(-1e-13))
		rest := Compose(e.Events[0], e.Events[2], Pure(adj, MustAmount("0.01"), 2))
		for alpha := 1.02; alpha < 1000; alpha = 1 + (alpha-1)*1.5 {
			log := (alpha-1)*(mustRDP(t, rest, alpha)-x) + alpha*math.Log1p(-1/alpha) - math.Log(alpha-1)
			if want := min(1, failure+(1-failure)*math.Exp(log)); got > want*(1+1e-9)+1e-300 {
				t.Fatalf("δ %.15g at ε %g, but %.15g at order %g", got, x, want, alpha)
			}
		}
	})
}

func TestDeltaEdges(t *testing.T) {
	gauss, pure := Gaussian(AddRemove, 1, 1), Pure(AddRemove, MustAmount("0.1"), 3)
	approximate := Approximate(AddRemove, one, MustAmount("1e-7"), 2)
	failure := -math.Expm1(2 * math.Log1p(-1e-7))
	const least, far = math.SmallestNonzeroFloat64, 4 * math.SmallestNonzeroFloat64
	for name, c := range map[string]struct {
		e         Event
		eps       float64
		low, high float64
	}{
		"nothing":               {Compose(), 0, 0, 0},
		"counted 0 times":       {Gaussian(AddRemove, 1, 0), 0, 0, 0},
		"pure, enough ε":        {pure, MustAmount("0.3").Float64Up(), 0, 0},
		"pure, not enough ε":    {pure, 0.29, 1e-9, 0.2},
		"approximate, enough":   {approximate, 2, failure, failure * (1 + 1e-14)},
		"approximate, less":     {approximate, 1.9, failure * 1.01, 1},
		"without noise":         {Gaussian(AddRemove, 0, 1), 10, 1, 1},
		"Laplace without noise": {Laplace(AddRemove, 0, 1), 10, 1, 1},
		"far out":               {gauss, 1e3, least, far},
		"further out":           {gauss, 1e300, least, far},
		"at infinity":           {gauss, math.Inf(1), least, far},
		"no ε at all":           {gauss, 0, 0.382924922548025, 0.6},
		"much loss":             {Gaussian(AddRemove, 1e-3, 1), 0, 1, 1},
	} {
		for _, m := range []Method{MethodRDP, MethodGDP} {
			got, _, err := Delta(m, c.e, c.eps)
			if m == MethodGDP && errors.Is(err, ErrUnsupported) {
				continue
			}
			if err != nil || !(got >= c.low && got <= c.high) {
				t.Errorf("%s, %s: δ %g (%v), want %g to %g", m, name, got, err, c.low, c.high)
			}
		}
	}
	for _, eps := range []float64{-1e-9, math.NaN(), math.Inf(-1)} {
		if _, _, err := Delta(MethodRDP, gauss, eps); !errors.Is(err, ErrDomain) {
			t.Errorf("ε of %g: %v", eps, err)
		}
	}
	for _, e := range []Event{gauss, Compose()} {
		if _, _, err := Delta("moments", e, 1); !errors.Is(err, ErrDomain) {
			t.Errorf("unknown accountant: %v", err)
		}
	}
	if _, _, err := Delta(MethodGDP, PoissonGaussian(AddRemove, 0.1, 1, 1), 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("sampled, gdp: %v", err)
	}
	if _, _, err := Delta(MethodRDP, FixedSizeGaussian(AddRemove, 1, 2, 1, 1), 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("fixed size, add-remove: %v", err)
	}
	// Tiny losses: total variation, as Epsilon has it.
	e := PoissonGaussian(AddRemove, 1e-9, 0.3, 1)
	delta, order, err := Delta(MethodRDP, e, 0)
	if err != nil || order != 1+leastGap || delta > math.Sqrt(mustRDP(t, e, order))*(1+1e-9) {
		t.Errorf("a tiny rate has δ %g at order %g (%v)", delta, order, err)
	}
	if eps := mustEpsilon(t, MethodRDP, e, delta*(1+1e-9)); eps != 0 {
		t.Errorf("a tiny rate has ε %g at the δ of ε = 0", eps)
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
