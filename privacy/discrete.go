package privacy

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
)

// DiscreteLaplace draws from the discrete Laplace law on the integers, also
// called two-sided geometric: with b the scale divided by the spacing,
//
//	P(x) = (e^(1/b) − 1)/(e^(1/b) + 1) · e^(−|x|/b).
//
// The law is exact. A float64 is a whole number times a power of two, and b is
// taken as that number, m/2^k, with no rounding; every comparison is one of whole
// numbers below 2¹²⁸ with a uniform real number, of whose binary digits [Bits] is
// asked for 64 at a time until they decide. No value is cut off: where a draw would
// be 1,024·b or more in size, with probability e^(−1024), Draw panics.
//
// A value costs about 6 words on average, up to 12 where b is below 1. How many it takes, and with it the
// time, is decided by the random words alone, and tells something about the value
// drawn (Jin et al. 2022): draw noise in one block before data are opened, as
// Fill does. The steps of [Gaussian] are the same for values of any size.
//
// What is charged: independent draws added to the coordinates of a vector on the
// lattice that one unit changes by at most S steps in the 1-norm are
// accountant.DiscreteLaplace with sensitivity S and noise multiplier b/S, rounded
// down.
//
// Source: Canonne, Kamath, Steinke 2020, arXiv:2004.00010, Algorithms 1 and 2.
type DiscreteLaplace struct {
	t      uint64 // b = t/2^shift, t below 2⁵³
	shift  uint
	reject uint64 // 2⁶⁴ mod 2t
}

// NewDiscreteLaplace returns the sampler with that scale on the lattice of that
// spacing. Domain: spacing a power of two, scale finite and
// 2⁻⁸ ≤ scale/spacing ≤ 2⁵⁰; otherwise ErrDomain. So a sum of up to [MaxUnits]
// contributions plus a draw is an int64, whatever the draw.
func NewDiscreteLaplace(scale, spacing float64) (DiscreteLaplace, error) {
	t, shift, err := ratioOf(scale, spacing)
	if err != nil {
		return DiscreteLaplace{}, err
	}
	return newDiscreteLaplace(t, shift), nil
}

// newDiscreteLaplace: 1 ≤ t < 2⁵³.
func newDiscreteLaplace(t uint64, shift uint) DiscreteLaplace {
	return DiscreteLaplace{t: t, shift: shift, reject: -(2 * t) % (2 * t)}
}

// ratioOf returns a/spacing as m/2^k, exactly, with 2⁵² ≤ m < 2⁵³ and 2 ≤ k ≤ 60.
func ratioOf(a, spacing float64) (m uint64, k uint, err error) {
	if f, _ := math.Frexp(spacing); f != 0.5 {
		return 0, 0, fmt.Errorf("lattice spacing is not a power of two: %w", ErrDomain)
	}
	ratio := a / spacing // exact within the domain: the divisor is a power of two
	if !(ratio >= math.Ldexp(1, minRatioLog) && ratio <= math.Ldexp(1, maxRatioLog)) {
		return 0, 0, fmt.Errorf("scale of the noise and lattice spacing are too far apart: %w", ErrDomain)
	}
	frac, exp := math.Frexp(ratio)
	return uint64(math.Ldexp(frac, 53)), uint(53 - exp), nil
}

// What a sound generator exceeds with probability below e^(−1000).
const (
	maxAttempts = 4096 // of a rejection that accepts with probability above 0.3
	maxTerms    = 1024 // successes of probability 1/e, or terms of a series

	brokenGenerator = "privacy: the words of the generator are not random"
)

// Draw returns one variate, in units of the spacing: below 2⁶⁰ in absolute value.
// It panics where the generator is no generator.
//
// With X = u + t·v for u uniform below t that is kept with probability e^(−u/t),
// and v geometric with ratio 1/e, P(X) is proportional to e^(−X/t); the whole part
// of X/2^shift then falls by e^(−1/b) a step. A random sign would give zero twice
// its share: of the two zeros one is drawn again.
func (l DiscreteLaplace) Draw(b Bits) int64 {
	for range maxAttempts {
		// A uniform number below 2t, exact where the low word is not among the
		// 2⁶⁴ mod 2t smallest (Lemire 2019, arXiv:1805.10941): u and the sign.
		w, low := bits.Mul64(b.Uint64(), 2*l.t)
		u := w >> 1
		if low < l.reject || !bernoulliExp(u, l.t, b) {
			continue
		}
		y := (u + l.t*geometric(b)) >> (l.shift & 63) // below 2⁶³
		if y == 0 && w&1 == 1 {
			continue
		}
		sign := -(w & 1)
		return int64(y ^ sign - sign)
	}
	panic(brokenGenerator)
}

// Fill draws len(dst) independent variates: what as many calls of Draw return.
func (l DiscreteLaplace) Fill(dst []int64, b Bits) {
	for i := range dst {
		dst[i] = l.Draw(b)
	}
}

// DiscreteGaussian draws from the discrete Gaussian law on the integers: with s
// the parameter sigma divided by the spacing,
//
//	P(x) = e^(−x²/2s²) / Σ_k e^(−k²/2s²).
//
// Its variance is at most s². It is not the rounding of a normal variate: that is
// [Gaussian], which is faster and fits every event of the continuous mechanism.
//
// The law is exact, as that of [DiscreteLaplace] is: s is a whole number times a
// power of two, so s² and the exponents γ below are fractions. γ is enclosed in
// 128-bit integers to a width below 2^(−46); where a comparison with a uniform
// number falls into that width it is made again in whole numbers of any size, with
// the same digits and as many more as are needed.
//
// A value costs about 9.5 words on average, up to 15 where s is below 1. For time, see [DiscreteLaplace].
//
// What is charged: independent draws added to the coordinates of a vector on the
// lattice that one unit changes by at most S steps in the 2-norm are
// accountant.DiscreteGaussian with noise multiplier s/S, rounded down; with
// sensitivity S where it is one coordinate, else 0.
//
// Source: Canonne, Kamath, Steinke 2020, arXiv:2004.00010, Algorithms 1 and 3.
type DiscreteGaussian struct {
	proposal DiscreteLaplace // of the whole number t = ⌊s⌋ + 1
	m        uint64          // s = m/2^k
	k        uint
	inverse  uint64 // ⌊2¹¹⁵/m⌋
	centre   uint64 // ⌊2⁵⁵·s/t⌋
	far      uint64 // ⌊64·s⌋
}

// NewDiscreteGaussian returns the sampler with that parameter on the lattice of
// that spacing. Domain: spacing a power of two, sigma finite and
// 2⁻⁸ ≤ sigma/spacing ≤ 2⁵⁰; otherwise ErrDomain. So a sum of up to [MaxUnits]
// contributions plus a draw is an int64, whatever the draw.
func NewDiscreteGaussian(sigma, spacing float64) (DiscreteGaussian, error) {
	m, k, err := ratioOf(sigma, spacing)
	if err != nil {
		return DiscreteGaussian{}, err
	}
	t := m>>k + 1
	g := DiscreteGaussian{proposal: newDiscreteLaplace(t, 0), m: m, k: k, far: m << 6 >> k}
	g.inverse, _ = bits.Div64(1<<51, 0, m)
	// m·2⁵⁵/2^k, in two words; the high one is below s/2⁹ < t.
	high, low := m>>9, m<<55
	g.centre, _ = bits.Div64(high>>k, low>>k|high<<(64-k), t)
	return g, nil
}

// Draw returns one variate, in units of the spacing: below 2⁶¹ in absolute value.
// It panics where the generator is no generator.
//
// A draw y of the discrete Laplace law of scale t is kept with probability e^(−γ),
// γ = (|y| − s²/t)²/2s²: then P(y) is proportional to
//
//	e^(−|y|/t − y²/2s² + |y|/t − s²/2t²), that is, to e^(−y²/2s²).
func (g DiscreteGaussian) Draw(b Bits) int64 {
	for range maxAttempts {
		y := g.proposal.Draw(b)
		if g.keep(uint64(max(y, -y)), b) {
			return y
		}
	}
	panic(brokenGenerator)
}

// Fill draws len(dst) independent variates: what as many calls of Draw return.
func (g DiscreteGaussian) Fill(dst []int64, b Bits) {
	for i := range dst {
		dst[i] = g.Draw(b)
	}
}

// keep is true with probability e^(−γ), by Algorithm 1: one trial of probability
// 1/e for each whole of γ, then the series for the fraction.
func (g DiscreteGaussian) keep(y uint64, b Bits) bool {
	var wide *fraction
	whole, low, high, known := g.exponent(y)
	if !known {
		wide, whole = g.wide(y)
	}
	for range whole {
		if !bernoulliExpOne(b) {
			return false
		}
	}
	for k := uint64(1); k < maxTerms; k++ {
		// A uniform R with first word u is below fraction/k if R·k is below the
		// fraction; in units of 2^(−64), R·k lies in [p, p + k).
		u := b.Uint64()
		carry, p := bits.Mul64(u, k)
		var in bool
		switch {
		case carry != 0 || known && p >= high:
		case known && p < low && low-p >= k:
			in = true
		default:
			if wide == nil {
				wide, _ = g.wide(y)
			}
			in = wide.above(u, k, b)
		}
		if !in {
			return k&1 == 1
		}
	}
	panic(brokenGenerator)
}

// exponent encloses γ: whole + low/2⁶⁴ ≤ γ < whole + high/2⁶⁴. It knows nothing
// where y > 64·s, or a whole number lies in between.
//
// With x = 2⁵⁵·y/s and X = ⌊y·⌊2¹¹⁵/m⌋/2^(60−k)⌋, X ≤ x < X + 2: the whole part of
// 2¹¹⁵/m = 2^(115−k)/s takes less than y/2^(60−k) from x, and 2^(115−k) > 2⁶²·s
// makes that less than 64·2⁵⁵/2⁶² = ½; the second takes less than 1. Likewise
// centre ≤ 2⁵⁵·s/t < centre + 1. So 2⁵⁵·(y/s − s/t) lies between d − 1 and d + 2
// for d = X − centre, and γ is half the square of y/s − s/t. Nothing overflows:
// x ≤ 2⁶¹.
func (g DiscreteGaussian) exponent(y uint64) (whole, low, high uint64, known bool) {
	if y > g.far {
		return 0, 0, 0, false
	}
	p1, p0 := bits.Mul64(y, g.inverse)
	shift := (60 - g.k) & 63
	d := int64(p0>>shift|p1<<(64-shift)) - int64(g.centre)
	least, most := uint64(max(d-1, -d-2, 0)), uint64(max(d+2, 1-d))
	// In units of 2^(−64) γ is a square over 2⁴⁷.
	p1, p0 = bits.Mul64(least, least)
	whole, low = p1>>47, p1<<17|p0>>47
	p1, p0 = bits.Mul64(most, most)
	high, carry := bits.Add64(p1<<17|p0>>47, 1, 0)
	return whole, low, high, p1>>47+carry == whole
}

// fraction is num/den, 0 ≤ num < den.
type fraction struct{ num, den *big.Int }

// wide returns γ as a whole number and a fraction: with s = m/2^k,
// γ = (y·t·4^k − m²)²/(2·m²·t²·4^k).
func (g DiscreteGaussian) wide(y uint64) (*fraction, uint64) {
	number := func(v uint64) *big.Int { return new(big.Int).SetUint64(v) }
	m, t := number(g.m), number(g.proposal.t)
	num := new(big.Int).Mul(number(y), t)
	num.Lsh(num, 2*g.k)
	num.Sub(num, new(big.Int).Mul(m, m))
	num.Mul(num, num)
	den := new(big.Int).Mul(m, t)
	den.Mul(den, den)
	den.Lsh(den, 2*g.k+1)
	whole, num := new(big.Int).QuoRem(num, den, num)
	// |y| < 2¹⁰·t and t ≤ s + 1 ≤ 257·s keep γ below 2³⁷.
	return &fraction{num, den}, whole.Uint64()
}

// above says whether R·k < f for the uniform R that begins with the word u.
func (f *fraction) above(u, k uint64, b Bits) bool {
	num := new(big.Int).Set(f.num)
	den := new(big.Int).Mul(f.den, new(big.Int).SetUint64(k))
	for {
		// R = (u + R')/2⁶⁴, and R < num/den is R' < (num·2⁶⁴ − u·den)/den.
		num.Lsh(num, 64)
		num.Sub(num, new(big.Int).Mul(new(big.Int).SetUint64(u), den))
		if num.Sign() <= 0 {
			return false
		}
		if num.Cmp(den) >= 0 {
			return true
		}
		u = b.Uint64()
	}
}

// bernoulliExp is true with probability e^(−num/den), num ≤ den < 2⁵³: the first
// trial of probability num/(k·den), k = 1, 2, …, that fails has an odd number
// (Algorithm 1).
func bernoulliExp(num, den uint64, b Bits) bool {
	for k := uint64(1); k < maxTerms; k++ {
		if !belowFraction(b.Uint64(), num, k*den, b) {
			return k&1 == 1
		}
	}
	panic(brokenGenerator)
}

// geometric returns v with probability e^(−v)·(1 − 1/e).
func geometric(b Bits) uint64 {
	for v := range uint64(maxTerms) {
		if !bernoulliExpOne(b) {
			return v
		}
	}
	panic(brokenGenerator)
}

// inverseFactorials are ⌊2⁶⁴/k!⌋ for 2 ≤ k ≤ 20.
var inverseFactorials = func() (t [21]uint64) {
	factorial := uint64(1)
	for k := uint64(2); k <= 20; k++ {
		factorial *= k
		t[k], _ = bits.Div64(1, 0, factorial)
	}
	return t
}()

// bernoulliExpOne is true with probability 1/e. It is Algorithm 1 for γ = 1, whose k-th
// trial has probability 1/k, with one uniform R for all trials up to the
// twentieth: the first k succeed with probability 1/k!, and do so here where
// R < 1/k!.
func bernoulliExpOne(b Bits) bool {
	u := b.Uint64()
	factorial := uint64(1)
	for k := uint64(2); k <= 20; k++ {
		factorial *= k
		if u < inverseFactorials[k] {
			continue
		}
		// Where u does not decide, further digits of R do; of such an R the next
		// trial needs no digit more.
		if u > inverseFactorials[k] || !belowFraction(u, 1, factorial, b) {
			return k&1 == 1
		}
	}
	for k := uint64(21); k < maxTerms; k++ {
		if !belowFraction(b.Uint64(), 1, k, b) {
			return k&1 == 1
		}
	}
	panic(brokenGenerator)
}

// belowFraction says whether R < num/den for the uniform R that begins with the word u:
// num ≤ den < 2⁶³.
func belowFraction(u, num, den uint64, b Bits) bool {
	for {
		// R = (u + R')/2⁶⁴, and R < num/den is R' < (num·2⁶⁴ − u·den)/den.
		p1, p0 := bits.Mul64(u, den)
		low, borrow := bits.Sub64(0, p0, 0)
		high, borrow := bits.Sub64(num, p1, borrow)
		if borrow != 0 || high|low == 0 {
			return false
		}
		if high != 0 || low >= den {
			return true
		}
		num, u = low, b.Uint64()
	}
}
