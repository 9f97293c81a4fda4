package accountant

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func terms(m Method, eps, delta string) Terms {
	return Terms{Method: m, Epsilon: MustAmount(eps), Delta: MustAmount(delta)}
}

func mustFilter(t interface{ Fatal(...any) }, terms Terms) *Filter {
	f, err := NewFilter(terms)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustCost(t interface{ Fatal(...any) }, f *Filter, e Event) Spent {
	s, err := f.Cost(e)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spend charges events as long as they fit and returns those admitted.
func spend(t *rapid.T, f *Filter, next *rapid.Generator[Event]) ([]Event, Spent) {
	var admitted []Event
	var total Spent
	for range rapid.IntRange(1, 30).Draw(t, "attempts") {
		e := next.Draw(t, "event")
		if sum := f.Add(total, mustCost(t, f, e)); f.Admits(sum) {
			total = sum
			admitted = append(admitted, e)
		}
	}
	return admitted, total
}

// Whatever sequence a filter admits is within (ε, δ) by a computation that
// knows nothing of filters: exact Gaussian DP for Gaussians, the best order
// (RDP, up to its search) for everything else.
func TestFiltersNeverOverAdmit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		eps := rapid.SampledFrom([]string{"0.1", "1", "3", "12.5"}).Draw(t, "ε")
		delta := rapid.SampledFrom([]string{"1e-9", "1e-6", "1e-3"}).Draw(t, "δ")
		m := rapid.SampledFrom([]Method{MethodRDP, MethodGDP}).Draw(t, "method")
		limit := terms(m, eps, delta)
		if m == MethodRDP {
			limit.Order = rapid.SampledFrom([]float64{0, 0, 40, 150}).Draw(t, "order")
		}
		f, d := mustFilter(t, limit), limit.Delta.Float64Down()

		gaussians := rapid.Custom(func(t *rapid.T) Event {
			return Gaussian(adj, rapid.Float64Range(2, 200).Draw(t, "z"), rapid.Int64Range(1, 20).Draw(t, "n"))
		})
		admitted, total := spend(t, f, gaussians)
		if left := f.GaussianLeft(total); left > 0 { // fill it to the brim
			last := Gaussian(adj, adj.distance()/left, 1)
			total = f.Add(total, mustCost(t, f, last))
			if !f.Admits(total) {
				t.Fatalf("GaussianLeft %g is not admitted: %g of %g", left, total.Loss, f.Limit())
			}
			admitted = append(admitted, last)
		}
		e := Compose(admitted...)
		if exact := mustEpsilon(t, MethodGDP, e, d); exact > limit.Epsilon.Float64Up()*(1+1e-13) {
			t.Fatalf("%v admits Gaussians of ε %.17g", limit, exact)
		}

		mixed := rapid.OneOf(gaussians, rapid.Custom(func(t *rapid.T) Event {
			return rapid.OneOf(
				rapid.Just(PoissonGaussian(adj, 0.01, 1.1, 20)), rapid.Just(PoissonGaussian(adj, 0.2, 9, 5)),
				rapid.Just(Laplace(adj, 30, 2)), rapid.Just(Pure(adj, MustAmount("0.05"), 3)),
			).Draw(t, "other")
		}))
		admitted, _ = spend(t, f, mixed)
		if best := mustEpsilon(t, MethodRDP, Compose(admitted...), d); m == MethodRDP && best > limit.Epsilon.Float64Up()*(1+1e-6) {
			t.Fatalf("%v admits events of ε %.17g", limit, best)
		}
	})
}

// With shares, the parts together stay within the whole: ε of the filter's
// part at its δ, plus the plain sums.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		limit := terms(rapid.SampledFrom([]Method{MethodRDP, MethodGDP}).Draw(t, "method"), "2", "1e-6")
		limit.PureEpsilon, limit.ApproximateDelta = MustAmount("0.5"), MustAmount("4e-7")
		f := mustFilter(t, limit)
		admitted, total := spend(t, f, rapid.OneOf(
			rapid.Just(Gaussian(adj, 20, 1)), rapid.Just(Laplace(adj, 40, 1)),
			rapid.Just(Pure(adj, MustAmount("0.1"), 1)), rapid.Just(Approximate(adj, MustAmount("0.1"), MustAmount("1e-7"), 1))))
		var gauss []Event
		pure, failures := Amount{}, Amount{}
		for _, e := range admitted {
			switch e.Type {
			case TypeGaussian:
				gauss = append(gauss, e)
			case TypeLaplace:
				pure = pure.Add(MustAmount(strconv.FormatFloat(adj.distance()/40, 'g', -1, 64)))
			case TypeApproximate:
				failures = failures.Add(*e.Delta)
				fallthrough
			case TypePure:
				pure = pure.Add(*e.Epsilon)
			}
		}
		if pure != total.PureEpsilon || pure.Cmp(limit.PureEpsilon) > 0 || failures != total.ApproximateDelta || failures.Cmp(limit.ApproximateDelta) > 0 {
			t.Fatalf("shares %v and %v, admitted %v and %v", total.PureEpsilon, total.ApproximateDelta, pure, failures)
		}
		if eps := mustEpsilon(t, MethodGDP, Compose(gauss...), 6e-7); eps > 1.5 {
			t.Fatalf("the filter's part has ε %g", eps)
		}
		if fraction := f.Fraction(total); !(fraction >= 0 && fraction <= 1) {
			t.Fatalf("fraction %g", fraction)
		}
	})
}

// A job that fits exactly is granted, and one more step is not.
func TestExactFitIsGranted(t *testing.T) {
	for _, m := range []Method{MethodRDP, MethodGDP} {
		for _, eps := range []string{"1e-9", "1e-5", "0.01", "0.1", "1", "3", "50", "1e4", "1e7"} {
			for _, delta := range []string{"1e-12", "1e-6", "1e-3"} {
				for _, adj := range []Adjacency{AddRemove, ReplaceOne} {
					f := mustFilter(t, terms(m, eps, delta))
					e, d := MustAmount(eps).Float64Down(), MustAmount(delta).Float64Down()
					mu := GaussianMu(m, e, d)
					if !(mu > 0) {
						t.Fatalf("%s (%s, %s): μ %g", m, eps, delta, mu)
					}
					for _, steps := range []int64{1, 10000} {
						z := adj.distance() * math.Sqrt(float64(steps)) / mu
						job := Gaussian(adj, z, steps)
						if cost := mustCost(t, f, job); !f.Admits(cost) {
							t.Errorf("%s (%s, %s): %d steps at μ %g cost %.17g of %.17g", m, eps, delta, steps, mu, cost.Loss, f.Limit())
						}
						if got := mustEpsilon(t, m, job, d); got > e {
							t.Errorf("%s (%s, %s): %d steps at μ %g have ε %.17g", m, eps, delta, steps, mu, got)
						}
						more := Gaussian(adj, z/(1+2e-9), steps)
						if f.Admits(mustCost(t, f, more)) {
							t.Errorf("%s (%s, %s): μ is not the largest", m, eps, delta)
						}
					}
					z, err := CalibrateNoise(m, Target{e, d}, func(z float64) Event { return Gaussian(adj, z, 3) })
					if eps == "1e-9" && delta == "1e-12" && errors.Is(err, ErrDomain) {
						continue // past the largest noise of the search
					}
					if err != nil || !f.Admits(mustCost(t, f, Gaussian(adj, z, 3))) {
						t.Errorf("%s (%s, %s): calibrated z %g is not admitted (%v)", m, eps, delta, z, err)
					}
				}
			}
		}
	}

	limit := terms(MethodRDP, "1", "1e-6")
	limit.PureEpsilon = MustAmount("0.3")
	f := mustFilter(t, limit)
	var total Spent
	for range 3 {
		total = f.Add(total, mustCost(t, f, Pure(AddRemove, MustAmount("0.1"), 1)))
	}
	if !f.Admits(total) {
		t.Error("three times 0.1 exceed 0.3")
	}
	if f.Admits(f.Add(total, mustCost(t, f, Pure(AddRemove, MustAmount("1e-30"), 1)))) {
		t.Error("the last digit is not seen")
	}
	if laplace := mustCost(t, f, Laplace(AddRemove, 10, 3)); laplace.PureEpsilon != MustAmount("0.3") {
		t.Errorf("three Laplace events of scale 10 draw %v", laplace.PureEpsilon)
	}
}

// GaussianLeft may be used again and again, down to nothing.
func TestGaussianLeftIsAdmitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom([]Method{MethodRDP, MethodGDP}).Draw(t, "method")
		f := mustFilter(t, terms(m, "3", "1e-6"))
		var total Spent
		for range 60 {
			left := f.GaussianLeft(total)
			if left == 0 {
				break
			}
			share := rapid.SampledFrom([]float64{1, 1, 0.5, 0.999999}).Draw(t, "share")
			total = f.Add(total, mustCost(t, f, Gaussian(ReplaceOne, 2/(left*share), 1)))
			if !f.Admits(total) {
				t.Fatalf("%g of %g", total.Loss, f.Limit())
			}
		}
		if f.GaussianLeft(Spent{Loss: f.Limit()}) != 0 || f.GaussianLeft(Spent{Loss: 2 * f.Limit()}) != 0 {
			t.Fatal("something is left of nothing")
		}
	})
}

// DESIGN: about 75 Gaussian jobs of ε = 0.1 fit into (1, 10⁻⁶), 7 or 3 pure
// ones, and one Laplace query above 0.57 alone does not.
func TestHowManyJobsFit(t *testing.T) {
	for _, c := range []struct {
		m               Method
		gaussians, pure int
	}{{MethodRDP, 75, 7}, {MethodGDP, 73, 3}} {
		f := mustFilter(t, terms(c.m, "1", "1e-6"))
		count := func(e Event) int {
			var total Spent
			for n := 0; ; n++ {
				if total = f.Add(total, mustCost(t, f, e)); !f.Admits(total) {
					return n
				}
			}
		}
		if n := count(Gaussian(AddRemove, 1/GaussianMu(c.m, 0.1, 1e-6), 1)); n < c.gaussians-2 || n > c.gaussians+2 {
			t.Errorf("%s: %d Gaussian jobs fit, want about %d", c.m, n, c.gaussians)
		}
		if n := count(Pure(AddRemove, MustAmount("0.1"), 1)); n != c.pure {
			t.Errorf("%s: %d pure jobs fit, want %d", c.m, n, c.pure)
		}
	}
	if f := mustFilter(t, terms(MethodRDP, "1", "1e-6")); !f.Admits(mustCost(t, f, Laplace(AddRemove, 1/0.2, 1))) || f.Admits(mustCost(t, f, Laplace(AddRemove, 1/0.6, 1))) {
		t.Error("Laplace queries: 0.2 fits, 0.6 does not")
	}
}

// The order that NewFilter chooses loses nothing against the best of all orders
// when the budget is spent on Gaussians.
func TestChosenOrderIsTheBest(t *testing.T) {
	for _, eps := range []string{"0.01", "0.5", "1", "8", "1000"} {
		f := mustFilter(t, terms(MethodRDP, eps, "1e-6"))
		order, e := f.Terms().Order, MustAmount(eps).Float64Down()
		mu := math.Sqrt(2 * f.Limit() / order)
		if again := mustFilter(t, f.Terms()); again.Limit() != f.Limit() || again.Terms() != f.Terms() {
			t.Errorf("ε %s: the filled-in terms make another filter", eps)
		}
		for _, factor := range []float64{0.5, 0.9, 0.99, 1.01, 1.1, 2} {
			other := 1 + (order-1)*factor
			if o := math.Sqrt(2 * limitRDP(other, e, 1e-6) / other); o > mu*(1+1e-7) {
				t.Errorf("ε %s: order %g allows μ %g, order %g %g", eps, order, mu, other, o)
			}
		}
		// The formula of Limit, apart from the code.
		want := e - math.Log((order-1)/order) + (math.Log(1e-6)+math.Log(order))/(order-1)
		if f.Limit() > want*(1+1e-13) || f.Limit() < want*(1-1e-11) {
			t.Errorf("ε %s: limit %.17g, formula %.17g", eps, f.Limit(), want)
		}
	}
}

func TestFilterRules(t *testing.T) {
	approximate := Approximate(AddRemove, MustAmount("0.1"), MustAmount("1e-8"), 2)
	for _, m := range []Method{MethodRDP, MethodGDP} {
		f := mustFilter(t, terms(m, "1", "1e-6"))
		if _, err := f.Cost(approximate); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: approximate without a share: %v", m, err)
		}
		if _, err := f.Cost(Gaussian(AddRemove, -1, 1)); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: invalid event: %v", m, err)
		}
		if cost := mustCost(t, f, Gaussian(AddRemove, 0, 1)); f.Admits(cost) || !math.IsInf(cost.Loss, 1) {
			t.Errorf("%s: no noise costs %g", m, cost.Loss)
		}
		if f.Admits(Spent{Loss: math.NaN()}) || f.Admits(Spent{Loss: -1}) || !f.Admits(Spent{}) || !f.Admits(Spent{Loss: f.Limit()}) {
			t.Errorf("%s: Admits at the edges", m)
		}
		if f.Admits(Spent{PureEpsilon: MustAmount("1e-9")}) {
			t.Errorf("%s: a share that is not set admits something", m)
		}
		if f.Fraction(Spent{}) != 0 || f.Fraction(Spent{Loss: f.Limit()}) != 1 || f.Fraction(Spent{Loss: f.Limit() / 2}) != 0.5 {
			t.Errorf("%s: fraction", m)
		}
		share := terms(m, "1", "1e-6")
		share.ApproximateDelta = MustAmount("2e-8")
		with := mustFilter(t, share)
		if cost := mustCost(t, with, approximate); cost.ApproximateDelta != MustAmount("2e-8") || !(cost.Loss > 0) || !with.Admits(cost) {
			t.Errorf("%s: approximate costs %+v", m, cost)
		}
		if with.GaussianLeft(Spent{}) >= f.GaussianLeft(Spent{}) {
			t.Errorf("%s: the share of δ is free", m)
		}
	}
	gdp := mustFilter(t, terms(MethodGDP, "1", "1e-6"))
	sampled, full := mustCost(t, gdp, PoissonGaussian(ReplaceOne, 0.01, 30, 2)), mustCost(t, gdp, Gaussian(ReplaceOne, 30, 2))
	if sampled.Loss < full.Loss || sampled.Loss > full.Loss*(1+1e-14) {
		t.Errorf("gdp charges a sampled step %g, a full one %g", sampled.Loss, full.Loss)
	}
}

func TestNewFilterRefuses(t *testing.T) {
	for name, change := range map[string]func(*Terms){
		"method":          func(t *Terms) { t.Method = "pld" },
		"no ε":            func(t *Terms) { t.Epsilon = Amount{} },
		"δ of 1":          func(t *Terms) { t.Delta = MustAmount("1") },
		"pure share":      func(t *Terms) { t.PureEpsilon = MustAmount("1.0000000001") },
		"δ share":         func(t *Terms) { t.ApproximateDelta = MustAmount("2e-6") },
		"no δ left":       func(t *Terms) { t.ApproximateDelta = t.Delta },
		"no δ":            func(t *Terms) { t.Delta = Amount{} },
		"order of 1":      func(t *Terms) { t.Order = 1 },
		"negative order":  func(t *Terms) { t.Order = -3 },
		"NaN order":       func(t *Terms) { t.Order = math.NaN() },
		"infinite order":  func(t *Terms) { t.Order = math.Inf(1) },
		"order under gdp": func(t *Terms) { t.Method, t.Order = MethodGDP, 8 },
	} {
		limit := terms(MethodRDP, "1", "1e-6")
		change(&limit)
		if _, err := NewFilter(limit); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A budget for pure events alone needs no δ and admits nothing else.
	for _, m := range []Method{MethodRDP, MethodGDP} {
		f := mustFilter(t, Terms{Method: m, Epsilon: one, PureEpsilon: one})
		if !f.Admits(mustCost(t, f, Pure(AddRemove, MustAmount("0.5"), 2))) || f.Admits(mustCost(t, f, Gaussian(AddRemove, 1e9, 1))) || f.GaussianLeft(Spent{}) != 0 {
			t.Errorf("%s: a budget of pure ε alone", m)
		}
	}
}

func TestAddRoundsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Float64Range(0, 1e6).Draw(t, "a"), rapid.Float64Range(0, 1e6).Draw(t, "b")
		exact := amountOfFloat(a).Add(amountOfFloat(b))
		sum := addUp(a, b)
		if amountOfFloat(sum).Cmp(exact) < 0 || sum != exact.Float64Up() {
			t.Fatalf("%g + %g = %g, want %g", a, b, sum, exact.Float64Up())
		}
	})
	if addUp(math.Inf(1), 1) != math.Inf(1) || addUp(math.MaxFloat64, math.MaxFloat64) != math.Inf(1) {
		t.Error("infinity")
	}
}

func TestTermsAndSpentJSON(t *testing.T) {
	limit := terms(MethodRDP, "3", "1e-6")
	limit.PureEpsilon = MustAmount("0.123456789012345678901234567890")
	f := mustFilter(t, limit)
	data, err := json.Marshal(f.Terms())
	if err != nil {
		t.Fatal(err)
	}
	var back Terms
	if err := json.Unmarshal(data, &back); err != nil || back != f.Terms() {
		t.Errorf("%+v became %s became %+v (%v)", f.Terms(), data, back, err)
	}
	spent := mustCost(t, f, Compose(Pure(AddRemove, MustAmount("0.1"), 1), PoissonGaussian(AddRemove, 0.01, 1.1, 7)))
	data, err = json.Marshal(spent)
	if err != nil {
		t.Fatal(err)
	}
	var again Spent
	if err := json.Unmarshal(data, &again); err != nil || again != spent {
		t.Errorf("%+v became %s became %+v (%v)", spent, data, again, err)
	}
}
