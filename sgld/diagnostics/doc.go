// Package diagnostics says how far the draws of a chain can be trusted: the
// rank-normalised split R̂, bulk and tail effective sample size (ESS), and
// Monte Carlo standard errors (MCSE).
//
// Every function takes the draws of one parameter as [chain][draw] and is pure.
// Draws that left the gate are public, so whatever is computed from them costs
// no budget; iterates that were not released do not belong here. Diagnostics of
// thinned draws describe the thinned draws.
//
// # Notation
//
// M chains of N draws; chains of unequal length are cut to the shortest. Each
// chain is split into halves of n = ⌊N/2⌋ draws (an odd N drops the middle
// one), which gives m = 2M sequences: a drift within one chain then shows as a
// difference between sequences. S is the number of draws that a formula uses,
// z the rank-normalised draws
//
//	z = Φ⁻¹((R − 3/8)/(S + 1/4))
//
// with R the rank among all split draws together, the ranks of ties averaged.
// Quantiles interpolate linearly between order statistics (Hyndman and Fan's
// type 7), variances divide by the number of values less one unless a formula
// says otherwise.
//
// # Undefined results
//
// A diagnostic that the draws do not determine is NaN, in JSON null: constant
// draws, a draw that is not finite, or too few of them (R̂ needs N ≥ 4, an ESS
// N ≥ 10, the least at which a pair of lags enters). Constant draws are no sign
// of convergence, hence NaN and not 1.
//
// # Reading the figures
//
// R̂ below 1.01 is good. R̂ from one chain compares only its halves and is weak
// evidence; for a run that its budget cut short, the mixing time that the
// planner derives without data is the honester statement.
//
//	for _, s := range diagnostics.Summarize(names, draws) {
//		fmt.Println(s.Name, s.Mean, s.MCSE, s.RHat)
//	}
//
// Source: Vehtari, Gelman, Simpson, Carpenter, Bürkner 2021, Bayesian Analysis
// 16(2), arXiv:1903.08008v5; ESS by Geyer's initial monotone sequence (Geyer
// 1992, Statistical Science 7(4)).
package diagnostics
