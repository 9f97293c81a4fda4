package ledger

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// approvers makes keys in a folder of the test.
func approvers(t testing.TB, names ...string) (keys []signed.Private) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := signed.CreateKey(path, name); err != nil {
			t.Fatal(err)
		}
		k, err := signed.LoadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

func ruleFor(t testing.TB, atLeast int, keys ...signed.Private) signed.Rule {
	t.Helper()
	var texts []string
	for _, k := range keys {
		texts = append(texts, k.String())
	}
	r, err := signed.NewRule(atLeast, texts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// signedBy returns the text with the keys' signatures.
func signedBy(t testing.TB, text string, keys ...signed.Private) string {
	t.Helper()
	out := text + "\n"
	for _, k := range keys {
		n, err := k.Note(text)
		if err != nil {
			t.Fatal(err)
		}
		out += string(n[len(text)+1:])
	}
	return out
}

// requestFor is the body that approvers of q sign, good for an hour from now.
func requestFor(t testing.TB, l *Ledger, q Request, now time.Time) SignedRequest {
	t.Helper()
	id, err := NewRequestID()
	if err != nil {
		t.Fatal(err)
	}
	return SignedRequest{ID: id, Ledger: l.ID(), Dataset: q.Dataset, PolicyName: q.PolicyName, PolicySHA256: q.PolicySHA256, Kind: q.Kind,
		Analyst: q.Analyst, Purpose: q.Purpose, Epsilon: q.JobEpsilon.String(), Delta: q.JobDelta.String(),
		NotBefore: now.Format(time.RFC3339), NotAfter: now.Add(time.Hour).Format(time.RFC3339), Settings: json.RawMessage(`{"model":"logistic"}`)}
}

func textFor(t testing.TB, kind signed.Kind, r SignedRequest) string {
	t.Helper()
	text, err := signed.Text(kind, r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustBeUnapproved(t testing.TB, l *Ledger, what, want string, q Request) {
	t.Helper()
	before, err := l.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var u *Unapproved
	if _, err := l.Reserve(ctx, q); !errors.As(err, &u) || !strings.Contains(u.Message, want) || strings.Contains(u.Message, "\n") {
		t.Errorf("%s: %v; want %q", what, err, want)
	}
	if after, _ := l.Checkpoint(ctx); after != before {
		t.Errorf("%s: something was written", what)
	}
}

// TestSignedRequests is threat L12: a request permits just the charge that it was
// signed for, in one ledger, once, in its window.
func TestSignedRequests(t *testing.T) {
	c := startClock()
	l, other := openIn(t, t.TempDir(), c), openIn(t, t.TempDir(), c)
	keys := approvers(t, "ann", "bob", "eve", "mallory")
	rule := ruleFor(t, 2, keys[:3]...)
	reg := testRegistration(testTerms(accountant.MethodRDP, "10", "1e-6"))
	reg.Requests = rule
	plain := gaussianRun("run", reg, "0.5")
	plain.Purpose = "research"
	with := func(id, note string) Request {
		q := plain
		q.RunID, q.Approval = id, &Approval{Note: note, Rule: rule}
		return q
	}

	mustBeUnapproved(t, l, "no request", "this job has none", plain)
	good := requestFor(t, l, plain, c.t)
	for _, tamper := range []struct {
		name, want string
		edit       func(*SignedRequest)
	}{
		{"ledger", "another ledger", func(r *SignedRequest) { r.Ledger = other.ID() }},
		{"data set", "another data set", func(r *SignedRequest) { r.Dataset = "other" }},
		{"policy", "another policy", func(r *SignedRequest) { r.PolicyName = "other" }},
		{"sum", "another version of the policy", func(r *SignedRequest) { r.PolicySHA256 = "00fe" }},
		{"kind", "another kind", func(r *SignedRequest) { r.Kind = "query" }},
		{"analyst", "another analyst", func(r *SignedRequest) { r.Analyst = "eve" }},
		{"purpose", "another purpose", func(r *SignedRequest) { r.Purpose = "" }},
		{"epsilon", "another epsilon", func(r *SignedRequest) { r.Epsilon = "0.50000000000000000001" }},
		{"spelling of epsilon", "another epsilon", func(r *SignedRequest) { r.Epsilon = "0.50" }},
		{"delta", "another delta", func(r *SignedRequest) { r.Delta = "1e-7" }},
		{"early", "holds from", func(r *SignedRequest) { r.NotBefore = c.t.Add(time.Second).Format(time.RFC3339) }},
		{"expired", "holds from", func(r *SignedRequest) { r.NotAfter = c.t.Add(-time.Second).Format(time.RFC3339) }},
		{"no window", "is none", func(r *SignedRequest) { r.NotAfter = "" }},
		{"a window in another zone", "is none", func(r *SignedRequest) { r.NotAfter = "2036-11-24T12:00:00+01:00" }},
		{"no name", "is none", func(r *SignedRequest) { r.ID = "" }},
		{"settings that are none", "is none", func(r *SignedRequest) { r.Settings = json.RawMessage(`1`) }},
	} {
		r := good
		tamper.edit(&r)
		mustBeUnapproved(t, l, tamper.name, tamper.want, with("run", signedBy(t, textFor(t, signed.JobRequest, r), keys[:2]...)))
	}
	text := textFor(t, signed.JobRequest, good)
	changed := textFor(t, signed.JobRequest, func() SignedRequest { r := good; r.Settings = json.RawMessage(`{"model":"mlp"}`); return r }())
	lines := strings.TrimPrefix(signedBy(t, text, keys[:2]...), text)
	for _, bad := range []struct{ name, want, note string }{
		{"nothing", "is none", ""},
		{"one signature", "has those of ann", signedBy(t, text, keys[0])},
		{"one signature twice", "has those of ann", signedBy(t, text, keys[0], keys[0])},
		{"one that is not listed", "has those of ann", signedBy(t, text, keys[0], keys[3])},
		{"changed settings", "has those of nobody", changed + lines},
		{"another kind of text", "is none", signedBy(t, textFor(t, signed.PolicyApproval, good), keys[:2]...)},
		{"signatures of another kind of text", "has those of nobody", text + strings.TrimPrefix(signedBy(t, textFor(t, signed.Amendment, good), keys[:2]...), textFor(t, signed.Amendment, good))},
		{"other spelling", "is none", strings.Replace(signedBy(t, text, keys[:2]...), `{"`, `{ "`, 1)},
	} {
		mustBeUnapproved(t, l, bad.name, bad.want, with("run", bad.note))
	}

	note := signedBy(t, text, keys[:2]...)
	if _, err := l.Preview(ctx, plain); err != nil {
		t.Errorf("a plan waits for signatures: %v", err)
	}
	// A weaker rule in a policy of the day does not weaken the registered one.
	first := mustReserve(t, l, with("first", note))
	weak := with("weak", "")
	weak.Approval.Rule = ruleFor(t, 1, keys[3])
	weak.Requests = weak.Approval.Rule
	weak.Approval.Note = signedBy(t, textFor(t, signed.JobRequest, requestFor(t, l, plain, c.t)), keys[3])
	mustBeUnapproved(t, l, "the rule of another policy", "needs the signatures of 2 of ann, bob and eve", weak)

	mustBeUnapproved(t, l, "second use", "was used before, by run first", with("second", note))
	mustBeUnapproved(t, other, "another ledger", "another ledger", with("first", note))
	if err := l.Void(ctx, first); err != nil {
		t.Fatal(err)
	}
	mustBeUnapproved(t, l, "use after void", "was used before, by run first", with("second", note))

	// One more, of its own, at the last moment; and none a second later, nor after
	// the clock was set back: the ledger's time does not go back.
	last := requestFor(t, l, plain, c.t)
	note = signedBy(t, textFor(t, signed.JobRequest, last), keys[1:3]...)
	late := requestFor(t, l, plain, c.t)
	c.t = c.t.Add(time.Hour)
	mustReserve(t, l, with("last", note))
	c.t = c.t.Add(time.Second)
	again := requestFor(t, l, plain, c.t)
	mustReserve(t, l, with("new", signedBy(t, textFor(t, signed.JobRequest, again), keys[:3]...)))
	c.t = c.t.Add(-time.Hour)
	mustBeUnapproved(t, l, "the clock set back", "holds from", with("late", signedBy(t, textFor(t, signed.JobRequest, late), keys[:2]...)))
}

// TestForgedReservation: a ledger whose job key signed a reservation without the
// approval that its data set asks for does not verify.
func TestForgedReservation(t *testing.T) {
	c := startClock()
	keys := approvers(t, "ann")
	forge := func(edit func(*wireReservation)) error {
		l, err := Open(ctx, Options{StateDir: t.TempDir(), Clock: c.now})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		reg := testRegistration(testTerms(accountant.MethodRDP, "10", "1e-6"))
		reg.Requests = ruleFor(t, 1, keys[0])
		q := gaussianRun("run", reg, "0.5")
		q.Approval = &Approval{Note: signedBy(t, textFor(t, signed.JobRequest, requestFor(t, l, q, c.t)), keys[0]), Rule: reg.Requests}
		err = l.store.Update(ctx, func(tx tx) error {
			tree, now, err := l.begin(tx)
			if err != nil {
				return err
			}
			o := newOverlay(tx)
			d, err := decide(o, earlierIn(tx, tree), now, q)
			if err != nil {
				return err
			}
			edit(d.entries[len(d.entries)-1].Reservation)
			if err := o.writeTo(tx); err != nil {
				return err
			}
			_, err = l.appendEntries(tx, tree, d.entries)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Verify(ctx)
		return err
	}
	if err := forge(func(*wireReservation) {}); err != nil {
		t.Errorf("the control does not verify: %v", err)
	}
	for name, edit := range map[string]func(*wireReservation){
		"no approval":   func(r *wireReservation) { r.Approval = nil },
		"another rule":  func(r *wireReservation) { r.Approval.Rule.AtLeast = 0 },
		"other epsilon": func(r *wireReservation) { r.Epsilon = "0.4" },
		"no signature":  func(r *wireReservation) { r.Approval.Note = signed.TextOf([]byte(r.Approval.Note)) },
		"a longer window": func(r *wireReservation) {
			r.Approval.Note = strings.Replace(r.Approval.Note, `"not_after":"2026`, `"not_after":"2027`, 1)
		},
	} {
		if err := forge(edit); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
