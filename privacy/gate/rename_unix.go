//go:build unix

package gate

import (
	"os"

	"golang.org/x/sys/unix"
)

// renameFolder renames a folder within an open parent. An empty folder at the
// new name is replaced, in the same step; anything else there is an error.
// (os.Root.Rename refuses every folder.)
func renameFolder(parent *os.File, from, to string) error {
	fd := int(parent.Fd())
	return unix.Renameat(fd, from, fd, to)
}
