package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// smallDisk mounts a small file system in memory, or leaves the test out.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", bytes)); err != nil {
		fmt.Fprintln(os.Stderr, "SKIPPED: no small file system can be mounted here, so no disk is full:", err)
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk that fills up under the ledger, and one that becomes read-only: the request
// fails in one line, what was charged stays, and with room again it goes on.
func TestFullAndReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t, 256<<10)
	path := filepath.Join(disk, "ledger.db")
	o := Options{DSN: "sqlite:" + path, StateDir: t.TempDir(), Clock: startClock().now, Timeout: defaultTimeout}
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reg := testRegistration(testTerms("rdp", "100", "1e-6"))
	fails := func(what string, run string) {
		t.Helper()
		q := gaussianRun(run, reg, "0.01")
		q.Purpose = strings.Repeat("p", 900)
		_, err := l.Reserve(ctx, q)
		if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
	n := 0
	for err = nil; err == nil && n < 1000; n++ {
		q := gaussianRun(fmt.Sprint("run ", n), reg, "0.01")
		q.Purpose = strings.Repeat("p", 900)
		_, err = l.Reserve(ctx, q)
	}
	if !errors.Is(err, ErrUnavailable) || n < 10 {
		t.Fatalf("%d reservations, then %v", n, err)
	}
	n--
	fails("a full disk", fmt.Sprint("run ", n))
	mustVerify(t, l)
	if status, err := l.Status(ctx); err != nil || status[0].Entries != int64(n) {
		t.Errorf("%d were granted: %+v, %v", n, status, err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, l, gaussianRun(fmt.Sprint("run ", n), reg, "0.01"))
	mustVerify(t, l)
	l.Close()

	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=8m"); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(ctx, o); err == nil {
		fails("a read-only disk", "read-only")
		mustVerify(t, l)
	} else if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a read-only disk: %v", err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(ctx, o); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, l, gaussianRun("read-only", reg, "0.01"))
	mustVerify(t, l)
}

// Each page of the file in turn is overwritten: the ledger does not open, or Verify
// finds it, or nothing that it says has changed.
func TestSpoiltPages(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	o := Options{DSN: "sqlite:" + path, StateDir: dir, Timeout: defaultTimeout}
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	reg := testRegistration(testTerms("rdp", "100", "1e-6"))
	for i := range 12 {
		mustReserve(t, l, gaussianRun(fmt.Sprint("run ", i), reg, "0.1"))
	}
	mustVerify(t, l)
	l.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	closed := 0
	const page = 4096
	for at := 0; at < len(good); at += page {
		for _, fill := range []byte{0, 0xff, 'x'} {
			spoilt := append([]byte(nil), good...)
			for i := at; i < min(at+page, len(spoilt)); i++ {
				spoilt[i] = fill
			}
			if err := os.WriteFile(path, spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := Open(ctx, o)
			if err == nil {
				_, err = l.Verify(ctx)
				l.Close()
			} else {
				closed++
			}
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "\n") {
				t.Errorf("page %d as %#x: %v", at/page, fill, err)
			}
		}
	}
	if closed == 0 {
		t.Error("every spoilt ledger opened")
	}
}

// The machine goes down when a transaction has written half of its pages, and then the
// rollback journal is cut short as well. A whole journal brings the ledger back; with
// less than that it is as before, or it is found out.
func TestTruncatedJournal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	var file, journal []byte
	armed := false
	o := Options{DSN: "sqlite:" + path, StateDir: dir, Timeout: defaultTimeout, hook: func(point string) {
		if !armed || point != "written" {
			return
		}
		armed = false
		var err error
		if file, err = os.ReadFile(path); err == nil {
			journal, err = os.ReadFile(path + "-journal")
		}
		if err != nil {
			t.Fatal(err)
		}
	}}
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	reg := testRegistration(testTerms("rdp", "100", "1e-6"))
	for i := range 20 {
		q := gaussianRun(fmt.Sprint("run ", i), reg, "0.1")
		q.Analyst = fmt.Sprint("analyst ", i) // rows on many pages
		mustReserve(t, l, q)
	}
	before := wholeOf(t, l).state[checkpointKey]
	for _, small := range []string{"PRAGMA cache_size = 1", "PRAGMA cache_spill = 1"} {
		if _, err := l.store.(*sqliteStore).db.Exec(small); err != nil {
			t.Fatal(err)
		}
	}
	clean, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	armed = true
	q := gaussianRun("last", reg, "0.1")
	var many []accountant.Event // more than the pages that stay in memory
	for i := range 300 {
		many = append(many, accountant.Gaussian(reg.Adjacency, 1000+float64(i), 1))
	}
	q.Event = accountant.Compose(many...)
	mustReserve(t, l, q)
	l.Close()
	if string(clean) == string(file) || len(journal) < 4096 {
		t.Fatalf("the transaction has written no page yet; the journal has %d bytes", len(journal))
	}
	// The anchor has seen the last charge, and this is about the file.
	if err := os.RemoveAll(filepath.Join(dir, "anchors")); err != nil {
		t.Fatal(err)
	}
	lengths := []int{len(journal), 0, 1, 27, 28, 511, 512, 513, len(journal) - 1}
	for range 40 {
		lengths = append(lengths, rand.IntN(len(journal)))
	}
	found, whole := 0, 0
	for i, length := range lengths {
		place := filepath.Join(dir, fmt.Sprint("copy", i, ".db"))
		for name, content := range map[string][]byte{place: file, place + "-journal": journal[:length]} {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, "anchors")); err != nil {
			t.Fatal(err)
		}
		l, err := Open(ctx, Options{DSN: "sqlite:" + place, StateDir: dir, Timeout: defaultTimeout})
		if err == nil {
			_, err = l.Verify(ctx)
		}
		switch {
		case err == nil && wholeOf(t, l).state[checkpointKey] == before:
			whole++
		case err == nil:
			t.Errorf("a journal of %d of %d bytes: another ledger verifies", length, len(journal))
		case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "\n") || length == len(journal):
			t.Errorf("a journal of %d of %d bytes: %v", length, len(journal), err)
		default:
			found++
		}
		if l != nil {
			l.Close()
		}
	}
	t.Logf("of %d journals %d bring the ledger back, %d do not, and it is found out", len(lengths), whole, found)
	if whole == 0 || found == 0 {
		t.Error("some journals should bring it back, and some not")
	}
}
