package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// root is a new root file system while it is built.
type root struct {
	at    string // where it is mounted
	limit int64
	bound []string // targets that are bound, to leave out what they hold already
}

// source is a host path, opened before anything is mounted over it.
type source struct {
	Bind
	fd   int
	link string // what it points to, if it is a symbolic link
	dir  bool
}

// changeRoot builds the minimal root of tier A and moves into it. Everything of
// the host that is not bound is gone then.
func changeRoot(c *Confine) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	binds, view, err := openSources(c)
	if err != nil {
		return err
	}
	r := &root{at: "/tmp", limit: c.Limits.withDefaults().TempBytes}
	if info, err := os.Stat(r.at); err != nil || !info.IsDir() {
		r.at = "/var"
	}
	if err := r.tmpfs("", "0755"); err != nil {
		return err
	}
	for _, b := range binds {
		if err := r.bind(b); err != nil {
			return err
		}
	}
	if err := r.furniture(); err != nil {
		return err
	}
	if c.View != nil {
		if err := r.view(c.View, view); err != nil {
			return fmt.Errorf("composing %s: %w", c.View.Target, err)
		}
	}
	for _, p := range c.Covers {
		if err := r.cover(p); err != nil {
			return fmt.Errorf("covering %s: %w", p, err)
		}
	}
	return r.enter()
}

// cover hides what is at a path, if anything is.
func (r *root) cover(target string) error {
	info, err := os.Lstat(r.at + target)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return unix.Mount("tmpfs", r.at+target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_RDONLY, "mode=0555,size=4096")
	case info.Mode()&os.ModeSymlink != 0:
		return nil // it leads to what is covered by its own name, or is not there at all
	}
	return unix.Mount(r.at+"/dev/null", r.at+target, "", unix.MS_BIND, "")
}

// openSources opens what is to be bound, parents before what lies below them.
func openSources(c *Confine) (binds, view []source, err error) {
	list := slices.Clone(c.Binds)
	slices.SortStableFunc(list, func(a, b Bind) int { return cmp.Compare(strings.Count(a.Target, "/"), strings.Count(b.Target, "/")) })
	for _, b := range list {
		s, err := open(b, true)
		if errors.Is(err, unix.ENOENT) && !b.Write {
			continue // system paths differ between machines
		}
		if err != nil {
			return nil, nil, err
		}
		binds = append(binds, s)
	}
	if c.View == nil {
		return binds, nil, nil
	}
	dirs := slices.Clone(c.View.Lower)
	if c.View.Upper != "" {
		dirs = append(dirs, c.View.Upper)
	}
	for _, dir := range dirs {
		s, err := open(Bind{Source: dir}, false)
		if err != nil {
			return nil, nil, err
		}
		view = append(view, s)
	}
	return binds, view, nil
}

func open(b Bind, links bool) (source, error) {
	s := source{Bind: b}
	flags := unix.O_PATH | unix.O_CLOEXEC
	if links {
		flags |= unix.O_NOFOLLOW
	}
	var err error
	if s.fd, err = unix.Open(b.Source, flags, 0); err != nil {
		return s, fmt.Errorf("opening %s: %w", b.Source, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return s, fmt.Errorf("looking at %s: %w", b.Source, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		s.link, err = os.Readlink(b.Source)
	case unix.S_IFDIR:
		s.dir = true
	}
	return s, err
}

func (r *root) tmpfs(target, mode string) error {
	data := "mode=" + mode + ",size=" + strconv.FormatInt(r.limit, 10) + ",nr_inodes=1000000"
	if err := unix.Mount("tmpfs", r.at+target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mounting a tmpfs at /%s: %w", target, err)
	}
	return nil
}

// place makes the mount point of a target.
func (r *root) place(target string, dir bool) (string, error) {
	at := r.at + target
	if dir {
		return at, os.MkdirAll(at, 0o755) //nolint:gosec // a root that everybody reads
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // as above
		return at, err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // as above
	if err != nil {
		return at, err
	}
	return at, f.Close()
}

func (r *root) bind(s source) error {
	for _, b := range r.bound {
		if s.Source == s.Target && strings.HasPrefix(s.Target, b+"/") {
			return nil // it is seen already, as part of what holds it
		}
	}
	if s.link != "" {
		if err := os.MkdirAll(filepath.Dir(r.at+s.Target), 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		if err := os.Symlink(s.link, r.at+s.Target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return nil
	}
	at, err := r.place(s.Target, s.dir)
	if err != nil {
		return fmt.Errorf("making %s: %w", s.Target, err)
	}
	if err := clone(s, at); err != nil {
		return fmt.Errorf("binding %s: %w", s.Target, err)
	}
	if s.Source == s.Target {
		r.bound = append(r.bound, s.Target)
	}
	return nil
}

// clone mounts a source at a path, without setuid and devices, read-only unless it
// may be written.
func clone(s source, at string) error {
	tree, err := unix.OpenTree(s.fd, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer func() { _ = unix.Close(tree) }() // the mount stays
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if strings.HasPrefix(s.Target, "/dev/") {
		attr.Attr_set = unix.MOUNT_ATTR_NOSUID
	}
	if !s.Write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// devices are those that every program may need, and none that tells anything.
func devices() []string { return []string{"null", "zero", "full", "random", "urandom"} }

// masked are files of /proc that tell of the machine or let it be changed.
func masked() []string {
	return []string{"/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/sysrq-trigger", "/proc/kmsg", "/proc/config.gz", "/proc/cmdline", "/proc/kallsyms", "/proc/kpageflags", "/proc/kpagecount"}
}

// furniture makes what a root needs beside what is bound.
func (r *root) furniture() error {
	for _, d := range devices() {
		s, err := open(Bind{Source: "/dev/" + d, Target: "/dev/" + d, Write: true}, true)
		if err != nil {
			return err
		}
		if err := r.bind(s); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, r.at+"/dev/"+name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.at+"/etc", 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	for name, content := range map[string]string{
		"passwd":        "engine:x:1000:1000::/tmp:/bin/sh\nroot:x:0:0::/nonexistent:/nonexistent\n",
		"group":         "engine:x:1000:\nroot:x:0:\n",
		"hosts":         "127.0.0.1 localhost\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
		"resolv.conf":   "",
	} {
		if err := os.WriteFile(r.at+"/etc/"+name, []byte(content), 0o644); err != nil && !errors.Is(err, unix.EROFS) { //nolint:gosec // as above
			return err
		}
	}
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		if _, err := os.Lstat(r.at + dir); err == nil {
			continue // bound by the caller
		}
		if err := os.MkdirAll(r.at+dir, 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		if err := r.tmpfs(dir, "0700"); err != nil {
			return err
		}
	}
	return r.proc()
}

func (r *root) proc() error {
	at := r.at + "/proc"
	if err := os.MkdirAll(at, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	if err := unix.Mount("proc", at, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// No user namespaces below this one; the filter refuses to make them as well. The
	// file is of this namespace: in the host's nobody here may write it.
	if data, err := os.ReadFile("/proc/self/uid_map"); err == nil && !strings.Contains(string(data), "4294967295") {
		if err := os.WriteFile(at+"/sys/user/max_user_namespaces", []byte("0"), 0o644); err != nil { //nolint:gosec // a setting, not a file
			return fmt.Errorf("forbidding user namespaces: %w", err)
		}
	}
	for _, p := range []string{"/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi"} {
		if _, err := os.Stat(r.at + p); err != nil {
			continue
		}
		if err := unix.Mount(r.at+p, r.at+p, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("masking %s: %w", p, err)
		}
		if err := unix.Mount("", r.at+p, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("masking %s: %w", p, err)
		}
	}
	for _, p := range masked() {
		if _, err := os.Stat(r.at + p); err != nil {
			continue
		}
		if err := unix.Mount(r.at+"/dev/null", r.at+p, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("masking %s: %w", p, err)
		}
	}
	return nil
}

// view composes directories by an overlay. A mask of whiteouts on top hides what
// the child shall not see.
func (r *root) view(v *View, dirs []source) error {
	const parts = "/.parts"
	if err := os.MkdirAll(r.at+parts, 0o700); err != nil {
		return err
	}
	if err := r.tmpfs(parts, "0700"); err != nil {
		return err
	}
	var layers []string
	if len(v.Hide) > 0 {
		mask := r.at + parts + "/mask"
		if err := makeMask(mask, v, dirs[:len(v.Lower)]); err != nil {
			return err
		}
		layers = append(layers, mask)
	}
	for i := range v.Lower {
		at := r.at + parts + "/" + strconv.Itoa(i)
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if err := clone(dirs[i], at); err != nil {
			return err
		}
		layers = append(layers, at)
	}
	if len(layers) == 1 { // an overlay without a top needs two
		empty := r.at + parts + "/empty"
		if err := os.Mkdir(empty, 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		layers = append(layers, empty)
	}
	lower := "lowerdir=" + strings.Join(layers, ":")
	if v.Upper == "" {
		return r.overlay(v.Target, lower, unix.MS_RDONLY, parts)
	}
	if err := r.overlay(v.Base, lower, unix.MS_RDONLY, ""); err != nil {
		return err
	}
	up := dirs[len(v.Lower)]
	up.Write = true
	at := r.at + parts + "/up"
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if err := clone(up, at); err != nil {
		return err
	}
	for _, d := range []string{"/u", "/w"} {
		if err := os.Mkdir(at+d, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // as a checkout's
			return err
		}
	}
	seen, err := r.place(v.Changes, true)
	if err != nil {
		return err
	}
	if err := r.overlay(v.Target, lower+",upperdir="+at+"/u,workdir="+at+"/w,userxattr", 0, ""); err != nil {
		return err
	}
	s, err := open(Bind{Source: at + "/u", Target: v.Changes}, true)
	if err != nil {
		return err
	}
	if err := clone(s, seen); err != nil {
		return err
	}
	return unix.Unmount(r.at+parts, unix.MNT_DETACH)
}

func (r *root) overlay(target, options string, flags uintptr, parts string) error {
	at, err := r.place(target, true)
	if err != nil {
		return err
	}
	if err := unix.Mount("overlay", at, "overlay", unix.MS_NOSUID|unix.MS_NODEV|flags, options); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if parts != "" {
		return unix.Unmount(r.at+parts, unix.MNT_DETACH)
	}
	return nil
}

// makeMask makes a directory of whiteouts. Its directories have the modes of those
// that they stand for, since the upper one's mode is what is seen.
func makeMask(mask string, v *View, lower []source) error {
	if err := os.Mkdir(mask, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	for _, name := range v.Hide {
		clean := path.Clean(name)
		if !filepath.IsLocal(clean) || clean == "." {
			return fmt.Errorf("%q cannot be hidden", name)
		}
		if err := maskParents(mask, path.Dir(clean), lower); err != nil {
			return err
		}
		if err := unix.Mknod(filepath.Join(mask, clean), unix.S_IFCHR, 0); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("hiding %q: %w", name, err)
		}
	}
	return nil
}

func maskParents(mask, dir string, lower []source) error {
	if dir == "." {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(mask, dir)); err == nil {
		return nil
	}
	if err := maskParents(mask, path.Dir(dir), lower); err != nil {
		return err
	}
	mode := os.FileMode(0o755)
	for _, s := range lower {
		var st unix.Stat_t
		if err := unix.Fstatat(s.fd, dir, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
			mode = os.FileMode(st.Mode & 0o777)
			break
		}
	}
	if err := os.Mkdir(filepath.Join(mask, dir), mode); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(mask, dir), mode)
}

// enter makes the new root the root and lets the old one go.
func (r *root) enter() error {
	old := r.at + "/.old"
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(r.at, old); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/.old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	if err := os.Remove("/.old"); err != nil {
		return err
	}
	if err := os.Remove("/.parts"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount("", "/", "", flags, ""); err != nil {
		return fmt.Errorf("making the root read-only: %w", err)
	}
	return nil
}
