//go:build linux && (amd64 || arm64)

package inside

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sysvCalls are those of System V; other architectures have several of them in one.
func sysvCalls() []call {
	return []call{
		{unix.SYS_SHMGET, "shmget", unix.ENOSYS}, {unix.SYS_SHMAT, "shmat", unix.ENOSYS}, {unix.SYS_SHMCTL, "shmctl", unix.ENOSYS}, {unix.SYS_SHMDT, "shmdt", unix.ENOSYS},
		{unix.SYS_MSGGET, "msgget", unix.ENOSYS}, {unix.SYS_MSGSND, "msgsnd", unix.ENOSYS}, {unix.SYS_MSGRCV, "msgrcv", unix.ENOSYS}, {unix.SYS_MSGCTL, "msgctl", unix.ENOSYS},
		{unix.SYS_SEMGET, "semget", unix.ENOSYS}, {unix.SYS_SEMOP, "semop", unix.ENOSYS}, {unix.SYS_SEMTIMEDOP, "semtimedop", unix.ENOSYS}, {unix.SYS_SEMCTL, "semctl", unix.ENOSYS},
		{unix.SYS_MQ_TIMEDSEND, "mq_timedsend", unix.ENOSYS}, {unix.SYS_MQ_TIMEDRECEIVE, "mq_timedreceive", unix.ENOSYS},
	}
}

// What the kernel is asked for the sums of an ipc namespace.
const (
	shmInfo = 14
	msgInfo = 12
	semInfo = 19
)

// What the kernel has, in bytes, for a message beside its text, for a semaphore, and
// for each thread that may want its changes undone.
const (
	messageUse   = 64
	semaphoreUse = 64
	undoUse      = 2
)

// sysvUse is how much memory the ipc namespace of this process holds, with so many
// threads at the most. No process needs to have any of it mapped.
func sysvUse(threads int64) int64 {
	var shm struct {
		ids                                    int32
		total, resident, swapped, tries, swaps uint64
	}
	var msg struct {
		queues, messages, max, maxBytes, ids, segmentSize, bytes int32
		segments                                                 uint16
	}
	var sem struct{ entries, sets, all, undos, most, ops, undoEntries, used, value, total int32 }
	var sum int64 // a kernel without them has none
	if _, _, errno := unix.Syscall(unix.SYS_SHMCTL, 0, shmInfo, uintptr(unsafe.Pointer(&shm))); errno == 0 {
		sum += int64(shm.resident+shm.swapped) * int64(os.Getpagesize()) //nolint:gosec // less than memory has
	}
	if _, _, errno := unix.Syscall(unix.SYS_MSGCTL, 0, msgInfo, uintptr(unsafe.Pointer(&msg))); errno == 0 {
		sum += int64(msg.bytes) + int64(msg.messages)*messageUse
	}
	if _, _, errno := unix.Syscall6(unix.SYS_SEMCTL, 0, 0, semInfo, uintptr(unsafe.Pointer(&sem)), 0, 0); errno == 0 {
		sum += int64(sem.total) * (semaphoreUse + undoUse*threads)
	}
	return sum
}
