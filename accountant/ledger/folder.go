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

// putFile writes an owner-only file, durably, in an owner-only folder; place gives it
// its name (os.Link never replaces a file, os.Rename does), which is durable as well
// when it returns. So a power cut leaves the whole file or none, or what was there.
func putFile(path string, data []byte, place func(from, to string) error) error {
	folder := filepath.Dir(path)
	if err := makeFolder(folder); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone where it was renamed
	_, err = f.Write(data)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = place(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncFolder(folder)
}

// notWritten is the error of what putFile could not write.
func notWritten(what string, err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err // of its folder
	}
	return fmt.Errorf("%w: %s cannot be written: %v", ErrUnavailable, what, reason(err))
}
