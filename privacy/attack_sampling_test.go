package privacy

import (
	"fmt"
	"math"
	"math/bits"
	"testing"
)

// The threat here: the sampler is not the one that was accounted for. Batches
// over 64 units are kept as one word each and looked at for everything that
// Poisson sampling promises. Usual samplers (an epoch's shuffle cut in batches,
// the same with batches of random size, batches of fixed size) must be found
// out by it.

const attackUnits = 64

// samplerFaults are deviations in standard errors.
type samplerFaults struct {
	marginal, pair, size, lag float64
}

// The largest of 64 marginals has to stay within 5 standard errors, that of
// 2,016 pairs and that of 64 lags within 5.5, the variance of the size within
// 5.5: over seeds an honest sampler fails with probability below
// 64·5.8·10⁻⁷ + (2,016 + 64 + 1)·3.8·10⁻⁸ < 1.3·10⁻⁴. Of 10⁶ batches at q = 1/16
// that finds with probability 0.99 a unit's rate off by 2.9 %, a correlation of
// 0.008, a variance of the size off by 1.2 %.
func (f samplerFaults) found() bool {
	return f.marginal > 5 || f.pair > 5.5 || f.size > 5.5 || f.lag > 5.5
}

// examine measures the batches of a sampler that says its rate is q.
func examine(batches []uint64, q float64) (f samplerFaults) {
	n := float64(len(batches))
	// One bit row a unit.
	rowWords := (len(batches) + 63) / 64
	rows := make([]uint64, attackUnits*rowWords)
	var lagged [attackUnits]float64
	var squares float64
	for t, set := range batches {
		for s := set; s != 0; s &= s - 1 {
			rows[bits.TrailingZeros64(s)*rowWords+t/64] |= 1 << (t % 64)
		}
		if t > 0 {
			for s := set & batches[t-1]; s != 0; s &= s - 1 {
				lagged[bits.TrailingZeros64(s)]++
			}
		}
		d := float64(bits.OnesCount64(set)) - attackUnits*q
		squares += d * d
	}
	row := func(i int) []uint64 { return rows[i*rowWords : (i+1)*rowWords] }
	var rate [attackUnits]float64
	for i := range rate {
		ones := 0
		for _, w := range row(i) {
			ones += bits.OnesCount64(w)
		}
		rate[i] = float64(ones) / n
		f.marginal = max(f.marginal, math.Abs(rate[i]-q)*math.Sqrt(n/(q*(1-q))))
		f.lag = max(f.lag, math.Abs(lagged[i]/(n-1)-rate[i]*rate[i])/(q*(1-q))*math.Sqrt(n))
	}
	for i := range attackUnits {
		a := row(i)
		for j := range i {
			both := 0
			for k, w := range row(j) {
				both += bits.OnesCount64(a[k] & w)
			}
			f.pair = max(f.pair, math.Abs(float64(both)/n-rate[i]*rate[j])/(q*(1-q))*math.Sqrt(n))
		}
	}
	// Var of the squared deviation of a binomial: 2σ⁴ + σ²(1 − 6q(1−q)).
	v := attackUnits * q * (1 - q)
	f.size = math.Abs(squares/n-v) / math.Sqrt((2*v*v+v*(1-6*q*(1-q)))/n)
	return f
}

// poissonBatches draws from the sampler under test.
func poissonBatches(c Bernoulli, n int, b Bits) []uint64 {
	out := make([]uint64, n)
	var units []uint32
	for t := range out {
		units = c.Sample(units, attackUnits, b)
		for _, u := range units {
			out[t] |= 1 << u
		}
	}
	return out
}

// partBatches is poissonBatches of a table read in parts of 1, 20 and 43 units.
func partBatches(c Bernoulli, n int, b Bits) []uint64 {
	out := make([]uint64, n)
	var units []uint32
	for t := range out {
		at := 0
		for _, part := range []int{1, 20, 43} {
			units = c.Sample(units, part, b)
			for _, u := range units {
				out[t] |= 1 << (at + int(u))
			}
			at += part
		}
	}
	return out
}

// Controls. shuffled cuts an epoch's permutation into batches of the sizes that
// size yields; what is left of an epoch is the start of the next batch.
func shuffled(n int, size func() int, b Bits) []uint64 {
	out := make([]uint64, n)
	var left []int
	for t := range out {
		for range size() {
			if len(left) == 0 {
				left = permutation(b)
			}
			out[t] |= 1 << left[0]
			left = left[1:]
		}
	}
	return out
}

func permutation(b Bits) []int {
	p := make([]int, attackUnits)
	for i := range p {
		j := int(b.Uint64() % uint64(i+1))
		p[i], p[j] = p[j], i
	}
	return p
}

// fixedSize draws k of the units anew for every batch.
func fixedSize(n, k int, b Bits) []uint64 {
	out := make([]uint64, n)
	for t := range out {
		for _, u := range permutation(b)[:k] {
			out[t] |= 1 << u
		}
	}
	return out
}

// greedySkips is a skip sampler with a mistake: the unit after one that joined is
// passed over.
func greedySkips(c Bernoulli, n int, b Bits) []uint64 {
	out := make([]uint64, n)
	for t := range out {
		for next := c.gap(b.Uint64(), attackUnits, b); next < attackUnits; next += 2 + c.gap(b.Uint64(), attackUnits, b) {
			out[t] |= 1 << next
		}
	}
	return out
}

// poissonSized has the right marginals and sizes: only successive batches tell.
const poissonSized = "shuffle with Poisson-sized batches"

// TestSamplerIsAccountedFor at the figures of the threat: 10⁶ batches.
func TestSamplerIsAccountedFor(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	checkSampler(t, n, []float64{0.0625})
}

func checkSampler(t *testing.T, n int, rates []float64) {
	for _, q := range rates {
		for _, c := range []Bernoulli{skipsAt(t, q), planesAt(t, q)} {
			for _, m := range []struct {
				name string
				draw func(Bernoulli, int, Bits) []uint64
			}{{"whole", poissonBatches}, {"in parts", partBatches}} {
				f := examine(m.draw(c, n, NewSeeded(12, fmt.Sprint(q, c.skips, m.name))), q)
				t.Logf("q = %g, skips %v, %s: %+.2f", q, c.skips, m.name, f)
				if f.found() {
					t.Errorf("q = %g, skips %v, %s: %+.2f", q, c.skips, m.name, f)
				}
			}
		}
		k := int(q * attackUnits)
		src := NewSeeded(13, fmt.Sprint("controls", q))
		skips := skipsAt(t, q)
		var size []uint32
		binomial := func() int { size = skips.Sample(size, attackUnits, src); return len(size) }
		for _, control := range []struct {
			name    string
			batches []uint64
		}{
			{"shuffle", shuffled(n, func() int { return k }, src)},
			{poissonSized, shuffled(n, binomial, src)},
			{"batches of a fixed size", fixedSize(n, k, src)},
			{"a skip sampler that never takes neighbours", greedySkips(skips, n, src)},
			{"a rate 3 % too large", poissonBatches(skipsAt(t, q*1.03), n, src)},
			{"every batch used twice", twice(poissonBatches(skips, n/2, src))},
			{"two units that always join together", tied(poissonBatches(skips, n, src))},
		} {
			f := examine(control.batches, q)
			t.Logf("q = %g, %s: %+.2f", q, control.name, f)
			if !f.found() && !testing.Short() {
				t.Errorf("q = %g: %s passes", q, control.name)
			}
			if control.name == poissonSized && f.lag < 5.5 && !testing.Short() {
				t.Errorf("q = %g: %s leaves no trace in successive batches", q, control.name)
			}
		}
	}
}

func twice(batches []uint64) []uint64 {
	var out []uint64
	for _, b := range batches {
		out = append(out, b, b)
	}
	return out
}

func tied(batches []uint64) []uint64 {
	for i, b := range batches {
		batches[i] = b&^2 | b&1<<1
	}
	return batches
}
