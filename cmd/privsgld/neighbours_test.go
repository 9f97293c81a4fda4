//go:build seeded

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An observation is what a run shows, but for the draws and what is computed from
// them, and for what differs between any two ledgers.
type observation struct {
	exit           int
	stdout, stderr string
	files          []string // with sizes
	report         string
}

// followsDraws marks the warnings that are functions of the released draws.
func followsDraws(line string) bool {
	line = strings.TrimPrefix(line, "warning: ")
	return strings.HasPrefix(line, "not mixed") || strings.HasPrefix(line, "few effective draws")
}

// observe runs the program with a seed in a fresh folder, with a ledger of its own.
func observe(t *testing.T, policy, table string, more ...string) (o observation) {
	t.Helper()
	b := newBench(t, policy, table)
	cmd := b.command(append([]string{"run", "--policy", "p.yaml", "--data", "data.csv", "--steps", "20", "--draws", "10", "--format", "arrow", "--seed", "7", "--log-level", "info", "--out", "out"}, more...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		o.exit = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(stderr.String()) {
		if !followsDraws(line) {
			o.stderr += line
		}
	}
	// Of standard output the table of coefficients follows the draws, but for names.
	table = ""
	for line := range strings.Lines(stdout.String()) {
		if name, _, _ := strings.Cut(line, " "); table != "" {
			line = name + "\n"
		} else if name == "run" {
			line = "run\n"
		} else if name == "coefficient" {
			table = line
			line = strings.Join(strings.Fields(line), " ") + "\n" // columns are as wide as the draws
		}
		o.stdout += line
	}
	list, err := os.ReadDir(filepath.Join(b.dir, "out"))
	if err != nil {
		return o
	}
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		text := f.Name()
		if strings.HasSuffix(text, ".json") {
			content, err := os.ReadFile(filepath.Join(b.dir, "out", text))
			if err != nil {
				t.Fatal(err)
			}
			o.report = maskReport(t, content)
		} else {
			text += fmt.Sprintf(" %d", info.Size())
		}
		o.files = append(o.files, text+" "+info.Mode().String())
	}
	if left, err := os.ReadDir(b.tmp()); err != nil || len(left) != 0 {
		t.Errorf("the temporary folder holds %d files, %v", len(left), err)
	}
	return o
}

// maskReport leaves out the members of a report that follow the draws, the clock or
// the keys of a ledger.
func maskReport(t *testing.T, text []byte) string {
	t.Helper()
	var r map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run_id", "time", "ledger"} {
		if _, ok := r[name]; !ok {
			t.Fatalf("the report has no %s", name)
		}
		r[name] = nil
	}
	diagnostics := r["diagnostics"].(map[string]any)
	delete(diagnostics, "not_mixed")
	for _, p := range diagnostics["parameters"].([]any) {
		p := p.(map[string]any)
		for k := range p {
			if k != "name" {
				p[k] = nil
			}
		}
	}
	for _, f := range r["files"].([]any) {
		f.(map[string]any)["sha256"] = nil
	}
	if list, ok := r["warnings"].([]any); ok {
		r["warnings"] = slices.DeleteFunc(list, func(w any) bool { return followsDraws(w.(string)) })
	}
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (o observation) differs(p observation) string {
	switch {
	case o.exit != p.exit:
		return fmt.Sprintf("exit code %d instead of %d", p.exit, o.exit)
	case o.stdout != p.stdout:
		return fmt.Sprintf("standard output %q instead of %q", p.stdout, o.stdout)
	case o.stderr != p.stderr:
		return fmt.Sprintf("standard error %q instead of %q", p.stderr, o.stderr)
	case !slices.Equal(o.files, p.files):
		return fmt.Sprintf("files %q instead of %q", p.files, o.files)
	case o.report != p.report:
		return fmt.Sprintf("a report of %s instead of %s", p.report, o.report)
	}
	return ""
}

// TestRehearsalOfNeighbours runs the program with one seed on tables that differ in
// one row, in a wild row, or in nearly all of their rows. What they show is the same
// to the byte, but for the draws and for what a reader could compute from them.
func TestRehearsalOfNeighbours(t *testing.T) {
	policy := strings.Replace(crashPolicy, "rows: 4", "rows: 50", 1)
	rows := make([]string, 50)
	for i := range rows {
		rows[i] = fmt.Sprintf("%d,%s", i%11, []string{"no", "yes"}[i%2])
	}
	table := func(rows ...string) string { return "x,buys\n" + strings.Join(append(slices.Clone(rows), ""), "\n") }
	with := func(row string) string { return table(append(slices.Clone(rows[1:]), row)...) }
	tables := map[string]string{
		"a row fewer":   table(rows[1:]...),
		"a row more":    table(append(slices.Clone(rows), "10,yes")...),
		"huge":          with("1e308,yes"),
		"not a number":  with("NaN,no"),
		"endless":       with("-Inf,no"),
		"unknown level": with("3,perhaps"),
		"no level":      with("3,"),
		"a long cell":   with(strings.Repeat("7", 1<<20) + ",yes"),
		"no row":        table(),
		"one row":       table(rows[0]),
		"two rows":      table(rows[:2]...),
		"many rows":     table(slices.Repeat(rows, 200)...),
	}
	for name, flags := range map[string][]string{
		"full batch": {"--epsilon", "0.5"},
		"sampled":    {"--epsilon", "0.5", "--sampling-rate", "0.3"},
		"refused":    {"--epsilon", "2000"},
		"impossible": {"--epsilon", "0.5", "--sampling-rate", "2"},
		"as JSON":    {"--epsilon", "2000", "-o", "json"},
	} {
		plain := observe(t, policy, table(rows...), flags...)
		if released := name == "full batch" || name == "sampled"; released != (plain.exit == 0 && len(plain.files) == 2) {
			t.Fatalf("%s: exit code %d, files %q: %s", name, plain.exit, plain.files, plain.stderr)
		}
		for what, text := range tables {
			if d := plain.differs(observe(t, policy, text, flags...)); d != "" {
				t.Errorf("%s, %s: %s", name, what, d)
			}
		}
	}
	// A number of rows that told itself would be seen.
	one, two := observe(t, policy, table(rows...), "--epsilon", "0.5"), observe(t, strings.Replace(policy, "rows: 50", "rows: 51", 1), table(rows...), "--epsilon", "0.5")
	if one.differs(two) == "" {
		t.Error("another number of units in the policy shows nowhere: the test sees nothing")
	}
}
