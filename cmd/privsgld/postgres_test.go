package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant/ledger/pgtest"
)

// TestKillOnPostgres kills runs that charge a ledger in PostgreSQL at random moments,
// and at half of them the server, which is started again. What is left is as in
// TestKill; a run whose server is gone ends with exit code 6, or with its output, or
// waits, and is killed.
func TestKillOnPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("one process after another: left out in short mode")
	}
	server, err := pgtest.New()
	if errors.Is(err, pgtest.ErrNone) {
		fmt.Fprintln(os.Stderr, err)
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	b := newBench(t, crashPolicy, "x,buys\n1,no\n2,yes\n3,no\n9,yes\n")
	b.env = append(b.env, "PRIVSGLD_LEDGER="+server.URL("postgres"), "PRIVSGLD_LEDGER_TIMEOUT=10s")
	args := func(out string) []string {
		return []string{"run", "--quiet", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "4000", "--draws", "500", "--out", out}
	}
	start := time.Now()
	b.run(args("whole")...)
	whole := time.Since(start)
	spent, entries, _ := b.budget()
	outputs, killed, stopped := int64(1), 0, 0
	for i := range killsPostgres {
		out := fmt.Sprint("out", i)
		cmd := b.command(args(out)...)
		var text strings.Builder
		cmd.Stdout, cmd.Stderr = &text, &text
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Float64() * 1.2 * float64(whole)))
		if i%2 == 0 {
			_ = cmd.Process.Kill()
		} else {
			server.Kill()
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
		}
		switch err := cmd.Wait(); {
		case i%2 == 0 && err != nil:
			killed++
		case cmd.ProcessState.ExitCode() == exitLedger:
			stopped++
			if b.complete(out) {
				t.Errorf("kill %d: an output, and exit code 6", i)
			}
		case err != nil:
			t.Errorf("kill %d: %v: %s", i, err, text.String())
		}
		if b.complete(out) {
			outputs++
		}
		spent, entries = b.stillCharged(fmt.Sprint("kill ", i), spent, entries, outputs)
	}
	b.run("ledger", "verify")
	b.run(args("last")...)
	t.Logf("of %d runs %d were killed, %d stopped with their server; %d charges, %d outputs", killsPostgres, killed, stopped, entries, outputs)
}
