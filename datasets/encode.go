package datasets

import (
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
)

// scale maps a finite x to [−1, 1] by public bounds:
//
//	2·(clamp(x, lower, upper) − lower)/(upper − lower) − 1
//
// in float64, rounded to nearest at every operation. The product by 2 is exact,
// done last so that it cannot overflow, and the same whether a compiler fuses it
// with the subtraction or not: the same bits on every machine. The result is
// clamped into [−1, 1] in case that rounding left it. Domain: finite bounds,
// lower < upper, upper − lower finite.
func scale(x, lower, upper float64) float64 {
	x = min(max(x, lower), upper)
	return min(max(2*((x-lower)/(upper-lower))-1, -1), 1)
}

// column encodes one column value by value into one of three buffers: floats
// for numbers, codes for categories and booleans, bits for the target. Every
// call appends exactly one element, whatever the value.
type column struct {
	columnSpec
	levels map[string]uint16
	text   []byte // scratch space for the decimal text of an integer

	floats []float64
	codes  []uint16
	bits   []uint8

	dictionaryOf arrow.ArrayData // the dictionary that distinct encodes
	distinct     *column
}

func newColumn(s columnSpec) *column {
	c := &column{columnSpec: s, levels: make(map[string]uint16, len(s.Levels))}
	for i, level := range s.Levels {
		c.levels[level] = uint16(i)
	}
	return c
}

// isNumber says whether the column's elements are numbers rather than codes.
func (c *column) isNumber() bool {
	return c.Plain || c.Type == typeNumber || c.Type == typeInteger
}

// len is the number of elements since the last reset.
func (c *column) len() int { return len(c.floats) + len(c.codes) + len(c.bits) }

func (c *column) reset() { c.floats, c.codes, c.bits = c.floats[:0], c.codes[:0], c.bits[:0] }

// invalid appends the column's default: for a null and for whatever the
// column's type cannot mean.
func (c *column) invalid() {
	if c.Plain {
		c.floats = append(c.floats, math.NaN())
		return
	}
	if c.isNumber() {
		c.floats = append(c.floats, c.Default)
		return
	}
	c.code(uint16(c.Default))
}

func (c *column) code(code uint16) {
	if c.Plain && c.Target {
		code = codeOf(code == c.Positive)
	}
	if c.Plain {
		c.floats = append(c.floats, float64(code))
		return
	}
	if !c.Target {
		c.codes = append(c.codes, code)
		return
	}
	bit := uint8(0)
	if code == c.Positive {
		bit = 1
	}
	c.bits = append(c.bits, bit)
}

// number appends a floating-point or decimal value.
func (c *column) number(x float64) {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		c.invalid()
	case c.Type == typeInteger && x != math.Trunc(x):
		c.invalid()
	default:
		c.finite(x)
	}
}

// finite appends a number that is one.
func (c *column) finite(x float64) {
	if !c.Plain {
		x = scale(x, c.Lower, c.Upper)
	}
	c.floats = append(c.floats, x)
}

// integer appends a whole number. For a number it is converted to float64
// before it is clamped: rounding to nearest keeps order and leaves the bounds
// themselves where they are, so beyond 2⁵³ it never crosses a bound.
func (c *column) integer(i int64) {
	switch c.Type {
	case typeBoolean:
		c.zeroOrOne(i == 0, i == 1)
	case typeCategory:
		c.text = strconv.AppendInt(c.text[:0], i, 10)
		c.level(c.text)
	default:
		c.finite(float64(i))
	}
}

// unsigned is integer for the values that int64 may not hold.
func (c *column) unsigned(u uint64) {
	switch c.Type {
	case typeBoolean:
		c.zeroOrOne(u == 0, u == 1)
	case typeCategory:
		c.text = strconv.AppendUint(c.text[:0], u, 10)
		c.level(c.text)
	default:
		c.finite(float64(u))
	}
}

func (c *column) zeroOrOne(zero, one bool) {
	if !zero && !one {
		c.invalid()
		return
	}
	c.code(codeOf(one))
}

func (c *column) level(text []byte) {
	if code, ok := c.levels[string(text)]; ok {
		c.code(code)
		return
	}
	c.invalid()
}

// truth appends a boolean value; a category reads it as "true" or "false".
func (c *column) truth(b bool) {
	if c.Type == typeCategory {
		c.text = strconv.AppendBool(c.text[:0], b)
		c.level(c.text)
		return
	}
	c.code(codeOf(b))
}

// string appends a text: a level, a truth value, or the cell of a CSV that is
// to be a number. Levels are valid UTF-8, so a text that is not is unknown.
func (c *column) string(s string) {
	switch c.Type {
	case typeCategory:
		if code, ok := c.levels[s]; ok {
			c.code(code)
			return
		}
		c.invalid()
	case typeBoolean:
		if truth, ok := parseTruth(s); ok {
			c.code(codeOf(truth))
			return
		}
		c.invalid()
	default:
		if x, ok := parseNumber(s); ok {
			c.number(x)
			return
		}
		c.invalid()
	}
}

// parseNumber reads a decimal number: no hexadecimal, no underscores, no names
// of infinity. A number beyond float64 becomes the largest float64, which the
// column's bounds then clamp like any other.
func parseNumber(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	x, err := strconv.ParseFloat(s, 64)
	if math.IsInf(x, 0) {
		return math.Copysign(math.MaxFloat64, x), true
	}
	return x, err == nil
}

// parseTruth reads the texts that mean a truth value.
func parseTruth(s string) (truth, ok bool) {
	switch s {
	case "true", "True", "TRUE", "1":
		return true, true
	case "false", "False", "FALSE", "0":
		return false, true
	}
	return false, false
}

func codeOf(b bool) uint16 {
	if b {
		return 1
	}
	return 0
}
