package datasets

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/privsgld/privsgld/policies"
)

// The written formula, in exact points and as a property: monotone, within
// [−1, 1], and −1 and 1 at the bounds.
func TestScale(t *testing.T) {
	for _, c := range []struct{ x, lower, upper, want float64 }{
		{21, 21, 35, -1}, {35, 21, 35, 1}, {28, 21, 35, 0}, {-5, 0, 52, -1}, {99, 0, 52, 1}, {13, 0, 52, -0.5},
		{math.MaxFloat64, 0, 1, 1}, {0, 0, 5e-324, -1}, {5e-324, 0, 5e-324, 1},
	} {
		if got := scale(c.x, c.lower, c.upper); got != c.want {
			t.Errorf("scale(%g, %g, %g) = %g, want %g", c.x, c.lower, c.upper, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		lower := rapid.Float64Range(-1e12, 1e12).Draw(t, "lower")
		upper := rapid.Float64Range(math.Nextafter(lower, math.Inf(1)), 2e12).Draw(t, "upper")
		x := rapid.Float64Range(-3e12, 3e12).Draw(t, "x")
		y := rapid.Float64Range(x, 3e12).Draw(t, "y")
		a, b := scale(x, lower, upper), scale(y, lower, upper)
		if !(a >= -1 && a <= b && b <= 1) {
			t.Fatalf("scale gives %g then %g", a, b)
		}
	})
}

func TestColumnNumbers(t *testing.T) {
	c := newColumn(mustSpec(t, integer("x", 0, 4)))
	for _, x := range []float64{-7, 1, 2.5, math.NaN(), math.Inf(1), math.Inf(-1), 1e308, 5e-324} {
		c.number(x)
	}
	c.integer(math.MinInt64)
	c.integer(3)
	c.unsigned(math.MaxUint64)
	for _, s := range []string{"3", "0x3", "1_0", "inf", "nan", "1e400", "-1e400", "", "2e0", " 3"} {
		c.string(s)
	}
	wantColumn(t, c.floats, -1, -0.5, 0, 0, 0, 0, 1, 0, -1, 0.5, 1, 0.5, 0, 0, 0, 0, 1, -1, 0, 0, 0)

	c = newColumn(mustSpec(t, withDefault(number("x", 0, 4), "4")))
	c.invalid()
	c.number(math.NaN())
	c.number(5e-324)
	wantColumn(t, c.floats, 1, 1, -1)
}

func TestColumnCodes(t *testing.T) {
	c := newColumn(mustSpec(t, withDefault(category("c", "a", "7", "true"), "true")))
	c.string("a")
	c.string("b")
	c.string("\xff")
	c.integer(7)
	c.integer(8)
	c.unsigned(7)
	c.truth(true)
	c.truth(false)
	c.invalid()
	wantCodes(t, c.codes, 0, 2, 2, 1, 2, 1, 2, 2, 2)

	c = newColumn(mustSpec(t, boolean("b")))
	for _, s := range []string{"true", "TRUE", "1", "false", "0", "yes", ""} {
		c.string(s)
	}
	c.integer(1)
	c.integer(2)
	c.truth(true)
	wantCodes(t, c.codes, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1)

	spec := mustSpec(t, category("y", "no", "yes", "maybe"))
	spec.Target, spec.Positive = true, 1
	c = newColumn(spec)
	c.string("yes")
	c.string("no")
	c.string("maybe")
	c.invalid()
	if string(c.bits) != "\x01\x00\x00\x00" || c.len() != 4 {
		t.Errorf("target %v", c.bits)
	}
}

func wantCodes(t *testing.T, got []uint16, want ...float64) {
	t.Helper()
	var numbers []float64
	for _, code := range got {
		numbers = append(numbers, float64(code))
	}
	wantColumn(t, numbers, want...)
}

func mustSpec(t *testing.T, c policies.Column) columnSpec {
	t.Helper()
	s, err := specOf(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
