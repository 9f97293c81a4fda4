//go:build slow || soak

package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// reference is a posterior that was computed without privacy, by Hamiltonian
// Monte Carlo: testdata/README.md has its source.
type reference struct {
	Coefficients   []string
	Mean, SD, Mode []float64
}

func loadReference(t *testing.T, name string) reference {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../testdata/posteriors", name))
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// moments reads the means and standard deviations of released CSV draws.
func moments(t *testing.T, file string, names []string) (mean, sd []float64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(rows[0][3:], " "); got != strings.Join(names, " ") {
		t.Fatalf("coefficients %s", got)
	}
	n := float64(len(rows) - 1)
	for j := range names {
		var s, s2 float64
		for _, row := range rows[1:] {
			v, err := strconv.ParseFloat(row[3+j], 64)
			if err != nil {
				t.Fatal(err)
			}
			s += v
			s2 += v * v
		}
		mean = append(mean, s/n)
		sd = append(sd, math.Sqrt((s2-s*s/n)/(n-1)))
	}
	return mean, sd
}

// absolute makes a path of the repository usable from another folder.
func absolute(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFertilityPosterior is the example of the README against the posterior
// that Hamiltonian Monte Carlo finds: means within 0.6 posterior standard
// deviations, standard deviations within a factor 1.9 and their geometric mean
// within 1.25. A mean's error is about 0.16, so that a run fails by chance with
// probability 0.002; a bias of one standard deviation is noticed with
// probability 0.99.
func TestFertilityPosterior(t *testing.T) {
	ref := loadReference(t, "fertility.json")
	b := newBench(t, "", "")
	for i := range fertilityRuns {
		out := fmt.Sprint("out", i)
		b.run("run", "--quiet", "--policy", absolute(t, "policies/fertility.yaml"), "--data", absolute(t, "testdata/fertility.parquet"), "--epsilon", "1", "--format", "csv", "--out", out)
		mean, sd := moments(t, filepath.Join(b.dir, out, "samples.csv"), ref.Coefficients)
		var worst, logs float64
		for j, name := range ref.Coefficients {
			z, ratio := (mean[j]-ref.Mean[j])/ref.SD[j], sd[j]/ref.SD[j]
			worst = max(worst, math.Abs(z))
			logs += math.Log(ratio) / float64(len(ref.Mean))
			if math.Abs(z) > 0.6 {
				t.Errorf("run %d, %s: mean is %.2f posterior sds off", i, name, z)
			}
			if ratio > 1.9 || ratio < 1/1.9 {
				t.Errorf("run %d, %s: sd ratio %.2f", i, name, ratio)
			}
		}
		if g := math.Exp(logs); g > 1.25 || g < 1/1.25 {
			t.Errorf("run %d: geometric mean of the sd ratios %.2f", i, g)
		}
		t.Logf("run %d: largest error of a mean %.2f sd, geometric mean of sd ratios %.3f", i, worst, math.Exp(logs))
	}
}

// TestFertilityRefusal: as many releases at ε = 1 as the composition allows
// under ε = 3, then exit code 3 and no folder.
func TestFertilityRefusal(t *testing.T) {
	b := newBench(t, "", "")
	args := func(i int) []string {
		return []string{"run", "--quiet", "-o", "json", "--policy", absolute(t, "policies/fertility.yaml"), "--data", absolute(t, "testdata/fertility.parquet"), "--epsilon", "1", "--steps", "200", "--draws", "100", "--out", fmt.Sprint("out", i)}
	}
	released := 0
	for ; released < 20; released++ {
		cmd := b.command(args(released)...)
		out, err := cmd.Output()
		if err == nil {
			continue
		}
		if code := cmd.ProcessState.ExitCode(); code != exitBudget {
			t.Fatalf("exit code %d", code)
		}
		var e struct {
			Error struct {
				Code      string
				Grantable float64 `json:"grantable_epsilon"`
			}
		}
		if err := json.Unmarshal(out, &e); err != nil || e.Error.Code != "budget_exhausted" || e.Error.Grantable <= 0 || e.Error.Grantable >= 1 {
			t.Errorf("error object %s", out)
		}
		if b.complete(fmt.Sprint("out", released)) {
			t.Error("a refused run wrote a folder")
		}
		// What it says would still fit does fit.
		again := args(99)
		again[slices.Index(again, "--epsilon")+1] = strconv.FormatFloat(e.Error.Grantable, 'g', -1, 64)
		b.run(again...)
		break
	}
	if released != 7 {
		t.Errorf("%d releases at ε = 1 under ε = 3, want 7", released)
	}
}

// TestHealthInsurancePosterior: with a budget that protects nobody the planner's
// defaults recover the posterior: means within 0.1 sd, sds within 10 %. 4,000
// draws make the error of a mean about 0.017 and of an sd 1.2 %, beside a
// discretisation bias of up to 2 %.
func TestHealthInsurancePosterior(t *testing.T) {
	ref := loadReference(t, "healthinsurance.json")
	b := newBench(t, "", "")
	b.run("run", "--quiet", "--policy", absolute(t, "policies/examples/healthinsurance.yaml"), "--data", absolute(t, "testdata/tables/healthinsurance.csv.gz"), "--epsilon", "10000000", "--draws", "4000", "--format", "csv", "--out", "out")
	mean, sd := moments(t, filepath.Join(b.dir, "out", "samples.csv"), ref.Coefficients)
	for j, name := range ref.Coefficients {
		if z := (mean[j] - ref.Mean[j]) / ref.SD[j]; math.Abs(z) > 0.1 {
			t.Errorf("%s: mean is %.3f posterior sds off", name, z)
		}
		if r := sd[j] / ref.SD[j]; r > 1.1 || r < 0.9 {
			t.Errorf("%s: sd ratio %.3f", name, r)
		}
	}
}
