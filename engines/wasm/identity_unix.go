//go:build unix

package wasm

import (
	"io/fs"
	"syscall"
)

// nonblock keeps open from waiting where a file became a FIFO after it was looked at.
const nonblock = syscall.O_NONBLOCK

func identify(info fs.FileInfo) (identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, false
	}
	return identity{uint64(st.Dev), uint64(st.Ino)}, true //nolint:gosec,unconvert,nolintlint // types differ between systems
}
