package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// makeFolder makes a folder, owner-only, with those above it that are missing, and
// makes their names durable: a file is no more durable than the names of its folders.
func makeFolder(folder string) error {
	var missing []string
	for p := folder; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) || p == filepath.Dir(p) {
			break
		}
		missing = append(missing, p)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("%w: the folder %s cannot be made: %v", ErrUnavailable, folder, reason(err))
	}
	for _, p := range missing {
		if err := syncFolder(filepath.Dir(p)); err != nil {
			return err
		}
	}
	return nil
}
