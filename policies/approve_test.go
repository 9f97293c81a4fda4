package policies

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

func TestApprove(t *testing.T) {
	p := mustParse(t, edit(t,
		"privacyUnit: row", "privacyUnit: {entity: kids, maxRows: 2}",
		"perJob: {epsilon: 1}", "perJob: {epsilon: 1, delta: 5e-7}",
		"models: [logistic]", "models: [logistic, linear]\n  queries: [count, mean]\n  analysts: [ann, bob]\n  purposes: [labour research, teaching]",
		"allow:", "expires: 2027-12-31\nledger: {id: \"privsgld-ledger+1+A\"}\nallow:"))
	in := time.Date(2027, 12, 31, 23, 59, 59, 0, time.UTC)
	job := Job{
		Kind: Run, Model: "logistic", Target: "hit", Analyst: "ann", Purpose: "teaching", LedgerID: "privsgld-ledger+1+A",
		Epsilon: accountant.MustAmount("1"), Delta: accountant.MustAmount("5e-7"),
	}
	query := job
	query.Kind, query.Model, query.Target, query.Query = Query, "", "", "mean"
	for _, j := range []Job{job, query} {
		if err := p.Approve(j, in); err != nil {
			t.Fatalf("%+v: %v", j, err)
		}
	}
	other := job
	other.Target = "age"
	if err := p.Approve(other, in); err != nil {
		t.Errorf("another declared column as target: %v", err)
	}

	for _, c := range []struct {
		name string
		edit func(*Job)
		now  time.Time
		code string
		want string
	}{
		{"expired", func(*Job) {}, in.Add(time.Second), PolicyViolation, "expired on 2027-12-31"},
		{"other ledger", func(j *Job) { j.LedgerID = "privsgld-ledger+1+B" }, in, PolicyViolation, "charged to ledger"},
		{"no ledger", func(j *Job) { j.LedgerID = "" }, in, PolicyViolation, "charged to ledger"},
		{"analyst", func(j *Job) { j.Analyst = "eve" }, in, PolicyViolation, `analyst "eve"`},
		{"analyst in capitals", func(j *Job) { j.Analyst = "Ann" }, in, PolicyViolation, "analyst"},
		{"no analyst", func(j *Job) { j.Analyst = "" }, in, PolicyViolation, "name of one analyst"},
		{"everybody", func(j *Job) { j.Analyst = "*" }, in, PolicyViolation, "name of one analyst"},
		{"purpose", func(j *Job) { j.Purpose = "marketing" }, in, PolicyViolation, `purpose "marketing"`},
		{"no purpose", func(j *Job) { j.Purpose = "" }, in, PolicyViolation, "asks for a purpose"},
		{"model", func(j *Job) { j.Model = "mlp" }, in, PolicyViolation, `model "mlp"`},
		{"no model", func(j *Job) { j.Model = "" }, in, PolicyViolation, "model"},
		{"query", func(j *Job) { j.Kind, j.Query = Query, "sum" }, in, PolicyViolation, `query "sum"`},
		{"kind", func(j *Job) { j.Kind = "predict" }, in, PolicyViolation, `kind "predict"`},
		{"target", func(j *Job) { j.Target = "weight" }, in, PolicyViolation, `no column "weight"`},
		{"entity as target", func(j *Job) { j.Target = "kids" }, in, PolicyViolation, "entity key"},
		{"epsilon of a job", func(j *Job) { j.Epsilon = accountant.MustAmount("1.0000000000000000001") }, in, BudgetExhausted, "cap of 1 a job"},
		{"delta of a job", func(j *Job) { j.Delta = accountant.MustAmount("5.1e-7") }, in, BudgetExhausted, "cap of 5e-7 a job"},
		// What the policy forbids goes before what the budget does not allow.
		{"both", func(j *Job) { j.Model, j.Epsilon = "mlp", accountant.MustAmount("9") }, in, PolicyViolation, "model"},
	} {
		j := job
		c.edit(&j)
		var r *Refusal
		if err := p.Approve(j, c.now); !errors.As(err, &r) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if r.Code != c.code || !strings.Contains(r.Message, c.want) || r.Hint == "" || strings.Contains(r.Error()+r.Hint, "\n") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestApproveWithoutRules(t *testing.T) {
	p := mustParse(t, edit(t, "  perJob: {epsilon: 1}\n", "", "allow:\n  models: [logistic]\n", ""))
	now := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
	job := Job{Kind: Run, Model: "mlp", Epsilon: accountant.MustAmount("3"), Delta: accountant.MustAmount("1e-6")}
	if err := p.Approve(job, now); err != nil {
		t.Error(err)
	}
	job.Analyst, job.Purpose, job.LedgerID = "eve", "anything", "any"
	if err := p.Approve(job, now); err != nil {
		t.Error(err)
	}
	for _, bad := range []func(*Job){
		func(j *Job) { j.Model = "probit" }, // no rule allows what the language does not know
		func(j *Job) { j.Analyst = "*" },
		func(j *Job) { j.Epsilon = accountant.MustAmount("3.1") },
		func(j *Job) { j.Delta = accountant.MustAmount("1.1e-6") },
	} {
		j := job
		bad(&j)
		if err := p.Approve(j, now); err == nil {
			t.Errorf("%+v is approved", j)
		}
	}
}

func TestApproveTargets(t *testing.T) {
	job := Job{Kind: Run, Model: "logistic", Analyst: "ann", Epsilon: accountant.MustAmount("1"), Delta: accountant.MustAmount("1e-6")}
	for targets, want := range map[string]map[string]bool{
		"[hit]":      {"hit": true, "age": false, "kids": false, "weight": false},
		"[age, old]": {"hit": false, "age": true, "old": true},
		"[]":         {"hit": false},
	} {
		p := mustParse(t, edit(t, "models: [logistic]", "targets: "+targets))
		for target, may := range want {
			job.Target = target
			err := p.Approve(job, time.Now())
			var r *Refusal
			if (err == nil) != may || err != nil && (!errors.As(err, &r) || r.Code != PolicyViolation || r.Hint == "") {
				t.Errorf("targets %s, asked for %s: %v", targets, target, err)
			}
		}
	}
}

func TestApproveEmptyLists(t *testing.T) {
	job := Job{Kind: Run, Model: "logistic", Analyst: "ann", Purpose: "x", Epsilon: accountant.MustAmount("1"), Delta: accountant.MustAmount("1e-6")}
	for _, list := range []string{"models", "analysts", "purposes"} {
		p := mustParse(t, edit(t, "models: [logistic]", list+": []"))
		if err := p.Approve(job, time.Now()); err == nil {
			t.Errorf("an empty list of %s allows something", list)
		}
	}
	p := mustParse(t, edit(t, "models: [logistic]", "analysts: [\"*\"]"))
	if err := p.Approve(job, time.Now()); err != nil {
		t.Error(err)
	}
	job.Analyst = ""
	if err := p.Approve(job, time.Now()); err == nil {
		t.Error("nobody passes as everybody")
	}
	// With caps by analyst a job needs a name to be charged to.
	p = mustParse(t, edit(t, "  perJob", "  analysts: {ann: {epsilon: 1}}\n  perJob"))
	if err := p.Approve(job, time.Now()); err == nil {
		t.Error("a nameless job steps around the caps")
	}
	p = mustParse(t, edit(t, "  perJob", "  purposes: {x: {epsilon: 1}}\n  perJob"))
	job.Analyst = "ann"
	for purpose, want := range map[string]bool{"x": true, "y": true, "": false, "*": false} {
		job.Purpose = purpose
		if err := p.Approve(job, time.Now()); (err == nil) != want {
			t.Errorf("purpose %q under a cap of one: %v", purpose, err)
		}
	}
}
