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
// # Planning
//
// [NewPlan] chooses metric, clipping norm, rate, steps, step size and noise
// multiplier from public facts: dimension, bounds, prior, budget and, where the
// policy has it, the number of units. A plan may buy a noisy count and a noisy
// Gram matrix; both are charged like everything else. Planning reads no data.
//
// # Where to begin
//
// plan.go says what will run, noisysum.go what touches rows, step.go one
// update, chain.go the loop, precondition.go the metrics.
package sgld
