package gate

import (
	"context"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
)

// ReserveAgain charges what another attempt at a run that was killed may do a second
// time, and returns the permit of that attempt with all that the run was charged again.
// An earlier attempt opened the data, so that the charge cannot be taken back; one
// output comes of all attempts, as of any reservation. Its errors are those of
// [ledger.Ledger.Again].
func ReserveAgain(ctx context.Context, l *ledger.Ledger, runID string, attempt int64, e accountant.Event) (*Permit, []ledger.Attempt, error) {
	r, attempts, err := l.Again(ctx, runID, attempt, e)
	if err != nil {
		return nil, nil, err
	}
	return &Permit{ledger: l, reservation: r, stage: stageOpened}, attempts, nil
}
