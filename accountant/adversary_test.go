package accountant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// Adversaries that choose every mechanism after seeing the answers of all earlier
// ones, to make the realised privacy loss L = log P/Q under P as large as they can.
// What a rule admits is (ε, δ)-DP in all exactly where E_P[(1 − e^(ε−L))₊] ≤ δ,
// whatever the adversary does. With δ = 0.05 the mean over simulated sessions must
// not exceed δ by four standard errors (a false alarm below 4·10⁻⁵ for a rule that
// spends δ to the last digit), and for rules known to be wrong it must.
const adversaryDelta = 0.05

// verdict is a mean over sessions and its standard error.
type verdict struct{ mean, error float64 }

func (v verdict) String() string { return fmt.Sprintf("%.5f ± %.5f", v.mean, v.error) }

func (v verdict) fails() bool { return v.mean > adversaryDelta+4*v.error }

// sessions plays a session again and again; it returns the loss that counts, in
// [0, 1].
func sessions(seed uint64, play func(r *rand.Rand) float64) verdict {
	r := rand.New(rand.NewPCG(seed, 1))
	var total, squares float64
	for range adversarySessions {
		x := play(r)
		total, squares = total+x, squares+x*x
	}
	const n = adversarySessions
	mean := total / n
	return verdict{mean, math.Sqrt((squares/n - mean*mean) / n)}
}

// excess is (1 − e^(ε−L))₊.
func excess(eps, loss float64) float64 { return max(0, -math.Expm1(eps-loss)) }

// A move is a mechanism by its worst-case pair (P, Q).
type move interface {
	loss(r *rand.Rand) float64  // log P/Q of an answer drawn from P
	excess(gap float64) float64 // E_P[(1 − e^(gap−loss))₊], for gap ≥ 0
}

// sampledMove is a Poisson-sampled Gaussian step.
type sampledMove struct{ q, z float64 }

func (m sampledMove) loss(r *rand.Rand) float64 {
	x := m.z * r.NormFloat64()
	if r.Float64() < m.q {
		x++
	}
	y := (2*x - 1) / (2 * m.z * m.z)
	return logSumExp([]float64{math.Log1p(-m.q), math.Log(m.q) + y})
}

func (m sampledMove) excess(gap float64) float64 {
	// The loss is above gap where x > x₀.
	excess := gap
	if gap < 30 {
		excess = math.Log(math.Expm1(gap) + m.q)
	}
	x0 := 0.5 + m.z*m.z*(excess-math.Log(m.q))
	above := func(x float64) float64 { return math.Erfc(x/math.Sqrt2) / 2 }
	p := (1-m.q)*above(x0/m.z) + m.q*above((x0-1)/m.z)
	q := above(x0 / m.z)
	if q == 0 { // out of reach, and so is what it takes off
		return p
	}
	return max(0, p-math.Exp(gap+math.Log(q)))
}

// twoPoint has two answers: with probability p one whose loss is high.
type twoPoint struct{ p, high float64 }

func (f twoPoint) low() float64 { return math.Log1p(-f.p) - math.Log1p(-f.p*math.Exp(-f.high)) }

func (f twoPoint) loss(r *rand.Rand) float64 {
	if r.Float64() < f.p {
		return f.high
	}
	return f.low()
}

func (f twoPoint) excess(gap float64) float64 { return f.p * excess(gap, f.high) }

// rdp is the divergence of order alpha of P from Q, and back of Q from P.
func (f twoPoint) rdp(alpha float64) (forward, backward float64) {
	q := f.p * math.Exp(-f.high)
	forward = logSumExp([]float64{math.Log(f.p) + (alpha-1)*f.high, math.Log1p(-f.p) + (alpha-1)*f.low()})
	backward = logSumExp([]float64{math.Log(q) - (alpha-1)*f.high, math.Log1p(-q) - (alpha-1)*f.low()})
	return forward / (alpha - 1), backward / (alpha - 1)
}

// highest returns the flag of probability p with the highest loss that a condition,
// which must hold for small losses, allows.
func highest(p float64, allowed func(twoPoint) bool) twoPoint {
	low, high := 0.0, 300.0
	for range 36 {
		mid := (low + high) / 2
		if allowed(twoPoint{p, mid}) {
			low = mid
		} else {
			high = mid
		}
	}
	return twoPoint{p, low}
}

// probabilities of flags that are tried.
func probabilities() []float64 {
	var list []float64
	for i := range 24 {
		list = append(list, 0.98*math.Exp(-0.16*float64(i)))
	}
	return list
}

// plan is the best way to take Gaussian steps of μ² = steps[n], to stop after any of
// them, and to make one last move out of last[n], chosen by the loss so far: by
// dynamic programming over a grid of losses.
type plan struct {
	eps, low, width float64
	steps           []float64
	best            [][]move // by step and loss; nil: go on
	value           float64
}

func newPlan(eps float64, steps []float64, last [][]move) *plan {
	const points = 500
	var total float64
	for _, s := range steps {
		total += s
	}
	p := &plan{eps: eps, steps: steps, best: make([][]move, len(steps)+1)}
	p.low = min(-1, total/2-5*math.Sqrt(total))
	p.width = (eps + 2 - p.low) / (points - 1)
	at := func(i int) float64 { return p.low + float64(i)*p.width }

	value := make([]float64, points)
	for n := len(steps); n >= 0; n-- {
		next := value
		value = make([]float64, points)
		p.best[n] = make([]move, points)
		for i := range value {
			gap := eps - at(i)
			value[i] = excess(eps, at(i))
			if gap >= 0 {
				for _, m := range last[n] {
					if v := m.excess(gap); v > value[i] {
						value[i], p.best[n][i] = v, m
					}
				}
			}
		}
		if n == len(steps) {
			continue
		}
		// E[next(L + μ²/2 + μξ)]
		mu := math.Sqrt(steps[n])
		reach := int(5*mu/p.width) + 1
		weights := make([]float64, 2*reach+1)
		var norm float64
		for k := range weights {
			x := float64(k-reach) * p.width / mu
			weights[k] = math.Exp(-x * x / 2)
			norm += weights[k]
		}
		shift := steps[n] / 2 / p.width
		whole := math.Floor(shift)
		part := shift - whole
		look := func(i int) float64 {
			switch {
			case i < 0:
				return 0
			case i >= points:
				return excess(eps, at(i))
			}
			return next[i]
		}
		for i := range value {
			var on float64
			for k, w := range weights {
				j := i + k - reach + int(whole)
				on += w * ((1-part)*look(j) + part*look(j+1))
			}
			if on /= norm; on >= value[i] {
				value[i], p.best[n][i] = on, nil
			}
		}
	}
	p.value = value[int(math.Round(-p.low/p.width))]
	return p
}

// choose is the last move after n steps at a loss; nil: go on.
func (p *plan) choose(n int, loss float64) move {
	i := int(math.Round((loss - p.low) / p.width))
	return p.best[n][min(max(i, 0), len(p.best[n])-1)]
}

// play is one session of a plan, without a filter looking on.
func (p *plan) play(r *rand.Rand) float64 {
	loss := 0.0
	for n := range len(p.steps) + 1 {
		if m := p.choose(n, loss); m != nil {
			loss += m.loss(r)
			break
		}
		if n < len(p.steps) {
			loss += p.steps[n]/2 + math.Sqrt(p.steps[n])*r.NormFloat64()
		}
	}
	return excess(p.eps, loss)
}

// The RDP filter, against plans that follow Gaussian steps by one large sampled
// step, or by a mechanism that is ρ-zCDP and no better than that. The second comes
// to within a few percent of δ: the filter gives nothing away.
func TestAdversaryAgainstRDPFilter(t *testing.T) {
	for _, c := range []struct {
		name string
		eps  string
		zcdp bool
		find float64 // the least mean that the adversary must reach
	}{{"sampled steps, ε 1", "1", false, 0.015}, {"sampled steps, ε 16", "16", false, 0.012}, {"zCDP, ε 4", "4", true, 0.04}} {
		f := mustFilter(t, terms(MethodRDP, c.eps, fmt.Sprint(adversaryDelta)))
		eps := MustAmount(c.eps).Float64Down()
		steps, costs := make([]float64, 30), make([]Spent, 0, 30)
		gaussian := Gaussian(AddRemove, math.Sqrt(30)/f.GaussianLeft(Spent{}), 1)
		cost := mustCost(t, f, gaussian)
		for n := range steps {
			z := gaussian.NoiseMultiplier
			steps[n] = 1 / (z * z)
			costs = append(costs, cost)
		}

		// What may follow n steps, with its cost.
		last := make([][]move, len(steps)+1)
		price := map[move]Spent{}
		var menu []move
		if !c.zcdp {
			for _, q := range []float64{0.03, 0.1, 0.3, 0.6} {
				for i := range 18 {
					m := sampledMove{q, 3 * math.Exp(-0.18*float64(i))}
					price[m] = mustCost(t, f, PoissonGaussian(AddRemove, m.q, m.z, 1))
					menu = append(menu, m)
				}
			}
		}
		var total Spent
		for n := range last {
			if n > 0 {
				total = f.Add(total, costs[n-1])
			}
			if c.zcdp {
				rho := AmountDown((f.Limit() - total.Loss) / f.Terms().Order * (1 - 1e-9))
				if rho.IsZero() {
					continue
				}
				paid := mustCost(t, f, ZCDP(AddRemove, rho, 1))
				for _, p := range probabilities() {
					m := highest(p, func(m twoPoint) bool { return m.zcdp(rho.Float64Down()) })
					if m.high > 0 {
						price[m] = paid
						last[n] = append(last[n], m)
					}
				}
				continue
			}
			for _, m := range menu {
				if f.Admits(f.Add(total, price[m])) {
					last[n] = append(last[n], m)
				}
			}
		}
		plan := newPlan(eps, steps, last)
		refused := 0
		v := sessions(11, func(r *rand.Rand) float64 {
			var total Spent
			loss := 0.0
			charge := func(cost Spent) bool {
				next := f.Add(total, cost)
				if !f.Admits(next) {
					refused++
					return false
				}
				total = next
				return true
			}
			for n := range len(steps) + 1 {
				if m := plan.choose(n, loss); m != nil {
					if charge(price[m]) {
						loss += m.loss(r)
					}
					break
				}
				if n < len(steps) && charge(costs[n]) {
					loss += steps[n]/2 + math.Sqrt(steps[n])*r.NormFloat64()
				}
			}
			return excess(eps, loss)
		})
		t.Logf("%s: %v; planned %.5f", c.name, v, plan.value)
		if v.fails() {
			t.Errorf("%s: the filter loses %v", c.name, v)
		}
		if v.mean < c.find {
			t.Errorf("%s: the adversary is weak: %v", c.name, v)
		}
		if refused > 0 {
			t.Errorf("%s: the filter refused what it had admitted when the plan was made, %d times", c.name, refused)
		}
	}
}

// zcdp reports whether the flag is rho-zCDP, on a grid of orders and with a margin
// for what lies between.
func (f twoPoint) zcdp(rho float64) bool {
	for t := -5.0; t <= 5; t += 0.1 {
		alpha := 1 + math.Exp(t)
		forward, backward := f.rdp(alpha)
		if max(forward, backward) > alpha*rho*(1-1e-4) {
			return false
		}
	}
	return true
}

// The Gaussian-DP filter, exact for Gaussians, against steps whose size depends on
// the loss so far: δ to the last digit. With 5 % more μ it fails.
func TestAdversaryAgainstGDPFilter(t *testing.T) {
	for _, eps := range []string{"1", "60"} {
		f := mustFilter(t, terms(MethodGDP, eps, fmt.Sprint(adversaryDelta)))
		e := MustAmount(eps).Float64Down()
		sizes := []float64{1e-3, 0.02, 0.1, 0.5} // shares of the limit
		var menu []Event
		var costs []Spent
		for _, s := range sizes {
			menu = append(menu, Gaussian(AddRemove, 1/math.Sqrt(s*f.Limit()), 1))
			costs = append(costs, mustCost(t, f, menu[len(menu)-1]))
		}
		against := func(admits func(Spent) bool) verdict {
			return sessions(12, func(r *rand.Rand) float64 {
				var total Spent
				loss := 0.0
				for {
					// Large steps when behind, small ones when ahead.
					first := 1
					if loss < e/2 {
						first = 3
					}
					taken := -1
					for i := first; i >= 0 && taken < 0; i-- {
						if next := f.Add(total, costs[i]); admits(next) {
							total, taken = next, i
						}
					}
					if taken < 0 {
						return excess(e, loss)
					}
					mu := 1 / menu[taken].NoiseMultiplier
					loss += mu*mu/2 + mu*r.NormFloat64()
				}
			})
		}
		v := against(f.Admits)
		t.Logf("ε %s: %v", eps, v)
		if v.fails() || v.mean < adversaryDelta-4*v.error {
			t.Errorf("ε %s: %v", eps, v)
		}
		if eps == "60" {
			more := against(func(s Spent) bool { return s.Loss <= f.Limit()*1.05*1.05 })
			t.Logf("ε %s, 5 %% more μ: %v", eps, more)
			if !more.fails() {
				t.Errorf("5 %% more μ is not noticed: %v", more)
			}
		}
	}
}

// Two rules that look like filters and are none, and one that is: "accept while
// any of many orders is within its budget" with and without δ shared among
// the orders, and an exact composition of whatever was chosen.
func TestAdversaryAgainstWrongFilters(t *testing.T) {
	const eps = 16
	var orders []float64
	for i := range 12 {
		orders = append(orders, 1+0.03*math.Exp(0.5*float64(i)))
	}
	// Gaussian steps of μ² = T/40 each, then a flag that some order still admits.
	anyOf := func(delta float64) *plan {
		var usable, limits []float64
		most := 0.0
		for _, alpha := range orders {
			if limit := limitRDP(alpha, eps, delta); limit > 0 {
				usable, limits = append(usable, alpha), append(limits, limit)
				most = max(most, 2*limit/alpha)
			}
		}
		steps := make([]float64, 40)
		last := make([][]move, len(steps)+1)
		for n := range last {
			spent := most * float64(n) / float64(len(steps))
			for i, alpha := range usable {
				left := limits[i] - alpha*spent/2
				if left <= 0 {
					continue
				}
				for _, p := range probabilities() {
					m := highest(p, func(m twoPoint) bool {
						forward, backward := m.rdp(alpha)
						return max(forward, backward) <= left
					})
					if m.high > 0 {
						last[n] = append(last[n], m)
					}
				}
			}
			if n < len(steps) {
				steps[n] = most / float64(len(steps))
			}
		}
		return newPlan(eps, steps, last)
	}
	report := func(name string, seed uint64, p *plan) verdict {
		v := sessions(seed, p.play)
		t.Logf("%s: %v; planned %.5f", name, v, p.value)
		return v
	}
	if v := report("any of 12 orders", 13, anyOf(adversaryDelta)); !v.fails() {
		t.Errorf("any of 12 orders without δ shared is not noticed: %v", v)
	}
	if v := report("any of 12 orders, δ shared", 14, anyOf(adversaryDelta/12)); v.fails() {
		t.Errorf("any of 12 orders with δ shared: %v", v)
	}
	orders = []float64{gaussianOrder(eps, adversaryDelta)}
	if v := report("one order", 15, anyOf(adversaryDelta)); v.fails() || v.mean < 0.8*adversaryDelta {
		t.Errorf("one order: %v", v)
	}

	// After Gaussians of total μ², a step with tiny noise at rate p composes with
	// them to δ = p + (1−p)·δ_μ(ε − log(1−p)), exactly: what a privacy loss
	// distribution of the chosen events would say.
	mu := gaussianMu(eps, adversaryDelta)
	steps := make([]float64, 40)
	last := make([][]move, len(steps)+1)
	for n := range last {
		spent := math.Sqrt(float64(n) / float64(len(steps)))
		p := -bisect(-adversaryDelta, 0, func(p float64) bool {
			return -p+(1+p)*GaussianDelta(mu*spent, eps-math.Log1p(p)) <= adversaryDelta
		})
		if p > 1e-6 {
			last[n] = []move{sampledMove{p, 0.05}}
		}
		if n == len(steps)/2 {
			chosen := Compose(Gaussian(AddRemove, 1/(mu*spent), 1), PoissonGaussian(AddRemove, p, 0.05, 1))
			if delta, _, err := Delta(MethodPLD, chosen, eps); err != nil || math.Abs(delta-adversaryDelta) > 1e-4 {
				t.Errorf("a privacy loss distribution says δ %g, not %g (%v)", delta, adversaryDelta, err)
			}
		}
		if n < len(steps) {
			steps[n] = mu * mu / float64(len(steps))
		}
	}
	if v := report("exact composition of chosen events", 16, newPlan(eps, steps, last)); !v.fails() {
		t.Errorf("exact composition of chosen events is not noticed: %v", v)
	}
}

// The odometer, against an analyst who stops as soon as the loss has passed what it
// shows; and a curve converted at each time, which such an analyst beats.
func TestAdversaryAgainstOdometer(t *testing.T) {
	o := mustOdometer(t, fmt.Sprint(adversaryDelta), "0", nil)
	// Total μ² grows by a tenth a step, from 10⁻⁴ to 10³.
	var steps, shown, converted []float64
	var s OdometerState
	total := 0.0
	for next := 1e-4; next < 1e3; next *= 1.1 {
		mu2 := next - total
		total = next
		steps = append(steps, mu2)
		s = mustAdd(t, o, s, Gaussian(AddRemove, 1/math.Sqrt(mu2), 1))
		shown = append(shown, o.Epsilon(s))
		// The tail bound of the best order in hindsight, valid at one time.
		converted = append(converted, total/2+math.Sqrt(-2*total*math.Log(adversaryDelta)))
	}
	stops := func(seed uint64, shown []float64) verdict {
		return sessions(seed, func(r *rand.Rand) float64 {
			loss := 0.0
			for n, mu2 := range steps {
				loss += mu2/2 + math.Sqrt(mu2)*r.NormFloat64()
				if loss > shown[n] {
					return 1
				}
			}
			return 0
		})
	}
	v := stops(17, shown)
	t.Logf("passed what the odometer shows: %v", v)
	if v.fails() {
		t.Errorf("the odometer is passed with probability %v", v)
	}
	if v.mean == 0 && adversarySessions >= 20_000 {
		t.Error("the odometer is never passed: the adversary is weak")
	}
	c := stops(18, converted)
	t.Logf("passed the converted curve: %v", c)
	if !c.fails() {
		t.Errorf("a converted curve is passed with probability %v only", c)
	}
}
