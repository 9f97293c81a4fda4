package ledger

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/privsgld/privsgld/accountant"
)

// capped is a request under every kind of cap, each given as its ε, "" for none.
func capped(q Request, analyst, purpose, month string) Request {
	q.Purpose = "research"
	q.Caps = nil
	for _, c := range [][2]string{{"analyst:" + q.Analyst, analyst}, {"purpose:" + q.Purpose, purpose}, {"period:monthly", month}} {
		if c[1] != "" {
			q.Caps = append(q.Caps, Cap{c[0], testTerms(q.Terms.Method, c[1], "1e-6")})
		}
	}
	return q
}

// One request is charged to all of its caps at once: whichever does not hold it
// refuses, pending charges count in each, and a void one comes back to each.
func TestEveryCapDecides(t *testing.T) {
	for _, method := range []accountant.Method{accountant.MethodRDP, accountant.MethodGDP} {
		l := openIn(t, t.TempDir(), startClock())
		reg := testRegistration(testTerms(method, "3", "1e-6"))
		for i, c := range []struct {
			analyst, purpose, month string
			by                      []string
		}{
			{"1", "2", "2", []string{"analyst:ann"}},
			{"2", "1", "2", []string{"purpose:research"}},
			{"2", "2", "1", []string{"period:monthly"}},
			{"2", "1", "1", []string{"purpose:research", "period:monthly"}},
		} {
			reg.Dataset = "set " + string(rune('a'+i))
			q := func(id, eps string) Request {
				return capped(gaussianRun(reg.Dataset+id, reg, eps), c.analyst, c.purpose, c.month)
			}
			first := mustReserve(t, l, q("first", "0.9"))
			refused := mustRefuse(t, l, q("second", "0.9"))
			if !slices.Equal(refused.By, c.by) || !strings.Contains(refused.Reason, "the cap of "+c.by[0]) {
				t.Errorf("%s: refused by %v: %s", method, refused.By, refused.Reason)
			}
			if g := refused.GrantableEpsilon; !(g > 0.05 && g < 0.9) || refused.Budget.EpsilonRemaining < 1 {
				t.Errorf("%s: %v would be granted", method, g)
			}
			left := accountant.AmountDown(refused.GrantableEpsilon)
			mustRefuse(t, l, q("more", accountant.AmountDown(refused.GrantableEpsilon*1.00001).String()))
			fits := mustReserve(t, l, q("left", left.String()))
			if fits.Budget.GrantableEpsilon > 0.02 {
				t.Errorf("%s: and %v more", method, fits.Budget.GrantableEpsilon)
			}
			for _, r := range []*Reservation{first, fits} {
				if err := l.Void(ctx, r); err != nil {
					t.Fatal(err)
				}
			}
			if again := mustReserve(t, l, q("again", "0.9")); again.Budget.GrantableEpsilon < refused.GrantableEpsilon*(1-1e-5) {
				t.Errorf("%s: after voids only %v would be granted", method, again.Budget.GrantableEpsilon)
			}
		}
		refused := mustRefuse(t, l, capped(gaussianRun("none", reg, "3.5"), "2", "1", "1"))
		if want := []string{"policy", "analyst:ann", "purpose:research", "period:monthly"}; !slices.Equal(refused.By, want) {
			t.Errorf("refused by %v, want all", refused.By)
		}
	}
}

// A cap may become smaller, at its order, and then what was charged counts; it
// may neither grow again nor be left out.
func TestCapsShrink(t *testing.T) {
	for _, kind := range []string{"analyst", "purpose", "period"} {
		l := openIn(t, t.TempDir(), startClock())
		reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
		q := func(id, eps, limit string) Request {
			r := gaussianRun(id, reg, eps)
			switch kind {
			case "analyst":
				return capped(r, limit, "", "")
			case "purpose":
				return capped(r, "", limit, "")
			}
			return capped(r, "", "", limit)
		}
		mustReserve(t, l, q("a", "0.5", "2"))
		order := l.capOrder(t)
		mustReserve(t, l, q("b", "0.2", "1.6"))
		if got := l.capOrder(t); got != order {
			t.Errorf("%s: the order went from %v to %v", kind, order, got)
		}
		// A new cap of 1.6 would leave about 1.5, one at the order of 2 a little less.
		refused := mustRefuse(t, l, q("c", "1.6", "1.6"))
		if g := refused.GrantableEpsilon; g < 1.4 || g > 1.49 {
			t.Errorf("%s: %v is left of 1.6 after 0.5 and 0.2", kind, g)
		}
		var m *Mismatch
		for _, limit := range []string{"1.6000000000000000000001", "2", ""} {
			if _, err := l.Reserve(ctx, q("d", "0.01", limit)); !errors.As(err, &m) || !strings.Contains(err.Error(), "cap of "+kind) {
				t.Errorf("%s grows to %q: %v", kind, limit, err)
			}
		}
		// Smaller than what is charged: nothing fits, and nothing breaks.
		if r := mustRefuse(t, l, q("e", "0.01", "0.1")); r.GrantableEpsilon != 0 {
			t.Errorf("%s: %+v", kind, r)
		}
		mustReserve(t, l, q("f", "0.01", "1.6")) // a refused request has changed nothing
	}
}

func (l *Ledger) capOrder(t *testing.T) (order float64) {
	t.Helper()
	err := l.store.View(ctx, func(s tx) error {
		return s.List("cap/", func(k, _ string) error {
			terms, _, err := getRow[wireTerms](s, k)
			order = terms.Order
			return err
		})
	})
	if err != nil || order == 0 {
		t.Fatal(err)
	}
	return order
}

// A cap that is added later starts with what was charged before: to the same
// purpose, and in the same month only. Verify computes that again.
func TestCapsStartWithWhatWasCharged(t *testing.T) {
	for _, kind := range []string{"purpose", "period"} {
		c := startClock()
		l, err := Open(ctx, Options{StateDir: t.TempDir(), Clock: c.now})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
		other := gaussianRun("elsewhere", reg, "0.8")
		other.Purpose, other.Dataset = "research", "another"
		mustReserve(t, l, other)
		before := gaussianRun("october", reg, "0.6")
		if kind == "purpose" {
			before.Purpose = "teaching" // other purposes do not count, other months do
		} else {
			before.Purpose = "research"
		}
		late := mustReserve(t, l, before)
		c.t = c.t.AddDate(0, 1, 0)
		if _, err := l.Settle(ctx, late, gaussianRun("", reg, "0.55").Event); err != nil {
			t.Fatal(err)
		}
		plain := gaussianRun("pending", reg, "0.3")
		plain.Purpose = "research"
		mustReserve(t, l, plain)
		plain.RunID = "void"
		gone := mustReserve(t, l, plain)
		if err := l.Void(ctx, gone); err != nil {
			t.Fatal(err)
		}
		plain.RunID = "settled"
		less := mustReserve(t, l, plain)
		if _, err := l.Settle(ctx, less, gaussianRun("", reg, "0.2").Event); err != nil {
			t.Fatal(err)
		}
		// 0.3 and 0.2 are charged: the cap of 1 starts with just their events.
		q := capped(gaussianRun("capped", reg, "1"), "", "1", "")
		if kind == "period" {
			q = capped(gaussianRun("capped", reg, "1"), "", "", "1")
		}
		f, err := accountant.NewFilter(q.Caps[0].Terms)
		if err != nil {
			t.Fatal(err)
		}
		spent, err := f.Cost(accountant.Compose(gaussianRun("", reg, "0.3").Event, gaussianRun("", reg, "0.2").Event))
		if err != nil {
			t.Fatal(err)
		}
		refused := mustRefuse(t, l, q)
		want, err := grantable([]account{{filter: f, total: total{}.mustPlus(spent)}}, reg.Adjacency, reg.Terms.Delta)
		if err != nil || refused.GrantableEpsilon != want || want < 0.8 {
			t.Errorf("%s: %v would be granted, want %v, %v", kind, refused.GrantableEpsilon, want, err)
		}
		q = capped(gaussianRun("fits", reg, "0.5"), "", q.Caps[0].Terms.Epsilon.String(), "")
		if kind == "period" {
			q = capped(q, "", "", "1")
		}
		mustReserve(t, l, q)
		mustVerify(t, l)
		forgeCapStart(t, l, q)
	}
}

func (t total) mustPlus(c accountant.Spent) total {
	sum, ok := t.plus(c)
	if !ok {
		panic("no finite number")
	}
	return sum
}

// forgeCapStart writes, in another ledger with the same history, a cap that
// starts at nothing, as a program would that had forgotten what was charged.
func forgeCapStart(t *testing.T, from *Ledger, q Request) {
	t.Helper()
	var im image
	if err := from.store.View(ctx, im.read); err != nil {
		t.Fatal(err)
	}
	l, err := Open(ctx, Options{StateDir: t.TempDir(), Clock: from.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = l.store.Update(ctx, func(s tx) error {
		o := newOverlay(s)
		var entries []entry
		for _, body := range im.bodies {
			e, err := decodeEntry(body)
			if err != nil {
				return err
			}
			if e.Cap != nil {
				e.Costs[0].Loss = 0
			}
			if err := apply(o, func(n int64) (entry, error) { return entries[n], nil }, admitted, e); err != nil {
				return err
			}
			entries = append(entries, e)
		}
		if err := o.Put(versionKey, stateVersion); err != nil {
			return err
		}
		if err := o.writeTo(s); err != nil {
			return err
		}
		_, err := l.appendEntries(s, tlog.Tree{}, entries)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := l.Verify(ctx); v.OK || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "starts with less") {
		t.Errorf("%s: a cap that starts at nothing verifies: %v", q.Caps[0].Name, err)
	}
}

// The cap of a month begins anew with the month, while the budget goes on; it
// never does because a clock was set back, and a jump opens one month.
func TestPeriodCaps(t *testing.T) {
	c := startClock()
	l := openIn(t, t.TempDir(), c)
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	reg.Renews = "yearly"
	q := func(id, eps string) Request { return capped(gaussianRun(id, reg, eps), "", "", "1") }
	november := mustReserve(t, l, q("november", "0.9"))
	if r := mustRefuse(t, l, q("november 2", "0.9")); !strings.Contains(r.Reason, "period:monthly") {
		t.Errorf("%s", r.Reason)
	}
	c.t = c.t.AddDate(0, 1, 0)
	mustReserve(t, l, q("december", "0.9"))
	// A settlement of November gives back to November, not to December.
	if _, err := l.Settle(ctx, november, gaussianRun("", reg, "0.1").Event); err != nil {
		t.Fatal(err)
	}
	full := mustRefuse(t, l, q("december 2", "0.9"))
	c.t = c.t.AddDate(0, -1, 0) // November again
	back := mustRefuse(t, l, q("november 3", "0.9"))
	if back.GrantableEpsilon != full.GrantableEpsilon || !strings.Contains(back.Reason, "the clock is behind the newest entry, of 2026-12-24T12:00:00Z") ||
		strings.Contains(full.Reason, "clock") {
		t.Errorf("a clock that was set back: %s; before: %s", back.Reason, full.Reason)
	}
	status, err := l.Status(ctx)
	if err != nil || len(status[0].PeriodCaps) != 1 || status[0].PeriodCaps[0].Period != "2026-12" || status[0].PeriodCaps[0].Cap.FractionUsed < 0.7 {
		t.Fatalf("%+v, %v", status, err)
	}
	c.t = c.t.AddDate(0, 3, 0) // February: the year has renewed, too
	r := mustReserve(t, l, q("february", "0.9"))
	if r.Budget.Period != "2027" || r.Budget.Periods != 2 {
		t.Errorf("%+v", r.Budget)
	}
	mustRefuse(t, l, q("february 2", "0.9"))
	status, err = l.Status(ctx)
	if err != nil || len(status[0].ByPeriod) != 2 || status[0].ByPeriod[0].Period != "2026" || status[0].ByPeriod[0].EpsilonSpent < 0.9 {
		t.Errorf("%+v, %v", status, err)
	}
}

// A clock that is set back a year, at any time, reopens nothing: neither the
// budget's period nor a cap's, with whatever renewal.
func TestClockSetBackAYear(t *testing.T) {
	for _, renews := range []string{"monthly", "quarterly", "yearly", "never"} {
		c := startClock()
		l := openIn(t, t.TempDir(), c)
		reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
		reg.Renews = renews
		q := func(id string) Request {
			q := gaussianRun(id, reg, "0.7")
			if Shorter("monthly", renews) {
				q = capped(q, "", "", "1")
			}
			return q
		}
		last := mustReserve(t, l, q("last year"))
		c.t = c.t.AddDate(1, 0, 0)
		if _, err := l.Settle(ctx, last, gaussianRun("", reg, "0.1").Event); err != nil {
			t.Fatal(err) // nothing was opened since
		}
		now := mustReserve(t, l, q("now"))
		c.t = c.t.AddDate(-1, 0, 0)
		for _, id := range []string{"back", "back again"} {
			if r := mustRefuse(t, l, q(id)); r.Budget.Period != now.Budget.Period || !strings.Contains(r.Reason, "the clock is behind the newest entry, of 2027-11-24T12:00:00Z") {
				t.Errorf("%s: %s", renews, r.Reason)
			}
		}
		if got, err := l.Now(ctx); err != nil || !got.Equal(now.Time) {
			t.Errorf("the ledger's time is %v, %v", got, err)
		}
	}
}

func TestCapsThatAreNone(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	reg.Renews = "quarterly"
	for _, names := range [][]string{
		{"analyst:bob"}, {"purpose:teaching"}, {"purpose:"}, {"policy"}, {"research"}, {""}, {"group:x"}, {"period:"}, {"period:weekly"}, {"period:never"},
		{"period:quarterly"}, {"period:yearly"}, {"analyst:ann", "analyst:ann"}, {"period:monthly", "purpose:research", "period:monthly"},
	} {
		q := gaussianRun("run", reg, "0.1")
		q.Purpose = "research"
		for _, name := range names {
			q.Caps = append(q.Caps, Cap{name, testTerms(accountant.MethodRDP, "1", "1e-6")})
		}
		if _, err := l.Reserve(ctx, q); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", names, err)
		}
	}
	for renewal, within := range map[string][]string{"monthly": {"quarterly", "yearly", "never"}, "quarterly": {"yearly", "never"}, "yearly": {"never"}, "never": nil, "": nil} {
		for _, w := range []string{"monthly", "quarterly", "yearly", "never"} {
			if got := Shorter(renewal, w); got != slices.Contains(within, w) {
				t.Errorf("%s within %s: %v", renewal, w, got)
			}
		}
	}
}

// A cap stands for one purpose whatever its name holds.
func TestPurposesAreToldApart(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	names := []string{"", "a", "a/b", "a/b/c", "a%2Fb", "é", "e\u0301", "analyst:ann", "*", "a b"}
	for i, name := range names {
		q := gaussianRun("run "+name, reg, []string{"0.1", "0.2"}[i%2])
		q.Purpose = name
		mustReserve(t, l, q)
	}
	status, err := l.Status(ctx)
	if err != nil || len(status[0].Purposes) != len(names) {
		t.Fatalf("%+v, %v", status, err)
	}
	for _, s := range status[0].Purposes {
		want := []float64{0.1, 0.2}[slices.Index(names, s.Name)%2]
		if s.EpsilonSpent < want*(1-1e-6) || s.EpsilonSpent > want*(1+1e-6) {
			t.Errorf("purpose %q has spent %v, want %v", s.Name, s.EpsilonSpent, want)
		}
	}
}

// openVersion1 makes a ledger as a program wrote it that kept no events by
// purpose: testdata/version1.json holds its entries, its rows of state and its
// key, which is of no other use.
func openVersion1(t *testing.T) (*Ledger, *clock) {
	t.Helper()
	var kept struct {
		Entries []string
		State   map[string]string
		Key     string
	}
	text, err := os.ReadFile("testdata/version1.json")
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := startClock()
	c.t = time.Date(2026, 12, 25, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	path, err := keyPath(dir, kept.State[verifierKey])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(kept.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(ctx, Options{StateDir: dir, Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	err = l.store.Update(ctx, func(s tx) error {
		for n, body := range kept.Entries {
			hashes, err := tlog.StoredHashes(int64(n), []byte(body), s)
			if err != nil {
				return err
			}
			if err := s.Append(int64(n), []byte(body), hashes); err != nil {
				return err
			}
		}
		for k, v := range kept.State {
			if err := s.Put(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if l, err = Open(ctx, Options{StateDir: dir, Clock: c.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mustVerify(t, l)
		l.Close()
	})
	return l, c
}

// An earlier program's ledger verifies as it is, shows purposes that it never
// counted, takes charges, and then is what this program would have written.
func TestEarlierLedgerGoesOn(t *testing.T) {
	l, _ := openVersion1(t)
	mustVerify(t, l)
	version := func() (v string) {
		err := l.store.View(ctx, func(s tx) (err error) {
			v, _, err = s.Get(versionKey)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	purposes := func() string {
		status, err := l.Status(ctx)
		if err != nil || len(status) != 1 || len(status[0].ByPeriod) != 2 {
			t.Fatalf("%+v, %v", status, err)
		}
		text, err := json.Marshal(status[0].Purposes)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	was := purposes()
	if !strings.Contains(was, `"name":"research"`) || !strings.Contains(was, `"name":""`) || strings.Contains(was, "teaching") || version() != "" {
		t.Errorf("read: version %q, %s", version(), was)
	}

	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	reg.Renews = "monthly"
	q := gaussianRun("new", reg, "0.9")
	q.Purpose = "research"
	ann, research := Cap{"analyst:ann", testTerms(accountant.MethodRDP, "2", "1e-6")}, Cap{"purpose:research", testTerms(accountant.MethodRDP, "1", "1e-6")}
	q.Caps = []Cap{ann, research}
	if r := mustRefuse(t, l, q); !slices.Equal(r.By, []string{"purpose:research"}) {
		t.Errorf("research has been charged 0.4 and 0.3 of 1: %+v", r)
	}
	if version() != "" {
		t.Error("a refused request brought the state up to date")
	}
	q.JobEpsilon, q.Event = accountant.MustAmount("0.3"), gaussianRun("", reg, "0.3").Event
	r := mustReserve(t, l, q)
	if version() != stateVersion {
		t.Errorf("version %q after a charge", version())
	}
	mustVerify(t, l)
	if err := l.Void(ctx, r); err != nil {
		t.Fatal(err)
	}
	if now := purposes(); strings.Count(now, "epsilon_spent") != 2 || !strings.Contains(now, `"cap"`) {
		t.Errorf("%s", now)
	}
	// The rows of the earlier program's charges count: without them it does not verify.
	for _, break_ := range []func(tx) error{
		func(s tx) error { return s.Put(versionKey, "") },
		func(s tx) error { return s.Put(versionKey, "3") },
		func(s tx) error {
			return s.List(purposePrefix, func(k, _ string) error { return s.Put(k, "") })
		},
	} {
		fails := errors.New("undo")
		err := l.store.Update(ctx, func(s tx) error {
			if err := break_(s); err != nil {
				return err
			}
			var im image
			if err := im.read(s); err != nil {
				return err
			}
			if err := im.replay(); err == nil {
				t.Error("a state that is not what the entries add up to verifies")
			}
			return fails
		})
		if !errors.Is(err, fails) {
			t.Fatal(err)
		}
	}
}

// A state of a version to come is left alone.
func TestLaterStateIsRefused(t *testing.T) {
	l, _ := openVersion1(t)
	defer func() {
		if err := l.store.Update(ctx, func(s tx) error { return s.Put(versionKey, "") }); err != nil {
			t.Fatal(err)
		}
	}()
	if err := l.store.Update(ctx, func(s tx) error { return s.Put(versionKey, "3") }); err != nil {
		t.Fatal(err)
	}
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	if _, err := l.Reserve(ctx, gaussianRun("new", reg, "0.1")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("reserve: %v", err)
	}
	if _, err := l.Status(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("status: %v", err)
	}
}
