package job

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/policies"
)

// UsageError is a request that is wrong in itself: exit code 2.
type UsageError struct {
	Message string
	Hint    string
}

func (e *UsageError) Error() string { return e.Message }

// Refusal is a request that the budget does not allow: the policy's, or a cap of
// the job, its analyst, its purpose or the period. Nothing was written.
type Refusal struct {
	Message   string
	Hint      string
	Budget    *ledger.Budget
	Requested string  // the ε asked for, as written
	Grantable float64 // the largest ε that would still be granted, all caps considered

	// By names all that refuse: "policy", "job", or caps such as "analyst:ann",
	// "purpose:labour research" and "period:monthly".
	By []string
}

func (e *Refusal) Error() string { return e.Message }

// UnreadablePolicy is a policy file that does not open: exit code 2.
type UnreadablePolicy struct{ Message string }

func (e *UnreadablePolicy) Error() string { return e.Message }

// LoadPolicy reads and checks a policy file. Errors: *policies.Error with line
// and column, *UnreadablePolicy.
func LoadPolicy(path string) (*policies.Policy, error) {
	p, err := policies.Load(path)
	var invalid *policies.Error
	if err == nil || errors.As(err, &invalid) {
		return p, err
	}
	why := "cannot be read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "does not exist"
	case errors.Is(err, fs.ErrPermission):
		why = "may not be read by this user"
	}
	return nil, &UnreadablePolicy{Message: fmt.Sprintf("policy file %s %s", path, why)}
}
