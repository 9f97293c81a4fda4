package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFreshLedgers is threat L1: runs that each bring a new ledger, and with
// it a whole new budget, are refused (exit code 4) under a policy that pins its
// ledger, and no output comes of any. The control does not pin: there each of them is
// granted all of the budget again, and its report says that the ledger is new.
func TestFreshLedgers(t *testing.T) {
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
	call := func(args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), append([]string{"privsgld"}, args...), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	code, text := call("ledger", "init")
	if code != exitDone {
		t.Fatal(text)
	}
	id := "privsgld-ledger+" + strings.Fields(strings.SplitN(text, "privsgld-ledger+", 2)[1])[0]
	policy := strings.Replace(crashPolicy, "epsilon: 1000", "epsilon: 1", 1)
	open := write("open.yaml", policy)
	pinned := write("pinned.yaml", policy+fmt.Sprintf("ledger: {id: %q}\n", id))
	data := write("data.csv", countedTable(4))
	whole := func(policy, out string, more ...string) (int, string) {
		return call(append(append([]string{"run", "--policy", policy, "--data", data, "--epsilon", "1", "--steps", "20", "--draws", "10", "--out", filepath.Join(dir, out)}, more...), buildArgs...)...)
	}
	for i := range freshLedgers {
		ledger := fmt.Sprintf("sqlite:%s", filepath.Join(dir, fmt.Sprintf("fresh%d.db", i)))
		code, text := whole(pinned, "none", "--ledger", ledger)
		if code != exitPolicy || !strings.Contains(text, "ledger") {
			t.Fatalf("fresh ledger %d: exit code %d: %s", i, code, text)
		}
		if _, err := os.Stat(filepath.Join(dir, "none")); !os.IsNotExist(err) {
			t.Fatalf("fresh ledger %d: an output", i)
		}
	}
	if code, text := whole(pinned, "right"); code != exitDone {
		t.Errorf("the ledger that is pinned: exit code %d: %s", code, text)
	}
	if code, text := whole(pinned, "again"); code != exitBudget {
		t.Errorf("and once more: exit code %d: %s", code, text)
	}
	for i := range 2 {
		out := fmt.Sprint("control", i)
		if code, text := whole(open, out, "--ledger", fmt.Sprintf("sqlite:%s", filepath.Join(dir, out+".db"))); code != exitDone {
			t.Fatalf("without a pin a fresh ledger grants nothing: exit code %d: %s", code, text)
		}
		report, err := filepath.Glob(filepath.Join(dir, out, "*report.json"))
		if err != nil || len(report) != 1 {
			t.Fatalf("%q, %v", report, err)
		}
		said, err := os.ReadFile(report[0])
		if err != nil {
			t.Fatal(err)
		}
		if buildArgs == nil && !strings.Contains(string(said), "the ledger was created by this run") {
			t.Error("the report does not say that the ledger is new")
		}
	}
}
