package privacy

import (
	"errors"
	"math"
	"testing"
)

// TestClipDomain: outside its domain a clip is refused, and a norm that is not a
// positive number leaves nothing.
func TestClipDomain(t *testing.T) {
	for _, c := range []float64{math.NaN(), math.Inf(1), 0, -1, 5e-324, 0x1p-501, 0x1p501} {
		m, err := NewMap([]float64{1}, 1, 0x1p-30)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewClip(c, m); !errors.Is(err, ErrDomain) {
			t.Errorf("c = %g: %v", c, err)
		}
	}
	m, err := NewMap([]float64{1}, 1, 0x1p-30)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewClip(2, m); !errors.Is(err, ErrDomain) {
		t.Errorf("2³¹ steps of the lattice: %v", err)
	}
	if _, err := NewClip(math.Nextafter(2, 0), m); err != nil {
		t.Errorf("less than 2³¹ steps of the lattice: %v", err)
	}
	for _, c := range []float64{0x1p-500, 1, 0x1p500} {
		m, err := NewMap([]float64{c}, 1, c*0x1p-30)
		if err != nil {
			t.Fatal(err)
		}
		k, err := NewClip(c, m)
		if err != nil {
			t.Fatalf("c = %g: %v", c, err)
		}
		for _, norm := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -c} {
			if f := k.Factor(norm); f != 0 {
				t.Errorf("c = %g, norm %g: factor %g", c, norm, f)
			}
		}
		for _, norm := range []float64{0, 5e-324, c / 2} {
			if f := k.Factor(norm); f != 1 {
				t.Errorf("c = %g, norm %g: factor %g", c, norm, f)
			}
		}
		if f := k.Factor(2 * c); !(f < 0.5 && f > 0.499999) {
			t.Errorf("c = %g, norm 2c: factor %g", c, f)
		}
	}
}
