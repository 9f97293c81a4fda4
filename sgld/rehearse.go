//go:build seeded

package sgld

import (
	"context"
	"errors"
	"reflect"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// A Rehearsal is what a run with a known seed came to. It is no [Result], and nothing
// that releases takes it: whoever knows the seed can take the noise off.
type Rehearsal struct {
	Plan   *Plan
	Draws  Draws
	Events []accountant.Event // of what would have been charged
}

// Rehearse is [Run] with every random stream made from the seed: equal plans, tables
// and seeds give equal draws. A plan that buys a noisy count is refused, since that
// comes from a library that has no seed. With blind every sum is 0 before its noise:
// what comes of it then depends on no row.
func Rehearse(ctx context.Context, p *Plan, t *datasets.Table, seed uint64, blind bool, progress Progress) (*Rehearsal, error) {
	if p.CountEpsilon != nil {
		return nil, errors.New("a noisy count has no seed: declare the number of rows in the policy")
	}
	if !reflect.DeepEqual(t.Encoding(), p.Request.Encoding) {
		return nil, errors.New("the plan was made for another encoding than the table's")
	}
	g, err := newDesign(t.Records(), t.Encoding())
	if err != nil {
		return nil, err
	}
	result, err := run(ctx, p, g, func(use string) privacy.Bits {
		if blind {
			return newBlind(seed, use)
		}
		return privacy.NewSeeded(seed, use)
	}, progress)
	if err != nil {
		return nil, err
	}
	return &Rehearsal{result.Plan, result.Draws, result.Events}, nil
}
