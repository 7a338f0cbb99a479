//go:build unix

package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"

	"github.com/cabincrew/action/internal/limits"
)

// secret is what lies beside the directories and must never be read.
const secret = "secret of the host"

// trapped makes a flight whose workspace is full of ways out.
func trapped(t *testing.T) (f *flight, outside string) {
	t.Helper()
	f = newFlight(t)
	outside = filepath.Join(filepath.Dir(f.work), "outside")
	f.write(outside+"/secret", secret)
	f.write(f.work+"/real/file", "inside")
	for link, to := range map[string]string{
		"absolute": outside + "/secret", "relative": "../outside/secret", "host": "/etc/hostname", "up": "../..", "parent": "../outside",
		"real/deep": "../../outside/secret", "good": "real/file", "gooddir": "real", "loop": "loop", "dangling": "absent", "danglingout": "../outside/new",
		"indirect": "parent/secret",
	} {
		if err := os.Symlink(to, filepath.Join(f.work, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(syscall.Mkfifo(f.work+"/fifo", 0o666), syscall.Mkfifo(f.tmp+"/fifo", 0o666)); err != nil {
		t.Fatal(err)
	}
	return f, outside
}

func TestNoWayOutByReading(t *testing.T) {
	t.Parallel()
	f, _ := trapped(t)
	f.answers([][2]string{
		{"read /workspace/real/file", "inside"},
		{"read /workspace/good", "inside"},
		{"read real/file", "inside"},
		{"read /workspace/gooddir/file", "inside"},
		{"read /workspace/./real//../real/file", "inside"},
		{"read /workspace/absolute", "Operation not permitted"},
		{"read /workspace/relative", "Operation not permitted"},
		{"read /workspace/host", "Operation not permitted"},
		{"read /workspace/up/outside/secret", "Operation not permitted"},
		{"read /workspace/parent/secret", "Operation not permitted"},
		{"read /workspace/indirect", "Operation not permitted"},
		{"read /workspace/real/deep", "Operation not permitted"},
		{"stat /workspace/host", "Operation not permitted"},
		{"stat /workspace/parent/secret", "Operation not permitted"},
		{"lstat /workspace/parent/secret", "Operation not permitted"},
		{"lstat /workspace/host", "L---------"},
		{"readlink /workspace/host", "/etc/hostname"},
		{"readlink /workspace/parent/secret", "Operation not permitted"},
		{"readlink /workspace/real/file", "Invalid argument"},
		{"ls /workspace/parent", "Operation not permitted"},
		{"ls /workspace/up", "Operation not permitted"},
		{"ls /workspace/real/file", "Not a directory"},
		{"read /workspace/loop", "Too many symbolic links"},
		{"read /workspace/dangling", "No such file or directory"},
		{"read /workspace/fifo", "Operation not permitted"},
		{"read /tmp/fifo", "Operation not permitted"},
		{"append /tmp/fifo x", "Operation not permitted"},
		{"read /workspace/real", "Is a directory"},
		{"read /workspace/real/file/", "Not a directory"},
		{"stat /workspace/real/file/", "Not a directory"},
		{"lstat /workspace/good/", "Not a directory"},
		{"lstat /workspace/gooddir/", "d---------"},
		{"stat /workspace/real", "d--------- 0"},
		{"same /workspace/good /workspace/real/file", "true"},
		{"same /workspace/real /workspace/real/file", "false"},
		{"ls /workspace/real", "deep file true"},
	})
	// Outside the three directories there is nothing at all.
	for _, name := range []string{"/etc/hostname", "/workspace/../etc/hostname", "../../etc/hostname", "/proc/self/environ", "/"} {
		if got := f.script("read " + name)[0]; !slices.Contains([]string{"Bad file number", "No such file or directory", "Operation not permitted", "Capabilities insufficient"}, got) {
			t.Errorf("read %s: %q", name, got)
		}
	}
}

func TestNoWayOutByWriting(t *testing.T) {
	t.Parallel()
	f, outside := trapped(t)
	f.takeOff()
	f.answers([][2]string{
		{"write /workspace/absolute x", "Operation not permitted"},
		{"write /workspace/relative x", "Operation not permitted"},
		{"write /workspace/parent/new x", "Operation not permitted"},
		{"write /workspace/danglingout x", "Operation not permitted"},
		{"append /workspace/real/deep x", "Operation not permitted"},
		{"mkdir /workspace/parent/dir", "File exists"},
		{"unlink /workspace/parent/secret", "Operation not permitted"},
		{"rmdir /workspace/parent", "Not a directory"},
		{"rename /workspace/parent/secret /workspace/got", "Operation not permitted"},
		{"rename /workspace/real/file /workspace/parent/got", "Operation not permitted"},
		{"truncate /workspace/absolute 0", "Operation not permitted"},
		{"chtimes /workspace/absolute", "Operation not permitted"},
		{"link /workspace/real/file /workspace/hard", "Operation not permitted"},
		{"link /workspace/absolute /workspace/hard", "Operation not permitted"},
		{"symlink /etc/passwd /workspace/l", "Operation not permitted"},
		{"symlink ../x /workspace/l", "Operation not permitted"},
		{"symlink ../../x /workspace/real/l", "Operation not permitted"},
		{"symlink a/../../x /workspace/l", "Operation not permitted"},
		{"symlink ../x /workspace/gooddir/l", "Operation not permitted"},
		{"symlink x /workspace/parent/l", "Operation not permitted"},
		{"symlink ../good /workspace/real/l", "ok"},
		{"rename /workspace/real/l /workspace/l", "Operation not permitted"},
		{"symlink real /workspace/l", "ok"},
		{"read /workspace/l/l", "inside"},
		{"rename /workspace/l /workspace/real/m", "ok"},
		{"symlink self /workspace/self", "ok"},
		{"write /workspace/self x", "Too many symbolic links"},
	})
	names, err := os.ReadDir(outside)
	text, _ := os.ReadFile(outside + "/secret")
	if err != nil || len(names) != 1 || string(text) != secret {
		t.Errorf("outside: %v, %q, %v", names, text, err)
	}
}

func TestModesDecideWhatIsWritable(t *testing.T) {
	t.Parallel()
	const readOnly = "Read-only file system"
	mutations := func(dir string) []string {
		return []string{
			"write " + dir + "/new x", "write " + dir + "/file x", "append " + dir + "/file x", "mkdir " + dir + "/d",
			"rename " + dir + "/file " + dir + "/g", "unlink " + dir + "/g", "symlink file " + dir + "/l", "link " + dir + "/file " + dir + "/h", "truncate " + dir + "/file 0",
			"chtimes " + dir + "/file", "rmdir " + dir + "/empty", "removeall " + dir + "/empty",
		}
	}
	for _, mode := range []string{"flight-plan", "take-off"} {
		f := newFlight(t)
		f.mode = mode
		fixed, free := f.work, f.artifacts
		guestFixed, guestFree := "/workspace", "/artifacts"
		if mode == "take-off" {
			fixed, free, guestFixed, guestFree = free, fixed, guestFree, guestFixed
		}
		for _, d := range []string{fixed, free, f.tmp} {
			f.write(d+"/file", "text")
			if err := os.Mkdir(d+"/empty", 0o755); err != nil {
				t.Fatal(err)
			}
		}
		before := listing(t, fixed)
		for i, got := range f.script(mutations(guestFixed)...) {
			if got != readOnly {
				t.Errorf("%s: %s: %q", mode, mutations(guestFixed)[i], got)
			}
		}
		if after := listing(t, fixed); after != before {
			t.Errorf("%s: %s became %s", mode, before, after)
		}
		if got := f.script("read "+guestFixed+"/file", "sync "+guestFixed+"/file"); !slices.Equal(got, []string{"text", "ok"}) {
			t.Errorf("%s: reading: %q", mode, got)
		}
		for _, dir := range []string{guestFree, "/tmp"} {
			for i, got := range f.script(mutations(dir)...) {
				switch op := mutations(dir)[i]; {
				case strings.HasPrefix(op, "link"), strings.HasPrefix(op, "truncate"), strings.HasPrefix(op, "chtimes"): // refused, or the file is gone by now
					if got == "ok" || got == readOnly {
						t.Errorf("%s: %s: %q", mode, op, got)
					}
				case got != "ok":
					t.Errorf("%s: %s: %q", mode, op, got)
				}
			}
		}
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err == nil {
			fmt.Fprintf(&b, "%s %s %d %d\n", filepath.Base(p), info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWhatProgramsDoWithFiles(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	for i := range 300 { // more than one buffer of fd_readdir
		f.write(fmt.Sprintf("%s/many/%03d-%s", f.work, (i*7)%300, strings.Repeat("n", 50)), "")
	}
	f.write(f.work+"/b", "")
	got := f.script(
		"mkdir /tmp/a/b/c", "write /tmp/a/f one", "append /tmp/a/f two", "read /tmp/a/f", "truncate /tmp/a/f 2", "read /tmp/a/f",
		"truncate /tmp/a/f -1", "truncate /tmp/a/f 99999999999999", "chtimes /tmp/a/f", "rename /tmp/a/f /tmp/a/g", "read /tmp/a/f",
		"rename /tmp/a/b /tmp/a/d", "ls /tmp/a", "rmdir /tmp/a", "rmdir /tmp/a/g", "unlink /tmp/a/d", "unlink /tmp/a/g/", "rmdir /tmp/a/d/c", "removeall /tmp/a", "stat /tmp/a",
		"write /tmp/e one", "write /tmp/e/f one", "rename /tmp/e /workspace/e", "manyopen /workspace/b", "write /tmp/after it")
	want := []string{
		"ok", "ok", "ok", "onetwo", "ok", "on",
		"Invalid argument", "I/O error", "ok", "ok", "No such file or directory",
		"ok", "d g true", "Directory not empty", "Not a directory", "Is a directory", "Not a directory", "ok", "ok", "No such file or directory",
		"ok", "Not a directory", "Not implemented on wasip1", "I/O error", "I/O error",
	}
	if len(got) != len(want) {
		t.Fatalf("%d answers: %q", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("operation %d: %q, want %q", i, got[i], want[i])
		}
	}
	if names := strings.Fields(f.script("ls /workspace/many")[0]); len(names) != 301 || names[300] != "true" || !strings.HasPrefix(names[299], "299-") {
		t.Errorf("%d names: %q", len(names), names)
	}
}

// open gives a mount, without a module.
func openMount(tb testing.TB, dir string, writable bool) *mount {
	tb.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { drop(root.Close()) })
	return &mount{root: root, writable: writable, files: newFiles(tb.Context())}
}

func TestPathsThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := openMount(t, dir, true)
	for p, want := range map[string]sys.Errno{
		"..": sys.EPERM, "a/../b": sys.EPERM, "/..": sys.EPERM, "a\x00b": sys.EINVAL, "\xff": sys.EINVAL,
		strings.Repeat("a", limits.WasmPath+1): sys.ENAMETOOLONG, strings.Repeat("a", 300): sys.ENAMETOOLONG, "absent": sys.ENOENT, "absent/": sys.ENOENT,
		"": 0, ".": 0, "/": 0, "/.": 0,
	} {
		if _, got := m.Stat(p); got != want {
			t.Errorf("stat %.20q: %v, want %v", p, got, want)
		}
	}
	for p, want := range map[string]sys.Errno{"..": sys.EPERM, ".": sys.EINVAL, "": sys.EINVAL} {
		if got := m.Rmdir(p); got != want {
			t.Errorf("rmdir %q: %v, want %v", p, got, want)
		}
	}
	if got := m.Chmod("absent", 0o777); got != sys.ENOENT {
		t.Errorf("chmod: %v", got)
	}
	if _, got := m.OpenFile("new/", sys.O_CREAT|sys.O_RDWR, 0); got != sys.ENOENT {
		t.Errorf("creating a directory by open: %v", got)
	}
	m.writable = false
	if got := m.Chmod(".", 0o777); got != sys.EROFS {
		t.Errorf("chmod: %v", got)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestDevicesDoNotOpen(t *testing.T) {
	t.Parallel()
	m := openMount(t, "/dev", true)
	for _, flag := range []sys.Oflag{sys.O_RDONLY, sys.O_RDWR, sys.O_WRONLY | sys.O_TRUNC, sys.O_RDONLY | sys.O_NOFOLLOW} {
		if _, errno := m.OpenFile("null", flag, 0); errno != sys.EPERM {
			t.Errorf("flags %d: %v", flag, errno)
		}
	}
	if _, errno := m.OpenFile("null", sys.O_RDWR|sys.O_CREAT|sys.O_EXCL, 0); errno != sys.EEXIST {
		t.Errorf("exclusive: %v", errno)
	}
}

// A directory becomes a link out, and back, while it is used.
func TestRenameRace(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir, outside := filepath.Join(base, "in"), filepath.Join(base, "outside")
	for _, d := range []string{dir + "/d", outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(dir+"/d/f", []byte("inside"), 0o644), os.WriteFile(outside+"/f", []byte(secret), 0o644),
		os.Symlink("../outside", dir+"/l")); err != nil {
		t.Fatal(err)
	}
	m := openMount(t, dir, true)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = errors.Join(os.Rename(dir+"/d", dir+"/x"), os.Rename(dir+"/l", dir+"/d"), os.Rename(dir+"/d", dir+"/l"), os.Rename(dir+"/x", dir+"/d"))
		}
	})
	reads := 0
	for range 3000 {
		if f, errno := m.OpenFile("d/f", sys.O_RDONLY, 0); errno == 0 {
			buf := make([]byte, 64)
			n, _ := f.Read(buf)
			drop(f.Close())
			if reads++; string(buf[:n]) != "inside" {
				t.Errorf("read %q", buf[:n])
			}
		}
		if f, errno := m.OpenFile("d/new", sys.O_RDWR|sys.O_CREAT, 0); errno == 0 {
			drop(f.Close())
		}
		drop(m.Unlink("d/new"))
		drop(m.Symlink("f", "d/s"))
		drop(m.Unlink("d/s"))
		drop(m.Rename("d/f", "d/f"))
	}
	cancel()
	wg.Wait()
	names, err := os.ReadDir(outside)
	if err != nil || len(names) != 1 {
		t.Errorf("outside: %v %v", names, err)
	}
	t.Logf("%d reads of 3000 found the file", reads)
}

func TestStoppedModuleCannotGoOnWithFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := openMount(t, dir, true)
	ctx, cancel := context.WithCancel(t.Context())
	m.files.ctx = ctx
	f, errno := m.OpenFile("f", sys.O_RDWR|sys.O_CREAT, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	cancel()
	if _, errno := f.Write([]byte("x")); errno != sys.EIO {
		t.Errorf("write: %v", errno)
	}
	if errno := m.Unlink("f"); errno != sys.EIO {
		t.Errorf("unlink: %v", errno)
	}
	if errno := f.Close(); errno != 0 || m.files.open != 0 {
		t.Errorf("close: %v, %d open", errno, m.files.open)
	}
}
