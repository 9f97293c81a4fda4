package datasets

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFiles bounds the part files of one table: each is an open descriptor.
const maxFiles = 1000

// openSources opens what a path means: a regular file; a folder's part files
// (all but names that begin with "." or "_") in the order of their names; or a
// glob's matches in theirs. FIFOs, devices and folders within are refused.
// Nothing is read. The caller closes the files.
func openSources(path string) ([]*os.File, error) {
	names, err := sourceNames(path)
	if err != nil {
		return nil, err
	}
	if len(names) > maxFiles {
		return nil, badData(textTooManyFiles)
	}
	files := make([]*os.File, 0, len(names))
	for _, name := range names {
		f, err := openRegular(name)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func sourceNames(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return []string{path}, nil
	case err == nil:
		entries, err := os.ReadDir(path) // sorted by name
		if err != nil {
			return nil, badData(textUnreadable)
		}
		var names []string
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "_") {
				names = append(names, filepath.Join(path, e.Name()))
			}
		}
		if len(names) == 0 {
			return nil, badData(textEmptyFolder)
		}
		return names, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, badData(textUnreadable)
	}
	names, err := filepath.Glob(path) // sorted
	if err != nil || len(names) == 0 {
		return nil, badData(textNoFile)
	}
	return names, nil
}

// openRegular opens a regular file. What it is is asked of the open descriptor,
// so that a name exchanged in between cannot bring in a device.
func openRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, openFlags, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, badData(textNoFile)
	case err != nil:
		return nil, badData(textUnreadable)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close() // nothing was written
		return nil, badData(textNotRegular)
	}
	return f, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // opened for reading only
	}
}
