//go:build seeded

package job

import (
	"context"
	"fmt"
	"math"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/privacy/gate"
	"github.com/privsgld/privsgld/sgld"
)

// NoGuarantee is what a rehearsal says in place of a guarantee.
const NoGuarantee = "No guarantee: the seed of all noise is known, and whoever knows it can take the noise off. This is not a release."

// Rehearse is [Run.Do] with a known seed: the same checks, plan, charge and files, but
// a result that is no release, of another kind, unsigned, and marked in every file.
// Equal requests, tables and seeds give equal draws. With blind every sum is 0 before
// its noise, and the table makes no difference.
func (r *Run) Rehearse(ctx context.Context, seed uint64, blind bool) (*Report, error) {
	p, out, err := r.start(ctx)
	if err != nil {
		return nil, err
	}
	defer p.ledger.Close() //nolint:errcheck // every entry is durable when it is made
	defer out.Close()
	rehearsal, err := gate.Rehearse(ctx, p.ledger, p.request)
	if err != nil {
		return nil, p.refusal(err)
	}
	if ctx.Err() != nil {
		return nil, giveBack(ctx, rehearsal.Void)
	}
	result, err := held(ctx, r, func() (*sgld.Rehearsal, error) {
		table, err := p.open(ctx, rehearsal)
		if err != nil {
			return nil, err
		}
		defer table.Close() //nolint:errcheck // a mapped temporary file
		return sgld.Rehearse(ctx, p.plan, table, seed, blind, r.Progress)
	})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	event := accountant.Compose(result.Events...).Merge()
	var report *Report
	err = rehearsal.Write(context.WithoutCancel(ctx), out, event, func(dir string, s *ledger.Settlement) error {
		var err error
		if report, err = p.report(result.Plan, event, s.Budget); err != nil {
			return err
		}
		report.Kind, report.Status = "rehearsal", "not a release"
		report.Guarantee.Epsilon, report.Guarantee.Charged = Number(math.Inf(1)), Number(math.Inf(1))
		report.Guarantee.EpsilonByAccountant = EpsilonByAccountant{}
		report.Guarantee.Statement, report.Guarantee.Assumptions = NoGuarantee, []string{}
		report.Warnings = append([]string{fmt.Sprintf("rehearsal with seed %d: not a release, no privacy", seed)}, report.Warnings...)
		p.complete(report, rehearsal.Reservation(), s, result.Draws)
		return p.write(dir, gate.RehearsalPrefix, report, result.Draws, NoGuarantee)
	})
	if err != nil {
		return nil, err
	}
	return report, nil
}
