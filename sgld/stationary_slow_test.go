//go:build slow && !soak

package sgld

import "testing"

// TestLineLong notices 7 % of a variance.
func TestLineLong(t *testing.T) { lineTest(t, 1_000_000, 0.07) }

// TestPlanarLong notices 6 % of a variance.
func TestPlanarLong(t *testing.T) { planarTest(t, 60_000, 0.1) }
