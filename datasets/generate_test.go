//go:build generate

package datasets

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// TestGenerateFertility writes testdata/fertility.parquet from the CSV of the
// Debian package r-cran-aer: the same rows in the same order.
func TestGenerateFertility(t *testing.T) {
	f, err := os.Open(filepath.Join(testdataFolder(t), "fertility.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var fields []arrow.Field
	for _, name := range rows[0] {
		field := arrow.Field{Name: name, Type: arrow.BinaryTypes.String}
		if name == "age" || name == "work" {
			field.Type = arrow.PrimitiveTypes.Int32
		}
		fields = append(fields, field)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	for _, row := range rows[1:] {
		for i, cell := range row {
			if err := b.Field(i).AppendValueFromString(cell); err != nil {
				t.Fatal(err)
			}
		}
	}
	writeParquet(t, "../testdata/fertility.parquet", b.NewRecord(), compress.Codecs.Zstd)
}

func writeParquet(t *testing.T, path string, r arrow.Record, codec compress.Compression) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	properties := parquet.NewWriterProperties(
		parquet.WithCompression(codec), parquet.WithDictionaryDefault(true), parquet.WithStats(false))
	w, err := pqarrow.NewFileWriter(r.Schema(), out, properties, pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestGenerateMalformed writes testdata/malformed: files that must end as bad
// data, each a small table ("y" of yes and no, "x" of numbers) damaged in one
// way.
func TestGenerateMalformed(t *testing.T) {
	folder := "../testdata/malformed"
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change := func(data []byte, at int, with ...byte) []byte {
		out := bytes.Clone(data)
		copy(out[at:], with)
		return out
	}
	table := smallTable(200)
	temporary := filepath.Join(t.TempDir(), "t.parquet")
	writeParquet(t, temporary, table, compress.Codecs.Snappy)
	whole, err := os.ReadFile(temporary)
	if err != nil {
		t.Fatal(err)
	}
	write("truncated.parquet", whole[:len(whole)-40])
	write("only-magic.parquet", []byte("PAR1PAR1"))
	write("no-end.parquet", change(whole, len(whole)-4, 'X', 'X', 'X', 'X'))
	write("footer-length.parquet", change(whole, len(whole)-8, 0xff, 0xff, 0xff, 0x7f))
	write("page-header.parquet", change(whole, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))

	// The compact Thrift footer holds the row count as a zigzag varint: 200 is
	// 0x90 0x03. Exchange every one of them for a much larger one.
	forged := bytes.Clone(whole)
	for at := len(whole) - 10; at >= footerStart(whole); at-- {
		if forged[at] == 0x90 && forged[at+1] == 0x03 {
			forged = append(forged[:at:at], append([]byte{0x80, 0xa8, 0xd6, 0xb9, 0x07}, forged[at+2:]...)...)
		}
	}
	length := len(whole) - 8 - footerStart(whole) + len(forged) - len(whole)
	forged = change(forged, len(forged)-8, byte(length), byte(length>>8), byte(length>>16), byte(length>>24))
	write("forged-count.parquet", forged)

	var file, stream bytes.Buffer
	fw, err := ipc.NewFileWriter(nopSeeker{&file}, ipc.WithSchema(table.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := fw.Write(table); err != nil {
		t.Fatal(err)
	}
	fw.Close()
	sw := ipc.NewWriter(&stream, ipc.WithSchema(table.Schema()))
	if err := sw.Write(table); err != nil {
		t.Fatal(err)
	}
	sw.Close()
	write("truncated.arrow", file.Bytes()[:file.Len()-20])
	write("truncated-stream.arrow", stream.Bytes()[:stream.Len()/2])
	write("forged-length-stream.arrow", change(stream.Bytes(), 4, 0xff, 0xff, 0xff, 0x7f))
	garbage := []byte("ARROW1\x00\x00")
	for i := range 500 {
		garbage = strconv.AppendInt(garbage, int64(i*i), 7)
	}
	write("garbage.arrow", append(garbage, "ARROW1"...))

	write("nul.csv", []byte("y,x\nyes,1\nno\x00,2\n"))
	write("open-quote.csv", []byte("y,x\nyes,1\n\"no,2\nyes,3\n"))
	write("empty.csv", nil)
	write("utf16.csv", []byte("\xff\xfey\x00,\x00x\x00\n\x00"))
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	zw.Write([]byte("y,x\nyes,1\nno,2\n"))
	zw.Close()
	write("truncated.csv.gz", zipped.Bytes()[:zipped.Len()-9])
}

func footerStart(file []byte) int {
	end := len(file) - 8
	return end - int(uint32(file[end])|uint32(file[end+1])<<8|uint32(file[end+2])<<16|uint32(file[end+3])<<24)
}
