package sgld

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/privsgld/privsgld/datasets"
)

// predictEncoding has a number, a category whose reference stands in the middle, and a
// boolean.
func predictEncoding() datasets.Encoding {
	return datasets.Encoding{
		Features: []datasets.Feature{
			{Column: "x", Kind: datasets.Number, Lower: 0, Upper: 10, Offset: 1, Width: 1},
			{Column: "c", Kind: datasets.Category, Levels: []string{"p", "q", "r"}, Reference: 1, Offset: 2, Width: 2},
			{Column: "b", Kind: datasets.Boolean, Offset: 4, Width: 1},
		},
		Coefficients: []string{"intercept", "x", "c=p", "c=r", "b"},
		Target:       "y",
	}
}

type predictRow struct {
	x    float64
	c, b uint16
	y    float64
}

// predictRecord is a batch of encoded rows, with targets or without.
func predictRecord(targets bool, rows ...predictRow) arrow.Record {
	fields := []arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "c", Type: arrow.PrimitiveTypes.Uint16}, {Name: "b", Type: arrow.PrimitiveTypes.Uint16}}
	if targets {
		fields = append(fields, arrow.Field{Name: "y", Type: arrow.PrimitiveTypes.Float64})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.Float64Builder).Append(r.x)
		b.Field(1).(*array.Uint16Builder).Append(r.c)
		b.Field(2).(*array.Uint16Builder).Append(r.b)
		if targets {
			b.Field(3).(*array.Float64Builder).Append(r.y)
		}
	}
	return b.NewRecord()
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Max(1, math.Abs(want))) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// Five draws for which each probability is a fraction: σ(log k) = k/(k+1).
func TestPredictLogistic(t *testing.T) {
	ln := math.Log
	// Draw d adds log 3 in one coefficient alone.
	values := [][]float64{
		{0, 0, 0, 0, ln(3)}, // intercept
		{ln(3), 0, 0, 0, 0}, // x
		{0, ln(3), 0, 0, 0}, // c=p
		{0, 0, ln(3), 0, 0}, // c=r
		{0, 0, 0, ln(3), 0}, // b
	}
	p, err := NewPredictor(Fit{Model: "logistic", Encoding: predictEncoding(), Names: predictEncoding().Coefficients, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Columns(), []string{"mean", "q5", "q95"}) || p.Draws() != 5 {
		t.Fatalf("columns %v, %d draws", p.Columns(), p.Draws())
	}
	rows := []predictRow{
		{1, 0, 0, 1},          // x, c=p, intercept add log 3: ¾ ¾ ½ ½ ¾
		{-1, 1, 1, 0},         // reference; x takes it off: ¼ ½ ½ ¾ ¾
		{0, 2, 0, math.NaN()}, // c=r and intercept: ½ ½ ¾ ½ ¾
	}
	sorted := [][]float64{{.5, .5, .75, .75, .75}, {.25, .5, .5, .75, .75}, {.5, .5, .5, .75, .75}}
	out := p.Predict(predictRecord(true, rows...))
	for i, s := range sorted {
		near(t, "mean", out.Values[0][i], (s[0]+s[1]+s[2]+s[3]+s[4])/5, 1e-15)
		// Type 7: 5 % of the way through four gaps is 0.2 of the first.
		near(t, "q5", out.Values[1][i], s[0]+0.2*(s[1]-s[0]), 1e-15)
		near(t, "q95", out.Values[2][i], s[3]+0.8*(s[4]-s[3]), 1e-15)
	}
	near(t, "log density", out.LogDensity[0], ln(.65), 1e-15)
	near(t, "log density", out.LogDensity[1], ln(1-.55), 1e-15)
	if !math.IsNaN(out.LogDensity[2]) {
		t.Errorf("a row without a target has the log density %v", out.LogDensity[2])
	}
	// Without targets the same predictions, and no score.
	blind := p.Predict(predictRecord(false, rows...))
	for c := range out.Values {
		if !slices.Equal(blind.Values[c], out.Values[c]) || blind.Targets != nil || blind.LogDensity != nil {
			t.Errorf("column %d depends on the targets", c)
		}
	}
	s := NewScorer(p)
	s.Add(out)
	scores := s.Scores()
	if scores.Rows != 2 || scores.Unscored != 1 {
		t.Errorf("%d rows scored, %d not", scores.Rows, scores.Unscored)
	}
	near(t, "accuracy", *scores.Accuracy, 0.5, 0)
	near(t, "mean log score", *scores.LogScore, (ln(.65)+ln(.45))/2, 1e-15)
	near(t, "calibration error", *scores.CalibrationError, (.35+.55)/2, 1e-15)
	for i, b := range scores.Calibration {
		if want := map[int]int64{6: 1, 5: 1}[i]; b.Rows != want {
			t.Errorf("bin %d has %d rows, want %d", i, b.Rows, want)
		}
	}
	near(t, "observed", scores.Calibration[6].Observed, 1, 0)
	near(t, "predicted", scores.Calibration[6].Predicted, .65, 1e-15)
	if s := NewScorer(p).Scores(); s.Rows != 0 || s.LogScore != nil || s.Accuracy != nil {
		t.Errorf("nothing has scores: %+v", s)
	}
}

// Coefficients are not what is averaged: over draws on either side of a curve the
// mean of the probabilities differs from the probability at the mean.
func TestPredictAveragesProbabilities(t *testing.T) {
	enc := datasets.Encoding{Coefficients: []string{"intercept"}}
	p, err := NewPredictor(Fit{Model: "logistic", Encoding: enc, Names: enc.Coefficients, Values: [][]float64{{-1000, 0, 3000}}})
	if err != nil {
		t.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "y", Type: arrow.PrimitiveTypes.Float64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.Float64Builder).AppendValues([]float64{1, 0}, nil)
	rows := b.NewRecord()
	out := p.Predict(rows)
	near(t, "mean", out.Values[0][0], 0.5, 1e-15)
	near(t, "log density", out.LogDensity[0], math.Log(0.5), 1e-15)
	far, err := NewPredictor(Fit{Model: "logistic", Encoding: enc, Names: enc.Coefficients, Values: [][]float64{{900, 900}}})
	if err != nil {
		t.Fatal(err)
	}
	// Beyond what a probability holds as a number, its logarithm is still right.
	near(t, "log density", far.Predict(rows).LogDensity[1], -900, 1e-15)
}

// The bits do not depend on how rows come in batches.
func TestPredictSameBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	enc := predictEncoding()
	values := make([][]float64, len(enc.Coefficients))
	for i := range values {
		for range 301 {
			values[i] = append(values[i], r.NormFloat64())
		}
	}
	p, err := NewPredictor(Fit{Model: "logistic", Encoding: enc, Names: enc.Coefficients, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	var rows []predictRow
	for range 97 {
		rows = append(rows, predictRow{2*r.Float64() - 1, uint16(r.IntN(3)), uint16(r.IntN(2)), float64(r.IntN(2))})
	}
	rows = append(rows, rows[:9]...) // some twice
	whole := p.Predict(predictRecord(true, rows...))
	p.known, p.results = map[string]int{}, nil
	for i, row := range rows {
		one := p.Predict(predictRecord(true, row))
		for c := range one.Values {
			if math.Float64bits(one.Values[c][0]) != math.Float64bits(whole.Values[c][i]) {
				t.Fatalf("row %d alone has other predictions", i)
			}
		}
		if math.Float64bits(one.LogDensity[0]) != math.Float64bits(whole.LogDensity[i]) {
			t.Fatalf("row %d alone has another log density", i)
		}
	}
}

func TestPredictRefuses(t *testing.T) {
	enc := predictEncoding()
	some := [][]float64{{1}, {2}, {3}, {4}, {5}}
	for name, call := range map[string]func() error{
		"another model": func() error {
			_, err := NewPredictor(Fit{Model: "oracle", Encoding: enc, Names: enc.Coefficients, Values: some})
			return err
		},
		"another order": func() error {
			_, err := NewPredictor(Fit{Model: "logistic", Encoding: enc, Names: []string{"x", "intercept", "c=p", "c=r", "b"}, Values: some})
			return err
		},
		"one too few": func() error {
			_, err := NewPredictor(Fit{Model: "logistic", Encoding: enc, Names: enc.Coefficients[:4], Values: some[:4]})
			return err
		},
		"no draws": func() error {
			_, err := NewPredictor(Fit{Model: "logistic", Encoding: enc, Names: enc.Coefficients, Values: make([][]float64, 5)})
			return err
		},
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Selection finds what sorting does, ties included.
func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for trial := range 2000 {
		x := make([]float64, 1+r.IntN(200))
		for i := range x {
			x[i] = r.NormFloat64()
			if trial%2 == 0 {
				x[i] = float64(r.IntN(8))
			}
		}
		sorted := slices.Sorted(slices.Values(x))
		probabilities := []float64{0.05, 0.5, 0.95}
		for i, q := range quantiles(x, probabilities...) {
			at := float64(len(sorted)-1) * probabilities[i]
			below := int(at)
			want := sorted[below]
			if below+1 < len(sorted) {
				want += (at - float64(below)) * (sorted[below+1] - sorted[below])
			}
			if q != want {
				t.Fatalf("quantile %v of %v is %v, want %v", probabilities[i], sorted, q, want)
			}
		}
	}
}

func BenchmarkPredict(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	enc := predictEncoding()
	values := make([][]float64, len(enc.Coefficients))
	for i := range values {
		for range 1000 {
			values[i] = append(values[i], r.NormFloat64())
		}
	}
	p, err := NewPredictor(Fit{Model: "logistic", Encoding: enc, Names: enc.Coefficients, Values: values})
	if err != nil {
		b.Fatal(err)
	}
	var rows []predictRow
	for range 1000 {
		rows = append(rows, predictRow{2*r.Float64() - 1, uint16(r.IntN(3)), uint16(r.IntN(2)), 0})
	}
	record := predictRecord(false, rows...)
	for b.Loop() {
		clear(p.known) // the rows are new ones
		p.results = p.results[:0]
		p.Predict(record)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
}
