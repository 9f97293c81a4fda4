package gate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
)

var (
	// ErrOutputUsage: the output folder cannot be used; nothing was charged.
	ErrOutputUsage = errors.New("the output folder cannot be used")

	// ErrOutput: the output could not be written; the charge stands.
	ErrOutput = errors.New("the output could not be written")
)

// An Output is a place for an output folder that was found writable. Its
// parent is held open, so that what a path means cannot change under it.
type Output struct {
	dir  string // as the caller named it, for messages
	base string
	root *os.Root
	mode fs.FileMode // of the finished folder

	mu     sync.Mutex
	closed bool
}

// PrepareOutput checks that an output folder can be put in place at dir,
// before anything is charged: dir does not exist, or is an empty folder and no
// link; its parent exists and takes a new folder, which is tried, as is its
// renaming. Errors wrap ErrOutputUsage. Close the output unless it is released.
func PrepareOutput(dir string) (*Output, error) {
	fail := func(why string, args ...any) (*Output, error) {
		return nil, fmt.Errorf("%w: %s: %s", ErrOutputUsage, dir, fmt.Sprintf(why, args...))
	}
	if dir == "" {
		return nil, fmt.Errorf("%w: it has no name", ErrOutputUsage)
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return fail("the current folder is gone")
	}
	parent, base := filepath.Split(full)
	if base == "" {
		return fail("name a folder below the root")
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return fail("the folder that is to hold it does not open (%v); make it first", bare(err))
	}
	o := &Output{dir: dir, base: base, root: root}
	if err := o.try(); err != nil {
		_ = root.Close()
		return fail("%v", err)
	}
	return o, nil
}

// try makes a temporary folder, renames it over an empty output folder if
// there is one, and removes it otherwise.
func (o *Output) try() error {
	info, err := o.root.Lstat(o.base)
	exists := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return reason(err)
	case exists && info.Mode()&fs.ModeSymlink != 0:
		return errors.New("it is a symbolic link; name the folder itself")
	case exists && !info.IsDir():
		return errors.New("it is no folder; choose another name")
	case exists && isCurrent(info):
		return errors.New("it is the current folder, which would be replaced; name another")
	case exists:
		empty, err := o.empty()
		if err != nil {
			return reason(err)
		}
		if !empty {
			return errors.New("it is not empty; choose another, or empty it")
		}
	}
	name, mode, err := o.temporary()
	if err != nil {
		return fmt.Errorf("no folder can be made beside it: %v", reason(err))
	}
	o.mode = mode
	if !exists {
		if err := o.root.Remove(name); err != nil {
			return fmt.Errorf("no folder can be removed beside it: %v", reason(err))
		}
		return nil
	}
	o.mode = info.Mode().Perm()
	err = o.root.Chmod(name, o.mode)
	if err == nil {
		err = o.rename(name)
	}
	if err != nil {
		_ = o.root.Remove(name)
		return fmt.Errorf("it cannot be replaced: %v", reason(err))
	}
	return nil
}

func isCurrent(info fs.FileInfo) bool {
	current, err := os.Stat(".")
	return err == nil && os.SameFile(info, current)
}

func (o *Output) empty() (bool, error) {
	d, err := o.root.Open(o.base)
	if err != nil {
		return false, err
	}
	defer d.Close()
	names, err := d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return len(names) == 0, err
}

// temporary makes an owner-only folder beside the output, and returns its name
// and the mode that an ordinary folder gets here.
func (o *Output) temporary() (name string, mode fs.FileMode, err error) {
	random := make([]byte, 8)
	rand.Read(random) // never fails
	name = ".privsgld-" + hex.EncodeToString(random)
	if err = o.root.Mkdir(name, 0o755); err != nil {
		return "", 0, err
	}
	info, err := o.root.Lstat(name)
	if err == nil {
		err = o.root.Chmod(name, 0o700)
	}
	if err != nil {
		_ = o.root.Remove(name)
		return "", 0, err
	}
	return name, info.Mode().Perm(), nil
}

// Close gives up an output that is not released. It may be called again.
func (o *Output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	return o.root.Close()
}

// Release ends a job. It settles the charge at what was done, durably; then has
// write fill an owner-only temporary folder beside the output, makes every
// file durable, renames the folder into place and makes that durable. The
// output is there whole or not at all, and whatever fails, the charge stands.
//
// write gets a folder's path that is good during the call only; the files that
// it makes are for the analyst. Folder and files get ordinary permissions (0755
// and 0644 under the umask), or an existing empty folder's.
//
// A permit releases once, whether it succeeds or not. Errors: ErrPermit; the
// ledger's, with nothing written; ErrOutput, wrapping that of write or of the
// file system; the context's where it was cancelled before the rename.
func (p *Permit) Release(ctx context.Context, out *Output, actual accountant.Event, write func(dir string, s *ledger.Settlement) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != stageReserved && p.stage != stageOpened {
		return ErrPermit
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.closed {
		return ErrPermit
	}
	p.stage = stageEnded
	s, err := p.ledger.Settle(ctx, p.reservation, actual)
	if err != nil {
		return err
	}
	when := p.reservation.Time
	if err := out.put(ctx, when, func(dir string) error { return write(dir, s) }); err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return err
		}
		return fmt.Errorf("%w: %s: %w; the charge stands", ErrOutput, out.dir, err)
	}
	out.closed = true
	return out.root.Close()
}

// put writes the folder and renames it into place. All in it bears the time of
// the reservation: when a run ended tells how long it took, and that the size of
// the table.
func (o *Output) put(ctx context.Context, when time.Time, write func(dir string) error) (err error) {
	name, _, err := o.temporary()
	if err != nil {
		return reason(err)
	}
	defer func() { // also where write panics
		if name != "" {
			_ = o.root.RemoveAll(name)
		}
	}()
	folder, err := o.root.Open(name)
	if err != nil {
		return reason(err)
	}
	defer folder.Close()
	if err := write(o.path(folder, name)); err != nil {
		return reason(err)
	}
	if err := o.root.Chmod(name, o.mode); err != nil {
		return reason(err)
	}
	if err := o.stamp(name, when); err != nil {
		return reason(err)
	}
	if err := o.syncAll(name); err != nil {
		return reason(err)
	}
	if err := folder.Sync(); err != nil {
		return reason(err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := o.rename(name); err != nil {
		return reason(err)
	}
	name = ""
	return nil
}

// rename puts the temporary folder into the output's place, durably. It
// replaces an empty folder and nothing else: not a file, not a link, not a
// folder that was filled meanwhile.
func (o *Output) rename(name string) error {
	parent, err := o.root.Open(".")
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := renameFolder(parent, name, o.base); err != nil {
		return err
	}
	if err := parent.Sync(); err != nil {
		return errors.New("it is in place, but a power loss may undo it")
	}
	return nil
}

// stamp gives the folder and all in it one time.
func (o *Output) stamp(name string, when time.Time) error {
	return fs.WalkDir(o.root.FS(), filepath.ToSlash(name), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return o.root.Chtimes(filepath.FromSlash(path), when, when)
	})
}

// path names the open temporary folder. On Linux it leads through the
// descriptor, so that renaming a parent folder, or putting a link in its
// place, cannot lead the files elsewhere.
func (o *Output) path(folder *os.File, name string) string {
	if runtime.GOOS == "linux" {
		through := fmt.Sprintf("/proc/self/fd/%d", folder.Fd())
		if own, err := folder.Stat(); err == nil {
			if seen, err := os.Stat(through); err == nil && os.SameFile(own, seen) {
				return through
			}
		}
	}
	return filepath.Join(o.root.Name(), name)
}

// syncAll makes every file and folder below name durable, and refuses
// anything that is neither.
func (o *Output) syncAll(name string) error {
	return fs.WalkDir(o.root.FS(), filepath.ToSlash(name), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return errors.New("the output holds something that is neither file nor folder")
		}
		f, err := o.root.Open(filepath.FromSlash(path))
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// reason is an error without the temporary path in it, which the user never
// named: of a file, only its own name remains.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		if base := filepath.Base(p.Path); !strings.HasPrefix(base, ".") {
			return fmt.Errorf("%s: %w", base, p.Err)
		}
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// bare is an error of the file system without any path.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
