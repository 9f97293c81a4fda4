//go:build linux && !seeded

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFaultAtEveryCall is threat L3: a run whose n-th call of the system is where it
// is killed, or fails for want of room or by an error of the device, for every n that
// the run comes to. Output is whole or absent and never without its charge, what was
// spent never drops, no file is left over, and the next command needs no repair.
// Calls are counted for each thread.
func TestFaultAtEveryCall(t *testing.T) {
	if testing.Short() {
		t.Skip("one process after another: left out in short mode")
	}
	strace := needStrace(t, "L3")
	const moves = "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,mkdir,mkdirat,openat"
	const removals = "unlink,unlinkat"
	faults, points, outputs := 0, 0, int64(0)
	for _, what := range slices.Repeat([]struct{ calls, fault string }{
		{moves + "," + removals + ",pread64,read,fcntl,close", "signal=SIGKILL"},
		{"pwrite64,fsync,fdatasync,renameat,renameat2,mkdirat", "signal=SIGKILL"},
		{moves, "error=ENOSPC"},
		{"pwrite64,fsync,fdatasync,ftruncate", "error=EIO"},
		{"renameat,renameat2,mkdirat", "error=EIO"},
		{removals, "error=EIO"},
		{"pread64", "error=EIO"},
		{"write", "error=EIO"},
	}, faultRounds) {
		b := newBench(t, crashPolicy, "x,buys\n1,no\n2,yes\n3,no\n9,yes\n")
		b.run(faultyRun("first")...)
		spent, entries, _ := b.budget()
		released := int64(1)
		for n, idle := 1, 0; idle < 3; n += faultStride {
			out := fmt.Sprintf("out%d", n)
			log := filepath.Join(b.dir, "strace")
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			run := b.command(faultyRun(out)...)
			cmd := exec.CommandContext(ctx, strace, append([]string{"-f", "-qq", "-o", log, "-e", "trace=" + what.calls,
				"-e", fmt.Sprintf("inject=%s:%s:when=%d", what.calls, what.fault, n), "--", run.Path}, run.Args[1:]...)...)
			cmd.Dir, cmd.Env = run.Dir, run.Env
			var text bytes.Buffer
			cmd.Stdout, cmd.Stderr = &text, &text
			err := cmd.Run()
			if ctx.Err() != nil {
				t.Fatalf("%s at call %d: the run hangs", what.fault, n)
			}
			cancel()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			trace, readErr := os.ReadFile(log)
			if readErr != nil {
				t.Fatal(readErr)
			}
			points++
			if bytes.Contains(trace, []byte("INJECTED")) || bytes.Contains(trace, []byte("killed by SIGKILL")) {
				faults++
				idle = 0
			} else {
				idle++
			}
			whole := b.complete(out)
			if whole {
				released++
				outputs++
			} else if err == nil {
				t.Errorf("%s at call %d: exit code 0 without output: %s", what.fault, n, text.String())
			}
			spent, entries = b.stillCharged(fmt.Sprintf("%s at call %d", what.fault, n), spent, entries, released)
			list, err := os.ReadDir(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list {
				if name := f.Name(); !strings.HasPrefix(name, "out") && !strings.Contains(" first data.csv p.yaml state strace tmp ", " "+name+" ") && what.fault != "signal=SIGKILL" && what.calls != removals {
					t.Errorf("%s at call %d leaves %s", what.fault, n, name)
				}
			}
		}
		b.run("ledger", "verify")
		b.run(faultyRun("last")...)
	}
	t.Logf("%d points, %d with a fault, %d outputs", points, faults, outputs)
	if faults < 7 {
		t.Errorf("%d of %d runs met a fault", faults, points)
	}
}

// needStrace is where strace is; without it a threat's test is left out.
func needStrace(t *testing.T, threat string) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err == nil {
		err = exec.Command(strace, "-o", os.DevNull, "true").Run()
	}
	if err != nil {
		t.Skipf("NOT TESTED, threat %s: strace does not run here: %v", threat, err)
	}
	return strace
}

func faultyRun(out string) []string {
	return []string{"run", "--quiet", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "100", "--draws", "20", "--out", out}
}
