package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/privsgld/privsgld/accountant"
)

// Options say where a ledger is and how to use it.
type Options struct {
	DSN      string           // sqlite:PATH or postgres://…; "" is ledger.db in StateDir
	StateDir string           // holds the job keys; "" is DefaultStateDir
	Clock    func() time.Time // nil is time.Now
	Timeout  time.Duration    // how long to wait for locks; 0 is 60 seconds

	// MustExist makes Open fail with ErrUnavailable where there is no ledger, as
	// a reader wants: a mistyped path verifies nothing.
	MustExist bool

	hook  func(point string) // tests kill the process at named points
	store store              // a test's own
}

const defaultTimeout = 60 * time.Second

// DefaultStateDir returns $XDG_STATE_HOME/privsgld, or
// ~/.local/state/privsgld where that is unset or not absolute.
func DefaultStateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "privsgld"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		// A relative one would be another ledger in every folder.
		return "", fmt.Errorf("%w: no home folder for the state; set XDG_STATE_HOME", ErrUnavailable)
	}
	return filepath.Join(home, ".local", "state", "privsgld"), nil
}

// A Ledger is an open ledger. It is safe for concurrent use, as the ledger
// itself is by several processes.
type Ledger struct {
	store    store
	clock    func() time.Time
	id       string
	signer   note.Signer
	verifier note.Verifier
	created  bool
	anchor   string // path of the file that remembers the newest checkpoint
}

// Open opens a ledger, and creates it, with a new job key, where there is
// none. Errors are ErrUsage for another DSN, ErrUnavailable, ErrCorrupt, or
// the context's.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.StateDir == "" {
		dir, err := DefaultStateDir()
		if err != nil {
			return nil, err
		}
		o.StateDir = dir
	}
	s, err := openStore(ctx, o)
	if err != nil {
		return nil, err
	}
	l := &Ledger{store: s, clock: o.Clock}
	if err := l.identify(ctx, o.StateDir); err != nil {
		_ = s.Close()
		return nil, err
	}
	return l, nil
}

// openStore opens the store that the address names.
func openStore(ctx context.Context, o Options) (store, error) {
	if o.store != nil {
		return o.store, nil
	}
	if isPostgres(o.DSN) {
		s, err := openPostgres(ctx, o.DSN, o.Timeout, o.MustExist, o.hook)
		if err != nil {
			return nil, err // a nil of another type is no nil
		}
		return s, nil
	}
	path := filepath.Join(o.StateDir, "ledger.db")
	if o.DSN != "" {
		var ok bool
		if path, ok = strings.CutPrefix(o.DSN, "sqlite:"); !ok || path == "" {
			return nil, fmt.Errorf("%w: the ledger's address must be sqlite:PATH or postgres://USER@HOST/DATABASE", ErrUsage)
		}
	}
	if o.MustExist {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: there is none at %s", ErrUnavailable, path)
		}
	}
	s, _, err := openSQLite(ctx, path, o.Timeout, o.hook)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// identify reads the ledger's verifier, or makes its job key where it has
// none yet, and checks the checkpoint.
func (l *Ledger) identify(ctx context.Context, stateDir string) error {
	var made string
	var stored bool
	err := l.store.View(ctx, func(t tx) (err error) {
		l.id, stored, err = t.Get(verifierKey)
		return err
	})
	if err == nil && !stored {
		err = l.store.Update(ctx, func(t tx) (err error) {
			made = ""
			if l.id, stored, err = t.Get(verifierKey); err != nil || stored {
				return err // another process was faster
			}
			n, err := t.Size()
			if err != nil {
				return err
			}
			if n != 0 {
				return contradiction("it has entries and no name")
			}
			if made, err = createKey(stateDir); err != nil {
				return err
			}
			l.id = made
			if l.signer, l.verifier, err = loadKey(stateDir, made); err != nil {
				return err
			}
			if err := t.Put(verifierKey, made); err != nil {
				return err
			}
			_, err = l.appendEntries(t, tlog.Tree{}, nil)
			return err
		})
	}
	if err != nil {
		return err
	}
	l.created = made != ""
	if l.signer, l.verifier, err = loadKey(stateDir, l.id); err != nil {
		return err
	}
	if l.anchor, err = anchorPath(stateDir, l.id); err != nil {
		return err
	}
	// The anchor first: another process may append between the two, and then
	// moves the anchor after it.
	anchor, err := l.readAnchor()
	if err != nil {
		return err
	}
	return l.store.View(ctx, func(t tx) error {
		tree, err := l.readHead(t)
		if err != nil || anchor == "" {
			return err
		}
		seen, err := openCheckpoint(anchor, l.verifier)
		if err != nil {
			return err
		}
		return extends(t, tree, seen)
	})
}

// Close closes the ledger.
func (l *Ledger) Close() error { return l.store.Close() }

// ID returns the ledger's name: its job key's verifier in note form,
// "privsgld-ledger+HASH+KEY".
func (l *Ledger) ID() string { return l.id }

// Created reports whether this Open created the ledger.
func (l *Ledger) Created() bool { return l.created }

// Sign signs a message with the job key (ed25519) and returns the key's
// verifier in note form beside the signature. The message must not be a
// checkpoint's text.
func (l *Ledger) Sign(msg []byte) (keyName string, sig []byte, err error) {
	if _, err := tlog.ParseTree(msg); err == nil {
		return "", nil, fmt.Errorf("%w: only the ledger signs checkpoints", ErrUsage)
	}
	if sig, err = l.signer.Sign(msg); err != nil {
		return "", nil, fmt.Errorf("%w: the job key does not sign", ErrUnavailable)
	}
	return l.id, sig, nil
}

// Checkpoint returns the newest signed checkpoint.
func (l *Ledger) Checkpoint(ctx context.Context) (text string, err error) {
	err = l.store.View(ctx, func(t tx) error {
		if _, err := l.readHead(t); err != nil {
			return err
		}
		text, _, err = t.Get(checkpointKey)
		return err
	})
	return text, err
}

// Now returns the ledger's time: the clock's, or the newest entry's where that
// is later, in whole seconds. Errors: ErrUnavailable, ErrCorrupt, the context's.
func (l *Ledger) Now(ctx context.Context) (now time.Time, err error) {
	err = l.store.View(ctx, func(t tx) error {
		_, now, err = l.begin(t)
		return err
	})
	return now, err
}

// Reserve charges a request, in one serialisable transaction: it registers
// the data set and the caps on their first use, opens a new period where the
// time has come, asks the policy's filter and every cap's, and appends the
// entries. When it returns, the charge is on the disk, and stays whatever
// happens to the process.
//
// Errors: *Refused, *Mismatch and *Unapproved, with nothing written; ErrUsage for a
// request that is malformed or whose RunID was used before;
// accountant.ErrUnsupported for an event that a filter has no rule for;
// ErrUnavailable, ErrCorrupt; the context's, with nothing written.
func (l *Ledger) Reserve(ctx context.Context, q Request) (*Reservation, error) {
	var d *decision
	var checkpoint string
	err := l.store.Update(ctx, func(t tx) error {
		d = nil
		tree, now, err := l.begin(t)
		if err != nil {
			return err
		}
		overlay := newOverlay(t)
		if d, err = decide(overlay, earlierIn(t, tree), now, q); err != nil {
			return err
		}
		d.clockBehind(l.clock(), now)
		if d.refused != "" {
			return errNotAdmitted
		}
		if err := overlay.writeTo(t); err != nil {
			return err
		}
		checkpoint, err = l.appendEntries(t, tree, d.entries)
		return err
	})
	if errors.Is(err, errNotAdmitted) {
		return nil, d.refusal()
	}
	if err != nil {
		return nil, err
	}
	l.remember(checkpoint)
	last := d.entries[len(d.entries)-1]
	at, err := last.time()
	if err != nil {
		return nil, err
	}
	r := &Reservation{RunID: q.RunID, Entry: last.Number, Time: at, attempt: firstAttempt}
	r.self = r
	if r.Budget, err = d.snapshot.budget(); err != nil {
		return nil, err
	}
	return r, nil
}

// Preview returns the budget as Reserve would leave it, without writing; its
// errors are those of Reserve, but for *Unapproved: signatures may come later.
func (l *Ledger) Preview(ctx context.Context, q Request) (Budget, error) {
	q.preview = true
	var d *decision
	err := l.store.View(ctx, func(t tx) error {
		tree, now, err := l.begin(t)
		if err != nil {
			return err
		}
		if d, err = decide(newOverlay(t), earlierIn(t, tree), now, q); err != nil {
			return err
		}
		d.clockBehind(l.clock(), now)
		return nil
	})
	if err != nil {
		return Budget{}, err
	}
	return d.result()
}

func (l *Ledger) begin(t tx) (tlog.Tree, time.Time, error) {
	tree, err := l.readHead(t)
	if err != nil {
		return tree, time.Time{}, err
	}
	now, err := l.now(t, tree)
	return tree, now, err
}

// Settle replaces a reserved charge by what was done, which must cost no more
// in any account, and returns the signed checkpoint. Where it fails, the
// reserved charge stands and nothing may be released. Errors: ErrCharge,
// ErrUsage, ErrUnavailable, ErrCorrupt, the context's.
func (l *Ledger) Settle(ctx context.Context, r *Reservation, actual accountant.Event) (*Settlement, error) {
	return l.end(ctx, r, kindSettle, &actual)
}

// Void takes a charge back. Only the gate may call it, having proved that no
// data was opened under the reservation. Errors as for Settle.
func (l *Ledger) Void(ctx context.Context, r *Reservation) error {
	_, err := l.end(ctx, r, kindVoid, nil)
	return err
}

func (l *Ledger) end(ctx context.Context, r *Reservation, kind string, actual *accountant.Event) (*Settlement, error) {
	if r == nil || r.self != r {
		return nil, fmt.Errorf("%w: only the holder of the reservation may end it", ErrCharge)
	}
	out := &Settlement{}
	var snap snapshot
	err := l.store.Update(ctx, func(t tx) error {
		tree, now, err := l.begin(t)
		if err != nil {
			return err
		}
		past := earlierIn(t, tree)
		reserved, err := past.read(r.Entry)
		if err != nil {
			return err
		}
		e := entry{Number: tree.N, Time: now.Format(time.RFC3339), Kind: kind, Dataset: reserved.Dataset, Run: r.RunID, Period: reserved.Period}
		overlay := newOverlay(t)
		if err := upgrade(overlay, past); err != nil {
			return err
		}
		if err := mayEnd(overlay, r.RunID, r.attempt); err != nil {
			return err
		}
		if actual != nil {
			if err := fillSettlement(overlay, reserved, *actual, &e); err != nil {
				return err
			}
		}
		if err := apply(overlay, past.read, admitted, e); err != nil {
			return err
		}
		if snap, err = snapshotAfter(overlay, past.read, reserved, e); err != nil {
			return err
		}
		if err := overlay.writeTo(t); err != nil {
			return err
		}
		out.Entry = tree.N
		out.Checkpoint, err = l.appendEntries(t, tree, []entry{e})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.remember(out.Checkpoint)
	if out.Budget, err = snap.budget(); err != nil {
		return nil, err
	}
	return out, nil
}
