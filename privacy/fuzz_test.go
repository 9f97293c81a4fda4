package privacy

import (
	"encoding/binary"
	"math"
	"math/big"
	"testing"
)

// fuzzed reads numbers from the bytes of a fuzzer, then from a stream.
type fuzzed struct {
	data []byte
	rest *Seeded
}

func (f *fuzzed) word() uint64 {
	if len(f.data) < 8 {
		return f.rest.Uint64()
	}
	v := binary.LittleEndian.Uint64(f.data)
	f.data = f.data[8:]
	return v
}

// near returns a number within a factor of 2³ of scale, or 0, or in one case of
// eight any float64.
func (f *fuzzed) near(scale float64) float64 {
	switch w := f.word(); w & 7 {
	case 0:
		return math.Float64frombits(f.word())
	case 1:
		return 0
	default:
		return math.Ldexp(scale*(float64(w>>11)*0x1p-52-1), int(w>>3&7)-4)
	}
}

// FuzzContribution: for any matrix, spacing, clipping norm and row that the
// constructors take, what enters the exact sum has an image of norm at most
// C − √d·g in exact rational arithmetic, and it moves the rounded image of any
// sum that can be there by at most C.
func FuzzContribution(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed, int16(0), []byte{})
		f.Add(seed, int16(seed*4)-1070, []byte{byte(seed)})
	}
	f.Add(uint64(203), int16(-378), []byte("0l\x1c\tL\xce6\x8b\xbc")) // C of more steps than an int64 holds
	f.Fuzz(func(t *testing.T, seed uint64, exponent int16, data []byte) {
		in := &fuzzed{data: data, rest: NewSeeded(seed, "contribution")}
		d := 1 + int(in.word()%6)
		scale := math.Ldexp(1, int(exponent))
		a := make([]float64, d*d)
		for i := range a {
			a[i] = in.near(scale)
		}
		c := math.Abs(in.near(scale))
		g, err := Spacing(c, 1)
		if in.word()&3 == 0 { // one that Spacing would not choose
			g, err = math.Ldexp(scale, -int(in.word()%40)-10), nil
		}
		if err != nil {
			return
		}
		m, err := NewMap(a, d, g)
		if err != nil {
			return
		}
		clip, err := NewClip(c, m)
		if err != nil {
			return
		}
		x := make([]float64, d)
		for i := range x {
			x[i] = in.near(1)
			if !math.IsInf(x[i], 0) { // NaN stays
				x[i] = max(-1, min(x[i], 1))
			}
		}
		// The norm as sgld evaluates it.
		var norm2 float64
		for j := range d {
			var v float64
			for i, x := range x {
				v += m.At(j, i) * x
			}
			norm2 += v * v
		}
		factor := clip.Factor(math.Sqrt(norm2))
		if in.word()&3 == 0 { // a small residual
			factor *= float64(in.word()>>11) * 0x1p-53
		}
		v, base, with := make([]int64, d), make([]int64, d), make([]int64, d)
		for i := range x {
			v[i] = Round(factor * x[i])
			base[i] = int64(in.word()) >> (4 + in.word()%50)
			with[i] = base[i] + v[i]
		}
		image := new(big.Rat)
		for _, e := range exactImage(m, v) {
			image.Add(image, e.Mul(e, e))
		}
		root := new(big.Rat).SetFloat64(math.Nextafter(math.Sqrt(float64(d)), 0))
		bound := new(big.Rat).SetFloat64(g)
		bound.Sub(new(big.Rat).SetFloat64(c), bound.Mul(bound, root))
		if bound.Sign() < 0 || image.Cmp(bound.Mul(bound, bound)) > 0 {
			t.Fatalf("C = %g, g = %g: a contribution of norm %g", c, g, normOf(image))
		}
		// Only a sum whose image fits the integers can be there.
		for _, e := range exactImage(m, base) {
			if e.Abs(e).Cmp(new(big.Rat).SetFloat64(math.Ldexp(g, 61))) > 0 {
				return
			}
		}
		before, after := make([]int64, d), make([]int64, d)
		m.Apply(before, base)
		m.Apply(after, with)
		moved := new(big.Rat)
		for j := range before {
			e := new(big.Rat).SetFloat64(g)
			e.Mul(e, new(big.Rat).SetInt64(after[j]-before[j]))
			moved.Add(moved, e.Mul(e, e))
		}
		most := new(big.Rat).SetFloat64(c)
		if moved.Cmp(most.Mul(most, most)) > 0 {
			t.Fatalf("C = %g, g = %g: a contribution moves the sum by %g", c, g, normOf(moved))
		}
	})
}

func normOf(square *big.Rat) float64 {
	f := new(big.Float).SetRat(square)
	v, _ := f.Sqrt(f).Float64()
	return v
}
