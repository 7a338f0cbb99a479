//go:build cgo && unix

package onnx

import "syscall"

// cpu is the processor time of the process and of those that it has waited for, in
// nanoseconds.
func cpu() int64 {
	var sum int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			return 0
		}
		sum += u.Utime.Nano() + u.Stime.Nano()
	}
	return sum
}
