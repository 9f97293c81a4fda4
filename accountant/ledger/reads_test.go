package ledger

import (
	"fmt"
	"math/bits"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/privsgld/privsgld/accountant"
)

// countingTx counts what a transaction reads and writes.
type countingTx struct {
	tx
	gets, listed, entries, hashes, puts int
}

func (c *countingTx) Get(key string) (string, bool, error) { c.gets++; return c.tx.Get(key) }

func (c *countingTx) Put(key, value string) error { c.puts++; return c.tx.Put(key, value) }

func (c *countingTx) List(prefix string, fn func(key, value string) error) error {
	return c.tx.List(prefix, func(k, v string) error { c.listed++; return fn(k, v) })
}

func (c *countingTx) Entry(number int64) ([]byte, error) { c.entries++; return c.tx.Entry(number) }

func (c *countingTx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	c.hashes += len(indexes)
	return c.tx.ReadHashes(indexes)
}

// TestReadsDoNotGrow: what a decision reads and writes is the same after ten
// entries and after ten thousand (five hundred in the ordinary suite), under all
// kinds of cap and while all charges are pending, but for the hashes of the tree, which grow with the logarithm.
// Counts are of store calls, rows and hashes, not of time.
func TestReadsDoNotGrow(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "200", "1e-6"))
	s := &memoryTx{content{state: map[string]string{}}}
	err := l.store.View(ctx, func(from tx) error { return from.List(metaPrefix, s.Put) })
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	request := func() Request {
		n++
		q := capped(gaussianRun(fmt.Sprint("run ", n), reg, []string{"0.01", "0.02", "0.05"}[n%3]), "150", "120", "100")
		return q
	}
	// step makes one decision and appends its entries, as Reserve does.
	step := func(s tx, q Request) error {
		tree, now, err := l.begin(s)
		if err != nil {
			return err
		}
		o := newOverlay(s)
		d, err := decide(o, earlierIn(s, tree), now, q)
		if err != nil || d.refused != "" {
			return fmt.Errorf("%s: %s %w", q.RunID, d.refused, err)
		}
		if err := o.writeTo(s); err != nil {
			return err
		}
		_, err = l.appendEntries(s, tree, d.entries)
		return err
	}
	grow := func(entries int64) {
		for int64(len(s.bodies)) < entries {
			if err := step(s, request()); err != nil {
				t.Fatal(err)
			}
		}
	}
	measure := func() countingTx {
		c := countingTx{tx: s}
		if err := step(&c, request()); err != nil {
			t.Fatal(err)
		}
		c.tx = nil
		return c
	}
	const few, many = 10, longHistory
	grow(few)
	before := measure()
	grow(many)
	after := measure()
	t.Logf("after %d entries %+v, after %d %+v", few, before, many, after)
	// A proof of the root, and of a new leaf, has a hash a level.
	if most := before.hashes + 6*bits.Len(many); after.hashes > most {
		t.Errorf("%d hashes are read, more than %d", after.hashes, most)
	}
	before.hashes, after.hashes = 0, 0
	if before != after {
		t.Errorf("after %d entries a decision counts %+v, after %d %+v", few, before, many, after)
	}
	// The control: a decision that adds up the entries anew is noticed.
	c := countingTx{tx: s}
	tree, now, err := l.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	row, _, err := getRow[dataset](s, key("dataset", reg.Dataset))
	if err != nil {
		t.Fatal(err)
	}
	_, err = chargedBefore(s, earlierIn(&c, tree), reg.Dataset, row, now, "period:monthly")
	if err != nil || c.entries < many {
		t.Errorf("%d entries read, %v", c.entries, err)
	}
}
