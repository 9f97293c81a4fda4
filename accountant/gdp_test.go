package accountant

import (
	"errors"
	"math"
	"testing"

	"gonum.org/v1/gonum/mathext"
	"pgregory.net/rapid"
)

func TestMuGDP(t *testing.T) {
	pythagoras := Compose(Gaussian(AddRemove, 1.0/3, 1), Gaussian(AddRemove, 0.5, 4))
	if mu, err := MuGDP(pythagoras); err != nil || mu < 5 || mu > 5*(1+1e-14) {
		t.Errorf("3² + 4·2² gives μ %.17g, %v; want 5", mu, err)
	}
	if mu, err := MuGDP(Gaussian(ReplaceOne, 4, 1)); err != nil || mu < 0.5 || mu > 0.5*(1+1e-14) {
		t.Errorf("replace-one: μ %.17g, %v; want 0.5", mu, err)
	}
	for name, e := range map[string]Event{
		"sampled":     PoissonGaussian(AddRemove, 0.1, 1, 1),
		"approximate": Approximate(AddRemove, one, MustAmount("1e-9"), 1),
	} {
		if _, err := MuGDP(e); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", name, err)
		}
	}
	if _, _, err := Epsilon(MethodGDP, PoissonGaussian(AddRemove, 0.1, 1, 1), 1e-6); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Epsilon of a sampled event: %v, want ErrUnsupported", err)
	}
}

// Φ(−μ/2) = 1/(1+e^ε) defines the μ of randomised response.
func TestResponseMu(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := math.Exp(rapid.Float64Range(math.Log(1e-8), math.Log(600)).Draw(t, "log ε"))
		mu := responseMu(eps)
		// tanh(ε/2) = erf(μ/(2√2)) where the difference from ½ is small.
		have, want := math.Erf(mu/2/math.Sqrt2), math.Tanh(eps/2)
		if eps > 1 {
			have, want = 1/(math.Erfc(mu/2/math.Sqrt2)/2), 1+math.Exp(eps)
		}
		if have < want*(1-1e-11) || have > want*(1+1e-9) {
			t.Fatalf("ε %g: μ %.17g gives %.17g, want %.17g", eps, mu, have, want)
		}
		if responseMu(eps*1.01) < mu {
			t.Fatalf("μ falls at ε %g", eps)
		}
	})
	if a, b := responseMu(699.999), responseMu(700.001); b < a {
		t.Errorf("μ falls from %g to %g at the change of formula", a, b)
	}
}

// The Gaussian's δ is never below the formula, evaluated plainly where that is
// safe, and falls with ε.
func TestGaussianDeltaIsTheFormula(t *testing.T) {
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	rapid.Check(t, func(t *rapid.T) {
		mu := rapid.Float64Range(0.3, 8).Draw(t, "μ")
		eps := rapid.Float64Range(0, 3*mu).Draw(t, "ε")
		plain := phi(mu/2-eps/mu) - math.Exp(eps)*phi(-mu/2-eps/mu)
		got := GaussianDelta(mu, eps)
		if math.Abs(got-plain) > 1e-9*plain+1e-15*math.Exp(eps) {
			t.Fatalf("μ %g ε %g: %.17g, plain %.17g", mu, eps, got, plain)
		}
		if GaussianDelta(mu, eps*1.01) > got*slack || GaussianDelta(mu*1.01, eps)*slack < got {
			t.Fatalf("δ is not monotone at μ %g ε %g", mu, eps)
		}
	})
}

// The integral for small μ and the difference for larger ones are one function.
func TestGaussianDeltaFormulasMeet(t *testing.T) {
	for _, ratio := range []float64{0.03, 0.1, 1, 5, 30} {
		mu := 0.05
		eps := ratio * mu
		below := math.Nextafter(mu, 0)
		a, b := logGaussianDelta(below, eps), logGaussianDelta(mu, eps)
		if math.Abs(a-b) > 1e-10 {
			t.Errorf("at ε/μ = %g: %.17g and %.17g", ratio, a, b)
		}
	}
}

func TestGaussianEpsilonInverts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mu := math.Exp(rapid.Float64Range(math.Log(1e-5), math.Log(100)).Draw(t, "log μ"))
		delta := math.Exp(rapid.Float64Range(math.Log(1e-30), math.Log(0.5)).Draw(t, "log δ"))
		eps := GaussianEpsilon(mu, delta)
		if GaussianDelta(mu, eps) > delta*(1+1e-12) {
			t.Fatalf("μ %g δ %g: ε %g has δ %g", mu, delta, eps, GaussianDelta(mu, eps))
		}
		if eps > 0 && logGaussianDelta(mu, eps*(1-1e-6)) < math.Log(delta) {
			t.Fatalf("μ %g δ %g: ε %g is not the least", mu, delta, eps)
		}
		if GaussianEpsilon(mu*1.01, delta)*slack < eps || GaussianEpsilon(mu, delta/2)*slack < eps {
			t.Fatalf("ε is not monotone at μ %g δ %g", mu, delta)
		}
		if eps > 1e-9 {
			if back := gaussianMu(eps, delta); math.Abs(back/mu-1) > 1e-7 {
				t.Fatalf("μ %g δ %g: ε %g gives back μ %g", mu, delta, eps, back)
			}
		}
	})
}

func TestGaussianEdges(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct{ mu, delta, want float64 }{{0, 1e-6, 0}, {0, 0, 0}, {1, 0, inf}, {1, 1, 0}, {1, 2, 0}, {inf, 1e-6, inf},
		{1, math.NaN(), inf}, {math.NaN(), 1e-6, inf}, {1, -1, inf}} {
		if got := GaussianEpsilon(c.mu, c.delta); got != c.want {
			t.Errorf("ε of μ %g at δ %g is %g, want %g", c.mu, c.delta, got, c.want)
		}
	}
	for _, c := range []struct{ mu, eps, want float64 }{{0, 0, 0}, {0, 1, 0}, {inf, 1, 1}, {math.NaN(), 1, 1}, {1, math.NaN(), 1}, {1, -1, 1},
		{1e-3, 50, math.SmallestNonzeroFloat64}, {1e-200, 1, math.SmallestNonzeroFloat64}, {1e5, 1, 1}} {
		if got := GaussianDelta(c.mu, c.eps); got != c.want {
			t.Errorf("δ of μ %g at ε %g is %g, want %g", c.mu, c.eps, got, c.want)
		}
	}
	if want := mathext.NormalQuantile(0.75); math.Abs(GaussianDelta(2*want, 0)-0.5) > 1e-14 {
		t.Errorf("δ(0) = %g, want 0.5", GaussianDelta(2*want, 0))
	}
}
