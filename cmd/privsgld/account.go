package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/cmd/job"
)

func accountCommand() *cli.Command {
	calculator := func(name, usage, description string, flags []string, action cli.ActionFunc) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, Description: description,
			Flags: append(accountFlags(append(flags, "accountant", "adjacency")...), shared()...), Action: action,
		}
	}
	return &cli.Command{
		Name: "account", Usage: "pure calculators of privacy loss: no ledger, no data",
		Subcommands: []*cli.Command{
			calculator("epsilon", "ε of a number of noisy steps", `A noise multiplier is the noise's standard deviation over the bound of one unit's
contribution, the sensitivity under add-remove. With --schedule poly:ALPHA step k
has the noise multiplier Z·k^(ALPHA/2), as step sizes ∝ k^−ALPHA imply.

EXAMPLE:
   privsgld account epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --steps 10000 --delta 1e-5`,
				[]string{"noise-multiplier", "sampling-rate", "steps", "delta", "schedule", "grid", "plot"}, accountEpsilon),
			calculator("delta", "δ of a number of noisy steps at a given ε", `EXAMPLE:
   privsgld account delta --noise-multiplier 1.1 --sampling-rate 0.01 --steps 10000 --epsilon 2`,
				[]string{"noise-multiplier", "sampling-rate", "steps", "epsilon", "schedule", "grid", "plot"}, accountDelta),
			calculator("noise", "the least noise multiplier within (ε, δ)", `With --schedule poly:ALPHA the noise multipliers of all steps, Z·k^(ALPHA/2), are
found together; the result is the first and the last.

EXAMPLE:
   privsgld account noise --epsilon 1 --delta 1e-5 --sampling-rate 0.01 --steps 10000`,
				[]string{"epsilon", "delta", "sampling-rate", "steps", "schedule", "plot"}, accountNoise),
			calculator("steps", "the most steps within (ε, δ)", `EXAMPLE:
   privsgld account steps --epsilon 2 --delta 1e-5 --sampling-rate 0.01 --noise-multiplier 1.1`,
				[]string{"epsilon", "delta", "sampling-rate", "noise-multiplier", "plot"}, accountSteps),
			calculator("rate", "the largest sampling rate within (ε, δ)", `EXAMPLE:
   privsgld account rate --epsilon 2 --delta 1e-5 --noise-multiplier 1.1 --steps 10000`,
				[]string{"epsilon", "delta", "noise-multiplier", "steps"}, accountRate),
			calculator("clip", "the largest clip bound within (ε, δ), for noise of a given size", `Noise of standard deviation SD on sums of contributions of norm at most C has the
noise multiplier SD/C.

EXAMPLE:
   privsgld account clip --noise-sd 3 --epsilon 2 --delta 1e-5 --sampling-rate 0.01 --steps 10000`,
				[]string{"noise-sd", "epsilon", "delta", "sampling-rate", "steps"}, accountClip),
			composeCommand(), exportCommand(), lastIterateCommand(),
		},
	}
}

// accountFlags returns the named flags of the calculators, in that order.
func accountFlags(names ...string) []cli.Flag {
	flags := make([]cli.Flag, 0, len(names))
	for _, name := range names {
		f, ok := map[string]cli.Flag{
			"noise-multiplier": text("noise-multiplier", "", "noise multiplier `Z` of a step, of the first with --schedule"),
			"noise-sd":         text("noise-sd", "", "standard deviation `SD` of the noise"),
			"sampling-rate":    text("sampling-rate", "1", "rate `Q` at which a unit joins a step, independently of others"),
			"steps":            text("steps", "", "number `T` of steps"),
			"epsilon":          text("epsilon", "", "`E` of the guarantee"),
			"delta":            text("delta", "", "`D` of the guarantee"),
			"schedule":         text("schedule", "constant", "`SCHEDULE` of the steps: constant or poly:ALPHA"),
			"grid":             text("grid", "", "spacing `H` of the loss grid in nats, for --accountant pld (default: chosen)"),
			"plot":             text("plot", "", "`FILE.svg` to draw"),
			"accountant":       text("accountant", "rdp", "`ACCOUNTANT` that decides: rdp, pld or gdp"),
			"adjacency":        text("adjacency", "add-remove", "`RELATION` of neighbours: add-remove or replace-one"),
			"names":            text("names", "dp_accounting", "`NAMES` of the events: dp_accounting or privsgld"),
			"to":               text("to", "", "`FILE` to write (default: standard output)"),
		}[name]
		if !ok {
			panic("privsgld: no such flag")
		}
		flags = append(flags, f)
	}
	return flags
}

// unsupportedError: the accountant that was asked for has no rule for the events.
type unsupportedError struct{ message string }

func (e *unsupportedError) Error() string { return e.message }

// accountError turns an accountant's error into the user's: they are all about
// what was asked for.
func accountError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, accountant.ErrUnsupported):
		return &unsupportedError{strings.TrimPrefix(err.Error(), accountant.ErrUnsupported.Error()+": ")}
	case errors.Is(err, accountant.ErrDomain):
		return usagef("%s", strings.TrimPrefix(err.Error(), accountant.ErrDomain.Error()+": "))
	}
	return err
}

func accountEpsilon(c *cli.Context) error {
	q, err := ask(c, "noise-multiplier", "steps", "delta")
	if err != nil {
		return err
	}
	a := &answer{}
	a.describe(q.steps)
	if err := q.price(a, q.steps.event(), *q.delta); err != nil {
		return err
	}
	if a.Plot, err = plotSteps(q, a.epsilon); err != nil {
		return err
	}
	return render(c, a, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %s, for %s\n", a.epsilonText(), a.underText(), q.steps)
		a.table(w, "ε")
	})
}

func accountDelta(c *cli.Context) error {
	q, err := ask(c, "noise-multiplier", "steps", "epsilon")
	if err != nil {
		return err
	}
	a, e, eps := &answer{}, q.steps.event(), q.epsilon.Float64Down()
	a.describe(q.steps)
	figures, deciding, err := compare(q.method, func(m accountant.Method) (float64, float64, error) {
		return accountant.Delta(m, e, eps)
	})
	if err != nil {
		return err
	}
	if q.method == accountant.MethodPLD {
		b, err := accountant.PLDDelta(e, eps, accountant.PLDOptions{Interval: q.grid})
		if err != nil {
			return accountError(err)
		}
		deciding.bounds, deciding.value = &b, min(deciding.value, b.Upper)
		a.DeltaBounds, a.Grid = &bounds{job.Number(b.Lower), job.Number(b.Upper)}, b.Interval
	}
	a.set(q, figures, deciding)
	a.Epsilon, a.Delta, a.DeltaByAccountant = q.epsilon, job.Number(deciding.value), byAccountant(figures)
	if a.Plot, err = plotProfile(q, q.steps.coarse(), eps, deciding.value); err != nil {
		return err
	}
	return render(c, a, func(w io.Writer) {
		fmt.Fprintf(w, "δ = %s at ε = %s, %s, for %s\n", shortUp(deciding.value), q.epsilon, a.underText(), q.steps)
		a.table(w, "δ")
	})
}

func accountNoise(c *cli.Context) error {
	q, err := ask(c, "epsilon", "delta", "steps")
	if err != nil {
		return err
	}
	t, err := q.target()
	if err != nil {
		return err
	}
	if err := q.reads(); err != nil {
		return err
	}
	if q.steps.z, err = q.noise(t); err != nil {
		return err
	}
	a := &answer{TargetEpsilon: q.epsilon}
	a.describe(q.steps)
	if err := q.price(a, q.steps.event(), *q.delta); err != nil {
		return err
	}
	if a.Plot, err = plotSteps(q, t.Epsilon); err != nil {
		return err
	}
	return render(c, a, func(w io.Writer) {
		fmt.Fprintf(w, "noise multiplier %s", digitsTowards(q.steps.z, 6, 1))
		if a.NoiseMultiplierLast != nil {
			fmt.Fprintf(w, " at the first step, %s at the last", digitsTowards(*a.NoiseMultiplierLast, 6, 1))
		}
		fmt.Fprintf(w, ": %s, %s, for %d steps at rate %s\n", a.epsilonText(), a.underText(), q.steps.count, short(q.steps.q))
		a.table(w, "ε")
	})
}

func accountSteps(c *cli.Context) error {
	q, err := ask(c, "epsilon", "delta", "noise-multiplier")
	if err != nil {
		return err
	}
	t, err := q.target()
	if err != nil {
		return err
	}
	q.steps.count = 1
	if err := q.reads(); err != nil {
		return err
	}
	// Where not even one step fits, the answer is none.
	first, _, err := accountant.Epsilon(q.method, q.steps.event(), t.Delta)
	if err != nil {
		return accountError(err)
	}
	q.steps.count = 0
	if first <= t.Epsilon {
		q.steps.count, err = accountant.CalibrateSteps(q.method, t, func(n int64) accountant.Event {
			s := q.steps
			s.count = n
			return s.event()
		})
		if err != nil {
			return accountError(err)
		}
	}
	a := &answer{TargetEpsilon: q.epsilon}
	a.describe(q.steps)
	if err := q.price(a, q.steps.event(), *q.delta); err != nil {
		return err
	}
	if a.Plot, err = plotSteps(q, t.Epsilon); err != nil {
		return err
	}
	return render(c, a, func(w io.Writer) {
		if q.steps.count == 0 {
			fmt.Fprintf(w, "no step: one alone costs ε = %s, %s\n", shortUp(first), a.underText())
			return
		}
		most := ""
		if q.steps.count == 1<<53 {
			most = "at least "
		}
		fmt.Fprintf(w, "%s%d steps: %s, %s, at rate %s with noise multiplier %s\n", most, q.steps.count, a.epsilonText(), a.underText(), short(q.steps.q), short(q.steps.z))
		a.table(w, "ε")
	})
}

func accountRate(c *cli.Context) error {
	q, err := ask(c, "epsilon", "delta", "noise-multiplier", "steps")
	if err != nil {
		return err
	}
	t, err := q.target()
	if err != nil {
		return err
	}
	if err := q.reads(); err != nil {
		return err
	}
	q.steps.q, err = accountant.CalibrateRate(q.method, t, func(rate float64) accountant.Event {
		s := q.steps
		s.q = rate
		return s.event()
	})
	if err != nil {
		return accountError(err)
	}
	a := &answer{TargetEpsilon: q.epsilon}
	a.describe(q.steps)
	if err := q.price(a, q.steps.event(), *q.delta); err != nil {
		return err
	}
	return render(c, a, func(w io.Writer) {
		fmt.Fprintf(w, "sampling rate %s: %s, %s, for %d steps with noise multiplier %s\n",
			digitsTowards(q.steps.q, 6, -1), a.epsilonText(), a.underText(), q.steps.count, short(q.steps.z))
		a.table(w, "ε")
	})
}

func accountClip(c *cli.Context) error {
	q, err := ask(c, "noise-sd", "epsilon", "delta", "steps")
	if err != nil {
		return err
	}
	sd, err := nearest(c, "noise-sd")
	if err != nil {
		return err
	}
	if sd == 0 {
		return usagef("--noise-sd must be positive: without noise no clip bound meets epsilon and delta")
	}
	t, err := q.target()
	if err != nil {
		return err
	}
	if err := q.reads(); err != nil {
		return err
	}
	if q.steps.z, err = q.noise(t); err != nil {
		return err
	}
	clip := math.Nextafter(sd/q.steps.z, 0)
	if clip == 0 || math.IsInf(sd/q.steps.z, 1) {
		return usagef("--noise-sd %s leaves no clip bound within the range of numbers", c.String("noise-sd"))
	}
	a := &answer{TargetEpsilon: q.epsilon, Clip: &clip, NoiseSD: &sd}
	a.describe(q.steps)
	if err := q.price(a, q.steps.event(), *q.delta); err != nil {
		return err
	}
	return render(c, a, func(w io.Writer) {
		fmt.Fprintf(w, "clip %s with noise of standard deviation %s, noise multiplier %s: %s, %s, for %d steps at rate %s\n",
			digitsTowards(clip, 6, -1), short(sd), digitsTowards(q.steps.z, 6, 1), a.epsilonText(), a.underText(), q.steps.count, short(q.steps.q))
		a.table(w, "ε")
	})
}
