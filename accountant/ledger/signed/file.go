package signed

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxFile bounds a signature file and a key's, in bytes.
const maxFile = 4 << 20

// A FileError says in one line what is wrong with a file of keys or signatures.
type FileError struct{ Message string }

func (e *FileError) Error() string { return e.Message }

func fileError(format string, args ...any) error { return &FileError{fmt.Sprintf(format, args...)} }

func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be used so by this user"
	case errors.Is(err, fs.ErrExist):
		return "exists already"
	}
	return "cannot be read or written"
}

// A Private key signs texts. It formats as its public half.
type Private struct {
	Key
	signer note.Signer
}

// CreateKey makes a key in a new file that nobody but its owner may read. It never
// replaces one.
func CreateKey(path, name string) (Key, error) {
	if err := checkName(name); err != nil {
		return Key{}, err
	}
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return Key{}, fileError("no key can be made: the system has no randomness")
	}
	if err := create(path, []byte(secret+"\n"), 0o600); err != nil {
		return Key{}, err
	}
	return ParseKey(public)
}

// LoadKey reads a key that CreateKey made. A file that its group or others may use
// is refused: who could have signed would not be known.
func LoadKey(path string) (Private, error) {
	data, info, err := read(path)
	if err != nil {
		return Private{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Private{}, fileError("key %s: others than its owner may use the file; chmod 600 it, or make a new key if they may have read it", path)
	}
	secret := strings.TrimSuffix(string(data), "\n")
	signer, err := note.NewSigner(secret)
	if err != nil {
		return Private{}, fileError("key %s: it is no private key; make one with \"policy keygen\"", path)
	}
	// PRIVATE+KEY+NAME+HASH+SEED: the public half comes from the seed.
	parts := strings.SplitN(secret, "+", 5)
	public, err := publicOf(signer.Name(), parts[len(parts)-1])
	if err == nil {
		err = checkName(signer.Name())
	}
	if err != nil {
		return Private{}, fileError("key %s: %v", path, err)
	}
	return Private{public, signer}, nil
}

// Sign adds the key's signature over the text to the file at path, and makes the
// file where there is none. Signatures are only ever appended: a file over another
// text is refused. It reports whether the key had signed before.
func (p Private) Sign(path, text string) (already bool, err error) {
	data, _, err := read(path)
	var fault *FileError
	if errors.As(err, &fault) && missing(path) {
		whole, err := p.Note(text)
		if err != nil {
			return false, err
		}
		return false, create(path, whole, 0o644)
	}
	if err != nil {
		return false, err
	}
	have, lines := split(data)
	if have != text {
		return false, fileError("%s is about something else, or another version; move it away to begin anew", path)
	}
	if len((Rule{1, []Key{p.Key}}).Signers(text, data)) == 1 {
		return true, nil
	}
	whole, err := p.Note(text)
	if err != nil {
		return false, err
	}
	line := whole[len(text)+1:]
	if !strings.HasSuffix(string(data), "\n") {
		return false, fileError("%s does not end with a line's end; it was cut off", path)
	}
	if lines == nil {
		line = append([]byte("\n"), line...)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return false, fileError("%s %s", path, reason(err))
	}
	_, err = f.Write(line)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return false, fileError("%s: the signature could not be written", path)
	}
	return false, nil
}

// Note returns the text with the key's signature.
func (p Private) Note(text string) ([]byte, error) {
	data, err := note.Sign(&note.Note{Text: text}, p.signer)
	if err != nil {
		return nil, fileError("the key %s does not sign", p.Name())
	}
	return data, nil
}

// ReadFile returns a signature file, nil where there is none.
func ReadFile(path string) ([]byte, error) {
	data, _, err := read(path)
	if err != nil && missing(path) {
		return nil, nil
	}
	return data, err
}

// WriteText makes a file of a text that nobody has signed yet. It never replaces
// one.
func WriteText(path, text string) error { return create(path, []byte(text), 0o644) }

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func read(path string) ([]byte, fs.FileInfo, error) {
	// A pipe would be waited for before it could be told.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, nil, fileError("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fileError("%s %s", path, reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil, fileError("%s is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(data) > maxFile {
		return nil, nil, fileError("%s does not read, or is longer than %d KiB", path, maxFile>>10)
	}
	return data, info, nil
}

// create writes a new file, whole or not at all.
func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fileError("%s %s", path, reason(err))
	}
	_, err = f.Write(data)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(path)
		return fileError("%s could not be written", path)
	}
	return nil
}

// publicOf returns the public half of a seed in the note format.
func publicOf(name, coded string) (Key, error) {
	raw, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return Key{}, ErrKey
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return Key{}, ErrKey
	}
	text, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return Key{}, ErrKey
	}
	return ParseKey(text)
}
