package sgld

import (
	"math"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// testEncoding has an intercept, a number, a boolean and a category of three
// levels whose reference is the middle one.
func testEncoding() datasets.Encoding {
	return datasets.Encoding{
		Features: []datasets.Feature{
			{Column: "x", Kind: datasets.Number, Lower: -1, Upper: 1, Offset: 1, Width: 1},
			{Column: "b", Kind: datasets.Boolean, Offset: 2, Width: 1},
			{Column: "c", Kind: datasets.Category, Levels: []string{"p", "q", "r"}, Reference: 1, Offset: 3, Width: 2},
		},
		Coefficients: []string{"intercept", "x", "b", "c=p", "c=r"},
		Target:       "y",
	}
}

type testRow struct {
	x    float64
	b, c uint16
	y    uint8
}

// dense is the encoded row, written apart from the code under test.
func (r testRow) dense() []float64 {
	v := []float64{1, r.x, float64(r.b), 0, 0}
	switch r.c {
	case 0:
		v[3] = 1
	case 2:
		v[4] = 1
	}
	return v
}

func uniform(b privacy.Bits) float64 { return float64(b.Uint64()>>11) * 0x1p-53 }

// testRows draws rows from a logistic model with the given coefficients.
func testRows(n int, theta []float64, grid float64, seed uint64) []testRow {
	src := privacy.NewSeeded(seed, "rows")
	rows := make([]testRow, n)
	for i := range rows {
		r := testRow{x: 2*uniform(src) - 1, b: uint16(src.Uint64() & 1), c: uint16(src.Uint64() % 3)}
		if grid > 0 {
			r.x = math.Round(r.x*grid) / grid
		}
		var u float64
		for j, v := range r.dense() {
			u += v * theta[j]
		}
		if uniform(src) < 1/(1+math.Exp(-u)) {
			r.y = 1
		}
		rows[i] = r
	}
	return rows
}

// testRecords splits the rows into record batches of the given size.
func testRecords(rows []testRow, size int) []arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "b", Type: arrow.PrimitiveTypes.Uint16},
		{Name: "c", Type: arrow.PrimitiveTypes.Uint16}, {Name: "y", Type: arrow.PrimitiveTypes.Uint8},
	}, nil)
	var out []arrow.Record
	for lo := 0; lo < len(rows); lo += size {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for _, r := range rows[lo:min(lo+size, len(rows))] {
			b.Field(0).(*array.Float64Builder).Append(r.x)
			b.Field(1).(*array.Uint16Builder).Append(r.b)
			b.Field(2).(*array.Uint16Builder).Append(r.c)
			b.Field(3).(*array.Uint8Builder).Append(r.y)
		}
		out = append(out, b.NewRecord())
	}
	return out
}
