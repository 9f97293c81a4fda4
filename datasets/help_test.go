package datasets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"

	"github.com/privsgld/privsgld/policies"
)

func TestMain(m *testing.M) {
	DecoderMain()
	listerMain()
	os.Exit(m.Run())
}

// testdataFolder is the folder of the tables that may not be kept here.
func testdataFolder(t testing.TB) string {
	t.Helper()
	folder := os.Getenv("PRIVSGLD_TESTDATA")
	if folder == "" {
		t.Skip("PRIVSGLD_TESTDATA is not set: the outside tables are missing")
	}
	return folder
}

// dataset makes a policy's dataset of row units with a category target y.
func dataset(columns ...policies.Column) policies.Dataset {
	d := policies.Dataset{Name: "test", Columns: columns}
	d.Unit.Kind = policies.UnitRow
	d.Target.Column, d.Target.Positive = "y", "yes"
	return d
}

func category(name string, levels ...string) policies.Column {
	return policies.Column{Name: name, Type: policies.Category, Levels: levels}
}

func number(name string, lower, upper float64) policies.Column {
	return policies.Column{Name: name, Type: policies.Number, Lower: lower, Upper: upper}
}

func integer(name string, lower, upper float64) policies.Column {
	return policies.Column{Name: name, Type: policies.Integer, Lower: lower, Upper: upper}
}

func boolean(name string) policies.Column { return policies.Column{Name: name, Type: policies.Boolean} }

func withDefault(c policies.Column, text string) policies.Column {
	c.Default = &text
	return c
}

// smallDataset is the policy of smallTable and of testdata/malformed.
func smallDataset() policies.Dataset {
	return dataset(category("y", "no", "yes"), number("x", 0, 100))
}

// smallTable has a nullable text y and a nullable double x.
func smallTable(rows int) arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "y", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range rows {
		if i%11 == 3 {
			b.Field(0).AppendNull()
		} else {
			b.Field(0).(*array.StringBuilder).Append([]string{"no", "yes"}[i%2])
		}
		if i%7 == 2 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.Float64Builder).Append(float64(i) * 0.75)
		}
	}
	return b.NewRecord()
}

// nopSeeker lets the IPC file writer, which never seeks back, write to memory.
type nopSeeker struct{ *bytes.Buffer }

func (n nopSeeker) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("unexpected seek")
	}
	return int64(n.Len()), nil
}

func parquetBytes(t testing.TB, r arrow.Record, codec compress.Compression) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(r.Schema(), &out, parquet.NewWriterProperties(parquet.WithCompression(codec)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func streamBytes(t testing.TB, r arrow.Record, options ...ipc.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(options, ipc.WithSchema(r.Schema()))...)
	if err := w.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func fileBytes(t testing.TB, r arrow.Record) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(nopSeeker{&out}, ipc.WithSchema(r.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// put writes a file into a folder of its own and returns its path.
func put(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustBind(t testing.TB, d policies.Dataset) *Binding {
	t.Helper()
	b, err := Bind(d, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustOpen(t testing.TB, path string, b *Binding) *Table {
	t.Helper()
	table, err := open(t.Context(), path, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

// values returns a table column by column, features then target, as numbers.
func values(t *Table) [][]float64 {
	out := make([][]float64, len(t.Encoding().Features)+1)
	for _, r := range t.Records() {
		for i, a := range r.Columns() {
			for row := range a.Len() {
				switch a := a.(type) {
				case *array.Float64:
					out[i] = append(out[i], a.Value(row))
				case *array.Uint16:
					out[i] = append(out[i], float64(a.Value(row)))
				case *array.Uint8:
					out[i] = append(out[i], float64(a.Value(row)))
				}
			}
		}
	}
	return out
}

// wantBadData fails unless err is *BadData with one line that holds the text.
func wantBadData(t testing.TB, err error, text string) {
	t.Helper()
	var bad *BadData
	if !errors.As(err, &bad) {
		t.Errorf("error %v, want *BadData", err)
		return
	}
	if !strings.Contains(bad.Message, text) || strings.Contains(bad.Message, "\n") {
		t.Errorf("message %q, want one line with %q", bad.Message, text)
	}
}

func wantColumn(t testing.TB, got []float64, want ...float64) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
