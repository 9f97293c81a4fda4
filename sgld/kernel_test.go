package sgld

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/privsgld/privsgld/privacy"
)

// words yields the words of data, then a stream that depends on them.
type words struct {
	data []byte
	then *privacy.Seeded
}

func newWords(data []byte) *words {
	var seed uint64
	for _, b := range data {
		seed = seed*31 + uint64(b)
	}
	return &words{data, privacy.NewSeeded(seed, "words")}
}

func (w *words) next() uint64 {
	if len(w.data) < 8 {
		return w.then.Uint64()
	}
	v := binary.LittleEndian.Uint64(w.data)
	w.data = w.data[8:]
	return v
}

// float yields any float64 in one of four cases, else one of moderate size.
func (w *words) float() float64 {
	v := w.next()
	if v&3 == 0 {
		return math.Float64frombits(w.next())
	}
	return float64(int64(v)) * 0x1p-60
}

// randomOperands fills operands of some shape with anything that a design, its
// factors and an iterate can hold.
func randomOperands(w *words) *operands {
	shape := w.next()
	o := &operands{numbers: int(shape & 7), joints: int(shape >> 3 & 3)}
	units := lanes * (1 + int(shape>>5&3))
	entries := 1 + int(shape>>7&31)
	if o.joints == 0 {
		entries = 0
	}
	o.x = make([]float64, units*o.numbers)
	for i := range o.x {
		o.x[i] = inRange(w.float())
	}
	o.code = make([]uint16, units*o.joints)
	for i := range o.code {
		o.code[i] = uint16(w.next() % uint64(entries))
	}
	o.bound, o.weight = make([]float64, units), make([]int64, units)
	for i := range units {
		o.bound[i] = math.Abs(inRange(w.float()))
		o.weight[i] = int64(w.next()) >> 32
		if o.weight[i] == math.MinInt32 {
			o.weight[i] = 0
		}
	}
	o.theta, o.table = make([]float64, 1+o.numbers), make([]float64, entries)
	for i := range o.theta {
		o.theta[i] = w.float()
	}
	for i := range o.table {
		o.table[i] = w.float()
	}
	o.sums, o.entries = make([]int64, sumLanes*len(o.theta)), make([]int64, entryCopies*entries)
	return o
}

func (o *operands) cleared() *operands {
	c := *o
	c.sums, c.entries = make([]int64, len(o.sums)), make([]int64, len(o.entries))
	return &c
}

// sameAsGo compares the vector kernel with the plain one on all bits.
func sameAsGo(t *testing.T, o *operands) {
	t.Helper()
	plain, vector := o.cleared(), o.cleared()
	addBlocksGo(plain)
	addBlocksVector(vector)
	if !slices.Equal(plain.sums, vector.sums) || !slices.Equal(plain.entries, vector.entries) {
		t.Error("the kernels disagree")
	}
}

func FuzzKernels(f *testing.F) {
	if !useAVX2 {
		f.Skip("this machine or build has no vector kernel")
	}
	f.Add([]byte{})
	for shape := range 128 {
		f.Add(binary.LittleEndian.AppendUint64(nil, uint64(shape*33)))
	}
	f.Fuzz(func(t *testing.T, data []byte) { sameAsGo(t, randomOperands(newWords(data))) })
}

// hostile are arguments around every place where an evaluation changes.
var hostile = func() (v []float64) {
	for _, x := range []float64{0, 5e-324, 0x1p-1022, 1e-308, 0x1p-54, 1e-9, 0.34, math.Ln2 / 2, 0.35, 0.5, 1, 20, 36.7, 37, 700, 707.999, 708, 708.5, 745, 746, 1e5, 1e300, math.MaxFloat64, math.Inf(1)} {
		for _, x := range []float64{math.Nextafter(x, 0), x, math.Nextafter(x, math.Inf(1))} {
			v = append(v, x, -x)
		}
	}
	return append(v, math.NaN(), math.Copysign(math.NaN(), -1), math.Float64frombits(0x7ff0000000000001), math.Float64frombits(0xffffffffffffffff))
}()

// TestKernelsAtTheEdges: the kernels agree at every hostile argument, beside each
// other in a block.
func TestKernelsAtTheEdges(t *testing.T) {
	if !useAVX2 {
		t.Skip("this machine or build has no vector kernel")
	}
	src := privacy.NewSeeded(11, "edges")
	for _, theta := range hostile {
		o := &operands{numbers: 1, theta: []float64{0, theta}, sums: make([]int64, 2*sumLanes)}
		for _, x := range []float64{1, -1, 0.5, 5e-324, 0x1p-31, 3 * 0x1p-32, 0, 1.0 / 3} {
			for range lanes {
				o.x = append(o.x, x)
				o.bound = append(o.bound, []float64{1, 0.5, 0, 0x1p-31, 5e-324, uniform(src)}[src.Uint64()%6])
				o.weight = append(o.weight, []int64{1, -1, 0, math.MaxInt32, -math.MaxInt32}[src.Uint64()%5])
			}
		}
		sameAsGo(t, o)
	}
}

// TestKernelIsTheFormula: what each unit adds is m·Round(c·x_i) with
// c = clip(σ(u) − y), by privacy.Round and signs written out.
func TestKernelIsTheFormula(t *testing.T) {
	w := newWords([]byte("formula"))
	for range 300 {
		o := randomOperands(w)
		addBlocksGo(o)
		sums := make([]int64, 1+o.numbers)
		entries := make([]int64, len(o.table))
		for unit := range o.bound {
			block, lane := unit/lanes, unit%lanes
			x := func(j int) float64 { return o.x[(block*o.numbers+j)*lanes+lane] }
			code := func(j int) uint16 { return o.code[(block*o.joints+j)*lanes+lane] }
			u := o.theta[0]
			for j := range o.numbers {
				u += float64(x(j) * o.theta[1+j])
			}
			for j := range o.joints {
				u += o.table[code(j)]
			}
			m, residual := o.weight[unit], sigmoid(u)
			if m < 0 {
				m, residual = -m, -sigmoid(-u)
			}
			c := max(-o.bound[unit], min(residual, o.bound[unit]))
			if math.IsNaN(u) {
				c = 0
			}
			sums[0] += privacy.Round(c) * m
			for j := range o.numbers {
				sums[1+j] += privacy.Round(float64(c*x(j))) * m
			}
			for j := range o.joints {
				entries[code(j)] += privacy.Round(c) * m
			}
		}
		for j := range sums {
			for _, v := range o.sums[j*sumLanes : (j+1)*sumLanes] {
				sums[j] -= v
			}
		}
		for j := range entries {
			for _, v := range o.entries[j*entryCopies : (j+1)*entryCopies] {
				entries[j] -= v
			}
		}
		for _, v := range append(sums, entries...) {
			if v != 0 {
				t.Fatal("the kernel adds something else")
			}
		}
	}
}

// TestResidualBounds: whatever the arguments, |c| ≤ f ≤ 1, and NaN gives zero.
// The clip's proof needs no more of the residual.
func TestResidualBounds(t *testing.T) {
	w := newWords([]byte("bounds"))
	us := slices.Clone(hostile)
	for range 100_000 {
		us = append(us, math.Float64frombits(w.next()), w.float())
	}
	for _, u := range us {
		f := math.Abs(inRange(w.float()))
		c := clippedResidual(u, f)
		if !(c >= 0 && c <= f) || math.IsNaN(u) && c != 0 {
			t.Fatalf("u = %g, f = %g: %g", u, f, c)
		}
		if s := sigmoid(u); !(s >= 0 && s <= 1) {
			t.Fatalf("sigmoid(%g) = %g", u, s)
		}
	}
}

// TestSigmoid compares with the library's exponential, to the error stated.
func TestSigmoid(t *testing.T) {
	var worst float64
	for u := -707.9; u <= 750; u += 0.00731 {
		want := 1 / (1 + math.Exp(-u))
		if u < -30 {
			want = math.Exp(u) / (1 + math.Exp(u))
		}
		worst = max(worst, math.Abs(sigmoid(u)/want-1))
	}
	if !(worst < 2e-12) {
		t.Errorf("relative error %g", worst)
	}
	if sigmoid(math.Inf(1)) != 1 || sigmoid(0) != 0.5 || sigmoid(math.Inf(-1)) != sigmoid(-708) || sigmoid(-708) > 4e-308 {
		t.Error("sigmoid at the ends")
	}
}

// TestLargestSums: 2³¹ − 1 equal units of the largest contribution are added
// without overflow, the most that a table can hold.
func TestLargestSums(t *testing.T) {
	kernels := []func(*operands){addBlocksGo}
	if useAVX2 {
		kernels = append(kernels, addBlocksVector)
	}
	for _, sign := range []int64{1, -1} {
		for _, add := range kernels {
			o := &operands{
				numbers: 1, joints: 1, x: make([]float64, lanes), code: make([]uint16, lanes), bound: make([]float64, lanes), weight: make([]int64, lanes),
				theta: []float64{0, 1000}, table: []float64{0}, sums: make([]int64, 2*sumLanes), entries: make([]int64, entryCopies),
			}
			const at = 9
			o.x[at], o.bound[at], o.weight[at] = float64(sign), 1, sign*(privacy.MaxUnits-1)
			add(o)
			const most = int64(privacy.MaxUnits-1) * privacy.Unit
			if o.sums[at%sumLanes] != sign*most || o.sums[sumLanes+at%sumLanes] != most || o.entries[at%entryCopies] != sign*most {
				t.Error("the largest sum is wrong")
			}
		}
	}
}

// exactBelow reports whether Σ v² ≤ (c/g)².
func exactBelow(v []int64, c, g float64) bool {
	sum := new(big.Int)
	for _, x := range v {
		b := big.NewInt(x)
		sum.Add(sum, b.Mul(b, b))
	}
	ratio := new(big.Rat).SetFloat64(c / g) // exact: g is a power of two
	return new(big.Rat).SetInt(sum).Cmp(ratio.Mul(ratio, ratio)) <= 0
}

// hostileRows are rows with whatever a file may hold in them.
func hostileRows(src *privacy.Seeded, n int) []testRow {
	cells := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e308, -1e308, 5e-324, 1, -1, math.Copysign(0, -1), 0x1p-31, 0x1p-30 + 0x1p-52}
	rows := make([]testRow, n)
	for i := range rows {
		rows[i] = testRow{x: 2*uniform(src) - 1, b: uint16(src.Uint64() & 1), c: uint16(src.Uint64() % 3), y: uint8(src.Uint64())}
		switch src.Uint64() % 8 {
		case 0, 1, 2:
			rows[i].x = cells[src.Uint64()%uint64(len(cells))]
		case 3:
			rows[i].b, rows[i].c = math.MaxUint16, math.MaxUint16-2
		}
	}
	return rows
}

// pairs removes units from sums of up to 2³¹ others and checks, exactly, that the image
// of what one adds has norm at most C − √d·g and that the rounded image moves by
// at most C. Clipping to C without room for the rounding must be caught.
func pairs(t *testing.T, n int) {
	src := privacy.NewSeeded(12, "pairs")
	naive, near := 0, 0
	for done := 0; done < n; {
		root := skewRoot()
		scale := math.Ldexp(1+uniform(src), int(src.Uint64()%40)-20)
		if src.Uint64()%4 == 0 {
			scale = math.Ldexp(1+uniform(src), int(src.Uint64()%960)-480) // the whole domain of C
		}
		for i := range 5 {
			for j := range 5 {
				root.Set(i, j, scale*(root.At(i, j)+0.01*(uniform(src)-0.5)))
			}
		}
		c := scale * (0.005 + 0.05*uniform(src))
		rows := hostileRows(src, 40)
		s := testSum(t, rows, 7, root, c, 1)
		theta := []float64{w500(src), w500(src), w500(src), w500(src), w500(src)}
		if src.Uint64()%8 == 0 {
			theta[src.Uint64()%5] = hostile[src.Uint64()%uint64(len(hostile))]
		}
		g := s.design
		exact := make([][]*big.Rat, g.d)
		for j := range exact {
			for i := range g.d {
				exact[j] = append(exact[j], new(big.Rat).SetFloat64(s.metric.m.At(j, i)))
			}
		}
		// 2.2360679775 is above √5.
		room := new(big.Rat).SetFloat64(2.2360679775)
		room.Mul(room, new(big.Rat).SetFloat64(s.metric.m.Spacing()))
		room.Sub(new(big.Rat).SetFloat64(c), room).Mul(room, new(big.Rat).SetInt64(privacy.Unit))
		room.Mul(room, room)
		row, before, after := make([]float64, g.d), make([]int64, g.d), make([]int64, g.d)
		var units [][]int64
		for u := range g.y {
			s.exact(theta, []uint32{uint32(u)})
			units = append(units, slices.Clone(s.sum))
		}
		for u, v := range units {
			norm2 := new(big.Rat)
			for j := range exact {
				image := new(big.Rat)
				for i, x := range v {
					image.Add(image, new(big.Rat).Mul(exact[j][i], new(big.Rat).SetInt64(x)))
				}
				norm2.Add(norm2, image.Mul(image, image))
			}
			if norm2.Cmp(room) > 0 {
				t.Fatal("what a unit adds is larger than the clip promises")
			}
			if f, _ := norm2.Quo(norm2, room).Float64(); f > 1-1e-6 {
				near++
			}
			// What a plain clip would add.
			g.dense(row, u)
			var plain2 float64
			for j := range row {
				var y float64
				for i, x := range row {
					y += s.metric.m.At(j, i) * x
				}
				plain2 += y * y
			}
			plain := make([]int64, g.d)
			for i, x := range row {
				plain[i] = privacy.Round(min(1, c/math.Sqrt(plain2)) * x)
			}
			for range 5 {
				done++
				with, without, naively := make([]int64, g.d), make([]int64, g.d), make([]int64, g.d)
				for range 3 {
					other, m := units[src.Uint64()%uint64(len(units))], int64(src.Uint64()>>(35+src.Uint64()%29))
					for i := range without {
						without[i] += m * other[i]
					}
				}
				for i := range with {
					with[i], naively[i] = without[i]+v[i], without[i]+plain[i]
				}
				moves := func(with []int64) bool {
					s.metric.m.Apply(before, without)
					s.metric.m.Apply(after, with)
					for i := range after {
						after[i] -= before[i]
					}
					return exactBelow(after, c, s.metric.m.Spacing())
				}
				if !moves(with) {
					t.Fatal("a unit moves the rounded sum by more than C")
				}
				if !moves(naively) {
					naive++
				}
			}
		}
	}
	if naive < n/20 {
		t.Errorf("a clip without room for rounding exceeds C in %d of %d pairs only: the test would not notice it", naive, n)
	}
	if near < n/50 {
		t.Errorf("%d units of %d come within a millionth of the bound: the test would not notice a wrong clip", near, n/5)
	}
}

// w500 is a coefficient between −500 and 500: most units clip.
func w500(src *privacy.Seeded) float64 { return 1000 * (uniform(src) - 0.5) }

func TestPairs(t *testing.T) { pairs(t, 5_000) }

// TestRemovalIsTheContribution: without a row the sum of integers is less by
// exactly what the row adds by itself, whatever the row holds.
func TestRemovalIsTheContribution(t *testing.T) {
	rows := hostileRows(privacy.NewSeeded(13, "removal"), 60)
	for _, theta := range [][]float64{testTheta, {1e300, -1e300, 1e300, 5, 5}, {math.NaN(), 0, 0, 0, 0}, {math.Inf(1), math.Inf(-1), 0, 0, 0}} {
		s := testSum(t, rows, 7, skewRoot(), 0.013, 1)
		s.exact(theta, nil)
		full := slices.Clone(s.sum)
		for i := range rows {
			one := testSum(t, rows[i:i+1], 1, skewRoot(), 0.013, 1)
			one.exact(theta, nil)
			less := testSum(t, slices.Delete(slices.Clone(rows), i, i+1), 13, skewRoot(), 0.013, 1)
			less.exact(theta, nil)
			for j, v := range full {
				if less.sum[j]+one.sum[j] != v {
					t.Fatal("a row is worth something else in company")
				}
			}
		}
	}
}

// TestStepAllocatesNothing: a full-batch step, once its noise has been set up.
func TestStepAllocatesNothing(t *testing.T) {
	s := testSum(t, testRows(5000, testTheta, 0, 14), 5000, skewRoot(), 0.05, 1)
	dst := make([]float64, 5)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.draw(dst, testTheta, 3); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a step allocates %g times", n)
	}
}
