package sgld

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// poissonLaw: y is a Poisson count of mean e^min(u, log upper).
type poissonLaw struct{ upper float64 }

func (poissonLaw) columns() []string { return numberColumns() }

func (l poissonLaw) means(u []float64) []float64 {
	limit := math.Log(l.upper)
	for i, v := range u {
		u[i] = math.Exp(min(v, limit))
	}
	return u
}

func (l poissonLaw) predict(dst []float64, u [][]float64) {
	means := l.means(u[0])
	dst[0] = average(means)
	dst[3], dst[4] = poissonQuantile(lowerTail, means), poissonQuantile(upperTail, means)
	copy(dst[1:], quantiles(means, lowerTail, upperTail))
}

// fewCounts is the mean up to which the probabilities of all counts are added up.
const fewCounts = 100

// poissonQuantile returns the least k at which the mixture of Poisson laws of these
// means has mass p or more.
func poissonQuantile(p float64, means []float64) float64 {
	most := 0.0
	for _, m := range means {
		most = max(most, m)
	}
	if most <= fewCounts {
		mass, at := 0.0, make([]float64, len(means))
		for i, m := range means {
			at[i] = math.Exp(-m)
		}
		for k := 0.0; ; k++ {
			mass += average(at)
			// At 1000 all is there but for rounding.
			if mass >= p || k == 1000 {
				return k
			}
			for i, m := range means {
				at[i] *= m / (k + 1)
			}
		}
	}
	// P(y ≤ k) is the regularised upper incomplete gamma function of k+1 at the mean.
	reaches := func(k float64) bool {
		mass := 0.0
		for _, m := range means {
			mass += mathext.GammaIncRegComp(k+1, m)
		}
		return mass/float64(len(means)) >= p
	}
	low, high := -1.0, math.Ceil(most+10*math.Sqrt(most)+10)
	for high-low > 1 {
		if k := math.Floor((low + high) / 2); reaches(k) {
			high = k
		} else {
			low = k
		}
	}
	return high
}

// logDensity is NaN for what is no count.
func (l poissonLaw) logDensity(y float64, u [][]float64) float64 {
	if !(y >= 0) || y != math.Trunc(y) {
		return math.NaN()
	}
	factorial, _ := math.Lgamma(y + 1)
	limit := math.Log(l.upper)
	logs := make([]float64, len(u[0]))
	for i, v := range u[0] {
		v = min(v, limit)
		logs[i] = y*v - math.Exp(v) - factorial
	}
	return logMeanExp(logs)
}

func (poissonLaw) score() score { return &numberScore{} }
