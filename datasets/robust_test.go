package datasets

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/parquet/compress"
)

// tryOpen opens a file and fails the test unless it ends, within a time, in a
// table or in *BadData with one of the closed list of texts. It says which.
func tryOpen(t *testing.T, path string, b *Binding, within time.Duration) (opened bool) {
	t.Helper()
	start := time.Now()
	table, err := open(t.Context(), path, b, Options{})
	took := time.Since(start)
	if testing.Verbose() && took > time.Second {
		t.Logf("%s: %v, %v", filepath.Base(path), took, err)
	}
	if took > within {
		t.Errorf("%s: took %v", filepath.Base(path), took)
	}
	if err != nil {
		if !errors.As(err, new(*BadData)) || !inClosedList(err.Error()) {
			t.Errorf("%s: error %q, want *BadData with a text of the list", filepath.Base(path), err)
		}
		return false
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	return true
}

// inClosedList says whether a text is one that names no more than BadData may.
func inClosedList(text string) bool {
	fixed := []string{
		textNoFile, textUnreadable, textNotRegular, textEmptyFolder, textTooManyFiles,
		textNoTable, textUnsupported, textQuotes, textMixed, textTooLarge, textDamaged,
	}
	return slices.Contains(fixed, text) || columnText.MatchString(text)
}

var columnText = regexp.MustCompile(`^column "[^"\n]*": the file (has no such column; [a-z ]+|has it more than once; [a-z ]+|` +
	`stores [a-z -]+, the policy says [a-z]+; [a-z:, ]+)$`)

// inParallel calls do for 0 … n−1 on a few goroutines.
func inParallel(n int, do func(int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wait.Wait()
}

// foreignFiles tries every step-th file that other programs or their fuzzers
// wrote, bound to whatever columns it has.
func foreignFiles(t *testing.T, step int) {
	var paths []string
	err := filepath.WalkDir(filepath.Join(testdataFolder(t), "foreign"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int64
	n := (len(paths) + step - 1) / step
	inParallel(n, func(i int) {
		path := paths[i*step]
		if tryOpen(t, path, bindingFor(t, path), 10*time.Second) {
			opened.Add(1)
		}
	})
	t.Logf("%d files: %d read, the rest bad data", n, opened.Load())
	// The folder has dozens of whole files: a test that reads none tests nothing.
	if int(opened.Load()) < n/20 {
		t.Errorf("read %d of %d files", opened.Load(), n)
	}
}

func TestForeignFilesSample(t *testing.T) { foreignFiles(t, 6) }

func TestMalformedFiles(t *testing.T) {
	b := mustBind(t, smallDataset())
	paths, err := filepath.Glob("../testdata/malformed/*")
	if err != nil || len(paths) < 10 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		if tryOpen(t, path, b, 10*time.Second) {
			t.Errorf("%s: read as a table", filepath.Base(path))
		}
	}
}

// F1: small tables with one to three bytes overwritten, in every format. The
// parent survives each; a third or so of them kill or panic the child.
func mutatedFiles(t *testing.T, perFormat int) {
	b := mustBind(t, smallDataset())
	r := smallTable(500)
	folder := t.TempDir()
	for name, whole := range map[string][]byte{
		"parquet":        parquetBytes(t, r, compress.Codecs.Snappy),
		"arrow file":     fileBytes(t, r),
		"arrow stream":   streamBytes(t, r, ipc.WithLZ4()),
		"arrow stream 2": streamBytes(t, r),
	} {
		var opened atomic.Int64
		inParallel(perFormat, func(i int) {
			random := rand.New(rand.NewPCG(uint64(i), 20))
			data := bytes.Clone(whole)
			for range 1 + random.IntN(3) {
				data[random.IntN(len(data))] = byte(random.Uint32())
			}
			path := filepath.Join(folder, name+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)))
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Error(err)
				return
			}
			if tryOpen(t, path, b, 20*time.Second) {
				opened.Add(1)
			}
			_ = os.Remove(path) // the folder goes anyway
		})
		t.Logf("%s: %d of %d read", name, opened.Load(), perFormat)
	}
}

func TestMutatedFiles(t *testing.T) {
	if testing.Short() {
		mutatedFiles(t, 8)
		return
	}
	mutatedFiles(t, 75)
}
