//go:build !linux

package ledger

// networkFileSystem knows no network file system here.
func networkFileSystem(string) string { return "" }
