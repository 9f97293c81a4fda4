package sgld

import (
	"context"
	"math"
	"testing"
)

// timeAverage is the exact law of Σ w·θ² along a chain on a Gaussian target: of θ the mean
// m and variance v, of the sum the mean, the variance and its covariance with θ².
type timeAverage struct{ m, v, mean, variance, cov, weight, weight2, plain float64 }

// add counts the present iterate with weight w.
func (s *timeAverage) add(w float64) {
	u := 2*s.v*s.v + 4*s.m*s.m*s.v // Var θ²
	s.variance += 2*w*s.cov + w*w*u
	s.cov += w * u
	s.mean += w * (s.m*s.m + s.v)
	s.plain += w * s.m
	s.weight += w
	s.weight2 += w * w
}

// move is a step θ ← aθ + noise.
func (s *timeAverage) move(a, noise float64) {
	s.cov *= a * a
	s.m *= a
	s.v = a*a*s.v + noise
}

func (s *timeAverage) law(target float64) ofSquares {
	m, v := s.mean/s.weight, s.variance/(s.weight*s.weight)
	return ofSquares{m, v, (m-target)*(m-target) + v}
}

// TestDecreasingSteps: the schedule's steps give the means and variances of the
// vectors; the moments of averages that the statistical test below relies on are
// theirs too, and so is the error of an average over many steps. To 10⁻¹², and
// 10⁻¹⁰ of sums of thousands of terms, which round more.
func TestDecreasingSteps(t *testing.T) {
	near := func(what string, got, want ofSquares) {
		t.Helper()
		for i, v := range [3]float64{got.Mean, got.Variance, got.MSE} {
			if w := [3]float64{want.Mean, want.Variance, want.MSE}[i]; math.Abs(v-w) > 1e-12*math.Max(1, w) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
	}
	v := loadVectors(t)
	for _, c := range v.Decreasing.Cases {
		last := c.Results[len(c.Results)-1].K
		few := Schedule{Alpha: c.Alpha}.shape(100)
		left, right, plain := timeAverage{m: c.Theta0}, timeAverage{m: c.Theta0}, timeAverage{m: c.Theta0}
		var sum float64
		next := 0
		for k := int64(1); k <= last; k++ {
			eta := c.C * math.Pow(float64(k), -c.Alpha)
			if k <= 100 {
				eta = c.C * few[k-1].size
			}
			sum += eta
			left.add(eta)
			for _, s := range []*timeAverage{&left, &right, &plain} {
				s.move(1-eta*c.Curvature, 2*eta*c.T)
			}
			right.add(eta)
			plain.add(1)
			if want := c.Results[next]; want.K == k {
				next++
				close12(t, "η", eta, want.EtaK)
				close12(t, "Ση", sum, want.SumEta)
				close12(t, "mean", left.m, want.Mean)
				close12(t, "variance", left.v, want.Variance)
				close12(t, "weighted mean", right.plain/right.weight, want.WeightedMean)
				near("left", left.law(c.T/c.Curvature), want.Left)
				near("right", right.law(c.T/c.Curvature), want.Right)
				near("unweighted", plain.law(c.T/c.Curvature), want.Unweighted)
			}
		}
		if next != len(c.Results) {
			t.Errorf("%d of %d checkpoints", next, len(c.Results))
		}
	}
	checkRates(t, v, 1<<14)
}

// checkRates looks at errors of averages over up to so many steps.
func checkRates(t *testing.T, v *vectors, most float64) {
	t.Helper()
	for _, c := range v.Decreasing.Rates {
		s := timeAverage{m: c.Theta0}
		next := 0
		for k := 1; next < len(c.MSE) && c.MSE[next][0] <= most; k++ {
			eta := c.C * math.Pow(float64(k), -c.Alpha)
			s.add(eta)
			s.move(1-eta*c.Curvature, 2*eta*c.T)
			if float64(k) == c.MSE[next][0] {
				if got := s.law(c.T / c.Curvature).MSE; math.Abs(got/c.MSE[next][1]-1) > 1e-10 {
					t.Errorf("α = %g, %d steps: error %.15g, want %.15g", c.Alpha, k, got, c.MSE[next][1])
				}
				next++
			}
		}
		if next == 0 {
			t.Error("no errors were looked at")
		}
	}
}

// TestWeightedAverages: of chains with decreasing steps, the weighted averages of θ²
// have the mean and the variance of the exact law; a law with plain weights is
// noticed. A mean that is off by 2 % of the average's standard deviation is noticed
// with probability 0.5, a variance by 3 %.
func TestWeightedAverages(t *testing.T) {
	const n, steps = 60_000, 40
	for i, c := range loadVectors(t).Decreasing.Cases {
		x := ensemble(n, c.Theta0, &Plan{}, quadratic(c.Curvature, generator(uint64(400+i))))
		sum := make([]float64, n)
		law, plain := timeAverage{m: c.Theta0}, timeAverage{m: c.Theta0}
		for _, s := range (Schedule{Alpha: c.Alpha}).shape(steps) {
			eta := c.C * s.size
			for j, v := range x.theta {
				sum[j] += eta * v * v
			}
			law.add(eta)
			plain.add(1)
			x.take(t, langevin(eta, c.T, 1), 1)
			for _, s := range []*timeAverage{&law, &plain} {
				s.move(1-eta*c.Curvature, 2*eta*c.T)
			}
		}
		var mean, m2, m4 float64
		for _, v := range sum {
			mean += v / law.weight / n
		}
		want := law.law(c.T / c.Curvature)
		for _, v := range sum {
			d := v/law.weight - want.Mean
			m2 += d * d / n
			m4 += d * d * d * d / n
		}
		checkZ(t, "mean of the averages", (mean-want.Mean)/math.Sqrt(want.Variance/n))
		checkZ(t, "variance of the averages", (m2-want.Variance)/math.Sqrt((m4-m2*m2)/n))
		if c.Theta0 != 0 && math.Abs(mean-plain.law(0).Mean)/math.Sqrt(want.Variance/n) < mostZ {
			t.Error("plain weights are not noticed")
		}
	}
}

// TestDrawsAreSpacedInTime: under a schedule an iterate is drawn as often as the time
// spent there says, to one draw, after warm-up only and never while the chain is hot.
func TestDrawsAreSpacedInTime(t *testing.T) {
	for _, schedule := range []Schedule{{Alpha: 1}, {Alpha: 1.0 / 3, Offset: 5}, {Cycles: 3}, {Cycles: 2, Hot: true}} {
		for _, warmup := range []float64{0, 0.3} {
			r := testRequest(1e6)
			r.Schedule, r.Draws, r.Warmup = schedule, 5000, warmup
			p := &Plan{Request: r, Clip: 1, Rate: 1, Metric: MetricIdentity, curve: 1, Thin: 1}
			if err := p.set(90, 1, 0.3); err != nil {
				t.Fatal(err)
			}
			// The iterate says how many steps led to it.
			x := ensemble(1, 0, p, sumFunc(func(dst, theta []float64, _ float64) { dst[0] = 0 }))
			x.public = &normal{}
			x.prior = counting{x, p}
			x.sum = sumFunc(func(dst, _ []float64, _ float64) { dst[0] = 0 })
			for i := range p.Segments {
				p.Segments[i].PublicNoise = 0
			}
			if err := x.run(context.Background(), p, &keeper{plan: p}, func(int64) {}); err != nil {
				t.Fatal(err)
			}
			if len(x.draws) != r.Draws {
				t.Fatalf("%v: %d draws", schedule, len(x.draws))
			}
			drawn := map[int64]float64{}
			for _, d := range x.draws {
				drawn[int64(math.Round(d[0]))]++
			}
			time := p.sampledTime()
			var k int64
			for _, s := range p.Segments {
				for range s.Steps {
					want := float64(r.Draws) * s.StepSize / time
					if k < p.Warmup || s.Hot {
						want = 0
					}
					if got := drawn[k]; want == 0 && got != 0 || math.Abs(got-want) > 1 {
						t.Fatalf("%v, warm-up %d: the iterate after %d steps is drawn %g times, want %.2f", schedule, p.Warmup, k, got, want)
					}
					k++
				}
			}
		}
	}
}

// counting is a slope that moves the chain by one each step.
type counting struct {
	c *chain
	p *Plan
}

func (s counting) Gradient(dst, _ []float64) {
	k := s.c.done
	for i := range s.p.Segments {
		if g := &s.p.Segments[i]; k < g.Steps {
			dst[0] = -1 / ((1 - s.c.momentum) * g.StepSize)
			return
		} else {
			k -= g.Steps
		}
	}
}

// TestHotCycles: all steps of a hot cycle are charged alike; it begins at four times
// the target's temperature; and where draws are taken, noise of mechanism and public
// noise together are that of the target's temperature.
func TestHotCycles(t *testing.T) {
	p := &Plan{Request: Request{Schedule: Schedule{Cycles: 4, Hot: true}, Chains: 1, Draws: 10}, Clip: 2, Rate: 0.5, curve: 1}
	z := p.langevinNoise(0.1, 1.5)
	if err := p.set(4000, z, 0.1); err != nil {
		t.Fatal(err)
	}
	close12(t, "temperature", p.Temperature, 1.5)
	cold := 0.0
	for _, s := range p.Segments {
		if s.NoiseMultiplier != z {
			t.Fatal("a step with another noise multiplier")
		}
		g := z * p.Clip / p.Rate
		has := s.StepSize * (g*g + s.PublicNoise*s.PublicNoise) / 2
		if s.Hot != (s.StepSize > 0.025*(1+1e-6)) || !s.Hot && math.Abs(has-1.5) > 1e-5 || s.Hot && s.PublicNoise != 0 {
			t.Errorf("a step of size %g has temperature %g, hot: %v", s.StepSize, has, s.Hot)
		}
		if !s.Hot {
			cold += float64(s.Steps)
		}
	}
	first := p.Segments[0]
	g := z * p.Clip / p.Rate
	close12(t, "start", first.StepSize*g*g/2, hotStart*1.5)
	if cold < 1300 || cold > 1400 {
		t.Errorf("%g of 4000 steps are at the target's temperature, want a third", cold)
	}
	if got := p.charges(4000); got != 4000 {
		t.Errorf("charged as %g steps", got)
	}

	// The law there is the target's: steps that begin in it stay in it.
	x := ensemble(ensembleSize, 0, p, quadratic(3, generator(450)))
	x.public = testNormal(t, 451)
	s := p.Segments[len(p.Segments)-1]
	for i := range p.Segments {
		if q := p.Segments[i]; !q.Hot && q.PublicNoise > 0.5*g {
			s = q
			break
		}
	}
	a := 1 - 3*s.StepSize
	v := 2 * 1.5 * s.StepSize / (1 - a*a)
	r := generator(452)
	for j := range x.phi {
		x.phi[j] = math.Sqrt(v) * r.NormFloat64()
	}
	copy(x.theta, x.phi)
	x.sum = sumFunc(func(dst, theta []float64, z float64) {
		for j, v := range theta {
			dst[j] = (3*v + z*p.Clip/p.Rate*r.NormFloat64()) * p.Rate
		}
	})
	x.take(t, s, 5)
	checkZ(t, "variance at the target", zOfVariance(x.theta, 0, v))
	mechanism := 1 - math.Pow(a, 10)
	if short := v * (1 - mechanism*s.PublicNoise*s.PublicNoise/(g*g+s.PublicNoise*s.PublicNoise)); math.Abs(zOfVariance(x.theta, 0, short)) < mostZ {
		t.Error("missing public noise would not be noticed")
	}
}

// squareError is the exact error of an average of θ² over n draws of a chain that
// starts in its stationary law, and of one that starts at zero.
func squareError(eta, lambda, temperature float64, n int, zero bool) (bias, variance float64) {
	a := 1 - eta*lambda
	r := a * a
	v := temperature / (lambda * (1 - eta*lambda/2))
	N := float64(n)
	if !zero {
		return v - temperature/lambda, 2 * v * v / N * ((1+r)/(1-r) - 2*r*(1-math.Pow(r, N))/(N*(1-r)*(1-r)))
	}
	var s, mean, cov float64
	for j := 1; j <= n; j++ {
		rj := math.Pow(r, float64(j))
		mean += v * (1 - rj) / N
		s += (1 - rj) * (1 - rj)
		cov += math.Pow(r, N-float64(j)+1) * (1 - rj) * (1 - rj)
	}
	return mean - temperature/lambda, 2 * v * v / (N * N) * ((1+r)/(1-r)*s - 2/(1-r)*cov)
}

// bestStep is the exact minimiser of bias² + variance, and the minimum.
func bestStep(lambda, temperature float64, n int) (eta, mse float64) {
	f := func(x float64) float64 {
		b, v := squareError(math.Exp(x), lambda, temperature, n, false)
		return b*b + v
	}
	lo, hi := math.Log(1e-4/lambda), math.Log(1.5/lambda)
	const golden = 0.6180339887498949
	for range 200 {
		a, b := hi-golden*(hi-lo), lo+golden*(hi-lo)
		if f(a) < f(b) {
			hi = b
		} else {
			lo = a
		}
	}
	return math.Exp((lo + hi) / 2), f((lo + hi) / 2)
}

// TestErrorOfSquares: bias, variance, best step and slopes of the vectors, from the
// formulas to 10⁻¹² of what they are differences of, the minimiser to the root of
// the arithmetic's precision.
func TestErrorOfSquares(t *testing.T) {
	for _, block := range loadVectors(t).MSE {
		for _, row := range block.Table {
			b, v := squareError(row.Eta, block.Curvature, block.T, row.N, false)
			close12(t, "bias", b, row.Bias)
			close12(t, "variance", v, row.Variance)
			close12(t, "error", b*b+v, row.MSE)
			if row.N <= 10_000 {
				b, v := squareError(row.Eta, block.Curvature, block.T, row.N, true)
				if math.Abs(b-row.BiasZero) > 1e-11 || math.Abs(v-row.VarianceZero) > 1e-11 {
					t.Errorf("from zero: bias %.15g and variance %.15g, want %.15g and %.15g", b, v, row.BiasZero, row.VarianceZero)
				}
			}
		}
		for i, o := range block.Optimum {
			eta, mse := bestStep(block.Curvature, block.T, o.N)
			if math.Abs(eta/o.Eta-1) > 1e-6 || math.Abs(mse/o.MSE-1) > 1e-10 {
				t.Errorf("n = %d: best step %.12g with error %.12g, want %.12g and %.12g", o.N, eta, mse, o.Eta, o.MSE)
			}
			if i == 0 {
				continue
			}
			before, _ := bestStep(block.Curvature, block.T, block.Optimum[i-1].N)
			if slope := math.Log10(eta / before); math.Abs(slope-block.Slopes[i-1].Eta) > 1e-6 {
				t.Errorf("slope %g, want %g", slope, block.Slopes[i-1].Eta)
			}
		}
	}
}
