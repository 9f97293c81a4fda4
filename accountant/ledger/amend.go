package ledger

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// A Promise is what a policy says beside its budget, as it is registered: a later
// policy of the same data set may promise no less, unless its owner amends it.
type Promise struct {
	Text  string // the policy in effect; the ledger keeps it and does not read it
	Owner string // public key of whoever may amend; "": nobody

	// Looser names the clause in which this policy promises less than a registered
	// one, in one line, or as much that it cannot be compared; "" where there is none.
	Looser func(registered string) string
}

type wirePolicy struct {
	SHA256 string `json:"sha256"`
	Text   string `json:"text,omitempty"` // in an entry; the state keeps it in a row of its own
}

// promiseToWire returns what a registration records of a policy.
func promiseToWire(q Registration) (policy *wirePolicy, owner string) {
	if q.Promise == nil {
		return nil, ""
	}
	return &wirePolicy{q.PolicySHA256, q.Promise.Text}, q.Promise.Owner
}

// putRegistration keeps the text of the policy apart from the row that every
// decision reads.
func putRegistration(s rows, name string, d dataset, r wireRegistration) error {
	text := ""
	if r.Policy != nil {
		text = r.Policy.Text
		r.Policy = &wirePolicy{SHA256: r.Policy.SHA256}
	}
	d.Registration = r
	if err := s.Put(key("promise", name), text); err != nil {
		return err
	}
	return putRow(s, key("dataset", name), d)
}

// comparePromise refuses a policy that promises less than the registered one.
func comparePromise(s rows, have wireRegistration, q Registration) error {
	if have.Policy == nil || have.Policy.SHA256 == q.PolicySHA256 {
		return nil
	}
	if q.Promise == nil || q.Promise.Looser == nil {
		return fmt.Errorf("%w: the policy of data set %q is registered, and the request does not say how its own compares", ErrUsage, q.Dataset)
	}
	text, _, err := s.Get(key("promise", q.Dataset))
	if err != nil {
		return err
	}
	if clause := q.Promise.Looser(text); clause != "" {
		return &Mismatch{fmt.Sprintf("data set %q: the policy promises less privacy than the registered one: %s", q.Dataset, clause)}
	}
	return nil
}

// A SignedAmendment is the body of a text of kind signed.Amendment: from then on
// the data set is registered otherwise.
type SignedAmendment struct {
	ID           string           `json:"id"` // 16 random bytes in hexadecimal
	Ledger       string           `json:"ledger"`
	Dataset      string           `json:"dataset"`
	From         string           `json:"from"`         // SHA-256 of the policy that was registered; "" where none was
	Registration wireRegistration `json:"registration"` // as it is from now on
	Caps         []wireCap        `json:"caps,omitempty"`
	SameRowsAs   []string         `json:"same_rows_as,omitempty"` // names of data sets that may hold the same rows
	Why          string           `json:"why"`
}

// To returns the SHA-256 of the policy that the amendment registers.
func (a SignedAmendment) To() string {
	if a.Registration.Policy == nil {
		return ""
	}
	return a.Registration.Policy.SHA256
}

// Budget returns ε and δ as they are from then on, in decimal text.
func (a SignedAmendment) Budget() (epsilon, delta string) {
	return a.Registration.Terms.Epsilon, a.Registration.Terms.Delta
}

// ReadAmendment reads the text of an amendment; the error is signed.ErrText.
func ReadAmendment(text string) (SignedAmendment, error) {
	var a SignedAmendment
	err := signed.Body(signed.Amendment, text, &a)
	if err == nil && (a.ID == "" || a.Why == "") {
		err = fmt.Errorf("%w: it has no name or no reason", signed.ErrText)
	}
	return a, err
}

type wireAmendment struct {
	Note string `json:"note"`
}

// An AmendmentRef tells of an amendment: which entry made which budget of which.
type AmendmentRef struct {
	Entry         int64  `json:"entry"`
	Time          string `json:"time"`
	Key           string `json:"key"` // of the owner who signed
	From          string `json:"from"`
	To            string `json:"to"`
	EpsilonBefore string `json:"epsilon_before"`
	DeltaBefore   string `json:"delta_before"`
	Epsilon       string `json:"epsilon"`
	Delta         string `json:"delta"`
	Why           string `json:"why"`
}

// maxAmendments bounds the amendments of one data set, and maxAmendment the bytes
// of one.
const (
	maxAmendments = 100
	maxAmendment  = 8 << 20
)

// DraftAmendment returns the text that a data set's owner signs, so that q is its
// registration from then on, at the filters' orders that it has. caps gives the terms
// of a cap by its name, for those that are registered; sameRows names data sets that
// may hold the same rows. Nothing is written.
//
// Errors: *Mismatch for what no amendment can change; ErrUsage for a data set that is
// not registered, or nothing to amend; ErrUnavailable, ErrCorrupt, the context's.
func (l *Ledger) DraftAmendment(ctx context.Context, q Registration, caps func(name string) (accountant.Terms, bool), sameRows []string, why string) (text string, err error) {
	id, err := NewRequestID()
	if err != nil {
		return "", err
	}
	if why == "" || len(why) > maxText || !utf8.ValidString(why) {
		return "", fmt.Errorf("%w: an amendment says why, in at most %d bytes", ErrUsage, maxText)
	}
	err = l.store.View(ctx, func(t tx) error {
		if _, _, err := l.begin(t); err != nil {
			return err
		}
		d, ok, err := getRow[dataset](t, key("dataset", q.Dataset))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: data set %q is not registered, so there is nothing to amend; its first job registers the policy", ErrUsage, q.Dataset)
		}
		a := SignedAmendment{ID: id, Ledger: l.id, Dataset: q.Dataset, Registration: amended(d.Registration, q), SameRowsAs: sameRows, Why: why}
		if d.Registration.Policy != nil {
			a.From = d.Registration.Policy.SHA256
		}
		err = t.List(key("cap", q.Dataset)+"/", func(k, _ string) error {
			name, err := url.PathUnescape(strings.Split(k, "/")[2])
			if err != nil {
				return contradiction("a row of state does not read")
			}
			have, _, err := getRow[wireTerms](t, k)
			if err != nil {
				return err
			}
			asked, ok := caps(name)
			if !ok {
				return &Mismatch{fmt.Sprintf("data set %q: the cap of %s is registered and the policy leaves it out; an amendment keeps caps: give it as much as the budget", q.Dataset, name)}
			}
			if next := widened(have, asked); next != have {
				a.Caps = append(a.Caps, wireCap{name, next})
			}
			return nil
		})
		if err != nil {
			return err
		}
		if a.From == a.To() && len(a.Caps) == 0 && len(sameRows) == 0 {
			return fmt.Errorf("%w: that policy is the registered one; there is nothing to amend", ErrUsage)
		}
		if err := checkChange(t, d, a); err != nil {
			return err
		}
		text, err = signed.Text(signed.Amendment, a)
		return err
	})
	return text, err
}

// amended is a registration with the terms that a policy asks for, at the order that
// is registered.
func amended(have wireRegistration, q Registration) wireRegistration {
	terms := q.Terms
	if terms.Order == 0 {
		terms.Order = have.Terms.Order
	}
	policy, owner := promiseToWire(q)
	return wireRegistration{Unit: q.Unit, Adjacency: q.Adjacency, Terms: termsToWire(terms), Renews: q.Renews,
		Requests: ruleToWire(q.Requests), Owner: owner, Policy: policy}
}

// widened is a cap with the ε and δ that are asked for, at its order.
func widened(have wireTerms, asked accountant.Terms) wireTerms {
	have.Epsilon, have.Delta = asked.Epsilon.String(), asked.Delta.String()
	return have
}

// checkChange says what no amendment can change. Everything that was admitted under
// the old terms must be within the new ones, so that what was released before and
// what is released after is together within the new budget.
func checkChange(s rows, d dataset, a SignedAmendment) error {
	have, next := d.Registration, a.Registration
	for _, f := range []struct{ name, is, asked string }{
		{"privacy unit", have.Unit, next.Unit}, {"adjacency", string(have.Adjacency), string(next.Adjacency)}, {"budget renews", have.Renews, next.Renews},
		{"accountant", string(have.Terms.Method), string(next.Terms.Method)}, {"order", fmt.Sprint(have.Terms.Order), fmt.Sprint(next.Terms.Order)},
	} {
		if f.is != f.asked {
			return &Mismatch{fmt.Sprintf("data set %q is registered with %s %s, the policy says %s; an amendment keeps that: register a data set of another name", a.Dataset, f.name, f.is, f.asked)}
		}
	}
	if _, err := next.Terms.filter(); err != nil {
		return err
	}
	if next.Policy == nil || next.Policy.Text == "" {
		return contradiction("an amendment has no policy")
	}
	if next.Owner != "" {
		if _, err := signed.ParseKey(next.Owner); err != nil {
			return contradiction("an owner's key is none")
		}
	}
	if _, err := next.Requests.rule(); err != nil {
		return err
	}
	if err := onlyGrows(a.Dataset, have.Terms, next.Terms); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range a.Caps {
		is, ok, err := getRow[wireTerms](s, key("cap", a.Dataset, c.Name))
		if err != nil {
			return err
		}
		if !ok || seen[c.Name] {
			return contradiction("an amendment changes a cap twice, or one that is not registered")
		}
		seen[c.Name] = true
		asked, err := c.Terms.terms()
		if err != nil {
			return err
		}
		if widened(is, asked) != c.Terms {
			return contradiction("an amendment changes a cap's order or shares")
		}
		if _, err := c.Terms.filter(); err != nil {
			return err
		}
	}
	for _, name := range a.SameRowsAs {
		if name == "" || name == a.Dataset || len(name) > maxText || !utf8.ValidString(name) {
			return fmt.Errorf("%w: the name of another data set with the same rows is none", ErrUsage)
		}
	}
	return nil
}

// onlyGrows compares the budget, its shares, and what there is beside them.
func onlyGrows(name string, have, next wireTerms) error {
	was, err := have.terms()
	if err != nil {
		return err
	}
	is, err := next.terms()
	if err != nil {
		return err
	}
	wasEpsilon, _ := was.Epsilon.Sub(was.PureEpsilon)
	isEpsilon, _ := is.Epsilon.Sub(is.PureEpsilon)
	wasDelta, _ := was.Delta.Sub(was.ApproximateDelta)
	isDelta, _ := is.Delta.Sub(is.ApproximateDelta)
	for _, f := range []struct {
		what    string
		was, is accountant.Amount
	}{
		{"epsilon", was.Epsilon, is.Epsilon}, {"delta", was.Delta, is.Delta},
		{"pureEpsilon", was.PureEpsilon, is.PureEpsilon}, {"epsilon beside pureEpsilon", wasEpsilon, isEpsilon},
		{"approximateDelta", was.ApproximateDelta, is.ApproximateDelta}, {"delta beside approximateDelta", wasDelta, isDelta},
	} {
		if f.is.Cmp(f.was) < 0 {
			return &Mismatch{fmt.Sprintf("data set %q is registered with %s %s, the policy says %s; an amendment cannot take back what may be spent already: lower perJob, caps or expires instead", name, f.what, f.was, f.is)}
		}
	}
	if was.PureEpsilon.IsZero() != is.PureEpsilon.IsZero() {
		return &Mismatch{fmt.Sprintf("data set %q is registered with pureEpsilon %s, the policy says %s; pure events were counted otherwise, which an amendment keeps", name, was.PureEpsilon, is.PureEpsilon)}
	}
	return nil
}

// Amend writes an amendment that the data set's owner signed: note is its text, from
// DraftAmendment, and the signature. It returns the number of its entry, which is on
// the disk.
//
// Errors, with nothing written: *Unapproved where the signature is not that of the
// registered owner's key, the note is for another ledger or another registration than
// the newest, or was used before; *Mismatch as for DraftAmendment; ErrUsage,
// ErrUnavailable, ErrCorrupt, the context's.
func (l *Ledger) Amend(ctx context.Context, note string) (number int64, err error) {
	if len(note) > maxAmendment || !utf8.ValidString(note) {
		return 0, fmt.Errorf("%w: an amendment is too long, or no UTF-8", ErrUsage)
	}
	a, err := ReadAmendment(signed.TextOf([]byte(note)))
	if err != nil {
		return 0, unapproved("it is no amendment, or was changed")
	}
	var checkpoint string
	err = l.store.Update(ctx, func(t tx) error {
		tree, now, err := l.begin(t)
		if err != nil {
			return err
		}
		overlay := newOverlay(t)
		if err := upgrade(overlay, earlierIn(t, tree)); err != nil {
			return err
		}
		e := entry{Number: tree.N, Time: now.Format(time.RFC3339), Kind: kindAmend, Dataset: a.Dataset, Amendment: &wireAmendment{note}}
		if err := checkAmendment(overlay, e); err != nil {
			return err
		}
		if err := apply(overlay, nil, admitted, e); err != nil {
			return err
		}
		if err := overlay.writeTo(t); err != nil {
			return err
		}
		number = tree.N
		checkpoint, err = l.appendEntries(t, tree, []entry{e})
		return err
	})
	if err != nil {
		return 0, err
	}
	l.remember(checkpoint)
	return number, nil
}

// checkAmendment checks, before an amendment is applied, who signed it, for which
// ledger and after which registration, and marks it as used.
func checkAmendment(s rows, e entry) error {
	if e.Amendment == nil {
		return contradiction("an amendment holds nothing")
	}
	file := []byte(e.Amendment.Note)
	text := signed.TextOf(file)
	a, err := ReadAmendment(text)
	if err != nil {
		return unapproved("it is no amendment, or was changed")
	}
	d, ok, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	id, _, err := s.Get(verifierKey)
	if err != nil {
		return err
	}
	from := ""
	if ok && d.Registration.Policy != nil {
		from = d.Registration.Policy.SHA256
	}
	switch {
	case !ok || a.Dataset != e.Dataset:
		return unapproved("the amendment is for a data set that is not registered in this ledger")
	case a.Ledger != id:
		return unapproved("the amendment is for another ledger")
	case d.Registration.Owner == "":
		return unapproved("data set %q was registered without approvals.owner, so nobody can amend it", e.Dataset)
	case len(d.Amendments) >= maxAmendments:
		return unapproved("data set %q was amended %d times, which is the most", e.Dataset, maxAmendments)
	}
	owner, err := signed.NewRule(1, []string{d.Registration.Owner})
	if err != nil {
		return contradiction("a registered owner's key is none")
	}
	if !owner.Holds(text, file) {
		return unapproved("the amendment needs the signature of %s, the owner that data set %q was registered with", owner.Keys[0], e.Dataset)
	}
	k := key("amendment", a.ID)
	if _, used, err := s.Get(k); err != nil {
		return err
	} else if used {
		return unapproved("the amendment was used before")
	}
	if a.From != from {
		return unapproved("the amendment is of another policy than the one that is registered now; draft it again")
	}
	return s.Put(k, fmt.Sprint(e.Number))
}

// applyAmend makes the change that an amendment stands for.
func applyAmend(s rows, e entry) error {
	if e.Amendment == nil {
		return contradiction("an amendment holds nothing")
	}
	a, err := ReadAmendment(signed.TextOf([]byte(e.Amendment.Note)))
	if err != nil {
		return contradiction("an amendment is none")
	}
	d, ok, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	if !ok || a.Dataset != e.Dataset {
		return contradiction("a data set is amended that is not registered")
	}
	if err := checkChange(s, d, a); err != nil {
		return err
	}
	epsilon, delta := a.Budget()
	d.Amendments = append(d.Amendments, AmendmentRef{Entry: e.Number, Time: e.Time, Key: d.Registration.Owner, From: a.From, To: a.To(),
		EpsilonBefore: d.Registration.Terms.Epsilon, DeltaBefore: d.Registration.Terms.Delta, Epsilon: epsilon, Delta: delta, Why: a.Why})
	for _, name := range a.SameRowsAs {
		for _, k := range []string{key("same", e.Dataset, name), key("same", name, e.Dataset)} {
			if err := s.Put(k, "declared"); err != nil {
				return err
			}
		}
	}
	for _, c := range a.Caps {
		if err := putRow(s, key("cap", e.Dataset, c.Name), c.Terms); err != nil {
			return err
		}
	}
	return putRegistration(s, e.Dataset, d, a.Registration)
}

// sameRowsAs lists the data sets that may hold the same rows as one, as the owner of
// either declared.
func sameRowsAs(s rows, name string) (names []string, err error) {
	prefix := key("same", name) + "/"
	err = s.List(prefix, func(k, _ string) error {
		other, err := url.PathUnescape(strings.TrimPrefix(k, prefix))
		if err != nil {
			return contradiction("a row of state does not read")
		}
		names = append(names, other)
		return nil
	})
	return names, err
}
