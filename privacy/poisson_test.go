package privacy

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// words replays given words, then zeros.
type words []uint64

func (w *words) Uint64() uint64 {
	if len(*w) == 0 {
		return 0
	}
	v := (*w)[0]
	*w = (*w)[1:]
	return v
}

// counted counts the words that it hands on.
type counted struct {
	Bits
	n int
}

func (c *counted) Uint64() uint64 { c.n++; return c.Bits.Uint64() }

func bernoulli(t testing.TB, q float64) Bernoulli {
	t.Helper()
	c, err := NewBernoulli(q)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// planesFrom is the least rate of planes: a rate below it can have more than 64
// digits.
const planesFrom = 0x1p-11

// planesAt is the sampler of rate q ≥ planesFrom by planes, whatever Sample would
// choose.
func planesAt(t testing.TB, q float64) Bernoulli {
	t.Helper()
	c := bernoulli(t, q)
	c.skips = false
	c.preparePlanes()
	return c
}

// skipsAt is the sampler of rate q by skips, whatever Sample would choose.
func skipsAt(t testing.TB, q float64) Bernoulli {
	t.Helper()
	c := bernoulli(t, q)
	c.prepareSkips()
	return c
}

// coin is the plain twin of both methods: one unit, its uniform compared with q
// digit by digit.
func coin(q float64, b Bits) bool {
	m, n := significand(q)
	for i := 0; i < n; i += 64 {
		digit := word(new(big.Int).Rsh(new(big.Int).Lsh(m, uint(64+i)), uint(n)), 0)
		if u := b.Uint64(); u != digit {
			return u < digit
		}
	}
	return false
}

// word returns the digits of v worth 2^(64·i) to 2^(64·i+63).
func word(v *big.Int, i int) uint64 {
	w := new(big.Int).Rsh(v, uint(64*i))
	return w.And(w, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
}

func TestBernoulliDomain(t *testing.T) {
	for _, q := range []float64{0, -0.1, math.Nextafter(1, 2), math.NaN(), math.Inf(1)} {
		if _, err := NewBernoulli(q); err == nil {
			t.Errorf("rate %g is accepted", q)
		}
	}
	if c := bernoulli(t, 1); len(c.Sample(nil, 7, nil)) != 7 || len(c.Sample(nil, 0, nil)) != 0 {
		t.Error("q = 1 does not take everything")
	}
	defer func() {
		if recover() == nil {
			t.Error("more than 2³¹ units are accepted")
		}
	}()
	c := bernoulli(t, 1e-18)
	c.Sample(nil, 1<<31+1, NewSeeded(1, ""))
}

// testRates: short and long expansions, the ends of the domain, both sides of
// the change of method.
var testRates = []float64{
	math.SmallestNonzeroFloat64, 0x1p-1022, 0x1p-900, 1e-300, 1e-18, 0x1.fp-64, 0x1p-53, 1e-9, 1e-6, 0x1.0000000000001p-10,
	0.001, 0.01, 1.0 / 16, math.Nextafter(skipBelow, 0), skipBelow, 0.1, 0.125, 0.3, 0.5, 2.0 / 3, 0.999, 1 - 0x1p-53,
}

// powerFloor returns ⌊2^p·(1−q)^k⌋ by rational arithmetic without any rounding.
func powerFloor(q float64, k, p int) *big.Int {
	m, n := significand(q)
	m.Sub(new(big.Int).Lsh(big.NewInt(1), uint(n)), m)
	m.Exp(m, big.NewInt(int64(k)), nil)
	m.Lsh(m, uint(p))
	return m.Rsh(m, uint(n*k))
}

// TestBernoulliExact enumerates both sides of every decision. A gap is at least
// k exactly if U < (1−q)^k: with the digits of (1−q)^k to 256 places, a
// uniform that begins with them minus one is below; one that begins with them
// plus one is not, nor is the edge itself. That holds for the fast path
// followed by wide and for wide alone, whatever is left. In planes, a unit with
// the digits of q minus one joins, with those of q itself does not.
func TestBernoulliExact(t *testing.T) {
	for _, q := range testRates {
		if q < 0x1p-100 {
			continue // the rational powers have too many digits: see TestTinyRates
		}
		if q <= 0.5 {
			c := skipsAt(t, q)
			for k := 1; k <= 40; k++ {
				edge := powerFloor(q, k, 256)
				for _, off := range []int64{-2, -1, 0, 1, 2} {
					v := new(big.Int).Add(edge, big.NewInt(off))
					var u words
					for i := 3; i >= 0; i-- {
						u = append(u, word(v, i))
					}
					reached := off < 0 // U ∈ [v, v+1)/2^256
					if _, n := significand(q); off == 0 && n*k > 256 {
						continue // the digits that decide are not replayed
					}
					for left := k; left <= k+1; left++ {
						fast, again := slices.Clone(u), slices.Clone(u[1:])
						got := c.gap(fast.Uint64(), left, &fast)
						wide := c.wide(u[0], left, &again)
						if got != wide {
							t.Fatalf("q = %g, k = %d: gap %d, by wide arithmetic alone %d", q, k, got, wide)
						}
						if (got >= k) != reached {
							t.Fatalf("q = %g: U %+d beside (1−q)^%d gives the gap %d", q, off, k, got)
						}
					}
				}
			}
		}
		if q < planesFrom {
			continue
		}
		c := planesAt(t, q)
		m, n := significand(q)
		for _, off := range []int64{-1, 0, 1} {
			v := new(big.Int).Add(m, big.NewInt(off))
			if v.BitLen() > n {
				continue
			}
			// Unit 5 has the digits of v, all others only ones.
			var u words
			for i := n - 1; i >= 0; i-- {
				u = append(u, math.MaxUint64&^(uint64(1-v.Bit(i))<<5))
			}
			want := uint64(0)
			if off < 0 {
				want = 1 << 5
			}
			if got, used := c.plane(u); got != want || used > n {
				t.Fatalf("q = %g: the digits of q%+d·2⁻ⁿ: %b", q, off, got)
			}
		}
	}
}

// TestPlanesAreCoins compares planes, bit for bit, with one coin a unit that
// reads the same digits: the words of the planes, transposed.
func TestPlanesAreCoins(t *testing.T) {
	for _, q := range testRates {
		if q < planesFrom {
			continue
		}
		c := planesAt(t, q)
		src := NewSeeded(4, "planes")
		for range 200 {
			planes := make(words, 64)
			for i := range planes {
				planes[i] = src.Uint64()
			}
			var want uint64
			for unit := range 64 {
				own := words{0}
				for i, p := range planes {
					own[0] |= p >> unit & 1 << (63 - i)
				}
				if coin(q, &own) {
					want |= 1 << unit
				}
			}
			if got, _ := c.plane(planes); got != want {
				t.Fatalf("q = %g: planes %b, coins %b", q, got, want)
			}
		}
	}
}

// TestGapAgreesWithWide: the fast path and the exact reference give the same
// gap.
func TestGapAgreesWithWide(t *testing.T) { checkGapAgrees(t, 3000) }

func checkGapAgrees(t *testing.T, n int) {
	src := NewSeeded(6, "gaps")
	for i := range n {
		q := math.Ldexp(0.5+float64(src.Uint64()>>12)*0x1p-53, -int(src.Uint64()%40))
		if i%5 == 0 {
			q = testRates[i/5%len(testRates)]
		}
		if q > 0.5 {
			q /= 4
		}
		c := skipsAt(t, q)
		u := src.Uint64() >> (src.Uint64() % 64 * (src.Uint64() & 1))
		if src.Uint64()&3 == 0 {
			u = ^u
		}
		left := 1 << (src.Uint64() % 32)
		seed := src.Uint64()
		got := c.gap(u, left, NewSeeded(seed, "digits"))
		if want := c.wide(u, left, NewSeeded(seed, "digits")); got != want {
			t.Fatalf("q = %g, first word %x, %d left: gap %d, exactly %d", q, u, left, got, want)
		}
	}
}

// TestSettle: on both sides of every edge (1−q)^k, at distances of 1 to 2⁵⁰ in the
// first word, settle leaves the gap open or says what exact arithmetic says. It
// leaves open some, and few of those that are 2⁵⁰ away.
func TestSettle(t *testing.T) {
	var settled, open, farOpen int
	for _, q := range testRates {
		if q < 0x1p-53 || q > 0.5 {
			continue
		}
		c := skipsAt(t, q)
		for k := 1; k <= 20; k++ {
			edge := powerFloor(q, k, 64).Uint64()
			for j := 0; j <= 50; j += 2 {
				for _, u := range []uint64{edge - 1<<j, edge + 1<<j} {
					unit, done := settleOne(c, u)
					if !done {
						if open++; j == 50 && q > 0x1p-12 && q < 0.1 {
							farOpen++
						}
						continue
					}
					settled++
					if want := c.wide(u, 64, new(words)); unit != want {
						t.Fatalf("q = %g, word %x: settled as %d, exactly %d", q, u, unit, want)
					}
				}
			}
		}
	}
	if settled < 1000 || open < 1000 || farOpen > 10 {
		t.Errorf("%d settled, %d left open, %d of them far from an edge", settled, open, farOpen)
	}
}

// TestEstimate measures the error that estimate's proof bounds, against a
// logarithm in 160 bits.
func TestEstimate(t *testing.T) {
	src := NewSeeded(7, "estimate")
	worst := 0.0
	rates := []float64{0.07, 1e-3, 1e-9}
	var samplers []Bernoulli
	var inverse []*big.Float
	for _, q := range rates {
		samplers = append(samplers, bernoulli(t, q))
		inverse = append(inverse, lambdaInverse(q))
	}
	for i := range 2_000 {
		u := src.Uint64()
		if i%4 == 0 {
			u >>= src.Uint64() % 11
		}
		if i%16 == 1 { // around a step of the table
			u = 1<<63 | uint64(i%128)<<56 + src.Uint64()%4096 - 2048
		}
		if u < 1<<53 {
			continue
		}
		for _, end := range []uint64{0, 1} { // either end of [u, u+1)/2⁶⁴
			log := wideLog(u, end)
			for j, c := range samplers {
				d := new(big.Float).Mul(log, inverse[j]) // −gap
				d.SetMantExp(d, fine)
				d.Add(d, new(big.Float).SetFloat64(c.estimate(u)))
				e, _ := d.Float64()
				worst = max(worst, math.Abs(e)/c.scale)
			}
		}
	}
	t.Logf("largest error %.2g/λ, bound %.2g/λ", worst, 0x1p-46)
	if worst > 0x1p-46-0x1p-49 {
		t.Errorf("estimate is off by %g/λ", worst)
	}
	if worst < 0x1p-54 {
		t.Error("the reference follows the estimate")
	}
}

// wideLog returns log((u+end)/2⁶⁴) from the series of 2·artanh, apart from the
// table: u/2^63 ∈ [1, 2) after shifting, by the root of the root of the root.
func wideLog(u, end uint64) *big.Float {
	v := new(big.Float).SetPrec(widePrec).SetUint64(u)
	v.Add(v, new(big.Float).SetUint64(end))
	exp := v.MantExp(v) // v ∈ [½, 1)
	sum := wideSeries(v)
	two := wideSeries(new(big.Float).SetPrec(widePrec).SetFloat64(0.5))
	return sum.Sub(sum, two.Mul(two, new(big.Float).SetInt64(int64(exp-64))))
}

// wideSeries returns log v for v ∈ [½, 1]: eight times that of the eighth root.
func wideSeries(v *big.Float) *big.Float {
	v = new(big.Float).SetPrec(widePrec + 20).Set(v)
	for range 3 {
		v.Sqrt(v)
	}
	one := new(big.Float).SetPrec(widePrec + 20).SetInt64(1)
	z := new(big.Float).Quo(new(big.Float).Sub(v, one), new(big.Float).Add(v, one))
	z2 := new(big.Float).Mul(z, z)
	sum := new(big.Float).SetPrec(widePrec + 20)
	for j := int64(1); j < 60; j += 2 {
		sum.Add(sum, new(big.Float).Quo(z, new(big.Float).SetInt64(j)))
		z.Mul(z, z2)
	}
	return sum.Mul(sum, new(big.Float).SetInt64(16))
}

// lambdaInverse returns 1/−log(1−q) in 160 bits, by wideSeries.
func lambdaInverse(q float64) *big.Float {
	v := new(big.Float).SetPrec(widePrec + 20).SetFloat64(q)
	v.Sub(new(big.Float).SetPrec(widePrec+20).SetInt64(1), v)
	l := wideSeries(v)
	return l.Quo(new(big.Float).SetInt64(-1), l)
}

// TestUndecided: at the first word of (1−q)^k the fast path decides nothing, so
// further words are drawn, and both answers occur.
func TestUndecided(t *testing.T) {
	for _, q := range []float64{0.01, 0.3, 1e-6} {
		c := skipsAt(t, q)
		for _, k := range []int{1, 3, 50} {
			if _, n := significand(q); n*k <= 64 {
				continue // one word holds all digits of the edge
			}
			u := powerFloor(q, k, 64).Uint64()
			seen := map[int]bool{}
			for seed := range uint64(200) {
				more := counted{Bits: NewSeeded(seed, "")}
				seen[c.gap(u, 1000, &more)] = true
				if more.n == 0 {
					t.Fatalf("q = %g: the first word of (1−q)^%d decided by itself", q, k)
				}
			}
			edge := new(big.Int).And(powerFloor(q, k, 70), big.NewInt(63)).Uint64()
			if len(seen) > 2 || len(seen) < 2 && edge > 4 && edge < 60 {
				t.Errorf("q = %g, k = %d: gaps %v", q, k, seen)
			}
		}
	}
}

// TestUndecidedShare works out the share of first words that the fast path
// leaves open, by bisection on the word around every edge (1−q)^k: about 2⁻⁴⁵/q,
// as Bernoulli says, and not none.
func TestUndecidedShare(t *testing.T) {
	for _, q := range []float64{0.07, 0.02} {
		c := bernoulli(t, q)
		var open float64
		for k := 1; ; k++ {
			edge := powerFloor(q, k, 64).Uint64()
			if edge < 1<<54 {
				break
			}
			// The open words around an edge are one interval, but for a few roundings.
			reach := func(down bool) (n uint64) {
				at := func(n uint64) uint64 {
					if down {
						return edge - n
					}
					return edge + n
				}
				for step := uint64(1) << 40; step > 0; step /= 2 {
					if c.open(at(n + step)) {
						n += step
					}
				}
				return n
			}
			if !c.open(edge) {
				t.Fatalf("q = %g: the edge of the gap %d is not open", q, k)
			}
			open += float64(reach(false)+reach(true)) * 0x1p-64
		}
		t.Logf("q = %g: share %.3g, 2⁻⁴⁵/q = %.3g", q, open, 0x1p-45/q)
		if open > 1.2*0x1p-45/q || open < 0.5*0x1p-45/q {
			t.Errorf("q = %g: a share of %g is left to wide arithmetic, not about %g", q, open, 0x1p-45/q)
		}
	}
}

// open says whether gap leaves the word u to wide, u ≥ 2⁵³.
func (c *Bernoulli) open(u uint64) bool {
	t := c.estimate(u)
	return math.Floor((t-c.margin)*0x1p-24) != math.Floor((t+c.margin)*0x1p-24)
}

// TestTinyRates: at rates below 2⁻¹⁰⁰ no unit of 2³¹ joins, but for a uniform
// whose digits say so; 10⁶ calls cost a word each.
func TestTinyRates(t *testing.T) {
	for _, q := range []float64{math.SmallestNonzeroFloat64, 0x1p-1022, 1e-300, 0x1p-901, 0x1p-899, 1e-30} {
		c := bernoulli(t, q)
		src := counted{Bits: NewSeeded(1, "tiny")}
		for range 10_000 {
			if got := c.Sample(nil, 1<<31, &src); len(got) != 0 {
				t.Fatalf("q = %g: a unit joins", q)
			}
		}
		if src.n != 10_000 {
			t.Errorf("q = %g: %d words for 10,000 empty batches", q, src.n)
		}
		// U = 1 − q exactly is not below 1 − q: gap 0. One digit less is: gap ≥ 1.
		m, n := significand(q)
		size := (n + 63) / 64
		m.Lsh(m, uint(64*size-n))
		edge := new(big.Int).Lsh(big.NewInt(1), uint(64*size))
		edge.Sub(edge, m)
		for _, off := range []int64{0, -1} {
			v := new(big.Int).Add(edge, big.NewInt(off))
			var u words
			for i := size - 1; i >= 0; i-- {
				u = append(u, word(v, i))
			}
			if got := c.gap(u.Uint64(), 1, &u); got != int(-off) {
				t.Errorf("q = %g: U = 1−q%+d·2⁻ⁿ gives the gap %d", q, off, got)
			}
		}
	}
}

// TestEmptyRanges: over parts of 2³¹ units the number that join is Poisson to
// within the rate: 1e-9 joins 2.147 times a part on average; at 1e-18 a part is
// empty with probability 1 − 2.1·10⁻⁹, and so are 10⁶ of them with 0.998.
func TestEmptyRanges(t *testing.T) {
	c := bernoulli(t, 1e-9)
	src := NewSeeded(2, "parts")
	const parts = 20_000
	var joined, squares float64
	for range parts {
		k := float64(len(c.Sample(nil, 1<<31, src)))
		joined += k
		squares += k * k
	}
	mean := 0x1p31 * 1e-9
	limit := -distuv.UnitNormal.Quantile(alpha / 2)
	if z := (joined - parts*mean) / math.Sqrt(parts*mean); math.Abs(z) > limit {
		t.Errorf("mean number of a part: z = %.2f", z)
	}
	sd := math.Sqrt((mean + 2*mean*mean) / parts)
	if z := (squares/parts - joined/parts*joined/parts - mean) / sd; math.Abs(z) > limit {
		t.Errorf("variance of the number of a part: z = %.2f", z)
	}
	c = bernoulli(t, 1e-18)
	for range 1_000_000 {
		if len(c.Sample(nil, 1<<31, src)) != 0 {
			t.Fatal("q = 1e-18: a unit joins")
		}
	}
}

// gapsChiSquare compares the gaps between units that join with the geometric
// law of rate q, and returns its p-value. Each probability is exact to 10⁻¹⁴.
func gapsChiSquare(gaps []int, q float64) float64 {
	cells := 200
	edges := make([]int, 0, cells+1) // equal shares
	for i := range cells {
		k := int(math.Log1p(-float64(i)/float64(cells)) / math.Log1p(-q))
		if len(edges) == 0 || k > edges[len(edges)-1] {
			edges = append(edges, k)
		}
	}
	counts := make([]float64, len(edges))
	for _, g := range gaps {
		i, found := slices.BinarySearch(edges, g)
		if !found {
			i--
		}
		counts[i]++
	}
	var chi float64
	tail := func(k int) float64 { return math.Exp(float64(k) * math.Log1p(-q)) }
	for i, got := range counts {
		p := tail(edges[i])
		if i+1 < len(edges) {
			p -= tail(edges[i+1])
		}
		want := p * float64(len(gaps))
		chi += (got - want) * (got - want) / want
	}
	return distuv.ChiSquared{K: float64(len(edges) - 1)}.Survival(chi)
}

// TestGapLaw: chi-square of 10⁶ gaps for both methods. A rate off by 1.5 % is
// noticed with probability 0.99 at the false-alarm rate alpha, and here must be.
func TestGapLaw(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	checkGapLaw(t, n, 1.015)
}

func checkGapLaw(t *testing.T, n int, wrong float64) {
	for _, q := range []float64{1e-4, 0.01, 0.0707, 0.1, 0.3} {
		methods := []Bernoulli{skipsAt(t, q)}
		if q >= planesFrom {
			methods = append(methods, planesAt(t, q))
		}
		for _, c := range methods {
			src := NewSeeded(8, fmt.Sprint("gaps", q, c.skips))
			gaps := make([]int, 0, n)
			var batch []uint32
			at, last := 0, -1
			part := int(1000 / q)
			for len(gaps) < n {
				batch = c.Sample(batch, part, src)
				for _, u := range batch {
					if len(gaps) < n {
						gaps = append(gaps, at+int(u)-last-1)
					}
					last = at + int(u)
				}
				at += part
			}
			if p := gapsChiSquare(gaps, q); p < alpha {
				t.Errorf("q = %g, skips %v: p = %.2g", q, c.skips, p)
			}
			if p := gapsChiSquare(gaps, q*wrong); p > alpha && !testing.Short() {
				t.Errorf("q = %g, skips %v: a rate of %.2f q is not noticed, p = %.2g", q, c.skips, wrong, p)
			}
		}
	}
}

// TestNaiveRates works out, without any sampling, the rate that usual samplers
// realise: the share of their words for which a unit joins. Ours is q by
// TestBernoulliExact; theirs is a multiple of the reciprocal of the number of
// their words. The bisections are over words, with the samplers' own arithmetic.
func TestNaiveRates(t *testing.T) {
	firstJoins := func(n uint64, joins func(uint64) bool) uint64 { // joins is monotone, true at n
		lo, hi := uint64(0), n
		for lo < hi {
			if mid := lo + (hi-lo)/2; joins(mid) {
				hi = mid
			} else {
				lo = mid + 1
			}
		}
		return lo
	}
	gapIsZero := func(bits int, q float64) func(uint64) bool {
		return func(w uint64) bool {
			u := math.Ldexp(float64(w), -bits)
			return math.Floor(math.Log(u)/math.Log1p(-q)) == 0
		}
	}
	for _, c := range []struct {
		name    string
		q       float64
		bits    int
		least   float64 // least relative error of the realised rate that must be found
		realise func(q float64, bits int) uint64
	}{
		{"53-bit coin", 1e-18, 53, 100, func(q float64, bits int) uint64 {
			return firstJoins(1<<bits, func(w uint64) bool { return math.Ldexp(float64(w), -bits) >= q })
		}},
		{"53-bit coin", 1e-12, 53, 1e-6, func(q float64, bits int) uint64 {
			return firstJoins(1<<bits, func(w uint64) bool { return math.Ldexp(float64(w), -bits) >= q })
		}},
		{"53-bit gap", 1e-12, 53, 1e-6, func(q float64, bits int) uint64 {
			return 1<<bits - firstJoins(1<<bits, gapIsZero(bits, q))
		}},
		{"32-bit gap", 1e-9, 32, 0.05, func(q float64, bits int) uint64 {
			return 1<<bits - firstJoins(1<<bits, gapIsZero(bits, q))
		}},
		{"32-bit gap", 0.01, 32, 1e-10, func(q float64, bits int) uint64 {
			return 1<<bits - firstJoins(1<<bits, gapIsZero(bits, q))
		}},
	} {
		rate := new(big.Rat).SetFrac(new(big.Int).SetUint64(c.realise(c.q, c.bits)), new(big.Int).Lsh(big.NewInt(1), uint(c.bits)))
		q := new(big.Rat).SetFloat64(c.q)
		rel, _ := new(big.Rat).Quo(new(big.Rat).Sub(rate, q), q).Float64()
		realised, _ := rate.Float64()
		t.Logf("%s, q = %g: realised %.17g, relative error %.3g", c.name, c.q, realised, rel)
		if math.Abs(rel) < c.least {
			t.Errorf("%s, q = %g: relative error %g; the naive sampler should be found out", c.name, c.q, rel)
		}
	}
}

// FuzzSample: for any rate, number of units and words, what joins is strictly
// increasing and in range, equals what the exact reference selects from the
// same words.
func FuzzSample(f *testing.F) {
	f.Add(uint64(0x3f50624dd2f1a9fc), uint32(5000), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(uint64(1), uint32(1<<20), []byte{})
	f.Add(math.Float64bits(0.0005), uint32(1<<20), make([]byte, 8)) // a gap that needs further digits
	f.Add(uint64(0x3fefffffffffffff), uint32(130), []byte("12345678"))
	for i, q := range testRates {
		f.Add(math.Float64bits(q), uint32(1)<<(i%20)+uint32(i), binary.LittleEndian.AppendUint64(nil, uint64(i)<<50))
	}
	f.Fuzz(func(t *testing.T, rate uint64, n uint32, raw []byte) {
		q := math.Float64frombits(rate)
		c, err := NewBernoulli(q)
		if err != nil {
			return
		}
		units := int(n % (1 << 16))
		if q < 1e-3 {
			units = int(n % (1<<31 + 1))
		}
		var given []uint64
		for len(raw) >= 8 && len(given) < 100 {
			given = append(given, binary.LittleEndian.Uint64(raw))
			raw = raw[8:]
		}
		if float64(units)*q > 1e5 {
			units = 1 << 16
		}
		replay := func() Bits { return &then{slices.Clone(given), NewSeeded(rate, "fuzz")} }
		got := c.Sample(make([]uint32, 3), units, replay())
		for i, u := range got {
			if int(u) >= units || i > 0 && u <= got[i-1] {
				t.Fatalf("q = %g, %d units: not increasing or out of range", q, units)
			}
		}
		if !c.skips {
			return
		}
		want := c.exactSkips(units, replay())
		if k := len(want); k < 50 && len(got) != k || !slices.Equal(got[:min(k, len(got))], want) {
			t.Fatalf("q = %g, %d units: not what exact arithmetic selects", q, units)
		}
	})
}

// exactSkips is skip by wide alone, up to the fiftieth unit that joins.
func (c *Bernoulli) exactSkips(n int, b Bits) (out []uint32) {
	for next := 0; next < n; {
		drawn := make(words, min(drawAhead, int(float64(n-next)*c.q)+1))
		for i := range drawn {
			drawn[i] = b.Uint64()
		}
		for _, u := range drawn {
			if next += c.wide(u, n-next, b); next == n {
				return out
			}
			if out = append(out, uint32(next)); len(out) == 50 {
				return out
			}
			if next++; next == n {
				return out
			}
		}
	}
	return out
}

// then yields given words before those of another generator.
type then struct {
	given []uint64
	rest  Bits
}

func (b *then) Uint64() uint64 {
	if len(b.given) == 0 {
		return b.rest.Uint64()
	}
	u := b.given[0]
	b.given = b.given[1:]
	return u
}

// BenchmarkSample gives the cost of a unit that joins, for both methods and for
// a coin a unit, and that of a word.
func BenchmarkSample(b *testing.B) {
	const n = 1 << 18
	src := NewSource("bench")
	b.Run("word", func(b *testing.B) {
		var bits Bits = src
		for b.Loop() {
			bits.Uint64()
		}
	})
	for _, q := range []float64{0.001, 0.01, 0.05, 0.1, skipBelow, 0.125, 0.5, 0.9} {
		methods := []struct {
			name   string
			sample func(dst []uint32) []uint32
		}{
			{"coins", func(dst []uint32) []uint32 { return coins(q, dst, n, src) }},
		}
		planes := planesAt(b, q)
		methods = append(methods, struct {
			name   string
			sample func(dst []uint32) []uint32
		}{"planes", func(dst []uint32) []uint32 { return planes.Sample(dst, n, src) }})
		if q <= 0.5 {
			skips := skipsAt(b, q)
			methods = append(methods, struct {
				name   string
				sample func(dst []uint32) []uint32
			}{"skips", func(dst []uint32) []uint32 { return skips.Sample(dst, n, src) }})
		}
		for _, m := range methods {
			b.Run(fmt.Sprintf("q=%.3g/%s", q, m.name), func(b *testing.B) {
				batch := make([]uint32, 0, n)
				var joined int
				b.ReportAllocs()
				for b.Loop() {
					batch = m.sample(batch)
					joined += len(batch)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(joined), "ns/joined")
			})
		}
	}
}

// coins samples by one comparison a unit, the first word prepared.
func coins(q float64, dst []uint32, n int, b Bits) []uint32 {
	m, digits := significand(q)
	w := new(big.Int).Lsh(m, 128)
	w.Rsh(w, uint(digits))
	lo := w.Uint64()
	hi := w.Rsh(w, 64).Uint64()
	dst = dst[:0]
	for i := range n {
		if u := b.Uint64(); u < hi || u == hi && b.Uint64() < lo {
			dst = append(dst, uint32(i))
		}
	}
	return dst
}
