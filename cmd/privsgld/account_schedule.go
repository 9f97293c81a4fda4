package main

import (
	"math"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/sgld"
)

// scheduleOf reads --schedule: step sizes η_k ∝ k^−alpha.
func scheduleOf(c *cli.Context) (alpha float64, err error) {
	s := c.String("schedule")
	if s == "" {
		return 0, nil
	}
	shape, err := sgld.ParseSchedule(s)
	if err == nil && shape != (sgld.Schedule{Alpha: shape.Alpha}) {
		return 0, usagef("--schedule %s: account takes constant or poly:ALPHA", s)
	}
	return shape.Alpha, err
}

func (s steps) schedule() string { return sgld.Schedule{Alpha: s.alpha}.String() }

// last is the noise multiplier of the last step.
func (s steps) last() float64 { return s.z * math.Pow(float64(max(s.count, 1)), s.alpha/2) }

// mostListed is how many noise multipliers an event may list.
const mostListed = 1 << 20

// decreasing is z·k^(alpha/2) for k = 1 … count: a Langevin step's noise
// multiplier is proportional to η_k^(−1/2). A list that no event may hold is
// cut, one past the bound, for the event to be refused.
func decreasing(z, alpha float64, count int64) []float64 {
	list := make([]float64, 0, min(count, mostListed+1))
	for k := int64(1); k <= count && k <= mostListed+1; k++ {
		list = append(list, z*math.Pow(float64(k), alpha/2))
	}
	return list
}

// block is a run of steps with almost equal noise multipliers. Its ratio to the
// first one has the mean of the steps' 1/z².
type block struct {
	ratio float64
	steps int64
}

// blocks splits a schedule where its noise multipliers have grown by the ratio.
func (s steps) blocks(ratio float64) []block {
	var out []block
	for k := int64(1); k <= s.count; {
		next := int64(math.Ceil(float64(k) * math.Exp(math.Log(ratio)*2/s.alpha)))
		next = min(max(next, k+1), s.count+1)
		mean := 0.0
		for j := k; j < next; j++ {
			mean += math.Pow(float64(j), -s.alpha)
		}
		mean /= float64(next - k)
		out = append(out, block{1 / math.Sqrt(mean), next - k})
		k = next
	}
	return out
}

// grouped is the schedule with blocks in place of single steps. It is no bound:
// the loss of a block is that of its steps but for the square of its width.
func (s steps) grouped(blocks []block) accountant.Event {
	events := make([]accountant.Event, 0, len(blocks))
	for _, b := range blocks {
		events = append(events, accountant.PoissonGaussian(s.adjacency, s.q, s.z*b.ratio, b.steps))
	}
	return accountant.Compose(events...)
}

// calibrateSchedule returns a first noise multiplier, at most 10⁻⁴ above the
// least, with which the schedule as a whole is within the target. It searches
// with blocks of steps in place of single ones, which is off by less than 10⁻⁵
// in either direction, and then holds the steps themselves to the target.
func calibrateSchedule(m accountant.Method, t accountant.Target, s steps) (float64, error) {
	s.z = 1
	if err := s.event().Validate(); err != nil {
		return 0, err
	}
	blocks := s.blocks(1.002)
	z, err := accountant.CalibrateNoise(m, t, func(z float64) accountant.Event {
		s.z = z
		return s.grouped(blocks)
	})
	if err != nil {
		return 0, err
	}
	const step = 2e-5
	for factor := step; ; factor *= 2 {
		s.z = z
		eps, _, err := accountant.Epsilon(m, s.event(), t.Delta)
		if err != nil || eps <= t.Epsilon {
			return z, err
		}
		z *= 1 + factor
	}
}
