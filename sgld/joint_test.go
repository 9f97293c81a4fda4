package sgld

import (
	"math"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// categoryTable has two numbers and categories of the given sizes, and beside it
// the same table with an indicator number for every coefficient.
func categoryTable(tb testing.TB, sizes []int, n int) (mixed, dense *design) {
	tb.Helper()
	src := privacy.NewSeeded(uint64(n), "categories")
	enc := datasets.Encoding{Coefficients: []string{"intercept", "a", "b"}, Features: []datasets.Feature{
		{Column: "a", Kind: datasets.Number, Offset: 1, Width: 1}, {Column: "b", Kind: datasets.Number, Offset: 2, Width: 1},
	}}
	x, y := make([][]float64, 2), make([]uint8, n)
	for i := range n {
		for j := range x {
			x[j] = append(x[j], math.Round(16*(2*uniform(src)-1))/16)
		}
		y[i] = uint8(src.Uint64() & 1)
	}
	codes := make([][]uint16, len(sizes))
	for c, levels := range sizes {
		reference, offset := c%levels, len(enc.Coefficients)
		enc.Features = append(enc.Features, datasets.Feature{Column: "c", Kind: datasets.Category, Reference: reference, Offset: offset, Width: levels - 1})
		for range levels - 1 {
			enc.Coefficients = append(enc.Coefficients, "c")
			x = append(x, make([]float64, n))
		}
		for i := range n {
			k := int(src.Uint64() % uint64(levels))
			codes[c] = append(codes[c], uint16(k))
			switch {
			case k < reference:
				x[offset-1+k][i] = 1
			case k > reference:
				x[offset-2+k][i] = 1
			}
		}
	}
	record := func(numbers [][]float64, codes [][]uint16) []arrow.Record {
		var fields []arrow.Field
		var columns []arrow.Array
		for _, v := range numbers {
			b := array.NewFloat64Builder(memory.DefaultAllocator)
			b.AppendValues(v, nil)
			fields, columns = append(fields, arrow.Field{Type: arrow.PrimitiveTypes.Float64}), append(columns, b.NewArray())
		}
		for _, v := range codes {
			b := array.NewUint16Builder(memory.DefaultAllocator)
			b.AppendValues(v, nil)
			fields, columns = append(fields, arrow.Field{Type: arrow.PrimitiveTypes.Uint16}), append(columns, b.NewArray())
		}
		b := array.NewUint8Builder(memory.DefaultAllocator)
		b.AppendValues(y, nil)
		fields, columns = append(fields, arrow.Field{Type: arrow.PrimitiveTypes.Uint8}), append(columns, b.NewArray())
		return []arrow.Record{array.NewRecord(arrow.NewSchema(fields, nil), columns, int64(n))}
	}
	mixed, err := newDesign(record(x[:2], codes), enc)
	if err != nil {
		tb.Fatal(err)
	}
	numbers := datasets.Encoding{Coefficients: enc.Coefficients}
	for j := range x {
		numbers.Features = append(numbers.Features, datasets.Feature{Column: "x", Kind: datasets.Number, Offset: j + 1, Width: 1})
	}
	dense, err = newDesign(record(x, nil), numbers)
	if err != nil {
		tb.Fatal(err)
	}
	return mixed, dense
}

// TestJointCodes: gathering by joint codes gives the sum over indicator columns,
// bit for bit where the coefficients are short enough for u to be exact, and the
// codes stay within their limits.
func TestJointCodes(t *testing.T) {
	for _, sizes := range [][]int{
		nil, {2}, {600, 2, 3}, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, {8, 16, 7, 14, 6, 5, 2, 41},
		slices.Repeat([]int{17}, 40), slices.Repeat([]int{2}, 300), {1022},
	} {
		mixed, dense := categoryTable(t, sizes, 500)
		entries := 0
		for i, j := range mixed.joints {
			if j.first != entries || j.entries > mostJoined && len(j.members) > 1 {
				t.Errorf("%v: joint code %d begins at %d and has %d entries", sizes, i, j.first, j.entries)
			}
			entries += j.entries
		}
		if entries != mixed.entries || entries > math.MaxUint16 || entries > mostEntries && len(mixed.joints) < len(sizes) {
			t.Errorf("%v: %d entries in %d joint codes", sizes, entries, len(mixed.joints))
		}
		theta := make([]float64, mixed.d)
		src := privacy.NewSeeded(1, "theta")
		for i := range mixed.d {
			theta[i] = math.Round(256*(2*uniform(src)-1)) / 256
		}
		sum := func(g *design) []int64 {
			factor := make([]float64, len(g.weight))
			for i := range factor {
				factor[i] = 0.7
			}
			dst := make([]int64, g.d)
			c := &glm{
				design: g, kernel: addBlocks, factor: factor,
				padded: make([]float64, g.d+1), theta: make([]float64, 1+len(g.numbers)), table: make([]float64, g.entries),
			}
			newWorkersOf(g, c, g.d, 3).sum(dst, theta, nil, nil, true)
			return dst
		}
		if !slices.Equal(sum(mixed), sum(dense)) {
			t.Errorf("%v: joint codes and indicator columns disagree", sizes)
		}
		a, b := make([]float64, mixed.d), make([]float64, mixed.d)
		for u := range mixed.y {
			mixed.dense(a, u)
			dense.dense(b, u)
			if !slices.Equal(a, b) {
				t.Fatalf("%v: rows are encoded differently", sizes)
			}
		}
	}
}
