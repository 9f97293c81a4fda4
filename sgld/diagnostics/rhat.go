package diagnostics

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat"
)

// RHat returns the rank-normalised split R̂ of one parameter's draws
// [chain][draw], the larger of two values:
//
//	R̂ = √((n−1)/n + B/(n·W)),  B = n·var(sequence means),  W = mean of the sequence variances
//
// once over z(x), which sees chains that differ in location, and once over
// z(|x − median|), which sees chains that differ in scale.
//
// NaN where the draws do not determine it (package comment); +Inf if no sequence
// moves but they stand in different places. Where |x − median| is constant, x
// takes two values at most and the first value alone is returned.
// Source: Vehtari et al. 2021, arXiv:1903.08008v5, sections 3 and 4.
func RHat(chains [][]float64) float64 {
	return newSample(chains).rhat()
}

func (s sample) rhat() float64 {
	bulk := splitRHat(rankNormalise(s.halves))
	if folded := splitRHat(rankNormalise(s.folded())); folded > bulk {
		return folded
	}
	return bulk
}

// folded returns the split draws' distances from their median.
func (s sample) folded() [][]float64 {
	median := quantile(sortedDraws(s.halves), 0.5)
	return transform(s.halves, func(x float64) float64 { return math.Abs(x - median) })
}

// splitRHat is the R̂ of sequences of one length, as they are.
func splitRHat(sequences [][]float64) float64 {
	if len(sequences) == 0 || len(sequences[0]) < 2 || constant(sequences) {
		return math.NaN()
	}
	n := float64(len(sequences[0]))
	means := make([]float64, len(sequences))
	within := 0.0
	for i, seq := range sequences {
		var variance float64
		means[i], variance = meanVariance(seq)
		within += variance
	}
	within /= float64(len(sequences))
	between := n * stat.Variance(means, nil)
	return math.Sqrt((n-1)/n + between/(n*within))
}

// rankNormalise replaces every draw by the normal score of its rank among all
// of them.
func rankNormalise(sequences [][]float64) [][]float64 {
	type place struct {
		value         float64
		sequence, pos int
	}
	total := 0
	for _, seq := range sequences {
		total += len(seq)
	}
	order := make([]place, 0, total)
	for i, seq := range sequences {
		for j, x := range seq {
			order = append(order, place{x, i, j})
		}
	}
	slices.SortFunc(order, func(a, b place) int { return cmp.Compare(a.value, b.value) })

	z := make([][]float64, len(sequences))
	for i, seq := range sequences {
		z[i] = make([]float64, len(seq))
	}
	for lo := 0; lo < total; {
		hi := lo + 1
		for hi < total && order[hi].value == order[lo].value {
			hi++
		}
		rank := float64(lo+1+hi) / 2 // the ranks lo+1 … hi, averaged
		score := mathext.NormalQuantile((rank - 0.375) / (float64(total) + 0.25))
		for _, p := range order[lo:hi] {
			z[p.sequence][p.pos] = score
		}
		lo = hi
	}
	return z
}
