//go:build linux && !seeded

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// asNaive makes the test binary read the rows of a batch from the file it is given,
// as a program would that opens its data for each step: the control of TestOffsets.
const asNaive = "PRIVSGLD_TEST_AS_NAIVE_READER"

func init() {
	asOther = func() {
		if os.Getenv(asNaive) != "" {
			os.Exit(naiveReader(os.Args[1]))
		}
	}
}

func naiveReader(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 1
	}
	defer f.Close()
	row := make([]byte, 4)
	for at := range int64(500) {
		if rand.Float64() < 0.3 { // the batch is secret, and so is its seed
			if _, err := f.ReadAt(row, 7+4*at); err != nil {
				return 1
			}
		}
	}
	return 0
}

// reading is a call that reads a file: which, from where and how much it asked for.
var reading = regexp.MustCompile(`^\d+ +(read|pread64|readv|preadv2?|lseek|mmap|sendfile|splice|copy_file_range|io_uring_enter)\((.*)$`)

// readsOf lists the calls of a trace that touch the file of that name, in order, without
// addresses of memory and without what was read.
func readsOf(t *testing.T, log, name string) (calls []string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		thread, _, _ := strings.Cut(line, " ")
		if begun, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			held[thread] = begun
			continue
		}
		if _, rest, ok := strings.Cut(line, " resumed>"); ok {
			line = held[thread] + rest
		}
		m := reading.FindStringSubmatch(line)
		if m == nil || !strings.Contains(m[2], "/"+name+">") {
			continue
		}
		// What was read stands in quotes, and addresses begin with 0x.
		args := quoted.ReplaceAllString(m[2], `""`)
		// A call that was shown in two parts has other blanks before its result.
		args = strings.Join(strings.Fields(args), " ")
		calls = append(calls, m[1]+" "+address.ReplaceAllString(args, "ADDRESS"))
	}
	return calls
}

var (
	quoted  = regexp.MustCompile(`"(\\.|[^"\\])*"(\.\.\.)?`)
	address = regexp.MustCompile(`0x[0-9a-f]+`)
)

// TestOffsets is threat S6: which bytes of the data file are read, and in which order,
// is the same for any two seeds at q < 1: every run reads all of it, once for its
// structure and once for its rows, before it draws a batch. A program that reads the
// rows of a batch from the file is caught. What a run reads of its memory is not seen
// here: the README says who might.
func TestOffsets(t *testing.T) {
	if testing.Short() {
		t.Skip("one process after another: left out in short mode")
	}
	strace := needStrace(t, "S6")
	var rows strings.Builder
	rows.WriteString("x,buys\n")
	for i := range 60_000 {
		fmt.Fprintf(&rows, "%d.%d,%s\n", i%10, i%97, []string{"no", "yes"}[i%2])
	}
	b := newBench(t, crashPolicy, rows.String())
	if err := os.WriteFile(filepath.Join(b.dir, "data.parquet"), parquetTable(t), 0o600); err != nil {
		t.Fatal(err)
	}
	trace := func(name string, cmd *exec.Cmd) []string {
		log := filepath.Join(t.TempDir(), "strace")
		traced := exec.Command(strace, append([]string{"-f", "-qq", "-y", "-o", log,
			"-e", "trace=read,pread64,readv,preadv,preadv2,lseek,mmap,sendfile,splice,copy_file_range,io_uring_enter", "--", cmd.Path}, cmd.Args[1:]...)...)
		traced.Dir, traced.Env = cmd.Dir, cmd.Env
		if text, err := traced.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		calls := readsOf(t, log, name)
		if len(calls) < 4 {
			t.Fatalf("%s: only %d calls read it", name, len(calls))
		}
		return calls
	}
	for _, name := range []string{"data.csv", "data.parquet"} {
		var first []string
		for seed := range offsetRuns {
			calls := trace(name, b.command("run", "--quiet", "--policy", "p.yaml", "--data", name, "--epsilon", "0.5", "--sampling-rate", "0.3",
				"--steps", "50", "--draws", "10", "--out", fmt.Sprint(name, seed)))
			switch {
			case seed == 0:
				first = calls
			case !slices.Equal(calls, first):
				t.Errorf("%s: run %d reads otherwise than the first:\n%s\n%s", name, seed, strings.Join(calls, "\n"), strings.Join(first, "\n"))
			}
		}
		t.Logf("%s: %d calls in each of %d runs", name, len(first), offsetRuns)
	}
	naive := func() []string {
		cmd := b.command("data.csv")
		cmd.Env = append(cmd.Env, asNaive+"=1")
		return trace("data.csv", cmd)
	}
	if slices.Equal(naive(), naive()) {
		t.Error("a program that reads batches from the file is not caught")
	}
}
