package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// history runs jobs and returns a copy of the ledger's file, where there is a path,
// and its checkpoint after each.
func history(t *testing.T, l *Ledger, path string, from, to int) (copies [][]byte, checkpoints []string) {
	t.Helper()
	reg := testRegistration(testTerms(accountant.MethodRDP, "100", "1e-6"))
	for i := from; i < to; i++ {
		r := mustReserve(t, l, gaussianRun(fmt.Sprint("run", i), reg, "0.1"))
		if _, err := l.Settle(ctx, r, gaussianRun("", reg, "0.1").Event); err != nil {
			t.Fatal(err)
		}
		var file []byte
		if path != "" {
			var err error
			if file, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		note, err := l.Checkpoint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		copies, checkpoints = append(copies, file), append(checkpoints, note)
	}
	return copies, checkpoints
}

// L5: an earlier copy of the ledger does not open where the anchor is, and is found by
// any newer checkpoint where the anchor was set back too; without both nothing shows
// it, which the documentation says.
func TestEarlierCopiesAreFound(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "elsewhere", "ledger.db")
	o := Options{DSN: "sqlite:" + path, StateDir: dir}
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	copies, checkpoints := history(t, l, path, 0, earlierCopies+1)
	mustVerify(t, l)
	anchor := l.anchor
	l.Close()
	newest := len(copies) - 1
	saved, err := os.ReadFile(anchor)
	if err != nil || string(saved) != checkpoints[newest] {
		t.Fatalf("the anchor is not the newest checkpoint: %v", err)
	}
	put := func(file []byte) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range newest {
		put(copies[i])
		if _, err := Open(ctx, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "earlier copy") {
			t.Fatalf("copy %d opened: %v", i, err)
		}
		if err := os.Remove(anchor); err != nil {
			t.Fatal(err)
		}
		l, err := Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Verify(ctx); err != nil {
			t.Errorf("copy %d, alone: %v", i, err)
		}
		later := i + 1 + rand.IntN(newest-i)
		if v, err := l.Verify(ctx, Witness{Checkpoint: checkpoints[later]}); v.OK || !errors.Is(err, ErrCorrupt) {
			t.Errorf("copy %d passed checkpoint %d: %v", i, later, err)
		}
		if _, err := l.Verify(ctx, Witness{Checkpoint: checkpoints[rand.IntN(i+1)]}); err != nil {
			t.Errorf("copy %d, an earlier checkpoint: %v", i, err)
		}
		// Other runs instead: as long as the history that was left, or longer.
		history(t, l, path, 100, 100+newest-i+1)
		if v, err := l.Verify(ctx, Witness{Checkpoint: checkpoints[later]}); v.OK || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "others than were seen") {
			t.Errorf("a fork after copy %d passed checkpoint %d: %v", i, later, err)
		}
		l.Close()
		if err := os.WriteFile(anchor, saved, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(ctx, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "others than were seen") {
			t.Errorf("a fork after copy %d opened: %v", i, err)
		}
	}
	put(copies[newest])
	l = openElsewhere(t, o)
	for i, c := range checkpoints {
		if _, err := l.Verify(ctx, Witness{Checkpoint: c, Run: fmt.Sprint("run", i), Entry: int64(2*i + 2)}); err != nil {
			t.Errorf("checkpoint %d: %v", i, err)
		}
		for _, w := range []Witness{
			{Checkpoint: c, Run: "another", Entry: int64(2*i + 2)},
			{Checkpoint: c, Run: fmt.Sprint("run", i), Entry: int64(2*i + 1)},
			{Checkpoint: c, Run: fmt.Sprint("run", i), Entry: int64(2*i + 3)},
			{Checkpoint: c, Run: fmt.Sprint("run", i), Entry: -1},
			{Checkpoint: strings.Replace(c, "\n", "\n1", 1)},
			{Checkpoint: "none"},
		} {
			if v, err := l.Verify(ctx, w); v.OK || !errors.Is(err, ErrCorrupt) {
				t.Errorf("passed %+v: %v", w, err)
			}
		}
	}

	if err := os.WriteFile(anchor, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "anchor") {
		t.Errorf("a damaged anchor: %v", err)
	}
	if err := os.WriteFile(anchor, saved, 0o600); err != nil {
		t.Fatal(err)
	}
}

func openElsewhere(t *testing.T, o Options) *Ledger {
	t.Helper()
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// stranger verifies an export from the documentation alone: RFC 6962's tree, the
// note's ed25519 signature, and the losses of the events by their own formula.
func stranger(export []byte) (spent float64, err error) {
	lines := strings.Split(strings.TrimSuffix(string(export), "\n"), "\n")
	var head struct {
		Schema, ID, Checkpoint string
		Entries                int
	}
	if err := json.Unmarshal([]byte(lines[0]), &head); err != nil || head.Schema != "privsgld/ledger-export/v1" || head.Entries != len(lines)-1 {
		return 0, fmt.Errorf("no head: %v", err)
	}
	text, signature, ok := strings.Cut(head.Checkpoint, "\n\n— ")
	if !ok {
		return 0, errors.New("no note")
	}
	name := strings.SplitN(head.ID, "+", 3)
	_, signed, ok := strings.Cut(signature, " ")
	if !ok || len(name) != 3 {
		return 0, errors.New("no name, or no signature")
	}
	key, err := base64.StdEncoding.DecodeString(name[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize {
		return 0, fmt.Errorf("no key: %v", err)
	}
	sig, err := base64.StdEncoding.DecodeString(strings.TrimSpace(signed))
	if err != nil || len(sig) < 4 || !ed25519.Verify(key[1:], []byte(text+"\n"), sig[4:]) {
		return 0, fmt.Errorf("the signature is wrong: %v", err)
	}
	var tree func(leaves []string) [32]byte
	tree = func(leaves []string) [32]byte {
		if len(leaves) == 1 {
			return sha256.Sum256([]byte("\x00" + leaves[0]))
		}
		k := 1
		for 2*k < len(leaves) {
			k *= 2
		}
		a, b := tree(leaves[:k]), tree(leaves[k:])
		return sha256.Sum256(bytes.Join([][]byte{{1}, a[:], b[:]}, nil))
	}
	root := tree(lines[1:])
	if want := fmt.Sprintf("go.sum database tree\n%d\n%s", head.Entries, base64.StdEncoding.EncodeToString(root[:])); text != want {
		return 0, errors.New("the tree is another")
	}
	// Rényi loss of full-batch Gaussian steps at the registered order: α·n/(2z²). What is
	// settled counts as settled, the rest as reserved.
	order, loss := 0.0, map[string]float64{}
	for _, line := range lines[1:] {
		var e struct {
			Kind, Run    string
			Registration struct{ Terms struct{ Order float64 } }
			Event        struct {
				Events []struct {
					Type             string
					Noise_multiplier float64
					Count            float64
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return 0, err
		}
		switch e.Kind {
		case "register":
			order = max(order, e.Registration.Terms.Order)
		case "reserve", "settle":
			loss[e.Run] = 0
			for _, x := range e.Event.Events {
				if x.Type != "gaussian" {
					return 0, errors.New("another event")
				}
				loss[e.Run] += order * x.Count / (2 * x.Noise_multiplier * x.Noise_multiplier)
			}
		case "void":
			delete(loss, e.Run)
		}
	}
	for _, x := range loss {
		spent += x
	}
	return spent, nil
}

// An export holds all that a stranger needs, and whatever is changed in it shows.
func TestStrangerVerifiesAnExport(t *testing.T) {
	dir := t.TempDir()
	l := openIn(t, dir, startClock())
	history(t, l, "", 0, 9)
	reg := testRegistration(testTerms(accountant.MethodRDP, "100", "1e-6"))
	if err := l.Void(ctx, mustReserve(t, l, gaussianRun("void", reg, "0.5"))); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, l, gaussianRun("open", reg, "0.3"))
	var export bytes.Buffer
	if err := l.Export(ctx, &export); err != nil {
		t.Fatal(err)
	}
	got, err := stranger(export.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var total float64
	err = l.store.View(ctx, func(t tx) error {
		sum, err := getTotal(t, reg.Dataset, "always", policyAccount)
		total = sum.spentUp().Loss
		return err
	})
	if err != nil || !(got <= total) || got < total*(1-1e-9) {
		t.Errorf("a stranger's sum of losses is %.17g, the ledger's %.17g (%v)", got, total, err)
	}
	for range 300 {
		forged := bytes.Clone(export.Bytes())
		forged[rand.IntN(len(forged))] ^= 1 << rand.IntN(7)
		// What the head says in other letters, and padding, is no content.
		if x, err := stranger(forged); err == nil && math.Abs(x/got-1) > 1e-12 {
			t.Fatal("a stranger accepts an export that was changed")
		}
	}
	records, err := l.Records(ctx)
	if err != nil || len(records) != 22 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if r := records[21]; r.Kind != kindReserve || r.Run != "open" || r.Epsilon != "0.3" || r.Analyst != "ann" {
		t.Errorf("last record %+v", r)
	}
}

// Every field of an event goes into the ledger and comes back.
func TestEventsKeepEveryField(t *testing.T) {
	amount := accountant.MustAmount("0.125")
	fill := func(v reflect.Value) {
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.String:
				f.SetString("x")
			case reflect.Int64:
				f.SetInt(int64(i + 1))
			case reflect.Float64:
				f.SetFloat(float64(i) + 0.5)
			case reflect.Pointer:
				f.Set(reflect.ValueOf(&amount))
			case reflect.Slice:
				if f.Type().Elem().Kind() == reflect.Float64 {
					f.Set(reflect.ValueOf([]float64{1, 2}))
				}
			default:
				t.Fatalf("a field of kind %s", f.Kind())
			}
		}
	}
	var inner, outer accountant.Event
	fill(reflect.ValueOf(&inner).Elem())
	fill(reflect.ValueOf(&outer).Elem())
	outer.Events = []accountant.Event{inner}
	text, err := json.Marshal(eventToWire(outer))
	if err != nil {
		t.Fatal(err)
	}
	var w wireEvent
	if err := json.Unmarshal(text, &w); err != nil {
		t.Fatal(err)
	}
	if back, err := w.event(); err != nil || !reflect.DeepEqual(back, outer) {
		t.Errorf("an event comes back as %+v (%v), was %+v", back, err, outer)
	}
}
