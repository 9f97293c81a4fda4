package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// amendable is a registration whose owner may amend it. Policies are texts here,
// and one promises less than another if it is longer.
func amendable(owner signed.Private, text, eps, delta string) Registration {
	reg := testRegistration(testTerms(accountant.MethodRDP, eps, delta))
	reg.PolicySHA256 = fmt.Sprintf("%064x", text)[:64]
	reg.Promise = &Promise{Text: text, Owner: owner.String(), Looser: func(registered string) string {
		if len(text) > len(registered) {
			return "it is longer"
		}
		return ""
	}}
	return reg
}

func noCaps(string) (accountant.Terms, bool) { return accountant.Terms{}, false }

func mustDraft(t testing.TB, l *Ledger, q Registration) string {
	t.Helper()
	text, err := l.DraftAmendment(ctx, q, noCaps, nil, "because")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustAmend(t testing.TB, l *Ledger, text string, by signed.Private) {
	t.Helper()
	if _, err := l.Amend(ctx, signedBy(t, text, by)); err != nil {
		t.Fatal(err)
	}
}

// TestLooserPolicy is threat L11 in the ledger: a policy that promises less than the
// registered one is refused, whatever came between, until the owner's amendment.
func TestLooserPolicy(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	owner := approvers(t, "owner", "eve")[0]
	first, looser, tighter := amendable(owner, "aa", "3", "1e-6"), amendable(owner, "aaa", "3", "1e-6"), amendable(owner, "a", "3", "1e-6")
	var mismatch *Mismatch
	mustReserve(t, l, gaussianRun("one", first, "0.1"))
	mustReserve(t, l, gaussianRun("two", tighter, "0.1"))
	mustReserve(t, l, gaussianRun("three", first, "0.1")) // what registered it is promised, no more
	if _, err := l.Reserve(ctx, gaussianRun("four", looser, "0.1")); !errors.As(err, &mismatch) || !strings.Contains(mismatch.Message, "it is longer") {
		t.Errorf("a looser policy: %v", err)
	}
	if _, err := l.Preview(ctx, gaussianRun("four", looser, "0.1")); !errors.As(err, &mismatch) {
		t.Errorf("a plan of a looser policy: %v", err)
	}
	silent := looser
	silent.Promise = nil
	if _, err := l.Reserve(ctx, gaussianRun("four", silent, "0.1")); !errors.Is(err, ErrUsage) {
		t.Errorf("a policy that does not say what it promises: %v", err)
	}
	// The control: the same request passes once it is amended.
	mustAmend(t, l, mustDraft(t, l, looser), owner)
	mustReserve(t, l, gaussianRun("four", looser, "0.1"))
	mustReserve(t, l, gaussianRun("five", first, "0.1"))
}

// TestAmendmentTampering: no amendment but the registered owner's, for this ledger,
// after the newest registration, once, and as it was signed.
func TestAmendmentTampering(t *testing.T) {
	c := startClock()
	l, other := openIn(t, t.TempDir(), c), openIn(t, t.TempDir(), c)
	keys := approvers(t, "owner", "eve")
	owner, eve := keys[0], keys[1]
	first, larger := amendable(owner, "a", "3", "1e-6"), amendable(owner, "aa", "4", "2e-6")
	mustReserve(t, l, gaussianRun("one", first, "1"))
	mustReserve(t, other, gaussianRun("one", first, "1"))
	text := mustDraft(t, l, larger)
	good := signedBy(t, text, owner)
	lines := strings.TrimPrefix(good, text)
	before, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what, note string) {
		t.Helper()
		var u *Unapproved
		if _, err := l.Amend(ctx, note); !errors.As(err, &u) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
		if after, _ := l.Checkpoint(ctx); after != before {
			t.Fatalf("%s: something was written", what)
		}
	}
	for name, edit := range map[string]func(*SignedAmendment){
		"id":         func(a *SignedAmendment) { a.ID = "0" },
		"ledger":     func(a *SignedAmendment) { a.Ledger = other.ID() },
		"data set":   func(a *SignedAmendment) { a.Dataset = "other" },
		"from":       func(a *SignedAmendment) { a.From = "" },
		"unit":       func(a *SignedAmendment) { a.Registration.Unit = "entity" },
		"adjacency":  func(a *SignedAmendment) { a.Registration.Adjacency = accountant.ReplaceOne },
		"epsilon":    func(a *SignedAmendment) { a.Registration.Terms.Epsilon = "40" },
		"delta":      func(a *SignedAmendment) { a.Registration.Terms.Delta = "2e-5" },
		"pure":       func(a *SignedAmendment) { a.Registration.Terms.PureEpsilon = "1" },
		"share":      func(a *SignedAmendment) { a.Registration.Terms.ApproximateDelta = "1e-7" },
		"order":      func(a *SignedAmendment) { a.Registration.Terms.Order++ },
		"accountant": func(a *SignedAmendment) { a.Registration.Terms.Method = accountant.MethodGDP },
		"renews":     func(a *SignedAmendment) { a.Registration.Renews = "monthly" },
		"owner":      func(a *SignedAmendment) { a.Registration.Owner = eve.String() },
		"policy":     func(a *SignedAmendment) { a.Registration.Policy.Text = "aaa" },
		"sum":        func(a *SignedAmendment) { a.Registration.Policy.SHA256 = "00" },
		"requests":   func(a *SignedAmendment) { a.Registration.Requests = &wireRule{1, []string{eve.String()}} },
		"caps":       func(a *SignedAmendment) { a.Caps = []wireCap{{"analyst:ann", a.Registration.Terms}} },
		"same rows":  func(a *SignedAmendment) { a.SameRowsAs = []string{"x"} },
		"why":        func(a *SignedAmendment) { a.Why = "x" },
	} {
		a, err := ReadAmendment(text)
		if err != nil {
			t.Fatal(err)
		}
		edit(&a)
		changed, err := signed.Text(signed.Amendment, a)
		if err != nil {
			t.Fatal(err)
		}
		refuse("changed "+name, changed+lines)
		refuse("changed and signed by another: "+name, signedBy(t, changed, eve))
	}
	asRequest, err := signed.Text(signed.JobRequest, json.RawMessage(strings.Split(text, "\n")[1]))
	if err != nil {
		t.Fatal(err)
	}
	for name, note := range map[string]string{
		"nothing": "", "no signature": text, "another's signature": signedBy(t, text, eve), "another kind of text": signedBy(t, asRequest, owner),
		"a signature of another kind of text": text + strings.TrimPrefix(signedBy(t, asRequest, owner), asRequest), "other spelling": strings.Replace(good, `{"`, `{ "`, 1),
	} {
		refuse(name, note)
	}
	var u *Unapproved
	if _, err := other.Amend(ctx, good); !errors.As(err, &u) || !strings.Contains(u.Message, "another ledger") {
		t.Errorf("replayed in another ledger: %v", err)
	}
	if _, err := l.Amend(ctx, good); err != nil { // the control
		t.Fatal(err)
	}
	// Replayed after it was used, and after another amendment took it back.
	if _, err := l.Amend(ctx, good); !errors.As(err, &u) || !strings.Contains(u.Message, "used before") {
		t.Errorf("replayed: %v", err)
	}
	stale := mustDraft(t, l, amendable(owner, "aaaa", "5", "2e-6"))
	mustAmend(t, l, mustDraft(t, l, amendable(owner, "aaa", "5", "2e-6")), owner)
	if _, err := l.Amend(ctx, signedBy(t, stale, owner)); !errors.As(err, &u) || !strings.Contains(u.Message, "draft it again") {
		t.Errorf("of a policy that is not the newest: %v", err)
	}
	// A new owner takes the old one's place.
	handed := amendable(eve, "aaa+", "5", "2e-6")
	mustAmend(t, l, mustDraft(t, l, handed), owner)
	more := mustDraft(t, l, amendable(eve, "aaa++", "6", "2e-6"))
	if _, err := l.Amend(ctx, signedBy(t, more, owner)); !errors.As(err, &u) {
		t.Errorf("by the owner of before: %v", err)
	}
	mustAmend(t, l, more, eve)
}

// TestAmendmentKeeps: whatever the owner signs, an amendment keeps what the theorem
// rests on, and takes nothing back.
func TestAmendmentKeeps(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	owner := approvers(t, "owner")[0]
	terms := func(edit func(*accountant.Terms)) Registration {
		r := amendable(owner, "aa", "3", "1e-6")
		r.Terms.ApproximateDelta, r.Terms.PureEpsilon = accountant.MustAmount("1e-7"), accountant.MustAmount("1")
		edit(&r.Terms)
		return r
	}
	first := terms(func(*accountant.Terms) {})
	first.Promise.Text, first.PolicySHA256 = "a", "00"
	q := gaussianRun("one", first, "0.1")
	ann := Cap{"analyst:ann", testTerms(accountant.MethodRDP, "1", "1e-6")}
	q.Caps = []Cap{ann}
	mustReserve(t, l, q)
	other := func(edit func(*Registration)) Registration {
		r := terms(func(*accountant.Terms) {})
		edit(&r)
		return r
	}
	caps := func(eps string) func(string) (accountant.Terms, bool) {
		return func(name string) (accountant.Terms, bool) {
			return testTerms(accountant.MethodRDP, eps, "1e-6"), name == ann.Name
		}
	}
	for name, r := range map[string]Registration{
		"unit":                      other(func(r *Registration) { r.Unit = "entity" }),
		"adjacency":                 other(func(r *Registration) { r.Adjacency = accountant.ReplaceOne }),
		"renewal":                   other(func(r *Registration) { r.Renews = "monthly" }),
		"accountant":                terms(func(x *accountant.Terms) { x.Method = accountant.MethodGDP }),
		"order":                     terms(func(x *accountant.Terms) { x.Order = 77 }),
		"less epsilon":              terms(func(x *accountant.Terms) { x.Epsilon = accountant.MustAmount("2.9999999999999999999999") }),
		"less delta":                terms(func(x *accountant.Terms) { x.Delta = accountant.MustAmount("9e-7") }),
		"a greater share alone":     terms(func(x *accountant.Terms) { x.PureEpsilon = accountant.MustAmount("1.5") }),
		"a smaller share":           terms(func(x *accountant.Terms) { x.PureEpsilon = accountant.MustAmount("0.5") }),
		"no share":                  terms(func(x *accountant.Terms) { x.PureEpsilon = accountant.Amount{} }),
		"a greater share of delta":  terms(func(x *accountant.Terms) { x.ApproximateDelta = accountant.MustAmount("2e-7") }),
		"no share of delta":         terms(func(x *accountant.Terms) { x.ApproximateDelta = accountant.Amount{} }),
		"another data set entirely": other(func(r *Registration) { r.Dataset = "other" }),
	} {
		var mismatch *Mismatch
		if _, err := l.DraftAmendment(ctx, r, caps("1"), nil, "because"); !errors.As(err, &mismatch) && !errors.Is(err, ErrUsage) {
			t.Errorf("%s is amended: %v", name, err)
		}
		// And where the text is made by hand.
		a, err := draftOf(l, r)
		if err != nil {
			continue
		}
		text, err := signed.Text(signed.Amendment, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Amend(ctx, signedBy(t, text, owner)); err == nil {
			t.Errorf("%s is amended by hand", name)
		}
	}
	var mismatch *Mismatch
	if _, err := l.DraftAmendment(ctx, terms(func(*accountant.Terms) {}), noCaps, nil, "because"); !errors.As(err, &mismatch) {
		t.Errorf("a cap is removed: %v", err)
	}

	// What may change: more of everything, at the orders there are.
	larger := terms(func(x *accountant.Terms) {
		x.Epsilon, x.PureEpsilon = accountant.MustAmount("5"), accountant.MustAmount("2")
		x.Delta, x.ApproximateDelta = accountant.MustAmount("2e-6"), accountant.MustAmount("2e-7")
	})
	text, err := l.DraftAmendment(ctx, larger, caps("2"), []string{"panel"}, "because")
	if err != nil {
		t.Fatal(err)
	}
	orders := func() (policy, analyst float64) {
		t.Helper()
		err := l.store.View(ctx, func(tx tx) error {
			d, _, err := getRow[dataset](tx, key("dataset", first.Dataset))
			if err != nil {
				return err
			}
			c, _, err := getRow[wireTerms](tx, key("cap", first.Dataset, ann.Name))
			policy, analyst = d.Registration.Terms.Order, c.Order
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return policy, analyst
	}
	wasPolicy, wasCap := orders()
	mustAmend(t, l, text, owner)
	if isPolicy, isCap := orders(); isPolicy != wasPolicy || isCap != wasCap || isPolicy == 0 || isCap == 0 {
		t.Errorf("orders were %v and %v, and are %v and %v", wasPolicy, wasCap, isPolicy, isCap)
	}
	if f, err := accountant.NewFilter(larger.Terms); err != nil || f.Terms().Order == wasPolicy {
		t.Fatalf("the control: a fresh budget of that size would have another order: %v, %v", f.Terms().Order, err)
	}
	q = gaussianRun("two", larger, "1.2")
	q.Caps = []Cap{{ann.Name, testTerms(accountant.MethodRDP, "2", "1e-6")}}
	r := mustReserve(t, l, q)
	if n := len(r.Budget.Amendments); n != 1 || r.Budget.Amendments[0].EpsilonBefore != "3" || r.Budget.Amendments[0].Epsilon != "5" || r.Budget.Amendments[0].Why != "because" {
		t.Errorf("%+v", r.Budget.Amendments)
	}
	if got := r.Budget.SameRowsAs; len(got) != 1 || got[0] != "panel" {
		t.Errorf("the same rows: %q", got)
	}
	panel := amendable(owner, "p", "1", "1e-6")
	panel.Dataset = "panel"
	if r := mustReserve(t, l, gaussianRun("three", panel, "0.1")); len(r.Budget.SameRowsAs) != 1 || r.Budget.SameRowsAs[0] != first.Dataset {
		t.Errorf("the same rows, from the other side: %q", r.Budget.SameRowsAs)
	}
}

// draftOf is an amendment made without the checks.
func draftOf(l *Ledger, r Registration) (a SignedAmendment, err error) {
	err = l.store.View(ctx, func(t tx) error {
		d, ok, err := getRow[dataset](t, key("dataset", r.Dataset))
		if err != nil || !ok {
			return errors.Join(err, errors.New("not registered"))
		}
		id, err := NewRequestID()
		a = SignedAmendment{ID: id, Ledger: l.id, Dataset: r.Dataset, From: d.Registration.Policy.SHA256, Registration: amended(d.Registration, r), Why: "because"}
		return err
	})
	return a, err
}

// TestAmendedFilter: after a raise the filter admits just what fits into the larger
// budget at the order of the first, all earlier charges counted.
func TestAmendedFilter(t *testing.T) {
	l := openIn(t, t.TempDir(), startClock())
	owner := approvers(t, "owner")[0]
	reg := amendable(owner, "a", "1", "1e-6")
	f, err := accountant.NewFilter(reg.Terms)
	if err != nil {
		t.Fatal(err)
	}
	order := f.Terms().Order
	var spent []accountant.Event
	n := 0
	fits := func(reg Registration, e accountant.Event) bool {
		terms := reg.Terms
		terms.Order = order
		f, err := accountant.NewFilter(terms)
		if err != nil {
			t.Fatal(err)
		}
		cost, err := f.Cost(accountant.Compose(append(spent[:len(spent):len(spent)], e)...))
		if err != nil {
			t.Fatal(err)
		}
		return f.Admits(cost)
	}
	for i, eps := range []string{"1", "1.5", "4"} {
		if reg = amendable(owner, strings.Repeat("a", i+1), eps, "1e-6"); i > 0 {
			mustAmend(t, l, mustDraft(t, l, reg), owner)
		}
		before := n
		for {
			n++
			q := gaussianRun(fmt.Sprint("run", n), reg, "0.4")
			want := fits(reg, q.Event)
			_, err := l.Reserve(ctx, q)
			if (err == nil) != want {
				t.Fatalf("epsilon %s, run %d: %v; it fits: %v", eps, n, err, want)
			}
			if err != nil {
				break
			}
			spent = append(spent, q.Event)
		}
		if n == before+1 {
			t.Errorf("epsilon %s: the raise admitted nothing", eps)
		}
	}
}

// TestForgedAmendment: a ledger whose job key signed an amendment that its owner did
// not sign does not verify, and nor does one that hides it.
func TestForgedAmendment(t *testing.T) {
	keys := approvers(t, "owner", "eve")
	forge := func(by signed.Private, write func(o *overlay, e entry) []entry) error {
		l, err := Open(ctx, Options{StateDir: t.TempDir(), Clock: startClock().now})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mustReserve(t, l, gaussianRun("one", amendable(keys[0], "a", "1", "1e-6"), "0.5"))
		note := signedBy(t, mustDraft(t, l, amendable(keys[0], "aa", "9", "1e-6")), by)
		err = l.store.Update(ctx, func(tx tx) error {
			tree, now, err := l.begin(tx)
			if err != nil {
				return err
			}
			o := newOverlay(tx)
			e := entry{Number: tree.N, Time: now.Format("2006-01-02T15:04:05Z07:00"), Kind: kindAmend, Dataset: testRegistration(accountant.Terms{}).Dataset, Amendment: &wireAmendment{note}}
			if err := checkAmendment(o, e); err != nil && by.String() == keys[0].String() {
				return err
			}
			if err := apply(o, nil, admitted, e); err != nil {
				return err
			}
			entries := write(o, e)
			if err := o.writeTo(tx); err != nil {
				return err
			}
			_, err = l.appendEntries(tx, tree, entries)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Verify(ctx)
		return err
	}
	whole := func(_ *overlay, e entry) []entry { return []entry{e} }
	if err := forge(keys[0], whole); err != nil {
		t.Errorf("the control does not verify: %v", err)
	}
	if err := forge(keys[1], whole); !errors.Is(err, ErrCorrupt) {
		t.Errorf("signed by another: %v", err)
	}
	if err := forge(keys[0], func(*overlay, entry) []entry { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a raised state without its entry: %v", err)
	}
}
