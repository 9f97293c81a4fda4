package main

import (
	"fmt"
	"regexp"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant"
)

// steps are what the flags describe: T steps with noise multipliers
// Z·k^(Alpha/2), each on a sample at rate Q. What a command finds is 0 until
// then.
type steps struct {
	adjacency accountant.Adjacency
	q, z      float64
	alpha     float64 // 0: constant
	count     int64
}

func (s steps) event() accountant.Event {
	if s.alpha == 0 {
		return accountant.PoissonGaussian(s.adjacency, s.q, s.z, s.count)
	}
	e := accountant.PoissonGaussian(s.adjacency, s.q, 0, 1)
	e.NoiseMultipliers = decreasing(s.z, s.alpha, s.count)
	return e
}

// question is what every calculator is asked: an accountant, a relation, and
// the exact ε and δ as far as they are given.
type question struct {
	method  accountant.Method
	steps   steps
	epsilon *accountant.Amount
	delta   *accountant.Amount
	grid    float64 // 0: chosen
	plot    string
}

// ask reads the flags that the command has; those in need must be given.
func ask(c *cli.Context, need ...string) (*question, error) {
	q := &question{plot: c.String("plot")}
	for _, name := range need {
		if c.String(name) == "" {
			return nil, usagef("--%s is missing", name)
		}
	}
	var err error
	name := stringOr(c, "accountant", string(accountant.MethodRDP))
	if q.method, err = accountant.ParseMethod(name); err != nil {
		return nil, usagef("unknown accountant %q: use rdp, pld or gdp", name)
	}
	if q.steps.adjacency, err = adjacencyOf(c); err != nil {
		return nil, err
	}
	if q.epsilon, err = amountOf(c, "epsilon"); err != nil {
		return nil, err
	}
	if q.epsilon != nil && q.epsilon.Cmp(accountant.MustAmount("1e9")) > 0 {
		return nil, usagef("--epsilon must be at most 1e9")
	}
	if q.delta, err = amountOf(c, "delta"); err != nil {
		return nil, err
	}
	if q.delta != nil && q.delta.Cmp(accountant.MustAmount("1")) >= 0 {
		return nil, usagef("--delta must be below 1")
	}
	q.steps.q = 1
	for _, f := range []struct {
		name string
		to   *float64
	}{{"noise-multiplier", &q.steps.z}, {"sampling-rate", &q.steps.q}, {"grid", &q.grid}} {
		if c.String(f.name) == "" {
			continue
		}
		if *f.to, err = nearest(c, f.name); err != nil {
			return nil, err
		}
	}
	switch {
	case q.steps.q > 1:
		return nil, usagef("--sampling-rate %s must lie between 0 and 1", c.String("sampling-rate"))
	case c.String("grid") != "" && q.method != accountant.MethodPLD:
		return nil, usagef("--grid is for --accountant pld")
	case c.String("grid") != "" && q.grid == 0:
		return nil, usagef("--grid must be positive")
	}
	if n, err := count(c, "steps"); err != nil {
		return nil, err
	} else if n != nil {
		q.steps.count = *n
	}
	if q.steps.alpha, err = scheduleOf(c); err != nil {
		return nil, err
	}
	return q, checkPlot(q.plot)
}

// target is what a calibration aims at.
func (q *question) target() (accountant.Target, error) {
	switch {
	case q.epsilon.Cmp(accountant.MustAmount("1e-9")) < 0:
		return accountant.Target{}, usagef("--epsilon is below 1e-9: ask for at least 1e-9")
	case q.delta.IsZero():
		return accountant.Target{}, usagef("--delta must lie between 0 and 1: no Gaussian noise meets a delta of 0")
	}
	return accountant.Target{Epsilon: q.epsilon.Float64Down(), Delta: q.delta.Float64Down()}, nil
}

func adjacencyOf(c *cli.Context) (accountant.Adjacency, error) {
	name := stringOr(c, "adjacency", string(accountant.AddRemove))
	a, err := accountant.ParseAdjacency(name)
	if err != nil {
		return "", usagef("unknown adjacency %q: use add-remove or replace-one", name)
	}
	return a, nil
}

// stringOr is a flag's value; an empty environment variable counts as none.
func stringOr(c *cli.Context, name, otherwise string) string {
	if s := c.String(name); s != "" {
		return s
	}
	return otherwise
}

// amountOf reads an optional exact amount; nil where it was not given.
func amountOf(c *cli.Context, name string) (*accountant.Amount, error) {
	s := c.String(name)
	if s == "" {
		return nil, nil
	}
	a, err := accountant.ParseAmount(s)
	if err != nil {
		return nil, usagef("--%s %q is not a plain non-negative decimal number: write it like 0.5 or 1e-6", name, s)
	}
	return &a, nil
}

var zeroText = regexp.MustCompile(`^0(\.0*)?([eE].*)?$`)

// nearest reads a number as the float64 nearest to it.
func nearest(c *cli.Context, name string) (float64, error) {
	v, err := number(c, name)
	if err != nil {
		return 0, err
	}
	return *v, nil
}

// String says what the steps are, for people.
func (s steps) String() string {
	noise := "noise multiplier " + short(s.z)
	if s.alpha != 0 {
		noise += " to " + short(s.last())
	}
	return fmt.Sprintf("%d steps at rate %s with %s", s.count, short(s.q), noise)
}

// reads refuses to calibrate what reads nothing: any value would do.
func (q *question) reads() error {
	switch {
	case q.steps.count == 0:
		return usagef("--steps must be at least 1")
	case q.steps.q == 0:
		return usagef("--sampling-rate 0 reads nothing and costs nothing, whatever the rest is")
	}
	return nil
}

// noise finds the (first) noise multiplier.
func (q *question) noise(t accountant.Target) (float64, error) {
	if q.steps.alpha != 0 {
		z, err := calibrateSchedule(q.method, t, q.steps)
		return z, accountError(err)
	}
	z, err := accountant.CalibrateNoise(q.method, t, func(z float64) accountant.Event {
		s := q.steps
		s.z = z
		return s.event()
	})
	return z, accountError(err)
}
