package ledger

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"

	"github.com/gowebpki/jcs"
)

// TestCanonicalIsTheLibrarys: what appendCanonical writes, the library writes too, for
// entries of every shape.
func TestCanonicalIsTheLibrarys(t *testing.T) {
	r := rand.New(rand.NewSource(31))
	texts := []string{"", "plain", `quo"te\s`, "<&>", "é ∑ \U0001f600", "\u2028\u2029", "tab\t", "\x7f", "bad\xff", "007", "policy/a b%"}
	numbers := []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 1e-6, 9.9e-7, 1e-7, -1.5e-10, 1e20, 1e21, 1e22, 1.7976931348623157e308, 5e-324, 1e-100, 123456789.125, 1 << 53}
	var fill func(v reflect.Value, depth int)
	fill = func(v reflect.Value, depth int) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(texts[r.Intn(len(texts))])
		case reflect.Float64:
			v.SetFloat(numbers[r.Intn(len(numbers))])
			if r.Intn(3) == 0 {
				v.SetFloat(math.Float64frombits(r.Uint64()))
			}
		case reflect.Int, reflect.Int64:
			v.SetInt(r.Int63() >> r.Intn(64))
		case reflect.Pointer:
			if depth < 6 && r.Intn(3) > 0 {
				v.Set(reflect.New(v.Type().Elem()))
				fill(v.Elem(), depth+1)
			}
		case reflect.Slice:
			if depth < 6 && r.Intn(2) == 0 {
				v.Set(reflect.MakeSlice(v.Type(), r.Intn(3), 3))
				for i := range v.Len() {
					fill(v.Index(i), depth+1)
				}
			}
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i), depth+1)
			}
		default:
			x, ok := quick.Value(v.Type(), r)
			if !ok {
				t.Fatalf("no value of %v", v.Type())
			}
			v.Set(x)
		}
	}
	written := 0
	const rounds = 20_000
	for range rounds {
		var e entry
		v := reflect.ValueOf(&e).Elem()
		for i := range v.NumField() {
			if r.Intn(3) == 0 { // few at a time: one text that is left to the library spoils all
				fill(v.Field(i), 1)
			}
		}
		ours, ok := appendCanonical(nil, v)
		if !ok {
			continue
		}
		written++
		plain, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := jcs.Transform(plain)
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Fatalf("%s\nthe library writes (%v)\n%s", ours, err, theirs)
		}
	}
	if written < rounds/10 {
		t.Errorf("only %d of %d entries were not left to the library", written, rounds)
	}
}
