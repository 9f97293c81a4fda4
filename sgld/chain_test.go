package sgld

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// robust is a two-dimensional logistic posterior under clipping to C = 0.4, a
// Huberised likelihood, with moments by two quadrature grids that agree to
// 10⁻⁸ (testdata/golden/README-robust.md has the source).
var robust = struct {
	x    []float64
	y    []uint8
	c    float64
	mean [2]float64
	vars [2]float64
}{
	x:    []float64{0.5, -0.5, 1.0, -1.0, 0.2, -0.8, 0.9, 0.1},
	y:    []uint8{1, 0, 1, 0, 0, 1, 1, 1},
	c:    0.4,
	mean: [2]float64{0.37481060408352734, 0.6825881326841731},
	vars: [2]float64{0.6862285906460006, 0.8259282945233914},
}

func robustDesign(t *testing.T) (*design, datasets.Encoding) {
	t.Helper()
	enc := datasets.Encoding{
		Features:     []datasets.Feature{{Column: "x", Kind: datasets.Number, Lower: -1, Upper: 1, Offset: 1, Width: 1}},
		Coefficients: []string{"intercept", "x"}, Target: "y",
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "y", Type: arrow.PrimitiveTypes.Uint8}}, nil))
	b.Field(0).(*array.Float64Builder).AppendValues(robust.x, nil)
	b.Field(1).(*array.Uint8Builder).AppendValues(robust.y, nil)
	g, err := newDesign([]arrow.Record{b.NewRecord()}, enc)
	if err != nil {
		t.Fatal(err)
	}
	return g, enc
}

func robustPlan(enc datasets.Encoding, q, eta float64, draws int, thin int64) *Plan {
	z := q * math.Sqrt(2/eta) / robust.c
	warmup := int64(2000)
	steps := warmup + int64(draws)*thin
	return &Plan{
		Request: Request{Encoding: enc, Adjacency: accountant.AddRemove, Init: InitPrior, Chains: 1, Draws: draws},
		Metric:  MetricIdentity, Clip: robust.c, Rate: q, Steps: steps, Warmup: warmup, Thin: thin, StepSize: eta, NoiseMultiplier: z,
		Segments: []Segment{{Steps: steps, StepSize: eta, NoiseMultiplier: z}},
	}
}

// TestRobustPosterior: the clipped chain samples the robust posterior. With
// step size 0.02 the discretisation widens a variance by at most 1.6 %; 60,000
// draws 0.4 apart are about 13,000 effective ones, so that the mean is known to
// 0.009 and the variance to 1.3 % (one standard error). The band is five of
// these plus the bias: a temperature or a clip that is off by 10 % is noticed
// with probability 0.99. With momentum a fifth of the steps do.
func TestRobustPosterior(t *testing.T) {
	if testing.Short() {
		t.Skip("a million steps")
	}
	g, enc := robustDesign(t)
	for _, c := range []struct {
		q, step, momentum float64
		thin              int64
	}{{1, 0.02, 0, 20}, {0.8, 0.02, 0, 20}, {1, 0.1, 0.9, 4}} {
		q := c.q
		p := robustPlan(enc, q, c.step, 60_000, c.thin)
		p.Momentum = c.momentum
		res, err := run(context.Background(), p, g, func(use string) privacy.Bits { return privacy.NewSeeded(21, use) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		for j := range 2 {
			var sum, sum2 float64
			for _, d := range res.Draws.Chains[0] {
				sum += d[j]
				sum2 += d[j] * d[j]
			}
			n := float64(len(res.Draws.Chains[0]))
			mean, v := sum/n, sum2/n-sum/n*sum/n
			heat := 0.0
			if q < 1 { // first order: (η/2)((1−q)/q)·Σg², every gradient at most C
				heat = 0.01 * (1 - q) / q * 8 * robust.c * robust.c
			}
			if math.Abs(mean-robust.mean[j]) > 0.05 {
				t.Errorf("q %g: mean of %d is %.4f, want %.4f", q, j, mean, robust.mean[j])
			}
			if r := v / robust.vars[j]; r < 0.935 || r > 1.082+heat {
				t.Errorf("q %g: variance of %d is %.4f, want %.4f", q, j, v, robust.vars[j])
			}
		}
		want := stepEvent(accountant.AddRemove, q, p.NoiseMultiplier, p.Steps)
		a, _ := res.Event().MarshalJSON()
		b, _ := accountant.Compose(want).Merge().MarshalJSON()
		if string(a) != string(b) {
			t.Errorf("events %s, want %s", a, b)
		}
	}
}

// TestBoughtPlan runs a plan that buys a count and a Gram matrix, and checks
// that what ran costs no more than what would have been reserved.
func TestBoughtPlan(t *testing.T) {
	rows := testRows(60_000, testTheta, 16, 9)
	g, err := newDesign(testRecords(rows, 10_000), testEncoding())
	if err != nil {
		t.Fatal(err)
	}
	r := testRequest(1)
	r.Rows, r.Draws, r.Steps = 0, 500, ptr[int64](3000)
	p, err := NewPlan(r)
	if err != nil {
		t.Fatal(err)
	}
	res, err := run(context.Background(), p, g, func(use string) privacy.Bits { return privacy.NewSeeded(33, use) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Plan.Metric != MetricBought || len(res.Events) != 3 {
		t.Fatalf("metric %s, %d events", res.Plan.Metric, len(res.Events))
	}
	for _, alpha := range []float64{1.5, 8, 40} {
		full, err1 := accountant.RDP(p.Reserve(), alpha)
		used, err2 := accountant.RDP(res.Event(), alpha)
		if err1 != nil || err2 != nil || used > full {
			t.Errorf("order %g: %g of %g, %v %v", alpha, used, full, err1, err2)
		}
	}
	// The posterior of 60,000 rows is narrow: the means are near the truth.
	for j, want := range testTheta {
		var mean float64
		for _, d := range res.Draws.Chains[0] {
			mean += d[j] / float64(len(res.Draws.Chains[0]))
		}
		if math.Abs(mean-want) > 0.15 {
			t.Errorf("coefficient %d: %.3f, want about %.3f", j, mean, want)
		}
	}
}

func TestRunStops(t *testing.T) {
	g, enc := robustDesign(t)
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(context.Background())
	p := robustPlan(enc, 1, 0.02, 1000, 20)
	_, err := run(ctx, p, g, func(use string) privacy.Bits { return privacy.NewSeeded(1, use) }, func(done, _ int64) {
		if done > 1000 {
			cancel(stop)
		}
	})
	if !errors.Is(err, stop) {
		t.Errorf("a cancelled run returned %v", err)
	}
}

// TestMetricRoots: R Rᵀ inverts what it should, and the bound on row norms
// holds for every row.
func TestMetricRoots(t *testing.T) {
	enc := testEncoding()
	ones := []float64{1, 1, 1, 1, 1}
	root, err := publicRoot(enc, 10_000, 0.25, ones)
	if err != nil {
		t.Fatal(err)
	}
	limit := math.Sqrt(publicNorm2(enc) / (10_000 * 0.25))
	bound := rootNormBound(root, enc)
	for _, x := range []float64{-1, -0.3, 1} {
		for b := range uint16(2) {
			for c := range uint16(3) {
				row := testRow{x: x, b: b, c: c}.dense()
				var n2 float64
				for j := range 5 {
					var v float64
					for i := range 5 {
						v += root.At(i, j) * row[i]
					}
					n2 += v * v
				}
				if n := math.Sqrt(n2); n > limit || n > bound {
					t.Errorf("row norm %g above its bounds %g, %g", n, limit, bound)
				}
			}
		}
	}
	if _, err := boughtRoot(make([]float64, 25), 5, 0.5, 0.25, ones); err != nil {
		t.Error(err)
	}
}
