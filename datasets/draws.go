package datasets

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/privsgld/privsgld/privacy/gate"
)

// drawIndices are the columns that tell the place of a draw.
var drawIndices = []string{".chain", ".iteration", ".draw"}

// mostDrawn bounds the numbers in a table of draws: 2 GiB of them.
const mostDrawn = 1 << 28

// Draws is a table of released draws as a file holds it: the parameters' names, in
// the file's order, and Values[parameter][draw], chain after chain; Lengths are the
// numbers of draws of the chains.
type Draws struct {
	Names   []string
	Values  [][]float64
	Lengths []int
}

// ReadDraws reads a table of draws, in any of the formats, from an open file. Its
// bytes are as untrusted as a table's, so it goes through the decoder too. It needs
// the columns .chain, .iteration and .draw, which place its draws: chains one after
// another, and iterations increasing within a chain. All other columns are
// parameters; their values are finite. The permit is for structure: draws feed no
// sampler. The error is *BadData, gate.ErrPermit, the context's, or one of this
// machine.
func ReadDraws(ctx context.Context, s gate.Structure, f *os.File, o Options) (*Draws, error) {
	if !s.Granted() {
		return nil, gate.ErrPermit
	}
	memory, err := o.memory()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, badData(textUnreadable)
	}
	out, err := unnamedFile()
	if err != nil {
		return nil, errNoRoom
	}
	defer out.Close()
	a, err := job{Draws: true, CSV: csvOf(nil)}.start(ctx, []*os.File{f}, out, memory)
	if err == nil {
		err = a.toError(1, nil)
	}
	if err != nil {
		return nil, err
	}
	columns, ok := drawColumns(a.Names)
	if !ok {
		return nil, badData(textNoDraws)
	}
	t, err := newTable(out, &Binding{columns: columns})
	if err != nil {
		return nil, err
	}
	defer t.Close() //nolint:errcheck // a mapped temporary file
	return drawsOf(t.Records(), t.Rows(), a.Names)
}

// errNoRoom says that the temporary folder takes no file.
var errNoRoom = fmt.Errorf("temporary folder: cannot hold the encoded table; check TMPDIR")

// drawColumns returns the specification of a table of draws with these columns, and
// whether it can be one.
func drawColumns(names []string) ([]columnSpec, bool) {
	columns := make([]columnSpec, len(names))
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		if seen[name] {
			return nil, false
		}
		seen[name] = true
		columns[i] = columnSpec{Name: name, Type: typeNumber, Position: i, Plain: true}
	}
	for _, name := range drawIndices {
		if !seen[name] {
			return nil, false
		}
	}
	return columns, true
}

// bindDraws binds all columns of a table of draws, in the child.
func (s *sink) bindDraws(names []string, types func(int) arrow.DataType) ([]int, error) {
	columns, ok := drawColumns(names)
	if !ok {
		return nil, verdict{Kind: kindNoDraws}
	}
	places := make([]int, len(names))
	for i := range names {
		places[i] = i
		if types == nil {
			continue
		}
		if c := classOf(types(i)); c != classInteger && c != classFloating {
			return nil, verdict{Kind: kindNoDraws}
		}
	}
	s.names, s.bound = names, columns
	for _, c := range columns {
		s.columns = append(s.columns, newColumn(c))
	}
	return places, s.start()
}

// drawsOf takes a table of draws apart.
func drawsOf(records []arrow.Record, rows int, names []string) (*Draws, error) {
	d := &Draws{}
	if int64(rows)*int64(len(names)) > mostDrawn {
		return nil, badData(textTooLarge)
	}
	index := map[string][]float64{}
	for i, name := range names {
		all := make([]float64, 0, rows)
		for _, r := range records {
			all = append(all, r.Column(i).(*array.Float64).Float64Values()...)
		}
		for _, x := range all {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, badData(textNoDraws)
			}
		}
		if slices.Contains(drawIndices, name) {
			index[name] = all
			continue
		}
		d.Names = append(d.Names, name)
		d.Values = append(d.Values, all)
	}
	chain, iteration, draw := index[".chain"], index[".iteration"], index[".draw"]
	for i := range rows {
		switch {
		case chain[i] != math.Trunc(chain[i]) || iteration[i] != math.Trunc(iteration[i]) || i > 0 && draw[i] <= draw[i-1]:
			return nil, badData(textNoDraws)
		case i == 0 || chain[i] > chain[i-1]:
			d.Lengths = append(d.Lengths, 1)
		case chain[i] == chain[i-1] && iteration[i] > iteration[i-1]:
			d.Lengths[len(d.Lengths)-1]++
		default:
			return nil, badData(textNoDraws)
		}
	}
	return d, nil
}
