package check

import (
	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
)

// sharedMemory gives a directory in memory that can take these files, or "".
func sharedMemory(files []workspace.File) string {
	const at = "/dev/shm"
	var size int64
	for _, f := range files {
		size += f.Size
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil || st.Type != unix.TMPFS_MAGIC || st.Flags&unix.ST_NOEXEC != 0 || size > limits.CheckShared {
		return ""
	}
	return at
}
