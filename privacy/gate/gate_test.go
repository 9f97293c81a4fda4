package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
)

var ctx = context.Background()

func openLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(ctx, ledger.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if v, err := l.Verify(ctx); err != nil || !v.OK {
			t.Errorf("verify: %+v, %v", v, err)
		}
		l.Close()
	})
	return l
}

var event = accountant.Gaussian(accountant.AddRemove, 20, 1)

func request(id string) ledger.Request {
	delta := accountant.MustAmount("1e-6")
	return ledger.Request{RunID: id, Kind: "run", Analyst: "ann", Event: event, JobEpsilon: accountant.MustAmount("1"), JobDelta: delta,
		Registration: ledger.Registration{Dataset: "d", PolicyName: "p", Unit: "row", Adjacency: accountant.AddRemove, Renews: "never",
			Terms: accountant.Terms{Method: accountant.MethodRDP, Epsilon: accountant.MustAmount("3"), Delta: delta}}}
}

func mustReserve(t *testing.T, l *ledger.Ledger, id string) *Permit {
	t.Helper()
	p, err := Reserve(ctx, l, request(id))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustPrepare(t *testing.T, dir string) *Output {
	t.Helper()
	o, err := PrepareOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// writeOne writes one file, and one in a folder.
func writeOne(dir string, s *ledger.Settlement) error {
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "b"), nil, 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "report.json"), []byte(s.Checkpoint), 0o666)
}

// names lists a folder, so that a test sees what was left behind.
func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func pending(t *testing.T, l *ledger.Ledger) (pending, entries int64) {
	t.Helper()
	s, err := l.Status(ctx)
	if err != nil || len(s) != 1 {
		t.Fatal(s, err)
	}
	return s[0].Pending, s[0].Entries
}

func TestRelease(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	l := openLedger(t)
	parent := t.TempDir()
	for _, name := range []string{"new", "empty"} {
		dir := filepath.Join(parent, name)
		if name == "empty" {
			if err := os.Mkdir(dir, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		out := mustPrepare(t, dir)
		p := mustReserve(t, l, name)
		if err := p.OpenData(); err != nil {
			t.Fatal(err)
		}
		if err := p.Release(ctx, out, event, writeOne); err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir); got != "report.json sub" {
			t.Errorf("%s holds %s", name, got)
		}
		text, err := os.ReadFile(filepath.Join(dir, "report.json"))
		if checkpoint, _ := l.Checkpoint(ctx); err != nil || string(text) != checkpoint {
			t.Errorf("%q, %v", text, err)
		}
		for path, mode := range map[string]fs.FileMode{"": map[string]fs.FileMode{"new": 0o755, "empty": 0o750}[name], "report.json": 0o644} {
			if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s/%s: %v, %v", name, path, info.Mode(), err)
			}
		}
		if n, _ := pending(t, l); n != 0 {
			t.Errorf("%d charges are pending", n)
		}
		if err := p.Release(ctx, out, event, writeOne); !errors.Is(err, ErrPermit) {
			t.Errorf("a second release: %v", err)
		}
	}
	if got := names(t, parent); got != "empty new" {
		t.Errorf("left behind: %s", got)
	}
}

func TestOrderOfAPermit(t *testing.T) {
	l := openLedger(t)
	for _, p := range []*Permit{nil, {}} {
		if err := p.OpenData(); !errors.Is(err, ErrPermit) {
			t.Errorf("no permit opened data: %v", err)
		}
	}
	if err := (&Permit{}).Void(ctx); !errors.Is(err, ErrPermit) {
		t.Errorf("no permit became void: %v", err)
	}
	if (Structure{}).Granted() || !StructurePermit().Granted() {
		t.Error("a structure permit came from nowhere")
	}

	p := mustReserve(t, l, "void")
	r := p.Reservation()
	if err := l.Void(ctx, &r); !errors.Is(err, ledger.ErrCharge) {
		t.Errorf("a copy made the charge void: %v", err)
	}
	if err := p.Void(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.OpenData(); !errors.Is(err, ErrPermit) {
		t.Errorf("a void permit opened data: %v", err)
	}
	out := mustPrepare(t, filepath.Join(t.TempDir(), "out"))
	if err := p.Release(ctx, out, event, writeOne); !errors.Is(err, ErrPermit) {
		t.Errorf("a void permit released: %v", err)
	}

	p = mustReserve(t, l, "opened")
	for range 2 {
		if err := p.OpenData(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Void(ctx); !errors.Is(err, ErrPermit) {
		t.Errorf("an opened permit became void: %v", err)
	}
	if n, all := pending(t, l); n != 1 || all != 2 {
		t.Errorf("%d of %d are pending", n, all)
	}
}

func TestOutputsThatCannotBeUsed(t *testing.T) {
	parent := t.TempDir()
	in := func(name string) string { return filepath.Join(parent, name) }
	for _, err := range []error{
		os.MkdirAll(in("full/x"), 0o755), os.WriteFile(in("file"), nil, 0o644), os.Mkdir(in("real"), 0o755),
		os.Symlink("real", in("link")), os.Symlink("nowhere", in("dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, parent)
	for dir, says := range map[string]string{
		"":                    "no name",
		"/":                   "below the root",
		in("full"):            "not empty",
		in("file"):            "no folder",
		in("link"):            "symbolic link",
		in("dangling"):        "symbolic link",
		in("missing/out"):     "make it first",
		in("file/out"):        "make it first",
		"/proc/privsgld-test": "beside it",
	} {
		_, err := PrepareOutput(dir)
		if !errors.Is(err, ErrOutputUsage) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	t.Chdir(in("real"))
	if _, err := PrepareOutput("."); !errors.Is(err, ErrOutputUsage) || !strings.Contains(err.Error(), "current folder") {
		t.Errorf("the current folder: %v", err)
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(in("real"), 0o555); err != nil {
			t.Fatal(err)
		}
		if _, err := PrepareOutput(in("real/out")); !errors.Is(err, ErrOutputUsage) {
			t.Errorf("a folder without write permission: %v", err)
		}
	}
	mustPrepare(t, in("fine"))
	if after := names(t, parent); after != before {
		t.Errorf("left behind: %s, before: %s", after, before)
	}
}

// Whatever fails after the settlement, nothing is left but the charge.
func TestFailedReleases(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/proc/self/fd/9/samples.parquet", Err: syscall.ENOSPC}
	cancelled, cancel := context.WithCancel(ctx)
	for name, c := range map[string]struct {
		write func(dir string, s *ledger.Settlement) error
		is    error
	}{
		"disk full": {func(dir string, s *ledger.Settlement) error {
			if err := writeOne(dir, s); err != nil {
				return err
			}
			return fmt.Errorf("draws: %w", full)
		}, syscall.ENOSPC},
		"pipe": {func(dir string, s *ledger.Settlement) error { return syscall.Mkfifo(filepath.Join(dir, "x"), 0o600) }, ErrOutput},
		"link": {func(dir string, s *ledger.Settlement) error {
			return os.Symlink("/etc/passwd", filepath.Join(dir, "x"))
		}, ErrOutput},
		"interrupt": {func(dir string, s *ledger.Settlement) error { cancel(); return writeOne(dir, s) }, context.Canceled},
	} {
		l := openLedger(t)
		parent := t.TempDir()
		out := mustPrepare(t, filepath.Join(parent, "out"))
		p := mustReserve(t, l, name)
		err := p.Release(cancelled, out, event, c.write)
		if !errors.Is(err, c.is) || (name == "interrupt") == errors.Is(err, ErrOutput) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "/proc/") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the message tells more than it should: %v", name, err)
		}
		if got := names(t, parent); got != "" {
			t.Errorf("%s: left behind: %s", name, got)
		}
		if s, err := l.Status(ctx); err != nil || s[0].EpsilonSpent <= 0 || s[0].Pending != 0 {
			t.Errorf("%s: the charge does not stand: %+v, %v", name, s, err)
		}
		if name == "interrupt" {
			cancelled, cancel = context.WithCancel(ctx)
		}
	}
	cancel()
}

func TestNoReleaseWithoutSettlement(t *testing.T) {
	l := openLedger(t)
	parent := t.TempDir()
	out := mustPrepare(t, filepath.Join(parent, "out"))
	p := mustReserve(t, l, "a")
	dearer := accountant.Gaussian(accountant.AddRemove, 19, 1)
	err := p.Release(ctx, out, dearer, func(string, *ledger.Settlement) error { t.Error("written"); return nil })
	if !errors.Is(err, ledger.ErrCharge) || names(t, parent) != "" {
		t.Errorf("%v, left: %s", err, names(t, parent))
	}
	if n, _ := pending(t, l); n != 1 {
		t.Error("the reserved charge does not stand")
	}
}

// Between check and rename somebody puts something else at the output's place,
// or exchanges its parent: nothing is overwritten and nothing lands elsewhere.
func TestRaces(t *testing.T) {
	for name, meddle := range map[string]func(parent, elsewhere string) error{
		"file": func(parent, _ string) error { return os.WriteFile(filepath.Join(parent, "out"), []byte("mine"), 0o644) },
		"link": func(parent, elsewhere string) error { return os.Symlink(elsewhere, filepath.Join(parent, "out")) },
		"full": func(parent, _ string) error { return os.MkdirAll(filepath.Join(parent, "out", "mine"), 0o755) },
		"parent": func(parent, elsewhere string) error {
			if err := os.Rename(parent, parent+"-moved"); err != nil {
				return err
			}
			return os.Symlink(elsewhere, parent)
		},
	} {
		l := openLedger(t)
		root := t.TempDir()
		parent, elsewhere := filepath.Join(root, "parent"), filepath.Join(root, "elsewhere")
		for _, d := range []string{parent, elsewhere} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		out := mustPrepare(t, filepath.Join(parent, "out"))
		err := mustReserve(t, l, name).Release(ctx, out, event, func(dir string, s *ledger.Settlement) error {
			if err := meddle(parent, elsewhere); err != nil {
				t.Fatal(err)
			}
			return writeOne(dir, s)
		})
		if got := names(t, elsewhere); got != "" {
			t.Errorf("%s: %s was written elsewhere", name, got)
		}
		if name == "parent" {
			// The folder that was checked is the one that gets the output.
			if err != nil || names(t, parent+"-moved/out") != "report.json sub" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrOutput) || names(t, parent) != "out" {
			t.Errorf("%s: %v, holds %s", name, err, names(t, parent))
		}
		if name == "file" {
			if text, err := os.ReadFile(filepath.Join(parent, "out")); err != nil || string(text) != "mine" {
				t.Errorf("overwritten: %q, %v", text, err)
			}
		}
	}
}

func TestPanicInWrite(t *testing.T) {
	l := openLedger(t)
	parent := t.TempDir()
	out := mustPrepare(t, filepath.Join(parent, "out"))
	p := mustReserve(t, l, "a")
	func() {
		defer func() { recover() }()
		p.Release(ctx, out, event, func(dir string, s *ledger.Settlement) error { writeOne(dir, s); panic("x") })
	}()
	if names(t, parent) != "" {
		t.Errorf("left behind: %s", names(t, parent))
	}
}

func TestStatement(t *testing.T) {
	g := Guarantee{Epsilon: 0.98765432101, Delta: accountant.MustAmount("1e-6"), Dataset: "fertility-1980", Unit: "one row",
		Adjacency: accountant.AddRemove, Mechanism: "MECH", Sampling: "SAMP", Accountant: "ACC", Composed: "COMP", Assumptions: []string{"ASSUMED"},
		BudgetEpsilon: accountant.MustAmount("3"), BudgetDelta: accountant.MustAmount("1e-6"), Period: "2026-11", Periods: 2}
	text := Statement(g)
	for _, part := range []string{"0.987655", g.Delta.String(), "fertility-1980", "one row", "add-remove", "MECH", "SAMP", "ACC", "COMP", "ASSUMED", "2026-11", "2-fold"} {
		if !strings.Contains(text, part) {
			t.Errorf("the statement lacks %q: %s", part, text)
		}
	}
	for eps, want := range map[float64]string{1: "1", 0.1: "0.1", 1.0000001: "1.00001", 999999.5: "1e+06", 1e-9: "1e-09", 2.00000000001: "2.00001"} {
		if got := epsilonUp(eps); got != want {
			t.Errorf("%v is shown as %s, not %s", eps, got, want)
		}
	}
}
