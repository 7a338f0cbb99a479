package check

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// processors says whether there are several of which an engine can be given one.
func processors() bool { return runtime.NumCPU() > 1 }

// oneProcessor leaves this thread and what it executes one processor.
func oneProcessor() error {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for n := range len(all) * 64 {
		if all.IsSet(n) {
			one.Set(n)
			break
		}
	}
	return unix.SchedSetaffinity(0, &one)
}
