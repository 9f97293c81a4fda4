package main

import (
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestShownEpsilonsAreOnTheSafeSide: what is spent is never shown smaller, what
// is left never larger, and neither by more than a thousandth.
func TestShownEpsilonsAreOnTheSafeSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := math.Exp(rapid.Float64Range(-20, 20).Draw(t, "log"))
		up, err1 := strconv.ParseFloat(shortUp(v), 64)
		down, err2 := strconv.ParseFloat(shortDown(v), 64)
		if err1 != nil || err2 != nil || up < v || down > v || up > v*1.002 || down < v*0.998 {
			t.Fatalf("%v is shown as %s and %s", v, shortUp(v), shortDown(v))
		}
	})
	for v, want := range map[float64]string{0: "0", 1: "1", math.Inf(1): "+Inf"} {
		if shortUp(v) != want || shortDown(v) != want {
			t.Errorf("%v is shown as %s and %s", v, shortUp(v), shortDown(v))
		}
	}
}
