package accountant

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
)

// A fuzzer may ask for lists that take long though they are valid; it learns
// nothing from them.
const (
	fuzzedBytes  = 4096
	fuzzedLeaves = 12
)

// probability and loss check what an accountant returns beside an error.
type accounts struct {
	t    *testing.T
	what any
}

func (a accounts) failed(name string, err error) bool {
	a.t.Helper()
	if err != nil && !errors.Is(err, ErrDomain) && !errors.Is(err, ErrUnsupported) {
		a.t.Fatalf("%s of %+v: error %v is of no known kind", name, a.what, err)
	}
	return err != nil
}

func (a accounts) loss(name string, x float64, err error) {
	a.t.Helper()
	if !a.failed(name, err) && (!(x >= 0) || math.Signbit(x)) {
		a.t.Fatalf("%s of %+v is %g", name, a.what, x)
	}
}

func (a accounts) probability(name string, x float64, err error) {
	a.t.Helper()
	if !a.failed(name, err) && (!(x >= 0 && x <= 1) || math.Signbit(x)) {
		a.t.Fatalf("%s of %+v is %g", name, a.what, x)
	}
}

// all puts one event through everything that takes one.
func (a accounts) all(e Event, alpha, eps, delta float64, pld PLDOptions) {
	a.t.Helper()
	r, err := RDP(e, alpha)
	a.loss("RDP", r, err)
	curve, err := RDPCurve(e, []float64{alpha})
	if !a.failed("RDPCurve", err) {
		a.loss("RDPCurve", curve[0], nil)
		if curve[0] != r {
			a.t.Fatalf("RDPCurve of %+v is %.17g, RDP %.17g", a.what, curve[0], r)
		}
	}
	mu, err := MuGDP(e)
	a.loss("MuGDP", mu, err)
	rho, err := RhoZCDP(e)
	a.loss("RhoZCDP", rho, err)
	if err == nil && delta > 0 {
		x, err := EpsilonZCDP(rho, delta)
		a.loss("EpsilonZCDP", x, err)
	}
	estimate, err := EstimateMu(e)
	a.loss("EstimateMu", estimate, err)

	epsilons, deltas := map[Method]float64{}, map[Method]float64{}
	for _, m := range everyMethod {
		x, _, err := Epsilon(m, e, delta)
		a.loss("ε by "+string(m), x, err)
		if err == nil {
			epsilons[m] = x
		}
		x, _, err = Delta(m, e, eps)
		a.probability("δ by "+string(m), x, err)
		if err == nil {
			deltas[m] = x
		}
	}
	if x, ok := epsilons[MethodPLD]; ok && x > epsilons[MethodRDP] {
		a.t.Fatalf("%+v: ε by PLD %.17g, by RDP %.17g", a.what, x, epsilons[MethodRDP])
	}
	if x, ok := deltas[MethodPLD]; ok && x > deltas[MethodRDP] {
		a.t.Fatalf("%+v: δ by PLD %.17g, by RDP %.17g", a.what, x, deltas[MethodRDP])
	}
	for _, m := range []Method{MethodRDP, MethodGDP} {
		f, err := NewFilter(Terms{Method: m, Epsilon: MustAmount("2"), Delta: MustAmount("1e-6"), ApproximateDelta: MustAmount("1e-7")})
		if err != nil {
			a.t.Fatal(err)
		}
		cost, err := f.Cost(e)
		a.loss("a filter's cost", cost.Loss, err)
		if err == nil {
			total := f.Add(cost, cost)
			a.loss("a filter's total", total.Loss, nil)
			a.probability("a filter's fraction", f.Fraction(total), nil)
		}
	}
	doc, err := ExportDPAccounting(e)
	if !a.failed("ExportDPAccounting", err) && !json.Valid(doc) {
		a.t.Fatalf("%+v: exported as %s", a.what, doc)
	}

	if pld.Interval == 0 {
		return // the bounds of the grid that was used above
	}
	b, err := PLDEpsilon(e, delta, pld)
	if !a.failed("PLDEpsilon", err) {
		a.loss("PLD's lower ε", b.Lower, nil)
		a.loss("PLD's upper ε", b.Upper, nil)
		if b.Lower > b.Upper || !(b.Interval >= 0) {
			a.t.Fatalf("%+v: ε bounds %+v", a.what, b)
		}
		// Every method's is an upper bound.
		for m, x := range epsilons {
			if x < b.Lower {
				a.t.Fatalf("%+v: ε by %s %.17g, but at least %.17g", a.what, m, x, b.Lower)
			}
		}
	}
	b, err = PLDDelta(e, eps, pld)
	if !a.failed("PLDDelta", err) {
		a.probability("PLD's lower δ", b.Lower, nil)
		a.probability("PLD's upper δ", b.Upper, nil)
		if b.Lower > b.Upper || !(b.Interval >= 0) {
			a.t.Fatalf("%+v: δ bounds %+v", a.what, b)
		}
		for m, x := range deltas {
			if x < b.Lower {
				a.t.Fatalf("%+v: δ by %s %.17g, but at least %.17g", a.what, m, x, b.Lower)
			}
		}
	}
}

func FuzzEvents(f *testing.F) {
	for _, text := range []string{
		`[]`,
		`[{"type":"gaussian","noise_multiplier":1}]`,
		`[{"type":"gaussian","noise_multiplier":0}]`,
		`[{"type":"gaussian","noise_multipliers":[1,2,3e300],"count":9007199254740992}]`,
		`[{"type":"poisson_gaussian","sampling_rate":0.01,"noise_multiplier":1.1,"count":1000}]`,
		`[{"type":"poisson_gaussian","sampling_rate":5e-324,"noise_multiplier":1e-300},{"type":"pure","epsilon":1e-999}]`,
		`[{"type":"poisson_gaussian","sampling_rate":0.9999999999999999,"noise_multiplier":0.3,"count":3}]`,
		`[{"type":"fixed_size_gaussian","sample_size":3,"source_size":10,"noise_multiplier":2}]`,
		`[{"type":"discrete_gaussian","noise_multiplier":0.4,"sensitivity":3},{"type":"discrete_gaussian","noise_multiplier":4}]`,
		`[{"type":"laplace","noise_multiplier":3,"count":7},{"type":"discrete_laplace","noise_multiplier":0.1,"sensitivity":3}]`,
		`[{"type":"approximate","epsilon":0.1,"delta":1e-9,"count":3},{"type":"partition_selection","epsilon":1e308,"delta":0.999}]`,
		`[{"type":"zcdp","rho":0.1},{"type":"composition","count":0,"events":[{"type":"pure","epsilon":1}]}]`,
		`[{"type":"composition","count":3,"events":[{"type":"poisson_gaussian","sampling_rate":1e-7,"noise_multiplier":1e9,"count":1000000}]}]`,
		`{"schema":"privsgld/events/v1","adjacency":"replace-one","events":[{"type":"gaussian","adjacency":"replace-one","noise_multiplier":8,"count":4}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if testing.Short() {
			t.Skip("pure functions: nothing for the race detector")
		}
		if len(data) > fuzzedBytes {
			t.Skip()
		}
		for _, adj := range []Adjacency{AddRemove, ReplaceOne} {
			e, err := ParseEvents(data, adj)
			a := accounts{t, string(data)}
			if a.failed("ParseEvents", err) {
				continue
			}
			if len(e.Merge().Events) > fuzzedLeaves {
				t.Skip()
			}
			a.all(e, 3.7, 0.5, 1e-6, PLDOptions{Interval: 1e-3})
		}
	})
}

// FuzzParameters: any bits for any number.
func FuzzParameters(f *testing.F) {
	add := func(kind, adj uint8, q, z, delta, eps, alpha, interval float64, count, sensitivity int64) {
		b := math.Float64bits
		f.Add(kind, adj, b(q), b(z), b(delta), b(eps), b(alpha), b(interval), count, sensitivity)
	}
	for kind := range uint8(11) {
		add(kind, 0, 0.01, 1.1, 1e-6, 1, 2, 0, 100, 1)
		add(kind, 1, 0.5, 8, 1e-9, 0.1, 1.5, 1e-3, 1, 7)
		add(kind, 1, 1e-9, 0.3, 1e-30, 3, 64.5, 0, 1, 2)
		add(kind, 0, 1-0x1p-53, 5e-324, 5e-324, 5e-324, 1+0x1p-52, 1e-300, 1<<53, 1<<31)
		add(kind, 1, 5e-324, math.MaxFloat64, 1-0x1p-53, math.MaxFloat64, math.MaxFloat64, 1e300, 1<<52, 1<<30)
		add(kind, 0, math.NaN(), math.Inf(1), math.NaN(), math.NaN(), math.Inf(1), math.NaN(), -1, -1)
		add(kind, 0, 1e-4, 1e4, 0, 0, 1e9, 1e-6, 1<<40, 1000)
		add(kind, 1, math.Copysign(0, -1), math.Copysign(0, -1), math.Copysign(0, -1), math.Copysign(0, -1), 1, math.Copysign(0, -1), 0, 0)
	}
	f.Fuzz(func(t *testing.T, kind, relation uint8, qBits, zBits, deltaBits, epsBits, alphaBits, intervalBits uint64, count, sensitivity int64) {
		if testing.Short() {
			t.Skip("pure functions: nothing for the race detector")
		}
		q, z := math.Float64frombits(qBits), math.Float64frombits(zBits)
		delta, eps := math.Float64frombits(deltaBits), math.Float64frombits(epsBits)
		alpha, interval := math.Float64frombits(alphaBits), math.Float64frombits(intervalBits)
		adj := []Adjacency{AddRemove, ReplaceOne}[relation%2]
		epsilon, failure := AmountDown(eps), AmountDown(delta)
		var e Event
		switch kind % 11 {
		case 0:
			e = Gaussian(adj, z, count)
		case 1:
			e = PoissonGaussian(adj, q, z, count)
		case 2: // a schedule beside something else
			e = Compose(Event{Type: TypePoissonGaussian, Adjacency: adj, SamplingRate: q, NoiseMultipliers: []float64{z, z * 1.5, z / 3}, Count: count}, Pure(adj, epsilon, 1))
		case 3:
			e = FixedSizeGaussian(adj, sensitivity, count, z, 3)
		case 4:
			e = Laplace(adj, z, count)
		case 5:
			e = DiscreteLaplace(adj, z, sensitivity, count)
		case 6:
			e = DiscreteGaussian(adj, z, sensitivity, count)
		case 7:
			e = Pure(adj, epsilon, count)
		case 8:
			e = Compose(Approximate(adj, epsilon, failure, count), PoissonGaussian(adj, q, z, 1))
		case 9:
			e = Compose(ZCDP(adj, epsilon, count), Laplace(adj, z, 1))
		case 10:
			e = Compose(PartitionSelection(adj, epsilon, failure, count), DiscreteLaplace(adj, z, sensitivity, 1), Gaussian(adj, z, count))
		}
		accounts{t, e}.all(e, alpha, eps, delta, PLDOptions{Interval: interval})

		a := accounts{t, []float64{z, eps, delta}}
		a.probability("GaussianDelta", GaussianDelta(z, eps), nil)
		a.loss("GaussianEpsilon", GaussianEpsilon(z, delta), nil)
		for _, m := range everyMethod {
			a.loss("GaussianMu", GaussianMu(m, eps, delta), nil)
		}
	})
}
