package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Witness is what somebody keeps of a ledger as it was: a signed checkpoint, and
// perhaps the entry that ended a run.
type Witness struct {
	Checkpoint string // signed note
	Run        string // "": a checkpoint alone
	Entry      int64  // of Run's settlement, where Run is given
}

// checkWitness checks that the entries go on from those that the witness saw.
func (im *image) checkWitness(v note.Verifier, w Witness) error {
	seen, err := note.Open([]byte(w.Checkpoint), note.VerifierList(v))
	if err != nil {
		return contradiction("it is not the ledger that the checkpoint is of: the signature is not its job key's")
	}
	tree, err := tlog.ParseTree([]byte(seen.Text))
	if err != nil {
		return contradiction("a checkpoint is none, though the job key signed it")
	}
	n := int64(len(im.bodies))
	hashes := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = im.hashes[x]
		}
		return out, nil
	})
	root, err := tlog.TreeHash(n, hashes)
	if err == nil {
		err = extends(hashes, tlog.Tree{N: n, Hash: root}, tree)
	}
	if err != nil || w.Run == "" {
		return err
	}
	if w.Entry < 0 || w.Entry >= tree.N {
		return contradiction("the checkpoint does not cover the entry of run " + w.Run)
	}
	e, err := decodeEntry(im.bodies[w.Entry])
	if err != nil {
		return err
	}
	if e.Run != w.Run || e.Kind != kindSettle {
		return at(w.Entry, contradiction("it is not the settlement of run "+w.Run))
	}
	return nil
}

// extends checks that a tree goes on from one that was seen before.
func extends(hashes tlog.HashReader, now, seen tlog.Tree) error {
	if seen.N > now.N {
		return contradiction(fmt.Sprintf("it is an earlier copy: it has %d entries, and %d were seen; bring back the newest copy", now.N, seen.N))
	}
	if seen.N == 0 {
		return nil // the root of nothing says nothing
	}
	root, err := tlog.TreeHash(seen.N, hashes)
	if err != nil {
		return err
	}
	if root != seen.Hash {
		return contradiction(fmt.Sprintf("its first %d entries are others than were seen", seen.N))
	}
	return nil
}

// The anchor is the newest checkpoint that a process with this state folder has
// seen, in anchors/HASH: a ledger that is an earlier copy of itself does not open.
// Whoever may write both can set back both.
func anchorPath(stateDir, verifier string) (string, error) {
	key, err := keyPath(stateDir, verifier)
	if err != nil {
		return "", err
	}
	return filepath.Join(stateDir, "anchors", strings.TrimSuffix(filepath.Base(key), ".key")), nil
}

// readAnchor returns the anchor, "" where there is none yet.
func (l *Ledger) readAnchor() (string, error) {
	text, err := os.ReadFile(l.anchor)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%w: its anchor %s does not read: %v", ErrUnavailable, l.anchor, reason(err))
	}
	if _, err := openCheckpoint(string(text), l.verifier); err != nil {
		return "", fmt.Errorf("%w: its anchor %s is damaged", ErrCorrupt, l.anchor)
	}
	return string(text), nil
}

// remember moves the anchor forward. It is a second line: where it cannot be written,
// the charge stands all the same, and a later one moves it.
func (l *Ledger) remember(checkpoint string) {
	tree, err := openCheckpoint(checkpoint, l.verifier)
	if err != nil {
		return
	}
	if text, err := os.ReadFile(l.anchor); err == nil {
		if seen, err := openCheckpoint(string(text), l.verifier); err == nil && seen.N >= tree.N {
			return
		}
	}
	_ = putFile(l.anchor, []byte(checkpoint), os.Rename)
}
