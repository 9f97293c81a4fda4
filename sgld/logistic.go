package sgld

import "math"

// Logistic regression: y ∈ {0, 1}, ℓ(u; y) = log(1 + e^u) − y·u with u = xᵀθ.
// The gradient is r·x with residual r = σ(u) − y in [−1, 1], and the curvature
// in u is at most ¼.

type logistic struct{ glmNames }

func (logistic) facts() facts {
	return facts{weight: 0.25, curvature: 0.25, least: 1, most: 1, scale: 1, copies: 1, share: 1, cost: 1, gradient: true}
}

func (logistic) contribution(g *design, m *metric, clip float64) (contribution, error) {
	return newGLM(g, m, clip, addBlocks)
}

// The functions below are evaluated by several kernels, which must agree on
// every bit. So they use no library exponential and no table; a product that is
// added to something is fused with the sum where math.FMA says so, and rounded by
// a conversion elsewhere, and each operation is one that all machines round alike.
// No branch depends on a value: such a branch is as good as random in a table. Of
// two floats that are not negative the bits are in the same order, and those of
// NaN come last, which is how minima are taken.

const signBit = 1 << 63

// clippedResidual returns |σ(u) − y| clipped to f ≥ 0, for y = 0 and, of −u, for
// y = 1: σ(u) − 1 = −σ(−u), which keeps its relative accuracy where the fit is
// good. The result lies in [0, min(f, 1)] whatever u is; NaN gives zero: a
// gradient that is not finite counts as zero.
func clippedResidual(u, f float64) float64 {
	c := min(math.Float64bits(sigmoid(u)), math.Float64bits(f))
	return math.Float64frombits(c & ordered(u))
}

// ordered has all bits set unless v is NaN.
func ordered(v float64) uint64 {
	const infinity = 0x7ff << 52
	magnitude := int64(math.Float64bits(v) &^ signBit)
	return ^uint64((infinity - magnitude) >> 63)
}

// sigmoid returns 1/(1+e^−u) with a relative error below 2·10⁻¹², hundreds of
// times finer than the lattice onto which contributions are rounded. It
// saturates where |u| exceeds 708: at 1 above, at 1/(1+e^708) below. The result is
// a number in [0, 1] whatever u is.
func sigmoid(u float64) float64 { return 1 / (1 + expNegative(u)) }

// expMost is the largest size of an argument of expNegative that counts: e^−708 is
// the least power of e with a whole exponent that is a normal number.
const (
	expMost     = 708
	expMostBits = 0x4086200000000000
)

// Constants of expNegative. Those of the polynomial are its minimax solution
// for the relative error, by the exchange algorithm of Remez.
const (
	log2e = 0x1.71547652b82fep+0
	log2  = 0x1.62e42fefa39efp-1
	magic = 3 << 51 // adding it rounds to an integer, which is then in the low bits

	exp2 = 0x1.000000005ddb2p-1
	exp3 = 0x1.5555557dccf06p-3
	exp4 = 0x1.5555541e8130cp-5
	exp5 = 0x1.1110a26ac657ap-7
	exp6 = 0x1.6c18d2f963f7ap-10
	exp7 = 0x1.a1854d4f619b9p-13
	exp8 = 0x1.9e894b6ec4812p-16
)

// expNegative returns e^−t for |t| ≤ 708, and beyond it, as for NaN, its value at
// the nearer end: e^−t = 2^n · e^r with |r| ≤ log(2)/2, where
//
//	e^r ≈ 1 + r + r²·q(r)
//
// with a relative error below 1.2·10⁻¹². That of r, from the rounding of log 2, is
// below 709·2⁻⁵² where |t| is largest, and below 10⁻¹⁴ where e^−t matters beside 1.
func expNegative(t float64) float64 {
	bits := math.Float64bits(t)
	t = math.Float64frombits(min(bits&^signBit, expMostBits) | bits&signBit)
	shifted := math.FMA(t, -log2e, magic)
	r := math.FMA(shifted-magic, -log2, -t)
	r2 := float64(r * r)
	even := math.FMA(r2, exp8, exp6)
	odd := math.FMA(r2, exp7, exp5)
	even = math.FMA(r2, even, exp4)
	odd = math.FMA(r2, odd, exp3)
	even = math.FMA(r2, even, exp2)
	q := math.FMA(r, odd, even)
	p := 1 + math.FMA(r2, q, r)
	// The low bits of shifted are n, |n| ≤ 1021, and p lies between 0.7 and 1.5: with
	// n added to its exponent it is still a normal number.
	return math.Float64frombits(math.Float64bits(p) + math.Float64bits(shifted)<<52)
}
