package accountant

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func mustRho(t interface{ Fatal(...any) }, e Event) float64 {
	rho, err := RhoZCDP(e)
	if err != nil {
		t.Fatal(err)
	}
	return rho
}

// ρ·α bounds the divergence at every order.
func TestRhoBoundsTheCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		eps := rapid.SampledFrom([]string{"1e-6", "0.01", "0.3", "1", "4", "30", "900"})
		e := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) Event { return Pure(adj, MustAmount(eps.Draw(t, "ε")), 2) }),
			rapid.Custom(func(t *rapid.T) Event { return Laplace(adj, 1/MustAmount(eps.Draw(t, "ε")).Float64Up(), 1) }),
			rapid.Custom(func(t *rapid.T) Event {
				return DiscreteLaplace(adj, 1/MustAmount(eps.Draw(t, "ε")).Float64Up(), rapid.SampledFrom([]int64{1, 2, 7, 1e6}).Draw(t, "sensitivity"), 1)
			}),
			rapid.Custom(func(t *rapid.T) Event { return ZCDP(adj, MustAmount(eps.Draw(t, "ρ")), 3) }),
			rapid.Custom(func(t *rapid.T) Event { return Gaussian(adj, rapid.Float64Range(0.1, 50).Draw(t, "z"), 4) }),
			rapid.Custom(func(t *rapid.T) Event {
				return DiscreteGaussian(adj, rapid.Float64Range(0.1, 50).Draw(t, "z"), 1, 4)
			}),
			rapid.Custom(func(t *rapid.T) Event {
				return PoissonGaussian(adj, rapid.Float64Range(0.001, 0.999).Draw(t, "q"), rapid.Float64Range(0.3, 20).Draw(t, "z"), 4)
			}),
			rapid.Custom(func(t *rapid.T) Event {
				return FixedSizeGaussian(ReplaceOne, rapid.Int64Range(1, 99).Draw(t, "m"), 100, rapid.Float64Range(0.3, 20).Draw(t, "z"), 4)
			}),
		).Draw(t, "event")
		alpha := 1 + math.Exp(rapid.Float64Range(-12, 6).Draw(t, "log(α−1)"))
		rho := mustRho(t, e)
		r, err := RDP(e, alpha)
		if err != nil {
			t.Fatal(err)
		}
		// Both are rounded up, RDP by more at orders near 1.
		if r > rho*alpha*(1+1e-9+1e-13/(alpha-1)) {
			t.Fatalf("R(%g) = %.17g, ρα = %.17g", alpha, r, rho*alpha)
		}
	})
}

// ρ is the least where the divergence attains it: at order 1 for events with an
// ε of their own, everywhere for Gaussians, at large orders for sampled ones.
func TestRhoIsTheLeast(t *testing.T) {
	for _, eps := range []string{"0.001", "0.1", "1", "5", "40"} {
		x := MustAmount(eps).Float64Up()
		pure, laplace := Pure(AddRemove, MustAmount(eps), 1), Laplace(AddRemove, 1/x, 1)
		for _, e := range []Event{pure, laplace, DiscreteLaplace(AddRemove, 1/x, 1, 1), DiscreteLaplace(AddRemove, 1/x, 3, 1), DiscreteLaplace(AddRemove, 1/x, 1e6, 1)} {
			const alpha = 1 + 1e-6
			r, _ := RDP(e, alpha)
			if rho := mustRho(t, e); rho > r*(1+1e-5) {
				t.Errorf("%s %s: ρ %g, the divergence of order 1 is %g", e.Type, eps, rho, r)
			}
		}
		if got, want := mustRho(t, pure), x*math.Tanh(x/2); got < want || got > want*(1+1e-14) || got > x*x/2*(1+1e-14) {
			t.Errorf("pure %s: ρ %.17g, want %.17g", eps, got, want)
		}
		if got, want := mustRho(t, laplace), x+math.Expm1(-x); math.Abs(got-want) > 1e-12*want && x > 0.01 || got >= mustRho(t, pure) {
			t.Errorf("laplace %s: ρ %.17g, want %.17g", eps, got, want)
		}
	}
	if got := mustRho(t, Gaussian(ReplaceOne, 4, 3)); got < 0.375 || got > 0.375*(1+1e-14) {
		t.Errorf("three Gaussians of μ = ½: ρ %.17g", got)
	}
	r, _ := RDP(PoissonGaussian(AddRemove, 0.3, 1, 1), 2000)
	if rho := mustRho(t, PoissonGaussian(AddRemove, 0.3, 1, 1)); r < 0.998*2000*rho {
		t.Errorf("R(2000) = %g, ρ = %g", r, rho)
	}
	if rho := mustRho(t, Gaussian(AddRemove, 0, 1)); !math.IsInf(rho, 1) {
		t.Errorf("no noise has ρ %g", rho)
	}
	if _, err := RhoZCDP(Approximate(AddRemove, MustAmount("0.1"), MustAmount("1e-9"), 1)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("approximate: %v", err)
	}
	if _, err := RhoZCDP(Gaussian(AddRemove, -1, 1)); !errors.Is(err, ErrDomain) {
		t.Errorf("invalid: %v", err)
	}
}

func TestEpsilonZCDP(t *testing.T) {
	for _, rho := range []float64{1e-12, 1e-6, 0.001, 0.1, 1, 20, 1e4} {
		for _, delta := range []float64{1e-100, 1e-12, 1e-6, 0.05, 0.5} {
			got, err := EpsilonZCDP(rho, delta)
			if err != nil {
				t.Fatal(err)
			}
			closed := rho + 2*math.Sqrt(rho*math.Log(1/delta))
			best := mustEpsilon(t, MethodRDP, Gaussian(AddRemove, 1/math.Sqrt(2*rho), 1), delta)
			exact := GaussianEpsilon(math.Sqrt(2*rho), delta)
			if got > closed*(1+1e-14) || got < exact*(1-1e-9) || math.Abs(got-best) > 1e-9*best {
				t.Errorf("ρ %g, δ %g: %.12g; closed form %.12g, as a Gaussian by rdp %.12g, exactly %.12g", rho, delta, got, closed, best, exact)
			}
		}
	}
	for _, c := range []struct{ rho, delta, want float64 }{{0, 0, 0}, {1, 1, 0}, {1, 0, math.Inf(1)}, {math.Inf(1), 0.1, math.Inf(1)}} {
		if got, err := EpsilonZCDP(c.rho, c.delta); got != c.want || err != nil {
			t.Errorf("ρ %g, δ %g: %g, %v", c.rho, c.delta, got, err)
		}
	}
	for _, c := range [][2]float64{{-1, 0.1}, {math.NaN(), 0.1}, {1, -1}, {1, math.NaN()}} {
		if _, err := EpsilonZCDP(c[0], c[1]); !errors.Is(err, ErrDomain) {
			t.Errorf("ρ %g, δ %g: %v", c[0], c[1], err)
		}
	}
}

// Where steps are many and small the estimate comes near the truth of the
// reference; it is no bound, and some run shows it.
func TestEstimateIsAnEstimate(t *testing.T) {
	var runs []struct {
		ID        string
		Events    []goldenEvent
		Delta     float64
		Adjacency Adjacency
		Lower     *reference `json:"epsilon_pld_lower"`
	}
	golden(t, "epsilon.json", &runs)
	near, below := 0, 0
	for _, r := range runs {
		e := compose(t, r.Events, r.Adjacency)
		mu, err := EstimateMu(e)
		if err != nil || r.Lower == nil || *r.Lower < 0.05 {
			continue
		}
		truth, estimate := float64(*r.Lower), GaussianEpsilon(mu, r.Delta)
		if math.Abs(estimate/truth-1) < 0.05 {
			near++
		}
		if estimate < truth*0.999 {
			below++
		}
	}
	if near < 15 || below < 5 {
		t.Errorf("%d runs within 5 %%, %d below the truth", near, below)
	}
}

func TestEstimateMuFormulas(t *testing.T) {
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	for _, c := range []struct {
		name string
		e    Event
		mu2  float64
	}{
		{"gaussian", Gaussian(ReplaceOne, 4, 100), 25},
		{"rate 1", PoissonGaussian(AddRemove, 1, 2, 4), 1},
		{"add-remove", PoissonGaussian(AddRemove, 0.01, 1.1, 1000), 0.1 * math.Expm1(1/1.21)},
		{"replace-one", PoissonGaussian(ReplaceOne, 0.01, 1.1, 1000), 0.4 * math.Sinh(1/1.21)},
		{"fixed size", FixedSizeGaussian(ReplaceOne, 1, 100, 2.2, 1000), 0.2 * (math.Exp(1/1.21)*phi(1.5/1.1) + 3*phi(-0.5/1.1) - 2)},
		{"fixed size, small", FixedSizeGaussian(ReplaceOne, 1, 100, 2e6, 1000), 0.1 * 1e-12},
		{"small noise", PoissonGaussian(AddRemove, 0.5, 0.01, 3), 3e4},
		{"sum", Compose(Gaussian(AddRemove, 1, 1), DiscreteGaussian(AddRemove, 0.5, 0, 1), PoissonGaussian(AddRemove, 0.1, 1, 100)), 5 + math.Expm1(1)},
	} {
		mu, err := EstimateMu(c.e)
		if err != nil || math.Abs(mu*mu/c.mu2-1) > 1e-5 {
			t.Errorf("%s: μ² %g, want %g (%v)", c.name, mu*mu, c.mu2, err)
		}
	}
	for _, e := range []Event{Pure(AddRemove, one, 1), Laplace(AddRemove, 1, 1), ZCDP(AddRemove, one, 1), Approximate(AddRemove, one, MustAmount("0.1"), 1)} {
		if _, err := EstimateMu(e); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", e.Type, err)
		}
	}
	if mu, err := EstimateMu(PoissonGaussian(AddRemove, 1e-300, 0, 1)); err != nil || !math.IsInf(mu, 1) {
		t.Errorf("no noise: μ %g, %v", mu, err)
	}
}

// Any valid event: a number that is not negative, or ErrUnsupported, and the bounds
// in their order.
func TestBoundsOfAnyEvent(t *testing.T) {
	extreme := func(adj Adjacency) *rapid.Generator[Event] {
		return rapid.Custom(func(t *rapid.T) Event {
			x := rapid.SampledFrom([]float64{0, 5e-324, 1e-200, 1e-9, 1, 1e9, 1e200, math.MaxFloat64}).Draw(t, "x")
			return rapid.SampledFrom([]Event{Gaussian(adj, x, 3), Laplace(adj, x, 2), DiscreteLaplace(adj, x, 1<<31, 1), DiscreteGaussian(adj, x, 1<<31, 1<<40),
				PoissonGaussian(adj, 1e-12, x, 1), PoissonGaussian(adj, 5e-324, x, 1<<50), FixedSizeGaussian(adj, 1, 1<<53, x, 1),
				Pure(adj, MustAmount("1e-900"), 1), Pure(adj, MustAmount("1e900"), 1), ZCDP(adj, MustAmount("1e-900"), 1), ZCDP(adj, MustAmount("1e900"), 1)}).Draw(t, "event")
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		e := rapid.OneOf(anyKind(adj), extreme(adj)).Draw(t, "event")
		o := mustOdometer(t, "1e-6", "1e-7", []float64{1.5, 4, 20})
		figure := func(name string, x float64, err error) bool {
			if err != nil && !errors.Is(err, ErrUnsupported) || err == nil && !(x >= 0) {
				t.Fatalf("%s: %g, %v", name, x, err)
			}
			return err == nil
		}
		mu, err := EstimateMu(e)
		figure("estimate", mu, err)
		s, err := o.Add(OdometerState{}, e)
		odometer := o.Epsilon(s)
		counted := figure("odometer", odometer, err)
		rho, err := RhoZCDP(e)
		if !figure("ρ", rho, err) {
			return
		}
		eps, err := EpsilonZCDP(rho, 1e-6)
		figure("ε by zCDP", eps, err)
		best := mustEpsilon(t, MethodRDP, e, 1e-6)
		// RDP looks no nearer to order 1 than 10⁻⁶.
		if best > eps*(1+2e-6) || counted && best > odometer*(1+1e-9) {
			t.Fatalf("ε by rdp %g, by zCDP %g, by the odometer %g", best, eps, odometer)
		}
	})
}
