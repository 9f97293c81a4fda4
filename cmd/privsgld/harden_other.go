//go:build !unix

package main

// noCoreFiles does nothing where the system writes no core files.
func noCoreFiles() {}
