package main

import (
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/cmd/job"
)

func lastIterateCommand() *cli.Command {
	return &cli.Command{
		Name: "last-iterate", Usage: "ε of releasing nothing but the last iterate of a strongly convex chain",
		Description: `Where every step contracts, what a unit did to early iterates fades and the loss
stops growing with the steps. That holds for losses that are convex after
clipping, such as a generalised linear model's with one row a unit, under a
normal prior and step sizes below 2/curvature; anything else is refused. All is
in the coordinates in which gradients are clipped.

EXAMPLE:
   privsgld account last-iterate --convex --noise-multiplier 500 --steps 100000 --step-size 1e-4 --max-units 10000 --unit-smoothness 0.25 --delta 1e-6`,
		Flags: append(append(accountFlags("noise-multiplier", "sampling-rate", "steps", "delta", "schedule"),
			text("step-size", "", "step size `ETA`, of the first step with --schedule"),
			text("prior", "normal:1", "`PRIOR` of every coefficient: normal:SD"),
			text("max-units", "", "public bound `N` on the number of units"),
			text("unit-smoothness", "", "greatest curvature `K` of one unit's loss after clipping"),
			boolean("convex", "every unit's loss is convex after clipping"),
		), append(accountFlags("accountant", "adjacency"), shared()...)...),
		Action: accountLastIterate,
	}
}

func accountLastIterate(c *cli.Context) error {
	q, err := ask(c, "noise-multiplier", "steps", "step-size", "max-units", "unit-smoothness", "delta")
	if err != nil {
		return err
	}
	l, err := lastIterateOf(c, q.steps)
	if err != nil {
		return err
	}
	contraction, err := l.Contraction()
	if err != nil {
		return accountError(err)
	}
	every, err := l.Composition()
	if err != nil {
		return accountError(err)
	}
	d := q.delta.Float64Down()
	last, err := l.Event(d)
	if err != nil {
		return accountError(err)
	}
	figures, deciding, err := compare(q.method, func(m accountant.Method) (float64, float64, error) {
		return accountant.Epsilon(m, last, d)
	})
	if err != nil {
		return err
	}
	whole, order, err := accountant.Epsilon(q.method, every, d)
	if err != nil {
		return accountError(err)
	}
	if whole < deciding.value { // both hold
		deciding.value, deciding.order = whole, order
	}
	all := job.Number(whole)
	a := &answer{EpsilonAllIterates: &all, Contraction: &contraction, Assumptions: l.Assumptions()}
	a.describe(q.steps)
	a.set(q, figures, deciding)
	a.Epsilon, a.Delta, a.EpsilonByAccountant = job.Number(deciding.value), q.delta, byAccountant(figures)
	a.epsilon = deciding.value
	return render(c, a, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %s, for the last iterate of %s\n", a.epsilonText(), a.underText(), q.steps)
		a.table(w, "ε")
		fmt.Fprintf(w, "all iterates would cost ε = %s; every step shrinks distances to %s of what they were, or less\n", lossText(whole), digitsTowards(contraction, 6, 1))
		fmt.Fprintln(w, "this assumes:")
		for _, line := range a.Assumptions {
			fmt.Fprintf(w, "  - %s\n", line)
		}
	})
}

func lastIterateOf(c *cli.Context, s steps) (accountant.LastIterate, error) {
	l := accountant.LastIterate{Adjacency: s.adjacency, SamplingRate: s.q, NoiseMultiplier: s.z, Steps: s.count, Convex: c.Bool("convex")}
	var err error
	if l.StepSize, err = nearest(c, "step-size"); err != nil {
		return l, err
	}
	if l.UnitSmoothness, err = nearest(c, "unit-smoothness"); err != nil {
		return l, err
	}
	units, err := count(c, "max-units")
	if err != nil {
		return l, err
	}
	l.MaxUnits = *units
	prior := stringOr(c, "prior", "normal:1")
	sd, ok := strings.CutPrefix(prior, "normal:")
	if !ok || !plainNumber.MatchString(sd) {
		return l, usagef("--prior %q: use normal:SD with a positive number", prior)
	}
	v, err := strconv.ParseFloat(sd, 64)
	if err != nil || v < 1e-6 || v > 1e6 {
		return l, usagef("--prior: the standard deviation must lie between 1e-6 and 1e6")
	}
	l.PriorPrecision, l.PriorSmoothness = around(1/v/v, v)
	if s.alpha != 0 {
		l.StepSizes = decreasing(l.StepSize, -2*s.alpha, s.count)
		l.NoiseMultipliers = decreasing(s.z, s.alpha, s.count)
		l.StepSize, l.NoiseMultiplier, l.Steps = 0, 0, int64(len(l.StepSizes))
	}
	return l, nil
}

// around returns the float64 at or next below 1/v², and at or next above it,
// given one near it.
func around(near, v float64) (low, high float64) {
	exact := func(x float64) *big.Float { return new(big.Float).SetPrec(256).SetFloat64(x) }
	side := func(x float64) int { return exact(x).Mul(exact(x), exact(v).Mul(exact(v), exact(v))).Cmp(exact(1)) }
	for low = near; side(low) > 0; {
		low = math.Nextafter(low, 0)
	}
	for high = low; side(high) < 0; {
		high = math.Nextafter(high, math.Inf(1))
	}
	return low, high
}
