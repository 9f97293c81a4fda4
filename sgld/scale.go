package sgld

import (
	"math"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// Linear regression with an unknown noise scale: the logarithm λ of σ is one more
// parameter, log_noise_sd,
//
//	ℓ(u, λ; y) = (u − y)²/2σ² + λ,   σ = e^max(λ, λ₀)
//
// with gradient r·x in the coefficients, r = (u − y)/σ², and s = 1 − (u − y)²/σ² in λ.
// The floor e^λ₀ keeps the curvature public. The metric is block-diagonal, and the two
// parts are clipped by themselves, to C_x = 0.8·C and C_λ = 0.6·C.
//
// Proof of the bound. Let D be the number of parameters. By the proof at privacy.Clip
// for D coordinates, the images of the two parts have norms at most C_x − √D·g and
// C_λ − √D·g. They are orthogonal, as M is block-diagonal, so the image of the whole
// has norm at most
//
//	‖(C_x − √D·g, C_λ − √D·g)‖ ≤ ‖(C_x, C_λ)‖ − √D·g ≤ C − √D·g:
//
// the derivative of the first norm in what is taken off both is minus its ratio of
// 1-norm to 2-norm, at most −1.
//
// The two parts are clipped apart, so no potential has the clipped contributions as
// its gradient. Clipping s from below takes large residuals out of the estimate of σ,
// which a short budget therefore makes a little too small.
type linearScale struct{ enc datasets.Encoding }

const (
	noiseGuess = 0.25     // of σ, where the metric's curvature and the start are from
	noiseFloor = 1.0 / 32 // the least σ
	scaleShare = 0.8      // C_x/C
	scaleRest  = 0.6      // C_λ/C
)

func (m linearScale) names() []string {
	return append(append([]string(nil), m.enc.Coefficients...), "log_noise_sd")
}

func (m linearScale) facts() facts {
	const wide = (noiseGuess / noiseFloor) * (noiseGuess / noiseFloor)
	precision := 1 / (noiseGuess * noiseGuess)
	return facts{
		weight: precision, curvature: precision * wide,
		least: robustSDs / noiseGuess, most: 8 * precision, scale: powerOfTwo(16 * precision),
		copies: 1, share: scaleShare, cost: 6,
		beside: []beside{{weight: 2, curvature: 2 * wide, scale: powerOfTwo(8 / (noiseFloor * noiseFloor)), start: math.Log(noiseGuess)}},
	}
}

func (m linearScale) contribution(g *design, metric *metric, clip float64) (contribution, error) {
	part := clip * (1 - 0x1p-40) // so that the squares of the two add up to less than C²
	k, err := privacy.NewClip(scaleRest*part, metric.m)
	if err != nil {
		return nil, err
	}
	base, err := newGLM(g, metric, scaleShare*part, nil)
	if err != nil {
		return nil, err
	}
	return &scaleSum{
		glm: *base, over: metric.inv[0], overScale: metric.inv[g.d],
		limit: k.Factor(math.Abs(metric.m.At(g.d, g.d))),
	}, nil
}

type scaleSum struct {
	glm
	over, overScale float64 // 1/scale of the residuals r and s
	limit           float64 // of s over its scale
	precision       float64 // 1/σ² of the step in hand
}

func (c *scaleSum) begin(theta []float64) {
	c.glm.begin(theta)
	c.precision = expNegative(2 * max(theta[c.design.d], math.Log(noiseFloor)))
}

func (c *scaleSum) part() part { return &scalePart{glmPart: *c.glm.part().(*glmPart), c: c} }

type scalePart struct {
	glmPart
	c   *scaleSum
	sum int64 // of s
}

func (p *scalePart) add(b *blocks) {
	o := &p.o
	o.x, o.code, o.target, o.bound, o.weight = b.x, b.code, b.target, b.bound, b.weight
	o.check()
	factor := p.c.precision * p.c.over
	for i := range len(o.bound) / lanes {
		o.predict(i)
		target := (*[lanes]float64)(o.target[i*lanes:])
		bound := (*[lanes]float64)(o.bound[i*lanes:])
		weight := (*[lanes]int64)(o.weight[i*lanes:])
		for l, u := range o.c {
			e := u - target[l]
			s := clamped(float64(1-float64(float64(e*e)*p.c.precision))*p.c.overScale, p.c.limit)
			p.sum += lowBits(s+lattice) * weight[l]
			o.c[l] = clamped(e*factor, bound[l])
		}
		o.addBlock(i)
	}
}

func (p *scalePart) finish(total []int64) {
	p.glmPart.finish(total)
	total[p.c.design.d] = p.sum
	p.sum = 0
}
