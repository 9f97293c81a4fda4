//go:build soak

package job

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// timedRuns is the number of runs of TestCompletionTimes.
const timedRuns = 10_000

// TestCompletionTimesOfThisClock is TestCompletionTimes by this machine's clock, with a
// boundary of 20 ms and work that takes as long as its rows: Student's t of the
// differences of 10⁴ pairs. It wants a machine that is otherwise idle: one whose load
// makes runs miss the boundary measures that.
func TestCompletionTimesOfThisClock(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 43))
	table := make([]float64, 200_000)
	for i := range table {
		table[i] = r.NormFloat64()
	}
	total := 0.0
	work := func(rows int) func() (int, error) {
		return func() (int, error) {
			for range 5 {
				for _, x := range table[:rows] {
					total += x
				}
			}
			return 0, nil
		}
	}
	// Both of a pair run within milliseconds of each other, in random order, so that what
	// else the machine does falls on both alike.
	compare := func(pairs, rows, more int, at time.Duration) float64 {
		var differences []float64
		run := &Run{ReleaseAt: at, Now: time.Now}
		for range pairs {
			var took [2]float64
			first := r.IntN(2)
			for _, which := range []int{first, 1 - first} {
				begun := time.Now() // just after a boundary
				if _, err := held(context.Background(), run, work([]int{rows, rows + more}[which])); err != nil {
					t.Fatal(err)
				}
				took[which] = time.Since(begun).Seconds()
			}
			differences = append(differences, took[1]-took[0])
		}
		return welch(differences, []float64{0, 0})
	}
	const rows = 100_000
	s := compare(timedRuns, rows, 1, 20*time.Millisecond)
	naive := compare(2000, rows, rows, 0)
	far := compare(1000, rows, rows, 20*time.Millisecond)
	t.Logf("t = %.2f for one row more with a boundary, %.2f for twice as many with one; %.1f for twice as many without (%v)", s, far, naive, total != 0)
	if math.Abs(s) >= 4.5 || math.Abs(far) >= 4.5 {
		t.Error("rows show in the time of the end")
	}
	if math.Abs(naive) < 4.5 {
		t.Error("without a boundary twice as many rows do not show")
	}
}
