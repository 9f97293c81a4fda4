package accountant

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// The reference values and what they mean: testdata/golden/accounting/README.md.
func golden(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "golden", "accounting", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// reference is a float64 that may be the string "inf".
type reference float64

func (r *reference) UnmarshalJSON(data []byte) error {
	if string(data) == `"inf"` {
		*r = reference(math.Inf(1))
		return nil
	}
	return json.Unmarshal(data, (*float64)(r))
}

type goldenEvent struct {
	Type             EventType
	SamplingRate     float64   `json:"sampling_rate"`
	NoiseMultiplier  float64   `json:"noise_multiplier"`
	NoiseMultipliers []float64 `json:"noise_multipliers"`
	Epsilon, Delta   *Amount
	Count            *int64
	Formula          *schedule `json:"noise_multiplier_formula"`
}

type schedule struct {
	Kind                                 string
	Steps, Cycles                        int
	C, Offset, Exponent                  float64
	A, B, Gamma, Eta0, Temperature, Clip float64
}

// multipliers are the z_k of the reference's schedules, with rate q.
func (s *schedule) multipliers(t *testing.T, q float64) []float64 {
	t.Helper()
	list := make([]float64, s.Steps)
	for i := range list {
		k := float64(i + 1)
		var eta float64
		switch s.Kind {
		case "power":
			list[i] = s.C * math.Pow(k+s.Offset, s.Exponent)
			continue
		case "langevin_power":
			eta = s.A * math.Pow(s.B+k, -s.Gamma)
		case "langevin_cosine":
			m := (s.Steps + s.Cycles - 1) / s.Cycles
			eta = s.Eta0 / 2 * (math.Cos(math.Pi*float64(i%m)/float64(m)) + 1)
		default:
			t.Fatalf("schedule %q is unknown", s.Kind)
		}
		list[i] = q * math.Sqrt(2*s.Temperature/eta) / s.Clip
	}
	return list
}

func (g goldenEvent) event(t *testing.T, adj Adjacency) Event {
	t.Helper()
	e := Event{Type: g.Type, Adjacency: adj, SamplingRate: g.SamplingRate, NoiseMultiplier: g.NoiseMultiplier,
		NoiseMultipliers: g.NoiseMultipliers, Epsilon: g.Epsilon, Delta: g.Delta, Count: 1}
	if g.Count != nil {
		e.Count = *g.Count
	}
	if g.Formula != nil {
		e.NoiseMultipliers = g.Formula.multipliers(t, g.SamplingRate)
	}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	return e
}

func compose(t *testing.T, list []goldenEvent, adj Adjacency) Event {
	t.Helper()
	parts := make([]Event, len(list))
	for i, g := range list {
		parts[i] = g.event(t, adj)
	}
	return Compose(parts...)
}

func TestRDPMeetsReference(t *testing.T) {
	var points []struct {
		goldenEvent
		Adjacency Adjacency
		Order     float64
		RDP       float64 `json:"rdp"`
		Tolerance float64 `json:"tolerance_relative"`
	}
	golden(t, "rdp.json", &points)
	if len(points) != 175 {
		t.Fatalf("%d points, want 175", len(points))
	}
	worst := 0.0
	for i, p := range points {
		if p.Adjacency == "" { // pure: meant for any adjacency
			p.Adjacency = AddRemove
		}
		got, err := RDP(p.event(t, p.Adjacency), p.Order)
		if err != nil {
			t.Fatalf("point %d: %v", i, err)
		}
		// The reference is a double: half an ulp of it is no error of ours.
		if off := got/p.RDP - 1; off < -ulp || off > p.Tolerance {
			t.Errorf("point %d: %s q %g z %g order %g: RDP %.17g, reference %.17g (off by %.2g)",
				i, p.Type, p.SamplingRate, p.NoiseMultiplier, p.Order, got, p.RDP, off)
		}
		worst = max(worst, got/p.RDP-1)
	}
	t.Logf("largest excess over the reference: %.2g", worst)
}

// orderCap is the largest order that the reference searched: where its optimum
// lies there, a smaller ε is not an error.
const orderCap = 18000

func TestEpsilonMeetsReference(t *testing.T) {
	var runs []struct {
		ID        string
		Events    []goldenEvent
		Delta     float64
		Adjacency Adjacency
		Best      reference  `json:"epsilon_rdp_best"`
		Order     *float64   `json:"order"`
		Exact     *reference `json:"epsilon_exact"`
		Lower     *reference `json:"epsilon_pld_lower"`
	}
	golden(t, "epsilon.json", &runs)
	if len(runs) != 88 {
		t.Fatalf("%d runs, want 88", len(runs))
	}
	exact := 0
	for _, r := range runs {
		e := compose(t, r.Events, r.Adjacency)
		eps, order, err := Epsilon(MethodRDP, e, r.Delta)
		if err != nil {
			t.Fatalf("%s: %v", r.ID, err)
		}
		truth := 0.0
		if r.Exact != nil {
			truth = float64(*r.Exact)
		} else if r.Lower != nil {
			truth = float64(*r.Lower)
		}
		if eps < truth*(1-1e-9) {
			t.Errorf("%s: ε %.17g is below the true %.17g", r.ID, eps, truth)
		}
		best := float64(r.Best)
		capped := r.Order != nil && *r.Order > orderCap
		if eps < best*(1-1e-9) && !capped {
			t.Errorf("%s: ε %.17g is below the best order's %.17g", r.ID, eps, best)
		}
		if eps > best*(1+1e-9) {
			t.Errorf("%s: ε %.17g (order %g) is above the best order's %.17g", r.ID, eps, order, best)
		}

		// Gaussians without sampling: Gaussian DP is exact.
		if eps, _, err := Epsilon(MethodGDP, e, r.Delta); err == nil && r.Exact != nil && onlyGaussians(e) {
			exact++
			if off := eps/truth - 1; off < -1e-14 || off > 1e-9 {
				t.Errorf("%s: Gaussian DP ε %.17g, exact %.17g", r.ID, eps, truth)
			}
		} else if err == nil && eps < truth*(1-1e-9) {
			t.Errorf("%s: Gaussian DP ε %.17g is below the true %.17g", r.ID, eps, truth)
		}
	}
	if exact < 15 {
		t.Errorf("only %d runs had an exact Gaussian ε", exact)
	}
}

func onlyGaussians(e Event) bool {
	for _, part := range e.Merge().Events {
		if part.Type != TypeGaussian {
			return false
		}
	}
	return true
}

func TestGaussianDeltaMeetsReference(t *testing.T) {
	var points []struct {
		ID        string
		Events    []goldenEvent
		Epsilon   float64
		Adjacency Adjacency
		LogDelta  *float64 `json:"log_delta_exact"`
		Mu        float64
	}
	golden(t, "delta.json", &points)
	checked := 0
	for _, p := range points {
		e := compose(t, p.Events, p.Adjacency)
		if p.LogDelta == nil || !onlyGaussians(e) {
			continue
		}
		checked++
		mu, err := MuGDP(e)
		if err != nil {
			t.Fatalf("%s: %v", p.ID, err)
		}
		if off := mu/p.Mu - 1; off < -1e-15 || off > 1e-14 {
			t.Errorf("%s: μ %.17g, reference %.17g", p.ID, mu, p.Mu)
		}
		// The reference is a double of relative error 2⁻⁵³ in log δ itself.
		if off := logGaussianDelta(mu, p.Epsilon) - *p.LogDelta; off < -ulp*math.Abs(*p.LogDelta) || off > 1e-9 {
			t.Errorf("%s: log δ %.17g, reference %.17g (off by %.2g)", p.ID, logGaussianDelta(mu, p.Epsilon), *p.LogDelta, off)
		}
		if delta := GaussianDelta(mu, p.Epsilon); delta < math.Exp(*p.LogDelta)*(1-1e-14) || delta == 0 {
			t.Errorf("%s: δ %g is below exp(%g)", p.ID, delta, *p.LogDelta)
		}
		if delta := math.Exp(*p.LogDelta); delta > 1e-300 {
			eps := GaussianEpsilon(mu, delta)
			if math.Abs(eps-p.Epsilon) > 1e-9*(1+p.Epsilon) {
				t.Errorf("%s: ε %.17g at the reference's δ, want %g", p.ID, eps, p.Epsilon)
			}
		}
	}
	if checked != 22 {
		t.Errorf("%d points checked, want 22", checked)
	}
}

func TestCalibrationMeetsReference(t *testing.T) {
	var points []struct {
		ID              string
		Kind            string
		Epsilon, Delta  float64
		SamplingRate    float64 `json:"sampling_rate"`
		Steps           int64
		Adjacency       Adjacency
		NoiseMultiplier float64  `json:"noise_multiplier"`
		RDP             float64  `json:"noise_multiplier_rdp"`
		Exact           *float64 `json:"noise_multiplier_exact"`
		StepsRDP        int64    `json:"steps_rdp"`
		StepsExact      *int64   `json:"steps_exact"`
	}
	golden(t, "calibration.json", &points)
	if len(points) != 38 {
		t.Fatalf("%d points, want 38", len(points))
	}
	for _, p := range points {
		target := Target{p.Epsilon, p.Delta}
		check := func(m Method, want float64, steps int64) {
			if p.Kind == "steps" {
				n, err := CalibrateSteps(m, target, func(n int64) Event {
					return PoissonGaussian(p.Adjacency, p.SamplingRate, p.NoiseMultiplier, n)
				})
				if err != nil || n != steps {
					t.Errorf("%s %s: %d steps (error %v), the reference has %d", p.ID, m, n, err, steps)
				}
				return
			}
			z, err := CalibrateNoise(m, target, func(z float64) Event {
				return PoissonGaussian(p.Adjacency, p.SamplingRate, z, p.Steps)
			})
			if err != nil {
				t.Errorf("%s %s: %v", p.ID, m, err)
			}
			if off := z/want - 1; off < -1e-10 || off > 1e-4 {
				t.Errorf("%s %s: z %.17g, reference %.17g (off by %.2g)", p.ID, m, z, want, off)
			}
			if p.SamplingRate == 1 {
				mu := p.Adjacency.distance() * math.Sqrt(float64(p.Steps)) / GaussianMu(m, p.Epsilon, p.Delta)
				if off := mu/want - 1; off < -1e-12 || off > 1e-7 {
					t.Errorf("%s %s: z %.17g from GaussianMu, reference %.17g", p.ID, m, mu, want)
				}
			}
		}
		check(MethodRDP, p.RDP, p.StepsRDP)
		if p.Exact != nil {
			check(MethodGDP, *p.Exact, 0)
		}
		if p.StepsExact != nil {
			check(MethodGDP, 0, *p.StepsExact)
		}
	}
}
