package policies

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// TestApproved: what is signed is this policy with its base files, and a policy
// whose rules ask for signatures says who is missing.
func TestApproved(t *testing.T) {
	dir := t.TempDir()
	var keys []signed.Private
	var texts []string
	for _, name := range []string{"ann", "bob", "eve"} {
		path := filepath.Join(dir, name+".key")
		if _, err := signed.CreateKey(path, name); err != nil {
			t.Fatal(err)
		}
		k, err := signed.LoadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		keys, texts = append(keys, k), append(texts, k.String())
	}
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	org := "apiVersion: privsgld/v1\nkind: PolicyBase\napprovals:\n  policy: {atLeast: 2, keys: " + yamlTexts(texts) + "}\n"
	child := strings.Replace(base, "kind: Policy\n", "kind: Policy\nextends: org.yaml\n", 1)
	write("org.yaml", org)
	path := write("p.yaml", child)
	load := func() *Policy {
		t.Helper()
		p, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	sign := func(k signed.Private) []byte {
		t.Helper()
		text, err := load().ApprovalText()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Sign(SignatureFile(path), text); err != nil {
			t.Fatal(err)
		}
		file, err := signed.ReadFile(SignatureFile(path))
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	refused := func(p *Policy, file []byte, want string) {
		t.Helper()
		var r *Refusal
		if err := p.Approved(file, nil); !errors.As(err, &r) || r.Code != PolicyViolation || !strings.Contains(r.Message, want) {
			t.Errorf("%v; want %q", err, want)
		}
		if err := p.Approve(Job{Kind: Run, Model: "logistic", Signatures: file}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); err == nil {
			t.Error("a job passes without the approvals")
		}
	}
	refused(load(), nil, "signed so far by nobody")
	refused(load(), sign(keys[0]), "signed so far by ann")
	file := sign(keys[2])
	if err := load().Approved(file, nil); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(){
		"a remark in the policy":    func() { write("p.yaml", child+"# x\n") },
		"a remark in its base":      func() { write("org.yaml", org+"# x\n") },
		"another data set":          func() { write("p.yaml", strings.Replace(child, "  name: base", "  name: other", 1)) },
		"a weaker rule in its base": func() { write("org.yaml", strings.Replace(org, "atLeast: 2", "atLeast: 1", 1)) },
	} {
		edit()
		refused(load(), file, "signed so far by nobody")
		write("p.yaml", child)
		write("org.yaml", org)
		if err := load().Approved(file, nil); err != nil {
			t.Errorf("%s, taken back: %v", name, err)
		}
	}
	// The policy cannot shed what its base asks for.
	write("p.yaml", child+"approvals: {policy: {atLeast: 1}}\n")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "approvals.policy: ") {
		t.Errorf("a policy weakens the rule of its base: %v", err)
	}
}

func TestLooserThan(t *testing.T) {
	registered := string(mustParse(t, base).Show())
	for _, c := range []struct {
		edit []string
		want string
	}{
		{nil, ""},
		{[]string{"bounds: [0, 10]", "bounds: [0, 100]"}, ""},
		{[]string{"allow:", "expires: 2030-01-01\nallow:"}, ""},
		{[]string{"perJob: {epsilon: 1}", "perJob: {epsilon: 1.5}"}, "budget.perJob is {epsilon: 1.5}, and was {epsilon: 1}"},
		{[]string{"add-remove", "replace-one"}, "dataset.adjacency is replace-one, which cannot be compared with add-remove"},
		{[]string{"[logistic]", "[mlp]"}, "allow.models is"},
		{[]string{"allow:", "approvals: {owner: \"" + testKeys[0] + "\"}\nallow:"}, "approvals.owner is a+"},
	} {
		p := mustParse(t, base)
		if c.edit != nil {
			p = mustParse(t, edit(t, c.edit...))
		}
		if got := p.LooserThan(registered); got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%q: %q, want %q", c.edit, got, c.want)
		}
	}
	for _, text := range []string{"", "kind: Policy", registered + "later: {}\n"} {
		if got := mustParse(t, base).LooserThan(text); !strings.HasPrefix(got, "it cannot be compared") || strings.Contains(got, "\n") {
			t.Errorf("beside %q: %q", text, got)
		}
	}
}
