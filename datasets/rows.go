package datasets

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
)

// Own is the files of a table that is whoever's who opens it, and no protected data
// set: new rows, for which predictions are wanted. Whether they are none that is
// registered, [Own.Likeness] says. What comes of them is [Rows], which no sampler
// takes.
type Own struct{ files []*os.File }

// OpenOwn opens the files at path: one file, a folder of part files, or a glob; "-"
// is pipe, which is read to its end into a file without a name. Nothing is decoded.
// Errors: gate.ErrPermit, *BadData, the context's, or that the temporary folder has
// no room.
func OpenOwn(ctx context.Context, s gate.Structure, path string, pipe io.Reader) (*Own, error) {
	if !s.Granted() {
		return nil, gate.ErrPermit
	}
	if path != "-" {
		files, err := openSources(path)
		return &Own{files}, err
	}
	f, err := unnamedFile()
	if err != nil {
		return nil, errNoRoom
	}
	if _, err := io.Copy(f, &untilDone{ctx, pipe}); err != nil {
		_ = f.Close() // the error says more
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, errNoRoom
	}
	return &Own{[]*os.File{f}}, nil
}

// untilDone reads until the context ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, u.ctx.Err()
	}
	return u.r.Read(p)
}

// Close closes the files.
func (o *Own) Close() { closeAll(o.files) }

// start runs a decoder over the files from their beginning.
func (o *Own) start(ctx context.Context, j job, out *os.File, memory int64) (answer, error) {
	for _, f := range o.files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return answer{}, badData(textUnreadable)
		}
	}
	return j.start(ctx, o.files, out, memory)
}

// Rows decodes and encodes the rows. With targets the binding's target is read too,
// as it is: the number, the code of the level among the column's levels, or 1 and 0
// for the positive level of a binary target and others; NaN where it is missing or no
// declared level. Otherwise no file needs to have it. The error is *BadData, the
// context's, or one of this machine.
func (o *Own) Rows(ctx context.Context, b *Binding, targets bool, opts Options) (*Rows, error) {
	memory, err := opts.memory()
	if err != nil {
		return nil, err
	}
	out, err := unnamedFile()
	if err != nil {
		return nil, errNoRoom
	}
	defer out.Close()
	b = b.forRows(targets)
	a, err := o.start(ctx, job{Columns: b.columns, CSV: b.csv}, out, memory)
	if err == nil {
		err = a.toError(len(o.files), b.columns)
	}
	if err != nil {
		return nil, err
	}
	t, err := newTable(out, b)
	if err != nil {
		return nil, err
	}
	return &Rows{t}, nil
}

// forRows returns the binding with a plain target, or without one.
func (b *Binding) forRows(targets bool) *Binding {
	rows := *b
	last := len(b.columns) - 1
	rows.columns = append([]columnSpec(nil), b.columns...)
	rows.columns[last].Plain = true
	if !targets && last > 0 { // a table without any column has no rows
		rows.columns = rows.columns[:last]
	}
	return &rows
}

// Rows is an encoded table of new rows. It prints, marshals and logs as a constant.
type Rows struct{ table *Table }

// Records returns the rows in order as record batches of 1 to 16384 rows, none for a
// table without rows. Columns are the encoding's features in order, as in
// [Table.Records], then the target where it was read, as float64. The batches are
// valid until Close and must not be written to.
func (r *Rows) Records() []arrow.Record { return r.table.Records() }

// Count returns the number of rows.
func (r *Rows) Count() int { return r.table.Rows() }

// Close gives the rows back. No record may be used afterwards.
func (r *Rows) Close() error { return r.table.Close() }

// Format writes a constant for every verb.
func (Rows) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, unprintable) }

// String returns a constant.
func (Rows) String() string { return unprintable }

// LogValue returns a constant.
func (Rows) LogValue() slog.Value { return slog.StringValue(unprintable) }

// MarshalText returns a constant.
func (Rows) MarshalText() ([]byte, error) { return []byte(unprintable), nil }

// Likeness says how the rows are those of a registered table: of the columns that its
// fingerprint was taken of, whatever else the files have. They may lack its target.
// Where they lack another of those columns nothing can be said: comparable is false.
// The policy's data set says how to read the files; a fingerprint of an earlier build,
// which does not say its columns, is taken to be of all of that data set's. The answer
// is a function of the registered rows, and for their holder's eyes. The error is
// *BadData, the context's, or one of this machine.
func (o *Own) Likeness(ctx context.Context, g *Fingerprint, d policies.Dataset, k *FingerprintKey, opts Options) (like Likeness, comparable bool, err error) {
	memory, err := opts.memory()
	if err != nil || k == nil {
		return Unlike, false, err
	}
	j := job{CSV: csvOf(d.CSV), Print: k.job(nil)}
	against, columns := g.print, g.print.Columns
	if columns == nil {
		for i, c := range d.Columns {
			columns = append(columns, printColumn{Name: c.Name, Number: c.Type == policies.Number || c.Type == policies.Integer, Position: i})
		}
	}
	for _, c := range columns {
		if c.Left && g.print.Rest != nil {
			continue
		}
		spec := columnSpec{Name: c.Name, Type: typeCategory, Position: c.Position, Any: true}
		if c.Number {
			spec.Type = typeNumber
		}
		j.Also = append(j.Also, spec)
	}
	if len(j.Also) == 0 {
		return Unlike, false, nil
	}
	if g.print.Rest != nil {
		rest := *g.print
		rest.Loose, rest.Sketch = g.print.Rest.Loose, g.print.Rest.Sketch
		rest.Total = digest{Rows: g.print.Total.Rows} // of other columns
		against = &rest
	}
	a, err := o.start(ctx, j, nil, memory)
	if err != nil {
		return Unlike, false, err
	}
	if a.Kind == kindMissing || a.Kind == kindTwice || a.Kind == kindType {
		return Unlike, false, nil
	}
	if err := a.toError(len(o.files), j.Also); err != nil {
		return Unlike, false, err
	}
	return (&Fingerprint{a.Print}).Likeness(&Fingerprint{against}), true, nil
}
