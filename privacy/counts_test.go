//go:build !slow && !soak

package privacy

// Draws of the statistical tests; -tags=slow and -tags=soak make more.
const (
	lawDraws    = 1_000_000
	lowBitDraws = 1 << 19
	holeDraws   = 1_000_000
	stageDraws  = 4_000_000
	agreements  = 400 // in each of four streams
	karneyDraws = 300_000
	sumPairs    = 150
	plainRatios = 400 // with 20 draws each
)
