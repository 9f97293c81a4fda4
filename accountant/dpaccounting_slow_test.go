//go:build slow || soak

package accountant_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/privsgld/privsgld/accountant"
)

const dpAccountingVersion = "0.6.0"

// python finds an interpreter that has Google's dp_accounting, or makes one. The
// test is skipped where neither can be had.
func python(t *testing.T) string {
	t.Helper()
	has := func(name string) error {
		code := "import importlib.metadata as m; assert m.version('dp-accounting') == '" + dpAccountingVersion + "'; import dp_accounting"
		return exec.Command(name, "-c", code).Run()
	}
	if has("python3") == nil {
		return "python3"
	}
	folder := filepath.Join(t.TempDir(), "venv")
	if out, err := exec.Command("python3", "-m", "venv", folder).CombinedOutput(); err != nil {
		t.Skipf("dp_accounting %s is not installed, and python3 -m venv fails: %v\n%s", dpAccountingVersion, err, out)
	}
	name := filepath.Join(folder, "bin", "python3")
	if out, err := exec.Command(name, "-m", "pip", "install", "--quiet", "dp-accounting=="+dpAccountingVersion).CombinedOutput(); err != nil {
		t.Skipf("dp_accounting %s is not installed, and pip cannot install it: %v\n%s", dpAccountingVersion, err, out)
	}
	if err := has(name); err != nil {
		t.Skipf("dp_accounting %s was installed but cannot be imported: %v", dpAccountingVersion, err)
	}
	return name
}

type dpRun struct {
	Document json.RawMessage `json:"document"`
	Delta    float64         `json:"delta"`
	Interval float64         `json:"interval"`
	event    Event
}

type dpResult struct {
	Pessimistic, Optimistic *extended
	Refused                 string
}

// extended is a float64 that may be "inf".
type extended float64

func (x *extended) UnmarshalJSON(data []byte) error {
	if string(data) == `"inf"` {
		*x = extended(math.Inf(1))
		return nil
	}
	return json.Unmarshal(data, (*float64)(x))
}

// recompute hands the runs to dp_accounting.
func recompute(t *testing.T, runs []dpRun) []dpResult {
	t.Helper()
	for i := range runs {
		doc, err := ExportDPAccounting(runs[i].event)
		if err != nil {
			t.Fatal(err)
		}
		runs[i].Document = doc
	}
	input, err := json.Marshal(runs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python(t), filepath.Join("testdata", "recompute.py"))
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("recompute.py: %v\n%s", err, stderr.Bytes())
	}
	var results []dpResult
	if err := json.Unmarshal(stdout.Bytes(), &results); err != nil || len(results) != len(runs) {
		t.Fatalf("recompute.py: %d results for %d runs, %v", len(results), len(runs), err)
	}
	return results
}

// anyRun is one to three parts of the kinds that the library's PLDAccountant
// accepts under the relation.
func anyRun(r *rand.Rand, adj Adjacency) Event {
	amount := func(low, high float64) Amount { return MustAmount(fmt.Sprintf("%.4g", logUniform(r, low, high))) }
	var parts []Event
	for range 1 + r.IntN(3) {
		n := int64(logUniform(r, 1, 2000))
		switch r.IntN(7) {
		case 0:
			parts = append(parts, Gaussian(adj, math.Sqrt(float64(n))*logUniform(r, 0.5, 10), n))
		case 1, 2:
			parts = append(parts, PoissonGaussian(adj, logUniform(r, 1e-4, 0.5), logUniform(r, 0.6, 8), n))
		case 3: // a schedule
			zs := make([]float64, 2+r.IntN(12))
			z, q := logUniform(r, 0.7, 4), logUniform(r, 1e-3, 0.1)
			for i := range zs {
				zs[i] = z * math.Pow(1+float64(i), r.Float64()*0.4)
			}
			parts = append(parts, Event{Type: TypePoissonGaussian, Adjacency: adj, SamplingRate: q, NoiseMultipliers: zs, Count: 1 + n/50})
		case 4:
			if adj == ReplaceOne { // refused there
				parts = append(parts, Pure(adj, amount(0.005, 0.5), 1+n/100))
				continue
			}
			parts = append(parts, Laplace(adj, logUniform(r, 2, 100), 1+n/100))
		case 5:
			parts = append(parts, Pure(adj, amount(0.005, 1), 1+n/100))
		default:
			parts = append(parts, Approximate(adj, amount(0.005, 0.5), amount(1e-12, 1e-9), 1+n/100))
		}
	}
	return Compose(parts...)
}

// dpExcess is how far ε may lie above the library's pessimistic one.
const dpExcess = 2e-3

// Our ε at the same grid is never below the library's optimistic one, and never
// more than 0.2 % above its pessimistic one.
func TestDPAccountingRecomputes(t *testing.T) {
	const wanted = 50
	var runs []dpRun
	for i := 0; len(runs) < wanted; i++ {
		r := draws(21, i)
		adj := adjacencies[i%2]
		run := dpRun{event: anyRun(r, adj), Delta: logUniform(r, 1e-8, 1e-3), Interval: []float64{3e-4, 1e-3}[r.IntN(2)]}
		if rdp, _, err := Epsilon(MethodRDP, run.event, run.Delta); err != nil || rdp > 20 || rdp < 0.02 {
			continue // what a run may cost; beyond, the library takes minutes
		}
		runs = append(runs, run)
	}
	low, high, worst := math.Inf(1), math.Inf(-1), ""
	for i, theirs := range recompute(t, runs) {
		run := runs[i]
		name := fmt.Sprintf("run %d: %s at δ %g, interval %g", i, mustJSON(t, run.event), run.Delta, run.Interval)
		if theirs.Refused != "" {
			t.Errorf("%s: the library refuses it: %s", name, theirs.Refused)
			continue
		}
		ours, err := PLDEpsilon(run.event, run.Delta, PLDOptions{Interval: run.Interval})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		pessimistic, optimistic := float64(*theirs.Pessimistic), float64(*theirs.Optimistic)
		// The library's own rounding: its pure and Gaussian values fall short by
		// up to 1e-9.
		if ours.Upper < optimistic-1e-9 {
			t.Errorf("UNSOUND %s: ε %.12g is below the library's optimistic %.12g", name, ours.Upper, optimistic)
		}
		if ours.Lower > pessimistic+1e-9 {
			t.Errorf("%s: the lower bound %.12g exceeds the library's pessimistic %.12g", name, ours.Lower, pessimistic)
		}
		if ours.Upper > pessimistic*(1+dpExcess) {
			t.Errorf("loose: %s: ε %.12g is more than %g above the library's pessimistic %.12g", name, ours.Upper, dpExcess, pessimistic)
		}
		if ours.Lower > ours.Upper || ours.Lower < 0 || ours.Interval < 0 {
			t.Errorf("%s: bounds %+v", name, ours)
		}
		if excess := ours.Upper/pessimistic - 1; excess > high {
			high, worst = excess, name
		}
		low = min(low, ours.Upper/pessimistic-1)
	}
	t.Logf("seed %d: %d runs; ours against the library's pessimistic ε: from %.3g to %.3g (%s)", seed, len(runs), low, high, worst)
}

func mustJSON(t *testing.T, e Event) string {
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// goldenRun finds a run of epsilon.json by what it is.
type goldenRun struct {
	ID     string
	Events []struct {
		Type  EventType
		Q     float64 `json:"sampling_rate"`
		Z     float64 `json:"noise_multiplier"`
		Count int64
	}
	Delta     float64
	Adjacency Adjacency
	Best      extended  `json:"epsilon_rdp_best"`
	Exact     *extended `json:"epsilon_exact"`
	Lower     *extended `json:"epsilon_pld_lower"`
	Upper     *extended `json:"epsilon_pld_upper"`
	Theirs    struct {
		Pessimistic *extended `json:"pld_pessimistic"`
		RDP         *extended `json:"rdp_default_orders"`
	} `json:"dp_accounting"`
}

// The library's known weak spots, each with the reference's values: ours come
// out right where its own do not.
func TestDPAccountingWeakSpots(t *testing.T) {
	load := func(name string, into any) {
		data, err := os.ReadFile(filepath.Join("..", "testdata", "golden", "accounting", name))
		if err == nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var runs []goldenRun
	load("epsilon.json", &runs)
	byID := map[string]goldenRun{}
	for _, r := range runs {
		byID[r.ID] = r
	}
	event := func(r goldenRun) Event {
		e := r.Events[0]
		build := PoissonGaussian(r.Adjacency, e.Q, e.Z, e.Count)
		if e.Type == TypeGaussian {
			build = Gaussian(r.Adjacency, e.Z, e.Count)
		}
		return build
	}

	var rows []struct {
		Type  EventType
		Q     float64 `json:"sampling_rate"`
		Z     float64 `json:"noise_multiplier"`
		Order float64
		RDP   float64
	}
	load("rdp.json", &rows)
	// Fractional orders: its series adds absolute values, 6 % too much at order
	// 1.1 and a factor of 8 at worst. Tiny rates and large noise: cancellation, up
	// to 40 % too little.
	checked := 0
	for _, row := range rows {
		if row.Type != TypePoissonGaussian || !(row.Order != math.Floor(row.Order) || row.Q <= 1e-3 && row.Z >= 100) {
			continue
		}
		checked++
		got, err := RDP(PoissonGaussian(AddRemove, row.Q, row.Z, 1), row.Order)
		if err != nil {
			t.Fatal(err)
		}
		if got < math.Nextafter(row.RDP, 0) || got > row.RDP*(1+1e-9) {
			t.Errorf("q %g z %g order %g: RDP %.15g, true %.15g", row.Q, row.Z, row.Order, got, row.RDP)
		}
	}
	if checked < 50 {
		t.Errorf("%d rows", checked)
	}

	for name, id := range map[string]string{
		"fractional orders near 1":      "e-019",
		"tiny rate":                     "e-041",
		"tiny rate, many steps":         "e-039",
		"replace-one Gaussian":          "e-079",
		"replace-one Poisson":           "e-084",
		"replace-one, tiny loss a step": "e-087",
		"many steps, large noise":       "e-028",
		"many steps, small rate":        "e-027",
		"very small δ":                  "e-024",
		"small δ":                       "e-023",
	} {
		r, ok := byID[id]
		if !ok || len(r.Events) != 1 {
			t.Fatalf("%s: no run %s", name, id)
		}
		e := event(r)
		rdp, _, err := Epsilon(MethodRDP, e, r.Delta)
		if err != nil || rdp < float64(r.Best)*(1-1e-9) || rdp > float64(r.Best)*(1+1e-4) {
			t.Errorf("%s: ε by RDP %.12g, reference %.12g (%v)", name, rdp, float64(r.Best), err)
		}
		low, high := r.Lower, r.Upper
		if r.Exact != nil {
			low, high = r.Exact, r.Exact
		}
		pld, _, err := Epsilon(MethodPLD, e, r.Delta)
		if err != nil || pld < float64(*low)*(1-1e-9) || pld > float64(*high)*(1+1e-3)+1e-9 {
			t.Errorf("%s: ε by PLD %.12g, reference [%.12g, %.12g] (%v)", name, pld, float64(*low), float64(*high), err)
		}
		show := func(x *extended) float64 {
			if x == nil {
				return math.NaN()
			}
			return float64(*x)
		}
		t.Logf("%s (%s): true ε in [%.9g, %.9g]; PLD %.9g, library's %.9g; RDP %.9g, library's %.9g",
			name, id, float64(*low), float64(*high), pld, show(r.Theirs.Pessimistic), rdp, show(r.Theirs.RDP))
	}
}
