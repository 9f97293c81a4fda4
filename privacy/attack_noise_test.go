package privacy

import (
	"math"
	"math/bits"
	"testing"
)

// attackP is the level of the attacks' tests: a sampler that is right fails one
// of them with this probability over seeds.
const attackP = 1e-6

// boxMuller is the textbook float64 sampler, the attacks' positive control.
func boxMuller(b Bits) float64 {
	u := (float64(b.Uint64()>>11) + 0.5) * 0x1p-53
	v := float64(b.Uint64()>>11) * 0x1p-53
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*v)
}

// lowBits is the attack of Mironov 2012 and Jin et al. 2022 on outputs in steps of
// g: the p-values of the uniformity of output mod 2¹⁶ for either input, and of
// their equality, and the number of outputs off the lattice.
func lowBits(outputs [2]func() float64, g float64, n int) (p float64, off int) {
	var count [2][1 << 16]float64
	for side, draw := range outputs {
		for range n {
			steps := draw() / g // exact: a power of two
			whole := math.Floor(steps)
			if whole != steps {
				off++
			}
			count[side][int(whole-math.Floor(whole*0x1p-16)*0x1p16)]++ // exact
		}
	}
	want := float64(n) / (1 << 16)
	var first, second, both float64
	for i := range count[0] {
		a, b := count[0][i], count[1][i]
		first += (a - want) * (a - want) / want
		second += (b - want) * (b - want) / want
		if a+b > 0 {
			both += (a - b) * (a - b) / (a + b)
		}
	}
	const df = 1<<16 - 1
	return min(chiSquareP(first, df), chiSquareP(second, df), chiSquareP(both, df)), off
}

// TestAttackLowBits is threat T1. A bit of the low 16 whose odds are 50.8 to 49.2
// is noticed at 10⁷ draws (53.5 to 46.5 in the ordinary suite), or any other
// pattern of that chi-square distance.
func TestAttackLowBits(t *testing.T) {
	n := lowBitDraws
	if testing.Short() {
		t.Skip("statistics that the race detector makes slow")
	}
	const c = 1.0
	g, err := Spacing(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, z := range []float64{0.3, 1, 10, 1e3} {
		noise, err := NewGaussian(z*c, g)
		if err != nil {
			t.Fatal(err)
		}
		src := NewSeeded(17, "low bits")
		with := func(sum int64) func() float64 {
			return func() float64 { return float64(sum+noise.Draw(src)) * g }
		}
		base := Round(0.3) * 5
		p, off := lowBits([2]func() float64{with(base), with(base + Round(c))}, g, n)
		if p < attackP || off != 0 {
			t.Errorf("z = %g: p = %.2g, %d outputs off the lattice", z, p, off)
		}
		// The textbook sampler added to a float sum: its outputs are no multiples
		// of g, and a finer lattice of its own tells the inputs apart.
		float := func(sum float64) func() float64 {
			return func() float64 { return sum + z*c*boxMuller(src) }
		}
		if _, off := lowBits([2]func() float64{float(1.5), float(2.5)}, g, 1000); off < 1000 {
			t.Errorf("z = %g: float noise seems to lie on the lattice", z)
		}
		if p, _ := lowBits([2]func() float64{float(0), float(c)}, 0x1p-56, 1<<18); p >= attackP {
			t.Errorf("z = %g: the attack does not see float noise, p = %.2g", z, p)
		}
	}
}

// holes draws n values of the standard deviation sd and returns the number of
// integers within ±5 sd, of expected count above 40, that never appeared, and
// the p-value of the counts against the exact probabilities.
func holes(draw func() int64, sd float64, n int) (missing int, p float64) {
	const near = 2048 // a slice counts faster than a map
	var body [2 * near]int
	counts := map[int]int{}
	for range n {
		if k := int(draw()); k >= -near && k < near {
			body[k+near]++
		} else {
			counts[k]++
		}
	}
	for i, c := range body {
		counts[i-near] += c
	}
	cell := cells(sd)
	for k := -int(5 * sd); k <= int(5*sd); k++ {
		if cell(k)*float64(n) > 40 && counts[k] == 0 {
			missing++
		}
	}
	chi, df := chiSquare(counts, cell, sd, n)
	return missing, chiSquareP(chi, df)
}

// TestAttackHoles is threat T2. An integer that never appears is missed with
// probability e^(−40) at most; the chi-square test (false alarms 10⁻⁶ a standard
// deviation) notices cells that are off by 0.8 % in the root mean square at 10⁷
// draws, by 2.3 % in the ordinary suite.
func TestAttackHoles(t *testing.T) {
	if testing.Short() {
		t.Skip("statistics that the race detector makes slow")
	}
	for _, sd := range []float64{0.5, 1, 3.7, 16, 100.5, 256} {
		g, err := NewGaussian(sd, 1)
		if err != nil {
			t.Fatal(err)
		}
		src := NewSeeded(23, "holes")
		missing, p := holes(func() int64 { return g.Draw(src) }, sd, holeDraws)
		t.Logf("sd %g: %d integers missing, p = %.3f", sd, missing, p)
		if missing != 0 || p < attackP {
			t.Errorf("sd %g: %d integers missing, p = %.2g", sd, missing, p)
		}
	}
	// Inversion of a 14-bit uniform leaves holes in the tails.
	src := NewSeeded(23, "holes")
	coarse := func() int64 {
		u := (float64(src.Uint64()>>50) + 0.5) * 0x1p-14
		return int64(math.Round(256 * math.Sqrt2 * math.Erfinv(2*u-1)))
	}
	if missing, p := holes(coarse, 256, 2_000_000); missing == 0 || p >= attackP {
		t.Errorf("the attack does not see a coarse sampler: %d missing, p = %.2g", missing, p)
	}
}

// decile returns which tenth of the values' sizes a bit string belongs to. The
// size falls with V, and V = 2^(−e)(1 − M/2).
func decile(w1, w2 uint64) int {
	e := bits.LeadingZeros64(w1 | 1)
	m := float64(w1<<(e+1)) * 0x1p-64
	return int(10 * math.Ldexp(1-m/2, -e))
}

// evenly is the p-value of counts that ought to be equal.
func evenly(count [10]int) float64 {
	var total, chi float64
	for _, c := range count {
		total += float64(c)
	}
	for _, c := range count {
		chi += (float64(c) - total/10) * (float64(c) - total/10) / (total / 10)
	}
	return chiSquareP(chi, 9)
}

// TestAttackSlowPath is the first half of threat T9: the slow stages are as
// likely for large values as for small ones, by chi-square over the deciles of
// size. At the largest ratio one draw in 256 leaves the first stage: an excess of
// 23 % in one decile is noticed (5 % with -tags=slow, 1.5 % with -tags=soak). The
// second is left 40 times in 10⁶ draws there, and looked at from 10⁷ draws on: an
// excess of 45 % in one decile is noticed with -tags=slow, 15 % with -tags=soak.
func TestAttackSlowPath(t *testing.T) {
	n := stageDraws
	if testing.Short() {
		n = 400_000
	}
	const ratio = 0x1p50
	g, err := NewGaussian(ratio, 1)
	if err != nil {
		t.Fatal(err)
	}
	src := NewSeeded(29, "slow path")
	var first, second, relative [10]int
	for range n {
		w1, w2 := src.Uint64(), src.Uint64()
		d := decile(w1, w2)
		v, ok := g.quick(w1, w2)
		if !ok {
			first[d]++
			if low, high := g.bracket(w1, w2); low != high {
				second[d]++
			}
		}
		// The control: a band that grows with the value, as that of a float64
		// evaluation does.
		if float64(src.Uint64()>>11)*0x1p-53 < math.Abs(float64(v))/ratio/500 {
			relative[d]++
		}
	}
	if p := evenly(first); p < attackP {
		t.Errorf("stage 1 is left unevenly: %v, p = %.2g", first, p)
	}
	if p := evenly(second); p < attackP && n >= 10_000_000 {
		t.Errorf("stage 2 is left unevenly: %v, p = %.2g", second, p)
	}
	if p := evenly(relative); p >= attackP {
		t.Errorf("the test does not see a band that grows: %v", relative)
	}
	t.Logf("left stage 1: %v, stage 2: %v, of %d", first, second, n)
}
