package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

func contextWithCancelAfter(d time.Duration) (context.Context, context.CancelFunc) {
	c, cancel := context.WithCancel(ctx)
	time.AfterFunc(d, cancel)
	return c, cancel
}

// alter runs SQL on a closed ledger's file.
func alter(t *testing.T, path string, statements ...string) {
	t.Helper()
	if err := descriptionLocks(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSQLiteVersionAndSettings(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	db := l.store.(*sqliteStore).db
	var major, minor, patch int
	var text string
	if err := db.QueryRow("SELECT sqlite_version()").Scan(&text); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &major, &minor, &patch); err != nil || major*1e6+minor*1e3+patch < 3_053_004 {
		t.Errorf("SQLite %s has a journal bug that 3.53.4 mends", text)
	}
	for pragma, want := range map[string]string{"journal_mode": "delete", "synchronous": "3", "mmap_size": "0", "trusted_schema": "0", "foreign_keys": "1"} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, not %s: %v", pragma, got, want, err)
		}
	}
}

func TestFilesThatAreNoLedger(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ledgerWith := func(name string, statements ...string) string {
		path := filepath.Join(dir, name)
		l, err := Open(ctx, Options{DSN: "sqlite:" + path, StateDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
		mustVerify(t, l)
		l.Close()
		alter(t, path, statements...)
		return path
	}
	other := filepath.Join(dir, "other.db")
	alter(t, other, "CREATE TABLE t (x)")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dsn  string
		kind error
		says string
	}{
		{"mysql://host/db", ErrUsage, "sqlite:PATH"},
		{"sqlite:", ErrUsage, "sqlite:PATH"},
		{"sqlite:" + dir, ErrUnavailable, "is a folder"},
		{"sqlite:" + fifo, ErrUnavailable, "no ordinary file"},
		{"sqlite:/proc/none/ledger.db", ErrUnavailable, "cannot be made"},
		{"sqlite:" + write("file", "x") + "/below", ErrUnavailable, "cannot be made"},
		{"sqlite:" + write("text", strings.Repeat("not a ledger ", 100)), ErrCorrupt, "no SQLite file"},
		{"sqlite:" + other, ErrUnavailable, "something else"},
		{"sqlite:" + ledgerWith("newer", "PRAGMA user_version = 2"), ErrUnavailable, "newer version"},
		{"sqlite:" + ledgerWith("older", "PRAGMA user_version = 0"), ErrCorrupt, "no version"},
		{"sqlite:" + ledgerWith("nameless", "DELETE FROM state WHERE key = 'meta/verifier'"), ErrCorrupt, "no name"},
		{"sqlite:" + ledgerWith("headless", "DELETE FROM state WHERE key = 'meta/checkpoint'"), ErrCorrupt, "no checkpoint"},
		{"sqlite:" + ledgerWith("cut", "DELETE FROM entries WHERE number = 1"), ErrCorrupt, "another number"},
		{"sqlite:" + ledgerWith("tableless", "DROP TABLE hashes"), ErrCorrupt, "table"},
	} {
		_, err := Open(ctx, Options{DSN: c.dsn, StateDir: dir, Timeout: defaultTimeout})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.dsn, err)
		}
	}
}

func TestWriteAheadLogIsLeft(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(ctx, Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
	l.Close()
	alter(t, filepath.Join(dir, "ledger.db"), "PRAGMA journal_mode = WAL")
	if l, err = Open(ctx, Options{StateDir: dir}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var mode string
	if err := l.store.(*sqliteStore).db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "delete" {
		t.Errorf("journal mode %s: %v", mode, err)
	}
	mustVerify(t, l)
}

// Every byte of every entry, every hash, and every row of state: changed in
// the database, Verify finds it.
func TestEveryChangeIsFound(t *testing.T) {
	c := startClock()
	l, err := Open(ctx, placed(t.TempDir(), Options{Clock: c.now}))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	reg.Renews = "yearly"
	q := gaussianRun("a", reg, "0.5")
	q.Caps = []Cap{{Name: "analyst:ann", Terms: testTerms(accountant.MethodRDP, "0.9", "1e-6")}}
	if _, err := l.Settle(ctx, mustReserve(t, l, q), gaussianRun("", reg, "0.4").Event); err != nil {
		t.Fatal(err)
	}
	q.RunID = "b"
	if err := l.Void(ctx, mustReserve(t, l, q)); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.AddDate(1, 0, 0)
	q.RunID = "c"
	mustReserve(t, l, q)
	mustVerify(t, l)

	good := wholeOf(t, l)
	check := func(what string, im image) {
		t.Helper()
		root, err := im.checkTree()
		if err == nil {
			err = im.checkHead(l, root)
		}
		if err == nil {
			err = im.replay()
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	m := meddle(t, l)
	through := func(what string, change, back func()) {
		t.Helper()
		change()
		if v, err := l.Verify(ctx); v.OK || !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v, %v", what, v, err)
		}
		back()
	}

	// In the image each byte is flipped in each of its bits; in the store each byte once.
	for n, body := range good.bodies {
		for i := range body {
			if backend != onSQLite && i%conformanceBytes != 0 {
				continue
			}
			changed := append([]byte(nil), body...)
			changed[i] ^= 1 << (i % 8)
			through(fmt.Sprintf("entry %d byte %d", n, i), func() { m.entry(int64(n), changed) }, func() { m.entry(int64(n), body) })
			for bit := range 8 {
				if backend != onSQLite {
					break // an image is what it is
				}
				im := good
				im.bodies = append([][]byte(nil), good.bodies...)
				im.bodies[n] = append([]byte(nil), body...)
				im.bodies[n][i] ^= 1 << bit
				if _, err := im.checkTree(); !errors.Is(err, ErrCorrupt) {
					t.Errorf("entry %d byte %d bit %d: %v", n, i, bit, err)
				}
			}
		}
	}
	for n, h := range good.hashes {
		changed := h
		changed[n%32] ^= 1
		through(fmt.Sprint("hash ", n), func() { m.hash(int64(n), changed[:]) }, func() { m.hash(int64(n), h[:]) })
	}
	for k, v := range good.state {
		for i := range v {
			if backend != onSQLite {
				break
			}
			im := good
			im.state = map[string]string{}
			for kk, vv := range good.state {
				im.state[kk] = vv
			}
			im.state[k] = v[:i] + string(v[i]^1) + v[i+1:]
			check(fmt.Sprintf("state %s byte %d", k, i), im)
		}
		through("state "+k, func() { m.row(k, v+" ") }, func() { m.row(k, v) })
	}
	through("a new row", func() { m.row("run/new", "{}") }, func() { m.row("run/new", "") })
	mustVerify(t, l)
}

// Somebody who holds the job key writes entries of his own: Verify replays
// every decision and cost.
func TestForgedEntries(t *testing.T) {
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	for name, forge := range map[string]func(e *entry){
		"cheaper":      func(e *entry) { e.Costs[0].Loss /= 2 },
		"beyond":       func(e *entry) { e.Costs[0].Loss = 100 },
		"not charged":  func(e *entry) { e.Costs = nil },
		"other period": func(e *entry) { e.Period = "2026" },
		"earlier":      func(e *entry) { e.Time = "2001-01-01T00:00:00Z" },
		"used name":    func(e *entry) { e.Run = "a" },
		"louder event": func(e *entry) { e.Event.Events[0].NoiseMultiplier /= 2 },
	} {
		l, err := Open(ctx, placed(t.TempDir(), Options{Clock: startClock().now}))
		if err != nil {
			t.Fatal(err)
		}
		mustReserve(t, l, gaussianRun("a", reg, "0.2"))
		err = l.store.Update(ctx, func(s tx) error {
			tree, now, err := l.begin(s)
			if err != nil {
				return err
			}
			o := newOverlay(s)
			d, err := decide(o, earlierIn(s, tree), now, gaussianRun("b", reg, "0.2"))
			if err != nil {
				return err
			}
			e := d.entries[len(d.entries)-1]
			forge(&e)
			if err := o.writeTo(s); err != nil {
				return err
			}
			_, err = l.appendEntries(s, tree, []entry{e})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := l.Verify(ctx); v.OK || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "entry 2") {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		l.Close()
	}
}
