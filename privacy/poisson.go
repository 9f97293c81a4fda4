package privacy

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"sync"
)

// Bernoulli samples Poisson batches: every unit joins independently with
// probability exactly q for a float64 q, so that the rate that runs is the rate
// that is accounted, not one rounded to the width of a generator.
//
// Two methods give that law, chosen by q, which is public.
//
// Skips, for q below 1/4. The number G of units passed over before the next
// one that joins has P(G ≥ k) = (1−q)^k. For a real uniform U in [0, 1),
// U < (1−q)^k has just that probability for every k, and these events shrink as
// k grows, so the largest k with U < (1−q)^k has the law of G; it is
// ⌊log U / log(1−q)⌋. U is a string of binary digits of which 64 are drawn. Three
// evaluations decide the floor, each where the one before it cannot: a table of
// integers (see gapTable) for all but about 2⁻²⁵/q of all strings, a float64
// logarithm (see estimate) for all but about 2⁻⁴⁵/q, both with a proven bound on
// their error, and wide, which compares intervals of integers and draws further
// digits until they do not overlap. So no rounding can decide anything, whatever
// machine, compiler or fused product computes it. One word a unit that joins,
// nothing for the rest; a gap that reaches past the last unit ends the batch,
// which loses nothing, since by P(G ≥ j+k) = P(G ≥ j)·P(G ≥ k) the units beyond
// are independent of it.
//
// Planes, for larger q. The binary expansion of q is finite. A uniform for each
// of 64 units is compared with it digit by digit, all 64 at once: one word is
// one digit of each. The first digit that differs decides a unit; a unit equal
// in every digit is not below q. About 7.3 words decide 64 units, fewer where
// the expansion of q is shorter.
//
// Source: Devroye 1986, Non-Uniform Random Variate Generation, chapter X.2
// (inversion of the geometric law), chapter XV.1 (comparison by digits).
type Bernoulli struct {
	q     float64
	skips bool
	// Of planes: the binary digits of q after the point, the first one in the
	// highest bit, and how many there are up to the last 1.
	digits uint64
	length int
	// Of the evaluations of a gap, with λ = −log(1−q):
	scale  float64 // 2²⁴/λ, or 2⁹²⁴ if that is less
	margin float64 // bound on the error where the first word is at least 2⁵³
	table  *logTables
	gaps   *gapTable // nil for tiny rates
}

// fine is the logarithm of the number of steps in a gap of 1, in floats.
const fine = 24

// skipBelow is the rate from which comparing planes costs less than skipping.
const skipBelow = 1.0 / 4

// NewBernoulli returns the sampler of rate q. Domain 0 < q ≤ 1, subnormal
// numbers included, else ErrDomain.
func NewBernoulli(q float64) (Bernoulli, error) {
	if !(q > 0 && q <= 1) {
		return Bernoulli{}, fmt.Errorf("sampling rate must be above 0 and at most 1: %w", ErrDomain)
	}
	c := Bernoulli{q: q}
	switch {
	case q == 1:
	case q < skipBelow:
		c.prepareSkips()
	default:
		c.preparePlanes()
	}
	return c, nil
}

// preparePlanes readies the comparison by digits. Domain of q: [2⁻¹¹, 1), where
// its expansion ends within 64 digits.
func (c *Bernoulli) preparePlanes() {
	m, n := significand(c.q)
	c.digits = m.Uint64() << (64 - n)
	c.length = n
}

// prepareSkips readies the evaluation of gaps. Domain of q: (0, 1/2].
func (c *Bernoulli) prepareSkips() {
	c.skips = true
	c.scale = gapScale(c.q) * (1 << fine)
	c.margin = c.scale * 0x1p-46
	c.table = logTable()
	c.gaps = newGapTable(c)
}

// significand returns q as m/2^n with odd m, for 0 < q < 1.
func significand(q float64) (m *big.Int, n int) {
	frac, exp := math.Frexp(q)
	v := uint64(math.Ldexp(frac, 53))
	zeros := bits.TrailingZeros64(v)
	return new(big.Int).SetUint64(v >> zeros), 53 - exp - zeros
}

// Sample appends to dst[:0] the numbers of the units among 0 … n−1 that join a
// Poisson batch, in increasing order: every unit independently with probability
// q. With q = 1 it is every unit. Domain 0 ≤ n ≤ 2³¹; it panics otherwise.
//
// Units are independent, so a table read in parts is sampled part by part:
// calls for n₁, n₂, … units make up a Poisson batch of all n₁ + n₂ + … of them,
// the numbers counting from the start of each part.
//
// The result is private: its length is a function of the data. It is written
// beyond len(dst) only as far as it goes, so a dst with room for the batch
// saves an allocation.
func (c Bernoulli) Sample(dst []uint32, n int, b Bits) []uint32 {
	if n < 0 || n > 1<<31 {
		panic("privacy: a number of units outside its domain")
	}
	dst = dst[:0]
	switch {
	case c.q == 1:
		for i := range n {
			dst = append(dst, uint32(i))
		}
		return dst
	case c.skips:
		return c.skip(dst, n, b)
	default:
		return c.planes(dst, n, b)
	}
}

// drawAhead is the most words that skip draws before it looks at them.
const drawAhead = 64

// skip is Sample by gaps. It draws the words of about as many gaps as are to
// come, which lets their evaluations overlap; words that turn out to lie beyond
// the last unit are dropped, whatever they are.
func (c *Bernoulli) skip(dst []uint32, n int, b Bits) []uint32 {
	var words [8 * drawAhead]byte
	var units [drawAhead]uint32
	for next := 0; next < n; {
		draw := min(drawAhead, int(float64(n-next)*c.q)+1)
		fillBytes(words[:8*draw], b)
		clear(words[8*draw:]) // where settle stops
		for i := 0; ; i++ {
			if c.gaps != nil {
				i, next = c.gaps.settle(&units, &words, i, next, n)
			}
			if i == draw {
				break
			}
			k := c.gap(binary.LittleEndian.Uint64(words[8*i:]), n-next, b)
			if k == n-next {
				return append(dst, units[:i]...)
			}
			units[i] = uint32(next + k)
			next += k + 1
		}
		dst = append(dst, units[:draw]...)
	}
	return dst
}

// gap returns min(G, left) for the uniform that begins with the digits u.
func (c *Bernoulli) gap(u uint64, left int, b Bits) int {
	margin := c.margin
	if u < 1<<53 {
		margin = c.marginBelow(u)
	}
	t := c.estimate(u)
	low := t - margin
	if low >= float64(left)*(1<<fine) {
		return left
	}
	// From here on low < 2⁵⁵. The last condition fails for low below −2²⁴, where
	// the margin is large, and for u < 2, whose margin is +Inf.
	k := int(low * 0x1p-24)
	if t+margin < float64(k+1)*(1<<fine) {
		return k
	}
	return c.wide(u, left, b)
}

// planes is Sample by digits of 64 units at a time. The units beyond n in the
// last group, and words drawn ahead and not looked at, are dropped: they are
// independent of the others.
func (c *Bernoulli) planes(dst []uint32, n int, b Bits) []uint32 {
	var ahead [4 * drawAhead]uint64
	var words []uint64
	for first := 0; first < n; first += 64 {
		if len(words) < c.length {
			kept := copy(ahead[:], words)
			words = ahead[:max(c.length, min(len(ahead), (n-first+63)>>6<<3))]
			fill(words[kept:], b)
		}
		in, used := c.plane(words)
		words = words[used:]
		if n-first < 64 {
			in &= 1<<(n-first) - 1
		}
		for ; in != 0; in &= in - 1 {
			dst = append(dst, uint32(first+bits.TrailingZeros64(in)))
		}
	}
	return dst
}

// plane decides 64 units: bit i of in is 1 with probability q, independently.
// It looks at the first used of the words, which are at least c.length.
func (c *Bernoulli) plane(words []uint64) (in uint64, used int) {
	open := uint64(math.MaxUint64) // units whose digits so far are those of q
	for digits := c.digits; used < c.length && open != 0; used++ {
		u := words[used]
		one := uint64(int64(digits) >> 63) // the digit of q in every bit
		in |= open &^ u & one
		open &= u ^ ^one
		digits <<= 1
	}
	return in, used
}

// Table of estimate: the interval [1 + i/256, 1 + (i+1)/256) has the midpoint
// (513+2i)/512.
const tableSize = 256

type logStep struct{ inverse, log float64 } // of the midpoint

type logTables struct {
	steps [tableSize]logStep
	// (63−j)·log 2 for 2^j ≤ x < 2^(j+1), at the low six bits of the exponent of
	// the float64 x, which are those of j−1.
	exponents [64]float64
}

var logTable = sync.OnceValue(func() *logTables {
	var t logTables
	sum := twiceArtanh(1025) // log of the midpoint: log(513/512)
	for i := range t.steps {
		m := 513 + 2*i
		if i > 0 {
			sum.Add(sum, twiceArtanh(int64(m-1))) // log(m/(m−2))
		}
		t.steps[i].inverse = 512 / float64(m)
		t.steps[i].log, _ = sum.Float64()
	}
	for j := range int64(64) {
		v := twiceArtanh(3) // log 2
		v.Mul(v, new(big.Float).SetInt64(63-j))
		t.exponents[(j-1)&63], _ = v.Float64()
	}
	return &t
})

// widePrec is the precision of constants before their one rounding to float64.
const widePrec = 160

// twiceArtanh returns 2·artanh(1/d) = log((d+1)/(d−1)) = 2·Σ d^−(2j+1)/(2j+1),
// d > 2, to a relative error below 2⁻¹⁴⁰.
func twiceArtanh(d int64) *big.Float {
	float := func(v int64) *big.Float { return new(big.Float).SetPrec(widePrec).SetInt64(v) }
	power := float(2)
	power.Quo(power, float(d))
	ratio := float(1)
	ratio.Quo(ratio, float(d*d))
	sum := float(0)
	for j := int64(1); ; j += 2 {
		term := new(big.Float).Quo(power, float(j))
		if term.MantExp(nil) < sum.MantExp(nil)-widePrec {
			return sum
		}
		sum.Add(sum, term)
		power.Mul(power, ratio)
	}
}

// gapScale returns 1/λ with a relative error of at most 2⁻⁵³·(1 + 2⁻⁴⁰), where
// λ = −log(1−q) = Σ q^j/j; at most 2⁹⁰⁰. Domain 0 < q ≤ 1/2.
func gapScale(q float64) float64 {
	if q < 0x1p-900 {
		return 0x1p900
	}
	float := func(v float64) *big.Float { return new(big.Float).SetPrec(widePrec).SetFloat64(v) }
	sum, power := float(q), float(q)
	for j := 2.0; ; j++ {
		power.Mul(power, float(q))
		term := new(big.Float).Quo(power, float(j))
		if term.MantExp(nil) < sum.MantExp(nil)-widePrec {
			break
		}
		sum.Add(sum, term)
	}
	scale, _ := sum.Quo(float(1), sum).Float64()
	return scale
}

// estimate returns −log(U)/λ, in steps, for every U whose first 64 digits are u,
// up to an error of
//
//	2⁻⁴⁶·scale               for u ≥ 2⁵³,
//	(2/v + 2⁻⁴³)·scale       for smaller u, with v = ⌊u/2⌋ ≥ 1.
//
// Proof, with ε = 2⁻⁵³ and the numbers for u ≥ 2⁵³, so v ≥ 2⁵². U·2⁶³ lies in
// [v, v+1), and x is v rounded: relative to U·2⁶³ it is off by at most
// ε + 1/v ≤ 3ε. x = f·2^j exactly with 52 ≤ j ≤ 63 and 1 ≤ f < 2, so that
// −log(x/2⁶³) = (63−j)·log 2 − log f. With f̄ the midpoint of f's interval,
// log f = log f̄ + log(f/f̄); the table's inverse of f̄ and the product with f
// round once each, relative 2ε together; the product is within 2⁻⁹ of 1, so r
// is exact. What the series for log(1+r) leaves out is below
// |r|⁵/5·(1 + 2⁻⁸) < 51.5ε, and its own roundings, relative to r and less, make
// less than 0.02ε. log f̄ < 0.7 and (63−j)·log 2 ≤ 7.63 are rounded once: ε/2 and
// 4ε. Two subtractions with results below 8: 4ε each. In all less than 70ε. The
// product with scale, itself off by ε, adds 2·7.7ε, the caller's sum with its
// margin 7.7ε: less than 94ε·scale, where the margin allows 128ε·scale·(1−ε).
// For smaller u, j ≥ 0, so every quantity is below 45 and the same steps make
// less than 300ε + 1/v; the margin allows 1024ε + 2/v. Fewer roundings (products
// fused by a compiler) only help.
//
// The result is below 45·scale in size for every u, 0 included.
func (c *Bernoulli) estimate(u uint64) float64 {
	table := c.table
	x := math.Float64bits(float64(int64(u >> 1)))
	step := &table.steps[x>>44&(tableSize-1)]
	f := math.Float64frombits(x&(1<<52-1) | 1023<<52)
	r := float64(f*step.inverse) - 1
	log := r - r*r*(0.5-r*(1.0/3-r*0.25))
	return (table.exponents[x>>52&63] - step.log - log) * c.scale
}

// marginBelow is the bound of estimate for u < 2⁵³; +Inf for u < 2, which have
// no digit that tells anything.
func (c *Bernoulli) marginBelow(u uint64) float64 {
	return c.scale * (2/float64(u>>1) + 0x1p-43)
}

// wide returns min(G, left) for the uniform that begins with the digits first:
// the largest k with U < (1−q)^k, in exact arithmetic. It is the reference that
// the fast evaluation is tested against, and what decides where that does not.
func (c *Bernoulli) wide(first uint64, left int, b Bits) int {
	u := digits{value: new(big.Int).SetUint64(first), n: 64}
	m, n := significand(c.q)
	one := big.NewInt(1)
	m.Sub(new(big.Int).Lsh(one, uint(n)), m) // 1−q = m/2ⁿ
	// U < (1−q)^low holds, and U < (1−q)^high does not or high is left+1.
	low, high := 0, left+1
	for high-low > 1 {
		k := low + (high-low)/2
		if u.below(m, n, k, b) {
			low = k
		} else {
			high = k
		}
	}
	return low
}

// digits are the first n binary digits of a real number in [0, 1), which lies in
// [value, value+1)/2ⁿ.
type digits struct {
	value *big.Int
	n     uint
}

// below says whether the number is less than (m/2ⁿ)^k, 0 < m < 2ⁿ, drawing
// digits until that is decided. The power is enclosed in integers over 2^p,
// with p larger by 96 than the number of digits: k ≤ 2³¹ products widen the
// enclosure by less than 2³³/2^p, so it is never what keeps a case open for
// long. A case stays open after d further digits with probability below
// 2^(1−d).
func (u *digits) below(m *big.Int, n, k int, b Bits) bool {
	for {
		p := u.n + 96
		low, high := enclosePower(m, n, k, p)
		end := new(big.Int).Add(u.value, big.NewInt(1))
		if end.Lsh(end, 96).Cmp(low) <= 0 {
			return true
		}
		if new(big.Int).Lsh(u.value, 96).Cmp(high) >= 0 {
			return false
		}
		u.value.Lsh(u.value, 64)
		u.value.Add(u.value, new(big.Int).SetUint64(b.Uint64()))
		u.n += 64
	}
}

// enclosePower returns integers with low ≤ (m/2ⁿ)^k·2^p ≤ high.
func enclosePower(m *big.Int, n, k int, p uint) (low, high *big.Int) {
	down := func(v *big.Int, shift uint) *big.Int { return v.Rsh(v, shift) }
	up := func(v *big.Int, shift uint) *big.Int { // −⌊−v/2^shift⌋
		return v.Neg(v.Neg(v).Rsh(v, shift))
	}
	one := new(big.Int).Lsh(big.NewInt(1), p)
	base := new(big.Int).Lsh(m, p)
	return power(down(new(big.Int).Set(base), uint(n)), k, one, func(v *big.Int) *big.Int { return down(v, p) }),
		power(up(base, uint(n)), k, one, func(v *big.Int) *big.Int { return up(v, p) })
}

// power returns base^k over the same denominator as one, every product rounded
// by round.
func power(base *big.Int, k int, one *big.Int, round func(*big.Int) *big.Int) *big.Int {
	out := new(big.Int).Set(one)
	for i := bits.Len(uint(k)) - 1; i >= 0; i-- {
		out = round(out.Mul(out, out))
		if k>>i&1 == 1 {
			out = round(out.Mul(out, base))
		}
	}
	return out
}
