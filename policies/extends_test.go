package policies

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	orgBase = `# What holds for all data sets of the organisation.
apiVersion: privsgld/v1
kind: PolicyBase
metadata: {owner: data-office@example.org}
dataset:
  privacyUnit: row
  adjacency: add-remove
budget:
  epsilon: 3
  delta: 1e-6
  accountant: rdp
  perJob: {epsilon: 1}
  analysts: {"*": {epsilon: 2}}
  renews: yearly
allow:
  models: [logistic, linear]
  analysts: [ann, bob]
expires: 2030-12-31
`
	extending = `apiVersion: privsgld/v1
kind: Policy
extends: org.yaml
metadata: {name: child}
dataset:
  name: child
  columns: [{name: age, type: number, bounds: [0, 10]}]
`
)

// orgCaps is orgBase with caps of purposes and periods.
var orgCaps = strings.Replace(orgBase, "  renews", "  purposes: {\"*\": {epsilon: 2}}\n  periods: {monthly: {epsilon: 0.5}}\n  renews", 1)

// memory opens files that are texts.
func memory(files map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}
}

func loadFrom(files map[string]string, path string) (*Policy, error) {
	p, bad := parse(path, []byte(files[path]), memory(files))
	if bad != nil {
		return nil, bad.in(path)
	}
	return p, nil
}

func TestExtends(t *testing.T) {
	child := extending + "budget: {epsilon: 2, perJob: {delta: 1e-7}, analysts: {ann: {epsilon: 1.5}}}\nallow: {models: [logistic], purposes: [x]}\n"
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sets"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sets", "child.yaml")
	text := strings.Replace(child, "org.yaml", "../org.yaml", 1)
	for name, content := range map[string]string{path: text, filepath.Join(dir, "org.yaml"): orgBase} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := mustParse(t, `{apiVersion: privsgld/v1, kind: Policy, metadata: {name: child, owner: data-office@example.org},
  dataset: {name: child, privacyUnit: row, adjacency: add-remove, columns: [{name: age, type: number, bounds: [0, 10]}]},
  budget: {epsilon: 2, delta: 1e-6, perJob: {epsilon: 1, delta: 1e-7}, analysts: {"*": {epsilon: 2}, ann: {epsilon: 1.5}}, renews: yearly},
  allow: {models: [logistic], analysts: [ann, bob], purposes: [x]}, expires: 2030-12-31}`)
	want.Dataset.Columns[0].Line = p.Dataset.Columns[0].Line
	// sha256sum child.yaml org.yaml | cut -c1-64 | sha256sum
	sum := func(b string) string { s := sha256.Sum256([]byte(b)); return hex.EncodeToString(s[:]) }
	want.SHA256 = sum(sum(text) + "\n" + sum(orgBase) + "\n")
	want.origins = p.origins
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	roundTrip(t, p)
	if _, err := Parse("p.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "p.yaml:3:10: extends is for a policy that is read from a file") {
		t.Errorf("Parse: %v", err)
	}
}

// TestExplain: every value says where it comes from.
func TestExplain(t *testing.T) {
	p, err := loadFrom(map[string]string{"p.yaml": strings.Replace(extending, "  columns", "  csv: {trim: false}\n  columns", 1) +
		"budget: {epsilon: 2, perJob: {delta: 1e-7}, analysts: {ann: {epsilon: 1.5}}}\n", "org.yaml": orgBase}, "p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: privsgld/v1 # p.yaml:1
kind: Policy # p.yaml:2
metadata:
  name: "child" # p.yaml:4
  owner: "data-office@example.org" # org.yaml:4
dataset:
  name: "child" # p.yaml:6
  privacyUnit: row # org.yaml:6
  adjacency: add-remove # org.yaml:7
  growth: fixed # default
  columns:
    - {name: "age", type: number, bounds: [0, 10]} # p.yaml:8
  csv: {header: true, separator: ",", null: [""], trim: false} # p.yaml:7, otherwise default
budget:
  epsilon: 2 # p.yaml:9
  delta: 1e-6 # org.yaml:10
  accountant: rdp # org.yaml:11
  perJob: {epsilon: 1, delta: 1e-7} # p.yaml:9, org.yaml:12
  approximateDelta: 0 # default
  pureEpsilon: 0 # default
  analysts:
    "*": {epsilon: 2} # org.yaml:13
    "ann": {epsilon: 1.5} # p.yaml:9
  renews: yearly # org.yaml:14
allow:
  models: ["logistic", "linear"] # org.yaml:16
  analysts: ["ann", "bob"] # org.yaml:17
expires: 2030-12-31 # org.yaml:18
`
	got := regexp.MustCompile(` +#`).ReplaceAllString(string(p.Explain()), " #")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	origins := p.Origins()
	for clause, place := range map[string]string{"budget.epsilon": "p.yaml:9", "dataset.columns.age": "p.yaml:8", "budget.pureEpsilon": "default", "budget.analysts.*": "org.yaml:13"} {
		if origins[clause] != place {
			t.Errorf("%s: %q, want %q", clause, origins[clause], place)
		}
	}
	if len(origins) != strings.Count(want, "#") {
		t.Errorf("%d origins", len(origins))
	}
}

// TestExtendsSum: every byte of every file counts.
func TestExtendsSum(t *testing.T) {
	files := map[string]string{
		"p.yaml": extending + "budget: {epsilon: 2}\n# a", "org.yaml": strings.Replace(orgBase, "kind:", "extends: top.yaml\nkind:", 1) + "# b",
		"top.yaml": "apiVersion: privsgld/v1\nkind: PolicyBase\n# c",
	}
	seen := map[string]bool{}
	for _, change := range []string{"", "p.yaml", "org.yaml", "top.yaml"} {
		changed := maps.Clone(files)
		if change != "" {
			changed[change] += "."
		}
		p, err := loadFrom(changed, "p.yaml")
		if err != nil {
			t.Fatal(err)
		}
		seen[p.SHA256] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d sums of four", len(seen))
	}
}

func TestExtendsRefusals(t *testing.T) {
	budget := func(s string) string { return extending + "budget: {" + s + "}\n" }
	for _, c := range []struct {
		name  string
		child string
		base  string // "" is orgBase
		want  string // FILE:LINE:COLUMN: and the beginning of the message
	}{
		{"epsilon", budget("epsilon: 4"), "", "p.yaml:8:19: budget.epsilon: 4 promises less privacy than 3 in org.yaml:9; tighten it, or remove it to inherit"},
		{"last digit", budget("delta: 1.000000000000000000000001e-6"), "", "p.yaml:8:17: budget.delta: 1.000000000000000000000001e-6 promises less"},
		{"accountant", budget("accountant: gdp"), "", "p.yaml:8:22: budget.accountant: gdp cannot be compared with rdp in org.yaml:11; write the same"},
		{"perJob", budget("perJob: {epsilon: 2}"), "", "p.yaml:8:18: budget.perJob: {epsilon: 2} promises less"},
		{"everybody's cap", budget(`analysts: {"*": {epsilon: 2.5}}`), "", "p.yaml:8:26: budget.analysts.*: {epsilon: 2.5} promises less"},
		{"one's own cap", budget("analysts: {ann: {epsilon: 2.5}}"), "", "p.yaml:8:26: budget.analysts.ann: {epsilon: 2.5} promises less privacy than {epsilon: 2} in org.yaml:13"},
		{"a name with dots", budget("analysts: {a.b.c: {epsilon: 2.5}}"), "", "p.yaml:8:28: budget.analysts.a.b.c: "},
		{"everybody's purpose", budget(`purposes: {x: {epsilon: 2.5}}`), orgCaps, "p.yaml:8:24: budget.purposes.x: {epsilon: 2.5} promises less privacy than {epsilon: 2} in org.yaml:14"},
		{"a purpose that is capped less", budget(`purposes: {x: {epsilon: 1.5}}`), orgCaps, ""},
		{"a period's cap", budget("periods: {monthly: {epsilon: 0.6}}"), orgCaps, "p.yaml:8:29: budget.periods.monthly: {epsilon: 0.6} promises less privacy than {epsilon: 0.5} in org.yaml:15"},
		{"another period's cap", budget("periods: {quarterly: {epsilon: 1}}"), orgCaps, ""},
		{"a cap of a period as long as the budget's", budget("periods: {yearly: {epsilon: 1}}"), orgCaps, "p.yaml:8:20: budget.periods.yearly is no shorter than the period of the budget, which renews yearly; remove it"},
		{"renews", budget("renews: monthly"), "", "p.yaml:8:18: budget.renews: monthly promises less"},
		{"a share", budget("approximateDelta: 1e-8"), orgBase + "ledger: {id: x}\n", ""},
		{"models", extending + "allow: {models: [logistic, mlp]}\n", "", "p.yaml:8:17: allow.models: "},
		{"other models", extending + "allow: {models: [mlp]}\n", "", "p.yaml:8:17: allow.models: [\"mlp\"] cannot be compared with"},
		{"everybody", extending + "allow: {analysts: [\"*\"]}\n", "", "p.yaml:8:19: allow.analysts: "},
		{"expires", extending + "expires: 2031-01-01\n", "", "p.yaml:8:10: expires: 2031-01-01 promises less"},
		{"ledger", extending + "ledger: {id: two}\n", orgBase + "ledger: {id: x}\n", "p.yaml:8:14: ledger.id: two cannot be compared with x in org.yaml:19"},
		{"unit", strings.Replace(extending, "  name: child", "  name: child\n  privacyUnit: {entity: id, maxRows: 2}", 1), "", "p.yaml:7:16: dataset.privacyUnit: "},
		{"relation", strings.Replace(extending, "  name: child", "  name: child\n  adjacency: replace-one", 1), "", "p.yaml:7:14: dataset.adjacency: "},
		{"an inherited cap above the budget", budget("epsilon: 0.5"), "", "org.yaml:12:21: budget.perJob.epsilon must be at most budget.epsilon, 0.5; p.yaml inherits this: write a tighter value there"},
		{"nobody says delta", extending, strings.Replace(orgBase, "  delta: 1e-6\n", "", 1), "org.yaml:9:3: budget.delta is missing"},
		{"a twice written key", extending + "budget: {epsilon: 1}\nbudget: {epsilon: 2}\n", "", "p.yaml:9:1: key \"budget\" appears twice"},
		{"an unknown key", budget("epsilonn: 1"), "", "p.yaml:8:10: unknown key"},
		{"no such base", strings.Replace(extending, "org.yaml", "dir/org.yaml", 1), "", "p.yaml:3:10: extends: the base file \"dir/org.yaml\" does not exist"},
		{"an absolute name", strings.Replace(extending, "org.yaml", "/org.yaml", 1), "", "p.yaml:3:10: extends: name the base file relative"},
		{"itself", strings.Replace(extending, "org.yaml", "./p.yaml", 1), "", "p.yaml:3:10: extends: \"p.yaml\" extends itself"},
		{"a circle", extending, orgBase + "extends: x/../org.yaml\n", "org.yaml:19:10: extends: \"org.yaml\" extends itself"},
		{"a policy as base", strings.Replace(extending, "org.yaml", "other.yaml", 1), "", "other.yaml:2:7: kind: \"Policy\" is unknown; write PolicyBase"},
		{"columns in a base", extending, strings.Replace(orgBase, "  adjacency", "  columns: []\n  adjacency", 1), "org.yaml:7:3: unknown key \"columns\" in dataset; known are privacyUnit, adjacency, csv"},
		{"a base that is no YAML", extending, "a: &b", "org.yaml:1:4: anchors"},
		{"too deep", strings.Replace(extending, "org.yaml", "1.yaml", 1), "", "3.yaml:3:10: extends: a policy rests on 3 base files at most"},
		{"a looser base of a base", extending, orgBase + "extends: strict.yaml\n", "org.yaml:9:12: budget.epsilon: 3 promises less privacy than 1 in strict.yaml:3"},
		{"a base", orgBase, "", "p.yaml:3:7: a base file is no policy"},
	} {
		files := map[string]string{"p.yaml": c.child, "org.yaml": orgBase, "other.yaml": base,
			"strict.yaml": "apiVersion: privsgld/v1\nkind: PolicyBase\nbudget: {epsilon: 1}\n"}
		if c.base != "" {
			files["org.yaml"] = c.base
		}
		for i := 1; i <= 4; i++ {
			files[fmt.Sprintf("%d.yaml", i)] = fmt.Sprintf("apiVersion: privsgld/v1\nkind: PolicyBase\nextends: %d.yaml\n", i+1)
		}
		_, err := loadFrom(files, "p.yaml")
		var e *Error
		switch {
		case c.want == "" && err != nil, c.want != "" && (!errors.As(err, &e) || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
	}
}

// TestExtendsAgreesWithOracle: a base and a policy of random clauses are accepted
// exactly if the policy with its own clauses, asked everything, admits no more
// than with those of the base in their place.
func TestExtendsAgreesWithOracle(t *testing.T) {
	inBase := []string{"unit", "relation", "csv", "epsilon", "delta", "accountant", "order", "approx", "pure", "perJob", "caps", "purposeCaps", "renews",
		"models", "queries", "analysts", "purposes", "expires", "approvals", "ledger"}
	r := rand.New(rand.NewPCG(3, 1))
	all := questions()
	accepted, refused := 0, 0
	for range 600 {
		child, org := map[string]string{"name": "d", "columns": clauseValues["columns"][2]}, map[string]string{}
		old, next := maps.Clone(child), maps.Clone(child)
		for _, name := range inBase {
			pick := func() string { return clauseValues[name][r.IntN(len(clauseValues[name]))] }
			place := r.IntN(7)
			if place == 0 {
				org[name] = pick()
			}
			required := slices.Contains([]string{"unit", "relation", "epsilon", "delta"}, name)
			// Mappings that both write are merged; TestExtends has examples.
			mapped := slices.Contains([]string{"unit", "csv", "perJob", "caps", "purposeCaps", "approvals"}, name)
			if place > 4 || place == 0 && !mapped && r.IntN(2) == 0 || required && org[name] == "" {
				child[name] = pick()
			}
			old[name], next[name] = child[name], child[name]
			if org[name] != "" {
				old[name] = org[name]
			}
			if child[name] == "" {
				next[name] = org[name]
			}
		}
		childText := bytes.Replace(policyText(child), []byte("kind: Policy"), []byte("kind: Policy, extends: org.yaml"), 1)
		orgText := bytes.Replace(policyText(org), []byte("kind: Policy, metadata: {name: m}"), []byte("kind: PolicyBase"), 1)
		got, err := loadFrom(map[string]string{"p.yaml": string(childText), "org.yaml": string(orgText)}, "p.yaml")
		was, wasErr := Parse("old", policyText(old))
		is, isErr := Parse("next", policyText(next))
		if isErr != nil && err == nil {
			t.Fatalf("accepted, and invalid when written out: %v\n%s\n%s", isErr, childText, orgText)
		}
		if wasErr != nil || isErr != nil {
			continue // an order for gdp, on one side of the comparison
		}
		c, witness := Same, ""
		for _, q := range all {
			if q.ask(is) && !q.ask(was) {
				c, witness = Looser, q.about
			}
		}
		if (err == nil) != (c == Same) {
			t.Fatalf("%v; the oracle's witness %q\n%s\n%s", err, witness, childText, orgText)
		}
		if err != nil {
			refused++
			continue
		}
		accepted++
		if !bytes.Equal(got.Show(), is.Show()) {
			t.Fatalf("in effect\n%s\nwant\n%s", got.Show(), is.Show())
		}
	}
	if accepted < 100 || refused < 100 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
}

// TestExtendsSchema: editors accept base files and policies that extend them.
func TestExtendsSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(BaseSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("base.json", doc); err != nil {
		t.Fatal(err)
	}
	baseFiles, err := c.Compile("base.json")
	if err != nil {
		t.Fatal(err)
	}
	validates := func(s *jsonschema.Schema, text string) bool {
		root, bad := parseTree([]byte(text))
		if bad != nil {
			t.Fatal(bad)
		}
		return s.Validate(instance(root)) == nil
	}
	policyFiles := compiledSchema(t)
	for _, c := range []struct {
		schema *jsonschema.Schema
		text   string
		want   bool
	}{
		{policyFiles, extending, true},
		{policyFiles, extending + "budget: {epsilon: 2}\n", true},
		{policyFiles, strings.Replace(extending, "extends: org.yaml\n", "", 1), false},
		{policyFiles, orgBase, false},
		{baseFiles, orgBase, true},
		{baseFiles, extending, false},
		{baseFiles, strings.Replace(orgBase, "dataset:", "dataset:\n  rows: 10", 1), false},
	} {
		if validates(c.schema, c.text) != c.want {
			t.Errorf("want %t for\n%s", c.want, c.text)
		}
	}
}

// FuzzExtends: whatever a policy and its base hold, there is a policy or an error
// of one line; and the policy in effect is one that needs no base.
func FuzzExtends(f *testing.F) {
	f.Add(extending, orgBase)
	f.Add(extending+"budget: {epsilon: 2, analysts: {ann: {epsilon: 1}}}\nallow: {models: []}\n", orgBase)
	f.Add(extending+"budget: {perJob: {delta: 1e-9}}\n", strings.Replace(orgBase, "privacyUnit: row", "privacyUnit: {entity: id, maxRows: 3}", 1))
	f.Add(base, orgBase)
	f.Add(extending, "apiVersion: privsgld/v1\nkind: PolicyBase\nbudget: {}\ndataset: {csv: {}}\nallow: {}\n")
	f.Fuzz(func(t *testing.T, policy, org string) {
		p, err := loadFrom(map[string]string{"p.yaml": policy, "org.yaml": org}, "p.yaml")
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q", err)
			}
			return
		}
		if shown := p.Explain(); len(shown) <= maxFileBytes {
			if _, err := Parse("shown.yaml", shown); err != nil {
				t.Errorf("%v\n%s", err, shown)
			}
		}
	})
}
