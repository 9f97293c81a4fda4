package datasets

import (
	"context"
	"os"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// decodeParquet reads the bound columns of a Parquet file, and no others.
func decodeParquet(f *os.File, s *sink) error {
	reader, err := file.NewParquetReader(f)
	if err != nil {
		return verdict{Kind: kindNoTable}
	}
	properties := pqarrow.ArrowReadProperties{BatchSize: blockRows}
	arrowReader, err := pqarrow.NewFileReader(reader, properties, memory.DefaultAllocator)
	if err != nil {
		return verdict{Kind: kindNoTable}
	}
	fields := arrowReader.Manifest.Fields
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Field.Name
	}
	places, err := s.bind(names, func(i int) arrow.DataType { return fields[i].Field.Type })
	if err != nil {
		return err
	}
	leaves := make([]int, len(places))
	for i, at := range places {
		leaves[i] = fields[at].ColIndex
	}
	if err := checkReadable(reader, leaves); err != nil || s.structureOnly {
		return err
	}

	// A forged count is cheapest refused before it is believed: the sum over
	// row groups must agree with the file's, and its encoding must be of a size
	// that this file can have.
	rows := int64(0)
	for i := range reader.NumRowGroups() {
		rows += reader.MetaData().RowGroup(i).NumRows()
	}
	if rows != reader.NumRows() || rows < 0 {
		return verdict{Kind: kindDamaged}
	}
	if err := s.fits(rows); err != nil {
		return err
	}
	if rows == 0 {
		return nil
	}

	batches, err := arrowReader.GetRecordReader(context.Background(), leaves, nil)
	if err != nil {
		return verdict{Kind: kindDamaged}
	}
	defer batches.Release()
	before := s.rows
	for batches.Next() {
		if err := s.record(batches.Record()); err != nil {
			return err
		}
	}
	// The library ends quietly when a column ends early: count.
	if s.rows-before != rows {
		return verdict{Kind: kindDamaged}
	}
	return nil
}

// readableEncodings are those that the library decodes.
var readableEncodings = []parquet.Encoding{
	parquet.Encodings.Plain, parquet.Encodings.PlainDict, parquet.Encodings.RLE, parquet.Encodings.RLEDict,
	parquet.Encodings.BitPacked, parquet.Encodings.DeltaBinaryPacked, parquet.Encodings.DeltaByteArray,
	parquet.Encodings.DeltaLengthByteArray,
}

// checkReadable says from the metadata whether the library has the codecs and
// encodings of the bound columns: better before a charge than after it.
func checkReadable(reader *file.Reader, leaves []int) error {
	for group := range reader.NumRowGroups() {
		for _, leaf := range leaves {
			chunk, err := reader.MetaData().RowGroup(group).ColumnChunk(leaf)
			if err != nil {
				return verdict{Kind: kindDamaged}
			}
			if _, err := compress.GetCodec(chunk.Compression()); err != nil {
				return verdict{Kind: kindUnsupported}
			}
			for _, encoding := range chunk.Encodings() {
				if !slices.Contains(readableEncodings, encoding) {
					return verdict{Kind: kindUnsupported}
				}
			}
		}
	}
	return nil
}
