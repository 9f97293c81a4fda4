package sgld

import (
	"context"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// modelCase is a model with a target, for tests that hold for every model.
type modelCase struct {
	name    string
	request func() Request
}

func modelCases() []modelCase {
	over := func(model string, outcome datasets.Outcome, change func(*Request)) func() Request {
		return func() Request {
			r := testRequest(1)
			r.Model, r.Encoding.Outcome = model, outcome
			change(&r)
			return r
		}
	}
	bounds := func(lower, upper float64) func(*Request) {
		return func(r *Request) { r.Encoding.Lower, r.Encoding.Upper = lower, upper }
	}
	return []modelCase{
		{"logistic", over("logistic", datasets.Binary, func(*Request) {})},
		{"linear", over("linear", datasets.Numeric, func(r *Request) { bounds(0, 80)(r); r.NoiseSD = ptr(0.3) })},
		{"linear with little noise", over("linear", datasets.Numeric, func(r *Request) { bounds(0, 80)(r); r.NoiseSD = ptr(1e-4) })},
		{"poisson", over("poisson", datasets.Numeric, bounds(0, 30))},
		{"poisson of rare events", over("poisson", datasets.Numeric, bounds(0, 0.5))},
	}
}

// targetRecords are the rows with that target, as the outcome stores it.
func targetRecords(rows []testRow, target []float64, outcome datasets.Outcome) []arrow.Record {
	plain := testRecords(rows, len(rows))[0]
	columns := slices.Clone(plain.Columns())
	var b array.Builder
	switch outcome {
	case datasets.Numeric:
		f := array.NewFloat64Builder(memory.DefaultAllocator)
		f.AppendValues(target, nil)
		b = f
	case datasets.Levels:
		c := array.NewUint16Builder(memory.DefaultAllocator)
		for _, v := range target {
			c.Append(uint16(v))
		}
		b = c
	default:
		return []arrow.Record{plain}
	}
	columns[3] = b.NewArray()
	fields := slices.Clone(plain.Schema().Fields())
	fields[3].Type = columns[3].DataType()
	return []arrow.Record{array.NewRecord(arrow.NewSchema(fields, nil), columns, int64(len(rows)))}
}

// modelSum is the noisy sum of a model over the rows, in a metric with that root. Where
// the model has parameters beside the coefficients, these are scaled like the root.
func modelSum(t testing.TB, r Request, rows []testRow, target []float64, root *mat.Dense, scale, c, q float64) (*noisySum, model) {
	t.Helper()
	of, err := newModel(&r)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newDesign(targetRecords(rows, target, r.Encoding.Outcome), r.Encoding)
	if err != nil {
		t.Fatal(err)
	}
	f := of.facts()
	m, err := f.metric(root, 1/(scale*scale), make([]float64, g.d+len(f.beside)), c, 10)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newNoisySum(g, accountant.AddRemove, of, m, c, q, privacy.NewSeeded(1, "sum"))
	if err != nil {
		t.Fatal(err)
	}
	return s, of
}

func hostileTargets(src *privacy.Seeded, n int, outcome datasets.Outcome) []float64 {
	out := make([]float64, n)
	for i := range out {
		switch {
		case outcome == datasets.Levels:
			out[i] = float64(src.Uint64() % 5)
			if src.Uint64()%8 == 0 {
				out[i] = math.MaxUint16
			}
		case src.Uint64()%4 == 0:
			out[i] = hostile[src.Uint64()%uint64(len(hostile))]
		default:
			out[i] = 2*uniform(src) - 1
		}
	}
	return out
}

// imageNorm2 is ‖M v‖² of the integers v, exactly, in units of 1/Unit².
func imageNorm2(m *metric, v []int64) *big.Rat {
	norm2 := new(big.Rat)
	for d := m.m.Dim(); len(v) > 0; v = v[d:] {
		for j := range d {
			image := new(big.Rat)
			for i, x := range v[:d] {
				image.Add(image, new(big.Rat).Mul(new(big.Rat).SetFloat64(m.m.At(j, i)), new(big.Rat).SetInt64(x)))
			}
			norm2.Add(norm2, image.Mul(image, image))
		}
	}
	return norm2
}

// modelPairs is the threat of [pairs] for any model: the exact image of what a unit
// adds has norm at most C − √D·g, and the rounded image of any sum moves by at most C
// when the unit leaves it. That some units come within a millionth of the bound is
// what makes a wrong clip seen.
func modelPairs(t *testing.T, c modelCase, n int) {
	src := privacy.NewSeeded(31, "pairs "+c.name)
	near, done := 0, 0
	for done < n {
		r := c.request()
		of, err := newModel(&r)
		if err != nil {
			t.Fatal(err)
		}
		f := of.facts()
		root := skewRoot()
		scale := math.Ldexp(1+uniform(src), int(src.Uint64()%40)-20)
		for i := range 5 {
			for j := range 5 {
				root.Set(i, j, scale*(root.At(i, j)+0.01*(uniform(src)-0.5)))
			}
		}
		// From clipping almost everybody to almost nobody.
		clip := scale * (0.002 + 0.05*uniform(src)) * f.least * math.Pow(f.most/f.least, uniform(src))
		rows := hostileRows(src, 40)
		s, _ := modelSum(t, r, rows, hostileTargets(src, len(rows), r.Encoding.Outcome), root, 0.05*scale, clip, 1)
		theta := make([]float64, s.metric.dim())
		for i := range theta {
			theta[i] = w500(src) * math.Ldexp(1, -int(src.Uint64()%12))
		}
		if src.Uint64()%8 == 0 {
			theta[src.Uint64()%uint64(len(theta))] = hostile[src.Uint64()%uint64(len(hostile))]
		}
		room := new(big.Rat).SetFloat64(math.Nextafter(math.Sqrt(float64(len(theta))), math.Inf(1)))
		room.Mul(room, new(big.Rat).SetFloat64(s.metric.m.Spacing()))
		room.Sub(new(big.Rat).SetFloat64(clip), room).Mul(room, new(big.Rat).SetInt64(privacy.Unit))
		room.Mul(room, room)
		var units [][]int64
		for u := range s.design.count {
			s.exact(theta, []uint32{uint32(u)})
			units = append(units, slices.Clone(s.sum))
		}
		before, after, with := make([]int64, len(theta)), make([]int64, len(theta)), make([]int64, len(theta))
		for _, v := range units {
			for _, x := range v {
				if x > privacy.Unit || x < -privacy.Unit {
					t.Fatal("a coordinate of a contribution is beyond its lattice")
				}
			}
			norm2 := imageNorm2(s.metric, v)
			if norm2.Cmp(room) > 0 {
				t.Fatal("what a unit adds is larger than the clip promises")
			}
			if f, _ := norm2.Quo(norm2, room).Float64(); f > 1-1e-6 {
				near++
			}
			for range 3 {
				done++
				without := make([]int64, len(theta))
				for range 3 {
					other, m := units[src.Uint64()%uint64(len(units))], int64(src.Uint64()>>(35+src.Uint64()%29))
					for i := range without {
						without[i] += m * other[i]
					}
				}
				for i := range with {
					with[i] = without[i] + v[i]
				}
				s.metric.apply(before, without)
				s.metric.apply(after, with)
				for i := range after {
					after[i] -= before[i]
				}
				if !exactBelow(after, clip, s.metric.m.Spacing()) {
					t.Fatal("a unit moves the rounded sum by more than C")
				}
			}
		}
	}
	if near < n/60 {
		t.Errorf("%d units of %d come within a millionth of the bound: the test would not notice a wrong clip", near, n/3)
	}
}

func TestModelPairs(t *testing.T) {
	for _, c := range modelCases() {
		t.Run(c.name, func(t *testing.T) { modelPairs(t, c, 1500) })
	}
}

// TestModelSumSameBits: workers, order of the rows and batches leave every model's sum
// as it is, and a step allocates nothing.
func TestModelSumSameBits(t *testing.T) {
	for _, c := range modelCases() {
		src := privacy.NewSeeded(32, c.name)
		r := c.request()
		rows := testRows(700, testTheta, 8, 2)
		target := hostileTargets(src, len(rows), r.Encoding.Outcome)
		theta := func(n int) []float64 { return slices.Repeat([]float64{0.3, -0.2, 0.5}, 1+n/3)[:n] }
		like, err := newModel(&r)
		if err != nil {
			t.Fatal(err)
		}
		clip := 0.05 * like.facts().least
		s, of := modelSum(t, r, rows, target, skewRoot(), 0.05, clip, 1)
		at := theta(s.metric.dim())
		want := s.exact(at, nil)
		for i := len(rows) - 1; i > 0; i-- {
			j := int(src.Uint64() % uint64(i+1))
			rows[i], rows[j] = rows[j], rows[i]
			target[i], target[j] = target[j], target[i]
		}
		other, _ := modelSum(t, r, rows, target, skewRoot(), 0.05, clip, 1)
		for _, n := range []int{1, 2, 3, 7} {
			what, err := of.contribution(other.design, other.metric, clip)
			if err != nil {
				t.Fatal(err)
			}
			other.workers = newWorkersOf(other.design, what, other.metric.dim(), n)
			other.workers.chunk = 4 * lanes
			if !slices.Equal(other.exact(at, nil), want) {
				t.Errorf("%s, %d workers: other bits", c.name, n)
			}
			if !slices.Equal(other.exact(at, other.design.unit), want) {
				t.Errorf("%s, %d workers, every row by itself: other bits", c.name, n)
			}
		}
		dst := make([]float64, len(at))
		if n := testing.AllocsPerRun(20, func() {
			if err := s.draw(dst, at, 3); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: a step allocates %g times", c.name, n)
		}
	}
}

// TestModelsAreTheirFormula: the exact sum is that of the clipped gradients of the
// formula, written out here with the library's exponential.
func TestModelsAreTheirFormula(t *testing.T) {
	for _, c := range modelCases() {
		if c.name != "linear" && c.name != "poisson" {
			continue
		}
		r := c.request()
		rows := testRows(300, testTheta, 0, 3)
		src := privacy.NewSeeded(33, c.name)
		target := make([]float64, len(rows))
		for i := range target {
			target[i] = 2*uniform(src) - 1
		}
		for _, clip := range []float64{0.1, 8} { // clipping and not
			s, _ := modelSum(t, r, rows, target, skewRoot(), 1, clip, 1)
			got := s.exact(testTheta, nil)
			want := make([]float64, 5)
			clipped := false
			for i, row := range rows {
				x := row.dense()
				var u float64
				for j, v := range x {
					u += v * testTheta[j]
				}
				res := (u - target[i]) / 0.09
				if r.Model == "poisson" {
					res = math.Min(math.Exp(u), 30) - 15*(1+target[i])
				}
				image := make([]float64, 5)
				var n2 float64
				for j := range image {
					for k := range x {
						image[j] += skewRoot().At(k, j) * x[k]
					}
					n2 += image[j] * image[j]
				}
				if f := clip / math.Sqrt(n2); math.Abs(res) > f {
					res, clipped = math.Copysign(f, res), true
				}
				for j := range want {
					want[j] += res * image[j]
				}
			}
			if clipped != (clip == 0.1) {
				t.Fatalf("%s, clip %g: the case does not test what it should", c.name, clip)
			}
			for j := range want {
				if d := math.Abs(float64(got[j])*s.metric.m.Spacing() - want[j]); d > 1e-6*clip*float64(len(rows)) {
					t.Errorf("%s, clip %g, coordinate %d: off by %g", c.name, clip, j, d)
				}
			}
		}
	}
}

// TestConjugate: a linear model's posterior under a normal prior is the conjugate one,
// N(A⁻¹b, A⁻¹) with A = XᵀX/σ² + K and b = Xᵀy/σ². 20,000 draws of about a tenth as
// many effective ones, from a run whose budget protects nobody: a mean is known to
// 0.022 sd and an sd to 1.6 %; the bands are five of these, and an error of 0.2 sd or
// 12 % is noticed with probability 0.99.
func TestConjugate(t *testing.T) {
	src := privacy.NewSeeded(34, "conjugate")
	rows := testRows(400, testTheta, 0, 4)
	target := make([]float64, len(rows))
	const sd = 0.3
	a, b := mat.NewSymDense(5, nil), mat.NewVecDense(5, nil)
	for i, row := range rows {
		x := row.dense()
		var u float64
		for j, v := range x {
			u += 0.3 * v * testTheta[j]
		}
		target[i] = inRange(u + sd*(uniform(src)+uniform(src)+uniform(src)-1.5)*2)
		for j := range x {
			b.SetVec(j, b.AtVec(j)+x[j]*target[i]/(sd*sd))
			for k := j; k < 5; k++ {
				a.SetSym(j, k, a.At(j, k)+x[j]*x[k]/(sd*sd))
			}
		}
	}
	precision := []float64{1, 1, 4, 0.25, 0.25} // of normal:1,b=normal:0.5,c=normal:2
	for j, v := range precision {
		a.SetSym(j, j, a.At(j, j)+v)
	}
	var inverse mat.SymDense
	var chol mat.Cholesky
	if !chol.Factorize(a) {
		t.Fatal("the posterior has no covariance")
	}
	if err := chol.InverseTo(&inverse); err != nil {
		t.Fatal(err)
	}
	var mean mat.VecDense
	mean.MulVec(&inverse, b)

	r := testRequest(1e6)
	r.Model, r.NoiseSD, r.Rows, r.Draws = "linear", ptr(sd), int64(len(rows)), 20_000
	r.Encoding.Outcome, r.Encoding.Lower, r.Encoding.Upper = datasets.Numeric, -1, 1
	var err error
	if r.Prior, err = ParsePrior("normal:1,b=normal:0.5,c=normal:2"); err != nil {
		t.Fatal(err)
	}
	r.Steps, r.Temperature = ptr[int64](100_000), ptr(1.0)
	p, err := NewPlan(r)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newDesign(targetRecords(rows, target, datasets.Numeric), r.Encoding)
	if err != nil {
		t.Fatal(err)
	}
	res, err := run(context.Background(), p, g, func(use string) privacy.Bits { return privacy.NewSeeded(35, use) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for j := range 5 {
		m, v := moments(res.Draws.Chains[0], j)
		want := math.Sqrt(inverse.At(j, j))
		if z := (m - mean.AtVec(j)) / want; math.Abs(z) > 0.11 {
			t.Errorf("coefficient %d: mean %.4f, want %.4f, %.3f sd off", j, m, mean.AtVec(j), z)
		}
		if ratio := math.Sqrt(v) / want; math.Abs(ratio-1) > 0.08 {
			t.Errorf("coefficient %d: sd %.4f, want %.4f", j, math.Sqrt(v), want)
		}
	}
}

// moments returns mean and variance of coordinate j of the draws.
func moments(draws [][]float64, j int) (mean, variance float64) {
	for _, d := range draws {
		mean += d[j] / float64(len(draws))
	}
	for _, d := range draws {
		variance += (d[j] - mean) * (d[j] - mean) / float64(len(draws))
	}
	return mean, variance
}
