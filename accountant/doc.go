// Package accountant says how guarantees of differential privacy add up.
//
// An [Event] records what a mechanism did: the noise multiplier, the sampling
// rate, how often, under which neighbouring relation. An accountant turns
// events into a cost that composes by addition, and a conversion turns the
// composed cost into (ε, δ):
//
//   - RDP (Mironov 2017) holds one Rényi divergence per order α. It supports
//     every event, subsampled ones with their amplification ([RDP]).
//   - Privacy loss distributions (Sommer, Meiser & Mohammadi 2019) are the tight
//     ones, for events that are fixed in advance ([PLDEpsilon], [PLDDelta]).
//   - Gaussian DP (Dong, Roth & Su 2022) holds one number μ. It is exact for
//     Gaussians without sampling ([MuGDP]).
//   - zCDP (Bun & Steinke 2016) holds one number ρ ([RhoZCDP]).
//
// [Epsilon] and [Delta] convert; [CalibrateNoise], [CalibrateSteps],
// [CalibrateRate] and [GaussianMu] invert. A [Filter] decides whether one more
// charge fits into a budget when every event may depend on all earlier answers,
// and an [Odometer] says what has been spent at a moment that may depend on them
// too. [LastIterate] is what a chain costs that releases its last iterate alone.
// [ExportDPAccounting] writes events for another program to recompute.
//
// # Conventions
//
// A noise multiplier z is the noise's standard deviation (for Laplace its
// scale b) divided by the bound C of one unit's contribution, which is the
// sensitivity under add-remove. Under replace-one two contributions may differ
// by 2C, so an event without sampling has μ = 2/z and a Laplace event is
// 2/b-DP. A Poisson-sampled Gaussian is accounted there by the antipodal pair
//
//	P = (1−q)·N(0, z²) + q·N(1, z²)    Q = (1−q)·N(0, z²) + q·N(−1, z²)
//
// which is an assumption that a report must state. A sample of fixed size is
// accounted there without an assumption, by the symmetric pair whose profile is
// the bound of Balle, Barthe & Gaboardi 2018. The ε of pure and approximate
// events and the ρ of zCDP events are meant for the adjacency of the event.
//
// An accountant refuses an event that it has no rule for ([ErrUnsupported]):
//
//	event                              rdp   pld             gdp
//	gaussian, laplace, pure            yes   yes             yes
//	approximate, partition_selection   yes   yes             yes
//	discrete_laplace                   yes   yes             as pure
//	poisson_gaussian                   yes   yes             no
//	fixed_size_gaussian, replace-one   yes   yes             no
//	discrete_gaussian                  yes   one coordinate  no
//	zcdp                               yes   no              no
//
// # Rounding
//
// Amounts that a person writes are exact decimals ([Amount]). Losses are
// float64 and every one that decides is raised by a bound on its own error,
// so that it is never below the true value; limits are lowered likewise.
// Nothing in this package compares with a tolerance.
//
// A worked example: 100 full-batch steps within (1, 10⁻⁶).
//
//	mu := accountant.GaussianMu(accountant.MethodRDP, 1, 1e-6)
//	z := math.Sqrt(100) / mu
//	e := accountant.Gaussian(accountant.AddRemove, z, 100)
//	eps, order, err := accountant.Epsilon(accountant.MethodRDP, e, 1e-6) // eps ≤ 1
//
// The package needs the standard library and gonum only; it does no I/O and
// holds no state.
package accountant
