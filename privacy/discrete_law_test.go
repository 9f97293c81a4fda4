package privacy

import (
	"math"
	"sort"
	"testing"
)

// integerLaw is a symmetric law on the integers, apart from any sampler.
type integerLaw struct {
	tail             func(x int64) float64 // P(X ≥ x), x ≥ 1
	variance, fourth float64
}

// laplaceLaw is that of discrete Laplace noise of scale b, in closed form.
func laplaceLaw(b float64) integerLaw {
	r, less := math.Exp(-1/b), -math.Expm1(-1/b)
	return integerLaw{
		tail:     func(x int64) float64 { return math.Exp(-float64(x)/b) / (1 + r) },
		variance: 2 * r / (less * less),
		fourth:   2 * r * (1 + 10*r + r*r) / math.Pow(less, 4),
	}
}

// gaussianLaw is that of discrete Gaussian noise: a sum over the integers, or for
// sigma of 2¹² and more, whose lattice is fine, the integral between the middles,
// which is off by less than 10⁻⁶ relatively up to 6·sigma.
func gaussianLaw(sigma float64) integerLaw {
	if sigma >= 1<<12 {
		return integerLaw{
			tail:     func(x int64) float64 { return math.Erfc((float64(x)-0.5)/sigma/math.Sqrt2) / 2 },
			variance: sigma * sigma, fourth: 3 * math.Pow(sigma, 4),
		}
	}
	most := int(sigma*12) + 12
	tails := make([]float64, most+2)
	var second, fourth float64
	for x := most; x > 0; x-- {
		p := math.Exp(-float64(x) * float64(x) / (2 * sigma * sigma))
		tails[x] = tails[x+1] + p
		second += 2 * p * float64(x*x)
		fourth += 2 * p * math.Pow(float64(x), 4)
	}
	all := 1 + 2*tails[1]
	return integerLaw{
		tail:     func(x int64) float64 { return tails[min(int(x), most+1)] / all },
		variance: second / all, fourth: fourth / all,
	}
}

// atMost returns the least x > after with tail(x) ≤ p.
func (l integerLaw) atMost(p float64, after int64) int64 {
	return after + 1 + int64(sort.Search(1<<60, func(i int) bool { return l.tail(after+1+int64(i)) <= p }))
}

// against tests n draws against the law: up to some 512 cells, each of them one
// integer or of probability 1/512 or a little more, by chi-square; exact binomial
// tests of both tails at the levels of 2, 3, 4, 5 and 6 standard deviations of a
// normal variate; mean and variance. It returns the smallest p-value, times the
// number of tests.
func (l integerLaw) against(s filler, n int, label string) float64 {
	const least = 1.0 / 512
	var starts []int64 // of the cells above zero; the middle one ends before the first
	for x := l.atMost(0.5-least/2, 0); ; {
		starts = append(starts, x)
		rest := l.tail(x)
		if rest < 2*least {
			break
		}
		if x = l.atMost(rest-least, x); l.tail(x) < least {
			break
		}
	}
	var levels []int64
	for k := 2.0; k <= 6; k++ {
		levels = append(levels, l.atMost(math.Erfc(k/math.Sqrt2)/2, 0))
	}
	type partial struct {
		middle      int
		count       [2][600]int
		tail        [2][5]int
		sum, square float64
	}
	sd := math.Sqrt(l.variance)
	workers := make([]partial, 64)
	parallelDraws(s, n, label, func(w int, block []int64) {
		a := &workers[w%len(workers)]
		for _, v := range block {
			side := 0
			if v < 0 {
				side = 1
			}
			size := max(v, -v)
			if i := sort.Search(len(starts), func(i int) bool { return starts[i] > size }); i == 0 {
				a.middle++
			} else {
				a.count[side][i-1]++
			}
			for i := 0; i < len(levels) && size >= levels[i]; i++ {
				a.tail[side][i]++
			}
			x := float64(v) / sd
			a.sum += x
			a.square += x * x
		}
	})
	var all partial
	for i := range workers {
		a := &workers[i]
		all.middle += a.middle
		all.sum += a.sum
		all.square += a.square
		for side := range 2 {
			for i, c := range a.count[side] {
				all.count[side][i] += c
			}
			for i, c := range a.tail[side] {
				all.tail[side][i] += c
			}
		}
	}
	total := float64(n)
	term := func(count int, p float64) float64 {
		d := float64(count) - total*p
		return d * d / (total * p)
	}
	chi := term(all.middle, 1-2*l.tail(starts[0]))
	smallest := 1.0
	for side := range 2 {
		for i, x := range starts {
			p := l.tail(x)
			if i+1 < len(starts) {
				p -= l.tail(starts[i+1])
			}
			chi += term(all.count[side][i], p)
		}
		for i, x := range levels {
			smallest = min(smallest, binomialP(all.tail[side][i], n, l.tail(x)))
		}
	}
	smallest = min(smallest, chiSquareP(chi, 2*len(starts)))
	normal := func(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }
	smallest = min(smallest, normal(all.sum/math.Sqrt(total)))
	spread := math.Sqrt(l.fourth/l.variance/l.variance - 1)
	smallest = min(smallest, normal((all.square/total-1)*math.Sqrt(total)/spread))
	return smallest * 13
}

// TestDiscreteLaw: false alarms 10⁻⁷ a ratio, over seeds. Noticed with probability
// 0.99, at 10⁶ draws and at 10⁸ (-tags=slow, the two ratios that are marked; the
// others 10⁷):
//
//	chi-square      cells off by 1.8 % in the root mean square   0.18 %
//	mean            off by 0.8 % of a standard deviation         0.08 %
//	variance        a Gaussian's parameter off by 0.6 %          0.06 %
//	                a Laplace scale off by 0.9 %                 0.09 %
//	level of 3 sd   a tail 1.23 times as heavy                   1.02
//	level of 4 sd   2.9                                          1.15
//	level of 5 sd   56                                           3.0
//	level of 6 sd   –                                            130
//
// What the rarest draws cannot show, [TestDiscreteAgreesWithPlain] does.
func TestDiscreteLaw(t *testing.T) {
	for _, ratio := range []float64{0x1p-3, 0.7, 4.3, 100.5, 0x1.8p30, 0x1.fp49} {
		n := lawDraws
		if ratio != 4.3 && ratio != 0x1.8p30 {
			n = min(n, max(lawDraws/10, 1_000_000))
		}
		if testing.Short() {
			n = 50_000
		}
		l, err := NewDiscreteLaplace(ratio, 1)
		if err != nil {
			t.Fatal(err)
		}
		if p := laplaceLaw(ratio).against(l, n, "discrete Laplace"); p < alpha {
			t.Errorf("discrete Laplace of scale %g: p = %.2g", ratio, p)
		}
		if ratio < 0.2 { // eight standard deviations between the integers
			continue
		}
		g, err := NewDiscreteGaussian(ratio, 1)
		if err != nil {
			t.Fatal(err)
		}
		if p := gaussianLaw(ratio).against(g, n, "discrete Gaussian"); p < alpha {
			t.Errorf("discrete Gaussian of %g: p = %.2g", ratio, p)
		}
	}
}

// TestDiscreteLawControls: what is nearly right is noticed in 400,000 draws.
func TestDiscreteLawControls(t *testing.T) {
	if testing.Short() {
		t.Skip("statistics that the race detector makes slow")
	}
	const n = 400_000
	rounded, err := NewGaussian(0.7, 1)
	if err != nil {
		t.Fatal(err)
	}
	less, err := NewDiscreteGaussian(4.3*0.98, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		law  integerLaw
		s    filler
	}{
		{"a rounded normal variate", gaussianLaw(0.7), rounded},
		{"the floor of a float64 normal variate", gaussianLaw(4.3), drawFunc(func(b Bits) int64 {
			return int64(math.Floor(4.3 * normalFloat(b)))
		})},
		{"2 % less noise", gaussianLaw(4.3), less},
		{"two zeros", laplaceLaw(4.3), naiveLaplace{t: 43, s: 10, zeros: true}},
		{"a uniform number with its upper end", laplaceLaw(43), naiveLaplace{t: 43, s: 1, past: 1}},
		{"a series that begins at two", laplaceLaw(43), naiveLaplace{t: 43, s: 1, first: 1}},
		{"no centre in the rejection", gaussianLaw(4.3), naiveGaussian{sigma: 4.3}},
		{"the next whole number in the rejection", gaussianLaw(4.3), naiveGaussian{sigma: 4.3, centre: 4.3 * 4.3 / 6}},
	} {
		if p := c.law.against(c.s, n, c.name); p >= alpha {
			t.Errorf("%s is not noticed: p = %.2g", c.name, p)
		}
	}
	// Without their faults the naive samplers pass.
	if p := laplaceLaw(4.3).against(naiveLaplace{t: 43, s: 10}, n, "naive"); p < alpha {
		t.Errorf("the naive Laplace sampler without faults: p = %.2g", p)
	}
	if p := gaussianLaw(4.3).against(naiveGaussian{sigma: 4.3, centre: 4.3 * 4.3 / 5}, n, "naive"); p < alpha {
		t.Errorf("the naive Gaussian sampler without faults: p = %.2g", p)
	}
}

// drawFunc is a sampler by one function.
type drawFunc func(b Bits) int64

func (f drawFunc) Fill(dst []int64, b Bits) {
	for i := range dst {
		dst[i] = f(b)
	}
}

func unitFloat(b Bits) float64 { return float64(b.Uint64()>>11) * 0x1p-53 }

func normalFloat(b Bits) float64 {
	return math.Sqrt(-2*math.Log(1-unitFloat(b))) * math.Cos(2*math.Pi*unitFloat(b))
}

// naiveLaplace is Algorithm 2 in float64, with the faults that are set.
type naiveLaplace struct {
	t, s  uint64
	zeros bool    // zero of either sign is kept
	past  uint64  // added to the end of the uniform numbers
	first float64 // added to the first denominator of the series
}

func (l naiveLaplace) Fill(dst []int64, b Bits) { drawFunc(l.draw).Fill(dst, b) }

func (l naiveLaplace) draw(b Bits) int64 {
	for {
		u := b.Uint64() % (l.t + l.past)
		k := 1
		for unitFloat(b) < float64(u)/float64(l.t)/(float64(k)+l.first) {
			k++
		}
		if k%2 == 0 {
			continue
		}
		y := int64((u + l.t*uint64(-math.Log(1-unitFloat(b)))) / l.s)
		if negative := b.Uint64()&1 == 1; negative && (y != 0 || l.zeros) {
			return -y
		} else if !negative {
			return y
		}
	}
}

// naiveGaussian is Algorithm 3 in float64.
type naiveGaussian struct{ sigma, centre float64 }

func (g naiveGaussian) Fill(dst []int64, b Bits) { drawFunc(g.draw).Fill(dst, b) }

func (g naiveGaussian) draw(b Bits) int64 {
	l := naiveLaplace{t: uint64(g.sigma) + 1, s: 1}
	for {
		y := l.draw(b)
		d := math.Abs(float64(y)) - g.centre
		if unitFloat(b) < math.Exp(-d*d/(2*g.sigma*g.sigma)) {
			return y
		}
	}
}
