package datasets

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"

	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
)

// A plain table: rows of cells, each nil, a float64, an int64, a bool or a string.
type plain struct {
	names []string
	rows  [][]any
}

// printDataset is the policy of the tables of this file.
func printDataset() policies.Dataset {
	d := dataset(number("x", 0, 1), integer("n", 0, 1000000), category("c", "a", "b"), boolean("m"), category("y", "no", "yes"))
	d.CSV = &policies.CSV{Header: true, Separator: ',', Null: []string{""}, Trim: true}
	return d
}

// randomTable has columns x (float), n (whole), c (text), m (truth), y (text), and
// rows that are nearly all distinct.
func randomTable(r *rand.Rand, rows int) plain {
	p := plain{names: []string{"x", "n", "c", "m", "y"}}
	for range rows {
		row := []any{r.NormFloat64(), int64(r.IntN(1000)), []string{"a", "b", "rare", "Zürich, \"x\""}[r.IntN(4)], r.IntN(2) == 0, []string{"no", "yes"}[r.IntN(2)]}
		if r.IntN(10) == 0 {
			row[r.IntN(len(row))] = nil
		}
		p.rows = append(p.rows, row)
	}
	return p
}

func (p plain) with(change func(*plain)) plain {
	q := plain{slices.Clone(p.names), make([][]any, len(p.rows))}
	for i, row := range p.rows {
		q.rows[i] = slices.Clone(row)
	}
	change(&q)
	return q
}

func (p plain) csv(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	lines := [][]string{p.names}
	for _, row := range p.rows {
		var line []string
		for _, v := range row {
			switch v := v.(type) {
			case nil:
				line = append(line, "")
			case float64:
				line = append(line, strconv.FormatFloat(v, 'g', -1, 64))
			default:
				line = append(line, fmt.Sprint(v))
			}
		}
		lines = append(lines, line)
	}
	if err := w.WriteAll(lines); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A storage says how record stores columns.
type storage struct {
	dictionary bool // texts as dictionaries
	float      bool // whole numbers as floating point, truth values as whole ones
	narrow     bool // floating point in 32 bits
	decimal    bool // whole numbers as decimals
}

func (p plain) record(t testing.TB, s storage) arrow.Record {
	t.Helper()
	fields := make([]arrow.Field, len(p.names))
	for i, name := range p.names {
		fields[i] = arrow.Field{Name: name, Nullable: true, Type: arrow.Null}
		for _, row := range p.rows {
			switch row[i].(type) {
			case nil:
				continue
			case string:
				fields[i].Type = arrow.BinaryTypes.String
				if s.dictionary {
					fields[i].Type = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}
				}
			case bool:
				fields[i].Type = arrow.FixedWidthTypes.Boolean
			case int64:
				fields[i].Type = arrow.PrimitiveTypes.Int32
				if s.decimal {
					fields[i].Type = &arrow.Decimal128Type{Precision: 20, Scale: 2}
				}
			default:
				fields[i].Type = arrow.PrimitiveTypes.Float64
			}
			switch {
			case s.float && fields[i].Type == arrow.PrimitiveTypes.Int32:
				fields[i].Type = arrow.PrimitiveTypes.Float64
			case s.float && fields[i].Type == arrow.FixedWidthTypes.Boolean:
				fields[i].Type = arrow.PrimitiveTypes.Uint64
			}
			if s.narrow && fields[i].Type == arrow.PrimitiveTypes.Float64 {
				fields[i].Type = arrow.PrimitiveTypes.Float32
			}
			break
		}
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	for _, row := range p.rows {
		for i, v := range row {
			if v == nil {
				b.Field(i).AppendNull()
				continue
			}
			text := fmt.Sprint(v)
			if x, ok := v.(float64); ok {
				text = strconv.FormatFloat(x, 'g', -1, 64)
			}
			if truth, ok := v.(bool); ok && s.float {
				text = fmt.Sprint(codeOf(truth))
			}
			if err := b.Field(i).AppendValueFromString(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.NewRecord()
}

// groups writes Parquet with so many rows in a group and a page.
func (p plain) groups(t testing.TB, s storage, rows int64, options ...parquet.WriterProperty) []byte {
	t.Helper()
	var out bytes.Buffer
	r := p.record(t, s)
	properties := parquet.NewWriterProperties(append(options, parquet.WithMaxRowGroupLength(rows), parquet.WithDataPageSize(64))...)
	w, err := pqarrow.NewFileWriter(r.Schema(), &out, properties, pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	table := array.NewTableFromRecords(r.Schema(), []arrow.Record{r})
	if err := w.WriteTable(table, rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// specsOf are all columns of a data set, as the decoder knows them.
func specsOf(t testing.TB, d policies.Dataset) []columnSpec {
	t.Helper()
	var specs []columnSpec
	for i, c := range d.Columns {
		spec, err := specOf(c, i)
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	return specs
}

// printOf takes a fingerprint in this process.
func printOf(t testing.TB, d policies.Dataset, prefix int64, files ...[]byte) *Fingerprint {
	t.Helper()
	s := &sink{csv: csvOf(d.CSV), limit: math.MaxInt64, bound: specsOf(t, d)}
	s.hash = newRowHasher(testKey(t, 1).secret, s.bound, prefix)
	for _, data := range files {
		f, err := unnamedFile()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := decodeFile(f, s); err != nil {
			t.Fatal(err)
		}
		f.Close()
		s.hash.endPart()
	}
	p := s.hash.print()
	if !p.valid(len(files)) {
		t.Fatal("a print is not valid")
	}
	return &Fingerprint{p}
}

func testKey(t testing.TB, n byte) *FingerprintKey {
	t.Helper()
	secret := make([]byte, 32)
	secret[0] = n
	k, err := NewFingerprintKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What a fingerprint must not depend on: format, compression, dictionaries, row
// groups, pages, part files, order of rows and of columns, columns that the policy
// does not name, and how a whole number or truth value is stored.
func TestFingerprintOfOneTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	d := printDataset()
	p := randomTable(r, 500)
	p.rows = append(p.rows, p.rows[3], p.rows[3]) // multiplicities count
	want := printOf(t, d, noPrefix, p.csv(t))
	shuffled := p.with(func(p *plain) {
		r.Shuffle(len(p.rows), func(i, j int) { p.rows[i], p.rows[j] = p.rows[j], p.rows[i] })
	})
	parts := func(write func(plain) []byte) (files [][]byte) {
		for _, rows := range [][][]any{shuffled.rows[:100], {}, shuffled.rows[100:101], shuffled.rows[101:]} {
			files = append(files, write(plain{p.names, rows}))
		}
		return files
	}
	turned := p.with(func(p *plain) {
		p.names = append([]string{"unbound"}, p.names...)
		slices.Reverse(p.names)
		for i := range p.rows {
			p.rows[i] = append([]any{float64(i)}, p.rows[i]...)
			slices.Reverse(p.rows[i])
		}
	})
	plainBool := p.record(t, storage{})
	for name, files := range map[string][][]byte{
		"shuffled":            {shuffled.csv(t)},
		"parts":               parts(func(p plain) []byte { return p.csv(t) }),
		"columns":             {turned.csv(t)},
		"columns, parquet":    {parquetBytes(t, turned.record(t, storage{}), compress.Codecs.Snappy)},
		"parquet":             {parquetBytes(t, plainBool, compress.Codecs.Zstd)},
		"parquet, plain":      {p.groups(t, storage{}, 1000, parquet.WithDictionaryDefault(false))},
		"parquet, groups":     {shuffled.groups(t, storage{}, 7)},
		"parquet, parts":      {shuffled.groups(t, storage{}, 1000)},
		"arrow file":          {fileBytes(t, shuffled.record(t, storage{}))},
		"arrow stream":        {streamBytes(t, plainBool)},
		"dictionaries":        {streamBytes(t, shuffled.record(t, storage{dictionary: true}))},
		"whole as float":      {parquetBytes(t, p.record(t, storage{float: true}), compress.Codecs.Snappy)},
		"whole as decimal":    {streamBytes(t, p.record(t, storage{decimal: true}))},
		"texts, other quotes": {bytes.ReplaceAll(p.csv(t), []byte(",rare,"), []byte(`,"rare",`))},
		"other truth words":   {bytes.ReplaceAll(p.csv(t), []byte(",true,"), []byte(`,TRUE,`))},
		"spelt otherwise":     {bytes.ReplaceAll(p.csv(t), []byte(",7,"), []byte(`,7.00,`))},
	} {
		got := printOf(t, d, noPrefix, files...)
		if !got.Equal(want) || got.print.Loose != want.print.Loose || fmt.Sprint(got.print.Sketch) != fmt.Sprint(want.print.Sketch) || got.Likeness(want) != SameRows {
			t.Errorf("%s: another fingerprint", name)
		}
	}
	// A control: what hashes the rows in their order, or the bytes, tells these apart.
	if bytes.Equal(p.csv(t), shuffled.csv(t)) {
		t.Error("the tables are the same bytes")
	}

	// Another policy's bounds, levels and order of columns make no difference.
	other := printDataset()
	other.Columns[0].Upper, other.Columns[2].Levels = 7, []string{"rare", "b", "c"}
	slices.Reverse(other.Columns)
	if !printOf(t, other, noPrefix, p.csv(t)).Equal(want) {
		t.Error("the fingerprint depends on bounds, levels or the policy's order")
	}
}

// Whatever changes by one cell or row has another fingerprint.
func TestFingerprintOfOtherTables(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	d := printDataset()
	p := randomTable(r, 20)
	p.rows = append(p.rows, p.rows[3])
	want := printOf(t, d, noPrefix, p.csv(t))
	differs := func(name string, change func(*plain)) {
		t.Helper()
		if printOf(t, d, noPrefix, p.with(change).csv(t)).Equal(want) {
			t.Errorf("%s: the same fingerprint", name)
		}
	}
	for i := range p.rows {
		for j := range p.names {
			v := p.rows[i][j]
			others := []any{nil, 12345.5, int64(77777), "another"}
			if x, ok := v.(float64); ok {
				others = append(others, math.Nextafter(x, 1), -x, float64(float32(x)))
			}
			for _, other := range others {
				if other == v || j == 0 && other == "another" && v == nil || j == 1 && other == "another" && v == nil {
					continue // in a column of numbers a text is a null
				}
				differs(fmt.Sprintf("row %d, column %s, %v for %v", i, p.names[j], other, v), func(p *plain) { p.rows[i][j] = other })
			}
		}
		differs(fmt.Sprint("without row ", i), func(p *plain) { p.rows = slices.Delete(p.rows, i, i+1) })
		differs(fmt.Sprint("row twice: ", i), func(p *plain) { p.rows = append(p.rows, p.rows[i]) })
		if i > 0 && p.rows[i][0] != p.rows[i-1][0] {
			differs(fmt.Sprint("cells exchanged between rows: ", i), func(p *plain) { p.rows[i][0], p.rows[i-1][0] = p.rows[i-1][0], p.rows[i][0] })
		}
	}
	differs("column names exchanged", func(p *plain) { p.names[2], p.names[4] = "y", "c" })
	differs("no rows", func(p *plain) { p.rows = nil })
	if p2, err := newPrint(t, 2, d, p.csv(t)); err != nil || p2.Equal(want) || p2.Likeness(want) != Unlike {
		t.Error("another key gives the same fingerprint", err)
	}
}

func newPrint(t testing.TB, key byte, d policies.Dataset, data []byte) (*Fingerprint, error) {
	return TakeFingerprint(t.Context(), gate.StructurePermit(), put(t, "d", data), d, testKey(t, key), nil, Options{})
}

// The child's fingerprint, with a table and without one, is that of this process;
// and it survives being stored.
func TestFingerprintThroughTheDecoder(t *testing.T) {
	d := printDataset()
	p := randomTable(rand.New(rand.NewPCG(3, 1)), 3*blockRows+5)
	data := p.groups(t, storage{}, 5000)
	want := printOf(t, d, noPrefix, data)
	got, err := newPrint(t, 1, d, data)
	if err != nil || !got.Equal(want) {
		t.Fatal("taken alone it differs", err)
	}
	b, err := Bind(d, "", []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	table, err := open(t.Context(), put(t, "d", data), b, Options{Key: testKey(t, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if f := table.Fingerprint(); !f.Equal(want) || f.Likeness(want) != SameRows || table.Rows() != len(p.rows) {
		t.Error("taken with a table of some columns it differs")
	}
	if mustOpen(t, put(t, "d", data), b).Fingerprint() != nil {
		t.Error("a fingerprint without a key")
	}
	stored, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeFingerprint(stored)
	if err != nil || !back.Equal(want) || back.Likeness(want) != SameRows {
		t.Error("what was stored reads back otherwise", err)
	}
	if _, err := DecodeFingerprint(bytes.Replace(stored, []byte(`"rows":`), []byte(`"rows":1`), 1)); err == nil {
		t.Error("a changed fingerprint reads")
	}
	key := testKey(t, 1)
	if text := fmt.Sprintf("%v %+v %#v %s %d %v %#v %s", want, *want, want, want, want, key, *key, key); strings.ContainsAny(text, "0123456789[") {
		t.Errorf("they print as %s", text)
	}
	if _, err := TakeFingerprint(t.Context(), gate.Structure{}, put(t, "d", data), d, key, nil, Options{}); !errors.Is(err, gate.ErrPermit) {
		t.Error("without a permit:", err)
	}

	// A file that lacks a column of the policy is found before anything is charged.
	lacks := put(t, "d.csv", []byte("x,y\n1,yes\n"))
	if err := Check(gate.StructurePermit(), lacks, b); err != nil {
		t.Error("features alone:", err)
	}
	wantBadData(t, Check(gate.StructurePermit(), lacks, b.Whole()), `column "n": the file has no such column`)
}
