//go:build !linux

package check

import "github.com/cabincrew/action/internal/workspace"

// sharedMemory is not known on this system.
func sharedMemory([]workspace.File) string { return "" }
