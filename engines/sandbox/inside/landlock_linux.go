package inside

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights of Landlock in groups.
const (
	llFile  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	llRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	llWrite = llRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	ruleNetPort = 2
)

// portRule is struct landlock_net_port_attr.
type portRule struct{ access, port uint64 }

// access is one rule: what may be done at and below a path.
type access struct {
	path   string
	rights uint64
	port   uint64 // instead of a path: TCP connections to this port
}

// handled gives all rights that a version of the interface knows.
func handled(abi int) (fs, net, scoped uint64) {
	fs = 1<<13 - 1 // version 1
	if abi >= 2 {
		fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 4 {
		net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 6 {
		scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return fs, net, scoped
}

// LeastABI is the version of the kernel's interface below which tier B cannot be
// had: older ones let files be cut that may only be read.
const LeastABI = 3

// gaps are the acts that a version of the interface cannot stop, where nothing
// but Landlock could.
func gaps(abi int) []string {
	if abi < 6 {
		return []string{LayerSignals}
	}
	return nil
}

// restrictFiles applies Landlock to this thread. It gives the version of the
// kernel's interface, 0 where there is none.
func restrictFiles(rules []access) (int, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("asking for its version: %w", errno)
	}
	abi := int(version)
	fs, net, scoped := handled(abi)
	attr := unix.LandlockRulesetAttr{Access_fs: fs, Access_net: net, Scoped: scoped}
	size := unsafe.Sizeof(attr)
	switch { // an older kernel refuses fields that it does not know
	case abi < 4:
		size = unsafe.Offsetof(attr.Access_net)
	case abi < 6:
		size = unsafe.Offsetof(attr.Scoped)
	}
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return 0, fmt.Errorf("making a rule set: %w", errno)
	}
	defer func() { _ = unix.Close(int(set)) }() // it is in force, or an error tells
	for _, r := range rules {
		if err := addRule(int(set), r, fs, net); err != nil {
			return 0, err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return 0, fmt.Errorf("restricting: %w", errno)
	}
	return abi, nil
}

func addRule(set int, r access, fs, net uint64) error {
	if r.port != 0 {
		if net == 0 {
			return nil // nothing is handled, nothing is forbidden
		}
		attr := portRule{unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, r.port}
		if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), ruleNetPort, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); errno != 0 {
			return fmt.Errorf("allowing port %d: %w", r.port, errno)
		}
		return nil
	}
	fd, err := unix.Open(r.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // what is not there needs no rule
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", r.path, err)
	}
	defer func() { _ = unix.Close(fd) }() // the rule stays
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", r.path, err)
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: r.rights & fs, Parent_fd: int32(fd)} //nolint:gosec // descriptors are small
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		attr.Allowed_access &= llFile
	}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("allowing %s: %w", r.path, errno)
	}
	return nil
}

func deviceRules() []access {
	const use = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	var out []access
	for _, d := range devices() {
		out = append(out, access{path: "/dev/" + d, rights: use})
	}
	return out
}

// filesA are the rules of tier A, where the root holds little: everything may be
// read, and written what is bound so.
func (c *Confine) filesA() []access {
	rules := append(deviceRules(), access{path: "/", rights: llRead}, access{path: "/tmp", rights: llWrite}, access{path: "/dev/shm", rights: llWrite})
	for _, b := range c.Binds {
		if b.Write {
			rules = append(rules, access{path: b.Target, rights: llWrite})
		}
	}
	if c.View != nil && c.View.Upper != "" {
		rules = append(rules, access{path: c.View.Target, rights: llWrite})
	}
	if c.Listen {
		rules = append(rules, access{port: proxyPort})
	}
	return rules
}

// filesB are the rules of tier B: what is bound, at its own place.
func (c *Confine) filesB() []access {
	rules := append(deviceRules(), access{path: "/proc/self", rights: llRead})
	for _, b := range c.Binds {
		rights := uint64(llRead)
		if b.Write {
			rights = llWrite
		}
		rules = append(rules, access{path: b.Source, rights: rights})
	}
	return slices.Clip(rules)
}
