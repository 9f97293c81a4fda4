package ledger

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// TestConformance runs what the package promises on every kind of store.
func TestConformance(t *testing.T) {
	flag.Set("rapid.checks", conformanceChecks)
	defer flag.Set("rapid.checks", modelChecks)
	each(t, []string{onSQLite, onPostgres, inMemory}, func(t *testing.T) {
		for _, promise := range []struct {
			name string
			test func(*testing.T)
		}{
			{"opened again", testOpenedAgain},
			{"earlier copies", testEarlierCopies},
			{"deleted and swapped", testDeletedAndSwapped},
			{"contents that are none", testContentsThatAreNone},
			{"waiting for a lock", testWaitsForALock},
			{"rolled back", testRolledBack},
			{"read by prefix", testReadByPrefix},
		} {
			t.Run(promise.name, promise.test)
		}
		if backend == onSQLite {
			return // the tests below run on it by themselves
		}
		for _, promise := range []struct {
			name string
			test func(*testing.T)
		}{
			{"runs that fit", TestRunsThatFit},
			{"a refusal writes nothing", TestFirstRefusalWritesNothing},
			{"exact amounts", TestExactAmounts},
			{"settle and void", TestSettleAndVoid},
			{"caps", TestCaps},
			{"every cap", TestEveryCapDecides},
			{"caps shrink", TestCapsShrink},
			{"caps of periods", TestPeriodCaps},
			{"clock set back", TestClockSetBackAYear},
			{"odometer", TestOdometer},
			{"mismatch", TestMismatch},
			{"requests that are none", TestRequestsThatAreNone},
			{"time and periods", TestTimeAndPeriods},
			{"signatures", TestSign},
			{"goroutines", TestGoroutinesShareABudget},
			{"export", TestStrangerVerifiesAnExport},
			{"forged entries", TestForgedEntries},
			{"every change", TestEveryChangeIsFound},
			{"model", TestLedgerMeetsModel},
		} {
			t.Run(promise.name, promise.test)
		}
	})
}

func testOpenedAgain(t *testing.T) {
	dir := t.TempDir()
	c := startClock()
	if backend != inMemory {
		if _, err := Open(ctx, placed(dir, Options{Clock: c.now, MustExist: true})); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "there is none") {
			t.Errorf("a reader of no ledger: %v", err)
		}
	}
	l, err := Open(ctx, placed(dir, Options{Clock: c.now}))
	if err != nil || !l.Created() {
		t.Fatalf("created %v, %v", l.Created(), err)
	}
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	r := mustReserve(t, l, gaussianRun("a", reg, "0.9"))
	id := l.ID()
	note, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	l, err = Open(ctx, placed(dir, Options{Clock: c.now, MustExist: true}))
	if err != nil || l.Created() || l.ID() != id {
		t.Fatalf("opened again: %v", err)
	}
	defer l.Close()
	if again, err := l.Checkpoint(ctx); err != nil || again != note {
		t.Errorf("another checkpoint: %v", err)
	}
	mustRefuse(t, l, gaussianRun("b", reg, "0.9"))
	if _, err := l.Settle(ctx, r, gaussianRun("", reg, "0.5").Event); err != nil {
		t.Errorf("a reservation from before: %v", err)
	}
	mustVerify(t, l)

	// Another state folder has no key: the ledger does not open, and is no new one.
	o := placed(dir, Options{Clock: c.now})
	o.StateDir = t.TempDir()
	if _, err := Open(ctx, o); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "job key") {
		t.Errorf("without its key: %v", err)
	}
}

func testEarlierCopies(t *testing.T) {
	dir := t.TempDir()
	o := placed(dir, Options{Clock: startClock().now})
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	reg := testRegistration(testTerms(accountant.MethodRDP, "10", "1e-6"))
	mustReserve(t, l, gaussianRun("a", reg, "0.1"))
	early := wholeOf(t, l)
	mustReserve(t, l, gaussianRun("b", reg, "0.1"))
	newest, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	late := wholeOf(t, l)
	m := meddle(t, l)
	m.restore(early)
	if v, err := l.Verify(ctx); v.OK || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "earlier copy") {
		t.Errorf("verify of an earlier copy: %v", err)
	}
	l.Close()
	if _, err := Open(ctx, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "earlier copy") {
		t.Errorf("an earlier copy opened: %v", err)
	}
	// Without the anchor only somebody's checkpoint shows it.
	if err := os.Rename(l.anchor, l.anchor+".away"); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(ctx, o); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Verify(ctx); err != nil {
		t.Errorf("an earlier copy, alone: %v", err)
	}
	if v, err := l.Verify(ctx, Witness{Checkpoint: newest}); v.OK || !errors.Is(err, ErrCorrupt) {
		t.Errorf("an earlier copy passed a later checkpoint: %v", err)
	}
	mustReserve(t, l, gaussianRun("other", reg, "0.1"))
	if v, err := l.Verify(ctx, Witness{Checkpoint: newest}); v.OK || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "others than were seen") {
		t.Errorf("a fork passed: %v", err)
	}
	meddle(t, l).restore(late)
	l.Close()
	if err := os.Rename(l.anchor+".away", l.anchor); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(ctx, o); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, l)
	l.Close()
}

// Every entry removed, and every pair of them exchanged.
func testDeletedAndSwapped(t *testing.T) {
	l, err := Open(ctx, placed(t.TempDir(), Options{Clock: startClock().now}))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reg := testRegistration(testTerms(accountant.MethodRDP, "10", "1e-6"))
	for i := range 4 {
		r := mustReserve(t, l, gaussianRun(fmt.Sprint("run", i), reg, "0.1"))
		if i%2 == 0 {
			if _, err := l.Settle(ctx, r, gaussianRun("", reg, "0.05").Event); err != nil {
				t.Fatal(err)
			}
		}
	}
	good := wholeOf(t, l)
	m := meddle(t, l)
	found := func(what string) {
		t.Helper()
		if v, err := l.Verify(ctx); v.OK || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %+v, %v", what, v, err)
		}
	}
	for i, body := range good.bodies {
		n := int64(i)
		m.entry(n, nil)
		found(fmt.Sprint("entry ", n, " is missing"))
		if n == int64(len(good.bodies))-1 && m.memory != nil {
			break // the shorter list takes no entry back
		}
		m.entry(n, body)
		for j := range good.bodies[:i] {
			m.entry(n, good.bodies[j])
			m.entry(int64(j), body)
			found(fmt.Sprint("entries ", j, " and ", n, " are exchanged"))
			m.entry(n, body)
			m.entry(int64(j), good.bodies[j])
		}
	}
	m.restore(good)
	mustVerify(t, l)
	last := int64(len(good.hashes)) - 1
	m.hash(last, nil)
	found("a hash is missing")
	m.hash(last, good.hashes[last][:])
	for k, v := range good.state {
		m.row(k, "")
		found("row " + k + " is missing")
		m.row(k, v)
	}
	mustVerify(t, l)
}

func testContentsThatAreNone(t *testing.T) {
	for _, c := range []struct {
		spoil func(m meddler)
		says  string
	}{
		{func(m meddler) { m.row(verifierKey, "") }, "no name"},
		{func(m meddler) { m.row(verifierKey, "x") }, "name is none"},
		{func(m meddler) { m.row(checkpointKey, "") }, "no checkpoint"},
		{func(m meddler) { m.row(checkpointKey, "x") }, "not signed"},
		{func(m meddler) { m.entry(1, nil) }, "another number"},
		{func(m meddler) { m.hash(2, make([]byte, 32)) }, "another tree"},
	} {
		o := placed(t.TempDir(), Options{Clock: startClock().now})
		l, err := Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
		c.spoil(meddle(t, l))
		l.Close()
		if _, err := Open(ctx, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.says, err)
		}
	}
}

func testWaitsForALock(t *testing.T) {
	dir := t.TempDir()
	c := startClock()
	holder := openIn(t, dir, c)
	mustReserve(t, holder, gaussianRun("a", sharedRegistration(), "0.1"))
	held, release := make(chan bool), make(chan bool)
	done := make(chan error, 1)
	go func() {
		once := false
		done <- holder.store.Update(ctx, func(t tx) error {
			if !once {
				close(held)
				<-release
			}
			once = true
			return nil
		})
	}()
	<-held
	impatient, err := Open(ctx, placed(dir, Options{Clock: c.now, Timeout: 200 * time.Millisecond}))
	if backend != inMemory { // there a transaction has all to itself
		if err != nil {
			t.Fatal(err)
		}
		defer impatient.Close()
		if _, err = impatient.Reserve(ctx, gaussianRun("b", sharedRegistration(), "0.1")); err == nil {
			t.Error("the lock was not seen")
		}
	}
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("on a locked ledger: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustReserve(t, holder, gaussianRun("c", sharedRegistration(), "0.1"))
}

func testRolledBack(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
	stop := errors.New("stop")
	err := l.store.Update(ctx, func(s tx) error {
		if err := s.Put("run/x", "y"); err != nil {
			return err
		}
		if v, ok, err := s.Get("run/x"); v != "y" || !ok || err != nil {
			t.Errorf("what was written does not read: %q, %v", v, err)
		}
		tree, _, err := l.begin(s)
		if err != nil {
			return err
		}
		if _, err := l.appendEntries(s, tree, []entry{{Number: tree.N, Kind: kindVoid}}); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("the error is another: %v", err)
	}
	mustVerify(t, l)
}

func testReadByPrefix(t *testing.T) {
	l, err := Open(ctx, placed(t.TempDir(), Options{}))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	keys := []string{"a/", "a/%C3%A9", "a/B", "a/a", "a/a/x", "a/b", "a/~", "a0", "aa/x", "b/"}
	err = l.store.Update(ctx, func(s tx) error {
		for i := range keys {
			if err := s.Put(keys[len(keys)-1-i], "é\\u0000\n'"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = l.store.View(ctx, func(s tx) error {
		return s.List("a/", func(k, v string) error {
			if v != "é\\u0000\n'" {
				t.Errorf("%s comes back as %q", k, v)
			}
			got = append(got, k)
			_, _, err := s.Get(k) // reading on is allowed
			return err
		})
	})
	if err != nil || strings.Join(got, " ") != strings.Join(keys[:7], " ") {
		t.Errorf("%q, %v", got, err)
	}
}
