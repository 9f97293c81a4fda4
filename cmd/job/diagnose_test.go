package job

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/sgld"
)

// The golden draws, written in each format and read again, have the golden
// diagnostics.
func TestDiagnoseGolden(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "golden", "diagnostics.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Diagnostics struct {
			Cases []struct {
				Name     string
				Matrix   [][]float64         `json:"draws_matrix"`
				Expected map[string]*float64 `json:"expected"`
			}
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{"mean": "mean", "sd": "sd", "q05": "q5", "q50": "q50", "q95": "q95", "mcse_mean": "mcse", "rhat": "rhat", "ess_bulk": "ess_bulk",
		"ess_tail": "ess_tail", "ess_mean": "ess_mean", "mcse_sd": "mcse_sd", "mcse_q05": "mcse_q5", "mcse_q50": "mcse_q50", "mcse_q95": "mcse_q95"}
	checked := 0
	for i, c := range file.Diagnostics.Cases {
		format := []string{"parquet", "arrow", "csv"}[i%3]
		path := writeDrawsFile(t, drawsOfMatrix("b", c.Matrix), format)
		found, err := (&Diagnose{Paths: []string{path}}).Do(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		text, err := json.Marshal(found.Parameters[0])
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for golden, key := range keys {
			want, known := c.Expected[golden]
			value, isNumber := got[key].(float64)
			switch {
			case !known: // of constant draws the file has R̂ and ESS alone
				continue
			case want == nil:
				if _, there := got[key]; isNumber || !there {
					t.Errorf("%s: %s is %v, want null", c.Name, key, got[key])
				}
			case !isNumber || math.Abs(value-*want) > 1e-12*math.Abs(*want):
				t.Errorf("%s: %s is %v, want %v", c.Name, key, got[key], *want)
			}
			checked++
		}
	}
	if checked < 100 {
		t.Errorf("only %d figures were compared", checked)
	}
}

func drawsOfMatrix(name string, chains [][]float64) sgld.Draws {
	d := sgld.Draws{Names: []string{name}}
	for _, c := range chains {
		var chain [][]float64
		for _, x := range c {
			chain = append(chain, []float64{x})
		}
		d.Chains = append(d.Chains, chain)
	}
	return d
}

func writeDrawsFile(t *testing.T, d sgld.Draws, format string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "samples."+format)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.Write(f, format, "{}"); err != nil {
		t.Fatal(err)
	}
	return path
}

// Draws keep every bit on their way through a file and the decoder, in each format.
func TestReadDraws(t *testing.T) {
	odd := sgld.Draws{
		Names: []string{"intercept", "region=south", `say "x", y`},
		Chains: [][][]float64{
			{{0.1, -0.2, 4.9e-324}, {1.0 / 3, math.MaxFloat64, math.Copysign(0, -1)}},
			{{math.Pi, -math.E, math.Nextafter(1, 2)}},
		},
	}
	for _, format := range []string{"parquet", "arrow", "csv"} {
		_, got, err := readDraws(t.Context(), writeDrawsFile(t, odd, format), 0)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if len(got.Names) != 3 || len(got.Lengths) != 2 || got.Lengths[0] != 2 || got.Lengths[1] != 1 {
			t.Fatalf("%s: %v, %v", format, got.Names, got.Lengths)
		}
		for j, name := range odd.Names {
			i := 0
			for _, chain := range odd.Chains {
				for _, draw := range chain {
					if got.Names[j] != name || math.Float64bits(got.Values[j][i]) != math.Float64bits(draw[j]) {
						t.Errorf("%s: draw %d of %s is %v, want %v", format, i, got.Names[j], got.Values[j][i], draw[j])
					}
					i++
				}
			}
		}
	}
}

// TestReadDamagedDraws cuts and flips bytes of files of draws: whatever is wrong with
// them, the answer is draws or one line, and this process lives.
func TestReadDamagedDraws(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	whole := drawsOfMatrix("b", [][]float64{slices.Repeat([]float64{0.25, -1.5, 3}, 40), slices.Repeat([]float64{1, 2, -3}, 40)})
	refused := 0
	for _, format := range []string{"parquet", "arrow", "csv"} {
		content, err := os.ReadFile(writeDrawsFile(t, whole, format))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			damaged := slices.Clone(content)
			if i%3 == 0 {
				damaged = damaged[:r.IntN(len(damaged))]
			} else {
				for range 1 + r.IntN(8) {
					damaged[r.IntN(len(damaged))] = byte(r.IntN(256))
				}
			}
			path := filepath.Join(t.TempDir(), "samples."+format)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := readDraws(t.Context(), path, 0)
			var bad *BadDraws
			if err != nil && (!errors.As(err, &bad) || strings.Contains(bad.Message, "\n")) {
				t.Errorf("%s: %v", format, err)
			}
			if err != nil {
				refused++
			}
		}
	}
	if refused < 12 {
		t.Errorf("only %d of 36 damaged files were refused", refused)
	}
}
