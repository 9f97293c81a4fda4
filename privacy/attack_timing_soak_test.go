//go:build soak

package privacy

import (
	"math"
	"sort"
	"testing"
	"time"
)

// timedBlocks gives 10⁵ blocks to each of the two deciles.
const timedBlocks = 1_000_000

// TestAttackTiming is the second half of T9: Welch's t between the times of
// blocks of 1,024 whose first value is in the top and in the bottom tenth by
// size, without the slowest hundredth, which is the machine's doing. A true t of
// zero exceeds 4.5 with probability 7·10⁻⁶; three attempts must agree.
func TestAttackTiming(t *testing.T) {
	g, err := NewGaussian(0x1.8p30, 1)
	if err != nil {
		t.Fatal(err)
	}
	ours := func(dst []int64, b Bits) { g.Fill(dst, b) }
	// A sampler that works on until its value is reached, as a geometric one does.
	naive := func(dst []int64, b Bits) {
		g.Fill(dst, b)
		x := 1.0
		for range 4 * (abs(dst[0]) >> 20) {
			x += math.Sqrt(x)
		}
		if x == 0 {
			dst[0]++
		}
	}
	var last float64
	for range 3 {
		if last = welch(ours, timedBlocks); math.Abs(last) < 4.5 {
			break
		}
	}
	if math.Abs(last) >= 4.5 {
		t.Errorf("size shows in time: t = %.1f", last)
	}
	if s := welch(naive, min(timedBlocks, 20_000)); math.Abs(s) < 4.5 {
		t.Errorf("the test does not see a loop over the value: t = %.1f", s)
	}
	t.Logf("t = %.2f", last)
}

func abs(v int64) int64 { return max(v, -v) }

func welch(fill func([]int64, Bits), blocks int) float64 {
	src := NewSource("timing")
	block := make([]int64, 1024)
	const ratio = 0x1.8p30
	top, bottom := ratio*1.6448536, ratio*0.1256613
	var times [2][]float64
	for range blocks {
		begin := time.Now()
		fill(block, src)
		took := float64(time.Since(begin))
		switch size := math.Abs(float64(block[0])); {
		case size > top:
			times[1] = append(times[1], took)
		case size < bottom:
			times[0] = append(times[0], took)
		}
	}
	// One cut for both, so that cutting cannot hide a difference.
	all := append(append([]float64(nil), times[0]...), times[1]...)
	sort.Float64s(all)
	cut := all[len(all)*99/100]
	var mean, spread [2]float64
	for i, set := range times {
		var n, sum, square float64
		for _, v := range set {
			if v <= cut {
				n++
				sum += v
				square += v * v
			}
		}
		mean[i] = sum / n
		spread[i] = (square/n - mean[i]*mean[i]) / n
	}
	return (mean[1] - mean[0]) / math.Sqrt(spread[0]+spread[1])
}
