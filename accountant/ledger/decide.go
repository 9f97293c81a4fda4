package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/privsgld/privsgld/accountant"
)

// A decision is what a ledger answers to a request.
type decision struct {
	entries  []entry   // to append; the reservation last
	refused  string    // or why not
	by       []account // that refused
	behind   string    // "", or that the clock is
	snapshot snapshot
}

// result is the budget, or *Refused.
func (d *decision) result() (Budget, error) {
	b, err := d.snapshot.budget()
	if err != nil || d.refused == "" {
		return b, err
	}
	reason := d.refused
	if b.GrantableEpsilon > 0 {
		reason += fmt.Sprintf("; epsilon %s would still be granted", strconv.FormatFloat(b.GrantableEpsilon, 'g', -1, 64))
	} else {
		reason += "; no run would be granted any more"
		if period := d.by[0].period; period != "always" {
			reason += " in period " + period
		}
	}
	r := &Refused{Reason: reason + d.behind, Budget: b, GrantableEpsilon: b.GrantableEpsilon}
	for _, a := range d.by {
		r.By = append(r.By, a.name)
	}
	return b, r
}

// refusal is the error of a request that was not admitted. A decision that a failing
// store cut short is none: the filter was asked, but there is no snapshot to tell of.
func (d *decision) refusal() error {
	if d == nil || d.refused == "" {
		return errNotAdmitted
	}
	_, err := d.result()
	return err
}

// clockBehind says in a refusal that the clock is far behind the ledger's time:
// a clock that is set back opens no period again.
func (d *decision) clockBehind(clock, now time.Time) {
	if d.refused != "" && now.Sub(clock) > time.Hour {
		d.behind = "; the clock is behind the newest entry, of " + now.Format(time.RFC3339) + ", which is the ledger's time"
	}
}

// decide works out, in the overlay, what a request does to the state. past are
// the entries so far.
func decide(s *overlay, past earlierEntries, now time.Time, q Request) (*decision, error) {
	if err := validate(q); err != nil {
		return nil, err
	}
	if err := upgrade(s, past); err != nil {
		return nil, err
	}
	next := past.size
	if _, used, err := getRow[run](s, key("run", q.RunID)); err != nil {
		return nil, err
	} else if used {
		return nil, fmt.Errorf("%w: the run %s has a reservation already", ErrUsage, q.RunID)
	}
	d := &decision{}
	do := func(e entry) error {
		e.Number, e.Time, e.Dataset = next, now.Format(time.RFC3339), q.Dataset
		next++
		d.entries = append(d.entries, e)
		return apply(s, nil, admitted, e)
	}

	row, err := openDataset(s, now, q, do)
	if err != nil {
		return nil, err
	}
	if err := openCaps(s, past, row, now, q, do); err != nil {
		return nil, err
	}
	reservation := &wireReservation{q.Kind, q.Analyst, q.Purpose, q.PolicyName, q.PolicySHA256, q.JobEpsilon.String(), q.JobDelta.String(), q.Approval.wire()}
	if !q.preview {
		if err := checkRequest(s, entry{Time: now.Format(time.RFC3339), Dataset: q.Dataset, Run: q.RunID, Reservation: reservation}); err != nil {
			return nil, err
		}
	}
	names := []string{policyAccount}
	for _, c := range q.Caps {
		names = append(names, c.Name)
	}
	var costs []wireCost
	for _, name := range names {
		a, err := getAccount(s, q.Dataset, row, name, now)
		if err != nil {
			return nil, err
		}
		cost, err := costOf(a, q.Event)
		if err != nil {
			return nil, fmt.Errorf("ledger: the %s filter of %s: %w", a.filter.Terms().Method, name, err)
		}
		costs = append(costs, cost)
		if spent, err := cost.spent(); err != nil {
			return nil, err
		} else if !a.admits(spent) {
			d.by = append(d.by, a)
		}
	}
	if len(d.by) > 0 {
		d.refused = fmt.Sprintf("the budget of data set %q does not allow this job", q.Dataset)
		if name := d.by[0].name; name != policyAccount {
			d.refused = fmt.Sprintf("the cap of %s on data set %q does not allow this job", name, q.Dataset)
		}
	}
	before, err := getEvents(s, q.Dataset, row.Period)
	if err != nil {
		return nil, err
	}
	after := before
	if d.refused == "" {
		event := eventToWire(q.Event.Merge())
		err := do(entry{Kind: kindReserve, Run: q.RunID, Period: row.Period, Event: &event, Costs: costs, Reservation: reservation})
		if err != nil {
			return nil, err
		}
		m, err := mechanisms(q.Event)
		if err != nil {
			return nil, err
		}
		after = before.with(m)
	}
	if d.snapshot, err = takeSnapshot(s, q.Dataset, row, names, q.JobDelta, now); err != nil {
		return nil, err
	}
	d.snapshot.before, d.snapshot.after = before, after
	return d, nil
}

// openDataset registers the data set on its first use, or compares it with
// what is registered; and opens its next period where the time has come.
func openDataset(s rows, now time.Time, q Request, do func(entry) error) (dataset, error) {
	period, err := periodOf(q.Renews, now)
	if err != nil {
		return dataset{}, err
	}
	k := key("dataset", q.Dataset)
	row, registered, err := getRow[dataset](s, k)
	if err != nil {
		return row, err
	}
	if !registered {
		f, err := accountant.NewFilter(q.Terms)
		if err != nil {
			return row, fmt.Errorf("%w: the policy's budget: %w", ErrUsage, err)
		}
		policy, owner := promiseToWire(q.Registration)
		err = do(entry{Kind: kindRegister, Period: period,
			Registration: &wireRegistration{q.Unit, q.Adjacency, termsToWire(f.Terms()), q.Renews, ruleToWire(q.Requests), owner, policy}})
		if err != nil {
			return row, err
		}
		row, _, err = getRow[dataset](s, k)
		return row, err
	}
	if err := compare(row.Registration, q.Registration); err != nil {
		return row, err
	}
	if err := comparePromise(s, row.Registration, q.Registration); err != nil {
		return row, err
	}
	if period > row.Period {
		pending := row.Pending
		if err := do(entry{Kind: kindClose, Period: period, Pending: &pending}); err != nil {
			return row, err
		}
		row, _, err = getRow[dataset](s, k)
	}
	return row, err
}

// compare returns a *Mismatch naming the first field in which a registration
// differs.
func compare(have wireRegistration, q Registration) error {
	for _, f := range []struct{ name, registered, asked string }{
		{"privacy unit", have.Unit, q.Unit},
		{"adjacency", string(have.Adjacency), string(q.Adjacency)},
		{"budget renews", have.Renews, q.Renews},
	} {
		if f.registered != f.asked {
			return mismatch("data set "+quoted(q.Dataset), f.name, f.registered, f.asked)
		}
	}
	return compareTerms("data set "+quoted(q.Dataset), have.Terms, q.Terms)
}

func compareTerms(what string, have wireTerms, asked accountant.Terms) error {
	is, err := have.terms()
	if err != nil {
		return err
	}
	if is.Method != asked.Method {
		return mismatch(what, "accountant", string(is.Method), string(asked.Method))
	}
	for _, f := range []struct {
		name  string
		is, q accountant.Amount
	}{
		{"epsilon", is.Epsilon, asked.Epsilon}, {"delta", is.Delta, asked.Delta},
		{"approximateDelta", is.ApproximateDelta, asked.ApproximateDelta}, {"pureEpsilon", is.PureEpsilon, asked.PureEpsilon},
	} {
		if f.is.Cmp(f.q) != 0 {
			return mismatch(what, f.name, f.is.String(), f.q.String())
		}
	}
	if asked.Order != 0 && asked.Order != is.Order {
		return mismatch(what, "order", fmt.Sprint(is.Order), fmt.Sprint(asked.Order))
	}
	return nil
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

func mismatch(what, field, registered, asked string) error {
	return &Mismatch{fmt.Sprintf("%s is registered with %s %s, the policy says %s; a data set keeps the budget that it was registered with, and its caps do not grow", what, field, registered, asked)}
}

// maxText bounds every name and text of a request, in bytes.
const maxText = 1000

// validate refuses requests that no state could make right.
func validate(q Request) error {
	for _, f := range []struct{ name, value string }{
		{"run id", q.RunID}, {"data set", q.Dataset}, {"privacy unit", q.Unit}, {"kind", q.Kind},
	} {
		if f.value == "" {
			return fmt.Errorf("%w: the %s is missing", ErrUsage, f.name)
		}
	}
	for _, text := range []string{q.RunID, q.Dataset, q.Unit, q.Kind, q.Analyst, q.Purpose, q.PolicyName, q.PolicySHA256} {
		if len(text) > maxText || !utf8.ValidString(text) {
			return fmt.Errorf("%w: a name or text has more than %d bytes, or is no UTF-8", ErrUsage, maxText)
		}
	}
	if err := validateCaps(q); err != nil {
		return err
	}
	if err := validateApproval(q.Approval); err != nil {
		return err
	}
	return validEvent(q.Event, q.Adjacency)
}

// validEvent checks an event, and that it is of the given adjacency; nothing
// at all is of any.
func validEvent(e accountant.Event, adj accountant.Adjacency) error {
	if err := e.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if e.Adjacency != adj && e.Adjacency != "" {
		return fmt.Errorf("%w: the event is for adjacency %s, the data set's is %s", ErrUsage, e.Adjacency, adj)
	}
	_, err := mechanisms(e)
	return err
}

// fillSettlement puts what was done, and its costs in the accounts of the
// reservation, into the entry that settles it.
func fillSettlement(s rows, reserved entry, actual accountant.Event, e *entry) error {
	row, ok, err := getRow[dataset](s, key("dataset", reserved.Dataset))
	if err != nil {
		return err
	}
	if !ok || reserved.Kind != kindReserve {
		return fmt.Errorf("%w: no such reservation", ErrCharge)
	}
	if err := validEvent(actual, row.Registration.Adjacency); err != nil {
		return err
	}
	at, err := reserved.time()
	if err != nil {
		return err
	}
	for _, w := range reserved.Costs {
		a, err := getAccount(s, reserved.Dataset, row, w.Account, at)
		if err != nil {
			return err
		}
		cost, err := costOf(a, actual)
		if errors.Is(err, accountant.ErrUnsupported) {
			return fmt.Errorf("%w: what was done has no cost in the %s filter", ErrCharge, a.filter.Terms().Method)
		}
		if err != nil {
			return fmt.Errorf("ledger: what was done: %w", err)
		}
		e.Costs = append(e.Costs, cost)
	}
	event := eventToWire(actual.Merge())
	e.Event = &event
	return nil
}

// snapshotAfter is the snapshot after a charge ended.
func snapshotAfter(s rows, earlier entryReader, reserved, end entry) (snapshot, error) {
	row, _, err := getRow[dataset](s, key("dataset", end.Dataset))
	if err != nil {
		return snapshot{}, err
	}
	delta, err := accountant.ParseAmount(reserved.Reservation.Delta)
	if err != nil {
		return snapshot{}, contradiction("a reservation holds no amount")
	}
	var names []string
	for _, w := range reserved.Costs {
		names = append(names, w.Account)
	}
	at, err := end.time()
	if err != nil {
		return snapshot{}, err
	}
	out, err := takeSnapshot(s, end.Dataset, row, names, delta, at)
	if err != nil {
		return out, err
	}
	if out.after, err = getEvents(s, end.Dataset, row.Period); err != nil {
		return out, err
	}
	out.before = out.after
	if end.Event != nil {
		m, err := mechanismsOf(nil, end)
		if err != nil {
			return out, err
		}
		out.before = out.after.without(m)
	}
	r, _, err := getRow[run](s, key("run", end.Run))
	if err != nil {
		return out, err
	}
	for _, n := range r.Again {
		e, err := earlier(n)
		if err != nil {
			return out, err
		}
		m, err := mechanismsOf(nil, e)
		if err != nil {
			return out, err
		}
		out.before = out.before.without(m)
	}
	return out, nil
}

// takeSnapshot is a snapshot but for the events.
func takeSnapshot(s rows, name string, row dataset, accounts []string, jobDelta accountant.Amount, at time.Time) (snapshot, error) {
	out := snapshot{adjacency: row.Registration.Adjacency, jobDelta: jobDelta, period: row.Period, periods: row.Periods, amendments: row.Amendments}
	var err error
	if out.sameRowsAs, err = sameRowsAs(s, name); err != nil {
		return out, err
	}
	for _, n := range accounts {
		a, err := getAccount(s, name, row, n, at)
		if err != nil {
			return out, err
		}
		out.accounts = append(out.accounts, a)
	}
	return out, nil
}
