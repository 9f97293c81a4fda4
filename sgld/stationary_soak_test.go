//go:build soak

package sgld

import "testing"

// TestLineLong notices 2 % of a variance.
func TestLineLong(t *testing.T) { lineTest(t, 12_000_000, 0.02) }

// TestPlanarLong notices 2 % of a variance.
func TestPlanarLong(t *testing.T) { planarTest(t, 800_000, 0.025) }
