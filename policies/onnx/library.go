package onnx

import (
	"github.com/cabincrew/action/policies/onnx/inside"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// LibraryVariable is the environment variable that names the runtime's library.
const LibraryVariable = "CABINCREW_ONNXRUNTIME"

// Options say where the runtime's library is and how models are run. The zero
// value looks beside the program and where the system has its libraries.
type Options struct {
	// Library is the absolute path that a person gave on the command line, or empty.
	Library string
	// Getenv reads the environment; nil reads nothing.
	Getenv func(string) string
	// Executable is the path of this program; empty: that of the process.
	Executable string
	// Workspace is the directory that is judged, or empty. A library that nobody
	// named must not lie in it.
	Workspace string

	// Run is the command line that calls Run, with an absolute path; empty: this
	// program with engine run and Program.
	Run []string
	// Require are layers of the sandbox without which no model runs.
	Require []string
	// Sudo says that sudo may be asked to isolate a model's process.
	Sudo bool
}

// Library gives the path, or the bare name for the system to look up, of the
// runtime's library: what the option names, what the environment names, what lies
// in lib beside the program or beside its directory, what the system has. The
// first of them that is given or is there is taken, and if it is not fit for use,
// that is an error: what a person chose is never replaced in silence.
func Library(o Options) (string, error) {
	getenv := o.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	for _, named := range [][2]string{{o.Library, "--onnxruntime or " + LibraryVariable}, {getenv(LibraryVariable), LibraryVariable}} {
		path, from := named[0], named[1]
		switch {
		case path == "":
			continue
		case !filepath.IsAbs(path):
			return "", unsafe("%s names %q; it must be an absolute path, since what a relative one means depends on the directory", from, path)
		}
		return path, fit(path, from)
	}
	for _, path := range beside(o.Executable) {
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if within(o.Workspace, path) {
			return "", planted(path)
		}
		return path, fit(path, "the program's directory")
	}
	return system(getenv, o.Workspace)
}

// names are what the library is called.
func names() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"onnxruntime.dll"}
	case "darwin":
		return []string{"libonnxruntime.dylib", "libonnxruntime.1.dylib"}
	default:
		return []string{"libonnxruntime.so.1", "libonnxruntime.so"}
	}
}

// beside gives where the library is looked for beside the program.
func beside(executable string) []string {
	if executable == "" {
		var err error
		if executable, err = os.Executable(); err != nil {
			return nil
		}
	}
	if target, err := filepath.EvalSymlinks(executable); err == nil {
		executable = target
	}
	dir := filepath.Dir(executable)
	if !filepath.IsAbs(dir) {
		return nil
	}
	var paths []string
	for _, lib := range []string{filepath.Join(dir, "lib"), filepath.Join(filepath.Dir(dir), "lib")} {
		for _, name := range names() {
			paths = append(paths, filepath.Join(lib, name))
		}
	}
	return paths
}

// system gives the bare name that the system's loader looks up. It does not
// where the loader would look in the current directory, which may be what is judged.
func system(getenv func(string) string, workspace string) (string, error) {
	if runtime.GOOS == "windows" {
		return "", missing("the ONNX Runtime library is not beside the program")
	}
	for _, variable := range loaderVariables() {
		value := getenv(variable)
		if value == "" {
			continue
		}
		for _, dir := range strings.FieldsFunc(strings.ReplaceAll(value, ";", ":")+":", func(r rune) bool { return r == ':' }) {
			if !filepath.IsAbs(dir) {
				return "", unsafe("%s names the relative directory %q, so that the ONNX Runtime library might come from what is judged", variable, dir)
			}
			if within(workspace, dir) {
				return "", unsafe("%s names the directory %q in the workspace, so that the ONNX Runtime library might come from what is judged", variable, dir)
			}
		}
		if v := ":" + strings.ReplaceAll(value, ";", ":") + ":"; strings.Contains(v, "::") {
			return "", unsafe("%s names the current directory (an empty entry), so that the ONNX Runtime library might come from what is judged", variable)
		}
	}
	return names()[0], nil
}

// loaderVariables are the variables that tell the system's loader where to look.
func loaderVariables() []string {
	return []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"}
}

// within says whether a path, or what it leads to, lies in a workspace.
func within(workspace, path string) bool {
	if workspace == "" {
		return false
	}
	target := func(path string) string {
		if to, err := filepath.EvalSymlinks(path); err == nil {
			return to
		}
		return path
	}
	workspace = target(workspace)
	// The directory, and the file in it, may each be a link of their own.
	for _, p := range []string{path, target(path), filepath.Join(target(filepath.Dir(path)), filepath.Base(path))} {
		if rel, err := filepath.Rel(workspace, p); err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

// planted refuses a library that whoever writes the workspace could have put there.
func planted(path string) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "model_library_unsafe",
		"the ONNX Runtime library %q, which would be taken because it lies by the program, is in the workspace, where the change that is judged could have put it", path).
		WithHint("install the program with its library outside the workspace, or name the library with " + LibraryVariable)
}

// fit says whether a file may be loaded into this process: nobody but its owner
// and the system's may be able to change it.
func fit(path, from string) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return missing("the ONNX Runtime library %q, which %s names, is not there: %w", path, from, err)
	}
	info, err := os.Stat(target)
	switch {
	case err != nil:
		return missing("the ONNX Runtime library %q, which %s names, cannot be read: %w", path, from, err)
	case !info.Mode().IsRegular():
		return unsafe("the ONNX Runtime library %q is no regular file", path)
	case info.Size() > limits.OnnxLibrary:
		return unsafe("the ONNX Runtime library %q has more than %d bytes", path, limits.OnnxLibrary)
	}
	if why := writable(info, false); why != "" {
		return unsafe("the ONNX Runtime library %q %s", path, why)
	}
	dir, err := os.Stat(filepath.Dir(target))
	if err != nil {
		return missing("the directory of the ONNX Runtime library %q cannot be read: %w", path, err)
	}
	if why := writable(dir, true); why != "" {
		return unsafe("the directory of the ONNX Runtime library %q %s", path, why)
	}
	return nil
}

const howToGet = "run make onnxruntime in CabinCrew's repository, or take a release archive, which carries it; " +
	"or name one of version 1.24 or later with " + LibraryVariable + "; or take the models out of the configuration"

func missing(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, inside.CodeMissing, format, args...).WithHint(howToGet)
}

func unsafe(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "model_library_unsafe", format, args...).
		WithHint("the library is a program that judges: let it be a regular file that only you or root can write, in such a directory")
}
