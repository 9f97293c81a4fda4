package sgld

import (
	"context"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// sampled draws from the posterior of the rows with a budget that protects nobody.
func sampled(t *testing.T, r Request, rows []testRow, target []float64, steps int64, seed uint64) [][]float64 {
	t.Helper()
	r.Rows, r.Draws = int64(len(rows)), 10_000
	r.Steps, r.Temperature = ptr(steps), ptr(1.0)
	p, err := NewPlan(r)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newDesign(targetRecords(rows, target, r.Encoding.Outcome), r.Encoding)
	if err != nil {
		t.Fatal(err)
	}
	res, err := run(context.Background(), p, g, func(use string) privacy.Bits { return privacy.NewSeeded(seed, use) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res.Draws.Chains[0]
}

// laplace returns mode and standard deviations of the posterior with normal priors of
// variance 1, by Newton's steps on the potential, whose gradient and Hessian are those
// of the formulas.
func laplace(d int, derivatives func(theta, gradient []float64, hessian *mat.SymDense)) (mode, sd []float64) {
	mode = make([]float64, d)
	gradient := make([]float64, d)
	var inverse mat.SymDense
	for range 50 {
		h := mat.NewSymDense(d, nil)
		clear(gradient)
		derivatives(mode, gradient, h)
		for i := range d {
			gradient[i] += mode[i]
			h.SetSym(i, i, h.At(i, i)+1)
		}
		var c mat.Cholesky
		if !c.Factorize(h) {
			panic("the potential is not convex")
		}
		var step mat.VecDense
		if err := c.SolveVecTo(&step, mat.NewVecDense(d, gradient)); err != nil {
			panic(err)
		}
		for i := range mode {
			mode[i] -= step.AtVec(i)
		}
		if err := c.InverseTo(&inverse); err != nil {
			panic(err)
		}
	}
	for i := range d {
		sd = append(sd, math.Sqrt(inverse.At(i, i)))
	}
	return mode, sd
}

// nearMode compares draws with a mode and standard deviations that are off by a few
// per cent of a deviation themselves, as a posterior of this many rows is not normal.
// With n effective draws a mean is known to 1/√n sd and an sd to 1/(2√n); the bands
// are five of these, and 0.06 and 2 % for what is not normal and for the step size.
func nearMode(t *testing.T, draws [][]float64, mode, sd []float64, effective float64) {
	t.Helper()
	for j := range mode {
		m, v := moments(draws, j)
		if z := (m - mode[j]) / sd[j]; math.Abs(z) > 0.06+5/math.Sqrt(effective) {
			t.Errorf("parameter %d: mean %.4f, want %.4f, %.3f sd off", j, m, mode[j], z)
		}
		if ratio := math.Sqrt(v) / sd[j]; math.Abs(ratio-1) > 0.02+2.5/math.Sqrt(effective) {
			t.Errorf("parameter %d: sd %.4f, want %.4f", j, math.Sqrt(v), sd[j])
		}
	}
}

// TestSoftmaxPosterior: four levels, the second the reference. Curvatures are a fifth
// of what the metric expects, or more, over time 7,000: 500 effective draws, and an
// error of 0.4 sd or 19 % is noticed with probability 0.99.
func TestSoftmaxPosterior(t *testing.T) {
	if testing.Short() {
		t.Skip("tens of thousands of steps")
	}
	r := testRequest(1e6)
	r.Model, r.Encoding.Outcome = "softmax", datasets.Levels
	r.Encoding.Levels, r.Encoding.Reference = []string{"l", "m", "n", "o"}, 1
	rows := testRows(3000, testTheta, 4, 9)
	truth := []float64{0.5, -0.6, 0.3, 0.2, -0.4, -0.3, 0.8, -0.2, 0.4, 0.1, 0.2, 0.1, 0.5, -0.5, 0.3}
	src := privacy.NewSeeded(80, "softmax")
	target := make([]float64, len(rows))
	predictors := func(x, theta []float64) []float64 {
		u := make([]float64, 3)
		for k := range u {
			for j, v := range x {
				u[k] += v * theta[5*k+j]
			}
		}
		return u
	}
	levels := []int{0, 2, 3}
	for i, row := range rows {
		p := make([]float64, 3)
		SoftmaxMeans(p, predictors(row.dense(), truth))
		at := uniform(src)
		target[i] = 1
		for k, v := range p {
			if at -= v; at < 0 {
				target[i] = float64(levels[k])
				break
			}
		}
	}
	mode, sd := laplace(15, func(theta, gradient []float64, h *mat.SymDense) {
		for i, row := range rows {
			x, p := row.dense(), make([]float64, 3)
			SoftmaxMeans(p, predictors(x, theta))
			at := slices.Index(levels, int(target[i]))
			for k := range p {
				r := p[k]
				if k == at {
					r--
				}
				for j, v := range x {
					gradient[5*k+j] += r * v
				}
				for m := range k + 1 {
					a := -p[k] * p[m]
					if m == k {
						a += p[k]
					}
					for j, v := range x {
						for l, w := range x {
							if 5*m+l <= 5*k+j {
								h.SetSym(5*m+l, 5*k+j, h.At(5*m+l, 5*k+j)+a*v*w)
							}
						}
					}
				}
			}
		}
	})
	nearMode(t, sampled(t, r, rows, target, 40_000, 81), mode, sd, 500)
}

// TestNoiseScalePosterior: a linear model finds its noise scale. Curvatures are 1.5
// times what the metric expects, or more, over time 1,600: 850 effective draws, and
// an error of 0.32 sd or 15 % is noticed with probability 0.99.
func TestNoiseScalePosterior(t *testing.T) {
	if testing.Short() {
		t.Skip("tens of thousands of steps")
	}
	for _, noise := range []float64{0.08, 0.2} {
		r := testRequest(1e7)
		r.Model, r.Encoding.Outcome = "linear", datasets.Numeric
		r.Encoding.Lower, r.Encoding.Upper = -1, 1
		rows := testRows(1500, testTheta, 0, 10)
		src := privacy.NewSeeded(82, "scale")
		target := make([]float64, len(rows))
		for i, row := range rows {
			for j, v := range row.dense() {
				target[i] += 0.3 * v * testTheta[j]
			}
			// The sum of three uniform variates has variance ¼.
			target[i] = inRange(target[i] + 2*noise*(uniform(src)+uniform(src)+uniform(src)-1.5))
		}
		mode, sd := laplace(6, func(theta, gradient []float64, h *mat.SymDense) {
			precision := math.Exp(-2 * theta[5])
			for i, row := range rows {
				x := row.dense()
				e := -target[i]
				for j, v := range x {
					e += v * theta[j]
				}
				for j, v := range x {
					gradient[j] += e * precision * v
					for k := range j + 1 {
						h.SetSym(k, j, h.At(k, j)+precision*v*x[k])
					}
				}
				gradient[5] += 1 - e*e*precision
				// Fisher's curvature in λ, of which Newton's steps make no worse ones.
				h.SetSym(5, 5, h.At(5, 5)+2)
			}
		})
		nearMode(t, sampled(t, r, rows, target, 60_000, 83), mode, sd, 850)
	}
}
