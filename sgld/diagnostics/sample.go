package diagnostics

import (
	"math"
	"slices"
)

// sample holds the draws of one parameter in the forms that the formulas use.
// Draws of which one is not finite make an empty sample, and every diagnostic
// of an empty sample is NaN.
type sample struct {
	halves [][]float64 // the 2M split sequences
	sorted []float64   // all draws, ascending
}

func newSample(chains [][]float64) sample {
	if len(chains) == 0 {
		return sample{}
	}
	length := len(chains[0])
	for _, c := range chains {
		length = min(length, len(c))
	}
	var s sample
	half := length / 2
	for _, c := range chains {
		c = c[:length]
		for _, x := range c {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return sample{}
			}
		}
		s.halves = append(s.halves, c[:half], c[length-half:])
		s.sorted = append(s.sorted, c...)
	}
	slices.Sort(s.sorted)
	return s
}

// sortedDraws returns the values of all sequences in one ascending slice.
func sortedDraws(sequences [][]float64) []float64 {
	all := slices.Concat(sequences...)
	slices.Sort(all)
	return all
}

// transform applies f to every value.
func transform(sequences [][]float64, f func(float64) float64) [][]float64 {
	out := make([][]float64, len(sequences))
	for i, seq := range sequences {
		out[i] = make([]float64, len(seq))
		for j, x := range seq {
			out[i][j] = f(x)
		}
	}
	return out
}

// constant reports whether all values of all sequences are equal.
func constant(sequences [][]float64) bool {
	first := sequences[0][0]
	for _, seq := range sequences {
		for _, x := range seq {
			if x != first {
				return false
			}
		}
	}
	return true
}

// meanVariance returns the mean and the variance of a sequence of two or more.
// Taking the first value off beforehand makes the variance of a sequence that
// does not move exactly 0.
func meanVariance(seq []float64) (mean, variance float64) {
	n := float64(len(seq))
	sum := 0.0
	for _, x := range seq {
		sum += x - seq[0]
	}
	offset := sum / n
	squares := 0.0
	for _, x := range seq {
		d := (x - seq[0]) - offset
		squares += d * d
	}
	return seq[0] + offset, squares / (n - 1)
}

// quantile returns the type-7 quantile of ascending values, NaN if there are
// none; 0 ≤ p ≤ 1.
func quantile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := float64(len(sorted)-1) * p
	below := int(at)
	if below+1 == len(sorted) {
		return sorted[below]
	}
	// The difference form gives a tied quantile exactly, on which the tail's
	// indicators x ≤ Q depend.
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}
