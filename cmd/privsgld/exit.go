package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
	"github.com/privsgld/privsgld/cmd/job"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
	"github.com/privsgld/privsgld/sgld"
)

// Exit codes: a contract that scripts depend on.
const (
	exitDone        = 0
	exitInternal    = 1
	exitUsage       = 2
	exitBudget      = 3
	exitPolicy      = 4
	exitData        = 5
	exitLedger      = 6
	exitInterrupted = 130
)

// usageError is a fault of the command line itself.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// failure is an error as the user meets it.
type failure struct {
	exit    int
	code    string
	message string
	hint    string
	refusal *job.Refusal
}

// classify is the one switch from errors to exit codes.
func classify(err error) failure {
	var (
		usage    *usageError
		jobUsage *job.UsageError
		conflict *sgld.Conflict
		policy   *policies.Error
		unread   *job.UnreadablePolicy
		forbid   *policies.Refusal
		refusal  *job.Refusal
		mismatch *ledger.Mismatch
		unsigned *ledger.Unapproved
		rows     *job.WrongRows
		bad      *datasets.BadData
		draws    *job.BadDraws
		unmade   *job.OutputError
		noRule   *unsupportedError
		output   *outputError
		forged   *job.ForgedReport
		keyFile  *signed.FileError
	)
	switch {
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return failure{exit: exitInterrupted, code: "interrupted", message: errInterrupted.Error()}
	case errors.As(err, &usage):
		return failure{exit: exitUsage, code: "usage", message: usage.message, hint: "see privsgld --help"}
	case errors.As(err, &noRule):
		return failure{exit: exitUsage, code: "unsupported", message: noRule.message}
	case errors.As(err, &output):
		return failure{exit: exitInternal, code: "output_failed", message: output.message}
	case errors.As(err, &unmade):
		return failure{exit: exitInternal, code: "output_failed", message: unmade.Message}
	case errors.As(err, &jobUsage):
		return failure{exit: exitUsage, code: "usage", message: jobUsage.Message, hint: jobUsage.Hint}
	case errors.As(err, &keyFile):
		return failure{exit: exitUsage, code: "usage", message: keyFile.Message}
	case errors.As(err, &conflict):
		return failure{exit: exitUsage, code: "usage", message: conflict.Message}
	case errors.Is(err, gate.ErrOutputUsage):
		return failure{exit: exitUsage, code: "usage", message: err.Error(), hint: "name a new folder with --out"}
	case errors.Is(err, ledger.ErrUsage):
		return failure{exit: exitUsage, code: "usage", message: err.Error()}
	case errors.As(err, &policy):
		return failure{exit: exitUsage, code: "invalid_policy", message: policy.Error()}
	case errors.As(err, &unread):
		return failure{exit: exitUsage, code: "invalid_policy", message: unread.Message, hint: "name a policy file with --policy"}
	case errors.As(err, &refusal):
		return failure{exit: exitBudget, code: "budget_exhausted", message: refusal.Message, hint: refusal.Hint, refusal: refusal}
	case errors.As(err, &forbid):
		return failure{exit: exitPolicy, code: forbid.Code, message: forbid.Message, hint: forbid.Hint}
	case errors.As(err, &mismatch):
		return failure{exit: exitPolicy, code: "policy_violation", message: mismatch.Message, hint: "restore what is registered, or have the owner amend it: privsgld ledger amend"}
	case errors.As(err, &unsigned):
		return failure{exit: exitPolicy, code: "policy_violation", message: unsigned.Message}
	case errors.As(err, &rows):
		return failure{exit: exitPolicy, code: "policy_violation", message: rows.Message, hint: rows.Hint}
	case errors.Is(err, accountant.ErrUnsupported):
		return failure{exit: exitPolicy, code: "policy_violation", message: err.Error()}
	case errors.As(err, &bad):
		return failure{exit: exitData, code: "bad_data", message: bad.Message}
	case errors.As(err, &draws):
		return failure{exit: exitData, code: "bad_data", message: draws.Message, hint: draws.Hint}
	case errors.As(err, &forged):
		return failure{exit: exitLedger, code: "ledger_corrupt", message: forged.Message}
	case errors.Is(err, ledger.ErrCorrupt):
		return failure{exit: exitLedger, code: "ledger_corrupt", message: err.Error()}
	case errors.Is(err, ledger.ErrUnavailable):
		return failure{exit: exitLedger, code: "ledger_unavailable", message: err.Error()}
	case errors.Is(err, gate.ErrOutput):
		return failure{exit: exitInternal, code: "output_failed", message: err.Error()}
	default:
		return failure{exit: exitInternal, code: "internal", message: err.Error()}
	}
}

// fail reports the error on the stream that the output format asks for and
// returns the exit code.
func fail(err error, format string, stdout, stderr io.Writer) int {
	f := classify(err)
	var verify *verifyFailed
	if format != "json" {
		line := "privsgld: " + f.message
		if f.hint != "" {
			line += " (" + f.hint + ")"
		}
		fmt.Fprintln(stderr, line)
		return f.exit
	}
	object := map[string]any{"code": f.code, "message": f.message, "hint": f.hint}
	if f.refusal != nil {
		if f.refusal.Budget != nil {
			object["budget"] = f.refusal.Budget
		}
		object["requested_epsilon"] = json.Number(f.refusal.Requested)
		object["grantable_epsilon"] = f.refusal.Grantable
		object["refused_by"] = f.refusal.By
	}
	whole := map[string]any{"error": object}
	if errors.As(err, &verify) {
		whole["ok"], whole["entries"], whole["head"] = false, verify.v.Entries, verify.v.Head
	}
	b, jsonErr := json.MarshalIndent(whole, "", "  ")
	if jsonErr != nil {
		fmt.Fprintln(stderr, "privsgld: internal error")
		return exitInternal
	}
	fmt.Fprintf(stdout, "%s\n", b)
	return f.exit
}
