package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// parquetTable is a table for crashPolicy without compression or checksums, the
// numbers behind a dictionary page.
func parquetTable(t *testing.T) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "buys", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range 200 {
		b.Field(0).(*array.Float64Builder).Append(float64(i%50) / 7)
		b.Field(1).(*array.StringBuilder).Append([]string{"no", "yes"}[i%2])
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Uncompressed)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b.NewRecord()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A Parquet file with a damaged page that the reader takes for other values: a run
// under a registered name notices and releases nothing; without one it goes through,
// which is the control.
func TestDamageIsNoticedByTheFingerprint(t *testing.T) {
	b := newBench(t, crashPolicy, "")
	whole := parquetTable(t)
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(b.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("whole.parquet", whole)
	changed := bytes.Clone(whole)
	// The mantissa of 8/7, in the dictionary page.
	at := bytes.Index(changed, []byte{0x92, 0x24, 0x49, 0x92, 0x24, 0x49, 0xf2, 0x3f})
	if at < 0 {
		t.Fatal("the dictionary does not hold 8/7 as it is written")
	}
	changed[at+5] ^= 0x10
	write("changed.parquet", changed)

	run := func(data, out string) (code int, words string) {
		cmd := b.command("run", "--quiet", "--policy", "p.yaml", "--data", data, "--epsilon", "0.5", "--steps", "20", "--draws", "10", "--out", out)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode(), stderr.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0, stderr.String()
	}
	if code, words := run("changed.parquet", "control"); code != 0 {
		t.Fatalf("the reader notices by itself: exit code %d, %s", code, words)
	}
	b.run("data", "register", "--policy", "p.yaml", "--data", "whole.parquet")
	if code, words := run("whole.parquet", "whole"); code != 0 || !b.complete("whole") {
		t.Errorf("the registered table: exit code %d, %s", code, words)
	}
	code, words := run("changed.parquet", "changed")
	if code != 4 || words != fmt.Sprintln(`privsgld: data set "crash": the rows are not those that are registered under this name; nothing is released, and the charge stands (check the table with "privsgld data register")`) {
		t.Errorf("the damaged table: exit code %d, %s", code, words)
	}
	if b.complete("changed") {
		t.Error("something was released of the damaged table")
	}
	if _, entries, pending := b.budget(); entries != 3 || pending != 1 {
		t.Errorf("%d reservations, %d pending", entries, pending)
	}
}

// Of processes that register one table under different names at once, exactly one
// succeeds, and the others are refused.
func TestOneNameForOneTable(t *testing.T) {
	b := newBench(t, crashPolicy, "x,buys\n1,no\n2,yes\n3,no\n4.5,yes\n")
	b.run("ledger", "init")
	const processes = 6
	for round := range 2 {
		// The second round's table is another one.
		table := fmt.Sprintf("x,buys\n%d,no\n9,yes\n3,no\n4.5,yes\n", round+5)
		if err := os.WriteFile(filepath.Join(b.dir, "data.csv"), []byte(table), 0o600); err != nil {
			t.Fatal(err)
		}
		var all []*exec.Cmd
		for i := range processes {
			name := fmt.Sprintf("p-%d-%d.yaml", round, i)
			policy := bytes.Replace([]byte(crashPolicy), []byte("name: crash\n"), fmt.Appendf(nil, "name: crash-%d-%d\n", round, i), 1)
			if err := os.WriteFile(filepath.Join(b.dir, name), policy, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := b.command("data", "register", "--policy", name, "--data", "data.csv")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			all = append(all, cmd)
		}
		codes := map[int]int{}
		for _, cmd := range all {
			cmd.Wait()
			codes[cmd.ProcessState.ExitCode()]++
		}
		if codes[0] != 1 || codes[4] != processes-1 {
			t.Errorf("round %d: exit codes and how often: %v", round, codes)
		}
	}
	b.run("ledger", "verify")
}

// A registration that is killed leaves the version before or the one after, whole,
// and the next one goes on from there.
func TestKilledRegistration(t *testing.T) {
	b := newBench(t, string(bytes.Replace([]byte(crashPolicy), []byte("  rows: 4\n"), []byte("  rows: 4\n  growth: replaced\n"), 1)), "")
	write := func(version int) {
		if err := os.WriteFile(filepath.Join(b.dir, "data.csv"), fmt.Appendf(nil, "x,buys\n%d,no\n2,yes\n", version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	register := []string{"data", "register", "--policy", "p.yaml", "--data", "data.csv"}
	b.run(register...)
	r := rand.New(rand.NewPCG(1, 1))
	for version := range 8 {
		write(version + 1)
		cmd := b.command(register...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		b.run("ledger", "verify")
		b.run(register...)
		b.run("run", "--quiet", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.1", "--steps", "20", "--draws", "10", "--out", fmt.Sprint("out", version))
	}
	if log := b.run("ledger", "log"); !bytes.Contains([]byte(log), []byte("replaced version 9")) || bytes.Contains([]byte(log), []byte("version 10")) {
		t.Errorf("not one version for each table:\n%s", log)
	}
}
