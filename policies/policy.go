package policies

import (
	"fmt"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// APIVersion and Kind are the only values that a policy file may carry under
// these keys.
const (
	APIVersion = "privsgld/v1"
	Kind       = "Policy"
)

// A Policy is one checked policy file with every default filled in. Parse makes
// it; nothing in it comes from the data.
type Policy struct {
	APIVersion string
	Kind       string
	Metadata   Metadata
	Dataset    Dataset
	Budget     Budget
	Allow      Allow
	Approvals  Approvals
	Expires    *Date  // the last day on which jobs may run, UTC; nil: no end
	LedgerID   string // the only ledger to charge; "": any
	SHA256     string // lower-case hex over the bytes of the file, or of it and its bases: readBases says how

	origins map[string]string // FILE:LINE by clause, for Explain; what is not there is a default
}

// Metadata names a policy and whoever answers for it.
type Metadata struct {
	Name  string
	Owner string
}

// A Dataset is what the policy says about the table: public facts only.
type Dataset struct {
	Name      string
	Unit      Unit
	Adjacency accountant.Adjacency
	Rows      *int64 // public number of privacy units; nil where it is not public
	Growth    string // one of the growths; whether the rows change from version to version
	Target    Target // zero where the policy names none
	Columns   []Column
	CSV       *CSV // how to read a CSV; never nil after Parse
}

// The ways in which a data set grows. Whatever the way, one budget is for all of its
// versions together.
const (
	// GrowthFixed: there is one version.
	GrowthFixed = "fixed"

	// GrowthAppend: a version holds all rows of the last. What is protected is one
	// row, in all versions from its first on.
	GrowthAppend = "append-only"

	// GrowthReplaced: a version may hold any rows. What is protected is one row in
	// each version, in all of them together.
	GrowthReplaced = "replaced"
)

// UnitKind says what one privacy unit is.
type UnitKind string

// The privacy units.
const (
	UnitRow    UnitKind = "row"
	UnitEntity UnitKind = "entity"
)

// A Unit is the privacy unit: one row, or all rows of one entity.
type Unit struct {
	Kind    UnitKind
	Entity  string // the column with the entity's key
	MaxRows int    // the most rows of one entity that are used
}

// A Target is the column that a model predicts.
type Target struct {
	Column   string
	Positive string // the level that counts as 1; "" where the target is not binary
}

// ColumnType is how a column's values are read.
type ColumnType string

// The column types.
const (
	Number   ColumnType = "number"
	Integer  ColumnType = "integer"
	Boolean  ColumnType = "boolean"
	Category ColumnType = "category"
)

// A Column binds one column of the file by its name.
type Column struct {
	Name      string
	Type      ColumnType
	Lower     float64  // number and integer: finite, Lower < Upper, and so is their difference
	Upper     float64  //
	Levels    []string // category: at least two, each once, in the declared order
	Default   *string  // what stands for null and unknown values, as text; nil: the middle or the reference level
	Reference string   // category: its reference level, one of Levels, never empty after Parse
	Line      int      // where the policy declares it
}

// A CSV describes how to read comma-separated files.
type CSV struct {
	Header    bool
	Separator rune
	Null      []string // cells that count as null
	Trim      bool     // drop white space around cells
}

// A Budget is the most that all jobs on the dataset may cost together.
type Budget struct {
	Epsilon          accountant.Amount
	Delta            accountant.Amount
	ApproximateDelta accountant.Amount // the share of Delta for approximate (ε, δ) events
	PureEpsilon      accountant.Amount // the share of Epsilon for pure events, added up plainly
	Accountant       accountant.Method
	Order            float64 // the RDP filter's order; 0: the best for Gaussian-like use
	PerJob           *Cap    // nil: a job may use all that is left
	Analysts         map[string]Cap
	Purposes         map[string]Cap
	Periods          map[string]Cap // by renewal: monthly, quarterly, yearly; each shorter than Renews
	Renews           string         // never, monthly, quarterly or yearly
}

// A Cap is a smaller budget within the policy's.
type Cap struct {
	Epsilon accountant.Amount
	Delta   *accountant.Amount // nil: the policy's
}

// CapTerms returns what the filter of a cap is registered with: the cap's ε and
// δ without shares, under the budget's accountant at an order of its own.
func (b Budget) CapTerms(c Cap) accountant.Terms {
	return accountant.Terms{Method: b.Accountant, Epsilon: c.Epsilon, Delta: c.within(b.Delta)}
}

// Terms returns what the budget's filter is registered with.
func (b Budget) Terms() accountant.Terms {
	return accountant.Terms{
		Method:           b.Accountant,
		Epsilon:          b.Epsilon,
		Delta:            b.Delta,
		ApproximateDelta: b.ApproximateDelta,
		PureEpsilon:      b.PureEpsilon,
		Order:            b.Order,
	}
}

// Allow lists what jobs may be. A nil list allows anything, an empty one
// nothing; "*" among the analysts stands for every analyst.
type Allow struct {
	Models   []string
	Queries  []string
	Analysts []string
	Purposes []string
	Targets  []string // columns that a model may predict
}

// AnalystCap returns the cap of one analyst: their own entry, else that of "*",
// which holds for each analyst separately. It returns false where neither
// exists: only the policy's budget bounds that analyst then.
func (p *Policy) AnalystCap(name string) (*Cap, bool) { return p.Budget.analystCap(name) }

func (b Budget) analystCap(name string) (*Cap, bool) { return capOf(b.Analysts, name) }

// PurposeCap is AnalystCap for purposes.
func (p *Policy) PurposeCap(name string) (*Cap, bool) { return p.Budget.purposeCap(name) }

func (b Budget) purposeCap(name string) (*Cap, bool) { return capOf(b.Purposes, name) }

func (b Budget) periodCap(renews string) (*Cap, bool) {
	c, ok := b.Periods[renews]
	if !ok {
		return nil, false
	}
	return &c, true
}

func capOf(caps map[string]Cap, name string) (*Cap, bool) {
	c, ok := caps[name]
	if !ok {
		c, ok = caps["*"]
	}
	if !ok {
		return nil, false
	}
	return &c, true
}

// column returns the declared column of that name.
func (d Dataset) column(name string) (Column, bool) {
	for _, c := range d.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

// A Date is a calendar day.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDate reads YYYY-MM-DD, a day that exists in the Gregorian calendar.
func ParseDate(text string) (Date, error) {
	t, err := time.Parse("2006-01-02", text)
	if err != nil || t.Year() < 1 {
		return Date{}, fmt.Errorf("%s is not a date; write it as YYYY-MM-DD", quote(text))
	}
	return Date{t.Year(), t.Month(), t.Day()}, nil
}

// String returns d as YYYY-MM-DD.
func (d Date) String() string {
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day)
}

// Past reports whether d has ended at that moment: whether it is a later day in
// UTC.
func (d Date) Past(now time.Time) bool {
	end := time.Date(d.Year, d.Month, d.Day+1, 0, 0, 0, 0, time.UTC)
	return !now.Before(end)
}
