//go:build slow && !soak

package privacy

const (
	lawDraws    = 100_000_000
	lowBitDraws = 10_000_000
	holeDraws   = 10_000_000
	stageDraws  = 100_000_000
	agreements  = 8_000 // in each of four streams
	karneyDraws = 5_000_000
	sumPairs    = 2_000
	plainRatios = 4_000 // with 20 draws each
)
