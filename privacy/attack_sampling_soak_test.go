//go:build soak

package privacy

import "testing"

// TestSamplerIsAccountedForSoak: ten times the batches of the threat. A correlation
// of 0.0025 is found.
func TestSamplerIsAccountedForSoak(t *testing.T) {
	checkSampler(t, 10_000_000, []float64{1.0 / 64, 0.0625, 0.125, 0.5})
}

// TestGapLawSoak: 3·10⁷ gaps, a rate off by 0.3 % is noticed.
func TestGapLawSoak(t *testing.T) {
	checkGapLaw(t, 30_000_000, 1.003)
}

// TestGapAgreesWithWideSoak: on 10⁶ words.
func TestGapAgreesWithWideSoak(t *testing.T) { checkGapAgrees(t, 1_000_000) }
