package sgld

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// line is a one-dimensional problem without intercept: rows, and how the clipped chain
// runs over them.
type line struct {
	model        string
	x, y         []float64
	sigma, upper float64 // of linear, of Poisson
	c, eta, q    float64
	noise        float64 // standard deviation of the noise on the sum
	box          float64 // the law beyond ±box does not matter
}

// residual is the formula's, with the library's exponential.
func (p *line) residual(i int, u float64) float64 {
	switch p.model {
	case "linear":
		return (u - p.y[i]) / (p.sigma * p.sigma)
	case "poisson":
		return math.Min(math.Exp(u), p.upper) - p.y[i]
	}
	return 1/(1+math.Exp(-u)) - p.y[i]
}

// law returns mean and variance of the chain's stationary law with a N(0, 1) prior, by
// iterating its transition kernel over a grid: from θ, a batch, the clipped sum and
// Gaussian noise, every batch with its probability. It shares no code with the sampler.
func (p *line) law() (mean, variance float64) {
	const cells = 400
	h := 2 * p.box / cells
	at := func(i int) float64 { return -p.box + (float64(i)+0.5)*h }
	sd := p.eta * p.noise / p.q
	batches := 1 << len(p.x)
	move := mat.NewDense(cells, cells, nil)
	for i := range cells {
		theta := at(i)
		part := make([]float64, len(p.x))
		for k, x := range p.x {
			c := p.c / math.Abs(x)
			part[k] = x * math.Max(-c, math.Min(p.residual(k, x*theta), c))
		}
		for b := range batches {
			weight, sum := 1.0, 0.0
			for k, g := range part {
				if b>>k&1 == 1 {
					weight *= p.q
					sum += g
				} else {
					weight *= 1 - p.q
				}
			}
			if weight == 0 {
				continue
			}
			to := theta - p.eta*(sum/p.q+theta)
			for j := max(0, int((to-9*sd+p.box)/h)); j < min(cells, int((to+9*sd+p.box)/h)+1); j++ {
				d := (at(j) - to) / sd
				move.Set(j, i, move.At(j, i)+weight*h/(sd*math.Sqrt(2*math.Pi))*math.Exp(-d*d/2))
			}
		}
	}
	density := mat.NewVecDense(cells, nil)
	density.SetVec(cells/2, 1)
	for range 12 { // 4096 steps
		var twice mat.Dense
		twice.Mul(move, move)
		move = &twice
	}
	var end mat.VecDense
	end.MulVec(move, density)
	total := mat.Sum(&end)
	for i := range cells {
		mean += at(i) * end.AtVec(i) / total
	}
	for i := range cells {
		variance += (at(i) - mean) * (at(i) - mean) * end.AtVec(i) / total
	}
	return mean, variance
}

// lines are the vectors' cases, and the like of them for the other models.
func lines(t *testing.T) (all []line, known map[int][2]float64) {
	known = map[int][2]float64{}
	for i, v := range loadRobust(t).Line {
		all = append(all, line{model: "logistic", x: v.X, y: v.Y, c: v.C, eta: v.Eta, q: v.Q, noise: v.NoiseSD, box: v.Box})
		known[i] = [2]float64{v.Mean, v.Variance}
	}
	for _, q := range []float64{1, 0.5} {
		x := []float64{1, -0.5, 2, 0.8, -1.5, 0.3}
		noise := q * math.Sqrt(2/0.1)
		all = append(all,
			line{model: "linear", x: x, y: []float64{0.4, -0.2, 0.9, -0.6, 0.3, 1}, sigma: 0.7, c: 1.1, eta: 0.1, q: q, noise: noise, box: 5},
			line{model: "poisson", x: x, y: []float64{3, 1, 8, 0, 2, 5}, upper: 10, c: 1.5, eta: 0.1, q: q, noise: noise, box: 5})
	}
	return all, known
}

// TestLineLaw: the transition kernel that the next test trusts gives the vectors'
// moments, but for the error of its grid where a clip makes a kink, a hundred times
// smaller than what that test notices.
func TestLineLaw(t *testing.T) {
	all, known := lines(t)
	for i, want := range known {
		if m, v := all[i].law(); math.Abs(m-want[0]) > 2e-5 || math.Abs(v-want[1]) > 2e-5 {
			t.Errorf("case %d: %.12f and %.12f, want %.12f and %.12f", i, m, v, want[0], want[1])
		}
	}
}

// chain returns the steps of the clipped chain through the engine: its sum, step and
// noise. The metric's root gives the intercept no weight and doubles the slope, so
// that rows with |x| ≤ 2 are numbers in [−1, 1].
func (p *line) chain(t *testing.T, seed uint64) func() float64 {
	t.Helper()
	r := Request{Model: p.model, Encoding: datasets.Encoding{
		Features:     []datasets.Feature{{Column: "x", Kind: datasets.Number, Lower: -1, Upper: 1, Offset: 1, Width: 1}},
		Coefficients: []string{"intercept", "x"}, Target: "y",
	}}
	enc := &r.Encoding
	target := make([]float64, len(p.y))
	copy(target, p.y)
	switch p.model {
	case "linear":
		r.NoiseSD, enc.Outcome, enc.Lower, enc.Upper = &p.sigma, datasets.Numeric, -1, 1
	case "poisson":
		enc.Outcome, enc.Lower, enc.Upper = datasets.Numeric, 0, p.upper
		for i := range target {
			target[i] = 2*target[i]/p.upper - 1
		}
	}
	half := make([]float64, len(p.x))
	for i, x := range p.x {
		half[i] = x / 2
	}
	g, err := newDesign(lineRecords(half, target, enc.Outcome), *enc)
	if err != nil {
		t.Fatal(err)
	}
	of, err := newModel(&r)
	if err != nil {
		t.Fatal(err)
	}
	z := p.noise / p.c
	m, err := of.facts().metric(mat.NewDense(2, 2, []float64{0, 0, 0, 2}), 0, nil, p.c, z)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := newNoisySum(g, accountant.AddRemove, of, m, p.c, p.q, privacy.NewSeeded(seed, "line"))
	if err != nil {
		t.Fatal(err)
	}
	laws := densities{{"normal", 0, 2}, {"normal", 0, 2}} // of θ = 2φ
	c := newChain(&Plan{Rate: p.q, Clip: p.c}, m, sum, laws, 2)
	segment := &Segment{StepSize: p.eta, NoiseMultiplier: z}
	return func() float64 {
		if err := c.step(segment, false); err != nil {
			t.Fatal(err)
		}
		return c.phi[1]
	}
}

// lineTest compares moments of the engine's chain with the exact law at its finite step
// size, from batch means over a thousand batches.
//
// Each of 14 assertions is two-sided at 10⁻⁶/14: |z| < 5.39. One that is off by e in
// units of the variance is noticed with probability 0.99 where e is 7.7 standard
// errors, which the test works out and holds to power.
func lineTest(t *testing.T, steps int, power float64) {
	all, _ := lines(t)
	for i, p := range all {
		mean, variance := p.law()
		next := p.chain(t, uint64(50+i))
		for range 500 {
			next()
		}
		const batches = 1000
		var sum, sum2, squares, squares2 float64
		for range batches {
			var a, b float64
			n := steps / batches
			for range n {
				v := next() - mean
				a += v
				b += v * v
			}
			a, b = a/float64(n), b/float64(n)
			sum, sum2 = sum+a, sum2+a*a
			squares, squares2 = squares+b, squares2+b*b
		}
		check := func(what string, sum, sum2, want, unit float64) {
			at := sum / batches
			se := math.Sqrt((sum2/batches - at*at) / (batches - 1))
			if z := (at - want) / se; math.Abs(z) > 5.39 {
				t.Errorf("%s, q = %g, η = %g: %s is off by %.3g, z = %.1f", p.model, p.q, p.eta, what, at-want, z)
			}
			if 7.7*se > power*unit {
				t.Errorf("%s, q = %g, η = %g: %s: an error of %.1f %% might not be noticed", p.model, p.q, p.eta, what, 100*7.7*se/unit)
			}
		}
		check("mean", sum, sum2, 0, math.Sqrt(variance))
		check("variance", squares, squares2, variance, variance)
	}
}

func TestLine(t *testing.T) {
	if testing.Short() {
		t.Skip("several hundred thousand steps")
	}
	lineTest(t, 50_000, 0.3)
}
