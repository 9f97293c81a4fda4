package diagnostics

import (
	"math"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat"
)

// MCSEMean returns the Monte Carlo standard error of the mean of one
// parameter's draws [chain][draw], in the parameter's unit:
//
//	sd/√ESS
//
// with sd the standard deviation of all draws and ESS that of the split draws
// as they are. NaN where the draws do not determine it (package comment).
// Source: Vehtari et al. 2021, arXiv:1903.08008v5, section 3.2.
func MCSEMean(chains [][]float64) float64 {
	return newSample(chains).mcseMean()
}

// MCSESD returns the Monte Carlo standard error of the standard deviation of
// one parameter's draws [chain][draw], in the parameter's unit. With
// d = x − mean and E = mean d², averages over all draws:
//
//	√((mean d⁴ − E²)/(4·E·ESS))
//
// where ESS is that of the split d². NaN where the draws do not determine it
// (package comment).
// Source: the delta method; Kenney and Keeping 1951, Mathematics of Statistics,
// part 2.
func MCSESD(chains [][]float64) float64 {
	return newSample(chains).mcseSD()
}

// MCSEQuantile returns the Monte Carlo standard error of the type-7 quantile of
// one parameter's draws [chain][draw], in the parameter's unit, for 0 < p < 1:
// half the distance of two order statistics
//
//	(x₍hi₎ − x₍lo₎)/2,  hi = min(⌈a₂·S⌉, S),  lo = max(⌊a₁·S⌋, 1)
//
// at the 15.9 % and 84.1 % points a of Beta(ESS·p + 1, ESS·(1−p) + 1), where
// ESS is that of the split indicators 1[x ≤ Q]. NaN where the draws do not
// determine it (package comment) and for p outside its domain.
// Source: Vehtari et al. 2021, arXiv:1903.08008v5, section 4.4.
func MCSEQuantile(chains [][]float64, p float64) float64 {
	return newSample(chains).mcseQuantile(p)
}

func (s sample) mcseMean() float64 {
	return stat.StdDev(s.sorted, nil) / math.Sqrt(s.essMean())
}

func (s sample) mcseSD() float64 {
	if len(s.sorted) == 0 {
		return math.NaN()
	}
	mean := stat.Mean(s.sorted, nil)
	second, fourth := 0.0, 0.0
	for _, x := range s.sorted {
		d := (x - mean) * (x - mean)
		second += d
		fourth += d * d
	}
	second /= float64(len(s.sorted))
	fourth /= float64(len(s.sorted))
	squares := ess(transform(s.halves, func(x float64) float64 { return (x - mean) * (x - mean) }))
	return math.Sqrt((fourth - second*second) / (4 * second * squares))
}

func (s sample) mcseQuantile(p float64) float64 {
	if !(p > 0 && p < 1) {
		return math.NaN()
	}
	size := s.essQuantile(p)
	if math.IsNaN(size) {
		return math.NaN()
	}
	// One standard deviation of a normal distribution to either side.
	const below, above = 0.1586553, 0.8413447
	a, b := size*p+1, size*(1-p)+1
	count := float64(len(s.sorted))
	lo := math.Max(math.Floor(mathext.InvRegIncBeta(a, b, below)*count), 1)
	hi := math.Min(math.Ceil(mathext.InvRegIncBeta(a, b, above)*count), count)
	return (s.sorted[int(hi)-1] - s.sorted[int(lo)-1]) / 2
}
