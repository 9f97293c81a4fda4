package policies

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// clauseValues is the small language of which the random policies are made: of
// each clause every kind of value, "" where it is left out.
var clauseValues = map[string][]string{
	"name":     {"d", "e"},
	"unit":     {"row", "{entity: id, maxRows: 2}", "{entity: id, maxRows: 3}", "{entity: key, maxRows: 2}"},
	"relation": {"add-remove", "replace-one"},
	"rows":     {"", "rows: 10", "rows: 20"},
	"growth":   {"", "growth: fixed", "growth: append-only", "growth: replaced"},
	"columns": {
		"[{name: a, type: number, bounds: [0, 1]}]",
		"[{name: a, type: number, bounds: [0, 2]}]",
		"[{name: a, type: number, bounds: [0, 1]}, {name: b, type: category, levels: [u, v]}]",
		"[{name: b, type: category, levels: [u, v, w]}, {name: a, type: number, bounds: [0, 1]}]",
		"[{name: b, type: category, levels: [u, v], reference: v}, {name: c, type: boolean}]",
		"[{name: c, type: boolean}]",
	},
	"csv":        {"", "csv: {trim: false}"},
	"epsilon":    {"1", "2", "3.00000000000000000000001", "3"},
	"delta":      {"1e-6", "1e-5"},
	"accountant": {"", "accountant: rdp", "accountant: gdp"},
	"order":      {"", "order: 8", "order: 16"},
	"approx":     {"", "approximateDelta: 1e-7", "approximateDelta: 5e-7"},
	"pure":       {"", "pureEpsilon: 0.25", "pureEpsilon: 0.5"},
	"perJob":     {"", "perJob: {epsilon: 0.5}", "perJob: {epsilon: 1}", "perJob: {epsilon: 1, delta: 1e-7}", "perJob: {epsilon: 0.5, delta: 1e-6}"},
	"caps": {"", `analysts: {"*": {epsilon: 0.5}}`, `analysts: {"*": {epsilon: 1}}`, `analysts: {ann: {epsilon: 0.5}}`,
		`analysts: {ann: {epsilon: 0.5}, "*": {epsilon: 1}}`, `analysts: {ann: {epsilon: 1, delta: 1e-7}, bob: {epsilon: 1}}`, `analysts: {"*": {epsilon: 0.5, delta: 1e-6}}`},
	"purposeCaps": {"", `purposes: {"*": {epsilon: 0.5}}`, "purposes: {x: {epsilon: 0.5}}", `purposes: {x: {epsilon: 1, delta: 1e-7}, "*": {epsilon: 1}}`, "purposes: {x: {epsilon: 1}, z: {epsilon: 0.5}}"},
	"periodCaps":  {"", "periods: {monthly: {epsilon: 0.5}}", "periods: {monthly: {epsilon: 1, delta: 1e-7}, yearly: {epsilon: 1}}", "periods: {quarterly: {epsilon: 0.5}}"},
	"renews":      {"", "renews: never", "renews: yearly", "renews: quarterly", "renews: monthly"},
	"models":      {"", "models: []", "models: [logistic]", "models: [logistic, linear]", "models: [linear, logistic]", "models: [logistic, linear, poisson, softmax, mlp]"},
	"queries":     {"", "queries: [count]", "queries: [count, sum]"},
	"analysts":    {"", `analysts: ["*"]`, `analysts: [ann, "*"]`, "analysts: [ann]", "analysts: [ann, bob]", "analysts: []"},
	"targets":     {"", "targets: []", "targets: [a]", "targets: [a, b]", "targets: [c]"},
	"purposes":    {"", "purposes: [x]", "purposes: [x, z]", `purposes: ["*"]`},
	"expires":     {"", "expires: 2027-01-01", "expires: 2028-01-01"},
	"ledger":      {"", "ledger: {id: one}", "ledger: {id: two}"},
}

// randomFamilies returns families of policies; the members of one differ from
// its first in up to three clauses.
func randomFamilies(t *testing.T, r *rand.Rand, families, members int) [][]*Policy {
	t.Helper()
	names := slices.Sorted(maps.Keys(clauseValues))
	pick := func(name string) string { return clauseValues[name][r.IntN(len(clauseValues[name]))] }
	all := make([][]*Policy, families)
	for f := range all {
		first := map[string]string{}
		for len(all[f]) < members {
			m := maps.Clone(first)
			if len(all[f]) == 0 {
				for _, name := range names {
					m[name] = pick(name)
				}
				first = m
			}
			for range r.IntN(4) {
				name := names[r.IntN(len(names))]
				m[name] = pick(name)
			}
			p, err := Parse("p.yaml", policyText(m))
			// Only an order for gdp, a cap for a period that is not shorter, and a
			// target that is no column are out of the language.
			if err != nil && !strings.Contains(err.Error(), "order is for accountant: rdp") && !strings.Contains(err.Error(), "no shorter than the period") && !strings.Contains(err.Error(), "allow.targets: ") {
				t.Fatal(err)
			}
			if err == nil {
				all[f] = append(all[f], p)
			}
		}
	}
	return all
}

func policyText(m map[string]string) []byte {
	braces := func(parts ...string) string {
		return "{" + strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ") + "}"
	}
	key := func(key, clause string) string {
		if m[clause] == "" {
			return ""
		}
		return key + ": " + m[clause]
	}
	top := []string{
		"apiVersion: privsgld/v1", "kind: Policy", "metadata: {name: m}",
		"dataset: " + braces(key("name", "name"), key("privacyUnit", "unit"), key("adjacency", "relation"), m["rows"], m["growth"], key("columns", "columns"), m["csv"]),
		"budget: " + braces(key("epsilon", "epsilon"), key("delta", "delta"), m["accountant"], m["order"], m["approx"], m["pure"], m["perJob"], m["caps"], m["purposeCaps"], m["periodCaps"], m["renews"]),
		"allow: " + braces(m["models"], m["queries"], m["analysts"], m["purposes"], m["targets"]),
	}
	return []byte(braces(append(top, m["approvals"], m["expires"], m["ledger"])...))
}

// A question asks one rule of a policy, whatever the others say: may this be?
type question struct {
	about string
	ask   func(p *Policy) bool
}

// alone returns the policy with nothing but its budget, its cap for one job and
// the rules that keep puts back, so that Approve is asked about those only.
func alone(p *Policy, keep func(q *Policy)) *Policy {
	q := &Policy{Dataset: p.Dataset}
	q.Budget.Epsilon, q.Budget.Delta = accountant.MustAmount("1"), accountant.MustAmount("1e-6")
	keep(q)
	return q
}

// questions is the oracle's universe. It knows policies by what Approve and the
// ledger do with them and nothing of Diff: a new policy is not tighter exactly
// if there is a question to which it says yes and the old one no. Where Diff
// promises no more than that two values cannot be compared (filters, orders, the
// way of pure events, units, relations) the question is whether a charge under
// the one is a charge under the other.
func questions() []question {
	var all []question
	add := func(about string, ask func(p *Policy) bool) { all = append(all, question{about, ask}) }
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	job := func() Job {
		return Job{Kind: Run, Model: "logistic", Analyst: "ann", Epsilon: accountant.MustAmount("1e-9"), Delta: accountant.MustAmount("1e-12")}
	}
	approves := func(p *Policy, keep func(*Policy), j Job, now time.Time) bool {
		return alone(p, keep).Approve(j, now) == nil
	}

	for _, s := range clauseValues["name"] {
		add("data set "+s, func(p *Policy) bool { return p.Dataset.Name == s })
	}
	for _, s := range []string{"", "id", "key"} {
		add("protects "+s, func(p *Policy) bool { return p.Dataset.Unit.Entity == s })
	}
	for _, s := range clauseValues["relation"] {
		add("neighbours "+s, func(p *Policy) bool { return string(p.Dataset.Adjacency) == s })
	}
	for _, s := range growths {
		add("a row of a data set that is "+s, func(p *Policy) bool { return p.Dataset.Growth == s })
	}
	for _, s := range []string{"a", "b", "c"} {
		add("reads "+s, func(p *Policy) bool {
			for _, c := range p.Dataset.Columns {
				if c.Name == s {
					return true
				}
			}
			return false
		})
	}

	for _, m := range []accountant.Method{accountant.MethodRDP, accountant.MethodGDP} {
		add("a charge under "+string(m), func(p *Policy) bool { return p.Budget.Accountant == m })
	}
	for _, order := range []float64{0, 8, 16} {
		add(fmt.Sprint("a charge at order ", order), func(p *Policy) bool { return p.Budget.Order == order })
	}
	for _, plain := range []bool{false, true} {
		add(fmt.Sprint("pure events added up plainly: ", plain), func(p *Policy) bool { return plain != p.Budget.PureEpsilon.IsZero() })
	}
	for _, ways := range []struct {
		about   string
		amounts string
		holds   func(b Budget) accountant.Amount
	}{
		{"ε in all", "1 2 3 3.00000000000000000000001", func(b Budget) accountant.Amount { return b.Epsilon }},
		{"δ in all", "1e-6 1e-5", func(b Budget) accountant.Amount { return b.Delta }},
		{"ε of pure events", "0.25 0.5", func(b Budget) accountant.Amount { return b.PureEpsilon }},
		{"δ of approximate events", "1e-7 5e-7", func(b Budget) accountant.Amount { return b.ApproximateDelta }},
		{"δ of other events", "5e-7 9e-7 1e-6 9.5e-6 9.9e-6 1e-5", func(b Budget) accountant.Amount {
			rest, _ := b.Delta.Sub(b.ApproximateDelta)
			return rest
		}},
		{"ε of other events", "0.5 0.75 1 1.5 1.75 2 2.5 2.50000000000000000000001 2.75 2.75000000000000000000001 3 3.00000000000000000000001", func(b Budget) accountant.Amount {
			rest, _ := b.Epsilon.Sub(b.PureEpsilon)
			return rest
		}},
	} {
		for _, text := range strings.Fields(ways.amounts) {
			spent := accountant.MustAmount(text)
			add(text+" of "+ways.about, func(p *Policy) bool { return spent.Cmp(ways.holds(p.Budget)) <= 0 })
		}
	}
	for _, eps := range []string{"1e-9", "0.5", "1", "2", "3", "3.00000000000000000000001"} {
		for _, delta := range []string{"1e-12", "1e-7", "1e-6", "1e-5"} {
			j := job()
			j.Epsilon, j.Delta = accountant.MustAmount(eps), accountant.MustAmount(delta)
			add("a job of "+eps+" and "+delta, func(p *Policy) bool {
				return approves(p, func(q *Policy) { q.Budget = p.Budget; q.Budget.Analysts, q.Budget.Purposes = nil, nil }, j, day)
			})
		}
	}
	for _, name := range []string{"ann", "bob", "eve", "purpose x", "purpose z", "purpose other", "period monthly", "period quarterly", "period yearly"} {
		for _, eps := range []string{"0.5", "1", "9"} {
			for _, delta := range []string{"1e-7", "1e-6", "1e-5", "1e-4"} {
				add(name+" has used "+eps+" and "+delta, func(p *Policy) bool {
					caps, of := p.Budget.Analysts, name
					if purpose, ok := strings.CutPrefix(name, "purpose "); ok {
						caps, of = p.Budget.Purposes, purpose
					} else if period, ok := strings.CutPrefix(name, "period "); ok {
						caps, of = p.Budget.Periods, period
					}
					c, ok := caps[of]
					if !ok {
						if c, ok = caps["*"]; !ok {
							return true
						}
					}
					limit := p.Budget.Delta
					if c.Delta != nil {
						limit = *c.Delta
					}
					return accountant.MustAmount(eps).Cmp(c.Epsilon) <= 0 && accountant.MustAmount(delta).Cmp(limit) <= 0
				})
			}
		}
	}
	for _, months := range []int{1, 3, 12} {
		add(fmt.Sprintf("a second budget after %d months", months), func(p *Policy) bool {
			return map[string]int{"monthly": 1, "quarterly": 3, "yearly": 12, "never": 1000}[p.Budget.Renews] <= months
		})
	}

	for _, s := range models {
		j := job()
		j.Model = s
		add("model "+s, func(p *Policy) bool { return approves(p, func(q *Policy) { q.Allow.Models = p.Allow.Models }, j, day) })
	}
	for _, s := range queries {
		j := job()
		j.Kind, j.Query = Query, s
		add("query "+s, func(p *Policy) bool {
			return approves(p, func(q *Policy) { q.Allow.Queries = p.Allow.Queries }, j, day)
		})
	}
	add("a model of a later version", func(p *Policy) bool { return p.Allow.Models == nil })
	add("a query of a later version", func(p *Policy) bool { return p.Allow.Queries == nil })
	for _, s := range []string{"", "ann", "bob", "eve"} {
		j := job()
		j.Analyst = s
		add("analyst "+s, func(p *Policy) bool {
			return approves(p, func(q *Policy) { q.Allow.Analysts = p.Allow.Analysts }, j, day)
		})
	}
	for _, s := range []string{"", "x", "z", "other", "*"} {
		j := job()
		j.Purpose = s
		add("purpose "+s, func(p *Policy) bool {
			return approves(p, func(q *Policy) { q.Allow.Purposes = p.Allow.Purposes }, j, day)
		})
	}
	for _, s := range []string{"a", "b", "c", "d"} {
		j := job()
		j.Target = s
		add("target "+s, func(p *Policy) bool {
			return approves(p, func(q *Policy) {
				q.Allow.Targets = p.Allow.Targets
				q.Dataset.Columns = []Column{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
			}, j, day)
		})
	}
	for _, now := range []time.Time{day, day.AddDate(1, 0, 0), day.AddDate(1, 0, 1), day.AddDate(2, 0, 0), day.AddDate(2, 0, 1)} {
		add("on "+now.String(), func(p *Policy) bool { return approves(p, func(q *Policy) { q.Expires = p.Expires }, job(), now) })
	}
	for _, s := range []string{"one", "two", "three"} {
		j := job()
		j.LedgerID = s
		add("ledger "+s, func(p *Policy) bool { return approves(p, func(q *Policy) { q.LedgerID = p.LedgerID }, j, day) })
	}
	return append(all, approvalQuestions()...)
}

// oracle compares two policies by their answers to all questions. It names a
// question that makes the new one looser, by its number.
func oracle(old, next []bool) (c Comparison, witness int) {
	for i, was := range old {
		switch is := next[i]; {
		case was && !is:
			c |= Tighter
		case is && !was:
			c |= Looser
			witness = i
		}
	}
	return c, witness
}

// TestDiffAgreesWithOracle is threat L11: Diff says "not tighter" exactly when
// there is something that the new policy admits and the old one does not, and
// its four verdicts are those of the oracle.
func TestDiffAgreesWithOracle(t *testing.T) {
	const pairs = 10000
	r := rand.New(rand.NewPCG(7, 11))
	all := questions()
	families := randomFamilies(t, r, 250, 6)
	answers := map[*Policy][]bool{}
	for _, p := range slices.Concat(families...) {
		for _, q := range all {
			answers[p] = append(answers[p], q.ask(p))
		}
	}
	seen := map[Comparison]int{}
	swapped := 0
	for range pairs {
		family := families[r.IntN(len(families))]
		old := family[r.IntN(len(family))]
		if r.IntN(20) == 0 {
			family = families[r.IntN(len(families))]
		}
		next := family[r.IntN(len(family))]
		d := Diff(old, next)
		if want, witness := oracle(answers[old], answers[next]); d.Verdict != want {
			t.Fatalf("Diff says %s, the oracle %s (%s)\n%s\n%s", d.Verdict, want, all[witness].about, old.Show(), next.Show())
		}
		seen[d.Verdict]++
		if back, _ := oracle(answers[next], answers[old]); d.Verdict&Looser != back&Looser {
			swapped++
		}
		if d.Verdict&Looser == 0 {
			wholeJobs(t, r, old, next)
		}
		if back := Diff(next, old).Verdict; back != d.Verdict.mirrored() {
			t.Fatalf("%s one way, %s the other", d.Verdict, back)
		}
	}
	for c := Same; c <= Incomparable; c++ {
		if seen[c] < pairs/20 {
			t.Errorf("only %d pairs are %s", seen[c], c)
		}
	}
	// The control: an oracle that takes the new policy for the old one is caught.
	if swapped < pairs/20 {
		t.Errorf("only %d pairs show a swapped comparison", swapped)
	}
}

func (c Comparison) mirrored() Comparison { return c&Tighter<<1 | c&Looser>>1 }

// wholeJobs asks both policies about jobs that all rules together decide.
func wholeJobs(t *testing.T, r *rand.Rand, old, next *Policy) {
	t.Helper()
	of := func(s ...string) string { return s[r.IntN(len(s))] }
	for range 20 {
		j := Job{
			Kind: of(Run, Query), Model: of(models[:3]...), Query: of(queries[:3]...), Target: of("", "a", "b", "c"),
			Analyst: of("", "ann", "bob"), Purpose: of("", "x", "z"), LedgerID: of("one", "two"),
			Epsilon: accountant.MustAmount(of("0.1", "0.5", "1", "3")), Delta: accountant.MustAmount(of("1e-7", "1e-6", "1e-5")),
		}
		now := time.Date(2026+r.IntN(3), 6, 1, 0, 0, 0, 0, time.UTC)
		if next.Approve(j, now) == nil && old.Approve(j, now) != nil {
			t.Fatalf("a tighter policy approves %+v\n%s\n%s", j, old.Show(), next.Show())
		}
	}
}

// TestDiffClauses says what each clause answers, one edit at a time.
func TestDiffClauses(t *testing.T) {
	for _, c := range []struct {
		clause string
		edit   []string
		want   Comparison
	}{
		{"metadata.owner", []string{", owner: someone", ""}, Same},
		{"dataset.name", []string{"  name: base\n  p", "  name: other\n  p"}, Incomparable},
		{"dataset.privacyUnit", []string{"privacyUnit: row", "privacyUnit: {entity: id, maxRows: 3}"}, Incomparable},
		{"dataset.adjacency", []string{"add-remove", "replace-one"}, Incomparable},
		{"dataset.rows", []string{"rows: 100", "rows: 200"}, Same},
		{"dataset.growth", []string{"rows: 100\n", "rows: 100\n  growth: replaced\n"}, Incomparable},
		{"dataset.target", []string{`positive: "yes"`, `positive: "no"`}, Same},
		{"dataset.columns.age", []string{"bounds: [0, 10]", "bounds: [0, 100]"}, Same},
		{"dataset.columns.old", []string{"    - {name: old, type: boolean}\n", ""}, Tighter},
		{"dataset.columns.new", []string{"    - {name: old", "    - {name: new, type: boolean}\n    - {name: old"}, Looser},
		{"budget.epsilon", []string{"epsilon: 3\n", "epsilon: 2.9999999999999999999999\n"}, Tighter},
		{"budget.delta", []string{"delta: 1e-6", "delta: 1.0000000000000000000001e-6"}, Looser},
		{"budget.accountant", []string{"  perJob", "  accountant: gdp\n  perJob"}, Incomparable},
		{"budget.order", []string{"  perJob", "  order: 20\n  perJob"}, Incomparable},
		{"budget.perJob", []string{"  perJob: {epsilon: 1}\n", ""}, Looser},
		{"budget.perJob", []string{"perJob: {epsilon: 1}", "perJob: {epsilon: 1, delta: 1e-7}"}, Tighter},
		{"budget.approximateDelta", []string{"  perJob", "  approximateDelta: 1e-7\n  perJob"}, Incomparable},
		{"budget.pureEpsilon", []string{"  perJob", "  pureEpsilon: 1\n  perJob"}, Incomparable},
		{"budget.analysts.*", []string{"  perJob", "  analysts: {\"*\": {epsilon: 3}}\n  perJob"}, Tighter},
		{"budget.analysts.ann", []string{"  perJob", "  analysts: {ann: {epsilon: 3}}\n  perJob"}, Tighter},
		{"budget.purposes.*", []string{"  perJob", "  purposes: {\"*\": {epsilon: 3}}\n  perJob"}, Tighter},
		{"budget.purposes.x", []string{"  perJob", "  purposes: {x: {epsilon: 3}}\n  perJob"}, Tighter},
		{"budget.periods.monthly", []string{"  perJob", "  periods: {monthly: {epsilon: 3}}\n  perJob"}, Tighter},
		{"budget.renews", []string{"  perJob", "  renews: yearly\n  perJob"}, Looser},
		{"allow.models", []string{"[logistic]", "[logistic, mlp]"}, Looser},
		{"allow.models", []string{"[logistic]", "[mlp]"}, Incomparable},
		{"allow.queries", []string{"allow:", "allow:\n  queries: [count]"}, Tighter},
		{"allow.targets", []string{"allow:", "allow:\n  targets: [hit]"}, Tighter},
		{"expires", []string{"allow:", "expires: 2030-01-01\nallow:"}, Tighter},
		{"approvals.owner", []string{"allow:", "approvals: {owner: \"" + testKeys[0] + "\"}\nallow:"}, Looser},
		{"approvals.policy", []string{"allow:", "approvals: {policy: {atLeast: 1, keys: [\"" + testKeys[0] + "\"]}}\nallow:"}, Tighter},
		{"ledger.id", []string{"allow:", "ledger: {id: x}\nallow:"}, Tighter},
	} {
		d := Diff(mustParse(t, base), mustParse(t, edit(t, c.edit...)))
		var differ []string
		for _, clause := range d.Clauses {
			if clause.Differs() {
				differ = append(differ, clause.Clause)
			}
		}
		if d.Verdict != c.want || !slices.Equal(differ, []string{c.clause}) {
			t.Errorf("%s: %s, in %v; want %s", c.clause, d.Verdict, differ, c.want)
		}
	}
	if d := Diff(mustParse(t, base), mustParse(t, base)); d.Verdict != Same || slices.ContainsFunc(d.Clauses, ClauseDiff.Differs) {
		t.Errorf("a policy differs from itself: %+v", d)
	}
}
