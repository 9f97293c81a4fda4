package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"

	"github.com/privsgld/privsgld/accountant"
)

// What a child process does when it is no victim.
const (
	asRacer     = "race"
	asHistorian = "history"
)

// lastUnits is the budget of a round, and the job of which so many more fit. Pure
// rounds are exact to the last digit; in Gaussian ones half a job is over.
func lastUnits(round, units int) (reg Registration, filler, job accountant.Event) {
	terms := testTerms(accountant.MethodRDP, "1", "1e-6")
	if round%2 == 0 {
		terms.PureEpsilon = accountant.MustAmount("0.9")
		reg = testRegistration(terms)
		filler = accountant.Pure(reg.Adjacency, accountant.MustAmount(fmt.Sprintf("0.%d", 9-units)), 1)
		job = accountant.Pure(reg.Adjacency, accountant.MustAmount("0.1"), 1)
	} else {
		f, err := accountant.NewFilter(terms)
		if err != nil {
			panic(err)
		}
		reg = testRegistration(terms)
		const z = 40
		each := f.Terms().Order / (2 * z * z)
		full := f.Limit() - (float64(units)+0.5)*each
		filler = accountant.Gaussian(reg.Adjacency, math.Sqrt(f.Terms().Order/(2*full)), 1)
		job = accountant.Gaussian(reg.Adjacency, z, 1)
	}
	reg.Dataset = fmt.Sprint("round ", round)
	return reg, filler, job
}

func raceRequest(reg Registration, run string, e accountant.Event) Request {
	return Request{RunID: run, Kind: "run", Analyst: "ann", Registration: reg, Event: e, JobEpsilon: accountant.MustAmount("0.1"), JobDelta: reg.Terms.Delta}
}

// racer makes one request for each line that it reads: the round, and its units.
func racer(dir, name, _ string) error {
	l, err := Open(ctx, Options{DSN: os.Getenv("LEDGER_TEST_DSN"), StateDir: dir, Timeout: 2 * time.Minute})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var round, units int
		if _, err := fmt.Sscan(lines.Text(), &round, &units); err != nil {
			return err
		}
		reg, _, job := lastUnits(round, units)
		var refused *Refused
		_, err := l.Reserve(ctx, raceRequest(reg, fmt.Sprint(name, " in ", round), job))
		switch {
		case err == nil:
			fmt.Println("granted")
		case errors.As(err, &refused):
			fmt.Println("refused")
		default:
			return err
		}
	}
	return lines.Err()
}

// A worker is a child process that is spoken to line by line.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startWorker(t *testing.T, dir, name, part string) *worker {
	t.Helper()
	w := &worker{cmd: exec.Command(os.Args[0])}
	w.cmd.Env = append(os.Environ(), "LEDGER_TEST_CHILD="+dir, "LEDGER_TEST_NAME="+name, "LEDGER_TEST_POINT="+part, "LEDGER_TEST_DSN="+placed(dir, Options{}).DSN)
	w.cmd.Stderr = os.Stderr
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewScanner(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *worker) say(text string) { fmt.Fprintln(w.in, text) }

func (w *worker) line() string {
	if !w.out.Scan() {
		return "gone"
	}
	return w.out.Text()
}

func (w *worker) end(t *testing.T) {
	t.Helper()
	w.in.Close()
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("a process: %v", err)
	}
}

// Thirty-two processes ask at once for the last units of a budget: just as many are
// granted as fit, by the sum over the entries in a filter of their own; one more
// would not have been admitted.
func TestLastUnits(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes, or a server that restarts: left out in short mode")
	}
	const processes = 32
	each(t, []string{onSQLite, onPostgres}, func(t *testing.T) {
		dir := t.TempDir()
		l, err := Open(ctx, placed(dir, Options{Timeout: 2 * time.Minute}))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		workers := make([]*worker, processes)
		for i := range workers {
			workers[i] = startWorker(t, dir, fmt.Sprint("p", i), asRacer)
		}
		for i, w := range workers {
			if text := w.line(); text != "ready" {
				t.Fatalf("process %d is %s", i, text)
			}
		}
		for round := range raceRounds {
			units := 1 + rand.IntN(5)
			reg, filler, job := lastUnits(round, units)
			mustReserve(t, l, raceRequest(reg, fmt.Sprint("filler of ", round), filler))
			for _, w := range workers {
				w.say(fmt.Sprint(round, " ", units))
			}
			granted := 0
			for i, w := range workers {
				switch text := w.line(); text {
				case "granted":
					granted++
				case "refused":
				default:
					t.Fatalf("round %d: process %d is %s", round, i, text)
				}
			}
			if granted != units {
				t.Errorf("round %d: %d of %d were granted", round, granted, units)
			}
			admitted, more := recomputed(t, l, reg, job)
			if !admitted || more {
				t.Errorf("round %d: what was granted fits: %v; and one more: %v", round, admitted, more)
			}
		}
		for _, w := range workers {
			w.end(t)
		}
		mustVerify(t, l)
	})
}

// recomputed adds up what the entries of a data set reserve, in a new filter, and
// says whether it is within the budget, and whether one more job would be.
func recomputed(t *testing.T, l *Ledger, reg Registration, job accountant.Event) (within, more bool) {
	t.Helper()
	f, err := accountant.NewFilter(reg.Terms)
	if err != nil {
		t.Fatal(err)
	}
	cost := func(e accountant.Event) accountant.Spent {
		c, err := f.Cost(e)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var sum total
	for _, body := range wholeOf(t, l).bodies {
		e, err := decodeEntry(body)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != kindReserve || e.Dataset != reg.Dataset {
			continue
		}
		event, err := e.Event.event()
		if err != nil {
			t.Fatal(err)
		}
		sum, _ = sum.plus(cost(event))
	}
	one, _ := sum.plus(cost(job))
	return f.Admits(sum.spentUp()), f.Admits(one.spentUp())
}

// The histories below count in units of which historyUnits and a half fit.
const (
	historyUnits   = 7
	historySteps   = 10
	historyClients = 6
)

func historyEvent(units int) (Registration, accountant.Event) {
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	f, err := accountant.NewFilter(reg.Terms)
	if err != nil {
		panic(err)
	}
	loss := float64(units) * f.Limit() / (historyUnits + 0.5)
	return reg, accountant.Gaussian(reg.Adjacency, math.Sqrt(f.Terms().Order/(2*loss)), 1)
}

// A step is one operation on a ledger, as a process saw it. Times are those of a clock
// that all processes of a machine share.
type step struct {
	Op         string // reserve, settle or void
	Run        string
	Units      int
	OK         bool
	From, Till int64
}

func machineClock() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}

// historian reserves, settles and makes void at random, and writes down each step.
func historian(dir, name, _ string) error {
	l, err := Open(ctx, Options{DSN: os.Getenv("LEDGER_TEST_DSN"), StateDir: dir, Timeout: 2 * time.Minute})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("ready")
	bufio.NewScanner(os.Stdin).Scan()
	type holding struct {
		r     *Reservation
		units int
	}
	var held []holding
	for i := range historySteps {
		s := step{Op: "reserve", Run: fmt.Sprint(name, "-", i), Units: 1 + rand.IntN(3), From: machineClock()}
		if len(held) > 0 && rand.IntN(2) == 0 {
			h := held[0]
			held = held[1:]
			s.Op, s.Run, s.Units = "void", h.r.RunID, 0
			if rand.IntN(2) == 0 {
				s.Op, s.Units = "settle", 1+rand.IntN(h.units+1) // sometimes more than was reserved
				_, event := historyEvent(s.Units)
				if s.Units == h.units {
					event.NoiseMultiplier = math.Nextafter(event.NoiseMultiplier, math.Inf(1))
				}
				_, err = l.Settle(ctx, h.r, event)
			} else {
				err = l.Void(ctx, h.r)
			}
			if err != nil && !errors.Is(err, ErrCharge) {
				return err
			}
		} else {
			reg, event := historyEvent(s.Units)
			q := raceRequest(reg, s.Run, event)
			r, e := l.Reserve(ctx, q)
			var refused *Refused
			if e != nil && !errors.As(e, &refused) {
				return e
			}
			if err = e; err == nil {
				held = append(held, holding{r, s.Units})
			}
		}
		s.OK, s.Till = err == nil, machineClock()
		fmt.Println(s.Op, s.Run, s.Units, s.OK, s.From, s.Till)
	}
	return nil
}

// sequential is a ledger as a plain list of charges: what is open in "run=units;",
// and the sum with what is settled.
type sequential struct {
	spent int
	open  string
}

var sequentialLedger = porcupine.Model{
	Init: func() any { return sequential{} },
	Step: func(state, input, _ any) (bool, any) {
		s, in := state.(sequential), input.(step)
		if in.Op == "reserve" {
			if fits := s.spent+in.Units <= historyUnits; fits != in.OK || !fits {
				return fits == in.OK, s
			}
			open := append(strings.Split(strings.TrimSuffix(s.open, ";"), ";"), fmt.Sprint(in.Run, "=", in.Units))
			sort.Strings(open)
			return true, sequential{s.spent + in.Units, strings.TrimPrefix(strings.Join(open, ";")+";", ";")}
		}
		before, rest, there := strings.Cut(s.open, in.Run+"=")
		units := 0
		if there {
			fmt.Sscan(strings.Replace(rest, ";", " ", 1), &units)
		}
		if may := there && in.Units <= units; may != in.OK || !may {
			return may == in.OK, s
		}
		_, after, _ := strings.Cut(rest, ";")
		return true, sequential{s.spent - units + in.Units, before + after}
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

func linearizable(steps []step) bool {
	var history []porcupine.Operation
	for _, s := range steps {
		history = append(history, porcupine.Operation{Input: s, Call: s.From, Return: s.Till})
	}
	return porcupine.CheckOperations(sequentialLedger, history)
}

// What several processes see of one ledger is what one of them would have seen after
// another, in an order that goes with the times.
func TestHistoriesAreLinearizable(t *testing.T) {
	for name, h := range map[string][]step{
		"both are granted and do not fit": {{"reserve", "a", 4, true, 0, 10}, {"reserve", "b", 4, true, 5, 15}},
		"refused though there was room":   {{"reserve", "a", 4, true, 0, 10}, {"settle", "a", 1, true, 20, 30}, {"reserve", "b", 4, false, 40, 50}},
		"granted before there was room":   {{"reserve", "a", 4, true, 0, 10}, {"reserve", "b", 4, true, 15, 18}, {"void", "a", 0, true, 20, 30}},
		"a charge that ends twice":        {{"reserve", "a", 4, true, 0, 10}, {"void", "a", 0, true, 20, 30}, {"settle", "a", 1, true, 25, 40}},
		"a charge that grows":             {{"reserve", "a", 4, true, 0, 10}, {"settle", "a", 5, true, 20, 30}},
	} {
		if linearizable(h) {
			t.Errorf("accepted: %s", name)
		}
	}
	if !linearizable([]step{{"reserve", "a", 4, true, 0, 10}, {"reserve", "b", 4, true, 5, 30}, {"void", "a", 0, true, 20, 25}, {"settle", "b", 9, false, 40, 50}}) {
		t.Error("refused: a history that is in order")
	}
	each(t, []string{onSQLite, onPostgres}, func(t *testing.T) {
		granted, overlapping := 0, 0
		for n := range histories {
			dir := t.TempDir()
			openIn(t, dir, &clock{time.Now()})
			var workers []*worker
			for i := range historyClients {
				workers = append(workers, startWorker(t, dir, fmt.Sprint("p", i), asHistorian))
			}
			for i, w := range workers {
				if text := w.line(); text != "ready" {
					t.Fatalf("process %d is %s", i, text)
				}
			}
			for _, w := range workers {
				w.say("go")
			}
			var steps []step
			for _, w := range workers {
				for w.out.Scan() {
					var s step
					if _, err := fmt.Sscan(w.out.Text(), &s.Op, &s.Run, &s.Units, &s.OK, &s.From, &s.Till); err != nil {
						t.Fatal(err)
					}
					steps = append(steps, s)
				}
				w.end(t)
			}
			if len(steps) != historyClients*historySteps || !linearizable(steps) {
				t.Errorf("history %d of %d steps is not linearizable: %+v", n, len(steps), steps)
			}
			for i, s := range steps {
				if s.Op == "reserve" && s.OK {
					granted++
				}
				for _, other := range steps[:i] {
					if s.From < other.Till && other.From < s.Till {
						overlapping++
					}
				}
			}
		}
		t.Logf("%d histories, %d reservations granted, %d pairs of steps at one time", histories, granted, overlapping)
		if granted == 0 {
			t.Error("nothing was granted")
		}
	})
}
