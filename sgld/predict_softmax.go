package sgld

import "math"

// softmaxLaw: y is one of several levels, with probabilities e^u over their sum, where
// u is 0 for the reference level.
type softmaxLaw struct{ levels []string }

func (l softmaxLaw) columns() []string {
	var names []string
	for _, level := range l.levels {
		for _, of := range (logisticLaw{}).columns() {
			names = append(names, level+":"+of)
		}
	}
	return names
}

// perLevel is how many columns each level has.
const perLevel = 3

func (l softmaxLaw) predict(dst []float64, u [][]float64) {
	for d := range u[0] {
		most, sum := math.Inf(-1), 0.0
		for _, v := range u {
			most = max(most, v[d])
		}
		for _, v := range u {
			v[d] = math.Exp(v[d] - most)
			sum += v[d]
		}
		for _, v := range u {
			v[d] /= sum
		}
	}
	for i, p := range u {
		dst[perLevel*i] = average(p)
		copy(dst[perLevel*i+1:], quantiles(p, lowerTail, upperTail))
	}
}

// logDensity takes the code of the level for the target.
func (l softmaxLaw) logDensity(y float64, u [][]float64) float64 {
	level := int(y)
	logs := make([]float64, len(u[0]))
	for d := range logs {
		most, sum := math.Inf(-1), 0.0
		for _, v := range u {
			most = max(most, v[d])
		}
		for _, v := range u {
			sum += math.Exp(v[d] - most)
		}
		logs[d] = u[level][d] - most - math.Log(sum)
	}
	return logMeanExp(logs)
}

func (softmaxLaw) score() score { return &softmaxScore{} }

// softmaxScore takes the most probable level for predicted, the first of several, and
// holds its probability against how often it was right.
type softmaxScore struct{ classScore }

func (s *softmaxScore) add(y float64, v []float64) {
	best := 0
	for i := 0; i < len(v); i += perLevel {
		if v[i] > v[perLevel*best] {
			best = i / perLevel
		}
	}
	right := best == int(y)
	s.class(v[perLevel*best], right, right)
}
