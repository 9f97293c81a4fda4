package job

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// rowColumn is the number of a row among those given, from 1: the first column of a
// file of predictions, int64, before a float64 column for each value.
const rowColumn = ".row"

// checkNewFile refuses the path of an output that is there, or cannot be.
func checkNewFile(path string) error {
	if path == "-" {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return &UsageError{Message: fmt.Sprintf("%s is there already and is left alone", path), Hint: "name a new file"}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return &UsageError{Message: fmt.Sprintf("%s cannot be looked at", path), Hint: "name a new file"}
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return &UsageError{Message: fmt.Sprintf("%s cannot be written: its folder is not there", path), Hint: "make the folder first"}
	}
	return nil
}

// writePredictions makes a new file for its owner only (mode 600), whole or not at
// all, of the columns that each calls add for, batch after batch; never in place of
// another. For "-" it writes to out.
func writePredictions(path, format string, out io.Writer, columns []string, each func(add func([][]float64) error) error) (err error) {
	failed := func(err error) error {
		var p *fs.PathError
		var l *os.LinkError
		switch {
		case errors.As(err, &p):
			err = p.Err
		case errors.As(err, &l):
			err = l.Err
		}
		return &OutputError{fmt.Sprintf("%s could not be written: %v", path, err)}
	}
	table := func(w io.Writer) error {
		err := writeTable(w, format, columns, each)
		var unwritten *unwrittenError
		if errors.As(err, &unwritten) {
			err = failed(unwritten.error)
		}
		return err
	}
	if path == "-" {
		path = "standard output"
		return table(out)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".privsgld-*") // mode 600
	if err != nil {
		return failed(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a second name, or of what failed
	err = table(f)
	if e := f.Sync(); err == nil && e != nil {
		err = failed(e)
	}
	if e := f.Close(); err == nil && e != nil {
		err = failed(e)
	}
	if err != nil {
		return err
	}
	// A link never takes another file's place.
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = errExists
		}
		return failed(err)
	}
	if folder, err := os.Open(filepath.Dir(path)); err == nil {
		_ = folder.Sync() // the file is there; a power loss may undo it
		_ = folder.Close()
	}
	return nil
}

// writeTable writes a table of predictions. Memory is bounded by a batch, and for
// Parquet by a row group.
func writeTable(w io.Writer, format string, columns []string, each func(add func([][]float64) error) error) error {
	t, err := newTableWriter(w, format, columns)
	if err != nil {
		return &unwrittenError{err}
	}
	err = each(func(values [][]float64) error {
		if err := t.add(values); err != nil {
			return &unwrittenError{err}
		}
		return nil
	})
	if e := t.close(); err == nil && e != nil {
		err = &unwrittenError{e}
	}
	return err
}

// An unwrittenError is that of the file, not of what is written.
type unwrittenError struct{ error }

// A tableWriter writes batches of columns: in Parquet, Arrow's IPC file format, or CSV
// with a header.
type tableWriter struct {
	add   func(values [][]float64) error
	close func() error
}

// groupRows is the most rows of a row group.
const groupRows = 1 << 20

func newTableWriter(w io.Writer, format string, columns []string) (*tableWriter, error) {
	if format == "csv" {
		return csvTable(w, columns)
	}
	fields := []arrow.Field{{Name: columns[0], Type: arrow.PrimitiveTypes.Int64}}
	for _, name := range columns[1:] {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64})
	}
	schema := arrow.NewSchema(fields, nil)
	var write func(arrow.Record) error
	var finish func() error
	if format == "arrow" {
		writer, err := ipc.NewFileWriter(&forwardOnly{w: w}, ipc.WithSchema(schema))
		if err != nil {
			return nil, err
		}
		write, finish = writer.Write, writer.Close
	} else {
		// The library closes a writer that can be: this one is the caller's.
		writer, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{w}, parquet.NewWriterProperties(
			parquet.WithCreatedBy("privsgld"),
			parquet.WithCompression(compress.Codecs.Snappy),
			parquet.WithDictionaryDefault(false),
			parquet.WithMaxRowGroupLength(groupRows),
		), pqarrow.DefaultWriterProps())
		if err != nil {
			return nil, err
		}
		write, finish = writer.WriteBuffered, writer.Close
	}
	done := int64(0)
	return &tableWriter{
		add: func(values [][]float64) error {
			b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
			defer b.Release()
			for range values[0] {
				done++
				b.Field(0).(*array.Int64Builder).Append(done)
			}
			for i, column := range values {
				b.Field(1+i).(*array.Float64Builder).AppendValues(column, nil)
			}
			record := b.NewRecord()
			defer record.Release()
			return write(record)
		},
		close: finish,
	}, nil
}

func csvTable(w io.Writer, columns []string) (*tableWriter, error) {
	buffer := bufio.NewWriterSize(w, 1<<16)
	writer := csv.NewWriter(buffer)
	if err := writer.Write(columns); err != nil {
		return nil, err
	}
	row, done := make([]string, len(columns)), int64(0)
	return &tableWriter{
		add: func(values [][]float64) error {
			for i := range values[0] {
				done++
				row[0] = strconv.FormatInt(done, 10)
				for j, column := range values {
					row[1+j] = strconv.FormatFloat(column[i], 'g', -1, 64)
				}
				if err := writer.Write(row); err != nil {
					return err
				}
			}
			return nil
		},
		close: func() error {
			writer.Flush()
			if err := writer.Error(); err != nil {
				return err
			}
			return buffer.Flush()
		},
	}, nil
}

// forwardOnly tells its position, the only seek that the Arrow file writer makes.
type forwardOnly struct {
	w  io.Writer
	at int64
}

func (f *forwardOnly) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.at += int64(n)
	return n, err
}

func (f *forwardOnly) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("a table is written from front to back")
	}
	return f.at, nil
}
