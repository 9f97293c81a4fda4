package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// entriesOfAllKinds are the bytes of an entry of each kind, with every member that
// there is.
func entriesOfAllKinds(t testing.TB) [][]byte {
	t.Helper()
	amount := func(s string) *accountant.Amount { a := accountant.MustAmount(s); return &a }
	texts := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint("key+", i))
		}
		return out
	}
	terms := wireTerms{accountant.MethodRDP, "1.5", "1e-6", "0", "0.25", 14.75}
	event := eventToWire(accountant.Compose(
		accountant.PoissonGaussian(accountant.AddRemove, 0.01, 1.25, 100),
		accountant.Event{Type: accountant.TypePure, Adjacency: accountant.AddRemove, Epsilon: amount("0.1"), Count: 3},
		accountant.Event{Type: accountant.TypeApproximate, Adjacency: accountant.AddRemove, Epsilon: amount("0"), Delta: amount("1e-30"), Count: 1},
		accountant.Event{Type: accountant.TypeZCDP, Adjacency: accountant.AddRemove, Rho: amount("1e-9"), Count: 1},
		accountant.Event{Type: "fixed_size_gaussian", Adjacency: accountant.ReplaceOne, SampleSize: 10, SourceSize: 1 << 52, NoiseMultiplier: 1e-7, Count: 1},
		accountant.Event{Type: "other", NoiseMultipliers: []float64{1e21, 0.1, 3}, Sensitivity: -1},
	))
	costs := []wireCost{{policyAccount, 3.6652000000000115e-8, "0", "0"}, {"analyst:ann \"é\"", 1e-300, "0.1", "1e-30"}}
	pending := int64(0)
	common := func(kind string) entry {
		return entry{Number: 17, Time: "2026-11-24T18:07:35Z", Nonce: strings.Repeat("5a", nonceBytes), Kind: kind, Dataset: "fertility/1980 é \U0001f600", Period: "2026-Q4"}
	}
	register, capped, reserve, settle := common(kindRegister), common(kindRegister), common(kindReserve), common(kindSettle)
	void, closing, print, amend := common(kindVoid), common(kindClose), common(kindFingerprint), common(kindAmend)
	register.Registration = &wireRegistration{"row", accountant.AddRemove, terms, "quarterly", &wireRule{2, texts(3)}, "owner", &wirePolicy{"00ff", "version: 1\n\ta: \"b\\c\"\r\b\f\x01\x1f\x7f <&> \u2028"}}
	capped.Cap, capped.Costs = &wireCap{"period:monthly", terms}, costs[:1]
	reserve.Run, reserve.Event, reserve.Costs = "run 7", &event, costs
	reserve.Reservation = &wireReservation{"run", "ann", "labour \"research\"", "census", "00ff", "0.001", "1e-6", &wireApproval{"a note\n\n— key AbC=\n", wireRule{1, texts(0)}}}
	settle.Run, settle.Event, settle.Costs = "run 7", &event, costs
	void.Run = "run 7"
	closing.Pending = &pending
	print.Fingerprint = &wireFingerprint{1, "append-only", strings.Repeat("0f", 32)}
	amend.Amendment = &wireAmendment{"a note\n\n— owner AbC=\n"}
	var out [][]byte
	for _, e := range []entry{register, capped, reserve, settle, void, closing, print, amend} {
		body, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, body)
	}
	return out
}

// compareReaders checks that decodeCanonical takes nothing that the library's reading
// does not take, and takes it for the same.
func compareReaders(t testing.TB, data []byte) (taken bool) {
	t.Helper()
	quick, event, ok := decodeCanonical(data)
	if !ok {
		return false // and the library decides
	}
	slow, err := decodeSlowly(data)
	if err != nil {
		t.Fatalf("only the quick reader takes %q: %v", data, err)
	}
	if !reflect.DeepEqual(quick, slow) {
		t.Fatalf("of %q the readers make\n%+v\n%+v", data, quick, slow)
	}
	want := ""
	if slow.Event != nil {
		b, ok := appendCanonical(nil, reflect.ValueOf(slow.Event))
		if !ok {
			t.Fatalf("the event of %q is not written", data)
		}
		want = string(b)
	}
	if event != want {
		t.Fatalf("of %q the event is %q, not %q", data, event, want)
	}
	return true
}

// TestReadersAgree: entries of all kinds are read quickly; whatever is done to their
// bytes, the quick reader takes no more than the library's, and the same.
func TestReadersAgree(t *testing.T) {
	entries := entriesOfAllKinds(t)
	for _, body := range entries {
		if !compareReaders(t, body) && !bytes.Contains(body, []byte(`\u00`)) {
			t.Errorf("not read quickly: %s", body)
		}
		for i := range body {
			changed := bytes.Clone(body)
			for bit := range 8 {
				changed[i] ^= 1 << bit
				compareReaders(t, changed)
				changed[i] ^= 1 << bit
			}
			compareReaders(t, body[:i])
			compareReaders(t, append(bytes.Clone(body[:i]), body[i+1:]...))
		}
	}
	r := rand.New(rand.NewPCG(3, 71))
	pieces := []string{`"`, `\`, `\n`, `\u0041`, `\u000a`, `{`, `}`, `[`, `]`, `,`, `:`, `null`, `true`, `0`, `-0`, `1e21`, `1E5`, `1.0`, `01`, `1e+21`, `9007199254740993`, ` `,
		"\x00", "\xff", "é", `"version":2`, `,"version":2`, `"event":null,`, `"events":[],`, `"Kind":"void",`, `"kind":"void",`, `"run":"",`, `"costs":null,`, `"other":1,`}
	taken, judged := 0, 0
	const rounds = 20_000
	for range rounds {
		body := bytes.Clone(entries[r.IntN(len(entries))])
		for range 1 + r.IntN(2) {
			from := r.IntN(len(body) + 1)
			to := min(from+r.IntN(3)*r.IntN(20), len(body))
			var put []byte
			switch r.IntN(3) {
			case 0:
				put = []byte(pieces[r.IntN(len(pieces))])
			case 1:
				other := entries[r.IntN(len(entries))]
				i := r.IntN(len(other))
				put = other[i:min(i+r.IntN(40), len(other))]
			}
			body = append(append(bytes.Clone(body[:from]), put...), body[to:]...)
		}
		if compareReaders(t, body) {
			taken++
			continue
		}
		var e entry
		if rest, ok := new(reader).read(string(body), reflect.ValueOf(&e).Elem(), 0); ok && rest == "" && e.check() == nil {
			judged++
		}
	}
	if taken < rounds/100 || taken > rounds/2 {
		t.Errorf("%d of %d changed entries were read: the changes test little", taken, rounds)
	}
	if judged == 0 {
		t.Error("nothing was taken by the reader alone: what is written again judges nothing")
	}
	t.Logf("of %d changed entries %d are entries, %d only to a reader without a judge", rounds, taken, judged)
}

// TestDeepEntry: an entry may not make the reader use more and more of the stack.
func TestDeepEntry(t *testing.T) {
	const deep = 1_000_000
	data := `{"event":` + strings.Repeat(`{"events":[`, deep) + strings.Repeat(`]}`, deep) + `}`
	if _, err := decodeEntry([]byte(data)); err == nil {
		t.Error("read")
	}
}

func FuzzReadersAgree(f *testing.F) {
	for _, body := range entriesOfAllKinds(f) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, data []byte) { compareReaders(t, data) })
}
