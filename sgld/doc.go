// Package sgld draws Bayesian posterior samples by stochastic gradient Langevin
// dynamics in which the injected noise is the privacy noise.
//
// # One step
//
// The potential is U(θ) = Σᵢ ℓᵢ(θ) + ρ(θ) with ρ = −log prior. With a public
// positive-definite metric P = R Rᵀ the chain runs in φ = R⁻¹θ:
//
//	batch   B ~ Poisson(q)
//	noisy   s = Σ_{i∈B} clip_C(Rᵀ∇ℓᵢ(θ)) + z·C·ξ,  ξ ~ N(0, I)
//	update  φ ← φ − η·( s/q + Rᵀ∇ρ(θ) ),  θ = Rφ
//
// Only the second line touches data: [noisySum]. It returns the accounting
// events of what it really did. The rest is post-processing, so every iterate,
// and every function of the iterates, may be released once the run is charged.
//
// The injected noise has standard deviation η·z·C/q, which is that of Langevin
// dynamics at temperature
//
//	T = η·(z·C/q)²/2            (Welling and Teh 2011), hence z = q·√(2T/η)/C
//
// # Dynamics
//
// Every sampler is one recursion in the last move v, step.go:
//
//	v ← a·v − η·( s/q + Rᵀ∇ρ(θ) ),  φ ← φ + v
//
// At a = 0 it is the update above; with 0 < a < 1 it is underdamped Langevin dynamics
// (SGHMC), whose integrators [Underdamped] maps to a and η. A step of it takes the
// diffusion time dt = η/(1−a), and all else is as for an overdamped step of that size:
//
//	z = q·√(2T/dt)/C,  T = dt·(z·C/q)²/2
//
// so momentum, being post-processing, costs nothing. What is called step size outside
// step.go is dt. A step's bias is dt·λ·(1−a)/(2(1+a)) for a curvature λ, and the chain
// is stable where dt·λ < 2(1+a)/(1−a). psgld.go has the preconditioner that is learnt
// from noisy gradients, schedule.go how steps change over a chain, dynamics.go the
// choice among them.
//
// # The sum
//
// A row of the encoded table enters as integers: its gradient, clipped to norm C
// with all rounding counted ([privacy.Clip]), is rounded onto a lattice of 2³⁰
// steps in 1, and int64 holds any sum of fewer than 2³¹ rows. So the sum is the
// same whatever the order, the number of workers, the split of the work and the
// kernel; rows that are equal when encoded are stored once, with a multiplicity.
// On amd64 with AVX2 and FMA the kernel is assembly, written by internal/kernelgen
// and chosen at run time; its plain twin in Go, which other machines and the build
// tag purego use, gives the same bits.
//
// # Models
//
// A model is a file: logistic.go, linear.go, scale.go, poisson.go, softmax.go. It tells the planner its public
// facts, names its parameters and says how a block of sixteen units enters the sum
// ([model] has what it owes). Residuals enter over a power of two that bounds them, so
// that every contribution has coordinates in [−1, 1].
//
// With one residual a clipped gradient is the gradient of a Huberised likelihood, so a
// chain samples a proper posterior, that of the robust likelihood: [RobustLogistic],
// [RobustLinear] and [RobustPoisson] evaluate it. With three levels or more, and with a
// noise scale as a parameter, it is the gradient of nothing, and the plan warns of it
// ([Plan.RobustLikelihood]).
//
// # Planning
//
// [NewPlan] chooses metric, clipping norm, rate, steps, step size and noise
// multiplier from public facts: dimension, bounds, prior, budget and, where the
// policy has it, the number of units. A plan may buy a noisy count and a noisy
// Gram matrix; both are charged like everything else. Planning reads no data. Where
// time is short it weighs coordinates, clip and temperature against each other by the
// closed forms of forecast.go, on the laws of rows that an encoding implies; the same
// forms give [Plan.Outlook] and [Plan.Alternatives].
//
// # Predicting
//
// [Predictor] averages what a model says of a new row over released draws, and
// [Scorer] holds that against targets: predict.go, with one file for each model's
// predictive law. It reads rows that are nobody's but the caller's (datasets.Rows).
//
// # Where to begin
//
// plan.go says what will run, prospects.go and forecast.go what comes of it,
// noisysum.go what touches rows (by design.go, the
// table, workers.go, the split, model.go, what a model is, and kernel.go, the
// arithmetic), step.go one update, prior.go the priors, chain.go the loop,
// precondition.go the metrics.
package sgld
