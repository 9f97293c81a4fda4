package privacy

import (
	"fmt"
	"math"
)

// Clip bounds the contributions of a generalised linear model: a unit with
// feature vector x and residual r contributes c·x with |c| ≤ Factor, where the
// factor depends on the unit's norm alone, so that the image of what enters the
// exact sum has 2-norm at most C minus the rounding of the output.
//
// Proof. Let M be the exact matrix of the Map, x the encoded row with
// coordinates in [−1, 1], and v the integer contribution, v_i = Round(c·x_i),
// so v = Unit·c·x + e with |e_i| ≤ ½ + 2⁻²² (half a step from rounding to the
// lattice, the rest from the rounding of the product c·x_i). Then
//
//	‖M v‖/Unit ≤ |c|·‖M x‖ + ‖M‖_F·√d·(½ + 2⁻²²)/Unit
//
// and |c| ≤ (C − √d·g − ‖M‖_F·√d·0.51/Unit)/N with N ≥ ‖M x‖ gives
// ‖M v‖/Unit ≤ C − √d·g. Removing the unit therefore moves the exact image by
// at most C − √d·g, and the image rounded to the lattice by at most C.
//
// A vector of n residuals c, such as one for each class, contributes c⊗x: the n
// vectors Round(c_k·x), each mapped by M. With ‖c‖ in place of |c|, √(n·d) in place of
// √d, and the map's norm still at most ‖M‖_F, the same lines bound the image of all of
// it by C − √(n·d)·g, if ‖c‖ is at most the factor ([NewClipOf]).
//
// This holds for every float64, because it asks of c only that |c| ≤ Factor and
// of x only that |x_i| ≤ 1. A caller maps a residual that is NaN to 0. A product
// c·x_i that is subnormal is rounded by less than 2⁻¹⁰⁴⁴ steps. Where ‖M x‖² or
// ‖M‖_F² is subnormal or underflows, it is off by less than 2⁻¹⁰⁵⁰, against
// C² ≥ 2⁻¹⁰⁰⁰: less than a rounding of a norm near C, and norms far below C are
// not clipped. One that overflows leaves a factor of 0.
type Clip struct {
	c      float64
	target float64
	d      float64
	slack  float64 // absolute allowance for the float64 evaluation of ‖M x‖
}

// NewClip returns the clip to norm c for contributions mapped by m. Domain:
// 2⁻⁵⁰⁰ ≤ c ≤ 2⁵⁰⁰, c is less than 2³¹ steps of the lattice of m, and rounding
// takes at most a thousandth of c; else ErrDomain. So the image of a sum of
// [MaxUnits] units is below 2⁶² steps: no integer overflows.
func NewClip(c float64, m *Map) (Clip, error) { return NewClipOf(1, c, m) }

// NewClipOf is [NewClip] for vectors of n residuals: the factor bounds their 2-norm.
// Domain: as there, and n ≥ 1.
func NewClipOf(n int, c float64, m *Map) (Clip, error) {
	if n < 1 {
		return Clip{}, fmt.Errorf("number of residuals: %w", ErrDomain)
	}
	if !(c >= 0x1p-500 && c <= 0x1p500) {
		return Clip{}, fmt.Errorf("clipping norm must lie between 1e-150 and 1e150: %w", ErrDomain)
	}
	if !(c/(1<<(spacingLog+1)) < m.g) {
		return Clip{}, fmt.Errorf("clipping norm is too large for its lattice: %w", ErrDomain)
	}
	d := float64(m.d)
	frob := m.Frobenius()
	lost := up(math.Sqrt(float64(n)*d)*(m.g+frob*0.51/Unit), 8)
	if !(lost <= c/1000) {
		return Clip{}, fmt.Errorf("clipping norm is too small for its lattice and metric: %w", ErrDomain)
	}
	target := (c - lost) * (1 - 0x1p-50)
	// ‖fl(Mx) − Mx‖ ≤ γ·‖|M||x|‖ ≤ γ·‖M‖_F·√d with γ = 2d·2⁻⁵³ for |x_i| ≤ 1.
	return Clip{c: c, d: d, target: target, slack: up(d*0x1p-52*frob*math.Sqrt(d), 8)}, nil
}

// Norm returns C.
func (k Clip) Norm() float64 { return k.c }

// Factor returns the largest |c| that a unit may have whose image ‖M x‖ was
// computed in float64 as norm: above 0 and at most 1. A norm that is not finite
// and positive gets 0: such a unit contributes nothing. A finite coordinate
// beyond [−1, 1] is not covered: [Round] cuts it, the others may no longer make up
// for it, and the image can exceed C.
func (k Clip) Factor(norm float64) float64 {
	n := up(norm, k.d+8) + k.slack
	if !(n > 0) || math.IsInf(n, 1) {
		return 0
	}
	return min(1, k.target/n*(1-0x1p-50))
}
