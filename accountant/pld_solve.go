package accountant

import "math"

// lossProblem is a composition to be bounded, on a grid to be chosen. Nothing that
// is estimated on the way can make the result unsound: a bad choice only costs
// time, or precision.
type lossProblem struct {
	mechanisms []pairUse
	factors    []lossFactor
	interval   float64 // 0: to be chosen
	low        bool    // bound from below
	atEpsilon  bool    // δ is wanted, not ε
	count      float64 // of all steps

	tail     float64      // of one step, left out or taken for infinite
	outlines [2][]outline // forward, backward
	foci     []focus      // one for each direction
	h        float64
	parts    [2][]lossPoints
	large    bool // the last composition was refused for its size
}

// focus is where a direction's profile is wanted: about (ε, δ), and the slope
// −d log δ/dε there.
type focus struct {
	eps, logDelta, slope float64
	heavy                bool // of a tail that no tilt reaches
	idle                 bool // the other direction decides
}

func newProblem(u *pairUses, interval float64) *lossProblem {
	p := &lossProblem{mechanisms: u.pairs, factors: u.factors, interval: interval, low: u.low}
	for _, f := range u.factors {
		p.count += f.n
	}
	return p
}

func (p *lossProblem) directions() int {
	for _, m := range p.mechanisms {
		if !m.symmetric() {
			return 2
		}
	}
	return 1
}

const (
	tolerance = 1e-5 // how much larger the grid may make ε, relatively
	scouting  = 1e-3 // the same, while the focus is still uncertain
	mostRound = 8
)

// precision is the tolerance to work with. Bounds from below lose more by a grid.
func (p *lossProblem) precision() float64 {
	if p.low {
		return tolerance / 4
	}
	return tolerance
}

// epsilon bounds ε at δ = delta, 0 < delta < 1. The foci of an earlier problem
// save the search for them.
func (p *lossProblem) epsilon(delta float64, foci []focus) (float64, bool) {
	if !p.low {
		// The union bound, where it is enough.
		variations := make([]float64, len(p.factors))
		for i, f := range p.factors {
			a, b := p.mechanisms[f.first].variation(), p.mechanisms[f.second].variation()
			variations[i] = f.n * max(a, b)
		}
		if up(sum(variations), 4) <= delta {
			return 0, true
		}
	}
	p.sketch(delta)
	ok := p.aim(foci, func(d int) (focus, bool) { return p.guessEpsilon(d, math.Log(delta)) })
	if !ok {
		return 0, false
	}
	// What a direction can come to at most bounds it, and often that is little.
	best := make([]float64, len(p.foci))
	for d := range best {
		if !p.low {
			best[d] = p.ceiling(d)
			p.foci[d].idle = d > 0 && best[d] < p.foci[0].eps/2
		}
	}
	return p.refine(best, func(d int) (eps float64, settled, ok bool) {
		f := &p.foci[d]
		found, ok := p.solve(d, *f, delta)
		if !ok {
			return 0, false, false
		}
		settled = found.value >= 0.7*f.eps && found.quiet(*f, delta)
		leaps := p.leaps(d, *f)
		f.eps = found.value
		p.incline(d, found.slope)
		return found.value, settled && (leaps || !p.leaps(d, *f)), true
	})
}

// delta bounds δ at ε = eps, finite.
func (p *lossProblem) delta(eps float64, foci []focus) (float64, bool) {
	p.atEpsilon = true
	p.sketch(1e-10)
	if !p.aim(foci, func(d int) (focus, bool) { return p.guessDelta(d, eps) }) {
		return 0, false
	}
	// The smaller of two directions need not be known to its last digit.
	deepest := math.Inf(-1)
	for _, f := range p.foci {
		deepest = max(deepest, f.logDelta)
	}
	for d := range p.foci {
		f := &p.foci[d]
		f.logDelta = max(f.logDelta, deepest-20)
		p.incline(d, f.slope)
	}
	best := make([]float64, len(p.foci))
	nothing := !p.low
	for d := range best {
		switch {
		case p.low:
		case p.ceiling(d) <= eps:
			p.foci[d].idle = true
		default:
			best[d], nothing = 1, false
		}
	}
	if nothing {
		return 0, true
	}
	return p.refine(best, func(d int) (delta float64, settled, ok bool) {
		f := &p.foci[d]
		c := p.compose(d, *f, 1/f.slope)
		if c == nil {
			return 0, false, false
		}
		found, ok := c.at(eps)
		if !ok {
			return 0, false, false
		}
		if found.value > 0 {
			log := min(0, math.Log(found.value))
			settled = log > f.logDelta-1 && found.quiet(*f, found.value)
			leaps := p.leaps(d, *f)
			f.logDelta = log
			p.incline(d, found.slope)
			settled = settled && (leaps || !p.leaps(d, *f))
		}
		return found.value, settled, true
	})
}

// aim sets the foci: those given, or guesses.
func (p *lossProblem) aim(foci []focus, guess func(d int) (focus, bool)) bool {
	if p.foci = foci; len(foci) == p.directions() {
		return true
	}
	p.foci = make([]focus, p.directions())
	for d := range p.foci {
		var ok bool
		if p.foci[d], ok = guess(d); !ok {
			return false
		}
	}
	return true
}

// ceiling is the greatest loss of direction d, rounded up.
func (p *lossProblem) ceiling(d int) float64 {
	greatest := func(m dominatingPair) float64 {
		switch m := m.(type) {
		case gaussianPair:
			if m.kind == sampledKind && d == 1 {
				return up(-math.Log1p(-m.q), 2)
			}
		case laplacePair:
			return m.eps
		case responsePair:
			return m.eps
		case discreteLaplacePair:
			return m.eps
		}
		return math.Inf(1)
	}
	total := 0.0
	for _, f := range p.factors {
		total = addUp(total, up(f.n*max(greatest(p.mechanisms[f.first].dominatingPair), greatest(p.mechanisms[f.second].dominatingPair)), 2))
	}
	return total
}

// refine improves on bounds of both directions until they settle, first on a coarse
// grid where the foci are but a guess. Every answer is a bound, so that the best
// counts; and of the two directions only the greater one deserves another round.
func (p *lossProblem) refine(best []float64, bound func(d int) (value float64, settled, ok bool)) (float64, bool) {
	precision := p.precision()
	for _, f := range p.foci {
		if f.heavy && !f.idle && !p.low {
			precision = scouting
		}
	}
	greatest := func() (d int, value float64) {
		if len(best) > 1 && best[1] > best[0] {
			d = 1
		}
		return d, best[d]
	}
	known := func(value float64, round int) bool {
		switch {
		case p.low:
			return value > 0
		case p.atEpsilon:
			return round > 0
		}
		return !math.IsInf(value, 1)
	}
	for round := range mostRound {
		settled, ok := p.attempt(precision, best, bound)
		d, value := greatest()
		if !ok {
			return value, known(value, round)
		}
		if p.low || value == 0 || !p.foci[d].idle && (p.interval > 0 || settled[d] && precision == p.precision()) {
			break
		}
		if settled[d] {
			precision = p.precision()
		}
		for i := range p.foci {
			p.foci[i].idle = i != d
		}
	}
	_, value := greatest()
	return value, true
}

// attempt is one round: it improves best, on the finest grid that is not too much
// work.
func (p *lossProblem) attempt(precision float64, best []float64, bound func(d int) (value float64, settled, ok bool)) (settled []bool, ok bool) {
	deepest := math.Inf(-1)
	for _, f := range p.foci {
		if !f.idle {
			deepest = max(deepest, f.logDelta)
		}
	}
	if !(deepest > -650) {
		return nil, false
	}
	p.sketch(math.Exp(deepest))
	settled = make([]bool, len(p.foci))
	for coarser := 1.0; coarser <= 1<<16; coarser *= 4 {
		p.large = false
		ok := p.discretise(precision, coarser)
		for d := 0; d < len(p.foci) && ok; d++ {
			if p.foci[d].idle {
				continue
			}
			var value float64
			if value, settled[d], ok = bound(d); !ok {
				break
			}
			if p.low {
				best[d] = max(best[d], value)
			} else {
				best[d] = min(best[d], value)
			}
		}
		if ok {
			return settled, true
		}
		if p.interval > 0 || !p.large {
			break
		}
	}
	return nil, false
}

// solve bounds ε in direction d.
func (p *lossProblem) solve(d int, f focus, delta float64) (point, bool) {
	down := 1 / f.slope
	for range 8 {
		c := p.compose(d, f, down)
		if c == nil {
			return point{}, false
		}
		found, ok, again := c.epsilon(delta, f.eps)
		if !again {
			return found, ok
		}
		down += c.h * float64(c.size)
	}
	return point{}, false
}

// incline takes over a slope that was found.
func (p *lossProblem) incline(d int, slope float64) {
	if slope > 0 {
		p.foci[d].slope = p.slope(d, p.foci[d], slope)
	}
}

// slope keeps a slope within reason: at the greatest possible loss it has no bound.
func (p *lossProblem) slope(d int, f focus, slope float64) float64 {
	scale := p.usual(d)
	if f.eps > 0 {
		scale = min(scale, f.eps)
	}
	return min(slope, 16*(1-f.logDelta)/scale)
}

// usual is the standard deviation of the composed loss.
func (p *lossProblem) usual(d int) float64 {
	variance := 0.0
	for i, m := range p.mechanisms {
		if m.n > 0 {
			s := p.outlines[d][i].spread(p.outlines[d][i].mass)
			variance += m.n * s * s
		}
	}
	return math.Sqrt(variance)
}

// sketch makes the outlines, cut off for a δ of that size.
func (p *lossProblem) sketch(delta float64) {
	tail := max(1e-290, 1e-7*delta/p.count)
	if tail == p.tail {
		return
	}
	p.tail = tail
	for d := range p.outlines {
		p.outlines[d] = make([]outline, len(p.mechanisms))
	}
	for i, m := range p.mechanisms {
		p.outlines[0][i], p.outlines[1][i] = m.outline(tail)
		p.outlines[0][i].trim()
		p.outlines[1][i].trim()
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

// guessEpsilon is a focus by Chernoff's bound for a given δ, guessDelta for a
// given ε.
func (p *lossProblem) guessEpsilon(d int, logDelta float64) (focus, bool) {
	f := focus{logDelta: logDelta}
	f.slope, f.eps = least(mostTilt, func(t float64) float64 { return (p.logMGF(d, t) + peak(t) - logDelta) / t })
	if !(f.eps > 0) {
		f, _ = p.guessDelta(d, 0)
		f.logDelta = logDelta
	}
	return p.weigh(d, f)
}

func (p *lossProblem) guessDelta(d int, eps float64) (focus, bool) {
	f := focus{eps: eps}
	f.slope, f.logDelta = least(mostTilt, func(t float64) float64 { return p.logMGF(d, t) + peak(t) - t*eps })
	f, ok := p.weigh(d, f)
	f.heavy = true // as δ decides how far the tails are looked at
	return f, ok
}

func (p *lossProblem) weigh(d int, f focus) (focus, bool) {
	f.slope = p.slope(d, f, f.slope)
	for i, m := range p.mechanisms {
		if m.n > 0 && p.outlines[d][i].heavy(f.slope) {
			f.heavy = true
		}
	}
	return f, f.slope > 0 && !math.IsInf(f.eps, 0) && !math.IsNaN(f.eps+f.logDelta)
}

// peak is log max over x of e^(−θx)·(1 − e^−x).
func peak(theta float64) float64 {
	if theta == 0 {
		return 0
	}
	return -theta*math.Log1p(1/theta) - math.Log1p(theta)
}

// leaps reports whether δ is owed to single steps that lose nearly all of ε: the other
// steps need do nothing unlikely, and Chernoff's bound is far off. Below leastLeap the
// finer grid would take too long.
func (p *lossProblem) leaps(d int, f focus) bool {
	return f.eps >= max(leastLeap, farLeap*p.usual(d)) && p.logMGF(d, f.slope)+peak(f.slope)-f.slope*f.eps > f.logDelta+chernoffGap
}

const (
	chernoffGap = 5
	leastLeap   = 0.25
	farLeap     = 8 // standard deviations
)

// leap is about the log of the share of δ that is owed to a step that has lost l, for
// one such loss. Where single steps lose nearly all of ε, no one tilt tells it. With
// x = ε − l, what is left to the others,
//
//	log(Σ P[L > y] + min over θ of e^(K_y(θ) − θx)) − log δ,   K_y that of losses ≤ y,
//
// at the y that does best. nil where one tilt tells enough.
func (p *lossProblem) leap(d int, f focus) func(l float64) float64 {
	if !p.leaps(d, f) {
		return nil
	}
	const levels, tilts = 20, 16
	var beyond [levels]float64
	var theta [tilts]float64
	var k [levels][tilts]float64
	for j := range theta {
		theta[j] = math.Ldexp(f.slope, j-8)
	}
	scale := f.eps + 1/f.slope
	for i, m := range p.mechanisms {
		if m.n == 0 {
			continue
		}
		o := &p.outlines[d][i]
		level, total := 0, 0.0
		var sums [tilts]float64
		settle := func() {
			beyond[level] -= m.n * total
			for j, s := range sums {
				k[level][j] += m.n * math.Log1p(s)
			}
			level++
		}
		for a, l := range o.loss {
			for level < levels && l > math.Ldexp(scale, level/2-levels/2+1)*(1+0.5*float64(level%2)) {
				settle()
			}
			if level == levels {
				break
			}
			total += o.mass[a]
			for j, t := range theta {
				sums[j] += o.mass[a] * (math.Expm1(t*l) + t*math.Expm1(-l))
			}
		}
		for level < levels {
			settle()
		}
		for i := range beyond {
			all := 0.0
			for _, v := range o.mass {
				all += v
			}
			beyond[i] += m.n * all
		}
	}
	return func(l float64) float64 {
		best := 1.0
		for i, tail := range beyond {
			log := 0.0
			for j, t := range theta {
				if v := k[i][j] - t*(f.eps-l); v < log {
					log = v
				}
			}
			best = min(best, max(0, tail)+math.Exp(log))
		}
		return math.Log(best) - f.logDelta
	}
}

const leastTilt, mostTilt = 1.0 / 1024, 1 << 36

// least minimises f over [leastTilt, most]: a scan, then golden section in log x.
// x is 0 where f is nowhere finite.
func least(most float64, f func(x float64) float64) (x, y float64) {
	best, value := 0.0, math.Inf(1)
	rising := 0
	for t := leastTilt; t <= most && rising < 3; t *= 2 {
		v := f(t)
		if v < value {
			best, value, rising = t, v, 0
		} else if best > 0 {
			rising++
		}
	}
	if best == 0 {
		return best, value
	}
	const golden = 0.6180339887498949
	a, b := math.Log(best/2), math.Log(best*2)
	u, v := b-golden*(b-a), a+golden*(b-a)
	fu, fv := f(math.Exp(u)), f(math.Exp(v))
	for range 5 {
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

// noise is about the log of what rounding adds to δ at tilt θ.
func (p *lossProblem) noise(d int, f focus, theta float64) float64 {
	if theta == 0 {
		return math.Log(p.count * 5e-14)
	}
	return math.Log(p.count*5e-14) + p.logMGF(d, theta) + peak(theta) - theta*f.eps
}

// tilt is the least θ at which rounding stays small beside δ, or else the one where
// it is smallest.
func (p *lossProblem) tilt(d int, f focus) (theta, noise, goal float64) {
	goal = f.logDelta + math.Log(tolerance/2*max(1, f.slope*f.eps))
	noise = p.noise(d, f, 0)
	for t := leastTilt; noise > goal && t <= mostTilt; t *= 1.5 {
		v := p.noise(d, f, t)
		if v < noise {
			theta, noise = t, v
		}
		if math.IsInf(v, 1) {
			break
		}
	}
	return theta, noise, goal
}

// discretise chooses the grid, then makes it so much coarser, and fills in the
// parts.
func (p *lossProblem) discretise(precision, coarser float64) bool {
	n := len(p.mechanisms)
	var weights [2][][]float64
	steepest := 0.0
	for d, f := range p.foci {
		if f.idle {
			continue
		}
		steepest = max(steepest, f.slope)
		weights[d] = make([][]float64, n)
		leap := p.leap(d, f)
		for i := range p.mechanisms {
			weights[d][i] = p.outlines[d][i].weights(f, leap)
		}
	}
	widths := make([]int64, n)
	if p.interval > 0 {
		p.h = roundBits(p.interval, false)
		for i := range widths {
			widths[i] = 1
		}
	} else {
		p.space(weights, widths, precision, coarser)
	}
	if !(p.h > 1e-290) || !(p.h <= 1e6) {
		return false
	}
	for d := range p.parts {
		p.parts[d] = make([]lossPoints, n)
	}
	for i, m := range p.mechanisms {
		if m.n == 0 {
			p.parts[0][i] = lossPoints{at: []int64{0}, mass: []float64{1}}
			p.parts[1][i] = p.parts[0][i]
			continue
		}
		g := &lattice{h: p.h, width: widths[i], most: 0.25 / (steepest + 1), share: tailShare}
		if p.interval > 0 {
			g.share /= 8
		}
		for d, f := range p.foci {
			if f.idle {
				continue
			}
			loss, mass := p.outlines[d][i].loss, weights[d][i]
			if d == 1 && !m.symmetric() {
				loss, mass = reversed(loss, -1), reversed(mass, 1)
			}
			g.beyond = append(g.beyond, newTailMass(loss, mass))
		}
		forward, backward := m.cells(g, p.tail, p.low)
		if forward == nil {
			p.large = g.crowded
			return false
		}
		if backward == nil {
			backward = forward
		}
		for d, l := range []*lossCells{forward, backward} {
			switch {
			case d == len(p.foci) || p.foci[d].idle:
			case d == 1 && backward == forward && !p.foci[0].idle:
				p.parts[1][i] = p.parts[0][i]
			case p.low:
				p.parts[d][i] = l.low(g)
			default:
				p.parts[d][i] = l.high()
			}
		}
	}
	return true
}

// space sets h to the largest for which the variance that it adds, all told, makes
// ε larger by precision: by (slope+1)/2 times that variance. A mechanism that
// would have a great many cells gets wider ones where that adds little.
func (p *lossProblem) space(weights [2][][]float64, widths []int64, precision, coarser float64) {
	// The atoms that would cost most get grid points of their own.
	snap, worst := 0.0, 0.0
	for _, m := range p.mechanisms {
		if s := m.spacing(); s > 0 && m.n*s*s > worst {
			worst, snap = m.n*s*s, s
		}
	}
	coarsest := math.Inf(1)
	var room, most [2]float64
	spread := make([]float64, len(p.mechanisms))
	for d, f := range p.foci {
		if f.idle {
			continue
		}
		variance := 0.0
		for i, m := range p.mechanisms {
			s := p.outlines[d][i].spread(weights[d][i])
			spread[i] = max(spread[i], s)
			variance += m.n * s * s
		}
		most[d] = max(f.eps, math.Sqrt(variance)/16, 1e-3)
		if p.atEpsilon {
			most[d] = max(most[d], 10/f.slope) // for δ to 10⁻⁴
		}
		room[d] = 2 * precision * most[d] / (f.slope + 1)
		coarsest = min(coarsest, 0.25/(f.slope+1))
		if f.eps > 0 {
			coarsest = min(coarsest, f.eps/8)
		}
	}
	added := func(d, i int, w float64) float64 {
		m, o := &p.mechanisms[i], &p.outlines[d][i]
		v := o.added(weights[d][i], w, snap > 0 && m.spacing() == snap)
		return m.n * v
	}
	fits := func(h float64) bool {
		for d, f := range p.foci {
			if f.idle {
				continue
			}
			total := 0.0
			for i, m := range p.mechanisms {
				if m.n > 0 {
					total += added(d, i, h)
				}
			}
			if total > room[d] {
				return false
			}
		}
		return true
	}
	widest := func() float64 {
		if fits(coarsest) {
			return coarsest
		}
		a, b := 0.0, 1.0 // −log₂ of h/coarsest
		for !fits(coarsest*math.Exp2(-b)) && b < 1000 {
			a, b = b, 2*b
		}
		for b-a > 0.02 {
			if mid := (a + b) / 2; fits(coarsest * math.Exp2(-mid)) {
				b = mid
			} else {
				a = mid
			}
		}
		return coarsest * math.Exp2(-b)
	}
	h := widest()
	if snap > 0 && fits(1e9) {
		h = snap // nothing but those atoms
	}
	if snap < h/32 { // too close together for points of their own
		snap = 0
		h = widest()
	}
	h *= coarser
	switch {
	case snap == 0:
		h = roundBits(h, false)
	case p.low:
		h = roundBits(snap/math.Ceil(snap/h)*(1-4*ulp), false)
	default:
		h = roundBits(snap/math.Ceil(snap/h)*(1+4*ulp), true)
	}
	p.h = h
	for i, m := range p.mechanisms {
		widths[i] = 1
		cheap := func(w float64) bool {
			for d, f := range p.foci {
				if !f.idle && added(d, i, w) > room[d]/float64(16*len(p.mechanisms)) {
					return false
				}
			}
			return true
		}
		for m.n > 0 && 6*spread[i]/(float64(widths[i])*h) > 4096 && cheap(float64(2*widths[i])*h) {
			widths[i] *= 2
		}
	}
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

// farOff is −log of the share of δ that the tails outside a window should have.
const farOff = 15.0

// compose looks at direction d around f, in a window that reaches down from ε by at
// least so much.
func (p *lossProblem) compose(d int, f focus, down float64) *lossSeries {
	theta, noise, goal := p.tilt(d, f)
	v, ok := p.view(d, f, theta)
	// A tail that decays slowly grows under the tilt: try less of it.
	for t := theta / 1.5; t > leastTilt && ok && max(noise, p.noise(d, f, t)) < max(noise, goal)+2; t /= 1.5 {
		w, ok := p.view(d, f, t)
		if !ok || w.high-w.low > 0.8*(v.high-v.low) {
			break
		}
		v = w
	}
	if !ok {
		return nil
	}
	v.low = min(v.low, f.eps-down)
	for range 8 {
		hi, lo := math.Ceil(v.high/p.h)+2, math.Floor(v.low/p.h)-2
		if !(math.Abs(hi) < 1<<30 && math.Abs(lo) < 1<<30) {
			p.large = true
			return nil
		}
		w := lossWindow{int64(lo), int64(hi)}
		w.low = w.high - niceSize(w.high-w.low)
		c := newSeries(lossProduct{factors: p.factors, parts: p.parts[d], h: p.h, theta: v.theta,
			win: w, over: v.over, under: v.under, dominated: p.low})
		if c == nil {
			return nil
		}
		// The outline may have been too rough for the window.
		limit := f.logDelta - farOff/2
		above := max(c.logAbove, c.logTilted-c.theta*f.eps+peak(c.theta)) - limit
		beneath := c.logBeneath - limit
		if !(above > 0 || beneath > 0) {
			if !c.transform() {
				p.large = true
				return nil
			}
			return c
		}
		if above > 0 {
			v.high += (above + farOff/2) / (c.over - c.theta)
		}
		if beneath > 0 {
			more := (beneath + farOff/2) / (c.theta - c.under)
			if more < p.h { // such an order only tells how wide the cells are
				more, v.under = p.h, v.under/4
			}
			v.low -= more
		}
	}
	return nil
}

// view is a tilt, the losses that matter with it, and the orders of the Chernoff
// bounds that say so.
type view struct{ theta, low, high, under, over float64 }

// view finds the window. What lies above it may appear with a weight of up to
// e^(K(θ+s) − s·high − θε + peak(θ)), and is missing with e^(K(θ+s) − (θ+s)·high); what
// lies below may appear with up to e^(K(−s) + s·low − θ·size).
func (p *lossProblem) view(d int, f focus, theta float64) (view, bool) {
	logTail := f.logDelta - farOff
	// At greater orders the width of cells in the tails would tell.
	most := 32 * (f.slope + 1)
	over, high := least(most, func(s float64) float64 {
		k := p.logMGF(d, theta+s) - logTail
		return max((k-theta*f.eps+peak(theta))/s, k/(theta+s))
	})
	high = max(high, f.eps+1/f.slope)
	under, low := least(most, func(s float64) float64 {
		return (p.logMGF(d, -s) - logTail - theta*high) / (s + theta)
	})
	return view{theta, -low, high, -under, over + theta}, over > 0 && under > 0
}

// niceSize is the least 2^a, 3·2^a or 5·2^a from n on, a ≥ 2.
func niceSize(n int64) int64 {
	best := int64(1) << 40
	for _, m := range []int64{16, 12, 20} {
		for m < n {
			m *= 2
		}
		best = min(best, m)
	}
	return best
}

// point is a point of a profile: ε or δ, with −d log δ/dε and how much of δ there is
// noise.
type point struct{ value, slope, noise float64 }

// quiet reports whether noise makes little difference to ε.
func (x point) quiet(f focus, delta float64) bool {
	return x.noise <= 4*tolerance*delta*max(1, f.slope*f.eps)
}

// epsilon solves δ(ε) = delta; again asks for a window that reaches lower.
func (c *lossSeries) epsilon(delta, guess float64) (x point, ok, again bool) {
	bottom, top := max(0, c.win.low), c.win.high-1
	if top < 0 {
		return x, true, false
	}
	// Gallop from the guess to both sides of the root.
	at := min(max(int64(guess/c.h), bottom), top)
	low, high := int64(-1), int64(-1)
	var dLow, dHigh float64
	for step := max(1, int64(guess/c.h/64)); low < 0 || high < 0; step *= 2 {
		if d := c.delta(at); d <= delta {
			high, dHigh = at, d
			if at == bottom {
				return x, true, bottom > 0
			}
			at = max(at-step, bottom)
		} else {
			low, dLow = at, d
			if at == top {
				return x, false, false
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
	if !(part >= 0) { // nothing is known at low
		part = math.Expm1(c.h)
	}
	eps := c.h*float64(low) + math.Log1p(part)
	x.slope = math.Log(dLow/dHigh) / c.h
	x.noise = c.noise(low)
	slip := 16 * ulp * (math.Abs(eps) + c.h)
	if c.dominated {
		x.value = max(0, eps-slip-c.slack)
	} else {
		x.value = eps + slip
	}
	return x, true, false
}

// at is δ(eps).
func (c *lossSeries) at(eps float64) (x point, ok bool) {
	eps += c.slack
	e := math.Floor(eps / c.h)
	if !(e > float64(c.win.low) && e < float64(c.win.high-1)) {
		return x, false
	}
	a, b := c.delta(int64(e)), c.delta(int64(e)+1)
	if math.IsInf(a, 1) {
		return x, false
	}
	x.slope = math.Log(a/b) / c.h
	x.noise = c.noise(int64(e))
	// A chord in e^ε.
	t := min(1, math.Expm1(eps-e*c.h)/math.Expm1(c.h))
	x.value = a + (b-a)*t
	if c.dominated {
		x.value = max(0, x.value-16*ulp*a)
	} else {
		x.value += 16 * ulp * a
	}
	return x, true
}
