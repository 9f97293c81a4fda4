package job

import (
	"context"
	"fmt"
	"strings"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/policies"
)

// registrationOf is what the ledger keeps of a policy with its data set.
func registrationOf(p *policies.Policy) ledger.Registration {
	promise := &ledger.Promise{Text: string(p.Show()), Looser: p.LooserThan}
	if p.Approvals.Owner != nil {
		promise.Owner = p.Approvals.Owner.String()
	}
	return ledger.Registration{
		Dataset: p.Dataset.Name, PolicyName: p.Metadata.Name, PolicySHA256: p.SHA256, Unit: string(p.Dataset.Unit.Kind),
		Adjacency: p.Dataset.Adjacency, Terms: p.Budget.Terms(), Renews: p.Budget.Renews, Requests: p.Approvals.Requests, Promise: promise,
	}
}

// DraftAmendment returns the text that a data set's owner signs to register the
// policy in place of the one that is. Errors are those of ledger.DraftAmendment.
func DraftAmendment(ctx context.Context, l *ledger.Ledger, p *policies.Policy, sameRows []string, why string) (string, error) {
	return l.DraftAmendment(ctx, registrationOf(p), func(name string) (accountant.Terms, bool) { return capNamed(p, name) }, sameRows, why)
}

// capNamed returns the terms of a cap by its name in the ledger.
func capNamed(p *policies.Policy, name string) (accountant.Terms, bool) {
	kind, of, _ := strings.Cut(name, ":")
	var c *policies.Cap
	ok := false
	switch kind {
	case "analyst":
		c, ok = p.AnalystCap(of)
	case "purpose":
		c, ok = p.PurposeCap(of)
	case "period":
		var own policies.Cap
		own, ok = p.Budget.Periods[of]
		c = &own
	}
	if !ok {
		return accountant.Terms{}, false
	}
	return p.Budget.CapTerms(*c), true
}

// amendmentAssumptions says on what an amended budget rests.
func amendmentAssumptions(b ledger.Budget) (out []string) {
	for _, name := range b.SameRowsAs {
		out = append(out, fmt.Sprintf("data set %q may hold the same rows, as its owner declared: for them the guarantees of the two data sets are composed", name))
	}
	if len(b.Amendments) == 0 {
		return out
	}
	last := b.Amendments[len(b.Amendments)-1]
	return append(out, fmt.Sprintf("the owner, who amended the budget (%d times, last from (%s, %s) to (%s, %s) in entry %d of the ledger), may have done so after seeing releases, "+
		"so that all releases before and after hold to the largest budget that the owner would ever have granted, at least the newest one",
		len(b.Amendments), last.EpsilonBefore, last.DeltaBefore, last.Epsilon, last.Delta, last.Entry))
}
