package sgld

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// model is a family of likelihoods over one encoding: what the planner must know of
// it, all of it public, and how units enter a sum. A model is one file.
//
// What it owes: the sum of what any set of units contributes, mapped by the metric
// (metric.apply), differs by at most the clipping norm from the sum without one of
// them, after the rounding to the lattice, whatever floats rows, targets and iterate
// hold; and no branch, index or allocation depends on a value of a row.
type model interface {
	// names returns the names of the parameters, in the order of θ.
	names() []string

	facts() facts

	// contribution prepares sums over the table in the metric that [facts.metric] has
	// made. Domain errors are those of the clip.
	contribution(g *design, m *metric, clip float64) (contribution, error)
}

// facts are the public figures of a model. Curvature is that of a unit in a linear
// predictor u, ∂²ℓ/∂u²: the metric expects weight of it, and it is never above most.
// Residuals ∂ℓ/∂u are clipped where the budget is short, to no less than least in
// units of their size where a row has the largest norm; beyond most lies only what
// the data's bounds rule out.
type facts struct {
	weight, curvature float64
	least, most       float64
	scale             float64 // power of two that bounds residuals in the sum
	copies            int     // linear predictors of a unit
	beside            []beside
	share             float64 // of the clipping norm that the linear predictors have
	cost              float64 // of a unit's contribution, over that of the vector kernel
	gradient          bool    // clipped contributions are the gradient of a potential
}

// beside is a parameter beside those of the linear predictors: with the curvature
// that the metric expects of a unit, the most of it, a scale like theirs, and where a
// chain starts that starts at zero elsewhere.
type beside struct{ weight, curvature, scale, start float64 }

// Models are the names of the models, in the order in which they are listed.
var Models = []string{"logistic", "linear", "poisson", "softmax"}

// OutcomeOf returns what a model takes for its target; ok is false for an unknown
// model.
func OutcomeOf(model string) (o datasets.Outcome, ok bool) {
	switch model {
	case "linear", "poisson":
		return datasets.Numeric, true
	case "softmax":
		return datasets.Levels, true
	}
	return datasets.Binary, model == "logistic"
}

// newModel returns the model of a request; *[Conflict] where the target or another
// setting does not fit it.
func newModel(r *Request) (model, error) {
	if r.Model == "" {
		r.Model = "logistic"
	}
	outcome, ok := OutcomeOf(r.Model)
	if !ok {
		return nil, conflictf("unknown model %q: use one of %v", r.Model, Models)
	}
	if r.Encoding.Outcome != outcome {
		return nil, conflictf("model %s: the target %q is bound as one of another model", r.Model, r.Encoding.Target)
	}
	if r.NoiseSD != nil && r.Model != "linear" {
		return nil, conflictf("--noise-sd is for the linear model")
	}
	switch r.Model {
	case "linear":
		return newLinear(r)
	case "poisson":
		return newPoisson(r)
	case "softmax":
		return newSoftmax(r)
	}
	return logistic{glmNames(r.Encoding)}, nil
}

// metric completes the root of one copy of the encoding's coefficients to the metric
// of all parameters, over n units; n is 0 in the coefficients' own units.
func (f facts) metric(root *mat.Dense, n float64, priorPrecision []float64, c, z float64) (*metric, error) {
	d, _ := root.Dims()
	scale := slices.Repeat([]float64{f.scale}, d)
	if len(f.beside) > 0 {
		whole := mat.NewDense(d+len(f.beside), d+len(f.beside), nil)
		whole.Slice(0, d, 0, d).(*mat.Dense).Copy(root)
		for i, b := range f.beside {
			scale = append(scale, b.scale)
			whole.Set(d+i, d+i, 1)
			if n > 0 {
				whole.Set(d+i, d+i, 1/math.Sqrt(n*b.weight+priorPrecision[d+i]))
			}
		}
		root = whole
	}
	return newMetric(root, f.copies, scale, c, z)
}

// dim returns the number of parameters over d coefficients of an encoding.
func (f facts) dim(d int) int { return f.copies*d + len(f.beside) }

// powerOfTwo returns the least power of two that is at least x.
func powerOfTwo(x float64) float64 {
	frac, exp := math.Frexp(x)
	if frac == 0.5 {
		exp--
	}
	return math.Ldexp(1, exp)
}

// contribution is how the units of a table enter the sum of a step.
type contribution interface {
	// begin is told the iterate before each step, in one goroutine.
	begin(theta []float64)

	// part returns the memory of a worker, claimed once.
	part() part

	// bounds returns what the clip allows each unit of every block, zero in the
	// filling; nil where a contribution keeps no such thing.
	bounds() []float64
}

// part adds up for one worker.
type part interface {
	// add adds the contributions of all units of some blocks.
	add(b *blocks)

	// finish writes the sum of all that was added to total, by parameter, and leaves
	// zeros for the next step.
	finish(total []int64)
}

// blocks are units as they are handed to a part: whole blocks of lanes, each field
// laid out as in the design.
type blocks struct {
	x      []float64 // blocks × numbers × lanes
	code   []uint16  // blocks × joints × lanes
	target []float64 // blocks × lanes, of a numeric target
	class  []uint16  // blocks × lanes, of a target with levels
	bound  []float64 // blocks × lanes, of contribution.bounds
	weight []int64   // blocks × lanes: multiplicities below 2³¹, negative for a binary target of 1
}

// glmNames are the names of the parameters of a model with one linear predictor.
type glmNames datasets.Encoding

func (n glmNames) names() []string { return n.Coefficients }

// newGLM returns the contribution of a generalised linear model: a unit adds
// c·x with c its residual over the scale, clipped to its factor, which the kernel
// sees to.
func newGLM(g *design, m *metric, clip float64, kernel func(*operands)) (*glm, error) {
	k, err := privacy.NewClip(clip, m.m)
	if err != nil {
		return nil, err
	}
	return &glm{
		design: g, kernel: kernel, factor: g.factors(k, m.m),
		padded: make([]float64, g.d+1), theta: make([]float64, 1+len(g.numbers)), table: make([]float64, g.entries),
	}, nil
}

// glm is a contribution with one residual.
type glm struct {
	design *design
	kernel func(*operands)
	factor []float64
	padded []float64 // coefficients, and a zero for reference levels
	theta  []float64 // of the intercept and the numbers
	table  []float64 // of the entries of the joint codes
}

func (c *glm) begin(theta []float64) {
	copy(c.padded[:c.design.d], theta)
	c.design.split(c.theta, c.table, c.padded)
}

func (c *glm) bounds() []float64 { return c.factor }

func (c *glm) part() part {
	g := c.design
	const slack = 8 // between the memory of two workers
	sums := sumLanes * len(c.theta)
	entries := entryCopies * g.entries
	ints := make([]int64, sums+entries+g.d+1+slack)
	return &glmPart{c, operands{
		numbers: len(g.numbers), joints: len(g.joints), theta: c.theta, table: c.table,
		sums: ints[:sums], entries: ints[sums : sums+entries],
	}, ints[sums+entries:][:g.d+1]}
}

type glmPart struct {
	c     *glm
	o     operands
	total []int64 // by coefficient, and what the reference levels have
}

func (p *glmPart) add(b *blocks) {
	o := &p.o
	o.x, o.code, o.target, o.bound, o.weight = b.x, b.code, b.target, b.bound, b.weight
	p.c.kernel(o)
}

func (p *glmPart) finish(total []int64) {
	p.c.design.gather(p.total, p.o.sums, p.o.entries)
	copy(total[:p.c.design.d], p.total)
}

// split writes the coefficients of the intercept and the numbers to numbers, and the
// sums of those of every entry of the joint codes to table. theta has a zero at its
// end.
func (g *design) split(numbers, table, theta []float64) {
	numbers[0] = theta[0]
	for j, o := range g.numbers {
		numbers[1+j] = theta[o]
	}
	g.expand(table, theta)
}

// gather writes what a kernel has added to total, of length d+1, and clears it.
func (g *design) gather(total, sums, entries []int64) {
	clear(total)
	for j := range len(g.numbers) + 1 {
		o := 0
		if j > 0 {
			o = g.numbers[j-1]
		}
		for _, v := range sums[j*sumLanes : (j+1)*sumLanes] {
			total[o] += v
		}
	}
	for e := range g.entries {
		p := (*[entryCopies]int64)(entries[e*entryCopies:])
		entries[e] = p[0] + p[1] + p[2] + p[3]
	}
	g.unfold(total, entries)
	clear(sums)
	clear(entries)
}
