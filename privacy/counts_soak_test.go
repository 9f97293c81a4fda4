//go:build soak

package privacy

const (
	lawDraws    = 1_000_000_000
	lowBitDraws = 10_000_000
	holeDraws   = 10_000_000
	stageDraws  = 1_000_000_000
	agreements  = 100_000 // in each of four streams
	karneyDraws = 50_000_000
	sumPairs    = 10_000 // 120,000 in all
	plainRatios = 40_000 // with 20 draws each
)
