package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// A SignedRequest is the body of a text of kind signed.JobRequest: one job, of one
// analyst, under one version of a policy, charged to one ledger, once, within a
// window of the ledger's time, both ends included.
type SignedRequest struct {
	ID           string          `json:"id"` // 16 random bytes in hexadecimal
	Ledger       string          `json:"ledger"`
	Dataset      string          `json:"dataset"`
	PolicyName   string          `json:"policy_name"`
	PolicySHA256 string          `json:"policy_sha256"`
	Kind         string          `json:"kind"`
	Analyst      string          `json:"analyst"`
	Purpose      string          `json:"purpose"`
	Epsilon      string          `json:"epsilon"` // decimal text in the accountant's form
	Delta        string          `json:"delta"`
	NotBefore    string          `json:"not_before"` // RFC 3339, UTC, whole seconds
	NotAfter     string          `json:"not_after"`
	Settings     json.RawMessage `json:"settings"` // the job's flags, an object; the job's to compare
}

// NewRequestID returns the name of a request that is to be signed.
func NewRequestID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("%w: the system has no randomness", ErrUnavailable)
	}
	return hex.EncodeToString(b[:]), nil
}

// ReadRequest reads the text of a signed request; the error is signed.ErrText.
func ReadRequest(text string) (SignedRequest, error) {
	var r SignedRequest
	if err := signed.Body(signed.JobRequest, text, &r); err != nil {
		return r, err
	}
	var object map[string]json.RawMessage
	id, err := hex.DecodeString(r.ID)
	if json.Unmarshal(r.Settings, &object) != nil || err != nil || len(id) != 16 || hex.EncodeToString(id) != r.ID {
		return r, fmt.Errorf("%w: it has no name or no settings", signed.ErrText)
	}
	_, _, err = r.window()
	return r, err
}

func (r SignedRequest) window() (from, to time.Time, err error) {
	for _, w := range []struct {
		t    *time.Time
		text string
	}{{&from, r.NotBefore}, {&to, r.NotAfter}} {
		if *w.t, err = time.Parse(time.RFC3339, w.text); err != nil || w.t.UTC().Format(time.RFC3339) != w.text {
			return from, to, fmt.Errorf("%w: its window is none", signed.ErrText)
		}
	}
	return from, to, nil
}

// An Approval is the signed request that a job comes with, and the rule of its
// policy that the signatures must satisfy.
type Approval struct {
	Note string // text and signatures, see package signed
	Rule signed.Rule
}

// An Unapproved error says that a charge lacks the signatures that the data set
// asks for, or has those of another request. Nothing was written.
type Unapproved struct{ Message string }

func (e *Unapproved) Error() string { return e.Message }

func unapproved(format string, args ...any) error { return &Unapproved{fmt.Sprintf(format, args...)} }

// maxNote bounds a signed request, in bytes.
const maxNote = 64 << 10

type wireRule struct {
	AtLeast int      `json:"at_least"`
	Keys    []string `json:"keys"`
}

type wireApproval struct {
	Note string   `json:"note"`
	Rule wireRule `json:"rule"`
}

func ruleToWire(r signed.Rule) *wireRule {
	if r.AtLeast == 0 {
		return nil
	}
	return &wireRule{r.AtLeast, r.Texts()}
}

func (w *wireRule) rule() (signed.Rule, error) {
	if w == nil {
		return signed.Rule{}, nil
	}
	r, err := signed.NewRule(w.AtLeast, w.Keys)
	if err != nil {
		return r, contradiction("a rule for signatures is none")
	}
	return r, nil
}

func (a *Approval) wire() *wireApproval {
	if a == nil {
		return nil
	}
	return &wireApproval{a.Note, wireRule{a.Rule.AtLeast, a.Rule.Texts()}}
}

func validateApproval(a *Approval) error {
	if a != nil && (len(a.Note) > maxNote || !utf8.ValidString(a.Note) || a.Rule.AtLeast < 1) {
		return fmt.Errorf("%w: a signed request is longer than %d KiB, is no UTF-8, or is signed for no rule", ErrUsage, maxNote>>10)
	}
	return nil
}

// checkRequest checks, before a reservation is applied, that it has the signatures
// that its data set was registered to ask for, over a request for just this
// charge; and marks the request as used for ever, be the charge void later.
func checkRequest(s rows, e entry) error {
	d, ok, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	if !ok || e.Reservation == nil {
		return contradiction("a reservation has no data set")
	}
	registered, err := d.Registration.Requests.rule()
	if err != nil {
		return err
	}
	a := e.Reservation.Approval
	if a == nil {
		if registered.AtLeast > 0 {
			return unapproved("data set %q was registered to ask for requests signed by %s, and this job has none", e.Dataset, registered)
		}
		return nil
	}
	file := []byte(a.Note)
	text := signed.TextOf(file)
	r, err := ReadRequest(text)
	if err != nil {
		return unapproved("the signed request is none: %v", err)
	}
	id, _, err := s.Get(verifierKey)
	if err != nil {
		return err
	}
	for _, f := range []struct{ what, signed, is string }{
		{"ledger", r.Ledger, id}, {"data set", r.Dataset, e.Dataset},
		{"policy", r.PolicyName, e.Reservation.PolicyName}, {"version of the policy", r.PolicySHA256, e.Reservation.PolicySHA256},
		{"kind of job", r.Kind, e.Reservation.Kind}, {"analyst", r.Analyst, e.Reservation.Analyst}, {"purpose", r.Purpose, e.Reservation.Purpose},
		{"epsilon", r.Epsilon, e.Reservation.Epsilon}, {"delta", r.Delta, e.Reservation.Delta},
	} {
		if f.signed != f.is {
			return unapproved("the signed request is for another %s: %q, not %q", f.what, f.signed, f.is)
		}
	}
	if err := checkWindow(r, e); err != nil {
		return err
	}
	if a.Rule.AtLeast < 1 {
		return contradiction("a request is signed for no rule")
	}
	own, err := (&a.Rule).rule()
	if err != nil {
		return err
	}
	for _, rule := range []signed.Rule{own, registered} {
		if have := rule.Signers(text, file); len(have) < rule.AtLeast {
			return unapproved("the request needs the signatures of %s, and has those of %s", rule, signed.Names(have))
		}
	}
	k := key("request", r.ID)
	if by, used, err := s.Get(k); err != nil {
		return err
	} else if used {
		return unapproved("the signed request was used before, by run %s; every job needs a request of its own", by)
	}
	return s.Put(k, e.Run)
}

func checkWindow(r SignedRequest, e entry) error {
	from, to, err := r.window()
	if err != nil {
		return err
	}
	now, err := e.time()
	if err != nil {
		return err
	}
	if now.Before(from) || now.After(to) {
		return unapproved("the signed request holds from %s to %s, and the ledger's time is %s", r.NotBefore, r.NotAfter, e.Time)
	}
	return nil
}
