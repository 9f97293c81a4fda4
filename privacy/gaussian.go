package privacy

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
)

// ErrDomain reports a parameter outside its domain.
var ErrDomain = errors.New("parameter outside its domain")

// The ratio of standard deviation to lattice spacing must lie in
// [2^minRatioLog, 2^maxRatioLog]: below, the noise would be finer than the
// lattice; above, a draw would not fit an int64 with room for the sum.
const (
	minRatioLog = -8
	maxRatioLog = 50
)

// Gaussian draws rounded normal variates: the integer nearest to σ·Z/g for a
// real standard normal Z, that is, the multiple of g nearest to a real
// N(0, σ²) variate, in units of g.
//
// The law is exact. Z is drawn by the algorithm of Karney 2016 ("Sampling
// exactly from the normal distribution", ACM TOMS 42(1), arXiv:1303.6257,
// algorithm N): it decides with integer comparisons of lazily drawn digits
// alone, and yields sign, integer part k and the first digits of the fraction
// x. The rounding interval is then evaluated in integers: σ/g is a float64,
// hence m·2^e with integers m and e, so σ(k+x)/g lies between two rationals
// with known numerator, and if both round alike the result is decided whatever
// the remaining digits are. If not, more digits are drawn. No step rounds, no
// tail is cut, and no comparison involves data. Ties have probability zero.
type Gaussian struct {
	m uint64 // significand of σ/g, below 2⁵³
	s uint   // σ(k+x)/g = m·(k·2⁶⁴ + x·2⁶⁴) / 2^s
}

// NewGaussian returns the sampler for standard deviation sigma on the lattice
// of that spacing. Domain: spacing a power of two, sigma finite and
// 2⁻⁸ ≤ sigma/spacing ≤ 2⁵⁰; otherwise ErrDomain.
func NewGaussian(sigma, spacing float64) (Gaussian, error) {
	if f, _ := math.Frexp(spacing); f != 0.5 {
		return Gaussian{}, fmt.Errorf("lattice spacing is not a power of two: %w", ErrDomain)
	}
	ratio := sigma / spacing // exact: the divisor is a power of two
	if !(ratio >= math.Ldexp(1, minRatioLog) && ratio <= math.Ldexp(1, maxRatioLog)) {
		return Gaussian{}, fmt.Errorf("noise standard deviation and lattice spacing are too far apart: %w", ErrDomain)
	}
	frac, exp := math.Frexp(ratio)
	return Gaussian{m: uint64(math.Ldexp(frac, 53)), s: uint(64 - (exp - 53))}, nil
}

// Draw returns one variate, in units of the spacing. Its absolute value stays
// below 2⁶¹ but for an event of probability less than 10⁻⁴⁰⁰⁰⁰⁰, on which it
// panics.
func (g Gaussian) Draw(b Bits) int64 {
	k, x := normal(b)
	v := g.round(k, &x, b)
	if b.Uint64()>>63 == 1 {
		return -v
	}
	return v
}

// Fill draws len(dst) independent variates.
func (g Gaussian) Fill(dst []int64, b Bits) {
	for i := range dst {
		dst[i] = g.Draw(b)
	}
}

// round returns ⌊m(k+x)·2⁶⁴/2^s + ½⌋, drawing digits of x until it is decided.
func (g Gaussian) round(k uint64, x *uniform, b Bits) int64 {
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
func (g Gaussian) roundWide(k uint64, x *uniform, b Bits) int64 {
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

// shiftedOne returns 2^n as two words, n < 128.
func shiftedOne(n uint) (hi, lo uint64) {
	if n >= 64 {
		return 1 << (n - 64), 0
	}
	return 0, 1 << n
}

// shiftRight returns the low word of (hi, lo) >> n, n < 128.
func shiftRight(hi, lo uint64, n uint) uint64 {
	if n >= 64 {
		return hi >> (n - 64)
	}
	return hi<<(64-n) | lo>>n
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
