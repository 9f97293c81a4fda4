package accountant

import (
	"math"
	"math/bits"
	"math/cmplx"
	"slices"

	"gonum.org/v1/gonum/dsp/fourier"
)

// factor is n times the mixture (1−t)·first + t·second of two mechanisms, of
// which it is known which one was drawn.
type lossFactor struct {
	first, second int
	t, n          float64
}

// window is where a composed loss is looked at: the grid points above low, up to
// high. What lies outside appears inside, off by a multiple of high − low.
type lossWindow struct{ low, high int64 }

// composition is what to compose, and where to look.
type lossProduct struct {
	factors   []lossFactor
	parts     []lossPoints
	h         float64
	theta     float64 // tilt, ≥ 0
	win       lossWindow
	over      float64 // order of the Chernoff bound above the window, > 0
	under     float64 // and below it, < 0
	dominated bool    // bounds from below are wanted
}

// composed is the loss distribution of a composition, by its Fourier series
// under an exponential tilt:
//
//	p_m = e^(K−θ·l_m)·p̃_m,   p̃_m = (1/N)·Σ_k G_k·e^(−2πi·k·m/N),   l_m = m·h,
//	G = ∏ F_f^n_f,           F_f,k = Σ_m p̃_f,m·e^(2πi·k·m/N),
//
// where p̃_f are the masses of a factor times e^(θl), divided by their sum e^K_f,
// and K = Σ n_f·K_f. For ε = l_e, and with J = high − e,
//
//	δ(ε) = Σ_{m>e} p_m·(1 − e^(ε−l_m)) = e^(K−θε)/N·Σ_k G_k·W_k,
//	W_k = Σ_{j=1..J} (e^(−θhj) − e^(−(θ+1)hj))·e^(−2πi·k·(e+j)/N),
//
// a difference of geometric series. Where θ is near the saddle point of K − θε the
// sum is of the order of its largest term, however small δ is.
//
// Few k matter after many steps. All others are left out where a bound on |F| that
// holds for a whole range of frequencies (see quiet) shows that G vanishes there.
//
// Errors, each with the sign that is safe; u = 2⁻⁵³:
//
//   - F: κ·Σp̃, κ = (256 + points/64)·u for a direct sum (10u for an angle, 13u
//     for each of eight turns, the rest for adding up in blocks of 64) and 64·log₂N·u
//     for a fast transform (in a stage 21u for a twiddle factor, whose angle below
//     2π is rounded three times, √5·u for a product, and the additions).
//   - G: |∏(F+κ)^n − ∏F^n| ≤ |G|·(e^x − 1), x = Σ n_f·(κ/|F_f| + 3u): a power is
//     n−1 products of relative error √5·u (Brent, Percival & Zimmermann 2007).
//   - Frequencies left out: |W_k| ≤ W_0.
//   - Above the window: P[L > high] ≤ e^(K(s) − s·high) for every s > 0. That mass
//     is missing where it should be, and appears lower; below the window likewise
//     with s < 0, appearing higher, where its weight is e^(−θ(high−low)) or less.
//   - K: 2 ulp of Σ n_f·|K_f|.
//
// Sources: Koskela, Jälkö & Honkela 2020, arXiv:1906.03049; Sommer, Meiser &
// Mohammadi 2019; Meiser & Mohammadi 2018.
type lossSeries struct {
	lossProduct
	size             int64 // N
	k, kErr          float64
	waves            []wave
	far, farLoss     float64 // what does not depend on e of the series past J
	errNear, errLoss float64
	errMean          float64 // of G_0 where θ = 0: its series has no limit
	rest             float64 // Σ |G| of what is left out
	logAbove         float64
	logTilted        float64 // the same as logAbove, of p̃·e^K
	logBeneath       float64 // of what lies below the window, with its weight above
	inf              float64
	slack            float64 // by which losses are too high in all
	tilted           []tiltedPart
	mixed            []lossFactor // with the weights after tilting
}

// wave is G_k times the infinite series, for both of ±k.
type wave struct {
	k    int64
	near complex128
}

const (
	deadLog      = -50.0   // log |G| at which a frequency may be left out
	mostWaves    = 1 << 20 // frequencies
	mostProducts = 1 << 28 // of a mass and a phase
	leastMass    = 1e-300
)

// newSeries does all but the transform; nil where the numbers overflow.
func newSeries(in lossProduct) *lossSeries {
	c := &lossSeries{lossProduct: in, size: in.win.high - in.win.low}
	c.tilted = make([]tiltedPart, len(in.parts))
	for i, p := range in.parts {
		if c.tilted[i] = tilt(p, in.h, in.theta, in.dominated); !(c.tilted[i].sum > 0) || math.IsInf(c.tilted[i].k, 0) {
			return nil
		}
	}
	ks, infs := make([]float64, 0, len(in.factors)), 0.0
	c.mixed = slices.Clone(in.factors)
	for i, f := range in.factors {
		a, b := &c.tilted[f.first], &c.tilted[f.second]
		k := logMix(f.t, a.k, b.k)
		if f.t > 0 {
			c.mixed[i].t = min(1, f.t*math.Exp(b.k-k)*(1+16*ulp))
		}
		ks = append(ks, math.Abs(f.n*k))
		c.k += f.n * k
		c.slack += up(f.n*max(a.slack, b.slack), 4)
		infs += f.n * math.Log1p(-min(1, (1-f.t)*a.inf+f.t*b.inf))
	}
	c.kErr = 2*ulp*sum(ks)*float64(len(ks)+4) + 4*ulp
	c.inf = up(-math.Expm1(infs), 16+4*float64(len(ks)))

	// Any order gives a bound. Those asked for come from an outline: try others
	// beside them.
	high, low := in.h*float64(in.win.high), in.h*float64(in.win.low)
	c.logAbove = math.Inf(1)
	c.over, c.logTilted = bestOrder(max(in.over, 1.25*in.theta), func(s float64) float64 {
		if s <= in.theta {
			return math.Inf(1)
		}
		k := c.logMGF(s) + 8*ulp*math.Abs(s*high)
		c.logAbove = min(c.logAbove, k-s*high)
		return k - (s-in.theta)*high
	})
	beneath := func(s float64) float64 { return c.logMGF(s) - s*low + 8*ulp*math.Abs(s*low) }
	if in.dominated {
		c.under, c.logBeneath = bestOrder(in.under, beneath)
	} else {
		c.logBeneath = beneath(in.under) // it only tells whether the window is wide enough
	}
	c.logBeneath -= in.theta * (high - low) * (1 - 8*ulp)
	if math.IsNaN(c.k + c.logAbove + c.logTilted + c.logBeneath) {
		return nil
	}
	return c
}

// logMGF is log E[e^(sL)] of the composition, rounded up.
func (c *lossSeries) logMGF(s float64) float64 {
	of, total := make([]float64, len(c.tilted)), 0.0
	for i := range c.tilted {
		of[i] = c.tilted[i].logMGF(s, c.h, c.theta)
	}
	for _, f := range c.factors {
		k := logMix(f.t, of[f.first], of[f.second])
		total += f.n * (k + 8*ulp*(1+math.Abs(k)))
	}
	return total + ulp*math.Abs(total)*float64(len(c.factors))
}

// logMix is log((1−t)·e^a + t·e^b).
func logMix(t, a, b float64) float64 {
	if t == 0 {
		return a
	}
	top := max(a, b)
	return top + math.Log((1-t)*math.Exp(a-top)+t*math.Exp(b-top))
}

// bestOrder walks from s to a smaller f.
func bestOrder(s float64, f func(s float64) float64) (order, value float64) {
	order, value = s, f(s)
	for _, step := range []float64{1 / 1.5, 1.5} {
		moved := false
		for range 8 {
			v := f(order * step)
			if !(v < value) {
				break
			}
			order, value, moved = order*step, v, true
		}
		if moved {
			break
		}
	}
	return order, value
}

// tiltedPart is points with masses p·e^(θl−k) ≈ 1 in sum.
type tiltedPart struct {
	lossPoints
	k, sum float64
}

func tilt(p lossPoints, h, theta float64, down bool) tiltedPart {
	log, top := make([]float64, len(p.mass)), math.Inf(-1)
	for i, m := range p.mass {
		log[i] = theta * h * float64(p.at[i])
		if m > 0 {
			top = max(top, log[i]+math.Log(m))
		}
	}
	t := tiltedPart{lossPoints: lossPoints{inf: p.inf, slack: p.slack}}
	total := 0.0
	for i, m := range p.mass {
		total += m * math.Exp(log[i]-top)
	}
	t.k = top + math.Log(total)
	for i, m := range p.mass {
		if m == 0 {
			continue
		}
		slip := ulp * (8 + 4*math.Abs(log[i]) + 2*math.Abs(t.k))
		if down {
			slip = -slip
		}
		m *= math.Exp(log[i]-t.k) * (1 + slip)
		if m < leastMass {
			if down {
				continue
			}
			m = leastMass
		}
		t.at, t.mass = append(t.at, p.at[i]), append(t.mass, m)
		t.sum += m
	}
	return t
}

// logMGF is log E[e^(sL)] of the points before they were tilted.
func (t *tiltedPart) logMGF(s, h, theta float64) float64 {
	n := len(t.at)
	shift := max((s-theta)*h*float64(t.at[0]), (s-theta)*h*float64(t.at[n-1]))
	total := 0.0
	for i, m := range t.mass {
		if m > leastMass { // the others are only there to be above 0
			total += m * math.Exp((s-theta)*h*float64(t.at[i])-shift)
		}
	}
	return t.k + shift + math.Log(total) + ulp*(float64(n)+16+8*math.Abs(shift))
}

// transform fills in the waves and their errors, unless that would take too long.
func (c *lossSeries) transform() bool {
	parts, factors := c.tilted, c.mixed
	count, rest := quiet(parts, factors, c.size)
	c.rest = rest
	work := 0.0
	for _, p := range parts {
		work += float64(len(p.at)) * float64(count)
	}
	fast := float64(c.size) * 2 * float64(bits.Len64(uint64(c.size))) * float64(len(parts))
	direct := count <= mostWaves && work <= min(fast, mostProducts)
	if !direct {
		if c.size > 2*mostWaves || fast > 4*mostProducts {
			return false
		}
		count, c.rest = c.size/2+1, 0
	}

	// Spectra are asked for in order, at most two at a time.
	cache := map[int][]complex128{}
	var fft *fourier.FFT
	spectrum := func(i, keep int) []complex128 {
		if s, ok := cache[i]; ok {
			return s
		}
		for j := range cache {
			if j != keep {
				delete(cache, j)
			}
		}
		if direct {
			cache[i] = directSpectrum(parts[i], c.size, count)
		} else {
			if fft == nil {
				fft = fourier.NewFFT(int(c.size))
			}
			cache[i] = fastSpectrum(parts[i], fft)
		}
		return cache[i]
	}
	kappa := func(i int) float64 {
		if direct {
			return (256 + float64(len(parts[i].at))/64) * ulp / 2 * parts[i].sum
		}
		return 64 * float64(bits.Len64(uint64(c.size))) * ulp / 2 * parts[i].sum
	}

	type term struct {
		k       int64
		g       complex128
		x, logB float64
	}
	terms := make([]term, count)
	for k := range terms {
		terms[k] = term{k: int64(k), g: 1}
	}
	excess := 0.0 // Σp̃ may pass 1 a little
	for _, f := range factors {
		excess += f.n * math.Log(max(1, parts[f.first].sum, parts[f.second].sum))
	}
	for _, f := range factors {
		a := spectrum(f.first, f.second)
		err := kappa(f.first)
		var b []complex128
		if f.t > 0 {
			b = spectrum(f.second, f.first)
			err = max(err, kappa(f.second)) + 4*ulp
		}
		left := terms[:0]
		for _, t := range terms {
			v := a[t.k]
			if f.t > 0 {
				v = complex(1-f.t, 0)*v + complex(f.t, 0)*b[t.k]
			}
			size := cmplx.Abs(v)
			t.logB += f.n * math.Log(size+err+2*ulp*size)
			if t.logB+excess < deadLog {
				c.rest += 2 * math.Exp(t.logB+excess)
				continue
			}
			t.x += f.n * (err/size + 2*ulp)
			t.g *= power(v, f.n)
			left = append(left, t)
		}
		terms = left
	}

	n := float64(c.size)
	c.waves = make([]wave, 0, len(terms))
	high := reduce(c.win.high, c.size)
	nearSize := 0.0
	var far, farLoss compensated
	for _, t := range terms {
		size := cmplx.Abs(t.g)
		err := size * math.Expm1(t.x)
		if !(t.x <= 1) {
			err = size + math.Exp(t.logB+excess)
		}
		twice := 2.0
		if t.k == 0 || 2*t.k == c.size {
			twice = 1
		}
		if t.k == 0 {
			c.waves = append(c.waves, wave{0, t.g})
			c.errMean += err + 8*ulp*size
			continue
		}
		angle := 2 * math.Pi * float64(t.k) / n
		a1, _ := geometric(c.theta*c.h, angle)
		a2, d2 := geometric((c.theta+1)*c.h, angle)
		// z₁/(1−z₁) − z₂/(1−z₂) = (z₁−z₂)/((1−z₁)(1−z₂)): nothing cancels.
		near := a1 * complex(-math.Expm1(-c.h), 0) / d2
		g := t.g * complex(twice, 0)
		c.waves = append(c.waves, wave{t.k, g * near})
		turn := phase(-t.k, high, c.size)
		far.add(real(g * near * turn))
		farLoss.add(real(g * a2 * turn))
		err = twice * (err + 64*ulp*size)
		nearSize += twice * size * cmplx.Abs(near)
		c.errNear += err * cmplx.Abs(near)
		c.errLoss += err * cmplx.Abs(a2)
	}
	c.far, c.farLoss = far.value(), farLoss.value()
	c.errNear += 4 * ulp * nearSize
	return true
}

// geometric is z/(1−z) and 1−z for z = e^(−decay−i·angle).
func geometric(decay, angle float64) (a, d complex128) {
	r := math.Exp(-decay)
	s, co := math.Sincos(angle)
	half := math.Sin(angle / 2)
	d = complex(-math.Expm1(-decay)+2*r*half*half, r*s)
	return complex(r*co, -r*s) / d, d
}

// reduce is the residue of m in (−n/2, n/2].
func reduce(m, n int64) int64 {
	m %= n
	if 2*m > n {
		m -= n
	} else if 2*m <= -n {
		m += n
	}
	return m
}

// phase is e^(2πi·k·m/n), to 3·2⁻⁵³, for n a multiple of 4.
func phase(k, m, n int64) complex128 {
	r := k * m % n
	// The nearest quarter turn is exact.
	quarter := (8*r + n) / (2 * n)
	if 8*r+n < 0 {
		quarter = -((n - 8*r) / (2 * n))
	}
	s, c := math.Sincos(2 * math.Pi * (float64(r-quarter*(n/4)) / float64(n)))
	switch quarter & 3 {
	case 1:
		s, c = c, -s
	case 2:
		s, c = -s, -c
	case 3:
		s, c = -c, s
	}
	return complex(c, s)
}

// power is v^n for a whole n ≥ 0.
func power(v complex128, n float64) complex128 {
	p := complex(1, 0)
	for m := uint64(n); m > 0; m >>= 1 {
		if m&1 == 1 {
			p *= v
		}
		v *= v
	}
	return p
}

// directSpectrum is F at 0 … count−1.
func directSpectrum(p tiltedPart, size, count int64) []complex128 {
	const block, run = 64, 32
	f := make([]complex128, count)
	sum := make([]complex128, count)
	for j := 0; j < len(p.at); j += block {
		clear(sum)
		for i := j; i < min(j+block, len(p.at)); i++ {
			at := reduce(p.at[i], size)
			w1 := phase(1, at, size)
			w2 := w1 * w1
			w3, w4 := w2*w1, w2*w2
			m := complex(p.mass[i], 0)
			for k := int64(0); k < count; k += run {
				// Four phases, turned at most seven times.
				v0 := phase(k, at, size) * m
				v1, v2, v3 := v0*w1, v0*w2, v0*w3
				part := sum[k:min(k+run, count)]
				for len(part) >= 4 {
					part[0] += v0
					part[1] += v1
					part[2] += v2
					part[3] += v3
					v0 *= w4
					v1 *= w4
					v2 *= w4
					v3 *= w4
					part = part[4:]
				}
				for r := range part {
					part[r] += v0
					v0 *= w1
				}
			}
		}
		for k, v := range sum {
			f[k] += v
		}
	}
	return f
}

// fastSpectrum is F at 0 … fft.Len()/2.
func fastSpectrum(p tiltedPart, fft *fourier.FFT) []complex128 {
	x := make([]float64, fft.Len())
	for j, m := range p.at {
		i := m % int64(len(x))
		if i < 0 {
			i += int64(len(x))
		}
		x[i] += p.mass[j]
	}
	f := fft.Coefficients(nil, x)
	for k, v := range f {
		f[k] = cmplx.Conj(v)
	}
	return f
}

// quiet returns how many frequencies, from 0, may matter, and a bound on Σ |G| over
// the rest.
//
// For a distribution on points that lie within π/ω of each other,
// 1 − |F(ω)|² = Σ p_i·p_j·(1 − cos ω(l_i−l_j)) ≥ (4/π²)·ω²·Var, by 1 − cos φ ≥ 2φ²/π²
// up to π; so |F| ≤ 1 − (2/π²)·ω²·Var. Any distribution is a mixture of such ones,
// on windows of width π/ω, and |F| at most the mixture of theirs. Windows for the
// upper end of a range of frequencies, with the lower end in the formula, serve
// all of it.
//
// The second bound is summation by parts: on successive grid points
// |F|·|1 − e^(2πik/N)| ≤ |p_first| + Σ |p_(m+1) − p_m| + |p_last|.
func quiet(parts []tiltedPart, factors []lossFactor, size int64) (count int64, rest float64) {
	count = size/2 + 1
	bound, rough := make([]float64, len(parts)), make([]roughness, len(parts))
	for i := range parts {
		rough[i] = parts[i].roughness()
	}
	for count > 64 {
		first := int64(float64(count)*0.84) + 1
		if first >= count {
			break
		}
		width := size / (2 * (count - 1))
		tone := 8 * float64(first) / float64(size) * float64(first) / float64(size)
		sin := 2 * math.Sin(math.Pi*float64(first)/float64(size)) * (1 - 1e-9)
		log := 0.0
		for i := range bound {
			bound[i] = -1
		}
		for _, f := range factors {
			b := (1-f.t)*rough[f.first].at(sin) + f.t*rough[f.second].at(sin) + 4*ulp
			if b > calm {
				// Worth the longer way.
				for _, i := range []int{f.first, f.second} {
					if bound[i] < 0 {
						bound[i] = parts[i].sum - tone*parts[i].scatter(width)*(1-1e-9)
					}
				}
				b = min(b, (1-f.t)*bound[f.first]+f.t*bound[f.second]+4*ulp)
			}
			// 1 + 10⁻¹² and not 1: rounding of Σp̃ and of this.
			if log += f.n * math.Log(b+1e-12); log < -1000 {
				break
			}
		}
		if log > deadLog {
			break
		}
		rest += 2 * float64(count-first) * math.Exp(log)
		count = first
	}
	return count, rest
}

// roughness is the sum of all jumps on the longest run of successive grid points,
// and the mass elsewhere.
type roughness struct{ jumps, rest float64 }

// at bounds |F| where |1 − e^(2πik/N)| ≥ sin.
func (r roughness) at(sin float64) float64 { return r.rest + r.jumps/sin }

// calm is a |F| that the first bound need not improve.
const calm = 0.5

func (t *tiltedPart) roughness() roughness {
	from, to := 0, 0
	for i := 0; i < len(t.at); {
		j := i + 1
		for j < len(t.at) && t.at[j] == t.at[j-1]+1 {
			j++
		}
		if j-i > to-from {
			from, to = i, j
		}
		i = j
	}
	var r roughness
	last, inside := 0.0, 0.0
	for _, p := range t.mass[from:to] {
		r.jumps += math.Abs(p - last)
		inside += p
		last = p
	}
	r.jumps += last
	r.rest = max(0, t.sum-inside) + 1e-12
	return r
}

// scatter is Σ of mass times variance over windows of points at most width apart.
func (t *tiltedPart) scatter(width int64) float64 {
	total := 0.0
	for i := 0; i < len(t.at); {
		start := t.at[i]
		m, mean, square := 0.0, 0.0, 0.0
		for ; i < len(t.at) && t.at[i]-start <= width; i++ {
			// Welford's update: no cancellation.
			p, x := t.mass[i], float64(t.at[i]-start)
			m += p
			d := x - mean
			mean += d * p / m
			square += p * d * (x - mean)
		}
		total += square
	}
	return total
}

// delta is δ at ε = e·h, for low ≤ e < high: an upper bound, or where the parts are
// dominated a lower one.
func (c *lossSeries) delta(e int64) float64 {
	at := reduce(e, c.size)
	w0, _ := c.weight(e)
	var total compensated
	for _, w := range c.waves {
		if w.k == 0 {
			total.add(real(w.near) * w0)
			continue
		}
		v := phase(-w.k, at, c.size)
		total.add(real(w.near)*real(v) - imag(w.near)*imag(v))
	}
	fade, loss := c.fade(e)
	sum := total.value() - fade*(c.far+loss*c.farLoss)
	scale, slip := c.scale(e)
	slip *= math.Abs(sum) * scale
	if c.dominated {
		d := sum*scale - slip - c.noise(e) - math.Exp(c.logBeneath) -
			math.Exp(c.logTilted-c.theta*c.h*float64(e)*(1-4*ulp)+peak(c.theta))
		if !(d > 0) { // NaN: nothing is known
			return 0
		}
		return d
	}
	d := max(0, sum*scale+slip+c.noise(e)) + math.Exp(c.logAbove) + c.inf
	if math.IsNaN(d) {
		return math.Inf(1)
	}
	return d
}

// noise bounds the error of δ at e·h, but for that of its scale.
func (c *lossSeries) noise(e int64) float64 {
	w0, err0 := c.weight(e)
	fade, loss := c.fade(e)
	scale, slip := c.scale(e)
	return (c.errNear*(1+fade) + fade*loss*c.errLoss + (c.rest+c.errMean)*w0 + err0) * scale * (1 + slip)
}

// scale is e^(K−θε)/N, and a bound on its relative error.
func (c *lossSeries) scale(e int64) (scale, slip float64) {
	shift := c.theta * c.h * float64(e)
	return math.Exp(c.k-shift) / float64(c.size), math.Expm1(c.kErr+4*ulp*(math.Abs(c.k)+math.Abs(shift))) + 16*ulp
}

// fade is e^(−θhJ), and loss 1 − e^(−hJ).
func (c *lossSeries) fade(e int64) (fade, loss float64) {
	j := float64(c.win.high - e)
	return math.Exp(-c.theta * c.h * j), -math.Expm1(-c.h * j)
}

// weight is W_0 = Σ_{j=1..J} (e^(−θhj) − e^(−(θ+1)hj)), and a bound on its error.
func (c *lossSeries) weight(e int64) (w, err float64) {
	j := float64(c.win.high - e)
	series := func(theta float64) float64 {
		if theta == 0 {
			return j
		}
		return -math.Expm1(-theta*c.h*j) / math.Expm1(theta*c.h)
	}
	most := series(c.theta)
	return most - series(c.theta+1), 16 * ulp * most
}

// compensated is Neumaier's sum: its error is below 2 ulp of Σ of the sizes.
type compensated struct{ sum, rest float64 }

func (c *compensated) add(x float64) {
	t := c.sum + x
	if math.Abs(c.sum) >= math.Abs(x) {
		c.rest += (c.sum - t) + x
	} else {
		c.rest += (x - t) + c.sum
	}
	c.sum = t
}

func (c *compensated) value() float64 { return c.sum + c.rest }
