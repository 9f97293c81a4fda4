package ledger

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/privsgld/privsgld/accountant"
)

// The kinds of entry.
const (
	kindRegister = "register" // a data set, or a cap of one
	kindReserve  = "reserve"
	kindSettle   = "settle"
	kindVoid     = "void"
	kindClose    = "close" // a new period of a data set opens
	kindAmend    = "amend" // a data set's owner changes what it is registered with
)

// An entry is one record of the log. Which members are present depends on
// Kind: see the package comment.
type entry struct {
	Version int    `json:"version"`
	Number  int64  `json:"number"`
	Time    string `json:"time"`
	Nonce   string `json:"nonce"`
	Kind    string `json:"kind"`
	Dataset string `json:"dataset,omitempty"`
	Run     string `json:"run,omitempty"`
	Period  string `json:"period,omitempty"`
	Attempt int64  `json:"attempt,omitempty"` // again

	Registration *wireRegistration `json:"registration,omitempty"` // register
	Cap          *wireCap          `json:"cap,omitempty"`          // register
	Reservation  *wireReservation  `json:"reservation,omitempty"`  // reserve
	Event        *wireEvent        `json:"event,omitempty"`        // reserve, settle, again
	Costs        []wireCost        `json:"costs,omitempty"`        // reserve, settle, again; register of a cap
	Pending      *int64            `json:"pending,omitempty"`      // close
	Fingerprint  *wireFingerprint  `json:"fingerprint,omitempty"`  // fingerprint
	Amendment    *wireAmendment    `json:"amendment,omitempty"`    // amend
}

// Entries of version 1 were written by a program that kept no events by purpose, those
// of version 2 by one that knew no second attempt.
const entryVersion = 3

// nonceBytes is the length of an entry's random part. Checkpoints leave the
// ledger with every report: without it their hashes would confirm a guess of
// what the entries hold, the time of a settlement among it, and so how long a
// run took.
const nonceBytes = 16

func newNonce() (string, error) {
	var b [nonceBytes]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("%w: the system has no randomness", ErrUnavailable)
	}
	return hex.EncodeToString(b[:]), nil
}

type wireTerms struct {
	Method           accountant.Method `json:"method"`
	Epsilon          string            `json:"epsilon"`
	Delta            string            `json:"delta"`
	ApproximateDelta string            `json:"approximate_delta"`
	PureEpsilon      string            `json:"pure_epsilon"`
	Order            float64           `json:"order"`
}

type wireRegistration struct {
	Unit      string               `json:"unit"`
	Adjacency accountant.Adjacency `json:"adjacency"`
	Terms     wireTerms            `json:"terms"`
	Renews    string               `json:"renews"`
	Requests  *wireRule            `json:"requests,omitempty"` // who must sign each job
	Owner     string               `json:"owner,omitempty"`    // public key of whoever may amend
	Policy    *wirePolicy          `json:"policy,omitempty"`
}

type wireCap struct {
	Name  string    `json:"name"`
	Terms wireTerms `json:"terms"`
}

type wireReservation struct {
	Kind         string `json:"kind"`
	Analyst      string `json:"analyst"`
	Purpose      string `json:"purpose"`
	PolicyName   string `json:"policy_name"`
	PolicySHA256 string `json:"policy_sha256"`
	Epsilon      string `json:"epsilon"`
	Delta        string `json:"delta"`

	Approval *wireApproval `json:"approval,omitempty"` // the signed request
}

// wireCost is what an event costs in one account: the policy's, or a cap's.
type wireCost struct {
	Account     string  `json:"account"`
	Loss        float64 `json:"loss"`
	Pure        string  `json:"pure_epsilon"`
	Approximate string  `json:"approximate_delta"`
}

// wireEvent is an event whose amounts are text, so that canonical JSON, whose
// numbers are float64, keeps every digit of them.
type wireEvent struct {
	Type             accountant.EventType `json:"type"`
	Adjacency        accountant.Adjacency `json:"adjacency,omitempty"`
	SamplingRate     float64              `json:"sampling_rate,omitempty"`
	SampleSize       int64                `json:"sample_size,omitempty"`
	SourceSize       int64                `json:"source_size,omitempty"`
	NoiseMultiplier  float64              `json:"noise_multiplier,omitempty"`
	NoiseMultipliers []float64            `json:"noise_multipliers,omitempty"`
	Sensitivity      int64                `json:"sensitivity,omitempty"`
	Epsilon          *string              `json:"epsilon,omitempty"`
	Delta            *string              `json:"delta,omitempty"`
	Rho              *string              `json:"rho,omitempty"`
	Count            int64                `json:"count,omitempty"`
	Events           []wireEvent          `json:"events,omitempty"`
}

// encode returns the canonical bytes (RFC 8785) of an entry, having checked
// that they read back as the same entry.
func (e entry) encode() ([]byte, error) {
	e.Version = entryVersion
	plain, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("%w: an entry cannot be written as JSON", ErrUsage)
	}
	data, err := jcs.Transform(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: an entry has no canonical JSON", ErrUsage)
	}
	back, err := decodeEntry(data)
	if err != nil {
		return nil, fmt.Errorf("%w: an entry does not read back", ErrUsage)
	}
	if again, err := json.Marshal(back); err != nil || !bytes.Equal(again, plain) {
		return nil, fmt.Errorf("%w: an entry reads back otherwise; counts go up to 2^53", ErrUsage)
	}
	return data, nil
}

// decodeEntry reads what encode wrote, and nothing else: unknown members,
// another version and any other spelling are errors.
func decodeEntry(data []byte) (entry, error) {
	e, _, err := decodeKeyed(data)
	return e, err
}

// decodeKeyed is decodeEntry, which also returns the canonical JSON of the entry's
// event, or "" where it would have to be written first.
func decodeKeyed(data []byte) (e entry, event string, err error) {
	if e, event, ok := decodeCanonical(data); ok {
		return e, event, nil
	}
	e, err = decodeSlowly(data)
	return e, "", err
}

// decodeSlowly is decodeEntry by the library.
func decodeSlowly(data []byte) (entry, error) {
	var e entry
	if json.Unmarshal(data, &e) != nil {
		return e, fmt.Errorf("%w: an entry is not as this program writes it", ErrCorrupt)
	}
	if err := e.check(); err != nil {
		return e, err
	}
	// What is written again is the same: there is no other member or spelling.
	plain, err := json.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("%w: an entry is not as this program writes it", ErrCorrupt)
	}
	if canonical, err := jcs.Transform(plain); err != nil || !bytes.Equal(canonical, data) {
		return e, fmt.Errorf("%w: an entry is not in canonical form", ErrCorrupt)
	}
	return e, nil
}

// decodeCanonical is decodeKeyed for nearly every entry that there is, and false where
// the library must look.
func decodeCanonical(data []byte) (e entry, event string, ok bool) {
	var r reader
	ok = r.all(string(data), reflect.ValueOf(&e).Elem()) && e.check() == nil
	return e, r.event, ok
}

// check is what any entry must have beside its form.
func (e *entry) check() error {
	if e.Version < 1 || e.Version > entryVersion {
		return fmt.Errorf("%w: an entry has another version", ErrCorrupt)
	}
	if len(e.Nonce) != 2*nonceBytes {
		return fmt.Errorf("%w: an entry has no nonce", ErrCorrupt)
	}
	return nil
}

func (e entry) time() (time.Time, error) {
	t, err := time.Parse(time.RFC3339, e.Time)
	if err != nil || t.UTC().Format(time.RFC3339) != e.Time {
		return t, fmt.Errorf("%w: an entry's time is none", ErrCorrupt)
	}
	return t, nil
}

func termsToWire(t accountant.Terms) wireTerms {
	return wireTerms{t.Method, t.Epsilon.String(), t.Delta.String(), t.ApproximateDelta.String(), t.PureEpsilon.String(), t.Order}
}

func (w wireTerms) terms() (t accountant.Terms, err error) {
	t.Method, t.Order = w.Method, w.Order
	for _, a := range []struct {
		to   *accountant.Amount
		text string
	}{{&t.Epsilon, w.Epsilon}, {&t.Delta, w.Delta}, {&t.ApproximateDelta, w.ApproximateDelta}, {&t.PureEpsilon, w.PureEpsilon}} {
		if *a.to, err = accountant.ParseAmount(a.text); err != nil {
			return t, fmt.Errorf("%w: registered terms hold no amount", ErrCorrupt)
		}
	}
	return t, nil
}

func (w wireTerms) filter() (*accountant.Filter, error) {
	t, err := w.terms()
	if err != nil {
		return nil, err
	}
	f, err := accountant.NewFilter(t)
	if err != nil {
		return nil, fmt.Errorf("%w: registered terms make no filter", ErrCorrupt)
	}
	return f, nil
}

func costToWire(name string, s accountant.Spent) wireCost {
	return wireCost{name, s.Loss, s.PureEpsilon.String(), s.ApproximateDelta.String()}
}

func (w wireCost) spent() (s accountant.Spent, err error) {
	s.Loss = w.Loss
	if s.PureEpsilon, err = accountant.ParseAmount(w.Pure); err != nil {
		return s, fmt.Errorf("%w: a cost holds no amount", ErrCorrupt)
	}
	if s.ApproximateDelta, err = accountant.ParseAmount(w.Approximate); err != nil {
		return s, fmt.Errorf("%w: a cost holds no amount", ErrCorrupt)
	}
	return s, nil
}

func eventToWire(e accountant.Event) wireEvent {
	w := wireEvent{Type: e.Type, Adjacency: e.Adjacency, SamplingRate: e.SamplingRate, SampleSize: e.SampleSize, SourceSize: e.SourceSize,
		NoiseMultiplier: e.NoiseMultiplier, NoiseMultipliers: e.NoiseMultipliers, Sensitivity: e.Sensitivity,
		Epsilon: textOf(e.Epsilon), Delta: textOf(e.Delta), Rho: textOf(e.Rho), Count: e.Count}
	for _, c := range e.Events {
		w.Events = append(w.Events, eventToWire(c))
	}
	return w
}

func (w wireEvent) event() (e accountant.Event, err error) {
	e = accountant.Event{Type: w.Type, Adjacency: w.Adjacency, SamplingRate: w.SamplingRate, SampleSize: w.SampleSize, SourceSize: w.SourceSize,
		NoiseMultiplier: w.NoiseMultiplier, NoiseMultipliers: w.NoiseMultipliers, Sensitivity: w.Sensitivity, Count: w.Count}
	if e.Epsilon, err = amountOf(w.Epsilon); err != nil {
		return e, err
	}
	if e.Delta, err = amountOf(w.Delta); err != nil {
		return e, err
	}
	if e.Rho, err = amountOf(w.Rho); err != nil {
		return e, err
	}
	for _, c := range w.Events {
		inner, err := c.event()
		if err != nil {
			return e, err
		}
		e.Events = append(e.Events, inner)
	}
	return e, nil
}

func textOf(a *accountant.Amount) *string {
	if a == nil {
		return nil
	}
	s := a.String()
	return &s
}

func amountOf(s *string) (*accountant.Amount, error) {
	if s == nil {
		return nil, nil
	}
	a, err := accountant.ParseAmount(*s)
	if err != nil {
		return nil, fmt.Errorf("%w: an event holds no amount", ErrCorrupt)
	}
	return &a, nil
}
