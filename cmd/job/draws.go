package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy/gate"
)

// A BadDraws error says that a folder or file holds no released draws, or other ones
// than its report says: exit code 5. Released draws are public, so it may name them.
type BadDraws struct {
	Message string
	Hint    string
}

func (e *BadDraws) Error() string { return e.Message }

// largestReport bounds the bytes of a report.
const largestReport = 64 << 20

// A releasedRun is what the report of a release says of its draws. Its signature is
// that of the ledger that it names itself: whether that is the right one is to be
// compared with a policy's pin, or a ledger at hand.
type releasedRun struct {
	RunID   string     `json:"run_id"`
	Kind    string     `json:"kind"`
	Status  string     `json:"status"`
	Policy  PolicyRef  `json:"policy"`
	Dataset DatasetRef `json:"dataset"`
	Sampler struct {
		Model                string   `json:"model"`
		Target               string   `json:"target"`
		Features             []string `json:"features"`
		Prior                string   `json:"prior"`
		NoiseSD              *float64 `json:"noise_sd"`
		EffectiveTemperature float64  `json:"effective_temperature"`
	} `json:"sampler"`
	Ledger LedgerRef `json:"ledger"`
	Files  []File    `json:"files"`
}

// readRun reads the report of a run's output folder, checks that it is as it was
// signed, and returns it with the file of the draws, open, whose content is what the
// report says. Errors: *UsageError where there is no such folder, *BadDraws.
func readRun(dir string) (*releasedRun, *os.File, error) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil, nil, &UsageError{Message: fmt.Sprintf("%s is no folder", dir), Hint: "give the output folder of a run"}
	}
	text, err := readSmall(filepath.Join(dir, "report.json"))
	if err != nil {
		return nil, nil, &BadDraws{Message: fmt.Sprintf("%s: its report.json %s", dir, why(err)), Hint: "give the output folder of a run, whole"}
	}
	var r releasedRun
	if json.Unmarshal(text, &r) != nil || r.Ledger.ID == "" {
		return nil, nil, &BadDraws{Message: fmt.Sprintf("%s: report.json is no report of a release", dir)}
	}
	if _, err := WitnessOf(text, r.Ledger.ID); err != nil {
		return nil, nil, &BadDraws{Message: fmt.Sprintf("%s: %v", dir, err), Hint: "take the folder again from where it was released"}
	}
	if r.Kind != "run" || r.Status != "released" || len(r.Files) != 1 || !isSamples(r.Files[0].Name) {
		return nil, nil, &BadDraws{Message: fmt.Sprintf("%s: the report is of no run that released draws", dir)}
	}
	want := r.Files[0]
	f, err := openFile(filepath.Join(dir, want.Name))
	if err != nil {
		return nil, nil, &BadDraws{Message: fmt.Sprintf("%s: %s %s", dir, want.Name, why(err)), Hint: "give the output folder of a run, whole"}
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, want.Bytes+1))
	if err != nil || n != want.Bytes || hex.EncodeToString(sum.Sum(nil)) != want.SHA256 {
		_ = f.Close() // opened for reading only
		return nil, nil, &BadDraws{Message: fmt.Sprintf("%s: %s is not the file that the report was signed with", dir, want.Name), Hint: "take the folder again from where it was released"}
	}
	return &r, f, nil
}

func isSamples(name string) bool {
	return name == "samples.parquet" || name == "samples.arrow" || name == "samples.csv"
}

// openFile opens an ordinary file.
func openFile(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return os.Open(path) //nolint:gosec // named by the user
}

var errNotRegular = errors.New("is no ordinary file")

func readSmall(path string) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, largestReport))
}

// why says in words what keeps a file from being read.
func why(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.Is(err, errNotRegular):
		return err.Error()
	}
	return "cannot be read"
}

// readDraws reads released draws: of a run's folder, checked against its report, or
// of a file alone, whose report is nil.
func readDraws(ctx context.Context, path string, memory int64) (*releasedRun, *datasets.Draws, error) {
	var report *releasedRun
	var f *os.File
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		report, f, err = readRun(path)
		if err != nil {
			return nil, nil, err
		}
	} else if f, err = openFile(path); err != nil {
		return nil, nil, &UsageError{Message: fmt.Sprintf("%s %s", path, why(err)), Hint: "give the output folder of a run, or a file of draws"}
	}
	defer f.Close()
	draws, err := datasets.ReadDraws(ctx, gate.StructurePermit(), f, datasets.Options{Memory: memory})
	var bad *datasets.BadData
	if errors.As(err, &bad) {
		// The texts speak of data; these are draws.
		return nil, nil, &BadDraws{Message: fmt.Sprintf("%s: %s", path, strings.TrimPrefix(strings.TrimPrefix(bad.Message, "draws: "), "data: "))}
	}
	if err != nil {
		return nil, nil, err
	}
	return report, draws, nil
}
