package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

var ctx = context.Background()

// clock is a clock that a test turns.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func startClock() *clock { return &clock{time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

// openIn opens the ledger of a folder; at the end of the test it is verified.
func openIn(t testing.TB, dir string, c *clock) *Ledger {
	t.Helper()
	l, err := Open(ctx, placed(dir, Options{Clock: c.now, Timeout: 20 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mustVerify(t, l)
		l.Close()
	})
	return l
}

func mustVerify(t testing.TB, l *Ledger) {
	t.Helper()
	if v, err := l.Verify(ctx); err != nil || !v.OK {
		t.Errorf("verify: %+v, %v", v, err)
	}
}

func testTerms(method accountant.Method, eps, delta string) accountant.Terms {
	return accountant.Terms{Method: method, Epsilon: accountant.MustAmount(eps), Delta: accountant.MustAmount(delta)}
}

func testRegistration(terms accountant.Terms) Registration {
	return Registration{Dataset: "fertility/1980 é", PolicyName: "census", PolicySHA256: "00ff", Unit: "row",
		Adjacency: accountant.AddRemove, Terms: terms, Renews: "never"}
}

// gaussianRun is a request for a full-batch Gaussian run calibrated to eps.
func gaussianRun(id string, reg Registration, eps string) Request {
	e := accountant.MustAmount(eps)
	mu := accountant.GaussianMu(reg.Terms.Method, e.Float64Down(), reg.Terms.Delta.Float64Down())
	return Request{RunID: id, Kind: "run", Analyst: "ann", Registration: reg, Event: gaussian(reg.Adjacency, mu),
		JobEpsilon: e, JobDelta: reg.Terms.Delta}
}

func mustReserve(t testing.TB, l *Ledger, q Request) *Reservation {
	t.Helper()
	r, err := l.Reserve(ctx, q)
	if err != nil {
		t.Fatalf("%s: %v", q.RunID, err)
	}
	return r
}

func mustRefuse(t testing.TB, l *Ledger, q Request) *Refused {
	t.Helper()
	var refused *Refused
	if _, err := l.Reserve(ctx, q); !errors.As(err, &refused) {
		t.Fatalf("%s: want a refusal, got %v", q.RunID, err)
	}
	return refused
}

// One run of ε = 1 after another, until refused: as many as an independent
// sum of the losses at the fixed order allows.
func TestRunsThatFit(t *testing.T) {
	for _, c := range []struct {
		method accountant.Method
		adj    accountant.Adjacency
	}{{accountant.MethodRDP, accountant.AddRemove}, {accountant.MethodGDP, accountant.AddRemove}, {accountant.MethodRDP, accountant.ReplaceOne}} {
		method := c.method
		l := openIn(t, t.TempDir(), startClock())
		reg := testRegistration(testTerms(method, "3", "1e-6"))
		reg.Adjacency = c.adj
		n := 0
		last := 0.0
		for ; ; n++ {
			q := gaussianRun(fmt.Sprint("run", n), reg, "1")
			if _, err := l.Preview(ctx, q); err != nil {
				refused := mustRefuse(t, l, q)
				t.Logf("%s: %d runs of epsilon 1 fit into (3, 1e-6): %v", method, n, refused)
				left := fmt.Sprint(accountant.AmountDown(refused.GrantableEpsilon))
				if _, err := l.Preview(ctx, gaussianRun("left", reg, left)); refused.GrantableEpsilon > 0 && err != nil {
					t.Errorf("%s: epsilon %s was said to be left: %v", method, left, err)
				}
				more := fmt.Sprint(accountant.AmountDown(refused.GrantableEpsilon * 1.001))
				if _, err := l.Preview(ctx, gaussianRun("more", reg, more)); err == nil {
					t.Errorf("%s: epsilon %s fits as well, and %s was said to be the most", method, more, left)
				}
				break
			}
			r := mustReserve(t, l, q)
			s, err := l.Settle(ctx, r, q.Event)
			if err != nil {
				t.Fatal(err)
			}
			if s.Budget.EpsilonSpentAfter <= last || math.Abs(s.Budget.EpsilonSpentBefore-last) > 1e-9 {
				t.Errorf("spent %v then %v to %v", last, s.Budget.EpsilonSpentBefore, s.Budget.EpsilonSpentAfter)
			}
			last = s.Budget.EpsilonSpentAfter
		}
		// α·μ²/2 at the registered order, or μ².
		f, err := accountant.NewFilter(reg.Terms)
		if err != nil {
			t.Fatal(err)
		}
		mu := accountant.GaussianMu(method, 1, 1e-6)
		each := mu * mu
		if method == accountant.MethodRDP {
			each *= f.Terms().Order / 2
		}
		if want := int(f.Limit() / each); n != want || n <= 3 {
			t.Errorf("%s: %d runs were granted, the sum allows %d", method, n, want)
		}
	}
}

func TestFirstRefusalWritesNothing(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	mustRefuse(t, l, gaussianRun("a", reg, "1.1"))
	if v, err := l.Verify(ctx); err != nil || v.Entries != 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	reg.Terms.Epsilon = accountant.MustAmount("2") // nothing was registered
	mustReserve(t, l, gaussianRun("a", reg, "1.1"))
}

// A job that fits exactly is granted; one that exceeds by the last digit is not.
func TestExactAmounts(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	terms := testTerms(accountant.MethodRDP, "2", "1e-6")
	terms.PureEpsilon = accountant.MustAmount("1")
	reg := testRegistration(terms)
	pure := func(id, eps string) Request {
		q := gaussianRun(id, reg, "0.1")
		q.Kind, q.Event = "query", accountant.Pure(reg.Adjacency, accountant.MustAmount(eps), 1)
		return q
	}
	for i := range 9 {
		mustReserve(t, l, pure(fmt.Sprint(i), "0.1"))
	}
	mustRefuse(t, l, pure("over", "0.1000000000000000000000000000001"))
	mustReserve(t, l, pure("last", "0.1"))
	mustRefuse(t, l, pure("none", "0.0000000000000000000000000000001"))
}

func TestSettleAndVoid(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	all := gaussianRun("all", reg, "0.99")
	r := mustReserve(t, l, all)
	mustRefuse(t, l, gaussianRun("other", reg, "0.5"))

	dearer := gaussianRun("", reg, "0.995").Event
	if _, err := l.Settle(ctx, r, dearer); !errors.Is(err, ErrCharge) {
		t.Errorf("a settlement above the reservation: %v", err)
	}
	copied := *r
	if err := l.Void(ctx, &copied); !errors.Is(err, ErrCharge) {
		t.Errorf("a copy made its charge void: %v", err)
	}
	if err := l.Void(ctx, r); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Settle(ctx, r, all.Event); !errors.Is(err, ErrCharge) {
		t.Errorf("a void charge settled: %v", err)
	}
	if _, err := l.Reserve(ctx, all); !errors.Is(err, ErrUsage) {
		t.Errorf("a run name was used twice: %v", err)
	}

	r = mustReserve(t, l, gaussianRun("half", reg, "0.9"))
	small := gaussianRun("", reg, "0.3")
	s, err := l.Settle(ctx, r, small.Event)
	if err != nil {
		t.Fatal(err)
	}
	if after := s.Budget.EpsilonSpentAfter; math.Abs(after-0.3) > 1e-3 || s.Budget.EpsilonSpentBefore != 0 {
		t.Errorf("spent %+v", s.Budget)
	}
	if _, err := l.Settle(ctx, r, small.Event); !errors.Is(err, ErrCharge) {
		t.Errorf("a charge settled twice: %v", err)
	}
	if err := l.Void(ctx, r); !errors.Is(err, ErrCharge) {
		t.Errorf("a settled charge became void: %v", err)
	}
	if text, err := l.Checkpoint(ctx); err != nil || text != s.Checkpoint {
		t.Errorf("checkpoint %q, %v", text, err)
	}
	mustReserve(t, l, gaussianRun("more", reg, "0.8"))
}

func TestCaps(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	cap := Cap{Name: "analyst:ann", Terms: testTerms(accountant.MethodRDP, "1", "1e-6")}
	with := func(q Request) Request { q.Caps = []Cap{cap}; return q }

	mustReserve(t, l, gaussianRun("before the cap", reg, "0.5"))
	r := mustReserve(t, l, with(gaussianRun("a", reg, "0.5")))
	refused := mustRefuse(t, l, with(gaussianRun("b", reg, "0.9")))
	if !strings.Contains(refused.Reason, "analyst:ann") || !(refused.GrantableEpsilon < 0.9) || !(refused.Budget.EpsilonRemaining > 2) {
		t.Errorf("%+v", refused)
	}
	mustReserve(t, l, with(gaussianRun("left", reg, accountant.AmountDown(refused.GrantableEpsilon).String())))
	if refused = mustRefuse(t, l, with(gaussianRun("c", reg, "0.01"))); refused.GrantableEpsilon >= 0.01 {
		t.Errorf("%+v", refused)
	}
	bob := gaussianRun("bob", reg, "1")
	bob.Analyst = "bob"
	mustReserve(t, l, bob)
	if err := l.Void(ctx, r); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, l, with(gaussianRun("d", reg, "0.45")))

	var m *Mismatch
	if _, err := l.Reserve(ctx, gaussianRun("no cap", reg, "0.01")); !errors.As(err, &m) {
		t.Errorf("a cap was left out: %v", err)
	}
	cap.Terms.Epsilon = accountant.MustAmount("2")
	if _, err := l.Reserve(ctx, with(gaussianRun("bigger cap", reg, "0.01"))); !errors.As(err, &m) || !strings.Contains(m.Message, "epsilon") {
		t.Errorf("a cap grew: %v", err)
	}
	status, err := l.Status(ctx)
	if err != nil || len(status) != 1 || len(status[0].Analysts) != 2 || status[0].Analysts[0].Cap == nil || status[0].Entries != 5 || status[0].Pending != 4 {
		t.Errorf("%+v, %v", status, err)
	}
}

// The odometer is recomputed from the charges that stand, pending ones included.
func TestOdometer(t *testing.T) {
	for _, method := range []accountant.Method{accountant.MethodRDP, accountant.MethodGDP} {
		l := openIn(t, t.TempDir(), startClock())
		reg := testRegistration(testTerms(method, "3", "1e-6"))
		o, err := accountant.NewOdometer(reg.Terms.Delta, reg.Terms.ApproximateDelta, nil)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, stand ...accountant.Event) {
			t.Helper()
			var s accountant.OdometerState
			for _, e := range stand {
				if s, err = o.Add(s, e); err != nil {
					t.Fatal(err)
				}
			}
			status, err := l.Status(ctx)
			if err != nil || len(status) != 1 {
				t.Fatalf("%s: %v, %v", what, status, err)
			}
			want := o.Epsilon(s)
			if got := status[0].EpsilonOdometer; math.Abs(got-want) > 1e-9 || got < status[0].EpsilonSpent*(1-1e-9) {
				t.Errorf("%s, %s: odometer %v, want %v; spent %v", method, what, got, want, status[0].EpsilonSpent)
			}
		}
		a, b := gaussianRun("a", reg, "0.5"), gaussianRun("b", reg, "0.3")
		mustReserve(t, l, a)
		check("one is pending", a.Event)
		second := mustReserve(t, l, b)
		check("two are pending", a.Event, b.Event)
		if err := l.Void(ctx, second); err != nil {
			t.Fatal(err)
		}
		check("one is void", a.Event)
	}
}

func TestMismatch(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	mustReserve(t, l, gaussianRun("first", reg, "0.1"))
	order := l.mustOrder(t)
	for name, change := range map[string]func(*Registration){
		"epsilon":          func(r *Registration) { r.Terms.Epsilon = accountant.MustAmount("3.0000000000000000000001") },
		"delta":            func(r *Registration) { r.Terms.Delta = accountant.MustAmount("1e-5") },
		"approximateDelta": func(r *Registration) { r.Terms.ApproximateDelta = accountant.MustAmount("1e-7") },
		"pureEpsilon":      func(r *Registration) { r.Terms.PureEpsilon = accountant.MustAmount("1") },
		"accountant":       func(r *Registration) { r.Terms.Method = accountant.MethodGDP },
		"order":            func(r *Registration) { r.Terms.Order = order * 2 },
		"unit":             func(r *Registration) { r.Unit = "entity person_id" },
		"adjacency":        func(r *Registration) { r.Adjacency = accountant.ReplaceOne },
		"renews":           func(r *Registration) { r.Renews = "monthly" },
	} {
		other := reg
		change(&other)
		q := gaussianRun(name, other, "0.1")
		var m *Mismatch
		if _, err := l.Reserve(ctx, q); !errors.As(err, &m) || !strings.Contains(m.Message, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	reg.Terms.Order = order
	reg.PolicyName, reg.PolicySHA256 = "another edition", "11"
	mustReserve(t, l, gaussianRun("same", reg, "0.1"))
	reg.Dataset = "another"
	mustReserve(t, l, gaussianRun("another", reg, "3"))
}

func (l *Ledger) mustOrder(t *testing.T) float64 {
	s, err := l.Status(ctx)
	if err != nil || len(s) == 0 {
		t.Fatal(err)
	}
	return s[0].Order
}

func TestRequestsThatAreNone(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	for name, change := range map[string]func(*Request){
		"run id":    func(q *Request) { q.RunID = "" },
		"data set":  func(q *Request) { q.Dataset = "" },
		"long":      func(q *Request) { q.Purpose = strings.Repeat("x", 2000) },
		"not UTF-8": func(q *Request) { q.Dataset = "\xff" },
		"kind":      func(q *Request) { q.Kind = "" },
		"unit":      func(q *Request) { q.Unit = "" },
		"renews":    func(q *Request) { q.Renews = "weekly" },
		"event":     func(q *Request) { q.Event.NoiseMultiplier = math.NaN() },
		"adjacency": func(q *Request) { q.Event.Adjacency = accountant.ReplaceOne },
		"cap":       func(q *Request) { q.Caps = []Cap{{Name: "analyst:bob", Terms: reg.Terms}} },
		"terms":     func(q *Request) { q.Terms.Epsilon = accountant.Amount{} },
	} {
		q := gaussianRun("run", reg, "0.1")
		change(&q)
		if _, err := l.Reserve(ctx, q); !errors.Is(err, ErrUsage) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	q := gaussianRun("run", reg, "0.1")
	q.Event = accountant.Approximate(reg.Adjacency, accountant.MustAmount("0.1"), accountant.MustAmount("1e-9"), 1)
	if _, err := l.Reserve(ctx, q); !errors.Is(err, accountant.ErrUnsupported) {
		t.Errorf("an event without a rule: %v", err)
	}
	q.Event = accountant.Gaussian(reg.Adjacency, 0, 1)
	if refused := mustRefuse(t, l, q); refused.GrantableEpsilon <= 0 {
		t.Errorf("no noise: %+v", refused)
	}
}

func TestTimeAndPeriods(t *testing.T) {
	c := startClock()
	l := openIn(t, t.TempDir(), c)
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	reg.Renews = "monthly"
	pending := mustReserve(t, l, gaussianRun("nov", reg, "0.9"))
	if pending.Budget.Period != "2026-11" {
		t.Errorf("period %s", pending.Budget.Period)
	}
	mustRefuse(t, l, gaussianRun("nov 2", reg, "0.9"))

	c.t = c.t.AddDate(10, 0, 0)
	if s, err := l.Status(ctx); err != nil || s[0].EpsilonSpent != 0 || s[0].Period != "2036-11" {
		t.Errorf("%+v, %v", s, err)
	}
	r := mustReserve(t, l, gaussianRun("2036", reg, "0.9"))
	if r.Budget.Period != "2036-11" || r.Budget.Periods != 2 {
		t.Errorf("a jump opened %+v", r.Budget)
	}
	mustRefuse(t, l, gaussianRun("2036 2", reg, "0.9"))
	if _, err := l.Settle(ctx, pending, gaussianRun("", reg, "0.1").Event); !errors.Is(err, ErrCharge) {
		t.Errorf("a closed charge settled: %v", err)
	}
	if err := l.Void(ctx, pending); !errors.Is(err, ErrCharge) {
		t.Errorf("a closed charge became void: %v", err)
	}

	c.t = c.t.AddDate(-10, 2, 0) // back: no period opens, time stands still
	mustRefuse(t, l, gaussianRun("back", reg, "0.9"))
	if r2 := mustReserve(t, l, gaussianRun("back, small", reg, "0.05")); r2.Time != r.Time || r2.Budget.Period != "2036-11" {
		t.Errorf("%+v", r2)
	}
}

func TestPeriodNames(t *testing.T) {
	at := time.Date(2026, 10, 1, 0, 30, 0, 0, time.FixedZone("", 3600)) // 30 September in UTC
	for renews, want := range map[string]string{"never": "always", "monthly": "2026-09", "quarterly": "2026-Q3", "yearly": "2026"} {
		if got, err := periodOf(renews, at); err != nil || got != want {
			t.Errorf("%s: %s, %v", renews, got, err)
		}
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	c := startClock()
	path := filepath.Join(dir, "deep", "er", "my #1? ledger%20.db")
	open := func() (*Ledger, error) {
		return Open(ctx, Options{DSN: "sqlite:" + path, StateDir: dir, Clock: c.now, Timeout: defaultTimeout})
	}
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if !l.Created() || !strings.HasPrefix(l.ID(), "privsgld-ledger+") {
		t.Errorf("created %v, id %s", l.Created(), l.ID())
	}
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	mustReserve(t, l, gaussianRun("a", reg, "1"))
	id := l.ID()
	mustVerify(t, l)
	l.Close()
	if l, err = open(); err != nil || l.Created() || l.ID() != id {
		t.Fatalf("%v", err)
	}
	mustVerify(t, l)
	l.Close()
	for _, p := range []string{path, filepath.Join(dir, "keys", strings.Split(id, "+")[1]+".key")} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", p, info.Mode(), err)
		}
		if info, err := os.Stat(filepath.Dir(p)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", p, info.Mode(), err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "keys"), filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if _, err = open(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "job key") {
		t.Errorf("without its key: %v", err)
	}
}

func TestSign(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	key, sig, err := l.Sign([]byte(`{"schema":"x"}`))
	if err != nil || key != l.ID() || !l.verifier.Verify([]byte(`{"schema":"x"}`), sig) {
		t.Errorf("%s %x %v", key, sig, err)
	}
	text, _ := l.Checkpoint(ctx)
	text, _, _ = strings.Cut(text, "\n\n")
	if _, _, err := l.Sign([]byte(text + "\n")); !errors.Is(err, ErrUsage) {
		t.Errorf("a checkpoint was signed: %v", err)
	}
}

// Goroutines of one process share the ledger as processes do.
func TestGoroutinesShareABudget(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	var granted atomic.Int64
	var wait sync.WaitGroup
	for g := range 6 {
		wait.Go(func() {
			for i := range 5 {
				_, err := l.Reserve(ctx, gaussianRun(fmt.Sprint(g, " ", i), reg, "0.25"))
				var refused *Refused
				if err == nil {
					granted.Add(1)
				} else if !errors.As(err, &refused) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	f, err := accountant.NewFilter(reg.Terms)
	if err != nil {
		t.Fatal(err)
	}
	mu := accountant.GaussianMu(accountant.MethodRDP, 0.25, 1e-6)
	if want := int64(f.Limit() / (f.Terms().Order * mu * mu / 2)); granted.Load() != want {
		t.Errorf("%d were granted, the sum allows %d", granted.Load(), want)
	}
}

// What a full disk does to a transaction, SQLite does at a page limit: the
// request fails, and nothing of it is there.
func TestNoRoom(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	mustReserve(t, l, gaussianRun("first", reg, "0.1"))
	db := l.store.(*sqliteStore).db
	var pages int
	if err := db.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(fmt.Sprint("PRAGMA max_page_count = ", pages)); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		q := gaussianRun(fmt.Sprint("run ", n), reg, "0.01")
		q.Purpose = strings.Repeat("p", 900)
		_, err = l.Reserve(ctx, q)
	}
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no room") {
		t.Fatal(err)
	}
	mustVerify(t, l)
	if _, err := db.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, l, gaussianRun(fmt.Sprint("run ", n-1), reg, "0.01")) // its name was not used up
}
