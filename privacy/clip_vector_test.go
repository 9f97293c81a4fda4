package privacy

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/gonum/floats"
)

// stepsOf returns C/g as a fraction.
func stepsOf(c, spacing float64) *big.Rat {
	r := new(big.Rat).SetFloat64(c)
	return r.Quo(r, new(big.Rat).SetFloat64(spacing))
}

// squareOf returns Σ v_i² over the ranges.
func squareOf(v []int64, ranges []Range) *big.Int {
	sum, e := new(big.Int), new(big.Int)
	for _, r := range ranges {
		for _, w := range v[r.From:r.To] {
			e.SetInt64(w)
			sum.Add(sum, e.Mul(e, e))
		}
	}
	return sum
}

// withinNorm says whether the integers have norm at most C/g.
func withinNorm(v []int64, ranges []Range, c, spacing float64) bool {
	most := stepsOf(c, spacing)
	return new(big.Rat).SetInt(squareOf(v, ranges)).Cmp(most.Mul(most, most)) <= 0
}

// randomGroups splits dim coordinates into groups, in ranges that interleave.
func randomGroups(src *Seeded, dim int, c float64) []Group {
	groups := make([]Group, 1+src.Uint64()%uint64(min(dim, 4)))
	for i := range groups {
		groups[i].Norm = c * (1 - 0x1p-10*float64(src.Uint64()%800))
	}
	for from := 0; from < dim; {
		to := min(dim, from+1+int(src.Uint64()%uint64(1+dim/3)))
		g := &groups[src.Uint64()%uint64(len(groups))]
		g.Ranges = append(g.Ranges, Range{from, to})
		from = to
	}
	groups = slices.DeleteFunc(groups, func(g Group) bool { return len(g.Ranges) == 0 })
	slices.Reverse(groups[0].Ranges)
	return groups
}

// hostile fills x with what a gradient should not be, and sometimes with what it
// should; kind counts the ways.
func hostile(src *Seeded, x []float64, kind int, c, spacing float64) {
	unit := func() float64 { return 2*float64(src.Uint64()>>11)*0x1p-53 - 1 }
	root := math.Sqrt(float64(len(x)))
	for i := range x {
		switch kind % 12 {
		case 0: // a norm of about C, on either side
			x[i] = c * 1.8 / root * unit()
		case 1: // of every size
			x[i] = math.Ldexp(unit(), int(src.Uint64()%2098)-1074)
		case 2: // beside ties of the lattice
			x[i] = (math.Floor(unit()*0x1p20) + 0.5) * spacing
			x[i] = math.Nextafter(x[i], x[i]+float64(int(src.Uint64()%3)-1)*spacing)
		case 3: // all alike: rounded alike, with a norm of C to a few roundings
			x[i] = c / root * (1 + 0x1p-51*float64(kind/12%16))
		case 4: // whose square overflows
			x[i] = math.Copysign(math.MaxFloat64, unit())
		case 5: // whose square underflows
			x[i] = 0x1p-540 * unit()
		case 6: // subnormal, and zero of either sign
			x[i] = math.Copysign(5e-324*float64(src.Uint64()%5), unit())
		case 7: // one large, the rest lost in its last place
			x[i] = 0x1p-27 * c * unit()
			if i == kind/12%len(x) {
				x[i] = c * 3
			}
		case 8: // small: not clipped
			x[i] = 0.5 * c / root * unit()
		case 9: // any bits
			x[i] = math.Float64frombits(src.Uint64())
		case 10: // one that is not finite
			x[i] = c * unit()
			if i == kind/12%len(x) {
				x[i] = []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Float64frombits(1<<63 - 1), math.Float64frombits(math.MaxUint64)}[src.Uint64()%5]
			}
		default: // much too long
			x[i] = math.Ldexp(unit()*c, 40)
		}
	}
}

// naiveClip is the textbook: each group of x times min(1, C/‖x‖), in float64, and
// the same rounding to the lattice.
func naiveClip(sum []int64, x []float64, groups []Group, spacing float64) {
	for _, g := range groups {
		var square float64
		for _, r := range g.Ranges {
			for _, v := range x[r.From:r.To] {
				square += v * v
			}
		}
		f := min(1, g.Norm/math.Sqrt(square))
		for _, r := range g.Ranges {
			for i := r.From; i < r.To; i++ {
				sum[i] += int64(math.RoundToEven(f * x[i] / spacing))
			}
		}
	}
}

// TestVectorClipNorm is threat T3 for vectors: what one of them adds to the sums is
// within C in every group, and within Norm as a whole, in exact arithmetic, whatever
// floats it holds; a vector that is not finite adds nothing; removing one changes
// any sum by exactly what it adds alone. Nothing is random in what it asserts. The
// control, the textbook's clip before the same rounding, must exceed C.
func TestVectorClipNorm(t *testing.T) {
	pairs := 4 * sumPairs
	if testing.Short() {
		pairs /= 4
	}
	for _, dim := range []int{1, 2, 7, 64, 501} {
		for _, c := range []float64{1, 0.7, 0x1p-497, 0x1.8p499} {
			t.Run(fmt.Sprintf("%d/%g", dim, c), func(t *testing.T) {
				t.Parallel()
				vectorNorms(t, dim, c, pairs)
			})
		}
	}
}

func vectorNorms(t *testing.T, dim int, c float64, pairs int) {
	src := NewSeeded(12, fmt.Sprintf("vectors %d %g", dim, c))
	x := make([]float64, dim)
	v, base, with, back := make([]int64, dim), make([]int64, dim), make([]int64, dim), make([]int64, dim)
	whole := []Range{{0, dim}}
	exceeded := 0
	for trial := range pairs {
		groups := []Group{{Norm: c, Ranges: whole}}
		if trial%2 == 1 {
			groups = randomGroups(src, dim, c)
		}
		spacing, err := Spacing(c, 1)
		if err != nil {
			t.Fatal(err)
		}
		if trial%3 == 0 { // nearly as coarse as is allowed
			spacing *= 1 << (spacingLog - 17)
		}
		k, err := NewVectorClip(dim, groups, spacing)
		if err != nil {
			t.Fatal(err)
		}
		hostile(src, x, trial/2, c, spacing)
		for i := range base {
			base[i] = int64(src.Uint64()) >> 2 // what MaxUnits vectors reach
		}
		copy(with, base)
		clear(v)
		k.Add(v, x)
		k.Add(with, x)
		for i := range with {
			if back[i] = with[i] - v[i]; back[i] != base[i] {
				t.Fatal("a vector changes a sum by something else than what it adds alone")
			}
		}
		for _, g := range groups {
			if !withinNorm(v, g.Ranges, g.Norm, spacing) {
				t.Fatalf("kind %d: a contribution beyond C", trial/2%12)
			}
		}
		if !withinNorm(v, whole, k.Norm(), spacing) {
			t.Fatal("a contribution beyond Norm")
		}
		finite := !slices.ContainsFunc(x, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
		if !finite {
			if slices.ContainsFunc(v, func(v int64) bool { return v != 0 }) {
				t.Fatal("a vector that is not finite adds something")
			}
			continue
		}
		for _, g := range groups {
			checkClipped(t, x, v, g, spacing)
		}
		clear(v)
		naiveClip(v, x, groups, spacing)
		if slices.ContainsFunc(groups, func(g Group) bool { return !withinNorm(v, g.Ranges, g.Norm, spacing) }) {
			exceeded++
		}
	}
	if dim > 1 && exceeded == 0 { // of one coordinate there is one value
		t.Error("the test does not see the textbook's clipping")
	}
}

// checkClipped: a group that is within C by a thousandth is only rounded, to the
// nearest with ties to even; any other points where it did, with a norm that is
// C but for a thousandth and the rounding.
func checkClipped(t *testing.T, x []float64, v []int64, g Group, spacing float64) {
	t.Helper()
	norm := newFloat(0)
	for _, r := range g.Ranges {
		for _, w := range x[r.From:r.To] {
			e := newFloat(w)
			norm.Add(norm, e.Mul(e, e))
		}
	}
	norm.Sqrt(norm)
	c := newFloat(g.Norm)
	inside := newFloat(0).Mul(norm, newFloat(1.0021)).Cmp(c) <= 0
	factor := newFloat(1 / spacing)
	if !inside {
		factor.Quo(newFloat(0).Quo(c, newFloat(spacing)), norm)
	}
	for _, r := range g.Ranges {
		for i := r.From; i < r.To; i++ {
			want, _ := newFloat(0).Mul(newFloat(x[i]), factor).Float64()
			if inside {
				if float64(v[i]) != math.RoundToEven(want) {
					t.Fatalf("coordinate %g becomes %d steps, not %g", x[i], v[i], want)
				}
			} else if math.Abs(float64(v[i])-want) > 0.51+0.0022*math.Abs(want) {
				t.Fatalf("coordinate %g is clipped to %d steps, not about %g", x[i], v[i], want)
			}
		}
	}
}

// TestVectorClipOrder: the bits do not depend on the order in which groups and
// ranges are listed, nor on how a range is cut.
func TestVectorClipOrder(t *testing.T) {
	const dim = 41
	src := NewSeeded(13, "order")
	x := make([]float64, dim)
	for trial := range 200 {
		groups := randomGroups(src, dim, 1)
		var other []Group
		for i := range groups {
			g := Group{Norm: groups[len(groups)-1-i].Norm}
			for _, r := range groups[len(groups)-1-i].Ranges {
				for j := r.To - 1; j >= r.From; j-- {
					g.Ranges = append(g.Ranges, Range{j, j + 1})
				}
			}
			other = append(other, g)
		}
		hostile(src, x, trial, 1, 0x1p-30)
		var sums [2][dim]int64
		for i, g := range [][]Group{groups, other} {
			k, err := NewVectorClip(dim, g, 0x1p-30)
			if err != nil {
				t.Fatal(err)
			}
			k.Add(sums[i][:], x)
		}
		if sums[0] != sums[1] {
			t.Fatal("the order of groups and ranges changes the sum")
		}
	}
}

// TestVectorClipWhole: the norm of all groups is rounded up, by little.
func TestVectorClipWhole(t *testing.T) {
	src := NewSeeded(14, "whole")
	for range 2000 {
		groups := randomGroups(src, 40, math.Ldexp(1, int(src.Uint64()%990)-490))
		square := new(big.Rat)
		for _, g := range groups {
			n := new(big.Rat).SetFloat64(g.Norm)
			square.Add(square, n.Mul(n, n))
		}
		spacing, err := Spacing(groups[0].Norm, 1)
		if err != nil {
			t.Fatal(err)
		}
		k, err := NewVectorClip(40, groups, spacing*8)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ factor, cmp float64 }{{1, 1}, {1 - 0x1p-45, -1}} {
			n := new(big.Rat).SetFloat64(k.Norm() * c.factor)
			if cmp := float64(n.Mul(n, n).Cmp(square)); cmp*c.cmp < 0 {
				t.Fatalf("Norm %g is too small or much too large", k.Norm())
			}
		}
		if len(groups) == 1 && k.Norm() != groups[0].Norm {
			t.Fatal("the norm of one group is another")
		}
	}
}

// TestVectorClipDomain: what the proof does not cover is refused, or panics.
func TestVectorClipDomain(t *testing.T) {
	all := []Range{{0, 4}}
	for name, c := range map[string]struct {
		dim     int
		groups  []Group
		spacing float64
	}{
		"no dimension":               {0, nil, 0x1p-30},
		"too many coordinates":       {MaxCoordinates + 1, []Group{{1, []Range{{0, MaxCoordinates + 1}}}}, 0x1p-30},
		"no groups":                  {4, nil, 0x1p-30},
		"a group of none":            {4, []Group{{1, all}, {1, nil}}, 0x1p-30},
		"a gap":                      {4, []Group{{1, []Range{{0, 1}, {2, 4}}}}, 0x1p-30},
		"a gap at the end":           {4, []Group{{1, []Range{{0, 3}}}}, 0x1p-30},
		"a gap at the beginning":     {4, []Group{{1, []Range{{1, 4}}}}, 0x1p-30},
		"past the end":               {4, []Group{{1, []Range{{0, 5}}}}, 0x1p-30},
		"before the beginning":       {4, []Group{{1, []Range{{-1, 4}}}}, 0x1p-30},
		"an empty range":             {4, []Group{{1, []Range{{0, 4}, {2, 2}}}}, 0x1p-30},
		"twice in a group":           {4, []Group{{1, []Range{{0, 3}, {2, 4}}}}, 0x1p-30},
		"in two groups":              {4, []Group{{1, []Range{{0, 3}}}, {1, []Range{{2, 4}}}}, 0x1p-30},
		"norm NaN":                   {4, []Group{{math.NaN(), all}}, 0x1p-30},
		"norm infinite":              {4, []Group{{math.Inf(1), all}}, 0x1p-30},
		"norm zero":                  {4, []Group{{0, all}}, 0x1p-30},
		"norm negative":              {4, []Group{{-1, all}}, 0x1p-30},
		"norm too small":             {4, []Group{{0x1p-501, all}}, 0x1p-531},
		"norm too large":             {4, []Group{{0x1p501, all}}, 0x1p471},
		"norm of 2³¹ steps":          {4, []Group{{2, all}}, 0x1p-30},
		"a spacing far below":        {4, []Group{{1, all}}, 5e-324},
		"norm of few steps":          {4, []Group{{1, all}}, 0x1p-9},
		"one group of few steps":     {4, []Group{{1, []Range{{0, 3}}}, {0x1p-22, []Range{{3, 4}}}}, 0x1p-30},
		"spacing no power of two":    {4, []Group{{1, all}}, 3 * 0x1p-30},
		"spacing zero":               {4, []Group{{1, all}}, 0},
		"spacing NaN":                {4, []Group{{1, all}}, math.NaN()},
		"spacing infinite":           {4, []Group{{1, all}}, math.Inf(1)},
		"spacing negative":           {4, []Group{{1, all}}, -0x1p-30},
		"many coordinates for steps": {1 << 20, []Group{{1, []Range{{0, 1 << 20}}}}, 0x1p-18},
	} {
		if _, err := NewVectorClip(c.dim, c.groups, c.spacing); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k, err := NewVectorClip(4, []Group{{math.Nextafter(2, 0), all}}, 0x1p-30)
	if err != nil {
		t.Fatalf("less than 2³¹ steps: %v", err)
	}
	for _, lengths := range [][2]int{{3, 4}, {4, 3}, {5, 4}, {0, 0}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("lengths %v do not panic", lengths)
				}
			}()
			k.Add(make([]int64, lengths[0]), make([]float64, lengths[1]))
		}()
	}
	sum, x := make([]int64, 4), []float64{1, 2, 3, 4}
	if n := testing.AllocsPerRun(100, func() { k.Add(sum, x) }); n != 0 {
		t.Errorf("%g allocations a vector", n)
	}
}

// FuzzVectorClip: for any groups, lattice and vector that the constructor takes,
// every group of what is added is within C in exact arithmetic, and a vector that
// is not finite adds nothing.
func FuzzVectorClip(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed, int16(0), []byte{})
		f.Add(seed, int16(seed*2)-500, []byte{byte(seed)})
	}
	f.Fuzz(func(t *testing.T, seed uint64, exponent int16, data []byte) {
		in := &fuzzed{data: data, rest: NewSeeded(seed, "vector")}
		dim := 1 + int(in.word()%40)
		c := math.Ldexp(1, int(exponent%501))
		groups := randomGroups(in.rest, dim, c)
		k, err := NewVectorClip(dim, groups, math.Ldexp(c, -int(in.word()%40)))
		if err != nil {
			return
		}
		x, sum := make([]float64, dim), make([]int64, dim)
		finite := true
		near := math.Ldexp(c, int(in.word()%12)-6)
		for i := range x {
			x[i] = in.near(near)
			finite = finite && !math.IsNaN(x[i]) && !math.IsInf(x[i], 0)
		}
		k.Add(sum, x)
		for _, g := range groups {
			if !withinNorm(sum, g.Ranges, g.Norm, 1/k.step) {
				t.Fatalf("C = %g, g = %g: a contribution beyond C", g.Norm, 1/k.step)
			}
		}
		if !finite && slices.ContainsFunc(sum, func(v int64) bool { return v != 0 }) {
			t.Fatal("a vector that is not finite adds something")
		}
	})
}

// BenchmarkVectorClip puts a clipped vector beside what a float64 program does:
// gonum's norm and its scaled addition. They take turns; medians.
func BenchmarkVectorClip(b *testing.B) {
	for _, dim := range []int{32, 1024, 1 << 17} {
		for _, groups := range []int{1, 8} {
			b.Run(fmt.Sprintf("%d/%d", dim, groups), func(b *testing.B) {
				var list []Group
				for i := range groups {
					list = append(list, Group{1, []Range{{i * dim / groups, (i + 1) * dim / groups}}})
				}
				k, err := NewVectorClip(dim, list, 0x1p-30)
				if err != nil {
					b.Fatal(err)
				}
				src := NewSeeded(15, "bench")
				x, sum, plain := make([]float64, dim), make([]int64, dim), make([]float64, dim)
				for i := range x {
					x[i] = unitFloat(src) - 0.5
				}
				var ours, gonum []float64
				for b.Loop() {
					begin := time.Now()
					k.Add(sum, x)
					middle := time.Now()
					for _, g := range list {
						r := g.Ranges[0]
						part := x[r.From:r.To]
						floats.AddScaled(plain[r.From:r.To], min(1, g.Norm/floats.Norm(part, 2)), part)
					}
					ours = append(ours, float64(middle.Sub(begin)))
					gonum = append(gonum, float64(time.Since(middle)))
				}
				slices.Sort(ours)
				slices.Sort(gonum)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(ours[len(ours)/2]/float64(dim), "ns/coordinate")
				b.ReportMetric(ours[len(ours)/2]/gonum[len(gonum)/2], "ours/gonum")
			})
		}
	}
}
