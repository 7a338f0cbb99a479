package oci

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const engineSource = `package main

import (
	"fmt"
	"os"
)

func main() {
	text, err := os.ReadFile("/etc/greeting")
	fmt.Printf("%s%v %q\n", text, err, os.Args[1:])
}
`

// TestTheUnpackedProgramRuns builds a static program, ships it as an image in two
// layers and runs it with its tree as the root.
func TestTheUnpackedProgramRuns(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "main.go"), []byte(engineSource), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", "engine", "main.go")
	build.Dir, build.Env = src, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("there is no go command to build the program with")
		}
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(src, "engine"))
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	host := realRegistry(t)
	digest := push(t, host+"/engine:v1", realImage(t, []tarball.LayerOption{},
		tarOf(t, dirE("usr/bin"), linkE("bin", "usr/bin"), fileE("etc/greeting", "lower\n")),
		tarOf(t, te{name: "bin/engine", body: string(program), mode: 0o755}, fileE("etc/greeting", "hello\n"))))
	ref, err := Parse(host+"/engine@"+digest, false)
	if err != nil {
		t.Fatal(err)
	}
	i, err := Get(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Unpack(t.Context(), i, o, dir); err != nil {
		t.Fatal(err)
	}
	argv, err := i.Argv(nil)
	if err != nil {
		t.Fatal(err)
	}
	run := func(path, chroot string) (string, error) {
		c := exec.Command(path, argv[1:]...)
		c.Dir, c.Env = "/", i.Config.Env
		if chroot != "" {
			c.SysProcAttr = &syscall.SysProcAttr{
				Chroot: chroot, Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			}
		}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	out, err := run(argv[0], dir)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EACCES) {
		t.Logf("no user namespace here (%v): the program is run by its path", err)
		if out, err = run(filepath.Join(dir, "usr/bin/engine"), ""); err != nil || !strings.Contains(out, `["--plan"]`) {
			t.Errorf("%q, %v", out, err)
		}
		return
	}
	if want := "hello\n<nil> [\"--plan\"]\n"; err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}
