package privacy

import (
	"math"
	"math/big"
	"testing"
)

func TestRoundContributions(t *testing.T) {
	for v, want := range map[float64]int64{
		0: 0, 1: Unit, -1: -Unit, 2: Unit, -2: -Unit, 0.5 / Unit: 0, 1.5 / Unit: 2, 5e-324: 0,
	} {
		if got := Round(v); got != want {
			t.Errorf("Round(%g) = %d, want %d", v, got, want)
		}
	}
	for _, v := range []float64{math.NaN()} {
		if Round(v) != 0 {
			t.Error("NaN is not zero")
		}
	}
	if Round(math.Inf(1)) != Unit || Round(math.Inf(-1)) != -Unit {
		t.Error("infinity leaves the range")
	}
	src := NewSeeded(1, "round")
	for range 100_000 {
		v := 2*float64(src.Uint64()>>11)*0x1p-53 - 1
		if d := math.Abs(float64(Round(v)) - v*Unit); d > 0.5 {
			t.Fatalf("Round(%g) is off by %g", v, d)
		}
	}
}

func randomMap(t *testing.T, src *Seeded, d int, scale, c float64) *Map {
	t.Helper()
	a := make([]float64, d*d)
	for i := range a {
		a[i] = scale * (2*float64(src.Uint64()>>11)*0x1p-53 - 1)
	}
	g, err := Spacing(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMap(a, d, g)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// exactImage returns Σ M[j][i]·sum[i]/Unit in rational arithmetic.
func exactImage(m *Map, sum []int64) []*big.Rat {
	out := make([]*big.Rat, m.Dim())
	for j := range out {
		out[j] = new(big.Rat)
		for i, s := range sum {
			e := new(big.Rat).SetFloat64(m.At(j, i))
			out[j].Add(out[j], new(big.Rat).Mul(e, big.NewRat(s, Unit)))
		}
	}
	return out
}

// TestMapIsExact: the image differs from the rational one by half a step at most.
func TestMapIsExact(t *testing.T) {
	src := NewSeeded(2, "map")
	for _, d := range []int{1, 3, 8} {
		for _, scale := range []float64{1, 0.01, 40} {
			m := randomMap(t, src, d, scale, scale*math.Sqrt(float64(d)))
			sum := make([]int64, d)
			got := make([]int64, d)
			for range 200 {
				for i := range sum {
					sum[i] = int64(src.Uint64()>>2) - 1<<61
				}
				m.Apply(got, sum)
				half := new(big.Rat).SetFloat64(m.Spacing() / 2)
				for j, want := range exactImage(m, sum) {
					diff := new(big.Rat).SetFloat64(m.Spacing())
					diff.Mul(diff, new(big.Rat).SetInt64(got[j]))
					diff.Sub(diff, want)
					if diff.Abs(diff).Cmp(half) > 0 {
						t.Fatalf("d %d, scale %g: image is off by more than half a step", d, scale)
					}
				}
			}
		}
	}
}

func TestFactorDomain(t *testing.T) {
	m := randomMap(t, NewSeeded(1, ""), 3, 1, 1)
	clip, err := NewClip(1, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []float64{math.NaN(), math.Inf(1)} {
		if f := clip.Factor(n); f != 0 {
			t.Errorf("norm %g has factor %g", n, f)
		}
	}
	for _, n := range []float64{0, 5e-324, 1e-300} {
		if f := clip.Factor(n); f != 1 {
			t.Errorf("norm %g has factor %g", n, f)
		}
	}
	if _, err := NewClip(1e-12, m); err == nil {
		t.Error("a clipping norm below the lattice is accepted")
	}
}

func TestNoisyCount(t *testing.T) {
	n, err := NoisyCount(1000, 10)
	if err != nil || n < 900 || n > 1100 {
		t.Errorf("count %d, %v", n, err)
	}
	if _, err := NoisyCount(1, math.NaN()); err == nil {
		t.Error("NaN is accepted")
	}
}
