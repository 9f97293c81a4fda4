package cmd_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/privsgld/privsgld"

// house lists the folders from the top down. An import may point to a lower row,
// skipping any, or stay within its own folder. A folder that is not listed
// belongs to the nearest listed one above it.
var house = [][]string{
	{"cmd", "cmd/privsgld"},
	{"cmd/job"},
	{"sgld", "sgld/diagnostics"},
	{"datasets"},
	{"policies"},
	{"privacy/gate"},
	{"privacy", "accountant/ledger"},
	{"accountant"},
}

// pure lists the folders that need nothing but the standard library and gonum.
var pure = []string{"accountant", "sgld/diagnostics"}

// withoutIO lists the folders that are functions of values: files, processes and
// network are for those above and beside them. sgld's resume points are the one
// exception.
var (
	withoutIO     = []string{"accountant", "privacy", "sgld", "sgld/diagnostics"}
	inputOutput   = []string{"os", "os/exec", "net", "net/http", "syscall", "database/sql", "golang.org/x/sys/unix"}
	exceptionToIO = "sgld/resume.go"
)

// secretRandom lists the folders whose randomness the guarantee rests on.
var secretRandom = []string{"privacy", "privacy/gate", "sgld"}

func TestHouse(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != ".." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel("..", name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if fault := judge(relative, imported); fault != "" {
				t.Errorf("%s imports %s: %s", relative, imported, fault)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("found no Go files")
	}
}

// judge says what is wrong with a file's import, or nothing. Tests are held to
// the order of the house only.
func judge(file, imported string) string {
	from, row := place(path.Dir(file))
	if row < 0 {
		return "the file's folder has no place in the house"
	}
	if inner, ours := strings.CutPrefix(imported, module+"/"); ours {
		to, toRow := place(inner)
		if toRow < 0 {
			return "the imported folder has no place in the house"
		}
		if from != to && toRow <= row {
			return from + " may import only what stands below it, and " + to + " does not"
		}
	}
	if strings.HasSuffix(file, "_test.go") {
		return ""
	}
	if slices.Contains(pure, from) && !within(imported, module+"/"+from) &&
		!standard(imported) && !within(imported, "gonum.org/v1/gonum") {
		return from + " needs the standard library and gonum only"
	}
	if slices.Contains(secretRandom, from) && within(imported, "math/rand") {
		return from + " takes its randomness from a cryptographic generator"
	}
	if slices.Contains(withoutIO, from) && file != exceptionToIO && slices.Contains(inputOutput, imported) {
		return from + " is a set of functions of values and does no I/O"
	}
	return ""
}

// place returns the listed folder that dir belongs to and its row, -1 if there
// is none.
func place(dir string) (folder string, row int) {
	for ; dir != "."; dir = path.Dir(dir) {
		for row, folders := range house {
			if slices.Contains(folders, dir) {
				return dir, row
			}
		}
	}
	return "", -1
}

// within reports whether an import path is that of a folder or lies below it.
func within(imported, folder string) bool {
	return imported == folder || strings.HasPrefix(imported, folder+"/")
}

// standard reports whether an import path is of the standard library: no dot in
// its first element, and not cgo.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") && first != "C"
}

// The rules must catch what they forbid.
func TestHouseJudge(t *testing.T) {
	for _, c := range []struct {
		file, imported string
		allowed        bool
	}{
		{"cmd/privsgld/run.go", module + "/cmd/job", true},
		{"cmd/privsgld/account.go", module + "/accountant", true},
		{"cmd/job/run.go", module + "/cmd/privsgld", false},
		{"sgld/chain.go", module + "/datasets", true},
		{"sgld/chain.go", module + "/cmd/job", false},
		{"sgld/chain.go", module + "/sgld/diagnostics", false},
		{"sgld/diagnostics/ess.go", module + "/datasets", false},
		{"policies/parse.go", module + "/privacy/gate", true},
		{"policies/parse.go", module + "/datasets", false},
		{"policies/parse_test.go", module + "/datasets", false},
		{"privacy/gate/permit.go", module + "/accountant/ledger", true},
		{"privacy/clip.go", module + "/privacy/gate", false},
		{"privacy/clip.go", module + "/accountant/ledger", false},
		{"privacy/internal/bits/bits.go", module + "/privacy/gate", false},
		{"privacy/clip.go", module + "/privacy/internal/bits", true},
		{"accountant/rdp.go", module + "/accountant/ledger", false},
		{"accountant/ledger/sqlite.go", module + "/accountant", true},
		{"accountant/rdp.go", "gonum.org/v1/gonum/mathext", true},
		{"accountant/rdp.go", "golang.org/x/mod/semver", false},
		{"accountant/rdp.go", "C", false},
		{"accountant/rdp_test.go", "pgregory.net/rapid", true},
		{"accountant/ledger/sqlite.go", "modernc.org/sqlite", true},
		{"sgld/diagnostics/ess.go", "github.com/apache/arrow/go/v15/arrow", false},
		{"privacy/gaussian.go", "math/rand", false},
		{"privacy/gate/permit.go", "math/rand/v2", false},
		{"sgld/chain.go", "math/rand/v2", false},
		{"sgld/chain_test.go", "math/rand/v2", true},
		{"sgld/chain.go", "os", false},
		{"sgld/resume.go", "os", true},
		{"datasets/open.go", "os/exec", true},
		{"elsewhere/a.go", "fmt", false},
		{"cmd/job/run.go", module + "/elsewhere", false},
	} {
		if fault := judge(c.file, c.imported); (fault == "") != c.allowed {
			t.Errorf("%s importing %s: got %q, allowed should be %v", c.file, c.imported, fault, c.allowed)
		}
	}
}
