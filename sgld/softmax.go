package sgld

import (
	"math"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// Softmax regression: y one of K levels, with coefficients θ_k for each level but the
// reference, u_k = xᵀθ_k and 0 for the reference:
//
//	P(y = k) = p_k = e^u_k / Σ_j e^u_j,   ℓ = −log p_y
//
// The gradient in θ_k is r_k·x with r = p − e_y over the levels that have
// coefficients: the matrix r⊗x with 2-norm ‖r‖·‖x‖ and ‖r‖ ≤ √2. It is clipped as a
// whole, by a factor on r. The curvature in u is at most ½.
//
// With two levels this is logistic regression, and runs as it. With more, the clipped
// gradient is not the gradient of anything: its Jacobian in u is (c/‖r‖)(I − r̂r̂ᵀ)A
// with A = diag(p) − ppᵀ, which is symmetric only where r is an eigenvector of A. The
// chain is private all the same; where many rows are clipped, its stationary law has
// no closed form.
type softmax struct {
	enc   datasets.Encoding
	label []string
}

// mostParameters bounds the coefficients of all levels together.
const mostParameters = 1 << 14

func newSoftmax(r *Request) (model, error) {
	e := r.Encoding
	if n := len(e.Coefficients) * (len(e.Levels) - 1); n > mostParameters {
		return nil, conflictf("%d coefficients of %d levels are %d parameters: at most %d are sampled", len(e.Coefficients), len(e.Levels)-1, n, mostParameters)
	}
	m := softmax{enc: e}
	for k, level := range e.Levels {
		if k == e.Reference {
			continue
		}
		for _, c := range e.Coefficients {
			m.label = append(m.label, level+":"+c)
		}
	}
	return m, nil
}

func (m softmax) names() []string { return m.label }

func (m softmax) facts() facts {
	levels := float64(len(m.enc.Levels))
	if levels == 2 {
		return logistic{}.facts()
	}
	return facts{
		// Of levels that are equally likely, in all directions of u but one.
		weight: 1 / levels, curvature: 0.5, least: math.Sqrt2, most: math.Sqrt2, scale: 2,
		copies: len(m.enc.Levels) - 1, share: 1, cost: 12 * (levels - 1),
	}
}

func (m softmax) contribution(g *design, metric *metric, clip float64) (contribution, error) {
	if len(m.enc.Levels) == 2 {
		return newGLM(g, metric, clip, addBlocks)
	}
	k, err := privacy.NewClipOf(metric.copies, clip, metric.m)
	if err != nil {
		return nil, err
	}
	c := &softmaxSum{
		design: g, factor: g.factors(k, metric.m), padded: make([]float64, g.d+1), over: metric.inv[0],
	}
	for level := range m.enc.Levels {
		if level != m.enc.Reference {
			c.level = append(c.level, uint16(level))
			c.theta = append(c.theta, make([]float64, 1+len(g.numbers)))
			c.table = append(c.table, make([]float64, g.entries))
		}
	}
	return c, nil
}

type softmaxSum struct {
	design *design
	factor []float64
	padded []float64
	over   float64     // 1/scale
	level  []uint16    // of each copy of the coefficients
	theta  [][]float64 // of each: the intercept's and the numbers'
	table  [][]float64 // of each: the entries'
}

func (c *softmaxSum) begin(theta []float64) {
	d := c.design.d
	for k := range c.level {
		copy(c.padded[:d], theta[k*d:])
		c.design.split(c.theta[k], c.table[k], c.padded)
	}
}

func (c *softmaxSum) bounds() []float64 { return c.factor }

func (c *softmaxSum) part() part {
	g, n := c.design, len(c.level)
	const slack = 8 // between the memory of two workers
	sums := sumLanes * (1 + len(g.numbers))
	entries := entryCopies * g.entries
	ints := make([]int64, n*(sums+entries)+g.d+1+slack)
	p := &softmaxPart{c: c, o: make([]operands, n), total: ints[n*(sums+entries):][:g.d+1]}
	for k := range p.o {
		at := ints[k*(sums+entries):]
		p.o[k] = operands{
			numbers: len(g.numbers), joints: len(g.joints), theta: c.theta[k], table: c.table[k],
			sums: at[:sums], entries: at[sums : sums+entries],
		}
	}
	return p
}

type softmaxPart struct {
	c     *softmaxSum
	o     []operands // of each copy of the coefficients
	total []int64
}

func (p *softmaxPart) add(b *blocks) {
	for k := range p.o {
		o := &p.o[k]
		o.x, o.code, o.bound, o.weight = b.x, b.code, b.bound, b.weight
		o.check()
	}
	for i := range len(b.bound) / lanes {
		for k := range p.o {
			p.o[k].predict(i)
		}
		p.residuals((*[lanes]uint16)(b.class[i*lanes:]), (*[lanes]float64)(b.bound[i*lanes:]))
		for k := range p.o {
			p.o[k].addBlock(i)
		}
	}
}

// residuals turns the linear predictors of a block into residuals c over the scale,
// with ‖c‖ at most the bound in every lane.
//
// Proof. n is no less than ‖r‖, for the floats r: squares, sum and root are raised by
// as many roundings as they have, and squares that underflow do not matter beside
// n ≥ 2⁻³⁰⁰. So f·‖r‖ ≤ bound·(1 − 2⁻⁵⁰) and the two roundings of f and of each
// product stay below the bound. What is NaN counts as zero.
func (p *softmaxPart) residuals(class *[lanes]uint16, bound *[lanes]float64) {
	var most, total, n2 [lanes]float64
	for k := range p.o {
		for l, u := range &p.o[k].c {
			most[l] = max(most[l], u)
		}
	}
	for l, m := range &most {
		total[l] = expNegative(m)
	}
	for k := range p.o {
		c := &p.o[k].c
		for l, u := range c {
			c[l] = expNegative(most[l] - u)
			total[l] += c[l]
		}
	}
	for k := range p.o {
		c, level := &p.o[k].c, p.c.level[k]
		for l, e := range c {
			r := float64((e/total[l] - oneIf(class[l], level)) * p.c.over)
			c[l] = r
			n2[l] += float64(r * r)
		}
	}
	roundings := 1 + float64(len(p.o)+8)*0x1p-52
	var factor [lanes]float64
	for l, v := range &n2 {
		n := max(math.Sqrt(v)*roundings, 0x1p-300)
		factor[l] = min(1, bound[l]/n) * (1 - 0x1p-50)
	}
	for k := range p.o {
		c := &p.o[k].c
		for l, r := range c {
			r = float64(r * factor[l])
			c[l] = math.Float64frombits(math.Float64bits(r) & ordered(r) & ordered(most[l]))
		}
	}
}

// oneIf returns 1 if a is b, else 0.
func oneIf(a, b uint16) float64 {
	const one = 0x3ff << 52
	return math.Float64frombits((uint64(a^b) - 1) >> 63 * one)
}

func (p *softmaxPart) finish(total []int64) {
	d := p.c.design.d
	for k := range p.o {
		p.c.design.gather(p.total, p.o[k].sums, p.o[k].entries)
		copy(total[k*d:(k+1)*d], p.total)
	}
}
