package privacy

import (
	_ "embed" // the table
	"encoding/binary"
	"math/bits"
	"sync"
)

// The table approximates |Z| as a function of e and M (see variate) for
// e < octaves. M is cut into 2^segmentBits segments; with τ in [0, 1) the place
// within one,
//
//	|Z|·2⁶⁹ ≈ c₀·2⁹ + f + c₁τ + c₂τ² + … + c₈τ⁸
//
// in non-negative integers: all derivatives of |Z| by τ are positive. A segment
// is eight words, one line of cache: c₀ … c₆, and c₇·2³⁴ + c₈·2⁹ + f.
//
// Error bound. Let P be that polynomial and T the first 64 bits of τ. The
// evaluation is Horner's with products rounded down: at unit 2^(−69) each of the
// seven products inside loses less than one, and is then multiplied by τ < 1; the
// last loses less than one. The computed value X therefore satisfies
//
//	P(T) − 8 < X ≤ P(T),
//
// and 0 ≤ P(τ) − P(T) < 2^(−64)·sup P′ < 1 for the digits not yet drawn. The
// coefficients are such that 0 ≤ |Z|·2⁶⁹ − P(τ) ≤ 12 for every τ in every segment:
// TestTableBound proves it, segment by segment, from a Taylor expansion with its
// remainder in 300-bit arithmetic. Together
//
//	X ≤ |Z|·2⁶⁹ < X + normalWidth,   normalWidth = 21,
//
// whatever e and M are: the band that is left open is the same for small and for
// large values, and so is the path of the evaluation.
const (
	octaves     = 58 // e < octaves leaves 5 + 64 of the 127 bits for M
	segmentBits = 5
	normalWidth = 21
	tableBytes  = octaves << segmentBits * 64

	bitsC8, bitsF = 25, 9 // of the packed word, lowest last
)

// The file is made by its test in big arithmetic, which also compares it with
// what it makes.
//
//go:generate go test -run TestTableIsReproduced -update
//go:embed normal.tab
var tableFile string

// table has rows of zeros beyond octaves, so that an index of e and segment is
// always in range.
type table [64 << segmentBits][8]uint64

var normalTable = sync.OnceValue(func() *table {
	if len(tableFile) != tableBytes {
		panic("privacy: the table of the normal distribution has another size")
	}
	t := new(table)
	for i := range tableBytes / 8 {
		t[i/8][i%8] = binary.LittleEndian.Uint64([]byte(tableFile[8*i : 8*i+8]))
	}
	return t
})

// at returns the segment of the bit string w1, w2 and the first 64 bits of τ.
// Where e ≥ octaves the result means nothing.
func (t *table) at(w1, w2 uint64) (c *[8]uint64, tau uint64) {
	e := uint(bits.LeadingZeros64(w1 | 1)) // at most 63
	hi := w1<<((e+1)&63) | w2>>((63-e)&63)
	lo := w2 << ((e + 1) & 63)
	i := e<<segmentBits | uint(hi>>(64-segmentBits))
	return &t[i&(64<<segmentBits-1)], hi<<segmentBits | lo>>(64-segmentBits)
}

// horner returns f + c₁τ + … + c₈τ⁸ in units of 2^(−69).
func horner(c *[8]uint64, tau uint64) uint64 {
	last := c[7]
	a, _ := bits.Mul64(last>>bitsF&(1<<bitsC8-1), tau)
	a, _ = bits.Mul64(last>>(bitsC8+bitsF)+a, tau)
	a, _ = bits.Mul64(c[6]+a, tau)
	a, _ = bits.Mul64(c[5]+a, tau)
	a, _ = bits.Mul64(c[4]+a, tau)
	a, _ = bits.Mul64(c[3]+a, tau)
	a, _ = bits.Mul64(c[2]+a, tau)
	a, _ = bits.Mul64(c[1]+a, tau)
	return a + last&(1<<bitsF-1)
}
