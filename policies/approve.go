package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// The kinds of job.
const (
	Run   = "run"
	Query = "query"
)

// A Job is what somebody asks for, with the most that it may cost. Kind is Run
// (with Model, and Target where the job names one) or Query (with Query).
type Job struct {
	Kind     string
	Model    string
	Query    string
	Target   string
	Analyst  string
	Purpose  string
	LedgerID string // of the ledger that would be charged
	Epsilon  accountant.Amount
	Delta    accountant.Amount

	Signatures []byte // the policy's signature file; nil: none
	Request    []byte // the signed request; nil: none
}

// The codes of a Refusal; the command line makes exit codes of them.
const (
	PolicyViolation = "policy_violation"
	BudgetExhausted = "budget_exhausted"
)

// A Refusal says which rule of the policy a job breaks. It depends on the
// policy, the job and the date only, never on the data.
type Refusal struct {
	Code    string
	Message string
	Hint    string
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

func violation(hint, format string, args ...any) error {
	return &Refusal{PolicyViolation, fmt.Sprintf(format, args...), hint}
}

func tooMuch(hint, format string, args ...any) error {
	return &Refusal{BudgetExhausted, fmt.Sprintf(format, args...), hint}
}

// Approve returns nil if the policy is approved and allows the job at that moment,
// otherwise a *Refusal: Approved and Allows together.
func (p *Policy) Approve(j Job, now time.Time) error {
	if err := p.Approved(j.Signatures, j.Request); err != nil {
		return err
	}
	return p.Allows(j, now)
}

// Allows returns nil if the policy's rules allow the job at that moment, whoever
// approved it, otherwise a *Refusal. It decides everything that needs neither ledger nor data: kind,
// model or query, target, analyst, purpose, expiry, the pinned ledger, and that
// the job's own ε and δ are within the caps for one job and the whole budget.
// Amounts are compared exactly: a job of just the cap passes. Whether the budget
// still holds that much, and the caps of analyst, purpose and period, is the
// ledger's to decide.
func (p *Policy) Allows(j Job, now time.Time) error {
	if p.Expires != nil && p.Expires.Past(now) {
		return violation("ask the policy's owner for a new policy",
			"the policy expired on %s", p.Expires)
	}
	if p.LedgerID != "" && j.LedgerID != p.LedgerID {
		return violation("name that ledger with --ledger",
			"the policy is charged to ledger %s only, not to %s", quote(p.LedgerID), quote(j.LedgerID))
	}
	if err := p.approveAnalyst(j); err != nil {
		return err
	}
	if err := p.approveKind(j); err != nil {
		return err
	}
	return p.approveAmounts(j)
}

func (p *Policy) approveAnalyst(j Job) error {
	// "*" stands for everybody and an empty name for nobody: as a job's
	// analyst either would step around the caps.
	if j.Analyst == "*" || j.Analyst == "" && (p.Allow.Analysts != nil || len(p.Budget.Analysts) > 0) {
		return violation("name the analyst with --analyst", "the policy needs the name of one analyst, not %s", quote(j.Analyst))
	}
	if list := p.Allow.Analysts; list != nil && !slices.Contains(list, "*") && !slices.Contains(list, j.Analyst) {
		return violation("ask the policy's owner", "the policy does not allow analyst %s", quote(j.Analyst))
	}
	if j.Purpose == "*" && len(p.Budget.Purposes) > 0 || j.Purpose == "" && p.Allow.Purposes == nil && len(p.Budget.Purposes) > 0 {
		return violation("name one with --purpose", "the policy caps purposes and needs the name of one, not %s", quote(j.Purpose))
	}
	if list := p.Allow.Purposes; list != nil && !slices.Contains(list, j.Purpose) {
		if j.Purpose == "" {
			return violation("name one with --purpose: "+listed(list), "the policy asks for a purpose")
		}
		return violation("allowed: "+listed(list), "the policy does not allow purpose %s", quote(j.Purpose))
	}
	return nil
}

func (p *Policy) approveKind(j Job) error {
	switch j.Kind {
	case Run:
		if !allows(p.Allow.Models, models, j.Model) {
			return violation("allowed: "+listed(orAll(p.Allow.Models, models)), "the policy does not allow model %s", quote(j.Model))
		}
	case Query:
		if !allows(p.Allow.Queries, queries, j.Query) {
			return violation("allowed: "+listed(orAll(p.Allow.Queries, queries)), "the policy does not allow query %s", quote(j.Query))
		}
	default:
		return violation("a job is a run or a query", "the policy does not allow jobs of kind %s", quote(j.Kind))
	}
	if j.Target == "" {
		return nil
	}
	if _, ok := p.Dataset.column(j.Target); !ok {
		return violation("choose one of the policy's columns", "the policy declares no column %s to be a target", quote(j.Target))
	}
	if p.Dataset.Unit.Kind == UnitEntity && p.Dataset.Unit.Entity == j.Target {
		return violation("choose another column", "the entity key %s cannot be a target", quote(j.Target))
	}
	if list := p.Allow.Targets; list != nil && !slices.Contains(list, j.Target) {
		return violation("allowed: "+listed(list), "the policy does not allow %s as a target", quote(j.Target))
	}
	return nil
}

func (p *Policy) approveAmounts(j Job) error {
	if c := p.Budget.PerJob; c != nil {
		if j.Epsilon.Cmp(c.Epsilon) > 0 {
			return tooMuch("ask for at most --epsilon "+c.Epsilon.String(),
				"the job's epsilon %s exceeds the policy's cap of %s a job", j.Epsilon, c.Epsilon)
		}
		if c.Delta != nil && j.Delta.Cmp(*c.Delta) > 0 {
			return tooMuch("ask for at most --delta "+c.Delta.String(),
				"the job's delta %s exceeds the policy's cap of %s a job", j.Delta, *c.Delta)
		}
	}
	if j.Epsilon.Cmp(p.Budget.Epsilon) > 0 {
		return tooMuch("ask for at most --epsilon "+p.Budget.Epsilon.String(),
			"the job's epsilon %s exceeds the policy's whole budget of %s", j.Epsilon, p.Budget.Epsilon)
	}
	if j.Delta.Cmp(p.Budget.Delta) > 0 {
		return tooMuch("ask for at most --delta "+p.Budget.Delta.String(),
			"the job's delta %s exceeds the policy's %s", j.Delta, p.Budget.Delta)
	}
	return nil
}

// allows reports whether a word is one of the language and on the list, where
// there is one.
func allows(list, language []string, word string) bool {
	return slices.Contains(orAll(list, language), word) && slices.Contains(language, word)
}

func orAll(list, language []string) []string {
	if list == nil {
		return language
	}
	return list
}

func listed(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
