package sgld

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/mat"
)

// TestAverageOfACourse compares the closed form with the integrals that it stands for.
func TestAverageOfACourse(t *testing.T) {
	for _, c := range []course{{0.3, 1, 1, 1}, {3, 10, 4, 1}, {0, 5, 2, 4}, {0.9, 1, 0.5, 1}} {
		for _, curvature := range []float64{1e-9, 1e-3, 0.2, 1, 30} {
			w := c.time - c.warmup
			integral := func(f func(x float64) float64) float64 {
				var sum float64
				for i := range 200 { // the integrands fall like e^−30x
					lo, hi := c.warmup+w*float64(i)/200, c.warmup+w*float64(i+1)/200
					sum += quad.Fixed(f, lo, hi, 8, quad.Legendre{}, 0)
				}
				return sum
			}
			left := integral(func(x float64) float64 { return math.Exp(-curvature * x) }) / w
			// Twice the half of the square in which u > x: the inner integral by hand.
			variance := c.temperature / c.chains / curvature * 2 / (w * w) * integral(func(x float64) float64 {
				later := -math.Expm1(-curvature*(c.time-x)) / curvature
				return -math.Expm1(-2*curvature*x) * later
			})
			gotLeft, gotVariance := c.average(curvature)
			if math.Abs(gotLeft/left-1) > 1e-9 || math.Abs(gotVariance/variance-1) > 2e-4 {
				t.Errorf("course %v, curvature %g: %g and %g, want %g and %g", c, curvature, gotLeft, gotVariance, left, variance)
			}
		}
	}
}

// TestForecastOfALandscape simulates the chain on a landscape in a metric, and holds
// error and outlook to what is measured. Level 10⁻⁶ in all: with 40,000 chains the
// largest of the 8 figures is off by 2.5 % at most.
func TestForecastOfALandscape(t *testing.T) {
	enc := testEncoding()
	d := len(enc.Coefficients)
	const units, weight = 1000.0, 0.15
	effect := make([]float64, d)
	precision := make([]float64, d)
	for i := range precision {
		precision[i], effect[i] = 1, 0.3+0.1*float64(i)
	}
	gram := referenceLaws[0].gram(enc)
	root, err := regularisedRoot(publicGram(enc), units*0.25, precision)
	if err != nil {
		t.Fatal(err)
	}
	l := newLandscape(gram, units, weight, precision, root, effect)
	c := course{0.6, 2, 3, 1}
	// The exact law of the average along each direction is that of TestAverageOfACourse;
	// here the change of coordinates is at stake, so a direction's average is drawn.
	rng := rand.New(rand.NewPCG(1, 2))
	h := mat.NewSymDense(d, nil)
	for i := range d {
		for j := i; j < d; j++ {
			v := units * weight * gram.At(i, j)
			if i == j {
				v += precision[i]
			}
			h.SetSym(i, j, v)
		}
	}
	const chains = 40_000
	var loss float64
	square := make([]float64, d)
	for range chains {
		mode := mat.NewVecDense(d, nil)
		for i := range d {
			mode.SetVec(i, effect[i]*rng.NormFloat64())
		}
		var phi, direction mat.VecDense
		if err := phi.SolveVec(root, mode); err != nil {
			t.Fatal(err)
		}
		// Vᵀφ*, with V the directions in φ: R⁻¹·vectors.
		var v mat.Dense
		if err := v.Solve(root, l.vectors); err != nil {
			t.Fatal(err)
		}
		direction.MulVec(v.T(), &phi)
		off := mat.NewVecDense(d, nil)
		for k, curvature := range l.curvature {
			left, variance := c.average(curvature)
			off.SetVec(k, -direction.AtVec(k)*left+math.Sqrt(variance)*rng.NormFloat64())
		}
		var theta, ht mat.VecDense
		theta.MulVec(l.vectors, off)
		ht.MulVec(h, &theta)
		loss += mat.Dot(&theta, &ht) / 2 / units
		for i := range d {
			square[i] += theta.AtVec(i) * theta.AtVec(i)
		}
	}
	f := l.forecast(c)
	if got := loss / chains; math.Abs(got/(f.Start+f.Noise)-1) > 0.05 {
		t.Errorf("measured %g nats a unit, forecast %g", got, f.Start+f.Noise)
	}
	for i, o := range l.outlook(c, precision) {
		if got := math.Sqrt(square[i] / chains / l.sd2[i]); math.Abs(got/o.Error-1) > 0.03 {
			t.Errorf("%s: measured error %g, forecast %g", enc.Coefficients[i], got, o.Error)
		}
		if !(o.Reached >= 0 && o.Reached <= 1 && o.EffectiveDraws > 0) {
			t.Errorf("%s: %+v", enc.Coefficients[i], o)
		}
	}
}

// TestClipCost finds the mode of a clipped binary likelihood by search.
func TestClipCost(t *testing.T) {
	last := math.Inf(1)
	for _, c := range []float64{0.35, 0.45, 0.5, 0.6, 0.75, 0.9, 0.999, 1, 2} {
		got := clipCost(c)
		if got > last || got < 0 || c >= 1 && got != 0 {
			t.Errorf("the cost of %g is %g, of a smaller one %g", c, got, last)
		}
		last = got
		var cost, weight float64
		for x := -4.0; x <= 4; x += 0.05 {
			p := 1 / (1 + math.Exp(1-1.5*x))
			potential := func(u float64) float64 {
				// Log-likelihood, with slope c beyond the knots, by integration of its slope.
				q := 1 / (1 + math.Exp(-u))
				return -p*math.Min(1-q, c) + (1-p)*math.Min(q, c)
			}
			lo, hi := -30.0, 30.0
			for range 80 {
				if mid := (lo + hi) / 2; potential(mid) > 0 || potential(mid) == 0 && p <= 0.5 {
					hi = mid
				} else {
					lo = mid
				}
			}
			q := 1 / (1 + math.Exp(-lo))
			w := math.Exp(-x * x / 2)
			cost += w * (p*math.Log(p/q) + (1-p)*math.Log((1-p)/(1-q)))
			weight += w
		}
		if want := cost / weight; math.Abs(got-want) > 0.02*want+1e-5 {
			t.Errorf("the cost of %g is %g, by search %g", c, got, want)
		}
	}
}

// gaussianTarget is an access to a quadratic potential of these curvatures about 1,
// with ordinary noise.
type gaussianTarget struct {
	curvature []float64
	rng       *rand.Rand
}

func (g gaussianTarget) draw(dst, theta []float64, z float64) error {
	for j, curvature := range g.curvature {
		dst[j] = curvature*(theta[j]-1) + z*g.rng.NormFloat64()
	}
	return nil
}

// TestForecastOfChains holds the forecast of start and noise, and the planner's bias of
// a step, to chains with momentum that run: within 10 %. With 8,000 chains a variance is
// measured to 1.6 %, so a right forecast fails with probability below 10⁻⁶.
func TestForecastOfChains(t *testing.T) {
	if testing.Short() {
		t.Skip("a long computation in one goroutine")
	}
	curvature := []float64{0.5, 2, 10, 40}
	d := len(curvature)
	m, err := facts{scale: 1, copies: 1}.metric(identityRoot(d), 0, nil, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	const steps, warmup, time, temperature = 1500, 450, 2.0, 3.0
	s := Segment{Steps: steps, StepSize: time / steps, NoiseMultiplier: math.Sqrt(2 * temperature * steps / time)}
	c := course{warmup: time * warmup / steps, time: time, temperature: temperature, chains: 1}
	for _, a := range []float64{0, 0.9} {
		p := &Plan{Rate: 1, Clip: 1, Momentum: a, Sampler: SamplerSGHMC}
		const chains = 8_000
		rng := rand.New(rand.NewPCG(3, 4))
		sum, sum2, last2 := make([]float64, d), make([]float64, d), make([]float64, d)
		for range chains {
			x := newChain(p, m, gaussianTarget{curvature, rng}, noPrior{}, d)
			mean := make([]float64, d)
			for k := range steps {
				if err := x.step(&s, false); err != nil {
					t.Fatal(err)
				}
				if k >= warmup {
					for j, v := range x.theta {
						mean[j] += v / (steps - warmup)
					}
				}
			}
			for j, v := range mean {
				sum[j] += (1 - v) / chains
				sum2[j] += (1 - v) * (1 - v) / chains
				last2[j] += (x.theta[j] - 1) * (x.theta[j] - 1) / chains
			}
		}
		for j, curvature := range curvature {
			left, variance := c.average(curvature)
			got := sum2[j] - sum[j]*sum[j]
			if math.Abs(got/variance-1) > 0.1 {
				t.Errorf("momentum %g, curvature %g: variance of the average %g, forecast %g", a, curvature, got, variance)
			}
			if off := math.Abs(sum[j] - left); off > 0.1*left+5*math.Sqrt(variance/chains) {
				t.Errorf("momentum %g, curvature %g: %g of the way is left, forecast %g", a, curvature, sum[j], left)
			}
			if curvature*time > 20 {
				// T/λ·(1 + dt·λ/(2·gain)) at the end of a long chain.
				want := temperature / curvature * (1 + s.StepSize*curvature/(2*gain(a)))
				if math.Abs(last2[j]/want-1) > 0.1 {
					t.Errorf("momentum %g, curvature %g: stationary variance %g, want %g", a, curvature, last2[j], want)
				}
			}
		}
	}
}
