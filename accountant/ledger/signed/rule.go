package signed

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// jobKeyName is the name of every ledger's job key: it belongs to the account
// that runs jobs, and approves nothing.
const jobKeyName = "privsgld-ledger"

// MaxKeys bounds the keys of a Rule, and the signatures of a file.
const MaxKeys = 100

// longestName bounds a key's name, in bytes.
const longestName = 64

// ErrKey: a text is no public key, or one that may not approve.
var ErrKey = errors.New("it is no approver's public key")

// A Key is a public key. The zero value is none.
type Key struct {
	text     string
	verifier note.Verifier
	public   string
}

// ParseKey reads NAME+HASH+BASE64. The error wraps ErrKey.
func ParseKey(text string) (Key, error) {
	name, rest, _ := strings.Cut(text, "+")
	_, coded, _ := strings.Cut(rest, "+")
	v, err := note.NewVerifier(text)
	if err != nil || checkName(name) != nil {
		return Key{}, fmt.Errorf("%w, NAME+HASH+KEY as \"policy keygen\" prints it", ErrKey)
	}
	raw, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || base64.StdEncoding.EncodeToString(raw) != coded {
		return Key{}, fmt.Errorf("%w, NAME+HASH+KEY as \"policy keygen\" prints it", ErrKey)
	}
	return Key{text, v, string(raw[1:])}, nil
}

// checkName refuses names that a line could hide something in, and the job key's.
func checkName(name string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@", r)
	}
	switch {
	case name == "" || len(name) > longestName || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }):
		return fmt.Errorf("%w: a key's name is made of letters, digits and . _ - @, at most %d of them", ErrKey, longestName)
	case name == jobKeyName:
		return fmt.Errorf("%w: %s is the name of job keys, which approve nothing", ErrKey, jobKeyName)
	}
	return nil
}

// String returns the key as ParseKey reads it.
func (k Key) String() string { return k.text }

// Name returns the key's name.
func (k Key) Name() string { return k.verifier.Name() }

// Same reports whether two keys are the same, whatever their names.
func (k Key) Same(other Key) bool { return k.public == other.public }

// signed reports whether the file has a signature by the key over its text.
func (k Key) signed(n *note.Note) bool {
	for _, s := range n.UnverifiedSigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4 || s.Name != k.verifier.Name() || binary.BigEndian.Uint32(raw) != k.verifier.KeyHash() {
			continue
		}
		if k.verifier.Verify([]byte(n.Text), raw[4:]) {
			return true
		}
	}
	return false
}

// A Rule asks for signatures of at least AtLeast of its Keys. The zero value asks
// for none.
type Rule struct {
	AtLeast int
	Keys    []Key
}

// NewRule reads a rule's keys. It refuses fewer keys than are asked for, more than
// MaxKeys, and a key that stands there twice, be it under two names.
func NewRule(atLeast int, keys []string) (Rule, error) {
	r := Rule{AtLeast: atLeast}
	for _, text := range keys {
		k, err := ParseKey(text)
		if err != nil {
			return Rule{}, err
		}
		if slices.ContainsFunc(r.Keys, k.Same) {
			return Rule{}, fmt.Errorf("%w that counts: %s is listed twice", ErrKey, k.Name())
		}
		r.Keys = append(r.Keys, k)
	}
	if atLeast < 1 || atLeast > len(keys) || len(keys) > MaxKeys {
		return Rule{}, fmt.Errorf("a rule asks for at least 1 signature, and at most as many as it lists keys; for %d of %d it does not", atLeast, len(keys))
	}
	return r, nil
}

// Texts returns the keys as NewRule reads them.
func (r Rule) Texts() []string {
	var out []string
	for _, k := range r.Keys {
		out = append(out, k.text)
	}
	return out
}

// Signers returns those of the keys that signed the text, in the rule's order, each
// once. A file that is no note over the text has none.
func (r Rule) Signers(text string, file []byte) []Key {
	// Without verifiers a well-formed note is unverified, and no other error.
	var unverified *note.UnverifiedNoteError
	if _, err := note.Open(file, note.VerifierList()); !errors.As(err, &unverified) || unverified.Note.Text != text {
		return nil
	}
	var out []Key
	for _, k := range r.Keys {
		if k.signed(unverified.Note) && !slices.ContainsFunc(out, k.Same) {
			out = append(out, k)
		}
	}
	return out
}

// Holds reports whether enough of the keys signed the text.
func (r Rule) Holds(text string, file []byte) bool {
	return len(r.Signers(text, file)) >= r.AtLeast
}

// Implies reports whether whoever satisfies r satisfies the other rule as well: the
// AtLeast signers of r that are the least of help to it.
func (r Rule) Implies(other Rule) bool {
	outside := 0
	for _, k := range r.Keys {
		if !slices.ContainsFunc(other.Keys, k.Same) {
			outside++
		}
	}
	return max(0, r.AtLeast-outside) >= other.AtLeast
}

// String returns the rule in words: "2 of ann, bob and eve".
func (r Rule) String() string { return fmt.Sprintf("%d of %s", r.AtLeast, Names(r.Keys)) }

// Names lists keys by their names, "nobody" where there are none.
func Names(keys []Key) string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name())
	}
	switch n := len(names); n {
	case 0:
		return "nobody"
	case 1:
		return names[0]
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}
