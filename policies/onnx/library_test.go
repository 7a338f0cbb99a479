package onnx

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// put makes a file that may be a library.
func put(t *testing.T, dir string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, names()[0])
	if err := os.WriteFile(path, []byte("library"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLibraryOrder(t *testing.T) {
	t.Parallel()
	dir := realDir(t)
	option, variable := put(t, filepath.Join(dir, "option"), 0o644), put(t, filepath.Join(dir, "variable"), 0o644)
	exe := filepath.Join(dir, "bin", "cabincrew")
	up := put(t, filepath.Join(dir, "lib"), 0o644)
	in := put(t, filepath.Join(dir, "bin", "lib"), 0o644)
	set := env(map[string]string{LibraryVariable: variable})

	check := func(o Options, want string) {
		t.Helper()
		if got, err := Library(o); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	check(Options{Library: option, Getenv: set, Executable: exe}, option)
	check(Options{Getenv: set, Executable: exe}, variable)
	check(Options{Executable: exe}, in)
	if err := os.Remove(in); err != nil {
		t.Fatal(err)
	}
	check(Options{Executable: exe}, up)
	if err := os.Remove(up); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		t.Skip("on Windows nothing is looked up in the system, since that includes the current directory")
	}
	check(Options{Executable: exe}, names()[0])
	check(Options{Executable: exe, Getenv: env(map[string]string{"LD_LIBRARY_PATH": "/opt/lib:/usr/lib"})}, names()[0])
}

func TestLibraryBesideALinkedProgram(t *testing.T) {
	t.Parallel()
	dir := realDir(t)
	want := put(t, filepath.Join(dir, "app", "lib"), 0o644)
	exe := filepath.Join(dir, "app", "cabincrew")
	if err := os.WriteFile(exe, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "cabincrew")
	if err := os.Symlink(exe, link); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	if got, err := Library(Options{Executable: link}); err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLibraryRefuses(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes and owners of files say nothing on Windows")
	}
	dir := realDir(t)
	good := put(t, filepath.Join(dir, "good"), 0o644)
	open := put(t, filepath.Join(dir, "open"), 0o666)
	loose := put(t, filepath.Join(dir, "loose"), 0o644)
	if err := os.Chmod(filepath.Dir(loose), 0o777); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "bin", "cabincrew")
	writable := put(t, filepath.Join(dir, "bin", "lib"), 0o646)
	for name, tc := range map[string]struct {
		o    Options
		code string
		want string
	}{
		"option is not there":   {Options{Library: filepath.Join(dir, "none"), Executable: exe}, "model_library_missing", "not there"},
		"variable is not there": {Options{Getenv: env(map[string]string{LibraryVariable: dir + "/none"})}, "model_library_missing", LibraryVariable},
		"relative variable":     {Options{Getenv: env(map[string]string{LibraryVariable: "lib/x.so"})}, "model_library_unsafe", "absolute"},
		"relative option":       {Options{Library: "lib/x.so"}, "model_library_unsafe", "absolute"},
		"directory":             {Options{Library: filepath.Dir(good)}, "model_library_unsafe", "no regular file"},
		"device":                {Options{Getenv: env(map[string]string{LibraryVariable: "/dev/null"})}, "model_library_unsafe", "no regular file"},
		"writable file":         {Options{Library: open}, "model_library_unsafe", "written by others"},
		"writable directory":    {Options{Library: loose}, "model_library_unsafe", "written by others"},
		"writable beside":       {Options{Executable: exe}, "model_library_unsafe", writable},
		"relative loader path":  {Options{Executable: dir + "/x/y/z", Getenv: env(map[string]string{"LD_LIBRARY_PATH": "/usr/lib:lib"})}, "model_library_unsafe", "relative"},
		"empty loader path":     {Options{Executable: dir + "/x/y/z", Getenv: env(map[string]string{"LD_LIBRARY_PATH": "/usr/lib:"})}, "model_library_unsafe", "current directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Library(tc.o)
			wantDenied(t, err, tc.code, tc.want)
		})
	}
}

// What is judged must not bring the library that helps to judge it.
func TestLibraryInTheWorkspace(t *testing.T) {
	t.Parallel()
	dir := realDir(t)
	ws := filepath.Join(dir, "ws")
	beside := put(t, filepath.Join(ws, "bin", "lib"), 0o644)
	above := put(t, filepath.Join(ws, "tools", "lib"), 0o644)
	outside := put(t, filepath.Join(dir, "app", "lib"), 0o644)
	link := func(target, name string) string {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
		return path
	}
	linked := link(ws, "linked")
	link(filepath.Dir(beside), "other/lib")                // a directory that leads into the workspace
	link(beside, "third/lib/"+names()[0])                  // a file that does
	link(outside, "ws/fourth/lib/"+names()[0])             // and one that leads out of it
	link(filepath.Join(dir, "app", "lib"), "ws/fifth/lib") // a directory in it that leads out
	for name, exe := range map[string]string{
		"beside the program": filepath.Join(ws, "bin", "cabincrew"),
		"above the program":  filepath.Join(ws, "tools", "bin", "cabincrew"),
		"linked directory":   filepath.Join(dir, "other", "cabincrew"),
		"linked file":        filepath.Join(dir, "third", "cabincrew"),
		"link in it":         filepath.Join(ws, "fourth", "cabincrew"),
		"directory in it":    filepath.Join(ws, "fifth", "cabincrew"),
	} {
		for _, workspace := range []string{ws, linked, ws + string(filepath.Separator)} {
			_, err := Library(Options{Executable: exe, Workspace: workspace})
			if wantDenied(t, err, "model_library_unsafe", "in the workspace"); t.Failed() {
				t.Fatal(name, workspace)
			}
		}
	}
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"program elsewhere": {Options{Executable: filepath.Join(dir, "app", "cabincrew"), Workspace: ws}, outside},
		"neighbour by name": {Options{Executable: filepath.Join(dir, "app", "cabincrew"), Workspace: filepath.Join(dir, "ap")}, outside},
		"a person named it": {Options{Library: above, Workspace: ws}, above},
		"program in it":     {Options{Library: outside, Executable: filepath.Join(ws, "bin", "cabincrew"), Workspace: ws}, outside},
		"nothing is judged": {Options{Executable: filepath.Join(ws, "bin", "cabincrew")}, beside},
	} {
		if got, err := Library(tc.o); err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if runtime.GOOS == "windows" {
		t.Skip("on Windows nothing is looked up in the system")
	}
	_, err := Library(Options{Executable: dir + "/x/y/z", Workspace: ws, Getenv: env(map[string]string{"LD_LIBRARY_PATH": "/usr/lib:" + filepath.Dir(beside)})})
	wantDenied(t, err, "model_library_unsafe", "in the workspace")
}

func wantDenied(t *testing.T, err error, code, want string) {
	t.Helper()
	e := asError(err)
	if e == nil || e.Code != code || e.ExitCode() != protocol.ExitDenied || !strings.Contains(err.Error(), want) || e.Hint == "" {
		t.Errorf("got %v (%+v), want %s with %q", err, e, code, want)
	}
}
