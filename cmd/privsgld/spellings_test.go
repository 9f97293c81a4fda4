package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// wrongNumbers are spellings that some reader somewhere takes for a number, and
// numbers that no flag means: each must be refused by every flag that takes one.
var wrongNumbers = []string{
	"NaN", "nan", ".nan", "-0", "-0.0", "-1", "--1", "+1", "+0.5", "1e400", "1e1000", "1e-400", "4e-324", "2.2e-308", "1e-1000",
	"010", "00", "00.5", "01", "0x10", "0X1p-1", "0x1p0", "0b1", "0o7", "1_000", "0_5", "0.5_0", ".inf", "-.inf", "inf", "Inf", "+Inf", "Infinity",
	".5", "5.", "1,5", "1 000", " 1", "1 ", "1\n", "\t1", "1\u00a0", "1e", "1e+", "e5", "1e1.5", "1e+-5", "1f", "1d0", "1%", "1/2", "'1'", "\"1\"", "&a 1", "*a",
	"<<", "!!float 1", "---", "one", "true", "null", "~", "[1]", "{a: 1}", "１", "٣", "½", "∞",
}

// worstNumbers are tried with every command, the others once with each flag.
var worstNumbers = []string{"NaN", "-0", "1e400", "4e-324", "010", "0x10", "1_000", ".inf", "*a", "<<", "---"}

// numericFlags are the flags that take a number, with what stands before it.
// Other flags take text: names, words of a list, files.
var numericFlags = map[string]string{
	"epsilon": "", "delta": "", "clip": "", "temperature": "", "sampling-rate": "", "noise-multiplier": "", "noise-sd": "", "step-size": "", "momentum": "", "warmup": "",
	"grid": "", "unit-smoothness": "", "max-units": "", "steps": "", "draws": "", "chains": "", "thin": "", "memory": "",
	"prior": "normal:", "schedule": "poly:",
}

var textFlags = []string{
	"accountant", "adjacency", "against", "amendment", "analyst", "base", "blind", "checkpoint", "convex", "data", "dataset", "dry-run", "features", "format", "init", "key", "ledger",
	"ledger-timeout", "log-level", "metric", "model", "names", "out", "output", "plot", "plots", "policy", "public-rows", "purpose", "quiet", "release-at", "request", "request-holds", "request-to", "resume", "same-rows-as", "sampler", "seed", "signed", "target", "to", "why",
}

// An amount of a flag is exact, so that a δ may be smaller than any float64, and
// there is no ε or δ that large.
var exactFlags = []string{"epsilon", "delta"}

// TestWrongNumbers gives each numeric flag of each command, one at a time, each
// wrong spelling: exit code 2, one line that names the flag and quotes the
// spelling, nothing on standard output, and no ledger made.
func TestWrongNumbers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Setenv("HOME", dir)
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	policy := write("p.yaml", `apiVersion: privsgld/v1
kind: Policy
metadata: {name: small}
dataset:
  name: small
  privacyUnit: row
  adjacency: add-remove
  rows: 3
  target: {column: buys, positive: "yes"}
  columns: [{name: x, type: number, bounds: [0, 10]}, {name: buys, type: category, levels: ["no", "yes"]}]
budget: {epsilon: 2, delta: 1e-6}
`)
	data, events := write("data.csv", "x,buys\n1,no\n"), write("events.json", `[{"type": "gaussian", "noise_multiplier": 3}]`)
	defaults := map[string]string{"epsilon": "1", "delta": "1e-6", "noise-multiplier": "2", "steps": "10", "sampling-rate": "0.5", "noise-sd": "2",
		"step-size": "0.01", "max-units": "10", "unit-smoothness": "0.25"}
	tried, seen := 0, map[string]bool{}
	var walk func(path []string, commands []*cli.Command)
	walk = func(path []string, commands []*cli.Command) {
		for _, command := range commands {
			at := append(slices.Clone(path), command.Name)
			walk(at, command.Subcommands)
			if command.Action == nil {
				continue
			}
			for _, f := range command.Flags {
				name := f.Names()[0]
				first := !seen[name]
				seen[name] = true
				prefix, numeric := numericFlags[name]
				if name == "draws" && command.Name == "predict" {
					continue // a folder
				}
				if !numeric {
					if !slices.Contains(textFlags, name) && name != "help" && name != "version" {
						t.Errorf("%s --%s: does it take a number? say so here", at, name)
					}
					continue
				}
				for _, wrong := range wrongNumbers {
					small := slices.Contains([]string{"1e-400", "4e-324", "2.2e-308"}, wrong)
					if small && slices.Contains(exactFlags, name) || !first && !slices.Contains(worstNumbers, wrong) {
						continue
					}
					args := slices.Clone(at)
					for _, other := range command.Flags {
						switch other := other.Names()[0]; {
						case other == name:
							args = append(args, "--"+name+"="+prefix+wrong)
						case other == "policy":
							args = append(args, "--policy", policy)
						case other == "data":
							args = append(args, "--data", data)
						case at[1] == "account" && slices.Contains([]string{"noise", "steps", "rate", "clip"}, at[2]) && wants(at[2], other) || at[1] != "account" && other == "epsilon" || at[1] == "account" && !slices.Contains([]string{"noise", "steps", "rate", "clip"}, at[2]):
							if v, ok := defaults[other]; ok {
								args = append(args, "--"+other, v)
							}
						}
					}
					if last := at[len(at)-1]; last == "compose" || last == "export" {
						args = append(args, events)
					}
					if name == "grid" {
						args = append(args, "--accountant", "pld")
					}
					var stdout, stderr bytes.Buffer
					code := run(context.Background(), args, &stdout, &stderr)
					line := stderr.String()
					if code != exitUsage || stdout.Len() > 0 || strings.Count(line, "\n") != 1 || !strings.Contains(line, name) {
						t.Errorf("%q: exit code %d, %q, %q", args[1:], code, stdout.String(), line)
					}
					tried++
				}
			}
		}
	}
	walk([]string{"privsgld"}, newApp(&bytes.Buffer{}, &bytes.Buffer{}).Commands)
	for name := range numericFlags {
		if !seen[name] {
			t.Errorf("there is no flag --%s any more", name)
		}
	}
	if tried < 1000 {
		t.Errorf("only %d were tried", tried)
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); !os.IsNotExist(err) {
		t.Error("a ledger was made")
	}
	t.Logf("%d wrong numbers refused", tried)
}

// wants reports whether a calibration takes a flag as given.
func wants(calibration, flag string) bool {
	return flag != map[string]string{"noise": "noise-multiplier", "steps": "steps", "rate": "sampling-rate", "clip": "clip"}[calibration]
}
