package ledger

import (
	"context"
	"encoding/json"
	"net/url"
	"sort"
	"strings"

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
	Analysts         []AnalystStatus
}

// An AnalystStatus is the share of one analyst in the period.
type AnalystStatus struct {
	Name         string
	EpsilonSpent float64 // at the policy's δ, or the cap's
	Cap          *CapStatus
}

// A CapStatus is an analyst's own budget.
type CapStatus struct {
	Epsilon, Delta   accountant.Amount
	EpsilonRemaining float64
	FractionUsed     float64
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
		Analysts   []AnalystStatus   `json:"analysts"`
	}{d.Name, d.Policy, d.Epsilon, d.Delta, number(d.EpsilonSpent), number(d.EpsilonOdometer), number(d.EpsilonRemaining), number(d.FractionUsed),
		d.Entries, d.Pending, d.Period, d.Periods, d.Accountant, number(d.Order), d.Analysts})
}

// MarshalJSON writes an analyst's share with the same names.
func (a AnalystStatus) MarshalJSON() ([]byte, error) {
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

// statusInput is what is read of a data set before its figures are computed.
type statusInput struct {
	name     string
	row      dataset
	policy   account
	all      events
	analysts map[string]events
	caps     map[string]account // by analyst
}

// Status returns every registered data set, by name.
func (l *Ledger) Status(ctx context.Context) ([]DatasetStatus, error) {
	var inputs []statusInput
	err := l.store.View(ctx, func(t tx) error {
		tree, now, err := l.begin(t)
		if err != nil || tree.N == 0 {
			return err
		}
		return t.List("dataset/", func(k, _ string) error {
			name, err := url.PathUnescape(strings.TrimPrefix(k, "dataset/"))
			if err != nil {
				return contradiction("a row of state does not read")
			}
			in := statusInput{name: name, analysts: map[string]events{}, caps: map[string]account{}}
			if in.row, _, err = getRow[dataset](t, k); err != nil {
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
			return inputs[len(inputs)-1].read(t)
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

func (in *statusInput) read(t rows) (err error) {
	if in.policy, err = getAccount(t, in.name, in.row, policyAccount); err != nil {
		return err
	}
	if in.all, err = getEvents(t, in.name, in.row.Period); err != nil {
		return err
	}
	err = t.List(key("event", in.name, in.row.Period)+"/", func(k, _ string) error {
		analyst, err := url.PathUnescape(strings.Split(k, "/")[3])
		if err != nil {
			return contradiction("a counted event does not read")
		}
		if in.analysts[analyst] == nil {
			in.analysts[analyst], err = getEvents(t, in.name, in.row.Period, analyst)
		}
		return err
	})
	if err != nil {
		return err
	}
	return t.List(key("cap", in.name)+"/", func(k, _ string) error {
		name, err := url.PathUnescape(strings.Split(k, "/")[2])
		if err != nil {
			return contradiction("a row of state does not read")
		}
		analyst := strings.TrimPrefix(name, "analyst:")
		if in.analysts[analyst] == nil {
			in.analysts[analyst] = events{}
		}
		in.caps[analyst], err = getAccount(t, in.name, in.row, name)
		return err
	})
}

func (in *statusInput) status() (DatasetStatus, error) {
	terms := in.policy.filter.Terms()
	adj := in.row.Registration.Adjacency
	s := DatasetStatus{Name: in.name, Policy: in.row.Policy, Epsilon: terms.Epsilon, Delta: terms.Delta,
		FractionUsed: in.policy.filter.Fraction(in.policy.total.spentUp()), Entries: in.row.Entries, Pending: in.row.Pending,
		Period: in.row.Period, Periods: in.row.Periods, Accountant: terms.Method, Order: terms.Order, Analysts: []AnalystStatus{}}
	var err error
	if s.EpsilonSpent, err = in.all.epsilon(terms); err != nil {
		return s, err
	}
	if s.EpsilonOdometer, err = in.all.odometer(terms); err != nil {
		return s, err
	}
	if s.EpsilonRemaining, err = grantable([]account{in.policy}, adj, terms.Delta); err != nil {
		return s, err
	}
	for name, charged := range in.analysts {
		a := AnalystStatus{Name: name}
		own := terms
		if c, ok := in.caps[name]; ok {
			own = c.filter.Terms()
			a.Cap = &CapStatus{Epsilon: own.Epsilon, Delta: own.Delta, FractionUsed: c.filter.Fraction(c.total.spentUp())}
			if a.Cap.EpsilonRemaining, err = grantable([]account{in.policy, c}, adj, own.Delta); err != nil {
				return s, err
			}
		}
		if a.EpsilonSpent, err = charged.epsilon(own); err != nil {
			return s, err
		}
		s.Analysts = append(s.Analysts, a)
	}
	sort.Slice(s.Analysts, func(i, j int) bool { return s.Analysts[i].Name < s.Analysts[j].Name })
	return s, nil
}
