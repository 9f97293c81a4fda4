package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// errNotAdmitted: a filter does not admit a reservation.
var errNotAdmitted = errors.New("ledger: the budget does not admit the reservation")

// An entryReader gives earlier entries by their number.
type entryReader func(number int64) (entry, error)

// An admission is a filter's decision on a total.
type admission func(f *accountant.Filter, total accountant.Spent) bool

// admitted is the decision that counts.
func admitted(f *accountant.Filter, total accountant.Spent) bool { return f.Admits(total) }

// apply makes the one change of state that an entry stands for, or says why
// there is none: errNotAdmitted, ErrCharge, or ErrCorrupt where the entry
// contradicts the state. It is a function of its arguments. Writing an entry
// and verifying a ledger both go through it, so that no entry can be written
// that would not verify.
func apply(s rows, earlier entryReader, admits admission, e entry) error {
	switch e.Kind {
	case kindRegister:
		return applyRegister(s, e)
	case kindReserve:
		return applyReserve(s, admits, e)
	case kindSettle, kindVoid:
		return applyEnd(s, earlier, e)
	case kindAgain:
		return applyAgain(s, earlier, admits, e)
	case kindClose:
		return applyClose(s, e)
	case kindFingerprint:
		return applyFingerprint(s, e)
	case kindAmend:
		return applyAmend(s, e)
	}
	return contradiction("an entry has an unknown kind")
}

func contradiction(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

func applyRegister(s rows, e entry) error {
	d, registered, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	if e.Cap == nil {
		if registered || e.Registration == nil || e.Period == "" || e.Dataset == "" {
			return contradiction("a data set is registered twice, or with nothing")
		}
		return putRegistration(s, e.Dataset, dataset{Period: e.Period, Periods: 1}, *e.Registration)
	}
	have, again, err := getRow[wireTerms](s, key("cap", e.Dataset, e.Cap.Name))
	if err != nil {
		return err
	}
	if registered && again && e.Registration == nil {
		return applyTighten(s, e, have)
	}
	if !registered || again || e.Registration != nil || e.Cap.Name == policyAccount || len(e.Costs) != 1 || e.Costs[0].Account != e.Cap.Name {
		return contradiction("a cap is registered twice, or for no data set")
	}
	cost, err := e.Costs[0].spent()
	if err != nil {
		return err
	}
	t, ok := total{}.plus(cost)
	if !ok {
		return contradiction("a cost is no finite number")
	}
	at, err := e.time()
	if err != nil {
		return err
	}
	period, err := accountPeriod(d, e.Cap.Name, at)
	if err != nil {
		return err
	}
	if err := putTotal(s, e.Dataset, period, e.Cap.Name, t); err != nil {
		return err
	}
	return putRow(s, key("cap", e.Dataset, e.Cap.Name), e.Cap.Terms)
}

func applyClose(s rows, e entry) error {
	d, ok, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	if !ok || e.Period <= d.Period || e.Pending == nil || *e.Pending != d.Pending {
		return contradiction("a period opens that does not follow")
	}
	d.Period, d.Pending = e.Period, 0
	d.Periods++
	return putRow(s, key("dataset", e.Dataset), d)
}

func applyReserve(s rows, admits admission, e entry) error {
	d, ok, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	_, again, err := getRow[run](s, key("run", e.Run))
	if err != nil {
		return err
	}
	if !ok || again || e.Run == "" || e.Event == nil || e.Reservation == nil || e.Period != d.Period {
		return contradiction("a reservation has no data set or period, or a used run name")
	}
	if len(e.Costs) == 0 || e.Costs[0].Account != policyAccount {
		return contradiction("a reservation is not charged to the policy")
	}
	at, err := e.time()
	if err != nil {
		return err
	}
	for i, w := range e.Costs {
		for _, other := range e.Costs[:i] {
			if other.Account == w.Account {
				return contradiction("a reservation is charged twice to one account")
			}
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
	if err := addEvents(s, e.Dataset, d.Period, *e.Reservation, m, 1); err != nil {
		return err
	}
	d.Entries++
	d.Pending++
	d.Policy = e.Reservation.PolicyName
	if err := putRow(s, key("dataset", e.Dataset), d); err != nil {
		return err
	}
	return putRow(s, key("run", e.Run), run{Entry: e.Number, State: stateReserved})
}

// applyEnd settles a reservation or makes it void: the reserved costs and
// events are taken out exactly, and the actual ones of a settlement put in.
func applyEnd(s rows, earlier entryReader, e entry) error {
	r, ok, err := getRow[run](s, key("run", e.Run))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: no such reservation", ErrCharge)
	}
	if r.State != stateReserved {
		return fmt.Errorf("%w: it is %s already", ErrCharge, r.State)
	}
	if e.Kind == kindVoid && len(r.Again) > 0 {
		return fmt.Errorf("%w: its data was opened by an earlier attempt", ErrCharge)
	}
	reserved, err := earlier(r.Entry)
	if err != nil {
		return err
	}
	if reserved.Kind != kindReserve || reserved.Run != e.Run || reserved.Dataset != e.Dataset || reserved.Period != e.Period || reserved.Reservation == nil {
		return contradiction("a charge ends that was never reserved")
	}
	d, ok, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	if ok && d.Period != e.Period {
		return fmt.Errorf("%w: its budget period is closed, so it counts as spent and releases nothing", ErrCharge)
	}
	if !ok || d.Pending < 1 {
		return contradiction("a charge ends that is not pending")
	}

	if e.Kind == kindSettle && (e.Event == nil || len(e.Costs) != len(reserved.Costs)) || e.Kind == kindVoid && (e.Event != nil || len(e.Costs) != 0) {
		return contradiction("a charge ends with other costs than it began")
	}
	at, err := reserved.time()
	if err != nil {
		return err
	}
	for i, w := range reserved.Costs {
		period, err := accountPeriod(d, w.Account, at)
		if err != nil {
			return err
		}
		t, err := getTotal(s, e.Dataset, period, w.Account)
		if err != nil {
			return err
		}
		was, err := w.spent()
		if err != nil {
			return err
		}
		t, ok := t.minus(was)
		if !ok {
			return contradiction("less is charged than was reserved")
		}
		if e.Kind == kindSettle {
			if e.Costs[i].Account != w.Account {
				return contradiction("a charge ends with other costs than it began")
			}
			is, err := e.Costs[i].spent()
			if err != nil {
				return err
			}
			if !(is.Loss <= was.Loss) || is.PureEpsilon.Cmp(was.PureEpsilon) > 0 || is.ApproximateDelta.Cmp(was.ApproximateDelta) > 0 {
				return fmt.Errorf("%w: what was done costs more than was reserved", ErrCharge)
			}
			if t, ok = t.plus(is); !ok {
				return contradiction("a cost is no finite number")
			}
		}
		if err := putTotal(s, e.Dataset, period, w.Account, t); err != nil {
			return err
		}
	}

	m, err := mechanismsOf(s, reserved)
	if err != nil {
		return err
	}
	by := *reserved.Reservation
	if err := addEvents(s, e.Dataset, e.Period, by, m, -1); err != nil {
		return err
	}
	r.State = stateVoid
	if e.Kind == kindSettle {
		r.State = stateSettled
		if m, err = mechanismsOf(s, e); err != nil {
			return err
		}
		if err := addEvents(s, e.Dataset, e.Period, by, m, 1); err != nil {
			return err
		}
	}
	d.Pending--
	if err := putRow(s, key("dataset", e.Dataset), d); err != nil {
		return err
	}
	return putRow(s, key("run", e.Run), r)
}

// mechanismsOf returns the counts of an entry's event, not to be changed.
func mechanismsOf(s rows, e entry) (events, error) {
	m := memoOf(s)
	var k string
	if m != nil {
		if k = m.keys[e.Event]; k == "" {
			m = nil
		} else if out, ok := m.mechanisms[k]; ok {
			return out, nil
		}
	}
	event, err := e.Event.event()
	if err != nil {
		return nil, err
	}
	out, err := mechanisms(event)
	if err == nil && m != nil {
		m.mechanisms[k] = out
	}
	return out, err
}

// getAccount returns the policy's account or a cap's, in the data set's
// newest period and in the cap's period of a time.
func getAccount(s rows, name string, d dataset, accountName string, at time.Time) (a account, err error) {
	terms := d.Registration.Terms
	if accountName != policyAccount {
		var ok bool
		if terms, ok, err = getRow[wireTerms](s, key("cap", name, accountName)); err != nil {
			return a, err
		} else if !ok {
			return a, contradiction("a reservation is charged to a cap that is not registered")
		}
	}
	a.name = accountName
	if m := memoOf(s); m != nil {
		a.filter, err = m.filter(terms)
	} else {
		a.filter, err = terms.filter()
	}
	if err != nil {
		return a, err
	}
	if a.period, err = accountPeriod(d, accountName, at); err != nil {
		return a, err
	}
	a.total, err = getTotal(s, name, a.period, accountName)
	return a, err
}

// costOf is what an event costs in an account's filter.
func costOf(a account, e accountant.Event) (wireCost, error) {
	cost, err := a.filter.Cost(e)
	if err != nil {
		return wireCost{}, err
	}
	return costToWire(a.name, cost), nil
}
