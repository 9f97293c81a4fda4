package sgld

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

const drawsGuarantee = `{"epsilon":1,"delta":1e-06,"statement":"(1, 10⁻⁶)-DP"}`

// someDraws has chains of unequal length, names that need care and values that
// a careless text form would lose.
func someDraws() Draws {
	return Draws{
		Names: []string{"intercept", "region=south", "a.b", `say "x", y`},
		Chains: [][][]float64{
			{
				{0.1, -0.2, 1e-300, 4.9e-324},
				{1.0 / 3, math.MaxFloat64, math.Copysign(0, -1), 1e21},
			},
			{
				{math.Pi, -math.E, math.Nextafter(1, 2), 100000},
			},
		},
	}
}

func writeDraws(t *testing.T, d Draws, format string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := d.Write(&out, format, drawsGuarantee); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// checkDraws compares a table read back with the draws, bit by bit.
func checkDraws(t *testing.T, d Draws, schema *arrow.Schema, records array.RecordReader) {
	t.Helper()
	want := append([]string{".chain", ".iteration", ".draw"}, d.Names...)
	for i, field := range schema.Fields() {
		kind := arrow.FLOAT64
		if i < 3 {
			kind = arrow.INT32
		}
		if i >= len(want) || field.Name != want[i] || field.Type.ID() != kind || field.Nullable {
			t.Errorf("field %d is %v", i, field)
		}
	}
	if schema.NumFields() != len(want) {
		t.Fatalf("%d columns, want %d", schema.NumFields(), len(want))
	}

	var index [3][]int32
	values := make([][]uint64, len(d.Names))
	for records.Next() {
		r := records.Record()
		for c := range index {
			index[c] = append(index[c], r.Column(c).(*array.Int32).Int32Values()...)
		}
		for p := range values {
			for _, x := range r.Column(3 + p).(*array.Float64).Float64Values() {
				values[p] = append(values[p], math.Float64bits(x))
			}
		}
	}
	if err := records.Err(); err != nil {
		t.Fatal(err)
	}
	var wantIndex [3][]int32
	wantValues := make([][]uint64, len(d.Names))
	for c, chain := range d.Chains {
		for i, iterate := range chain {
			wantIndex[0] = append(wantIndex[0], int32(c+1))
			wantIndex[1] = append(wantIndex[1], int32(i+1))
			wantIndex[2] = append(wantIndex[2], int32(len(wantIndex[2])+1))
			for p, x := range iterate {
				wantValues[p] = append(wantValues[p], math.Float64bits(x))
			}
		}
	}
	if !reflect.DeepEqual(index, wantIndex) {
		t.Errorf("index columns %v, want %v", index, wantIndex)
	}
	if !reflect.DeepEqual(values, wantValues) {
		t.Errorf("values %x, want %x", values, wantValues)
	}
}

func checkMetadata(t *testing.T, keys, values []string) {
	t.Helper()
	if len(keys) != 1 || keys[0] != "privsgld.guarantee" || values[0] != drawsGuarantee {
		t.Errorf("file metadata %q: %q, want the guarantee alone", keys, values)
	}
}

func TestDrawsParquet(t *testing.T) {
	d := someDraws()
	data := writeDraws(t, d, "parquet")
	raw, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := pqarrow.NewFileReader(raw, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := reader.Schema()
	if err != nil {
		t.Fatal(err)
	}
	table, err := reader.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	records := array.NewTableReader(table, 0)
	defer records.Release()
	checkDraws(t, d, schema, records)

	footer := raw.MetaData()
	checkMetadata(t, footer.KeyValueMetadata().Keys(), footer.KeyValueMetadata().Values())
	if footer.GetCreatedBy() != "privsgld" {
		t.Errorf("created_by is %q", footer.GetCreatedBy())
	}
	if len(footer.RowGroups) != 1 {
		t.Errorf("%d row groups, want 1", len(footer.RowGroups))
	}
	for i := range footer.Schema.NumColumns() {
		chunk, err := footer.RowGroup(0).ColumnChunk(i)
		if err != nil {
			t.Fatal(err)
		}
		if set, err := chunk.StatsSet(); set || err != nil {
			t.Errorf("column %d has statistics (%v, %v)", i, set, err)
		}
	}
}

func TestDrawsArrow(t *testing.T) {
	d := someDraws()
	reader, err := ipc.NewFileReader(bytes.NewReader(writeDraws(t, d, "arrow")))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if reader.NumRecords() != 1 {
		t.Fatalf("%d record batches, want 1", reader.NumRecords())
	}
	record, err := reader.Record(0)
	if err != nil {
		t.Fatal(err)
	}
	records, err := array.NewRecordReader(reader.Schema(), []arrow.Record{record})
	if err != nil {
		t.Fatal(err)
	}
	defer records.Release()
	checkDraws(t, d, reader.Schema(), records)
	checkMetadata(t, reader.Schema().Metadata().Keys(), reader.Schema().Metadata().Values())
}

func TestDrawsCSV(t *testing.T) {
	d := someDraws()
	text := string(writeDraws(t, d, "csv"))
	want := `.chain,.iteration,.draw,intercept,region=south,a.b,"say ""x"", y"
1,1,1,0.1,-0.2,1e-300,5e-324
1,2,2,0.3333333333333333,1.7976931348623157e+308,-0,1e+21
2,1,3,3.141592653589793,-2.718281828459045,1.0000000000000002,100000
`
	if text != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows = rows[1:]
	for _, chain := range d.Chains {
		for _, iterate := range chain {
			for p, x := range iterate {
				back, err := strconv.ParseFloat(rows[0][3+p], 64)
				if err != nil || math.Float64bits(back) != math.Float64bits(x) {
					t.Errorf("%v reads back as %v (%v)", x, back, err)
				}
			}
			rows = rows[1:]
		}
	}
}

func TestDrawsAreDeterministic(t *testing.T) {
	for _, format := range []string{"parquet", "arrow", "csv"} {
		if !bytes.Equal(writeDraws(t, someDraws(), format), writeDraws(t, someDraws(), format)) {
			t.Errorf("%s: equal draws give different bytes", format)
		}
	}
}

func TestDrawsWithoutRows(t *testing.T) {
	d := Draws{Names: []string{"a"}, Chains: [][][]float64{{}}}
	raw, err := file.NewParquetReader(bytes.NewReader(writeDraws(t, d, "parquet")))
	if err != nil || raw.NumRows() != 0 {
		t.Errorf("parquet: %v", err)
	}
	if reader, err := ipc.NewFileReader(bytes.NewReader(writeDraws(t, d, "arrow"))); err != nil {
		t.Errorf("arrow: %v", err)
	} else if err := reader.Close(); err != nil {
		t.Errorf("arrow: %v", err)
	}
	if got := string(writeDraws(t, d, "csv")); got != ".chain,.iteration,.draw,a\n" {
		t.Errorf("csv: %q", got)
	}
}

var errFull = errors.New("disk full")

type fullDisk struct{ written int }

func (f *fullDisk) Write(p []byte) (int, error) { f.written += len(p); return 0, errFull }

func TestDrawsWriteErrors(t *testing.T) {
	for _, format := range []string{"parquet", "arrow", "csv"} {
		if err := someDraws().Write(&fullDisk{}, format, ""); !errors.Is(err, errFull) {
			t.Errorf("%s: error %v, want the writer's", format, err)
		}
	}
	var out fullDisk
	if err := someDraws().Write(&out, "xlsx", ""); err == nil || !strings.Contains(err.Error(), "parquet, arrow or csv") {
		t.Errorf("unknown format: error %v", err)
	}
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "one value for each name") || out.written != 0 {
			t.Errorf("panic %q after %d bytes", text, out.written)
		}
	}()
	ragged := Draws{Names: []string{"a", "b"}, Chains: [][][]float64{{{1}}}}
	_ = ragged.Write(&out, "csv", "")
}
