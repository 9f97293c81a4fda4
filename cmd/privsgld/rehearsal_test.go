//go:build seeded

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/privacy/gate"
)

// TestRehearsal runs the program that is built for tests with a seed: equal tables in
// any order and equal seeds give the same draws to the last bit, at q = 1, and none
// of what it writes passes for a release.
func TestRehearsal(t *testing.T) {
	var rows []string
	for i := range 200 {
		rows = append(rows, []string{"1,no", "2,yes", "3.25,no", "9,yes", "7.125,yes"}[i%5])
	}
	b := newBench(t, strings.Replace(crashPolicy, "rows: 4", "rows: 200", 1), "")
	write := func() {
		text := "x,buys\n" + strings.Join(rows, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(b.dir, "data.csv"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rehearse := func(out, seed string) []byte {
		text := b.run("run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "200", "--draws", "100", "--format", "csv", "--seed", seed, "--out", out)
		if !strings.Contains(text, "NOT A RELEASE") {
			t.Errorf("standard output does not say what it is: %s", text)
		}
		list, err := os.ReadDir(filepath.Join(b.dir, out))
		if err != nil || len(list) != 2 {
			t.Fatalf("%d files, %v", len(list), err)
		}
		for _, f := range list {
			if !strings.HasPrefix(f.Name(), gate.RehearsalPrefix) {
				t.Errorf("%s is not marked", f.Name())
			}
		}
		draws, err := os.ReadFile(filepath.Join(b.dir, out, gate.RehearsalPrefix+"samples.csv"))
		if err != nil {
			t.Fatal(err)
		}
		return draws
	}
	write()
	one := rehearse("one", "7")
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	write()
	if !bytes.Equal(one, rehearse("two", "7")) {
		t.Error("the same rows and seed in another order gave other draws")
	}
	if bytes.Equal(one, rehearse("three", "8")) {
		t.Error("another seed gave the same draws")
	}

	text, err := os.ReadFile(filepath.Join(b.dir, "one", gate.RehearsalPrefix+"report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Kind, Status string
		Guarantee    struct {
			Epsilon   any
			Statement string
		}
		Signature *struct{}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.Kind != "rehearsal" || report.Status != "not a release" || report.Guarantee.Epsilon != "inf" || report.Signature != nil ||
		!strings.HasPrefix(report.Guarantee.Statement, "No guarantee") {
		t.Errorf("report %+v", report)
	}
	if spent, entries, pending := b.budget(); spent < 0.6 || entries != 3 || pending != 0 {
		t.Errorf("%d rehearsals are charged with ε %g, %d pending", entries, spent, pending)
	}
	b.run("ledger", "verify")

	// Without a seed it does nothing.
	var exit *exec.ExitError
	err = b.command("run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--out", "none").Run()
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
		t.Errorf("without --seed: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "none")); err == nil {
		t.Error("without --seed it wrote something")
	}
}
