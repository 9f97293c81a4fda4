package sgld

import "math"

// operands is what a kernel reads and where it adds. Logistic regression has two
// kernels: [addBlocksGo], the reference, and on amd64 an AVX2 version of it; both
// evaluate the same expressions in the same order for each unit, so the
// residuals agree on every bit (but of NaN, which counts as zero in one and as a
// residual that rounds to zero in the other), and the sums are integers.
type operands struct {
	numbers, joints int

	// Blocks of units.
	x      []float64 // blocks × numbers × lanes
	code   []uint16  // blocks × joints × lanes
	target []float64 // blocks × lanes: of models with a numeric target
	bound  []float64 // blocks × lanes: clip factors
	weight []int64   // blocks × lanes: multiplicities m < 2³¹, negative for y = 1

	theta []float64 // coefficient of the intercept, then of the numbers
	table []float64 // coefficients of the entries of all joint codes

	sums    []int64 // (1 + numbers) × sumLanes: intercept, then numbers
	entries []int64 // len(table) × entryCopies

	c [lanes]float64 // of the block in hand: linear predictors, then residuals
}

const (
	sumLanes    = 4 // partial sums of the intercept and of each number
	entryCopies = 4 // partial sums of each entry, so that equal neighbours do not wait for each other
)

// check panics unless the lengths fit together: a kernel in assembly has no
// bounds of its own. Codes are below len(table) by construction of the design.
func (o *operands) check() {
	units := len(o.bound)
	if units%lanes != 0 || len(o.weight) != units || len(o.x) != units*o.numbers || len(o.code) != units*o.joints ||
		len(o.theta) != 1+o.numbers || len(o.sums) != sumLanes*len(o.theta) || len(o.entries) != entryCopies*len(o.table) ||
		o.joints > 0 && len(o.table) == 0 {
		panic("sgld: operands of a kernel do not fit together")
	}
}

// addBlocks adds the contributions of all units of o to its sums.
func addBlocks(o *operands) {
	if useAVX2 {
		addBlocksVector(o)
	} else {
		addBlocksGo(o)
	}
}

// lattice is 1.5·2⁵² steps of the lattice of privacy.Unit = 2³⁰ steps in 1:
// adding it rounds to the lattice, and leaves the number of steps in the low bits.
const lattice = 3 << 21

// addBlocksGo is the plain twin of the vector kernel. A unit with multiplicity
// m contributes
//
//	±m·v, v_i = Round(c·x_i), c = clip(|σ(u) − y|), u = θ₀ + Σ numbers + Σ entries
//
// with privacy.Round to the nearest of 2³⁰ steps in 1, which is odd, so that the
// sign of the residual, − for y = 1, may be that of the weight.
func addBlocksGo(o *operands) {
	o.check()
	for b := range len(o.bound) / lanes {
		o.predict(b)
		bound := (*[lanes]float64)(o.bound[b*lanes:])
		weight := (*[lanes]int64)(o.weight[b*lanes:])
		for l, u := range o.c {
			turned := math.Float64bits(u) ^ uint64(weight[l])&signBit
			o.c[l] = clippedResidual(math.Float64frombits(turned), bound[l])
		}
		o.addBlock(b)
	}
}

// predict writes the linear predictors of a block to c.
func (o *operands) predict(b int) {
	x := o.x[b*o.numbers*lanes : (b+1)*o.numbers*lanes]
	code := o.code[b*o.joints*lanes : (b+1)*o.joints*lanes]
	c := &o.c
	for l := range c {
		c[l] = o.theta[0]
	}
	for j, t := range o.theta[1:] {
		xs := (*[lanes]float64)(x[j*lanes:])
		for l, v := range xs {
			c[l] += float64(v * t)
		}
	}
	for j := range o.joints {
		codes := (*[lanes]uint16)(code[j*lanes:])
		for l, k := range codes {
			c[l] += o.table[k]
		}
	}
}

// addBlock adds m·Round(c·x_i) of the units of a block. As |c·x_i| ≤ 1, the steps
// stand in the low 32 bits, and the product fits an int64.
func (o *operands) addBlock(b int) {
	x := o.x[b*o.numbers*lanes : (b+1)*o.numbers*lanes]
	code := o.code[b*o.joints*lanes : (b+1)*o.joints*lanes]
	weight := (*[lanes]int64)(o.weight[b*lanes:])
	c := &o.c
	var whole [lanes]int64
	sums := (*[sumLanes]int64)(o.sums)
	for l, v := range c {
		whole[l] = lowBits(v+lattice) * weight[l]
		sums[l%sumLanes] += whole[l]
	}
	for j := range o.numbers {
		xs := (*[lanes]float64)(x[j*lanes:])
		sums := (*[sumLanes]int64)(o.sums[(1+j)*sumLanes:])
		for l, v := range xs {
			sums[l%sumLanes] += lowBits(float64(c[l]*v)+lattice) * weight[l]
		}
	}
	for j := range o.joints {
		codes := (*[lanes]uint16)(code[j*lanes:])
		for l, k := range codes {
			o.entries[int(k)*entryCopies+l%entryCopies] += whole[l]
		}
	}
}

// clamped returns r cut to [−f, f], f ≥ 0, and 0 for NaN.
func clamped(r, f float64) float64 {
	b := math.Float64bits(r)
	c := min(b&^signBit, math.Float64bits(f)) | b&signBit
	return math.Float64frombits(c & ordered(r))
}

// lowBits returns the integer v of v + magic, |v| < 2³¹.
func lowBits(shifted float64) int64 { return int64(int32(math.Float64bits(shifted))) }
