//go:build seeded

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/privacy/gate"
)

// A shown is all that a released folder holds, and what the program printed, with what
// names a run, its time and its ledger masked by words of one kind.
type shown struct {
	names []string
	bytes map[string][]byte
}

// differs names what is not the same to the byte.
func (s shown) differs(other shown) string {
	if !slices.Equal(s.names, other.names) {
		return fmt.Sprintf("%q and %q", s.names, other.names)
	}
	for _, name := range s.names {
		if !bytes.Equal(s.bytes[name], other.bytes[name]) {
			return name
		}
	}
	return ""
}

// wrongStamps names the files of a folder, itself included, whose time is not the one
// given, to the nanosecond.
func wrongStamps(t *testing.T, dir string, want time.Time) (wrong []string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.ModTime().Equal(want) {
			wrong = append(wrong, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return wrong
}

// rehearsed runs the program on a table in a folder of its own.
func rehearsed(t *testing.T, policy, table string, args ...string) shown {
	t.Helper()
	b := newBench(t, policy, table)
	cmd := b.command(append([]string{"run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "20", "--draws", "10", "--out", "out"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	s := shown{bytes: map[string][]byte{"stdout": stdout.Bytes(), "stderr": stderr.Bytes()}}
	list, err := os.ReadDir(filepath.Join(b.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		content, err := os.ReadFile(filepath.Join(b.dir, "out", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		s.bytes[f.Name()] = content
	}
	var report struct {
		RunID  string `json:"run_id"`
		Time   time.Time
		Ledger struct{ ID, Checkpoint string }
	}
	const name = gate.RehearsalPrefix + "report.json"
	if err := json.Unmarshal(s.bytes[name], &report); err != nil || report.RunID == "" || report.Time.IsZero() || report.Ledger.Checkpoint == "" {
		t.Fatalf("%v: %s", err, s.bytes[name])
	}
	if wrong := wrongStamps(t, filepath.Join(b.dir, "out"), report.Time); len(wrong) > 0 {
		t.Errorf("not of the reservation's time: %q", wrong)
	}
	text, err := json.Marshal(report.Ledger.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	mask := strings.NewReplacer(report.RunID, "RUN", report.Time.UTC().Format(time.RFC3339), "TIME", report.Ledger.ID, "LEDGER", string(text), `"CHECKPOINT"`)
	for name, content := range s.bytes {
		s.names = append(s.names, name)
		s.bytes[name] = []byte(mask.Replace(string(content)))
	}
	slices.Sort(s.names)

	// The controls of the two checks.
	touched := filepath.Join(b.dir, "out", name)
	if err := os.Chtimes(touched, time.Time{}, report.Time.Add(time.Microsecond)); err != nil {
		t.Fatal(err)
	}
	if wrong := wrongStamps(t, filepath.Join(b.dir, "out"), report.Time); !slices.Equal(wrong, []string{name}) {
		t.Errorf("a file that is a microsecond younger is not seen: %q", wrong)
	}
	return s
}

// TestRehearsalWithSumsWithheld is threat S3 to the byte: with the noisy sums forced
// equal and a fixed seed, runs on a thousand rows and on a million release the same
// bytes and say the same, and every file is of the reservation's time. So the table shows
// in the noisy sums alone; where they are not withheld, a thousand rows more do.
func TestRehearsalWithSumsWithheld(t *testing.T) {
	table := func(rows int) string {
		var b strings.Builder
		b.WriteString("x,buys\n")
		for i := range rows {
			fmt.Fprintf(&b, "%d.%d,%s\n", i%11, i%7, []string{"no", "yes"}[i%3%2])
		}
		return b.String()
	}
	few, other, many := table(1000), table(2000), table(1_000_000)
	pairs := 0
	for name, c := range map[string]struct {
		rows string
		args []string
	}{
		"full batch": {"50", nil},
		"sampled":    {"50", []string{"--sampling-rate", "0.01"}},
		"bought":     {"100000", []string{"--metric", "bought", "--format", "csv"}},
	} {
		policy := strings.Replace(crashPolicy, "rows: 4", "rows: "+c.rows, 1)
		for seed := range pairedRuns {
			args := append(slices.Clone(c.args), "--seed", fmt.Sprint(seed))
			blind := append(slices.Clone(args), "--blind")
			first := rehearsed(t, policy, few, blind...)
			if what := first.differs(rehearsed(t, policy, many, blind...)); what != "" {
				t.Errorf("%s, seed %d: %s differs", name, seed, what)
			}
			pairs++
			if seed > 0 {
				continue
			}
			if what := rehearsed(t, policy, few, args...).differs(rehearsed(t, policy, other, args...)); what == "" {
				t.Errorf("%s: noisy sums of other rows show nowhere: the test sees nothing", name)
			}
		}
	}
	t.Logf("%d pairs", pairs)
}
