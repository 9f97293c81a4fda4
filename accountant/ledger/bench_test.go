package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// benchEntries is the size of the ledgers that the benchmarks work on.
const benchEntries = 100_000

// fill reserves and settles until the ledger has n entries, many at a time: as one
// job after another would have left it, but for the time that this takes.
func fill(t testing.TB, l *Ledger, reg Registration, n int64) {
	t.Helper()
	events := []accountant.Event{accountant.Gaussian(reg.Adjacency, 5000, 1), accountant.PoissonGaussian(reg.Adjacency, 0.01, 60, 100),
		accountant.Laplace(reg.Adjacency, 20000, 1), accountant.Gaussian(reg.Adjacency, 6000, 3)}
	for done := false; !done; {
		err := l.store.Update(ctx, func(t tx) error {
			tree, now, err := l.begin(t)
			if err != nil {
				return err
			}
			o := newOverlay(t)
			fresh := map[int64]entry{}
			past := earlierIn(t, tree)
			read := past.read
			past.read = func(n int64) (entry, error) {
				if e, ok := fresh[n]; ok {
					return e, nil
				}
				return read(n)
			}
			var entries []entry
			add := func(es ...entry) {
				for _, e := range es {
					fresh[e.Number] = e
				}
				entries = append(entries, es...)
				past.size += int64(len(es))
			}
			for range 2000 {
				if done = past.size >= n; done {
					break
				}
				q := Request{RunID: fmt.Sprint("run ", past.size), Kind: "run", Analyst: fmt.Sprint("analyst ", past.size%10), Purpose: "labour research",
					Registration: reg, Event: events[past.size/2%int64(len(events))], JobEpsilon: accountant.MustAmount("0.001"), JobDelta: reg.Terms.Delta}
				d, err := decide(o, past, now, q)
				if err != nil {
					return err
				}
				if d.refused != "" {
					return fmt.Errorf("refused: %s", d.refused)
				}
				add(d.entries...)
				last := d.entries[len(d.entries)-1]
				e := entry{Number: past.size, Time: now.Format(time.RFC3339), Kind: kindSettle, Dataset: q.Dataset, Run: q.RunID, Period: last.Period}
				if err := fillSettlement(o, last, q.Event, &e); err != nil {
					return err
				}
				if err := apply(o, past.read, admitted, e); err != nil {
					return err
				}
				add(e)
			}
			if err := o.writeTo(t); err != nil {
				return err
			}
			_, err = l.appendEntries(t, tree, entries)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkLedger is what a ledger of 10⁵ entries costs: a reservation with its
// commit, the budget, the whole verification, opening.
func BenchmarkLedger(b *testing.B) {
	for _, kind := range []string{onSQLite, onPostgres} {
		b.Run(kind, func(b *testing.B) {
			if kind == onPostgres {
				needPostgres(b)
			}
			backend = kind
			defer func() { backend = onSQLite }()
			o := placed(b.TempDir(), Options{})
			l, err := Open(ctx, o)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			reg := testRegistration(testTerms(accountant.MethodRDP, "50", "1e-6"))
			fill(b, l, reg, benchEntries)
			runs := 0
			b.Run("reserve", func(b *testing.B) {
				for b.Loop() {
					runs++
					q := gaussianRun(fmt.Sprint("bench ", runs), reg, "0.0001")
					if _, err := l.Reserve(ctx, q); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("budget", func(b *testing.B) {
				for b.Loop() {
					if _, err := l.Status(ctx); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("verify", func(b *testing.B) {
				for b.Loop() {
					if v, err := l.Verify(ctx); err != nil || v.Entries < benchEntries {
						b.Fatal(v, err)
					}
				}
			})
			b.Run("open", func(b *testing.B) {
				for b.Loop() {
					again, err := Open(ctx, o)
					if err != nil {
						b.Fatal(err)
					}
					again.Close()
				}
			})
		})
	}
}

// BenchmarkDistinct is what a reservation and the budget cost after so many charges in
// the period, each of a mechanism of its own: both state the ε spent, which is computed
// from the distinct ones.
func BenchmarkDistinct(b *testing.B) {
	l, err := Open(ctx, placed(b.TempDir(), Options{}))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	reg := testRegistration(testTerms(accountant.MethodRDP, "50", "1e-6"))
	have, runs := 0, 0
	for _, n := range []int{10, 1000, 10_000} {
		if have == 0 {
			mustReserve(b, l, gaussianRun("first", reg, "0.0001")) // registers
		}
		fillDistinct(b, l, have, n)
		have = n
		b.Run(fmt.Sprint("reserve/", n), func(b *testing.B) {
			for b.Loop() {
				runs++
				mustReserve(b, l, gaussianRun(fmt.Sprint("bench ", runs), reg, "0.0001"))
			}
		})
		b.Run(fmt.Sprint("budget/", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := l.Status(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fillDistinct adds to a ledger of one reservation others like it, of mechanisms from
// to n, as decide would but for what it says.
func fillDistinct(t testing.TB, l *Ledger, from, n int) {
	t.Helper()
	err := l.store.Update(ctx, func(t tx) error {
		tree, _, err := l.begin(t)
		if err != nil {
			return err
		}
		o := newOverlay(t)
		like, err := readEntry(t, 1)
		if err != nil {
			return err
		}
		row, _, err := getRow[dataset](o, key("dataset", like.Dataset))
		if err != nil {
			return err
		}
		a, err := getAccount(o, like.Dataset, row, policyAccount, time.Time{})
		if err != nil {
			return err
		}
		var entries []entry
		for i := from; i < n; i++ {
			event := accountant.PoissonGaussian(row.Registration.Adjacency, 0.01, 60+float64(i)/1024, 100)
			cost, err := costOf(a, event)
			if err != nil {
				return err
			}
			wire := eventToWire(event.Merge())
			e := like
			e.Number, e.Run, e.Event, e.Costs = tree.N+int64(len(entries)), fmt.Sprint("distinct ", i), &wire, []wireCost{cost}
			if err := apply(o, nil, admitted, e); err != nil {
				return err
			}
			entries = append(entries, e)
		}
		if err := o.writeTo(t); err != nil {
			return err
		}
		_, err = l.appendEntries(t, tree, entries)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
