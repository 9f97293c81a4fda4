package accountant

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func mustOdometer(t interface{ Fatal(...any) }, delta, share string, orders []float64) *Odometer {
	o, err := NewOdometer(MustAmount(delta), MustAmount(share), orders)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func mustAdd(t interface{ Fatal(...any) }, o *Odometer, s OdometerState, events ...Event) OdometerState {
	for _, e := range events {
		next, err := o.Add(s, e)
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	return s
}

// The documented equation, apart from the code: at the ε returned the left-hand
// side is not below |A|/δ, and a little lower it is.
func TestOdometerSolvesItsEquation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		delta := rapid.SampledFrom([]string{"0.05", "1e-3", "1e-6", "1e-12", "1e-200"}).Draw(t, "δ")
		orders := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float64 {
			return 1 + math.Exp2(rapid.Float64Range(-6, 8).Draw(t, "log₂(α−1)"))
		}), 1, 12).Draw(t, "orders")
		o := mustOdometer(t, delta, "0", orders)
		d := MustAmount(delta).Float64Down()
		var s OdometerState
		var all []Event
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			e := rapid.SampledFrom([]Event{Gaussian(adj, 30, 1), Gaussian(adj, 0.7, 3), PoissonGaussian(adj, 0.01, 1.1, 100), Laplace(adj, 3, 1)}).Draw(t, "event")
			s, all = mustAdd(t, o, s, e), append(all, e)
		}
		impure := false
		for _, e := range all {
			impure = impure || e.Type != TypeLaplace
		}
		if !impure {
			return
		}
		got := o.Epsilon(s)
		left := func(eps float64) float64 { // log of the left-hand side
			var terms []float64
			for _, alpha := range orders {
				r, err := RDP(Compose(all...), alpha)
				if err != nil {
					t.Fatal(err)
				}
				terms = append(terms, (alpha-1)*(eps-r))
			}
			return logSumExp(terms)
		}
		want := math.Log(float64(len(orders)) / d)
		if math.IsInf(want, 1) {
			want = math.Log(float64(len(orders))) - math.Log(d)
		}
		if left(got) < want-1e-9 || left(got*(1-1e-6)-1e-9) > want {
			t.Fatalf("ε %.17g: %.12g at it, %.12g below, want %.12g", got, left(got), left(got*(1-1e-6)-1e-9), want)
		}
		for _, alpha := range orders {
			r, _ := RDP(Compose(all...), alpha)
			if union := r + want/(alpha-1); got > union*(1+1e-9) {
				t.Fatalf("ε %.17g is above the union's %.17g", got, union)
			}
		}
	})
}

func logSumExp(terms []float64) float64 {
	largest := math.Inf(-1)
	for _, x := range terms {
		largest = max(largest, x)
	}
	total := 0.0
	for _, x := range terms {
		total += math.Exp(x - largest)
	}
	return largest + math.Log(total)
}

// At every time the odometer is above the converted curve, which is valid at one
// time fixed beforehand, and for Gaussians not far above.
func TestOdometerAgainstOneFixedTime(t *testing.T) {
	o := mustOdometer(t, "1e-6", "0", nil)
	for _, z := range []float64{0.2, 1, 5, 30, 300} {
		e := Gaussian(AddRemove, z, 1)
		rho := 1 / (2 * z * z)
		got := o.Epsilon(mustAdd(t, o, OdometerState{}, e))
		fixed := mustEpsilon(t, MethodRDP, e, 1e-6)
		hindsight := rho + 2*math.Sqrt(rho*math.Log(1e6))
		if got < fixed || got < hindsight || got > 1.12*hindsight {
			t.Errorf("z = %g: odometer %g, one time %g, one order in hindsight %g", z, got, fixed, hindsight)
		}
	}
	// Sampled steps: a tenth more than at one time, or little.
	e := PoissonGaussian(AddRemove, 0.01, 1.1, 5000)
	got, fixed := o.Epsilon(mustAdd(t, o, OdometerState{}, e)), mustEpsilon(t, MethodRDP, e, 1e-6)
	if got < fixed || got > 1.35*fixed {
		t.Errorf("odometer %g, one time %g", got, fixed)
	}
}

func TestOdometerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		o, looser := mustOdometer(t, "1e-6", "2e-7", nil), mustOdometer(t, "1e-5", "2e-7", nil)
		events := rapid.SliceOfN(rapid.SampledFrom([]Event{
			Gaussian(adj, 20, 1), Gaussian(adj, 1, 2), Laplace(adj, 5, 1), Pure(adj, MustAmount("0.1"), 2),
			Approximate(adj, MustAmount("0.1"), MustAmount("1e-8"), 1), ZCDP(adj, MustAmount("0.01"), 1), Gaussian(adj, 3, 0),
		}), 1, 6).Draw(t, "events")
		var s OdometerState
		last := 0.0
		for _, e := range events {
			next := mustAdd(t, o, s, e)
			before, after := o.Epsilon(s), o.Epsilon(next)
			if before != last {
				t.Fatalf("a state changed: %g, then %g", last, before)
			}
			if !(after >= before) || math.IsInf(after, 0) {
				t.Fatalf("%v: from %g to %g", e.Type, before, after)
			}
			if other := looser.Epsilon(next); other > after {
				t.Fatalf("a larger δ costs more: %g, %g", other, after)
			}
			s, last = next, after
		}
		// In another order, and all at once.
		backwards := OdometerState{}
		for i := range events {
			backwards = mustAdd(t, o, backwards, events[len(events)-1-i])
		}
		once := o.Epsilon(mustAdd(t, o, OdometerState{}, Compose(events...)))
		if b := o.Epsilon(backwards); math.Abs(b-last) > 1e-12*last || math.Abs(once-last) > 1e-12*last {
			t.Fatalf("one by one %.17g, backwards %.17g, at once %.17g", last, b, once)
		}
	})
}

func TestOdometerRules(t *testing.T) {
	o := mustOdometer(t, "1e-6", "2e-7", nil)
	if got := o.Epsilon(OdometerState{}); got != 0 {
		t.Errorf("nothing costs %g", got)
	}
	// Events with an ε of their own add up, and need no δ.
	pure := Compose(Pure(AddRemove, MustAmount("0.1"), 3), Laplace(AddRemove, 10, 2))
	if got := o.Epsilon(mustAdd(t, o, OdometerState{}, pure)); got != 0.5 {
		t.Errorf("five times 0.1 is %.17g", got)
	}
	none := mustOdometer(t, "0", "0", nil)
	s := mustAdd(t, none, OdometerState{}, pure)
	if got := none.Epsilon(s); got != 0.5 {
		t.Errorf("without δ five times 0.1 is %.17g", got)
	}
	if got := none.Epsilon(mustAdd(t, none, s, Gaussian(AddRemove, 5, 1))); !math.IsInf(got, 1) {
		t.Errorf("a Gaussian without δ costs %g", got)
	}
	if got := o.Epsilon(mustAdd(t, o, OdometerState{}, Gaussian(AddRemove, 0, 1))); !math.IsInf(got, 1) {
		t.Errorf("no noise costs %g", got)
	}

	// The share for failures, to the last digit.
	fails := Approximate(AddRemove, MustAmount("0.1"), MustAmount("1e-7"), 1)
	s = mustAdd(t, o, OdometerState{}, fails, fails)
	if again, err := o.Add(s, fails); !errors.Is(err, ErrUnsupported) || o.Epsilon(again) != o.Epsilon(s) {
		t.Errorf("past the share: %v", err)
	}
	if _, err := o.Add(s, Approximate(AddRemove, MustAmount("0.1"), MustAmount("1e-30"), 1)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("the last digit is not seen: %v", err)
	}

	if _, err := o.Add(OdometerState{}, Gaussian(AddRemove, -1, 1)); !errors.Is(err, ErrDomain) {
		t.Errorf("invalid event: %v", err)
	}
	other := mustOdometer(t, "1e-6", "0", []float64{2, 3})
	if _, err := other.Add(s, Gaussian(AddRemove, 5, 1)); !errors.Is(err, ErrDomain) || !math.IsInf(other.Epsilon(s), 1) {
		t.Errorf("another odometer's state: %v", err)
	}
	for name, make := range map[string]func() (*Odometer, error){
		"δ 1":     func() (*Odometer, error) { return NewOdometer(MustAmount("1"), Amount{}, nil) },
		"share":   func() (*Odometer, error) { return NewOdometer(MustAmount("1e-7"), MustAmount("1e-6"), nil) },
		"order 1": func() (*Odometer, error) { return NewOdometer(MustAmount("1e-7"), Amount{}, []float64{2, 1}) },
		"order ∞": func() (*Odometer, error) { return NewOdometer(MustAmount("1e-7"), Amount{}, []float64{math.Inf(1)}) },
		"NaN":     func() (*Odometer, error) { return NewOdometer(MustAmount("1e-7"), Amount{}, []float64{math.NaN()}) },
		"none":    func() (*Odometer, error) { return NewOdometer(MustAmount("1e-7"), Amount{}, []float64{}) },
	} {
		if _, err := make(); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkOdometerAdd(b *testing.B) {
	o := mustOdometer(b, "1e-6", "0", nil)
	e := PoissonGaussian(AddRemove, 0.01, 1.1, 1)
	s := mustAdd(b, o, OdometerState{}, e)
	for b.Loop() {
		o.Add(s, e) //nolint:errcheck // did not fail before
	}
}
