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
		{"linear with a noise scale", over("linear", datasets.Numeric, bounds(0, 80))},
		{"softmax", over("softmax", datasets.Levels, func(r *Request) { r.Encoding.Levels, r.Encoding.Reference = []string{"l", "m", "n", "o"}, 1 })},
		{"softmax of two", over("softmax", datasets.Levels, func(r *Request) { r.Encoding.Levels = []string{"l", "m"} })},
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

// lineRecords are rows of one number with that target.
func lineRecords(x, target []float64, outcome datasets.Outcome) []arrow.Record {
	xs := array.NewFloat64Builder(memory.DefaultAllocator)
	xs.AppendValues(x, nil)
	number := xs.NewArray()
	rows := make([]testRow, len(x))
	for i := range rows {
		rows[i].y = uint8(int(target[i]) & 1)
	}
	y := targetRecords(rows, target, outcome)[0].Column(3)
	return []arrow.Record{array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "x", Type: number.DataType()}, {Name: "y", Type: y.DataType()}}, nil), []arrow.Array{number, y}, int64(len(x)))}
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
	if testing.Short() {
		t.Skip("a hundred thousand steps")
	}
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

// residualsOf is the softmax kernel's residual over the levels that have coefficients,
// clipped to norm c.
func residualsOf(u []float64, y uint16, c float64) []float64 {
	p := &softmaxPart{c: &softmaxSum{over: 0.5}, o: make([]operands, len(u))}
	var class [lanes]uint16
	var bound [lanes]float64
	for l := range lanes {
		class[l], bound[l] = y, min(1, c/2)
	}
	for k := range u {
		p.c.level = append(p.c.level, uint16(k))
		for l := range lanes {
			p.o[k].c[l] = u[k]
		}
	}
	p.residuals(&class, &bound)
	out := make([]float64, len(u))
	for k := range out {
		out[k] = 2 * p.o[k].c[lanes-1]
	}
	return out
}

// TestSoftmaxCurl: the kernel's clipped residuals are those of the vectors, and their
// Jacobian is: symmetric with two classes or without a clip, not with three. The
// vectors have a coefficient for every class, so here the reference is one that has
// no probability. The formula with the library's exponential meets the vectors to
// 10⁻¹², the kernel to its own accuracy of 2·10⁻¹².
func TestSoftmaxCurl(t *testing.T) {
	for i, v := range loadRobust(t).Curl {
		n := len(v.U)
		at := func(u []float64) []float64 {
			far := make([]float64, n)
			for k := range far {
				far[k] = u[k] + 100
			}
			return residualsOf(far, uint16(v.Y), v.C)
		}
		far, exact := make([]float64, n), make([]float64, n)
		for k := range far {
			far[k] = v.U[k] + 700
		}
		SoftmaxMeans(exact, far)
		exact[v.Y]--
		var norm float64
		for _, r := range exact {
			norm = math.Hypot(norm, r)
		}
		got := at(v.U)
		var asymmetry float64
		jacobian := mat.NewDense(n, n, nil)
		for k := range got {
			if r := exact[k] * min(1, v.C/norm); math.Abs(r-v.Residual[k]) > 1e-12 {
				t.Errorf("case %d, class %d: %g, want %g", i, k, r, v.Residual[k])
			}
			if math.Abs(got[k]-v.Residual[k]) > 4e-12 {
				t.Errorf("case %d, class %d: the kernel says %g, want %g", i, k, got[k], v.Residual[k])
			}
			const h = 1e-4
			up, down := slices.Clone(v.U), slices.Clone(v.U)
			up[k], down[k] = up[k]+h, down[k]-h
			a, b := at(up), at(down)
			for j := range a {
				jacobian.Set(j, k, (a[j]-b[j])/(2*h))
				if d := math.Abs(jacobian.At(j, k) - v.Jacobian[j][k]); d > 1e-7 {
					t.Errorf("case %d: derivative of %d in %d is off by %g", i, j, k, d)
				}
			}
		}
		for j := range n {
			for k := range n {
				asymmetry = max(asymmetry, math.Abs(jacobian.At(j, k)-jacobian.At(k, j)))
			}
		}
		if (asymmetry > 1e-3) != (n == 3 && v.C < 1) {
			t.Errorf("case %d: asymmetry %g", i, asymmetry)
		}
	}
}

// TestSoftmaxBounds: whatever the arguments, the residuals' norm is at most the bound,
// exactly, and NaN gives zero.
func TestSoftmaxBounds(t *testing.T) {
	src := privacy.NewSeeded(36, "bounds")
	reached := 0
	for range 20_000 {
		u := make([]float64, 1+src.Uint64()%6)
		nan := false
		for k := range u {
			switch src.Uint64() % 4 {
			case 0:
				u[k] = hostile[src.Uint64()%uint64(len(hostile))]
			case 1:
				u[k] = math.Float64frombits(src.Uint64())
			default:
				u[k] = 20 * (uniform(src) - 0.5)
			}
			nan = nan || math.IsNaN(u[k])
		}
		c := math.Ldexp(uniform(src), -int(src.Uint64()%22))
		bound := new(big.Rat).SetFloat64(c)
		sum := new(big.Rat)
		for _, r := range residualsOf(u, uint16(src.Uint64()%7), c) {
			if nan && r != 0 || math.IsNaN(r) || math.IsInf(r, 0) {
				t.Fatalf("%v: residual %g", u, r)
			}
			v := new(big.Rat).SetFloat64(r)
			sum.Add(sum, v.Mul(v, v))
		}
		bound.Mul(bound, bound)
		if sum.Cmp(bound) > 0 {
			t.Fatalf("%v, bound %g: the norm is larger", u, c)
		}
		if f, _ := new(big.Rat).Quo(sum, bound).Float64(); f > 1-1e-12 {
			reached++
		}
	}
	if reached < 2000 {
		t.Errorf("the bound is reached %d times: too seldom to notice a wrong factor", reached)
	}
}

// TestSoftmaxIsLogistic: with two levels softmax has the same plan, sums and draws as
// logistic regression, bit for bit, whichever level is the reference but for the
// sign, and its kernel for several levels gives the same sums to its accuracy.
func TestSoftmaxIsLogistic(t *testing.T) {
	rows := testRows(2000, testTheta, 16, 6)
	target := make([]float64, len(rows))
	for i, r := range rows {
		target[i] = float64(r.y)
	}
	draw := func(r Request) ([][]float64, *Plan) {
		r.Steps, r.Draws = ptr[int64](300), 50
		p, err := NewPlan(r)
		if err != nil {
			t.Fatal(err)
		}
		g, err := newDesign(targetRecords(rows, target, r.Encoding.Outcome), r.Encoding)
		if err != nil {
			t.Fatal(err)
		}
		res, err := run(context.Background(), p, g, func(use string) privacy.Bits { return privacy.NewSeeded(37, use) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res.Draws.Chains[0], p
	}
	two := testRequest(1)
	two.Model, two.Encoding.Outcome, two.Encoding.Levels = "softmax", datasets.Levels, []string{"no", "yes"}
	want, plain := draw(testRequest(1))
	got, plan := draw(two)
	if !slices.EqualFunc(got, want, slices.Equal) || plan.Clip != plain.Clip || plan.NoiseMultiplier != plain.NoiseMultiplier {
		t.Error("other draws, or another plan")
	}
	if of, _ := newModel(&two); of.names()[2] != "yes:b" {
		t.Errorf("names %v", of.names())
	}

	s, _ := modelSum(t, two, rows, target, skewRoot(), 1, 0.05, 1)
	exact := s.exact(testTheta, nil)
	several := &softmaxSum{
		design: s.design, factor: s.workers.what.bounds(), padded: make([]float64, 6), over: 1,
		level: []uint16{1}, theta: [][]float64{make([]float64, 2)}, table: [][]float64{make([]float64, s.design.entries)},
	}
	g := *s.design
	g.class, g.y = make([]uint16, len(g.weight)), nil
	g.weight = slices.Clone(g.weight)
	for u, y := range s.design.y {
		g.class[u], g.weight[u] = uint16(y), s.design.count[u]
	}
	several.design = &g
	s.workers = newWorkersOf(&g, several, 5, 3)
	for j, v := range s.exact(testTheta, nil) {
		if d := float64(v-exact[j]) * s.metric.m.Spacing(); math.Abs(d) > 1e-8*0.05*2000 {
			t.Errorf("coordinate %d: the kernels are %g apart", j, d)
		}
	}
	two.Encoding.Reference = 1
	s, _ = modelSum(t, two, rows, target, skewRoot(), 1, 0.05, 1)
	turned := make([]float64, 5)
	for i, v := range testTheta {
		turned[i] = -v
	}
	for j, v := range s.exact(turned, nil) {
		if v != -exact[j] && v != -exact[j]+1 && v != -exact[j]-1 {
			t.Errorf("coordinate %d: turned about, %d and %d", j, v, exact[j])
		}
	}
}

// TestSeveralParts: the sums of softmax and of a linear model with a noise scale are
// those of their formulas, part by part.
func TestSeveralParts(t *testing.T) {
	src := privacy.NewSeeded(38, "parts")
	rows := testRows(200, testTheta, 0, 7)
	for _, c := range modelCases() {
		r := c.request()
		for _, wide := range []bool{false, true} {
			target := make([]float64, len(rows))
			for i := range target {
				target[i] = 2*uniform(src) - 1
				if r.Model == "softmax" {
					target[i] = float64(src.Uint64() % 4)
				}
			}
			clip := 0.02
			if wide {
				clip = 300
			}
			theta := slices.Concat(testTheta, []float64{0.2, -1, 0.4, 0.3, -0.2, -0.9, 0.1, 0.7, 0.5, 0.1})
			var want []float64
			var s *noisySum
			switch c.name {
			case "softmax":
				s, _ = modelSum(t, r, rows, target, skewRoot(), 1, clip, 1)
			case "linear with a noise scale":
				theta = append(slices.Clone(testTheta), math.Log(0.4))
				if !wide {
					clip = 0.5
				}
				s, _ = modelSum(t, r, rows, target, skewRoot(), 0.05, clip, 1)
			default:
				continue
			}
			want = make([]float64, len(theta))
			for i, row := range rows {
				x := row.dense()
				image := make([]float64, 5)
				var n2 float64
				for j := range image {
					for k := range x {
						image[j] += skewRoot().At(k, j) * x[k]
					}
					n2 += image[j] * image[j]
				}
				dot := func(at []float64) (u float64) {
					for j, v := range x {
						u += v * at[j]
					}
					return u
				}
				if c.name == "softmax" {
					res := make([]float64, 3)
					SoftmaxMeans(res, []float64{dot(theta), dot(theta[5:]), dot(theta[10:])})
					if at := slices.Index([]float64{0, 2, 3}, target[i]); at >= 0 {
						res[at]--
					}
					norm := math.Sqrt((res[0]*res[0] + res[1]*res[1] + res[2]*res[2]) * n2)
					for k, v := range res {
						for j := range image {
							want[5*k+j] += v * image[j] * min(1, clip/norm)
						}
					}
					continue
				}
				e := (dot(theta) - target[i]) / 0.4
				res := max(-0.8*clip/math.Sqrt(n2), min(e/0.4, 0.8*clip/math.Sqrt(n2)))
				for j := range image {
					want[j] += res * image[j]
				}
				rho := s.metric.root(5, 5)
				want[5] += max(-0.6*clip, min(rho*(1-e*e), 0.6*clip))
			}
			for j, v := range s.exact(theta, nil) {
				if d := math.Abs(float64(v)*s.metric.m.Spacing() - want[j]); d > 1e-5*clip*float64(len(rows)) {
					t.Errorf("%s, clip %g, coordinate %d: %g, want %g", c.name, clip, j, float64(v)*s.metric.m.Spacing(), want[j])
				}
			}
		}
	}
}

// TestModelPlans: every model's plans stay within ε, say whether there is a robust
// likelihood, and run.
func TestModelPlans(t *testing.T) {
	rows := testRows(40, testTheta, 0, 8)
	for _, c := range modelCases() {
		for i, change := range []func(*Request){
			func(*Request) {},
			func(r *Request) { r.Epsilon = accountant.MustAmount("0.01") },
			func(r *Request) { r.Epsilon = accountant.MustAmount("100000"); r.Rows = 100_000_000 },
			func(r *Request) { r.Rows = 0 },
			func(r *Request) { r.Rate = ptr(0.05); r.Steps = ptr[int64](2000) },
			func(r *Request) { r.Metric = MetricIdentity },
			func(r *Request) { r.Clip = ptr(2.0) },
			func(r *Request) { r.Adjacency = accountant.ReplaceOne; r.Prior.all = density{"horseshoe", 0, 0.5} },
			func(r *Request) { r.Rows = 20; r.Init = InitPrior; r.Prior.all = density{"student-t", 2, 3} },
		} {
			r := c.request()
			change(&r)
			p, err := NewPlan(r)
			if err != nil {
				t.Errorf("%s, case %d: %v", c.name, i, err)
				continue
			}
			checkPlan(t, p, i)
			if p.RobustLikelihood() != (c.name != "softmax" && c.name != "linear with a noise scale") {
				t.Errorf("%s: robust %v", c.name, p.RobustLikelihood())
			}
			if p.CountEpsilon != nil {
				continue // TestBoughtPlan
			}
			g, err := newDesign(targetRecords(rows, hostileTargets(privacy.NewSeeded(39, c.name), len(rows), r.Encoding.Outcome), r.Encoding.Outcome), r.Encoding)
			if err != nil {
				t.Fatal(err)
			}
			p.Segments = []Segment{{Steps: 5, StepSize: p.StepSize, NoiseMultiplier: p.largestNoise()}}
			p.Steps, p.Request.Draws, p.Thin = 5, 2, 1
			if _, err := run(context.Background(), p, g, func(use string) privacy.Bits { return privacy.NewSeeded(40, use) }, nil); err != nil {
				t.Errorf("%s, case %d was planned and does not run: %v", c.name, i, err)
			}
		}
	}
	for i, change := range []func(*Request){
		func(r *Request) { r.Model = "mystery" },
		func(r *Request) { r.Model = "linear" },
		func(r *Request) { r.NoiseSD = ptr(1.0) },
		func(r *Request) {
			r.Model, r.Encoding.Outcome, r.Encoding.Upper = "poisson", datasets.Numeric, 1e7
		},
		func(r *Request) {
			r.Model, r.Encoding.Outcome, r.Encoding.Levels = "softmax", datasets.Levels, make([]string, 5000)
		},
	} {
		r := testRequest(1)
		change(&r)
		if _, err := NewPlan(r); err == nil {
			t.Errorf("case %d is planned", i)
		}
	}
}

// BenchmarkModelStep times a step of every model on one core, over 15,000 distinct
// units, in nanoseconds of a unit.
func BenchmarkModelStep(b *testing.B) {
	rows := testRows(15_000, testTheta, 0, 7)
	for _, c := range modelCases() {
		b.Run(c.name, func(b *testing.B) {
			r := c.request()
			like, err := newModel(&r)
			if err != nil {
				b.Fatal(err)
			}
			target := hostileTargets(privacy.NewSeeded(41, "bench"), len(rows), r.Encoding.Outcome)
			s, of := modelSum(b, r, rows, target, skewRoot(), 0.05, 0.05*like.facts().least, 1)
			what, err := of.contribution(s.design, s.metric, s.clip)
			if err != nil {
				b.Fatal(err)
			}
			w := newWorkersOf(s.design, what, s.metric.dim(), 1)
			theta, dst := make([]float64, s.metric.dim()), make([]int64, s.metric.dim())
			for b.Loop() {
				w.sum(dst, theta, nil, nil, true)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(s.design.count)), "ns/unit")
		})
	}
}
