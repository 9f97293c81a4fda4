//go:build !linux

package datasets

import (
	"io"
	"os"
	"syscall"
)

// limitSelf sets no limit here: what bounds the child is Go's soft memory limit,
// the parent's deadline and the pipe between them.
func limitSelf(int64) error { return nil }

func childAttributes() *syscall.SysProcAttr { return nil }

func ownProgram() (string, error) { return os.Executable() }

// mapFile reads the file whole.
func mapFile(f *os.File) (data []byte, unmap func() error, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data = make([]byte, info.Size())
	_, err = io.ReadFull(io.NewSectionReader(f, 0, info.Size()), data)
	return data, func() error { return nil }, err
}

const openFlags = os.O_RDONLY

// namelessFile makes a file that never had a name; nil: the system has none.
func namelessFile(string) *os.File { return nil }
