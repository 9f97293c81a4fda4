package policies

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const base = `apiVersion: privsgld/v1
kind: Policy
metadata: {name: base, owner: someone}
dataset:
  name: base
  privacyUnit: row
  adjacency: add-remove
  rows: 100
  target: {column: hit, positive: "yes"}
  columns:
    - {name: hit, type: category, levels: ["no", "yes"]}
    - {name: age, type: number, bounds: [0, 10]}
    - {name: kids, type: integer, bounds: [0, 5]}
    - {name: old, type: boolean}
budget:
  epsilon: 3
  delta: 1e-6
  perJob: {epsilon: 1}
allow:
  models: [logistic]
`

// A refusal is an edit of base that must be refused where ¶ stands.
type refusal struct {
	name string
	old  string // "" replaces the whole file
	new  string
	want string // part of the message
	// layer says who notices: the YAML tree, before there is anything that a
	// schema could look at; the table, and hence the schema too; or only the
	// parser, since a schema cannot see spelling or compare keys.
	layer layer
}

type layer int

const (
	tree layer = iota
	table
	parserOnly
)

var refusals = []refusal{
	// Bytes and characters.
	{"empty file", "", "¶", "holds no policy", tree},
	{"comments only", "", "¶# nothing\n", "holds no policy", tree},
	{"byte order mark", "apiVersion", "¶\uFEFFapiVersion", "byte order mark", tree},
	{"later byte order mark", "kind: Policy", "kind: ¶\uFEFFPolicy", "U+FEFF", tree},
	{"NUL", "name: base, owner", "name: b¶\x00ase, owner", "U+0000", tree},
	{"bidi override", "owner: someone", "owner: so¶\u202Eme", "U+202E", tree},
	{"bidi isolate in a comment", "kind: Policy", "kind: Policy # x¶\u2066y", "U+2066", tree},
	{"zero-width space", "name: age", "name: a¶\u200Bge", "U+200B", tree},
	{"line separator", "owner: someone", "owner: some¶\u2028one", "U+2028", tree},
	{"next line", "owner: someone", "owner: some¶\u0085one", "U+0085", tree},
	{"escape character", "owner: someone", "owner: ¶\x1b[31msomeone", "U+001B", tree},
	{"lone carriage return", "kind: Policy\n", "kind: Policy¶\rmetadata", "U+000D", tree},
	{"not UTF-8", "owner: someone", "owner: som¶\xffe", "UTF-8", tree},
	{"overlong UTF-8", "owner: someone", "owner: ¶\xc0\xafsome", "UTF-8", tree},

	// YAML that a policy does not know.
	{"anchor", "epsilon: 3", "epsilon: ¶&e 3", "anchors", tree},
	{"alias", "epsilon: 3", "epsilon: ¶*e", "aliases", tree},
	{"alias bomb", "", "a: ¶&a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "anchors", tree},
	{"bare star", "models: [logistic]", "analysts: [¶*]", "aliases", tree},
	{"merge key", "budget:\n", "budget:\n  ¶<<: {epsilon: 3}\n", "merge", tree},
	{"tag", "epsilon: 3", "epsilon: ¶!!float 3", "tags", tree},
	{"own tag", "rows: 100", "rows: ¶!x 100", "tags", tree},
	{"binary tag", "owner: someone", "owner: ¶!!binary eA==", "tags", tree},
	{"second document", "allow:", "¶---\nallow:", "second document", tree},
	{"second document after a header", "", "---\na: 1\n¶---\nb: 2\n", "second document", tree},
	{"two headers", "", "---\n¶---\na: 1\n", "second document", tree},
	{"document end", "allow:", "¶...\nallow:", "document end", tree},
	{"directive", "apiVersion", "¶%YAML 1.2\n---\napiVersion", "directives", tree},
	{"explicit key", "kind: Policy", "¶? kind\n: Policy", "explicit keys", tree},
	{"literal block", "owner: someone}", "owner: someone}\nledger:\n  id: ¶|\n    x", "block text", tree},
	{"text over two lines", "kind: Policy", "kind: ¶Pol\n  icy", "several lines", tree},
	{"quoted text over two lines", "owner: someone", "owner: ¶\"some\n  one\"", "several lines", tree},
	{"tab for indentation", "  epsilon: 3", "¶\tepsilon: 3", "tab", tree},
	{"brace never closed", "  models: [logistic]\n", "  models: ¶[logistic", "no closing bracket", tree},
	{"mapping never closed", "allow:\n  models: [logistic]\n", "ledger: ¶{id: x", "no closing brace", tree},
	{"missing comma", "bounds: [0, 10]", "bounds: [\"0\" ¶\"10\"]", "comma", tree},
	{"two commas", "bounds: [0, 10]", "bounds: [0,¶, 10]", "not expected", tree},
	{"no space after a colon", "perJob: {epsilon: 1}", "perJob: {epsilon¶:1}", "needs a space", tree},
	{"mapping on one line", "kind: Policy", "kind: Policy¶: x", "not expected", tree},
	{"list on the key's line", "models: [logistic]", "models: ¶- logistic", "line of its own", tree},
	{"list within a list", "models: [logistic]", "models:\n    - ¶- logistic", "list within a list", tree},
	{"dash without a value", "models: [logistic]", "models:\n    ¶-\n", "no value", tree},
	{"key among dashes", "models: [logistic]", "models:\n    - logistic\n    ¶queries: [count]", "not expected", tree},
	{"wrong indentation", "  perJob: {epsilon: 1}", " ¶perJob: {epsilon: 1}", "indentation", tree},
	{"key as a list", "kind: Policy", "¶[kind]: Policy", "not expected", tree},
	{"too deep", "models: [logistic]", "models: [[[[[[[[[[¶[[x]]]]]]]]]]]]", "nested", tree},
	{"unclosed quote", "  models: [logistic]\n", "  purposes: [¶\"x]\n", "quote", tree},
	{"reserved character", "owner: someone", "owner: ¶@someone", "reserved", tree},
	{"bracket within a word", "models: [logistic]", "purposes: [¶a}b]", "quotes", tree},
	{"bare time", "models: [logistic]", "purposes: [¶10:30]", "without quotes", parserOnly},
	{"no mapping", "", "¶- a\n- b\n", "must be a mapping", table},
	{"a word", "", "¶policy\n", "must be a mapping", table},

	{"folded block", "allow:", "ledger:\n  id: ¶>\n    x\nallow:", "block text", tree},
	{"key indented too far", "  epsilon: 3\n", "  epsilon: ¶3\n   ", "several lines", tree},
	{"brace closed by the wrong sign", "perJob: {epsilon: 1}", "perJob: {epsilon: ¶1]", "match", tree},
	{"no colon", "kind: Policy\nmetadata: {name: base, owner: someone}", "¶kind\nmetadata: {name: base}", "needs a colon", tree},
	{"unknown escape", "owner: someone", "owner: \"some\\¶qone\"", "escape", tree},
	{"missing budget", "", "¶" + base[:strings.Index(base, "budget:")], "budget is missing", table},
	{"coefficients of one name", "- {name: hit,", "- {name: hit=yes, type: boolean}\n    - {name: ¶hit,", "rename one", parserOnly},
	{"entity as target", "  privacyUnit: row\n  adjacency: add-remove\n  rows: 100\n  target: {column: hit, positive: \"yes\"}", "  privacyUnit: {entity: hit, maxRows: 3}\n  adjacency: add-remove\n  target: {column: ¶hit}", "entity key", parserOnly},
	// Keys.
	{"unknown key", "allow:", "¶alow:", "unknown key \"alow\"", table},
	{"unknown key inside", "  delta: 1e-6", "  ¶detla: 1e-6", "unknown key \"detla\" in budget", table},
	{"key in capitals", "  epsilon: 3", "  ¶Epsilon: 3", "unknown key", table},
	{"unknown key of a column", "bounds: [0, 10]", "¶bound: [0, 10]", "unknown key \"bound\"", table},
	{"null as a key", "  rows: 100", "  ¶~: 100", "unknown key", table},
	{"duplicate key", "  delta: 1e-6", "  delta: 1e-6\n  ¶epsilon: 300", "twice; the first is on line 16", tree},
	{"duplicate section", "allow:", "¶budget: {epsilon: 9, delta: 1e-6}\nallow:", "twice", tree},
	{"duplicate flow key", "perJob: {epsilon: 1}", "perJob: {epsilon: 1, ¶\"epsilon\": 2}", "twice", tree},
	{"duplicate analyst", "perJob: {epsilon: 1}", "analysts: {\"*\": {epsilon: 1}, ¶'*': {epsilon: 2}}", "twice", tree},
	{"key without a value", "  perJob: {epsilon: 1}", "  ¶perJob:", "no value", tree},
	{"flow key without a value", "owner: someone", "¶owner: ", "no value", tree},
	{"missing version", "apiVersion: privsgld/v1\n", "¶", "apiVersion is missing", table},
	{"missing delta", "budget:\n  epsilon: 3\n  delta: 1e-6", "budget:\n  ¶epsilon: 3", "budget.delta is missing", table},
	{"missing unit", "dataset:\n  name: base\n  privacyUnit: row", "dataset:\n  ¶name: base", "dataset.privacyUnit is missing", table},
	{"missing adjacency", "  name: base\n  privacyUnit: row\n  adjacency: add-remove", "  ¶name: base\n  privacyUnit: row", "dataset.adjacency is missing", table},
	{"missing bounds", "{name: age, type: number, bounds: [0, 10]}", "¶{name: age, type: number}", "bounds is missing", table},
	{"missing levels", "{name: hit, type: category, levels: [\"no\", \"yes\"]}", "¶{name: hit, type: category}", "levels is missing", table},
	{"missing type", "{name: old, type: boolean}", "¶{name: old}", "type is missing", table},
	{"bounds of a category", "levels: [\"no\", \"yes\"]}", "levels: [\"no\", \"yes\"], ¶bounds: [0, 1]}", "no meaning for type category", table},
	{"levels of a boolean", "type: boolean}", "type: boolean, ¶levels: [a, b]}", "no meaning for type boolean", table},
	{"bounds before an unknown type", "{name: old, type: boolean}", "{bounds: [0, 1], name: old, type: ¶bool}", "is unknown", table},

	// Words and text.
	{"other version", "privsgld/v1", "¶privsgld/v2", "write privsgld/v1", table},
	{"other kind", "kind: Policy", "kind: ¶Batch", "write Policy", table},
	{"unknown unit", "privacyUnit: row", "privacyUnit: ¶person", "row or a mapping with entity, maxRows", table},
	{"bare true as unit", "privacyUnit: row", "privacyUnit: ¶true", "row", table},
	{"unit as a list", "privacyUnit: row", "privacyUnit: ¶[row]", "row", table},
	{"unknown adjacency", "adjacency: add-remove", "adjacency: ¶swap", "replace-one", table},
	{"unknown model", "[logistic]", "[logistic, ¶probit]", "\"probit\" is unknown", table},
	{"unknown query", "models: [logistic]", "queries: [¶max]", "\"max\" is unknown", table},
	{"model twice", "[logistic]", "[logistic, ¶logistic]", "twice", table},
	{"models as a word", "models: [logistic]", "models: ¶logistic", "must be a list", table},
	{"unknown accountant", "  perJob", "  accountant: ¶pld\n  perJob", "rdp or gdp", table},
	{"unknown renewal", "  perJob", "  renews: ¶weekly\n  perJob", "is unknown", table},
	{"unknown type", "type: number", "type: ¶float", "is unknown", table},
	{"bare no", `["no", "yes"]`, `[¶no, "yes"]`, "without quotes", parserOnly},
	{"bare on", `["no", "yes"]`, `["no", "yes", ¶on]`, "without quotes", parserOnly},
	{"bare Yes", `positive: "yes"`, `positive: ¶Yes`, "without quotes", parserOnly},
	{"bare y", "name: old", "name: ¶y", "without quotes", parserOnly},
	{"bare 1e3", `["no", "yes"]`, `["no", "yes", ¶1e3]`, "without quotes", table},
	{"bare number", `["no", "yes"]`, `["no", "yes", ¶12]`, "without quotes", table},
	{"bare octal", `["no", "yes"]`, `["no", "yes", ¶010]`, "without quotes", parserOnly},
	{"bare date", "name: old", "name: ¶2020-01-01", "without quotes", parserOnly},
	{"bare null", "owner: someone", "owner: ¶null", "without quotes", table},
	{"bare tilde", "owner: someone", "owner: ¶~", "without quotes", table},
	{"bare infinity", `["no", "yes"]`, `["no", "yes", ¶.inf]`, "without quotes", parserOnly},
	{"empty name", "name: base, owner", "name: ¶\"\", owner", "is empty", table},
	{"intercept", "name: old", "name: ¶intercept", "reserved", table},
	{"dot name", "name: old", "name: ¶.chain", "begins with", table},
	{"formula =", "name: old", "name: ¶=cmd()", "begins with", table},
	{"formula +", "name: old", "name: ¶+cmd()", "begins with", table},
	{"formula -", "name: old", "name: ¶-cmd()", "begins with", table},
	{"formula @", "name: old", "name: ¶\"@cmd\"", "begins with", table},
	{"formula in the data set's name", "  name: base", "  name: ¶=base", "begins with", table},
	{"formula as an analyst", "perJob: {epsilon: 1}", "analysts: {¶=ann: {epsilon: 1}}", "begins with", table},
	{"escaped newline", "name: old", "name: ¶\"o\\nld\"", "control", table},
	{"escaped NUL", "name: old", "name: ¶\"o\\0ld\"", "control", table},
	{"escaped bidi", "owner: someone", "owner: ¶\"o\\u202eld\"", "control", table},
	{"newline in a level", `["no", "yes"]`, `["no", ¶"y\nes"]`, "control", table},
	{"outer space", "name: old", "name: ¶\" old\"", "space", table},
	{"no-break space outside", "name: old", "name: ¶\"old\\u00a0\"", "space", table},
	{"long name", "name: old", "name: ¶" + strings.Repeat("x", 201), "longer", table},
	{"empty level", `["no", "yes"]`, `["no", "yes", ¶""]`, "is empty", table},
	{"long separator", "  columns:", "  csv: {separator: ¶\";;\"}\n  columns:", "one character", table},
	{"quote as separator", "  columns:", "  csv: {separator: ¶'\"'}\n  columns:", "one character", table},
	{"newline as separator", "  columns:", "  csv: {separator: ¶\"\\n\"}\n  columns:", "one character", table},
	{"header as text", "  columns:", "  csv: {header: ¶\"true\"}\n  columns:", "true or false", table},
	{"header as yes", "  columns:", "  csv: {header: ¶yes}\n  columns:", "true or false", table},
	{"impossible date", "allow:", "expires: ¶2027-02-29\nallow:", "not a date", table},
	{"date with a time", "allow:", "expires: ¶2027-02-28T00:00:00Z\nallow:", "not a date", table},
	{"short date", "allow:", "expires: ¶2027-2-8\nallow:", "not a date", table},
	{"empty ledger", "allow:", "ledger: ¶{}\nallow:", "ledger.id is missing", table},

	// Numbers: spellings have a table of their own.
	{"epsilon 0", "epsilon: 3", "epsilon: ¶0", "at least 1e-9", table},
	{"epsilon below the floor", "epsilon: 3", "epsilon: ¶0.999e-9", "at least 1e-9", table},
	{"epsilon without end", "epsilon: 3", "epsilon: ¶1e400", "at most", table},
	{"epsilon as a mapping", "epsilon: 3", "epsilon: ¶{value: 3}", "must be a number", table},
	{"delta 0", "delta: 1e-6", "delta: ¶0", "at least", table},
	{"delta 1", "delta: 1e-6", "delta: ¶1", "less than 1", table},
	{"delta as a percentage", "delta: 1e-6", "delta: ¶5%", "plain decimal", table},
	{"growth unknown", "rows: 100", "rows: 100\n  growth: ¶sideways", "fixed or append-only or replaced", table},
	{"rows 0", "rows: 100", "rows: ¶0", "whole number", table},
	{"rows with a fraction", "rows: 100", "rows: ¶100.5", "whole number", table},
	{"rows with an exponent", "rows: 100", "rows: ¶1e6", "whole number", parserOnly},
	{"rows beyond counting", "rows: 100", "rows: ¶99999999999999999999", "whole number", table},
	{"rows in quotes", "rows: 100", "rows: ¶\"100\"", "without quotes", table},
	{"no rows of an entity", "privacyUnit: row", "privacyUnit: {entity: id, maxRows: ¶0}", "whole number", table},
	{"entity without a bound", "privacyUnit: row", "privacyUnit: ¶{entity: id}", "maxRows is missing", table},
	{"one bound", "bounds: [0, 10]", "bounds: ¶[0]", "hold 2 values", table},
	{"three bounds", "bounds: [0, 10]", "bounds: ¶[0, 5, 10]", "hold 2 values", table},
	{"infinite bound", "bounds: [0, 10]", "bounds: [0, ¶.inf]", "plain decimal", table},
	{"huge bound", "bounds: [0, 10]", "bounds: [0, ¶1e309]", "too large", parserOnly},
	{"order 1", "  perJob", "  order: ¶1\n  perJob", "greater than 1", table},
	{"negative order", "  perJob", "  order: ¶-8\n  perJob", "greater than 1", table},
	{"negative share", "  perJob", "  pureEpsilon: ¶-1\n  perJob", "plain decimal", table},

	// Rules between keys.
	{"equal bounds", "bounds: [0, 10]", "bounds: ¶[10, 10]", "less than the upper", parserOnly},
	{"swapped bounds", "bounds: [0, 10]", "bounds: ¶[10, 0]", "less than the upper", parserOnly},
	{"bounds equal in float64", "bounds: [0, 10]", "bounds: ¶[1, 1.00000000000000000001]", "less than the upper", parserOnly},
	{"bounds too far apart", "bounds: [0, 10]", "bounds: ¶[-1e308, 1e308]", "too far apart", parserOnly},
	{"fractional bounds of an integer", "bounds: [0, 5]", "bounds: [0, ¶5.5]", "whole numbers", parserOnly},
	{"integer beyond float64", "bounds: [0, 5]", "bounds: [0, ¶1e16]", "2^53", parserOnly},
	{"one level", `["no", "yes"]`, `¶["yes"]`, "2 or more", table},
	{"level twice", `["no", "yes"]`, `["yes", ¶"yes"]`, "twice", table},
	{"column twice", "name: old", "name: ¶age", "declared twice; the first is on line 12", parserOnly},
	{"unknown reference", `levels: ["no", "yes"]`, `levels: ["no", "yes"], reference: ¶maybe`, "none of the levels", parserOnly},
	{"unknown default level", `levels: ["no", "yes"]`, `levels: ["no", "yes"], default: ¶maybe`, "none of the levels", parserOnly},
	{"default outside", "bounds: [0, 10]", "bounds: [0, 10], default: ¶11", "within the bounds", parserOnly},
	{"negative default", "bounds: [0, 10]", "bounds: [0, 10], default: ¶-1", "within the bounds", parserOnly},
	{"fractional default of an integer", "bounds: [0, 5]", "bounds: [0, 5], default: ¶2.5", "whole number", parserOnly},
	{"default in quotes", "bounds: [0, 10]", "bounds: [0, 10], default: ¶\"5\"", "without quotes", table},
	{"default of a boolean", "type: boolean", "type: boolean, default: ¶0", "true or false", table},
	{"numeric default of a category", `levels: ["no", "yes"]`, `levels: ["no", "yes"], default: ¶0`, "without quotes", table},
	{"target that is no column", "models: [logistic]", "targets: [hit, ¶hits]", "not declared", parserOnly},
	{"target twice", "models: [logistic]", "targets: [hit, ¶hit]", "twice", table},
	{"unknown target", "column: hit", "column: ¶hits", "not declared", parserOnly},
	{"positive is no level", `positive: "yes"`, `positive: ¶maybe`, "none of the levels", parserOnly},
	{"bare positive of a category", `positive: "yes"`, `positive: ¶true`, "in quotes", parserOnly},
	{"positive of a number", `column: hit, positive: "yes"`, `column: age, positive: ¶"yes"`, "remove it", parserOnly},
	{"positive of a boolean", `column: hit, positive: "yes"`, `column: old, positive: ¶"yes"`, "true or false", parserOnly},
	{"positive as a list", `positive: "yes"`, `positive: ¶["yes"]`, "must be", table},
	{"no columns", "", strings.Replace(base[:strings.Index(base, "    - {name: hit")], "  columns:\n", "  columns: ¶[]\n", 1) + base[strings.Index(base, "budget:"):], "1 or more", table},
	{"job above the budget", "perJob: {epsilon: 1}", "perJob: {epsilon: ¶3.000000000000000000001}", "at most budget.epsilon", parserOnly},
	{"job's delta above the budget", "perJob: {epsilon: 1}", "perJob: {epsilon: 1, delta: ¶2e-6}", "at most budget.delta", parserOnly},
	{"analyst above the budget", "perJob: {epsilon: 1}", "analysts: {ann: {epsilon: ¶4}}", "at most budget.epsilon", parserOnly},
	{"purpose above the budget", "perJob: {epsilon: 1}", "purposes: {x: {epsilon: ¶4}}", "at most budget.epsilon", parserOnly},
	{"period above the budget", "perJob: {epsilon: 1}", "periods: {monthly: {epsilon: 1, delta: ¶2e-6}}", "at most budget.delta", parserOnly},
	{"period as long as the budget's", "perJob: {epsilon: 1}", "periods: {¶quarterly: {epsilon: 1}}\n  renews: quarterly", "no shorter", parserOnly},
	{"unknown period", "perJob: {epsilon: 1}", "periods: {¶weekly: {epsilon: 1}}", "unknown key", table},
	{"purpose twice", "perJob: {epsilon: 1}", "purposes: {x: {epsilon: 1}, ¶\"x\": {epsilon: 2}}", "twice", tree},
	{"cap of an empty purpose", "perJob: {epsilon: 1}", "purposes: {¶\"\": {epsilon: 1}}", "is empty", table},
	{"cap of a purpose that is no text", "perJob: {epsilon: 1}", "purposes: {¶no: {epsilon: 1}}", "without quotes", parserOnly},
	{"cap of a purpose in another number", "perJob: {epsilon: 1}", "purposes: {x: {epsilon: ¶0x1}}", "plain decimal", table},
	{"cap without epsilon", "perJob: {epsilon: 1}", "perJob: ¶{delta: 1e-7}", "epsilon is missing", table},
	{"whole delta for approximate events", "  perJob", "  approximateDelta: ¶0.000001\n  perJob", "less than budget.delta", parserOnly},
	{"whole epsilon for pure events", "  perJob", "  pureEpsilon: ¶3\n  perJob", "less than budget.epsilon", parserOnly},
	{"order of gdp", "  perJob", "  accountant: gdp\n  order: ¶8\n  perJob", "rdp", parserOnly},
}

// source returns the file and the marked place.
func (r refusal) source(t *testing.T) (text string, line, col int) {
	t.Helper()
	text = r.new
	if r.old != "" {
		if strings.Count(base, r.old) < 1 {
			t.Fatalf("%s: %q is not in the base policy", r.name, r.old)
		}
		text = strings.Replace(base, r.old, r.new, 1)
	}
	before, after, ok := strings.Cut(text, "¶")
	if !ok {
		t.Fatalf("%s: no place is marked", r.name)
	}
	last := before[strings.LastIndex(before, "\n")+1:]
	return before + after, strings.Count(before, "\n") + 1, len([]rune(last)) + 1
}

// inTime checks that a file of the corpus is read within a tenth of a second;
// the best of five counts, since other programs may hold the processor.
func inTime(t *testing.T, data []byte) {
	t.Helper()
	const slowest = 100 * time.Millisecond
	var took time.Duration
	for range 5 {
		start := time.Now()
		_, _ = Parse("p.yaml", data)
		if took = time.Since(start); took <= slowest {
			return
		}
	}
	t.Errorf("took %v", took)
}

func TestRefused(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			text, line, col := r.source(t)
			inTime(t, []byte(text))
			p, err := Parse("p.yaml", []byte(text))
			var e *Error
			if p != nil || !errors.As(err, &e) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if e.Line != line || e.Column != col {
				t.Errorf("at %d:%d, want %d:%d: %s", e.Line, e.Column, line, col, e.Message)
			}
			if !strings.Contains(e.Message, r.want) {
				t.Errorf("says %q, want something with %q", e.Message, r.want)
			}
			if strings.ContainsFunc(e.Error(), hidden) {
				t.Errorf("%q is more than one line of visible text", e.Error())
			}
			if want := fmt.Sprintf("p.yaml:%d:%d: %s", line, col, e.Message); e.Error() != want {
				t.Errorf("%q, want %q", e.Error(), want)
			}
		})
	}
}

// A change is an edit of base that must be accepted.
type change struct{ name, old, new string }

var accepted = []change{
	{"base", "", base},
	{"opening header", "apiVersion", "---\napiVersion"},
	{"Windows line ends", "", strings.ReplaceAll(base, "\n", "\r\n")},
	{"no last line end", "", strings.TrimSuffix(base, "\n")},
	{"comments", "budget:\n", "# the budget\nbudget: # all of it\n\n"},
	{"quoted keys", "  epsilon: 3", "  \"epsilon\": 3"},
	{"value on the next line", "  epsilon: 3", "  epsilon:\n    3"},
	{"list beside its key", "models: [logistic]", "models:\n  - logistic\n  - linear"},
	{"block columns", "{name: old, type: boolean}", "name: old\n      type: boolean\n      default: true"},
	{"flow over several lines", "models: [logistic]", "models: [\n    logistic,\n    mlp,\n  ]"},
	{"entity", "privacyUnit: row", "privacyUnit: {entity: person_id, maxRows: 20}"},
	{"entity among the columns", "privacyUnit: row", "privacyUnit: {entity: kids, maxRows: 20}"},
	{"replace-one", "add-remove", "replace-one"},
	{"no rows", "  rows: 100\n", ""},
	{"no target", "  target: {column: hit, positive: \"yes\"}\n", ""},
	{"numeric target", "{column: hit, positive: \"yes\"}", "{column: age}"},
	{"boolean target", "{column: hit, positive: \"yes\"}", "{column: old, positive: true}"},
	{"boolean target in quotes", "{column: hit, positive: \"yes\"}", "{column: old, positive: \"false\"}"},
	{"negative bounds", "bounds: [0, 10]", "bounds: [-1.5e-3, -0]"},
	{"default on the bound", "bounds: [0, 10]", "bounds: [0, 10], default: 10.0"},
	{"whole numbers with a point", "bounds: [0, 5]", "bounds: [-5.0, 5e1], default: 0"},
	{"reference and default", `levels: ["no", "yes"]`, `levels: ["no", "yes"], reference: "yes", default: "no"`},
	{"numbers as levels", `["no", "yes"]`, `["no", "yes", "-1", "1e3", '010']`},
	{"scripts and joiners", "owner: someone", "owner: \"\u0646\u0645\u06CC\u200C\u062F\u0627\u0646\u0645 和 Ωmega\""},
	{"signs inside names", "name: old", "name: a=b-c+d@e.f"},
	{"CSV", "  columns:", "  csv: {header: false, separator: \"\\t\", null: [\"\", \"?\", NA], trim: false}\n  columns:"},
	{"no null markers", "  columns:", "  csv: {null: []}\n  columns:"},
	{"all of the budget", "perJob: {epsilon: 1}", "perJob: {epsilon: 3.0, delta: 0.000001}"},
	{"least budget", "epsilon: 3\n  delta: 1e-6\n  perJob: {epsilon: 1}", "epsilon: 1e-9\n  delta: 1e-300"},
	{"shares", "  perJob", "  approximateDelta: 1e-7\n  pureEpsilon: 2.999\n  perJob"},
	{"gdp", "  perJob", "  accountant: gdp\n  perJob"},
	{"order", "  perJob", "  order: 12.5\n  perJob"},
	{"analysts", "  perJob", "  analysts: {\"*\": {epsilon: 2}, ann: {epsilon: 3, delta: 5e-7}}\n  renews: monthly\n  perJob"},
	{"caps of purposes", "  perJob", "  purposes: {\"*\": {epsilon: 2}, \"labour research\": {epsilon: 1, delta: 1e-7}}\n  perJob"},
	{"caps of periods", "  perJob", "  periods: {monthly: {epsilon: 0.5}, quarterly: {epsilon: 1}}\n  renews: yearly\n  perJob"},
	{"allow nothing", "models: [logistic]", "models: []\n  queries: []\n  analysts: []\n  purposes: []"},
	{"purposes", "models: [logistic]", "purposes: [labour research, \"teaching: A\"]"},
	{"targets", "models: [logistic]", "targets: [hit, age]"},
	{"no allow", "allow:\n  models: [logistic]\n", ""},
	{"expiry and ledger", "allow:", "expires: 2028-02-29\nledger: {id: \"privsgld-ledger+5f3a0000+AbC=\"}\nallow:"},
	{"expiry in quotes", "allow:", "expires: \"2028-02-29\"\nallow:"},
	{"a name of 200 characters", "name: old", "name: " + strings.Repeat("é", 200)},
}

func (c change) source(t *testing.T) []byte {
	t.Helper()
	if c.old == "" {
		return []byte(c.new)
	}
	if !strings.Contains(base, c.old) {
		t.Fatalf("%s: %q is not in the base policy", c.name, c.old)
	}
	return []byte(strings.Replace(base, c.old, c.new, 1))
}

func TestAccepted(t *testing.T) {
	for _, c := range accepted {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, c.source(t))
			if _, err := Parse("p.yaml", c.source(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// policyFiles are the files of this package that tests of others run.
func policyFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.yaml", "examples/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	return files
}

func TestFiles(t *testing.T) {
	for _, file := range policyFiles(t) {
		if _, err := Load(file); err != nil {
			t.Error(err)
		}
	}
}

func TestLoadWithoutFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	long := filepath.Join(t.TempDir(), "long.yaml")
	if err := os.WriteFile(long, []byte(strings.Repeat("# long\n", maxFileBytes/6)), 0o600); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := Load(long); !errors.As(err, &e) || !strings.Contains(e.Message, "longer than 128 KiB") {
		t.Errorf("got %v", err)
	}
}

// TestPathological feeds files of the greatest size that are all structure. They
// take about a tenth of a second each on a machine of their own; the bound is
// for crowded ones.
func TestPathological(t *testing.T) {
	const most = maxFileBytes
	for name, text := range map[string]string{
		"keys":          strings.Repeat("a: 1\n", most/5),
		"opening":       "a: " + strings.Repeat("[", most-3),
		"braces":        "a: " + strings.Repeat("{", most-3),
		"dashes":        strings.Repeat("- ", most/2),
		"colons":        strings.Repeat("a: ", most/3),
		"entries":       "a: [" + strings.Repeat("b,", most/2-2),
		"long word":     strings.Repeat("x", most),
		"long quote":    "a: \"" + strings.Repeat("x", most-4),
		"quote lines":   "a: \"" + strings.Repeat("x\n", most/2-2),
		"comments":      strings.Repeat("#\n", most/2),
		"spaces":        strings.Repeat(" ", most),
		"line ends":     strings.Repeat("\n", most),
		"anchors":       strings.Repeat("&a ", most/3),
		"tags":          strings.Repeat("! ", most/2),
		"literal":       "a: |\n" + strings.Repeat(" x\n", most/3-2),
		"question":      strings.Repeat("? ", most/2),
		"quotes":        strings.Repeat("''", most/2),
		"escapes":       "a: \"" + strings.Repeat("\\n", most/2-2),
		"stairs":        stairs(most),
		"unclosed list": strings.Repeat("- [\n", most/4),
	} {
		start := time.Now()
		if _, err := Parse("p.yaml", []byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
		took := time.Since(start)
		t.Logf("%s: %v", name, took)
		if took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// stairs is a mapping in a mapping in a mapping, one space deeper each.
func stairs(most int) string {
	var b strings.Builder
	for i := 0; b.Len() < most-1000; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
