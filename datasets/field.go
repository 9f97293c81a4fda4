package datasets

import "math/bits"

// field is an element of the integers modulo p = 2¹²⁷ − 1, a prime, below 2¹²⁷;
// p itself stands for 0 beside 0, until normal.
type field struct{ hi, lo uint64 }

const low63 = 1<<63 - 1

// plus is x + y mod p.
func (x field) plus(y field) field {
	lo, carry := bits.Add64(x.lo, y.lo, 0)
	return field{x.hi + y.hi + carry, lo}.fold()
}

// fold brings a number below 2¹²⁸ below 2¹²⁷: 2¹²⁷ is 1 mod p.
func (x field) fold() field {
	lo, carry := bits.Add64(x.lo, x.hi>>63, 0)
	return field{x.hi&low63 + carry, lo}
}

// times is x·w mod p.
func (x field) times(w uint64) field {
	h0, lo := bits.Mul64(x.lo, w)
	h1, l1 := bits.Mul64(x.hi, w)
	mid, carry := bits.Add64(h0, l1, 0)
	top := h1 + carry // below 2⁶³, as x.hi is
	// top·2¹²⁸ + mid·2⁶⁴ + lo, with the bits from 127 on folded once.
	lo, carry = bits.Add64(lo, top<<1|mid>>63, 0)
	return field{mid&low63 + carry, lo}.fold()
}

// product is x·y mod p.
func (x field) product(y field) field {
	h0, l0 := bits.Mul64(x.lo, y.lo)
	h1, l1 := bits.Mul64(x.lo, y.hi)
	h2, l2 := bits.Mul64(x.hi, y.lo)
	h3, l3 := bits.Mul64(x.hi, y.hi)
	// The middle products are below 2¹²⁷ each: no carry out.
	l1, c := bits.Add64(l1, l2, 0)
	h1 += h2 + c
	w1, c := bits.Add64(h0, l1, 0)
	w2, c := bits.Add64(l3, h1, c)
	w3 := h3 + c
	// w3·2¹⁹² + w2·2¹²⁸ + w1·2⁶⁴ + l0, with the bits from 127 on folded once.
	lo, c := bits.Add64(l0, w2<<1|w1>>63, 0)
	return field{w1&low63 + (w3<<1 | w2>>63) + c, lo}.fold()
}

// normal is the one representative below p.
func (x field) normal() field {
	if x.hi == low63 && x.lo == 1<<64-1 {
		return field{}
	}
	return x
}

// prime61 is 2⁶¹ − 1.
const prime61 = 1<<61 - 1

// times61 is x·y mod 2⁶¹ − 1, below 2⁶¹, for x and y below 2⁶¹.
func times61(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return fold61(lo&prime61 + (hi<<3 | lo>>61))
}

// fold61 brings a number below 2⁶² below 2⁶¹: 2⁶¹ is 1.
func fold61(x uint64) uint64 {
	x = x&prime61 + x>>61
	if x >= prime61 {
		x -= prime61
	}
	return x
}
