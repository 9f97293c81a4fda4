package ledger

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// openers are the functions of this package that may open a file beside SQL: createFile
// while nobody else can have the ledger, the others files of their own.
var openers = []string{
	"sqlite.go createFile", "sqlite.go syncFolder", // of the ledger, and of its folder
	"key.go loadKey", "folder.go putFile", "fingerprint.go openVault", "fingerprint.go read", "witness.go readAnchor", "witness.go remember",
	"points.go lock", "points.go load", // of resume points
}

var opening = regexp.MustCompile(`^(Open|OpenFile|OpenInRoot|OpenRoot|ReadFile|WriteFile|Create|CreateTemp|CopyFS|DirFS)$`)

// openersIn names the functions of a file that open files.
func openersIn(t *testing.T, name string, source any) (found []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		in := "outside a function"
		if f, ok := d.(*ast.FuncDecl); ok {
			in = f.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if p, ok := s.X.(*ast.Ident); ok && (p.Name == "os" && opening.MatchString(s.Sel.Name) || p.Name == "ioutil" || p.Name == "unix" && strings.HasPrefix(s.Sel.Name, "Open")) {
					found = append(found, filepath.Base(name)+" "+in)
				}
			}
			return true
		})
	}
	return found
}

// TestOpeners is the rule that threat L18 asks for: nothing in this package opens the
// ledger's file beside SQL. A function that opens a file and is not known is a fault.
func TestOpeners(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, openersIn(t, name, source)...)
	}
	for _, f := range all {
		if !slices.Contains(openers, f) {
			t.Errorf("%s opens a file: is it never the ledger's? then say so here", f)
		}
	}
	for _, f := range openers {
		if !slices.Contains(all, f) {
			t.Errorf("%s opens nothing any more", f)
		}
	}
	for _, body := range []string{`b, _ := os.ReadFile(s.path); _ = b`, `f, _ := os.Open(s.path); f.Close()`, `open := os.Open; open(s.path)`, `unix.Open(s.path, 0, 0)`} {
		got := openersIn(t, "backup.go", "package ledger\nfunc backup(s *sqliteStore) {"+body+"}")
		if !slices.Equal(got, []string{"backup.go backup"}) {
			t.Errorf("not seen: %s", body)
		}
	}
}
