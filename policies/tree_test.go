package policies

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// peer reads a file with the library's own parser, as another tool would.
func peer(data []byte) (root *node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	f, err := parser.ParseBytes([]byte(strings.ReplaceAll(string(data), "\r\n", "\n")), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	if len(f.Docs) != 1 {
		return nil, fmt.Errorf("%d documents", len(f.Docs))
	}
	return peerNode(f.Docs[0].Body)
}

func peerNode(n ast.Node) (*node, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		m := &node{kind: mapping}
		for _, v := range n.Values {
			value, err := peerNode(v.Value)
			if err != nil {
				return nil, err
			}
			m.keys = append(m.keys, scalarOf(v.Key.GetToken()))
			m.values = append(m.values, value)
		}
		return m, nil
	case *ast.SequenceNode:
		l := &node{kind: list}
		for _, v := range n.Values {
			value, err := peerNode(v)
			if err != nil {
				return nil, err
			}
			l.values = append(l.values, value)
		}
		return l, nil
	case ast.ScalarNode:
		return scalarOf(n.GetToken()), nil
	}
	return nil, fmt.Errorf("a %T", n)
}

// outline is a tree as text, places left out.
func (n *node) outline() string {
	var b strings.Builder
	switch n.kind {
	case mapping:
		for i, key := range n.keys {
			fmt.Fprintf(&b, "%q: %s, ", key.text, n.values[i].outline())
		}
		return "{" + b.String() + "}"
	case list:
		for _, v := range n.values {
			b.WriteString(v.outline() + ", ")
		}
		return "[" + b.String() + "]"
	}
	return fmt.Sprintf("%q/%t", n.text, n.quoted)
}

// agrees checks that what we take for a tree is the same tree to the library's
// parser: the part of YAML that is accepted here is read alike elsewhere.
func agrees(t *testing.T, data []byte) {
	t.Helper()
	root, bad := parseTree(data)
	if bad != nil {
		return
	}
	other, err := peer(data)
	if err != nil {
		t.Fatalf("the library refuses %q: %v", data, err)
	}
	if root.outline() != other.outline() {
		t.Fatalf("%q\nhere      %s\nelsewhere %s", data, root.outline(), other.outline())
	}
}

func TestTreeAgreesWithLibrary(t *testing.T) {
	for _, c := range accepted {
		agrees(t, c.source(t))
	}
	for _, r := range refusals {
		text, _, _ := r.source(t)
		agrees(t, []byte(text))
	}
	for _, file := range policyFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		agrees(t, data)
	}
	agrees(t, Template("x"))
}

// addSeeds gives a fuzzer the whole corpus.
func addSeeds(f *testing.F) {
	for _, r := range refusals {
		text := r.new
		if r.old != "" {
			text = strings.Replace(base, r.old, r.new, 1)
		}
		f.Add([]byte(strings.Replace(text, "¶", "", 1)))
	}
	for _, c := range accepted {
		if c.old != "" {
			f.Add([]byte(strings.Replace(base, c.old, c.new, 1)))
		}
	}
	f.Add(Template("x"))
}

// FuzzParse: no bytes make Parse panic; an error has a place and is one visible
// line; what is accepted can be shown and read again.
func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.yaml", data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || strings.ContainsFunc(e.Error(), hidden) {
				t.Fatalf("%q is no error with a place", err)
			}
			return
		}
		if _, err := Parse("show", p.Show()); err != nil {
			t.Fatalf("%v\n%s", err, p.Show())
		}
	})
}

// FuzzTree: whatever is taken for a tree is the same tree to the library's
// parser. That one takes quadratic time, so the files are short.
func FuzzTree(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4096 {
			agrees(t, data)
		}
	})
}
