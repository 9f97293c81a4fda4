package diagnostics

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"
	"pgregory.net/rapid"
)

// golden is one case of testdata/golden/diagnostics.json.
type golden struct {
	Name     string              `json:"name"`
	Chains   int                 `json:"chains"`
	Draws    int                 `json:"draws"`
	Phi      float64             `json:"phi"`
	Seed     uint32              `json:"seed"`
	Shift    float64             `json:"shift"`
	Scale    *float64            `json:"scale"`
	Cube     bool                `json:"cube"`
	Grid     float64             `json:"grid"`
	Constant *float64            `json:"constant"`
	Matrix   [][]float64         `json:"draws_matrix"`
	Expected map[string]*float64 `json:"expected"`
}

func goldenCases(t *testing.T) []golden {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "golden", "diagnostics.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Diagnostics struct{ Cases []golden }
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Diagnostics.Cases) == 0 {
		t.Fatal("no golden cases")
	}
	return file.Diagnostics.Cases
}

// lcg is the generator that the golden file prescribes.
type lcg uint32

func (g *lcg) uniform() float64 {
	*g = *g*1664525 + 1013904223
	return (float64(*g) + 0.5) / (1 << 32)
}

// autoregression returns chains of v ← φ·v + (u₁+u₂+u₃ − 1.5), one generator a
// chain.
func autoregression(chains, draws int, phi float64, seed uint32) [][]float64 {
	out := make([][]float64, chains)
	for c := range out {
		g := lcg(seed + 1000*uint32(c))
		v := 0.0
		for range draws {
			noise := g.uniform()
			noise += g.uniform()
			noise += g.uniform()
			v = phi*v + (noise - 1.5)
			out[c] = append(out[c], v)
		}
	}
	return out
}

func TestGolden(t *testing.T) {
	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			s := newSample(c.Matrix)
			summary := Summarize([]string{c.Name}, [][][]float64{c.Matrix})[0]
			mean := stat.Mean(s.sorted, nil)
			got := map[string]float64{
				"rhat_split_plain": splitRHat(s.halves),
				"rhat_bulk":        splitRHat(rankNormalise(s.halves)),
				"rhat_folded":      splitRHat(rankNormalise(s.folded())),
				"rhat":             RHat(c.Matrix),
				"ess_mean":         ESSMean(c.Matrix),
				"ess_bulk":         ESSBulk(c.Matrix),
				"ess_q05":          s.essQuantile(0.05),
				"ess_q50":          s.essQuantile(0.5),
				"ess_q95":          s.essQuantile(0.95),
				"ess_tail":         ESSTail(c.Matrix),
				"ess_sq_centred":   ess(transform(s.halves, func(x float64) float64 { return (x - mean) * (x - mean) })),
				"mean":             summary.Mean,
				"sd":               summary.SD,
				"mcse_mean":        MCSEMean(c.Matrix),
				"mcse_sd":          MCSESD(c.Matrix),
				"q05":              summary.Q5,
				"q50":              summary.Q50,
				"q95":              summary.Q95,
				"mcse_q05":         MCSEQuantile(c.Matrix, 0.05),
				"mcse_q50":         MCSEQuantile(c.Matrix, 0.5),
				"mcse_q95":         MCSEQuantile(c.Matrix, 0.95),
			}
			for key, want := range c.Expected {
				value, known := got[key]
				switch {
				case !known:
					t.Errorf("%s: the golden file has it, the test does not", key)
				case want == nil:
					if !math.IsNaN(value) {
						t.Errorf("%s = %v, want NaN", key, value)
					}
				case math.Abs(value-*want) > 1e-12*math.Abs(*want):
					t.Errorf("%s = %v, want %v", key, value, *want)
				}
			}
			for key, value := range map[string]float64{
				"mcse_mean": summary.MCSE, "rhat": summary.RHat, "ess_bulk": summary.ESSBulk, "ess_tail": summary.ESSTail,
			} {
				if math.Float64bits(value) != math.Float64bits(got[key]) {
					t.Errorf("summary %s = %v, the function gives %v", key, value, got[key])
				}
			}
		})
	}
}

// The golden draws follow from the recipe that the file states, so the file can
// be checked without its generator.
func TestGoldenDraws(t *testing.T) {
	for _, c := range goldenCases(t) {
		draws := autoregression(c.Chains, c.Draws, c.Phi, c.Seed)
		last := len(draws) - 1
		for i := range draws {
			for j, v := range draws[i] {
				if i == last {
					v += c.Shift
					if c.Scale != nil {
						v *= *c.Scale
					}
				}
				if c.Cube {
					v = v * v * v
				}
				if c.Grid > 0 {
					v = math.Floor(v/c.Grid) * c.Grid
				}
				if c.Constant != nil {
					v = *c.Constant
				}
				draws[i][j] = v
			}
		}
		for i := range draws {
			if !slices.Equal(draws[i], c.Matrix[i]) {
				t.Errorf("%s: chain %d differs from its recipe", c.Name, i)
			}
		}
	}
}

// For an AR(1) chain ESS/S tends to (1−φ)/(1+φ). About 5/(1−|φ|) correlations of
// deviation √(2/S) each enter τ, hence a relative deviation of √(2·lags/S), of
// which the margin is four. The draws are fixed: the test cannot fail by chance.
func TestESSOfAutoregression(t *testing.T) {
	const chains, draws = 4, 5000
	for _, phi := range []float64{-0.5, 0, 0.5, 0.9} {
		got := newSample(autoregression(chains, draws, phi, 71)).essMean() / (chains * draws)
		want := (1 - phi) / (1 + phi)
		margin := 4 * math.Sqrt(2*5/(1-math.Abs(phi))/(chains*draws))
		if math.Abs(got/want-1) > margin {
			t.Errorf("φ = %v: ESS/S = %v, want %v within %.0f %%", phi, got, want, 100*margin)
		}
	}
}

// directESS is the ESS written with plain sums, as its formula reads: apart from
// the transform and from the sequence made monotone in place.
func directESS(sequences [][]float64) float64 {
	m, n := len(sequences), len(sequences[0])
	means := make([]float64, m)
	for i, seq := range sequences {
		means[i] = stat.Mean(seq, nil)
	}
	covariance := func(t int) float64 {
		sum := 0.0
		for i, seq := range sequences {
			for j := 0; j+t < n; j++ {
				sum += (seq[j] - means[i]) * (seq[j+t] - means[i])
			}
		}
		return sum / float64(n*m)
	}
	within := covariance(0) * float64(n) / float64(n-1)
	total := within*float64(n-1)/float64(n) + stat.Variance(means, nil)
	correlation := func(t int) float64 { return 1 - (within-covariance(t))/total }

	rho := make([]float64, n+2)
	rho[0], rho[1] = 1, correlation(1)
	e, o, t := rho[0], rho[1], 1
	for t < n-3 && e+o > 0 {
		e, o = correlation(t+1), correlation(t+2)
		if e+o >= 0 {
			rho[t+1], rho[t+2] = e, o
		}
		t += 2
	}
	last := t - 2
	if e > 0 {
		rho[last+1] = e
	}
	for t := 1; t <= last-2; t += 2 {
		if rho[t+1]+rho[t+2] > rho[t-1]+rho[t] {
			half := (rho[t-1] + rho[t]) / 2
			rho[t+1], rho[t+2] = half, half
		}
	}
	tau := -1 + rho[last+1]
	for t := 0; t <= last; t++ {
		tau += 2 * rho[t]
	}
	size := float64(m * n)
	return size / math.Max(tau, 1/math.Log10(size))
}

func TestESSAgainstDirectSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chains := rapid.IntRange(1, 4).Draw(t, "chains")
		draws := rapid.IntRange(2*leastLength, 60).Draw(t, "draws")
		phi := rapid.Float64Range(-0.95, 0.99).Draw(t, "phi")
		seed := rapid.Uint32().Draw(t, "seed")
		halves := newSample(autoregression(chains, draws, phi, seed)).halves
		got, want := ess(halves), directESS(halves)
		if math.Abs(got-want) > 1e-9*want {
			t.Fatalf("ESS %v, by direct sums %v", got, want)
		}
	})
}

// A power of two as scale and unit steps of a grid as shift are exact, so every
// diagnostic keeps its bits, and errors scale with the unit.
func TestInvariance(t *testing.T) {
	draws := transform(autoregression(3, 101, 0.5, 5), func(x float64) float64 { return math.Floor(x * 1024) })
	moved := transform(draws, func(x float64) float64 { return 8 * (x + 4096) })
	a := Summarize([]string{"a"}, [][][]float64{draws})[0]
	b := Summarize([]string{"a"}, [][][]float64{moved})[0]
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"rhat", b.RHat, a.RHat},
		{"ess_bulk", b.ESSBulk, a.ESSBulk},
		{"ess_tail", b.ESSTail, a.ESSTail},
		{"mean", b.Mean, 8 * (a.Mean + 4096)},
		{"q5", b.Q5, 8 * (a.Q5 + 4096)},
		{"sd", b.SD, 8 * a.SD},
		{"mcse", b.MCSE, 8 * a.MCSE},
		{"mcse_sd", MCSESD(moved), 8 * MCSESD(draws)},
		{"mcse_q", MCSEQuantile(moved, 0.5), 8 * MCSEQuantile(draws, 0.5)},
	} {
		if math.Abs(c.got-c.want) > 1e-10*math.Abs(c.want) {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestUnequalChainsAreCut(t *testing.T) {
	draws := autoregression(3, 80, 0.5, 9)
	short := [][]float64{draws[0], draws[1][:50], draws[2][:60]}
	cut := [][]float64{draws[0][:50], draws[1][:50], draws[2][:50]}
	a := Summarize([]string{"a"}, [][][]float64{short})
	b := Summarize([]string{"a"}, [][][]float64{cut})
	if a[0] != b[0] {
		t.Errorf("unequal chains give %+v, cut ones %+v", a[0], b[0])
	}
}

func TestUndefined(t *testing.T) {
	usual := autoregression(2, 40, 0.5, 3)
	with := func(x float64) [][]float64 {
		chains := [][]float64{slices.Clone(usual[0]), slices.Clone(usual[1])}
		chains[1][7] = x
		return chains
	}
	for name, chains := range map[string][][]float64{
		"no chain":     nil,
		"empty chain":  {{}, {1, 2, 3}},
		"one draw":     {{1}, {2}},
		"nan":          with(math.NaN()),
		"inf":          with(math.Inf(1)),
		"three draws":  {{1, 2, 4}, {2, 1, 3}},
		"constant":     {slices.Repeat([]float64{0.1}, 33), slices.Repeat([]float64{0.1}, 33)},
		"one constant": {slices.Repeat([]float64{0.1}, 33)},
	} {
		for figure, value := range map[string]float64{
			"RHat": RHat(chains), "ESSMean": ESSMean(chains), "ESSBulk": ESSBulk(chains), "ESSTail": ESSTail(chains),
			"MCSEMean": MCSEMean(chains), "MCSESD": MCSESD(chains), "MCSEQuantile": MCSEQuantile(chains, 0.5),
		} {
			if !math.IsNaN(value) {
				t.Errorf("%s: %s = %v, want NaN", name, figure, value)
			}
		}
	}
	if short := [][]float64{{1, 3, 2, 5, 4, 6, 8, 7, 9}}; !math.IsNaN(ESSBulk(short)) || math.IsNaN(RHat(short)) {
		t.Error("nine draws: want an R̂ and no ESS")
	}
	for _, p := range []float64{0, 1, -1, math.NaN()} {
		if got := MCSEQuantile(usual, p); !math.IsNaN(got) {
			t.Errorf("MCSEQuantile at p = %v is %v, want NaN", p, got)
		}
	}
}

// Chains that stand still in different places have not converged.
func TestStuckChains(t *testing.T) {
	stuck := [][]float64{slices.Repeat([]float64{0.1}, 30), slices.Repeat([]float64{0.7}, 30)}
	if got := RHat(stuck); !math.IsInf(got, 1) {
		t.Errorf("R̂ = %v, want +Inf", got)
	}
	if got := ESSBulk(stuck); !(got > 0 && got < 4) {
		t.Errorf("ESS = %v, want at most one draw a sequence", got)
	}
}

func TestSummaryJSON(t *testing.T) {
	got, err := json.Marshal(Summary{
		Name: "region=south", Mean: 1.5, SD: math.NaN(), Q5: -2, Q50: 0, Q95: 1e21,
		MCSE: math.NaN(), RHat: math.Inf(1), ESSBulk: 100, ESSTail: 99.25,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"region=south","mean":1.5,"sd":null,"q5":-2,"q50":0,"q95":1e+21,` +
		`"mcse":null,"rhat":null,"ess_bulk":100,"ess_tail":99.25}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSummarizeNeedsOneNameEach(t *testing.T) {
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "one name") {
			t.Errorf("panic %q", text)
		}
	}()
	Summarize([]string{"a"}, nil)
}

func BenchmarkSummarize(b *testing.B) {
	const parameters = 20
	names := make([]string, parameters)
	draws := make([][][]float64, parameters)
	for i := range draws {
		draws[i] = autoregression(4, 4000, 0.9, uint32(i))
	}
	b.ReportAllocs()
	for b.Loop() {
		Summarize(names, draws)
	}
}
