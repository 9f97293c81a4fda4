package accountant

import (
	"math"
	"testing"
)

func TestPLDEpsilonMeetsReference(t *testing.T) {
	var runs []struct {
		ID        string
		Events    []goldenEvent
		Delta     float64
		Adjacency Adjacency
		Exact     *reference `json:"epsilon_exact"`
		Lower     *reference `json:"epsilon_pld_lower"`
		Upper     *reference `json:"epsilon_pld_upper"`
	}
	golden(t, "epsilon.json", &runs)
	if len(runs) != 88 {
		t.Fatalf("%d runs, want 88", len(runs))
	}
	worst, widest := 0.0, 0.0
	for _, r := range runs {
		var lower, upper float64
		if r.Lower != nil {
			lower, upper = float64(*r.Lower), float64(*r.Upper)
		} else {
			lower, upper = float64(*r.Exact), float64(*r.Exact)
		}
		e := compose(t, r.Events, r.Adjacency)
		b, err := PLDEpsilon(e, r.Delta, PLDOptions{})
		if err != nil {
			t.Fatalf("%s: %v", r.ID, err)
		}
		if !(b.Upper >= lower*(1-1e-9)) || b.Upper > upper*(1+5e-5)+1e-9 {
			t.Errorf("%s: upper bound %.17g, reference %.17g to %.17g", r.ID, b.Upper, lower, upper)
		}
		if !(b.Lower <= upper*(1+1e-9)) || !(b.Lower >= 0) {
			t.Errorf("%s: lower bound %.17g, reference %.17g to %.17g", r.ID, b.Lower, lower, upper)
		}
		eps, order, err := Epsilon(MethodPLD, e, r.Delta)
		if eps > b.Upper || eps < lower*(1-1e-9) || order != 0 || err != nil {
			t.Errorf("%s: Epsilon %.17g (order %g, error %v), upper bound %.17g", r.ID, eps, order, err, b.Upper)
		}
		if !math.IsInf(upper, 1) {
			worst, widest = max(worst, b.Upper/upper-1), max(widest, 1-b.Lower/b.Upper)
		}
	}
	t.Logf("largest excess over the reference %.2g, widest interval %.2g", worst, widest)
}

func TestPLDDeltaMeetsReference(t *testing.T) {
	var runs []struct {
		ID        string
		Events    []goldenEvent
		Epsilon   float64
		Adjacency Adjacency
		Exact     *float64 `json:"delta_exact"`
		Lower     *float64 `json:"delta_pld_lower"`
		Upper     *float64 `json:"delta_pld_upper"`
	}
	golden(t, "delta.json", &runs)
	if len(runs) != 53 {
		t.Fatalf("%d runs, want 53", len(runs))
	}
	worst, widest := 0.0, 0.0
	for _, r := range runs {
		lower, upper := r.Lower, r.Upper
		if lower == nil {
			lower, upper = r.Exact, r.Exact
		}
		e := compose(t, r.Events, r.Adjacency)
		b, err := PLDDelta(e, r.Epsilon, PLDOptions{})
		if err != nil {
			t.Fatalf("%s: %v", r.ID, err)
		}
		if !(b.Upper >= *lower*(1-1e-9)) || b.Upper > *upper*(1+2e-3) {
			t.Errorf("%s: upper bound %.17g, reference %.17g to %.17g", r.ID, b.Upper, *lower, *upper)
		}
		if !(b.Lower <= *upper*(1+1e-9)) || !(b.Lower >= 0) {
			t.Errorf("%s: lower bound %.17g, reference %.17g to %.17g", r.ID, b.Lower, *lower, *upper)
		}
		delta, order, err := Delta(MethodPLD, e, r.Epsilon)
		if delta > b.Upper || delta < *lower*(1-1e-9) || order != 0 || err != nil {
			t.Errorf("%s: Delta %.17g (order %g, error %v), upper bound %.17g", r.ID, delta, order, err, b.Upper)
		}
		worst, widest = max(worst, b.Upper / *upper - 1), max(widest, 1-b.Lower/b.Upper)
	}
	t.Logf("largest excess over the reference %.2g, widest interval %.2g", worst, widest)
}

// At the calibrated noise the target is met, but for what the grid costs, and
// below it is not.
func TestPLDCalibrationMeetsReference(t *testing.T) {
	var runs []struct {
		ID              string
		Kind            string
		Epsilon, Delta  float64
		SamplingRate    float64 `json:"sampling_rate"`
		Steps           int64
		Adjacency       Adjacency
		NoiseMultiplier float64 `json:"noise_multiplier"`
		Low             float64 `json:"noise_multiplier_pld_lower"`
		High            float64 `json:"noise_multiplier_pld_upper"`
		StepsLow        int64   `json:"steps_pld_lower"`
		StepsHigh       int64   `json:"steps_pld_upper"`
	}
	golden(t, "calibration.json", &runs)
	checked := 0
	check := func(id string, e Event, delta, target float64, meets bool) {
		t.Helper()
		checked++
		b, err := PLDEpsilon(e, delta, PLDOptions{})
		if err != nil || (b.Upper <= target) != meets {
			t.Errorf("%s: ε %.17g (error %v), target %g, meets it should be %v", id, b.Upper, err, target, meets)
		}
	}
	for _, r := range runs {
		switch {
		case r.Kind == "noise_multiplier" && r.Low > 0:
			check(r.ID, PoissonGaussian(r.Adjacency, r.SamplingRate, r.Low*(1-1e-9), r.Steps), r.Delta, r.Epsilon, false)
			check(r.ID, PoissonGaussian(r.Adjacency, r.SamplingRate, r.High*(1+1e-4), r.Steps), r.Delta, r.Epsilon, true)
		case r.Kind == "steps" && r.StepsLow > 0:
			check(r.ID, PoissonGaussian(r.Adjacency, r.SamplingRate, r.NoiseMultiplier, r.StepsHigh+1), r.Delta, r.Epsilon, false)
			check(r.ID, PoissonGaussian(r.Adjacency, r.SamplingRate, r.NoiseMultiplier, r.StepsLow-1-r.StepsLow/1000), r.Delta, r.Epsilon, true)
		}
	}
	if checked != 54 {
		t.Errorf("%d checks, want 54", checked)
	}
}
