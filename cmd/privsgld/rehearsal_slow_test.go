//go:build slow && !seeded

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestTwoPrograms builds the program with and without the tag seeded. The one
// with it draws the same bytes for one seed, whatever the number of processors
// and their instructions, and holds no code that runs with secret noise; the
// other holds none that takes a seed.
func TestTwoPrograms(t *testing.T) {
	dir := t.TempDir()
	build := func(name string, args ...string) (path, symbols string) {
		path = filepath.Join(dir, name)
		command := exec.Command("go", append(append([]string{"build", "-o", path}, args...), ".")...)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		out, err := exec.Command("go", "tool", "nm", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		return path, string(out)
	}
	seeded, seededSymbols := build("seeded", "-tags=seeded")
	_, plainSymbols := build("plain")
	holds := func(symbols, name string) bool { return strings.Contains(symbols, "privsgld/"+name+"\n") }
	for _, s := range []string{"cmd/job.(*Run).Do", "sgld.RunFrom", "privacy.NewSource"} {
		if holds(seededSymbols, s) || !holds(plainSymbols, s) {
			t.Errorf("%s: in the seeded program %v, in the other %v", s, holds(seededSymbols, s), holds(plainSymbols, s))
		}
	}
	for _, s := range []string{"cmd/job.(*Run).Rehearse", "sgld.Rehearse", "sgld.(*blindBits).Uint64", "privacy.NewSeeded"} {
		if !holds(seededSymbols, s) || holds(plainSymbols, s) {
			t.Errorf("%s: in the seeded program %v, in the other %v", s, holds(seededSymbols, s), holds(plainSymbols, s))
		}
	}

	rehearse := func(name, env string, more ...string) []byte {
		t.Helper()
		out := filepath.Join(dir, name)
		command := exec.Command(seeded, append([]string{"run", "--policy", "../../policies/fertility.yaml", "--data", "../../testdata/fertility.parquet",
			"--epsilon", "1", "--draws", "50", "--seed", "7", "--format", "csv", "--out", out}, more...)...)
		command.Env = append(os.Environ(), "XDG_STATE_HOME="+out+"-state", env)
		if text, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		draws, err := os.ReadFile(filepath.Join(out, "not-a-release-samples.csv"))
		if err != nil {
			t.Fatal(err)
		}
		return draws
	}
	for name, more := range map[string][]string{
		"full":    {"--steps", "300"},
		"sampled": {"--steps", "100", "--sampling-rate", "0.01"},
	} {
		want := rehearse(name, "GOMAXPROCS=1", more...)
		for i, env := range []string{"GOMAXPROCS=2", "GOMAXPROCS=7", "GODEBUG=cpu.all=off"} {
			if !bytes.Equal(want, rehearse(name+strconv.Itoa(i), env, more...)) {
				t.Errorf("%s, %s: other draws", name, env)
			}
		}
	}
}
