package privacy

import (
	"fmt"

	"github.com/google/differential-privacy/go/v2/dpagg"
	"github.com/google/differential-privacy/go/v2/noise"
)

// NoisyCount returns the number of units n plus Laplace noise of scale
// 1/epsilon, a whole number that may be negative. It is ε-differentially
// private under both neighbouring relations, with one contribution a unit: the
// event is pure ε, as the Google library documents it for its count (whole
// numbers and secure noise, so the library is sound here; sums of real numbers
// never go through it).
//
// Domain: n ≥ 0, epsilon finite and at least 2⁻⁵⁰; an error names the fault.
func NoisyCount(n int64, epsilon float64) (int64, error) {
	count, err := dpagg.NewCount(&dpagg.CountOptions{
		Epsilon:                  epsilon,
		MaxPartitionsContributed: 1,
		Noise:                    noise.Laplace(),
	})
	if err != nil {
		return 0, fmt.Errorf("noisy count: epsilon is outside the library's domain: %w", ErrDomain)
	}
	if err := count.IncrementBy(n); err != nil {
		return 0, fmt.Errorf("noisy count failed")
	}
	noisy, err := count.Result()
	if err != nil {
		return 0, fmt.Errorf("noisy count failed")
	}
	return noisy, nil
}
