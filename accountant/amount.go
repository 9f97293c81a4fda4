package accountant

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Amount is an exact, non-negative decimal number: an ε or a δ as somebody
// wrote it. The zero value is 0. Equal amounts are equal under ==, so that
// structs of amounts can be compared.
//
// An Amount marshals as a JSON number in canonical decimal text and unmarshals
// from that text exactly. A JSON canonicaliser that rewrites numbers as
// float64 (RFC 8785) keeps an amount only up to 17 digits: where that matters,
// store String().
type Amount struct {
	digits string // decimal digits without leading or trailing zeros; "" is 0
	exp    int    // value = digits × 10^exp
}

const (
	maxAmountDigits   = 60   // of what a person may write
	maxStoredDigits   = 4096 // of a sum of amounts, read back from JSON
	maxAmountExponent = 999  // power of ten of the leading digit, either sign
)

var errAmount = errors.New("is not an amount; write a plain decimal number such as 0.5 or 1e-6")

// ParseAmount reads a decimal number exactly. The grammar is
//
//	(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?
//
// with at most 60 digits before the exponent and a value of 0 or in
// [10⁻⁹⁹⁹, 10¹⁰⁰⁰). Signs, empty text, NaN, infinity, octal, hexadecimal and
// digit separators are refused with ErrDomain.
func ParseAmount(text string) (Amount, error) {
	a, digits, err := scanAmount(text, 3)
	if err != nil {
		return Amount{}, fmt.Errorf("%w: %q %w", ErrDomain, clip(text), err)
	}
	if digits > maxAmountDigits {
		return Amount{}, fmt.Errorf("%w: %q has more than %d digits", ErrDomain, clip(text), maxAmountDigits)
	}
	if lead := a.lead(); lead > maxAmountExponent || lead < -maxAmountExponent {
		return Amount{}, fmt.Errorf("%w: %q is too large or too small", ErrDomain, clip(text))
	}
	return a, nil
}

// MustAmount is ParseAmount for constants: it panics where that fails.
func MustAmount(text string) Amount {
	a, err := ParseAmount(text)
	if err != nil {
		panic("accountant: MustAmount: " + err.Error())
	}
	return a
}

// AmountDown returns x rounded down to 6 significant decimal digits, for the
// display of what would still fit. Values that are not positive, and NaN, give
// 0; +Inf gives the largest float64, rounded down.
func AmountDown(x float64) Amount {
	if !(x > 0) {
		return Amount{}
	}
	if math.IsInf(x, 1) {
		x = math.MaxFloat64
	}
	exact := amountOfFloat(x)
	if len(exact.digits) <= 6 {
		return exact
	}
	return newAmount(exact.digits[:6], exact.exp+len(exact.digits)-6)
}

// String returns the canonical decimal text: plain from 10⁻⁴ up to 10¹⁵, as in
// "0.05" or "3", otherwise with an exponent, as in "1.5e-6". Equal amounts have
// equal texts.
func (a Amount) String() string {
	if a.digits == "" {
		return "0"
	}
	lead := a.lead()
	switch {
	case lead < -4 || lead >= 15:
		text := a.digits[:1]
		if len(a.digits) > 1 {
			text += "." + a.digits[1:]
		}
		return text + "e" + strconv.Itoa(lead)
	case a.exp >= 0:
		return a.digits + strings.Repeat("0", a.exp)
	case lead < 0:
		return "0." + strings.Repeat("0", -lead-1) + a.digits
	}
	return a.digits[:lead+1] + "." + a.digits[lead+1:]
}

// IsZero reports whether a is 0.
func (a Amount) IsZero() bool { return a.digits == "" }

// Cmp returns −1, 0 or +1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int {
	x, y, _ := align(a, b)
	return x.Cmp(y)
}

// Add returns a + b, exactly.
func (a Amount) Add(b Amount) Amount {
	x, y, exp := align(a, b)
	return newAmount(x.Add(x, y).String(), exp)
}

// Sub returns a − b, exactly, and true; where b exceeds a it returns 0 and false.
func (a Amount) Sub(b Amount) (Amount, bool) {
	x, y, exp := align(a, b)
	if x.Cmp(y) < 0 {
		return Amount{}, false
	}
	return newAmount(x.Sub(x, y).String(), exp), true
}

// times returns n·a, exactly, for n ≥ 0.
func (a Amount) times(n int64) Amount {
	x, _, exp := align(a, Amount{})
	return newAmount(x.Mul(x, big.NewInt(n)).String(), exp)
}

// Float64Up returns the least float64 that is not below a: +Inf past the
// largest finite one.
func (a Amount) Float64Up() float64 {
	f := a.nearest()
	if !math.IsInf(f, 1) && amountOfFloat(f).Cmp(a) < 0 {
		f = math.Nextafter(f, math.Inf(1))
	}
	return f
}

// Float64Down returns the greatest finite float64 that is not above a.
func (a Amount) Float64Down() float64 {
	f := a.nearest()
	if math.IsInf(f, 1) {
		return math.MaxFloat64
	}
	if amountOfFloat(f).Cmp(a) > 0 {
		f = math.Nextafter(f, 0)
	}
	return f
}

// MarshalJSON writes the canonical text as a JSON number.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalJSON reads a JSON number exactly. It accepts what ParseAmount does,
// and the longer texts that sums of amounts may have; a JSON string or null is
// refused.
func (a *Amount) UnmarshalJSON(data []byte) error {
	b, digits, err := scanAmount(string(data), 4)
	if err == nil && digits > maxStoredDigits {
		err = errors.New("has too many digits")
	}
	if err != nil {
		return fmt.Errorf("%w: %s %w", ErrDomain, clip(string(data)), err)
	}
	*a = b
	return nil
}

// scanAmount reads the grammar of ParseAmount with up to expDigits digits of
// exponent and returns how many digits the mantissa has.
func scanAmount(text string, expDigits int) (Amount, int, error) {
	rest := text
	whole := leadingDigits(rest)
	rest = rest[len(whole):]
	if whole == "" || len(whole) > 1 && whole[0] == '0' {
		return Amount{}, 0, errAmount
	}
	fraction := ""
	if strings.HasPrefix(rest, ".") {
		fraction = leadingDigits(rest[1:])
		rest = rest[1+len(fraction):]
		if fraction == "" {
			return Amount{}, 0, errAmount
		}
	}
	exp := 0
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		sign := 1
		if rest != "" && (rest[0] == '+' || rest[0] == '-') {
			if rest[0] == '-' {
				sign = -1
			}
			rest = rest[1:]
		}
		power := leadingDigits(rest)
		if power == "" || len(power) > expDigits {
			return Amount{}, 0, errAmount
		}
		rest = rest[len(power):]
		exp, _ = strconv.Atoi(power)
		exp *= sign
	}
	if rest != "" {
		return Amount{}, 0, errAmount
	}
	return newAmount(whole+fraction, exp-len(fraction)), len(whole) + len(fraction), nil
}

func leadingDigits(s string) string {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return s[:n]
}

// newAmount brings digits × 10^exp into the one form of its value.
func newAmount(digits string, exp int) Amount {
	digits = strings.TrimLeft(digits, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return Amount{}
	}
	return Amount{digits: short, exp: exp + len(digits) - len(short)}
}

// lead is the power of ten of the leading digit, 0 for the amount 0.
func (a Amount) lead() int {
	if a.digits == "" {
		return 0
	}
	return a.exp + len(a.digits) - 1
}

// align returns both amounts as integers over one power of ten.
func align(a, b Amount) (x, y *big.Int, exp int) {
	exp = min(a.exp, b.exp)
	return a.scaled(exp), b.scaled(exp), exp
}

func (a Amount) scaled(exp int) *big.Int {
	if a.digits == "" {
		return new(big.Int)
	}
	x, _ := new(big.Int).SetString(a.digits, 10)
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(a.exp-exp)), nil)
	return x.Mul(x, power)
}

// nearest is the float64 nearest to a. strconv rounds correctly, but loses count
// of more than 800 digits before the point: hence the point after the first.
func (a Amount) nearest() float64 {
	if a.digits == "" {
		return 0
	}
	f, _ := strconv.ParseFloat(a.digits[:1]+"."+a.digits[1:]+"e"+strconv.Itoa(a.lead()), 64)
	return f
}

// amountOfFloat is the exact decimal value of a finite x ≥ 0.
func amountOfFloat(x float64) Amount {
	// A float64 has at most 767 significant decimal digits.
	text := strconv.FormatFloat(x, 'e', 766, 64)
	mantissa, power, _ := strings.Cut(text, "e")
	exp, _ := strconv.Atoi(power)
	whole, fraction, _ := strings.Cut(mantissa, ".")
	return newAmount(whole+fraction, exp-len(fraction))
}

// inverseUp is numerator/x for a finite x > 0, rounded up to 20 significant
// decimal digits: exact where the quotient is a short decimal.
func inverseUp(numerator int64, x float64) Amount {
	quotient := new(big.Rat).SetFloat64(x)
	quotient.Inv(quotient).Mul(quotient, new(big.Rat).SetInt64(numerator))
	nearest, _ := quotient.Float64()
	shift := 20 - int(math.Floor(math.Log10(math.Max(nearest, math.SmallestNonzeroFloat64))))
	if math.IsInf(nearest, 1) {
		shift = 0
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(shift, -shift))), nil)
	if shift >= 0 {
		quotient.Mul(quotient, new(big.Rat).SetInt(scale))
	} else {
		quotient.Quo(quotient, new(big.Rat).SetInt(scale))
	}
	whole, rest := new(big.Int).QuoRem(quotient.Num(), quotient.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return newAmount(whole.String(), -shift)
}

// clip keeps what an error quotes short.
func clip(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}
