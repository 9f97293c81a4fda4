package datasets

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// unprintable is what a table formats, marshals and logs as.
const unprintable = "datasets.Table(private)"

// Table is an encoded table. It holds private rows, so it prints, marshals and
// logs as a constant; the number of its rows is private as well. Its records
// are views of a mapped file and end with Close.
type Table struct{ held *held }

// held is behind a pointer so that a copied Table formats like the original.
type held struct {
	encoding Encoding
	records  []arrow.Record
	rows     int
	print    *print // nil: no key was given
	unmap    func() error
}

// newTable checks and maps what a child wrote.
func newTable(encoded *os.File, b *Binding) (*Table, error) {
	data, unmap, err := mapFile(encoded)
	if err != nil {
		return nil, badData(textDamaged)
	}
	blocks, rows, ok := checkLayout(data, b.columns)
	if !ok {
		_ = unmap() // the error below says more
		return nil, badData(textDamaged)
	}
	h := &held{encoding: b.encoding, rows: int(rows), unmap: unmap}
	schema := schemaOf(b.columns)
	for _, block := range blocks {
		columns := make([]arrow.Array, len(b.columns))
		for i, buffer := range block.buffers {
			buffers := []*memory.Buffer{nil, memory.NewBufferBytes(buffer)}
			columns[i] = array.MakeFromData(array.NewData(schema.Field(i).Type, int(block.rows), buffers, nil, 0, 0))
		}
		h.records = append(h.records, array.NewRecord(schema, columns, block.rows))
	}
	return &Table{h}, nil
}

func schemaOf(columns []columnSpec) *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i].Name = c.Name
		switch code, _ := c.element(); code {
		case elementFloat64:
			fields[i].Type = arrow.PrimitiveTypes.Float64
		case elementUint16:
			fields[i].Type = arrow.PrimitiveTypes.Uint16
		default:
			fields[i].Type = arrow.PrimitiveTypes.Uint8
		}
	}
	return arrow.NewSchema(fields, nil)
}

// Records returns the rows in order as record batches of 1 to 16384 rows, none
// for a table without rows. Columns are the encoding's features in order, then
// the target: numbers as float64 in [−1, 1]; categories as uint16, an index into
// the feature's Levels; booleans as uint16 0 or 1; a binary target as uint8 0 or 1,
// another like a feature of its type. There are no nulls. The batches are valid until Close and must not be written
// to.
func (t *Table) Records() []arrow.Record { return t.held.records }

// Rows returns the number of rows, which is private: it must not reach an
// output except through a charged mechanism.
func (t *Table) Rows() int { return t.held.rows }

// Fingerprint returns the fingerprint of the rows; nil where Open was given no key.
func (t *Table) Fingerprint() *Fingerprint {
	if t.held.print == nil {
		return nil
	}
	return &Fingerprint{t.held.print}
}

// Encoding returns what the columns mean. It is public.
func (t *Table) Encoding() Encoding { return t.held.encoding }

// Close gives the rows back. No record may be used afterwards.
func (t *Table) Close() error {
	if t.held.unmap == nil {
		return nil
	}
	unmap := t.held.unmap
	t.held.records, t.held.rows, t.held.unmap = nil, 0, nil
	return unmap()
}

// Format writes a constant for every verb.
func (Table) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, unprintable) }

// String returns a constant.
func (Table) String() string { return unprintable }

// LogValue returns a constant.
func (Table) LogValue() slog.Value { return slog.StringValue(unprintable) }

// MarshalText returns a constant; so JSON, XML and YAML hold nothing else.
func (Table) MarshalText() ([]byte, error) { return []byte(unprintable), nil }
