package policies

import (
	"fmt"

	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// Approvals say whose signatures a policy and its jobs need, and who may amend it.
// A rule with AtLeast 0 asks for none.
//
// The keys stand in the policy itself, so that they are worth what protects the
// file when its data set is registered: from then on another file whose rules are
// weaker promises less privacy, in the sense of Diff, and needs an amendment.
type Approvals struct {
	Owner    *signed.Key // may sign amendments; nil: nobody may
	Policy   signed.Rule // who must sign the policy before it is used
	Requests signed.Rule // who must sign each job
}

var (
	ruleShape = &shape{kind: objectShape, fields: []field{
		{key: "atLeast", value: &shape{kind: wholeShape, limits: numRange{least: "1", most: "100"}}, required: true, doc: "how many of the keys must sign"},
		{key: "keys", value: &shape{kind: listShape, least: 1, most: signed.MaxKeys, unique: true, item: wordShape}, required: true, doc: "public keys, as `privsgld policy keygen` prints them"},
	}}
	approvalsShape = &shape{kind: objectShape, fields: []field{
		{key: "owner", value: wordShape, doc: "the public key that amendments in the ledger are signed with; left out: there can be none"},
		{key: "policy", value: ruleShape, doc: "who must sign the policy before it is used"},
		{key: "requests", value: ruleShape, doc: "who must sign each job"},
	}}
)

// readRule reads a checked rule; nil is none.
func readRule(n *node) (signed.Rule, *fault) {
	if n == nil {
		return signed.Rule{}, nil
	}
	var keys []string
	for _, k := range n.get("keys").values {
		if _, err := signed.ParseKey(k.text); err != nil {
			return signed.Rule{}, faultAt(k, "%v", err)
		}
		keys = append(keys, k.text)
	}
	r, err := signed.NewRule(int(whole(n.get("atLeast"))), keys)
	if err != nil {
		return r, faultAt(n, "%v", err)
	}
	return r, nil
}

func validateApprovals(n *node) *fault {
	if n == nil {
		return nil
	}
	if owner := n.get("owner"); owner != nil {
		if _, err := signed.ParseKey(owner.text); err != nil {
			return faultAt(owner, "%v", err)
		}
	}
	for _, name := range []string{"policy", "requests"} {
		if _, bad := readRule(n.get(name)); bad != nil {
			return bad
		}
	}
	return nil
}

// fillApprovals reads what validateApprovals accepts; of the rest nothing is used.
func fillApprovals(n *node) (a Approvals) {
	if n == nil {
		return a
	}
	if owner := n.get("owner"); owner != nil {
		if k, err := signed.ParseKey(owner.text); err == nil {
			a.Owner = &k
		}
	}
	a.Policy, _ = readRule(n.get("policy"))
	a.Requests, _ = readRule(n.get("requests"))
	return a
}

func (a Approvals) show(line lineWriter) {
	if a.Owner == nil && a.Policy.AtLeast == 0 && a.Requests.AtLeast == 0 {
		return
	}
	line("", "approvals:")
	if a.Owner != nil {
		line("approvals.owner", "  owner: %s", yamlText(a.Owner.String()))
	}
	for _, r := range []struct {
		name string
		signed.Rule
	}{{"policy", a.Policy}, {"requests", a.Requests}} {
		if r.AtLeast > 0 {
			line("approvals."+r.name, "  %s: %s", r.name, ruleEntry(r.Rule))
		}
	}
}

func ruleEntry(r signed.Rule) string {
	if r.AtLeast == 0 {
		return none
	}
	return fmt.Sprintf("{atLeast: %d, keys: %s}", r.AtLeast, yamlTexts(r.Texts()))
}

func (a Approvals) ownerText() string {
	if a.Owner == nil {
		return none
	}
	return a.Owner.String()
}

func (d *Difference) approvals(old, next Approvals) {
	was, is := old.ownerText(), next.ownerText()
	switch {
	case was == none && is != none:
		d.add("approvals.owner", Looser, was, is, "nothing could be amended")
	case was != none && is == none:
		d.add("approvals.owner", Tighter, was, is, "nothing can be amended any more")
	case was != none && old.Owner.Same(*next.Owner):
		d.neither("approvals.owner", was, is, "the same key under another name")
	default:
		d.exactly("approvals.owner", was, is, "somebody else may amend")
	}
	d.rule("approvals.policy", old.Policy, next.Policy)
	d.rule("approvals.requests", old.Requests, next.Requests)
}

// rule compares rules by who satisfies them.
func (d *Difference) rule(clause string, old, next signed.Rule) {
	c := Same
	if !next.Implies(old) {
		c |= Looser
	}
	if !old.Implies(next) {
		c |= Tighter
	}
	d.add(clause, c, ruleEntry(old), ruleEntry(next), "")
}

// SignatureFile names the file beside a policy's that holds its approvals.
func SignatureFile(path string) string { return path + ".sig" }

// An approvalBody is what an approver signs: SHA256 covers the policy file and its
// base files, data set and names included.
type approvalBody struct {
	Dataset string `json:"dataset"`
	Policy  string `json:"policy"`
	SHA256  string `json:"sha256"`
}

// ApprovalText returns the text that approvers of the policy sign (package signed).
func (p *Policy) ApprovalText() (string, error) {
	return signed.Text(signed.PolicyApproval, approvalBody{p.Dataset.Name, p.Metadata.Name, p.SHA256})
}

// Approvers returns who approved the policy, out of its signature file: those of
// approvals.policy whose signature is over this very policy and its base files.
func (p *Policy) Approvers(signatures []byte) ([]signed.Key, error) {
	text, err := p.ApprovalText()
	if err != nil {
		return nil, err
	}
	return p.Approvals.Policy.Signers(text, signatures), nil
}

// Approved returns nil where the policy's approvals are all there: its own, out of
// the signature file, and the job's, out of a request that was signed; otherwise a
// *Refusal that says what is missing. That the request is for this very job, and is
// used once, is the ledger's to decide. request is the request's text, signatures
// included; nil where there is none.
func (p *Policy) Approved(signatures, request []byte) error {
	rule := p.Approvals.Policy
	if rule.AtLeast > 0 {
		have, err := p.Approvers(signatures)
		if err != nil {
			return err
		}
		if len(have) < rule.AtLeast {
			return violation("approvers sign with: privsgld policy sign FILE --key KEY",
				"the policy needs the signatures of %s, over exactly this version and its base files; signed so far by %s", rule, signed.Names(have))
		}
	}
	rule = p.Approvals.Requests
	if rule.AtLeast == 0 {
		return nil
	}
	if request == nil {
		return violation("write the request with: privsgld plan … --request-to FILE, and name it with --request once it is signed",
			"the policy asks for a request signed by %s", rule)
	}
	if have := rule.Signers(signed.TextOf(request), request); len(have) < rule.AtLeast {
		return violation("approvers sign with: privsgld policy sign --request FILE --key KEY",
			"the request needs the signatures of %s; signed so far by %s", rule, signed.Names(have))
	}
	return nil
}

// LooserThan names the first clause in which the policy promises less privacy than a
// registered one, whose text Show returned, or cannot be compared with it; "" where
// there is none. Beside a text that does not read (one of a later version, or longer
// than Parse reads) nothing is known to promise as much.
func (p *Policy) LooserThan(shown string) string {
	old, err := Parse("the registered policy", []byte(shown))
	if err != nil {
		return "it cannot be compared: " + err.Error()
	}
	for _, c := range Diff(old, p).Clauses {
		switch c.Verdict {
		case Looser:
			return fmt.Sprintf("%s is %s, and was %s", c.Clause, cut(c.New), cut(c.Old))
		case Incomparable:
			return fmt.Sprintf("%s is %s, which cannot be compared with %s", c.Clause, cut(c.New), cut(c.Old))
		}
	}
	return ""
}
