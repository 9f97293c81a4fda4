package sgld

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/privsgld/privsgld/datasets"
)

// numericFit is a fit of a number between -5 and 15 with random draws.
func numericFit(model string, draws int, seed uint64) Fit {
	r := rand.New(rand.NewPCG(seed, 7))
	enc := predictEncoding()
	enc.Outcome, enc.Lower, enc.Upper = datasets.Numeric, -5, 15
	if model == "poisson" {
		enc.Lower = 0
	}
	f := Fit{Model: model, Encoding: enc, Names: enc.Coefficients}
	for range f.Names {
		var v []float64
		for range draws {
			v = append(v, 0.4*r.NormFloat64())
		}
		f.Values = append(f.Values, v)
	}
	if model == "linear" {
		sd := 0.3
		f.NoiseSD = &sd
	}
	return f
}

// linearPredictors computes those of a row by the names of the coefficients.
func linearPredictors(f Fit, r predictRow) (u []float64) {
	for d := range f.Values[0] {
		v := f.Values[0][d] + r.x*f.Values[1][d] + float64(r.b)*f.Values[4][d]
		switch r.c {
		case 0:
			v += f.Values[2][d]
		case 2:
			v += f.Values[3][d]
		}
		u = append(u, v)
	}
	return u
}

func typeSeven(x []float64, p float64) float64 {
	x = slices.Sorted(slices.Values(x))
	at := p * float64(len(x)-1)
	below := int(at)
	if below+1 == len(x) {
		return x[below]
	}
	return x[below] + (at-float64(below))*(x[below+1]-x[below])
}

var numberRows = []predictRow{{0.3, 0, 1, 4}, {-1, 1, 0, 0}, {1, 2, 1, 22}, {0, 1, 0, math.NaN()}, {0.5, 2, 0, 7}}

// The linear model's law is a mixture of normal laws, about which gonum's distribution
// says what is asked of it.
func TestPredictLinear(t *testing.T) {
	for _, draws := range []int{1, 2, 300} {
		f := numericFit("linear", draws, uint64(draws))
		p, err := NewPredictor(f)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Columns(), []string{"mean", "q5", "q95", "predictive_q5", "predictive_q95"}) {
			t.Fatalf("columns %v", p.Columns())
		}
		out := p.Predict(predictRecord(true, numberRows...))
		squares, within, logs := 0.0, 0, 0.0
		for i, row := range numberRows {
			var means []float64
			for _, u := range linearPredictors(f, row) {
				means = append(means, 5+10*u) // [−5, 15]
			}
			mixture := func(of func(distuv.Normal) float64) (mean float64) {
				for _, m := range means {
					mean += of(distuv.Normal{Mu: m, Sigma: 3}) / float64(len(means))
				}
				return mean
			}
			near(t, "mean", out.Values[0][i], mixture(distuv.Normal.Mean), 1e-13)
			near(t, "q5", out.Values[1][i], typeSeven(means, 0.05), 1e-13)
			near(t, "q95", out.Values[2][i], typeSeven(means, 0.95), 1e-13)
			for column, want := range map[int]float64{3: 0.05, 4: 0.95} {
				got := mixture(func(n distuv.Normal) float64 { return n.CDF(out.Values[column][i]) })
				near(t, "mass below the predictive point", got, want, 1e-12)
			}
			if draws == 1 {
				near(t, "predictive q95", out.Values[4][i], means[0]+3*1.6448536269514722, 1e-12)
			}
			if math.IsNaN(row.y) {
				continue
			}
			log := math.Log(mixture(func(n distuv.Normal) float64 { return n.Prob(row.y) }))
			near(t, "log density", out.LogDensity[i], log, 1e-12)
			logs += log / 4
			squares += (row.y - out.Values[0][i]) * (row.y - out.Values[0][i]) / 4
			if row.y >= out.Values[3][i] && row.y <= out.Values[4][i] {
				within++
			}
		}
		s := NewScorer(p)
		s.Add(out)
		scores := s.Scores()
		if scores.Rows != 4 || scores.Unscored != 1 || scores.Accuracy != nil || scores.Calibration != nil {
			t.Errorf("%+v", scores)
		}
		near(t, "log score", *scores.LogScore, logs, 1e-12)
		near(t, "rmse", *scores.RMSE, math.Sqrt(squares), 1e-12)
		near(t, "coverage", *scores.Coverage, float64(within)/4, 0)
	}
}

// A noise scale that is drawn with the coefficients widens the tails.
func TestPredictLinearWithDrawnNoise(t *testing.T) {
	law := linearLaw{lower: -1, upper: 1, sd: []float64{0.1, 2}}
	u := [][]float64{{0.25, -0.5}}
	dst := make([]float64, 5)
	want := math.Log((distuv.Normal{Mu: 0.25, Sigma: 0.1}.Prob(0.5) + distuv.Normal{Mu: -0.5, Sigma: 2}.Prob(0.5)) / 2)
	near(t, "log density", law.logDensity(0.5, u), want, 1e-13)
	law.predict(dst, u)
	for column, p := range map[int]float64{3: 0.05, 4: 0.95} {
		got := (distuv.Normal{Mu: 0.25, Sigma: 0.1}.CDF(dst[column]) + distuv.Normal{Mu: -0.5, Sigma: 2}.CDF(dst[column])) / 2
		near(t, "mass below", got, p, 1e-12)
	}
}

func TestPredictPoisson(t *testing.T) {
	f := numericFit("poisson", 40, 3)
	for d := range f.Values[0] {
		f.Values[0][d] += 1.5
	}
	p, err := NewPredictor(f)
	if err != nil {
		t.Fatal(err)
	}
	rows := append(slices.Clone(numberRows), predictRow{0.1, 0, 0, 2.5}, predictRow{0.2, 0, 0, -1})
	out := p.Predict(predictRecord(true, rows...))
	capped := false
	for i, row := range rows {
		var means []float64
		for _, u := range linearPredictors(f, row) {
			m := math.Exp(u)
			if m > 15 { // the mean is clamped to the upper bound
				m, capped = 15, true
			}
			means = append(means, m)
		}
		mixture := func(of func(distuv.Poisson) float64) (mean float64) {
			for _, m := range means {
				mean += of(distuv.Poisson{Lambda: m}) / float64(len(means))
			}
			return mean
		}
		near(t, "mean", out.Values[0][i], mixture(distuv.Poisson.Mean), 1e-13)
		near(t, "q5", out.Values[1][i], typeSeven(means, 0.05), 1e-13)
		near(t, "q95", out.Values[2][i], typeSeven(means, 0.95), 1e-13)
		for column, at := range map[int]float64{3: 0.05, 4: 0.95} {
			k := out.Values[column][i]
			upTo := mixture(func(l distuv.Poisson) float64 { return l.CDF(k) })
			before := mixture(func(l distuv.Poisson) float64 { return l.CDF(k - 1) })
			if k != math.Trunc(k) || upTo < at || k > 0 && before >= at {
				t.Errorf("row %d: %v is not the least count with mass %v: %v up to it, %v before", i, k, at, upTo, before)
			}
		}
		if row.y < 0 || row.y != math.Trunc(row.y) {
			if !math.IsNaN(out.LogDensity[i]) {
				t.Errorf("%v is no count and has the log density %v", row.y, out.LogDensity[i])
			}
			continue
		}
		near(t, "log density", out.LogDensity[i], math.Log(mixture(func(l distuv.Poisson) float64 { return l.Prob(row.y) })), 1e-12)
	}
	if !capped {
		t.Error("no mean met the upper bound")
	}
	s := NewScorer(p)
	s.Add(out)
	if scores := s.Scores(); scores.Rows != 4 || scores.Unscored != 3 || scores.LogScore == nil {
		t.Errorf("%+v", scores)
	}
}

// Large means take another way to their quantiles: compared with plain sums of
// logarithms.
func TestPoissonQuantile(t *testing.T) {
	for _, means := range [][]float64{{99}, {101}, {40, 900, 950}, {5000, 5100, 4800}, {1e5}} {
		for _, p := range []float64{0.05, 0.5, 0.95} {
			got := poissonQuantile(p, means)
			mass := 0.0
			k := 0.0
			for ; ; k++ {
				factorial, _ := math.Lgamma(k + 1)
				for _, m := range means {
					mass += math.Exp(k*math.Log(m)-m-factorial) / float64(len(means))
				}
				if mass >= p {
					break
				}
			}
			if got != k {
				t.Errorf("%v: the quantile at %v is %v, want %v", means, p, got, k)
			}
		}
	}
}
