package privacy

import (
	"encoding/binary"
	"math"
	"math/big"
	"testing"
)

// gapRates have tables: the ends of the domain, what runs use, and between.
var gapRates = []float64{gapsFrom, 1e-5, 0.001, 0.0707, math.Nextafter(skipBelow, 0), 0.5}

// settleOne is settle for one word with 64 units left.
func settleOne(c Bernoulli, u uint64) (gap int, done bool) {
	if c.gaps == nil {
		return 0, false
	}
	var units [drawAhead]uint32
	var words [8 * drawAhead]byte
	const from = 5
	binary.LittleEndian.PutUint64(words[8*from:], u)
	i, after := c.gaps.settle(&units, &words, from, 7, 71)
	if i == from {
		return 0, false
	}
	if i != from+1 || after != int(units[from])+1 {
		panic("settle goes on beyond a word of zero")
	}
	return int(units[from]) - 7, true
}

// gapWords are words from 2⁵³ on: of all sizes, and at the ends and the middle of
// every cell, where the chord is nearest and farthest.
func gapWords() (out []uint64) {
	src := NewSeeded(9, "gap words")
	for i := 0; i < 1<<nodeBits; i += 1 + i%2 {
		out = append(out, src.Uint64()>>(src.Uint64()%leadBits)|1<<53)
		lead := 1<<63 | uint64(i)<<(63-nodeBits)
		for _, place := range []uint64{0, 1 << (62 - nodeBits), 1<<(63-nodeBits) - 1} {
			out = append(out, (lead|place)>>(i%leadBits))
		}
	}
	return append(out, 1<<53, math.MaxUint64)
}

// gapError returns the largest error of the values of the words, in steps times
// λ beyond four whole ones, against a logarithm in 160 bits.
func gapError(c Bernoulli, words []uint64, logs [][2]*big.Float) float64 {
	inverse := lambdaInverse(c.q)
	scale := c.scale / (1 << fine)
	worst := 0.0
	for i, u := range words {
		for _, log := range logs[i] {
			d := new(big.Float).Mul(log, inverse) // −gap
			d.SetMantExp(d, 32)
			d.Add(d, new(big.Float).SetInt64(int64(c.gaps.value(u))))
			e, _ := d.Float64()
			worst = max(worst, (math.Abs(e)-4)/scale)
		}
	}
	return worst
}

// TestGapValue measures the error that the proof at gapTable bounds. It comes
// near the bound, as that of a chord must, and a node that is wrong by 50/λ steps
// is found.
func TestGapValue(t *testing.T) {
	words := gapWords()
	if testing.Short() {
		words = words[:len(words)/8]
	}
	logs := make([][2]*big.Float, len(words))
	for i, u := range words {
		logs[i] = [2]*big.Float{wideLog(u, 0), wideLog(u, 1)} // either end of [u, u+1)/2⁶⁴
	}
	for _, q := range gapRates {
		c := skipsAt(t, q)
		worst := gapError(c, words, logs)
		t.Logf("q = %g: largest error %.2f/λ + 4 steps", q, worst)
		if worst > 65.01 {
			t.Errorf("q = %g: values are off by %.3g/λ + 4 steps", q, worst)
		}
		if c.scale > 0x1p30 && worst < 60 {
			t.Error("the reference follows the table")
		}
		wrong := *c.gaps
		wrong.nodes[3] += uint64(50 * c.scale / (1 << fine))
		c.gaps = &wrong
		if worst := gapError(c, words, logs); worst < 65.01 && c.scale > 0x1p30 {
			t.Errorf("q = %g: a wrong node is not noticed, %.3g/λ", q, worst)
		}
	}
	for _, u := range []uint64{0, 1, 1<<53 - 1} {
		if c := skipsAt(t, 0.01); c.gaps.value(u)>>32 < 1<<31 {
			t.Errorf("the word %x, too short for the table, has a gap", u)
		}
	}
}

// TestGapTableAgrees: around edges (1−q)^k, the words that settle leaves open are
// an interval; the nearest to it on either side, and those beyond by powers of
// two, are settled as exact arithmetic decides. The interval is neither empty nor
// wider than twice near; together the intervals have a share of about 2⁻²⁵/q, as
// Bernoulli says. A table whose near is too small by a quarter is found out: it
// settles some of them wrongly.
func TestGapTableAgrees(t *testing.T) {
	for _, q := range gapRates {
		c := skipsAt(t, q)
		wrong, share, edges := settledWrongly(t, c)
		if wrong != 0 {
			t.Errorf("q = %g: %d words are settled otherwise than exactly", q, wrong)
		}
		if share < 0.9 || share > 1.1 {
			t.Errorf("q = %g: around %d edges a share of %.3f times 2·near is left open", q, edges, share)
		}
		naive := *c.gaps
		naive.near = naive.near / 4 * 3
		c.gaps = &naive
		if wrong, _, _ := settledWrongly(t, c); wrong == 0 && q < 0.01 {
			t.Errorf("q = %g: too small a margin is not found out", q)
		}
	}
}

// settledWrongly counts the words around edges that settle decides otherwise than wide,
// and compares the share that it leaves open with 2·near over 2³².
func settledWrongly(t *testing.T, c Bernoulli) (wrong int, share float64, edges int) {
	t.Helper()
	var open, expected float64
	check := func(u uint64) {
		if got, done := settleOne(c, u); done && got != c.wide(u, 64, new(words)) {
			wrong++
		}
	}
	for k := 1; k <= 30; k++ {
		edge := powerFloor(c.q, k, 64).Uint64()
		if edge < 1<<54 {
			break
		}
		edges++
		for _, up := range []bool{false, true} {
			at := func(n uint64) uint64 {
				if up {
					return edge + n
				}
				return edge - n
			}
			n := uint64(0)
			for step := uint64(1) << 40; step > 0; step /= 2 {
				if _, done := settleOne(c, at(n+step)); !done {
					n += step
				}
			}
			open += float64(n)
			for j := 0; j < 40; j += 2 {
				check(at(n + 1<<j))
				check(at(n - n>>j))
			}
		}
		// d(gap)/du is 1/(λu).
		expected += 2 * float64(c.gaps.near) * 0x1p-32 * float64(edge) * -math.Log1p(-c.q)
	}
	return wrong, open / expected, edges
}
