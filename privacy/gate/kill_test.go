package gate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
)

// A test process with GATE_TEST_CHILD in its environment is a child that
// releases one output after another below that folder until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("GATE_TEST_CHILD"); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir, os.Getenv("GATE_TEST_NAME")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const childFiles = 20

func child(dir, name string) error {
	l, err := ledger.Open(ctx, ledger.Options{StateDir: filepath.Join(dir, "state")})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		id := fmt.Sprint(name, "-", i)
		out, err := PrepareOutput(filepath.Join(dir, "out", id))
		if err != nil {
			return err
		}
		q := request(id)
		q.Event = accountant.Gaussian(accountant.AddRemove, 1e4, 1)
		p, err := Reserve(ctx, l, q)
		if err != nil {
			return err
		}
		err = p.Release(ctx, out, q.Event, func(dir string, s *ledger.Settlement) error {
			for f := range childFiles {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(f)), []byte(fmt.Sprintln(s.Entry)), 0o644); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// A process killed at a random moment leaves whole folders only, each with a
// settled charge.
func TestKilledReleases(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range 15 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "GATE_TEST_CHILD="+dir, fmt.Sprint("GATE_TEST_NAME=k", n))
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+rand.IntN(150)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if complaint.Len() > 0 {
			t.Fatal(complaint.String())
		}
	}
	l, err := ledger.Open(ctx, ledger.Options{StateDir: filepath.Join(dir, "state")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if v, err := l.Verify(ctx); err != nil || !v.OK {
		t.Errorf("verify: %+v, %v", v, err)
	}
	s, err := l.Status(ctx)
	if err != nil || len(s) != 1 {
		t.Fatal(s, err)
	}
	whole := int64(0)
	for _, id := range strings.Fields(names(t, filepath.Join(dir, "out"))) {
		if strings.HasPrefix(id, ".") {
			continue
		}
		whole++
		if got := len(strings.Fields(names(t, filepath.Join(dir, "out", id)))); got != childFiles {
			t.Errorf("%s holds %d files", id, got)
		}
	}
	if settled := s[0].Entries - s[0].Pending; whole == 0 || whole > settled {
		t.Errorf("%d folders, %d settled charges", whole, settled)
	}
}
