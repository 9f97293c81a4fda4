package accountant

import (
	"fmt"
	"math"
)

// PLDOptions tune a privacy loss distribution; the zero value is the usual choice.
type PLDOptions struct {
	// Interval is the spacing of the grid of losses, in nats; 0: chosen so that
	// the grid makes ε about 10⁻⁵ too large, relatively.
	Interval float64
}

// Bounds enclose a true value: Lower ≤ value ≤ Upper, both certified.
type Bounds struct {
	Lower, Upper float64
	Interval     float64 // spacing used for Upper; 0 where no grid was needed
}

// PLDEpsilon bounds the least ε at which e is (ε, delta)-DP from both sides.
func PLDEpsilon(e Event, delta float64, o PLDOptions) (Bounds, error) {
	if !(delta >= 0) {
		return Bounds{}, fmt.Errorf("%w: delta must be a number that is not negative", ErrDomain)
	}
	c, err := o.curve(e)
	if err != nil {
		return Bounds{}, err
	}
	upper, h, foci := c.epsilonPLD(delta, o.Interval)
	return Bounds{lowerBound(c.epsilonPLDLow(delta, o.Interval, foci), upper), upper, h}, nil
}

// PLDDelta bounds the least δ at which e is (eps, δ)-DP from both sides.
func PLDDelta(e Event, eps float64, o PLDOptions) (Bounds, error) {
	if !(eps >= 0) {
		return Bounds{}, fmt.Errorf("%w: epsilon must be a number that is not negative", ErrDomain)
	}
	c, err := o.curve(e)
	if err != nil {
		return Bounds{}, err
	}
	upper, h, foci := c.deltaPLD(eps, o.Interval)
	upper = c.withFailures(upper)
	return Bounds{lowerBound(c.deltaPLDLow(eps, o.Interval, foci), upper), upper, h}, nil
}

// lowerBound is low, or 0 where it was lost to overflow.
func lowerBound(low, upper float64) float64 {
	if !(low >= 0) {
		return 0
	}
	return min(low, upper)
}

func (o PLDOptions) curve(e Event) (*curve, error) {
	if o.Interval != 0 && !(o.Interval > 0 && o.Interval <= 1e6) {
		return nil, fmt.Errorf("%w: interval must be positive, or 0", ErrDomain)
	}
	c, err := curveOf(e)
	if err != nil {
		return nil, err
	}
	return c, c.refusePLD()
}

// refusePLD is the error of events that have no privacy loss distribution.
func (c *curve) refusePLD() error {
	if c.zcdp {
		return fmt.Errorf("%w: a zCDP event has no privacy loss distribution; use rdp", ErrUnsupported)
	}
	for _, d := range c.gaussian {
		if d.shift == 0 {
			return fmt.Errorf("%w: a discrete Gaussian has a privacy loss distribution for one coordinate of known sensitivity only; give sensitivity, or use rdp", ErrUnsupported)
		}
	}
	return nil
}

// epsilonPLD is an upper bound on ε, with the spacing that it was found with and
// where.
func (c *curve) epsilonPLD(delta, interval float64) (eps, h float64, foci []focus) {
	plain := math.Inf(1)
	if c.pure {
		plain = c.pureSum.Float64Up()
	}
	delta = c.remainingDelta(delta)
	if delta >= 1 {
		return 0, 0, nil
	}
	if delta == 0 {
		return plain, 0, nil
	}
	ms, fs := c.mechanisms(false)
	if len(fs) == 0 {
		return 0, 0, nil
	}
	if g, q, ok := single(ms, fs); ok {
		// See single; ε′ solves q·δ(ε′) = δ.
		if q == 1 {
			return GaussianEpsilon(g, delta), 0, nil
		}
		inner := GaussianEpsilon(g, down(delta/q, 2))
		return up(math.Log1p(up(q*math.Expm1(inner), 8)), 4), 0, nil
	}
	p := newProblem(ms, fs, interval, false)
	if eps, ok := p.epsilon(delta, nil); ok && eps >= 0 {
		return min(eps, plain), p.h, p.foci
	}
	eps, _ = c.epsilonRDP(delta)
	return min(eps, plain), 0, nil
}

// single reports whether there is but one Gaussian, of mean shift mu, in one step
// sampled at rate q or in any number without sampling. Its profile is
// q·δ(log(1 + (e^ε−1)/q)), δ that of the Gaussian (Balle, Barthe & Gaboardi 2018,
// arXiv:1807.01647, Theorem 8).
func single(ms []pairUse, fs []lossFactor) (mu, q float64, ok bool) {
	if len(fs) != 1 || fs[0].n != 1 {
		return 0, 0, false
	}
	g, ok := ms[0].dominatingPair.(gaussianPair)
	return up(1/g.z, 2), g.q, ok && g.kind != antipodalKind
}

// epsilonPLDLow is a lower bound on ε.
func (c *curve) epsilonPLDLow(delta, interval float64, foci []focus) float64 {
	inf := c.deltaInfDown()
	delta = up(max(0, delta-inf)/(1-inf), 4)
	if delta >= 1 {
		return 0
	}
	if delta == 0 {
		if c.pure {
			return down(c.pureSum.Float64Down(), 4)
		}
		return 0
	}
	ms, fs := c.mechanisms(true)
	if len(fs) == 0 {
		return 0
	}
	if g, q, ok := single(ms, fs); ok {
		g = down(g, 4)
		if q == 1 {
			return gaussianEpsilonDown(g, delta)
		}
		inner := gaussianEpsilonDown(g, min(1, up(delta/q, 2)))
		return down(math.Log1p(down(q*math.Expm1(inner), 8)), 4)
	}
	if eps, ok := newProblem(ms, fs, interval, true).epsilon(delta, foci); ok {
		return eps
	}
	return 0
}

// deltaInfDown is deltaInf, rounded down.
func (c *curve) deltaInfDown() float64 {
	return down(c.deltaInf, 64+16*float64(len(c.response)))
}

// gaussianEpsilonDown is GaussianEpsilon, rounded down.
func gaussianEpsilonDown(mu, delta float64) float64 {
	above := func(eps float64) bool { return logGaussianDeltaDown(mu, eps) > math.Log(delta)*(1-4*ulp) }
	if delta >= 1 || !above(0) {
		return 0
	}
	low, high := 0.0, GaussianEpsilon(mu, delta)
	for range 200 {
		if mid := low + (high-low)/2; above(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// logGaussianDeltaDown is log δ of GaussianDelta, rounded down: the allowances of
// logGaussianDelta, twice.
func logGaussianDeltaDown(mu, eps float64) float64 {
	log := logGaussianDelta(mu, eps)
	a := mu/2 - eps/mu
	slip := 1e-12 + 16*ulp*(math.Abs(log)+a*a+math.Abs(a)*(mu+eps/mu))
	if a > 0 {
		slip *= 1 + math.Exp(-log) // an absolute error of δ there
	}
	return log - 2*slip
}

// deltaPLD is an upper bound on δ but for failures, with the spacing that it was
// found with and where.
func (c *curve) deltaPLD(eps, interval float64) (delta, h float64, foci []focus) {
	ms, fs := c.mechanisms(false)
	if len(fs) == 0 || c.bounded() && c.pureSum.Float64Up() <= eps {
		return 0, 0, nil
	}
	p := newProblem(ms, fs, interval, false)
	if g, q, ok := single(ms, fs); ok {
		delta = GaussianDelta(g, eps)
		if q < 1 {
			delta = min(1, up(q*GaussianDelta(g, down(math.Log1p(down(math.Expm1(eps)/q, 4)), 4)), 2))
		}
	} else if d, ok := p.delta(eps, nil); ok && d >= 0 {
		delta, h, foci = min(1, d), p.h, p.foci
	} else {
		delta, _ = c.deltaRDP(eps)
	}
	return delta, h, foci
}

// deltaPLDLow is a lower bound on δ.
func (c *curve) deltaPLDLow(eps, interval float64, foci []focus) float64 {
	inf := c.deltaInfDown()
	ms, fs := c.mechanisms(true)
	if len(fs) == 0 {
		return inf
	}
	delta := 0.0
	if g, q, ok := single(ms, fs); ok {
		g = down(g, 4)
		if q < 1 {
			eps = up(math.Log1p(up(math.Expm1(eps)/q, 4)), 4)
		}
		delta = down(q*math.Exp(logGaussianDeltaDown(g, eps)), 8)
	} else if d, ok := newProblem(ms, fs, interval, true).delta(eps, foci); ok {
		delta = d
	}
	return down(inf+down((1-inf)*delta, 4), 4)
}

// problem is a composition to be bounded, on a grid to be chosen.
type lossProblem struct {
	mechanisms []pairUse
	factors    []lossFactor
	interval   float64
	low        bool // bound from below
	directions int
	count      float64
	tail       float64 // of one step, left out or taken for infinite
	outlines   [2][]outline
	h          float64
	parts      [2][]lossPoints
	foci       []focus
}

func newProblem(ms []pairUse, fs []lossFactor, interval float64, low bool) *lossProblem {
	p := &lossProblem{mechanisms: ms, factors: fs, interval: interval, low: low, directions: 1}
	for _, m := range ms {
		if !m.symmetric() {
			p.directions = 2
		}
	}
	for _, f := range fs {
		p.count += f.n
	}
	return p
}

// focus is where a direction's profile is wanted: about (ε, δ), and the slope
// −d log δ/dε there.
type focus struct {
	eps, logDelta, slope float64
	heavy                bool // of a tail that no tilt reaches
	idle                 bool // the other direction decides
}

func (p *lossProblem) outline(delta float64) {
	p.tail = max(1e-290, 1e-7*delta/p.count)
	for d := range p.outlines {
		p.outlines[d] = make([]outline, len(p.mechanisms))
	}
	for i, m := range p.mechanisms {
		p.outlines[0][i], p.outlines[1][i] = m.outline(p.tail)
	}
}

// logMGF is about K(θ) of the composition.
func (p *lossProblem) logMGF(d int, theta float64) float64 {
	k := 0.0
	for i, m := range p.mechanisms {
		if m.n > 0 {
			k += m.n * p.outlines[d][i].logMGF(theta)
		}
	}
	return k
}

// peak is log max over x of e^(−θx)·(1 − e^−x).
func peak(theta float64) float64 {
	if theta == 0 {
		return 0
	}
	return -theta*math.Log1p(1/theta) - math.Log1p(theta)
}

const leastTilt, mostTilt = 1.0 / 1024, 1 << 36

// least minimises f over [leastTilt, mostTilt]: a scan, then golden section in log x.
func least(f func(x float64) float64) (x, y float64) {
	best, value := math.NaN(), math.Inf(1)
	rising := 0
	for t := leastTilt; t <= mostTilt && rising < 4; t *= 2 {
		v := f(t)
		if v < value {
			best, value, rising = t, v, 0
		} else if !math.IsInf(value, 1) {
			rising++
		}
	}
	if math.IsInf(value, 1) {
		return 0, value
	}
	const golden = 0.6180339887498949
	a, b := math.Log(best/2), math.Log(best*2)
	u, v := b-golden*(b-a), a+golden*(b-a)
	fu, fv := f(math.Exp(u)), f(math.Exp(v))
	for range 8 {
		if fu <= fv {
			b, v, fv = v, u, fu
			u = b - golden*(b-a)
			fu = f(math.Exp(u))
		} else {
			a, u, fu = u, v, fv
			v = a + golden*(b-a)
			fv = f(math.Exp(v))
		}
	}
	if fu < value {
		best, value = math.Exp(u), fu
	}
	if fv < value {
		best, value = math.Exp(v), fv
	}
	return best, value
}

// guess is a focus by Chernoff's bound, for a given δ, or ε where that is NaN.
func (p *lossProblem) guess(d int, delta, eps float64) (focus, bool) {
	f := focus{eps: eps}
	if math.IsNaN(eps) {
		logDelta := math.Log(delta)
		f.slope, f.eps = least(func(t float64) float64 { return (p.logMGF(d, t) + peak(t) - logDelta) / t })
		if !(f.eps > 0) {
			f, _ = p.guess(d, delta, 0)
			f.eps = 0
		}
		f.logDelta = logDelta
	} else {
		f.slope, f.logDelta = least(func(t float64) float64 { return p.logMGF(d, t) + peak(t) - t*eps })
	}
	for i, m := range p.mechanisms {
		if m.n > 0 {
			f.heavy = f.heavy || p.outlines[d][i].heavy(f.slope)
		}
	}
	return f, !math.IsInf(f.eps, 0) && !math.IsNaN(f.eps+f.logDelta) && f.slope > 0
}

// tilt is the least θ at which rounding stays small beside δ.
func (p *lossProblem) tilt(d int, f focus) float64 {
	noise := math.Log(p.count * 1e-13)
	goal := f.logDelta + math.Log(1e-7)
	best, value := 0.0, noise
	for t := leastTilt; value > goal && t <= mostTilt; t *= 1.5 {
		v := noise + p.logMGF(d, t) + peak(t) - t*f.eps
		if v < value {
			best, value = t, v
		}
		if math.IsInf(v, 1) {
			break
		}
	}
	return best
}

const (
	tolerance = 1e-5 // how much larger the grid may make ε, relatively
	scouting  = 1e-3 // the same, while the focus is still uncertain
)

// weights are how much a little variance at each loss of an outline would
// matter to the profile around f: mass times e^(slope·loss), and less again past
// ε, where a cell's split leaves the profile as it is.
func (o *outline) weights(f focus) []float64 {
	w := make([]float64, len(o.loss))
	edge := f.eps + 2/f.slope
	shift := f.slope * min(edge, o.loss[len(o.loss)-1])
	sum := 0.0
	for i, l := range o.loss {
		w[i] = o.mass[i] * math.Exp(f.slope*min(l, 2*edge-l)-shift)
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	return w
}

// discretise chooses the grid and fills in the parts.
func (p *lossProblem) discretise(foci []focus, tolerance float64) bool {
	n := len(p.mechanisms)
	widths, spread := make([]float64, n), make([]float64, n)
	weights := make([][][]float64, len(foci))
	for d, f := range foci {
		if f.idle {
			continue
		}
		weights[d] = make([][]float64, n)
		for i := range p.mechanisms {
			o := &p.outlines[d][i]
			w := o.weights(f)
			weights[d][i] = w
			mean, square := 0.0, 0.0
			for j, l := range o.loss {
				mean += w[j] * l
				square += w[j] * l * l
			}
			spread[i] = max(spread[i], math.Sqrt(max(square-mean*mean, 1e-12*square, 1e-300)))
		}
	}
	// Atoms: the ones that would cost most get grid points of their own.
	snap := 0.0
	if p.interval == 0 {
		worst := 0.0
		for _, m := range p.mechanisms {
			if s := m.spacing(); s > 0 && m.n*s*s > worst {
				worst, snap = m.n*s*s, s
			}
		}
	}
	// added is about the variance that cells of width w add to mechanism i.
	added := func(d, i int, w float64) float64 {
		o := &p.outlines[d][i]
		exact := snap > 0 && p.mechanisms[i].spacing() == snap
		sum := 0.0
		for j, l := range o.loss {
			v := min(w*w/6, w*math.Abs(l))
			if o.pinned != nil && o.pinned[j] {
				if exact {
					continue
				}
				v = min(w*w/4, w*math.Abs(l))
			}
			sum += weights[d][i][j] * v
		}
		return sum
	}
	h := p.interval
	if h == 0 {
		fits := func(scale float64) bool {
			for d, f := range foci {
				if f.idle {
					continue
				}
				total, variance := 0.0, 0.0
				for i, m := range p.mechanisms {
					if m.n > 0 {
						total += m.n * added(d, i, scale*math.Cbrt(spread[i]/m.n))
						variance += m.n * spread[i] * spread[i]
					}
				}
				if total*(f.slope+1) > 2*tolerance*max(f.eps, math.Sqrt(variance)/16) {
					return false
				}
			}
			return true
		}
		low, high := -60.0, 10.0
		for range 32 {
			mid := (low + high) / 2
			if fits(math.Exp(mid)) {
				low = mid
			} else {
				high = mid
			}
		}
		coarsest := math.Inf(1)
		for _, f := range foci {
			if !f.idle {
				coarsest = min(coarsest, 0.25/(f.slope+1))
				if f.eps > 0 {
					coarsest = min(coarsest, f.eps/8)
				}
			}
		}
		h = math.Inf(1)
		for i, m := range p.mechanisms {
			if m.n > 0 {
				widths[i] = min(math.Exp(low)*math.Cbrt(spread[i]/m.n), coarsest)
				h = min(h, widths[i])
			}
		}
		if snap > 0 && fits(1e9) {
			h = snap // nothing but those atoms
		}
		switch {
		case snap < h/8:
			h = roundBits(h, false)
		case p.low:
			h = roundBits(snap/math.Ceil(snap/h)*(1-4*ulp), false)
		default:
			h = roundBits(snap/math.Ceil(snap/h)*(1+4*ulp), true)
		}
	} else {
		h = roundBits(h, false)
		for i := range widths {
			widths[i] = h
		}
	}
	if !(h > 1e-290) || !(h <= 1e6) {
		return false
	}
	p.h = h
	steepest := 0.0
	for _, f := range foci {
		if !f.idle {
			steepest = max(steepest, f.slope)
		}
	}
	for d := range p.parts {
		p.parts[d] = make([]lossPoints, n)
	}
	for i, m := range p.mechanisms {
		if m.n == 0 {
			p.parts[0][i] = lossPoints{[]int64{0}, []float64{1}, 0}
			p.parts[1][i] = p.parts[0][i]
			continue
		}
		g := &lattice{h: h, width: 1, most: 0.25 / (steepest + 1)}
		for g.width < 1<<30 && float64(2*g.width)*h <= widths[i] {
			g.width *= 2
		}
		for d, f := range foci {
			if f.idle {
				continue
			}
			loss, mass := p.outlines[d][i].loss, weights[d][i]
			if d == 1 && !m.symmetric() {
				loss, mass = reversed(loss, -1), reversed(mass, 1)
			}
			g.beyond = append(g.beyond, newTailMass(loss, mass))
		}
		f, b := m.cells(g, p.tail, p.low)
		if f == nil {
			return false
		}
		if b == nil {
			b = f
		}
		for d, l := range []*lossCells{f, b} {
			switch {
			case d == len(foci) || foci[d].idle:
			case d == 1 && b == f && !foci[0].idle:
				p.parts[1][i] = p.parts[0][i]
			default:
				p.parts[d][i] = p.settle(l, g)
			}
		}
	}
	return true
}

func (p *lossProblem) settle(l *lossCells, g *lattice) lossPoints {
	if p.low {
		return l.low(g)
	}
	return l.high()
}

func reversed(x []float64, sign float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[len(x)-1-i] = sign * v
	}
	return y
}

// roundBits keeps 20 significant bits of x > 0.
func roundBits(x float64, up bool) float64 {
	f, e := math.Frexp(x)
	f *= 1 << 20
	if up {
		f = math.Ceil(f)
	} else {
		f = math.Floor(f)
	}
	return math.Ldexp(f, e-20)
}

// compose looks at direction d around f, with a window that reaches lower by so
// much.
func (p *lossProblem) compose(d int, f focus, reach float64) *lossSeries {
	theta := p.tilt(d, f)
	// What lies above the window may appear with a weight of up to
	// e^(K(θ+s) − s·high − θε + peak(θ)); below it, up to e^(K(−s) + s·low − θ·size).
	logTail := f.logDelta - 16
	high, over := math.Inf(1), 1.0
	for s := leastTilt; s <= mostTilt; s *= 1.25 {
		k := p.logMGF(d, theta+s)
		if math.IsInf(k, 1) {
			break
		}
		if x := (k - theta*f.eps + peak(theta) - logTail) / s; x < high {
			high, over = x, theta+s
		}
	}
	if math.IsInf(high, 1) {
		return nil
	}
	high = max(high, f.eps)
	low, under := math.Inf(-1), -1.0
	for s := leastTilt; s <= mostTilt; s *= 1.25 {
		k := p.logMGF(d, -s)
		if math.IsInf(k, 1) {
			break
		}
		if x := (logTail + theta*high - k) / (s + theta); x > low {
			low, under = x, -s
		}
	}
	if math.IsInf(low, -1) {
		return nil
	}
	low = min(low, f.eps-reach)
	hi, lo := math.Ceil(high/p.h)+2, math.Floor(low/p.h)-2
	if !(math.Abs(hi) < 1<<30 && math.Abs(lo) < 1<<30) {
		return nil
	}
	w := lossWindow{int64(lo), int64(hi)}
	w.low = w.high - niceSize(w.high-w.low)
	return convolve(lossProduct{factors: p.factors, parts: p.parts[d], h: p.h, theta: theta,
		win: w, over: over, under: under, dominated: p.low})
}

// niceSize is the least 2^a, 3·2^a or 5·2^a from n on.
func niceSize(n int64) int64 {
	best := int64(1) << 40
	for _, m := range []int64{4, 3, 5} {
		for m < n {
			m *= 2
		}
		best = min(best, m)
	}
	return best
}

// epsilon bounds ε at δ = delta, 0 < delta < 1. The foci of an earlier problem
// save the search for them.
func (p *lossProblem) epsilon(delta float64, foci []focus) (float64, bool) {
	p.outline(delta)
	precision := tolerance
	if foci == nil {
		foci = make([]focus, p.directions)
		for d := range foci {
			var ok bool
			if foci[d], ok = p.guess(d, delta, math.NaN()); !ok {
				return 0, false
			}
			if foci[d].heavy {
				precision = scouting
			}
		}
	}
	p.foci = foci
	// Every round is a bound; only the direction that decides deserves another.
	best := make([]float64, len(foci))
	for d := range best {
		if !p.low {
			best[d] = math.Inf(1)
		}
	}
	for round := 0; ; round++ {
		if !p.discretise(foci, precision) {
			return 0, false
		}
		settled := make([]bool, len(foci))
		for d, f := range foci {
			if f.idle {
				continue
			}
			eps, slope, ok := p.solve(d, f, delta)
			if !ok {
				return 0, false
			}
			settled[d] = eps >= 0.7*f.eps
			if p.low {
				best[d] = max(best[d], eps)
			} else {
				best[d] = min(best[d], eps)
			}
			foci[d].eps = eps
			if slope > 0 {
				foci[d].slope = slope
			}
		}
		d := 0
		if len(best) > 1 && best[1] > best[0] {
			d = 1
		}
		if p.low || p.interval > 0 || settled[d] && precision == tolerance || round > 9 {
			return best[d], true
		}
		if settled[d] {
			precision = tolerance
		}
		for i := range foci {
			foci[i].idle = i != d
		}
	}
}

// delta bounds δ at ε = eps, finite.
func (p *lossProblem) delta(eps float64, foci []focus) (float64, bool) {
	precision := tolerance
	if foci == nil {
		p.outline(1e-10)
		foci = make([]focus, p.directions)
		for d := range foci {
			var ok bool
			if foci[d], ok = p.guess(d, 0, eps); !ok {
				return 0, false
			}
			precision = scouting
		}
	}
	p.foci = foci
	best := make([]float64, len(foci))
	for d := range best {
		if !p.low {
			best[d] = 1
		}
	}
	for round := 0; ; round++ {
		log := math.Inf(-1)
		for _, f := range foci {
			if !f.idle {
				log = max(log, f.logDelta)
			}
		}
		if log < -650 {
			return 0, false
		}
		p.outline(math.Exp(log))
		if !p.discretise(foci, precision) {
			return 0, false
		}
		settled := make([]bool, len(foci))
		for d, f := range foci {
			if f.idle {
				continue
			}
			c := p.compose(d, f, 1/f.slope)
			if c == nil {
				return 0, false
			}
			delta, slope, ok := c.at(eps)
			if !ok {
				return 0, false
			}
			if p.low {
				best[d] = max(best[d], delta)
			} else {
				best[d] = min(best[d], delta)
			}
			if delta > 0 {
				settled[d] = math.Log(delta) > f.logDelta-1
				foci[d].logDelta = min(0, math.Log(delta))
			}
			if slope > 0 {
				foci[d].slope = slope
			}
		}
		d := 0
		if len(best) > 1 && best[1] > best[0] {
			d = 1
		}
		if p.low || p.interval > 0 && settled[d] || settled[d] && precision == tolerance || round > 9 {
			return best[d], true
		}
		if settled[d] {
			precision = tolerance
		}
		for i := range foci {
			foci[i].idle = i != d
		}
	}
}

// at is δ(eps), and −d log δ/dε there.
func (c *lossSeries) at(eps float64) (delta, slope float64, ok bool) {
	e := math.Floor(eps / c.h)
	if !(e > float64(c.win.low) && e < float64(c.win.high-1)) {
		return 0, 0, false
	}
	a, b := c.delta(int64(e)), c.delta(int64(e)+1)
	slope = math.Log(a/b) / c.h
	// A chord in e^ε.
	t := min(1, math.Expm1(eps-e*c.h)/math.Expm1(c.h))
	delta = a + (b-a)*t
	if c.dominated {
		return max(0, delta-16*ulp*a), slope, true
	}
	return delta + 16*ulp*a, slope, true
}

func (p *lossProblem) solve(d int, f focus, delta float64) (eps, slope float64, ok bool) {
	reach := 1 / f.slope
	for range 8 {
		c := p.compose(d, f, reach)
		if c == nil {
			return 0, 0, false
		}
		eps, slope, ok, again := c.epsilon(delta, f.eps)
		if !again {
			return eps, slope, ok
		}
		reach += c.h * float64(c.size)
	}
	return 0, 0, false
}

// epsilon solves δ(ε) = delta; again asks for a window that reaches lower.
func (c *lossSeries) epsilon(delta, guess float64) (eps, slope float64, ok, again bool) {
	bottom, top := max(0, c.win.low), c.win.high-1
	if top < 0 {
		return 0, 0, true, false
	}
	// Gallop from the guess to both sides of the root.
	at := min(max(int64(guess/c.h), bottom), top)
	low, high := int64(-1), int64(-1)
	var dLow, dHigh float64
	for step := max(1, int64(guess/c.h/64)); low < 0 || high < 0; step *= 2 {
		if d := c.delta(at); d <= delta {
			high, dHigh = at, d
			if at == bottom {
				return 0, 0, true, bottom > 0
			}
			at = max(at-step, bottom)
		} else {
			low, dLow = at, d
			if at == top {
				return 0, 0, false, false
			}
			at = min(at+step, top)
		}
	}
	// Secant on log δ (Illinois), which ends on both sides of the root.
	log := func(d float64) float64 { return max(-800, math.Log(d/delta)) }
	fLow, fHigh := log(dLow), log(dHigh)
	moved := 0
	for i := int64(0); high-low > 1; i++ {
		at = low + (high-low)/2
		if s := float64(high-low) * fLow / (fLow - fHigh); s > 0 && i < 40 {
			at = low + int64(s) + i%2
		}
		at = min(max(at, low+1), high-1)
		if d := c.delta(at); d <= delta {
			high, dHigh, fHigh = at, d, log(d)
			if moved > 0 {
				fLow /= 2
			}
			moved = 1
		} else {
			low, dLow, fLow = at, d, log(d)
			if moved < 0 {
				fHigh /= 2
			}
			moved = -1
		}
	}
	// Between grid points δ is a chord in e^ε.
	part := (dLow - delta) / (dLow - dHigh) * math.Expm1(c.h)
	eps = c.h*float64(low) + math.Log1p(part)
	slope = math.Log(dLow/dHigh) / c.h
	slip := 16 * ulp * (math.Abs(eps) + c.h)
	if c.dominated {
		return max(0, eps-slip), slope, true, false
	}
	return eps + slip, slope, true, false
}
