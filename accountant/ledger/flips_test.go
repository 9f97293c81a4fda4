package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// TestFlippedBits is threat L6: one bit of the file is another. Either the ledger does
// not open, or Verify finds it, or nothing that the ledger says has changed (the bit
// is in free space).
func TestFlippedBits(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	l, err := Open(ctx, Options{DSN: "sqlite:" + path, StateDir: dir, Clock: startClock().now})
	if err != nil {
		t.Fatal(err)
	}
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	for i := range 3 {
		r := mustReserve(t, l, gaussianRun(fmt.Sprint("run", i), reg, "0.2"))
		switch i {
		case 0:
			_, err = l.Settle(ctx, r, gaussianRun("", reg, "0.1").Event)
		case 1:
			err = l.Void(ctx, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	says := func(l *Ledger) string {
		var b bytes.Buffer
		status, err := l.Status(ctx)
		if err == nil {
			err = l.Export(ctx, &b)
		}
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%s %+v", b.String(), status)
	}
	want := says(l)
	l.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	r := rand.New(rand.NewPCG(17, 19))
	closed, found, same, lies := 0, 0, 0, 0
	for i := range flippedBits {
		bit := r.IntN(8 * len(file))
		flipped := bytes.Clone(file)
		flipped[bit/8] ^= 1 << (bit % 8)
		// Each copy has a place of its own: no journal is left from another.
		copied := filepath.Join(dir, fmt.Sprintf("copy%d.db", i))
		if err := os.WriteFile(copied, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(ctx, Options{DSN: "sqlite:" + copied, StateDir: dir, Clock: startClock().now, Timeout: defaultTimeout})
		if err != nil {
			closed++
		} else {
			if _, err := l.Verify(ctx); err != nil {
				found++
				if got := says(l); got != want && strings.HasPrefix(got, "{") {
					lies++ // to whoever does not verify
				}
			} else if got := says(l); got != want {
				t.Errorf("bit %d: the ledger verifies, and says %s", bit, got)
			} else {
				same++
			}
			l.Close()
		}
		if err := os.Remove(copied); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("of %d flips %d do not open, %d are found, %d of them say something else, %d change nothing", flippedBits, closed, found, lies, same)
	if closed == 0 || found == 0 || lies == 0 {
		t.Error("some flips should be found, and without verifying some go unnoticed")
	}
}
