//go:build slow

package sgld

import (
	"math"
	"testing"
)

// TestRates: the error of a weighted average falls with the number of steps as the
// theory says, up to a million of them, and fastest at the exponent 1/3.
func TestRates(t *testing.T) {
	v := loadVectors(t)
	checkRates(t, v, math.Inf(1))
	best := 0.0
	for _, c := range v.Decreasing.Rates {
		last, before := c.MSE[len(c.MSE)-1], c.MSE[len(c.MSE)-2]
		slope := math.Log(last[1]/before[1]) / math.Log(last[0]/before[0])
		if math.Abs(slope-c.Slope) > 1e-9 {
			t.Errorf("α = %g: slope %g, want %g", c.Alpha, slope, c.Slope)
		}
		if math.Abs(c.Alpha-1.0/3) < 1e-9 {
			best = slope
		}
	}
	for _, c := range v.Decreasing.Rates {
		if c.Slope < best {
			t.Errorf("at α = %g the error falls faster, as %.3f, than at 1/3, as %.3f", c.Alpha, c.Slope, best)
		}
	}
}
