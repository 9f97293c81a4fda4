package diagnostics

import (
	"math"
	"math/bits"

	"gonum.org/v1/gonum/dsp/fourier"
	"gonum.org/v1/gonum/stat"
)

// leastLength is the shortest sequence whose ESS looks at a pair of lags: with
// fewer draws the estimate would be a constant.
const leastLength = 5

// ESSBulk returns the effective sample size of one parameter's draws
// [chain][draw] for the centre of the distribution: the ESS of the
// rank-normalised split draws z(x).
//
// The ESS of m sequences of n draws is
//
//	ESS = m·n/τ,  τ = max(−1 + 2·Σ ρₜ, 1/log₁₀(m·n)),  ρₜ = 1 − (W − cₜ)/var⁺
//
// with cₜ the autocovariance (divisor n) averaged over sequences,
// W = c₀·n/(n−1) and var⁺ = c₀ + var(sequence means). Lags enter in pairs while
// their sum stays positive, the sums made to decrease, and one more half-weighted
// lag where it is positive. It exceeds m·n for antithetic draws, up to
// m·n·log₁₀(m·n).
//
// NaN where the draws do not determine it (package comment).
// Source: Vehtari et al. 2021, arXiv:1903.08008v5, sections 3.2 and 4.3.
func ESSBulk(chains [][]float64) float64 {
	return newSample(chains).essBulk()
}

// ESSTail returns the effective sample size for the tails: the smaller ESS of
// the 5 % and the 95 % quantile, each that of the split indicators 1[x ≤ Q]
// with Q the type-7 quantile of all draws. Formula and domain as for [ESSBulk];
// NaN also where no draw exceeds one of the two quantiles.
// Source: Vehtari et al. 2021, arXiv:1903.08008v5, section 4.3.
func ESSTail(chains [][]float64) float64 {
	return newSample(chains).essTail()
}

// ESSMean returns the effective sample size for the mean of one parameter's draws
// [chain][draw]: the ESS of the split draws as they are, by the formula of
// [ESSBulk]. [MCSEMean] takes it.
//
// NaN where the draws do not determine it (package comment).
// Source: Vehtari et al. 2021, arXiv:1903.08008v5, section 3.2.
func ESSMean(chains [][]float64) float64 {
	return newSample(chains).essMean()
}

func (s sample) essBulk() float64 { return ess(rankNormalise(s.halves)) }

func (s sample) essTail() float64 { return math.Min(s.essQuantile(0.05), s.essQuantile(0.95)) }

// essMean is the ESS of the split draws as they are, which the error of their
// mean takes.
func (s sample) essMean() float64 { return ess(s.halves) }

// essQuantile is the ESS of the p-quantile.
func (s sample) essQuantile(p float64) float64 {
	q := quantile(s.sorted, p)
	return ess(transform(s.halves, func(x float64) float64 {
		if x <= q {
			return 1
		}
		return 0
	}))
}

// ess is the effective sample size of sequences of one length, as they are.
func ess(sequences [][]float64) float64 {
	if len(sequences) == 0 || len(sequences[0]) < leastLength || constant(sequences) {
		return math.NaN()
	}
	n := len(sequences[0])
	draws := float64(len(sequences) * n)
	rho := autocorrelation(sequences)
	last := initialMonotone(rho)
	tau := -1.0
	for _, r := range rho[:last+1] {
		tau += 2 * r
	}
	tau += rho[last+1]
	return draws / math.Max(tau, 1/math.Log10(draws))
}

// autocorrelation returns ρ₀ … ρₙ₋₁ of [ESSBulk], with ρ₀ set to 1.
func autocorrelation(sequences [][]float64) []float64 {
	n := len(sequences[0])
	means := make([]float64, len(sequences))
	for i, seq := range sequences {
		means[i], _ = meanVariance(seq)
	}
	rho := autocovariance(sequences, means)
	within := rho[0] * float64(n) / float64(n-1)
	total := rho[0] + stat.Variance(means, nil)
	for t, c := range rho {
		rho[t] = 1 - (within-c)/total
	}
	rho[0] = 1
	return rho
}

// autocovariance returns, averaged over the sequences,
//
//	cₜ = (1/n)·Σᵢ (xᵢ − mean)·(xᵢ₊ₜ − mean),  t = 0 … n−1
//
// as the inverse transform of the average power spectrum. The padding to 2n
// keeps the ends of a sequence from meeting.
func autocovariance(sequences [][]float64, means []float64) []float64 {
	n := len(sequences[0])
	length := 1 << bits.Len(uint(2*n-1))
	fft := fourier.NewFFT(length)
	padded := make([]float64, length)
	spectrum := make([]complex128, length/2+1)
	power := make([]complex128, length/2+1)
	for i, seq := range sequences {
		for j, x := range seq {
			padded[j] = x - means[i]
		}
		fft.Coefficients(spectrum, padded)
		for k, c := range spectrum {
			power[k] += complex(real(c)*real(c)+imag(c)*imag(c), 0)
		}
	}
	fft.Sequence(padded, power)
	c := padded[:n]
	for t := range c {
		c[t] /= float64(length) * float64(n) * float64(len(sequences))
	}
	return c
}

// initialMonotone turns the autocorrelations into Geyer's initial monotone
// sequence, in place: it returns the last lag that counts in full and leaves in
// the following one what is added once.
func initialMonotone(rho []float64) (last int) {
	n := len(rho)
	even, odd := rho[0], rho[1]
	t := 1
	for t < n-3 && even+odd > 0 {
		even, odd = rho[t+1], rho[t+2]
		t += 2
	}
	last = t - 2
	// A last pair whose sum is negative is noise: only its even lag may count, and
	// only where it is positive.
	if even+odd < 0 && even <= 0 {
		rho[last+1] = 0
	}
	for t := 1; t <= last-2; t += 2 {
		if before := rho[t-1] + rho[t]; rho[t+1]+rho[t+2] > before {
			rho[t+1], rho[t+2] = before/2, before/2
		}
	}
	return last
}
