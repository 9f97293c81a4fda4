package policies

import (
	"fmt"
	"maps"
	"slices"

	"github.com/privsgld/privsgld/accountant"
)

// A Comparison says what a new policy, or one clause of it, promises beside an
// old one. The four are a lattice: Or of two comparisons is that of two clauses
// together, so that a clause that is tighter does not make up for one that is
// looser.
type Comparison uint8

// The comparisons: whether the new policy refuses something that the old one
// admits (Tighter), admits something that the old one refuses (Looser), or both.
const (
	Same         Comparison = 0
	Tighter      Comparison = 1
	Looser       Comparison = 2
	Incomparable Comparison = Tighter | Looser
)

// String returns the comparison in one lower-case word.
func (c Comparison) String() string {
	return [...]string{"same", "tighter", "looser", "incomparable"}[c]
}

// MarshalText returns the same word.
func (c Comparison) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// A ClauseDiff compares one clause of two policies; Old and New are its values
// as the effective policy has them, "none" where there is none.
type ClauseDiff struct {
	Clause  string     `json:"clause"`
	Verdict Comparison `json:"verdict"`
	Old     string     `json:"old"`
	New     string     `json:"new"`
	Why     string     `json:"why,omitempty"`
}

// Differs reports whether the clause is written otherwise or promises otherwise.
func (c ClauseDiff) Differs() bool { return c.Old != c.New || c.Verdict != Same }

// A Difference compares two policies: each clause, and all of them together.
type Difference struct {
	Verdict Comparison   `json:"verdict"`
	Clauses []ClauseDiff `json:"clauses"`
}

// Diff compares policies clause by clause. The verdict is Same or Tighter only
// if every rule of next admits no more than that of old, under a promise at least
// as strong for the same unit and neighbouring relation. It is Looser or
// Incomparable otherwise, and also where that could not be proved:
//
//   - Another data set, privacy unit, entity key, neighbouring relation, growth,
//     accountant or order of the filter, and another pinned ledger, cannot be compared. An
//     order that is left out in both is that of each budget: what is compared is
//     the (ε, δ) that it keeps, not which events the filter would count for less.
//   - ε and δ, the shares of them, and what is left beside the shares must none of
//     them grow: a greater share leaves less for all else. A share of ε for
//     pure events cannot be compared with none, where they go through the filter.
//   - Of caps, lists, the last day and renewals the smaller, shorter, earlier and
//     rarer is tighter. A cap or a pin that is added is tighter, and a list
//     beside none at all: that allows anything, in later versions too.
//   - Rules for signatures are compared by who satisfies them: more signatures of
//     the same keys are tighter, other keys cannot be compared. An owner's key that
//     is added is looser, since it permits amendments.
//   - A column that is added is looser, since columns that a policy does not name
//     are never read. Bounds, levels, types, defaults, the number of rows, maxRows,
//     the target and the reading of CSV promise nothing: the guarantee holds for
//     every encoding that is public, so that these are Same whatever they say.
//
// A rule that another rule makes idle counts all the same.
func Diff(old, next *Policy) Difference {
	var d Difference
	d.metadata(old.Metadata, next.Metadata)
	d.dataset(old.Dataset, next.Dataset)
	d.budget(old.Budget, next.Budget)
	d.list("allow.models", words(old.Allow.Models), words(next.Allow.Models))
	d.list("allow.queries", words(old.Allow.Queries), words(next.Allow.Queries))
	d.list("allow.analysts", everyone(old.Allow.Analysts), everyone(next.Allow.Analysts))
	d.list("allow.purposes", words(old.Allow.Purposes), words(next.Allow.Purposes))
	d.list("allow.targets", words(old.Allow.Targets), words(next.Allow.Targets))
	d.approvals(old.Approvals, next.Approvals)
	d.expiry(old.Expires, next.Expires)
	d.pin(old.LedgerID, next.LedgerID)
	return d
}

func (d *Difference) add(clause string, c Comparison, old, next, why string) {
	d.Verdict |= c
	d.Clauses = append(d.Clauses, ClauseDiff{clause, c, old, next, why})
}

// exactly adds a clause of which other values cannot be compared.
func (d *Difference) exactly(clause, old, next, why string) {
	if old == next {
		d.add(clause, Same, old, next, "")
		return
	}
	d.add(clause, Incomparable, old, next, why)
}

// neither adds a clause that promises nothing.
func (d *Difference) neither(clause, old, next, why string) {
	if old == next {
		why = ""
	}
	d.add(clause, Same, old, next, why)
}

const (
	none         = "none"
	encodingOnly = "another encoding; the guarantee holds for each that is public"
)

func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

func (d *Difference) metadata(old, next Metadata) {
	const why = "says who answers, and promises nothing"
	d.neither("metadata.name", old.Name, next.Name, why)
	d.neither("metadata.owner", orNone(old.Owner), orNone(next.Owner), why)
}

func (d *Difference) dataset(old, next Dataset) {
	d.exactly("dataset.name", old.Name, next.Name, "another data set has a budget of its own")
	d.exactly("dataset.privacyUnit", old.Unit.protects(), next.Unit.protects(), "neither unit's guarantee implies the other's")
	if old.Unit.Kind == UnitEntity && next.Unit.Kind == UnitEntity {
		d.neither("dataset.privacyUnit.maxRows", fmt.Sprint(old.Unit.MaxRows), fmt.Sprint(next.Unit.MaxRows), encodingOnly)
	}
	d.exactly("dataset.adjacency", string(old.Adjacency), string(next.Adjacency), "neither relation's guarantee implies the other's at the same ε and δ")
	d.neither("dataset.rows", old.rowsText(), next.rowsText(), "a public fact; it promises nothing")
	d.exactly("dataset.growth", old.Growth, next.Growth, "another meaning of one row; a registered data set keeps its own")
	d.neither("dataset.target", old.Target.text(), next.Target.text(), encodingOnly)
	d.columns(old, next)
	d.neither("dataset.csv", old.CSV.entry(), next.CSV.entry(), encodingOnly)
}

// protects names what is protected, without the rows of it that are used.
func (u Unit) protects() string {
	if u.Kind == UnitEntity {
		return "entity " + quote(u.Entity)
	}
	return string(u.Kind)
}

func (d Dataset) rowsText() string {
	if d.Rows == nil {
		return none
	}
	return fmt.Sprint(*d.Rows)
}

func (t Target) text() string {
	if t.Column == "" {
		return none
	}
	return t.entry()
}

func (d *Difference) columns(old, next Dataset) {
	was := columnsByName(old)
	is := columnsByName(next)
	for _, c := range old.Columns {
		if n, ok := is[c.Name]; ok {
			d.neither("dataset.columns."+c.Name, c.entry(), n.entry(), encodingOnly)
		} else {
			d.add("dataset.columns."+c.Name, Tighter, c.entry(), none, "the column is no longer read")
		}
	}
	for _, c := range next.Columns {
		if _, ok := was[c.Name]; !ok {
			d.add("dataset.columns."+c.Name, Looser, none, c.entry(), "the column was never read")
		}
	}
}

func columnsByName(d Dataset) map[string]Column {
	m := make(map[string]Column, len(d.Columns))
	for _, c := range d.Columns {
		m[c.Name] = c
	}
	return m
}

func (d *Difference) budget(old, next Budget) {
	d.amount("budget.epsilon", old.Epsilon, next.Epsilon)
	d.amount("budget.delta", old.Delta, next.Delta)
	d.exactly("budget.accountant", string(old.Accountant), string(next.Accountant), "two filters admit different jobs, and never mix")
	d.order(old, next)
	d.perJob(old, next)
	d.share("budget.approximateDelta", old.Delta, old.ApproximateDelta, next.Delta, next.ApproximateDelta)
	if old.PureEpsilon.IsZero() == next.PureEpsilon.IsZero() {
		d.share("budget.pureEpsilon", old.Epsilon, old.PureEpsilon, next.Epsilon, next.PureEpsilon)
	} else {
		d.exactly("budget.pureEpsilon", old.PureEpsilon.String(), next.PureEpsilon.String(), "pure events go through the filter, or are added up plainly")
	}
	d.caps("budget.analysts.", keysOfBoth(old.Analysts, next.Analysts, "*"), old, next, Budget.analystCap)
	d.caps("budget.purposes.", keysOfBoth(old.Purposes, next.Purposes, "*"), old, next, Budget.purposeCap)
	d.caps("budget.periods.", keysOfBoth(old.Periods, next.Periods), old, next, Budget.periodCap)
	d.add("budget.renews", compareInts(renewalRank(old.Renews), renewalRank(next.Renews)), old.Renews, next.Renews, "")
}

// compareAmounts compares bounds of which the smaller is tighter.
func compareAmounts(old, next accountant.Amount) Comparison { return compareInts(old.Cmp(next), 0) }

// compareInts compares ranks of which the smaller is tighter.
func compareInts(old, next int) Comparison {
	switch {
	case next < old:
		return Tighter
	case next > old:
		return Looser
	}
	return Same
}

// renewalRank counts the periods of a year, and 0 where there is but one for ever.
func renewalRank(renews string) int {
	return map[string]int{"never": 0, "yearly": 1, "quarterly": 4, "monthly": 12}[renews]
}

func (d *Difference) amount(clause string, old, next accountant.Amount) {
	d.add(clause, compareAmounts(old, next), old.String(), next.String(), "")
}

// share compares a share and what the budget has beside it.
func (d *Difference) share(clause string, oldAll, old, nextAll, next accountant.Amount) {
	oldRest, _ := oldAll.Sub(old)
	nextRest, _ := nextAll.Sub(next)
	c := compareAmounts(old, next)
	why := ""
	if c != Same {
		c |= compareAmounts(oldRest, nextRest)
	}
	if c == Incomparable {
		why = fmt.Sprintf("beside the share there were %s, and are now %s", oldRest, nextRest)
	}
	d.add(clause, c, old.String(), next.String(), why)
}

func (d *Difference) order(old, next Budget) {
	text := func(b Budget) string {
		if b.Order == 0 {
			return "that of the budget"
		}
		return yamlNumber(b.Order)
	}
	c, why := Same, ""
	if old.Order != next.Order && old.filterOrder() != next.filterOrder() {
		c, why = Incomparable, "filters of two orders admit different jobs"
	}
	d.add("budget.order", c, text(old), text(next), why)
}

// filterOrder returns the order that the ledger would register.
func (b Budget) filterOrder() float64 {
	f, err := accountant.NewFilter(b.Terms())
	if err != nil {
		return b.Order
	}
	return f.Terms().Order
}

// perJob compares what one job may cost: without a cap, all of the budget.
func (d *Difference) perJob(old, next Budget) {
	c := Same
	if old.PerJob != nil || next.PerJob != nil {
		c = compareCaps(old, old.jobCap(), next, next.jobCap())
	}
	d.add("budget.perJob", c, old.PerJob.text(), next.PerJob.text(), "")
}

func (b Budget) jobCap() *Cap {
	if b.PerJob != nil {
		return b.PerJob
	}
	return &Cap{Epsilon: b.Epsilon}
}

// compareCaps compares two caps, each within its budget. What two caps that name
// no δ leave to the budget is its own clause.
func compareCaps(old Budget, was *Cap, next Budget, is *Cap) Comparison {
	c := compareAmounts(was.Epsilon, is.Epsilon)
	if was.Delta != nil || is.Delta != nil {
		c |= compareAmounts(was.within(old.Delta), is.within(next.Delta))
	}
	return c
}

// within returns the cap's δ, that of the budget where it names none.
func (c *Cap) within(delta accountant.Amount) accountant.Amount {
	if c.Delta != nil {
		return *c.Delta
	}
	return delta
}

func (c *Cap) text() string {
	if c == nil {
		return none
	}
	return c.entry()
}

// keysOfBoth returns the names that one of two tables of caps has, and more.
func keysOfBoth(old, next map[string]Cap, more ...string) []string {
	names := slices.Concat(slices.Collect(maps.Keys(old)), slices.Collect(maps.Keys(next)), more)
	slices.Sort(names)
	return slices.Compact(names)
}

// caps compares the caps of a table: of everybody whom one of the policies
// names, and of everybody else.
func (d *Difference) caps(clause string, names []string, old, next Budget, find func(Budget, string) (*Cap, bool)) {
	for _, name := range names {
		was, had := find(old, name)
		is, has := find(next, name)
		c := Same
		switch {
		case had && has:
			c = compareCaps(old, was, next, is)
		case has:
			c = Tighter
		case had:
			c = Looser
		}
		d.add(clause+name, c, was.text(), is.text(), "")
	}
}

// A listing is a list of what may be asked; nil allows anything.
type listing struct {
	words []string
	all   bool // every word: "*" among the analysts
}

func words(list []string) listing { return listing{words: list} }

func everyone(list []string) listing { return listing{list, slices.Contains(list, "*")} }

// covers reports whether a list allows all that another one does. No list at
// all allows more than every analyst: a job of no name.
func (l listing) covers(other listing) bool {
	switch {
	case l.words == nil:
		return true
	case other.words == nil:
		return false
	case l.all || other.all:
		return l.all
	}
	return !slices.ContainsFunc(other.words, func(s string) bool { return !slices.Contains(l.words, s) })
}

func (l listing) String() string {
	if l.words == nil {
		return "anything"
	}
	return yamlTexts(l.words)
}

func (d *Difference) list(clause string, old, next listing) {
	c := Same
	if !old.covers(next) {
		c |= Looser
	}
	if !next.covers(old) {
		c |= Tighter
	}
	d.add(clause, c, old.String(), next.String(), "")
}

func (d *Difference) expiry(old, next *Date) {
	text := func(day *Date) string {
		if day == nil {
			return "never"
		}
		return day.String()
	}
	was, is := text(old), text(next)
	c := Same
	switch {
	case was == is:
	case old == nil || next != nil && is < was: // four digits of a year: text sorts as days do
		c = Tighter
	default:
		c = Looser
	}
	d.add("expires", c, was, is, "")
}

func (d *Difference) pin(old, next string) {
	switch {
	case old == "" && next != "":
		d.add("ledger.id", Tighter, "any", next, "a budget in another ledger is no longer possible")
	case old != "" && next == "":
		d.add("ledger.id", Looser, old, "any", "a fresh ledger would be a fresh budget")
	default:
		if old == "" {
			old, next = "any", "any"
		}
		d.exactly("ledger.id", old, next, "another ledger counts its own charges")
	}
}
