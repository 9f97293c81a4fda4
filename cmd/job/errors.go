package job

import (
	"github.com/privsgld/privsgld/accountant/ledger"
)

// UsageError is a request that is wrong in itself: exit code 2.
type UsageError struct {
	Message string
	Hint    string
}

func (e *UsageError) Error() string { return e.Message }

// Refusal is a request that the budget does not allow: the policy's, the job's
// cap or the analyst's. Nothing was written.
type Refusal struct {
	Message   string
	Hint      string
	Budget    *ledger.Budget
	Requested string  // the ε asked for, as written
	Grantable float64 // the largest ε that would still be granted, all caps considered
}

func (e *Refusal) Error() string { return e.Message }
