package accountant

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A full-batch chain whose steps contract by exactly 1 − η (m = 1, M·η ≤ 1).
func contracting(c float64, z float64, steps int64) LastIterate {
	return LastIterate{Adjacency: AddRemove, SamplingRate: 1, NoiseMultiplier: z, Steps: steps, StepSize: 1 - c,
		PriorPrecision: 1, UnitSmoothness: 0.1, MaxUnits: 1, Convex: true}
}

func mustMu(t interface{ Fatal(...any) }, l LastIterate) float64 {
	e, err := l.Event(1e-6)
	if err != nil {
		t.Fatal(err)
	}
	mu, err := MuGDP(e)
	if err != nil {
		t.Fatal(err)
	}
	return mu
}

// Constant parameters: the closed form, the general algorithm, and the exact law of
// the last iterate of a linear chain, for which the bound is attained.
func TestLastIterateConstant(t *testing.T) {
	for _, adj := range []Adjacency{AddRemove, ReplaceOne} {
		for _, c := range []float64{0.1, 0.5, 0.9, 0.99, 0.9999} {
			for _, k := range []int64{1, 2, 7, 100, 5000} {
				l := contracting(c, 3, k)
				l.Adjacency = adj
				got := mustMu(t, l)

				// x ← c·x + b·s + Z with b = 1 or 0 (±1): mean and variance in the end.
				s := adj.distance() / 3
				mean, variance := 0.0, 0.0
				for range k {
					mean, variance = c*mean+s, c*c*variance+1
				}
				exact := mean / math.Sqrt(variance)
				if got < exact*(1-1e-13) || got > exact*(1+1e-9) {
					t.Errorf("c %g, K %d: μ %.15g, exactly %.15g", c, k, got, exact)
				}

				list := l
				list.StepSize, list.StepSizes = 0, make([]float64, k)
				for i := range list.StepSizes {
					list.StepSizes[i] = 1 - c
				}
				if by := mustMu(t, list); by < exact*(1-1e-13) || by > exact*(1+1e-9) {
					t.Errorf("c %g, K %d: as a schedule μ %.15g, exactly %.15g", c, k, by, exact)
				}
				if plain := s * math.Sqrt(float64(k)); got > plain*(1+1e-12) {
					t.Errorf("c %g, K %d: μ %g, all iterates %g", c, k, got, plain)
				}
			}
		}
	}
	// Saturation, and no contraction worth the name.
	if got, want := mustMu(t, contracting(0.75, 3, 1<<53)), math.Sqrt(7)/3; math.Abs(got-want) > 1e-12 {
		t.Errorf("2^53 steps: μ %.15g, want %.15g", got, want)
	}
	if got, want := mustMu(t, contracting(1-0x1p-50, 3, 10000)), 100.0/3; math.Abs(got-want) > 1e-9 || got < want*(1-1e-15) {
		t.Errorf("c → 1: μ %.15g, want %.15g", got, want)
	}
}

// problem is the minimisation of scheduleMu: contraction, push and noise of steps.
type problem struct{ c, s, sigma []float64 }

func randomSchedule(t *rapid.T, longest int) (LastIterate, problem) {
	l := LastIterate{Adjacency: anyAdjacency(t), SamplingRate: 1, PriorPrecision: 1, PriorSmoothness: 1.5, UnitSmoothness: 0.25, MaxUnits: 2, Convex: true}
	var p problem
	for range rapid.IntRange(1, longest).Draw(t, "K") {
		eta := math.Exp(rapid.Float64Range(-6, -0.05).Draw(t, "log η"))
		z := math.Exp(rapid.Float64Range(-2, 3).Draw(t, "log z"))
		l.StepSizes, l.NoiseMultipliers = append(l.StepSizes, eta), append(l.NoiseMultipliers, z)
		p.c = append(p.c, max(math.Abs(1-eta), math.Abs(1-2*eta)))
		p.s = append(p.s, eta*l.Adjacency.distance())
		p.sigma = append(p.sigma, eta*z)
	}
	return l, p
}

// pay runs the shifts with the given payments, each cut to what is there and the
// last one all of it: feasible by construction.
func (p problem) pay(payments []float64) (mu2 float64) {
	d := 0.0
	for k := range p.c {
		d = p.c[k]*d + p.s[k]
		a := min(d, payments[k])
		if k == len(p.c)-1 {
			a = d
		}
		d -= a
		mu2 += a / p.sigma[k] * a / p.sigma[k]
	}
	return mu2
}

// The optimum pays at one rate within blocks of steps and leaves nothing at their
// ends: try every way to cut K steps into blocks.
func (p problem) everyPartition() float64 {
	n := len(p.c)
	w := make([]float64, n)
	for k, x := n-1, 1.0; k >= 0; k-- {
		w[k] = x
		x *= p.c[k]
	}
	best := math.Inf(1)
	for cuts := range 1 << (n - 1) {
		mu2, feasible, start := 0.0, true, 0
		for end := 1; end <= n; end++ {
			if end < n && cuts&(1<<(end-1)) == 0 {
				continue
			}
			var rise, run float64
			for k := start; k < end; k++ {
				rise, run = rise+w[k]*p.s[k], run+w[k]*w[k]*p.sigma[k]*p.sigma[k]
			}
			var have, paid float64
			for k := start; k < end; k++ {
				have, paid = have+w[k]*p.s[k], paid+rise/run*w[k]*w[k]*p.sigma[k]*p.sigma[k]
				feasible = feasible && paid <= have*(1+1e-9)
			}
			mu2, start = mu2+rise*rise/run, end
		}
		if feasible {
			best = min(best, mu2)
		}
	}
	return best
}

// Against every partition, random feasible payments and a local search.
func TestLastIterateScheduleIsTheLeast(t *testing.T) {
	source := rand.New(rand.NewPCG(1, 2))
	rapid.Check(t, func(t *rapid.T) {
		l, p := randomSchedule(t, 9)
		got := mustMu(t, l)
		mu2 := got * got
		if want := p.everyPartition(); mu2 < want*(1-1e-12) || mu2 > want*(1+1e-8) {
			t.Fatalf("μ² %.15g, the best partition has %.15g", mu2, want)
		}
		payments := make([]float64, len(p.c))
		best := math.Inf(1)
		for round := range 300 {
			next := make([]float64, len(payments))
			for k := range next {
				if round < 100 {
					next[k] = p.s[k] * 3 * source.Float64()
				} else {
					next[k] = payments[k] * (1 + 0.2*source.NormFloat64())
				}
			}
			if value := p.pay(next); value < best {
				best, payments = value, next
			}
		}
		if best < mu2*(1-1e-12) {
			t.Fatalf("μ² %.15g, a search found %.15g", mu2, best)
		}
		// The law of a linear chain with these contractions.
		var mean, variance float64
		for k := range p.c {
			mean, variance = p.c[k]*mean+p.s[k], p.c[k]*p.c[k]*variance+p.sigma[k]*p.sigma[k]
		}
		if exact := mean / math.Sqrt(variance); got < exact*(1-1e-12) {
			t.Fatalf("μ %.15g is below the exact %.15g", got, exact)
		}
	})
}

// Long schedules: early weights underflow, and the result stays a bound.
func TestLastIterateLongSchedules(t *testing.T) {
	for _, fall := range []float64{0, 0.33, 1, 3} {
		const n = 20000
		l := LastIterate{Adjacency: AddRemove, SamplingRate: 1, NoiseMultiplier: 10, StepSizes: make([]float64, n), PriorPrecision: 1, UnitSmoothness: 0.1, MaxUnits: 10, Convex: true}
		var p problem
		for k := range n {
			eta := 0.5 * math.Pow(1+float64(k)/100, -fall)
			l.StepSizes[k] = eta
			p.c, p.s, p.sigma = append(p.c, 1-eta), append(p.s, eta), append(p.sigma, 10*eta)
		}
		var mean, variance float64
		for k := range p.c {
			mean, variance = p.c[k]*mean+p.s[k], p.c[k]*p.c[k]*variance+p.sigma[k]*p.sigma[k]
		}
		got, exact := mustMu(t, l), mean/math.Sqrt(variance)
		plain := math.Sqrt(n) / 10
		t.Logf("η falls as k^−%g: μ %.6g, linear chain %.6g, all iterates %.6g", fall, got, exact, plain)
		if got < exact || got > plain*(1+1e-9) || fall == 0 && got > exact*(1+1e-9) {
			t.Errorf("η falls as k^−%g: μ %.15g, linear chain %.15g, all iterates %g", fall, got, exact, plain)
		}
	}
	// Steps so small beside the others that their noise vanishes: no loss of sense.
	l := contracting(0.5, 1, 0)
	l.StepSize, l.StepSizes = 0, []float64{0.5, 1e-300, 0.5, 1e-320}
	if got := mustMu(t, l); math.IsNaN(got) || got > 2*(1+1e-12) {
		t.Errorf("tiny steps: μ %g", got)
	}
}

// linearLaw is the exact law of the last iterate of x ← c·x + b·s + Z with unit
// noise multiplier scale: with the unit a mixture over all coins, without it
// N(0, V).
type linearLaw struct {
	means  []float64 // in standard deviations of the noise part
	weight []float64
}

func newLinearLaw(q, z, c float64, steps int) linearLaw {
	l := linearLaw{[]float64{0}, []float64{1}}
	variance, power := 0.0, 1.0
	for range steps { // from the last step backwards
		var next linearLaw
		for i, m := range l.means {
			next.means = append(next.means, m, m+power/z)
			next.weight = append(next.weight, (1-q)*l.weight[i], q*l.weight[i])
		}
		l = next
		variance, power = variance+power*power, power*c
	}
	for i := range l.means {
		l.means[i] /= math.Sqrt(variance)
	}
	return l
}

// ratio returns points x, of a step h, and the log of the ratio of the densities
// of the mixture and of N(0, 1) there.
func (l linearLaw) ratio(top float64) (x, logs []float64, h float64) {
	longest := 0.0
	for _, m := range l.means {
		longest = max(longest, m)
	}
	low, high := -12-longest, 12+top*longest
	n := int((high - low) / 0.02)
	h = (high - low) / float64(n)
	x, logs = make([]float64, n+1), make([]float64, n+1)
	for i := range logs {
		x[i] = low + float64(i)*h
		largest := math.Inf(-1)
		for _, m := range l.means {
			largest = max(largest, m*x[i]-m*m/2)
		}
		total := 0.0
		for j, m := range l.means {
			total += l.weight[j] * math.Exp(m*x[i]-m*m/2-largest)
		}
		logs[i] = largest + math.Log(total)
	}
	return x, logs, h
}

// divergence returns the exact Rényi divergences of both directions.
func (l linearLaw) divergence(alphas []float64) (with, without []float64) {
	top := 0.0
	for _, a := range alphas {
		top = max(top, a)
	}
	x, logs, h := l.ratio(top)
	for _, a := range alphas {
		var forward, backward []float64
		for i, r := range logs {
			base := -x[i]*x[i]/2 - math.Log(2*math.Pi)/2 + math.Log(h)
			forward, backward = append(forward, base+a*r), append(backward, base+(1-a)*r)
		}
		with, without = append(with, logSumExp(forward)/(a-1)), append(without, logSumExp(backward)/(a-1))
	}
	return with, without
}

// delta returns the exact δ at eps in both directions.
func (l linearLaw) delta(eps float64) (with, without float64) {
	x, logs, h := l.ratio(1)
	for i, r := range logs {
		mass := math.Exp(-x[i]*x[i]/2) / math.Sqrt(2*math.Pi) * h
		with += mass * max(0, math.Exp(r)-math.Exp(eps))
		without += mass * max(0, 1-math.Exp(eps+r))
	}
	return with, without
}

// The exact divergences of a linear chain with sampling, in both directions,
// never exceed the theorem's at any τ and β; leaving out its Gaussian, or one of
// its steps, is caught.
func TestLastIterateSampledAgainstExactLaw(t *testing.T) {
	alphas := []float64{1.3, 2, 4, 16}
	tightest, noGaussian, noStep, better := math.Inf(1), 0, 0, 0
	for _, q := range []float64{0.05, 0.3, 0.8} {
		for _, z := range []float64{0.7, 4} {
			for _, c := range []float64{0.3, 0.8, 0.97} {
				for _, k := range []int{2, 5, longestExactChain} {
					with, without := newLinearLaw(q, z, c, k).divergence(alphas)
					s := lastSteps{adj: AddRemove, q: q, z: z, steps: float64(k), g: 1 - c, fade: -math.Log(c)}
					for _, tau := range []float64{1, math.Ceil(float64(k) / 2), float64(k - 1)} {
						for _, beta := range []float64{0.003, 0.05, 0.4} {
							e := s.event(tau, beta)
							for i, alpha := range alphas {
								bound, err := RDP(e, alpha)
								if err != nil {
									t.Fatal(err)
								}
								exact := max(with[i], without[i])
								if bound < exact*(1-1e-9) {
									t.Errorf("q %g z %g c %g K %d τ %g β %g α %g: bound %.12g, exact %.12g, %.12g", q, z, c, k, tau, beta, alpha, bound, with[i], without[i])
								}
								tightest = min(tightest, bound/exact)
								// The same with a part forgotten.
								if part, _ := RDP(e.Events[0], alpha); part < exact {
									noGaussian++
								}
								fewer := e.Events[0]
								fewer.Count--
								if part, _ := RDP(Compose(fewer, e.Events[1]), alpha); part < exact {
									noStep++
								}
								if plain, _ := RDP(PoissonGaussian(AddRemove, q, z, int64(k)), alpha); bound < plain {
									better++
								}
							}
						}
					}
				}
			}
		}
	}
	t.Logf("tightest ratio of bound to exact %.4f; %d points better than all iterates; below the exact value without the Gaussian %d, without a step %d", tightest, better, noGaussian, noStep)
	if noGaussian == 0 || noStep == 0 || better == 0 || tightest > 1.5 {
		t.Error("the check has no teeth")
	}
}

// The same for δ at every ε, direction by direction: the theorem is about the whole
// trade-off, so that a privacy loss distribution of its event may be used.
func TestLastIterateSampledTradeOff(t *testing.T) {
	// δ of a Gaussian with shift mu at any real ε.
	gaussian := func(mu, eps float64) float64 {
		phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
		return phi(mu/2-eps/mu) - math.Exp(eps)*phi(-mu/2-eps/mu)
	}
	tightest, without := math.Inf(1), 0
	for _, q := range []float64{0.1, 0.5} {
		for _, z := range []float64{0.8, 2} {
			for _, c := range []float64{0.4, 0.9} {
				for _, k := range []int{3, 6} {
					law := newLinearLaw(q, z, c, k)
					s := lastSteps{adj: AddRemove, q: q, z: z, steps: float64(k), g: 1 - c, fade: -math.Log(c)}
					for _, tau := range []float64{1, 2} {
						for _, beta := range []float64{0.02, 0.3} {
							e := s.event(tau, beta)
							za, mu := e.Events[0].NoiseMultiplier, 1/e.Events[1].NoiseMultiplier
							// The loss of one sampled step, under P and under Q.
							const h = 0.1
							var losses, p, q0 []float64
							for x := -8 * za; x < 1+8*za; x += h * za {
								y := (2*x - 1) / (2 * za * za)
								losses = append(losses, logSumExp([]float64{math.Log1p(-q), math.Log(q) + y}))
								base := math.Exp(-x*x/(2*za*za)) * h / math.Sqrt(2*math.Pi)
								q0 = append(q0, base)
								p = append(p, base*math.Exp(losses[len(losses)-1]))
							}
							bound := func(eps float64, mass []float64, sign float64) float64 {
								total := 0.0
								for i, l := range losses {
									if tau == 1 {
										total += mass[i] * gaussian(mu, eps-sign*l)
										continue
									}
									if mass[i] < 1e-12 {
										continue
									}
									for j, m := range losses {
										if mass[i]*mass[j] < 1e-13 {
											continue
										}
										total += mass[i] * mass[j] * gaussian(mu, eps-sign*(l+m))
									}
								}
								return total
							}
							for _, eps := range []float64{0, 0.5, 2} {
								remove, add := law.delta(eps)
								up, down := bound(eps, p, 1), bound(eps, q0, -1)
								if remove > up*(1+1e-6)+1e-9 || add > down*(1+1e-6)+1e-9 {
									t.Errorf("q %g z %g c %g K %d τ %g β %g ε %g: δ %g and %g, bounds %g and %g", q, z, c, k, tau, beta, eps, remove, add, up, down)
								}
								tightest = min(tightest, up/remove)
								// Two hypotheses with the sampled steps alone.
								if tau == 1 {
									alone := 0.0
									for i, l := range losses {
										alone += p[i] * excess(eps, l)
									}
									if alone < remove {
										without++
									}
								}
							}
						}
					}
				}
			}
		}
	}
	t.Logf("tightest ratio of bound to exact %.4f; without the Gaussian %d points fall below", tightest, without)
	if without == 0 || tightest > 1.5 {
		t.Error("the check has no teeth")
	}
}

// The event of the theorem under each accountant: privacy loss distributions stay
// above the exact δ of small chains, and gain on RDP as they do elsewhere.
func TestLastIterateByAccountant(t *testing.T) {
	for _, c := range []float64{0.4, 0.9} {
		const q, z, k = 0.3, 1.2, 8
		law := newLinearLaw(q, z, c, k)
		s := lastSteps{adj: AddRemove, q: q, z: z, steps: k, g: 1 - c, fade: -math.Log(c)}
		for _, eps := range []float64{0.5, 2} {
			bound, _, err := Delta(MethodPLD, s.event(5, 0.1), eps)
			if err != nil {
				t.Fatal(err)
			}
			remove, add := law.delta(eps)
			if exact := max(remove, add); bound < exact*(1-1e-6)-1e-9 {
				t.Errorf("c %g ε %g: δ %g, exactly %g", c, eps, bound, exact)
			}
		}
	}
	l := LastIterate{Adjacency: AddRemove, SamplingRate: 0.1, NoiseMultiplier: 4, Steps: 5000, StepSize: 1.0 / 2510, PriorPrecision: 10, UnitSmoothness: 0.25, MaxUnits: 1000, Convex: true}
	rdp, _, err := l.Epsilon(MethodRDP, 1e-6)
	if err != nil {
		t.Fatal(err)
	}
	pld, _, err := l.Epsilon(MethodPLD, 1e-6)
	if err != nil || pld > rdp || pld < 0.8*rdp {
		t.Errorf("ε %g by pld, %g by rdp (%v)", pld, rdp, err)
	}
	every, err := l.Composition()
	if err != nil {
		t.Fatal(err)
	}
	if all := mustEpsilon(t, MethodPLD, every, 1e-6); pld > all/2 {
		t.Errorf("ε %g by pld, all iterates %g", pld, all)
	}
}

// density is a law on the line, on a uniform grid of points.
type density struct {
	low, step float64
	at        []float64
}

func (d density) x(i int) float64 { return d.low + float64(i)*d.step }

// move applies x ← f(x) − (s·u(x) with probability q) + N(0, 1).
func (d density) move(q, s float64, f, u func(x float64) float64) density {
	next := density{d.low, d.step, make([]float64, len(d.at))}
	spread := func(mean, mass float64) {
		first := max(0, int((mean-12-d.low)/d.step))
		last := min(len(d.at)-1, int((mean+12-d.low)/d.step)+1)
		for j := first; j <= last; j++ {
			y := next.x(j) - mean
			next.at[j] += mass * math.Exp(-y*y/2)
		}
	}
	for i, p := range d.at {
		if mass := p * d.step / math.Sqrt(2*math.Pi); mass > 1e-40 {
			x := d.x(i)
			spread(f(x), (1-q)*mass)
			if q > 0 {
				spread(f(x)-s*u(x), q*mass)
			}
		}
	}
	return next
}

func (d density) divergence(other density, alpha float64) float64 {
	total := 0.0
	for i, p := range d.at {
		if r := other.at[i]; p > 1e-25 && r > 1e-25 { // further out the grid's own cuts show
			total += math.Exp(alpha*math.Log(p)+(1-alpha)*math.Log(r)) * d.step
		}
	}
	return math.Log(total) / (alpha - 1)
}

// randomContraction is a piecewise linear map with slopes in [−c, c].
func randomContraction(source *rand.Rand, c float64) func(float64) float64 {
	const pieces = 12
	var knots, values [pieces]float64
	for i := range knots {
		knots[i] = float64(i) - pieces/2
		if i > 0 {
			values[i] = values[i-1] + c*(2*source.Float64()-1)
			if source.IntN(2) == 0 {
				values[i] = values[i-1] + c
			}
		} else {
			values[i] = -c * pieces / 2
		}
	}
	return func(x float64) float64 {
		i := min(max(int(math.Floor(x+pieces/2)), 0), pieces-2)
		x = min(max(x, knots[0]), knots[pieces-1])
		return values[i] + (x-knots[i])*(values[i+1]-values[i])
	}
}

// Chains that are not linear, with pushes that depend on the state: no such chain
// exceeds the theorem's divergence, in either direction. The densities are computed
// on a grid, to about 10⁻³ of the divergence.
func TestLastIterateSampledAgainstOtherChains(t *testing.T) {
	source := rand.New(rand.NewPCG(3, 4))
	worst := 0.0
	for trial := range 12 {
		c := []float64{0.5, 0.9, 0.98}[trial%3]
		q := []float64{0.1, 0.4, 0.9, 1}[trial%4]
		const s, steps = 0.5, 4 // noise 1: z = 2
		points := 641
		start := density{-20, 40.0 / float64(points-1), make([]float64, points)}
		start.at[points/2] = 1 / start.step
		with, without := start, start
		for range steps {
			f := randomContraction(source, c)
			u := func(float64) float64 { return -1 }
			if trial >= 3 {
				edge, sign := 3*source.NormFloat64(), float64(1-2*source.IntN(2))
				u = func(x float64) float64 { return sign * math.Copysign(1, x-edge) }
			}
			with, without = with.move(q, s, f, u), without.move(0, s, f, u)
		}
		l := lastSteps{adj: AddRemove, q: min(q, 1-1e-9), z: 1 / s, steps: steps, g: 1 - c, fade: -math.Log(c)}
		for _, alpha := range []float64{1.5, 3, 6} {
			exact := max(with.divergence(without, alpha), without.divergence(with, alpha))
			for tau := 1.0; tau < steps; tau++ {
				for _, beta := range []float64{0.02, 0.2, 0.6} {
					bound, err := RDP(l.event(tau, beta), alpha)
					if err != nil {
						t.Fatal(err)
					}
					worst = max(worst, exact/bound)
					if exact > bound*(1+2e-3) {
						t.Errorf("c %g q %g α %g τ %g β %g: bound %g, exact %g", c, q, alpha, tau, beta, bound, exact)
					}
				}
			}
		}
	}
	t.Logf("largest share of the bound: %.4f", worst)
	if worst < 0.3 {
		t.Error("the chains are too tame to test anything")
	}
}

// What is found is never worse than releasing every iterate, grows with K only up
// to a point, and comes near the best of a coarse search.
func TestLastIterateSampledSearch(t *testing.T) {
	for _, q := range []float64{0.01, 0.1} {
		for _, eta := range []float64{0.2, 0.01} {
			l := LastIterate{Adjacency: AddRemove, SamplingRate: q, NoiseMultiplier: 2, StepSize: eta, PriorPrecision: 1, UnitSmoothness: q / 1000, MaxUnits: 1000, Convex: true}
			last := 0.0
			for _, k := range []int64{1, 20, 1000, 1e6, 1 << 53} {
				l.Steps = k
				every, err := l.Composition()
				if err != nil {
					t.Fatal(err)
				}
				plain := mustEpsilon(t, MethodRDP, every, 1e-6)
				eps, order, err := l.Epsilon(MethodRDP, 1e-6)
				if err != nil || !(eps > 0) || eps > plain || !(order > 1) || eps < last*(1-1e-3) {
					t.Errorf("q %g η %g K %d: ε %g at order %g after %g, all iterates %g (%v)", q, eta, k, eps, order, last, plain, err)
				}
				last = eps
				if k != 1e6 {
					continue
				}
				g, _ := l.gap(eta)
				s := lastSteps{adj: AddRemove, q: q, z: 2, steps: 1e6, g: g, fade: -math.Log1p(-g)}
				best := plain
				for tau := 1.0; tau < 1e5; tau *= 1.7 {
					for _, beta := range []float64{0.003, 0.01, 0.03, 0.1, 0.3} {
						best = min(best, mustEpsilon(t, MethodRDP, s.event(math.Round(tau), beta), 1e-6))
					}
				}
				if eps > best*(1+1e-3) {
					t.Errorf("q %g η %g: ε %g, a coarse search finds %g", q, eta, eps, best)
				}
			}
		}
	}
	replace := LastIterate{Adjacency: ReplaceOne, SamplingRate: 0.1, NoiseMultiplier: 8, Steps: 10000, StepSize: 0.1, PriorPrecision: 1, UnitSmoothness: 1e-4, MaxUnits: 1000, Convex: true}
	add := replace
	add.Adjacency = AddRemove
	twice, _, err := replace.Epsilon(MethodRDP, 1e-6)
	once, _, err2 := add.Epsilon(MethodRDP, 1e-6)
	if err != nil || err2 != nil || twice < 1.5*once || twice > 3*once {
		t.Errorf("replace-one ε %g (%v), add-remove %g (%v)", twice, err, once, err2)
	}
}

func TestLastIterateRefuses(t *testing.T) {
	good := LastIterate{Adjacency: AddRemove, SamplingRate: 0.1, NoiseMultiplier: 5, Steps: 100, StepSize: 0.01, PriorPrecision: 1, PriorSmoothness: 2, UnitSmoothness: 0.001, MaxUnits: 1000, Convex: true}
	c, err := good.Contraction()
	// m = 1, M = 1000·0.001/0.1 + 2 = 12
	if err != nil || c < 0.99 || c > 0.99*(1+1e-14) {
		t.Fatalf("c = %.17g, %v", c, err)
	}
	large := good
	large.StepSize = 1.9 / 12
	if c, err := large.Contraction(); err != nil || math.Abs(c-0.9) > 1e-14 || c < 0.9 {
		t.Errorf("c = %.17g, %v", c, err)
	}
	for name, bad := range map[string]struct {
		change func(*LastIterate)
		err    error
		text   string
	}{
		"convex":           {func(l *LastIterate) { l.Convex = false }, ErrUnsupported, "convex"},
		"prior":            {func(l *LastIterate) { l.PriorPrecision = 0 }, ErrUnsupported, "prior"},
		"step":             {func(l *LastIterate) { l.StepSize = 2.0 / 12 }, ErrUnsupported, "0.1667"},
		"units":            {func(l *LastIterate) { l.MaxUnits = 1e6 }, ErrUnsupported, "curvature"},
		"no float":         {func(l *LastIterate) { l.StepSize, l.PriorPrecision = 1e-200, 1e-200 }, ErrUnsupported, "floating"},
		"schedule":         {func(l *LastIterate) { l.StepSize, l.StepSizes = 0, make([]float64, 100) }, ErrDomain, "positive"},
		"sampled schedule": {func(l *LastIterate) { l.StepSize, l.StepSizes, l.Steps = 0, []float64{0.01, 0.02}, 0 }, ErrUnsupported, "constant"},
		"both":             {func(l *LastIterate) { l.StepSizes = []float64{1} }, ErrDomain, "step size"},
		"length":           {func(l *LastIterate) { l.StepSize, l.StepSizes = 0, []float64{0.01} }, ErrDomain, "each step"},
		"rate 0":           {func(l *LastIterate) { l.SamplingRate = 0 }, ErrDomain, "rate"},
		"rate NaN":         {func(l *LastIterate) { l.SamplingRate = math.NaN() }, ErrDomain, "rate"},
		"noise":            {func(l *LastIterate) { l.NoiseMultiplier = 0 }, ErrDomain, "noise"},
		"steps":            {func(l *LastIterate) { l.Steps = 0 }, ErrDomain, "step"},
		"too many":         {func(l *LastIterate) { l.Steps = 1<<53 + 1 }, ErrDomain, "2^53"},
		"smoothness":       {func(l *LastIterate) { l.PriorSmoothness = 0.5 }, ErrDomain, "greatest"},
		"curvature":        {func(l *LastIterate) { l.UnitSmoothness = math.Inf(1) }, ErrDomain, "curvature"},
		"no units":         {func(l *LastIterate) { l.MaxUnits = 0 }, ErrDomain, "units"},
		"adjacency":        {func(l *LastIterate) { l.Adjacency = "" }, ErrDomain, "adjacency"},
	} {
		l := good
		bad.change(&l)
		_, err := l.Contraction()
		if !errors.Is(err, bad.err) || !strings.Contains(err.Error(), bad.text) {
			t.Errorf("%s: %v", name, err)
		}
		if _, e := l.Event(1e-6); !errors.Is(e, bad.err) {
			t.Errorf("%s: event: %v", name, e)
		}
		if _, _, e := l.Epsilon(MethodRDP, 1e-6); !errors.Is(e, bad.err) {
			t.Errorf("%s: epsilon: %v", name, e)
		}
	}
	for _, delta := range []float64{0, 1, math.NaN()} {
		if _, err := good.Event(delta); !errors.Is(err, ErrDomain) {
			t.Errorf("δ %g: %v", delta, err)
		}
	}
	if _, _, err := good.Epsilon(MethodGDP, 1e-6); !errors.Is(err, ErrUnsupported) {
		t.Errorf("sampling under gdp: %v", err)
	}
	good.Adjacency = ReplaceOne
	text := strings.Join(good.Assumptions(), " ")
	for _, want := range []string{"last iterate", "1000 units", "0.001", "between 1 and 2", "momentum", "lattice", "Poisson", "antipodal"} {
		if !strings.Contains(text, want) {
			t.Errorf("assumptions say nothing of %q: %s", want, text)
		}
	}
}

// Any parameters: an error or a number, never above releasing every iterate.
func TestLastIterateAnyParameters(t *testing.T) {
	fine := 0
	rapid.Check(t, func(t *rapid.T) {
		usual := rapid.Float64Range(0.001, 1)
		number := rapid.OneOf(usual, usual, usual, usual,
			rapid.SampledFrom([]float64{0, 1, 0.5, 1e-300, 1e300, 5e-324, math.Inf(1), math.NaN(), -1}),
			rapid.Custom(func(t *rapid.T) float64 { return math.Exp(rapid.Float64Range(-20, 20).Draw(t, "log")) }))
		l := LastIterate{Adjacency: anyAdjacency(t), SamplingRate: rapid.OneOf(rapid.Just(1.0), number).Draw(t, "q"),
			NoiseMultiplier: max(number.Draw(t, "z"), 0.3), Steps: rapid.Int64Range(0, 1<<54).Draw(t, "K"), StepSize: number.Draw(t, "η"),
			PriorPrecision: number.Draw(t, "m"), UnitSmoothness: number.Draw(t, "κ") / 100, MaxUnits: rapid.Int64Range(0, 100).Draw(t, "N"), Convex: true}
		if rapid.Bool().Draw(t, "list") {
			l.StepSize, l.StepSizes, l.Steps = 0, rapid.SliceOfN(number, 1, 5).Draw(t, "η_k"), 0
		}
		eps, _, err := l.Epsilon(MethodRDP, 1e-6)
		if err != nil {
			if !errors.Is(err, ErrDomain) && !errors.Is(err, ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		every, err := l.Composition()
		if err != nil {
			t.Fatal(err)
		}
		if plain := mustEpsilon(t, MethodRDP, every, 1e-6); !(eps >= 0) || eps > plain {
			t.Fatalf("ε %g, all iterates %g", eps, plain)
		}
		fine++
	})
	if fine == 0 {
		t.Error("no parameters were accepted")
	}
}
