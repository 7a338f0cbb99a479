//go:build !linux

package check

import "errors"

// processors: a process cannot be given one of several here.
func processors() bool { return false }

func oneProcessor() error { return errors.ErrUnsupported }
