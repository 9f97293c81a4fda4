//go:build slow

package sgld

import "testing"

// TestMiniBatchesMany is TestMiniBatches with chains enough to notice a variance that
// is off by 2 % with probability 0.9.
func TestMiniBatchesMany(t *testing.T) { miniBatches(t, 400_000, 5, 0, 1, 2, 3, 4, 5, 6, 7) }

// TestMiniBatchFrozen: 5 % of a variance, the smallest of the mutants' effects.
func TestMiniBatchFrozen(t *testing.T) { miniBatchMutant(t, "frozen", 80_000) }
