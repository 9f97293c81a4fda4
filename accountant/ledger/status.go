package ledger

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// A DatasetStatus says what is spent and left of one data set's budget in the
// period of the ledger's time. Spent and remaining are as in [Budget].
type DatasetStatus struct {
	Name             string
	Policy           string // name in the newest reservation
	Epsilon, Delta   accountant.Amount
	EpsilonSpent     float64
	EpsilonOdometer  float64 // what has been spent whenever one stops, by accountant.Odometer at Delta; rounded up
	EpsilonRemaining float64
	FractionUsed     float64
	Entries          int64 // reservations ever made, void ones included
	Pending          int64 // of the period, neither settled nor void: they count as spent
	Period           string
	Periods          int64 // opened so far, this one included
	Accountant       accountant.Method
	Order            float64 // of the filter; 0 under the Gaussian accountant
	Analysts         []ShareStatus
	Purposes         []ShareStatus
	PeriodCaps       []PeriodCapStatus // the shortest period first
	ByPeriod         []PeriodStatus    // every period in which something was charged, the oldest first
}

// A ShareStatus is what one analyst, or one purpose, was charged in the period.
type ShareStatus struct {
	Name         string  // "" of jobs that named no purpose
	EpsilonSpent float64 // at the policy's δ, or the cap's
	Cap          *CapStatus
}

// A CapStatus is a budget within the policy's.
type CapStatus struct {
	Epsilon, Delta   accountant.Amount
	EpsilonRemaining float64 // what the policy and this cap would still grant
	FractionUsed     float64
}

// A PeriodCapStatus is the budget of a period that is shorter than the data
// set's.
type PeriodCapStatus struct {
	Renews string // monthly, quarterly or yearly
	Period string // of the ledger's time
	Cap    CapStatus
}

// A PeriodStatus is what was charged in one of the data set's periods.
type PeriodStatus struct {
	Period       string
	EpsilonSpent float64 // at the policy's δ
}

// MarshalJSON writes the status with the names of the budget command.
func (d DatasetStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name       string            `json:"name"`
		Policy     string            `json:"policy"`
		Epsilon    accountant.Amount `json:"epsilon"`
		Delta      accountant.Amount `json:"delta"`
		Spent      number            `json:"epsilon_spent"`
		Odometer   number            `json:"epsilon_odometer"`
		Remaining  number            `json:"epsilon_remaining"`
		Fraction   number            `json:"fraction_used"`
		Entries    int64             `json:"entries"`
		Pending    int64             `json:"pending"`
		Period     string            `json:"period"`
		Periods    int64             `json:"periods"`
		Accountant accountant.Method `json:"accountant"`
		Order      number            `json:"order,omitempty"`
		Analysts   []ShareStatus     `json:"analysts"`
		Purposes   []ShareStatus     `json:"purposes"`
		PeriodCaps []PeriodCapStatus `json:"period_caps"`
		ByPeriod   []PeriodStatus    `json:"by_period"`
	}{d.Name, d.Policy, d.Epsilon, d.Delta, number(d.EpsilonSpent), number(d.EpsilonOdometer), number(d.EpsilonRemaining), number(d.FractionUsed),
		d.Entries, d.Pending, d.Period, d.Periods, d.Accountant, number(d.Order), d.Analysts, d.Purposes, d.PeriodCaps, d.ByPeriod})
}

// MarshalJSON writes a share with the same names.
func (a ShareStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name  string     `json:"name"`
		Spent number     `json:"epsilon_spent"`
		Cap   *CapStatus `json:"cap,omitempty"`
	}{a.Name, number(a.EpsilonSpent), a.Cap})
}

// MarshalJSON writes a cap with the same names.
func (c CapStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Epsilon   accountant.Amount `json:"epsilon"`
		Delta     accountant.Amount `json:"delta"`
		Remaining number            `json:"epsilon_remaining"`
		Fraction  number            `json:"fraction_used"`
	}{c.Epsilon, c.Delta, number(c.EpsilonRemaining), number(c.FractionUsed)})
}

// MarshalJSON writes a period's cap with the same names.
func (p PeriodCapStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Renews string    `json:"renews"`
		Period string    `json:"period"`
		Cap    CapStatus `json:"cap"`
	}{p.Renews, p.Period, p.Cap})
}

// MarshalJSON writes a period with the same names.
func (p PeriodStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Period string `json:"period"`
		Spent  number `json:"epsilon_spent"`
	}{p.Period, number(p.EpsilonSpent)})
}

// statusInput is what is read of a data set before its figures are computed.
type statusInput struct {
	name     string
	row      dataset
	policy   account
	all      events
	now      time.Time
	analysts map[string]events
	purposes map[string]events
	periods  map[string]events
	caps     map[string]account // by name
	spent    *figures
}

// Status returns every registered data set, by name.
func (l *Ledger) Status(ctx context.Context) ([]DatasetStatus, error) {
	var inputs []statusInput
	err := l.store.View(ctx, func(t tx) error {
		tree, now, err := l.begin(t)
		if err != nil || tree.N == 0 {
			return err
		}
		s := newOverlay(t)
		if err := upgrade(s, earlierIn(t, tree)); err != nil {
			return err
		}
		return s.List("dataset/", func(k, _ string) error {
			name, err := url.PathUnescape(strings.TrimPrefix(k, "dataset/"))
			if err != nil {
				return contradiction("a row of state does not read")
			}
			in := statusInput{name: name, now: now, caps: map[string]account{}, spent: newFigures()}
			if in.row, _, err = getRow[dataset](s, k); err != nil {
				return err
			}
			period, err := periodOf(in.row.Registration.Renews, now)
			if err != nil {
				return contradiction("a data set renews in an unknown way")
			}
			if period > in.row.Period { // the next reservation will open it
				in.row.Period, in.row.Pending = period, 0
				in.row.Periods++
			}
			inputs = append(inputs, in)
			return inputs[len(inputs)-1].read(s)
		})
	})
	if err != nil {
		return nil, err
	}
	out := []DatasetStatus{}
	for _, in := range inputs {
		s, err := in.status()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

func (in *statusInput) read(s rows) (err error) {
	if in.policy, err = getAccount(s, in.name, in.row, policyAccount, in.now); err != nil {
		return err
	}
	in.periods, in.analysts = map[string]events{}, map[string]events{}
	err = eachCount(s, key("event", in.name)+"/", func(parts []string, mechanism string, n int64) error {
		if err := count(in.periods, parts[2], mechanism, n); err != nil {
			return err
		}
		if parts[2] != url.PathEscape(in.row.Period) {
			return nil
		}
		return count(in.analysts, parts[3], mechanism, n)
	})
	if err != nil {
		return err
	}
	if in.all = in.periods[in.row.Period]; in.all == nil {
		in.all = events{}
	}
	if in.purposes, err = countEventsBy(s, key("purpose", in.name, in.row.Period)+"/", 3); err != nil {
		return err
	}
	return s.List(key("cap", in.name)+"/", func(k, _ string) error {
		name, err := url.PathUnescape(strings.Split(k, "/")[2])
		if err != nil {
			return contradiction("a row of state does not read")
		}
		in.caps[name], err = getAccount(s, in.name, in.row, name, in.now)
		return err
	})
}

func (in *statusInput) status() (DatasetStatus, error) {
	terms := in.policy.filter.Terms()
	s := DatasetStatus{Name: in.name, Policy: in.row.Policy, Epsilon: terms.Epsilon, Delta: terms.Delta,
		FractionUsed: in.policy.filter.Fraction(in.policy.total.spentUp()), Entries: in.row.Entries, Pending: in.row.Pending,
		Period: in.row.Period, Periods: in.row.Periods, Accountant: terms.Method, Order: terms.Order,
		PeriodCaps: []PeriodCapStatus{}, ByPeriod: []PeriodStatus{}}
	var err error
	if s.EpsilonSpent, err = in.spent.epsilon(in.all, terms); err != nil {
		return s, err
	}
	if s.EpsilonOdometer, err = in.spent.odometer(in.all, terms); err != nil {
		return s, err
	}
	if s.EpsilonRemaining, err = grantable([]account{in.policy}, in.row.Registration.Adjacency, terms.Delta); err != nil {
		return s, err
	}
	if s.Analysts, err = in.shares(capOfAnalyst, in.analysts); err != nil {
		return s, err
	}
	if s.Purposes, err = in.shares(capOfPurpose, in.purposes); err != nil {
		return s, err
	}
	for _, renews := range []string{"monthly", "quarterly", "yearly"} {
		a, ok := in.caps[capOfPeriod+":"+renews]
		if !ok {
			continue
		}
		c, err := in.cap(a)
		if err != nil {
			return s, err
		}
		s.PeriodCaps = append(s.PeriodCaps, PeriodCapStatus{renews, a.period, *c})
	}
	for _, period := range slices.Sorted(maps.Keys(in.periods)) {
		spent := s.EpsilonSpent
		if period != in.row.Period {
			if spent, err = in.spent.epsilon(in.periods[period], terms); err != nil {
				return s, err
			}
		}
		s.ByPeriod = append(s.ByPeriod, PeriodStatus{period, spent})
	}
	return s, nil
}

// shares returns what analysts, or purposes, were charged, by name; those that
// have a cap are there whatever they were charged.
func (in *statusInput) shares(kind string, charged map[string]events) ([]ShareStatus, error) {
	names := map[string]bool{}
	for name := range charged {
		names[name] = true
	}
	for name := range in.caps {
		if k, of, _ := strings.Cut(name, ":"); k == kind {
			names[of] = true
		}
	}
	out := []ShareStatus{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s := ShareStatus{Name: name}
		own := in.policy.filter.Terms()
		var err error
		if c, ok := in.caps[kind+":"+name]; ok {
			own = c.filter.Terms()
			if s.Cap, err = in.cap(c); err != nil {
				return nil, err
			}
		}
		if s.EpsilonSpent, err = in.spent.epsilon(charged[name], own); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (in *statusInput) cap(a account) (*CapStatus, error) {
	own := a.filter.Terms()
	left, err := grantable([]account{in.policy, a}, in.row.Registration.Adjacency, own.Delta)
	if err != nil {
		return nil, err
	}
	return &CapStatus{Epsilon: own.Epsilon, Delta: own.Delta, EpsilonRemaining: left, FractionUsed: a.filter.Fraction(a.total.spentUp())}, nil
}
