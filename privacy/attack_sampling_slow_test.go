//go:build slow

package privacy

import "testing"

// TestSamplerIsAccountedForLong: twice the batches, more rates. At q = 1/2 a unit's
// rate off by 0.5 % is found, and a correlation of 0.0055 at any.
func TestSamplerIsAccountedForLong(t *testing.T) {
	checkSampler(t, 2_000_000, []float64{1.0 / 64, 0.25, 0.5})
}

// TestGapLawLong: 10⁷ gaps, a rate off by 0.5 % is noticed.
func TestGapLawLong(t *testing.T) {
	checkGapLaw(t, 10_000_000, 1.005)
}

// TestGapAgreesWithWideLong: on 100,000 words.
func TestGapAgreesWithWideLong(t *testing.T) { checkGapAgrees(t, 100_000) }
