package job

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/datasets"
)

// shows is what somebody beside a run sees of it: what is in the folder of its output,
// and what the ledger says.
func (s *shop) shows() (names []string, entries, pending int64) {
	s.t.Helper()
	names = files(s.t, s.dir)
	l, err := s.open(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	status, err := l.Status(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, d := range status {
		entries, pending = entries+d.Entries, pending+d.Pending
	}
	return names, entries, pending
}

// TestNothingBeforeTheBoundary is threat S3: a run that has computed, has failed after
// its reservation, or is interrupted then shows nothing of it until the boundary: no
// folder, no settlement, no end. Without a boundary it does.
func TestNothingBeforeTheBoundary(t *testing.T) {
	const before, after = "before the boundary", "afterwards"
	for _, c := range []struct {
		name, table string
		cancel      bool
		settles     bool
	}{
		{"a release", testTable, false, true},
		{"damage", testTable + "1,true,\"no\n", false, false},
		{"an interruption", testTable, true, false},
	} {
		s := newShop(t)
		start := time.Date(2026, 11, 24, 12, 0, 17, 5e8, time.UTC)
		s.clock = func() time.Time { return start }
		r := s.job("out")
		r.DataPath = s.write("data.csv", c.table)
		r.ReleaseAt = time.Minute
		asked, fire := make(chan time.Duration, 1), make(chan time.Time)
		r.After = func(d time.Duration) <-chan time.Time { asked <- d; return fire }
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		done := make(chan error, 1)
		go func() { _, err := r.Do(ctx); done <- err }()
		if d := <-asked; d != 42500*time.Millisecond {
			t.Errorf("%s: waits %v", c.name, d)
		}
		check := func(when string, settled bool) {
			names, entries, pending := s.shows()
			want := []string{"data.csv", "ledger.db", "p.yaml", "state"}
			if settled {
				want = []string{"data.csv", "ledger.db", "out", "p.yaml", "state"}
			}
			if !slices.Equal(names, want) || entries != 1 || (pending == 0) != settled {
				t.Errorf("%s, %s: %q, %d charges, %d pending", c.name, when, names, entries, pending)
			}
		}
		check(before, false)
		select {
		case err := <-done:
			t.Errorf("%s: ends before the boundary: %v", c.name, err)
		default:
		}
		cut := errors.New("interrupted")
		if c.cancel {
			cancel(cut)
		} else {
			close(fire)
		}
		err := <-done
		var bad *datasets.BadData
		switch {
		case c.cancel && !errors.Is(err, cut), c.settles && err != nil, !c.cancel && !c.settles && !errors.As(err, &bad):
			t.Errorf("%s: %v", c.name, err)
		}
		check(after, c.settles)

		// The control: without a boundary nothing waits, and the same checks see it.
		if !c.settles {
			continue
		}
		open := s.job("open")
		open.After = func(time.Duration) <-chan time.Time { t.Error("waits without a boundary"); return nil }
		if _, err := open.Do(context.Background()); err != nil {
			t.Error(err)
		}
		if names, entries, pending := s.shows(); !slices.Contains(names, "open") || entries != 2 || pending != 0 {
			t.Errorf("the test does not see a release: %q, %d charges, %d pending", names, entries, pending)
		}
	}
}

// TestBoundaries: a boundary that no clock shows is refused before anything is
// charged, and a panic waits too.
func TestBoundaries(t *testing.T) {
	s := newShop(t)
	for _, at := range []time.Duration{-time.Second, 7 * time.Hour, 25 * time.Hour} {
		r := s.job("out")
		r.ReleaseAt = at
		var usage *UsageError
		if _, err := r.Do(context.Background()); !errors.As(err, &usage) {
			t.Errorf("%v: %v", at, err)
		}
	}
	if _, err := os.Stat(s.path("ledger.db")); !os.IsNotExist(err) {
		t.Error("something was charged")
	}
	waited := false
	r := &Run{ReleaseAt: time.Hour, Now: s.clock, After: func(d time.Duration) <-chan time.Time {
		waited = d == time.Hour // on the very boundary: the next one
		c := make(chan time.Time)
		close(c)
		return c
	}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_, _ = held(context.Background(), r, func() (int, error) { panic("a fault") })
	}()
	if !waited {
		t.Error("a panic does not wait")
	}
}

// TestNoPointsBeforeTheBoundary: a run that is long enough to keep resume points keeps
// none where it ends at a boundary. The control has no boundary, and does.
func TestNoPointsBeforeTheBoundary(t *testing.T) {
	s := newShop(t)
	for at, want := range map[time.Duration]bool{0: true, time.Minute: false} {
		r := s.job("out")
		r.PolicyPath = s.write("long.yaml", strings.Replace(testPolicy, "  rows: 6\n", "  rows: 100000000000\n", 1))
		r.ReleaseAt = at
		r.Guard = func(string, *os.File) (func(), error) { return func() {}, nil }
		p, err := r.prepare(context.Background(), planned)
		if err != nil {
			t.Fatal(err)
		}
		if p.wantsPoints() != want {
			t.Errorf("with a boundary of %v: resume points: %v", at, !want)
		}
		if err := p.ledger.Close(); err != nil {
			t.Error(err)
		}
	}
}

// welch is Welch's t of two samples; 0 where all values are the same.
func welch(a, b []float64) float64 {
	moments := func(x []float64) (mean, variance float64) {
		for _, v := range x {
			mean += v / float64(len(x))
		}
		for _, v := range x {
			variance += (v - mean) * (v - mean) / float64(len(x)-1)
		}
		return mean, variance / float64(len(x))
	}
	m, v := moments(a)
	n, w := moments(b)
	if v+w == 0 {
		if m != n {
			return math.Inf(1)
		}
		return 0
	}
	return (m - n) / math.Sqrt(v+w)
}

// TestCompletionTimes is threat S3's figure: of runs on n and on n + 1 rows, 10⁴ each,
// the times at which they end do not differ by Welch's test, |t| < 4.5, in a world in
// which a row takes 20 µs and a run varies by 100 µs. A test that is right gives a false
// alarm with probability 7·10⁻⁶, and notices a difference of 0.1 standard deviations
// with probability 0.99. The control has no boundary: there one row shows, and a
// thousand rows show in ten runs.
func TestCompletionTimes(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 37))
	ends := func(runs, rows int, at time.Duration) (all []float64) {
		for range runs {
			begun := time.Date(2026, 11, 24, 12, r.IntN(60), 0, 0, time.UTC) // the analyst may choose the second
			now := begun
			run := &Run{ReleaseAt: at, Now: func() time.Time { return now }, After: func(d time.Duration) <-chan time.Time {
				now = now.Add(d + time.Duration(r.ExpFloat64()*float64(60*time.Microsecond))) // clocks wake up late
				c := make(chan time.Time)
				close(c)
				return c
			}}
			took := 3*time.Second + time.Duration(rows)*20*time.Microsecond + time.Duration(r.NormFloat64()*float64(100*time.Microsecond))
			if _, err := held(context.Background(), run, func() (int, error) { now = now.Add(took); return 0, nil }); err != nil {
				t.Fatal(err)
			}
			all = append(all, now.Sub(begun).Seconds())
		}
		return all
	}
	const runs, rows = timedRuns, 100_000
	if s := welch(ends(runs, rows, time.Minute), ends(runs, rows+1, time.Minute)); math.Abs(s) >= 4.5 {
		t.Errorf("one row more shows in the time of the end: t = %.1f", s)
	}
	if s := welch(ends(runs, 1000, time.Minute), ends(runs, 1_000_000, time.Minute)); math.Abs(s) >= 4.5 {
		t.Errorf("a thousand times as many rows show in the time of the end: t = %.1f", s)
	}
	if s := welch(ends(10_000, rows, 0), ends(10_000, rows+1, 0)); math.Abs(s) < 4.5 {
		t.Errorf("without a boundary one row does not show: t = %.1f", s)
	}
	if s := welch(ends(10, rows, 0), ends(10, rows+1000, 0)); math.Abs(s) < 4.5 {
		t.Errorf("without a boundary a thousand rows do not show: t = %.1f", s)
	}
	// Where the number of rows decides in which minute a run ends, that shows.
	if s := welch(ends(20, rows, time.Minute), ends(20, 100*rows, time.Minute)); math.Abs(s) < 4.5 {
		t.Errorf("a run of minutes ends as one of seconds: t = %.1f", s)
	}
}
