package datasets

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"

	"github.com/privsgld/privsgld/policies"
)

// The lister is a second kind of child, for tests only: it says which columns a
// file has, so that a test can bind to all that bind and so reach the decoding
// of files that nobody here wrote.

const listerMark = "PRIVSGLD_TEST_LISTER"

type listed struct {
	Name  string
	Class class
}

func listerMain() {
	if os.Getenv(listerMark) == "" {
		return
	}
	if limitSelf(defaultMemory) != nil {
		os.Exit(1)
	}
	f := os.NewFile(3, "data")
	var columns []listed
	head := make([]byte, 8)
	_, _ = f.ReadAt(head, 0)
	switch {
	case string(head[:4]) == "PAR1":
		reader, err := file.NewParquetReader(f)
		if err != nil {
			os.Exit(1)
		}
		a, err := pqarrow.NewFileReader(reader, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			os.Exit(1)
		}
		for _, field := range a.Manifest.Fields {
			columns = append(columns, listed{field.Field.Name, classOf(field.Field.Type)})
		}
	case string(head[:6]) == "ARROW1":
		r, err := ipc.NewFileReader(f)
		if err != nil {
			os.Exit(1)
		}
		for _, field := range r.Schema().Fields() {
			columns = append(columns, listed{field.Name, classOf(field.Type)})
		}
	default:
		r, err := ipc.NewReader(io.NewSectionReader(f, 0, 1<<40))
		if err != nil {
			os.Exit(1)
		}
		for _, field := range r.Schema().Fields() {
			columns = append(columns, listed{field.Name, classOf(field.Type)})
		}
	}
	if json.NewEncoder(os.Stdout).Encode(columns) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// bindingFor binds to every column of a file that any policy could bind, with
// no target, as numbers and categories by turns. For a file without any, or
// whose schema cannot be read, it returns the binding of smallDataset.
func bindingFor(t testing.TB, path string) *Binding {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	program, err := ownProgram()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(program)
	child.Env = []string{listerMark + "=1", "GOTRACEBACK=none"}
	child.ExtraFiles = []*os.File{f}
	out, err := child.Output()
	var columns []listed
	if err != nil || json.Unmarshal(out, &columns) != nil {
		return mustBind(t, smallDataset())
	}
	count := map[string]int{}
	for _, c := range columns {
		count[c.Name]++
	}
	b := &Binding{csv: csvOf(nil)}
	for _, c := range columns {
		var column policies.Column
		switch {
		case count[c.Name] > 1:
			continue
		case c.Class.binds(typeNumber) && len(b.columns)%3 != 0:
			column = number(c.Name, -10, 10)
		case c.Class.binds(typeCategory):
			column = category(c.Name, "a", "b", "0", "1", "true")
		case c.Class.binds(typeNumber):
			column = integer(c.Name, -10, 10)
		default:
			continue
		}
		spec, err := specOf(column, len(b.columns))
		if err != nil {
			t.Fatal(err)
		}
		b.columns = append(b.columns, spec)
	}
	if len(b.columns) == 0 {
		return mustBind(t, smallDataset())
	}
	return b
}
