// Package privacy holds the mechanisms: what stands between a row and an
// answer. It clips contributions, sums them exactly, draws exact noise and
// samples units; it does no accounting and no I/O.
//
// # Notation
//
//	C  clipping norm: the most that one unit may contribute, in the 2-norm
//	z  noise multiplier: noise standard deviation divided by C
//	q  sampling rate: the probability with which each unit joins a batch
//	g  lattice spacing, a power of two
//
// # Why the answers are exact
//
// Three things break textbook proofs on a computer, and each is kept out here:
//
//   - Sums. Contributions are integers (multiples of g), so a sum is exact and
//     does not depend on order, chunking or the number of workers. [Clip] holds
//     those of generalised linear models to their norm, [VectorClip] vectors that
//     are given as such, to the last bit. [Map] applies a public linear map to
//     such a sum without rounding and rounds once.
//   - Noise. [Gaussian] returns the integer nearest to a real normal variate
//     divided by g, with exactly the probabilities of that rounding. Since the
//     sum lies on the lattice, adding rounded noise is the same as rounding the
//     sum plus real noise: post-processing of the textbook Gaussian mechanism.
//     [DiscreteGaussian] and [DiscreteLaplace] are the laws on the integers, for
//     events that name those: exact too, by whole numbers alone.
//   - Sampling. [Bernoulli] selects every unit with probability exactly q for
//     every float64 q, not with q rounded to the generator's word.
//
// Random bits come from [Source], keyed by the operating system. [Seeded] is
// another type, for tests; the code that can release makes its own *Source. A program
// built with the tag seeded runs from end to end with a known seed; its gate is
// another type too (gate.Rehearsal), and marks all that it writes as no release.
package privacy
