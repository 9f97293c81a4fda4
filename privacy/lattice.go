package privacy

import (
	"fmt"
	"math"
	"math/bits"
)

// spacingLog is log₂ of the number of lattice steps in a clipping norm: fine
// enough that the clip target loses a billionth, coarse enough that sums of
// 2³¹ units fit an int64.
const spacingLog = 30

// MaxUnits is the largest number of units that a sum takes: with contributions
// of at most 2³⁰ lattice steps (and one of rounding), 2³¹ of them stay below 2⁶².
const MaxUnits = 1 << 31

// Unit is the number of lattice steps that stand for 1.0 in the sums of
// contributions whose coordinates lie in [−1, 1].
const Unit = 1 << spacingLog

// Round returns v·Unit rounded to the nearest integer, ties to even, for
// |v| ≤ 1. The product is exact (a power of two), so the result differs from
// v·Unit by at most ½. NaN counts as zero, and values outside [−1, 1] as the
// nearer end: no input makes it leave [−Unit, Unit].
func Round(v float64) int64 {
	if !(v >= -1) {
		if v < -1 {
			return -Unit
		}
		return 0 // NaN
	}
	if v > 1 {
		return Unit
	}
	// Adding 1.5·2⁵² pushes the fraction out of the significand: round to nearest.
	const magic = 3 << 51
	t := float64(v*Unit) + magic
	return int64(t - magic)
}

// Spacing returns the lattice spacing for clipping norm c and noise multipliers
// up to z: the power of two g with 2³⁰ ≤ c/g < 2³¹, coarser where z·c/g would
// leave the domain of Gaussian. Domain: c finite, 2⁻⁵⁰⁰ ≤ c ≤ 2⁵⁰⁰, 0 < z ≤ 2³⁸,
// else ErrDomain.
func Spacing(c, z float64) (float64, error) {
	if !(c >= 0x1p-500 && c <= 0x1p500) {
		return 0, fmt.Errorf("clipping norm must lie between 1e-150 and 1e150: %w", ErrDomain)
	}
	if !(z > 0 && z <= 0x1p38) {
		return 0, fmt.Errorf("noise multiplier must lie between 0 and 2^38: %w", ErrDomain)
	}
	_, exp := math.Frexp(c) // c in [2^(exp−1), 2^exp)
	log := exp - 1 - spacingLog
	if _, zExp := math.Frexp(z); zExp > maxRatioLog-spacingLog-2 {
		log += zExp - (maxRatioLog - spacingLog - 2)
	}
	return math.Ldexp(1, log), nil
}

// mapBits bounds the integer entries of a Map: with sums below 2⁶² and at most
// 2¹⁰ coordinates every accumulated product stays below 2⁵²·2⁶²·2¹⁰ = 2¹²⁴.
const mapBits = 52

// MaxDim is the largest dimension of a Map.
const MaxDim = 1 << 10

// Map is a public linear map applied to exact sums without rounding, followed
// by one rounding onto the output lattice. A neighbouring sum that differs by a
// vector v of 2-norm at most b after the exact map differs, after the rounding,
// by at most b + √d·g: each coordinate is moved by at most g/2 on either side.
type Map struct {
	d     int
	r     []int64   // row j holds the integer coefficients of output j
	scale float64   // entries are r·scale, scale a power of two
	f     []float64 // the same entries as float64, exact
	shift uint      // output in steps of g = (Σ r·s) / 2^shift
	g     float64
}

// NewMap rounds the d×d matrix a (row-major: output j = Σᵢ a[j·d+i]·sum[i]) to
// entries that integers hold exactly, and returns the map of those entries with
// output spacing g. The mechanism is defined by the rounded entries: read them
// back with At. Sums are in units of 1/Unit.
//
// Domain: 1 ≤ d ≤ MaxDim, finite entries not all zero, g a power of two not
// finer than the products; else ErrDomain.
func NewMap(a []float64, d int, g float64) (*Map, error) {
	if d < 1 || d > MaxDim || len(a) != d*d {
		return nil, fmt.Errorf("dimension of a linear map: %w", ErrDomain)
	}
	var largest float64
	for _, v := range a {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("linear map with an entry that is not finite: %w", ErrDomain)
		}
		largest = max(largest, math.Abs(v))
	}
	gFrac, gExp := math.Frexp(g)
	if largest == 0 || gFrac != 0.5 {
		return nil, fmt.Errorf("linear map that is zero, or spacing that is not a power of two: %w", ErrDomain)
	}
	_, exp := math.Frexp(largest)
	scaleLog := exp - mapBits + 1 // |a|/2^scaleLog < 2^(mapBits−1)
	m := &Map{d: d, r: make([]int64, d*d), f: make([]float64, d*d), scale: math.Ldexp(1, scaleLog), g: g}
	for i, v := range a {
		m.r[i] = int64(math.RoundToEven(math.Ldexp(v, -scaleLog)))
		m.f[i] = math.Ldexp(float64(m.r[i]), scaleLog)
	}
	// One product unit is 2^(scaleLog − spacingLog); g = 2^(gExp−1).
	shift := (gExp - 1) - (scaleLog - spacingLog)
	if shift < 1 || shift > 120 {
		return nil, fmt.Errorf("linear map and output lattice are too far apart: %w", ErrDomain)
	}
	m.shift = uint(shift)
	return m, nil
}

// Dim returns the dimension.
func (m *Map) Dim() int { return m.d }

// Spacing returns the spacing of the output lattice.
func (m *Map) Spacing() float64 { return m.g }

// At returns the exact entry for output j and input i.
func (m *Map) At(j, i int) float64 { return m.f[j*m.d+i] }

// Frobenius returns an upper bound of the Frobenius norm of the exact entries.
func (m *Map) Frobenius() float64 {
	var s float64
	for _, v := range m.f {
		s += v * v
	}
	return up(math.Sqrt(s), float64(len(m.f)+4))
}

// Apply writes the image of the exact sum to dst, in steps of the output
// lattice. Both have length Dim. It panics if a coordinate leaves the range
// that the bounds on sums and entries imply.
func (m *Map) Apply(dst, sum []int64) {
	for _, s := range sum {
		if s > 1<<62 || s < -(1<<62) {
			panic("privacy: an exact sum beyond its proven bound")
		}
	}
	half := uint64(1) << ((m.shift - 1) % 64)
	for j := range dst {
		var hi, lo uint64 // two's complement of 128 bits
		if m.shift-1 >= 64 {
			hi = half
		} else {
			lo = half
		}
		row := m.r[j*m.d : (j+1)*m.d]
		for i, s := range sum {
			ph, pl := mulSigned(row[i], s)
			var c uint64
			lo, c = bits.Add64(lo, pl, 0)
			hi, _ = bits.Add64(hi, ph, c)
		}
		dst[j] = shiftSigned(hi, lo, m.shift)
	}
}

// mulSigned returns the 128-bit two's-complement product.
func mulSigned(a, b int64) (hi, lo uint64) {
	hi, lo = bits.Mul64(uint64(a), uint64(b))
	if a < 0 {
		hi -= uint64(b)
	}
	if b < 0 {
		hi -= uint64(a)
	}
	return hi, lo
}

// shiftSigned returns the arithmetic shift (hi, lo) >> n, which must fit.
func shiftSigned(hi, lo uint64, n uint) int64 {
	if n >= 64 {
		return int64(hi) >> (n - 64)
	}
	if top := int64(hi) >> (n - 1); top != 0 && top != -1 {
		panic("privacy: an image beyond its proven bound")
	}
	return int64(hi<<(64-n) | lo>>n)
}

// up returns x raised by n relative rounding errors: an upper bound of a
// quantity that was computed in n float64 operations without cancellation.
func up(x, n float64) float64 { return x * (1 + n*0x1p-52) }
