package privacy

import (
	"math"
	"math/big"
	"math/bits"
	"testing"
)

// karney is the reference sampler: the integer nearest to σ|Z|/g·sign with Z
// drawn by Karney 2016 ("Sampling exactly from the normal distribution", ACM
// TOMS 42(1), arXiv:1303.6257, algorithm N). It decides with integer comparisons
// of lazily drawn digits alone and shares nothing with [Gaussian] but the law.
type karney struct {
	m uint64 // significand of σ/g, below 2⁵³
	s uint   // σ(k+x)/g = m·(k·2⁶⁴ + x·2⁶⁴) / 2^s
}

func newKarney(ratio float64) karney {
	frac, exp := math.Frexp(ratio)
	return karney{m: uint64(math.Ldexp(frac, 53)), s: uint(64 - (exp - 53))}
}

func (g karney) draw(b Bits) int64 {
	k, x := normal(b)
	v := g.round(k, &x, b)
	if b.Uint64()>>63 == 1 {
		return -v
	}
	return v
}

// round returns ⌊m(k+x)·2⁶⁴/2^s + ½⌋, drawing digits of x until it is decided.
func (g karney) round(k uint64, x *uniform, b Bits) int64 {
	if k >= 1<<10 {
		panic("privacy: a normal variate beyond a thousand standard deviations")
	}
	// A = m·(k·2⁶⁴ + first digit) < 2⁵³·2⁷⁴ = 2¹²⁷, and s ≤ 124.
	hi, lo := bits.Mul64(g.m, x.first)
	hi += g.m * k
	halfHi, halfLo := shiftedOne(g.s - 1)
	lo, c := bits.Add64(lo, halfLo, 0)
	hi, _ = bits.Add64(hi, halfHi, c)
	low := shiftRight(hi, lo, g.s)
	// The fraction is below (first digit + 1)/2⁶⁴, so the numerator is below A + m.
	lo, c = bits.Add64(lo, g.m-1, 0)
	hi += c
	if shiftRight(hi, lo, g.s) == low {
		return int64(low)
	}
	return g.roundWide(k, x, b)
}

// roundWide is round in arithmetic of any width: the reference that round is
// tested against, and its continuation where one digit does not decide.
func (g karney) roundWide(k uint64, x *uniform, b Bits) int64 {
	num := new(big.Int).SetUint64(k)
	for i := 0; ; i++ {
		num.Lsh(num, 64)
		num.Add(num, new(big.Int).SetUint64(x.digit(i, b)))
		shift := g.s + uint(64*i)
		a := new(big.Int).SetUint64(g.m)
		m := new(big.Int).Set(a)
		a.Mul(a, num)
		a.Add(a, new(big.Int).Lsh(big.NewInt(1), shift-1))
		top := new(big.Int).Add(a, m)
		top.Sub(top, big.NewInt(1))
		a.Rsh(a, shift)
		top.Rsh(top, shift)
		if a.Cmp(top) == 0 {
			return a.Int64()
		}
	}
}

// uniform is a real number in (0, 1) whose digits, of 64 bits each, are drawn
// when a comparison or a rounding asks for them.
type uniform struct {
	first uint64
	rest  []uint64
}

func newUniform(b Bits) uniform { return uniform{first: b.Uint64()} }

func (u *uniform) digit(i int, b Bits) uint64 {
	if i == 0 {
		return u.first
	}
	for len(u.rest) < i {
		u.rest = append(u.rest, b.Uint64())
	}
	return u.rest[i-1]
}

// less says whether u < v, exactly: equal digits call for more.
func (u *uniform) less(v *uniform, b Bits) bool {
	if u.first != v.first {
		return u.first < v.first
	}
	for i := 1; ; i++ {
		if du, dv := u.digit(i, b), v.digit(i, b); du != dv {
			return du < dv
		}
	}
}

// normal returns the integer part k and the fraction x of |Z|: Karney 2016,
// algorithm N, steps N1 to N4. A pair (k, x) is proposed with density
// ∝ e^(−k/2) and kept with probability e^(−k(k−1)/2)·e^(−x(2k+x)/2); the
// product is e^(−(k+x)²/2).
func normal(b Bits) (k uint64, x uniform) {
	for {
		k = 0
		for halfExp(b) {
			k++
		}
		if k > 1 && !halfExpPower(k*(k-1), b) {
			continue
		}
		x = newUniform(b)
		accepted := true
		for i := uint64(0); i <= k && accepted; i++ {
			accepted = expFraction(k, &x, b)
		}
		if accepted {
			return k, x
		}
	}
}

// halfExpPower is true with probability e^(−n/2).
func halfExpPower(n uint64, b Bits) bool {
	for ; n > 0; n-- {
		if !halfExp(b) {
			return false
		}
	}
	return true
}

// halfExp is true with probability e^(−1/2): the longest run
// ½ > U₁ > U₂ > … > U_n has length at least n with probability (½)ⁿ/n!, hence
// even length with probability Σ(−½)ⁿ/n! (von Neumann 1951; Karney 2016,
// algorithm H).
func halfExp(b Bits) bool {
	u := newUniform(b)
	if u.first >= 1<<63 {
		return true
	}
	even := false // the run has length one
	for {
		v := newUniform(b)
		if !v.less(&u, b) {
			return even
		}
		u, even = v, !even
	}
}

// expFraction is true with probability e^(−x(2k+x)/(2k+2)): as halfExp, with x
// in place of ½ and every further member of the run kept with probability
// (2k+x)/(2k+2) (Karney 2016, algorithm B).
func expFraction(k uint64, x *uniform, b Bits) bool {
	even := true
	var prev uniform
	bound := x
	for {
		v := newUniform(b)
		if !v.less(bound, b) || !fractionTrial(k, x, b) {
			return even
		}
		prev = v
		bound, even = &prev, !even
	}
}

// fractionTrial is true with probability (2k+x)/(2k+2).
func fractionTrial(k uint64, x *uniform, b Bits) bool {
	switch j := below(2*k+2, b); {
	case j < 2*k:
		return true
	case j == 2*k:
		r := newUniform(b)
		return r.less(x, b)
	default:
		return false
	}
}

// below returns a uniform integer in [0, n), n ≥ 1, by Lemire's multiplication
// with the rejection that makes it exact.
func below(n uint64, b Bits) uint64 {
	for {
		hi, lo := bits.Mul64(b.Uint64(), n)
		if lo >= n || lo >= -n%n {
			return hi
		}
	}
}

// twoSamples is the p-value of the equality of two samplers' laws: chi-square
// over cells of that width with 40 draws or more, n draws each.
func twoSamples(a, b func() int64, width float64, n int) float64 {
	counts := map[int][2]float64{}
	for side, draw := range []func() int64{a, b} {
		for range n {
			k := int(math.Floor(float64(draw())/width + 0.5))
			c := counts[k]
			c[side]++
			counts[k] = c
		}
	}
	var chi float64
	var rest [2]float64
	df := 0
	add := func(c [2]float64) {
		if c[0]+c[1] > 0 {
			chi += (c[0] - c[1]) * (c[0] - c[1]) / (c[0] + c[1])
			df++
		}
	}
	for _, c := range counts {
		if c[0]+c[1] < 40 {
			rest[0] += c[0]
			rest[1] += c[1]
			continue
		}
		add(c)
	}
	add(rest)
	return chiSquareP(chi, df-1)
}

// TestAgainstKarney compares with the reference sampler, in lattice points where
// they are few and in cells of a 24th of a standard deviation where they are
// many. False alarms 10⁻⁷ a ratio; a standard deviation off by 1.6 to 2.6 % is
// noticed with probability 0.99, and by a quarter of that with -tags=slow.
func TestAgainstKarney(t *testing.T) {
	n := karneyDraws
	if testing.Short() {
		t.Skip("statistics that the race detector makes slow")
	}
	for _, ratio := range []float64{0.25, 1, 3.7, 24, 0x1.8p30} {
		g, err := NewGaussian(ratio, 1)
		if err != nil {
			t.Fatal(err)
		}
		src := NewSeeded(41, "two samplers")
		ours := func() int64 { return g.Draw(src) }
		karney := func(ratio float64) func() int64 {
			k := newKarney(ratio)
			return func() int64 { return k.draw(src) }
		}
		width := max(1, ratio/24)
		if p := twoSamples(ours, karney(ratio), width, n); p < alpha {
			t.Errorf("ratio %g: the laws differ, p = %.2g", ratio, p)
		}
		if p := twoSamples(ours, karney(ratio*1.04), width, min(n, 300_000)); p >= alpha {
			t.Errorf("ratio %g: a standard deviation off by 4 %% is not noticed", ratio)
		}
	}
}
