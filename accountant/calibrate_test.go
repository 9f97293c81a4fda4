package accountant

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestCalibrationNeverExceedsItsTarget(t *testing.T) {
	checks(t, 20)
	rapid.Check(t, func(t *rapid.T) {
		adj, q, delta := anyAdjacency(t), anyRate(t), anyDelta(t)
		target := Target{math.Exp(rapid.Float64Range(math.Log(0.05), math.Log(20)).Draw(t, "log ε")), delta}
		n := rapid.Int64Range(1, 5000).Draw(t, "n")
		build := func(z float64) Event { return PoissonGaussian(adj, q, z, n) }
		z, err := CalibrateNoise(MethodRDP, target, build)
		if err != nil {
			t.Fatal(err)
		}
		if eps := mustEpsilon(t, MethodRDP, build(z), delta); eps > target.Epsilon {
			t.Fatalf("z %g has ε %.17g above %.17g", z, eps, target.Epsilon)
		}
		if eps := mustEpsilon(t, MethodRDP, build(z*(1-1e-4)), delta); eps <= target.Epsilon {
			t.Fatalf("z %g is not the smallest", z)
		}
	})
}

func TestStepsAndRateNeverExceedTheirTarget(t *testing.T) {
	checks(t, 20)
	rapid.Check(t, func(t *rapid.T) {
		adj, q, delta := anyAdjacency(t), anyRate(t), anyDelta(t)
		target := Target{math.Exp(rapid.Float64Range(math.Log(0.05), math.Log(20)).Draw(t, "log ε")), delta}
		z := math.Exp(rapid.Float64Range(math.Log(0.6), math.Log(100)).Draw(t, "log z"))
		n := rapid.Int64Range(1, 5000).Draw(t, "n")
		fits := func(q float64, n int64) bool {
			return mustEpsilon(t, MethodRDP, PoissonGaussian(adj, q, z, n), delta) <= target.Epsilon
		}

		steps, err := CalibrateSteps(MethodRDP, target, func(n int64) Event { return PoissonGaussian(adj, q, z, n) })
		switch {
		case errors.Is(err, ErrDomain):
			if q < 1 && fits(q, 1) {
				t.Fatal("one step fits, and was refused")
			}
		case err != nil:
			t.Fatal(err)
		case !fits(q, steps) || steps < maxCount && q < 1 && fits(q, steps+1):
			t.Fatalf("%d steps are not the most", steps)
		}

		rate, err := CalibrateRate(MethodRDP, target, func(q float64) Event { return PoissonGaussian(adj, q, z, n) })
		switch {
		case err != nil:
			t.Fatal(err)
		case !fits(rate, n) || rate*(1+1e-4) < 1 && fits(rate*(1+1e-4), n):
			t.Fatalf("rate %g is not the largest", rate)
		}
	})
}

func TestCalibrationAtTheEnds(t *testing.T) {
	target := Target{1, 1e-6}
	nothing := func(int64) Event { return PoissonGaussian(AddRemove, 0, 1, 1) }
	if n, err := CalibrateSteps(MethodRDP, target, nothing); n != maxCount || err != nil {
		t.Errorf("steps that cost nothing: %d, %v", n, err)
	}
	tooMuch := func(n int64) Event { return Gaussian(AddRemove, 0, n) }
	if n, err := CalibrateSteps(MethodRDP, target, tooMuch); n != 0 || !errors.Is(err, ErrDomain) {
		t.Errorf("steps without noise: %d, %v", n, err)
	}
	if q, err := CalibrateRate(MethodRDP, target, func(q float64) Event { return PoissonGaussian(AddRemove, q, 100, 1) }); q != 1 || err != nil {
		t.Errorf("a rate that may be 1: %g, %v", q, err)
	}
	if _, err := CalibrateRate(MethodRDP, target, func(float64) Event { return Gaussian(AddRemove, 0, 1) }); !errors.Is(err, ErrDomain) {
		t.Errorf("no rate: %v", err)
	}
	if _, err := CalibrateRate(MethodGDP, target, func(q float64) Event { return PoissonGaussian(AddRemove, q, 1, 1) }); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a rate under gdp: %v", err)
	}
	if z, err := CalibrateNoise(MethodGDP, Target{1e-8, 1e-9}, func(z float64) Event { return Gaussian(AddRemove, z, maxCount) }); err != nil || z < 1e12 {
		t.Errorf("noise for very many steps: %g, %v", z, err)
	}
}

// A schedule of fixed shape is one number to find. At q = 1, in closed form:
// κ = √(Σ r⁻²)/μ.
func TestCalibrationOfASchedule(t *testing.T) {
	target := Target{1, 1e-6}
	build := func(kappa float64) Event {
		e := Gaussian(AddRemove, 0, 1)
		for k := 1; k <= 1000; k++ {
			e.NoiseMultipliers = append(e.NoiseMultipliers, kappa*math.Pow(float64(k), 0.3))
		}
		return e
	}
	squares := 0.0
	for _, r := range build(1).NoiseMultipliers {
		squares += 1 / (r * r)
	}
	want := math.Sqrt(squares) / GaussianMu(MethodGDP, 1, 1e-6)
	got, err := CalibrateNoise(MethodGDP, target, build)
	if off := got/want - 1; err != nil || off < -1e-8 || off > 1e-4 {
		t.Errorf("κ %g, closed form %g (%v)", got, want, err)
	}
}

// A part of the event that does not depend on z is paid first.
func TestCalibrationAroundAFixedPart(t *testing.T) {
	build := func(z float64) Event {
		return Compose(Pure(AddRemove, MustAmount("0.05"), 1), PoissonGaussian(AddRemove, 0.1, z, 100))
	}
	z, err := CalibrateNoise(MethodRDP, Target{1, 1e-6}, build)
	alone, _ := CalibrateNoise(MethodRDP, Target{1, 1e-6}, func(z float64) Event { return PoissonGaussian(AddRemove, 0.1, z, 100) })
	if err != nil || z <= alone {
		t.Errorf("z %g with a fixed part, %g without (%v)", z, alone, err)
	}
	tooMuch := func(z float64) Event {
		return Compose(Pure(AddRemove, MustAmount("3"), 1), Gaussian(AddRemove, z, 1))
	}
	if _, err := CalibrateNoise(MethodRDP, Target{1, 1e-6}, tooMuch); !errors.Is(err, ErrDomain) {
		t.Errorf("a target that cannot be met: %v", err)
	}
}

func TestCalibrationDomain(t *testing.T) {
	build := func(z float64) Event { return Gaussian(AddRemove, z, 1) }
	for _, target := range []Target{{0, 1e-6}, {-1, 1e-6}, {math.NaN(), 1e-6}, {math.Inf(1), 1e-6}, {1, 0}, {1, 1}, {1, math.NaN()}} {
		if _, err := CalibrateNoise(MethodRDP, target, build); !errors.Is(err, ErrDomain) {
			t.Errorf("%+v: %v", target, err)
		}
		if mu := GaussianMu(MethodRDP, target.Epsilon, target.Delta); mu != 0 {
			t.Errorf("%+v: μ %g", target, mu)
		}
	}
	if _, err := CalibrateNoise("moments", Target{1, 1e-6}, build); !errors.Is(err, ErrDomain) {
		t.Errorf("unknown accountant: %v", err)
	}
	sampled := func(z float64) Event { return PoissonGaussian(AddRemove, 0.1, z, 1) }
	if _, err := CalibrateNoise(MethodGDP, Target{1, 1e-6}, sampled); !errors.Is(err, ErrUnsupported) {
		t.Errorf("sampled under gdp: %v", err)
	}
}
