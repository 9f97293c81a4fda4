package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// register registers bytes as a data set's rows.
func register(l *Ledger, name, growth, content string) (Content, error) {
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	reg.Dataset = name
	return l.RegisterContent(ctx, reg, growth, []byte(content), func(all map[string]Content) (bool, error) {
		return string(all[name].Fingerprint) != content, nil
	})
}

// Versions are kept apart from the ledger, which holds each to what was registered
// and says nothing of it.
func TestFingerprintsAreKept(t *testing.T) {
	dir := t.TempDir()
	l := openIn(t, dir, startClock())
	if all, err := l.Contents(ctx); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "fingerprints")); !os.IsNotExist(err) {
		t.Error("there is a folder of fingerprints before the first")
	}
	for _, c := range []struct {
		name, growth, content string
		version               int64
	}{
		{"a/b é", GrowthAppend, "MARKER one", 1},
		{"a/b é", GrowthAppend, "MARKER one", 1},
		{"a/b é", GrowthAppend, "MARKER two", 2},
		{"a/b é", GrowthAppend, "MARKER one", 3},
		{"fixed", GrowthFixed, "MARKER one", 1},
	} {
		if got, err := register(l, c.name, c.growth, c.content); err != nil || got.Version != c.version || string(got.Fingerprint) != c.content {
			t.Fatalf("%v: %+v, %v", c, got, err)
		}
	}
	var mismatch *Mismatch
	if _, err := register(l, "a/b é", GrowthReplaced, "MARKER three"); !errors.As(err, &mismatch) {
		t.Errorf("another way of growing: %v", err)
	}
	if _, err := register(l, "fixed", GrowthFixed, "MARKER three"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a second version of what does not grow: %v", err)
	}
	refused := errors.New("no")
	reg := testRegistration(testTerms(accountant.MethodRDP, "3", "1e-6"))
	if _, err := l.RegisterContent(ctx, reg, GrowthFixed, nil, func(map[string]Content) (bool, error) { return false, refused }); !errors.Is(err, refused) {
		t.Errorf("a refusal: %v", err)
	}
	all, err := l.Contents(ctx)
	if err != nil || len(all) != 2 || string(all["a/b é"].Fingerprint) != "MARKER one" || all["a/b é"].Version != 3 || string(all["fixed"].Fingerprint) != "MARKER one" {
		t.Errorf("%v, %v", all, err)
	}
	if all["fixed"].Growth != GrowthFixed || all["a/b é"].Growth != GrowthAppend {
		t.Errorf("growth: %v", all)
	}

	key, err := l.FingerprintKey(ctx)
	if err != nil || len(key) != 32 {
		t.Fatal(key, err)
	}
	secret, err := os.ReadFile(filepath.Join(dir, "keys", filepath.Base(l.anchor)+".fingerprint"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(secret)))
	if err != nil {
		t.Fatal(err)
	}
	// The export and the ledger's file hold neither key nor fingerprint, and equal
	// versions have nothing in common. The state folder holds them sealed.
	var export bytes.Buffer
	if err := l.Export(ctx, &export); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = filepath.Walk(filepath.Join(dir, "fingerprints"), func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
		if info.IsDir() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen[filepath.Base(path)] = true
		file = append(file, text...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 {
		t.Errorf("%d fingerprints are kept, of two data sets", len(seen))
	}
	for _, what := range [][]byte{[]byte("MARKER"), raw, key, bytes.TrimSpace(secret), []byte(hex.EncodeToString(key))} {
		if bytes.Contains(export.Bytes(), what) || bytes.Contains(file, what) {
			t.Error("the export, the ledger or a sealed file holds a fingerprint or a key")
		}
	}
	if n := strings.Count(export.String(), `"commitment":`); n != 4 {
		t.Errorf("the export holds %d commitments", n)
	}
	for _, part := range strings.Split(export.String(), `"commitment":"`)[1:] {
		if strings.Count(export.String(), part[:64]) != 1 {
			t.Error("equal versions have equal commitments")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "keys", filepath.Base(l.anchor)+".fingerprint")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("the key may be read by others", err)
	}
}

// Without the key or a fingerprint, or with another one, nothing goes on.
func TestFingerprintsThatAreLost(t *testing.T) {
	dir := t.TempDir()
	l := openIn(t, dir, startClock())
	for _, c := range []string{"a", "b"} {
		if _, err := register(l, c, GrowthReplaced, "rows of "+c); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(name string, is error) {
		t.Helper()
		if _, err := l.Contents(ctx); !errors.Is(err, is) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := register(l, "c", GrowthFixed, "rows of c"); !errors.Is(err, is) {
			t.Errorf("%s, another one is registered: %v", name, err)
		}
	}
	folder := filepath.Join(dir, "fingerprints", filepath.Base(l.anchor))
	list, err := os.ReadDir(folder)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	one, two := filepath.Join(folder, list[0].Name()), filepath.Join(folder, list[1].Name())
	text, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range text {
		changed := bytes.Clone(text)
		changed[i] ^= 1
		write(one, changed)
		if _, err := l.Contents(ctx); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	write(one, nil)
	fails("an empty fingerprint", ErrCorrupt)
	other, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	write(one, other)
	fails("another's fingerprint", ErrCorrupt)
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	fails("a missing fingerprint", ErrUnavailable)
	write(one, text)
	if _, err := l.Contents(ctx); err != nil {
		t.Errorf("brought back: %v", err)
	}
	key := filepath.Join(dir, "keys", filepath.Base(l.anchor)+".fingerprint")
	write(key, []byte("0123\n"))
	fails("a damaged key", ErrUnavailable)
	write(key, []byte(strings.Repeat("ab", 32)+"\n"))
	fails("another key", ErrCorrupt)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	fails("a missing key", ErrUnavailable)
}

// Entries that a ledger would not write do not verify.
func TestForgedFingerprints(t *testing.T) {
	commitment := strings.Repeat("0", 64)
	state := newOverlay(nil)
	if err := putRow(state, key("dataset", "a"), dataset{}); err != nil {
		t.Fatal(err)
	}
	apply := func(name string, f *wireFingerprint) error {
		return apply(state, nil, admitted, entry{Kind: kindFingerprint, Dataset: name, Fingerprint: f})
	}
	for what, err := range map[string]error{
		"nothing":               apply("a", nil),
		"an unknown data set":   apply("b", &wireFingerprint{1, GrowthFixed, commitment}),
		"a second before first": apply("a", &wireFingerprint{2, GrowthAppend, commitment}),
		"unknown growth":        apply("a", &wireFingerprint{1, "sideways", commitment}),
		"a short commitment":    apply("a", &wireFingerprint{1, GrowthFixed, "00"}),
	} {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := apply("a", &wireFingerprint{1, GrowthAppend, commitment}); err != nil {
		t.Error(err)
	}
	for _, f := range []wireFingerprint{{1, GrowthAppend, commitment}, {3, GrowthAppend, commitment}, {2, GrowthReplaced, commitment}, {2, GrowthFixed, commitment}} {
		if err := apply("a", &f); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v", f, err)
		}
	}
}
