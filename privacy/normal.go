package privacy

import (
	"math"
	"math/big"
	"sync"
)

// variate is |Z| for a standard normal Z, known through the digits drawn so far
// of its tail probability
//
//	V = 2Φ̄(|Z|) = 2^(−e)·(1 − M/2)
//
// with e zeros before the first one of a random bit string and M the fraction
// that the bits after it spell. P(e = j) = 2^(−j−1) and M is uniform on (0, 1),
// so V is uniform on (0, 1); |Z| grows with e and with M.
type variate struct {
	e uint
	m *big.Int // the first n bits of M
	n uint
	b Bits
}

// maxZeros bounds e: more zeros, of probability 2^(−4096), are a broken
// generator.
const maxZeros = 1 << 12

// newVariate reads the bit string from the 127 bits w1, w2 (its lowest bit is
// the sign's) and from b as it needs more.
func newVariate(w1, w2 uint64, b Bits) *variate {
	s := new(big.Int).SetUint64(w1)
	s.Lsh(s, 63).Or(s, new(big.Int).SetUint64(w2>>1))
	length := uint(127)
	for s.Sign() == 0 {
		if length > maxZeros {
			panic("privacy: the generator yields zeros only")
		}
		s.SetUint64(b.Uint64())
		length += 64
	}
	n := uint(s.BitLen()) - 1
	return &variate{e: length - 1 - n, m: s.SetBit(s, int(n), 0), n: n, b: b}
}

// round returns the integer nearest to |Z|·m/2^q, one of low, …, high, by
// bisection with exact comparisons.
func (v *variate) round(low, high, m uint64, q uint) uint64 {
	den := new(big.Int).SetUint64(m)
	den.Lsh(den, 1)
	for low < high {
		k := low + (high-low)/2
		num := new(big.Int).SetUint64(2*k + 1)
		if v.exceeds(num.Lsh(num, q), den) {
			low = k + 1
		} else {
			high = k
		}
	}
	return low
}

// exceeds decides |Z| > num/den, that is V < 2Φ̄(num/den), drawing bits of M
// until the answer does not depend on the rest. It is exact: both sides are
// enclosed between integers, and equality has probability zero.
func (v *variate) exceeds(num, den *big.Int) bool {
	const guard = 8
	for {
		p := v.e + v.n + 1 + guard
		tail := twoTails(num, den, p)
		// top−1 ≤ V·2^(e+n+1) ≤ top
		top := new(big.Int).Lsh(big.NewInt(1), v.n+1)
		top.Sub(top, v.m)
		top.Lsh(top, guard)
		margin := big.NewInt(twoTailsError)
		d := new(big.Int).Sub(tail, top)
		if d.Cmp(margin) >= 0 {
			return true
		}
		d.Neg(d)
		if d.Cmp(margin.Add(margin, big.NewInt(1<<guard))) >= 0 {
			return false
		}
		v.m.Lsh(v.m, 64).Or(v.m, new(big.Int).SetUint64(v.b.Uint64()))
		v.n += 64
	}
}

// twoTailsError bounds the error of twoTails in units of 2^(−p).
const twoTailsError = 2

// twoTails returns 2Φ̄(b)·2^p for b = num/den, 0 ≤ b < 2⁷, with an absolute
// error below twoTailsError, by the series
//
//	2Φ̄(b) = 1 − √(2/π)·b·G(b²/2),   G(x) = Σ (−x)ⁿ/(n!(2n+1)) = ∫₀¹ e^(−xu²) du
//
// in integers of unit ε = 2^(−w), w = p + log₂ eˣ + 32. Proof of the bound:
//
//   - b is rounded down by less than ε and x by less than ε; both derivatives
//     (of 2Φ̄, and of G) are at most 0.8.
//   - u_n = xⁿ/n! is computed as U_n = ⌊U_(n−1)·x/n⌋, which loses
//     l_n ≤ l_(n−1)·x/n + 1, hence l_n ≤ Σ x^j/j! ≤ eˣ units, and its quotient by
//     2n+1 one more.
//   - The sum ends at the first n ≥ 2x+1 with U_n = 0: the true u_n is at most eˣ
//     units and the terms after it fall by half or more, so the rest of the sum
//     is at most 2eˣ units.
//
// With N ≤ 2¹⁶ terms G is off by at most (N+2)(eˣ+1) units; times b·0.8, plus a
// handful of units for √(2/π) and two products, less than 2^(w−p−8) units: a
// 256th of 2^(−p). The last shift adds less than one.
func twoTails(num, den *big.Int, p uint) *big.Int {
	fn, _ := new(big.Float).SetInt(num).Float64()
	fd, _ := new(big.Float).SetInt(den).Float64()
	approx := fn / fd * (1 + 1e-9)
	if !(approx < 1<<7) {
		panic("privacy: a normal tail beyond its domain")
	}
	half := approx * approx / 2
	w := p + uint(math.Ceil(half*math.Log2E)) + 32

	b := new(big.Int).Lsh(num, w)
	b.Quo(b, den)
	x := new(big.Int).Mul(b, b)
	x.Rsh(x, w+1)

	one := new(big.Int).Lsh(big.NewInt(1), w)
	u := new(big.Int).Set(one)
	sum := new(big.Int).Set(one)
	var product, term, small big.Int
	for n := int64(1); u.Sign() != 0 || float64(n) < 2*half+2; n++ {
		product.Mul(u, x)
		product.Rsh(&product, w)
		u.Quo(&product, small.SetInt64(n))
		term.Quo(u, small.SetInt64(2*n+1))
		if n&1 == 1 {
			sum.Sub(sum, &term)
		} else {
			sum.Add(sum, &term)
		}
	}
	sum.Mul(sum, b).Rsh(sum, w)
	sum.Mul(sum, rootTwoOverPi(w)).Rsh(sum, w)
	return one.Sub(one, sum).Rsh(one, w-p)
}

// rootTwoOverPi returns ⌊√(2/π)·2^w⌋ with an error below one.
func rootTwoOverPi(w uint) *big.Int {
	const kept = 512
	if w <= kept {
		return new(big.Int).Rsh(keptRoot(), kept-w)
	}
	return computeRoot(w)
}

var keptRoot = sync.OnceValue(func() *big.Int { return computeRoot(512) })

// computeRoot takes the root of 2/π with π = 16·arctan(1/5) − 4·arctan(1/239)
// (Machin) in integers with 64 bits to spare.
func computeRoot(w uint) *big.Int {
	v := w + 64
	arctan := func(n int64) *big.Int {
		power := new(big.Int).Lsh(big.NewInt(1), v)
		power.Quo(power, big.NewInt(n))
		sum := new(big.Int).Set(power)
		square := big.NewInt(n * n)
		for k := int64(1); power.Sign() != 0; k++ {
			power.Quo(power, square)
			t := new(big.Int).Quo(power, big.NewInt(2*k+1))
			if k&1 == 1 {
				sum.Sub(sum, t)
			} else {
				sum.Add(sum, t)
			}
		}
		return sum
	}
	pi := arctan(5)
	pi.Mul(pi, big.NewInt(4)).Sub(pi, arctan(239)).Lsh(pi, 2)
	q := new(big.Int).Lsh(big.NewInt(1), 2*v+1+v) // 2·2^(3v)/(π·2^v) = (2/π)·2^(2v)
	q.Quo(q, pi)
	return q.Sqrt(q).Rsh(q, 64)
}
