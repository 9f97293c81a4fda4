//go:build slow && !soak

package sgld

import "testing"

// TestLineLong notices 7 % of a variance.
func TestLineLong(t *testing.T) { lineTest(t, 1_000_000, 0.07) }
