// Package policies reads the policy file: what may be asked of a data set, and
// how much privacy may be spent on it in all.
//
// A policy is the data holder's word, and everything else trusts it: bounds,
// levels, defaults and the number of rows come from here and never from the
// data. Reading is therefore strict, and one file means one thing:
//
//   - The file is UTF-8 YAML of at most 128 KiB, one document, made of mappings,
//     lists and one-line scalars. Anchors, aliases, merge keys, tags, directives,
//     block text, a byte order mark, control characters and characters that hide
//     or reorder text are refused, and so are unknown and repeated keys.
//   - A number is its literal text under the grammar of accountant.ParseAmount
//     (bounds may have a minus sign): 010, 0x10, 1_000, .inf, +1 and '1' are
//     refused rather than read as something. ε and δ stay exact decimals.
//   - Text that some reader of YAML takes for something else (no, on, 1e3,
//     2020-01-01) must stand in quotes.
//   - Defaults never weaken a guarantee unsaid: privacy unit, neighbouring
//     relation, ε and δ must be written.
//
// A policy may extend base files, an organisation's defaults: it inherits the
// clauses that it leaves out and may only tighten the others, and its SHA256
// covers all of the files (extends.go).
//
// Parse returns a Policy or an Error with line and column of the first fault:
//
//	p, err := policies.Load("policies/fertility.yaml")
//	if err != nil {
//		return err // policies/fertility.yaml:12:9: unknown key "bound" in …
//	}
//	err = p.Approve(policies.Job{Kind: policies.Run, Model: "logistic", …}, now)
//
// Where approvals asks for it, approvers sign the policy, in a file beside it, and
// each job (sign.go; the forms are those of package signed).
//
// Approve answers what the policy alone can answer; whether the budget still
// holds enough is the ledger's to decide. Diff compares two policies: does the
// new one promise more privacy or less? Show prints the policy in effect,
// Explain beside each value where it comes from, Schema the JSON Schema for
// editors, Template a commented file to begin with.
//
// The keys of the file stand in one table, grammar.go, from which parser and
// schema are made; the rules between keys are in validate.go.
package policies
