package policies

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

func mustParse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// edit replaces parts of base, in pairs of old and new.
func edit(t *testing.T, pairs ...string) string {
	t.Helper()
	text := base
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the policy", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func TestDefaults(t *testing.T) {
	p := mustParse(t, `{apiVersion: privsgld/v1, kind: Policy, metadata: {name: m},
  dataset: {name: d, privacyUnit: row, adjacency: replace-one, columns: [{name: c, type: category, levels: [a, b]}]},
  budget: {epsilon: 0.50, delta: 1e-6}}`)
	want := &Policy{
		APIVersion: "privsgld/v1", Kind: "Policy",
		Metadata: Metadata{Name: "m"},
		Dataset: Dataset{
			Name: "d", Unit: Unit{Kind: UnitRow}, Adjacency: accountant.ReplaceOne, Growth: GrowthFixed,
			Columns: []Column{{Name: "c", Type: Category, Levels: []string{"a", "b"}, Reference: "a", Line: 2}},
			CSV:     &CSV{Header: true, Separator: ',', Null: []string{""}, Trim: true},
		},
		Budget: Budget{
			Epsilon: accountant.MustAmount("0.5"), Delta: accountant.MustAmount("0.000001"),
			Accountant: accountant.MethodRDP, Renews: "never",
		},
		SHA256: p.SHA256, origins: p.origins,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	// The CSV defaults are each policy's own.
	p.Dataset.CSV.Null[0] = "changed"
	if defaultCSV.Null[0] != "" {
		t.Error("a policy shares its null markers")
	}
}

func TestEveryKey(t *testing.T) {
	p := mustParse(t, edit(t,
		"privacyUnit: row\n", "privacyUnit: {entity: id, maxRows: 20}\n",
		"rows: 100", "rows: 100\n  growth: append-only",
		"bounds: [0, 10]", "bounds: [-1.5, 1e1], default: 2.50",
		`["no", "yes"]}`, `["no", "yes"], reference: "yes", default: "no"}`,
		"type: boolean", "type: boolean, default: true",
		"  columns:", "  csv: {header: false, separator: \"\\t\", null: [NA, \"\"], trim: false}\n  columns:",
		"  perJob: {epsilon: 1}", "  accountant: rdp\n  order: 12.5\n  approximateDelta: 1e-7\n  pureEpsilon: 0.25\n"+
			"  analysts: {\"*\": {epsilon: 2}, ann: {epsilon: 1, delta: 1e-8}}\n  purposes: {a: {epsilon: 1.5}}\n  periods: {monthly: {epsilon: 0.5, delta: 1e-8}}\n  renews: yearly\n  perJob: {epsilon: 1, delta: 5e-7}",
		"  models: [logistic]", "  models: [mlp]\n  queries: [sum, count]\n  analysts: [ann, bob]\n  purposes: [a, b c]\n  targets: [old]",
		"allow:", "expires: 2027-12-31\nledger: {id: \"privsgld-ledger+x\"}\nallow:"))
	text := func(s string) *string { return &s }
	rows, tiny, half := int64(100), accountant.MustAmount("1e-8"), accountant.MustAmount("5e-7")
	half1 := accountant.MustAmount("0.5")
	want := &Policy{
		APIVersion: "privsgld/v1", Kind: "Policy",
		Metadata: Metadata{Name: "base", Owner: "someone"},
		Dataset: Dataset{
			Name: "base", Unit: Unit{Kind: UnitEntity, Entity: "id", MaxRows: 20}, Adjacency: accountant.AddRemove,
			Rows: &rows, Growth: GrowthAppend, Target: Target{Column: "hit", Positive: "yes"},
			Columns: []Column{
				{Name: "hit", Type: Category, Levels: []string{"no", "yes"}, Reference: "yes", Default: text("no"), Line: 13},
				{Name: "age", Type: Number, Lower: -1.5, Upper: 10, Default: text("2.50"), Line: 14},
				{Name: "kids", Type: Integer, Lower: 0, Upper: 5, Line: 15},
				{Name: "old", Type: Boolean, Default: text("true"), Line: 16},
			},
			CSV: &CSV{Header: false, Separator: '\t', Null: []string{"NA", ""}, Trim: false},
		},
		Budget: Budget{
			Epsilon: accountant.MustAmount("3"), Delta: accountant.MustAmount("1e-6"),
			ApproximateDelta: accountant.MustAmount("1e-7"), PureEpsilon: accountant.MustAmount("0.25"),
			Accountant: accountant.MethodRDP, Order: 12.5,
			PerJob: &Cap{Epsilon: accountant.MustAmount("1"), Delta: &half},
			Analysts: map[string]Cap{
				"*":   {Epsilon: accountant.MustAmount("2")},
				"ann": {Epsilon: accountant.MustAmount("1"), Delta: &tiny},
			},
			Purposes: map[string]Cap{"a": {Epsilon: accountant.MustAmount("1.5")}},
			Periods:  map[string]Cap{"monthly": {Epsilon: half1, Delta: &tiny}},
			Renews:   "yearly",
		},
		Allow:   Allow{Models: []string{"mlp"}, Queries: []string{"sum", "count"}, Analysts: []string{"ann", "bob"}, Purposes: []string{"a", "b c"}, Targets: []string{"old"}},
		Expires: &Date{2027, time.December, 31}, LedgerID: "privsgld-ledger+x", SHA256: p.SHA256, origins: p.origins,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	terms := accountant.Terms{
		Method: accountant.MethodRDP, Epsilon: want.Budget.Epsilon, Delta: want.Budget.Delta,
		ApproximateDelta: want.Budget.ApproximateDelta, PureEpsilon: want.Budget.PureEpsilon, Order: 12.5,
	}
	if p.Budget.Terms() != terms {
		t.Errorf("terms %+v", p.Budget.Terms())
	}
}

func TestSHA256(t *testing.T) {
	// sha256sum of the file in bytes, line ends and all.
	p := mustParse(t, strings.ReplaceAll(base, "\n", "\r\n"))
	if q := mustParse(t, base); p.SHA256 == q.SHA256 || len(p.SHA256) != 64 {
		t.Errorf("%s and %s", p.SHA256, q.SHA256)
	}
}

func TestExamplePolicies(t *testing.T) {
	p, err := Load("fertility.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range p.Dataset.Columns {
		names = append(names, c.Name)
	}
	// The order of the features is the order of the reference posterior.
	if got := strings.Join(names, " "); got != "gender1 gender2 age afam hispanic other work morekids" {
		t.Errorf("columns %s", got)
	}
	if p.Dataset.Name != "fertility-1980" || *p.Dataset.Rows != 254654 || p.Dataset.Target != (Target{"morekids", "yes"}) {
		t.Errorf("%+v", p.Dataset)
	}
	b := p.Budget
	if b.Epsilon.String() != "3" || b.Delta.String() != "1e-6" || b.PerJob.Epsilon.String() != "1" ||
		b.Analysts != nil || p.Allow.Purposes != nil || p.Expires != nil || b.Accountant != accountant.MethodRDP {
		t.Errorf("%+v", p)
	}
}

// roundTrip compares but for the fields that are about the file itself.
func roundTrip(t *testing.T, p *Policy) {
	t.Helper()
	q, err := Parse("show.yaml", p.Show())
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Show())
	}
	q.SHA256, q.origins = p.SHA256, p.origins
	for i := range q.Dataset.Columns {
		q.Dataset.Columns[i].Line = p.Dataset.Columns[i].Line
	}
	if !reflect.DeepEqual(p, q) {
		t.Errorf("got  %+v\nwant %+v\nfrom %s", q, p, p.Show())
	}
	if q, err = Parse("explain.yaml", p.Explain()); err != nil {
		t.Fatalf("%v\n%s", err, p.Explain())
	}
	if again := q.Show(); string(again) != string(p.Show()) {
		t.Errorf("shown again it is\n%s", again)
	}
}

func TestShow(t *testing.T) {
	for _, c := range accepted {
		t.Run(c.name, func(t *testing.T) { roundTrip(t, mustParse(t, string(c.source(t)))) })
	}
	for _, file := range policyFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(file, func(t *testing.T) { roundTrip(t, mustParse(t, string(data))) })
	}
	roundTrip(t, mustParse(t, edit(t, "bounds: [0, 10]", "bounds: [-1.7e100, 1.2345678901234567e-300], default: -3e-5")))
}

func TestTemplate(t *testing.T) {
	for _, name := range []string{"my-data", "NAME", `a "b" \ c`, "{x}: # y", "né 和"} {
		p, err := Parse("t.yaml", Template(name))
		if err != nil {
			t.Fatal(err)
		}
		if p.Metadata.Name != name || p.Dataset.Name != name {
			t.Errorf("%q became %q and %q", name, p.Metadata.Name, p.Dataset.Name)
		}
	}
	// What stands behind a comment sign must work as well once that is removed.
	text := regexp.MustCompile(`(?m)^( *)# ([a-zA-Z]+: )`).ReplaceAllString(string(Template("x")), "$1$2")
	p, err := Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if p.Dataset.Rows == nil || p.Expires == nil || p.LedgerID == "" || p.Allow.Purposes == nil || p.Allow.Targets == nil || p.Budget.Analysts == nil || p.Budget.Purposes == nil || p.Budget.Periods == nil {
		t.Errorf("a commented line has no effect: %+v", p)
	}
}

func TestAnalystCap(t *testing.T) {
	p := mustParse(t, edit(t, "  perJob", "  analysts: {\"*\": {epsilon: 2}, ann: {epsilon: 1}}\n  perJob"))
	for name, want := range map[string]string{"ann": "1", "bob": "2"} {
		if c, ok := p.AnalystCap(name); !ok || c.Epsilon.String() != want {
			t.Errorf("%s: %+v, %t", name, c, ok)
		}
	}
	if c, ok := mustParse(t, base).AnalystCap("ann"); ok || c != nil {
		t.Errorf("a cap out of nothing: %+v", c)
	}
	p = mustParse(t, edit(t, "  perJob", "  analysts: {ann: {epsilon: 1}}\n  perJob"))
	if _, ok := p.AnalystCap("bob"); ok {
		t.Error("bob has ann's cap")
	}
	if _, ok := p.PurposeCap("ann"); ok {
		t.Error("a purpose has an analyst's cap")
	}
	p = mustParse(t, edit(t, "  perJob", "  purposes: {\"*\": {epsilon: 2}, x: {epsilon: 1, delta: 1e-7}}\n  perJob"))
	for name, want := range map[string]string{"x": "1 1e-7", "y": "2 1e-6"} {
		c, ok := p.PurposeCap(name)
		if !ok {
			t.Fatalf("no cap of purpose %s", name)
		}
		if terms := p.Budget.CapTerms(*c); terms.Epsilon.String()+" "+terms.Delta.String() != want || terms.Method != accountant.MethodRDP || terms.Order != 0 {
			t.Errorf("%s: %+v", name, terms)
		}
	}
}

// TestSpellings is the table of threat L14: an amount is its exact decimal or
// nothing. The policy's budget is 1 and the job asks for the text.
func TestSpellings(t *testing.T) {
	type verdict int
	const (
		fits    verdict = iota // a policy with this epsilon grants a job of exactly 1
		over                   // the policy parses, and its epsilon is below 1
		nothing                // the policy does not parse
	)
	spellings := map[string]verdict{
		"1": fits, "1.0": fits, "1.000000000000000000000": fits, "1e0": fits, "1E0": fits, "1e+0": fits,
		"1e-0": fits, "1e00": fits, "1e000": fits, "0.1e1": fits, "0.1e+1": fits, "10e-1": fits, "100e-2": fits,
		"1000000000e-9": fits, "0.000000001e9": fits, "1.00000000000000000001": fits, "2": fits, "1.5": fits,
		"999999999": fits, "1e9": fits, "1000000000": fits,

		"0.9": over, "0.99999999999999999999": over, "0.999999999999999999999999999999999999999": over,
		"1e-1": over, "1e-9": over, "0.000000001": over, "9.9e-1": over, "0.1": over, "1.0e-9": over,

		"0": nothing, "-0": nothing, "0.0": nothing, "0e5": nothing, "5e-324": nothing, "1e-10": nothing,
		"0.9999999999e-9": nothing, "1e400": nothing, "1e-400": nothing, "1.000000001e9": nothing,
		"1e1000": nothing, "1e-1000": nothing, "1e9999999999": nothing,
		"-1": nothing, "+1": nothing, "--1": nothing, "NaN": nothing, "nan": nothing, ".nan": nothing,
		".inf": nothing, "-.inf": nothing, "inf": nothing, "Infinity": nothing, "+Inf": nothing,
		"1_000": nothing, "1,5": nothing, "1.": nothing, ".5": nothing, "01": nothing, "010": nothing,
		"00": nothing, "0x1": nothing, "0x1p0": nothing, "0o1": nothing, "0b1": nothing, "1e": nothing,
		"1e+": nothing, "1e1.5": nothing, "1 0": nothing, "1f": nothing, "1d0": nothing, "'1'": nothing,
		"\"1\"": nothing, "1%": nothing, "1/2": nothing, "one": nothing, "true": nothing, "~": nothing,
		"null": nothing, "１": nothing, "1\u00a0": nothing, "٣": nothing, "[1]": nothing, "{a: 1}": nothing,
		strings.Repeat("1", 61): nothing, "0." + strings.Repeat("1", 61): nothing,
	}
	if len(spellings) < 60 {
		t.Errorf("only %d spellings", len(spellings))
	}
	one := accountant.MustAmount("1")
	floats := 0 // what reads amounts as floats gets wrong: the control
	for text, want := range spellings {
		plain := nothing
		if v, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil && !(v < 1) {
			plain = fits
		} else if err == nil {
			plain = over
		}
		if plain != want {
			floats++
		}
		policy := edit(t, "epsilon: 3\n", "epsilon: "+text+"\n", "  perJob: {epsilon: 1}\n", "")
		p, err := Parse("p.yaml", []byte(policy))
		got := nothing
		if err == nil {
			got = fits
			err := p.Approve(Job{Kind: Run, Model: "logistic", Epsilon: one, Delta: accountant.MustAmount("1e-6")}, time.Now())
			if err != nil {
				got = over
			}
		}
		if got != want {
			t.Errorf("%q: verdict %d, want %d (%v)", text, got, want, err)
		}
	}
	if floats < 20 {
		t.Errorf("floats get only %d of %d spellings wrong", floats, len(spellings))
	}
}

// TestLastDigit: a job that fits exactly passes, one that exceeds by the last
// digit does not, where ten times 0.1 in float64 would already differ from 1.
func TestLastDigit(t *testing.T) {
	p := mustParse(t, edit(t, "epsilon: 3\n", "epsilon: 1\n"))
	sum := accountant.Amount{}
	for range 10 {
		sum = sum.Add(accountant.MustAmount("0.1"))
	}
	job := Job{Kind: Run, Model: "logistic", Epsilon: sum, Delta: accountant.MustAmount("0.000001")}
	if err := p.Approve(job, time.Now()); err != nil {
		t.Error(err)
	}
	job.Epsilon = accountant.MustAmount("1.00000000000000000000000000000000000000000000000001")
	if err := p.Approve(job, time.Now()); err == nil {
		t.Error("granted more than the budget")
	}
}

func TestDate(t *testing.T) {
	d, err := ParseDate("2027-12-31")
	if err != nil {
		t.Fatal(err)
	}
	west := time.FixedZone("west", -11*3600)
	for _, c := range []struct {
		now  time.Time
		past bool
	}{
		{time.Date(2027, 12, 31, 0, 0, 0, 0, time.UTC), false},
		{time.Date(2027, 12, 31, 23, 59, 59, 999999999, time.UTC), false},
		{time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC), true},
		{time.Date(2027, 12, 31, 13, 0, 0, 0, west), true}, // already 2028 in UTC
		{time.Date(2027, 12, 31, 12, 59, 0, 0, west), false},
	} {
		if d.Past(c.now) != c.past {
			t.Errorf("at %v: %t", c.now, !c.past)
		}
	}
	for _, text := range []string{"", "2027", "2027-13-01", "2027-00-10", "2027-02-30", "0000-01-01", "27-01-01", "2027-1-1", "+2027-01-01", "2027-01-01 "} {
		if _, err := ParseDate(text); err == nil {
			t.Errorf("%q is taken for a date", text)
		}
	}
	if fmt.Sprint(d) != "2027-12-31" {
		t.Error(d)
	}
}
