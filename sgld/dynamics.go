package sgld

import (
	"math"
	"slices"
)

// Samplers: the dynamics that a chain follows. All of them touch data through the
// same noisy sum, and a step of equal diffusion time costs the same.
const (
	SamplerAuto  = "auto"  // the planner chooses between SGLD and SGHMC
	SamplerSGLD  = "sgld"  // overdamped Langevin dynamics
	SamplerSGHMC = "sghmc" // underdamped Langevin dynamics: momentum
	SamplerPSGLD = "psgld" // a diagonal preconditioner learnt from noisy gradients
)

// Figures of momentum.
const (
	mostMomentum   = 0.9
	leastMomentous = 300 // steps below which a chain with that momentum forgets its start too late
	forgets        = 15  // a chain forgets its start by e^−forgets: (1−a)·K/2
)

// checkDynamics looks at sampler, momentum and schedule.
func (r *Request) checkDynamics() error {
	if err := r.Schedule.check(); err != nil {
		return err
	}
	switch r.Sampler {
	case "", SamplerAuto, SamplerSGLD, SamplerSGHMC, SamplerPSGLD:
	default:
		return conflictf("unknown sampler %q: use auto, sgld, sghmc or psgld", r.Sampler)
	}
	if a := r.Momentum; a != nil {
		if !(*a >= 0 && *a <= 0.999) {
			return conflictf("momentum must lie between 0 and 0.999")
		}
		if r.Sampler != SamplerSGHMC && r.Sampler != SamplerAuto && r.Sampler != "" {
			return conflictf("momentum is of the sampler sghmc: leave out --momentum, or choose --sampler sghmc")
		}
	}
	if r.Sampler == SamplerPSGLD && !(r.Warmup > 0) {
		return conflictf("psgld learns its preconditioner during warm-up: choose a --warmup above 0")
	}
	if r.Sampler == SamplerPSGLD && r.Schedule.Hot {
		return conflictf("psgld needs one temperature: choose another --schedule than %s", r.Schedule)
	}
	if r.Steps != nil && *r.Steps < r.Schedule.Cycles {
		return conflictf("%d steps do not hold %d cycles: lower the cycles of --schedule, or raise --steps", *r.Steps, r.Schedule.Cycles)
	}
	return nil
}

// momentous says whether the chain has momentum. The planner gives it to full-batch
// chains with steps of one size: there the bias of a step is its only error that is
// not budget, and momentum divides it by (1+a)/(1−a). It does not lessen the heat of
// mini-batches.
func (p *Plan) momentous() bool {
	r := &p.Request
	switch r.Sampler {
	case SamplerSGHMC:
		return true
	case SamplerSGLD, SamplerPSGLD:
		return false
	}
	return r.Momentum != nil || p.Rate == 1 && r.Schedule.constant()
}

// momentum returns a for steps of that diffusion time. Where the planner chooses, it
// is as large as it may be without slowing down a direction of unit curvature, of
// which position and spread relax at the rate (1−a)/(2·time) at most, or the
// forgetting of the start.
func (p *Plan) momentum(time float64, steps int64) float64 {
	if !p.momentous() {
		return 0
	}
	if a := p.Request.Momentum; a != nil {
		return *a
	}
	a := math.Min(mostMomentum, 1-2*forgets/float64(steps))
	if p.relaxes() {
		a = math.Min(a, 1-2*time)
	}
	return math.Max(a, 0)
}

// gain is (1+a)/(1−a): the bias of a step is time·λ/(2·gain), and it is stable where
// time·λ < 2·gain.
func gain(a float64) float64 { return (1 + a) / (1 - a) }

// stepWithin returns the largest diffusion time of a step at which time·λ/gain ≤ x
// for the bound of the curvature; x = 1 is half of what is stable. With mini-batches
// it is time·λ/q ≤ x, which bounds their heat too.
func (p *Plan) stepWithin(x float64, steps int64) float64 {
	if p.Rate < 1 || !p.momentous() {
		return x * p.Rate / p.curve
	}
	// time/gain grows with time: momentum falls with it.
	lo, hi := x/p.curve, x/p.curve*gain(0.999)
	for range 60 {
		mid := math.Sqrt(lo * hi)
		if mid*p.curve/gain(p.momentum(mid, steps)) <= x {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// setDynamics sets sampler and momentum from steps and step size.
func (p *Plan) setDynamics() {
	p.Sampler = p.Request.Sampler
	p.Momentum = p.momentum(p.StepSize, p.Steps)
	switch {
	case p.Sampler == SamplerPSGLD:
	case p.momentous():
		// Of two or three digits, so that reports show what ran.
		if p.Request.Momentum == nil {
			p.Momentum = math.Floor(p.Momentum*1000) / 1000
		}
		p.Sampler = SamplerSGHMC
		if p.Momentum == 0 && p.Request.Sampler != SamplerSGHMC {
			p.Sampler = SamplerSGLD
		}
	default:
		p.Sampler = SamplerSGLD
	}
}

func (p *Plan) explainDynamics() {
	switch {
	case p.Sampler == SamplerPSGLD:
		p.explain("sampler: psgld; a diagonal preconditioner from noisy gradients, learnt during the %d steps of warm-up and fixed after", p.Warmup)
	case p.Momentum > 0:
		p.explain("sampler: sghmc; momentum %.3g costs no budget, and the bias of a step is that of one %.3g times as short", p.Momentum, gain(p.Momentum))
	default:
		p.explain("sampler: %s; no momentum", p.Sampler)
	}
	if r := &p.Request; !r.Schedule.constant() && r.Thin == 0 {
		p.explain("draws: equally spaced in diffusion time, so that their plain averages weigh an iterate by the time spent there")
	}
}

// setSegments sets the steps from the schedule. A step of a hot cycle is above the
// target's temperature until its size has come down; from there on public noise
// keeps it at the target: of a gradient's noise 2T/η the mechanism gives 2T_k/η.
func (p *Plan) setSegments() {
	p.Segments = nil
	r := &p.Request
	mechanism := p.NoiseMultiplier * p.Clip / p.Rate
	for _, s := range r.Schedule.shape(p.Steps) {
		g := Segment{Steps: s.steps, StepSize: p.StepSize * s.size, NoiseMultiplier: p.NoiseMultiplier * s.ratio}
		if r.Schedule.Hot {
			short := 2*p.Temperature/g.StepSize - mechanism*mechanism
			g.Hot = short < -1e-6*mechanism*mechanism
			g.PublicNoise = math.Sqrt(math.Max(short, 0))
		}
		p.Segments = append(p.Segments, g)
	}
}

// levels is shape with the steps of one noise multiplier taken together.
func (s Schedule) levels(steps int64) []segment {
	shape := s.shape(steps)
	if s.Cycles == 0 {
		return shape
	}
	slices.SortStableFunc(shape, func(a, b segment) int {
		switch {
		case a.ratio < b.ratio:
			return -1
		case a.ratio > b.ratio:
			return 1
		}
		return 0
	})
	out := shape[:0]
	for _, g := range shape {
		if n := len(out); n > 0 && out[n-1].ratio == g.ratio {
			out[n-1].steps += g.steps
			continue
		}
		out = append(out, g)
	}
	return out
}

func (p *Plan) levels() []segment { return p.Request.Schedule.levels(p.Steps) }

// timed says whether draws are equally spaced in diffusion time. That is the time
// average of the theory (Teh, Thiéry and Vollmer 2016): an iterate counts for as
// long as the chain stays there, until the next step.
func (p *Plan) timed() bool { return !p.Request.Schedule.constant() && p.Request.Thin == 0 }

// sampledTime is the diffusion time of a chain in which draws are taken.
func (p *Plan) sampledTime() float64 {
	var done int64
	var time float64
	for i := range p.Segments {
		s := &p.Segments[i]
		time += p.sampled(s, done, s.Steps)
		done += s.Steps
	}
	return time
}

// sampled is the part of sampledTime in the first n steps of the segment before
// which that many steps are done.
func (p *Plan) sampled(s *Segment, done, n int64) float64 {
	if s.Hot {
		return 0
	}
	return float64(max(n-max(p.Warmup-done, 0), 0)) * s.StepSize
}

// addsNoise says whether steps take noise apart from the data.
func (p *Plan) addsNoise() bool { return p.Sampler == SamplerPSGLD || p.Request.Schedule.Hot }
