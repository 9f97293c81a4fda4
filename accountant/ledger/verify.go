package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/privsgld/privsgld/accountant"
)

// Other machines may compute the same loss and limit in another last digit.
// An entry is held to this machine's figures but for such a share of them,
// which is far above rounding and far below what would matter to a guarantee.
const machineShare = 1e-9

// Verify checks the whole ledger from its entries: that each is canonical and
// in its place and time; every hash of the tree, and the root, signed by the
// job key; that each charge costs what its event costs; that every decision
// was the filters'; that the state is what the entries add up to; and that the
// ledger still holds what each witness saw, the anchor among them. The error,
// ErrCorrupt, names the first thing that is not so and its entry.
func (l *Ledger) Verify(ctx context.Context, witnesses ...Witness) (Verification, error) {
	anchor, err := l.readAnchor()
	if err != nil {
		return Verification{}, err
	}
	if anchor != "" {
		witnesses = append(witnesses, Witness{Checkpoint: anchor})
	}
	var im image
	if err := l.store.View(ctx, func(t tx) error { return im.read(t) }); err != nil {
		return Verification{}, err
	}
	v := Verification{Entries: int64(len(im.bodies))}
	root, err := im.checkTree()
	v.Head = headText(root)
	if err == nil {
		err = im.checkHead(l, root)
	}
	if err == nil {
		err = im.replay()
	}
	for _, w := range witnesses {
		if err == nil {
			err = im.checkWitness(l.verifier, w)
		}
	}
	v.OK = err == nil
	return v, err
}

// An image is all that the store holds.
type image struct {
	bodies [][]byte
	hashes []tlog.Hash
	state  map[string]string
}

func (im *image) read(t tx) error {
	err := t.Entries(func(body []byte) error { im.bodies = append(im.bodies, body); return nil })
	if err != nil {
		return err
	}
	if err := t.Hashes(func(h tlog.Hash) error { im.hashes = append(im.hashes, h); return nil }); err != nil {
		return err
	}
	if int64(len(im.hashes)) != tlog.StoredHashCount(int64(len(im.bodies))) {
		return contradiction("the tree has another number of hashes than its entries make")
	}
	im.state = map[string]string{}
	return t.List("", func(k, v string) error { im.state[k] = v; return nil })
}

// checkTree builds the tree again and compares every stored hash.
func (im *image) checkTree() (root tlog.Hash, err error) {
	var built []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = built[x]
		}
		return out, nil
	})
	wrong := int64(-1)
	for n, body := range im.bodies {
		hashes, err := tlog.StoredHashes(int64(n), body, reader)
		if err != nil {
			return root, contradiction("the tree cannot be built")
		}
		built = append(built, hashes...)
		if wrong < 0 {
			first := len(built) - len(hashes)
			for i, h := range hashes {
				if im.hashes[first+i] != h {
					wrong = int64(n)
				}
			}
		}
	}
	root, err = tlog.TreeHash(int64(len(im.bodies)), reader)
	if err == nil && wrong >= 0 {
		err = at(wrong, contradiction("it is not the one that was hashed"))
	}
	return root, err
}

func (im *image) checkHead(l *Ledger, root tlog.Hash) error {
	if im.state[verifierKey] != l.id {
		return contradiction("it bears another name than when it was opened")
	}
	tree, err := openCheckpoint(im.state[checkpointKey], l.verifier)
	if err != nil {
		return err
	}
	if tree.N != int64(len(im.bodies)) || tree.Hash != root {
		return contradiction("its checkpoint is for other entries")
	}
	// Signatures by this kind of key are functions of the text.
	if text, err := sign(l.signer, tree.N, root); err != nil || text != im.state[checkpointKey] {
		return contradiction("its checkpoint is not as the job key writes it")
	}
	return nil
}

// replay applies every entry to an empty state and compares the result.
func (im *image) replay() error {
	var entries []entry
	earlier := func(n int64) (entry, error) {
		if n < 0 || n >= int64(len(entries)) {
			return entry{}, contradiction("it refers to a later entry")
		}
		return entries[n], nil
	}
	s := newOverlay(nil)
	s.memo = newMemo()
	if err := s.Put(verifierKey, im.state[verifierKey]); err != nil { // what is signed names it
		return err
	}
	costs := costMemory{}
	last := time.Time{}
	version := 1
	decoded := im.decode()
	for n := range im.bodies {
		e, err := decoded(n)
		if err == nil && e.Number != int64(n) {
			err = contradiction("it has another's number")
		}
		if err == nil {
			var t time.Time
			if t, err = e.time(); err == nil && t.Before(last) {
				err = contradiction("it is older than the one before")
			}
			last = t
		}
		if err == nil && e.Version < version {
			err = contradiction("its version is older than that of the one before")
		}
		version = e.Version
		if err == nil && e.Kind == kindReserve {
			err = checkRequest(s, e)
		}
		if err == nil && e.Kind == kindAmend {
			err = checkAmendment(s, e)
		}
		if err == nil {
			err = apply(s, earlier, verified, e)
		}
		if errors.Is(err, errNotAdmitted) {
			err = contradiction("the budget did not allow it")
		}
		if err == nil {
			err = checkPeriod(s, e, last)
		}
		if err == nil {
			err = costs.check(s, e)
		}
		if err == nil {
			err = checkCapStart(s, earlierEntries{earlier, int64(n)}, e)
		}
		if err != nil {
			return at(int64(n), err)
		}
		entries = append(entries, e)
	}
	if err := s.settle(); err != nil {
		return err
	}
	if err := checkVersion(s.written, im.state, version); err != nil {
		return err
	}
	return compareState(s.written, im.state)
}

// decode reads the entries on all processors, each before it is asked for.
func (im *image) decode() func(n int) (entry, error) {
	type result struct {
		entry entry
		err   error
	}
	const block = 512
	results := make([]result, len(im.bodies))
	blocks := (len(im.bodies) + block - 1) / block
	done := make([]chan struct{}, blocks)
	for i := range done {
		done[i] = make(chan struct{})
	}
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for i := int(next.Add(1)) - 1; i < blocks; i = int(next.Add(1)) - 1 {
				for n := i * block; n < min((i+1)*block, len(im.bodies)); n++ {
					results[n].entry, results[n].err = decodeEntry(im.bodies[n])
				}
				close(done[i])
			}
		}()
	}
	return func(n int) (entry, error) {
		<-done[n/block]
		return results[n].entry, results[n].err
	}
}

// at says which entry an error is about.
func at(n int64, err error) error {
	text := strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": ")
	return fmt.Errorf("%w: entry %d: %s", ErrCorrupt, n, text)
}

// verified is a filter's decision, but for the last digits of its limit.
func verified(f *accountant.Filter, total accountant.Spent) bool {
	total.Loss *= 1 - machineShare
	return f.Admits(total)
}

// checkPeriod checks, after an entry was applied, that its period is that of
// its time, and no earlier one.
func checkPeriod(s rows, e entry, t time.Time) error {
	if e.Period == "" || e.Kind == kindSettle || e.Kind == kindVoid {
		return nil // these belong to their reservation's period
	}
	d, _, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	period, err := periodOf(d.Registration.Renews, t)
	if err != nil || period != e.Period || period != d.Period {
		return contradiction("its budget period is not that of its time")
	}
	return nil
}

// costMemory remembers what events cost, since many are alike.
type costMemory map[costKey]accountant.Spent

type costKey struct {
	filter    *accountant.Filter // a memo has one for all equal terms
	adjacency accountant.Adjacency
	event     string // canonical JSON
}

// check computes the costs of an entry again: what is recorded may be more,
// as an earlier accountant may have been looser, and never less.
func (m costMemory) check(s rows, e entry) error {
	if e.Event == nil {
		return nil
	}
	d, _, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	k := costKey{adjacency: d.Registration.Adjacency}
	known := false
	if memo := memoOf(s); memo != nil {
		k.event, known = memo.eventKey(e.Event)
	}
	if !known || len(e.Costs) == 0 {
		if _, err := checkedEvent(e, d); err != nil {
			return err
		}
	}
	for _, w := range e.Costs {
		a, err := getAccount(s, e.Dataset, d, w.Account, time.Time{})
		if err != nil {
			return err
		}
		k.filter = a.filter
		is, ok := m[k]
		if !ok || !known {
			event, err := checkedEvent(e, d)
			if err != nil {
				return err
			}
			if is, err = a.filter.Cost(event); err != nil {
				return contradiction("its event has no cost in a filter that it is charged to")
			}
			if known {
				m[k] = is
			}
		}
		recorded, err := w.spent()
		if err != nil {
			return err
		}
		if less(recorded, is) {
			return contradiction("it is charged less than its event costs")
		}
	}
	return nil
}

// checkedEvent is an entry's event, valid under its data set's neighbouring relation.
func checkedEvent(e entry, d dataset) (accountant.Event, error) {
	event, err := e.Event.event()
	if err != nil {
		return event, err
	}
	if err := validEvent(event, d.Registration.Adjacency); err != nil {
		return event, contradiction("its event is not valid")
	}
	if _, err := mechanisms(event); err != nil {
		return event, err
	}
	return event, nil
}

// less reports whether a recorded cost is less than a computed one, but for
// the last digits.
func less(recorded, is accountant.Spent) bool {
	return !(recorded.Loss >= is.Loss*(1-machineShare)) || recorded.PureEpsilon.Cmp(is.PureEpsilon) < 0 || recorded.ApproximateDelta.Cmp(is.ApproximateDelta) < 0
}

// checkCapStart computes again what a cap starts with where it is registered.
func checkCapStart(s rows, past earlierEntries, e entry) error {
	if e.Cap == nil || len(e.Costs) == 0 {
		return nil
	}
	d, _, err := getRow[dataset](s, key("dataset", e.Dataset))
	if err != nil {
		return err
	}
	at, err := e.time()
	if err != nil {
		return err
	}
	a, err := getAccount(s, e.Dataset, d, e.Cap.Name, at)
	if err != nil {
		return err
	}
	w, err := costBefore(s, past, e.Dataset, d, at, a)
	if err != nil {
		return contradiction("what its cap starts with has no cost")
	}
	is, err := w.spent()
	if err != nil {
		return err
	}
	if recorded, err := e.Costs[0].spent(); err != nil || less(recorded, is) {
		return contradiction("its cap starts with less than was charged before")
	}
	return nil
}

// compareState compares the state that the entries make with the stored one.
func compareState(made, stored map[string]string) error {
	for k, v := range made {
		if v != "" && stored[k] != v {
			return contradiction("the state is not what the entries add up to: " + kindOfKey(k))
		}
	}
	for k := range stored {
		if !strings.HasPrefix(k, metaPrefix) && made[k] == "" {
			return contradiction("the state holds what no entry made: " + kindOfKey(k))
		}
		if strings.HasPrefix(k, metaPrefix) && k != verifierKey && k != checkpointKey && k != versionKey {
			return contradiction("the state holds what no entry made: " + kindOfKey(k))
		}
	}
	return nil
}

func kindOfKey(k string) string {
	kind, _, _ := strings.Cut(k, "/")
	return "a row of kind " + string(bytes.ToValidUTF8([]byte(kind), nil))
}
