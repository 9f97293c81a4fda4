package ledger

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/privsgld/privsgld/accountant"
)

// asBurster is the child that asks many times in a row.
const asBurster = "burst"

// burstJob is the job of ε = 0.1 of a round, and the data set's budget of ε = 1: pure
// events from a share of their own in even rounds, Gaussian ones in odd rounds.
func burstJob(round int) (Registration, accountant.Event) {
	terms := testTerms(accountant.MethodRDP, "1", "1e-6")
	var event accountant.Event
	if round%2 == 0 {
		terms.PureEpsilon = accountant.MustAmount("0.9")
		event = accountant.Pure(accountant.AddRemove, accountant.MustAmount("0.1"), 1)
	} else {
		event = gaussianRun("", testRegistration(terms), "0.1").Event
	}
	reg := testRegistration(terms)
	reg.Dataset = fmt.Sprint("burst ", round)
	return reg, event
}

// burstFits is how many of those jobs the budget holds, by the formulas in 256 bits and
// in whole fractions: nothing here is the accountant's but the order, which the
// registration fixes.
func burstFits(t *testing.T, round int, order float64) int {
	t.Helper()
	_, event := burstJob(round)
	if round%2 == 0 {
		n := new(big.Rat).Quo(mustRat("0.9"), mustRat("0.1"))
		if !n.IsInt() {
			t.Fatal("not a whole number of jobs")
		}
		return int(n.Num().Int64())
	}
	// z is a float64 that stands for itself; ε and δ are decimals.
	each := lossOf("rdp", "add-remove", order, judgeEvent{Type: "gaussian", NoiseMultiplier: event.NoiseMultiplier, Count: 1})
	n, _ := bigQuo(limitOf("rdp", mustRat("1"), mustRat("1e-6"), order), each).Int64()
	return int(n)
}

// burster asks burstRequests times for each line with a number of a round, and says of
// each request whether it was granted, and when.
func burster(dir, name, _ string) error {
	l, err := Open(ctx, Options{DSN: os.Getenv("LEDGER_TEST_DSN"), StateDir: dir, Timeout: 5 * time.Minute})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("ready")
	out := bufio.NewWriter(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var round int
		if _, err := fmt.Sscan(lines.Text(), &round); err != nil {
			return err
		}
		reg, job := burstJob(round)
		for i := range burstRequests {
			from := machineClock()
			_, err := l.Reserve(ctx, raceRequest(reg, fmt.Sprintf("%s-%d in %d", name, i, round), job))
			var refused *Refused
			if err != nil && !errors.As(err, &refused) {
				return err
			}
			fmt.Fprintln(out, err == nil, from, machineClock())
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}

// An asking is one request of a burst, as its process saw it.
type asking struct {
	granted    bool
	from, till int64
}

// countdown is a budget from which equal jobs are taken one after another.
func countdown(fits int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return fits },
		Step: func(state, input, _ any) (bool, any) {
			left := state.(int)
			if !input.(bool) {
				return left == 0, left
			}
			return left > 0, left - 1
		},
	}
}

// inOrder says whether the requests may have been decided one after another, each at
// some moment between its beginning and its end.
func inOrder(fits int, all []asking) bool {
	var history []porcupine.Operation
	for _, a := range all {
		history = append(history, porcupine.Operation{Input: a.granted, Call: a.from, Return: a.till})
	}
	return porcupine.CheckOperations(countdown(fits), history)
}

// TestBurst is threat L2: processes ask at once, each again and again, for jobs of
// ε = 0.1 on a budget of 1. Each time just as many are granted as the filter's formula
// allows, and what the processes saw is what one after another would have seen.
func TestBurst(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes, or a server that restarts: left out in short mode")
	}
	for what, h := range map[string][]asking{
		"one more than fits":              {{true, 0, 9}, {true, 1, 9}, {true, 2, 9}},
		"refused though there was room":   {{true, 0, 1}, {false, 2, 3}, {true, 4, 5}},
		"refused, and then granted again": {{true, 0, 1}, {true, 2, 3}, {false, 1, 1}, {false, 5, 6}},
	} {
		if inOrder(2, h) {
			t.Errorf("accepted: %s", what)
		}
	}
	if !inOrder(2, []asking{{true, 0, 9}, {false, 1, 8}, {true, 2, 7}, {false, 8, 9}}) {
		t.Error("refused: a history that is in order")
	}
	if n := readThenWrite(2, []asking{{true, 0, 9}, {false, 1, 8}, {true, 2, 7}, {false, 8, 9}}); n != 4 {
		t.Errorf("a ledger that reads and then writes grants %d", n)
	}
	each(t, []string{onSQLite, onPostgres}, func(t *testing.T) {
		dir := t.TempDir()
		l, err := Open(ctx, placed(dir, Options{Timeout: 5 * time.Minute}))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var workers []*worker
		for i := range burstProcesses {
			workers = append(workers, startWorker(t, dir, fmt.Sprint("p", i), asBurster))
		}
		for i, w := range workers {
			if text := w.line(); text != "ready" {
				t.Fatalf("process %d is %s", i, text)
			}
		}
		longest, wrong, caught, asked := time.Duration(0), 0, 0, 0
		rounds := 0
		for round := range burstRounds {
			for _, w := range workers {
				w.say(fmt.Sprint(round))
			}
			var all []asking
			for i, w := range workers {
				for range burstRequests {
					var a asking
					text := w.line()
					if _, err := fmt.Sscan(text, &a.granted, &a.from, &a.till); err != nil {
						t.Fatalf("round %d: process %d is %s", round, i, text)
					}
					all = append(all, a)
					longest = max(longest, time.Duration(a.till-a.from))
				}
			}
			reg, job := burstJob(round)
			f, err := accountant.NewFilter(reg.Terms)
			if err != nil {
				t.Fatal(err)
			}
			fits := burstFits(t, round, f.Terms().Order)
			granted := 0
			for _, a := range all {
				if a.granted {
					granted++
				}
			}
			if granted != fits || !inOrder(fits, all) {
				wrong++
				t.Errorf("round %d: %d were granted of %d that fit, in order: %v", round, granted, fits, inOrder(fits, all))
			}
			if within, more := recomputed(t, l, reg, job); !within || more {
				t.Errorf("round %d: what was granted fits: %v; and one more: %v", round, within, more)
			}
			if readThenWrite(fits, all) != fits {
				caught++
			}
			asked += len(all)
			rounds++
		}
		for _, w := range workers {
			w.end(t)
		}
		mustVerify(t, l)
		t.Logf("%d rounds of %d requests by %d processes, %d wrong; the longest took %v; one that reads and then writes is caught in %d", rounds, asked/rounds, burstProcesses, wrong, longest, caught)
		// How much a few rounds overlap is the machine's affair.
		if rounds >= 100 && caught < rounds/2 {
			t.Errorf("a ledger that reads and then writes is caught in %d of %d rounds only", caught, rounds)
		}
	})
}

// readThenWrite is how many the same requests would be granted, at the same times, by a
// ledger whose decision follows what was spent when the request began.
func readThenWrite(fits int, all []asking) int {
	var spentAt []int64
	granted := 0
	all = slices.SortedFunc(slices.Values(all), func(a, b asking) int { return cmp.Compare(a.till, b.till) })
	for _, a := range all {
		before := 0
		for _, at := range spentAt {
			if at < a.from {
				before++
			}
		}
		if before < fits {
			granted++
			spentAt = append(spentAt, a.till)
		}
	}
	return granted
}
