package datasets

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/privsgld/privsgld/privacy/gate"
)

// BadData says that files cannot be read as the policy's table. The message is
// one line out of a closed list and names at most the ordinal of a part file, a
// column as the policy names it, and a kind of type: never a value, a count, a
// path or a library's text.
type BadData struct{ Message string }

func (e *BadData) Error() string { return e.Message }

func badData(message string) error { return &BadData{Message: message} }

// The texts of BadData that name nothing.
const (
	textNoFile       = "data: there is no such file, and no match of such a pattern; check the path"
	textUnreadable   = "data: the path cannot be opened for reading; check its permissions"
	textNotRegular   = "data: not a regular file; give a file, a folder of part files, or a glob of files"
	textEmptyFolder  = "data: the folder holds no part files"
	textTooManyFiles = "data: more than 1000 part files; join some of them"
	textNoTable      = "data: not a table that this program reads; give Parquet, Arrow IPC or CSV (gzip or not, without NUL bytes)"
	textUnsupported  = "data: a Parquet compression or encoding that this program does not read; write it with snappy or zstd and default encodings"
	textQuotes       = "data: a quote in the CSV is not closed or stands inside a cell; quote such a cell whole and double the quotes in it"
	textMixed        = "data: the part files are of different formats, perhaps one table twice; keep one format in the folder"
	textTooLarge     = "data: larger than a table may be, or claims more than its bytes can hold"
	textNoDraws      = "draws: no table of draws: it has the whole numbers .chain, .iteration and .draw, increasing, and finite numbers in every other column"
	textDamaged      = "data: damaged, or beyond the decoder's limits on memory and time; write the file anew, or raise --memory"
)

// toError turns the child's verdict into nil or *BadData. A verdict that the
// child cannot honestly have reached counts as damage.
func (v verdict) toError(files int, columns []columnSpec) error {
	if v == (verdict{}) {
		return nil
	}
	prefix := ""
	if files > 1 && v.File >= 0 && v.File < files {
		prefix = fmt.Sprintf("file %d: ", v.File+1)
	}
	named := v.Column >= 0 && v.Column < len(columns)
	switch {
	case v.Kind == kindNoTable:
		return badData(prefix + textNoTable)
	case v.Kind == kindUnsupported:
		return badData(prefix + textUnsupported)
	case v.Kind == kindQuotes:
		return badData(prefix + textQuotes)
	case v.Kind == kindMixed:
		return badData(textMixed)
	case v.Kind == kindTooLarge:
		return badData(prefix + textTooLarge)
	case v.Kind == kindNoDraws:
		return badData(textNoDraws)
	case v.Kind == kindMissing && named:
		return badData(fmt.Sprintf("%scolumn %q: the file has no such column; correct its name in the policy or in the file", prefix, columns[v.Column].Name))
	case v.Kind == kindTwice && named:
		return badData(fmt.Sprintf("%scolumn %q: the file has it more than once; rename or drop one of them", prefix, columns[v.Column].Name))
	case v.Kind == kindType && named && v.Found >= 0 && v.Found < classCount:
		c := columns[v.Column]
		return badData(fmt.Sprintf("%scolumn %q: the file stores %s, the policy says %s; %s", prefix, c.Name, classWords[v.Found], c.Type, v.Found.remedy()))
	}
	return badData(prefix + textDamaged)
}

// remedy says how to mend a type that does not fit.
func (c class) remedy() string {
	switch c {
	case classText:
		return "declare type: category, or convert the column"
	case classFloating, classDecimal:
		return "declare type: number, or convert the column"
	case classBoolean:
		return "declare type: boolean, or convert the column"
	}
	return "convert the column"
}

// Options are the limits of opening a table.
type Options struct {
	// Memory bounds the decoder's data segment, in bytes; 0 means 1 GiB, and
	// less than 256 MiB is an error.
	Memory int64

	// Key, where there is one, has the table's fingerprint taken while it is
	// decoded; the files must have all of the policy's columns then.
	Key *FingerprintKey
}

// Check says whether the files at path bind to b: that they open, are tables,
// and have b's columns in types that fit. It decodes no row, so damage among
// the rows stays unseen. The error is *BadData, gate.ErrPermit, or that no
// decoder could be started.
func Check(s gate.Structure, path string, b *Binding) error {
	if !s.Granted() {
		return gate.ErrPermit
	}
	files, err := openSources(path)
	if err != nil {
		return err
	}
	defer closeAll(files)
	_, err = decode(context.Background(), files, b, nil, nil, defaultMemory)
	return err
}

// Open decodes and encodes the files at path: one file, a folder of part files,
// or a glob. The key, a permit, is marked first, so that its charge can no longer be
// voided. All files must bind; their rows follow one another. The error is
// *BadData for whatever is wrong with the files, the context's if it ended, the
// permit's, or one of this machine (no decoder, no room for a temporary file).
func Open(ctx context.Context, k gate.Key, path string, b *Binding, o Options) (*Table, error) {
	if k == nil {
		return nil, gate.ErrPermit
	}
	if err := k.OpenData(); err != nil {
		return nil, err
	}
	return open(ctx, path, b, o)
}

func open(ctx context.Context, path string, b *Binding, o Options) (*Table, error) {
	memory, err := o.memory()
	if err != nil {
		return nil, err
	}
	files, err := openSources(path)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	out, err := unnamedFile()
	if err != nil {
		return nil, errNoRoom
	}
	defer out.Close()
	p, err := decode(ctx, files, b, out, o.Key.job(nil), memory)
	if err != nil {
		return nil, err
	}
	table, err := newTable(out, b)
	if err == nil && o.Key != nil {
		table.held.print = p
	}
	return table, err
}

func (o Options) memory() (int64, error) {
	switch {
	case o.Memory == 0:
		return defaultMemory, nil
	case o.Memory < leastMemory:
		return 0, fmt.Errorf("memory: the decoder needs at least 256 MiB")
	}
	return o.Memory, nil
}

// unnamedFile returns a new empty file without a name, which vanishes with its
// last holder. Where the system cannot make one it has a name, readable by its
// owner only, in a folder of its own, for as long as it takes to open it.
func unnamedFile() (*os.File, error) {
	if f := namelessFile(os.TempDir()); f != nil {
		return f, nil
	}
	dir, err := os.MkdirTemp("", "privsgld-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return os.OpenFile(filepath.Join(dir, "encoded"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}
