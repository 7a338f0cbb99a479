package inside

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Calls that are newer than the tables of x/sys, or missing in some of them; their
// numbers are the same on all architectures.
const (
	sysOpenTreeAttr  = 467
	sysSetxattrat    = 463
	sysRemovexattrat = 466
	sysFileSetattr   = 469
	sysMemfdSecret   = 447
)

// refusedWith gives the calls that are refused whatever their arguments are.
func refusedWith(open sockets) []call {
	if open == noSockets {
		return slices.Concat(forbidden(), hidden(), common(), commonHere())
	}
	return slices.Concat(forbidden(), hidden())
}

// hidden are the calls by which memory is held that no process has mapped, where the
// monitor would have to find it: descriptors can lie in sockets, and mappings hold
// what was never touched through them. Programs that want such files go on with
// /dev/shm or without.
func hidden() []call {
	return []call{
		{unix.SYS_MEMFD_CREATE, "memfd_create", unix.ENOSYS}, {sysMemfdSecret, "memfd_secret", unix.ENOSYS},
		{unix.SYS_VMSPLICE, "vmsplice", unix.ENOSYS}, // a page in a pipe can be one of 2 MiB
		// Whom they are about, a descriptor says.
		{unix.SYS_PROCESS_MADVISE, "process_madvise", unix.ENOSYS}, {unix.SYS_PROCESS_MRELEASE, "process_mrelease", unix.ENOSYS},
	}
}

// common are the calls that reach what belongs to other programs of the user, where
// no namespace is between: Landlock knows nothing of them.
func common() []call {
	return []call{
		{unix.SYS_MQ_UNLINK, "mq_unlink", unix.ENOSYS}, {unix.SYS_MQ_NOTIFY, "mq_notify", unix.ENOSYS}, {unix.SYS_MQ_GETSETATTR, "mq_getsetattr", unix.ENOSYS},
		{unix.SYS_MQ_OPEN, "mq_open", unix.ENOSYS},
		// It tells the names in directories that cannot be read. Programs ask regularly instead.
		{unix.SYS_INOTIFY_INIT1, "inotify_init1", unix.ENOSYS}, {unix.SYS_INOTIFY_ADD_WATCH, "inotify_add_watch", unix.ENOSYS},
		// Of any file of the user's. Programs go on, as where a file system has none.
		{unix.SYS_SETXATTR, "setxattr", unix.EOPNOTSUPP}, {unix.SYS_LSETXATTR, "lsetxattr", unix.EOPNOTSUPP}, {unix.SYS_FSETXATTR, "fsetxattr", unix.EOPNOTSUPP},
		{unix.SYS_REMOVEXATTR, "removexattr", unix.EOPNOTSUPP}, {unix.SYS_LREMOVEXATTR, "lremovexattr", unix.EOPNOTSUPP}, {unix.SYS_FREMOVEXATTR, "fremovexattr", unix.EOPNOTSUPP},
		{sysSetxattrat, "setxattrat", unix.EOPNOTSUPP}, {sysRemovexattrat, "removexattrat", unix.EOPNOTSUPP}, {sysFileSetattr, "file_setattr", unix.EOPNOTSUPP},
	}
}

// aboutCall is a call about a process, which a child may make about itself only: its
// monitor is of the same user, and could be starved or blinded.
type aboutCall struct {
	nr      uint32
	name    string
	process uint32 // whoseCalls: what the first argument says if the second is a pid
}

// pidCalls are those whose first argument is a pid, 0 for the caller.
func pidCalls() []aboutCall {
	return []aboutCall{
		{nr: unix.SYS_PRLIMIT64, name: "prlimit64"},
		{nr: unix.SYS_SCHED_SETSCHEDULER, name: "sched_setscheduler"}, {nr: unix.SYS_SCHED_SETPARAM, name: "sched_setparam"},
		{nr: unix.SYS_SCHED_SETATTR, name: "sched_setattr"}, {nr: unix.SYS_SCHED_SETAFFINITY, name: "sched_setaffinity"},
		{nr: unix.SYS_MOVE_PAGES, name: "move_pages"}, {nr: unix.SYS_MIGRATE_PAGES, name: "migrate_pages"},
	}
}

// whoseCalls are those whose first argument says what the second is: a group or a
// user can be named too.
func whoseCalls() []aboutCall {
	return []aboutCall{{unix.SYS_SETPRIORITY, "setpriority", unix.PRIO_PROCESS}, {unix.SYS_IOPRIO_SET, "ioprio_set", ioprioProcess}}
}

// ioprioProcess is IOPRIO_WHO_PROCESS.
const ioprioProcess = 1
