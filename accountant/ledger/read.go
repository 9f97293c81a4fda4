package ledger

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// maxDepth is how deep a reader follows lists and objects.
const maxDepth = 32

// A reader reads one entry, or part of one.
type reader struct {
	event string // text of the event in it
}

// all reads the whole of s into v, which is zero, and checks that appendCanonical
// writes it again: false where it does not, or where the library must look.
func (r *reader) all(s string, v reflect.Value) bool {
	rest, ok := r.read(s, v, 0)
	if !ok || rest != "" {
		return false
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	*scratch, ok = appendCanonical((*scratch)[:0], v)
	return ok && string(*scratch) == s
}

// scratches are what is written again to.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

// read reads the canonical JSON that s begins with into v, which is zero and
// of one of this package's wire types, and returns what follows. It looks only for what
// appendCanonical writes: members in their one order, no blanks. It is no judge of
// that: what it takes is right only where appendCanonical writes the same again, as all
// checks. Strings are parts of s.
func (r *reader) read(s string, v reflect.Value, depth int) (rest string, ok bool) {
	if depth > maxDepth || s == "" {
		return s, false
	}
	switch v.Kind() {
	case reflect.String:
		text, rest, ok := readString(s)
		v.SetString(text)
		return rest, ok
	case reflect.Bool:
		if rest, ok = strings.CutPrefix(s, "true"); ok {
			v.SetBool(true)
			return rest, true
		}
		return strings.CutPrefix(s, "false")
	case reflect.Int, reflect.Int64:
		n := numberEnd(s)
		i, err := strconv.ParseInt(s[:n], 10, 64)
		v.SetInt(i)
		return s[n:], err == nil
	case reflect.Float64:
		n := numberEnd(s)
		f, err := strconv.ParseFloat(s[:n], 64)
		v.SetFloat(f)
		return s[n:], err == nil
	case reflect.Pointer:
		if rest, ok = strings.CutPrefix(s, "null"); ok {
			return rest, true
		}
		v.Set(reflect.New(v.Type().Elem()))
		rest, ok = r.read(s, v.Elem(), depth+1)
		if _, is := v.Interface().(*wireEvent); is {
			r.event = s[:len(s)-len(rest)]
		}
		return rest, ok
	case reflect.Slice:
		return r.readList(s, v, depth)
	case reflect.Struct:
		return r.readMembers(s, v, depth)
	}
	return s, false
}

func (r *reader) readList(s string, v reflect.Value, depth int) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, "null"); ok {
		return rest, true
	}
	if s, ok = strings.CutPrefix(s, "["); !ok {
		return s, false
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	if rest, ok = strings.CutPrefix(s, "]"); ok {
		return rest, true
	}
	for n := 0; ; n++ {
		if n == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(n + 1)
		if s, ok = r.read(s, v.Index(n), depth+1); !ok || s == "" {
			return s, false
		}
		c := s[0]
		s = s[1:]
		if c != ',' {
			return s, c == ']'
		}
	}
}

func (r *reader) readMembers(s string, v reflect.Value, depth int) (rest string, ok bool) {
	members, ok := membersOf(v.Type())
	if !ok {
		return s, false
	}
	if s, ok = strings.CutPrefix(s, "{"); !ok {
		return s, false
	}
	for _, m := range members {
		value, present := strings.CutPrefix(s, m.name)
		if !present {
			continue
		}
		if s, ok = r.read(value, v.Field(m.index), depth+1); !ok || s == "" {
			return s, false
		}
		c := s[0]
		s = s[1:]
		if c != ',' {
			return s, c == '}'
		}
	}
	return strings.CutPrefix(s, "}") // of no members
}

// readString reads a string, of which a control character is no part.
func readString(s string) (text, rest string, ok bool) {
	if s[0] != '"' {
		return "", s, false
	}
	s = s[1:]
	end := strings.IndexByte(s, '"')
	if end < 0 {
		return "", s, false
	}
	if strings.IndexByte(s[:end], '\\') < 0 {
		return s[:end], s[end+1:], true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return string(b), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", s, false
			}
			e := strings.IndexByte(escapes, s[i])
			if e < 0 {
				return "", s, false // the library reads \u
			}
			b = append(b, escaped[e])
		default:
			b = append(b, c)
		}
	}
	return "", s, false
}

// numberEnd is where the characters of a number end.
func numberEnd(s string) int {
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', c == '-', c == '+', c == '.', c == 'e':
		default:
			return i
		}
	}
	return len(s)
}
