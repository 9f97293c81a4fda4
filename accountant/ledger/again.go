package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// kindAgain is the kind of entry by which a run that was killed goes on: it charges
// what may be done a second time, for the same reservation.
const kindAgain = "again"

// firstAttempt is the number of the attempt that a reservation allows.
const firstAttempt = 1

// attempt is the number of a run's newest attempt.
func (r run) attempt() int64 { return firstAttempt + int64(len(r.Again)) }

// An Attempt is one more attempt at a run, as the ledger has it.
type Attempt struct {
	Number int64            // from 2
	Entry  int64            // of its charge
	Event  accountant.Event // what it was charged for beside the reservation
}

// Again charges, for a reservation that is neither settled nor void, what another
// attempt at its run may do a second time: in one serialisable transaction it asks
// every filter that the reservation was charged to, in the reservation's periods, and
// appends an entry. What it charges is spent: no settlement takes it out. attempt is
// the number of the attempt that begins, from 2; of several calls with one number one
// succeeds. The reservation that it returns is the same charge in the hands of the new
// attempt: earlier holders cannot end it any more.
//
// Errors: *Refused, with nothing written; ErrCharge where the run is not reserved, its
// period is closed, or another attempt has begun; accountant.ErrUnsupported, ErrUsage,
// ErrUnavailable, ErrCorrupt; the context's.
func (l *Ledger) Again(ctx context.Context, runID string, attempt int64, e accountant.Event) (*Reservation, []Attempt, error) {
	var (
		d          *decision
		out        *Reservation
		attempts   []Attempt
		checkpoint string
	)
	err := l.store.Update(ctx, func(t tx) error {
		d, out, attempts = &decision{}, nil, nil
		tree, now, err := l.begin(t)
		if err != nil {
			return err
		}
		past, overlay := earlierIn(t, tree), newOverlay(t)
		if err := upgrade(overlay, past); err != nil {
			return err
		}
		r, reserved, err := reservedRun(overlay, past.read, runID)
		if err != nil {
			return err
		}
		more := entry{Number: tree.N, Time: now.Format(time.RFC3339), Kind: kindAgain, Dataset: reserved.Dataset, Run: runID, Period: reserved.Period, Attempt: attempt}
		if d.by, err = fillAgain(overlay, reserved, e, &more); err != nil {
			return err
		}
		if len(d.by) > 0 {
			return d.refuseAgain(overlay, reserved, now)
		}
		if err := apply(overlay, past.read, admitted, more); err != nil {
			return err
		}
		if err := overlay.writeTo(t); err != nil {
			return err
		}
		at, err := reserved.time()
		if err != nil {
			return err
		}
		out = &Reservation{RunID: runID, Entry: r.Entry, Time: at, attempt: attempt}
		if attempts, err = attemptsOf(past.read, r); err != nil {
			return err
		}
		attempts = append(attempts, Attempt{attempt, tree.N, e.Merge()})
		checkpoint, err = l.appendEntries(t, tree, []entry{more})
		return err
	})
	if errors.Is(err, errNotAdmitted) {
		return nil, nil, d.refusal()
	}
	if err != nil {
		return nil, nil, err
	}
	l.remember(checkpoint)
	out.self = out
	return out, attempts, nil
}

// Attempts returns what a run was charged again so far. Errors: ErrCharge where it is
// not reserved, ErrUnavailable, ErrCorrupt; the context's.
func (l *Ledger) Attempts(ctx context.Context, runID string) (out []Attempt, err error) {
	err = l.store.View(ctx, func(t tx) error {
		tree, err := l.readHead(t)
		if err != nil {
			return err
		}
		past := earlierIn(t, tree)
		r, _, err := reservedRun(newOverlay(t), past.read, runID)
		if err != nil {
			return err
		}
		out, err = attemptsOf(past.read, r)
		return err
	})
	return out, err
}

// reservedRun returns a run that is neither settled nor void, and its reservation.
func reservedRun(s rows, earlier entryReader, id string) (run, entry, error) {
	r, ok, err := getRow[run](s, key("run", id))
	if err != nil {
		return r, entry{}, err
	}
	if !ok {
		return r, entry{}, fmt.Errorf("%w: no such reservation", ErrCharge)
	}
	if r.State != stateReserved {
		return r, entry{}, fmt.Errorf("%w: it is %s already", ErrCharge, r.State)
	}
	reserved, err := earlier(r.Entry)
	if err == nil && (reserved.Kind != kindReserve || reserved.Run != id || reserved.Reservation == nil) {
		err = contradiction("a charge goes on that was never reserved")
	}
	return r, reserved, err
}

// fillAgain puts event and costs into the entry, and returns the accounts that refuse.
func fillAgain(s rows, reserved entry, e accountant.Event, to *entry) (refuse []account, err error) {
	row, ok, err := getRow[dataset](s, key("dataset", reserved.Dataset))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, contradiction("a charge goes on that has no data set")
	}
	if err := validEvent(e, row.Registration.Adjacency); err != nil {
		return nil, err
	}
	at, err := reserved.time()
	if err != nil {
		return nil, err
	}
	for _, w := range reserved.Costs {
		a, err := getAccount(s, reserved.Dataset, row, w.Account, at)
		if err != nil {
			return nil, err
		}
		cost, err := costOf(a, e)
		if err != nil {
			return nil, fmt.Errorf("ledger: the %s filter of %s: %w", a.filter.Terms().Method, w.Account, err)
		}
		to.Costs = append(to.Costs, cost)
		spent, err := cost.spent()
		if err != nil {
			return nil, err
		}
		if !a.admits(spent) {
			refuse = append(refuse, a)
		}
	}
	event := eventToWire(e.Merge())
	to.Event = &event
	return refuse, nil
}

// refuseAgain completes a refusal, and is its error inside the transaction.
func (d *decision) refuseAgain(s rows, reserved entry, now time.Time) error {
	row, _, err := getRow[dataset](s, key("dataset", reserved.Dataset))
	if err != nil {
		return err
	}
	delta, err := accountant.ParseAmount(reserved.Reservation.Delta)
	if err != nil {
		return contradiction("a reservation holds no amount")
	}
	var names []string
	for _, w := range reserved.Costs {
		names = append(names, w.Account)
	}
	if d.snapshot, err = takeSnapshot(s, reserved.Dataset, row, names, delta, now); err != nil {
		return err
	}
	if d.snapshot.before, err = getEvents(s, reserved.Dataset, row.Period); err != nil {
		return err
	}
	d.snapshot.after = d.snapshot.before
	d.refused = fmt.Sprintf("the budget of data set %q does not allow the steps that this run may do again", reserved.Dataset)
	if name := d.by[0].name; name != policyAccount {
		d.refused = fmt.Sprintf("the cap of %s on data set %q does not allow the steps that this run may do again", name, reserved.Dataset)
	}
	return errNotAdmitted
}

// attemptsOf reads what a run was charged again.
func attemptsOf(earlier entryReader, r run) ([]Attempt, error) {
	var out []Attempt
	for i, n := range r.Again {
		e, err := earlier(n)
		if err != nil {
			return nil, err
		}
		if e.Kind != kindAgain || e.Event == nil {
			return nil, contradiction("an attempt was not charged")
		}
		event, err := e.Event.event()
		if err != nil {
			return nil, err
		}
		out = append(out, Attempt{firstAttempt + 1 + int64(i), n, event})
	}
	return out, nil
}

// applyAgain charges what another attempt may do again to the accounts of its
// reservation, in the periods of that.
func applyAgain(s rows, earlier entryReader, admits admission, e entry) error {
	r, reserved, err := reservedRun(s, earlier, e.Run)
	if err != nil {
		return err
	}
	if reserved.Dataset != e.Dataset || reserved.Period != e.Period || e.Event == nil || len(e.Costs) != len(reserved.Costs) {
		return contradiction("a charge goes on otherwise than it began")
	}
	if e.Attempt != r.attempt()+1 {
		return fmt.Errorf("%w: attempt %s of it has begun already", ErrCharge, strconv.FormatInt(r.attempt(), 10))
	}
	d, ok, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	if ok && d.Period != e.Period {
		return fmt.Errorf("%w: its budget period is closed, so it counts as spent and releases nothing", ErrCharge)
	}
	if !ok || d.Pending < 1 {
		return contradiction("a charge goes on that is not pending")
	}
	at, err := reserved.time()
	if err != nil {
		return err
	}
	for i, w := range e.Costs {
		if w.Account != reserved.Costs[i].Account {
			return contradiction("a charge goes on otherwise than it began")
		}
		a, err := getAccount(s, e.Dataset, d, w.Account, at)
		if err != nil {
			return err
		}
		cost, err := w.spent()
		if err != nil {
			return err
		}
		t, ok := a.total.plus(cost)
		if !ok || !admits(a.filter, t.spentUp()) {
			return errNotAdmitted
		}
		if err := putTotal(s, e.Dataset, a.period, w.Account, t); err != nil {
			return err
		}
	}
	m, err := mechanismsOf(s, e)
	if err != nil {
		return err
	}
	if err := addEvents(s, e.Dataset, e.Period, *reserved.Reservation, m, 1); err != nil {
		return err
	}
	r.Again = append(append([]int64(nil), r.Again...), e.Number)
	return putRow(s, key("run", e.Run), r)
}

// mayEnd says whether the holder of one attempt may still end the charge.
func mayEnd(s rows, runID string, attempt int64) error {
	r, ok, err := getRow[run](s, key("run", runID))
	switch {
	case err != nil || !ok:
		return err // apply says what is wrong
	case r.attempt() != attempt:
		return fmt.Errorf("%w: another attempt at it has begun", ErrCharge)
	}
	return nil
}
