package privacy

import (
	"math"
	"math/big"
	"testing"
)

// TestTwoTails compares with mpmath's digits.
func TestTwoTails(t *testing.T) {
	for _, c := range normalTails {
		for _, p := range []uint{70, 130, 195} {
			got := newFloat(0).SetInt(twoTails(big.NewInt(c.num), big.NewInt(c.den), p))
			want := parse(t, c.want)
			want.SetMantExp(want, int(p))
			got.Sub(got, want)
			if d, _ := got.Float64(); math.Abs(d) >= twoTailsError {
				t.Errorf("2Φ̄(%d/%d) at 2^-%d: off by %.2f units", c.num, c.den, p, d)
			}
		}
	}
}

// randomRatio spreads over the whole domain, with few and with many digits.
func randomRatio(src *Seeded) float64 {
	r := 1 + float64(src.Uint64()>>12)*0x1p-52
	if src.Uint64()%8 == 0 {
		r = 1
	}
	if src.Uint64()%4 == 0 {
		r = 2 - float64(src.Uint64()>>58)*0x1p-52 // the carries of products are largest
	}
	return math.Ldexp(r, int(src.Uint64()%58)-8)
}

// beside returns two words whose V is next to 2Φ̄((k+½)/ratio), off by off·2^shift
// units of the last bit, with the boundary's k; the value is near z.
func beside(g Gaussian, ratio, z float64, off int64, shift uint) (w1, w2 uint64, k uint64) {
	k = uint64(math.Floor(z * ratio))
	num := new(big.Int).SetUint64(2*k + 1)
	num.Lsh(num, g.shift+4)
	den := new(big.Int).SetUint64(g.m)
	den.Lsh(den, 1)
	const p = 260
	v := twoTails(num, den, p)
	e := uint(p - v.BitLen())
	// M = 2(1 − V·2^e), to the bits that two words leave it
	one := new(big.Int).Lsh(big.NewInt(1), p-e)
	m := one.Sub(one, v).Lsh(one, 1)
	n := 126 - e
	m.Rsh(m, p-e-n)
	o := big.NewInt(off)
	m.Add(m, o.Lsh(o, shift))
	if m.Sign() < 0 || m.BitLen() > int(n) {
		m.SetInt64(0)
	}
	m.SetBit(m, int(n), 1) // the one after the zeros
	low := new(big.Int).And(m, new(big.Int).SetUint64(1<<63-1))
	return m.Rsh(m, 63).Uint64(), low.Uint64() << 1, k
}

// exact is the rounding by stage 3 alone, checked against both boundaries.
func exact(t *testing.T, g Gaussian, w1, w2, k uint64, b Bits) {
	t.Helper()
	v := newVariate(w1, w2, b)
	den := new(big.Int).SetUint64(g.m)
	den.Lsh(den, 1)
	at := func(k uint64) *big.Int {
		num := new(big.Int).SetUint64(2*k + 1)
		return num.Lsh(num, g.shift+4)
	}
	// A boundary beyond 100 deviations is beyond any |Z| here, and outside
	// the domain of the series.
	if (float64(k)+0.5)*math.Ldexp(1, int(g.shift)+4) < 100*float64(g.m) && v.exceeds(at(k), den) {
		t.Fatalf("m %x, shift %d, words %x %x: rounded down to %d", g.m, g.shift, w1, w2, k)
	}
	if k > 0 && !v.exceeds(at(k-1), den) {
		t.Fatalf("m %x, shift %d, words %x %x: rounded up to %d", g.m, g.shift, w1, w2, k)
	}
}

// TestStagesAgree compares what the stages decide with comparisons in big
// integers, for random bit strings of every number of leading zeros and for
// strings beside a boundary, from far to next to it.
func TestStagesAgree(t *testing.T) {
	n := agreements
	if testing.Short() {
		n = min(n, 100)
	}
	for seed := range uint64(4) {
		t.Run(string('0'+rune(seed)), func(t *testing.T) {
			t.Parallel()
			agree(t, n, NewSeeded(seed, "stages"))
		})
	}
}

func agree(t *testing.T, n int, src *Seeded) {
	var decided [3]int
	for i := range n {
		ratio := randomRatio(src)
		g, err := NewGaussian(ratio, 1)
		if err != nil {
			t.Fatal(err)
		}
		w1, w2 := src.Uint64()>>(src.Uint64()%octaves), src.Uint64()
		if i%2 == 0 {
			z := 8.7 * float64(src.Uint64()>>11) * 0x1p-53
			// From a last bit to 2¹² times the width of the first stage.
			shift := uint(src.Uint64() % 70)
			off := int64(src.Uint64()>>55) - 1<<8
			if (math.Floor(z*ratio)+0.5)/ratio > 8.7 {
				continue
			}
			w1, w2, _ = beside(g, ratio, z, off, shift)
		}
		more := src.Uint64()
		if w1>>(64-octaves) == 0 {
			continue
		}
		low, high := g.bracket(w1, w2)
		if high-low > 1 {
			t.Fatalf("a bracket of %d", high-low)
		}
		k, ok := g.quick(w1, w2&^1)
		if minus, _ := g.quick(w1, w2|1); minus != -k {
			t.Fatal("the sign bit does more than change the sign")
		}
		if ok && (uint64(k) != low || low != high) {
			t.Fatal("the first stage decides what the second leaves open, or otherwise")
		}
		final := uint64(g.decide(w1, w2&^1, NewSeeded(more, "digits")))
		exact(t, g, w1, w2, final, NewSeeded(more, "digits"))
		switch {
		case ok:
			decided[0]++
		case low == high:
			decided[1]++
		default:
			decided[2]++
		}
		if low == high && low != final {
			t.Fatal("the second stage was wrong")
		}
	}
	t.Logf("decided by stage: %d", decided)
	for i, c := range decided {
		if c == 0 {
			t.Errorf("stage %d was not tried", i+1)
		}
	}
}

// TestFirstStageKeepsToTheSecond: what the first stage decides, the second does
// too, and alike; at the ratio where the interval of the first carries furthest.
func TestFirstStageKeepsToTheSecond(t *testing.T) {
	g, err := NewGaussian(0x1.fffffffffp49, 1)
	if err != nil {
		t.Fatal(err)
	}
	n := stageDraws
	if testing.Short() {
		n = 400_000
	}
	src := NewSeeded(4, "carries")
	for range n {
		w1, w2 := src.Uint64(), src.Uint64()&^1
		k, ok := g.quick(w1, w2)
		if !ok {
			continue
		}
		if low, high := g.bracket(w1, w2); low != high || uint64(k) != low {
			t.Fatalf("words %x %x: %d, but %d or %d", w1, w2, k, low, high)
		}
	}
}

// TestLastDigits: a string that spells a boundary to its last bit is decided
// both ways by the digits after it, and never by the first 127.
func TestLastDigits(t *testing.T) {
	g, err := NewGaussian(1.5, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, z := range []float64{0.4, 3, 8} {
		w1, w2, k := beside(g, 1.5, z, 0, 0)
		if low, high := g.bracket(w1, w2); low != k || high != k+1 {
			t.Fatalf("near %g: bracket %d, %d, want %d, %d", z, low, high, k, k+1)
		}
		seen := map[int64]int{}
		for seed := range uint64(64) {
			seen[g.decide(w1, w2, NewSeeded(seed, ""))]++
		}
		if len(seen) != 2 || seen[int64(k)] == 0 || seen[int64(k+1)] == 0 {
			t.Errorf("near %g: %v", z, seen)
		}
	}
}

// TestBeyondTheTable: strings with 58 zeros and more, and two words of zeros.
func TestBeyondTheTable(t *testing.T) {
	src := NewSeeded(8, "zeros")
	for _, ratio := range []float64{0x1p-8, 0.3, 1, 77, 0x1.8p30, 0x1p50} {
		g, err := NewGaussian(ratio, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range [][2]uint64{{1 << 5, 0}, {1<<6 - 1, ^uint64(0)}, {1, 5}, {0, 1 << 63}, {0, 2}, {0, 0}} {
			more := src.Uint64()
			if _, ok := g.quick(w[0], w[1]); ok {
				t.Errorf("%x: decided without a row of the table", w)
			}
			k := uint64(g.decide(w[0], w[1]&^1, NewSeeded(more, "")))
			exact(t, g, w[0], w[1], k, NewSeeded(more, ""))
			if z := float64(k) / ratio; ratio > 70 && (z < 8.6 || z > 17) {
				t.Errorf("%x: %g standard deviations", w, z)
			}
		}
	}
	g, _ := NewGaussian(1, 1)
	defer func() {
		if recover() == nil {
			t.Error("a generator of zeros is accepted")
		}
	}()
	g.Draw(&zeros{})
}

type zeros struct{}

func (*zeros) Uint64() uint64 { return 0 }

// TestFillIsDraw: the same words give the same values, whatever the chunks, also
// where words are left over and where the slow stages take words in between.
func TestFillIsDraw(t *testing.T) {
	for _, ratio := range []float64{1, 0x1.8p30, 0x1p50} {
		g, err := NewGaussian(ratio, 1)
		if err != nil {
			t.Fatal(err)
		}
		a, b, c := NewSeeded(1, "f"), NewSeeded(1, "f"), NewSeeded(1, "f")
		a.Uint64()
		b.Uint64()
		c.Uint64()
		got, slow := make([]int64, 30_000), make([]int64, 30_000)
		for i, n := 0, 1; i < len(got); i, n = i+n, n*2%1777+1 {
			g.Fill(got[i:min(i+n, len(got))], a)
		}
		g.Fill(slow, struct{ Bits }{c})
		for i := range got {
			if v := g.Draw(b); v != got[i] || v != slow[i] {
				t.Fatalf("ratio %g: value %d differs", ratio, i)
			}
		}
		for _, w := range a.s.buf[:a.s.pos] {
			if w != 0 {
				t.Fatal("a word that was used is still in memory")
			}
		}
	}
}

func TestFillDoesNotAllocate(t *testing.T) {
	g, _ := NewGaussian(0x1.8p30, 1)
	src := NewSource("allocation")
	dst := make([]int64, 100)
	if n := testing.AllocsPerRun(100, func() { g.Fill(dst, src) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
