package policies

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write schema.json and base.schema.json")

func TestSchemaIsCurrent(t *testing.T) {
	for file, schema := range map[string][]byte{"schema.json": Schema(), "base.schema.json": BaseSchema()} {
		if *update {
			if err := os.WriteFile(file, schema, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		committed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, schema) {
			t.Errorf("%s is not what the parser's table says; run go test ./policies -run TestSchemaIsCurrent -update", file)
		}
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// instance is what an editor that reads YAML 1.2 would hand to a schema.
func instance(n *node) any {
	switch n.kind {
	case mapping:
		m := map[string]any{}
		for i, key := range n.keys {
			m[key.text] = instance(n.values[i])
		}
		return m
	case list:
		l := []any{}
		for _, v := range n.values {
			l = append(l, instance(v))
		}
		return l
	}
	switch {
	case n.quoted:
		return n.text
	case n.text == "true", n.text == "false":
		return n.text == "true"
	case n.text == "" || n.text == "~" || strings.EqualFold(n.text, "null"):
		return nil
	case jsonNumber.MatchString(n.text):
		return json.Number(n.text)
	}
	return n.text
}

// TestSchemaAgrees: the schema accepts what the parser accepts and refuses what
// it refuses, but for the files marked parserOnly, which it must accept: so
// that the marks stay true.
func TestSchemaAgrees(t *testing.T) {
	s := compiledSchema(t)
	for _, c := range accepted {
		root, bad := parseTree(c.source(t))
		if bad != nil {
			t.Fatalf("%s: %v", c.name, bad)
		}
		if err := s.Validate(instance(root)); err != nil {
			t.Errorf("%s: the schema refuses it: %v", c.name, err)
		}
	}
	for _, file := range policyFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root, bad := parseTree(data)
		if bad != nil {
			t.Fatalf("%s: %v", file, bad)
		}
		if err := s.Validate(instance(root)); err != nil {
			t.Errorf("%s: the schema refuses it: %v", file, err)
		}
	}
	seen := 0
	for _, r := range refusals {
		text, _, _ := r.source(t)
		root, bad := parseTree([]byte(text))
		if (bad != nil) != (r.layer == tree) && !strings.Contains(r.want, "twice") {
			t.Errorf("%s: noticed in another layer than marked", r.name)
		}
		if r.layer == tree || bad != nil {
			continue
		}
		seen++
		err := s.Validate(instance(root))
		if (err != nil) != (r.layer == table) {
			t.Errorf("%s: the schema says %v", r.name, err)
		}
	}
	if seen < 60 {
		t.Errorf("only %d refused files reached the schema", seen)
	}
}
