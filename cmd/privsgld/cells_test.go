package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOneRowSteersNothing is T11 from end to end: whatever one cell of a table
// holds, the run ends with exit code 0, the same words on standard error and the same
// files. Only the lines that say which coefficients have not mixed follow the draws.
func TestOneRowSteersNothing(t *testing.T) {
	b := newBench(t, strings.Replace(crashPolicy, "rows: 4", "rows: 50", 1), "")
	var table []string
	for i := range 50 {
		table = append(table, fmt.Sprintf("%d,%s", i%11, []string{"no", "yes"}[i%2]))
	}
	cells := []string{"NaN", "Inf", "-Inf", "1e308", "-1e308", "5e-324", "1e400", "\xff\xfe\xfd", strings.Repeat("9", 10<<20)}
	one := func(out string) (words string, names []string) {
		cmd := b.command("run", "--policy", "p.yaml", "--data", "data.csv", "--epsilon", "0.5", "--steps", "20", "--draws", "10", "--out", out)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v: %s", out, err, stderr.String())
		}
		for line := range strings.Lines(stderr.String()) {
			if !strings.HasPrefix(line, "warning: not mixed") && !strings.HasPrefix(line, "warning: few effective draws") {
				words += line
			}
		}
		list, err := os.ReadDir(filepath.Join(b.dir, out))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			names = append(names, f.Name())
		}
		return words, names
	}
	write := func(row int, line string) {
		lines := slices.Clone(table)
		lines[row] = line
		text := "x,buys\n" + strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(b.dir, "data.csv"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(0, table[0])
	words, names := one("plain")
	for row := range cellRows {
		for column := range 2 {
			for i, cell := range cells {
				line := strings.Split(table[row], ",")
				line[column] = cell
				write(row, strings.Join(line, ","))
				out := fmt.Sprintf("out-%d-%d-%d", row, column, i)
				if w, n := one(out); w != words || !slices.Equal(n, names) {
					t.Errorf("%s: standard error %q with files %v, for the plain table %q with %v", out, w, n, words, names)
				}
			}
		}
	}
}
