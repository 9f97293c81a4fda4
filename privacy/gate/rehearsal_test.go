//go:build seeded

package gate

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/privsgld/privsgld/accountant/ledger"
)

// A rehearsal charges as a run does, and writes nothing that is not marked.
func TestRehearsalMarksEveryFile(t *testing.T) {
	l := openLedger(t)
	for i, name := range []string{RehearsalPrefix + "report.json", "report.json"} {
		marked := i == 0
		r, err := Rehearse(ctx, l, request(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.OpenData(); err != nil {
			t.Fatal(err)
		}
		if err := r.Void(ctx); !errors.Is(err, ErrPermit) {
			t.Errorf("void after opening: %v", err)
		}
		dir := filepath.Join(t.TempDir(), "out")
		out, err := PrepareOutput(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = r.Write(ctx, out, event, func(dir string, _ *ledger.Settlement) error {
			return os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600)
		})
		if marked != (err == nil) || !marked && !errors.Is(err, ErrOutput) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(dir); marked != (err == nil) {
			t.Errorf("%s: output folder: %v", name, err)
		}
		_ = out.Close()
	}
}
