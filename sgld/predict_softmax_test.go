package sgld

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/privsgld/privsgld/datasets"
)

// levelsFit is a fit of a category with random draws.
func levelsFit(levels []string, reference, draws int) Fit {
	r := rand.New(rand.NewPCG(11, uint64(len(levels))))
	enc := predictEncoding()
	enc.Outcome, enc.Levels, enc.Reference = datasets.Levels, levels, reference
	f := Fit{Model: "softmax", Encoding: enc}
	for i, level := range levels {
		if i == reference {
			continue
		}
		for _, c := range enc.Coefficients {
			f.Names = append(f.Names, level+":"+c)
			var v []float64
			for range draws {
				v = append(v, r.NormFloat64())
			}
			f.Values = append(f.Values, v)
		}
	}
	return f
}

func TestPredictSoftmax(t *testing.T) {
	f := levelsFit([]string{"car", "bus, tram", "foot"}, 1, 70)
	p, err := NewPredictor(f)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"car:mean", "car:q5", "car:q95", "bus, tram:mean", "bus, tram:q5", "bus, tram:q95", "foot:mean", "foot:q5", "foot:q95"}
	if !slices.Equal(p.Columns(), want) {
		t.Fatalf("columns %v", p.Columns())
	}
	rows := []predictRow{{0.3, 0, 1, 2}, {-1, 1, 0, 0}, {1, 2, 1, 1}, {0, 1, 0, math.NaN()}}
	out := p.Predict(predictRecord(true, rows...))
	right, logs, distance := 0, 0.0, map[int]float64{}
	for i, row := range rows {
		car := linearPredictors(Fit{Values: f.Values[:5]}, row)
		foot := linearPredictors(Fit{Values: f.Values[5:]}, row)
		shares := make([][]float64, 3)
		for d := range car {
			e := []float64{math.Exp(car[d]), 1, math.Exp(foot[d])}
			for k := range e {
				shares[k] = append(shares[k], e[k]/(e[0]+e[1]+e[2]))
			}
		}
		means := []float64{average(shares[0]), average(shares[1]), average(shares[2])}
		for k := range shares {
			near(t, "mean", out.Values[3*k][i], means[k], 1e-13)
			near(t, "q5", out.Values[3*k+1][i], typeSeven(shares[k], 0.05), 1e-13)
			near(t, "q95", out.Values[3*k+2][i], typeSeven(shares[k], 0.95), 1e-13)
		}
		near(t, "sum of the means", means[0]+means[1]+means[2], 1, 1e-13)
		if math.IsNaN(row.y) {
			continue
		}
		near(t, "log density", out.LogDensity[i], math.Log(means[int(row.y)]), 1e-12)
		logs += math.Log(means[int(row.y)]) / 3
		best := slices.Max(means)
		bin := int(10 * best)
		distance[bin] += best
		if means[int(row.y)] == best {
			right++
			distance[bin]--
		}
	}
	s := NewScorer(p)
	s.Add(out)
	scores := s.Scores()
	near(t, "log score", *scores.LogScore, logs, 1e-12)
	near(t, "accuracy", *scores.Accuracy, float64(right)/3, 1e-15)
	total := 0.0
	for _, v := range distance {
		total += math.Abs(v) / 3
	}
	near(t, "calibration error", *scores.CalibrationError, total, 1e-12)
}

// Of two levels the law is the logistic one.
func TestPredictSoftmaxOfTwo(t *testing.T) {
	for _, reference := range []int{0, 1} {
		f := levelsFit([]string{"no", "yes"}, reference, 90)
		p, err := NewPredictor(f)
		if err != nil {
			t.Fatal(err)
		}
		q, err := NewPredictor(Fit{Model: "logistic", Encoding: predictEncoding(), Names: predictEncoding().Coefficients, Values: f.Values})
		if err != nil {
			t.Fatal(err)
		}
		positive := 1 - reference // the level that the coefficients speak for
		row := predictRow{0.3, 2, 1, float64(positive)}
		a := p.Predict(predictRecord(true, row))
		row.y = 1
		b := q.Predict(predictRecord(true, row))
		for i := range b.Values {
			near(t, p.Columns()[3*positive+i], a.Values[3*positive+i][0], b.Values[i][0], 1e-13)
		}
		near(t, "log density", a.LogDensity[0], b.LogDensity[0], 1e-13)
	}
}

// The noise scale of a linear model is a parameter, whose floor is the model's.
func TestPredictLinearScale(t *testing.T) {
	f := numericFit("linear", 3, 5)
	f.NoiseSD = nil
	f.Names = append(slices.Clone(f.Names), "log_noise_sd")
	f.Values = append(f.Values, []float64{math.Log(0.2), math.Log(0.5), -50})
	p, err := NewPredictor(f)
	if err != nil {
		t.Fatal(err)
	}
	row := numberRows[0]
	out := p.Predict(predictRecord(true, row))
	density := 0.0
	for d, u := range linearPredictors(f, row) {
		sd := 10 * []float64{0.2, 0.5, scaleFloor}[d]
		z := (row.y - (5 + 10*u)) / sd
		density += math.Exp(-z*z/2) / (sd * math.Sqrt(2*math.Pi)) / 3
	}
	near(t, "log density", out.LogDensity[0], math.Log(density), 1e-12)
}
