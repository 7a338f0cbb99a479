package wasm

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"

	"github.com/cabincrew/action/internal/limits"
)

// file is an open regular file or directory.
type file struct {
	sys.UnimplementedFile

	m      *mount
	f      *os.File
	name   string // below the mount when it was opened
	dir    bool
	write  bool
	app    bool // each write goes to the end
	loaded bool
	names  []sys.Dirent
	next   int
}

// OpenFile implements sys.FS. Only regular files and directories open: a FIFO
// could block, a device could act.
func (m *mount) OpenFile(p string, flag sys.Oflag, _ fs.FileMode) (sys.File, sys.Errno) {
	write := flag&(sys.O_RDWR|sys.O_WRONLY) != 0
	name, slash, errno := m.begin(p, write || flag&(sys.O_CREAT|sys.O_TRUNC) != 0)
	if errno != 0 {
		return nil, errno
	}
	if m.files.open >= limits.WasmOpenFiles {
		return nil, sys.EIO // WASI's "too many open files" has no name here
	}
	isDir, errno := m.look(name, slash, flag)
	if errno != 0 {
		return nil, errno
	}
	// Appending and truncating are done by hand below, after a second look.
	how := os.O_RDONLY | nonblock
	switch {
	case flag&sys.O_RDWR != 0:
		how |= os.O_RDWR
	case flag&sys.O_WRONLY != 0:
		how |= os.O_WRONLY
	}
	if flag&sys.O_CREAT != 0 {
		how |= os.O_CREATE
		if flag&sys.O_EXCL != 0 {
			how |= os.O_EXCL
		}
	}
	f, err := m.root.OpenFile(name, how, filePerm)
	if err != nil {
		return nil, code(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !(info.IsDir() && isDir) {
		err = os.ErrPermission
	}
	if err == nil && flag&sys.O_TRUNC != 0 && !isDir {
		err = f.Truncate(0)
	}
	if err != nil {
		_ = f.Close() // the reason is told already
		return nil, code(err)
	}
	m.files.open++
	return &file{m: m, f: f, name: name, dir: isDir, write: write, app: flag&sys.O_APPEND != 0}, 0
}

// look decides by what is there whether it may be opened that way.
func (m *mount) look(name string, slash bool, flag sys.Oflag) (isDir bool, errno sys.Errno) {
	stat := m.root.Stat
	exclusive := flag&sys.O_CREAT != 0 && flag&sys.O_EXCL != 0
	if flag&sys.O_NOFOLLOW != 0 && !slash || exclusive {
		stat = m.root.Lstat
	}
	info, err := stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag&sys.O_CREAT != 0 && !slash:
		return false, 0
	case err != nil:
		return false, code(err)
	case exclusive:
		return false, sys.EEXIST
	case info.Mode().Type() == fs.ModeSymlink:
		return false, sys.ELOOP
	case info.IsDir():
		if flag&(sys.O_RDWR|sys.O_WRONLY|sys.O_CREAT|sys.O_TRUNC) != 0 {
			return false, sys.EISDIR
		}
		return true, 0
	case slash || flag&sys.O_DIRECTORY != 0:
		return false, sys.ENOTDIR
	case !info.Mode().IsRegular():
		return false, sys.EPERM
	}
	return false, 0
}

// ready tells why nothing can be read or written, if so.
func (f *file) ready(write bool) sys.Errno {
	switch {
	case f.m.files.ctx.Err() != nil:
		return sys.EIO
	case f.dir:
		return sys.EISDIR
	case write && !f.write:
		return sys.EBADF
	}
	return 0
}

func (f *file) Dev() (uint64, sys.Errno) { return 1, 0 }

func (f *file) Ino() (wsys.Inode, sys.Errno) {
	st, errno := f.Stat()
	return st.Ino, errno
}

func (f *file) IsDir() (bool, sys.Errno) { return f.dir, 0 }

func (f *file) IsAppend() bool { return f.app }

func (f *file) SetAppend(enable bool) sys.Errno {
	if f.dir {
		return sys.EISDIR
	}
	f.app = enable
	return 0
}

func (f *file) Stat() (wsys.Stat_t, sys.Errno) {
	info, err := f.f.Stat()
	if err != nil {
		return wsys.Stat_t{}, code(err)
	}
	return f.m.files.stat(info), 0
}

func (f *file) Read(buf []byte) (int, sys.Errno) {
	if errno := f.ready(false); errno != 0 || len(buf) == 0 {
		return 0, errno
	}
	n, err := f.f.Read(buf)
	return n, end(err)
}

func (f *file) Pread(buf []byte, off int64) (int, sys.Errno) {
	if errno := f.ready(false); errno != 0 {
		return 0, errno
	}
	if off < 0 {
		return 0, sys.EINVAL
	}
	n, err := f.f.ReadAt(buf, off)
	return n, end(err)
}

// end gives an error but for the end of a file, which is none.
func end(err error) sys.Errno {
	if errors.Is(err, io.EOF) {
		return 0
	}
	return code(err)
}

// position is int64 by another name, since go vet wants a Seek(int64, int) to be
// that of io.Seeker; this is that of sys.File.
type position = int64

func (f *file) Seek(offset position, whence int) (position, sys.Errno) {
	if f.dir {
		if offset != 0 || whence != io.SeekStart {
			return 0, sys.EINVAL
		}
		f.forget()
		_, err := f.f.Seek(0, io.SeekStart)
		return 0, code(err)
	}
	if whence < io.SeekStart || whence > io.SeekEnd {
		return 0, sys.EINVAL
	}
	n, err := f.f.Seek(offset, whence)
	return n, code(err)
}

func (f *file) Write(buf []byte) (int, sys.Errno) {
	if errno := f.ready(true); errno != 0 {
		return 0, errno
	}
	whence := io.SeekCurrent
	if f.app {
		whence = io.SeekEnd
	}
	at, err := f.f.Seek(0, whence)
	if err != nil {
		return 0, code(err)
	}
	if at > limits.WasmFile-int64(len(buf)) {
		return 0, sys.EIO
	}
	n, err := f.f.Write(buf)
	return n, code(err)
}

func (f *file) Pwrite(buf []byte, off int64) (int, sys.Errno) {
	switch errno := f.ready(true); {
	case errno != 0:
		return 0, errno
	case off < 0:
		return 0, sys.EINVAL
	case off > limits.WasmFile-int64(len(buf)):
		return 0, sys.EIO
	}
	n, err := f.f.WriteAt(buf, off)
	return n, code(err)
}

func (f *file) Truncate(size int64) sys.Errno {
	switch errno := f.ready(true); {
	case errno != 0:
		return errno
	case size < 0:
		return sys.EINVAL
	case size > limits.WasmFile:
		return sys.EIO
	}
	return code(f.f.Truncate(size))
}

func (f *file) Sync() sys.Errno {
	if !f.m.writable {
		return 0
	}
	return code(f.f.Sync())
}

func (f *file) Datasync() sys.Errno { return f.Sync() }

// Utimens sets times by name, if the name is still this file's: the standard
// library has no call for open files.
func (f *file) Utimens(atim, mtim int64) sys.Errno {
	if !f.m.writable {
		return sys.EROFS
	}
	open, err := f.f.Stat()
	if err != nil {
		return code(err)
	}
	named, err := f.m.root.Stat(f.name)
	if err != nil || !os.SameFile(open, named) {
		return sys.EIO
	}
	return f.m.Utimens(f.name, atim, mtim)
}

// Readdir gives the next n entries, all for n <= 0, in order of names.
func (f *file) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	if !f.dir {
		return nil, sys.ENOTDIR
	}
	if errno := f.load(); errno != 0 {
		return nil, errno
	}
	rest := f.names[f.next:]
	if n > 0 && n < len(rest) {
		rest = rest[:n]
	}
	f.next += len(rest)
	return slices.Clone(rest), 0
}

// load reads the directory: what comes first is known only when all is there.
func (f *file) load() sys.Errno {
	if f.loaded {
		return 0
	}
	for {
		if f.m.files.ctx.Err() != nil {
			return sys.EIO
		}
		entries, err := f.f.ReadDir(1024)
		if f.m.files.names+len(entries) > limits.WasmDirNames {
			f.forget()
			return sys.EIO
		}
		f.m.files.names += len(entries)
		for _, e := range entries {
			f.names = append(f.names, sys.Dirent{Name: e.Name(), Type: e.Type()})
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return code(err)
		}
		if err != nil {
			break
		}
	}
	slices.SortFunc(f.names, func(a, b sys.Dirent) int { return strings.Compare(a.Name, b.Name) })
	f.loaded = true
	return 0
}

func (f *file) forget() {
	f.m.files.names -= len(f.names)
	f.names, f.next, f.loaded = nil, 0, false
}

func (f *file) Close() sys.Errno {
	if f.f == nil {
		return 0
	}
	f.forget()
	f.m.files.open--
	err := f.f.Close()
	f.f = nil
	return code(err)
}
