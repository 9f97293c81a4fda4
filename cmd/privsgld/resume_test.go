//go:build linux && !seeded

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slowPolicy promises so many rows that a run is predicted to take hours and keeps
// resume points, though the table has four.
var slowPolicy = strings.Replace(crashPolicy, "rows: 4", "rows: 100000000000", 1)

const resumedTable = "x,buys\n1,no\n2,yes\n3,no\n9,yes\n"

const resumedSteps = 150

func longRun(out string) []string {
	return []string{"run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", fmt.Sprint(resumedSteps), "--draws", "50", "--out", out}
}

// endless is a run that is still at work when it is looked for.
func endless(out string) []string {
	return []string{"run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "500000", "--draws", "50", "--out", out}
}

// try runs the program and returns its exit code with all that it printed.
func (b *bench) try(args ...string) (int, string) {
	b.t.Helper()
	cmd := b.command(args...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// pointFiles are those of the state folder that end so.
func (b *bench) pointFiles(suffix string) []string {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "state/privsgld/resume/*/*"+suffix))
	if err != nil {
		b.t.Fatal(err)
	}
	return files
}

// killed starts an endless run, waits for its first points and sends it a signal. It
// returns its name.
func (b *bench) killed(signal syscall.Signal) string {
	b.t.Helper()
	before := len(b.pointFiles(".point"))
	cmd := b.command(endless("out")...)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(b.pointFiles(".point")) <= before {
		if time.Now().After(deadline) {
			b.t.Fatal("the run keeps no points")
		}
		time.Sleep(10 * time.Millisecond)
	}
	newest := ""
	for _, f := range b.pointFiles(".mark") {
		if info, err := os.Stat(f); err == nil && (newest == "" || info.ModTime().After(modified(b.t, newest))) {
			newest = f
		}
	}
	id := strings.TrimSuffix(filepath.Base(newest), ".mark")
	if signal == syscall.SIGKILL {
		if code, text := b.try("run", "--resume", id, "--out", "out"); code != exitPolicy || !strings.Contains(text, "held by another process") {
			b.t.Errorf("a run that is alive goes on: %d, %s", code, text)
		}
	}
	if err := cmd.Process.Signal(signal); err != nil {
		b.t.Fatal(err)
	}
	_ = cmd.Wait()
	return id
}

func modified(t *testing.T, file string) time.Time {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

type logged struct {
	Kind, Run, What string
	Number          int64
}

func (b *bench) log() []logged {
	b.t.Helper()
	var out struct{ Entries []logged }
	if err := json.Unmarshal([]byte(b.run("ledger", "log", "-o", "json")), &out); err != nil {
		b.t.Fatal(err)
	}
	return out.Entries
}

// TestKilledRunGoesOn is threat L16 with real processes: runs are killed at random
// moments, and at calls of the system around their points, and so are those that go on.
// Of a reservation comes one output at most; an attempt after the first is charged
// before it opens the data; the report says what was charged; and nothing is left over.
func TestKilledRunGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("one process after another: left out in short mode")
	}
	b := newBench(t, slowPolicy, resumedTable)
	start := time.Now()
	b.run(longRun("whole")...)
	whole := time.Since(start)
	strace, _ := exec.LookPath("strace")
	if strace != "" && exec.Command(strace, "-o", os.DevNull, "true").Run() != nil {
		strace = ""
	}
	const calls = "fsync,renameat,rename,unlinkat,unlink,openat,write,pwrite64,flock,fcntl,dup2,dup3"
	points, resumed, outputs, refused := 0, 0, 1, 0
	for round := 0; points < pointKills; round++ {
		out := fmt.Sprintf("out%d", round)
		args, id := longRun(out), ""
		for attempt := 1; ; attempt++ {
			cmd := b.command(args...)
			if strace != "" && rand.IntN(2) == 0 {
				path := cmd.Path
				cmd = exec.Command(strace, append([]string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + calls,
					"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", calls, 1+rand.IntN(120)), "--", path}, args...)...)
				cmd.Dir, cmd.Env = b.dir, b.env
			}
			var text bytes.Buffer
			cmd.Stdout, cmd.Stderr = &text, &text
			// With its tracer: one that is traced and left alone may stand still for ever.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(rand.Float64()*1.2*float64(whole)), func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
			err := cmd.Wait()
			timer.Stop()
			if code := cmd.ProcessState.ExitCode(); code == -1 || code == 137 {
				points++
			}
			if i := strings.Index(text.String(), "--resume "); id == "" && i >= 0 {
				id = strings.Fields(text.String()[i:])[1]
			}
			// Whoever was killed may be there for a moment.
			for range 500 {
				if code, _ := b.try("budget"); code == 0 && !held(t, b, id) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err == nil || b.complete(out) {
				break
			}
			if code := cmd.ProcessState.ExitCode(); code == exitPolicy {
				refused++ // killed before its first point, or after its end
				break
			} else if code > 0 && code != 137 {
				t.Fatalf("attempt %d of %s ends with %d: %s", attempt, id, code, text.String())
			}
			if id == "" {
				break // it was never charged, or did not come to say it
			}
			resumed++
			args = []string{"run", "--resume", id, "--out", out}
		}
		if b.complete(out) {
			outputs++
			b.checkAttempts(out)
		}
	}
	b.run("ledger", "verify")
	settled := map[string]int{}
	again := 0
	for _, e := range b.log() {
		switch e.Kind {
		case "settle":
			settled[e.Run]++
		case "again":
			again++
			if settled[e.Run] > 0 {
				t.Errorf("run %s goes on after its settlement", e.Run)
			}
		}
	}
	for run, n := range settled {
		if n > 1 {
			t.Errorf("run %s is settled %d times", run, n)
		}
	}
	if len(settled) < outputs {
		t.Errorf("%d outputs of %d settled runs", outputs, len(settled))
	}
	t.Logf("%d points of kill, %d attempts after one, %d of them charged, %d refused, %d outputs of %d settled runs", points, resumed, again, refused, outputs, len(settled))
}

// held says whether a process has a run in hand.
func held(t *testing.T, b *bench, id string) bool {
	t.Helper()
	for _, f := range b.pointFiles(".mark") {
		if strings.TrimSuffix(filepath.Base(f), ".mark") != id {
			continue
		}
		file, err := os.Open(f)
		if err != nil {
			return false
		}
		defer file.Close()
		return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
	}
	return false
}

// checkAttempts compares a report with the ledger: what ran and what was charged again.
func (b *bench) checkAttempts(out string) {
	b.t.Helper()
	var report struct {
		RunID     string `json:"run_id"`
		Guarantee struct {
			Events []struct {
				Type  string
				Count int64
			}
			Assumptions []string
		}
		Attempts []struct {
			Attempt, Entry int64
			Events         []struct{ Count int64 }
		}
	}
	text, err := os.ReadFile(filepath.Join(b.dir, out, "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	var counted, again int64
	for _, e := range report.Guarantee.Events {
		counted += max(e.Count, 1)
	}
	charged := map[int64]bool{}
	for _, e := range b.log() {
		if e.Kind == "again" && e.Run == report.RunID {
			charged[e.Number] = true
		}
	}
	for _, a := range report.Attempts {
		if !charged[a.Entry] {
			b.t.Errorf("attempt %d of %s has no entry %d", a.Attempt, report.RunID, a.Entry)
		}
		for _, e := range a.Events {
			again += e.Count
		}
	}
	if len(report.Attempts) != len(charged) {
		b.t.Errorf("%d attempts are reported, %d charged", len(report.Attempts), len(charged))
	}
	if counted-again < resumedSteps || counted-again > resumedSteps+1 { // and a Gram matrix
		b.t.Errorf("run %s counts %d mechanisms, %d of them again", report.RunID, counted, again)
	}
	if assumed := strings.Contains(strings.Join(report.Guarantee.Assumptions, "\n"), "killed from outside did not depend on the data"); assumed != (len(charged) > 0) {
		b.t.Errorf("run %s assumes of its kill: %v", report.RunID, assumed)
	}
}

// TestEndedRunNeverGoesOn: a run that was interrupted, one whose runtime died and one
// that failed left no point to go on from. The control, killed from outside, did.
func TestEndedRunNeverGoesOn(t *testing.T) {
	b := newBench(t, slowPolicy, resumedTable)
	for _, c := range []struct {
		signal syscall.Signal
		goesOn bool
	}{{syscall.SIGTERM, false}, {syscall.SIGABRT, false}, {syscall.SIGKILL, true}} {
		id := b.killed(c.signal)
		if !c.goesOn {
			spent, entries, _ := b.budget()
			if code, text := b.try("run", "--resume", id, "--out", "out"); code != exitPolicy || !strings.Contains(text, id) {
				t.Errorf("%v: exit code %d, %s", c.signal, code, text)
			}
			if s, e, _ := b.budget(); s != spent || e != entries {
				t.Errorf("%v: something was charged", c.signal)
			}
			continue
		}
		// Its data has changed: that is an end of its own, after the charge.
		if err := os.WriteFile(filepath.Join(b.dir, "data.csv"), []byte(resumedTable+"4,no\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		spent, _, _ := b.budget()
		if code, text := b.try("run", "--resume", id, "--out", "out"); code != exitPolicy || !strings.Contains(text, "rows are not those") {
			t.Errorf("other rows: exit code %d, %s", code, text)
		}
		if s, _, _ := b.budget(); s <= spent {
			t.Error("the attempt that read other rows was not charged")
		}
		if code, _ := b.try("run", "--resume", id, "--out", "out"); code != exitPolicy || b.complete("out") {
			t.Errorf("after other rows: exit code %d", code)
		}
	}
	if left := b.pointFiles(".point"); len(left) > 1 {
		t.Errorf("points are left: %v", left)
	}
	b.run("ledger", "verify")
}

// TestResumeRefusals: what is refused before the charge costs nothing, and leaves the
// point: the run goes on once that is mended. Of several that go on at once one does.
func TestResumeRefusals(t *testing.T) {
	b := newBench(t, strings.Replace(slowPolicy, "epsilon: 1000", "epsilon: 1000, perJob: {epsilon: 0.6}", 1), resumedTable)
	id := b.killed(syscall.SIGKILL)
	spent, _, _ := b.budget()
	policy, err := os.ReadFile(filepath.Join(b.dir, "p.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(b.dir, "p.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"run", "--resume", id, "--epsilon", "1", "--out", "o"}, exitUsage, "--epsilon cannot be given with --resume"},
		{[]string{"run", "--resume", "0123456789abcdef", "--out", "o"}, exitPolicy, "no resume point"},
		{[]string{"run", "--resume", "../x", "--out", "o"}, exitUsage, "no name of a run"},
		{[]string{"run", "--resume", id, "--out", "state"}, exitUsage, "not empty"},
	} {
		if code, text := b.try(c.args...); code != c.code || !strings.Contains(text, c.text) {
			t.Errorf("%v: exit code %d, %s", c.args, code, text)
		}
	}
	write(string(policy) + "# changed\n")
	if code, text := b.try("run", "--resume", id, "--out", "o"); code != exitPolicy || !strings.Contains(text, "the policy is not the one") {
		t.Errorf("another policy: exit code %d, %s", code, text)
	}
	write(string(policy))
	if s, _, _ := b.budget(); s != spent {
		t.Error("a refusal was charged")
	}
	var group sync.WaitGroup
	begun := make([]*exec.Cmd, 3)
	for i := range begun {
		begun[i] = b.command("run", "--resume", id, "--out", fmt.Sprint("several", i))
		if err := begun[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	charged := func() (n int) {
		for _, e := range b.log() {
			if e.Kind == "again" {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); charged() == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // for those that come late
	for _, cmd := range begun {
		group.Add(1)
		go func() { defer group.Done(); _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	}
	group.Wait()
	if n := charged(); n != 1 {
		t.Errorf("%d of three that began at once were charged", n)
	}
	b.run("ledger", "verify")
}

// TestNothingLeftToDoAgain: where the budget has no room for the steps that may be done
// again, nothing runs: exit code 3, and the ledger is as it was.
func TestNothingLeftToDoAgain(t *testing.T) {
	const noise, steps = "10000", "2000"
	b := newBench(t, slowPolicy, resumedTable)
	var cost struct{ Epsilon float64 }
	if err := json.Unmarshal([]byte(b.run("account", "epsilon", "--noise-multiplier", noise, "--sampling-rate", "1", "--steps", steps, "--delta", "1e-6", "-o", "json")), &cost); err != nil {
		t.Fatal(err)
	}
	budget := fmt.Sprintf("%.9f", cost.Epsilon*(1+1e-6)) // a step is far more
	if err := os.WriteFile(filepath.Join(b.dir, "p.yaml"), []byte(strings.Replace(slowPolicy, "epsilon: 1000", "epsilon: "+budget, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := b.command("run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", budget, "--noise-multiplier", noise, "--steps", steps, "--out", "out")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(b.pointFiles(".point")) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the run keeps no points")
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	id := strings.TrimSuffix(filepath.Base(b.pointFiles(".point")[0]), ".point")
	before := len(b.log())
	if code, text := b.try("run", "--resume", id, "--out", "out"); code != exitBudget || !strings.Contains(text, "may do again") {
		t.Errorf("exit code %d, %s", code, text)
	}
	if after := len(b.log()); after != before || b.complete("out") {
		t.Errorf("%d entries before, %d after", before, after)
	}
}
