//go:build linux && !seeded

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestPowerCut is threat L4: the machine loses power at any moment of a run. What the
// run did to files is recorded, and what a disk may hold after the cut is made up from
// it: all that was synchronised; of later writes to a file any, whole, torn at a sector
// or not at all; of later changes to names the first few. The next command needs no
// repair, what was spent never drops, output is whole or absent and never without its
// settled charge, no row was read without a durable reservation, and a run that has
// ended is there. With fsync left out of the record the same cuts must do damage.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("one process after another: left out in short mode")
	}
	strace := needStrace(t, "L4")
	r := rand.New(rand.NewPCG(11, 13))
	damaged := 0
	for _, first := range []bool{true, false} {
		b := newBench(t, crashPolicy, "x,buys\n1,no\n2,yes\n3,no\n9,yes\n")
		before := budgetBefore{}
		if !first {
			b.run(faultyRun("before")...)
			before.spent, before.entries, _ = b.budget()
		}
		disk := readDisk(t, b.dir)
		log := filepath.Join(t.TempDir(), "strace")
		run := b.command(faultyRun("out")...)
		cmd := exec.Command(strace, append([]string{"-f", "-qq", "-y", "-xx", "-s", "100000000", "-o", log,
			"-e", "trace=open,openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,ftruncate,unlink,unlinkat,mkdirat,mkdir,link,linkat", "--", run.Path}, run.Args[1:]...)...)
		cmd.Dir, cmd.Env = run.Dir, run.Env
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		calls := readCalls(t, log, b.dir)
		opened := 0 // the number of calls with the last look at the data
		for i, c := range calls {
			if c.kind == "open" && c.path == "data.csv" {
				opened = i + 1
			}
		}
		if opened == 0 || len(calls) < 50 {
			t.Fatalf("%d calls are recorded, the data are opened at %d", len(calls), opened)
		}
		// Cuts fall where it matters, behind each call, then anywhere.
		for i := range powerCuts {
			cut := 1 + (i*97)%len(calls)
			if i%10 == 9 {
				cut = len(calls)
			}
			seed := r.Uint64()
			disk.cut(calls[:cut], true, rand.New(rand.NewPCG(seed, 1))).write(t, b.dir)
			if err := before.check(b, cut >= opened, cut == len(calls)); err != nil {
				t.Fatalf("first run %v, power cut after call %d of %d, seed %d: %v", first, cut, len(calls), seed, err)
			}
			disk.cut(calls[:cut], false, rand.New(rand.NewPCG(seed, 1))).write(t, b.dir)
			if before.check(b, cut >= opened, cut == len(calls)) != nil {
				damaged++
			}
		}
	}
	if damaged < max(1, powerCuts/10) {
		t.Errorf("without fsync only %d of %d cuts do damage: the test sees nothing", damaged, 2*powerCuts)
	}
	t.Logf("%d cuts; without fsync %d of them do damage", 2*powerCuts, damaged)
}

type budgetBefore struct {
	spent   float64
	entries int64
}

// check looks at what a cut has left as the next user would.
func (x budgetBefore) check(b *bench, reserved, ended bool) error {
	out, err := b.command("ledger", "verify").CombinedOutput()
	if err != nil && (x.entries > 0 || reserved) {
		return fmt.Errorf("verify: %v: %s", err, out)
	}
	out, err = b.command("budget", "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("budget: %v: %s", err, out)
	}
	spent, entries, pending, err := readBudget(out)
	switch {
	case err != nil:
		return err
	case spent < x.spent || entries < x.entries:
		return errors.New("the ledger shows less than before")
	case reserved && entries == x.entries:
		return errors.New("the data were opened, and no reservation is there")
	}
	whole, err := b.intact("out")
	switch {
	case err != nil:
		return err
	case whole && entries-pending == x.entries:
		return errors.New("an output without settled charge")
	case ended && !whole:
		return errors.New("the run had ended, and its output is gone")
	}
	if out, err := b.command(faultyRun("next")...).CombinedOutput(); err != nil {
		return fmt.Errorf("the next run: %v: %s", err, out)
	}
	return nil
}

// A call is what changes files, by paths below one folder.
type call struct {
	kind     string // open, write, sync, move, link, remove, mkdir or size
	path, to string
	at       int64 // of a write, -1: where the last one ended; of size, the size
	data     []byte
	create   bool
	truncate bool
}

var (
	callLine = regexp.MustCompile(`^([0-9]+) +(.*)$`)
	resumed  = regexp.MustCompile(`^<\.\.\. [a-z0-9]+ resumed>(.*)$`)
	whole    = regexp.MustCompile(`^([a-z0-9]+)\((.*)\) += (-?[0-9]+)(.*)$`)
	descript = regexp.MustCompile(`^[A-Z_0-9]+<([^>]*)>`)
)

// readCalls reads what strace recorded of paths below dir.
func readCalls(t *testing.T, log, dir string) (calls []call) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) string {
		var b []byte
		for len(s) > 0 {
			if strings.HasPrefix(s, `\x`) && len(s) >= 4 {
				v, err := strconv.ParseUint(s[2:4], 16, 8)
				if err != nil {
					t.Fatal(err)
				}
				b, s = append(b, byte(v)), s[4:]
			} else {
				b, s = append(b, s[0]), s[1:]
			}
		}
		return string(b)
	}
	below := func(path string) (string, bool) {
		rel, err := filepath.Rel(dir, path)
		return rel, err == nil && !strings.HasPrefix(rel, "..") && !strings.HasPrefix(rel, "tmp")
	}
	unfinished := map[string]string{}
	for line := range strings.Lines(string(text)) {
		m := callLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("a line of the record does not read: %.200s", line)
		}
		pid, body := m[1], m[2]
		if start, ok := strings.CutSuffix(body, " <unfinished ...>"); ok {
			unfinished[pid] = start
			continue
		}
		if m := resumed.FindStringSubmatch(body); m != nil {
			body = unfinished[pid] + m[1]
		}
		m = whole.FindStringSubmatch(body)
		if m == nil || strings.HasPrefix(m[3], "-") {
			continue // signals and ends; calls that failed
		}
		args := strings.Split(m[2], ", ")
		folderOf := func(i int) string { // of a descriptor, or the folder a name is in
			if d := descript.FindStringSubmatch(args[i]); d != nil {
				return unhex(d[1])
			}
			return dir
		}
		name := func(i int) string {
			s, _, _ := strings.Cut(strings.TrimPrefix(args[i], `"`), `"`)
			return unhex(s)
		}
		in := func(folder, name string) string {
			if filepath.IsAbs(name) {
				return name
			}
			return filepath.Join(folder, name)
		}
		c, ok := call{at: -1}, false
		switch m[1] {
		case "open", "openat":
			flags := args[len(args)-1]
			if strings.HasPrefix(flags, "0") { // the mode of a file to be made
				flags = args[len(args)-2]
			}
			// The result names the file that was opened, through links of /proc too.
			if d := descript.FindStringSubmatch(m[3] + m[4]); d != nil {
				c.kind, c.create, c.truncate = "open", strings.Contains(flags, "O_CREAT"), strings.Contains(flags, "O_TRUNC")
				c.path, ok = below(unhex(d[1]))
			}
		case "write", "pwrite64":
			c.kind = "write"
			c.data = []byte(name(1))
			if m[1] == "pwrite64" {
				if c.at, err = strconv.ParseInt(args[3], 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			c.path, ok = below(folderOf(0))
		case "ftruncate":
			c.kind = "size"
			if c.at, err = strconv.ParseInt(args[1], 10, 64); err != nil {
				t.Fatal(err)
			}
			c.path, ok = below(folderOf(0))
		case "fsync", "fdatasync":
			c.kind = "sync"
			c.path, ok = below(folderOf(0))
		case "rename":
			c.kind = "move"
			c.path, ok = below(in(dir, name(0)))
			c.to, _ = below(in(dir, name(1)))
		case "renameat", "renameat2":
			c.kind = "move"
			c.path, ok = below(in(folderOf(0), name(1)))
			c.to, _ = below(in(folderOf(2), name(3)))
		case "link":
			c.kind = "link"
			c.path, ok = below(in(dir, name(0)))
			c.to, _ = below(in(dir, name(1)))
		case "linkat":
			c.kind = "link"
			c.path, ok = below(in(folderOf(0), name(1)))
			c.to, _ = below(in(folderOf(2), name(3)))
		case "unlink":
			c.kind = "remove"
			c.path, ok = below(in(dir, name(0)))
		case "unlinkat":
			c.kind = "remove"
			c.path, ok = below(in(folderOf(0), name(1)))
		case "mkdir":
			c.kind = "mkdir"
			c.path, ok = below(in(dir, name(0)))
		case "mkdirat":
			c.kind = "mkdir"
			c.path, ok = below(in(folderOf(0), name(1)))
		default:
			t.Fatalf("%s is recorded", m[1])
		}
		if ok {
			calls = append(calls, c)
		}
	}
	return calls
}

// A disk is what files hold, by path; nil: a folder.
type disk map[string]*file

type file struct {
	folder  bool
	content []byte
	later   []call // writes and sizes since it was last synchronised
	end     int64  // of the last write
}

func readDisk(t *testing.T, dir string) disk {
	t.Helper()
	d := disk{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." || strings.HasPrefix(rel, "tmp") {
			return err
		}
		if e.IsDir() {
			d[rel] = &file{folder: true}
			return nil
		}
		content, err := os.ReadFile(path)
		d[rel] = &file{content: content}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d disk) write(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if err := os.RemoveAll(filepath.Join(dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for path, f := range d {
		full := filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(full), 0o700)
		if err == nil && f.folder {
			err = os.MkdirAll(full, 0o700)
		} else if err == nil {
			err = os.WriteFile(full, f.content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// A naming is a change to a folder: f stands at path, or nothing where it is nil, or
// what stands at from moves there.
type naming struct {
	path, from string
	f          *file
	durable    bool
}

// cut is what the disk may hold after those calls and a power cut.
func (d disk) cut(calls []call, syncs bool, r *rand.Rand) disk {
	start := disk{}
	for path, f := range d {
		start[path] = &file{folder: f.folder, content: f.content}
	}
	now := disk{}
	for path, f := range start {
		now[path] = f
	}
	var names []naming
	note := func(n naming) {
		names = append(names, n)
		n.apply(now)
	}
	for _, c := range calls {
		f := now[c.path]
		switch c.kind {
		case "open":
			if f == nil && c.create {
				f = &file{}
				note(naming{path: c.path, f: f})
			} else if f != nil && c.truncate {
				f.later = append(f.later, call{kind: "size", at: 0})
			}
			if f != nil {
				f.end = 0
			}
		case "mkdir":
			note(naming{path: c.path, f: &file{folder: true}})
		case "remove":
			note(naming{path: c.path})
		case "move":
			note(naming{path: c.to, from: c.path, f: f})
		case "link":
			note(naming{path: c.to, f: f})
		case "write", "size":
			if f == nil {
				continue // of a file that has no name any more
			}
			if c.kind == "write" {
				if c.at < 0 {
					c.at = f.end
				}
				f.end = c.at + int64(len(c.data))
			}
			f.later = append(f.later, c)
		case "sync":
			if !syncs || f == nil && c.path != "." {
				continue
			}
			if f != nil && !f.folder {
				for _, c := range f.later {
					f.apply(c)
				}
				f.later = nil
				continue
			}
			for i := range names {
				if n := &names[i]; filepath.Dir(n.path) == c.path || n.from != "" && filepath.Dir(n.from) == c.path {
					n.durable = true
				}
			}
		}
	}
	lucky := r.IntN(len(names) + 1)
	for i, n := range names {
		if n.durable || i < lucky {
			n.apply(start)
		}
	}
	share := []float64{0, 0.5, 1}[r.IntN(3)]
	for _, f := range start {
		for _, c := range f.later {
			if r.Float64() >= share {
				continue
			}
			if len(c.data) > 512 && r.IntN(4) == 0 {
				c.data = c.data[:512*r.IntN(len(c.data)/512+1)]
			}
			f.apply(c)
		}
	}
	return start
}

// apply does it to d; what is in a folder moves with it. Without its folder nothing has
// a name.
func (n naming) apply(d disk) {
	if parent := filepath.Dir(n.path); parent != "." && d[parent] == nil {
		return
	}
	if n.from != "" {
		if d[n.from] == nil {
			return
		}
		for path, f := range d {
			if strings.HasPrefix(path, n.from+"/") {
				d[n.path+strings.TrimPrefix(path, n.from)] = f
				delete(d, path)
			}
		}
		d[n.path] = d[n.from]
		delete(d, n.from)
		return
	}
	if n.f == nil {
		delete(d, n.path)
		return
	}
	d[n.path] = n.f
}

func (f *file) apply(c call) {
	content := bytes.Clone(f.content)
	if c.kind == "size" {
		for int64(len(content)) < c.at {
			content = append(content, 0)
		}
		f.content = content[:c.at]
		return
	}
	for int64(len(content)) < c.at+int64(len(c.data)) {
		content = append(content, 0)
	}
	copy(content[c.at:], c.data)
	f.content = content
}
