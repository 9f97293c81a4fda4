package signed

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

type body struct {
	Name string `json:"name"`
	Sum  string `json:"sum"`
}

func text(t require, kind Kind, b body) string {
	out, err := Text(kind, b)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

type require interface{ Fatalf(string, ...any) }

// people returns private keys out of fixed seeds.
func people(t require, n int) []Private {
	var out []Private
	for i := range n {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = byte(i + 1)
		out = append(out, person(t, fmt.Sprintf("p%d", i), seed))
	}
	return out
}

func person(t require, name string, seed []byte) Private {
	secret := ed25519.NewKeyFromSeed(seed)
	public, err := note.NewEd25519VerifierKey(name, secret.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatalf("%v", err)
	}
	k, err := ParseKey(public)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return Private{k, fixedSigner{k, secret}}
}

type fixedSigner struct {
	Key
	secret ed25519.PrivateKey
}

func (s fixedSigner) KeyHash() uint32                 { return s.verifier.KeyHash() }
func (s fixedSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.secret, msg), nil }

func signature(t require, p Private, text string) string {
	n, err := p.Note(text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return string(n[len(text)+1:])
}

func ruleOf(t require, k int, of ...Private) Rule {
	var texts []string
	for _, p := range of {
		texts = append(texts, p.String())
	}
	r, err := NewRule(k, texts)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return r
}

// TestThreshold: k of n holds exactly if at least k different keys of the list
// signed exactly these bytes, in whatever company and order the signatures come.
func TestThreshold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 6
		all := people(t, most)
		n := rapid.IntRange(1, most).Draw(t, "listed")
		k := rapid.IntRange(1, n).Draw(t, "asked")
		rule := ruleOf(t, k, all[:n]...)
		this := text(t, PolicyApproval, body{"x", "1"})
		others := []string{text(t, PolicyApproval, body{"x", "2"}), text(t, JobRequest, body{"x", "1"}), text(t, Amendment, body{"x", "1"})}
		var lines []string
		signed := map[int]bool{}
		for range rapid.IntRange(1, 12).Draw(t, "lines") {
			who := rapid.IntRange(0, most-1).Draw(t, "who")
			switch rapid.IntRange(0, 4).Draw(t, "how") {
			case 0: // of something else, moved here
				lines = append(lines, signature(t, all[who], others[rapid.IntRange(0, 2).Draw(t, "what")]))
			case 1: // one bit off
				line := []byte(signature(t, all[who], this))
				i := len(line) - 10
				line[i] = map[bool]byte{true: 'B', false: 'A'}[line[i] == 'A']
				lines = append(lines, string(line))
			case 2: // somebody's, under another's name
				line := signature(t, all[who], this)
				other := (who + 1) % most
				lines = append(lines, strings.Replace(line, all[who].Name(), all[other].Name(), 1))
			default:
				lines = append(lines, signature(t, all[who], this))
				signed[who] = true
			}
		}
		want := 0
		for who := range signed {
			if who < n {
				want++
			}
		}
		file := []byte(this + "\n" + strings.Join(lines, ""))
		have := rule.Signers(this, file)
		if len(have) != want || rule.Holds(this, file) != (want >= k) {
			t.Fatalf("%d of %d: %d signers, want %d\n%s", k, n, len(have), want, file)
		}
		// The control: counting lines, as a naive check would, is not the same.
		if rule.Holds(others[0], file) {
			t.Fatalf("signatures of one text hold for another")
		}
	})
}

// TestCountingLinesIsCaught: what counts signature lines takes one person for two.
func TestCountingLinesIsCaught(t *testing.T) {
	p := people(t, 3)
	this := text(t, PolicyApproval, body{"x", "1"})
	line := signature(t, p[0], this)
	file := []byte(this + "\n" + line + line)
	naive := strings.Count(string(file), "— ")
	if r := ruleOf(t, 2, p...); naive < 2 || r.Holds(this, file) {
		t.Errorf("%d lines, %d signers", naive, len(r.Signers(this, file)))
	}
}

func TestOneKeyUnderTwoNames(t *testing.T) {
	seed := make([]byte, ed25519.SeedSize)
	a, b := person(t, "a", seed), person(t, "b", seed)
	if !a.Same(b.Key) {
		t.Error("one key is two")
	}
	if _, err := NewRule(2, []string{a.String(), b.String()}); !errors.Is(err, ErrKey) {
		t.Errorf("a rule lists one key twice: %v", err)
	}
	// And should a rule come to be otherwise, it counts once.
	this := text(t, PolicyApproval, body{"x", "1"})
	file := []byte(this + "\n" + signature(t, a, this) + signature(t, b, this))
	if n := len((Rule{2, []Key{a.Key, b.Key}}).Signers(this, file)); n != 1 {
		t.Errorf("one key counts %d times", n)
	}
}

func TestTextIsCanonical(t *testing.T) {
	b := body{"<ä>\u2028", "1"}
	this := text(t, JobRequest, b)
	if want := "privsgld request v1\n{\"name\":\"<ä>\u2028\",\"sum\":\"1\"}\n"; this != want {
		t.Errorf("%q", this)
	}
	var back body
	if err := Body(JobRequest, this, &back); err != nil || back != b {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{
		"", "privsgld request v1\n", "{}\n", strings.Replace(this, "request", "amendment", 1), strings.Replace(this, "v1", "v2", 1),
		strings.TrimSuffix(this, "\n"), this + "\n", strings.Replace(this, "{", "{ ", 1),
		"privsgld request v1\n{\"sum\":\"1\",\"name\":\"x\"}\n", "privsgld request v1\n{\"name\":\"x\",\"name\":\"x\",\"sum\":\"1\"}\n",
		"privsgld request v1\n{\"name\":\"x\",\"sum\":\"1\",\"more\":1}\n", "privsgld request v1\n{\"name\":\"x\"}\n", "privsgld request v1\n[]\n",
		strings.Replace(this, "ä", "\\u00e4", 1),
	} {
		if err := Body(JobRequest, bad, new(body)); !errors.Is(err, ErrText) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := Body(PolicyApproval, this, new(body)); !errors.Is(err, ErrText) {
		t.Errorf("a request is a policy's approval: %v", err)
	}
	for _, no := range []any{[]int{1}, "text", nil, func() {}} {
		if _, err := Text(JobRequest, no); !errors.Is(err, ErrText) {
			t.Errorf("%T: %v", no, err)
		}
	}
	// No text is a checkpoint's.
	for _, kind := range []Kind{PolicyApproval, JobRequest, Amendment} {
		if _, err := tlog.ParseTree([]byte(text(t, kind, b))); err == nil {
			t.Errorf("%s reads as a checkpoint", kind)
		}
	}
}

// TestSignersRefuses: files that are no note over the text have no signers.
func TestSignersRefuses(t *testing.T) {
	p := people(t, 1)[0]
	r := ruleOf(t, 1, p)
	this := text(t, PolicyApproval, body{"x", "1"})
	line := signature(t, p, this)
	if !r.Holds(this, []byte(this+"\n"+line)) {
		t.Fatal("the control does not hold")
	}
	for _, bad := range []string{
		"", this, this + "\n", this + line, this + "\n" + strings.TrimSuffix(line, "\n"), this + "\n" + line + "x\n", this + "\r\n" + line,
		this + "\n\n" + line, " " + this + "\n" + line, this + "\n" + strings.Replace(line, "p0", "p1", 1), this + "\n" + strings.Repeat(line, MaxKeys+1),
		this + "\n— p0 AAAA\n",
	} {
		if r.Holds(this, []byte(bad)) {
			t.Errorf("it holds: %q", bad)
		}
	}
	for i := range this { // every byte of the text is signed
		changed := []byte(this)
		changed[i] ^= 1
		if r.Holds(string(changed), []byte(string(changed)+"\n"+line)) {
			t.Errorf("byte %d is not signed", i)
		}
	}
}

func TestRules(t *testing.T) {
	p := people(t, 4)
	keys := func(i ...int) (out []string) {
		for _, i := range i {
			out = append(out, p[i].String())
		}
		return out
	}
	for _, bad := range []struct {
		atLeast int
		keys    []string
	}{{0, keys(0)}, {2, keys(0)}, {1, nil}, {1, keys(0, 0)}, {-1, keys(0)}, {1, []string{"p0"}}, {1, []string{p[0].String() + "="}}, {1, []string{strings.Replace(p[0].String(), "p0", "p1", 1)}}} {
		if _, err := NewRule(bad.atLeast, bad.keys); err == nil {
			t.Errorf("%d of %q is a rule", bad.atLeast, bad.keys)
		}
	}
	// Implies, against all sets of people.
	var rules []Rule
	rules = append(rules, Rule{})
	for set := 1; set < 16; set++ {
		var of []Private
		for i := range p {
			if set>>i&1 == 1 {
				of = append(of, p[i])
			}
		}
		for k := 1; k <= len(of); k++ {
			rules = append(rules, ruleOf(t, k, of...))
		}
	}
	content := func(r Rule, set int) bool {
		n := 0
		for _, k := range r.Keys {
			for i := range p {
				if set>>i&1 == 1 && p[i].Same(k) {
					n++
				}
			}
		}
		return n >= r.AtLeast
	}
	for _, a := range rules {
		for _, b := range rules {
			want := true
			for set := range 16 {
				want = want && (!content(a, set) || content(b, set))
			}
			if a.Implies(b) != want {
				t.Errorf("%s implies %s: %v", a, b, !want)
			}
		}
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ann.key")
	public, err := CreateKey(path, "ann")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	p, err := LoadKey(path)
	if err != nil || p.String() != public.String() {
		t.Fatalf("%v, %v", p, err)
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if shown := fmt.Sprintf("%v %+v %s", p, p, p); strings.Contains(shown, string(secret[len(secret)-20:])) {
		t.Error("a private key prints itself")
	}
	if _, err := CreateKey(path, "ann"); err == nil {
		t.Error("a key is replaced")
	}
	for _, name := range []string{"", "a b", "a+b", "privsgld-ledger", "a\nb", "ä", strings.Repeat("a", 65)} {
		if _, err := CreateKey(filepath.Join(dir, "other"), name); !errors.Is(err, ErrKey) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); err == nil {
			t.Errorf("a key of mode %o is used", mode)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"public": public.String(), "cut": string(secret[:len(secret)-9]), "empty": "", "job": jobKey(t)} {
		other := filepath.Join(dir, name)
		if err := os.WriteFile(other, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(other); err == nil {
			t.Errorf("%s is a key to sign with", name)
		}
	}
	if _, err := LoadKey(dir); err == nil {
		t.Error("a folder is a key")
	}
}

func jobKey(t *testing.T) string {
	t.Helper()
	secret, _, err := note.GenerateKey(bytes.NewReader(make([]byte, 64)), jobKeyName)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// TestSignFile: signatures are appended, each once, and those of another text stay.
func TestSignFile(t *testing.T) {
	p := people(t, 3)
	path := filepath.Join(t.TempDir(), "p.sig")
	this := text(t, PolicyApproval, body{"x", "1"})
	rule := ruleOf(t, 3, p...)
	for i, who := range []int{0, 1, 1, 0, 2} {
		before, _ := os.ReadFile(path)
		already, err := p[who].Sign(path, this)
		if err != nil || already != (i == 2 || i == 3) {
			t.Fatalf("%d: %v, %v", i, already, err)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(after, before) {
			t.Fatalf("%d: it was rewritten: %v", i, err)
		}
	}
	data, err := ReadFile(path)
	if err != nil || !rule.Holds(this, data) || TextOf(data) != this {
		t.Errorf("%v\n%s", err, data)
	}
	if _, err := p[0].Sign(path, text(t, PolicyApproval, body{"x", "2"})); err == nil {
		t.Error("signatures of another version are overwritten")
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(again, data) {
		t.Error("a refusal changed the file")
	}
	// A text that nobody signed yet.
	bare := filepath.Join(t.TempDir(), "bare")
	if err := WriteText(bare, this); err != nil {
		t.Fatal(err)
	}
	if err := WriteText(bare, this); err == nil {
		t.Error("a text is replaced")
	}
	for _, who := range p {
		if _, err := who.Sign(bare, this); err != nil {
			t.Fatal(err)
		}
	}
	if data, _ = ReadFile(bare); !rule.Holds(this, data) {
		t.Errorf("it does not hold:\n%s", data)
	}
	if data, err := ReadFile(filepath.Join(t.TempDir(), "none")); data != nil || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}
