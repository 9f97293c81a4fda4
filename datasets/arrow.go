package datasets

import (
	"bufio"
	"errors"
	"io"
	"math"
	"os"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
)

// decodeArrowFile reads a file in Arrow's IPC file format.
func decodeArrowFile(f *os.File, s *sink) error {
	if s.structureOnly {
		return arrowFileStructure(f, s)
	}
	reader, err := ipc.NewFileReader(f)
	if err != nil {
		return verdict{Kind: kindNoTable}
	}
	defer reader.Close()
	if err := s.bindSchema(reader.Schema()); err != nil {
		return err
	}
	for i := range reader.NumRecords() {
		batch, err := reader.RecordAt(i)
		if err != nil {
			return verdict{Kind: kindDamaged}
		}
		err = s.record(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// arrowFileStructure binds the schema and reads no further. The library's file
// reader decodes every dictionary when it opens, which are values; but behind
// eight bytes of magic and padding such a file is a stream that begins with the
// schema, and the stream reader stops there.
func arrowFileStructure(f *os.File, s *sink) error {
	const magic = 8
	reader, err := ipc.NewReader(io.NewSectionReader(f, magic, math.MaxInt64-magic))
	if err != nil {
		return verdict{Kind: kindNoTable}
	}
	defer reader.Release()
	return s.bindSchema(reader.Schema())
}

// decodeArrowStream reads a file in Arrow's IPC stream format.
func decodeArrowStream(f *os.File, s *sink) error {
	reader, err := ipc.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return verdict{Kind: kindNoTable}
	}
	defer reader.Release()
	if err := s.bindSchema(reader.Schema()); err != nil || s.structureOnly {
		return err
	}
	for reader.Next() {
		if err := s.record(reader.Record()); err != nil {
			return err
		}
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return verdict{Kind: kindDamaged}
	}
	return nil
}

// bindSchema binds the policy's columns to a file's schema.
func (s *sink) bindSchema(schema *arrow.Schema) error {
	fields := schema.Fields()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	_, err := s.bind(names, func(i int) arrow.DataType { return fields[i].Type })
	return err
}

// record encodes a batch, a block's worth of rows at a time so that memory
// stays bounded however large the batch is. Columns are looked up by name: an
// IPC batch has all of the file's, a Parquet batch only the bound ones.
func (s *sink) record(batch arrow.Record) error {
	places := make([]int, len(s.bound))
	for i, c := range s.bound {
		found := batch.Schema().FieldIndices(c.Name)
		if len(found) != 1 || int64(batch.Column(found[0]).Len()) != batch.NumRows() {
			return verdict{Kind: kindDamaged}
		}
		places[i] = found[0]
	}
	for from := int64(0); from < batch.NumRows(); {
		to := min(from+int64(blockRows-s.waiting), batch.NumRows())
		part := batch.NewSlice(from, to)
		err := s.part(part, places)
		part.Release()
		if err != nil {
			return err
		}
		if err := s.added(int(to - from)); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// part encodes rows and at the same time hashes them.
func (s *sink) part(rows arrow.Record, places []int) error {
	hashed := make(chan error, 1)
	if s.hash == nil {
		hashed <- nil
	} else {
		go func() { hashed <- s.hash.record(rows, places) }()
	}
	err := s.encode(rows, places)
	if e := <-hashed; err == nil {
		err = e
	}
	return err
}

func (s *sink) encode(rows arrow.Record, places []int) error {
	for i, c := range s.columns {
		if err := c.encode(rows.Column(places[i])); err != nil {
			return err
		}
	}
	return nil
}
