package sgld

import (
	"math"
	"math/big"
)

// Logistic regression: y ∈ {0, 1}, ℓ(u; y) = log(1 + e^u) − y·u with u = xᵀθ.
// The gradient is r·x with residual r = σ(u) − y in [−1, 1], and the curvature
// in u is at most ¼.

// logisticCurvature bounds ℓ″.
const logisticCurvature = 0.25

// logisticResidual returns σ(u) − y; for y = 1 it is evaluated as −σ(−u), which
// keeps its relative accuracy where the fit is good.
func logisticResidual(u float64, y uint8) float64 {
	sign := 1 - 2*float64(y)
	return sign * sigmoid(sign*u)
}

// sigmoid returns 1/(1+e^−u) to about one unit in the last place. It uses no
// library exponential and names every rounding, so that all machines agree on
// every bit; it has no branch on the sign, which in a table is as good as
// random. NaN gives NaN.
func sigmoid(u float64) float64 {
	e := expNegative(math.Abs(u))
	// σ(u) = num/(1 + e) with num = 1 for u ≥ 0 and e for u < 0.
	negative := uint64(int64(math.Float64bits(u)) >> 63)
	num := math.Float64frombits(math.Float64bits(e)&negative | math.Float64bits(1)&^negative)
	return num / (1 + e)
}

// expSteps is the number of table steps in a factor of two.
const expSteps = 64

// expTable holds 2^(−j/64), correctly rounded.
var expTable = func() (t [expSteps]float64) {
	root := big.NewFloat(0.5).SetPrec(200)
	for range 6 {
		root.Sqrt(root) // ends at 2^(−1/64)
	}
	v := big.NewFloat(1).SetPrec(200)
	for j := range t {
		t[j], _ = v.Float64()
		v.Mul(v, root)
	}
	return t
}()

// expNegative returns e^−t for t ≥ 0: e^−t = 2^−k · 2^(−j/64) · e^r with
// |r| ≤ log(2)/128, and e^r by its Taylor polynomial of degree 5, whose
// remainder is below 4·10⁻¹⁷. Results below the least normal number are flushed
// to zero.
func expNegative(t float64) float64 {
	const (
		perStep = 92.332482616893656877     // 64/log 2
		stepHi  = 0x1.62e42fee00000p-1 / 64 // log(2)/64; low bits zero, so n·stepHi is exact for n < 2²⁰
		stepLo  = 1.90821492927058770002e-10 / 64
	)
	if !(t < 708) {
		if math.IsNaN(t) {
			return t
		}
		return 0
	}
	n := int64(float64(t*perStep) + 0.5)
	f := float64(n)
	r := float64(float64(f*stepHi)-t) + float64(f*stepLo)
	r2 := float64(r * r)
	low := 0.5 + float64(r*(1.0/6))
	high := 1.0/24 + float64(r*(1.0/120))
	p := r + float64(r2*(low+float64(r2*high)))
	s := expTable[n&(expSteps-1)]
	e := s + float64(s*p)
	return e * math.Float64frombits(uint64(1023-n>>6)<<52)
}
