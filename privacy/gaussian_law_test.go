package privacy

import (
	"math"
	"runtime"
	"sync"
	"testing"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// filler is a sampler of lattice noise.
type filler interface {
	Fill(dst []int64, b Bits)
}

// parallelDraws gives each worker a seeded stream of its own and its share of
// n draws, in blocks.
func parallelDraws(g filler, n int, label string, f func(worker int, block []int64)) {
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			src := NewSeeded(uint64(w), label)
			block := make([]int64, 4096)
			for left := n/workers + min(1, max(0, n%workers-w)); left > 0; left -= len(block) {
				block = block[:min(len(block), left)]
				g.Fill(block, src)
				f(w, block)
			}
		})
	}
	wg.Wait()
}

func chiSquareP(chi float64, df int) float64 {
	return mathext.GammaIncRegComp(float64(df)/2, chi/2)
}

// binomialP is the two-sided exact p-value of x successes in n with rate p.
func binomialP(x, n int, p float64) float64 {
	atLeast, atMost := 1.0, 1.0
	if x > 0 {
		atLeast = mathext.RegIncBeta(float64(x), float64(n-x+1), p)
	}
	if x < n {
		atMost = mathext.RegIncBeta(float64(n-x), float64(x+1), 1-p)
	}
	return min(1, 2*min(atLeast, atMost))
}

// law tests lawDraws draws: 4,096 cells of equal probability by chi-square, exact
// binomial tests of both tails beyond 2, 3, 4, 5 and 6 standard deviations, mean
// and variance. It returns the smallest p-value, times the number of tests, and
// the error of the standard deviation.
//
// It runs at a fine lattice, where a cell is a set of many lattice points: the
// rounding of a cell's edge to the lattice is 2^(−30) of a standard deviation.
func law(t *testing.T, ratio, claimed float64, n int) (p, sdError float64) {
	const cells = 4096
	g, err := NewGaussian(ratio, 1)
	if err != nil {
		t.Fatal(err)
	}
	edges := make([]float64, cells-1)
	for i := range edges {
		edges[i] = claimed * distuv.UnitNormal.Quantile(float64(i+1)/cells)
	}
	// A start for the search of the cell, by a coarse grid of its place.
	const grid = 1 << 14
	start := make([]int, grid+1)
	for j, i := 0, 0; j <= grid; j++ {
		for i < len(edges) && edges[i] < claimed*8*(float64(j)/grid-0.5) {
			i++
		}
		start[j] = i
	}
	type partial struct {
		count       [cells]int
		tail        [5][2]int
		sum, square float64
	}
	workers := make([]partial, runtime.GOMAXPROCS(0))
	parallelDraws(g, n, "law", func(w int, block []int64) {
		a := &workers[w]
		for _, v := range block {
			x := float64(v)
			j := int((x/claimed/8 + 0.5) * grid)
			i := start[min(max(j, 0), grid)]
			for i > 0 && edges[i-1] >= x {
				i--
			}
			for i < len(edges) && edges[i] < x {
				i++
			}
			a.count[i]++
			x /= claimed
			a.sum += x
			a.square += x * x
			for k := 0; k < 5 && math.Abs(x) > float64(k+2); k++ {
				if x < 0 {
					a.tail[k][0]++
				} else {
					a.tail[k][1]++
				}
			}
		}
	})
	all := workers[0]
	for _, a := range workers[1:] {
		for i, c := range a.count {
			all.count[i] += c
		}
		for i, c := range a.tail {
			all.tail[i][0] += c[0]
			all.tail[i][1] += c[1]
		}
		all.sum += a.sum
		all.square += a.square
	}
	total := float64(n)
	var chi float64
	for _, c := range all.count {
		d := float64(c) - total/cells
		chi += d * d / (total / cells)
	}
	smallest := chiSquareP(chi, cells-1)
	for k, c := range all.tail {
		tail := 0.5 * math.Erfc(float64(k+2)/math.Sqrt2)
		smallest = min(smallest, binomialP(c[0], n, tail), binomialP(c[1], n, tail))
	}
	normal := func(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }
	smallest = min(smallest, normal(all.sum/math.Sqrt(total)))
	smallest = min(smallest, normal((all.square/total-1)*math.Sqrt(total/2)))
	return smallest * 13, math.Sqrt(all.square/total) - 1
}

// TestNoiseLaw: false alarms 10⁻⁷ a ratio, over seeds. Noticed with probability
// 0.99, at 10⁶ draws and at 10⁸ (-tags=slow):
//
//	chi-square      cells off by 2.8 % in the root mean square   0.28 %
//	mean            off by 0.8 % of a standard deviation         0.08 %
//	variance        a standard deviation off by 0.6 %            0.06 %
//	beyond 3 sd     a tail 1.23 times as heavy                   1.02
//	beyond 4 sd     2.9                                          1.15
//	beyond 5 sd     56                                           3.0
//	beyond 6 sd     –                                            130
//
// What the rarest draws cannot show, [TestTailsAgainstErfc] does, value by value.
func TestNoiseLaw(t *testing.T) {
	n := lawDraws
	if testing.Short() {
		n = 100_000
	}
	for _, ratio := range []float64{0x1.8p30, 0x1.2p36, 0x1p45, 0x1.fp49} {
		if p, _ := law(t, ratio, ratio, n); p < alpha {
			t.Errorf("ratio %g: p = %.2g", ratio, p)
		}
	}
}

// TestNoiseScale is threat T4: at 2·10⁶ draws or more the standard deviation is
// within 0.25 % (five standard errors), and with 0.5 % less noise it is not.
func TestNoiseScale(t *testing.T) {
	if testing.Short() {
		t.Skip("statistics that the race detector makes slow")
	}
	n := max(2_000_000, lawDraws/10)
	const ratio = 0x1.8p30
	p, d := law(t, ratio, ratio, n)
	if p < alpha || math.Abs(d) > 0.0025 {
		t.Errorf("standard deviation is off by %.3f %%, p = %.2g", 100*d, p)
	}
	p, d = law(t, ratio*0.995, ratio, n)
	if p >= alpha || math.Abs(d) <= 0.0025 {
		t.Errorf("0.5 %% less noise is not noticed: off by %.3f %%, p = %.2g", 100*d, p)
	}
}

// TestTailsAgainstErfc draws with every number of leading zeros and compares the
// value with its bit string, through the math library: 2Φ̄(|v|) is V up to the
// lattice and the library's error. No statistics: every value is right, out to
// 8.7 standard deviations. A row of the table that is off by 2·10⁻¹² would be
// noticed.
func TestTailsAgainstErfc(t *testing.T) {
	const ratio = 0x1p50
	g, err := NewGaussian(ratio, 1)
	if err != nil {
		t.Fatal(err)
	}
	src := NewSeeded(2, "erfc")
	for e := range octaves {
		for range 4000 {
			w1, w2 := (src.Uint64()|1<<63)>>e, src.Uint64()
			k, ok := g.quick(w1, w2)
			if !ok {
				continue
			}
			v := math.Ldexp(1-float64(w1<<(e+1)|w2>>(63-e))*0x1p-65, -e)
			if d := math.Erfc(math.Abs(float64(k))/ratio/math.Sqrt2)/v - 1; math.Abs(d) > 1e-12 {
				t.Fatalf("%d zeros: the tail beyond %d is off by %.2g", e, k, d)
			}
		}
	}
}

// TestStreamsAreIndependent: correlations between two streams, and at lags 1 and
// 2 within one, of values and of their squares, stay below 5.5/√n (false alarm
// 4·10⁻⁸ each). A correlation of 7.9/√n is noticed with probability 0.99: 0.8 %
// in the ordinary suite, 0.25 % with -tags=slow.
func TestStreamsAreIndependent(t *testing.T) {
	n := min(lawDraws, 10_000_000) // memory: 160 MB
	g, err := NewGaussian(0x1.8p30, 1)
	if err != nil {
		t.Fatal(err)
	}
	a, b := make([]int64, n), make([]int64, n)
	g.Fill(a, NewSource("stream"))
	g.Fill(b, NewSource("stream"))
	check := func(what string, a, b []int64) {
		var value, square float64
		for i := range a {
			x, y := float64(a[i])/0x1.8p30, float64(b[i])/0x1.8p30
			value += x * y
			square += (x*x - 1) * (y*y - 1) / 2
		}
		limit := 5.5 * math.Sqrt(float64(len(a)))
		if math.Abs(value) > limit || math.Abs(square) > limit {
			t.Errorf("%s: correlations %.2f and %.2f standard errors", what,
				value/math.Sqrt(float64(len(a))), square/math.Sqrt(float64(len(a))))
		}
	}
	check("two streams", a, b)
	check("lag 1", a[1:], a[:n-1])
	check("lag 2", a[2:], a[:n-2])
}
