package sgld

import "math"

// logisticLaw: y is 1 with probability σ(u).
type logisticLaw struct{}

func (logisticLaw) columns() []string { return []string{"mean", "q5", "q95"} }

func (logisticLaw) predict(dst []float64, u [][]float64) {
	p := u[0]
	for i, v := range p {
		p[i] = 1 / (1 + math.Exp(-v))
	}
	dst[0] = average(p)
	copy(dst[1:], quantiles(p, lowerTail, upperTail))
}

// logDensity returns log((1/D)·Σ_d σ(±u_d)), which keeps its accuracy where the
// probability is near 0 or 1: by the sum itself unless it is too small for a float64.
func (logisticLaw) logDensity(y float64, u [][]float64) float64 {
	sign := 1.0
	if y == 0 {
		sign = -1
	}
	sum := 0.0
	for _, v := range u[0] {
		sum += 1 / (1 + math.Exp(-sign*v))
	}
	if sum > 1e-290 {
		return math.Log(sum / float64(len(u[0])))
	}
	logs := make([]float64, len(u[0]))
	for i, v := range u[0] {
		v *= sign
		// log σ(v) = −log(1 + e^−v)
		if v > 0 {
			logs[i] = -math.Log1p(math.Exp(-v))
		} else {
			logs[i] = v - math.Log1p(math.Exp(v))
		}
	}
	return logMeanExp(logs)
}

func (logisticLaw) score() score { return &logisticScore{} }

// logisticScore takes the positive level for predicted where its probability is at
// least one half.
type logisticScore struct{ classScore }

func (s *logisticScore) add(y float64, v []float64) {
	s.class(v[0], y == 1, (v[0] >= 0.5) == (y == 1))
}
