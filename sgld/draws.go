package sgld

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// guaranteeKey is the file metadata key under which a table of draws carries
// its guarantee.
const guaranteeKey = "privsgld.guarantee"

// drawsCreator stands in Parquet's created_by. It is a constant, so that a file
// says nothing of the machine or the library that wrote it.
const drawsCreator = "privsgld"

// Draws is the table of released draws: Chains[chain][iteration][parameter],
// with one name a parameter. Chains may differ in length.
type Draws struct {
	Names  []string
	Chains [][][]float64
}

// Write writes the draws to w as one file. The columns are .chain, .iteration
// (within its chain) and .draw (over all chains), int32 and counted from 1, then
// a float64 column for each name; no column takes nulls. The rows come chain by
// chain, in the order of iterations. The formats are
//
//	parquet  one row group, uncompressed, without statistics or dictionaries
//	arrow    the Arrow IPC file format, one record batch
//	csv      a header and the rows; floats as the shortest text that reads back to the same bits
//
// Parquet and Arrow carry guarantee as file metadata under the key
// privsgld.guarantee; CSV has no place for it. Equal draws and guarantee give
// equal bytes.
//
// The file is built in memory and handed to w in one call, whose error is
// returned; an unknown format and more than 2³¹ − 1 draws are errors too, with
// nothing written. Write panics if an iterate has not one value for each name.
func (d Draws) Write(w io.Writer, format string, guarantee string) error {
	var encode func(Draws, string) ([]byte, error)
	switch format {
	case "parquet":
		encode = Draws.parquet
	case "arrow":
		encode = Draws.arrow
	case "csv":
		encode = Draws.csv
	default:
		return fmt.Errorf("draws: unknown format %q; use parquet, arrow or csv", format)
	}
	if d.rows() > math.MaxInt32 {
		return errors.New("draws: more than 2147483647 draws do not fit the column .draw; ask for fewer, or thin the chains")
	}
	for _, chain := range d.Chains {
		for _, iterate := range chain {
			if len(iterate) != len(d.Names) {
				panic("sgld: an iterate needs one value for each name")
			}
		}
	}
	file, err := encode(d, guarantee)
	if err != nil {
		return fmt.Errorf("draws: writing as %s: %w", format, err)
	}
	_, err = w.Write(file)
	return err
}

// rows returns the number of draws over all chains.
func (d Draws) rows() int {
	n := 0
	for _, chain := range d.Chains {
		n += len(chain)
	}
	return n
}

func (d Draws) parquet(guarantee string) ([]byte, error) {
	record := d.record(guarantee)
	defer record.Release()
	var out bytes.Buffer
	// Statistics would repeat the extremes of the draws, and dictionaries of
	// values that hardly repeat only add bytes.
	writer, err := pqarrow.NewFileWriter(record.Schema(), &out, parquet.NewWriterProperties(
		parquet.WithCreatedBy(drawsCreator),
		parquet.WithStats(false),
		parquet.WithDictionaryDefault(false),
		parquet.WithMaxRowGroupLength(max(record.NumRows(), 1)),
	), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, err
	}
	if err := writer.Write(record); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (d Draws) arrow(guarantee string) ([]byte, error) {
	record := d.record(guarantee)
	defer record.Release()
	var out seekableBuffer
	writer, err := ipc.NewFileWriter(&out, ipc.WithSchema(record.Schema()))
	if err != nil {
		return nil, err
	}
	if err := writer.Write(record); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// seekableBuffer tells its position, the only seek that the Arrow file writer
// makes.
type seekableBuffer struct{ bytes.Buffer }

func (b *seekableBuffer) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("a table of draws is written from front to back")
	}
	return int64(b.Len()), nil
}

func (d Draws) csv(string) ([]byte, error) {
	var out bytes.Buffer
	writer := csv.NewWriter(&out)
	row := append([]string{".chain", ".iteration", ".draw"}, d.Names...)
	if err := writer.Write(row); err != nil {
		return nil, err
	}
	draw := 0
	for c, chain := range d.Chains {
		for i, iterate := range chain {
			draw++
			row = append(row[:0], strconv.Itoa(c+1), strconv.Itoa(i+1), strconv.Itoa(draw))
			for _, x := range iterate {
				row = append(row, strconv.FormatFloat(x, 'g', -1, 64))
			}
			if err := writer.Write(row); err != nil {
				return nil, err
			}
		}
	}
	writer.Flush()
	return out.Bytes(), writer.Error()
}

// record returns the draws as one Arrow record whose schema carries the
// guarantee. The caller releases it.
func (d Draws) record(guarantee string) arrow.Record {
	fields := []arrow.Field{
		{Name: ".chain", Type: arrow.PrimitiveTypes.Int32},
		{Name: ".iteration", Type: arrow.PrimitiveTypes.Int32},
		{Name: ".draw", Type: arrow.PrimitiveTypes.Int32},
	}
	for _, name := range d.Names {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64})
	}
	metadata := arrow.NewMetadata([]string{guaranteeKey}, []string{guarantee})
	builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, &metadata))
	defer builder.Release()
	builder.Reserve(d.rows())
	index := func(column, value int) { builder.Field(column).(*array.Int32Builder).Append(int32(value)) }
	draw := 0
	for c, chain := range d.Chains {
		for i, iterate := range chain {
			draw++
			index(0, c+1)
			index(1, i+1)
			index(2, draw)
			for p, x := range iterate {
				builder.Field(3 + p).(*array.Float64Builder).Append(x)
			}
		}
	}
	return builder.NewRecord()
}
