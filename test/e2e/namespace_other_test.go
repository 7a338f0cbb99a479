//go:build e2e && !linux

package e2e

import (
	"errors"
	"os/exec"
	"syscall"
)

func unshare(*exec.Cmd) error { return errors.New("only Linux has them") }

func loopback() error { return nil }

func tied() *syscall.SysProcAttr { return nil }
