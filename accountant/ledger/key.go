package ledger

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// keyName is the name part of every job key in note form.
const keyName = "privsgld-ledger"

// keyPath is where the job key of a ledger lies: keys/HASH.key in the state
// folder, HASH being the key hash in the middle of the verifier.
func keyPath(stateDir, verifier string) (string, error) {
	parts := strings.SplitN(verifier, "+", 3)
	if len(parts) != 3 || parts[0] != keyName || len(parts[1]) != 8 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return "", contradiction("the ledger's name is none")
	}
	return filepath.Join(stateDir, "keys", parts[1]+".key"), nil
}

// createKey makes a job key, durable and owner-only before it returns. It
// never replaces a file. A key whose ledger was not made after all (a crash, a
// full disk) stays, and is nobody's.
func createKey(stateDir string) (verifier string, err error) {
	secret, verifier, err := note.GenerateKey(rand.Reader, keyName)
	if err != nil {
		return "", fmt.Errorf("%w: no job key can be made", ErrUnavailable)
	}
	path, err := keyPath(stateDir, verifier)
	if err != nil {
		return "", err
	}
	if err := putFile(path, []byte(secret+"\n"), os.Link); err != nil {
		return "", notWritten("the job key "+path, err)
	}
	return verifier, nil
}

// loadKey reads the job key that belongs to a verifier.
func loadKey(stateDir, verifier string) (note.Signer, note.Verifier, error) {
	path, err := keyPath(stateDir, verifier)
	if err != nil {
		return nil, nil, err
	}
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return nil, nil, contradiction("the ledger's name is none")
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: its job key %s is missing; bring it back, or the state folder that holds it", ErrUnavailable, path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: its job key %s does not read: %v", ErrUnavailable, path, reason(err))
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: its job key %s is damaged", ErrUnavailable, path)
	}
	const trial = "privsgld key check\n"
	signature, err := signer.Sign([]byte(trial))
	if err != nil || !v.Verify([]byte(trial), signature) {
		return nil, nil, fmt.Errorf("%w: %s is not its job key", ErrUnavailable, path)
	}
	return signer, v, nil
}
