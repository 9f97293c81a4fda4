package privacy

import (
	"fmt"
	"math"
	"math/big"
)

// Bernoulli decides with probability exactly q for a float64 q. The binary
// expansion of q is finite; a lazily drawn uniform is compared with it word by
// word, so that the rate that runs is the rate that is accounted, not one
// rounded to the width of a generator.
type Bernoulli struct {
	words []uint64 // expansion of q, most significant word first
	one   bool     // q = 1
}

// NewBernoulli returns the coin of probability q. Domain 0 < q ≤ 1, else
// ErrDomain.
func NewBernoulli(q float64) (Bernoulli, error) {
	if !(q > 0 && q <= 1) {
		return Bernoulli{}, fmt.Errorf("sampling rate must be above 0 and at most 1: %w", ErrDomain)
	}
	if q == 1 {
		return Bernoulli{one: true}, nil
	}
	// q = m·2^e with 53-bit m: the expansion ends at bit −e.
	frac, exp := math.Frexp(q)
	m := new(big.Int).SetUint64(uint64(math.Ldexp(frac, 53)))
	fractionBits := 53 - exp
	n := (fractionBits + 63) / 64
	m.Lsh(m, uint(64*n-fractionBits))
	words := make([]uint64, n)
	mask := new(big.Int).SetUint64(math.MaxUint64)
	for i := n - 1; i >= 0; i-- {
		words[i] = new(big.Int).And(m, mask).Uint64()
		m.Rsh(m, 64)
	}
	return Bernoulli{words: words}, nil
}

// Draw is true with probability q.
func (c Bernoulli) Draw(b Bits) bool {
	if c.one {
		return true
	}
	for _, w := range c.words {
		if u := b.Uint64(); u != w {
			return u < w
		}
	}
	return false // equal to q in every digit: not below it
}

// Sample appends to dst[:0] the numbers of the units among 0 … n−1 that join a
// Poisson batch: every unit independently with probability q. With q = 1 it is
// every unit. The result is private: its length is a function of the data.
func (c Bernoulli) Sample(dst []uint32, n int, b Bits) []uint32 {
	dst = dst[:0]
	for i := range n {
		if c.Draw(b) {
			dst = append(dst, uint32(i))
		}
	}
	return dst
}
