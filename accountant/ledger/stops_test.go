package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/privsgld/privsgld/accountant"
)

// A stoppingStore is a store whose server stops after some reads, in every
// transaction.
type stoppingStore struct {
	store
	reads   int // answered before it stops
	stopped bool
}

var errStopped = fmt.Errorf("%w: the server stopped", ErrUnavailable)

func (s *stoppingStore) View(ctx context.Context, fn func(tx) error) error {
	return s.store.View(ctx, func(t tx) error { return fn(&stoppingTx{t, s, s.reads}) })
}

func (s *stoppingStore) Update(ctx context.Context, fn func(tx) error) error {
	return s.store.Update(ctx, func(t tx) error { return fn(&stoppingTx{t, s, s.reads}) })
}

type stoppingTx struct {
	tx
	s    *stoppingStore
	left int
}

func (t *stoppingTx) read() error {
	if t.left == 0 {
		t.s.stopped = true
		return errStopped
	}
	t.left--
	return nil
}

func (t *stoppingTx) Get(key string) (string, bool, error) {
	if err := t.read(); err != nil {
		return "", false, err
	}
	return t.tx.Get(key)
}

func (t *stoppingTx) List(prefix string, fn func(key, value string) error) error {
	if err := t.read(); err != nil {
		return err
	}
	return t.tx.List(prefix, fn)
}

func (t *stoppingTx) Size() (int64, error) {
	if err := t.read(); err != nil {
		return 0, err
	}
	return t.tx.Size()
}

func (t *stoppingTx) Entry(number int64) ([]byte, error) {
	if err := t.read(); err != nil {
		return nil, err
	}
	return t.tx.Entry(number)
}

func (t *stoppingTx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if err := t.read(); err != nil {
		return nil, err
	}
	return t.tx.ReadHashes(indexes)
}

// TestServerStopsBeforeARefusal: wherever a store stops while a refusal is worked out,
// its error is the answer, and no panic; where it does not stop, the refusal is.
func TestServerStopsBeforeARefusal(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	mustReserve(t, l, gaussianRun("run", reg, "0.8"))
	sound := l.store
	t.Cleanup(func() { l.store = sound })
	for name, ask := range map[string]func() error{
		"Reserve": func() error { _, err := l.Reserve(ctx, gaussianRun("more", reg, "0.9")); return err },
		"Preview": func() error { _, err := l.Preview(ctx, gaussianRun("more", reg, "0.9")); return err },
		"Again":   func() error { _, _, err := l.Again(ctx, "run", 2, gaussianRun("", reg, "0.9").Event); return err },
	} {
		for reads := 0; ; reads++ {
			s := &stoppingStore{store: sound, reads: reads}
			l.store = s
			err := ask()
			if s.stopped {
				if !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s, after %d reads: %v", name, reads, err)
				}
				continue
			}
			var refused *Refused
			if !errors.As(err, &refused) || reads < 5 {
				t.Errorf("%s: %d reads, %v", name, reads, err)
			}
			break
		}
	}
}
