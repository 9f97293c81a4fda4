package ledger

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// appendCanonical appends the canonical JSON (RFC 8785) of a value of this package's
// wire types, or says that it leaves it to the library: for integers past 2⁵³ and for
// kinds that no wire type has. Verify writes every entry
// again, and the library takes most of its time there.
func appendCanonical(b []byte, v reflect.Value) ([]byte, bool) {
	switch v.Kind() {
	case reflect.String:
		return appendString(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), true
	case reflect.Int, reflect.Int64:
		i := v.Int()
		return strconv.AppendInt(b, i, 10), -1<<53 <= i && i <= 1<<53
	case reflect.Float64:
		return appendNumber(b, v.Float())
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, "null"...), true
		}
		return appendCanonical(b, v.Elem())
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return append(b, "null"...), v.IsNil()
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			var ok bool
			if b, ok = appendCanonical(b, v.Index(i)); !ok {
				return b, false
			}
		}
		return append(b, ']'), true
	case reflect.Struct:
		members, ok := membersOf(v.Type())
		if !ok {
			return b, false
		}
		b = append(b, '{')
		first := true
		for _, m := range members {
			f := v.Field(m.index)
			if m.omitEmpty && empty(f) {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(b, m.name...)
			if b, ok = appendCanonical(b, f); !ok {
				return b, false
			}
		}
		return append(b, '}'), true
	}
	return b, false
}

// empty is what omitempty leaves out.
func empty(f reflect.Value) bool {
	switch f.Kind() {
	case reflect.Slice, reflect.String:
		return f.Len() == 0
	case reflect.Struct:
		return false
	}
	return f.IsZero()
}

// A member is a field of a wire type.
type member struct {
	name      string // quoted, with its colon
	index     int
	omitEmpty bool
}

// members are remembered by type, sorted by name.
var memberMemory sync.Map

// membersOf is false for a type that encodes itself, or has names that need more.
func membersOf(t reflect.Type) ([]member, bool) {
	if m, ok := memberMemory.Load(t); ok {
		m, ok := m.([]member)
		return m, ok && m != nil
	}
	list := make([]member, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || name == "" || name == "-" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" ||
			options != "" && options != "omitempty" {
			list = nil
			break
		}
		list = append(list, member{`"` + name + `":`, i, options == "omitempty"})
	}
	for _, own := range []string{"MarshalJSON", "MarshalText"} {
		if _, ok := reflect.PointerTo(t).MethodByName(own); ok {
			list = nil
		}
	}
	slices.SortFunc(list, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	memberMemory.Store(t, list)
	return list, list != nil
}

// Characters that have an escape of two.
const (
	escaped = "\"\\\b\t\n\f\r"
	escapes = "\"\\btnfr"
)

// appendString escapes what must be escaped (RFC 8785, 3.2.2.2).
func appendString(b []byte, s string) ([]byte, bool) {
	if !utf8.ValidString(s) {
		return b, false
	}
	b = append(b, '"')
	from := 0 // what is not written yet
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		if e := strings.IndexByte(escaped, c); e >= 0 {
			b = append(b, '\\', escapes[e])
		} else {
			b = append(b, '\\', 'u', '0', '0', "01"[c>>4], "0123456789abcdef"[c&15])
		}
	}
	return append(append(b, s[from:]...), '"'), true
}

// appendNumber writes a number as ECMAScript does (RFC 8785, 3.2.2.3).
func appendNumber(b []byte, f float64) ([]byte, bool) {
	a := math.Abs(f)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return b, false
	case f == 0:
		return append(b, '0'), true
	case 1e-6 <= a && a < 1e21:
		return strconv.AppendFloat(b, f, 'f', -1, 64), true
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-2] == '0' { // no leading zero in an exponent
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b, true
}
