package datasets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
)

// The decoder's limits.
const (
	// decoderMark is the environment variable that makes a process the decoder.
	decoderMark = "PRIVSGLD_INTERNAL_DECODER"

	// defaultMemory is the child's data segment; below leastMemory Go's runtime
	// has no room to work.
	defaultMemory = 1 << 30
	leastMemory   = 256 << 20

	// The deadline grows with the input.
	deadlineBase  = 10 * time.Second
	deadlinePerMB = 10 * time.Second

	// expansion is the most bytes of encoding that a byte of input may yield,
	// gzip's own ratio; a small input may always yield expansionFloor.
	expansion      = 1032
	expansionFloor = 64 << 20

	// answerSize is more than any answer needs: a verdict, and of a fingerprint the
	// digests of a thousand part files and a sketch. With the names of the columns of a
	// table of draws it may be namesSize.
	answerSize = 1 << 18
	namesSize  = 1 << 25
)

// kind is what is wrong with data, out of a closed list.
type kind int

const (
	kindOK kind = iota
	kindNoTable
	kindMissing
	kindTwice
	kindType
	kindUnsupported
	kindQuotes
	kindMixed
	kindTooLarge
	kindDamaged
	kindNoDraws
)

// verdict is what the child says of the files. It is an error inside the child.
type verdict struct {
	Kind   kind  `json:"kind"`
	File   int   `json:"file"`   // ordinal of the part file, from 0
	Column int   `json:"column"` // kindMissing, kindTwice, kindType: index into the job's columns
	Found  class `json:"found"`  // kindType: what the file stores
}

func (verdict) Error() string { return "datasets: bad data" }

// answer is all that the child ever says.
type answer struct {
	verdict
	Print *print   `json:"print,omitempty"`
	Names []string `json:"names,omitempty"` // of the columns of a table of draws
}

// job is what the parent asks for. Input files are the descriptors from 3 on;
// the encoded file is the one after the last of them.
type job struct {
	Columns       []columnSpec `json:"columns"`
	Also          []columnSpec `json:"also,omitempty"` // bound, and hashed where a fingerprint is asked for, but not encoded
	Print         *printJob    `json:"print,omitempty"`
	CSV           csvRules     `json:"csv"`
	Files         int          `json:"files"`
	StructureOnly bool         `json:"structure_only"`
	Draws         bool         `json:"draws,omitempty"` // the file is a table of draws: all columns, whatever their names
	Memory        int64        `json:"memory"`
}

// DecoderMain makes this process the decoder, and ends it, if it was started as
// one; otherwise it returns at once. A program that opens tables calls it first
// thing in main, a test binary in TestMain.
func DecoderMain() {
	if os.Getenv(decoderMark) == "" {
		return
	}
	os.Exit(decoderMain())
}

// decoderMain reads the job, limits itself, decodes, and answers one verdict.
// The parent keeps standard input open as long as it lives.
func decoderMain() int {
	var j job
	if json.NewDecoder(os.Stdin).Decode(&j) != nil || j.Files < 1 || limitSelf(j.Memory) != nil {
		return 1
	}
	debug.SetMemoryLimit(j.Memory / 4 * 3)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent, whatever the error
		os.Exit(1)
	}()
	if json.NewEncoder(os.Stdout).Encode(j.run()) != nil {
		return 1
	}
	return 0
}

// run decodes every file of the job.
func (j job) run() (a answer) {
	at := 0
	defer func() {
		// The library panics on damage. Its text holds data and is dropped.
		if recover() != nil {
			a = answer{verdict: verdict{Kind: kindDamaged, File: at}}
		}
	}()
	s, err := j.decodeAll(&at)
	if err == nil {
		return answer{Print: s.hash.print(), Names: s.names}
	}
	if !errors.As(err, &a.verdict) {
		a.verdict = verdict{Kind: kindDamaged}
	}
	a.File = at
	return a
}

func (j job) decodeAll(at *int) (*sink, error) {
	s := &sink{csv: j.CSV, structureOnly: j.StructureOnly, draws: j.Draws, bound: slices.Concat(j.Columns, j.Also)}
	for _, c := range j.Columns {
		s.columns = append(s.columns, newColumn(c))
	}
	if j.Print != nil {
		s.hash = newRowHasher(j.Print.Secret, s.bound, j.Print.Prefix)
		s.hash.leave(j.Print.Left - 1)
	}
	const firstFile = 3
	files := make([]*os.File, j.Files)
	for i := range files {
		files[i] = os.NewFile(uintptr(firstFile+i), "data")
		info, err := files[i].Stat()
		if err != nil {
			return nil, err
		}
		s.limit += info.Size()
	}
	s.limit = max(s.limit*expansion, expansionFloor)
	if !j.StructureOnly && (len(j.Columns) > 0 || j.Draws) {
		s.encoded = os.NewFile(uintptr(firstFile+j.Files), "encoded")
		if err := s.start(); err != nil {
			return nil, err
		}
	}
	for i, f := range files {
		*at = i
		if err := decodeFile(f, s); err != nil {
			return nil, err
		}
		if s.hash != nil && !j.StructureOnly {
			s.hash.endPart()
		}
	}
	if j.StructureOnly {
		return s, nil
	}
	if err := s.flush(); err != nil {
		return nil, err
	}
	if s.out != nil {
		if err := s.out.close(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// start begins the encoded file, once its columns are known.
func (s *sink) start() (err error) {
	if len(s.columns) > 0 {
		s.out, err = newLayoutWriter(s.encoded, s.bound[:len(s.columns)])
	}
	return err
}

// decodeFile tells the format by the first bytes and hands over to its adapter.
// All part files have one format: two in a folder are mostly one table twice,
// and then everybody stands in it twice.
func decodeFile(f *os.File, s *sink) error {
	head := make([]byte, 8)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return verdict{Kind: kindDamaged}
	}
	head = head[:n]
	format, decode := "csv", func() error { return decodeCSV(f, bytes.HasPrefix(head, []byte{0x1f, 0x8b}), s) }
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		format, decode = "parquet", func() error { return decodeParquet(f, s) }
	case bytes.HasPrefix(head, []byte("ARROW1")):
		format, decode = "arrow", func() error { return decodeArrowFile(f, s) }
	case bytes.HasPrefix(head, []byte{0xff, 0xff, 0xff, 0xff}):
		format, decode = "arrow", func() error { return decodeArrowStream(f, s) }
	}
	if s.format != "" && s.format != format {
		return verdict{Kind: kindMixed}
	}
	s.format = format
	return decode()
}

// sink gathers encoded rows of all files and writes them block by block.
type sink struct {
	columns       []*column    // encoded
	bound         []columnSpec // the same, then those that are not encoded
	hash          *rowHasher   // of all that are bound; nil: no fingerprint is asked for
	csv           csvRules
	structureOnly bool
	draws         bool     // all of the file's columns are bound, see bindDraws
	names         []string // their names
	format        string   // of the files so far
	encoded       *os.File // where out writes
	out           *layoutWriter
	rows          int64 // of all files, those still in the columns' buffers included
	waiting       int   // rows in the columns' buffers
	limit         int64 // bytes of encoding
}

// bind finds each column among a file's names and checks its type; types is nil
// for text files. It returns the place of each.
func (s *sink) bind(names []string, types func(int) arrow.DataType) ([]int, error) {
	if s.draws {
		return s.bindDraws(names, types)
	}
	places := make([]int, len(s.bound))
	for i, c := range s.bound {
		places[i] = -1
		for at, name := range names {
			if name != c.Name {
				continue
			}
			if places[i] >= 0 {
				return nil, verdict{Kind: kindTwice, Column: i}
			}
			places[i] = at
		}
		if places[i] < 0 {
			return nil, verdict{Kind: kindMissing, Column: i}
		}
		if types == nil {
			continue
		}
		if found := classOf(types(places[i])); !found.binds(c.Type) && (!c.Any || found > classNull) {
			return nil, verdict{Kind: kindType, Column: i, Found: found}
		}
	}
	return places, nil
}

// fits says whether that many more rows may be encoded.
func (s *sink) fits(rows int64) error {
	width := int64(0)
	for _, c := range s.columns {
		_, size := c.element()
		width += size
	}
	if rows > maxRows-s.rows || (rows+s.rows)*width > s.limit {
		return verdict{Kind: kindTooLarge}
	}
	return nil
}

// added accounts for rows added to the buffers and writes them out once they fill a
// block.
func (s *sink) added(rows int) error {
	s.rows += int64(rows)
	s.waiting += rows
	if s.waiting < blockRows {
		return nil
	}
	return s.flush()
}

// flush writes the buffered rows as one block.
func (s *sink) flush() error {
	rows := s.waiting
	if rows == 0 {
		return nil
	}
	if s.hash != nil {
		s.hash.finish()
	}
	s.waiting = 0
	for _, c := range s.columns {
		if c.len() != rows || rows > blockRows {
			return verdict{Kind: kindDamaged}
		}
	}
	if err := s.fits(0); err != nil {
		return err
	}
	if s.out == nil {
		return nil
	}
	if err := s.out.block(s.columns); err != nil {
		return err
	}
	for _, c := range s.columns {
		c.reset()
	}
	return nil
}

// decode runs the child over the files. It writes the encoded file into out, and
// nothing where there is none; without a fingerprint either it decodes no row. The
// error is *BadData whatever became of the child, or the context's, or that it could
// not be started.
func decode(ctx context.Context, files []*os.File, b *Binding, out *os.File, p *printJob, memory int64) (*print, error) {
	j := job{Columns: b.columns, Print: p, CSV: b.csv, StructureOnly: out == nil && p == nil}
	if b.whole || p != nil {
		j.Also = b.also
	}
	columns := slices.Concat(j.Columns, j.Also)
	if p != nil {
		p.Left = 1 + slices.IndexFunc(columns, func(c columnSpec) bool { return c.Name == b.left && len(columns) > 1 })
	}
	a, err := j.start(ctx, files, out, memory)
	if err == nil {
		err = a.toError(len(files), columns)
	}
	if err == nil && p != nil {
		a.Print.Columns = printColumns(columns, p.Left)
	}
	return a.Print, err
}

// start runs a child for the job; out is nil where nothing is encoded. What is wrong
// with the files is in the answer. The error is the context's, or that no child could
// be started, or *BadData where a file cannot be looked at.
func (j job) start(ctx context.Context, files []*os.File, out *os.File, memory int64) (a answer, err error) {
	j.Files, j.Memory = len(files), memory
	request, err := json.Marshal(j)
	if err != nil {
		return a, err
	}
	deadline := deadlineBase
	for _, f := range files {
		info, err := f.Stat()
		if err != nil {
			return a, badData(textUnreadable)
		}
		deadline += time.Duration(float64(info.Size()) / 1e6 * float64(deadlinePerMB))
	}
	limited, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()

	program, err := ownProgram()
	if err != nil {
		return a, err
	}
	child := exec.CommandContext(limited, program)
	child.Args = []string{"privsgld-decoder"}
	child.Env = []string{decoderMark + "=1", "GOTRACEBACK=none"}
	child.SysProcAttr = childAttributes()
	child.ExtraFiles = append(child.ExtraFiles, files...)
	if out != nil {
		child.ExtraFiles = append(child.ExtraFiles, out)
	}
	said := &boundedBuffer{most: answerSize}
	if j.Draws {
		said.most = namesSize
	}
	child.Stdout = said
	stdin, err := child.StdinPipe()
	if err != nil {
		return a, err
	}

	// On Linux the child dies with the thread that started it: keep the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := child.Start(); err != nil {
		return a, err
	}
	_, writeErr := stdin.Write(append(request, '\n'))
	waitErr := child.Wait()
	if ctx.Err() != nil {
		return a, ctx.Err()
	}
	if writeErr != nil || waitErr != nil || json.Unmarshal(said.bytes, &a) != nil || (j.Print != nil && a.verdict == verdict{} && !a.Print.answers(j.Print, len(files))) {
		a = answer{verdict: verdict{Kind: kindDamaged, File: -1}}
	}
	return a, nil
}

// boundedBuffer keeps what an answer may be long and fails beyond. It does not
// embed a bytes.Buffer, whose ReadFrom would get around the bound.
type boundedBuffer struct {
	bytes []byte
	most  int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.bytes)+len(p) > b.most {
		return 0, io.ErrShortWrite
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}
