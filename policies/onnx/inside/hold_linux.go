package inside

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
)

// hold bounds what this process may take from now on: room bytes of memory of its
// own, and no dump of it. Address space cannot be bounded, since Go and the runtime
// reserve what they never use; data can, and an allocation beyond fails.
func hold(room int64) error {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	f := bytes.Fields(b)
	if len(f) < 6 {
		return errors.New("/proc/self/statm has another form")
	}
	pages, err := strconv.ParseInt(string(f[5]), 10, 64)
	if err != nil {
		return err
	}
	return errors.Join(
		lower(syscall.RLIMIT_CORE, 0),
		lower(syscall.RLIMIT_DATA, uint64(pages*int64(os.Getpagesize())+room)), //nolint:gosec // both are sizes
	)
}

// lower lowers a limit for good.
func lower(resource int, most uint64) error {
	var have syscall.Rlimit
	if err := syscall.Getrlimit(resource, &have); err != nil {
		return err
	}
	most = min(most, have.Max)
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: most, Max: most})
}
