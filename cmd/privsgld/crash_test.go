package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashPolicy has room for thousands of small jobs.
const crashPolicy = `apiVersion: privsgld/v1
kind: Policy
metadata: {name: crash, owner: test@example.org}
dataset:
  name: crash
  privacyUnit: row
  adjacency: add-remove
  rows: 4
  target: {column: buys, positive: "yes"}
  columns:
    - {name: x, type: number, bounds: [0, 10]}
    - {name: buys, type: category, levels: ["no", "yes"]}
budget: {epsilon: 1000, delta: 1e-6}
`

// bench is a working folder with a policy, a table and a state of its own.
type bench struct {
	t   *testing.T
	dir string
	env []string
}

func newBench(t *testing.T, policy, table string) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	for name, content := range map[string]string{"p.yaml": policy, "data.csv": table} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.env = append(os.Environ(), asProgram+"=1", "XDG_STATE_HOME="+filepath.Join(b.dir, "state"), "TMPDIR="+b.tmp())
	return b
}

// tmp is the temporary folder of the program under test.
func (b *bench) tmp() string {
	dir := filepath.Join(b.dir, "tmp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

func (b *bench) command(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	return cmd
}

// run runs the program to its end and returns its standard output.
func (b *bench) run(args ...string) string {
	b.t.Helper()
	cmd := b.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("%s: %v: %s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

type budgetState struct {
	Datasets []struct {
		Spent   float64 `json:"epsilon_spent"`
		Entries int64   `json:"entries"`
		Pending int64   `json:"pending"`
	} `json:"datasets"`
}

func (b *bench) budget() (spent float64, entries, pending int64) {
	b.t.Helper()
	spent, entries, pending, err := readBudget([]byte(b.run("budget", "-o", "json")))
	if err != nil {
		b.t.Fatal(err)
	}
	return spent, entries, pending
}

func readBudget(text []byte) (spent float64, entries, pending int64, err error) {
	var s budgetState
	if err := json.Unmarshal(text, &s); err != nil || len(s.Datasets) == 0 {
		return 0, 0, 0, err
	}
	return s.Datasets[0].Spent, s.Datasets[0].Entries, s.Datasets[0].Pending, nil
}

// stillCharged checks, after something went wrong, that no charge was lost and that
// every output has one that is settled.
func (b *bench) stillCharged(after string, spent float64, entries, outputs int64) (float64, int64) {
	b.t.Helper()
	s, e, pending := b.budget()
	if s < spent || e < entries {
		b.t.Fatalf("after %s the ledger shows less than before", after)
	}
	if e-pending < outputs {
		b.t.Fatalf("after %s there are %d outputs and %d settled charges", after, outputs, e-pending)
	}
	return s, e
}

// complete says whether an output folder is there, and fails the test if it is
// there in part.
func (b *bench) complete(dir string) bool {
	b.t.Helper()
	whole, err := b.intact(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	return whole
}

// intact says whether an output folder is there; its error says what is broken in it.
func (b *bench) intact(dir string) (bool, error) {
	dir = filepath.Join(b.dir, dir)
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		return false, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return false, fmt.Errorf("an output folder without its report: %w", err)
	}
	var report struct {
		Files []struct {
			Name, SHA256 string
		}
	}
	if err := json.Unmarshal(text, &report); err != nil || len(report.Files) == 0 {
		return false, fmt.Errorf("a broken report: %v", err)
	}
	for _, f := range report.Files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil {
			return false, err
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != f.SHA256 {
			return false, fmt.Errorf("%s is not the file of its report", f.Name)
		}
	}
	return true, nil
}

// TestKill kills the program at random moments of a run. What is left is a
// complete output folder or none, every output has its charge, the charge of a
// killed run stays, and the next run needs no repair.
func TestKill(t *testing.T) {
	b := newBench(t, crashPolicy, "x,buys\n1,no\n2,yes\n3,no\n9,yes\n")
	args := func(out string) []string {
		return []string{"run", "--quiet", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "4000", "--draws", "500", "--out", out}
	}
	start := time.Now()
	b.run(args("whole")...)
	whole := time.Since(start)
	spent, entries, _ := b.budget()
	outputs, killed := int64(1), 0
	rounds := kills
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		out := "out" + string(rune('a'+i%26)) + time.Duration(i).String()
		cmd := b.command(args(out)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Float64() * 1.2 * float64(whole)))
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err != nil {
			killed++
		}
		if b.complete(out) {
			outputs++
		}
		spent, entries = b.stillCharged(fmt.Sprint("kill ", i), spent, entries, outputs)
	}
	b.run("ledger", "verify")
	b.run(args("last")...)
	if killed == 0 && !testing.Short() {
		t.Error("no run was killed before its end")
	}
	t.Logf("%d of %d runs killed, %d charges, %d outputs", killed, rounds, entries, outputs)
	if left, err := os.ReadDir(b.tmp()); err != nil || len(left) > 0 {
		t.Errorf("%d files are left in the temporary folder, %v", len(left), err)
	}
}

// TestInterrupt: SIGTERM ends a run cleanly, with its exit code, without output,
// and with the charge in the ledger.
func TestInterrupt(t *testing.T) {
	b := newBench(t, crashPolicy, "x,buys\n1,no\n2,yes\n3,no\n9,yes\n")
	cmd := b.command("run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "500000000", "--draws", "10", "--out", "out")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, entries, _ := b.budget(); entries == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the run did not reserve")
		}
	}
	time.Sleep(300 * time.Millisecond)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if b.complete("out") {
		t.Error("an interrupted run released something")
	}
	if spent, _, _ := b.budget(); spent == 0 {
		t.Error("the charge of an interrupted run is gone")
	}
}

// TestOutputFails: a standard output that is full is an error, not silence.
func TestOutputFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("the system has no /dev/full")
	}
	defer full.Close()
	var stderr bytes.Buffer
	if code := run(context.Background(), []string{"privsgld", "version"}, full, &stderr); code != exitInternal || stderr.Len() == 0 {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}
