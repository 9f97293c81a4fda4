package sgld

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/privacy"
)

var testTheta = []float64{-0.4, 0.9, 0.3, -0.6, 0.5}

func testSum(t testing.TB, rows []testRow, size int, root *mat.Dense, c, q float64) *noisySum {
	t.Helper()
	g, err := newDesign(testRecords(rows, size), testEncoding())
	if err != nil {
		t.Fatal(err)
	}
	m, err := plainMetric(root, c, 10)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newNoisySum(g, accountant.AddRemove, logistic{}, m, c, q, privacy.NewSeeded(1, "sum"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exact returns the rounded image of the exact sum, without noise. A batch
// lists distinct units, each to be taken once; nil is the full batch.
func (s *noisySum) exact(theta []float64, batch []uint32) []int64 {
	times := make([]int64, len(batch))
	for i := range times {
		times[i] = 1
	}
	s.workers.sum(s.sum, theta, batch, times, batch == nil)
	s.metric.apply(s.image, s.sum)
	return slices.Clone(s.image)
}

// plainMetric is the metric of logistic regression with that root.
func plainMetric(root *mat.Dense, c, z float64) (*metric, error) {
	return logistic{}.facts().metric(root, 0, nil, c, z)
}

// employed returns n workers for the sum of s by that kernel.
func (s *noisySum) employed(n int, kernel func(*operands)) *workers {
	c := *s.workers.what.(*glm)
	c.kernel = kernel
	return newWorkersOf(s.design, &c, s.metric.dim(), n)
}

func skewRoot() *mat.Dense {
	r := mat.NewDense(5, 5, nil)
	for i := range 5 {
		for j := range i + 1 {
			r.Set(i, j, 0.03/float64(1+i+2*j))
		}
	}
	return r
}

// TestSumAgainstPlainLoop compares the kernel with the formula, row by row: the
// clipped gradient of the logistic likelihood in the metric's coordinates.
func TestSumAgainstPlainLoop(t *testing.T) {
	rows := testRows(700, testTheta, 8, 1)
	for _, c := range []float64{0.012, 0.2} { // clipping and not
		root := skewRoot()
		s := testSum(t, rows, 100, root, c, 1)
		got := s.exact(testTheta, nil)
		want := make([]float64, 5)
		clipped := false
		for _, r := range rows {
			x := r.dense()
			var u float64
			for j, v := range x {
				u += v * testTheta[j]
			}
			res := 1/(1+math.Exp(-u)) - float64(r.y)
			g := make([]float64, 5)
			var n2 float64
			for j := range g {
				for i := range x {
					g[j] += root.At(i, j) * x[i] * res
				}
				n2 += g[j] * g[j]
			}
			f := 1.0
			if n := math.Sqrt(n2); n > c {
				f, clipped = c/n, true
			}
			for j := range g {
				want[j] += f * g[j]
			}
		}
		if clipped != (c == 0.012) {
			t.Fatalf("clip %g: the case does not test what it should", c)
		}
		for j := range want {
			if d := math.Abs(float64(got[j])*s.metric.m.Spacing() - want[j]); d > 1e-6*c*float64(len(rows)) {
				t.Errorf("clip %g, coordinate %d: off by %g", c, j, d)
			}
		}
	}
}

// TestSumSameBits: chunks, order, workers, kernels and equal rows stored once do
// not change a bit of the sum. A sum of the same contributions as floats depends
// on the order.
func TestSumSameBits(t *testing.T) {
	rows := testRows(3000, testTheta, 16, 2)
	shuffled := slices.Clone(rows)
	src := privacy.NewSeeded(3, "shuffle")
	for i := len(shuffled) - 1; i > 0; i-- {
		j := int(src.Uint64() % uint64(i+1))
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	kernels := []func(*operands){addBlocksGo}
	if useAVX2 {
		kernels = append(kernels, addBlocksVector)
	}
	want := testSum(t, rows, 3000, skewRoot(), 0.05, 1).exact(testTheta, nil)
	for _, n := range []int{1, 2, 3, 7, 16, 64} {
		for k, add := range kernels {
			s := testSum(t, shuffled, 97, skewRoot(), 0.05, 1)
			s.workers = s.employed(n, add)
			if got := s.exact(testTheta, nil); !slices.Equal(got, want) {
				t.Errorf("%d workers, kernel %d: other bits", n, k)
			}
			if got := s.exact(testTheta, s.design.unit); !slices.Equal(got, want) {
				t.Errorf("%d workers, kernel %d, every row by itself: other bits", n, k)
			}
		}
	}
	floats := func(rows []testRow) (sum float64) {
		for _, r := range rows {
			var u float64
			for j, v := range r.dense() {
				u += v * testTheta[j]
			}
			sum += sigmoid(u) - float64(r.y)
		}
		return sum
	}
	if floats(rows) == floats(shuffled) {
		t.Error("a sum of floats does not notice the order: nor would this test")
	}
}

// TestSumSensitivity removes each row in turn and measures, in exact rational
// arithmetic, how far the rounded image moves: never more than C, also for
// extreme iterates.
func TestSumSensitivity(t *testing.T) {
	rows := testRows(60, testTheta, 0, 4)
	rows[0] = testRow{x: 1, b: 1, c: 2}
	rows[1] = testRow{x: -1, b: 1, c: 0, y: 1}
	const c = 0.013
	c2 := new(big.Rat).SetFloat64(c)
	c2.Mul(c2, c2)
	for _, theta := range [][]float64{testTheta, {1e300, -1e300, 1e300, 5, 5}, {-1e9, 0, 0, 1e9, 0}, {0, 0, 0, 0, 0}, {math.NaN(), 0, 0, 0, 0}} {
		full := testSum(t, rows, 7, skewRoot(), c, 1).exact(theta, nil)
		reached := new(big.Rat)
		for i := range rows {
			s := testSum(t, slices.Delete(slices.Clone(rows), i, i+1), 7, skewRoot(), c, 1)
			moved := new(big.Rat)
			for j, v := range s.exact(theta, nil) {
				d := new(big.Rat).SetFloat64(s.metric.m.Spacing())
				d.Mul(d, new(big.Rat).SetInt64(full[j]-v))
				moved.Add(moved, d.Mul(d, d))
			}
			if moved.Cmp(c2) > 0 {
				t.Fatalf("row %d moves the sum by more than C at %v", i, theta)
			}
			if moved.Cmp(reached) > 0 {
				reached = moved
			}
		}
		if f, _ := reached.Float64(); theta[0] == 1e300 && math.Sqrt(f) < 0.99*c {
			t.Error("no row comes near C: the test would not notice a wrong clip")
		}
	}
}

// TestEventsAreWhatRan: the events count the steps that drew noise, with the
// multiplier that the noise really had.
func TestEventsAreWhatRan(t *testing.T) {
	rows := testRows(50, testTheta, 0, 5)
	s := testSum(t, rows, 50, skewRoot(), 0.05, 0.25)
	dst := make([]float64, 5)
	for range 7 {
		if err := s.draw(dst, testTheta, 3); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.draw(dst, testTheta, 4); err != nil {
			t.Fatal(err)
		}
	}
	got := accountant.Compose(s.events()...).Merge()
	want := accountant.Compose(accountant.PoissonGaussian(accountant.AddRemove, 0.25, 3, 7), accountant.PoissonGaussian(accountant.AddRemove, 0.25, 4, 2)).Merge()
	a, _ := got.MarshalJSON()
	b, _ := want.MarshalJSON()
	if string(a) != string(b) {
		t.Errorf("events %s, want %s", a, b)
	}
}

// TestNoiseOfTheSum: over 40,000 steps the deviation of the noisy from the
// exact sum has standard deviation z·C: an error of 2 % is noticed with
// probability 0.999 at a false-alarm rate of 10⁻⁷ over five coordinates.
func TestNoiseOfTheSum(t *testing.T) {
	rows := testRows(20, testTheta, 0, 6)
	const c, z, n = 0.05, 1.7, 40_000
	s := testSum(t, rows, 20, skewRoot(), c, 1)
	exact := s.exact(testTheta, nil)
	var sum2 float64
	dst := make([]float64, 5)
	for range n {
		if err := s.draw(dst, testTheta, z); err != nil {
			t.Fatal(err)
		}
		for j, v := range dst {
			d := (v - float64(exact[j])*s.metric.m.Spacing()) / (z * c)
			sum2 += d * d
		}
	}
	if x := (sum2/(5*n) - 1) * math.Sqrt(5*n/2.0); math.Abs(x) > 5.33 {
		t.Errorf("noise variance is off: z = %.2f", x)
	}
}

func TestScheduleShape(t *testing.T) {
	for _, alpha := range []float64{0.1, 1.0 / 3, 0.55, 1} {
		var k int64
		shape := Schedule{Alpha: alpha}.shape(100_000)
		for _, s := range shape {
			for _, at := range []int64{k + 1, k + s.steps} {
				exact := math.Pow(float64(at), alpha/2)
				if s.ratio > exact*(1+1e-9) || s.ratio < exact/gridRatio*(1-1e-6) {
					t.Fatalf("alpha %g: step %d has ratio %g, want within the grid below %g", alpha, at, s.ratio, exact)
				}
			}
			k += s.steps
		}
		if k != 100_000 || len(shape) > 700 {
			t.Errorf("alpha %g: %d steps in %d segments", alpha, k, len(shape))
		}
	}
}

func BenchmarkStep(b *testing.B) {
	rows := testRows(15_000, testTheta, 0, 7)
	s := testSum(b, rows, 15_000, skewRoot(), 0.05, 1)
	dst := make([]float64, 5)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.draw(dst, testTheta, 3); err != nil {
			b.Fatal(err)
		}
	}
}
