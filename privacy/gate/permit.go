package gate

import (
	"context"
	"errors"
	"sync"

	"github.com/privsgld/privsgld/accountant/ledger"
)

// ErrPermit: a permit was used out of order: data opened after the charge was
// taken back, a charge taken back after data was opened, or a second release.
var ErrPermit = errors.New("gate: the permit does not allow this")

// A Permit allows one job to open data and to release one output. It comes
// from Reserve only; the zero value allows nothing.
type Permit struct {
	mu          sync.Mutex
	ledger      *ledger.Ledger
	reservation *ledger.Reservation
	stage       stage
}

type stage int

const (
	stageNone stage = iota
	stageReserved
	stageOpened
	stageEnded // void, or a release was tried
)

// Reserve charges a request to the ledger and returns the permit. Its errors
// are those of [ledger.Ledger.Reserve].
func Reserve(ctx context.Context, l *ledger.Ledger, q ledger.Request) (*Permit, error) {
	r, err := l.Reserve(ctx, q)
	if err != nil {
		return nil, err
	}
	return &Permit{ledger: l, reservation: r, stage: stageReserved}, nil
}

// Reservation describes the charge. The copy cannot settle or void it.
func (p *Permit) Reservation() ledger.Reservation {
	if p.reservation == nil {
		return ledger.Reservation{}
	}
	return *p.reservation
}

// OpenData is called before the first byte of data is read. From then on the
// charge cannot be taken back. It may be called several times. It returns
// ErrPermit for a permit that came from nowhere or has ended.
func (p *Permit) OpenData() error {
	if p == nil {
		return ErrPermit
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != stageReserved && p.stage != stageOpened {
		return ErrPermit
	}
	p.stage = stageOpened
	return nil
}

// A Key opens data. Only this package has keys: a [Permit], and in a program built
// with the tag seeded a Rehearsal, which leads to no release.
type Key interface {
	OpenData() error
	key()
}

func (*Permit) key() {}

// Void takes the charge back. It returns ErrPermit once OpenData was called,
// or the ledger's error, in which case the charge may stand.
func (p *Permit) Void(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != stageReserved {
		return ErrPermit
	}
	p.stage = stageEnded
	return p.ledger.Void(ctx, p.reservation)
}

// A Structure permit allows a table to be opened for the names and types of
// its columns, for its fingerprint, and, where it is no protected data set, for
// whoever opens it. It costs nothing and leads to no release. The zero value allows
// nothing.
type Structure struct{ granted bool }

// StructurePermit returns a structure permit.
func StructurePermit() Structure { return Structure{granted: true} }

// Granted reports whether the permit came from StructurePermit.
func (s Structure) Granted() bool { return s.granted }
