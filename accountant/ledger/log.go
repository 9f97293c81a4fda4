package ledger

import (
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	verifierKey   = metaPrefix + "verifier"
	checkpointKey = metaPrefix + "checkpoint"
)

// sign returns the checkpoint of a tree: its head as tlog formats it, in a
// note signed by the job key.
func sign(signer note.Signer, n int64, hash tlog.Hash) (string, error) {
	text, err := note.Sign(&note.Note{Text: string(tlog.FormatTree(tlog.Tree{N: n, Hash: hash}))}, signer)
	if err != nil {
		return "", fmt.Errorf("%w: the job key does not sign", ErrUnavailable)
	}
	return string(text), nil
}

// openCheckpoint checks a checkpoint's signature and returns its tree.
func openCheckpoint(text string, v note.Verifier) (tlog.Tree, error) {
	n, err := note.Open([]byte(text), note.VerifierList(v))
	if err != nil {
		return tlog.Tree{}, contradiction("its checkpoint is not signed by the job key")
	}
	tree, err := tlog.ParseTree([]byte(n.Text))
	if err != nil {
		return tlog.Tree{}, contradiction("its checkpoint is none")
	}
	return tree, nil
}

// readHead returns the signed tree, having checked that it is the tree of the
// entries there are: their number, and the root over the stored hashes.
func (l *Ledger) readHead(t tx) (tlog.Tree, error) {
	text, ok, err := t.Get(checkpointKey)
	if err != nil {
		return tlog.Tree{}, err
	}
	if !ok {
		return tlog.Tree{}, contradiction("it has no checkpoint")
	}
	tree, err := openCheckpoint(text, l.verifier)
	if err != nil {
		return tree, err
	}
	size, err := t.Size()
	if err != nil {
		return tree, err
	}
	if size != tree.N {
		return tree, contradiction("its checkpoint is for another number of entries")
	}
	root, err := tlog.TreeHash(tree.N, t)
	if err != nil {
		return tree, err
	}
	if root != tree.Hash {
		return tree, contradiction("its checkpoint is for another tree")
	}
	return tree, nil
}

// appendEntries adds entries, numbered from the tree's size, each with a nonce
// of its own, and signs the new head.
func (l *Ledger) appendEntries(t tx, tree tlog.Tree, entries []entry) (checkpoint string, err error) {
	n := tree.N
	for _, e := range entries {
		if e.Number != n {
			panic("ledger: entries are numbered in order")
		}
		if e.Nonce, err = newNonce(); err != nil {
			return "", err
		}
		body, err := e.encode()
		if err != nil {
			return "", err
		}
		hashes, err := tlog.StoredHashes(n, body, t)
		if err != nil {
			return "", err
		}
		if err := t.Append(n, body, hashes); err != nil {
			return "", err
		}
		n++
	}
	root, err := tlog.TreeHash(n, t)
	if err != nil {
		return "", err
	}
	if checkpoint, err = sign(l.signer, n, root); err != nil {
		return "", err
	}
	return checkpoint, t.Put(checkpointKey, checkpoint)
}

// readEntry returns an entry, checked against its leaf of the tree.
func readEntry(t tx, number int64) (entry, error) {
	body, err := t.Entry(number)
	if err != nil {
		return entry{}, err
	}
	leaf, err := t.ReadHashes([]int64{tlog.StoredHashIndex(0, number)})
	if err != nil {
		return entry{}, err
	}
	if tlog.RecordHash(body) != leaf[0] {
		return entry{}, contradiction("an entry is not the one that was hashed")
	}
	e, err := decodeEntry(body)
	if err == nil && e.Number != number {
		err = contradiction("an entry has another's number")
	}
	return e, err
}

// earlierIn returns the entries of a tree.
func earlierIn(t tx, tree tlog.Tree) earlierEntries {
	return earlierEntries{func(n int64) (entry, error) { return readEntry(t, n) }, tree.N}
}

// now is the ledger's time: the clock's, in whole seconds, but never before
// the newest entry's.
func (l *Ledger) now(t tx, tree tlog.Tree) (time.Time, error) {
	now := l.clock().UTC().Truncate(time.Second)
	if now.Year() < 1970 || now.Year() > 9999 {
		return now, fmt.Errorf("%w: the clock shows no year between 1970 and 9999", ErrUnavailable)
	}
	if tree.N == 0 {
		return now, nil
	}
	newest, err := readEntry(t, tree.N-1)
	if err != nil {
		return now, err
	}
	last, err := newest.time()
	if err != nil {
		return now, err
	}
	if last.After(now) {
		now = last
	}
	return now, nil
}

func headText(h tlog.Hash) string { return "sha256:" + hex.EncodeToString(h[:]) }
