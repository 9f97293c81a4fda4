package policies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Show returns the policy in effect: a policy file with every default written
// out and all text in quotes. Parse reads it as the same policy but for SHA256,
// the lines of columns and where its values come from, unless it outgrows the most
// that Parse reads (128 KiB).
func (p *Policy) Show() []byte {
	var b strings.Builder
	for _, l := range p.lines() {
		b.WriteString(l.text + "\n")
	}
	return []byte(b.String())
}

// Explain returns what Show does, each value with a comment that says where it
// comes from: FILE:LINE, or default.
func (p *Policy) Explain() []byte {
	const column = 48 // of the comments, where the values leave room for it
	var b strings.Builder
	for _, l := range p.lines() {
		if l.clause == "" {
			b.WriteString(l.text + "\n")
		} else {
			fmt.Fprintf(&b, "%-*s # %s\n", column, l.text, oneLine(p.origin(l.clause)))
		}
	}
	return []byte(b.String())
}

// Origins returns the same by clause, named as Diff names them.
func (p *Policy) Origins() map[string]string {
	m := make(map[string]string)
	for _, l := range p.lines() {
		if l.clause != "" {
			m[l.clause] = p.origin(l.clause)
		}
	}
	return m
}

func (p *Policy) origin(clause string) string {
	if place, ok := p.origins[clause]; ok {
		return place
	}
	return "default"
}

// originsOf returns where each clause of a tree is written. A mapping that came
// together from several places names all of them.
func originsOf(root *node) map[string]string {
	m := make(map[string]string)
	for i, key := range root.keys {
		value := root.values[i]
		if value.kind != mapping {
			m[key.text] = value.places()
			continue
		}
		for j, inner := range value.keys {
			name, n := key.text+"."+inner.text, value.values[j]
			switch name {
			case "budget.analysts", "budget.purposes", "budget.periods":
				for k, of := range n.keys {
					m[name+"."+of.text] = n.values[k].places()
				}
			case "dataset.columns":
				for _, column := range n.values {
					m[name+"."+column.get("name").text] = column.place()
				}
			case "dataset.csv":
				m[name] = n.places()
				if len(n.keys) < len(datasetShape.field("csv").value.fields) {
					m[name] = strings.TrimPrefix(m[name]+", otherwise default", ", otherwise ")
				}
			default:
				m[name] = n.places()
			}
		}
	}
	return m
}

func (n *node) place() string { return fmt.Sprintf("%s:%d", n.file, n.line) }

// places lists where the values of a mapping are written, each place once.
func (n *node) places() string {
	if n.kind != mapping {
		return n.place()
	}
	var all []string
	for _, v := range n.values {
		if place := v.places(); !slices.Contains(all, place) {
			all = append(all, place)
		}
	}
	return strings.Join(all, ", ")
}

// A shownLine is a line of the policy in effect; clause is "" where it has no
// value of its own.
type shownLine struct{ clause, text string }

// lineWriter adds a line.
type lineWriter func(clause, format string, args ...any)

func (p *Policy) lines() []shownLine {
	var all []shownLine
	line := func(clause, format string, args ...any) {
		all = append(all, shownLine{clause, fmt.Sprintf(format, args...)})
	}
	line("apiVersion", "apiVersion: %s", p.APIVersion)
	line("kind", "kind: %s", p.Kind)
	line("", "metadata:")
	line("metadata.name", "  name: %s", yamlText(p.Metadata.Name))
	if p.Metadata.Owner != "" {
		line("metadata.owner", "  owner: %s", yamlText(p.Metadata.Owner))
	}
	p.Dataset.show(line)
	p.Budget.show(line)
	p.Allow.show(line)
	p.Approvals.show(line)
	if p.Expires != nil {
		line("expires", "expires: %s", p.Expires)
	}
	if p.LedgerID != "" {
		line("ledger.id", "ledger: {id: %s}", yamlText(p.LedgerID))
	}
	return all
}

func (d Dataset) show(line lineWriter) {
	line("", "dataset:")
	line("dataset.name", "  name: %s", yamlText(d.Name))
	if d.Unit.Kind == UnitEntity {
		line("dataset.privacyUnit", "  privacyUnit: {entity: %s, maxRows: %d}", yamlText(d.Unit.Entity), d.Unit.MaxRows)
	} else {
		line("dataset.privacyUnit", "  privacyUnit: %s", d.Unit.Kind)
	}
	line("dataset.adjacency", "  adjacency: %s", d.Adjacency)
	if d.Rows != nil {
		line("dataset.rows", "  rows: %d", *d.Rows)
	}
	line("dataset.growth", "  growth: %s", d.Growth)
	if d.Target.Column != "" {
		line("dataset.target", "  target: %s", d.Target.entry())
	}
	line("", "  columns:")
	for _, c := range d.Columns {
		line("dataset.columns."+c.Name, "    - {%s}", c.entry())
	}
	line("dataset.csv", "  csv: %s", d.CSV.entry())
}

func (t Target) entry() string {
	if t.Positive == "" {
		return fmt.Sprintf("{column: %s}", yamlText(t.Column))
	}
	return fmt.Sprintf("{column: %s, positive: %s}", yamlText(t.Column), yamlText(t.Positive))
}

func (c *CSV) entry() string {
	return fmt.Sprintf("{header: %t, separator: %s, null: %s, trim: %t}",
		c.Header, yamlText(string(c.Separator)), yamlTexts(c.Null), c.Trim)
}

func (c Column) entry() string {
	parts := []string{"name: " + yamlText(c.Name), "type: " + string(c.Type)}
	switch c.Type {
	case Number, Integer:
		parts = append(parts, fmt.Sprintf("bounds: [%s, %s]", yamlNumber(c.Lower), yamlNumber(c.Upper)))
	case Category:
		parts = append(parts, "levels: "+yamlTexts(c.Levels), "reference: "+yamlText(c.Reference))
	}
	if c.Default != nil {
		text := *c.Default
		if c.Type == Category {
			text = yamlText(text)
		}
		parts = append(parts, "default: "+text)
	}
	return strings.Join(parts, ", ")
}

func (b Budget) show(line lineWriter) {
	line("", "budget:")
	line("budget.epsilon", "  epsilon: %s", b.Epsilon)
	line("budget.delta", "  delta: %s", b.Delta)
	line("budget.accountant", "  accountant: %s", b.Accountant)
	if b.Order != 0 {
		line("budget.order", "  order: %s", yamlNumber(b.Order))
	}
	if b.PerJob != nil {
		line("budget.perJob", "  perJob: %s", b.PerJob.entry())
	}
	line("budget.approximateDelta", "  approximateDelta: %s", b.ApproximateDelta)
	line("budget.pureEpsilon", "  pureEpsilon: %s", b.PureEpsilon)
	for table, caps := range b.capTables() {
		if len(caps) == 0 {
			continue
		}
		line("", "  %s:", table)
		for _, name := range slices.Sorted(maps.Keys(caps)) {
			line("budget."+table+"."+name, "    %s: %s", yamlText(name), caps[name].entry())
		}
	}
	line("budget.renews", "  renews: %s", b.Renews)
}

func (c Cap) entry() string {
	if c.Delta == nil {
		return fmt.Sprintf("{epsilon: %s}", c.Epsilon)
	}
	return fmt.Sprintf("{epsilon: %s, delta: %s}", c.Epsilon, *c.Delta)
}

func (a Allow) show(line lineWriter) {
	if a.Models == nil && a.Queries == nil && a.Analysts == nil && a.Purposes == nil && a.Targets == nil {
		return
	}
	line("", "allow:")
	list := func(key string, values []string) {
		if values != nil {
			line("allow."+key, "  %s: %s", key, yamlTexts(values))
		}
	}
	list("models", a.Models)
	list("queries", a.Queries)
	list("analysts", a.Analysts)
	list("purposes", a.Purposes)
	list("targets", a.Targets)
}

// yamlText returns text in double quotes; what JSON writes is YAML as well.
func yamlText(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic("policies: text that is no JSON")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func yamlTexts(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = yamlText(t)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// yamlNumber returns the shortest decimal that is read back as f.
func yamlNumber(f float64) string {
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-4 || size >= 1e15) {
		format = 'e'
	}
	return strconv.FormatFloat(f, format, -1, 64)
}
