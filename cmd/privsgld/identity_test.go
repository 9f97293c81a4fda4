package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// parquetTable is a table for crashPolicy without compression or checksums, the
// numbers behind a dictionary page.
func parquetTable(t *testing.T) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "buys", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range 200 {
		b.Field(0).(*array.Float64Builder).Append(float64(i%50) / 7)
		b.Field(1).(*array.StringBuilder).Append([]string{"no", "yes"}[i%2])
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Uncompressed)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b.NewRecord()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A Parquet file with a damaged page that the reader takes for other values: a run
// under a registered name notices and releases nothing; without one it goes through,
// which is the control.
func TestDamageIsNoticedByTheFingerprint(t *testing.T) {
	b := newBench(t, crashPolicy, "")
	whole := parquetTable(t)
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("whole.parquet", whole)
	changed := bytes.Clone(whole)
	// The mantissa of 8/7, in the dictionary page.
	at := bytes.Index(changed, []byte{0x92, 0x24, 0x49, 0x92, 0x24, 0x49, 0xf2, 0x3f})
	if at < 0 {
		t.Fatal("the dictionary does not hold 8/7 as it is written")
	}
	changed[at+5] ^= 0x10
	write("changed.parquet", changed)

	run := func(data, out string) (code int, words string) {
		cmd := b.command("run", "--quiet", "--policy", "p.yaml", "--data", data, "--epsilon", "0.5", "--steps", "20", "--draws", "10", "--out", out)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode(), stderr.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0, stderr.String()
	}
	if code, words := run("changed.parquet", "control"); code != 0 {
		t.Fatalf("the reader notices by itself: exit code %d, %s", code, words)
	}
	b.run("data", "register", "--policy", "p.yaml", "--data", "whole.parquet")
	if code, words := run("whole.parquet", "whole"); code != 0 || !b.complete("whole") {
		t.Errorf("the registered table: exit code %d, %s", code, words)
	}
	code, words := run("changed.parquet", "changed")
	if code != 4 || words != fmt.Sprintln(`privsgld: data set "crash": the rows are not those that are registered under this name; nothing is released, and the charge stands (check the table with "privsgld data register")`) {
		t.Errorf("the damaged table: exit code %d, %s", code, words)
	}
	if b.complete("changed") {
		t.Error("something was released of the damaged table")
	}
	if _, entries, pending := b.budget(); entries != 3 || pending != 1 {
		t.Errorf("%d reservations, %d pending", entries, pending)
	}
}
