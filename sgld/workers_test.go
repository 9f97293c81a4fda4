package sgld

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/privsgld/privsgld/privacy"
)

// TestStepAfterStep: helpers that linger, have gone, were called in vain or get
// no processor leave the sum as it is, over thousands of steps.
func TestStepAfterStep(t *testing.T) {
	steps := 3000
	if testing.Short() {
		steps = 300
	}
	s := testSum(t, testRows(3000, testTheta, 0, 15), 3000, skewRoot(), 0.05, 1)
	want := s.exact(testTheta, nil)
	for _, procs := range []int{1, 2, 4} {
		before := runtime.GOMAXPROCS(procs)
		s.workers = s.employed(4, addBlocks)
		s.workers.chunk = 4 * lanes // enough of them for all workers
		for i := range steps {
			if got := s.exact(testTheta, nil); !slices.Equal(got, want) {
				t.Errorf("%d processors, step %d: other bits", procs, i)
				break
			}
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // helpers go
			}
		}
		runtime.GOMAXPROCS(before)
	}
}

// TestHelpersGo: some time after a step none of its goroutines is left.
func TestHelpersGo(t *testing.T) {
	s := testSum(t, testRows(5000, testTheta, 0, 16), 5000, skewRoot(), 0.05, 1)
	s.workers = s.employed(8, addBlocks)
	before := runtime.NumGoroutine()
	s.exact(testTheta, nil)
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a helper stays for ever")
}

// TestWorkerFails: a panic in any worker is one with a constant text.
func TestWorkerFails(t *testing.T) {
	s := testSum(t, testRows(5000, testTheta, 0, 17), 5000, skewRoot(), 0.05, 1)
	s.workers = s.employed(3, func(*operands) { panic("the value of a cell") })
	defer func() {
		if v := recover(); v != "sgld: a worker failed" {
			t.Errorf("panic with %v", v)
		}
	}()
	s.exact(testTheta, nil)
}

// manyRows is a record that claims a number of rows and has none to look at.
type manyRows struct {
	arrow.Record
	n int64
}

func (r manyRows) NumRows() int64 { return r.n }

// TestTooManyUnits: a table whose sum might not fit is refused before its first
// row is looked at.
func TestTooManyUnits(t *testing.T) {
	records := []arrow.Record{manyRows{n: privacy.MaxUnits / 2}, manyRows{n: privacy.MaxUnits / 2}}
	if _, err := newDesign(records, testEncoding()); !errors.Is(err, errTooManyUnits) {
		t.Errorf("got %v", err)
	}
}
