package privacy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// VectorClip bounds contributions that are given as vectors, such as gradients of
// any model: each group of coordinates is clipped to a norm of its own, flat
// clipping being one group of all of them, and rounded to the lattice. What one
// vector adds to the sums has in group G a 2-norm of at most C_G/g steps, for every
// float64 in it: no rounding, overflow, subnormal number, infinity or NaN
// excepted.
//
// A vector with a coordinate that is infinite or NaN, in whichever group, adds
// nothing at all.
//
// Proof. One group of n coordinates, c = C_G/g, and E such that all of them are
// below 2^(E+1) in size (2^(E+2) where the largest is beyond 2¹⁰²³); those below
// 2⁻²⁰⁰ of the largest or 2⁻⁶⁰ steps count as 0, which they would be rounded to. Let
// y = x/2^E, exact for the coordinates that are left, and N its 2-norm; either y = 0
// or N ≥ 1. Squares of numbers between 2⁻²⁰¹ and 4 neither overflow nor underflow,
// and their sum is not negative, so its float64 square root, raised by n + 8
// relative roundings, is no less than N; call it M, or 1 if that is more. The
// factor is
//
//	q = min(2^E/g, T/M), less some roundings,   T = c − 0.51·√n, rounded down,
//
// so q·N ≤ T. What is added is v_i = q·y_i + e_i with |e_i| ≤ ½ + 2⁻²²: half a step
// from rounding to the nearest integer, the rest from the product, which is below
// 2³¹ and rounded once. Hence
//
//	‖v‖ ≤ q·N + √n·(½ + 2⁻²²) ≤ c.
//
// Where the norm of x is below T·g, q = 2^E/g: v is x/g rounded.
//
// The norms of the groups are public. Added to the squares, they bound the whole
// vector: Norm (McMahan et al. 2018, arXiv:1710.06963, "per-layer clipping").
//
// What time tells. No branch and no index depends on a value, every number that
// is multiplied is zero or normal, and a vector that adds nothing takes the same
// steps. A square root and a division for each group may take a few cycles more
// for some values than for others, on some processors.
type VectorClip struct {
	dim    int
	groups []clipGroup
	step   float64 // 1/g
	least  uint64  // the bits of 2⁻⁶⁰·g
	norm   float64
}

type clipGroup struct {
	ranges []Range // in increasing order
	target float64 // T
	terms  float64 // n + 8
}

// Range is the coordinates i with From ≤ i < To.
type Range struct{ From, To int }

// Group is coordinates that are clipped together, to the 2-norm Norm.
type Group struct {
	Norm   float64
	Ranges []Range
}

// MaxCoordinates is the most that a VectorClip takes.
const MaxCoordinates = 1 << 28

// NewVectorClip returns the clip of vectors of length dim on the lattice of that
// spacing. Domain: 1 ≤ dim ≤ MaxCoordinates; every coordinate in exactly one of the
// groups, of which none is empty; each norm between 2⁻⁵⁰⁰ and 2⁵⁰⁰, below 2³¹ steps
// of the lattice, and so large that rounding takes at most a thousandth of it;
// spacing a power of two. Otherwise ErrDomain. [Spacing] of the norm of all groups
// is a lattice that fits, unless a group has too small a share.
//
// So [MaxUnits] vectors, the most that may be added to one sum, stay below 2⁶².
func NewVectorClip(dim int, groups []Group, spacing float64) (*VectorClip, error) {
	if dim < 1 || dim > MaxCoordinates {
		return nil, fmt.Errorf("length of vectors to clip: %w", ErrDomain)
	}
	if f, _ := math.Frexp(spacing); f != 0.5 {
		return nil, fmt.Errorf("lattice spacing is not a power of two: %w", ErrDomain)
	}
	var all []Range
	k := &VectorClip{dim: dim}
	var square float64
	for _, g := range groups {
		if !(g.Norm >= 0x1p-500 && g.Norm <= 0x1p500) {
			return nil, fmt.Errorf("clipping norm must lie between 1e-150 and 1e150: %w", ErrDomain)
		}
		steps := g.Norm / spacing // exact, or far outside the next two bounds
		if !(steps < 1<<(spacingLog+1)) {
			return nil, fmt.Errorf("clipping norm is too large for its lattice: %w", ErrDomain)
		}
		ranges, n, err := union(g.Ranges)
		if err != nil {
			return nil, err
		}
		lost := up(0.51*math.Sqrt(float64(n)), 8)
		if !(lost <= steps/1000) {
			return nil, fmt.Errorf("clipping norm is too small for its lattice and number of coordinates: %w", ErrDomain)
		}
		k.groups = append(k.groups, clipGroup{
			ranges: ranges,
			target: (steps - lost) * (1 - 0x1p-50),
			terms:  float64(n) + 8,
		})
		square += g.Norm * g.Norm
		all = append(all, ranges...)
	}
	if whole, _, err := union(all); err != nil || len(whole) != 1 || whole[0] != (Range{0, dim}) {
		return nil, fmt.Errorf("groups do not cover every coordinate once: %w", ErrDomain)
	}
	// A norm is between 2³⁰ and 2⁹ steps, so the spacing is normal.
	k.step = 1 / spacing
	k.least = math.Float64bits(spacing * 0x1p-60)
	if k.norm = up(math.Sqrt(square), float64(len(groups))+4); len(groups) == 1 {
		k.norm = groups[0].Norm
	}
	return k, nil
}

// union returns the same coordinates in increasing order, with ranges that touch
// made one, and their number; an error if a range is empty or two have a
// coordinate in common.
func union(ranges []Range) ([]Range, int, error) {
	var out []Range
	n := 0
	for _, r := range slices.SortedFunc(slices.Values(ranges), func(a, b Range) int { return cmp.Compare(a.From, b.From) }) {
		last := len(out) - 1
		switch {
		case r.From < 0 || r.To <= r.From || r.To > MaxCoordinates || last >= 0 && r.From < out[last].To:
			return nil, 0, fmt.Errorf("a group has an empty range, or a coordinate twice: %w", ErrDomain)
		case last >= 0 && r.From == out[last].To:
			out[last].To = r.To
		default:
			out = append(out, r)
		}
		n += r.To - r.From
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("a group without coordinates: %w", ErrDomain)
	}
	return out, n, nil
}

// Norm returns the bound of a whole vector, √(Σ C_G²), rounded up; of one group its
// norm. It is the distance of two sums of which one has a vector more: noise of
// standard deviation z·Norm in every coordinate has noise multiplier z.
func (k *VectorClip) Norm() float64 { return k.norm }

const (
	signBit  = 1 << 63
	infinity = 0x7ff << 52 // the bits of +Inf: those of larger size are NaN
	span     = 200 << 52   // bits of x and of x·2²⁰⁰ differ by that
	magic    = 3 << 51     // where float64 holds the integers alone
)

// Add adds the clipped vector x to sum, in steps of the lattice. Both have the
// length of the clip; it panics otherwise. At most [MaxUnits] vectors may be added
// to one sum.
func (k *VectorClip) Add(sum []int64, x []float64) {
	if len(sum) != k.dim || len(x) != k.dim {
		panic("privacy: a vector of another length than its clip")
	}
	all := largestBits(x)
	finite := -((all - infinity) >> 63) // all ones, or zero
	for i := range k.groups {
		g := &k.groups[i]
		largest := all
		if len(k.groups) > 1 {
			largest = 0
			for _, r := range g.ranges {
				largest = max(largest, largestBits(x[r.From:r.To]))
			}
		}
		least := max(largest, k.least+span) - span
		least = least&finite | signBit&^finite // more than any
		e := min(max(largest, k.least)>>52, 2045)
		scale := math.Float64frombits((2046 - e) << 52) // 2^(−E)
		var square float64
		for _, r := range g.ranges {
			square += sumSquares(x[r.From:r.To], scale, least)
		}
		m := max(up(math.Sqrt(square), g.terms), 1)
		q := min(math.Float64frombits(e<<52)*k.step, g.target/m*(1-0x1p-50))
		// Exact: scale is a power of two, and q is between 2⁻⁶¹ and 2³¹.
		factor := scale * q
		for _, r := range g.ranges {
			addScaled(sum[r.From:r.To], x[r.From:r.To], factor, least)
		}
	}
}

// largestBits returns the bits of the largest size, which compare as sizes do,
// infinity and NaN above all others.
func largestBits(x []float64) uint64 {
	var a, b uint64
	for ; len(x) >= 2; x = x[2:] {
		a = max(a, math.Float64bits(x[0])&^signBit)
		b = max(b, math.Float64bits(x[1])&^signBit)
	}
	for _, v := range x {
		a = max(a, math.Float64bits(v)&^signBit)
	}
	return max(a, b)
}

// atLeast returns v, or 0 where the bits of its size are below least ≤ 2⁶³.
func atLeast(v float64, least uint64) float64 {
	b := math.Float64bits(v)
	return math.Float64frombits(b & ((b&^signBit-least)>>63 - 1))
}

// sumSquares returns Σ (x_i·scale)² of the coordinates that count, in four lanes.
// Products are rounded before they are added: the same bits on every machine.
func sumSquares(x []float64, scale float64, least uint64) float64 {
	var a, b, c, d float64
	for ; len(x) >= 4; x = x[4:] {
		v := atLeast(x[0], least) * scale
		a += float64(v * v)
		v = atLeast(x[1], least) * scale
		b += float64(v * v)
		v = atLeast(x[2], least) * scale
		c += float64(v * v)
		v = atLeast(x[3], least) * scale
		d += float64(v * v)
	}
	for _, v := range x {
		v = atLeast(v, least) * scale
		a += float64(v * v)
	}
	return (a + b) + (c + d)
}

// addScaled adds the integers nearest to x_i·factor, of the coordinates that count.
// In [2⁵², 2⁵³) the bits of a float64 count its integers.
func addScaled(sum []int64, x []float64, factor float64, least uint64) {
	sum = sum[:len(x)]
	zero := math.Float64bits(magic)
	for i, v := range x {
		t := float64(atLeast(v, least)*factor) + magic
		sum[i] += int64(math.Float64bits(t) - zero)
	}
}
