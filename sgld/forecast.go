package sgld

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/datasets"
)

// The planner weighs coordinates, clipping norms and temperatures against each other
// by a forecast that needs no data: on a quadratic potential the law of the average
// over a chain is known in closed form, the budget sets the chain's time, and what is
// unknown, the law of the rows and the coefficients, is replaced by reference laws
// that the encoding implies. Nothing of this enters the accounting.

// A referenceLaw is a law of rows with independent columns: the frequencies of levels
// fall like rank^−zipf, the reference level first, and numbers crowd at one end of
// their bounds. Tables are hardly ever as even as publicGram has them.
type referenceLaw struct {
	zipf           float64
	mean, variance float64 // of a number; a uniform one has 0 and 1/3
}

// referenceLaws are those of a forecast: the worse one counts.
var referenceLaws = []referenceLaw{{1.5, -0.55, 0.15}, {2.5, -0.9, 0.03}}

// outlookLaw is the milder one for which errors are stated.
var outlookLaw = referenceLaw{1, -0.3, 0.2}

// gram returns E xxᵀ under the law.
func (l referenceLaw) gram(enc datasets.Encoding) *mat.SymDense {
	d := len(enc.Coefficients)
	mean := make([]float64, d)
	mean[0] = 1
	e := mat.NewSymDense(d, nil)
	for _, f := range enc.Features {
		if f.Kind == datasets.Number {
			mean[f.Offset] = l.mean
			e.SetSym(f.Offset, f.Offset, l.variance)
			continue
		}
		total := 1.0
		for i := range f.Width {
			total += math.Pow(float64(i+2), -l.zipf)
		}
		share := func(i int) float64 { return math.Pow(float64(i+2), -l.zipf) / total }
		for i := range f.Width {
			mean[f.Offset+i] = share(i)
			for j := i; j < f.Width; j++ {
				v := -share(i) * share(j)
				if i == j {
					v += share(i)
				}
				e.SetSym(f.Offset+i, f.Offset+j, v)
			}
		}
	}
	for i := range d {
		for j := i; j < d; j++ {
			e.SetSym(i, j, e.At(i, j)+mean[i]*mean[j])
		}
	}
	return e
}

// A landscape is the quadratic potential of a reference law, seen in the coordinates
// of one metric: what a chain there meets.
type landscape struct {
	units     float64
	weight    float64   // expected curvature of a unit in its linear predictor
	curvature []float64 // of each eigendirection, of unit length in φ
	distance2 []float64 // expected square of the way from the start to the mode, along it

	vectors *mat.Dense // the directions in θ, as columns: R·V
	inverse *mat.Dense // its inverse: the part of each coefficient in them
	effect  []float64  // standard deviation of each coefficient about the start
	sd2     []float64  // variance of each coefficient in the posterior at temperature 1
}

// newLandscape makes one from E xxᵀ of a law, the number of units, the curvature that
// each has in its linear predictor, the precisions of the prior, the root of a metric
// (nil: the coefficients' own coordinates) and the standard deviations of the
// coefficients about the start. nil where the matrices have no decomposition.
func newLandscape(gram *mat.SymDense, units, weight float64, precision []float64, root *mat.Dense, effect []float64) *landscape {
	d := gram.SymmetricDim()
	h := mat.NewSymDense(d, nil)
	for i := range d {
		for j := i; j < d; j++ {
			v := units * weight * gram.At(i, j)
			if i == j {
				v += precision[i]
			}
			h.SetSym(i, j, v)
		}
	}
	var ch mat.Cholesky
	var covariance mat.SymDense
	if !ch.Factorize(h) || ch.InverseTo(&covariance) != nil {
		return nil
	}
	l := &landscape{units: units, weight: weight, effect: effect}
	for i := range d {
		l.sd2 = append(l.sd2, covariance.At(i, i))
	}
	inner := h
	if root != nil {
		var t, rhr mat.Dense
		t.Mul(h, root)
		rhr.Mul(root.T(), &t)
		inner = mat.NewSymDense(d, nil)
		for i := range d {
			for j := i; j < d; j++ {
				inner.SetSym(i, j, (rhr.At(i, j)+rhr.At(j, i))/2)
			}
		}
	}
	var eig mat.EigenSym
	if !eig.Factorize(inner, true) {
		return nil
	}
	l.curvature = eig.Values(nil)
	var v mat.Dense
	eig.VectorsTo(&v)
	l.vectors = &v
	l.inverse = mat.DenseCopyOf(v.T())
	if root != nil {
		var vectors, back mat.Dense
		vectors.Mul(root, &v)
		l.vectors = &vectors
		if back.Solve(root.T(), &v) != nil {
			return nil
		}
		l.inverse = mat.DenseCopyOf(back.T())
	}
	for k := range d {
		l.curvature[k] = math.Max(l.curvature[k], 1e-300)
		var distance2 float64
		for i, e := range effect {
			v := l.inverse.At(k, i) * e
			distance2 += v * v
		}
		l.distance2 = append(l.distance2, distance2)
	}
	return l
}

// A course is a chain's time, before its draws and to its end, its temperature, and
// the number of such chains.
type course struct {
	warmup, time float64
	temperature  float64
	chains       float64
}

// average returns, for an Ornstein–Uhlenbeck process of that curvature that starts
// at distance 1 from its mean, what is left of the distance in the average over the
// chains after warm-up, and the variance of that average, for one chain:
//
//	left = (e^−λb − e^−λt)/(λw),  w = t − b
//	var  = (2T/(λ²w))·(1 − (1 − e^−λw)/(λw)) − (T/λ)·left²
//
// from Cov(x_s, x_u) = (T/λ)(e^−λ|s−u| − e^−λ(s+u)) integrated over [b, t]².
func (c course) average(curvature float64) (left, variance float64) {
	b, w := c.warmup, c.time-c.warmup
	x := curvature * w
	// (1 − e^−x)/x and 2(1 − that)/x, which cancel for small x.
	first, second := 1-x/2+x*x/6, 1-x/3+x*x/12
	if x > 1e-4 {
		first = -math.Expm1(-x) / x
		second = 2 * (1 - first) / x
	}
	left = math.Exp(-curvature*b) * first
	variance = c.temperature / curvature * (second - left*left)
	if x <= 1e-4 && curvature*b < 1e-4 {
		variance = c.temperature * (2*b + 2*w/3) // its limit, without the cancellation
	}
	return left, math.Max(variance, 0) / c.chains
}

// A forecast is the expected excess of the log score of predictions over that of the
// posterior without privacy, in nats a unit, by its cause.
type forecast struct {
	Start float64 // the way from the start that time does not cover
	Noise float64 // of the average over the chain
	Heat  float64 // spread of the draws beyond the posterior's
	Clip  float64 // of the clipped likelihood
}

func (f forecast) total() float64 { return f.Start + f.Noise + f.Heat + f.Clip }

func (f forecast) String() string {
	return fmt.Sprintf("%.2g nats a unit: %.2g for the way from the start, %.2g for noise, %.2g for the draws' spread, %.2g for the clip", f.total(), f.Start, f.Noise, f.Heat, f.Clip)
}

// expectedLogit2 is the mean square of a linear predictor in the forecast of heat.
const expectedLogit2 = 6

// forecast returns what the course costs on the landscape, but for the clip.
//
// Start and noise are the mean of ½(θ̄−θ*)ᵀH(θ̄−θ*). Averaging predicted probabilities
// over draws whose linear predictor has variance v shrinks it by the factor
// 1 − πv/16 (MacKay 1992: σ(u/√(1+πv/8))), which costs ½w·u²(πv/16)² a unit.
func (l *landscape) forecast(c course) (f forecast) {
	var heat float64
	for k, curvature := range l.curvature {
		left, variance := c.average(curvature)
		f.Start += curvature * l.distance2[k] * left * left / 2
		f.Noise += curvature * variance / 2
		heat += c.temperature * -math.Expm1(-2*curvature*c.time)
	}
	v := heat / (l.units * l.weight)
	shrink := math.Min(math.Pi*v/16, 1)
	f.Start /= l.units
	f.Noise /= l.units
	f.Heat = l.weight * expectedLogit2 * shrink * shrink / 2
	return f
}

// Outlook is what a plan expects for one coefficient.
type Outlook struct {
	Name string

	// Error is the expected error of its posterior mean, in standard deviations of the
	// posterior at temperature 1: what the budget's noise leaves, C/(μ√λ) for a
	// direction of curvature λ of a long chain, and what is left of the start's distance.
	Error float64

	// EffectiveDraws is λt/2 over the time of all chains after warm-up.
	EffectiveDraws float64

	// Reached is the share of the way from the start that the chain covers, 1 − e^−λt.
	Reached float64

	// PriorDominated is the expected share of such coefficients of which the data say less
	// than the prior, whatever the budget.
	PriorDominated float64
}

// outlook returns the outlook of every coefficient, without its name.
func (l *landscape) outlook(c course, precision []float64) []Outlook {
	out := make([]Outlook, len(l.sd2))
	type direction struct{ variance, draws, reached float64 }
	directions := make([]direction, len(l.curvature))
	var lefts, back mat.Dense // what is left of a distance in each coefficient
	lefts.CloneFrom(l.vectors)
	for k, curvature := range l.curvature {
		left, variance := c.average(curvature)
		directions[k] = direction{variance, curvature * (c.time - c.warmup) * c.chains / 2, -math.Expm1(-curvature * c.time)}
		for i := range l.sd2 {
			lefts.Set(i, k, left*lefts.At(i, k))
		}
	}
	back.Mul(&lefts, l.inverse)
	for i := range l.sd2 {
		var square float64
		for m, e := range l.effect {
			v := back.At(i, m) * e
			square += v * v
		}
		var weight, draws, reached float64
		for k, of := range directions {
			v := l.vectors.At(i, k)
			square += v * v * of.variance
			// Directions count by their part in the coefficient's posterior variance.
			w := v * v / l.curvature[k]
			weight += w
			draws += w * of.draws
			reached += w * of.reached
		}
		out[i].Error = math.Sqrt(square / l.sd2[i])
		out[i].EffectiveDraws = draws / weight
		out[i].Reached = reached / weight
		if l.sd2[i]*precision[i] > 0.5 {
			out[i].PriorDominated = 1
		}
	}
	return out
}

// clipCost returns the expected Kullback–Leibler divergence, in nats a unit, from
// outcomes of probability p to the predictions that a logistic likelihood clipped at
// residuals of size c has its mode at, where the linear predictor is N(−1, 1.5²)
// over the units. A residual that is clipped to c on one side only moves the mode of a
// binary outcome from p to
//
//	c·p/(1−p)      where p < 1−c,   and   1 − c·(1−p)/p   where p > c
//
// (the root of p·clip(1−p̂) = (1−p)·clip(p̂)); below c = ½ the first holds for p ≤ ½ and
// the second above. For c ≥ 1 nothing is clipped.
func clipCost(c float64) float64 {
	if c >= 1 {
		return 0
	}
	const (
		mean, sd = -1, 1.5
		points   = 64
	)
	var cost, weight float64
	for k := range points {
		// A grid over ±4 standard deviations: the integrand is smooth but for two knots.
		x := 8*(float64(k)+0.5)/points - 4
		w := math.Exp(-x * x / 2)
		p := 1 / (1 + math.Exp(-(mean + sd*x)))
		q := p
		if p < 1-c && p <= 0.5 {
			q = c * p / (1 - p)
		} else if p > c && p > 0.5 {
			q = 1 - c*(1-p)/p
		}
		cost += w * (p*math.Log(p/q) + (1-p)*math.Log((1-p)/(1-q)))
		weight += w
	}
	return cost / weight
}
