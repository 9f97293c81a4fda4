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
// out and all text in quotes. Parse reads it as the same policy but for SHA256
// and the lines of columns, unless it outgrows the most that Parse reads
// (128 KiB).
func (p *Policy) Show() []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("apiVersion: %s", p.APIVersion)
	line("kind: %s", p.Kind)
	line("metadata:")
	line("  name: %s", yamlText(p.Metadata.Name))
	if p.Metadata.Owner != "" {
		line("  owner: %s", yamlText(p.Metadata.Owner))
	}
	p.Dataset.show(line)
	p.Budget.show(line)
	p.Allow.show(line)
	if p.Expires != nil {
		line("expires: %s", p.Expires)
	}
	if p.LedgerID != "" {
		line("ledger: {id: %s}", yamlText(p.LedgerID))
	}
	return []byte(b.String())
}

func (d Dataset) show(line func(string, ...any)) {
	line("dataset:")
	line("  name: %s", yamlText(d.Name))
	if d.Unit.Kind == UnitEntity {
		line("  privacyUnit: {entity: %s, maxRows: %d}", yamlText(d.Unit.Entity), d.Unit.MaxRows)
	} else {
		line("  privacyUnit: %s", d.Unit.Kind)
	}
	line("  adjacency: %s", d.Adjacency)
	if d.Rows != nil {
		line("  rows: %d", *d.Rows)
	}
	if d.Target.Column != "" {
		line("  target: %s", d.Target.entry())
	}
	line("  columns:")
	for _, c := range d.Columns {
		line("    - {%s}", c.entry())
	}
	line("  csv: %s", d.CSV.entry())
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

func (b Budget) show(line func(string, ...any)) {
	line("budget:")
	line("  epsilon: %s", b.Epsilon)
	line("  delta: %s", b.Delta)
	line("  accountant: %s", b.Accountant)
	if b.Order != 0 {
		line("  order: %s", yamlNumber(b.Order))
	}
	if b.PerJob != nil {
		line("  perJob: %s", b.PerJob.entry())
	}
	line("  approximateDelta: %s", b.ApproximateDelta)
	line("  pureEpsilon: %s", b.PureEpsilon)
	if len(b.Analysts) > 0 {
		line("  analysts:")
		for _, name := range slices.Sorted(maps.Keys(b.Analysts)) {
			line("    %s: %s", yamlText(name), b.Analysts[name].entry())
		}
	}
	line("  renews: %s", b.Renews)
}

func (c Cap) entry() string {
	if c.Delta == nil {
		return fmt.Sprintf("{epsilon: %s}", c.Epsilon)
	}
	return fmt.Sprintf("{epsilon: %s, delta: %s}", c.Epsilon, *c.Delta)
}

func (a Allow) show(line func(string, ...any)) {
	if a.Models == nil && a.Queries == nil && a.Analysts == nil && a.Purposes == nil {
		return
	}
	line("allow:")
	list := func(key string, values []string) {
		if values != nil {
			line("  %s: %s", key, yamlTexts(values))
		}
	}
	list("models", a.Models)
	list("queries", a.Queries)
	list("analysts", a.Analysts)
	list("purposes", a.Purposes)
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
