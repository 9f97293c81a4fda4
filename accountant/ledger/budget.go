package ledger

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/privsgld/privsgld/accountant"
)

// A Budget is the state of one data set's budget in one period around one
// request.
type Budget struct {
	Epsilon accountant.Amount // the policy's
	Delta   accountant.Amount

	// EpsilonSpentBefore and EpsilonSpentAfter are the composed curve of
	// everything charged in the period without and with this request,
	// converted at Delta by its best order and rounded up; under the Gaussian
	// accountant they are the filter's own loss, converted. The filter alone
	// decides, at its fixed order.
	EpsilonSpentBefore float64
	EpsilonSpentAfter  float64

	// EpsilonRemaining is the largest ε that one more full-batch Gaussian run
	// would be granted by the policy's filter at the policy's δ, rounded down
	// to 6 significant digits.
	EpsilonRemaining float64

	// FractionUsed is the share of the policy's filter that is used, 0 to 1.
	FractionUsed float64

	Order   float64 // of the policy's filter; 0 under the Gaussian accountant
	Period  string  // always, or the year, quarter or month: 2026, 2026-Q4, 2026-11
	Periods int64   // periods opened so far, this one included

	Amendments []AmendmentRef // by which Epsilon and Delta came about; nil: they are as registered
	SameRowsAs []string       // other data sets that may hold the same rows, as an owner declared

	// GrantableEpsilon is EpsilonRemaining at the job's δ and under all caps of
	// the request as well.
	GrantableEpsilon float64
}

// MarshalJSON writes the budget with the names of the report; infinity is the
// string "inf".
func (b Budget) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Epsilon   accountant.Amount `json:"epsilon"`
		Delta     accountant.Amount `json:"delta"`
		Before    number            `json:"epsilon_spent_before"`
		After     number            `json:"epsilon_spent_after"`
		Remaining number            `json:"epsilon_remaining"`
		Fraction  number            `json:"fraction_used"`
		Grantable number            `json:"grantable_epsilon"`
		Order     number            `json:"order,omitempty"`
		Period    string            `json:"period"`
		Periods   int64             `json:"periods"`
		Amended   []AmendmentRef    `json:"amendments,omitempty"`
		SameRows  []string          `json:"same_rows_as,omitempty"`
	}{b.Epsilon, b.Delta, number(b.EpsilonSpentBefore), number(b.EpsilonSpentAfter), number(b.EpsilonRemaining),
		number(b.FractionUsed), number(b.GrantableEpsilon), number(b.Order), b.Period, b.Periods, b.Amendments, b.SameRowsAs})
}

// A number marshals infinity as "inf".
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(n), 1) {
		return []byte(`"inf"`), nil
	}
	return json.Marshal(float64(n))
}

// An account is a filter and what was charged to it.
type account struct {
	name   string // policyAccount or the cap's name
	period string
	filter *accountant.Filter
	total  total
}

// A snapshot is all that a Budget is computed from. It is taken inside the
// transaction; the computation, which takes longer, happens after it.
type snapshot struct {
	accounts      []account // the policy's first, then the caps'
	adjacency     accountant.Adjacency
	jobDelta      accountant.Amount
	period        string
	periods       int64
	before, after events
	amendments    []AmendmentRef
	sameRowsAs    []string
}

func (s *snapshot) budget() (Budget, error) {
	terms := s.accounts[0].filter.Terms()
	b := Budget{Epsilon: terms.Epsilon, Delta: terms.Delta, Order: terms.Order, Period: s.period, Periods: s.periods, Amendments: s.amendments, SameRowsAs: s.sameRowsAs}
	var err error
	spent := newFigures()
	if b.EpsilonSpentBefore, err = spent.epsilon(s.before, terms); err != nil {
		return b, err
	}
	if b.EpsilonSpentAfter, err = spent.epsilon(s.after, terms); err != nil {
		return b, err
	}
	b.FractionUsed = s.accounts[0].filter.Fraction(s.accounts[0].total.spentUp())
	if b.EpsilonRemaining, err = grantable(s.accounts[:1], s.adjacency, terms.Delta); err != nil {
		return b, err
	}
	b.GrantableEpsilon, err = grantable(s.accounts, s.adjacency, s.jobDelta)
	return b, err
}

// leastEpsilon is the smallest ε that a job may ask for.
const leastEpsilon = 1e-9

// grantable returns the largest ε, rounded down to 6 significant digits, such
// that one more full-batch Gaussian run calibrated to (ε, delta) by the first
// account's accountant is admitted by all accounts; 0 where none is, or where
// delta is 0.
//
// The rounding makes room for the accountant's own: what it returns is tried
// as such a run would be, and lowered by a digit until it is admitted.
func grantable(accounts []account, adj accountant.Adjacency, delta accountant.Amount) (float64, error) {
	d := delta.Float64Down()
	if !(d > 0 && d < 1) {
		return 0, nil
	}
	mu := math.Inf(1)
	for _, a := range accounts {
		mu = min(mu, a.filter.GaussianLeft(a.total.spentUp()))
	}
	if !(mu > 0) {
		return 0, nil
	}
	method := accounts[0].filter.Terms().Method
	eps, _, err := accountant.Epsilon(method, gaussian(adj, mu), d)
	if err != nil {
		return 0, fmt.Errorf("ledger: what is left: %w", err)
	}
	const tries = 16
	for range tries {
		if math.IsInf(eps, 1) || eps < leastEpsilon {
			return 0, nil
		}
		amount := accountant.AmountDown(eps)
		eps = amount.Float64Down() // what a job that asks for this decimal is planned with
		ok, err := admitsGaussian(accounts, adj, accountant.GaussianMu(method, eps, d))
		if err != nil {
			return 0, err
		}
		if ok {
			// The nearest double, whose shortest text is the decimal itself.
			return strconv.ParseFloat(amount.String(), 64)
		}
		eps *= 1 - 2e-6
	}
	return 0, nil
}

func admitsGaussian(accounts []account, adj accountant.Adjacency, mu float64) (bool, error) {
	if !(mu > 0) {
		return false, nil
	}
	for _, a := range accounts {
		cost, err := a.filter.Cost(gaussian(adj, mu))
		if err != nil {
			return false, fmt.Errorf("ledger: what is left: %w", err)
		}
		if !a.admits(cost) {
			return false, nil
		}
	}
	return true, nil
}

// gaussian is one full-batch Gaussian step of Gaussian-DP parameter at most mu.
func gaussian(adj accountant.Adjacency, mu float64) accountant.Event {
	sensitivity := 1.0
	if adj == accountant.ReplaceOne {
		sensitivity = 2
	}
	return accountant.Gaussian(adj, math.Nextafter(sensitivity/mu, math.Inf(1)), 1)
}

// admits reports whether one more cost fits into the account.
func (a account) admits(cost accountant.Spent) bool {
	t, ok := a.total.plus(cost)
	return ok && a.filter.Admits(t.spentUp())
}
