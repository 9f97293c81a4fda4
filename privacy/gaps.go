package privacy

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// gapTable evaluates the gaps of most words in a few operations on integers. A
// gap of 1 has 2³² steps, so that the upper half of a value is the gap and the
// lower half says how far that is from another.
//
// Let e−1 be the number of zeros in front of the first 1 of a word u ≥ 2⁵³, and
// 1 ≤ f < 2 the number whose digits begin there. Then
//
//	−log(u/2⁶⁴)/λ = (e−1)·log 2/λ − log(f/2)/λ.
//
// The first term is one of eleven, the second is interpolated between nodes that
// are 2⁻¹¹ apart in f. All entries come from estimate.
//
// The value is off by less than 65.01/λ + 4 < near. Proof. −log is convex with a
// second derivative of at most 1 in f, so a chord lies above it by 0 to 2⁻²⁵ and
// the value by 0 to 128/λ steps. The place in the cell is cut to 20 digits, which
// adds less than the fall of a cell over 2²⁰, where that fall is at most 2²¹/λ
// and a rounding: 0 to 2/λ. Of both together gapCurve takes away the middle: 65/λ
// either way. For every U in [u, u+1)/2⁶⁴ the logarithm is that of u/2⁶⁴ up to
// 1/u ≤ 2⁻⁵³: 2⁻²¹/λ. The estimates are off by 2⁻¹⁴/λ each, and three are added.
// Roundings: 1/2 in each term of a difference and in the nodes, 1 in gapCurve and
// 1 in the product, which are cut.
type gapTable struct {
	near  uint32 // whole steps around a gap in which it may be another
	lead  [1 << leadBits]uint8
	whole [256]uint64 // by e ≤ leadBits+1, the last for words below 2⁵³
	nodes [1<<nodeBits + 1]uint64
}

const (
	leadBits     = 11 // first digits of a word, which tell e
	nodeBits     = 11 // next digits, which tell the cell
	fractionBits = 20 // next digits, which tell the place in it: with the fall of a cell a product below 2⁶⁴
	gapCurve     = 65
	gapMargin    = 68
	// gapsFrom is the least rate that has a table. An eighth of all gaps are left
	// open there; at lower rates, of 2³¹ units some 500 join.
	gapsFrom = 0x1p-22
)

// newGapTable returns the table of c, or nil where c.q is below gapsFrom. The
// rest of c is ready.
func newGapTable(c *Bernoulli) *gapTable {
	if c.q < gapsFrom {
		return nil
	}
	inverse := c.scale / (1 << fine)
	t := &gapTable{near: uint32(gapMargin*inverse) + 4}
	for i := range t.lead {
		t.lead[i] = uint8(bits.LeadingZeros64(uint64(i)<<(64-leadBits)|1<<(63-leadBits)) + 1)
	}
	steps := func(u uint64) uint64 { return uint64(math.Round(c.estimate(u) * (1 << (32 - fine)))) }
	for e := 1; e <= leadBits; e++ {
		// Below zero for e = 1: values of words near 2⁶⁴ wrap around, and are left open.
		t.whole[e] = steps(1<<(64-e)) - steps(1<<63) - uint64(gapCurve*inverse)
	}
	t.whole[leadBits+1] = 1 << 63 // past every unit
	for i := range 1 << nodeBits {
		t.nodes[i] = steps(1<<63 | uint64(i)<<(63-nodeBits))
	}
	return t
}

// settle takes the gaps of the words from place from on, as far as they are
// certain and lie before n, the first of them counted from unit next. It writes
// the units that join to their places, and returns the place where it stopped and
// the unit after the last. It stops at every word below 2⁵³.
//
// A gap is certain where the value is at least near away from both ends of
// [k, k+1): then the exact one lies between them, and on neither.
func (t *gapTable) settle(units *[drawAhead]uint32, words *[8 * drawAhead]byte, from, next, n int) (done, after int) {
	near, open := t.near, 2*t.near
	_, _ = units[0], words[0] // checks that are not repeated
	for i := uint(from); i < drawAhead; i++ {
		u := binary.LittleEndian.Uint64(words[8*i : 8*i+8])
		steps := t.value(u)
		unit := next + int(steps>>32)
		if uint32(steps)+near < open || unit >= n {
			return int(i), next
		}
		units[i] = uint32(unit)
		next = unit + 1
	}
	return drawAhead, next
}

// value returns the gap of a word in steps; for words below 2⁵³ one past every
// unit.
func (t *gapTable) value(u uint64) uint64 {
	e := t.lead[u>>(64-leadBits)]
	u <<= e & 63
	cell := u >> (64 - nodeBits)
	part := u << nodeBits >> (64 - fractionBits) * (t.nodes[cell] - t.nodes[cell+1]) >> fractionBits
	return t.whole[e] + t.nodes[cell] - part
}
