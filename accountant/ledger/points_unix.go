//go:build unix

package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks a file against other processes until this one has closed it or is
// gone.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
