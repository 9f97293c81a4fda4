//go:build !seeded

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// markerRows is a number of rows that no other number here equals.
const markerRows = 41237

// traces finds what no byte outside the data may hold: a cell, or the number of rows as
// a word of its own. A number that is released looks like a cell of x by chance with
// probability 10⁻⁹, so that the test errs once in some thousand full counts.
var traces = regexp.MustCompile(`qZ7[xbn][0-9]{16}|[0-9]\.731974[0-9]{5}518|(^|[^0-9A-Za-z.+/])` + fmt.Sprint(markerRows) + `([^0-9A-Za-z.+/]|$)`)

// marked is a table in which every cell is one of a kind: x holds numbers and texts
// that are none, buys levels that are known or not, and note is no column of the policy.
func marked(rows int) (text string, table arrow.Table) {
	var csv strings.Builder
	csv.WriteString("x,buys,note\n")
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.BinaryTypes.String}, {Name: "buys", Type: arrow.BinaryTypes.String}, {Name: "note", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range rows {
		cells := []string{fmt.Sprintf("qZ7x%016d", i), fmt.Sprintf("qZ7b%016d", i), fmt.Sprintf("qZ7n%016d", i)}
		if i%2 == 0 {
			cells[0] = fmt.Sprintf("%d.731974%05d518", i%10, i)
		}
		if i%3 > 0 {
			cells[1] = []string{"no", "yes"}[i%2]
		}
		fmt.Fprintln(&csv, strings.Join(cells, ","))
		for j, c := range cells {
			b.Field(j).(*array.StringBuilder).Append(c)
		}
	}
	return csv.String(), array.NewTableFromRecords(schema, []arrow.Record{b.NewRecord()})
}

// TestNoCellIsSeen is threats F3 and F4: whatever is wrong with a file or happens to
// the process, no cell and no number of rows is to be found on standard output, on
// standard error or in any file that is left, core files and temporary ones included.
func TestNoCellIsSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("one process after another: left out in short mode")
	}
	if traces.FindString("row qZ7n0000000000000012: bad") == "" || traces.FindString("read 41237 rows") == "" || traces.FindString(`{"rows":41237}`) == "" || traces.FindString("x=3.73197400012518") == "" ||
		traces.FindString("141237, 0.41237, 41237.5, a41237f") != "" {
		t.Fatal("the test does not see what it looks for")
	}
	text, table := marked(markerRows)
	var parquet, arrows bytes.Buffer
	if err := pqarrow.WriteTable(table, &parquet, 5000, nil, pqarrow.DefaultWriterProps()); err != nil {
		t.Fatal(err)
	}
	w, err := ipc.NewFileWriter(&seeker{Buffer: &arrows}, ipc.WithSchema(table.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	reader := array.NewTableReader(table, 7000)
	for reader.Next() {
		if err := w.Write(reader.Record()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"csv": []byte(text), "parquet": parquet.Bytes(), "arrow": arrows.Bytes()}
	// x is a number in the policy, which no column of strings binds to; so these two
	// formats are read by a policy in which it is a category.
	category := strings.Replace(crashPolicy, "type: number, bounds: [0, 10]", "type: category, levels: [a, b]", 1)

	r := rand.New(rand.NewPCG(3, 5))
	kinds := []string{"csv", "parquet", "arrow"}
	codes := map[int]int{}
	for i := range markedFaults {
		kind := kinds[i%3]
		policy := category
		if kind == "csv" {
			policy = crashPolicy
		}
		policy = strings.Replace(policy, "rows: 4", "rows: 40000", 1)
		content := bytes.Clone(files[kind])
		fault := []string{"none", "cut", "bytes", "column", "quit", "abort", "term", "memory", "level"}[i/3%9]
		args := []string{"run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "300", "--draws", "10", "--out", "out", "--log-level", "info"}
		switch fault {
		case "cut":
			content = content[:r.IntN(len(content))]
		case "bytes":
			for range 1 + r.IntN(20) {
				content[r.IntN(len(content))] = byte(r.IntN(256))
			}
		case "column":
			policy = strings.Replace(policy, "name: x,", "name: z,", 1)
		case "memory":
			args = append(args, "--memory", "1MiB")
		case "level":
			args = append(args, "--features", "note")
		}
		b := newBench(t, policy, string(content))
		cmd := b.command(args...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if signal := map[string]syscall.Signal{"quit": syscall.SIGQUIT, "abort": syscall.SIGABRT, "term": syscall.SIGTERM}[fault]; signal != 0 {
			time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
			_ = cmd.Process.Signal(signal)
		}
		_ = cmd.Wait()
		codes[cmd.ProcessState.ExitCode()]++
		if where := traces.Find(out.Bytes()); where != nil {
			t.Errorf("%s, %s: %q is shown: %s", kind, fault, where, out.String())
		}
		for _, more := range [][]string{{"budget"}, {"ledger", "log"}, {"ledger", "verify"}, {"ledger", "export"}} {
			text, _ := b.command(more...).CombinedOutput()
			if where := traces.Find(text); where != nil {
				t.Errorf("%s, %s: %q is shown by %v", kind, fault, where, more)
			}
		}
		err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path == filepath.Join(b.dir, "data.csv") {
				return err
			}
			if strings.HasPrefix(path, b.tmp()) {
				t.Errorf("%s, %s: %s is left in the temporary folder", kind, fault, path)
			}
			text, err := os.ReadFile(path)
			if where := traces.Find(text); where != nil {
				t.Errorf("%s, %s: %q is in %s", kind, fault, where, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("exit codes: %v", codes)
	if codes[0] == 0 || codes[exitData] == 0 {
		t.Errorf("exit codes %v: some runs should succeed, and some find bad data", codes)
	}
}

// seeker is a buffer that only ever seeks to where it is.
type seeker struct{ *bytes.Buffer }

func (s *seeker) Seek(int64, int) (int64, error) { return int64(s.Len()), nil }
