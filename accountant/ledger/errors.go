package ledger

import "errors"

// The kinds of error of this package, grouped by the moment at which they
// arise. Every error is one line and wraps one of them, except [*Refused],
// [*Mismatch], [*Unapproved] and a cancelled context's own error.
var (
	// ErrUsage: the caller asked for something that is never possible.
	ErrUsage = errors.New("ledger: wrong request")

	// ErrUnavailable: the ledger is locked, cannot be opened or written, its
	// job key is missing, or a newer program wrote it.
	ErrUnavailable = errors.New("the ledger cannot be used")

	// ErrCorrupt: the ledger's content contradicts itself.
	ErrCorrupt = errors.New("the ledger is damaged")

	// ErrCharge: a charge cannot change in the way that was asked, because it
	// is settled or void already, its period is closed, or it would cost more
	// than was reserved.
	ErrCharge = errors.New("the charge cannot change")
)

// A Refused error says that the budget does not allow a request. Nothing was
// written.
type Refused struct {
	Reason           string   // one line: which budget, and what would still fit
	Budget           Budget   // as it stands; nothing was added
	GrantableEpsilon float64  // as in Budget
	By               []string // the accounts that refuse: "policy" or names of caps
}

func (r *Refused) Error() string { return r.Reason }

// A Mismatch error says that a data set is registered with another value than
// the request carries: a changed policy would be another budget for the same
// data. Nothing was written.
type Mismatch struct {
	Message string // one line naming the field and both (public) values
}

func (m *Mismatch) Error() string { return m.Message }
