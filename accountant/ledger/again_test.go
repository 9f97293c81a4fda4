package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// TestAgain: what an attempt may do again is charged to every filter of its reservation,
// once for each attempt; it stays when the reservation is settled at less; and earlier
// holders cannot end the charge any more.
func TestAgain(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	q := gaussianRun("run", reg, "0.4")
	q.Caps = []Cap{{Name: "analyst:ann", Terms: testTerms(accountant.MethodRDP, "0.6", "1e-6")}}
	first := mustReserve(t, l, q)
	again := gaussianRun("", reg, "0.1").Event
	spent := func() float64 {
		t.Helper()
		s, err := l.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if a := s[0].Analysts[0].EpsilonSpent; a != s[0].EpsilonSpent {
			t.Errorf("the analyst has spent %g of %g", a, s[0].EpsilonSpent)
		}
		return s[0].EpsilonSpent
	}
	before := spent()
	if _, _, err := l.Again(ctx, "run", 3, again); !errors.Is(err, ErrCharge) {
		t.Errorf("attempt 3 before 2: %v", err)
	}
	if _, _, err := l.Again(ctx, "none", 2, again); !errors.Is(err, ErrCharge) {
		t.Errorf("a run that was never reserved: %v", err)
	}
	if spent() != before {
		t.Error("what was refused is charged")
	}
	second, attempts, err := l.Again(ctx, "run", 2, again)
	if err != nil || len(attempts) != 1 || attempts[0].Number != 2 || second.Entry != first.Entry || !second.Time.Equal(first.Time) {
		t.Fatalf("%+v, %+v, %v", second, attempts, err)
	}
	if want := composedEpsilon(t, reg, q.Event, again); spent() != want {
		t.Errorf("spent %g, not %g", spent(), want)
	}
	mustVerify(t, l)
	if _, err := l.Settle(ctx, first, q.Event); !errors.Is(err, ErrCharge) {
		t.Errorf("the first attempt settles: %v", err)
	}
	if err := l.Void(ctx, second); !errors.Is(err, ErrCharge) {
		t.Errorf("the second attempt is void: %v", err)
	}
	var refused *Refused
	if _, _, err := l.Again(ctx, "run", 3, gaussianRun("", reg, "0.5").Event); !errors.As(err, &refused) || len(refused.By) != 1 || refused.By[0] != "analyst:ann" {
		t.Errorf("more than the cap: %v", err)
	}
	third, attempts, err := l.Again(ctx, "run", 3, again)
	if err != nil || len(attempts) != 2 {
		t.Fatal(attempts, err)
	}
	if recorded, err := l.Attempts(ctx, "run"); err != nil || len(recorded) != 2 || recorded[1].Entry != attempts[1].Entry {
		t.Errorf("%+v, %v", recorded, err)
	}
	less := gaussianRun("", reg, "0.2").Event
	s, err := l.Settle(ctx, third, less)
	if err != nil {
		t.Fatal(err)
	}
	if want := composedEpsilon(t, reg, less, again, again); spent() != want || s.Budget.EpsilonSpentAfter != want || s.Budget.EpsilonSpentBefore != 0 {
		t.Errorf("spent %g, settled from %g to %g, not %g", spent(), s.Budget.EpsilonSpentBefore, s.Budget.EpsilonSpentAfter, want)
	}
	if _, _, err := l.Again(ctx, "run", 4, again); !errors.Is(err, ErrCharge) {
		t.Errorf("a settled run goes on: %v", err)
	}
	var lines bytes.Buffer
	if err := l.Export(ctx, &lines); err != nil || strings.Count(lines.String(), `"kind":"again"`) != 2 {
		t.Errorf("the export: %v", err)
	}
}

func composedEpsilon(t *testing.T, reg Registration, parts ...accountant.Event) float64 {
	t.Helper()
	m, err := mechanisms(accountant.Compose(parts...))
	if err != nil {
		t.Fatal(err)
	}
	eps, err := newFigures().epsilon(m, reg.Terms)
	if err != nil {
		t.Fatal(err)
	}
	return eps
}

// TestOneOfSeveralGoesOn: of attempts that begin at once, one is charged.
func TestOneOfSeveralGoesOn(t *testing.T) {
	dir := t.TempDir()
	l := openIn(t, dir, startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	mustReserve(t, l, gaussianRun("run", reg, "0.2"))
	var group sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		group.Add(1)
		go func() {
			defer group.Done()
			_, _, errs[i] = l.Again(ctx, "run", 2, gaussianRun("", reg, "0.01").Event)
		}()
	}
	group.Wait()
	charged := 0
	for _, err := range errs {
		if err == nil {
			charged++
		} else if !errors.Is(err, ErrCharge) {
			t.Error(err)
		}
	}
	if charged != 1 {
		t.Errorf("%d attempts 2 are charged", charged)
	}
}

// TestHold: one process holds a run; a point is read as it was saved by whoever has the
// state folder, and not where it is changed, another's, or the run has ended.
func TestHold(t *testing.T) {
	dir := t.TempDir()
	l := openIn(t, dir, startClock())
	var none *PointError
	if _, _, err := l.HoldAgain(ctx, "new"); !errors.As(err, &none) {
		t.Errorf("a run that was never there: %v", err)
	}
	if _, err := l.Hold(ctx, "../up"); !errors.Is(err, ErrUsage) {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
	hold := func(run string) *Hold {
		t.Helper()
		h, err := l.Hold(ctx, run)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	a, b := hold("a"), hold("b")
	for _, h := range []*Hold{a, b} {
		if err := h.Save([]byte("point of " + h.run)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := l.HoldAgain(ctx, "a"); !errors.As(err, &none) || !strings.Contains(err.Error(), "held") {
		t.Errorf("a run that is alive: %v", err)
	}
	a.Leave()
	b.Leave()
	file, other := a.path(pointSuffix), b.path(pointSuffix)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the point has mode %v, %v", info.Mode(), err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(good, []byte("point of a")) {
		t.Error("a point can be read without its key")
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for i, bad := range [][]byte{foreign, flipped, good[:len(good)-1], nil} {
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.HoldAgain(ctx, "a"); !errors.As(err, &none) {
			t.Errorf("bad point %d: %v", i, err)
		}
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	again, point, err := l.HoldAgain(ctx, "a")
	if err != nil || string(point) != "point of a" {
		t.Fatalf("%q, %v", point, err)
	}
	// The runtime's last words, as they come to the mark.
	if _, err := fmt.Fprint(again.Mark(), "fatal error: out of memory\n"); err != nil {
		t.Fatal(err)
	}
	again.Leave()
	if _, _, err := l.HoldAgain(ctx, "a"); !errors.As(err, &none) || !strings.Contains(err.Error(), "by itself") {
		t.Errorf("a run that died by itself: %v", err)
	}
	h, _, err := l.HoldAgain(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.End(); err != nil {
		t.Fatal(err)
	}
	if err := h.Save(nil); !errors.As(err, &none) {
		t.Errorf("a point after the end: %v", err)
	}
	h.Leave()
	if _, _, err := l.HoldAgain(ctx, "b"); !errors.As(err, &none) {
		t.Errorf("a run that ended: %v", err)
	}
	old := startClock().now().Add(-2 * PointLifetime)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	hold("c").Leave()
	if _, err := os.Stat(filepath.Join(file)); !os.IsNotExist(err) {
		t.Errorf("an old point is still there: %v", err)
	}
}
