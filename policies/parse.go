package policies

import (
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/privsgld/privsgld/accountant"
)

// An Error says what is wrong with a policy file, where, and how to mend it.
type Error struct {
	File    string
	Line    int // from 1
	Column  int // from 1, counted in characters
	Message string
}

// Error returns one line, FILE:LINE:COLUMN: MESSAGE.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Parse reads and checks a policy file that extends no other. The file's name is
// used in errors only. Every error is an *Error with the place of the first thing
// that is wrong. Amounts are exact; bounds and defaults of columns are the nearest
// float64.
func Parse(file string, data []byte) (*Policy, error) {
	p, bad := parse(file, data, nil)
	if bad != nil {
		return nil, bad.in(file)
	}
	return p, nil
}

// Load reads the policy at path as Parse does, and the base files that it
// extends. A file that cannot be read is an error of package os; a base that
// cannot be is an *Error at the key that names it.
func Load(path string) (*Policy, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	p, bad := parse(path, data, readFile)
	if bad != nil {
		return nil, bad.in(path)
	}
	return p, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One byte more than allowed is enough to see that a file is too long.
	return io.ReadAll(io.LimitReader(f, maxFileBytes+1))
}

// in makes the error that a caller sees.
func (f *fault) in(file string) error {
	if f.file != "" {
		file = f.file
	}
	return &Error{File: file, Line: f.line, Column: f.col, Message: f.message}
}

// parse reads a policy; open reads its bases, nil where it may have none.
func parse(file string, data []byte, open func(path string) ([]byte, error)) (*Policy, *fault) {
	root, bad := parseTree(data)
	if bad != nil {
		return nil, bad
	}
	root.from(file)
	if kind := root.get("kind"); kind != nil && kind.text == BaseKind {
		return nil, faultAt(kind, "a base file is no policy; name a policy that extends it")
	}
	bases, sum, bad := readBases(root, data, open)
	if bad != nil {
		return nil, bad
	}
	whole := root.over(bases...)
	if bad := check(whole, policyShape, "policy"); bad != nil {
		return nil, bad
	}
	if bad := onlyTighten(root, bases, whole); bad != nil {
		return nil, bad
	}
	p := fill(whole)
	p.SHA256, p.origins = sum, originsOf(whole)
	if bad := validate(p, whole); bad != nil {
		if bad.file != file {
			bad.message += fmt.Sprintf("; %s inherits this: write a tighter value there", file)
		}
		return nil, bad
	}
	return p, nil
}

// check compares a node with its shape; name is the dotted path for messages.
func check(n *node, s *shape, name string) *fault {
	switch s.kind {
	case objectShape:
		return checkObject(n, s, name)
	case tableShape:
		return checkTable(n, s, name)
	case listShape:
		return checkList(n, s, name)
	case eitherShape:
		return checkEither(n, s, name)
	}
	if n.kind != scalar {
		return faultAt(n, "%s must be %s, not a %s", name, s.describe(), n.kind)
	}
	if n.empty() {
		return faultAt(n, "%s has no value; give it one or remove the key", name)
	}
	switch s.kind {
	case textShape:
		return checkText(n, s, name)
	case truthShape:
		if n.quoted || n.text != "true" && n.text != "false" {
			return faultAt(n, "%s must be true or false, without quotes", name)
		}
	case dateShape:
		if _, err := ParseDate(n.text); err != nil {
			return faultAt(n, "%s: %v", name, err)
		}
	default:
		return checkNumber(n, s, name)
	}
	return nil
}

func (k nodeKind) String() string {
	return [...]string{"scalar", "mapping", "list"}[k]
}

// describe names a shape in a message.
func (s *shape) describe() string {
	switch s.kind {
	case textShape:
		if len(s.oneOf) > 0 {
			return strings.Join(s.oneOf, " or ")
		}
		return "text"
	case amountShape, decimalShape:
		return "a number"
	case wholeShape:
		return "a whole number"
	case truthShape:
		return "true or false"
	case dateShape:
		return "a date"
	case listShape:
		return "a list"
	case eitherShape:
		var parts []string
		for _, f := range s.forms {
			parts = append(parts, f.describe())
		}
		return strings.Join(parts, " or ")
	}
	var keys []string
	for _, f := range s.fields {
		keys = append(keys, f.key)
	}
	if len(keys) == 0 {
		return "a mapping"
	}
	return "a mapping with " + strings.Join(keys, ", ")
}

func checkObject(n *node, s *shape, name string) *fault {
	if n.kind != mapping {
		return faultAt(n, "%s must be %s", name, s.describe())
	}
	fields, foreign := s.fields, map[string]string{}
	if s.cases != nil {
		kind := n.get("type")
		for _, c := range s.cases {
			if kind != nil && kind.text == c.value {
				fields = append(slices.Clone(fields), c.fields...)
			}
			for _, f := range c.fields {
				foreign[f.key] = "type"
			}
		}
	}
	known := make(map[string]field, len(fields))
	for _, f := range fields {
		known[f.key] = f
	}
	seen := make(map[string]*node, len(n.keys))
	for i, key := range n.keys {
		if first := seen[key.text]; first != nil {
			return faultAt(key, "key %s appears twice; the first is on line %d", quote(key.text), first.line)
		}
		seen[key.text] = key
		f, ok := known[key.text]
		switch {
		case !ok && foreign[key.text] != "" && n.get("type") != nil && slices.ContainsFunc(s.cases, func(c fieldCase) bool { return c.value == n.get("type").text }):
			return faultAt(key, "key %s has no meaning for type %s; remove it", quote(key.text), n.get("type").text)
		case !ok && foreign[key.text] != "":
			continue // a missing or unknown type is said below, or when it comes
		case !ok:
			return faultAt(key, "unknown key %s in %s; known are %s", quote(key.text), name, keysOf(fields))
		}
		if bad := check(n.values[i], f.value, join(name, key.text)); bad != nil {
			return bad
		}
	}
	for _, f := range fields {
		if f.required && seen[f.key] == nil {
			return faultAt(n, "%s is missing; add %s: …", join(name, f.key), f.key)
		}
	}
	return nil
}

func keysOf(fields []field) string {
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	return strings.Join(keys, ", ")
}

// join names a key within its mapping; the outermost mapping needs no name.
func join(name, key string) string {
	if name == "policy" {
		return key
	}
	return name + "." + key
}

func checkTable(n *node, s *shape, name string) *fault {
	if n.kind != mapping {
		return faultAt(n, "%s must be a mapping such as {\"*\": …}", name)
	}
	if len(n.keys) > s.most {
		return faultAt(n.keys[s.most], "%s has more than %d keys", name, s.most)
	}
	seen := make(map[string]*node, len(n.keys))
	for i, key := range n.keys {
		if first := seen[key.text]; first != nil {
			return faultAt(key, "key %s appears twice; the first is on line %d", quote(key.text), first.line)
		}
		seen[key.text] = key
		if bad := checkText(key, &shape{kind: textShape, text: s.text}, "a key of "+name); bad != nil {
			return bad
		}
		if bad := check(n.values[i], s.item, join(name, key.text)); bad != nil {
			return bad
		}
	}
	return nil
}

func checkList(n *node, s *shape, name string) *fault {
	if n.kind != list {
		return faultAt(n, "%s must be a list such as [A, B]", name)
	}
	if s.least == s.most && len(n.values) != s.least {
		return faultAt(n, "%s must hold %d values", name, s.least)
	}
	if len(n.values) < s.least {
		return faultAt(n, "%s must hold %d or more values", name, s.least)
	}
	if len(n.values) > s.most {
		return faultAt(n.values[s.most], "%s holds more than %d values", name, s.most)
	}
	seen := make(map[string]bool, len(n.values))
	for _, v := range n.values {
		if bad := check(v, s.item, name); bad != nil {
			return bad
		}
		if s.unique && seen[v.text] {
			return faultAt(v, "%s holds %s twice; remove one", name, quote(v.text))
		}
		if s.unique {
			seen[v.text] = true
		}
	}
	return nil
}

// checkEither chooses the form by what is written: a mapping, a bare true or
// false, or other text.
func checkEither(n *node, s *shape, name string) *fault {
	bare := n.kind == scalar && !n.quoted && (n.text == "true" || n.text == "false")
	for _, f := range s.forms {
		switch {
		case f.kind == objectShape && n.kind == mapping,
			f.kind == truthShape && bare,
			f.kind == textShape && n.kind == scalar && !bare && (f.oneOf == nil || slices.Contains(f.oneOf, n.text)):
			return check(n, f, name)
		}
	}
	return faultAt(n, "%s must be %s", name, s.describe())
}

func checkText(n *node, s *shape, name string) *fault {
	if len(s.oneOf) > 0 {
		if !slices.Contains(s.oneOf, n.text) {
			return faultAt(n, "%s: %s is unknown; write %s", name, quote(n.text), s.describe())
		}
		return nil
	}
	if ambiguous(n) {
		return faultAt(n, "%s: %s without quotes is not text to every reader of YAML; write %q", name, n.text, n.text)
	}
	if wrong := wrongText(n.text, s.text); wrong != "" {
		return faultAt(n, "%s: %s %s", name, quote(n.text), wrong)
	}
	return nil
}

var wholeNumber = regexp.MustCompile(`^[1-9][0-9]*$`)

// checkNumber takes a number by its literal text, so that 010, 0x10, 1_000 and
// .inf mean nothing rather than something else.
func checkNumber(n *node, s *shape, name string) *fault {
	if n.quoted {
		return faultAt(n, "%s: %s is text; write the number without quotes", name, quote(n.text))
	}
	if s.kind == wholeShape && (!wholeNumber.MatchString(n.text) || len(n.text) > maxWholeLen) {
		return faultAt(n, "%s: %s is not a whole number from 1; write its digits only", name, quote(n.text))
	}
	text, negative := n.text, false
	if s.kind == decimalShape {
		text, negative = strings.CutPrefix(text, "-")
	}
	a, err := accountant.ParseAmount(text)
	if err != nil {
		return faultAt(n, "%s: %s is not a plain decimal number; write it like 3, 0.5 or 1e-6", name, quote(n.text))
	}
	if s.kind == decimalShape {
		if f := float(n); math.IsInf(f, 0) {
			return faultAt(n, "%s: %s is too large for a float64", name, quote(n.text))
		}
	}
	r := s.limits
	below := func(bound string) bool {
		return bound != "" && (negative || a.Cmp(accountant.MustAmount(bound)) < 0)
	}
	atMost := func(bound string) bool { return negative || a.Cmp(accountant.MustAmount(bound)) <= 0 }
	switch {
	case below(r.least):
		return faultAt(n, "%s must be at least %s", name, r.least)
	case r.above != "" && atMost(r.above):
		return faultAt(n, "%s must be greater than %s", name, r.above)
	case r.most != "" && !atMost(r.most):
		return faultAt(n, "%s must be at most %s", name, r.most)
	case r.below != "" && !below(r.below):
		return faultAt(n, "%s must be less than %s", name, r.below)
	}
	return nil
}

// float returns a checked number as the nearest float64, without a negative zero.
func float(n *node) float64 {
	f, err := strconv.ParseFloat(n.text, 64)
	if err != nil && !math.IsInf(f, 0) {
		panic("policies: an unchecked number")
	}
	return f + 0
}

// fill turns a checked tree into a policy, defaults included.
func fill(root *node) *Policy {
	p := &Policy{
		APIVersion: textOf(root.get("apiVersion")),
		Kind:       textOf(root.get("kind")),
		Metadata:   Metadata{Name: textOf(root.get("metadata", "name")), Owner: textOf(root.get("metadata", "owner"))},
		Dataset:    fillDataset(root.get("dataset")),
		Budget:     fillBudget(root.get("budget")),
		Allow: Allow{
			Models:   textsOf(root.get("allow", "models")),
			Queries:  textsOf(root.get("allow", "queries")),
			Analysts: textsOf(root.get("allow", "analysts")),
			Purposes: textsOf(root.get("allow", "purposes")),
			Targets:  textsOf(root.get("allow", "targets")),
		},
		Approvals: fillApprovals(root.get("approvals")),
		LedgerID:  textOf(root.get("ledger", "id")),
	}
	if n := root.get("expires"); n != nil {
		d, err := ParseDate(n.text)
		if err != nil {
			panic("policies: an unchecked date")
		}
		p.Expires = &d
	}
	return p
}

func fillDataset(n *node) Dataset {
	d := Dataset{
		Name:      textOf(n.get("name")),
		Adjacency: accountant.Adjacency(textOf(n.get("adjacency"))),
		Target:    Target{Column: textOf(n.get("target", "column")), Positive: textOf(n.get("target", "positive"))},
		Unit:      Unit{Kind: UnitRow},
		Growth:    GrowthFixed,
		CSV:       fillCSV(n.get("csv")),
	}
	if g := n.get("growth"); g != nil {
		d.Growth = g.text
	}
	if u := n.get("privacyUnit"); u.kind == mapping {
		d.Unit = Unit{Kind: UnitEntity, Entity: textOf(u.get("entity")), MaxRows: int(whole(u.get("maxRows")))}
	}
	if r := n.get("rows"); r != nil {
		rows := whole(r)
		d.Rows = &rows
	}
	for _, c := range n.get("columns").values {
		d.Columns = append(d.Columns, fillColumn(c))
	}
	return d
}

func fillColumn(n *node) Column {
	c := Column{
		Name:      textOf(n.get("name")),
		Type:      ColumnType(textOf(n.get("type"))),
		Levels:    textsOf(n.get("levels")),
		Reference: textOf(n.get("reference")),
		Line:      n.line,
	}
	if b := n.get("bounds"); b != nil {
		c.Lower, c.Upper = float(b.values[0]), float(b.values[1])
	}
	if d := n.get("default"); d != nil {
		c.Default = &d.text
	}
	if c.Type == Category && c.Reference == "" {
		c.Reference = c.Levels[0]
	}
	return c
}

func fillCSV(n *node) *CSV {
	c := defaultCSV
	c.Null = slices.Clone(defaultCSV.Null)
	if v := n.get("header"); v != nil {
		c.Header = v.text == "true"
	}
	if v := n.get("trim"); v != nil {
		c.Trim = v.text == "true"
	}
	if v := n.get("separator"); v != nil {
		c.Separator = []rune(v.text)[0]
	}
	if v := n.get("null"); v != nil {
		c.Null = textsOf(v)
	}
	return &c
}

func fillBudget(n *node) Budget {
	b := Budget{
		Epsilon:    amount(n.get("epsilon")),
		Delta:      amount(n.get("delta")),
		Accountant: accountant.MethodRDP,
		Renews:     "never",
	}
	if v := n.get("accountant"); v != nil {
		b.Accountant = accountant.Method(v.text)
	}
	if v := n.get("order"); v != nil {
		b.Order = float(v)
	}
	if v := n.get("approximateDelta"); v != nil {
		b.ApproximateDelta = amount(v)
	}
	if v := n.get("pureEpsilon"); v != nil {
		b.PureEpsilon = amount(v)
	}
	if v := n.get("perJob"); v != nil {
		c := fillCap(v)
		b.PerJob = &c
	}
	if v := n.get("renews"); v != nil {
		b.Renews = v.text
	}
	b.Analysts = fillCaps(n.get("analysts"))
	b.Purposes = fillCaps(n.get("purposes"))
	b.Periods = fillCaps(n.get("periods"))
	return b
}

func fillCaps(n *node) map[string]Cap {
	if n == nil {
		return nil
	}
	caps := make(map[string]Cap, len(n.keys))
	for i, key := range n.keys {
		caps[key.text] = fillCap(n.values[i])
	}
	return caps
}

func fillCap(n *node) Cap {
	c := Cap{Epsilon: amount(n.get("epsilon"))}
	if v := n.get("delta"); v != nil {
		d := amount(v)
		c.Delta = &d
	}
	return c
}

// textOf returns the text of a scalar, "" for a key that is not there.
func textOf(n *node) string {
	if n == nil {
		return ""
	}
	return n.text
}

// textsOf returns the texts of a list: nil for a key that is not there, not nil
// for an empty list.
func textsOf(n *node) []string {
	if n == nil {
		return nil
	}
	texts := make([]string, 0, len(n.values))
	for _, v := range n.values {
		texts = append(texts, v.text)
	}
	return texts
}

func amount(n *node) accountant.Amount {
	a, err := accountant.ParseAmount(n.text)
	if err != nil {
		panic("policies: an unchecked amount")
	}
	return a
}

func whole(n *node) int64 {
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil {
		panic("policies: an unchecked whole number")
	}
	return v
}
