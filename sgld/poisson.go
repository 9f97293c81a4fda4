package sgld

import "math"

// Poisson regression: y a count clamped to its public bounds [a, b], with mean
// e^min(u, cap), u = xᵀθ and cap = log b, so that the mean too is at most b:
//
//	ℓ(u; y) = e^u − y·u up to the cap, and beyond it the straight line that goes on
//
// The gradient is r·x with r = e^min(u, cap) − y in [−b, b], which never falls, and the
// curvature in u is at most b.

type poisson struct {
	glmNames
	lower, upper float64
}

// mostCount bounds the upper bound of a count.
const mostCount = 1e6

func newPoisson(r *Request) (model, error) {
	e := r.Encoding
	if !(e.Lower >= 0 && e.Upper <= mostCount) {
		return nil, conflictf("target %q: a Poisson model needs bounds of at least 0 and at most %g; the policy says [%g, %g]", e.Target, mostCount, e.Lower, e.Upper)
	}
	return poisson{glmNames(e), e.Lower, e.Upper}, nil
}

// typical is a guess of the mean count from its bounds: halfway between 1 and the
// upper one in logarithms.
func (m poisson) typical() float64 {
	if m.upper <= 1 {
		return m.upper / 2
	}
	return math.Sqrt(m.upper)
}

func (m poisson) facts() facts {
	return facts{
		weight: m.typical(), curvature: m.upper, least: min(robustSDs*math.Sqrt(m.typical()), m.upper), most: m.upper,
		scale: powerOfTwo(2 * m.upper), copies: 1, share: 1, cost: 8, gradient: true,
	}
}

func (m poisson) contribution(g *design, metric *metric, clip float64) (contribution, error) {
	over := metric.inv[0]
	limit := math.Log(m.upper)
	middle, half := (m.lower+m.upper)/2, (m.upper-m.lower)/2
	return newGLM(g, metric, clip, func(o *operands) {
		o.check()
		for b := range len(o.bound) / lanes {
			o.predict(b)
			target := (*[lanes]float64)(o.target[b*lanes:])
			bound := (*[lanes]float64)(o.bound[b*lanes:])
			for l, u := range o.c {
				y := middle + float64(half*target[l])
				r := clamped((expNegative(-min(u, limit))-y)*over, bound[l])
				// What the exponential makes of NaN is a number.
				o.c[l] = math.Float64frombits(math.Float64bits(r) & ordered(u))
			}
			o.addBlock(b)
		}
	})
}
