package ledger

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/privsgld/privsgld/accountant"
)

// A model of the ledger: charges in a list, added up anew for every decision.
type modelCharge struct {
	month, analyst string
	loss           float64
	state          string
}

// machine compares a ledger with the model under random requests,
// settlements, voids, clock jumps and reopenings.
type machine struct {
	dir     string
	clock   *clock
	ledger  *Ledger
	reg     Registration
	cap     Cap
	limits  map[string]float64 // "" for the policy, "ann" for the cap of ann
	orders  map[string]float64
	newest  time.Time
	month   string
	charges map[string]*modelCharge
	held    map[string]*Reservation
	ids     []string
	steps   int

	forgetsPending bool // for the control: a model in which pending charges do not count
}

func newMachine(dir string) *machine {
	m := &machine{dir: dir, clock: startClock(), charges: map[string]*modelCharge{}, held: map[string]*Reservation{},
		limits: map[string]float64{}, orders: map[string]float64{}}
	m.reg = testRegistration(testTerms(accountant.MethodRDP, "2", "1e-6"))
	m.reg.Renews = "monthly"
	m.cap = Cap{"analyst:ann", testTerms(accountant.MethodRDP, "1", "1e-6")}
	for name, terms := range map[string]accountant.Terms{"": m.reg.Terms, "ann": m.cap.Terms} {
		f, err := accountant.NewFilter(terms)
		if err != nil {
			panic(err)
		}
		m.limits[name], m.orders[name] = f.Limit(), f.Terms().Order
	}
	m.open()
	return m
}

func (m *machine) open() {
	l, err := Open(ctx, placed(m.dir, Options{Clock: m.clock.now}))
	if err != nil {
		panic(err)
	}
	// Durability is not what this test is about.
	if s, ok := l.store.(*sqliteStore); ok {
		if _, err := s.db.Exec("PRAGMA synchronous = OFF"); err != nil {
			panic(err)
		}
	}
	m.ledger = l
}

// sum is the loss, in z⁻²/2, of what counts in the newest month.
func (m *machine) sum(analyst string) (s float64) {
	for _, c := range m.charges {
		if m.forgetsPending && c.state == stateReserved {
			continue
		}
		if c.month == m.month && c.state != stateVoid && (analyst == "" || c.analyst == analyst) {
			s += c.loss
		}
	}
	return s
}

// now moves the model's time.
func (m *machine) now() string {
	if m.clock.t.After(m.newest) {
		m.newest = m.clock.t
	}
	return m.newest.Format("2006-01")
}

func (m *machine) reserve(t *rapid.T) {
	z := rapid.SampledFrom([]float64{4, 7, 10, 20, 40}).Draw(t, "z")
	analyst := rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "analyst")
	loss := 1 / (z * z) / 2
	id := fmt.Sprint("run ", len(m.ids))
	q := Request{RunID: id, Kind: "run", Analyst: analyst, Registration: m.reg, Event: accountant.Gaussian(m.reg.Adjacency, z, 1),
		JobEpsilon: accountant.MustAmount("1"), JobDelta: m.reg.Terms.Delta}
	if analyst == "ann" {
		q.Caps = []Cap{m.cap}
	}
	oldMonth, oldNewest := m.month, m.newest
	if month := m.now(); month > m.month {
		m.month = month
	}
	fits := (m.sum("")+loss)*m.orders[""] <= m.limits[""]
	if analyst == "ann" {
		fits = fits && (m.sum("ann")+loss)*m.orders["ann"] <= m.limits["ann"]
	}
	if _, err := m.ledger.Preview(ctx, q); (err == nil) != fits {
		t.Fatalf("%s: the preview says %v, the model %v", id, err, fits)
	}
	r, err := m.ledger.Reserve(ctx, q)
	var refused *Refused
	if fits != (err == nil) || err != nil && !errors.As(err, &refused) {
		t.Fatalf("%s: the ledger says %v, the model %v", id, err, fits)
	}
	if !fits {
		m.month, m.newest = oldMonth, oldNewest // nothing was written
		return
	}
	for _, c := range m.charges {
		if c.month < m.month && c.state == stateReserved {
			c.state = "closed"
		}
	}
	m.ids = append(m.ids, id)
	m.held[id] = r
	m.charges[id] = &modelCharge{m.month, analyst, loss, stateReserved}
}

func (m *machine) end(t *rapid.T) {
	if len(m.ids) == 0 {
		t.Skip("nothing to end")
	}
	id := rapid.SampledFrom(m.ids).Draw(t, "run")
	factor := rapid.SampledFrom([]float64{0, 0.9, 1, 1.5, 3}).Draw(t, "noise, relative; 0 is void")
	c := m.charges[id]
	was := c.loss
	may := c.state == stateReserved && factor != 0.9
	var err error
	if factor == 0 {
		err = m.ledger.Void(ctx, m.held[id])
	} else {
		z := factor / math.Sqrt(2*was)
		if factor == 1 {
			z = math.Nextafter(z, math.Inf(1))
		}
		_, err = m.ledger.Settle(ctx, m.held[id], accountant.Gaussian(m.reg.Adjacency, z, 1))
		c.loss = min(was, 1/(z*z)/2)
	}
	if may != (err == nil) || err != nil && !errors.Is(err, ErrCharge) {
		t.Fatalf("%s was %s, to end at %v: %v", id, c.state, factor, err)
	}
	switch {
	case !may:
		c.loss = was
	case factor == 0:
		c.state = stateVoid
	default:
		c.state = stateSettled
	}
	if may {
		m.now()
	}
}

// check compares what is spent, and verifies.
func (m *machine) check(t *rapid.T) {
	m.steps++
	status, err := m.ledger.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(status) == 1 && status[0].Period == m.month {
		want := m.sum("") * m.orders[""] / m.limits[""]
		if got := status[0].FractionUsed; math.Abs(got-want) > 1e-9 {
			t.Fatalf("%v of the budget is used, the model says %v", got, want)
		}
		pending := int64(0)
		for _, c := range m.charges {
			if c.state == stateReserved {
				pending++
			}
		}
		if status[0].Pending != pending || status[0].Entries != int64(len(m.ids)) {
			t.Fatalf("%+v, the model has %d of %d pending", status[0], pending, len(m.ids))
		}
	}
	if v, err := m.ledger.Verify(ctx); err != nil || !v.OK {
		t.Fatalf("verify: %+v, %v", v, err)
	}
}

// TestLedgerMeetsModel is threat L7 beside the rest: what is charged is void where the
// model says so and at no other time, at any moment of any sequence.
func TestLedgerMeetsModel(t *testing.T) {
	steps := 0
	rapid.Check(t, func(rt *rapid.T) { steps += walk(t, rt, false) })
	t.Logf("%d steps", steps)
	if backend != onSQLite || testing.Short() {
		return
	}
	// A ledger that forgot what is pending would differ from the model just as much.
	defer flag.Set("rapid.shrinktime", "30s")
	defer flag.Set("rapid.nofailfile", "false")
	flag.Set("rapid.shrinktime", "0s")
	flag.Set("rapid.nofailfile", "true")
	control := &silent{TB: t}
	var wait sync.WaitGroup
	wait.Go(func() { rapid.Check(control, func(rt *rapid.T) { walk(t, rt, true) }) })
	wait.Wait()
	if !control.failed {
		t.Error("a model in which pending charges do not count meets the ledger")
	}
}

// silent takes a failure that is expected.
type silent struct {
	rapid.TB
	failed bool
}

func (s *silent) fail()                 { s.failed = true; runtime.Goexit() }
func (s *silent) Logf(string, ...any)   {}
func (s *silent) Log(...any)            {}
func (s *silent) Errorf(string, ...any) { s.failed = true }
func (s *silent) Error(...any)          { s.failed = true }
func (s *silent) Fatalf(string, ...any) { s.fail() }
func (s *silent) Fatal(...any)          { s.fail() }
func (s *silent) FailNow()              { s.fail() }
func (s *silent) Fail()                 { s.failed = true }
func (s *silent) Failed() bool          { return s.failed }

// walk takes one random sequence of steps and returns how many.
func walk(t *testing.T, rt *rapid.T, forgets bool) int {
	m := newMachine(t.TempDir())
	m.forgetsPending = forgets
	defer func() { m.ledger.Close() }()
	rt.Repeat(map[string]func(*rapid.T){
		"reserve":  m.reserve,
		"reserve2": m.reserve,
		"end":      m.end,
		"clock": func(t *rapid.T) {
			m.clock.t = m.clock.t.AddDate(0, 0, rapid.IntRange(-40, 50).Draw(t, "days"))
		},
		"reopen": func(t *rapid.T) {
			m.ledger.Close()
			m.open()
		},
		"": m.check,
	})
	return m.steps
}

// The sum that totals keep is exact: in any order of coming and going it is
// what the charges that stand add up to.
func TestTotalsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		costs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) accountant.Spent {
			loss := math.Ldexp(rapid.Float64Range(0.5, 1).Draw(t, "loss"), rapid.IntRange(-1074, 900).Draw(t, "exponent"))
			return accountant.Spent{Loss: loss, PureEpsilon: accountant.MustAmount(rapid.SampledFrom([]string{"0", "0.1", "1e-20"}).Draw(t, "pure"))}
		}), 1, 20).Draw(t, "costs")
		keep := rapid.IntRange(0, len(costs)).Draw(t, "keep")
		var all, kept total
		for i, c := range costs {
			all, _ = all.plus(c)
			if i < keep {
				kept, _ = kept.plus(c)
			}
		}
		for _, c := range rapid.Permutation(costs[keep:]).Draw(t, "order") {
			var ok bool
			if all, ok = all.minus(c); !ok {
				t.Fatal("less is there than was put in")
			}
		}
		again, err := all.wire().total()
		if err != nil || again.wire() != kept.wire() || all.lossValue().Cmp(kept.lossValue()) != 0 {
			t.Fatalf("%v, not %v: %v", again.wire(), kept.wire(), err)
		}
		if up, _ := again.lossValue().Float64(); again.spentUp().Loss < up {
			t.Fatal("the total is rounded down")
		}
	})
}
