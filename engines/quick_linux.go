package engines

import (
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// quick is a directory by its descriptor alone, to read thousands of small files with
// the fewest calls. It follows no link and waits for nothing. It never says why
// something is not as it should be: then ok is false, and the careful way is gone.
type quick struct{ fd int }

// enterQuick opens a directory right below another.
func enterQuick(top *os.File, name string) quick {
	if name == "." || name == ".." {
		return quick{-1}
	}
	fd, err := syscall.Openat(int(top.Fd()), name, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0) //nolint:gosec // a descriptor
	runtime.KeepAlive(top)
	if err != nil {
		fd = -1
	}
	return quick{fd}
}

func (q quick) close() {
	if q.fd >= 0 {
		_ = syscall.Close(q.fd) // only read
	}
}

// read reads a regular file of one name and at most so many bytes, which is the
// element name of this directory, into buf if that is large enough.
func (q quick) read(name string, most int64, buf []byte) (data []byte, mode fs.FileMode, ok bool) {
	if q.fd < 0 {
		return nil, 0, false
	}
	fd, err := syscall.Openat(q.fd, name, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, false
	}
	defer func() { _ = syscall.Close(fd) }() // only read
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Nlink > 1 || st.Size > most {
		return nil, 0, false
	}
	// One byte more is asked for, to see the end.
	if int64(cap(buf)) <= st.Size {
		buf = make([]byte, st.Size+1)
	}
	n, err := syscall.Read(fd, buf[:st.Size+1])
	if err != nil || int64(n) != st.Size {
		return nil, 0, false
	}
	return buf[:n], fs.FileMode(st.Mode & uint32(fs.ModePerm)), true
}

// names gives the names in the directory, at most so many. It can be asked once.
func (q quick) names(most int) (names []string, ok bool) {
	if q.fd < 0 {
		return nil, false
	}
	var buf [4 << 10]byte
	for len(names) < most {
		n, err := syscall.ReadDirent(q.fd, buf[:])
		if err != nil {
			return nil, false
		}
		if n == 0 {
			break
		}
		_, _, names = syscall.ParseDirent(buf[:n], most-len(names), names)
	}
	return names, true
}

// readDir is ReadDir of a directory of an os.Root, which asks the kernel about each name
// although the directory says already of what kind it is. Of the entries, only name and
// kind may be asked for: who opens one finds out whether it still is of that kind.
func readDir(dir *os.File, most int) ([]fs.DirEntry, error) {
	fd, err := syscall.Openat(int(dir.Fd()), ".", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0) //nolint:gosec // a descriptor
	runtime.KeepAlive(dir)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir.Name(), Err: err}
	}
	again := os.NewFile(uintptr(fd), dir.Name())
	defer func() { _ = again.Close() }() // only read
	return again.ReadDir(most)
}
