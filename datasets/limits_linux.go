package datasets

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSelf limits this process before its first byte of data. RLIMIT_DATA and
// not RLIMIT_AS: Go's runtime maps far more than it uses.
func limitSelf(memory int64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return err
	}
	// A lower limit that was set from outside stays: it may not be raised.
	limit.Max = min(limit.Max, uint64(memory))
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

// childAttributes makes the child die with its parent, and spares it the
// terminal's interrupt, which is the parent's to handle.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// ownProgram is this very binary, even if its file has been replaced since.
func ownProgram() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

// mapFile maps a file read-only, out of core dumps. The file has no name any
// more and no other holder, so nobody can truncate it under the map.
func mapFile(f *os.File) (data []byte, unmap func() error, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	_ = unix.Madvise(data, unix.MADV_DONTDUMP) // a kernel without it has RLIMIT_CORE still
	return data, func() error { return unix.Munmap(data) }, nil
}

// namelessFile makes a file that never had a name, so that not even a kill
// leaves one behind; nil where the file system has none.
func namelessFile(dir string) *os.File {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "encoded")
}

// openFlags keep opening a FIFO from waiting for its writer.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK
