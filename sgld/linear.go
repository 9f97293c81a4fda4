package sgld

import "math"

// Linear regression: y a number encoded to [−1, 1], ℓ(u; y) = (u − y)²/2σ² with
// u = xᵀθ and a known σ. The gradient is r·x with r = (u − y)/σ², and the curvature in
// u is 1/σ². Clipped, it is Huber's regression.

// linear is the model with known noise; scale.go has the other.
type linear struct {
	glmNames
	precision float64 // 1/σ²
}

// Standard deviations of the noise of a linear model, on the encoded target.
const (
	leastNoiseSD = 1e-4
	mostNoiseSD  = 1e4
)

// robustSDs is where a short budget clips residuals, in standard deviations.
const robustSDs = 3

func newLinear(r *Request) (model, error) {
	if r.NoiseSD == nil {
		return linearScale{r.Encoding}, nil
	}
	sd := *r.NoiseSD
	if !(sd >= leastNoiseSD && sd <= mostNoiseSD) {
		return nil, conflictf("noise standard deviation %g: on a target from -1 to 1 it must lie between %g and %g", sd, leastNoiseSD, mostNoiseSD)
	}
	return linear{glmNames(r.Encoding), 1 / (sd * sd)}, nil
}

func (m linear) facts() facts {
	most := 2 * m.precision // |u − y| ≤ 2 while u stays between the target's bounds
	return facts{
		weight: m.precision, curvature: m.precision, least: min(robustSDs*math.Sqrt(m.precision), most), most: most,
		scale: powerOfTwo(2 * most), copies: 1, share: 1, cost: 4, gradient: true,
	}
}

func (m linear) contribution(g *design, metric *metric, clip float64) (contribution, error) {
	factor := m.precision * metric.inv[0]
	return newGLM(g, metric, clip, func(o *operands) {
		o.check()
		for b := range len(o.bound) / lanes {
			o.predict(b)
			target := (*[lanes]float64)(o.target[b*lanes:])
			bound := (*[lanes]float64)(o.bound[b*lanes:])
			for l, u := range o.c {
				o.c[l] = clamped((u-target[l])*factor, bound[l])
			}
			o.addBlock(b)
		}
	})
}
