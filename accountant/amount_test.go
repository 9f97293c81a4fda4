package accountant

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func rat(t interface{ Fatalf(string, ...any) }, text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is no rational", text)
	}
	return r
}

// amountText draws texts that ParseAmount accepts.
func amountText() *rapid.Generator[string] {
	return rapid.StringMatching(`(0|[1-9][0-9]{0,19})(\.[0-9]{1,30})?([eE][+-]?[0-8]?[0-9]{1,2})?`)
}

func TestParseAmountRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "1 ", " 1", "-1", "+1", "-0", "NaN", "nan", "inf", "Inf", "010", "00", "0x10", "0b1", "0o7", "1_000",
		".5", "5.", "1e", "1e+", "1e1000", "e1", "1,5", "1.2.3", "１", "1e5.0", "0x1p-2", "1e0001", "1/2", "null",
		"1234567890123456789012345678901234567890123456789012345678901",
		"0.1234567890123456789012345678901234567890123456789012345678901",
		"12e999", "0.1e-999",
	} {
		if a, err := ParseAmount(text); !errors.Is(err, ErrDomain) {
			t.Errorf("ParseAmount(%q) = %v, %v; want ErrDomain", text, a, err)
		}
	}
}

func TestAmountText(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "0.000": "0", "0e5": "0", "1": "1", "1.0": "1", "1.50": "1.5", "3e0": "3", "0.05": "0.05", "5e-2": "0.05",
		"1e-4": "0.0001", "1e-5": "1e-5", "0.0000125": "1.25e-5", "1E-6": "1e-6", "100": "100", "1e14": "100000000000000",
		"1e15": "1e15", "1234e12": "1.234e15", "9.99e+2": "999", "10.5": "10.5", "1e999": "1e999", "1e-999": "1e-999",
	} {
		a := MustAmount(text)
		if a.String() != want {
			t.Errorf("%q has the text %q, want %q", text, a, want)
		}
		if MustAmount(want) != a {
			t.Errorf("%q and %q differ", text, want)
		}
	}
}

func TestAmountAgreesWithRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := amountText().Draw(t, "x"), amountText().Draw(t, "y")
		a, b := MustAmount(x), MustAmount(y)
		p, q := rat(t, x), rat(t, y)

		if rat(t, a.String()).Cmp(p) != 0 {
			t.Fatalf("%q became %q", x, a)
		}
		if a.Cmp(b) != p.Cmp(q) || (a == b) != (p.Cmp(q) == 0) || a.IsZero() != (p.Sign() == 0) {
			t.Fatalf("comparison of %q and %q", x, y)
		}
		if sum := rat(t, a.Add(b).String()); sum.Cmp(new(big.Rat).Add(p, q)) != 0 || a.Add(b) != b.Add(a) {
			t.Fatalf("%q + %q = %v", x, y, a.Add(b))
		}
		difference, ok := a.Sub(b)
		if ok != (p.Cmp(q) >= 0) || ok && rat(t, difference.String()).Cmp(new(big.Rat).Sub(p, q)) != 0 || !ok && !difference.IsZero() {
			t.Fatalf("%q − %q = %v, %v", x, y, difference, ok)
		}
		n := rapid.Int64Range(0, 1<<53).Draw(t, "n")
		if product := rat(t, a.times(n).String()); product.Cmp(new(big.Rat).Mul(p, new(big.Rat).SetInt64(n))) != 0 {
			t.Fatalf("%d × %q = %v", n, x, a.times(n))
		}

		up, down := new(big.Rat).SetFloat64(a.Float64Up()), new(big.Rat).SetFloat64(a.Float64Down())
		if up == nil { // past the largest float64
			if largest := new(big.Rat).SetFloat64(math.MaxFloat64); p.Cmp(largest) <= 0 || a.Float64Down() != math.MaxFloat64 {
				t.Fatalf("%q rounds up to %g, down to %g", x, a.Float64Up(), a.Float64Down())
			}
			return
		}
		if up.Cmp(p) < 0 || down.Cmp(p) > 0 {
			t.Fatalf("%q is not between %g and %g", x, a.Float64Down(), a.Float64Up())
		}
		if a.Float64Up() > math.Nextafter(a.Float64Down(), math.Inf(1)) {
			t.Fatalf("%q: %g and %g are not neighbours", x, a.Float64Down(), a.Float64Up())
		}
	})
}

func TestAmountJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := MustAmount(amountText().Draw(t, "a")).Add(MustAmount(amountText().Draw(t, "b")))
		data, err := json.Marshal(struct{ X Amount }{a})
		if err != nil {
			t.Fatal(err)
		}
		var back struct{ X Amount }
		if err := json.Unmarshal(data, &back); err != nil || back.X != a {
			t.Fatalf("%v became %s became %v (%v)", a, data, back.X, err)
		}
	})
	for _, text := range []string{`"1"`, `null`, `-1`, `{}`, `true`} {
		var a Amount
		if err := json.Unmarshal([]byte(text), &a); err == nil {
			t.Errorf("JSON %s became the amount %v", text, a)
		}
	}
	// The widest sum of two amounts keeps every digit.
	wide := MustAmount("9.9e999").Add(MustAmount("1.1e-999"))
	data, _ := json.Marshal(wide)
	var back Amount
	if err := json.Unmarshal(data, &back); err != nil || back != wide {
		t.Errorf("a sum of %d digits did not survive JSON: %v", len(data), err)
	}
}

func TestAmountDown(t *testing.T) {
	for x, want := range map[float64]string{0: "0", -1: "0", math.NaN(): "0", 1: "1", 0.5: "0.5", 0.1: "0.1", 1.0 / 3: "0.333333",
		2.0 / 3: "0.666666", 123456.789: "123456", 9.9999999e-7: "9.99999e-7", 1e22: "1e22"} {
		got := AmountDown(x)
		if x > 0 && amountOfFloat(x).Cmp(got) < 0 {
			t.Errorf("AmountDown(%g) = %v is above", x, got)
		}
		if got != MustAmount(want) {
			t.Errorf("AmountDown(%g) = %v, want %s", x, got, want)
		}
	}
	if got := AmountDown(math.Inf(1)); got != MustAmount("1.79769e308") {
		t.Errorf("AmountDown(+Inf) = %v", got)
	}
}

func TestInverseUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(math.SmallestNonzeroFloat64, greatestNoise).Draw(t, "x")
		got, exact := rat(t, inverseUp(1, x).String()), new(big.Rat).Inv(new(big.Rat).SetFloat64(x))
		if got.Cmp(exact) < 0 {
			t.Fatalf("1/%g is above %v", x, inverseUp(1, x))
		}
		limit := new(big.Rat).Mul(exact, rat(t, "1.0000000000000000001"))
		if got.Cmp(limit) > 0 {
			t.Fatalf("1/%g is far below %v", x, inverseUp(1, x))
		}
	})
	if got := inverseUp(1, 10); got != MustAmount("0.1") {
		t.Errorf("1/10 = %v", got)
	}
}

func FuzzParseAmount(f *testing.F) {
	for _, seed := range []string{"0", "1", "1e-6", "0.05", "12345.678e+9", "010", "-1", "1e", "1_0", "0x1", "inf", "1e999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAmount(text)
		if err != nil {
			if !errors.Is(err, ErrDomain) {
				t.Fatalf("%q: %v is not ErrDomain", text, err)
			}
			return
		}
		if again, err := ParseAmount(a.String()); err != nil || again != a {
			t.Fatalf("%q became %q became %v (%v)", text, a.String(), again, err)
		}
		if rat(t, text).Cmp(rat(t, a.String())) != 0 {
			t.Fatalf("%q became %q", text, a)
		}
	})
}
