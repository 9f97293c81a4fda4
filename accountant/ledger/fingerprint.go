package ledger

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Content says which rows a data set's name stands for.
type Content struct {
	Dataset     string
	Version     int64  // from 1
	Growth      string // how later versions relate to earlier ones: fixed, append-only or replaced
	Fingerprint []byte // of the newest version's rows, as whoever registered it encoded it

	SameRowsAs []string // data sets that may hold the same rows, as an owner declared in an amendment
}

// The ways in which a data set grows.
const (
	GrowthFixed    = "fixed"       // there is one version
	GrowthAppend   = "append-only" // a version holds all rows of the last
	GrowthReplaced = "replaced"    // a version may hold any rows
)

// kindFingerprint is the kind of entry that registers a version.
const kindFingerprint = "fingerprint"

// wireFingerprint is what the ledger itself holds of a version: nothing that the
// fingerprint's key does not open.
type wireFingerprint struct {
	Version    int64  `json:"version"`
	Growth     string `json:"growth"`
	Commitment string `json:"commitment"` // HMAC-SHA256 in hexadecimal; see vault
}

func applyFingerprint(s rows, e entry) error {
	f := e.Fingerprint
	_, registered, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	k := key("fingerprint", e.Dataset)
	have, _, err := getRow[wireFingerprint](s, k)
	if err != nil {
		return err
	}
	switch {
	case !registered || f == nil || f.Version != have.Version+1 || len(f.Commitment) != 2*sha256.Size:
		return contradiction("a fingerprint is registered out of turn")
	case f.Version > 1 && (f.Growth != have.Growth || f.Growth == GrowthFixed):
		return contradiction("a data set that does not grow, or grows otherwise, has a new version")
	case f.Growth != GrowthFixed && f.Growth != GrowthAppend && f.Growth != GrowthReplaced:
		return contradiction("a data set grows in an unknown way")
	}
	return putRow(s, k, *f)
}

// Contents returns what is registered, by data set. Errors: ErrUnavailable where the
// state folder lacks a fingerprint or the key; ErrCorrupt where one is not what the
// ledger holds; the context's.
func (l *Ledger) Contents(ctx context.Context) (map[string]Content, error) {
	var all map[string]Content
	read := func() error {
		return l.store.View(ctx, func(t tx) (err error) {
			if _, err := l.readHead(t); err != nil {
				return err
			}
			all, err = l.contents(t)
			return err
		})
	}
	err := read()
	if errors.Is(err, ErrUnavailable) {
		err = read() // a newer version may have taken a fingerprint's place meanwhile
	}
	return all, err
}

func (l *Ledger) contents(s rows) (map[string]Content, error) {
	all := map[string]Content{}
	prefix := key("fingerprint") + "/"
	var names []string
	if err := s.List(prefix, func(k, _ string) error { names = append(names, k); return nil }); err != nil || len(names) == 0 {
		return all, err
	}
	v, err := l.openVault(false)
	if err != nil {
		return nil, err
	}
	for _, k := range names {
		w, _, err := getRow[wireFingerprint](s, k)
		if err != nil {
			return nil, err
		}
		name, err := url.PathUnescape(strings.TrimPrefix(k, prefix))
		if err != nil {
			return nil, contradiction("the name of a data set does not read")
		}
		c := Content{Dataset: name, Version: w.Version, Growth: w.Growth}
		if c.Fingerprint, err = v.read(c, w.Commitment); err != nil {
			return nil, err
		}
		if c.SameRowsAs, err = sameRowsAs(s, name); err != nil {
			return nil, err
		}
		all[name] = c
	}
	return all, nil
}

// FingerprintKey returns 32 secret bytes for the fingerprints of this ledger's data
// sets, and makes them on first use. They are the state folder's, not the ledger's.
// Errors are those of Contents: a lost key is not made again.
func (l *Ledger) FingerprintKey(ctx context.Context) ([]byte, error) {
	v, err := l.ownVault(ctx)
	if err != nil {
		return nil, err
	}
	return v.derive("rows"), nil
}

// RegisterContent registers a version of a data set's rows, in one serialisable
// transaction, and the data set itself with its budget where it is new. judge is
// shown all that is registered and says whether this is a new version of the data
// set, or (false, nil) the registered one; its error refuses, and is returned. judge
// may be called several times.
//
// Errors: judge's and *Mismatch, with nothing written; ErrUsage, ErrUnavailable,
// ErrCorrupt; the context's.
func (l *Ledger) RegisterContent(ctx context.Context, q Registration, growth string, fingerprint []byte, judge func(map[string]Content) (bool, error)) (Content, error) {
	v, err := l.ownVault(ctx)
	if err != nil {
		return Content{}, err
	}
	var out Content
	var checkpoint, old string
	err = l.store.Update(ctx, func(t tx) error {
		checkpoint, old = "", ""
		tree, now, err := l.begin(t)
		if err != nil {
			return err
		}
		all, err := l.contents(t)
		if err != nil {
			return err
		}
		have, known := all[q.Dataset]
		if known && have.Growth != growth {
			return mismatch("data set "+quoted(q.Dataset), "versions", have.Growth, growth)
		}
		fresh, err := judge(all)
		if err != nil {
			return err
		}
		overlay := newOverlay(t)
		if err := upgrade(overlay, earlierIn(t, tree)); err != nil {
			return err
		}
		next, entries := tree.N, []entry(nil)
		do := func(e entry) error {
			e.Number, e.Time, e.Dataset = next, now.Format(time.RFC3339), q.Dataset
			next++
			entries = append(entries, e)
			return apply(overlay, nil, admitted, e)
		}
		if _, err := openDataset(overlay, now, Request{Registration: q}, do); err != nil {
			return err
		}
		if out = have; fresh {
			out = Content{q.Dataset, have.Version + 1, growth, fingerprint, have.SameRowsAs}
			w := wireFingerprint{out.Version, growth, v.commitment(out)}
			if err := do(entry{Kind: kindFingerprint, Fingerprint: &w}); err != nil {
				return err
			}
			if err := v.write(out, w.Commitment); err != nil {
				return err
			}
			if known {
				old = v.commitment(have)
			}
		}
		if len(entries) == 0 {
			return nil
		}
		if err := overlay.writeTo(t); err != nil {
			return err
		}
		checkpoint, err = l.appendEntries(t, tree, entries)
		return err
	})
	if err != nil {
		return Content{}, err
	}
	if checkpoint != "" {
		l.remember(checkpoint)
	}
	if old != "" {
		_ = os.Remove(filepath.Join(v.folder, old)) // a second line: it opens nothing any more
	}
	return out, nil
}

// A vault keeps fingerprints apart from the ledger, in the state folder: the key in
// keys/HASH.fingerprint, and each fingerprint, sealed under it by AES-256-GCM, in
// fingerprints/HASH under the name of its commitment, HMAC-SHA256 over data set,
// version and fingerprint. So the ledger holds a fingerprint to what was registered,
// and says nothing of it to whoever lacks the key, not even whether two versions are
// equal.
type vault struct {
	master []byte
	folder string
}

// ownVault makes the key unless something is registered under one.
func (l *Ledger) ownVault(ctx context.Context) (*vault, error) {
	all, err := l.Contents(ctx)
	if err != nil {
		return nil, err
	}
	return l.openVault(len(all) == 0)
}

// openVault reads the key, or makes it where it may.
func (l *Ledger) openVault(create bool) (*vault, error) {
	hash, state := filepath.Base(l.anchor), filepath.Dir(filepath.Dir(l.anchor))
	path := filepath.Join(state, "keys", hash+".fingerprint")
	v := &vault{folder: filepath.Join(state, "fingerprints", hash)}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		fresh := make([]byte, 32)
		if _, err := rand.Read(fresh); err != nil {
			return nil, fmt.Errorf("%w: the system has no randomness", ErrUnavailable)
		}
		if err := putFile(path, []byte(hex.EncodeToString(fresh)+"\n"), os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, notWritten("the fingerprints' key "+path, err)
		}
		text, err = os.ReadFile(path) // ours, or that of another process that was faster
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the key of its fingerprints, %s, is missing; bring it back, or the state folder that holds it", ErrUnavailable, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the key of its fingerprints, %s, does not read: %v", ErrUnavailable, path, reason(err))
	}
	if v.master, err = hex.DecodeString(strings.TrimSpace(string(text))); err != nil || len(v.master) != 32 {
		return nil, fmt.Errorf("%w: the key of its fingerprints, %s, is damaged", ErrUnavailable, path)
	}
	return v, nil
}

// derive returns 32 bytes for one purpose.
func (v *vault) derive(purpose string) []byte {
	mac := hmac.New(sha256.New, v.master)
	mac.Write([]byte("privsgld fingerprint " + purpose))
	return mac.Sum(nil)
}

func (v *vault) commitment(c Content) string {
	mac := hmac.New(sha256.New, v.derive("commitment"))
	fmt.Fprintf(mac, "%d %s %d\n", len(c.Dataset), c.Dataset, c.Version)
	mac.Write(c.Fingerprint)
	return hex.EncodeToString(mac.Sum(nil))
}

func (v *vault) sealer() (cipher.AEAD, error) {
	block, err := aes.NewCipher(v.derive("seal"))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (v *vault) write(c Content, commitment string) error {
	seal, err := v.sealer()
	if err == nil {
		err = putFile(filepath.Join(v.folder, commitment), seal.Seal(nil, nil, c.Fingerprint, []byte(commitment)), os.Rename)
	}
	if err != nil {
		return notWritten("a fingerprint in "+v.folder, err)
	}
	return nil
}

// read returns the fingerprint of a content whose other fields are given.
func (v *vault) read(c Content, commitment string) ([]byte, error) {
	sealed, err := os.ReadFile(filepath.Join(v.folder, commitment))
	if err != nil {
		return nil, fmt.Errorf("%w: the fingerprint of data set %s is missing in %s; bring back the state folder", ErrUnavailable, quoted(c.Dataset), v.folder)
	}
	seal, err := v.sealer()
	if err == nil {
		c.Fingerprint, err = seal.Open(nil, nil, sealed, []byte(commitment))
	}
	if err != nil || v.commitment(c) != commitment {
		return nil, fmt.Errorf("%w: the fingerprint of data set %s in %s is not the registered one", ErrCorrupt, quoted(c.Dataset), v.folder)
	}
	return c.Fingerprint, nil
}
