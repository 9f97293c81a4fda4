package privacy

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/google/differential-privacy/go/v2/dpagg"
)

// TestContributionNorm is threat T3, the sensitivity in exact rational
// arithmetic: for random and adversarial rows, factors and maps, the image of one
// contribution has norm at most C − √d·g, and adding it to a sum of anything up to
// the largest that [MaxUnits] units reach moves the rounded image by at most C.
// Nothing is random in what it asserts: one exception fails. The control, the
// textbook factor min(1, C/‖M x‖) before the same rounding, must exceed C.
func TestContributionNorm(t *testing.T) {
	for _, d := range []int{1, 2, 7, 19} {
		for _, scale := range []float64{1, 0.003, 25} {
			t.Run(fmt.Sprintf("%d/%g", d, scale), func(t *testing.T) {
				t.Parallel()
				sensitivity(t, d, scale, sumPairs)
			})
		}
	}
}

func sensitivity(t *testing.T, d int, scale float64, pairs int) {
	src := NewSeeded(4, fmt.Sprintf("norm %d %g", d, scale))
	uniform := func() float64 { return 2*float64(src.Uint64()>>11)*0x1p-53 - 1 }
	c := scale * 0.7
	m := randomMap(t, src, d, scale, c)
	clip, err := NewClip(c, m)
	if err != nil {
		t.Fatal(err)
	}
	square := func(x *big.Rat) *big.Rat { return x.Mul(x, x) }
	c2 := square(new(big.Rat).SetFloat64(c))
	root, _ := new(big.Float).SetPrec(200).Sqrt(newFloat(float64(d))).Rat(nil)
	less2 := new(big.Rat).SetFloat64(m.Spacing())
	less2.Sub(new(big.Rat).SetFloat64(c), less2.Mul(less2, root))
	square(less2)
	x, v, base, with := make([]float64, d), make([]int64, d), make([]int64, d), make([]int64, d)
	a, b, last := make([]int64, d), make([]int64, d), make([]int64, d)
	exceeded := 0
	for trial := range pairs {
		for i := range x {
			switch trial % 8 {
			case 0, 1, 2:
				x[i] = uniform()
			case 3: // the corners of the cube
				x[i] = math.Copysign(1, uniform())
			case 4: // beside ties of the lattice
				x[i] = (math.Floor(uniform()*Unit)+0.5)/Unit + 0x1p-53*float64(int(src.Uint64()%3)-1)
			case 5: // subnormal, of either sign
				x[i] = math.Copysign(5e-324*float64(src.Uint64()%3), uniform())
			case 6: // of every size
				x[i] = math.Ldexp(uniform(), -int(src.Uint64()%80))
			default: // what no encoding yields
				x[i] = []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e308, -1e308, 0.5}[src.Uint64()%6]
			}
		}
		if trial%8 < 6 {
			x[0] = 1
		}
		var norm2 float64
		for j := range d {
			var w float64
			for i := range x {
				w += m.At(j, i) * x[i]
			}
			norm2 += w * w
		}
		f := clip.Factor(math.Sqrt(norm2))
		if !(f >= 0 && f <= 1) {
			t.Fatalf("factor %g", f)
		}
		if trial%3 == 0 {
			f *= uniform()
		}
		for i := range x {
			v[i] = Round(f * x[i])
			// The others: some thousands of any row, or the row before as often as
			// a sum takes units.
			base[i] = int64(src.Uint64()) >> (64 - 40)
			if trial%2 == 0 {
				base[i] = last[i]*(MaxUnits-1<<12) + base[i]>>10
			}
			with[i] = base[i] + v[i]
		}
		m.Apply(a, base)
		m.Apply(b, with)
		copy(last, v)
		moved := new(big.Rat)
		for j := range a {
			step := new(big.Rat).SetFloat64(m.Spacing())
			moved.Add(moved, square(step.Mul(step, new(big.Rat).SetInt64(b[j]-a[j]))))
		}
		if moved.Cmp(c2) > 0 {
			t.Fatal("one unit moves the rounded image by more than C")
		}
		image := new(big.Rat)
		for _, e := range exactImage(m, v) {
			image.Add(image, square(e))
		}
		if image.Cmp(less2) > 0 {
			t.Fatal("the image of a contribution exceeds C less √d steps")
		}
		if trial >= 200 || trial%8 > 4 {
			continue
		}
		for i := range x {
			v[i] = Round(min(1, c/math.Sqrt(norm2)) * x[i])
		}
		image.SetInt64(0)
		for _, e := range exactImage(m, v) {
			image.Add(image, square(e))
		}
		if image.Cmp(c2) > 0 {
			exceeded++
		}
	}
	if d > 1 && exceeded == 0 { // of one coordinate there is one value
		t.Error("the test does not see the textbook's clipping")
	}
}

// TestAttackSum is the control of T3, after Casacuberta et al. 2022: two float64
// sums of values clamped to [−1, 1] that differ in one value by more than 1,
// because the larger sum has a coarser last place, where what follows rounds to
// nothing. The Google library's bounded sum does that too, which is why floats
// never reach it. Ours of the same values differ by 1 exactly.
func TestAttackSum(t *testing.T) {
	const half = 1 << 10
	values := []float64{}
	for range half - 1 {
		values = append(values, 1)
	}
	values = append(values, 1-0x1p-20)
	// Here the sum is 2¹⁰ − 2⁻²⁰, or 2¹⁰ + 1 − 2⁻²⁰ with the value that is added:
	// the last places are 2⁻⁴³ and 2⁻⁴².
	place := len(values)
	for range 20_000 {
		values = append(values, -0.75*0x1p-43)
	}
	with := append(append(append([]float64(nil), values[:place]...), 1), values[place:]...)

	naive := func(values []float64) (s float64) {
		for _, v := range values {
			s += max(-1, min(1, v))
		}
		return s
	}
	library := func(values []float64) float64 {
		s, err := dpagg.NewBoundedSumFloat64(&dpagg.BoundedSumFloat64Options{Epsilon: 1, MaxPartitionsContributed: 1, Lower: -1, Upper: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := s.Add(v); err != nil {
				t.Fatal(err)
			}
		}
		// The sum without its noise is read from its serialised form.
		text, err := s.GobEncode()
		if err != nil {
			t.Fatal(err)
		}
		var state struct{ Sum float64 }
		if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&state); err != nil {
			t.Fatal(err)
		}
		return state.Sum
	}
	for name, sum := range map[string]func([]float64) float64{"float64": naive, "dpagg": library} {
		moved := new(big.Rat).SetFloat64(sum(with))
		moved.Sub(moved, new(big.Rat).SetFloat64(sum(values)))
		if moved.Cmp(big.NewRat(1, 1)) <= 0 {
			t.Errorf("%s: the attack does not see a float sum: %v", name, moved)
		}
	}
	exact := func(values []float64) (s int64) {
		for _, v := range values {
			s += Round(v)
		}
		return s
	}
	if moved := exact(with) - exact(values); moved != Unit {
		t.Errorf("the exact sum moves by %d", moved)
	}
}
