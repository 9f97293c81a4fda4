package ledger

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// PointLifetime is how long after its reservation a run may go on.
const PointLifetime = 7 * 24 * time.Hour

// A PointError says why a run cannot go on: it holds no value from the data.
type PointError struct{ Message string }

func (e *PointError) Error() string { return e.Message }

// A Hold is a run in one process's hands, with a place for its resume points:
// resume/HASH/RUN.point in the state folder, owner-only, sealed by AES-256-GCM under a
// key from there, so that nobody else can read one or plant one. Beside it lies
// RUN.mark, which is locked as long as the process lives, and whose first byte that is
// not zero says that the run has ended by itself. It is safe for concurrent use.
type Hold struct {
	folder string
	run    string
	seal   cipher.AEAD

	mu    sync.Mutex
	mark  *os.File
	ended bool
}

const (
	pointSuffix = ".point"
	markSuffix  = ".mark"
	markBytes   = 512
)

// fileRun is what a run's name must be like for a file to be named after it.
var fileRun = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// Hold takes a new run in hand, and removes what other runs left longer than
// PointLifetime ago. Errors: ErrUsage, ErrUnavailable, ErrCorrupt, *PointError where
// the system locks no files; the context's.
func (l *Ledger) Hold(ctx context.Context, runID string) (*Hold, error) {
	h, err := l.hold(ctx, runID)
	if err != nil {
		return nil, err
	}
	h.sweep(l.clock())
	if err := putFile(h.path(markSuffix), make([]byte, markBytes), os.Link); err != nil {
		return nil, notWritten("the mark of a run in "+h.folder, err)
	}
	return h, h.lock()
}

// HoldAgain takes a run in hand that was killed, and returns its resume point.
// *PointError says that it has none, is alive, or ended by itself; other errors are
// those of Hold.
func (l *Ledger) HoldAgain(ctx context.Context, runID string) (*Hold, []byte, error) {
	h, err := l.hold(ctx, runID)
	if err != nil {
		return nil, nil, err
	}
	h.sweep(l.clock())
	if err := h.lock(); err != nil {
		return nil, nil, err
	}
	point, err := h.load()
	if err != nil {
		h.Leave()
		return nil, nil, err
	}
	return h, point, nil
}

func (l *Ledger) hold(ctx context.Context, runID string) (*Hold, error) {
	if !fileRun.MatchString(runID) {
		return nil, fmt.Errorf("%w: %q is no name of a run", ErrUsage, runID)
	}
	v, err := l.ownVault(ctx)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(v.derive("resume points"))
	if err != nil {
		return nil, err
	}
	h := &Hold{run: runID, folder: filepath.Join(filepath.Dir(filepath.Dir(l.anchor)), "resume", filepath.Base(l.anchor))}
	h.seal, err = cipher.NewGCMWithRandomNonce(block)
	return h, err
}

func (h *Hold) path(suffix string) string { return filepath.Join(h.folder, h.run+suffix) }

// context binds a point to its run.
func (h *Hold) context() []byte { return []byte("privsgld resume point v1 " + h.run) }

func (h *Hold) lock() error {
	// What is written to the mark is durable when the call returns.
	f, err := os.OpenFile(h.path(markSuffix), os.O_RDWR|os.O_SYNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return &PointError{fmt.Sprintf("run %s has no resume point here: it ended, its points were removed, or it never had one", h.run)}
	}
	if err != nil {
		return fmt.Errorf("%w: the mark of run %s does not open: %v", ErrUnavailable, h.run, reason(err))
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		return &PointError{fmt.Sprintf("run %s is held by another process: it has not been killed, or goes on already", h.run)}
	}
	h.mark = f
	return nil
}

func (h *Hold) load() ([]byte, error) {
	mark := make([]byte, markBytes)
	if _, err := h.mark.ReadAt(mark, 0); err != nil || !bytes.Equal(mark, make([]byte, markBytes)) {
		return nil, &PointError{fmt.Sprintf("run %s ended by itself, and never runs again on its charge", h.run)}
	}
	sealed, err := os.ReadFile(h.path(pointSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &PointError{fmt.Sprintf("run %s has no resume point: it was killed before its first, or ended", h.run)}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the resume point of run %s does not read: %v", ErrUnavailable, h.run, reason(err))
	}
	point, err := h.seal.Open(nil, nil, sealed, h.context())
	if err != nil {
		return nil, &PointError{fmt.Sprintf("the resume point of run %s is damaged, or not its own", h.run)}
	}
	return point, nil
}

// Save puts a resume point in the place of the last, durably. After End it fails.
func (h *Hold) Save(point []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return &PointError{fmt.Sprintf("run %s has ended", h.run)}
	}
	if err := putFile(h.path(pointSuffix), h.seal.Seal(nil, nil, point, h.context()), os.Rename); err != nil {
		return notWritten("a resume point in "+h.folder, err)
	}
	return nil
}

// Drop removes the resume point, durably; the run goes on without.
func (h *Hold) Drop() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drop()
}

func (h *Hold) drop() error {
	err := os.Remove(h.path(pointSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncFolder(h.folder)
	}
	if err != nil {
		return fmt.Errorf("%w: a resume point in %s cannot be removed: %v", ErrUnavailable, h.folder, reason(err))
	}
	return nil
}

// Mark is the file that says by any byte that is not zero that the run ended by
// itself. What the Go runtime writes before it ends a program can be led there.
func (h *Hold) Mark() *os.File { return h.mark }

// End says, durably, that the run has ended by itself or was settled: there is no
// point to go on from any more. It may be called again, and from any goroutine.
func (h *Hold) End() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil
	}
	h.ended = true
	if err := h.drop(); err != nil {
		// The mark says the same where that can be written.
		if _, e := h.mark.WriteAt([]byte("ended"), 0); e == nil {
			err = nil
		}
		return err
	}
	_ = os.Remove(h.path(markSuffix)) // without a point it says nothing more
	return nil
}

// Leave lets go of a run as it is: nothing was done.
func (h *Hold) Leave() { _ = h.mark.Close() }

// sweep removes what is older than any run that may go on.
func (h *Hold) sweep(now time.Time) {
	list, err := os.ReadDir(h.folder)
	if err != nil {
		return // there is none yet
	}
	for _, f := range list {
		if info, err := f.Info(); err == nil && now.Sub(info.ModTime()) > PointLifetime {
			_ = os.Remove(filepath.Join(h.folder, f.Name()))
		}
	}
}
