//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// ownStderr is standard error under a number of its own: the first one may be led
// elsewhere while a run is guarded, and then only the runtime writes there.
func ownStderr() *os.File {
	fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.Stderr
	}
	return os.NewFile(uintptr(fd), "/dev/stderr")
}

// guard is guardOutput, where the system has descriptors.
var guard = guardOutput

// guardOutput leads what is written to descriptor 2 to the mark of a run. The Go runtime
// writes there before it ends a program that it cannot go on with (out of memory, a
// panic of any goroutine, a signal that it takes for a fault), so that such an end
// leaves its mark, and a kill from outside does not. Nothing else writes to it:
// see ownStderr.
func guardOutput(mark *os.File) (stop func(), err error) {
	saved, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.Dup2(int(mark.Fd()), 2); err != nil {
		_ = unix.Close(saved)
		return nil, err
	}
	return func() {
		_ = unix.Dup2(saved, 2)
		_ = unix.Close(saved)
	}, nil
}
