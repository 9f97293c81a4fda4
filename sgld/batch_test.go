package sgld

import (
	"math"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/privacy"
)

// TestBatchGathers: units and times are the batch's rows, counted, and the sum
// over them has the bits of the sum over the rows one by one.
func TestBatchGathers(t *testing.T) {
	rows := testRows(3000, testTheta, 16, 8)
	for _, q := range []float64{1e-9, 0.003, 0.05, 0.4, math.Nextafter(1, 0)} {
		s := testSum(t, rows, 97, skewRoot(), 0.05, q)
		if !slices.IsSorted(s.design.unit) || len(s.design.unit) != len(rows) {
			t.Fatal("rows are not numbered by distinct unit")
		}
		for range 20 {
			s.batch.draw(s.coin, s.design.unit, s.bits)
			var want []uint32
			for _, r := range s.batch.rows {
				want = append(want, s.design.unit[r])
			}
			var got []uint32
			for i, u := range s.batch.units {
				if i > 0 && u <= s.batch.units[i-1] {
					t.Fatal("a unit is listed twice")
				}
				for range s.batch.times[i] {
					got = append(got, u)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("q = %g: units and times are not the rows of the batch", q)
			}
			if want == nil {
				want = []uint32{} // nil is the full batch
			}
			one := s.exact(testTheta, want)
			s.workers.sum(s.sum, testTheta, s.batch.units, s.batch.times, false)
			s.metric.apply(s.image, s.sum)
			if !slices.Equal(s.image, one) {
				t.Fatalf("q = %g: other bits", q)
			}
		}
	}
}

// TestBatchMultiplicity: the number of equal rows in a batch is binomial.
// Chi-square of 40,000 batches, false alarms 10⁻⁷; a rate off by 3 % is seen with
// probability 0.99, and here must be.
func TestBatchMultiplicity(t *testing.T) {
	const n, m = 40_000, 12
	unit := make([]uint32, 3*m)
	for i := range unit {
		unit[i] = uint32(i / m)
	}
	for _, q := range []float64{0.07, 0.3} {
		coin, err := privacy.NewBernoulli(q)
		if err != nil {
			t.Fatal(err)
		}
		bits := privacy.NewSeeded(9, "multiplicity")
		b := newBatch(q, len(unit))
		counts := make([]float64, m+1)
		for range n {
			b.draw(coin, unit, bits)
			taken := [3]int64{}
			for i, u := range b.units {
				taken[u] = b.times[i]
			}
			for _, k := range taken {
				counts[k]++
			}
		}
		p := func(q float64) float64 {
			law := distuv.Binomial{N: m, P: q}
			var chi, df, rest, restGot float64
			for k, got := range counts {
				want := 3 * n * law.Prob(float64(k))
				if want < 40 {
					rest, restGot = rest+want, restGot+got
					continue
				}
				chi += (got - want) * (got - want) / want
				df++
			}
			if rest > 5 {
				chi += (restGot - rest) * (restGot - rest) / rest
				df++
			}
			return distuv.ChiSquared{K: df - 1}.Survival(chi)
		}
		if got := p(q); got < 1e-7 {
			t.Errorf("q = %g: p = %.2g", q, got)
		}
		if got := p(1.03 * q); got > 1e-7 {
			t.Errorf("q = %g: a rate 3 %% larger is not noticed, p = %.2g", q, got)
		}
	}
}

// TestBatchStepAllocatesNothing: room for a batch is claimed beforehand.
func TestBatchStepAllocatesNothing(t *testing.T) {
	b := newBatch(0.05, 20_000)
	coin, err := privacy.NewBernoulli(0.05)
	if err != nil {
		t.Fatal(err)
	}
	unit := make([]uint32, 20_000)
	bits := privacy.NewSeeded(10, "room")
	if n := testing.AllocsPerRun(200, func() { b.draw(coin, unit, bits) }); n != 0 {
		t.Errorf("a batch allocates %g times", n)
	}
}

// BenchmarkBatchStep is a step at q = 0.1 on fertility (254,654 rows, 14,289
// distinct), in turn with its plain twin: one word a row decides whether it
// joins, and each row that does is summed by itself. Medians.
func BenchmarkBatchStep(b *testing.B) {
	const q, c = 0.1, 1.4
	table := fertilityTable(b)
	g, err := newDesign(table.records, table.enc)
	if err != nil {
		b.Fatal(err)
	}
	if len(g.unit) != 254_654 || len(g.y) != 14_289 {
		b.Fatal("not the table of the comment")
	}
	root := mat.NewDense(g.d, g.d, nil)
	for i := range g.d {
		root.Set(i, i, 1)
	}
	m, err := plainMetric(root, c, 10)
	if err != nil {
		b.Fatal(err)
	}
	s, err := newNoisySum(g, accountant.AddRemove, logistic{}, m, c, q, privacy.NewSource("bench"))
	if err != nil {
		b.Fatal(err)
	}
	theta, dst := make([]float64, g.d), make([]float64, g.d)
	units, ones := make([]uint32, 0, len(g.unit)), make([]int64, len(g.unit))
	for i := range ones {
		ones[i] = 1
	}
	below := uint64(math.Ldexp(q, 64))
	var draws, steps, plain, rows []float64
	timed := func(out *[]float64, f func()) {
		start := time.Now()
		f()
		*out = append(*out, float64(time.Since(start).Nanoseconds()))
	}
	for b.Loop() {
		timed(&draws, func() { s.batch.draw(s.coin, g.unit, s.bits) })
		rows = append(rows, float64(len(s.batch.rows)))
		timed(&steps, func() {
			if err := s.draw(dst, theta, 3); err != nil {
				b.Fatal(err)
			}
		})
		timed(&plain, func() {
			units = units[:0]
			for _, u := range g.unit {
				if s.bits.Uint64() < below {
					units = append(units, u)
				}
			}
			s.workers.sum(s.sum, theta, units, ones, false)
			s.metric.apply(s.image, s.sum)
		})
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(draws)/median(rows), "ns/row-drawn")
	b.ReportMetric(median(steps)/1e3, "µs/step")
	b.ReportMetric(median(plain)/1e3, "µs/plain-step")
	b.ReportMetric(median(plain)/median(steps), "ratio")
}
