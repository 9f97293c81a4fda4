package sgld

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// design is the encoded table as the kernel reads it: equal units once, with
// their multiplicity, categories as the index of their coefficient. An
// indicator row is never formed. Everything in it is private, its size too.
type design struct {
	d       int       // coefficients
	numbers []int     // coefficient of each number
	cats    int       // categories and booleans
	x       []float64 // distinct × numbers
	index   []int32   // distinct × cats: coefficient, or d for the reference level
	y       []uint8
	count   []int64  // multiplicity of each distinct unit
	unit    []uint32 // distinct unit of every row, the rows of one unit together, for batches
}

// String keeps the rows out of any message.
func (*design) String() string { return "sgld.design" }

// GoString returns the same constant as String.
func (*design) GoString() string { return "sgld.design" }

// errTooManyUnits cannot be reached through datasets, which takes fewer rows.
var errTooManyUnits = errors.New("the table cannot be used")

// newDesign reads the encoded record batches of a table.
func newDesign(records []arrow.Record, enc datasets.Encoding) (*design, error) {
	g := &design{d: len(enc.Coefficients)}
	for _, f := range enc.Features {
		if f.Kind == datasets.Number {
			g.numbers = append(g.numbers, f.Offset)
		} else {
			g.cats++
		}
	}
	// Memory for the rows themselves is claimed before the first is looked at.
	var rows int64
	for _, rec := range records {
		rows += rec.NumRows()
	}
	if rows >= privacy.MaxUnits {
		return nil, errTooManyUnits
	}
	g.x = make([]float64, 0, rows*int64(len(g.numbers)))
	g.index = make([]int32, 0, rows*int64(g.cats))
	g.y = make([]uint8, 0, rows)
	g.count = make([]int64, 0, rows)
	g.unit = make([]uint32, 0, rows)
	seen := make(map[string]uint32, rows)
	key := make([]byte, 8*len(g.numbers)+4*g.cats+1)
	xs := make([]float64, len(g.numbers))
	is := make([]int32, g.cats)
	for _, rec := range records {
		y := rec.Column(len(enc.Features)).(*array.Uint8)
		for row := range int(rec.NumRows()) {
			g.encodeRow(rec, enc, row, xs, is)
			for i, v := range xs {
				binary.LittleEndian.PutUint64(key[8*i:], math.Float64bits(v))
			}
			for i, v := range is {
				binary.LittleEndian.PutUint32(key[8*len(xs)+4*i:], uint32(v))
			}
			key[len(key)-1] = y.Value(row)
			u, ok := seen[string(key)]
			if !ok {
				u = uint32(len(g.y))
				seen[string(key)] = u
				g.x = append(g.x, xs...)
				g.index = append(g.index, is...)
				g.y = append(g.y, y.Value(row))
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
	return g, nil
}

func (g *design) encodeRow(rec arrow.Record, enc datasets.Encoding, row int, xs []float64, is []int32) {
	n, c := 0, 0
	for j, f := range enc.Features {
		switch f.Kind {
		case datasets.Number:
			xs[n] = rec.Column(j).(*array.Float64).Value(row)
			n++
		case datasets.Boolean:
			is[c] = levelCoefficient(int(rec.Column(j).(*array.Uint16).Value(row)), 0, f.Offset, g.d)
			c++
		default:
			is[c] = levelCoefficient(int(rec.Column(j).(*array.Uint16).Value(row)), f.Reference, f.Offset, g.d)
			c++
		}
	}
}

// levelCoefficient is treatment coding: the coefficient of a level, in declared
// order with the reference level left out, or d for the reference level itself.
func levelCoefficient(code, reference, offset, d int) int32 {
	switch {
	case code == reference:
		return int32(d)
	case code < reference:
		return int32(offset + code)
	default:
		return int32(offset + code - 1)
	}
}

// dense writes the encoded row u of length d to dst: for norms and the Gram
// matrix, which are computed once.
func (g *design) dense(dst []float64, u int) {
	clear(dst)
	dst[0] = 1
	for j, o := range g.numbers {
		dst[o] = g.x[u*len(g.numbers)+j]
	}
	for _, o := range g.index[u*g.cats : (u+1)*g.cats] {
		if int(o) < g.d {
			dst[o] = 1
		}
	}
}

// factors returns the clip factor of every distinct unit under m.
func (g *design) factors(clip privacy.Clip, m *privacy.Map) []float64 {
	out := make([]float64, len(g.y))
	row := make([]float64, g.d)
	for u := range out {
		g.dense(row, u)
		var norm2 float64
		for j := range g.d {
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

// gradient adds the clipped, lattice-rounded gradients of the units lo … hi−1
// to sum (length d+1: the last slot gathers the reference levels and is
// dropped). theta has length d+1 with a zero at the end. In full, lo and hi count
// distinct units, each taken with its multiplicity; otherwise they count those
// listed in units, units[i] taken times[i] times.
func (g *design) gradient(sum []int64, theta, factor []float64, units []uint32, times []int64, full bool, lo, hi int) {
	nn, nc := len(g.numbers), g.cats
	for i := lo; i < hi; i++ {
		u := i
		var m int64
		if full {
			m = g.count[u]
		} else {
			u, m = int(units[i]), times[i]
		}
		xs := g.x[u*nn : u*nn+nn]
		is := g.index[u*nc : u*nc+nc]
		dot := theta[0]
		for j, v := range xs {
			dot += float64(v * theta[g.numbers[j]])
		}
		for _, o := range is {
			dot += theta[o]
		}
		// NaN passes min and max, and rounds to zero: a gradient that is not
		// finite counts as zero.
		f := factor[u]
		c := max(-f, min(f, logisticResidual(dot, g.y[u])))
		v := privacy.Round(c) * m
		sum[0] += v
		for _, o := range is {
			sum[o] += v
		}
		for j, x := range xs {
			sum[g.numbers[j]] += privacy.Round(float64(c*x)) * m
		}
	}
}

// workers splits the units of a step over goroutines with sums of their own.
// Sums of integers do not depend on the split.
type workers struct {
	sums [][]int64
}

// minChunk is the least number of units worth a goroutine of its own.
const minChunk = 512

func newWorkers(d int) *workers {
	w := &workers{}
	for range runtime.GOMAXPROCS(0) {
		w.sums = append(w.sums, make([]int64, d+8)) // slack between two workers' sums
	}
	return w
}

// sum adds up all contributions of a step into dst (length d), those of gradient.
func (w *workers) sum(dst []int64, g *design, theta, factor []float64, units []uint32, times []int64, full bool) {
	n := len(units)
	if full {
		n = len(g.y)
	}
	parts := min(len(w.sums), n/minChunk+1)
	run := func(k int) {
		s := w.sums[k][:g.d+1]
		clear(s)
		g.gradient(s, theta, factor, units, times, full, n*k/parts, n*(k+1)/parts)
	}
	var wg sync.WaitGroup
	var failed atomic.Bool
	for k := 1; k < parts; k++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// A panic's text could hold data, and none escapes a goroutine quietly.
			defer func() {
				if recover() != nil {
					failed.Store(true)
				}
			}()
			run(k)
		}()
	}
	run(0)
	wg.Wait()
	if failed.Load() {
		panic("sgld: a worker failed")
	}
	clear(dst)
	for k := range parts {
		for i := range dst {
			dst[i] += w.sums[k][i]
		}
	}
}
