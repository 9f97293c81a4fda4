package datasets

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// encodedBytes writes a table of three columns and several blocks as a child
// would.
func encodedBytes(t *testing.T, rows int) ([]byte, []columnSpec) {
	t.Helper()
	b := mustBind(t, dataset(number("x", 0, 10), category("c", "a", "b", "c"), category("y", "no", "yes")))
	f, err := os.Create(filepath.Join(t.TempDir(), "encoded"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := newLayoutWriter(f, b.columns)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{out: w, limit: expansionFloor}
	for _, c := range b.columns {
		s.columns = append(s.columns, newColumn(c))
	}
	for i := range rows {
		s.columns[0].integer(int64(i % 12))
		s.columns[1].string([]string{"a", "b", "c", "d"}[i%4])
		s.columns[2].string([]string{"yes", "no"}[i%2])
		if err := s.added(1); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data, b.columns
}

func TestLayoutRoundTrip(t *testing.T) {
	for _, rows := range []int{0, 1, 100, blockRows, 2*blockRows + 5} {
		data, columns := encodedBytes(t, rows)
		if _, got, ok := checkLayout(data, columns); !ok || got != int64(rows) {
			t.Errorf("%d rows: read back %d, ok %t", rows, got, ok)
		}
	}
}

// Every byte matters but the padding: one changed is noticed, and so is every
// length but the right one.
func TestLayoutNoticesDamage(t *testing.T) {
	data, columns := encodedBytes(t, 37)
	whole, _, _ := checkLayout(data, columns)
	for i := range data {
		for _, with := range []byte{1, 0x80, 0xff} {
			changed := bytes.Clone(data)
			changed[i] ^= with
			blocks, _, ok := checkLayout(changed, columns)
			if !ok {
				continue
			}
			for c := range blocks[0].buffers {
				if !bytes.Equal(blocks[0].buffers[c], whole[0].buffers[c]) {
					t.Fatalf("byte %d changed unnoticed", i)
				}
			}
		}
		if _, _, ok := checkLayout(data[:i], columns); ok {
			t.Fatalf("cut to %d bytes unnoticed", i)
		}
		if _, _, ok := checkLayout(append(bytes.Clone(data), data[:i+1]...), columns); ok {
			t.Fatalf("%d bytes more unnoticed", i+1)
		}
	}
}

// A child may be lied to or lie: well-formed files with elements out of range
// are refused.
func TestLayoutChecksRanges(t *testing.T) {
	b := mustBind(t, dataset(number("x", 0, 10), category("c", "a", "b", "c"), category("y", "no", "yes")))
	for name, spoil := range map[string]func(x, c, y *column){
		"number above 1": func(x, c, y *column) { x.floats[0] = 1.0000000000000002 },
		"NaN":            func(x, c, y *column) { x.floats[0] = math.NaN() },
		"code":           func(x, c, y *column) { c.codes[0] = 3 },
		"target":         func(x, c, y *column) { y.bits[0] = 2 },
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "encoded"))
		if err != nil {
			t.Fatal(err)
		}
		w, err := newLayoutWriter(f, b.columns)
		if err != nil {
			t.Fatal(err)
		}
		columns := []*column{newColumn(b.columns[0]), newColumn(b.columns[1]), newColumn(b.columns[2])}
		for _, c := range columns {
			c.invalid()
		}
		spoil(columns[0], columns[1], columns[2])
		if err := w.block(columns); err != nil {
			t.Fatal(err)
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok := checkLayout(data, b.columns); ok {
			t.Errorf("%s: accepted", name)
		}
		f.Close()
	}
}
