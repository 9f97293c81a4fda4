//go:build unix

package main

import "golang.org/x/sys/unix"

// noCoreFiles forbids core files, which would hold rows.
func noCoreFiles() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
