package ledger

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// The kinds of cap, each the beginning of its name: "analyst:ann",
// "purpose:labour research", "period:monthly".
const (
	capOfAnalyst = "analyst"
	capOfPurpose = "purpose"
	capOfPeriod  = "period"
)

// months is how long the periods of a renewal are; never has no length.
var months = map[string]int{"monthly": 1, "quarterly": 3, "yearly": 12}

// Shorter reports whether periods of one renewal lie within those of another:
// a month in a quarter, and all of them in a budget that never renews.
func Shorter(renewal, within string) bool {
	m, ok := months[renewal]
	return ok && (within == "never" || m < months[within])
}

// validateCaps refuses caps that are not the request's own.
func validateCaps(q Request) error {
	seen := map[string]bool{}
	for _, c := range q.Caps {
		kind, of, _ := strings.Cut(c.Name, ":")
		own := kind == capOfAnalyst && of == q.Analyst || kind == capOfPurpose && of == q.Purpose || kind == capOfPeriod && Shorter(of, q.Renews)
		if !own || seen[c.Name] {
			return fmt.Errorf("%w: a request carries at most the cap of its analyst, that of its purpose, and one for each shorter period", ErrUsage)
		}
		seen[c.Name] = true
	}
	return nil
}

// accountPeriod names the period in which an account counts a charge that was
// reserved at a time: the data set's, or for the cap of a period its own.
func accountPeriod(d dataset, account string, reserved time.Time) (string, error) {
	kind, of, _ := strings.Cut(account, ":")
	if kind != capOfPeriod {
		return d.Period, nil
	}
	period, err := periodOf(of, reserved)
	if err != nil {
		return "", contradiction("a cap is of no period")
	}
	return period, nil
}

// earlierEntries are those before the one that is decided upon.
type earlierEntries struct {
	read entryReader
	size int64
}

// openCaps does for caps what openDataset does for the data set. A cap that
// is registered in the middle of a period starts with all that was charged in
// it to the same analyst, to the same purpose or in the same period, and keeps
// that even where a reservation among it ends with less. One that is
// registered may become smaller, at the order that it has (so that less is left
// than a new cap of that size would leave); it may neither grow nor be left out.
func openCaps(s rows, past earlierEntries, row dataset, now time.Time, q Request, do func(entry) error) error {
	carried := map[string]bool{}
	for _, c := range q.Caps {
		carried[c.Name] = true
		have, registered, err := getRow[wireTerms](s, key("cap", q.Dataset, c.Name))
		if err != nil {
			return err
		}
		if registered {
			var mismatch *Mismatch
			err := compareTerms("cap of "+c.Name, have, c.Terms)
			if err == nil {
				continue
			}
			smaller, ok, again := tightened(have, c.Terms)
			if again != nil {
				return again
			}
			if !errors.As(err, &mismatch) || !ok {
				return err
			}
			if err := do(entry{Kind: kindRegister, Cap: &wireCap{c.Name, smaller}}); err != nil {
				return err
			}
			continue
		}
		f, err := accountant.NewFilter(c.Terms)
		if err != nil {
			return fmt.Errorf("%w: the cap of %s: %w", ErrUsage, c.Name, err)
		}
		cost, err := costBefore(s, past, q.Dataset, row, now, account{name: c.Name, filter: f})
		if err != nil {
			return err
		}
		if err := do(entry{Kind: kindRegister, Cap: &wireCap{c.Name, termsToWire(f.Terms())}, Costs: []wireCost{cost}}); err != nil {
			return err
		}
	}
	for _, name := range []string{capOfAnalyst + ":" + q.Analyst, capOfPurpose + ":" + q.Purpose, capOfPeriod + ":monthly", capOfPeriod + ":quarterly", capOfPeriod + ":yearly"} {
		if carried[name] {
			continue
		}
		if _, registered, err := getRow[wireTerms](s, key("cap", q.Dataset, name)); err != nil {
			return err
		} else if registered {
			return &Mismatch{fmt.Sprintf("data set %q: the cap of %s is registered and the policy leaves it out", q.Dataset, name)}
		}
	}
	return nil
}

// tightened returns the terms of a registered cap made smaller, with the order
// that they have: one order for all of a cap's life, whose limit falls with ε
// and δ, so that whatever the cap still admits it admitted before. False where
// the asked terms are not smaller, or differ in more than ε and δ.
func tightened(have wireTerms, asked accountant.Terms) (wireTerms, bool, error) {
	is, err := have.terms()
	if err != nil {
		return have, false, err
	}
	same := is.Method == asked.Method && is.ApproximateDelta.Cmp(asked.ApproximateDelta) == 0 && is.PureEpsilon.Cmp(asked.PureEpsilon) == 0 &&
		(asked.Order == 0 || asked.Order == is.Order)
	epsilon, delta := asked.Epsilon.Cmp(is.Epsilon), asked.Delta.Cmp(is.Delta)
	if !same || epsilon > 0 || delta > 0 || epsilon == 0 && delta == 0 {
		return have, false, nil
	}
	is.Epsilon, is.Delta = asked.Epsilon, asked.Delta
	if _, err := accountant.NewFilter(is); err != nil {
		return have, false, nil //nolint:nilerr // terms that make no filter are no smaller ones
	}
	return termsToWire(is), true, nil
}

// applyTighten is applyRegister for a cap that is registered already.
func applyTighten(s rows, e entry, have wireTerms) error {
	asked, err := e.Cap.Terms.terms()
	if err != nil {
		return err
	}
	smaller, ok, err := tightened(have, asked)
	if err != nil {
		return err
	}
	if !ok || smaller != e.Cap.Terms || len(e.Costs) != 0 {
		return contradiction("a cap is registered twice, or grows")
	}
	return putRow(s, key("cap", e.Dataset, e.Cap.Name), e.Cap.Terms)
}

// costBefore is what a cap costs that is registered now, for what was charged
// before.
func costBefore(s rows, past earlierEntries, name string, d dataset, now time.Time, a account) (wireCost, error) {
	charged, err := chargedBefore(s, past, name, d, now, a.name)
	if err != nil {
		return wireCost{}, err
	}
	all, err := newFigures().composed(charged)
	if err != nil {
		return wireCost{}, err
	}
	cost, err := costOf(a, all)
	if err != nil {
		return cost, fmt.Errorf("ledger: the cap of %s: %w", a.name, err)
	}
	return cost, nil
}

// chargedBefore counts the events that a cap would have counted in its newest
// period, pending ones included. For the cap of a period it reads the period's
// entries, once in the cap's life.
func chargedBefore(s rows, past earlierEntries, name string, d dataset, now time.Time, account string) (events, error) {
	kind, of, _ := strings.Cut(account, ":")
	switch kind {
	case capOfAnalyst:
		return getEvents(s, name, d.Period, of)
	case capOfPurpose:
		return getPurposeEvents(s, name, d.Period, of)
	}
	period, err := accountPeriod(d, account, now)
	if err != nil {
		return nil, err
	}
	var found []entry // newest first
	for n := past.size - 1; n >= 0; n-- {
		e, err := past.read(n)
		if err != nil {
			return nil, err
		}
		at, err := e.time()
		if err != nil {
			return nil, err
		}
		if p, err := periodOf(of, at); err != nil {
			return nil, contradiction("a cap is of no period")
		} else if p < period {
			break
		}
		if e.Dataset == name && e.Period == d.Period && e.Run != "" {
			found = append(found, e)
		}
	}
	charged := map[string]events{}
	all := events{}
	for i := len(found) - 1; i >= 0; i-- {
		e := found[i]
		_, reserved := charged[e.Run]
		switch {
		case e.Kind == kindVoid:
			delete(charged, e.Run)
		case e.Kind == kindAgain:
			m, err := mechanismsOf(nil, e)
			if err != nil {
				return nil, err
			}
			all = all.with(m)
		case e.Kind == kindReserve, e.Kind == kindSettle && reserved:
			if charged[e.Run], err = mechanismsOf(nil, e); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range charged {
		all = all.with(m)
	}
	return all, nil
}
