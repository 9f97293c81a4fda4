package privacy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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
// The law is exact. A sign and a bit string without end are drawn from [Bits],
// as many digits of it as are needed; the string spells a real uniform V, and
// |Z| is the real number with 2Φ̄(|Z|) = V. What is returned is the rounding of
// that number, decided in three stages, none of which guesses:
//
//  1. From 127 bits of V a table of polynomials gives an interval of width about
//     2^(−60) that holds |Z|, in integer arithmetic, with a proven bound that is
//     the same over the whole range (see normal_table.go). If all of σ|Z|/g
//     rounds alike, done. A boundary between two lattice points falls into the
//     interval with probability at most 2^(−57)·max(1, σ/g).
//  2. The same evaluation kept to width 21·2^(−69): undecided with probability
//     below 2^(−63)·max(1, σ/g).
//  3. The boundary itself is compared with |Z| through the tail:
//     |Z| > (k+½)g/σ if and only if V < 2Φ̄((k+½)g/σ), evaluated in integers of any
//     width with more digits of V until the answer no longer depends on the rest.
//     Strings with 58 leading zeros or more, of probability 2^(−58), come here
//     directly: they spell values beyond 8.6 standard deviations.
//
// No step rounds, no tail is cut, and no comparison involves data. Ties have
// probability zero.
//
// What time tells. Stages 1 and 2 take the same steps for any value, and the
// chance of leaving them does not depend on the value's size, but for those
// 2^(−58). The one thing in them that the value decides is which line of the
// table is read; the table, 116 KiB, stays in a processor's second cache. A
// stage 3 comparison takes some tens of microseconds, more for a larger value:
// at σ/g = 2³⁰ there is less than one in 10⁹ draws.
type Gaussian struct {
	table *table
	m     uint64 // σ/g = m/2^(shift+4)
	shift uint   // between 9 and 60
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
	_, exp := math.Frexp(ratio)
	exp = max(exp, 0)
	// Exact: at most 53 significant bits, the lowest at 2³ or above.
	return Gaussian{table: normalTable(), m: uint64(math.Ldexp(ratio, 64-exp)), shift: uint(60 - exp)}, nil
}

// Draw returns one variate, in units of the spacing. Its absolute value stays
// below 2⁵⁸. It panics where the generator yields 4,096 zeros.
func (g Gaussian) Draw(b Bits) int64 {
	w1, w2 := b.Uint64(), b.Uint64()
	v, ok := g.quick(w1, w2)
	if !ok {
		v = g.decide(w1, w2, b)
	}
	return v
}

// Fill draws len(dst) independent variates: what as many calls of Draw return.
func (g Gaussian) Fill(dst []int64, b Bits) {
	s := streamOf(b)
	if s == nil {
		for i := range dst {
			dst[i] = g.Draw(b)
		}
		return
	}
	for len(dst) > 0 {
		// The words are read where the cipher left them: no call a word.
		words := s.ahead()
		n := min(len(dst), len(words)/16)
		if n == 0 {
			dst[0] = g.Draw(b)
			dst = dst[1:]
			continue
		}
		done := g.fill(dst[:n], words)
		if done == n {
			s.skip(16 * n)
			dst = dst[n:]
			continue
		}
		w1 := binary.LittleEndian.Uint64(words[16*done:])
		w2 := binary.LittleEndian.Uint64(words[16*done+8:])
		s.skip(16*done + 16)
		dst[done] = g.decide(w1, w2, b)
		dst = dst[done+1:]
	}
}

// fill draws from two words each and stops at the first that is not decided.
func (g Gaussian) fill(dst []int64, words []byte) int {
	for i := range dst {
		w := words[:16]
		words = words[16:]
		v, ok := g.quick(binary.LittleEndian.Uint64(w), binary.LittleEndian.Uint64(w[8:]))
		if !ok {
			return i
		}
		dst[i] = v
	}
	return len(dst)
}

// quick is stage 1. With X the value of the table in units of 2^(−60), rounded
// down, |Z|·2⁶⁰ lies in [X, X + 1 + normalWidth/2⁹), hence σ|Z|/g in units of
// 2^(−shift−64) lies in [X·m, X·m + 2m), and m < 2⁶⁴: the high word of that number
// is that of X·m or at most two more. The rounding is open only if adding two
// carries into the integer part.
func (g Gaussian) quick(w1, w2 uint64) (int64, bool) {
	c, tau := g.table.at(w1, w2)
	x := c[0] + horner(c, tau)>>bitsF
	high, _ := bits.Mul64(x, g.m)
	shift := g.shift & 63
	high += 1 << shift >> 1 // below 2⁶⁴: x < 9·2⁶⁰
	k := high >> shift
	sign := -(w2 & 1)
	return int64(k ^ sign - sign), (high+2)>>shift == k && w1>>(64-octaves) != 0
}

// decide is stages 2 and 3.
func (g Gaussian) decide(w1, w2 uint64, b Bits) int64 {
	var k uint64
	if w1>>(64-octaves) != 0 {
		low, high := g.bracket(w1, w2)
		if k = low; low != high {
			k = newVariate(w1, w2, b).round(low, high, g.m, g.shift+4)
		}
	} else {
		v := newVariate(w1, w2, b)
		k = v.round(0, g.bound(v.e), g.m, g.shift+4)
	}
	sign := -(w2 & 1)
	return int64(k ^ sign - sign)
}

// bracket is stage 2: the lowest and the highest integer that may be nearest to
// σ|Z|/g, from the interval of width normalWidth·2^(−69) for |Z|.
func (g Gaussian) bracket(w1, w2 uint64) (low, high uint64) {
	c, tau := g.table.at(w1, w2)
	x0, carry := bits.Add64(c[0]<<bitsF, horner(c, tau), 0)
	x1 := c[0]>>(64-bitsF) + carry
	// p = x·m + half, in units of 2^(−shift−73)
	p1, p0 := bits.Mul64(x0, g.m)
	p2, mid := bits.Mul64(x1, g.m)
	p1, carry = bits.Add64(p1, mid, 0)
	p2 += carry
	halfHi, halfLo := shiftedOne(g.shift + 72 - 64)
	p1, carry = bits.Add64(p1, halfLo, 0)
	p2, _ = bits.Add64(p2, halfHi, carry)
	low = shiftRight(p2, p1, g.shift+73-64)

	w1m, w0m := bits.Mul64(normalWidth, g.m)
	_, carry = bits.Add64(p0, w0m, 0)
	p1, carry = bits.Add64(p1, w1m, carry)
	return low, shiftRight(p2+carry, p1, g.shift+73-64)
}

// bound returns the largest integer that σ|Z|/g may round to given e:
// 2^(−e−1) < V ≤ exp(−Z²/2).
func (g Gaussian) bound(e uint) uint64 {
	z := math.Sqrt(2 * math.Ln2 * float64(e+1))
	return uint64(math.Ldexp(float64(g.m), -int(g.shift)-4)*z*1.001 + 0.5)
}

// shiftedOne returns 2^n as two words, n < 128.
func shiftedOne(n uint) (hi, lo uint64) {
	if n >= 64 {
		return 1 << (n - 64), 0
	}
	return 0, 1 << n
}

// shiftRight returns the low word of (hi, lo) >> n, 0 < n < 128.
func shiftRight(hi, lo uint64, n uint) uint64 {
	if n >= 64 {
		return hi >> (n - 64)
	}
	return hi<<(64-n) | lo>>n
}
