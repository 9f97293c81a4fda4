package sgld

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// benchTable is a real table, encoded: all rows, dense, and as record batches.
type benchTable struct {
	enc     datasets.Encoding
	records []arrow.Record
	rows    [][]float64
	y       []uint8
}

// benchColumn says how a column is encoded: a number with its bounds, or a
// category, whose levels are collected here, in order (in a run they come from
// the policy).
type benchColumn struct {
	name         string
	lower, upper float64 // a category where both are zero
}

func readParquet(tb testing.TB, path string) map[string][]string {
	tb.Helper()
	f, err := file.OpenParquetFile(path, false)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		tb.Fatal(err)
	}
	t, err := r.ReadTable(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	out := map[string][]string{}
	for i := range int(t.NumCols()) {
		name := t.Schema().Field(i).Name
		for _, c := range t.Column(i).Data().Chunks() {
			for k := range c.Len() {
				out[name] = append(out[name], c.ValueStr(k))
			}
		}
	}
	return out
}

// readAdult reads the training rows of UCI Adult; a missing value is "?".
func readAdult(tb testing.TB) map[string][]string {
	tb.Helper()
	dir := os.Getenv("PRIVSGLD_TESTDATA")
	f, err := os.Open(filepath.Join(dir, "adult.data.gz"))
	if dir == "" || errors.Is(err, fs.ErrNotExist) {
		tb.Skip("PRIVSGLD_TESTDATA does not name a folder with adult.data.gz")
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	names := strings.Split("age workclass fnlwgt education education-num marital-status occupation relationship race sex capital-gain capital-loss hours-per-week native-country classification", " ")
	r := csv.NewReader(z)
	r.TrimLeadingSpace, r.FieldsPerRecord = true, -1
	out := map[string][]string{}
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		if len(rec) == len(names) {
			for i, n := range names {
				out[n] = append(out[n], rec[i])
			}
		}
	}
}

func encodeBench(tb testing.TB, text map[string][]string, columns []benchColumn, target, positive string) *benchTable {
	tb.Helper()
	t := &benchTable{enc: datasets.Encoding{Coefficients: []string{"intercept"}, Target: target, Positive: positive}}
	n := len(text[target])
	t.rows, t.y = make([][]float64, n), make([]uint8, n)
	for i := range t.rows {
		t.rows[i] = []float64{1}
		if text[target][i] == positive {
			t.y[i] = 1
		}
	}
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, c := range columns {
		f := datasets.Feature{Column: c.name, Kind: datasets.Number, Lower: c.lower, Upper: c.upper, Offset: len(t.enc.Coefficients), Width: 1}
		if c.lower == c.upper {
			levels := slices.Clone(text[c.name])
			slices.Sort(levels)
			levels = slices.DeleteFunc(slices.Compact(levels), func(s string) bool { return s == "?" })
			f.Kind, f.Levels, f.Width = datasets.Category, levels, len(levels)-1
			b := array.NewUint16Builder(memory.DefaultAllocator)
			for i, s := range text[c.name] {
				code := max(0, slices.Index(levels, s)) // "?" counts as the reference level
				b.Append(uint16(code))
				for l := 1; l < len(levels); l++ {
					v := 0.0
					if code == l {
						v = 1
					}
					t.rows[i] = append(t.rows[i], v)
				}
			}
			for _, l := range levels[1:] {
				t.enc.Coefficients = append(t.enc.Coefficients, c.name+"="+l)
			}
			fields = append(fields, arrow.Field{Name: c.name, Type: arrow.PrimitiveTypes.Uint16})
			arrays = append(arrays, b.NewArray())
		} else {
			b := array.NewFloat64Builder(memory.DefaultAllocator)
			for i, s := range text[c.name] {
				v, err := strconv.ParseFloat(s, 64)
				if err != nil {
					tb.Fatal(err)
				}
				v = 2*(max(c.lower, min(v, c.upper))-c.lower)/(c.upper-c.lower) - 1
				b.Append(v)
				t.rows[i] = append(t.rows[i], v)
			}
			t.enc.Coefficients = append(t.enc.Coefficients, c.name)
			fields = append(fields, arrow.Field{Name: c.name, Type: arrow.PrimitiveTypes.Float64})
			arrays = append(arrays, b.NewArray())
		}
		t.enc.Features = append(t.enc.Features, f)
	}
	b := array.NewUint8Builder(memory.DefaultAllocator)
	b.AppendValues(t.y, nil)
	fields = append(fields, arrow.Field{Name: target, Type: arrow.PrimitiveTypes.Uint8})
	t.records = []arrow.Record{array.NewRecord(arrow.NewSchema(fields, nil), append(arrays, b.NewArray()), int64(n))}
	return t
}

func fertilityTable(tb testing.TB) *benchTable {
	return encodeBench(tb, readParquet(tb, filepath.Join("..", "testdata", "fertility.parquet")), []benchColumn{
		{name: "gender1"}, {name: "gender2"}, {"age", 21, 35}, {name: "afam"}, {name: "hispanic"}, {name: "other"}, {"work", 0, 52},
	}, "morekids", "yes")
}

func adultTable(tb testing.TB) *benchTable {
	return encodeBench(tb, readAdult(tb), []benchColumn{
		{"age", 17, 90}, {name: "workclass"}, {name: "education"}, {"education-num", 1, 16}, {name: "marital-status"},
		{name: "occupation"}, {name: "relationship"}, {name: "race"}, {name: "sex"}, {"capital-gain", 0, 99999},
		{"capital-loss", 0, 4356}, {"hours-per-week", 1, 99}, {name: "native-country"},
	}, "classification", ">50K")
}

// dense is the same table with an indicator column for every level.
func (t *benchTable) dense(tb testing.TB) *design {
	tb.Helper()
	enc := datasets.Encoding{Coefficients: t.enc.Coefficients, Target: t.enc.Target}
	var fields []arrow.Field
	var arrays []arrow.Array
	for j := 1; j < len(t.enc.Coefficients); j++ {
		b := array.NewFloat64Builder(memory.DefaultAllocator)
		for _, r := range t.rows {
			b.Append(r[j])
		}
		enc.Features = append(enc.Features, datasets.Feature{Column: t.enc.Coefficients[j], Kind: datasets.Number, Lower: -1, Upper: 1, Offset: j, Width: 1})
		fields = append(fields, arrow.Field{Name: t.enc.Coefficients[j], Type: arrow.PrimitiveTypes.Float64})
		arrays = append(arrays, b.NewArray())
	}
	b := array.NewUint8Builder(memory.DefaultAllocator)
	b.AppendValues(t.y, nil)
	fields = append(fields, arrow.Field{Name: "y", Type: arrow.PrimitiveTypes.Uint8})
	g, err := newDesign([]arrow.Record{array.NewRecord(arrow.NewSchema(fields, nil), append(arrays, b.NewArray()), int64(len(t.rows)))}, enc)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// everyRow is g with a unit for every row, as if no two were equal.
func (g *design) everyRow() *design {
	all := *g
	n := len(g.unit)
	room := (n + lanes - 1) / lanes * lanes
	all.x, all.code = make([]float64, room*len(g.numbers)), make([]uint16, room*len(g.joints))
	all.weight, all.count, all.y, all.unit = make([]int64, room), make([]int64, n), make([]uint8, n), make([]uint32, n)
	xs, codes := make([]float64, len(g.numbers)), make([]uint16, len(g.joints))
	for row, u := range g.unit {
		block, lane := int(u)/lanes, int(u)%lanes
		for i := range xs {
			xs[i] = g.x[(block*len(xs)+i)*lanes+lane]
		}
		for i := range codes {
			codes[i] = g.code[(block*len(codes)+i)*lanes+lane]
		}
		all.put(row, xs, codes)
		all.y[row], all.count[row], all.unit[row] = g.y[u], 1, uint32(row)
		all.weight[row] = all.signed(row, 1)
	}
	return &all
}

// benchSum clips to half the largest norm of a row: some rows clip.
func benchSum(tb testing.TB, g *design) *noisySum {
	tb.Helper()
	c := math.Sqrt(float64(len(g.numbers)+g.cats+1)) / 2
	m, err := plainMetric(identityRoot(g.d), c, 10)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := newNoisySum(g, accountant.AddRemove, logistic{}, m, c, 1, privacy.NewSeeded(1, "bench"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// contender is one of several things that are timed in turn.
type contender struct {
	name string
	run  func()
	took []float64 // nanoseconds
}

// numpyStep starts the step in numpy over all rows, or returns nil where there
// is no numpy. The returned function gives the nanoseconds that a step took.
func numpyStep(b *testing.B, t *benchTable, c float64, theta []float64) func() float64 {
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import numpy").Run() != nil {
		return nil
	}
	cmd := exec.Command(python, filepath.Join("testdata", "step.py"))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	w := bufio.NewWriter(in)
	put := func(v ...float64) { binary.Write(w, binary.LittleEndian, v) }
	fmt.Fprintln(w, len(t.rows), len(theta))
	for _, r := range t.rows {
		put(r...)
	}
	for _, y := range t.y {
		put(float64(y))
	}
	for _, r := range t.rows {
		var n2 float64
		for _, v := range r {
			n2 += v * v
		}
		put(min(1, c/math.Sqrt(n2)))
	}
	lines := bufio.NewScanner(out)
	return func() float64 {
		put(theta...)
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
		lines.Scan()
		v, err := strconv.ParseFloat(lines.Text(), 64)
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

// read sums x: what it costs to have the bytes pass by, in Go.
func read(x []float64) float64 {
	var a, b, c, d, e, f, g, h float64
	for ; len(x) >= 8; x = x[8:] {
		v := (*[8]float64)(x)
		a += v[0]
		b += v[1]
		c += v[2]
		d += v[3]
		e += v[4]
		f += v[5]
		g += v[6]
		h += v[7]
	}
	return a + b + c + d + e + f + g + h
}

// inParts calls run for procs parts of n things at once.
func inParts(procs, n int, run func(lo, hi int)) {
	var group sync.WaitGroup
	for k := range procs {
		group.Go(func() { run(n*k/procs, n*(k+1)/procs) })
	}
	group.Wait()
}

// matrixVector computes A·θ and Aᵀ·res by gonum's BLAS.
func matrixVector(rows []float64, theta, res, grad []float64) {
	n, d := len(res), len(theta)
	gonum.Implementation{}.Dgemv(blas.NoTrans, n, d, 1, rows, d, theta, 1, 0, res, 1)
	gonum.Implementation{}.Dgemv(blas.Trans, n, d, 1, rows, d, res, 1, 0, grad, 1)
}

// benchStep times, in turn within each round, the full-batch sum of a table in
// the mixed design (by the vector and the plain kernel), in the dense design and
// in the dense design without equal rows joined; and what to compare it with:
// reading as many bytes as the last has; the two matrix–vector products, without
// residual and clip, by gonum's BLAS on one core over the distinct and over all
// rows; the clipped step by numpy over all rows. It reports medians and their
// ratios: x/y is the time of x over that of y, and -1 is one worker instead of
// GOMAXPROCS.
func benchStep(b *testing.B, t *benchTable) {
	g, err := newDesign(t.records, t.enc)
	if err != nil {
		b.Fatal(err)
	}
	dense := t.dense(b)
	n, d := len(dense.count), g.d
	mixedSum, denseSum, rowsSum := benchSum(b, g), benchSum(b, dense), benchSum(b, dense.everyRow())
	theta := make([]float64, d+1)
	src := privacy.NewSeeded(7, "theta")
	for i := range d {
		theta[i] = uniform(src) - 0.5
	}
	dst := make([]int64, d)
	step := func(s *noisySum, workers int, add func(*operands)) func() {
		w := s.employed(workers, add)
		return func() { w.sum(dst, theta, nil, nil, true) }
	}
	bytes := make([]float64, len(rowsSum.design.x)+len(rowsSum.design.weight)+len(rowsSum.workers.factor))
	for i := range bytes {
		bytes[i] = uniform(src)
	}
	distinct := make([]float64, n*d) // row-major, for BLAS
	for u := range n {
		dense.dense(distinct[u*d:(u+1)*d], u)
	}
	all := slices.Concat(t.rows...)
	res, grad := make([]float64, len(t.rows)), make([]float64, d)
	procs := runtime.GOMAXPROCS(0)
	c := []*contender{
		{name: "mixed-1", run: step(mixedSum, 1, addBlocks)},
		{name: "mixed", run: step(mixedSum, procs, addBlocks)},
		{name: "plain-1", run: step(mixedSum, 1, addBlocksGo)},
		{name: "dense-1", run: step(denseSum, 1, addBlocks)},
		{name: "dense", run: step(denseSum, procs, addBlocks)},
		{name: "rows-1", run: step(rowsSum, 1, addBlocks)},
		{name: "rows", run: step(rowsSum, procs, addBlocks)},
		{name: "read-1", run: func() { sink += read(bytes) }},
		{name: "read", run: func() {
			inParts(procs, len(bytes), func(lo, hi int) {
				if read(bytes[lo:hi]) < 0 {
					panic("a sum of positive numbers is negative")
				}
			})
		}},
		{name: "blas-1", run: func() { matrixVector(distinct, theta[:d], res[:n], grad) }},
		{name: "blas-rows-1", run: func() { matrixVector(all, theta[:d], res, grad) }},
	}
	rounds := 0
	for b.Loop() {
		// Ten at a time, as the steps of a chain follow each other.
		for _, k := range c {
			for range 10 {
				start := time.Now()
				k.run()
				k.took = append(k.took, float64(time.Since(start)))
			}
		}
		rounds++
	}
	// Afterwards, because between calls numpy's threads keep a core busy for a while.
	var numpyTook []float64
	if numpy := numpyStep(b, t, mixedSum.clip, theta[:d]); numpy != nil {
		for range 10 * rounds {
			numpyTook = append(numpyTook, numpy())
		}
	}
	m := map[string]float64{}
	for _, k := range c {
		m[k.name] = median(k.took)
	}
	for _, s := range []struct {
		unit  string
		value float64
	}{
		{"mixed-us", m["mixed"] / 1e3},
		{"mixed-1/mixed", m["mixed-1"] / m["mixed"]},
		{"dense-1/dense", m["dense-1"] / m["dense"]},
		{"plain-1/mixed-1", m["plain-1"] / m["mixed-1"]},
		{"dense-1/mixed-1", m["dense-1"] / m["mixed-1"]},
		{"dense/mixed", m["dense"] / m["mixed"]},
		{"read-1-GB/s", float64(8*len(bytes)) / m["read-1"]},
		{"read-GB/s", float64(8*len(bytes)) / m["read"]},
		{"read-1/rows-1", m["read-1"] / m["rows-1"]},
		{"read/rows", m["read"] / m["rows"]},
		{"blas-1/dense-1", m["blas-1"] / m["dense-1"]},
		{"blas-1/mixed-1", m["blas-1"] / m["mixed-1"]},
		{"blas-rows-1/rows-1", m["blas-rows-1"] / m["rows-1"]},
		{"blas-rows-1/mixed-1", m["blas-rows-1"] / m["mixed-1"]},
	} {
		b.ReportMetric(s.value, s.unit)
	}
	if numpyTook != nil {
		b.ReportMetric(median(numpyTook)/1e6, "numpy-ms")
		b.ReportMetric(median(numpyTook)/m["mixed"], "numpy/mixed")
	}
}

// sink keeps a sum that nothing else needs.
var sink float64

func median(v []float64) float64 {
	slices.SortFunc(v, cmp.Compare)
	return v[len(v)/2]
}

func BenchmarkStepFertility(b *testing.B) { benchStep(b, fertilityTable(b)) }

func BenchmarkStepAdult(b *testing.B) { benchStep(b, adultTable(b)) }

// BenchmarkSum is the mixed sum alone, for a profile and its allocations.
func BenchmarkSum(b *testing.B) {
	for _, t := range []struct {
		name  string
		table func(testing.TB) *benchTable
	}{{"fertility", fertilityTable}, {"adult", adultTable}} {
		b.Run(t.name, func(b *testing.B) {
			t := t.table(b)
			g, err := newDesign(t.records, t.enc)
			if err != nil {
				b.Fatal(err)
			}
			s := benchSum(b, g)
			theta, dst := make([]float64, g.d+1), make([]int64, g.d)
			b.ReportAllocs()
			for b.Loop() {
				s.workers.sum(dst, theta, nil, nil, true)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(len(g.count)), "ns/unit")
		})
	}
}
