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
	if _, err := CalibrateNoise("pld", Target{1, 1e-6}, build); !errors.Is(err, ErrDomain) {
		t.Errorf("unknown accountant: %v", err)
	}
	sampled := func(z float64) Event { return PoissonGaussian(AddRemove, 0.1, z, 1) }
	if _, err := CalibrateNoise(MethodGDP, Target{1, 1e-6}, sampled); !errors.Is(err, ErrUnsupported) {
		t.Errorf("sampled under gdp: %v", err)
	}
}
