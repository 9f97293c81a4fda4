package ledger

import "syscall"

// networkFileSystem names the network file system that holds path, or is "".
// The numbers are those of statfs(2).
func networkFileSystem(path string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return ""
	}
	switch uint32(s.Type) {
	case 0x6969:
		return "NFS"
	case 0x517b, 0xfe534d42, 0xff534d42:
		return "SMB"
	case 0x5346414f, 0x6b414653:
		return "AFS"
	case 0x00c36400:
		return "Ceph"
	case 0x01021997:
		return "9P"
	case 0x73757245:
		return "Coda"
	}
	return ""
}
