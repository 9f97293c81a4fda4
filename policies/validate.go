package policies

import (
	"errors"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/privsgld/privsgld/accountant"
)

// validate checks the rules between keys, in the order of the file's sections.
// Each fault stands where its mending would begin.
func validate(p *Policy, root *node) *fault {
	if bad := validateColumns(p.Dataset, root.get("dataset", "columns")); bad != nil {
		return bad
	}
	if bad := validateCoefficients(p.Dataset, root.get("dataset", "columns")); bad != nil {
		return bad
	}
	if bad := validateTarget(p.Dataset, root.get("dataset", "target")); bad != nil {
		return bad
	}
	for i, target := range p.Allow.Targets {
		if _, ok := p.Dataset.column(target); !ok {
			return faultAt(root.get("allow", "targets").values[i], "allow.targets: %s is not declared among the columns; declare it there", quote(target))
		}
	}
	if bad := validateBudget(p.Budget, root.get("budget")); bad != nil {
		return bad
	}
	return validateApprovals(root.get("approvals"))
}

func validateColumns(d Dataset, n *node) *fault {
	seen := make(map[string]Column, len(d.Columns))
	for i, c := range d.Columns {
		at := n.values[i]
		if first, ok := seen[c.Name]; ok {
			return faultAt(at.get("name"), "column %s is declared twice; the first is on line %d", quote(c.Name), first.Line)
		}
		seen[c.Name] = c
		var bad *fault
		switch c.Type {
		case Number, Integer:
			bad = validateNumber(c, at)
		case Category:
			bad = validateCategory(c, at)
		}
		if bad != nil {
			bad.message = "column " + quote(c.Name) + ": " + bad.message
			return bad
		}
	}
	return nil
}

// maxInteger bounds the integers that a float64 holds without gaps.
const maxInteger = 1 << 53

func validateNumber(c Column, n *node) *fault {
	bounds, def := n.get("bounds"), n.get("default")
	switch {
	case !(c.Lower < c.Upper):
		return faultAt(bounds, "the lower bound must be less than the upper one")
	case math.IsInf(c.Upper-c.Lower, 0):
		return faultAt(bounds, "the bounds lie too far apart for float64")
	}
	if c.Type == Integer {
		for _, b := range bounds.values {
			if f := float(b); f != math.Trunc(f) || math.Abs(f) > maxInteger {
				return faultAt(b, "the bounds of an integer must be whole numbers, at most 2^53 in size; or declare type: number")
			}
		}
	}
	if def == nil {
		return nil
	}
	f := float(def)
	if f < c.Lower || f > c.Upper {
		return faultAt(def, "the default must lie within the bounds")
	}
	if c.Type == Integer && f != math.Trunc(f) {
		return faultAt(def, "the default of an integer must be a whole number; or declare type: number")
	}
	return nil
}

func validateCategory(c Column, n *node) *fault {
	if !slices.Contains(c.Levels, c.Reference) {
		return faultAt(n.get("reference"), "the reference %s is none of the levels", quote(c.Reference))
	}
	if c.Default != nil && !slices.Contains(c.Levels, *c.Default) {
		return faultAt(n.get("default"), "the default %s is none of the levels", quote(*c.Default))
	}
	return nil
}

// validateCoefficients refuses columns whose coefficients would share a name:
// a number named "region=south" beside a category "region".
func validateCoefficients(d Dataset, n *node) *fault {
	plain := make(map[string]bool, len(d.Columns))
	for _, c := range d.Columns {
		if c.Type != Category {
			plain[c.Name] = true
		}
	}
	owner := make(map[string]string)
	for i, c := range d.Columns {
		if c.Type != Category {
			continue
		}
		for _, level := range c.Levels {
			coefficient := c.Name + "=" + level
			if other, ok := owner[coefficient]; ok {
				return faultAt(n.values[i].get("name"), "columns %s and %s would both have a coefficient %s; rename one", quote(other), quote(c.Name), quote(coefficient))
			}
			owner[coefficient] = c.Name
			if plain[coefficient] {
				return faultAt(n.values[i].get("name"), "column %s would have a coefficient %s, which is another column's name; rename one", quote(c.Name), quote(coefficient))
			}
		}
	}
	return nil
}

func validateTarget(d Dataset, n *node) *fault {
	if n == nil {
		return nil
	}
	column, positive := n.get("column"), n.get("positive")
	if d.Unit.Kind == UnitEntity && d.Unit.Entity == d.Target.Column {
		return faultAt(column, "the target must not be the entity key %s", quote(d.Unit.Entity))
	}
	c, ok := d.column(d.Target.Column)
	if !ok {
		return faultAt(column, "the target %s is not declared among the columns; declare it there", quote(d.Target.Column))
	}
	if positive == nil {
		return nil
	}
	bare := !positive.quoted && (positive.text == "true" || positive.text == "false")
	switch c.Type {
	case Boolean:
		if positive.text != "true" && positive.text != "false" {
			return faultAt(positive, "positive must be true or false, since column %s is boolean", quote(c.Name))
		}
	case Category:
		if bare {
			return faultAt(positive, "positive must be a level in quotes: %q", positive.text)
		}
		if !slices.Contains(c.Levels, positive.text) {
			return faultAt(positive, "positive: %s is none of the levels of column %s", quote(positive.text), quote(c.Name))
		}
	default:
		return faultAt(positive, "positive is for a category or boolean; column %s is a %s: remove it", quote(c.Name), c.Type)
	}
	return nil
}

func validateBudget(b Budget, n *node) *fault {
	if b.Order != 0 && b.Accountant != accountant.MethodRDP {
		return faultAt(n.get("order"), "budget.order is for accountant: rdp; remove it")
	}
	if b.ApproximateDelta.Cmp(b.Delta) >= 0 {
		return faultAt(n.get("approximateDelta"), "budget.approximateDelta must be less than budget.delta")
	}
	if b.PureEpsilon.Cmp(b.Epsilon) >= 0 {
		return faultAt(n.get("pureEpsilon"), "budget.pureEpsilon must be less than budget.epsilon")
	}
	if b.PerJob != nil {
		if bad := validateCap(*b.PerJob, b, n.get("perJob"), "budget.perJob"); bad != nil {
			return bad
		}
	}
	for name, caps := range b.capTables() {
		table := n.get(name)
		if table == nil {
			continue
		}
		for i, key := range table.keys {
			if name == "periods" && !shorter(key.text, b.Renews) {
				return faultAt(key, "budget.periods.%s is no shorter than the period of the budget, which renews %s; remove it", key.text, b.Renews)
			}
			if bad := validateCap(caps[key.text], b, table.values[i], "budget."+name+"."+key.text); bad != nil {
				return bad
			}
		}
	}
	// The filter has the last word on whether its terms leave it any budget.
	if _, err := accountant.NewFilter(b.Terms()); err != nil {
		at := n
		if order := n.get("order"); order != nil {
			at = order
		}
		return faultAt(at, "budget: %s", filterMessage(err))
	}
	return nil
}

// capTables yields the tables of caps by their keys, in the order of the file.
func (b Budget) capTables() iter.Seq2[string, map[string]Cap] {
	return func(yield func(string, map[string]Cap) bool) {
		_ = yield("analysts", b.Analysts) && yield("purposes", b.Purposes) && yield("periods", b.Periods)
	}
}

// shorter reports whether periods of one renewal lie within those of another.
func shorter(renewal, within string) bool {
	return within == "never" || renewalRank(renewal) > renewalRank(within)
}

// filterMessage is the filter's own reason without the class it belongs to.
func filterMessage(err error) string {
	text := oneLine(err.Error())
	for _, class := range []error{accountant.ErrDomain, accountant.ErrUnsupported} {
		if errors.Is(err, class) {
			text = strings.TrimPrefix(text, class.Error()+": ")
		}
	}
	return text
}

func validateCap(c Cap, b Budget, n *node, name string) *fault {
	if c.Epsilon.Cmp(b.Epsilon) > 0 {
		return faultAt(n.get("epsilon"), "%s.epsilon must be at most budget.epsilon, %s", name, b.Epsilon)
	}
	if c.Delta != nil && c.Delta.Cmp(b.Delta) > 0 {
		return faultAt(n.get("delta"), "%s.delta must be at most budget.delta, %s", name, b.Delta)
	}
	return nil
}
