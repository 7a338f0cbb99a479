package inside

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// root is a new root file system while it is built.
type root struct {
	limit int64
	bound []Bind // what is bound at its own place, to leave out what that holds already
}

// source is a host path, taken hold of before the host's root is left.
type source struct {
	Bind
	fd   int
	tree int    // a mount of it that is nowhere yet, -1 for a link
	link string // what it points to, if it is a symbolic link
	dir  bool
}

// changeRoot builds the minimal root of tier A and moves into it. The host's root
// is left before anything is put into the new one: what is bound may hold symbolic
// links that somebody chose, and from then on these lead nowhere else.
func changeRoot(c *Confine) error {
	if !inOwnPids() {
		return errors.New("this process is not in namespaces of its own")
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	binds, view, err := openSources(c)
	if err != nil {
		return err
	}
	r := &root{limit: c.Limits.withDefaults().TempBytes}
	if err := r.enter(c.View != nil); err != nil {
		return err
	}
	if err := r.scratch(c.Binds); err != nil {
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
	return seal(c.View != nil)
}

// cover hides what is at a path, if anything is.
func (r *root) cover(target string) error {
	info, err := os.Lstat(target)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_RDONLY, "mode=0555,size=4096")
	case info.Mode()&os.ModeSymlink != 0:
		return nil // it leads to what is covered by its own name, or is not there at all
	}
	return unix.Mount("/dev/null", target, "", unix.MS_BIND, "")
}

// openSources opens what is to be bound, parents before what lies below them.
func openSources(c *Confine) (binds, view []source, err error) {
	list := slices.Clone(c.Binds)
	slices.SortStableFunc(list, func(a, b Bind) int { return cmp.Compare(strings.Count(a.Target, "/"), strings.Count(b.Target, "/")) })
	for _, d := range devices() {
		list = append(list, Bind{Source: "/dev/" + d, Target: "/dev/" + d, Write: true})
	}
	for _, b := range list {
		s, err := open(b, true)
		if errors.Is(err, unix.ENOENT) && !b.Write && !b.Fixed {
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
	s := source{Bind: b, tree: -1}
	flags := unix.O_PATH | unix.O_CLOEXEC
	if links {
		flags |= unix.O_NOFOLLOW
	}
	// What is fixed lies where others may write, who must not lead it elsewhere.
	how := unix.OpenHow{Flags: uint64(flags)}
	if b.Fixed {
		how.Resolve = unix.RESOLVE_NO_SYMLINKS
	}
	var err error
	if s.fd, err = unix.Openat2(unix.AT_FDCWD, b.Source, &how); err != nil {
		return s, fmt.Errorf("opening %s: %w", b.Source, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return s, fmt.Errorf("looking at %s: %w", b.Source, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if b.Fixed {
			return s, fmt.Errorf("%s is a link, which cannot be held where it is", b.Source)
		}
		s.link, err = readLink(s.fd)
		return s, err
	case unix.S_IFDIR:
		s.dir = true
	}
	s.tree, err = unix.OpenTree(s.fd, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return s, fmt.Errorf("open_tree of %s: %w", b.Source, err)
	}
	return s, nil
}

// readLink reads the link that is open itself.
func readLink(fd int) (string, error) {
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", to)
	if err != nil {
		return "", fmt.Errorf("reading a link: %w", err)
	}
	return string(to[:n]), nil
}

func (r *root) tmpfs(target, mode string) error {
	data := "mode=" + mode + ",size=" + strconv.FormatInt(r.limit, 10) + ",nr_inodes=1000000"
	if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mounting a tmpfs at %s: %w", target, err)
	}
	return nil
}

// place makes the mount point of a target, unless something is there.
func place(target string, dir bool) error {
	if dir {
		return os.MkdirAll(target, 0o755) //nolint:gosec // a root that everybody reads
	}
	if err := os.MkdirAll(path.Dir(target), 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	if _, err := os.Lstat(target); err == nil {
		return nil // to open it could block, or change its times
	}
	return writeNew(target, nil)
}

// writeNew makes a file where nothing is. It follows no link in the last place.
func writeNew(at string, content []byte) error {
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // as above
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

func (r *root) bind(s source) error {
	defer s.close()
	if s.Source == s.Target && !s.Fixed {
		for _, b := range slices.Backward(r.bound) {
			if strings.HasPrefix(s.Target, b.Target+"/") {
				if b.Write == s.Write {
					return nil // it is seen already, as part of what holds it
				}
				break
			}
		}
	}
	if s.link != "" {
		if err := os.MkdirAll(path.Dir(s.Target), 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		if err := os.Symlink(s.link, s.Target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return nil
	}
	if err := place(s.Target, s.dir); err != nil {
		return fmt.Errorf("making %s: %w", s.Target, err)
	}
	if err := s.attach(s.Target); err != nil {
		return fmt.Errorf("binding %s: %w", s.Target, err)
	}
	if s.Source == s.Target {
		r.bound = append(r.bound, s.Bind)
	}
	return nil
}

func (s source) close() {
	_ = unix.Close(s.fd) // only a handle
	if s.tree >= 0 {
		_ = unix.Close(s.tree) // the mount stays where it was put
	}
}

// attach mounts a source at a path, without setuid and devices, read-only unless
// it may be written.
func (s source) attach(at string) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if strings.HasPrefix(s.Target, "/dev/") {
		attr.Attr_set = unix.MOUNT_ATTR_NOSUID
	}
	if !s.Write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(s.tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	if err := unix.MoveMount(s.tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
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

// scratch makes the places that every program may write, before anything is bound
// below them.
func (r *root) scratch(binds []Bind) error {
	for _, dir := range scratchDirs(binds) {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a root that everybody reads
			return err
		}
		if err := r.tmpfs(dir, "0700"); err != nil {
			return err
		}
	}
	return nil
}

// furniture makes what a root needs beside what is bound.
func (r *root) furniture() error {
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	if err := etc(); err != nil {
		return err
	}
	return maskProc()
}

// etc makes files that many programs want to read, where nothing has their names.
func etc() error {
	switch info, err := os.Lstat("/etc"); {
	case err == nil && !info.IsDir():
		return nil // an image's own matter
	case err != nil:
		if err := os.Mkdir("/etc", 0o755); err != nil { //nolint:gosec // as above
			return err
		}
	}
	for name, content := range map[string]string{
		"passwd":        "engine:x:1000:1000::/tmp:/bin/sh\nroot:x:0:0::/nonexistent:/nonexistent\n",
		"group":         "engine:x:1000:\nroot:x:0:\n",
		"hosts":         "127.0.0.1 localhost\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
		"resolv.conf":   "",
	} {
		if err := writeNew("/etc/"+name, []byte(content)); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, unix.EROFS) {
			return err
		}
	}
	return nil
}

// maskProc hides what of /proc tells of the machine or lets it be changed.
func maskProc() error {
	// No user namespaces below this one; the filter refuses to make them as well. The
	// file is of this namespace: in the host's nobody here may write it.
	if data, err := os.ReadFile("/proc/self/uid_map"); err == nil && !strings.Contains(string(data), "4294967295") {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0o644); err != nil { //nolint:gosec // a setting, not a file
			return fmt.Errorf("forbidding user namespaces: %w", err)
		}
	}
	for _, p := range []string{"/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi"} {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		if err := unix.Mount(p, p, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("masking %s: %w", p, err)
		}
		if err := unix.Mount("", p, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("masking %s: %w", p, err)
		}
	}
	for _, p := range masked() {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		if err := unix.Mount("/dev/null", p, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("masking %s: %w", p, err)
		}
	}
	return nil
}

// enter makes an empty root the root, and lets the old one go.
func (r *root) enter(view bool) error {
	at := "/tmp"
	if info, err := os.Stat(at); err != nil || !info.IsDir() {
		at = "/var"
	}
	if err := r.tmpfs(at, "0755"); err != nil {
		return err
	}
	for _, dir := range []string{"/.old", "/proc"} {
		if err := os.Mkdir(at+dir, 0o755); err != nil { //nolint:gosec // as above
			return err
		}
	}
	// The kernel allows a new /proc only as long as another is seen.
	if err := unix.Mount("proc", at+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.PivotRoot(at, at+"/.old"); err != nil {
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
	if view { // before anything that is bound can have the name
		return os.Mkdir(parts, 0o700)
	}
	return nil
}

// seal makes the finished root read-only.
func seal(view bool) error {
	if view {
		if err := os.Remove(parts); err != nil {
			return err
		}
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount("", "/", "", flags, ""); err != nil {
		return fmt.Errorf("making the root read-only: %w", err)
	}
	return nil
}
