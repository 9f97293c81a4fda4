package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"
	"strings"
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
	var im *image
	err = l.store.View(ctx, func(t tx) error {
		im = &image{}
		return im.readAndReplay(t, l)
	})
	if err != nil {
		return Verification{}, err
	}
	r := <-im.replayed
	v := Verification{Entries: int64(len(im.bodies)), Head: headText(r.root)}
	err = im.compareTree(r.built)
	if err == nil {
		err = im.checkHead(l, r.root)
	}
	if err == nil {
		err = r.err
	}
	if err == nil {
		err = im.compareMade(r.made)
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

	replayed chan replayed // by readAndReplay
}

func (im *image) read(t tx) error {
	if err := im.readEntries(t, func([]byte) {}); err != nil {
		return err
	}
	return im.readDerived(t)
}

func (im *image) readEntries(t tx, also func(body []byte)) error {
	return t.Entries(func(body []byte) error {
		im.bodies = append(im.bodies, body)
		also(body)
		return nil
	})
}

func (im *image) readDerived(t tx) error {
	if err := t.Hashes(func(h tlog.Hash) error { im.hashes = append(im.hashes, h); return nil }); err != nil {
		return err
	}
	if int64(len(im.hashes)) != tlog.StoredHashCount(int64(len(im.bodies))) {
		return contradiction("the tree has another number of hashes than its entries make")
	}
	im.state = map[string]string{}
	return t.List("", func(k, v string) error { im.state[k] = v; return nil })
}

// replayed is what is computed from the entries alone.
type replayed struct {
	built []tlog.Hash
	root  tlog.Hash
	made  made
	err   error
}

// readAndReplay reads the store, while the entries that it has so far are decoded and,
// once all are there and the signed checkpoint is theirs, replayed.
func (im *image) readAndReplay(t tx, l *Ledger) error {
	d := newDecoder()
	defer d.close()
	if err := im.readEntries(t, d.add); err != nil {
		return err
	}
	d.close()
	checkpoint, _, err := t.Get(checkpointKey)
	if err != nil {
		return err
	}
	size := int64(len(im.bodies))
	im.replayed = make(chan replayed, 1)
	go func() {
		var r replayed
		r.built, r.root = buildTree(im.bodies)
		tree, err := openCheckpoint(checkpoint, l.verifier)
		if err == nil && (tree.N != size || tree.Hash != r.root) {
			err = contradiction("its checkpoint is for other entries")
		}
		if r.err = err; err == nil {
			r.made, r.err = replayEntries(d, size, l.id)
		}
		im.replayed <- r
	}()
	return im.readDerived(t)
}

// buildTree returns the root of the entries (RFC 6962), and every hash that is stored
// with them: an entry's own and those of the subtrees that it completes, as
// tlog.StoredHashes has them.
func buildTree(bodies [][]byte) (built []tlog.Hash, root tlog.Hash) {
	built = make([]tlog.Hash, 0, tlog.StoredHashCount(int64(len(bodies))))
	var complete []tlog.Hash // subtrees, the largest first
	for n, body := range bodies {
		h := tlog.RecordHash(body)
		built = append(built, h)
		for left := n; left&1 == 1; left >>= 1 {
			h = tlog.NodeHash(complete[len(complete)-1], h)
			complete = complete[:len(complete)-1]
			built = append(built, h)
		}
		complete = append(complete, h)
	}
	if len(complete) == 0 {
		return built, sha256.Sum256(nil)
	}
	root = complete[len(complete)-1]
	for i := len(complete) - 2; i >= 0; i-- {
		root = tlog.NodeHash(complete[i], root)
	}
	return built, root
}

// checkTree builds the tree again and compares every stored hash.
func (im *image) checkTree() (root tlog.Hash, err error) {
	built, root := buildTree(im.bodies)
	return root, im.compareTree(built)
}

func (im *image) compareTree(built []tlog.Hash) error {
	for i, h := range built {
		if im.hashes[i] != h {
			// The entry whose hashes are the last that do not begin after i.
			n := sort.Search(len(im.bodies), func(n int) bool { return tlog.StoredHashIndex(0, int64(n)) > int64(i) }) - 1
			return at(int64(n), contradiction("it is not the one that was hashed"))
		}
	}
	return nil
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
	d := newDecoder()
	for _, body := range im.bodies {
		d.add(body)
	}
	d.close()
	m, err := replayEntries(d, int64(len(im.bodies)), im.state[verifierKey])
	if err != nil {
		return err
	}
	return im.compareMade(m)
}

// made is what the entries add up to.
type made struct {
	state   map[string]string
	version int // of the newest entry
}

// replayEntries applies every entry to an empty state of the ledger id.
func replayEntries(d *decoder, size int64, id string) (made, error) {
	next := int64(0)
	earlier := func(n int64) (entry, error) {
		if n < 0 || n >= next {
			return entry{}, contradiction("it refers to a later entry")
		}
		return d.at(n).entry, nil
	}
	s := newOverlay(nil)
	s.memo = newMemo()
	if err := s.Put(verifierKey, id); err != nil { // what is signed names it
		return made{}, err
	}
	costs := costMemory{}
	last := time.Time{}
	version := 1
	for n := range size {
		x := d.at(n)
		e, err := x.entry, x.err
		if x.event != "" {
			s.memo.keys[e.Event] = x.event
		}
		if err == nil && e.Number != n {
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
			err = checkCapStart(s, earlierEntries{earlier, n}, e)
		}
		if err != nil {
			return made{}, at(n, err)
		}
		next++
	}
	return made{s.written, version}, s.settle()
}

// compareMade compares what the entries make with the stored state.
func (im *image) compareMade(m made) error {
	if err := checkVersion(m.state, im.state, m.version); err != nil {
		return err
	}
	return compareState(m.state, im.state)
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
	if e.Period == "" || e.Kind == kindSettle || e.Kind == kindVoid || e.Kind == kindAgain {
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
		k.event, known = memo.keys[e.Event]
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
