//go:build seeded

package gate

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
)

// RehearsalPrefix begins the name of every file that a rehearsal writes.
const RehearsalPrefix = "not-a-release-"

// A Rehearsal is the gate of a program whose noise has a known seed, built with the
// tag seeded for tests from end to end. It charges the ledger and opens data as a
// [Permit] does, is none, and cannot release: what it writes has no privacy, and
// every file says so by its name.
type Rehearsal struct {
	permit *Permit
}

// Rehearse charges a request to the ledger, as one of kind "rehearsal". Its errors are
// those of [Reserve].
func Rehearse(ctx context.Context, l *ledger.Ledger, q ledger.Request) (*Rehearsal, error) {
	q.Kind = "rehearsal"
	p, err := Reserve(ctx, l, q)
	if err != nil {
		return nil, err
	}
	return &Rehearsal{p}, nil
}

func (*Rehearsal) key() {}

// OpenData is [Permit.OpenData].
func (r *Rehearsal) OpenData() error { return r.permit.OpenData() }

// Reservation is [Permit.Reservation].
func (r *Rehearsal) Reservation() ledger.Reservation { return r.permit.Reservation() }

// Void is [Permit.Void].
func (r *Rehearsal) Void(ctx context.Context) error { return r.permit.Void(ctx) }

// Write ends a rehearsal as [Permit.Release] ends a job, but fails unless every file
// that write makes bears RehearsalPrefix.
func (r *Rehearsal) Write(ctx context.Context, out *Output, actual accountant.Event, write func(dir string, s *ledger.Settlement) error) error {
	return r.permit.Release(ctx, out, actual, func(dir string, s *ledger.Settlement) error {
		if err := write(dir, s); err != nil {
			return err
		}
		return fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), RehearsalPrefix) {
				err = fmt.Errorf("%s: a rehearsal marks every file with %s", d.Name(), RehearsalPrefix)
			}
			return err
		})
	})
}
