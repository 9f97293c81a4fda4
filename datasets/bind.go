package datasets

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/privsgld/privsgld/policies"
)

// Kind says how a feature is encoded.
type Kind int

// The kinds of features. Columns of type integer are numbers.
const (
	Number   Kind = iota // one coefficient, values in [−1, 1]
	Category             // one coefficient for every level but the reference
	Boolean              // one coefficient, values 0 and 1
)

// maxLevels keeps a category's codes within 16 bits.
const maxLevels = math.MaxUint16

// Feature is one encoded column. Its coefficients are Offset … Offset+Width−1
// of the design: a number or boolean has one; level c of a category has
// Offset+c below the reference, none at it, and Offset+c−1 above it.
type Feature struct {
	Column       string
	Kind         Kind
	Lower, Upper float64  // Number only: the public bounds
	Levels       []string // Category only, in declared order
	Reference    int      // Category only: index of the reference level
	Offset       int
	Width        int
}

// Outcome says what a model takes for its target.
type Outcome int

// The kinds of targets.
const (
	Binary  Outcome = iota // 0 and 1: a boolean, or a category with a positive level
	Numeric                // a number or integer, encoded like a feature
	Levels                 // a category or boolean, encoded like a feature
)

// Encoding is what the columns of a table mean, out of public facts alone.
type Encoding struct {
	Features     []Feature
	Coefficients []string // "intercept", "age", "region=south", in order
	Target       string   // column of the target
	Positive     string   // the level of the target that counts as 1; empty for a boolean target

	// Of a target that is not binary.
	Outcome      Outcome
	Lower, Upper float64  // Numeric only: its public bounds
	Whole        bool     // Numeric only: the column is of type integer
	Levels       []string // Levels only: its levels in order, false and true of a boolean
	Reference    int      // Levels only: index of the reference level
}

// Binding joins a policy's columns to one model: its target, its features and
// how each is read and encoded. It holds public facts only.
type Binding struct {
	encoding Encoding
	columns  []columnSpec // in the order of the features, then the target
	also     []columnSpec // the policy's other columns, in its order
	whole    bool         // a file must have these too
	left     string       // the policy's target, which new rows may lack
	csv      csvRules
}

// Encoding returns what the columns of the opened table will mean.
func (b *Binding) Encoding() Encoding { return b.encoding }

// The policy's column types, as the job of the decoder writes them.
const (
	typeNumber   = string(policies.Number)
	typeInteger  = string(policies.Integer)
	typeBoolean  = string(policies.Boolean)
	typeCategory = string(policies.Category)
)

// columnSpec is what the decoder needs to know of one column.
type columnSpec struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Position int      `json:"position"` // among the policy's columns: the place in a CSV without header
	Lower    float64  `json:"lower"`
	Upper    float64  `json:"upper"`
	Levels   []string `json:"levels,omitempty"`
	Default  float64  `json:"default"`            // the encoded default: a number in [−1, 1] or a code
	Target   bool     `json:"target,omitempty"`   // a binary target: one bit a row
	Positive uint16   `json:"positive,omitempty"` // Target only: the code that counts as 1
	Plain    bool     `json:"plain,omitempty"`    // as it is: a number unscaled, a level's code, a truth value as 0 or 1, NaN for what is missing
	Any      bool     `json:"any,omitempty"`      // of any type that can be hashed
}

// csvRules are the rules of a policy's dataset.csv.
type csvRules struct {
	Header    bool     `json:"header"`
	Separator rune     `json:"separator"`
	Null      []string `json:"null"`
	Trim      bool     `json:"trim"`
}

// Bind is [BindOutcome] for a binary target.
func Bind(d policies.Dataset, target string, features []string) (*Binding, error) {
	return BindOutcome(d, target, features, Binary)
}

// BindOutcome fixes target, features and their encoding from the policy's public
// facts. An empty target means the policy's own; nil features mean every column
// but the target. A binary target must be boolean, or the policy's target with its
// positive level; others are encoded like a feature of their type. Features keep the
// given order; coefficients are the intercept, then those of each feature. Errors name
// the column and the policy field, and no file is touched.
func BindOutcome(d policies.Dataset, target string, features []string, outcome Outcome) (*Binding, error) {
	if d.Unit.Kind != policies.UnitRow {
		return nil, fmt.Errorf("privacyUnit: entities are not supported by this version; declare privacyUnit: row only if no one has more than one row")
	}
	places := make(map[string]int, len(d.Columns))
	for i, c := range d.Columns {
		places[c.Name] = i
	}
	if target == "" {
		target = d.Target.Column
	}
	if target == "" {
		return nil, fmt.Errorf("no target: name one with --target, or declare dataset.target in the policy")
	}
	if features == nil {
		for _, c := range d.Columns {
			if c.Name != target {
				features = append(features, c.Name)
			}
		}
	}

	b := &Binding{csv: csvOf(d.CSV), left: d.Target.Column, encoding: Encoding{Target: target, Coefficients: []string{"intercept"}}}
	seen := map[string]bool{}
	for _, name := range features {
		at, known := places[name]
		switch {
		case !known:
			return nil, fmt.Errorf("feature %q: the policy declares no such column", name)
		case name == target:
			return nil, fmt.Errorf("feature %q: it is the target; leave it out of the features", name)
		case seen[name]:
			return nil, fmt.Errorf("feature %q: named twice; name it once", name)
		}
		seen[name] = true
		spec, err := specOf(d.Columns[at], at)
		if err != nil {
			return nil, err
		}
		b.columns = append(b.columns, spec)
		b.encoding.addFeature(d.Columns[at], spec)
	}

	at, known := places[target]
	if !known {
		return nil, fmt.Errorf("target %q: the policy declares no such column", target)
	}
	spec, err := specOf(d.Columns[at], at)
	if err != nil {
		return nil, err
	}
	if err := b.encoding.setTarget(d, &spec, outcome); err != nil {
		return nil, err
	}
	b.columns = append(b.columns, spec)
	seen[target] = true
	for i, c := range d.Columns {
		if seen[c.Name] {
			continue
		}
		spec, err := specOf(c, i)
		if err != nil {
			return nil, err
		}
		b.also = append(b.also, spec)
	}
	return b, nil
}

// setTarget completes the encoding and the decoder's form of the target.
func (e *Encoding) setTarget(d policies.Dataset, spec *columnSpec, outcome Outcome) error {
	e.Outcome = outcome
	number := spec.Type == typeNumber || spec.Type == typeInteger
	switch {
	case outcome == Numeric && number:
		e.Lower, e.Upper, e.Whole = spec.Lower, spec.Upper, spec.Type == typeInteger
	case outcome == Numeric:
		return fmt.Errorf("target %q: the model needs a number; the policy says %s", spec.Name, spec.Type)
	case outcome == Levels && spec.Type == typeBoolean:
		e.Levels = []string{"false", "true"}
	case outcome == Levels && spec.Type == typeCategory && len(spec.Levels) > 1:
		e.Levels = spec.Levels
		e.Reference, _ = referenceOf(d.Columns[spec.Position]) // specOf has checked it
	case outcome == Levels && spec.Type == typeCategory:
		return fmt.Errorf("target %q: a category of one level has nothing to tell; declare all of its levels in the policy", spec.Name)
	case outcome == Levels:
		return fmt.Errorf("target %q: the model needs a category; the policy says %s", spec.Name, spec.Type)
	case spec.Type == typeBoolean:
		spec.Target, spec.Positive = true, 1
	case spec.Type != typeCategory:
		return fmt.Errorf("target %q: a binary target is a boolean, or a category with a positive level; the policy says %s", spec.Name, spec.Type)
	case spec.Name != d.Target.Column || d.Target.Positive == "":
		return fmt.Errorf("target %q: a category needs its positive level; declare dataset.target: {column: %s, positive: …} in the policy", spec.Name, spec.Name)
	default:
		code := slices.Index(spec.Levels, d.Target.Positive)
		if code < 0 {
			return fmt.Errorf("target %q: positive is not one of the column's levels", spec.Name)
		}
		spec.Target, spec.Positive = true, uint16(code)
		e.Positive = d.Target.Positive
	}
	return nil
}

// Whole returns a binding that checks files for all of the policy's columns, as a
// fingerprint needs them, and encodes the same ones.
func (b *Binding) Whole() *Binding {
	whole := *b
	whole.whole = true
	return &whole
}

// specOf turns a policy's column into the decoder's form and checks again what
// the encoding depends on, so that no other caller's slip can reach a sum.
func specOf(c policies.Column, position int) (columnSpec, error) {
	s := columnSpec{Name: c.Name, Type: string(c.Type), Position: position}
	switch s.Type {
	case typeNumber, typeInteger:
		if width := c.Upper - c.Lower; !(width > 0) || math.IsInf(width, 0) {
			return s, fmt.Errorf("column %q: bounds must be finite numbers, the lower below the upper, and a finite difference apart", c.Name)
		}
		s.Lower, s.Upper = c.Lower, c.Upper
		if c.Default != nil {
			x, err := strconv.ParseFloat(*c.Default, 64)
			if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
				return s, fmt.Errorf("column %q: default is not a number", c.Name)
			}
			s.Default = scale(x, s.Lower, s.Upper)
		}
	case typeBoolean:
		if c.Default != nil {
			truth, ok := parseTruth(*c.Default)
			if !ok {
				return s, fmt.Errorf("column %q: default is neither true nor false", c.Name)
			}
			s.Default = float64(codeOf(truth))
		}
	case typeCategory:
		if len(c.Levels) == 0 || len(c.Levels) > maxLevels {
			return s, fmt.Errorf("column %q: a category has 1 to %d levels", c.Name, maxLevels)
		}
		s.Levels = c.Levels
		reference, err := referenceOf(c)
		if err != nil {
			return s, err
		}
		s.Default = float64(reference)
		if c.Default != nil {
			code := slices.Index(c.Levels, *c.Default)
			if code < 0 {
				return s, fmt.Errorf("column %q: default is not one of its levels", c.Name)
			}
			s.Default = float64(code)
		}
	default:
		return s, fmt.Errorf("column %q: unknown type", c.Name)
	}
	return s, nil
}

// referenceOf returns the index of a category's reference level: the declared
// one, otherwise the first.
func referenceOf(c policies.Column) (int, error) {
	if c.Reference == "" {
		return 0, nil
	}
	at := slices.Index(c.Levels, c.Reference)
	if at < 0 {
		return 0, fmt.Errorf("column %q: reference is not one of its levels", c.Name)
	}
	return at, nil
}

// addFeature appends a column and its coefficients to the encoding.
func (e *Encoding) addFeature(c policies.Column, s columnSpec) {
	f := Feature{Column: c.Name, Offset: len(e.Coefficients), Width: 1}
	switch s.Type {
	case typeBoolean:
		f.Kind = Boolean
		e.Coefficients = append(e.Coefficients, c.Name)
	case typeCategory:
		f.Kind = Category
		f.Levels = c.Levels
		f.Reference, _ = referenceOf(c) // specOf has checked it
		f.Width = len(c.Levels) - 1
		for i, level := range c.Levels {
			if i != f.Reference {
				e.Coefficients = append(e.Coefficients, c.Name+"="+level)
			}
		}
	default:
		f.Kind = Number
		f.Lower, f.Upper = c.Lower, c.Upper
		e.Coefficients = append(e.Coefficients, c.Name)
	}
	e.Features = append(e.Features, f)
}

// csvOf returns the policy's rules for CSV, or those of a policy without any:
// a header, commas, empty cells null, blanks around cells trimmed.
func csvOf(c *policies.CSV) csvRules {
	if c == nil {
		return csvRules{Header: true, Separator: ',', Null: []string{""}, Trim: true}
	}
	return csvRules{Header: c.Header, Separator: c.Separator, Null: c.Null, Trim: c.Trim}
}
