package check

import (
	"bytes"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// thisHost reads what it can.
func thisHost() host {
	h := host{Processors: runtime.NumCPU(), BootID: line("/proc/sys/kernel/random/boot_id"), MachineID: line("/etc/machine-id")}
	if h.MachineID == "" {
		h.MachineID = line("/var/lib/dbus/machine-id")
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		h.Release, h.Version, h.Name = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Nodename[:])
	}
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err == nil {
		h.Memory = i.Totalram * uint64(i.Unit) //nolint:unconvert,nolintlint // its type differs between processors
	}
	h.Booted = field("/proc/stat", "btime", " ")
	h.Processor = field("/proc/cpuinfo", "model name", ":")
	return h
}

// line gives a file's first line.
func line(name string) string {
	data, err := os.ReadFile(name) //nolint:gosec // of the kernel or the system
	if err != nil {
		return "" // not known
	}
	first, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(first)
}

// field gives the value of the first line that begins with a name.
func field(file, name, sep string) string {
	data, err := os.ReadFile(file) //nolint:gosec // of the kernel
	if err != nil {
		return ""
	}
	for l := range bytes.Lines(data) {
		if key, value, ok := strings.Cut(string(l), sep); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
