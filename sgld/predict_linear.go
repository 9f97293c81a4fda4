package sgld

import "math"

// linearLaw: y, encoded to t in [−1, 1] by its bounds, is normal about u with a known
// standard deviation or one that is drawn with the coefficients.
type linearLaw struct {
	lower, upper float64   // of the target
	sd           []float64 // of the noise on t: one a draw, or one for all
}

// numberColumns are those of a target that is a number.
func numberColumns() []string {
	return []string{"mean", "q5", "q95", "predictive_q5", "predictive_q95"}
}

func (linearLaw) columns() []string { return numberColumns() }

func (l linearLaw) predict(dst []float64, u [][]float64) {
	dst[0] = l.number(average(u[0]))
	dst[3] = l.number(l.quantile(lowerTail, u[0]))
	dst[4] = l.number(l.quantile(upperTail, u[0]))
	for i, q := range quantiles(u[0], lowerTail, upperTail) { // reorders the draws: last
		dst[1+i] = l.number(q)
	}
}

// number takes an encoded target back to its own unit.
func (l linearLaw) number(t float64) float64 { return l.lower + (t+1)/2*(l.upper-l.lower) }

// noise is the standard deviation at a draw.
func (l linearLaw) noise(draw int) float64 {
	if len(l.sd) == 1 {
		return l.sd[0]
	}
	return l.sd[draw]
}

// quantile solves (1/D)·Σ Φ((t − u_d)/σ_d) = p by Newton's steps, within a bracket
// that every step narrows.
func (l linearLaw) quantile(p float64, u []float64) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	most := 0.0
	const far = 9 // standard deviations, beyond which less than 10⁻¹⁸ is left
	for i, v := range u {
		s := l.noise(i)
		low, high, most = min(low, v-far*s), max(high, v+far*s), max(most, s)
	}
	t := (low + high) / 2
	for range 200 {
		mass, density := 0.0, 0.0
		for i, v := range u {
			s := l.noise(i)
			z := (t - v) / s
			mass += math.Erfc(-z/math.Sqrt2) / 2
			density += math.Exp(-z*z/2) / (s * math.Sqrt(2*math.Pi))
		}
		n := float64(len(u))
		over := mass/n - p
		if over > 0 {
			high = t
		} else {
			low = t
		}
		next := t - over/(density/n)
		if !(next > low && next < high) {
			next = (low + high) / 2
		}
		if math.Abs(next-t) <= 1e-13*(most+math.Abs(t)) {
			return next
		}
		t = next
	}
	return t
}

// logDensity is that of the target in its own unit, as it stands in the table: not
// clamped to its bounds.
func (l linearLaw) logDensity(y float64, u [][]float64) float64 {
	width := (l.upper - l.lower) / 2
	t := (y-l.lower)/width - 1
	logs := make([]float64, len(u[0]))
	for i, v := range u[0] {
		s := l.noise(i)
		z := (t - v) / s
		logs[i] = -z*z/2 - math.Log(s*width*math.Sqrt(2*math.Pi))
	}
	return logMeanExp(logs)
}

func (linearLaw) score() score { return &numberScore{} }
