//go:build !linux

package check

import (
	"os"
	"runtime"
)

// thisHost knows what every system tells.
func thisHost() host {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	return host{Processors: runtime.NumCPU(), Name: name}
}
