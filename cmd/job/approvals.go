package job

import (
	"errors"
	"time"

	"github.com/privsgld/privsgld/accountant/ledger/signed"
	"github.com/privsgld/privsgld/policies"
)

// An intent says whether a job is to run, or only to be looked at: a plan is made
// before the approvals are there, and says which are missing.
type intent bool

const (
	forReal intent = true
	planned intent = false
)

// approvals are the signatures that a job comes with.
type approvals struct {
	what       intent
	signatures []byte   // the policy's signature file
	by         []string // who approved the policy
	missing    []string // what a plan says
	request    []byte   // the signed request; nil: none
	requestBy  []string // who signed it
}

// readApprovals reads the policy's signatures, from the file beside it.
func (r *Run) readApprovals(p *policies.Policy, what intent) (a approvals, err error) {
	a.what = what
	if a.request, err = r.readRequest(p); err != nil {
		return a, err
	}
	if p.Approvals.Policy.AtLeast == 0 {
		return a, nil
	}
	if a.signatures, err = signed.ReadFile(policies.SignatureFile(r.PolicyPath)); err != nil {
		return a, err
	}
	keys, err := p.Approvers(a.signatures)
	for _, k := range keys {
		a.by = append(a.by, k.String())
	}
	return a, err
}

// decide asks the policy. A plan goes on without approvals and notes what is
// missing.
func (a *approvals) decide(p *policies.Policy, j policies.Job, now time.Time) error {
	j.Signatures, j.Request = a.signatures, a.request
	if a.what == forReal {
		return p.Approve(j, now)
	}
	if err := p.Approved(j.Signatures, j.Request); err != nil {
		var refusal *policies.Refusal
		if !errors.As(err, &refusal) {
			return err
		}
		a.missing = append(a.missing, "not approved: "+refusal.Message+" ("+refusal.Hint+")")
	}
	return p.Allows(j, now)
}
