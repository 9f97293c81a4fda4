package sgld

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// lanes is the number of units in a block. Within a block the layout is by
// column, so that neighbouring values belong to different units, and vector
// instructions work on several units at once without ever adding across.
const lanes = 16

// design is the encoded table as the kernels read it: equal units once, with
// their multiplicity, categories as joint codes. An indicator row is never
// formed. Units stand in blocks of sixteen; the last block is filled up with
// units of multiplicity zero. Everything in it is private, its size too.
type design struct {
	d       int   // coefficients
	numbers []int // coefficient of each number
	cats    int   // categories and booleans
	joints  []joint
	entries int // of all joint codes together

	x      []float64 // blocks × numbers × lanes, in [−1, 1]
	code   []uint16  // blocks × joints × lanes, below entries
	y      []uint8   // of each distinct unit, where the target is binary or has two levels
	target []float64 // blocks × lanes, where it is a number: between its encoded bounds
	class  []uint16  // blocks × lanes, where it has more levels: below their number
	count  []int64   // multiplicity of each distinct unit, below 2³¹
	weight []int64   // blocks × lanes: the same, negative for a y of 1, zero in the filling
	unit   []uint32  // distinct unit of every row, the rows of one unit together, for batches
}

// String keeps the rows out of any message.
func (*design) String() string { return "sgld.design" }

// GoString returns the same constant as String.
func (*design) GoString() string { return "sgld.design" }

// errTooManyUnits cannot be reached through datasets, which takes fewer rows.
var errTooManyUnits = errors.New("the table cannot be used")

// newDesign reads the encoded record batches of a table. Whatever they hold,
// the design is in its domain: a number that is none counts as 0 and others as
// the nearer end of [−1, 1], a code that names no level as the reference. The
// kernels rely on it.
func newDesign(records []arrow.Record, enc datasets.Encoding) (*design, error) {
	g := &design{d: len(enc.Coefficients)}
	var categories []category
	for _, f := range enc.Features {
		switch f.Kind {
		case datasets.Number:
			g.numbers = append(g.numbers, f.Offset)
		case datasets.Boolean:
			categories = append(categories, category{levels: 2, offset: f.Offset})
		default:
			categories = append(categories, category{levels: f.Width + 1, reference: f.Reference, offset: f.Offset})
		}
	}
	g.cats = len(categories)
	g.joints, g.entries = joinCategories(categories, g.d)
	// Memory for the rows themselves is claimed before the first is looked at.
	var rows int64
	for _, rec := range records {
		rows += rec.NumRows()
	}
	if rows >= privacy.MaxUnits {
		return nil, errTooManyUnits
	}
	nn, nj := len(g.numbers), len(g.joints)
	room := (rows + lanes - 1) / lanes * lanes
	g.x = make([]float64, room*int64(nn))
	g.code = make([]uint16, room*int64(nj))
	g.weight = make([]int64, room)
	g.count = make([]int64, 0, rows)
	g.unit = make([]uint32, 0, rows)
	switch {
	case enc.Outcome == datasets.Numeric:
		g.target = make([]float64, room)
	case enc.Outcome == datasets.Levels && len(enc.Levels) > 2:
		g.class = make([]uint16, room)
	default:
		g.y = make([]uint8, 0, rows)
	}
	seen := make(map[string]uint32, rows)
	key := make([]byte, 8*nn+2*nj+8)
	xs := make([]float64, nn)
	codes := make([]uint16, nj)
	for _, rec := range records {
		outcome := outcomeOf(rec.Column(len(enc.Features)), enc)
		for row := range int(rec.NumRows()) {
			g.encodeRow(rec, enc, categories, row, xs, codes)
			for i, v := range xs {
				binary.LittleEndian.PutUint64(key[8*i:], math.Float64bits(v))
			}
			for i, v := range codes {
				binary.LittleEndian.PutUint16(key[8*nn+2*i:], v)
			}
			y := outcome(row)
			binary.LittleEndian.PutUint64(key[len(key)-8:], math.Float64bits(y))
			u, ok := seen[string(key)]
			if !ok {
				u = uint32(len(g.count))
				seen[string(key)] = u
				g.put(int(u), xs, codes)
				switch {
				case g.target != nil:
					g.target[u] = y
				case g.class != nil:
					g.class[u] = uint16(y)
				default:
					g.y = append(g.y, uint8(y))
				}
				g.count = append(g.count, 0)
			}
			g.count[u]++
		}
	}
	// Rows are alike to a sampler, so they may be numbered by distinct unit.
	for u, m := range g.count {
		for range m {
			g.unit = append(g.unit, uint32(u))
		}
	}
	blocks := (len(g.count) + lanes - 1) / lanes
	g.x, g.code = g.x[:blocks*lanes*nn], g.code[:blocks*lanes*nj]
	g.weight = g.weight[:blocks*lanes]
	g.target = g.target[:min(blocks*lanes, len(g.target))]
	g.class = g.class[:min(blocks*lanes, len(g.class))]
	for u, m := range g.count {
		g.weight[u] = g.signed(u, m)
	}
	// The filling names an entry of each joint code, as every unit does.
	for u := len(g.count); u < blocks*lanes; u++ {
		for i, j := range g.joints {
			codes[i] = uint16(j.first)
		}
		clear(xs)
		g.put(u, xs, codes)
	}
	return g, nil
}

// outcomeOf returns the target of each row of a column: 0 or 1 of a binary one, the
// index of a level (of two, 0 for the reference), or a number between the encoded
// bounds, whatever the column holds.
func outcomeOf(column arrow.Array, enc datasets.Encoding) func(row int) float64 {
	switch enc.Outcome {
	case datasets.Numeric:
		values := column.(*array.Float64)
		return func(row int) float64 { return inRange(values.Value(row)) }
	case datasets.Levels:
		codes := column.(*array.Uint16)
		return func(row int) float64 {
			c := int(codes.Value(row))
			if c >= len(enc.Levels) {
				c = enc.Reference
			}
			if len(enc.Levels) == 2 {
				c ^= enc.Reference
			}
			return float64(c)
		}
	}
	bits := column.(*array.Uint8)
	return func(row int) float64 { return float64(bits.Value(row) & 1) }
}

// signed returns the weight of unit u counted m times: −m for a binary target of 1.
func (g *design) signed(u int, m int64) int64 {
	if g.y == nil {
		return m
	}
	return m * (1 - 2*int64(g.y[u]))
}

// put stores the values of unit u.
func (g *design) put(u int, xs []float64, codes []uint16) {
	block, lane := u/lanes, u%lanes
	for i, v := range xs {
		g.x[(block*len(xs)+i)*lanes+lane] = v
	}
	for i, v := range codes {
		g.code[(block*len(codes)+i)*lanes+lane] = v
	}
}

func (g *design) encodeRow(rec arrow.Record, enc datasets.Encoding, categories []category, row int, xs []float64, codes []uint16) {
	for i, j := range g.joints {
		codes[i] = uint16(j.first)
	}
	n, c := 0, 0
	for j, f := range enc.Features {
		if f.Kind == datasets.Number {
			xs[n] = inRange(rec.Column(j).(*array.Float64).Value(row))
			n++
			continue
		}
		k := &categories[c]
		level := int(rec.Column(j).(*array.Uint16).Value(row))
		if level >= k.levels {
			level = k.reference
		}
		codes[k.joint] += uint16(level * k.stride)
		c++
	}
}

// inRange returns v, or the nearer end of [−1, 1], or 0 for NaN.
func inRange(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return max(-1, min(v, 1))
}

// dense writes the encoded row u of length d to dst: for norms and the Gram
// matrix, which are computed once.
func (g *design) dense(dst []float64, u int) {
	clear(dst)
	dst[0] = 1
	block, lane := u/lanes, u%lanes
	for i, o := range g.numbers {
		dst[o] = g.x[(block*len(g.numbers)+i)*lanes+lane]
	}
	for i, j := range g.joints {
		entry := int(g.code[(block*len(g.joints)+i)*lanes+lane]) - j.first
		for _, m := range j.members {
			if o := int(m.coef[entry/m.stride%len(m.coef)]); o < g.d {
				dst[o] = 1
			}
		}
	}
}

// factors returns for every unit of every block the clip factor under m, zero in
// the filling. The map may have inputs beside the encoding's coefficients: the row is
// zero there.
func (g *design) factors(clip privacy.Clip, m *privacy.Map) []float64 {
	out := make([]float64, len(g.weight))
	row := make([]float64, g.d)
	for u := range g.count {
		g.dense(row, u)
		var norm2 float64
		for j := range m.Dim() {
			var v float64
			for i, x := range row {
				v += m.At(j, i) * x
			}
			norm2 += v * v
		}
		out[u] = clip.Factor(math.Sqrt(norm2))
	}
	return out
}
