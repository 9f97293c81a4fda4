package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// countedTable is a table of crashPolicy with that many rows.
func countedTable(rows int) string {
	var b strings.Builder
	b.WriteString("x,buys\n")
	for i := range rows {
		fmt.Fprintf(&b, "%d,%s\n", i%11, []string{"no", "yes"}[i%2])
	}
	return b.String()
}

// idsAndTimes are what differs between any two runs and ledgers.
var idsAndTimes = regexp.MustCompile(`\b[0-9a-f]{16}\b|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?|[0-9a-f]{64}|privsgld-ledger\+[0-9a-f]{8}\+[0-9A-Za-z+/=]+`)

// TestRefusalsAreBlind is threats S1 and S8: on one ledger a refusal is the same to
// the byte whatever the table holds, ten rows, eleven or a million, as text, as JSON and
// with all messages on. Another state of the ledger shows.
func TestRefusalsAreBlind(t *testing.T) {
	policy := strings.Replace(crashPolicy, "budget: {epsilon: 1000, delta: 1e-6}", "budget: {epsilon: 3, delta: 1e-6, perJob: {epsilon: 2.5}, analysts: {ann: {epsilon: 0.5}}}\nallow: {purposes: [research]}", 1)
	b := newBench(t, policy, "")
	tables := map[string]string{"ten": countedTable(10), "eleven": countedTable(11), "million": countedTable(1_000_000)}
	for name, text := range tables {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outputs := 0
	ask := func(table string, args ...string) string {
		outputs++
		cmd := b.command(append(append([]string{"run", "--policy", "p.yaml", "--data", table, "--steps", "20", "--draws", "10", "--out", fmt.Sprint("out", outputs)}, args...), buildArgs...)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return fmt.Sprintf("exit code %d\n%s", cmd.ProcessState.ExitCode(), idsAndTimes.ReplaceAllString(out.String(), "…"))
	}
	if first := ask("ten", "--epsilon", "2", "--analyst", "bob", "--purpose", "research"); !strings.HasPrefix(first, "exit code 0\n") {
		t.Fatal(first)
	}
	var refusals []string
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitBudget, []string{"--epsilon", "2.4", "--analyst", "bob", "--purpose", "research"}},
		{exitBudget, []string{"--epsilon", "2.6", "--analyst", "bob", "--purpose", "research"}},
		{exitBudget, []string{"--epsilon", "0.6", "--analyst", "ann", "--purpose", "research"}},
		{exitPolicy, []string{"--epsilon", "0.1", "--analyst", "ann", "--purpose", "teaching"}},
	} {
		for _, more := range [][]string{{"--log-level", "info"}, {"-o", "json", "--log-level", "info"}} {
			args := append(c.args, more...)
			plain := ask("ten", args...)
			if !strings.HasPrefix(plain, fmt.Sprintf("exit code %d\n", c.code)) {
				t.Fatalf("%q: %s", args, plain)
			}
			for table := range tables {
				if table == "ten" {
					continue
				}
				if got := ask(table, args...); got != plain {
					t.Errorf("%q: %s rows are refused by %q, ten by %q", args, table, got, plain)
				}
			}
			refusals = append(refusals, plain)
		}
	}
	if next := ask("million", "--epsilon", "0.1", "--analyst", "bob", "--purpose", "research"); !strings.HasPrefix(next, "exit code 0\n") {
		t.Fatal(next)
	}
	if again := ask("ten", "--epsilon", "2.4", "--analyst", "bob", "--purpose", "research", "-o", "json"); again == refusals[1] {
		t.Error("another state of the ledger shows nowhere: the test sees nothing")
	}
}

// TestFailuresLookAlike is threat S2: what an analyst is shown of a run that failed
// after its reservation, by damage in the data, by a chain that left the range of
// numbers, or by an interruption, is the same. A run that was released shows.
func TestFailuresLookAlike(t *testing.T) {
	after := func(name, table string, code int, args ...string) string {
		b := newBench(t, crashPolicy, table)
		b.run("ledger", "init")
		cmd := b.command(append(append([]string{"run", "--quiet", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--draws", "10", "--out", "out"}, args...), buildArgs...)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if code == exitInterrupted {
			for entries := int64(0); entries == 0; {
				_, entries, _ = b.budget()
			}
			time.Sleep(100 * time.Millisecond)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Fatalf("%s: exit code %d: %s", name, got, out.String())
		}
		shown := ""
		for _, args := range [][]string{{"budget", "-o", "json"}, {"budget"}, {"ledger", "log"}, {"ledger", "log", "-o", "json"}} {
			shown += idsAndTimes.ReplaceAllString(b.run(args...), "…")
		}
		list, err := os.ReadDir(b.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			shown += f.Name() + "\n"
		}
		return shown
	}
	table := countedTable(50)
	steps := []string{"--steps", "500000000"}
	damaged := after("damage", table+"1,\"no\n", exitData, steps...)
	cut := after("an interruption", table, exitInterrupted, steps...)
	for strings.Contains(cut, "void") { // it came before the data were opened, which is no secret
		cut = after("an interruption", table, exitInterrupted, steps...)
	}
	for what, other := range map[string]string{
		"an interruption":   cut,
		"a chain that left": after("a chain that left", table, exitInternal, "--steps", "5000", "--step-size", "1e5"),
	} {
		if other != damaged {
			t.Errorf("%s looks otherwise than damage:\n%s\n%s", what, other, damaged)
		}
	}
	if !strings.Contains(damaged, `"pending": 1`) || !strings.Contains(damaged, "reserve") {
		t.Errorf("the charge is not there: %s", damaged)
	}
	short := []string{"--steps", "20"}
	damaged = after("damage", table+"1,\"no\n", exitData, short...)
	if released := after("a release", table, exitDone, short...); released == damaged {
		t.Error("a release looks like damage: the test sees nothing")
	}
}
