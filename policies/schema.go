package policies

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Schema returns the JSON Schema (draft 2020-12) of the policy file, for
// editors. It is printed from the table that the parser checks files against;
// schema.json holds the same bytes. What it cannot say is how a number or a word
// is spelled, and the rules between keys: the parser alone decides.
func Schema() []byte {
	s := schemaOf(policyShape)
	s["if"] = map[string]any{"not": map[string]any{"required": []string{"extends"}}}
	s["then"] = withoutBase(policyShape)
	return schemaFile(s, "schema.json", "privsgld policy")
}

// BaseSchema returns the same of base files; base.schema.json holds its bytes.
func BaseSchema() []byte {
	return schemaFile(schemaOf(baseShape), "base.schema.json", "privsgld policy base")
}

func schemaFile(s map[string]any, name, title string) []byte {
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = "https://github.com/privsgld/privsgld/policies/" + name
	s["title"] = title
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		panic("policies: the schema is no JSON")
	}
	return ascii(b.Bytes())
}

// withoutBase says what must be there where no base file can say it; nil where
// that is nothing.
func withoutBase(s *shape) map[string]any {
	var required []string
	properties := map[string]any{}
	for _, f := range s.fields {
		if f.required && f.inherits {
			required = append(required, f.key)
		}
		if inner := withoutBase(f.value); inner != nil {
			properties[f.key] = inner
		}
	}
	m := map[string]any{}
	if required != nil {
		m["required"] = required
	}
	if len(properties) > 0 {
		m["properties"] = properties
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func schemaOf(s *shape) map[string]any {
	switch s.kind {
	case textShape:
		return textSchema(s)
	case amountShape, decimalShape:
		return numberSchema(s, "number")
	case wholeShape:
		return numberSchema(s, "integer")
	case truthShape:
		return map[string]any{"type": "boolean"}
	case dateShape:
		return map[string]any{"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
	case listShape:
		m := map[string]any{"type": "array", "items": schemaOf(s.item), "maxItems": s.most}
		if s.least > 0 {
			m["minItems"] = s.least
		}
		if s.unique {
			m["uniqueItems"] = true
		}
		return m
	case tableShape:
		return map[string]any{
			"type":                 "object",
			"propertyNames":        textSchema(&shape{kind: textShape, text: s.text}),
			"additionalProperties": schemaOf(s.item),
			"maxProperties":        s.most,
		}
	case eitherShape:
		var forms []any
		for _, f := range s.forms {
			forms = append(forms, schemaOf(f))
		}
		return map[string]any{"anyOf": forms}
	case objectShape:
		return objectSchema(s)
	}
	panic("policies: a shape without a schema")
}

func textSchema(s *shape) map[string]any {
	if len(s.oneOf) > 0 {
		return map[string]any{"type": "string", "enum": s.oneOf}
	}
	m := map[string]any{"type": "string", "pattern": textPattern(s.text), "maxLength": maxTextLen}
	if s.text == columnRule {
		m["not"] = map[string]any{"enum": []string{"intercept"}}
	}
	return m
}

func numberSchema(s *shape, kind string) map[string]any {
	m := map[string]any{"type": kind}
	if s.kind == amountShape {
		m["minimum"] = 0
	}
	for key, bound := range map[string]string{
		"minimum": s.limits.least, "exclusiveMinimum": s.limits.above,
		"maximum": s.limits.most, "exclusiveMaximum": s.limits.below,
	} {
		if bound != "" {
			m[key] = json.Number(bound)
		}
	}
	return m
}

// objectSchema closes the object to unknown keys. Keys of a case are known to
// all, since additionalProperties looks no further than its own object, and
// forbidden again in the other cases.
func objectSchema(s *shape) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range s.fields {
		properties[f.key] = fieldSchema(f)
		if f.required && !f.inherits {
			required = append(required, f.key)
		}
	}
	m := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		m["required"] = required
	}
	if s.cases == nil {
		return m
	}
	for _, c := range s.cases {
		for _, f := range c.fields {
			properties[f.key] = true
		}
	}
	var all []any
	for _, c := range s.cases {
		all = append(all, caseSchema(c, s.cases))
	}
	m["allOf"] = all
	return m
}

func caseSchema(c fieldCase, all []fieldCase) map[string]any {
	properties := map[string]any{}
	for _, other := range all {
		for _, f := range other.fields {
			properties[f.key] = false
		}
	}
	then := map[string]any{"properties": properties}
	var required []string
	for _, f := range c.fields {
		properties[f.key] = fieldSchema(f)
		if f.required {
			required = append(required, f.key)
		}
	}
	if required != nil {
		then["required"] = required
	}
	return map[string]any{
		"if": map[string]any{
			"properties": map[string]any{"type": map[string]any{"const": c.value}},
			"required":   []string{"type"},
		},
		"then": then,
	}
}

func fieldSchema(f field) map[string]any {
	m := schemaOf(f.value)
	if f.doc != "" {
		m["description"] = f.doc
	}
	if f.fallback != nil {
		m["default"] = f.fallback
	}
	return m
}

// ascii escapes the invisible characters that patterns name, so that the file
// shows them.
func ascii(text []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(text) {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "\\u%04x", r) // patterns name the basic plane only
	}
	return b.Bytes()
}
