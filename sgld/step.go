package sgld

import "math"

// access is the chain's only way to the data: it writes the noisy clipped sum at
// theta to dst, charged for noise multiplier z. noisySum is it.
type access interface {
	draw(dst, theta []float64, z float64) error
}

// state is all of a chain that its later steps and its draws depend on. Every
// figure in it follows from noisy sums, so it is covered by what they were charged.
type state struct {
	done   int64       // steps
	phi    []float64   // position in the metric's coordinates; θ = Rφ
	move   []float64   // the last move of φ
	square []float64   // of pSGLD: the moving average of squared gradients
	scale  []float64   // of pSGLD: the diagonal G; nil otherwise
	draws  [][]float64 // [iteration][coefficient]
}

// A chain takes one step after another. There is one recursion for all dynamics,
// with g = s/q + Rᵀ∇ρ(θ) from the noisy sum s:
//
//	v ← a·v − η·(G·g + e),  φ ← φ + v,  θ ← Rφ
//
// Overdamped Langevin dynamics (SGLD; Welling and Teh 2011, equation 4) has a = 0,
// underdamped (SGHMC; Chen, Fox and Guestrin 2014, equation 15) 0 < a < 1; G is 1
// but for pSGLD. The noise is in s already; e is noise drawn apart from the data,
// for dynamics that need more of it than the mechanism's, and 0 otherwise. With
// momentum a step takes the overdamped time dt = η/(1−a), and both noise multiplier
// and temperature are those of an overdamped step of size dt.
//
// No sum's noise enters two moves, so that a step's answer is its sum plus noise of
// its own. Integrators of which that is untrue (BAOAB) are not covered by the
// accounting of single steps and have no place here.
type chain struct {
	state
	sum      access
	metric   *metric
	prior    prior
	rate     float64
	clip     float64
	momentum float64
	public   *normal // source of e; nil where no step needs it

	theta, noisy, slope, pulled []float64
}

func newChain(p *Plan, m *metric, sum access, rho prior, d int) *chain {
	c := &chain{
		state: state{phi: make([]float64, d), move: make([]float64, d), draws: make([][]float64, 0, p.Request.Draws)},
		sum:   sum, metric: m, prior: rho, rate: p.Rate, clip: p.Clip, momentum: p.Momentum,
		theta: make([]float64, d), noisy: make([]float64, d), slope: make([]float64, d), pulled: make([]float64, d),
	}
	if p.Sampler == SamplerPSGLD {
		c.square, c.scale = make([]float64, d), make([]float64, d)
		for j := range c.scale {
			c.scale[j] = 1
		}
	}
	return c
}

// step is one step of segment s. adapt says whether pSGLD still learns.
func (c *chain) step(s *Segment, adapt bool) error {
	if err := c.sum.draw(c.noisy, c.theta, s.NoiseMultiplier); err != nil {
		return err
	}
	c.prior.Gradient(c.slope, c.theta)
	c.metric.pull(c.pulled, c.slope)
	g := c.noisy
	for j := range g {
		g[j] = g[j]/c.rate + c.pulled[j]
	}
	noise := s.NoiseMultiplier * c.clip / c.rate // standard deviation of what the mechanism put into g
	if c.scale != nil {
		c.precondition(s, noise, adapt)
	} else if s.PublicNoise > 0 {
		for j := range g {
			g[j] += s.PublicNoise * c.public.draw()
		}
	}
	advance(c.phi, c.move, g, c.momentum, (1-c.momentum)*s.StepSize)
	c.metric.toTheta(c.theta, c.phi)
	c.done++
	return nil
}

// advance is the recursion: v ← a·v − η·g, φ ← φ + v. Its products are rounded
// before they are added, so that a = 0 gives the bits of φ − η·g.
func advance(phi, v, g []float64, a, eta float64) {
	for j := range phi {
		v[j] = float64(a*v[j]) - float64(eta*g[j])
		phi[j] += v[j]
	}
}

// Recursion are the constants of the chain's recursion v ← a·v − η·g, φ ← φ + v:
// Momentum a in [0, 1), StepSize η > 0.
type Recursion struct{ Momentum, StepSize float64 }

// Time returns the overdamped time of a step, η/(1−a). It is what a budget buys,
// and what [Request] and [Plan] call the step size.
func (r Recursion) Time() float64 { return r.StepSize / (1 - r.Momentum) }

// Underdamped are the constants of underdamped Langevin dynamics
//
//	dφ = p/m dt,  dp = −∇U dt − γp dt + √(2γmT) dW
//
// in steps of Step h > 0, with Friction γ > 0, a rate, and Mass m > 0. Its methods
// give the recursion that an integrator with one gradient and one noise a step
// comes to. As the friction grows it becomes the one of overdamped dynamics. The
// result is stable for curvatures λ with ηλ < 2(1+a).
type Underdamped struct{ Step, Friction, Mass float64 }

// Euler is the integrator of Chen, Fox and Guestrin 2014: a = 1 − hγ, η = h²/m.
// a ≥ 0, and so a lawful recursion, needs hγ ≤ 1; at hγ = 1 it is SGLD.
func (u Underdamped) Euler() Recursion {
	return Recursion{Momentum: 1 - u.Step*u.Friction, StepSize: u.Step * u.Step / u.Mass}
}

// ImplicitFriction divides by 1 + hγ: a = 1/(1+hγ), η = a·h²/m.
func (u Underdamped) ImplicitFriction() Recursion {
	a := 1 / (1 + u.Step*u.Friction)
	return Recursion{Momentum: a, StepSize: a * u.Step * u.Step / u.Mass}
}

// OBABO has exact Ornstein–Uhlenbeck halves around a Verlet step: a = e^(−γh),
// η = (1+a)h²/(2m). Source: Bussi and Parrinello 2007, doi:10.1103/PhysRevE.75.056707.
func (u Underdamped) OBABO() Recursion {
	a := math.Exp(-u.Friction * u.Step)
	return Recursion{Momentum: a, StepSize: (1 + a) * u.Step * u.Step / (2 * u.Mass)}
}
