package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/cmd/job"
	"github.com/privsgld/privsgld/sgld"
)

// TestClockSetBack: a run was made when the clock showed next year; now it shows
// this one. No period opens again, the refusal says why in one line with exit
// code 3, and a policy that had expired by then stays expired.
func TestClockSetBack(t *testing.T) {
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
	now := time.Now().UTC()
	text := `apiVersion: privsgld/v1
kind: Policy
metadata: {name: clocks}
dataset:
  name: clocks
  privacyUnit: row
  adjacency: add-remove
  rows: 3
  target: {column: buys, positive: "yes"}
  columns: [{name: x, type: number, bounds: [0, 10]}, {name: buys, type: category, levels: ["no", "yes"]}]
budget: {epsilon: 1, delta: 1e-6, renews: monthly}
`
	policy := write("p.yaml", text)
	expired := write("expired.yaml", text+"expires: "+now.AddDate(0, 6, 0).Format(time.DateOnly)+"\n")
	data := write("data.csv", "x,buys\n1,no\n2,yes\n3,no\n")
	ahead := func() time.Time { return now.AddDate(1, 0, 0) }
	steps := int64(50)
	next := &job.Run{
		PolicyPath: policy, DataPath: data, Epsilon: "0.9", OutDir: filepath.Join(dir, "next"), Analyst: "ann", Format: "csv", Temperature: "auto", Now: ahead,
		OpenLedger: func(ctx context.Context) (*ledger.Ledger, error) {
			return ledger.Open(ctx, ledger.Options{StateDir: filepath.Join(dir, "state", "privsgld"), Clock: ahead})
		},
		Sampler: sgld.Request{Metric: sgld.MetricAuto, Init: sgld.InitZero, Chains: 1, Draws: 10, Warmup: 0.3, Steps: &steps},
	}
	if _, err := next.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	program := func(policy string) (int, string) {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), []string{"privsgld", "run", "--policy", policy, "--data", data, "--epsilon", "0.9", "--steps", "50", "--draws", "10", "--out", filepath.Join(dir, "out")}, &stdout, &stderr)
		if _, err := os.Stat(filepath.Join(dir, "out")); !os.IsNotExist(err) || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%s: a folder, or more than a line: %q %q", policy, stdout.String(), stderr.String())
		}
		return code, stderr.String()
	}
	if code, line := program(policy); code != exitBudget || !strings.Contains(line, "the clock is behind the newest entry, of "+ahead().Format("2006-01-02T")) {
		t.Errorf("exit code %d: %s", code, line)
	}
	if code, line := program(expired); code != exitPolicy || !strings.Contains(line, "expired on") {
		t.Errorf("exit code %d: %s", code, line)
	}
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"privsgld", "budget"}, &stdout, &stderr); code != exitDone || !strings.Contains(stdout.String(), ahead().Format("2006-01")) {
		t.Errorf("exit code %d: %s%s", code, stdout.String(), stderr.String())
	}
}
