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

// bindingFor binds to every column of a file that any policy could bind, once
// each; the first that can be a category is the target. Of a file without any,
// or whose schema cannot be read, it returns the binding of smallDataset.
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
	d := dataset()
	d.Target.Column = ""
	for _, c := range columns {
		switch {
		case count[c.Name] > 1:
		case d.Target.Column == "" && c.Class.binds(typeCategory):
			d.Target.Column = c.Name
			d.Columns = append(d.Columns, category(c.Name, "no", "yes", "0", "1", "true"))
		case c.Class.binds(typeNumber):
			d.Columns = append(d.Columns, number(c.Name, -10, 10))
		case c.Class.binds(typeCategory):
			d.Columns = append(d.Columns, category(c.Name, "a", "b", "0", "foo"))
		}
	}
	if d.Target.Column == "" {
		return mustBind(t, smallDataset())
	}
	return mustBind(t, d)
}
