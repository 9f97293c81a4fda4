package policies

import "slices"

// The policy file as one table: which keys there are, which of them must be
// there, what their values look like. The parser checks a file against it and
// the JSON Schema is printed from it, so that the two cannot drift apart. What
// a table cannot say (rules between keys) is in validate.go.

type shapeKind int

const (
	textShape    shapeKind = iota
	amountShape            // a non-negative decimal, kept exactly
	decimalShape           // a decimal that may be negative
	wholeShape             // a whole number, 1 or more
	truthShape             // true or false
	dateShape              // YYYY-MM-DD, in quotes or not
	listShape
	tableShape  // a mapping whose keys are names
	objectShape // a mapping with declared keys
	eitherShape // one of several shapes, by kind of node
)

type shape struct {
	kind shapeKind

	text   textRule // text, keys of a table
	oneOf  []string // text: the words allowed
	limits numRange // amount, decimal, whole

	item   *shape // list, table
	least  int    // list, table: number of items
	most   int
	unique bool // list: no item twice

	fields []field // object
	cases  []fieldCase
	forms  []*shape // either
}

type field struct {
	key      string
	value    *shape
	required bool
	inherits bool // required, and a base file may say it
	doc      string
	fallback any // what holds where the key is left out, for the schema only
}

// A fieldCase adds keys to an object whose key "type" has that value.
type fieldCase struct {
	value  string
	fields []field
}

// A numRange bounds a number; an empty text is no bound.
type numRange struct {
	least, above, most, below string
}

// textRule says which texts are allowed; each has its regular expression in
// text.go, for the schema, beside its function.
type textRule int

const (
	plainRule     textRule = iota // not empty, nothing hidden
	nameRule                      // besides, no outer spaces and no first character that means something elsewhere
	columnRule                    // besides, not the name of the intercept
	cellRule                      // may be empty, nothing hidden
	separatorRule                 // one character
)

// Words of the policy language.
var (
	models     = []string{"logistic", "linear", "poisson", "softmax", "mlp"}
	queries    = []string{"count", "sum", "mean", "variance", "quantiles", "histogram"}
	renewals   = []string{"never", "monthly", "quarterly", "yearly"}
	filters    = []string{"rdp", "gdp"}
	adjacency  = []string{"add-remove", "replace-one"}
	growths    = []string{GrowthFixed, GrowthAppend, GrowthReplaced}
	defaultCSV = CSV{Header: true, Separator: ',', Null: []string{""}, Trim: true}
)

// Limits of the table; levels are coded in 16 bits.
const (
	maxColumns  = 4096
	maxLevels   = 1 << 16
	maxListed   = 1024
	maxTextLen  = 200 // characters of a name or a level
	minEpsilon  = "1e-9"
	maxEpsilon  = "1e9"
	leastDelta  = "1e-300" // smaller ones leave no room in float64 arithmetic
	maxOrder    = "1e6"
	maxWhole    = "1000000000000"
	maxWholeLen = 13
)

var (
	epsilonShape = &shape{kind: amountShape, limits: numRange{least: minEpsilon, most: maxEpsilon}}
	deltaShape   = &shape{kind: amountShape, limits: numRange{least: leastDelta, below: "1"}}
	nameShape    = &shape{kind: textShape, text: nameRule}
	columnShape  = &shape{kind: textShape, text: columnRule}
	wordShape    = &shape{kind: textShape, text: plainRule}
	switchShape  = &shape{kind: truthShape}
	boundsShape  = &shape{kind: listShape, least: 2, most: 2, item: &shape{kind: decimalShape}}
	capShape     = &shape{kind: objectShape, fields: []field{
		{key: "epsilon", value: epsilonShape, required: true, doc: "at most the budget's epsilon"},
		{key: "delta", value: deltaShape, doc: "at most the budget's delta, which holds where this is left out"},
	}}
)

func oneOf(words ...string) *shape { return &shape{kind: textShape, oneOf: words} }

func listOf(item *shape) *shape {
	return &shape{kind: listShape, item: item, most: maxListed, unique: true}
}

var policyShape = &shape{kind: objectShape, fields: []field{
	{key: "apiVersion", value: oneOf(APIVersion), required: true},
	{key: "kind", value: oneOf(Kind), required: true},
	{key: "extends", value: wordShape, doc: "a base file, relative to this one, whose clauses hold where this file says nothing; this file may only tighten them"},
	{key: "metadata", required: true, value: &shape{kind: objectShape, fields: []field{
		{key: "name", value: nameShape, required: true, doc: "name of the policy"},
		{key: "owner", value: wordShape, doc: "whoever answers for it"},
	}}},
	{key: "dataset", value: datasetShape, required: true, doc: "public facts about the table; nothing here may come from the data"},
	{key: "budget", value: budgetShape, required: true, inherits: true, doc: "the most that all jobs on the data set may cost together"},
	{key: "allow", value: allowShape, doc: "what jobs may be; a list left out allows anything"},
	{key: "expires", value: &shape{kind: dateShape}, doc: "the last day on which jobs may run, UTC"},
	{key: "approvals", value: approvalsShape, doc: "whose signatures are asked for; left out: nobody's"},
	{key: "ledger", doc: "left out: any ledger", value: &shape{kind: objectShape, fields: []field{
		{key: "id", value: wordShape, required: true, doc: "the public key that `privsgld ledger init` prints"},
	}}},
}}

// A base file has the clauses that hold for many data sets, and none of them must
// be there.
var baseShape = &shape{kind: objectShape, fields: slices.Concat(
	[]field{
		{key: "apiVersion", value: oneOf(APIVersion), required: true},
		{key: "kind", value: oneOf(BaseKind), required: true},
		{key: "metadata", value: pick(policyShape.field("metadata").value, "owner")},
		{key: "dataset", value: pick(datasetShape, "privacyUnit", "adjacency", "csv")},
		{key: "budget", value: pick(budgetShape, "epsilon", "delta", "accountant", "order", "perJob", "approximateDelta", "pureEpsilon", "analysts", "purposes", "periods", "renews")},
	},
	pick(policyShape, "extends", "allow", "expires", "approvals", "ledger").fields)}

// pick returns some fields of an object, none of them required.
func pick(s *shape, keys ...string) *shape {
	some := &shape{kind: objectShape}
	for _, key := range keys {
		f := *s.field(key)
		f.required = false
		some.fields = append(some.fields, f)
	}
	return some
}

func (s *shape) field(key string) *field {
	for i := range s.fields {
		if s.fields[i].key == key {
			return &s.fields[i]
		}
	}
	panic("policies: a shape without a field that is its own")
}

var datasetShape = &shape{kind: objectShape, fields: []field{
	{key: "name", value: nameShape, required: true, doc: "name of the data set in the ledger"},
	{key: "privacyUnit", required: true, inherits: true, doc: "what is protected: one row, or all rows of one entity",
		value: &shape{kind: eitherShape, forms: []*shape{
			oneOf(string(UnitRow)),
			{kind: objectShape, fields: []field{
				{key: "entity", value: columnShape, required: true, doc: "the column with the entity's key"},
				{key: "maxRows", value: &shape{kind: wholeShape, limits: numRange{least: "1", most: "1000000"}}, required: true, doc: "the most rows of one entity that are used"},
			}},
		}}},
	{key: "adjacency", value: oneOf(adjacency...), required: true, inherits: true, doc: "the neighbouring relation"},
	{key: "rows", value: &shape{kind: wholeShape, limits: numRange{least: "1", most: maxWhole}}, doc: "number of privacy units, only where it is public knowledge"},
	{key: "growth", value: oneOf(growths...), fallback: GrowthFixed, doc: "whether the rows change: fixed, append-only (every version holds all rows of the last) or replaced (a version may hold any rows)"},
	{key: "target", doc: "the column that a model predicts", value: &shape{kind: objectShape, fields: []field{
		{key: "column", value: columnShape, required: true},
		{key: "positive", doc: "the level that counts as 1, for a binary target",
			value: &shape{kind: eitherShape, forms: []*shape{wordShape, switchShape}}},
	}}},
	{key: "columns", required: true, doc: "the columns of the file that may be read, in the order of the encoding",
		value: &shape{kind: listShape, least: 1, most: maxColumns, item: columnEntryShape}},
	{key: "csv", doc: "how to read a CSV", value: &shape{kind: objectShape, fields: []field{
		{key: "header", value: switchShape, fallback: defaultCSV.Header},
		{key: "separator", value: &shape{kind: textShape, text: separatorRule}, fallback: string(defaultCSV.Separator)},
		{key: "null", value: listOf(&shape{kind: textShape, text: cellRule}), fallback: defaultCSV.Null, doc: "cells that count as null"},
		{key: "trim", value: switchShape, fallback: defaultCSV.Trim, doc: "drop white space around cells"},
	}}},
}}

var columnEntryShape = &shape{kind: objectShape,
	fields: []field{
		{key: "name", value: columnShape, required: true},
		{key: "type", value: oneOf(string(Number), string(Integer), string(Boolean), string(Category)), required: true},
	},
	cases: []fieldCase{
		{string(Number), []field{
			{key: "bounds", value: boundsShape, required: true},
			{key: "default", value: &shape{kind: decimalShape}},
		}},
		{string(Integer), []field{
			{key: "bounds", value: boundsShape, required: true},
			{key: "default", value: &shape{kind: decimalShape}},
		}},
		{string(Boolean), []field{
			{key: "default", value: switchShape},
		}},
		{string(Category), []field{
			{key: "levels", value: &shape{kind: listShape, least: 2, most: maxLevels, unique: true, item: wordShape}, required: true},
			{key: "reference", value: wordShape},
			{key: "default", value: wordShape},
		}},
	},
}

var budgetShape = &shape{kind: objectShape, fields: []field{
	{key: "epsilon", value: epsilonShape, required: true, inherits: true},
	{key: "delta", value: deltaShape, required: true, inherits: true},
	{key: "accountant", value: oneOf(filters...), fallback: "rdp", doc: "the filter that decides; it never changes"},
	{key: "order", value: &shape{kind: decimalShape, limits: numRange{above: "1", most: maxOrder}}, doc: "order of the rdp filter; left out: the best for Gaussian-like use of the whole budget"},
	{key: "perJob", value: capShape, doc: "the most that one job may cost"},
	{key: "approximateDelta", value: &shape{kind: amountShape, limits: numRange{below: "1"}}, fallback: 0, doc: "the share of delta for approximate events; 0: they are refused"},
	{key: "pureEpsilon", value: &shape{kind: amountShape, limits: numRange{most: maxEpsilon}}, fallback: 0, doc: "the share of epsilon for pure events, added up plainly; 0: they go through the filter"},
	{key: "analysts", value: &shape{kind: tableShape, text: nameRule, item: capShape, most: maxListed}, doc: "caps by analyst; \"*\": each other analyst separately"},
	{key: "purposes", value: &shape{kind: tableShape, text: plainRule, item: capShape, most: maxListed}, doc: "caps by purpose; \"*\": each other purpose separately; every job must name one"},
	{key: "periods", doc: "caps of calendar periods that are shorter than that of the budget", value: &shape{kind: objectShape, fields: []field{
		{key: "monthly", value: capShape},
		{key: "quarterly", value: capShape},
		{key: "yearly", value: capShape},
	}}},
	{key: "renews", value: oneOf(renewals...), fallback: "never", doc: "when a new period with a fresh budget begins"},
}}

var allowShape = &shape{kind: objectShape, fields: []field{
	{key: "models", value: listOf(oneOf(models...))},
	{key: "queries", value: listOf(oneOf(queries...))},
	{key: "analysts", value: listOf(nameShape), doc: "\"*\": every analyst"},
	{key: "purposes", value: listOf(wordShape), doc: "a job must name one of them"},
	{key: "targets", value: listOf(columnShape), doc: "columns that a model may predict; left out: any of the policy's"},
}}
