package wasm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"

	"github.com/cabincrew/action/internal/limits"
)

// Permissions of what a module makes: WASI has none.
const (
	filePerm = 0o644
	dirPerm  = 0o755
)

// files is what the mounts of one module share. Only the module's own thread uses it.
type files struct {
	ctx    context.Context // ends long host calls, which the runtime cannot stop
	open   int
	names  int // held for open directories
	inodes map[identity]uint64
}

// identity is what a file is known by on the host.
type identity struct{ dev, ino uint64 }

func newFiles(ctx context.Context) *files {
	return &files{ctx: ctx, inodes: map[identity]uint64{}}
}

// mount is a directory of the host as the module sees it: a sys.FS in which every
// path is resolved by the os.Root, so that nothing outside it can be named.
type mount struct {
	sys.UnimplementedFS

	root     *os.Root
	writable bool
	files    *files
}

// target reads a path of the module's. Whoever calls gives it relative to the
// mount, but perhaps with a leading slash; slash tells of a trailing one.
func target(p string) (name string, slash bool, errno sys.Errno) {
	if len(p) > limits.WasmPath {
		return "", false, sys.ENAMETOOLONG
	}
	if !utf8.ValidString(p) || strings.ContainsRune(p, 0) {
		return "", false, sys.EINVAL
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "", false, sys.EPERM // resolved before it comes here, or hostile
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+p), "/")
	if name == "" {
		name = "."
	}
	return name, strings.HasSuffix(p, "/") && name != ".", 0
}

// code gives an error as the module sees it. What os.Root refuses is EPERM.
func code(err error) sys.Errno {
	var number syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &number):
		return sys.UnwrapOSError(number)
	case errors.Is(err, fs.ErrNotExist):
		return sys.ENOENT
	case errors.Is(err, fs.ErrExist):
		return sys.EEXIST
	case errors.Is(err, fs.ErrClosed):
		return sys.EBADF
	case errors.Is(err, fs.ErrInvalid):
		return sys.EINVAL
	}
	return sys.EPERM
}

// begin reads a path for an operation that changes something, or not.
func (m *mount) begin(p string, changes bool) (name string, slash bool, errno sys.Errno) {
	if m.files.ctx.Err() != nil {
		return "", false, sys.EIO
	}
	name, slash, errno = target(p)
	if errno == 0 && changes && !m.writable {
		errno = sys.EROFS
	}
	return name, slash, errno
}

// stat gives a file's attributes without what differs between two machines.
func (f *files) stat(info fs.FileInfo) wsys.Stat_t {
	st := wsys.Stat_t{Dev: 1, Mode: info.Mode(), Nlink: 1, Size: info.Size(), Atim: Epoch, Mtim: Epoch, Ctim: Epoch}
	if info.IsDir() {
		st.Size = 0
	}
	if id, ok := identify(info); ok {
		if f.inodes[id] == 0 {
			f.inodes[id] = uint64(len(f.inodes) + 1)
		}
		st.Ino = f.inodes[id]
	}
	return st
}

// Lstat implements sys.FS.
func (m *mount) Lstat(p string) (wsys.Stat_t, sys.Errno) {
	name, slash, errno := m.begin(p, false)
	if errno != 0 {
		return wsys.Stat_t{}, errno
	}
	if slash {
		return m.Stat(p)
	}
	info, err := m.root.Lstat(name)
	if err != nil {
		return wsys.Stat_t{}, code(err)
	}
	return m.files.stat(info), 0
}

// Stat implements sys.FS.
func (m *mount) Stat(p string) (wsys.Stat_t, sys.Errno) {
	name, slash, errno := m.begin(p, false)
	if errno != 0 {
		return wsys.Stat_t{}, errno
	}
	info, err := m.root.Stat(name)
	switch {
	case err != nil:
		return wsys.Stat_t{}, code(err)
	case slash && !info.IsDir():
		return wsys.Stat_t{}, sys.ENOTDIR
	}
	return m.files.stat(info), 0
}

// Mkdir implements sys.FS.
func (m *mount) Mkdir(p string, _ fs.FileMode) sys.Errno {
	name, _, errno := m.begin(p, true)
	if errno != 0 {
		return errno
	}
	return code(m.root.Mkdir(name, dirPerm))
}

// Chmod implements sys.FS. WASI preview 1 has no call for it.
func (m *mount) Chmod(p string, perm fs.FileMode) sys.Errno {
	name, _, errno := m.begin(p, true)
	if errno != 0 {
		return errno
	}
	return code(m.root.Chmod(name, perm&0o777))
}

// Rename implements sys.FS.
func (m *mount) Rename(from, to string) sys.Errno {
	old, oldSlash, errno := m.begin(from, true)
	if errno != 0 {
		return errno
	}
	name, slash, errno := m.begin(to, true)
	if errno != 0 {
		return errno
	}
	info, err := m.root.Lstat(old)
	switch {
	case err != nil:
		return code(err)
	case (oldSlash || slash) && !info.IsDir():
		return sys.ENOTDIR
	case info.Mode().Type() == fs.ModeSymlink:
		to, err := m.root.Readlink(old)
		if err != nil {
			return code(err)
		}
		if errno := m.inside(to, name); errno != 0 {
			return errno
		}
	}
	return code(m.root.Rename(old, name))
}

// Rmdir implements sys.FS.
func (m *mount) Rmdir(p string) sys.Errno {
	name, _, errno := m.begin(p, true)
	if errno != 0 {
		return errno
	}
	if name == "." {
		return sys.EINVAL
	}
	info, err := m.root.Lstat(name)
	switch {
	case err != nil:
		return code(err)
	case !info.IsDir():
		return sys.ENOTDIR
	}
	return code(m.root.Remove(name))
}

// Unlink implements sys.FS.
func (m *mount) Unlink(p string) sys.Errno {
	name, slash, errno := m.begin(p, true)
	if errno != 0 {
		return errno
	}
	info, err := m.root.Lstat(name)
	switch {
	case err != nil:
		return code(err)
	case info.IsDir():
		return sys.EISDIR
	case slash:
		return sys.ENOTDIR
	}
	return code(m.root.Remove(name))
}

// Link implements sys.FS: hard links are refused.
func (m *mount) Link(from, to string) sys.Errno {
	if _, _, errno := m.begin(from, true); errno != 0 {
		return errno
	}
	if _, _, errno := m.begin(to, true); errno != 0 {
		return errno
	}
	return sys.EPERM
}

// Symlink implements sys.FS.
func (m *mount) Symlink(to, link string) sys.Errno {
	name, slash, errno := m.begin(link, true)
	if errno != 0 {
		return errno
	}
	if slash {
		return sys.ENOENT
	}
	if errno := m.inside(to, name); errno != 0 {
		return errno
	}
	// The runtime gives a view of the module's memory.
	return code(m.root.Symlink(strings.Clone(to), name))
}

// inside refuses a link of that name with a target that others, who follow links
// as the system does, would leave the directory by: absolute, with .. after a
// name, or with more .. than the link is deep. Directories above it must be real,
// else its depth is not what its name says.
func (m *mount) inside(to, name string) sys.Errno {
	if to == "" || len(to) > limits.WasmPath || !utf8.ValidString(to) || strings.ContainsAny(to, "\x00\\") {
		return sys.EINVAL
	}
	if path.IsAbs(to) {
		return sys.EPERM
	}
	depth := strings.Count(name, "/")
	down := false
	for part := range strings.SplitSeq(to, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = true
		case down || depth == 0:
			return sys.EPERM
		default:
			depth--
		}
	}
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		info, err := m.root.Lstat(parent)
		if err != nil {
			return code(err)
		}
		if !info.IsDir() {
			return sys.EPERM
		}
	}
	return 0
}

// Readlink implements sys.FS.
func (m *mount) Readlink(p string) (string, sys.Errno) {
	name, _, errno := m.begin(p, false)
	if errno != 0 {
		return "", errno
	}
	info, err := m.root.Lstat(name)
	switch {
	case err != nil:
		return "", code(err)
	case info.Mode().Type() != fs.ModeSymlink:
		return "", sys.EINVAL
	}
	to, err := m.root.Readlink(name)
	return to, code(err)
}

// Utimens implements sys.FS. The times count for others; the module sees Epoch.
func (m *mount) Utimens(p string, atim, mtim int64) sys.Errno {
	name, slash, errno := m.begin(p, true)
	if errno != 0 {
		return errno
	}
	info, err := m.root.Stat(name)
	switch {
	case err != nil:
		return code(err)
	case slash && !info.IsDir():
		return sys.ENOTDIR
	}
	return code(m.root.Chtimes(name, timeOf(atim), timeOf(mtim)))
}

// timeOf gives the zero time, which changes nothing, for UTIME_OMIT.
func timeOf(ns int64) time.Time {
	if ns == sys.UTIME_OMIT {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
