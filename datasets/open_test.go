package datasets

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/compress"

	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
)

// posterior is what a reference posterior says about its design matrix.
type posterior struct {
	Spec struct {
		Target  struct{ Name, Positive string }
		Columns []struct {
			Name   string
			Levels []string
			Bounds []float64
		}
	}
	Coefficients []string
	ColumnSums   []float64 `json:"column_sums"`
	TargetSum    float64   `json:"target_sum"`
}

func (p posterior) dataset() policies.Dataset {
	d := dataset()
	for _, c := range p.Spec.Columns {
		if c.Levels != nil {
			d.Columns = append(d.Columns, category(c.Name, c.Levels...))
		} else {
			d.Columns = append(d.Columns, number(c.Name, c.Bounds[0], c.Bounds[1]))
		}
	}
	d.Columns = append(d.Columns, category(p.Spec.Target.Name, "no", p.Spec.Target.Positive))
	d.Target = policies.Target{Column: p.Spec.Target.Name, Positive: p.Spec.Target.Positive}
	return d
}

// The encodings have the column sums that an independent program found, so that
// the design matrix is the one of the reference posteriors.
func TestEncodingsOfReference(t *testing.T) {
	for name, path := range map[string]string{
		"fertility":       "../testdata/fertility.parquet",
		"healthinsurance": "../testdata/tables/healthinsurance.csv.gz",
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("../testdata/posteriors/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var want posterior
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			b := mustBind(t, want.dataset())
			e := b.Encoding()
			if fmt.Sprint(e.Coefficients) != fmt.Sprint(want.Coefficients) {
				t.Fatalf("coefficients %v, want %v", e.Coefficients, want.Coefficients)
			}
			table := mustOpen(t, path, b)
			sums := make([]float64, len(e.Coefficients))
			columns := values(table)
			sums[0] = float64(table.Rows())
			for i, f := range e.Features {
				for _, x := range columns[i] {
					switch {
					case f.Kind != Category:
						sums[f.Offset] += x
					case int(x) < f.Reference:
						sums[f.Offset+int(x)]++
					case int(x) > f.Reference:
						sums[f.Offset+int(x)-1]++
					}
				}
			}
			for i := range sums {
				// Sums of at most 3·10⁵ terms in [−1, 1], each rounded: both
				// sides err by less than 10⁻⁶.
				if math.Abs(sums[i]-want.ColumnSums[i]) > 1e-6 {
					t.Errorf("%s: sum %v, want %v", e.Coefficients[i], sums[i], want.ColumnSums[i])
				}
			}
			target := 0.0
			for _, y := range columns[len(columns)-1] {
				target += y
			}
			if target != want.TargetSum {
				t.Errorf("target: sum %v, want %v", target, want.TargetSum)
			}
		})
	}
}

// The same small table in every format is the same encoding.
func TestFormatsAgree(t *testing.T) {
	r := smallTable(20000)
	var text bytes.Buffer
	text.WriteString("\xef\xbb\xbfsurplus,y , x\r\n")
	for i := range int(r.NumRows()) {
		y, x := r.Column(0).ValueStr(i), r.Column(1).ValueStr(i)
		text.WriteString("q," + strings.ReplaceAll(y, "(null)", "") + ", " + strings.ReplaceAll(x, "(null)", "NA") + "\r\n")
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(text.Bytes())
	w.Close()
	b := mustBind(t, smallDataset())
	var want [][]float64
	for i, data := range [][]byte{
		parquetBytes(t, r, compress.Codecs.Snappy), parquetBytes(t, r, compress.Codecs.Zstd), fileBytes(t, r),
		streamBytes(t, r), streamBytes(t, r, ipc.WithLZ4()), streamBytes(t, r, ipc.WithZstd()), text.Bytes(), zipped.Bytes(),
	} {
		path := put(t, "data", data)
		if err := Check(gate.StructurePermit(), path, b); err != nil {
			t.Fatalf("format %d: %v", i, err)
		}
		got := values(mustOpen(t, path, b))
		if i == 0 {
			want = got
			if len(got[0]) != 20000 || got[0][2] != 0 || got[0][1] != 2*0.0075-1 {
				t.Fatalf("%d rows, %v", len(got[0]), got[0][:3])
			}
		}
		for c := range want {
			if !slices.Equal(got[c], want[c]) {
				t.Errorf("format %d, column %d differs", i, c)
			}
		}
	}
}

// Every Arrow type that means something here.
func TestArrowTypes(t *testing.T) {
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	numbers := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: arrow.PrimitiveTypes.Int64}
	for _, c := range []struct {
		storage arrow.DataType
		json    string
		column  policies.Column
		want    []float64
	}{
		{arrow.PrimitiveTypes.Int8, `[1, null, 3]`, number("c", 0, 4), []float64{-0.5, 0, 0.5}},
		{arrow.PrimitiveTypes.Uint8, `[1, null, 3]`, integer("c", 0, 4), []float64{-0.5, 0, 0.5}},
		{arrow.PrimitiveTypes.Int16, `[1, null, -3]`, number("c", 0, 4), []float64{-0.5, 0, -1}},
		{arrow.PrimitiveTypes.Uint16, `[1, null, 3]`, number("c", 0, 4), []float64{-0.5, 0, 0.5}},
		{arrow.PrimitiveTypes.Int32, `[1, null, 3]`, category("c", "3", "1"), []float64{1, 0, 0}},
		{arrow.PrimitiveTypes.Uint32, `[1, null, 0]`, boolean("c"), []float64{1, 0, 0}},
		{arrow.PrimitiveTypes.Int64, `["9223372036854775807", null, "-9223372036854775808"]`, number("c", 0, 4), []float64{1, 0, -1}},
		{arrow.PrimitiveTypes.Uint64, `["18446744073709551615", null, 2]`, category("c", "a", "18446744073709551615"), []float64{1, 0, 0}},
		{arrow.FixedWidthTypes.Float16, `[1, null, 2.5]`, integer("c", 0, 4), []float64{-0.5, 0, 0}},
		{arrow.PrimitiveTypes.Float32, `[1, null, 2.5]`, number("c", 0, 4), []float64{-0.5, 0, 0.25}},
		{arrow.PrimitiveTypes.Float64, `[1, null, 2.5]`, withDefault(integer("c", 0, 4), "3"), []float64{-0.5, 0.5, 0.5}},
		{&arrow.Decimal128Type{Precision: 10, Scale: 2}, `["1.00", null, "2.50"]`, number("c", 0, 4), []float64{-0.5, 0, 0.25}},
		{&arrow.Decimal256Type{Precision: 40, Scale: 2}, `["1.00", null, "2.50"]`, integer("c", 0, 4), []float64{-0.5, 0, 0}},
		{arrow.FixedWidthTypes.Boolean, `[true, null, false]`, boolean("c"), []float64{1, 0, 0}},
		{arrow.FixedWidthTypes.Boolean, `[true, null, false]`, category("c", "false", "true"), []float64{1, 0, 0}},
		{arrow.BinaryTypes.String, `["1", null, "true"]`, boolean("c"), []float64{1, 0, 1}},
		{arrow.BinaryTypes.LargeString, `["b", null, "z"]`, category("c", "a", "b"), []float64{1, 0, 0}},
		{arrow.BinaryTypes.Binary, `["Yg==", null, "/w=="]`, category("c", "a", "b"), []float64{1, 0, 0}},
		{arrow.BinaryTypes.LargeBinary, `["Yg==", null, "/w=="]`, category("c", "a", "b"), []float64{1, 0, 0}},
		{arrow.Null, `[null, null, null]`, withDefault(category("c", "a", "b"), "b"), []float64{1, 1, 1}},
		{dictionary, `["b", null, "z"]`, category("c", "a", "b"), []float64{1, 0, 0}},
		{numbers, `[1, null, 3]`, number("c", 0, 4), []float64{-0.5, 0, 0.5}},
	} {
		a, _, err := array.FromJSON(memory.DefaultAllocator, c.storage, strings.NewReader(c.json))
		if err != nil {
			t.Fatal(c.storage, err)
		}
		y, _, err := array.FromJSON(memory.DefaultAllocator, arrow.BinaryTypes.String, strings.NewReader(`["yes", "no", null]`))
		if err != nil {
			t.Fatal(err)
		}
		schema := arrow.NewSchema([]arrow.Field{
			{Name: "y", Type: y.DataType(), Nullable: true}, {Name: "c", Type: c.storage, Nullable: true},
		}, nil)
		r := array.NewRecord(schema, []arrow.Array{y, a}, 3)
		b := mustBind(t, dataset(category("y", "no", "yes"), c.column))
		t.Run(c.storage.String()+" as "+string(c.column.Type), func(t *testing.T) {
			got := values(mustOpen(t, put(t, "data", streamBytes(t, r)), b))
			wantColumn(t, got[0], c.want...)
			wantColumn(t, got[1], 1, 0, 0)
		})
	}
}

func TestTypesThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		storage arrow.DataType
		column  policies.Column
		want    string
	}{
		{arrow.BinaryTypes.String, number("c", 0, 4), `column "c": the file stores text, the policy says number; declare type: category, or convert the column`},
		{arrow.PrimitiveTypes.Float64, category("c", "a", "b"), `column "c": the file stores floating-point numbers, the policy says category; declare type: number`},
		{arrow.FixedWidthTypes.Boolean, number("c", 0, 4), `column "c": the file stores booleans, the policy says number; declare type: boolean`},
		{arrow.FixedWidthTypes.Timestamp_us, number("c", 0, 4), `column "c": the file stores dates or times`},
		{arrow.FixedWidthTypes.Date32, category("c", "a"), `column "c": the file stores dates or times`},
		{arrow.ListOf(arrow.PrimitiveTypes.Int8), integer("c", 0, 4), `column "c": the file stores nested values`},
	} {
		schema := arrow.NewSchema([]arrow.Field{{Name: "y", Type: arrow.BinaryTypes.String}, {Name: "c", Type: c.storage}}, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		binding := mustBind(t, dataset(category("y", "no", "yes"), c.column))
		path := put(t, "data", streamBytes(t, b.NewRecord()))
		wantBadData(t, Check(gate.StructurePermit(), path, binding), c.want)
		_, err := open(t.Context(), path, binding, Options{})
		wantBadData(t, err, c.want)
	}
}

func TestColumnNames(t *testing.T) {
	b := mustBind(t, smallDataset())
	wantBadData(t, Check(gate.StructurePermit(), put(t, "d.csv", []byte("y,z\nyes,1\n")), b), `column "x": the file has no such column`)
	wantBadData(t, Check(gate.StructurePermit(), put(t, "d.csv", []byte("y,x,x\nyes,1,2\n")), b), `column "x": the file has it more than once`)
	wantBadData(t, Check(gate.StructurePermit(), put(t, "d.csv", []byte("Y,x\nyes,1\n")), b), `column "y"`)
}

func TestCSVRules(t *testing.T) {
	d := smallDataset()
	d.CSV = &policies.CSV{Header: false, Separator: '\t', Null: []string{"?"}, Trim: true}
	b := mustBind(t, d) // without a header a column's place is the policy's: y, x
	got := values(mustOpen(t, put(t, "d.tsv", []byte("yes\t100\nno\t ? \nyes\n\"yes\"\t0\tsurplus\n\n?\tabc\n no \t\n")), b))
	wantColumn(t, got[0], 1, 0, 0, -1, 0, 0)
	wantColumn(t, got[1], 1, 0, 1, 1, 0, 0)

	d.CSV = &policies.CSV{Header: true, Separator: ';', Trim: false}
	b = mustBind(t, d)
	got = values(mustOpen(t, put(t, "d.csv", []byte("x;y\n50;yes\n 50;yes\n100; yes\n\"25\";\"yes\"")), b))
	wantColumn(t, got[0], 0, 0, 1, -0.5)
	wantColumn(t, got[1], 1, 1, 0, 1)

	wantBadData(t, Check(gate.StructurePermit(), put(t, "d.csv", []byte("x; y\n50;yes\n")), b), `column "y"`)
}

func TestWithoutRows(t *testing.T) {
	r := smallTable(0)
	b := mustBind(t, smallDataset())
	for _, data := range [][]byte{parquetBytes(t, r, compress.Codecs.Snappy), streamBytes(t, r), fileBytes(t, r), []byte("y,x\n")} {
		if table := mustOpen(t, put(t, "data", data), b); table.Rows() != 0 || len(table.Records()) != 0 {
			t.Error("rows out of nothing")
		}
	}
}

// T11: a cell of any value leaves the run as it was, and the other cells.
func TestAnyCellIsHarmless(t *testing.T) {
	b := mustBind(t, smallDataset())
	cells := []string{"NaN", "Inf", "-Inf", "1e308", "5e-324", "1e400", "-0", "\xff\xfe\xfd", "", "ä\u202e", strings.Repeat("9", 10<<20), strings.Repeat("x", 10<<20)}
	for i, cell := range cells {
		for column := range 2 {
			var text bytes.Buffer
			text.WriteString("y,x\n")
			for row := range 50 {
				line := []string{"yes", "75"}
				if row == 17 {
					line[column] = cell
				}
				text.WriteString(strings.Join(line, ",") + "\n")
			}
			got := values(mustOpen(t, put(t, "d.csv", text.Bytes()), b))
			if len(got[0]) != 50 {
				t.Fatalf("cell %d: lost rows", i)
			}
			for row := range 50 {
				if row != 17 && (got[0][row] != 0.5 || got[1][row] != 1) {
					t.Fatalf("cell %d changed another row", i)
				}
			}
			if !(got[0][17] >= -1 && got[0][17] <= 1) {
				t.Errorf("cell %d out of range", i)
			}
		}
	}

	builder := array.NewRecordBuilder(memory.DefaultAllocator, smallTable(0).Schema())
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e308, 5e-324, 75} {
		builder.Field(0).(*array.StringBuilder).Append("\xff\xfe")
		builder.Field(1).(*array.Float64Builder).Append(x)
	}
	r := builder.NewRecord()
	for _, data := range [][]byte{streamBytes(t, r), parquetBytes(t, r, compress.Codecs.Snappy)} {
		got := values(mustOpen(t, put(t, "data", data), b))
		wantColumn(t, got[0], 0, 0, 0, 1, -1, 0.5)
		wantColumn(t, got[1], 0, 0, 0, 0, 0, 0)
	}
}

func TestSources(t *testing.T) {
	b := mustBind(t, smallDataset())
	folder := t.TempDir()
	parts := filepath.Join(folder, "parts")
	for name, data := range map[string][]byte{
		"b.csv": []byte("y,x\nyes,0\nno,0.75\nno,\n"), "c.csv": []byte("y,x\nyes,0\nno,0.75\n"),
		"a.csv": []byte("x,y\n100,yes\n"), ".hidden": {0}, "_SUCCESS": nil,
	} {
		if err := os.MkdirAll(parts, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(parts, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantColumn(t, values(mustOpen(t, parts, b))[0], 1, -1, -0.985, 0, -1, -0.985)
	wantColumn(t, values(mustOpen(t, filepath.Join(parts, "[bc].*"), b))[0], -1, -0.985, 0, -1, -0.985)

	bad := filepath.Join(parts, "d.csv")
	if err := os.WriteFile(bad, []byte("y,z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantBadData(t, Check(gate.StructurePermit(), parts, b), `file 4: column "x"`)
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	twice := filepath.Join(parts, "d.parquet")
	if err := os.WriteFile(twice, parquetBytes(t, smallTable(3), compress.Codecs.Snappy), 0o600); err != nil {
		t.Fatal(err)
	}
	wantBadData(t, Check(gate.StructurePermit(), parts, b), textMixed)

	if err := syscall.Mkfifo(filepath.Join(folder, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(folder, "fifo"): textNotRegular, "/dev/zero": textNotRegular, folder: textNotRegular,
		filepath.Join(folder, "empty"): textEmptyFolder, filepath.Join(folder, "none"): textNoFile,
		filepath.Join(folder, "*.none"): textNoFile, filepath.Join(folder, "[.csv"): textNoFile,
	} {
		_, err := open(t.Context(), path, b, Options{})
		wantBadData(t, err, want)
	}
}

// Nothing of a table stays behind: not while it is open, not after damage.
func TestTemporaryFolderStaysEmpty(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	b := mustBind(t, smallDataset())
	table, err := open(t.Context(), "../testdata/malformed/truncated.parquet", b, Options{})
	if err == nil {
		table.Close()
		t.Error("read a truncated file")
	}
	folder := filepath.Join(t.TempDir(), "d.csv")
	if err := os.WriteFile(folder, []byte("y,x\nyes,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, folder, b)
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestTableIsUnprintable(t *testing.T) {
	table := mustOpen(t, put(t, "d.csv", []byte("y,x\nyes,31\n")), mustBind(t, smallDataset()))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		for _, value := range []any{table, *table} {
			if got := fmt.Sprintf(verb, value); got != unprintable {
				t.Errorf("%s prints %q", verb, got)
			}
		}
		if got := fmt.Sprintf(verb, struct{ T *Table }{table}); strings.Contains(got, "31") || strings.Contains(got, "float64") {
			t.Errorf("%s in a struct prints %q", verb, got)
		}
	}
	for _, value := range []any{table, *table, struct{ T *Table }{table}} {
		got, err := json.Marshal(value)
		if err != nil || !strings.Contains(string(got), unprintable) || len(got) > 40 {
			t.Errorf("marshals as %s, %v", got, err)
		}
	}
}

func TestOpenLimits(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory counts against the limits")
	}
	b := mustBind(t, smallDataset())
	path := put(t, "d.csv", []byte("y,x\nyes,1\n"))
	if _, err := open(t.Context(), path, b, Options{Memory: 1 << 20}); err == nil || errors.As(err, new(*BadData)) {
		t.Errorf("1 MiB: error %v", err)
	}
	if _, err := open(t.Context(), path, b, Options{Memory: leastMemory}); err != nil {
		t.Errorf("least memory: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(ended, path, b, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// zippedRows is a small file of very many rows.
func zippedRows(rows int) []byte {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write([]byte("y,x\n"))
	lines := bytes.Repeat([]byte("1,\n"), 1<<16)
	for range rows >> 16 {
		w.Write(lines)
	}
	w.Close()
	return zipped.Bytes()
}

// F2: a file may not claim, or unzip to, more than it can hold.
func TestForgedCountsAndBombs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory counts against the limits")
	}
	b := mustBind(t, smallDataset())
	start := time.Now()
	_, err := open(t.Context(), put(t, "d.csv.gz", zippedRows(8<<20)), b, Options{})
	wantBadData(t, err, textTooLarge)
	if time.Since(start) > 10*time.Second {
		t.Error("took longer than 10 s")
	}
	start = time.Now()
	_, err = open(t.Context(), "../testdata/malformed/forged-count.parquet", b, Options{})
	wantBadData(t, err, "data: ")
	if time.Since(start) > 2*time.Second {
		t.Error("a forged count took longer than 2 s")
	}
}

// What the library cannot read is found before a charge.
func TestUnreadableParquetIsFoundByCheck(t *testing.T) {
	for _, name := range []string{"lz4_raw_compressed.parquet", "byte_stream_split_extended.gzip.parquet"} {
		path := filepath.Join(testdataFolder(t), "foreign", "parquet", name)
		wantBadData(t, Check(gate.StructurePermit(), path, bindingFor(t, path)), textUnsupported)
	}
}

// The child ends with its parent, whose end it sees on its standard input, and
// with the context.
func TestDecoderEndsWithItsParent(t *testing.T) {
	b := mustBind(t, smallDataset())
	path := put(t, "d.csv.gz", zippedRows(7<<20)) // seconds of work
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := unnamedFile()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	program, err := ownProgram()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(program)
	child.Env = []string{decoderMark + "=1"}
	child.ExtraFiles = []*os.File{in, out}
	answer := &boundedBuffer{most: answerSize}
	child.Stdout = answer
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(stdin).Encode(job{Columns: b.columns, CSV: b.csv, Files: 1, Memory: defaultMemory}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || len(answer.bytes) > 0 {
		t.Errorf("the child outlived its parent: %v, %q", err, answer.bytes)
	}

	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := open(soon, path, b, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: error %v", err)
	}
}

// A program that is told nothing, or nonsense, as a decoder just ends.
func TestDecoderWithoutJob(t *testing.T) {
	program, err := ownProgram()
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"", "{}", "nonsense", `{"files": 3, "memory": 1073741824}`} {
		child := exec.Command(program)
		child.Env = []string{decoderMark + "=1"}
		child.Stdin = strings.NewReader(request)
		out, _ := child.Output() // how it ends is up to it
		if strings.Contains(string(out), `"kind":0`) {
			t.Errorf("%q: success", request)
		}
	}
}

// A real CSV with odd habits: no header, blanks after commas, "?" for null, a
// blank line at the end. The figures are those of its data sheet.
func TestAdult(t *testing.T) {
	d := dataset()
	for _, name := range []string{
		"age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
		"relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country",
	} {
		d.Columns = append(d.Columns, number(name, 0, 100))
	}
	d.Columns[9] = category("sex", "Female", "Male")
	d.Columns = append(d.Columns, category("y", "<=50K", ">50K"))
	d.Target.Positive = ">50K"
	d.CSV = &policies.CSV{Separator: ',', Null: []string{"?"}, Trim: true}
	b, err := Bind(d, "", []string{"sex"})
	if err != nil {
		t.Fatal(err)
	}
	got := values(mustOpen(t, filepath.Join(testdataFolder(t), "adult.data.gz"), b))
	male, rich := 0.0, 0.0
	for i := range got[0] {
		male += got[0][i]
		rich += got[1][i]
	}
	if len(got[0]) != 32561 || rich != 7841 || male != 21790 {
		t.Errorf("%d rows, %v rich, %v male", len(got[0]), rich, male)
	}
}
