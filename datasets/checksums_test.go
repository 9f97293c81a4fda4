package datasets

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tables of testdata are those that its README describes.
func TestChecksumsOfTestdata(t *testing.T) {
	f, err := os.Open("../testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	listed := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok || len(sum) != 64 {
			continue
		}
		data, err := os.ReadFile(filepath.Join("../testdata", name))
		if err != nil {
			t.Error(err)
		} else if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
			t.Errorf("%s: sha256 %s, the README says %s", name, got, sum)
		}
		listed++
	}
	for _, pattern := range []string{"*.parquet", "tables/*", "posteriors/*"} {
		names, err := filepath.Glob("../testdata/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		listed -= len(names)
	}
	if listed != 0 {
		t.Errorf("the README lists %+d files too many", listed)
	}
}
