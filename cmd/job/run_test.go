package job

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/sgld"
)

func TestMain(m *testing.M) {
	datasets.DecoderMain()
	os.Exit(m.Run())
}

const testPolicy = `apiVersion: privsgld/v1
kind: Policy
metadata: {name: shop, owner: test@example.org}
dataset:
  name: shop
  privacyUnit: row
  adjacency: add-remove
  rows: 6
  target: {column: buys, positive: "yes"}
  columns:
    - {name: age, type: number, bounds: [0, 100]}
    - {name: member, type: boolean}
    - {name: buys, type: category, levels: ["no", "yes"]}
budget: {epsilon: 5, delta: 1e-6, perJob: {epsilon: 1}, analysts: {"*": {epsilon: 2}}}
allow: {models: [logistic]}
`

const testTable = "age,member,buys\n20,true,no\n30,false,yes\n40,true,yes\n50,false,no\n60,true,yes\n70,true,no\n"

type shop struct {
	t     *testing.T
	dir   string
	clock func() time.Time
}

func newShop(t *testing.T) *shop {
	t.Helper()
	return &shop{t: t, dir: t.TempDir(), clock: func() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }}
}

func (s *shop) path(name string) string { return filepath.Join(s.dir, name) }

func (s *shop) write(name, content string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

func (s *shop) open(ctx context.Context) (*ledger.Ledger, error) {
	return ledger.Open(ctx, ledger.Options{DSN: "sqlite:" + s.path("ledger.db"), StateDir: s.path("state"), Clock: s.clock, Timeout: 10 * time.Second})
}

// job is a small run; change what the test is about.
func (s *shop) job(out string) *Run {
	steps := int64(300)
	return &Run{
		PolicyPath: s.write("p.yaml", testPolicy), DataPath: s.write("data.csv", testTable), Epsilon: "0.5", OutDir: s.path(out),
		Analyst: "ann", Format: "csv", Temperature: "auto", OpenLedger: s.open, Now: s.clock,
		Sampler: sgld.Request{Metric: sgld.MetricAuto, Init: sgld.InitZero, Chains: 1, Draws: 100, Warmup: 0.3, Steps: &steps},
	}
}

// TestReportHolds checks a released report as an auditor would: the signature by
// the ledger's key, ε recomputed from the events, and the budget's arithmetic.
func TestReportHolds(t *testing.T) {
	s := newShop(t)
	report, err := s.job("out").Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.path("out/report.json"))
	if err != nil {
		t.Fatal(err)
	}
	checkSignature(t, text)
	forged := bytes.Replace(text, []byte(`"analyst": "ann"`), []byte(`"analyst": "eve"`), 1)
	if verifies(t, forged) {
		t.Error("the signature of a changed report verifies")
	}
	events, err := json.Marshal(report.Guarantee.Events)
	if err != nil {
		t.Fatal(err)
	}
	e, err := accountant.ParseEvents(events, accountant.AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	eps, _, err := accountant.Epsilon(accountant.MethodRDP, e, 1e-6)
	if err != nil || eps != float64(report.Guarantee.Epsilon) || eps > 0.5 || eps < 0.49 {
		t.Errorf("ε by the events %g, in the report %g, asked 0.5; %v", eps, report.Guarantee.Epsilon, err)
	}
	// Full batches with a plan that follows no answer: privacy loss distributions
	// say what Gaussian DP says exactly.
	by := report.Guarantee.EpsilonByAccountant
	if by.PLD == nil || by.GDP == nil || math.Abs(float64(*by.PLD / *by.GDP)-1) > 1e-9 || *by.PLD >= *by.RDP {
		t.Errorf("ε by accountant: %+v", by)
	}
	var steps int64
	for _, e := range report.Guarantee.Events {
		steps += max(e.Count, 1)
	}
	if steps != report.Sampler.Steps {
		t.Errorf("%d events, %d steps", steps, report.Sampler.Steps)
	}
	b := report.Budget
	if b.EpsilonSpentBefore != 0 || b.EpsilonSpentAfter < eps*(1-1e-9) || b.EpsilonRemaining >= 5 || b.GrantableEpsilon != 1 {
		t.Errorf("budget %+v", b)
	}
	for _, phrase := range []string{"add-remove", "shop", "Rényi", "one row", "300 steps"} {
		if !strings.Contains(report.Guarantee.Statement, phrase) {
			t.Errorf("the statement does not say %q: %s", phrase, report.Guarantee.Statement)
		}
	}
	if err := s.verify(); err != nil {
		t.Error(err)
	}
}

// TestBoughtRunStatesItsReservation: a run whose plan follows a bought count
// guarantees what it reserved, whatever the branch that ran cost.
func TestBoughtRunStatesItsReservation(t *testing.T) {
	s := newShop(t)
	r := s.job("out")
	r.PolicyPath = s.write("p.yaml", strings.Replace(testPolicy, "  rows: 6\n", "", 1))
	r.Sampler.Clip = new(float64)
	*r.Sampler.Clip = 2
	report, err := r.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	g := report.Guarantee
	if g.Epsilon > 0.5 || g.Epsilon < 0.49 || g.Charged > g.Epsilon {
		t.Errorf("ε %g, charged %g, asked 0.5", g.Epsilon, g.Charged)
	}
	if len(g.Events) != 2 || !slices.ContainsFunc(g.Assumptions, func(a string) bool { return strings.Contains(a, "Laplace") }) {
		t.Errorf("events %v", g.Events)
	}
	if err := s.verify(); err != nil {
		t.Error(err)
	}
}

func (s *shop) verify() error {
	l, err := s.open(context.Background())
	if err != nil {
		return err
	}
	defer l.Close()
	_, err = l.Verify(context.Background())
	return err
}

func checkSignature(t *testing.T, text []byte) {
	t.Helper()
	if !verifies(t, text) {
		t.Error("the report's signature does not verify")
	}
}

// verifies follows the documentation, not the code: canonical JSON without the
// signature, under the key in the ledger's id.
func verifies(t *testing.T, text []byte) bool {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	var sig Signature
	var ref LedgerRef
	if err := errors.Join(json.Unmarshal(object["signature"], &sig), json.Unmarshal(object["ledger"], &ref)); err != nil {
		t.Fatal(err)
	}
	delete(object, "signature")
	rest, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := jcs.Transform(rest)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(ref.ID, "+", 3)
	key, err1 := base64.StdEncoding.DecodeString(parts[2])
	value, err2 := base64.StdEncoding.DecodeString(sig.Value)
	if err1 != nil || err2 != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 1 {
		t.Fatalf("ledger id %s", ref.ID)
	}
	return ed25519.Verify(key[1:], canonical, value)
}

// TestExtremeCells sets each cell in turn to what no column expects: the run
// ends well, with the same files and the same warnings but for the draws'.
func TestExtremeCells(t *testing.T) {
	cells := []string{"NaN", "inf", "-1e308", "5e-324", "\xff\xfe", "", strings.Repeat("9", 1000), "1e999"}
	for col := range 3 {
		s := newShop(t)
		for i, cell := range cells {
			r := s.job(fmt.Sprint("out", i))
			r.PolicyPath = s.write("p.yaml", strings.NewReplacer("epsilon: 5", "epsilon: 500", "epsilon: 2", "epsilon: 400").Replace(testPolicy))
			row := strings.Split("30,false,yes", ",")
			row[col] = cell
			r.DataPath = s.write("data.csv", strings.Replace(testTable, "30,false,yes", strings.Join(row, ","), 1))
			if _, err := r.Do(context.Background()); err != nil {
				t.Fatalf("column %d, cell %d: %v", col, i, err)
			}
			if names := files(t, s.path(fmt.Sprint("out", i))); !slices.Equal(names, []string{"report.json", "samples.csv"}) {
				t.Errorf("files %v", names)
			}
		}
		if err := s.verify(); err != nil {
			t.Error(err)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

// TestRefusals: caps and budget give a *Refusal with what would still fit, a
// policy's rules a policies.Refusal, and neither writes a folder or a charge.
func TestRefusals(t *testing.T) {
	s := newShop(t)
	over := s.job("out")
	over.Epsilon = "1.0000000000000000001" // beyond the cap by the last digit
	_, err := over.Do(context.Background())
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Grantable != 1 || refusal.Budget == nil || refusal.Requested != "1.0000000000000000001" {
		t.Errorf("over the cap of a job: %v, %+v", err, refusal)
	}
	for i := 0; ; i++ {
		r := s.job(fmt.Sprint("ann", i))
		r.Epsilon = "1"
		if _, err = r.Do(context.Background()); err != nil {
			if i < 2 || i > 6 {
				t.Errorf("%d jobs of ε = 1 under a cap of 2", i)
			}
			break
		}
	}
	if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "ann") || !(refusal.Grantable > 0 && refusal.Grantable < 1) {
		t.Errorf("over the cap of an analyst: %v", err)
	}
	fits := s.job("fits")
	fits.Epsilon = fmt.Sprint(refusal.Grantable)
	if _, err := fits.Do(context.Background()); err != nil {
		t.Errorf("what would still fit does not: %v", err)
	}
	other := s.job("ben")
	other.Analyst, other.Epsilon = "ben", "1"
	if _, err := other.Do(context.Background()); err != nil {
		t.Errorf("another analyst: %v", err)
	}
	model := s.job("model")
	model.PolicyPath = s.write("q.yaml", strings.Replace(testPolicy, "models: [logistic]", "models: [linear]", 1))
	var forbidden *policies.Refusal
	if _, err := model.Do(context.Background()); !errors.As(err, &forbidden) {
		t.Errorf("a forbidden model: %v", err)
	}
	if _, err := os.Stat(s.path("model")); !os.IsNotExist(err) {
		t.Error("a refused run wrote its folder")
	}
	if err := s.verify(); err != nil {
		t.Error(err)
	}
}

// TestDamageKeepsTheCharge: rows that cannot be decoded are found after the
// reservation, which stays; a schema that does not bind costs nothing.
func TestDamageKeepsTheCharge(t *testing.T) {
	s := newShop(t)
	entries := func() (entries, pending int64) {
		l, err := s.open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		status, err := l.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range status {
			entries, pending = entries+d.Entries, pending+d.Pending
		}
		return entries, pending
	}
	var bad *datasets.BadData
	r := s.job("out")
	r.DataPath = s.write("data.csv", "age,buys\n1,no\n")
	if _, err := r.Do(context.Background()); !errors.As(err, &bad) || !strings.Contains(err.Error(), `"member"`) {
		t.Errorf("a missing column: %v", err)
	}
	if e, _ := entries(); e != 0 {
		t.Error("a missing column was charged")
	}
	r = s.job("out")
	r.DataPath = s.write("data.csv", testTable+"1,true,\"no\n")
	if _, err := r.Do(context.Background()); !errors.As(err, &bad) {
		t.Errorf("an open quote: %v", err)
	}
	if e, p := entries(); e != 1 || p != 1 {
		t.Errorf("a damaged table left %d reservations, %d pending", e, p)
	}
	if _, err := os.Stat(s.path("out")); !os.IsNotExist(err) {
		t.Error("a failed run wrote its folder")
	}
}
