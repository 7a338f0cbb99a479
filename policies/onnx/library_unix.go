//go:build unix

package onnx

import (
	"io/fs"
	"os"
	"syscall"
)

// writable says why others could change a file, or the entries of a directory;
// empty: they could not.
func writable(info fs.FileInfo, dir bool) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "has no known owner"
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return "belongs to another user"
	}
	perm := info.Mode()
	if perm.Perm()&0o022 == 0 || dir && perm&fs.ModeSticky != 0 {
		return ""
	}
	return "can be written by others (mode " + perm.Perm().String() + ")"
}
