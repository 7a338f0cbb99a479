package onnx

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// LibraryVariable is the environment variable that names the runtime's library.
const LibraryVariable = "CABINCREW_ONNXRUNTIME"

// Options say where the runtime's library is. The zero value looks beside the
// program and where the system has its libraries.
type Options struct {
	// Library is the path that a person gave on the command line, or empty.
	Library string
	// Getenv reads the environment; nil reads nothing.
	Getenv func(string) string
	// Executable is the path of this program; empty: that of the process.
	Executable string
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
	if o.Library != "" {
		path, err := filepath.Abs(o.Library)
		if err != nil {
			return "", missing("the path of the ONNX Runtime library cannot be made absolute: %w", err)
		}
		return path, fit(path, "the option")
	}
	if path := getenv(LibraryVariable); path != "" {
		if !filepath.IsAbs(path) {
			return "", unsafe("%s is %q; it must be an absolute path, since what a relative one means depends on the directory", LibraryVariable, path)
		}
		return path, fit(path, LibraryVariable)
	}
	for _, path := range beside(o.Executable) {
		if _, err := os.Lstat(path); err == nil {
			return path, fit(path, "the program's directory")
		}
	}
	return system(getenv)
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
func system(getenv func(string) string) (string, error) {
	if runtime.GOOS == "windows" {
		return "", missing("the ONNX Runtime library is not beside the program")
	}
	for _, variable := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"} {
		value := getenv(variable)
		if value == "" {
			continue
		}
		for _, dir := range strings.FieldsFunc(strings.ReplaceAll(value, ";", ":")+":", func(r rune) bool { return r == ':' }) {
			if !filepath.IsAbs(dir) {
				return "", unsafe("%s names the relative directory %q, so that the ONNX Runtime library might come from what is judged", variable, dir)
			}
		}
		if v := ":" + strings.ReplaceAll(value, ";", ":") + ":"; strings.Contains(v, "::") {
			return "", unsafe("%s names the current directory (an empty entry), so that the ONNX Runtime library might come from what is judged", variable)
		}
	}
	return names()[0], nil
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
	return protocol.Errorf(protocol.ExitDenied, "model_library_missing", format, args...).WithHint(howToGet)
}

func unsafe(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "model_library_unsafe", format, args...).
		WithHint("the library runs inside the judging program: let it be a regular file that only you or root can write, in such a directory")
}
