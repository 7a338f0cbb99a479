package patch

import (
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const (
	stateDir    = ".cabincrew" // the default state directory
	stagePrefix = ".cabincrew-apply-"
)

// CheckPath refuses paths that leave the workspace, or that reach git's own
// directory or CabinCrew's on any file system: by case, by 8.3 names, by NTFS
// streams, by trailing dots or spaces, by characters that HFS+ ignores.
func CheckPath(p string, protected []string) error {
	switch {
	case p == "" || p == "." || !fs.ValidPath(p):
		return badPath(p, "it is not a clean relative path inside the workspace")
	case !utf8.ValidString(p) || strings.ContainsRune(p, 0):
		return badPath(p, "it is not UTF-8 or has a NUL byte")
	case len(p) > limits.PathBytes:
		return badPath(p[:80]+"…", "it is longer than %d bytes", limits.PathBytes)
	}
	first, _, _ := strings.Cut(p, "/")
	if fold := windowsName(first); fold == stateDir || strings.HasPrefix(fold, stagePrefix) {
		return badPath(p, "it lies in CabinCrew's own directory")
	}
	// Windows takes a backslash for a separator too.
	for _, elem := range strings.FieldsFunc(p, func(r rune) bool { return r == '/' || r == '\\' }) {
		switch {
		case len(elem) > limits.PathElementBytes:
			return badPath(p, "an element of it is longer than %d bytes", limits.PathElementBytes)
		case elem == "..":
			return badPath(p, "it has a .. element")
		case isDotGit(elem):
			return badPath(p, "it reaches into git's own directory")
		}
	}
	for _, dir := range protected {
		if len(p) >= len(dir) && strings.EqualFold(p[:len(dir)], dir) && (len(p) == len(dir) || p[len(dir)] == '/') {
			return badPath(p, "it lies in %s, which no patch may change", dir)
		}
	}
	return nil
}

// isDotGit says whether some file system takes a path element for ".git".
func isDotGit(elem string) bool {
	name := windowsName(elem)
	if name == ".git" {
		return true
	}
	number, ok := strings.CutPrefix(name, "git~") // the 8.3 name of .git
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// windowsName gives the name that an element has for a careless file system: in
// lower case, without stream, trailing dots and spaces, and ignored characters.
func windowsName(elem string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 0x200c <= r && r <= 0x200f, 0x202a <= r && r <= 0x202e, 0x206a <= r && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, elem)
	name, _, _ = strings.Cut(name, ":")
	return strings.ToLower(strings.TrimRight(name, ". "))
}

func badPath(p, format string, args ...any) error {
	e := protocol.Errorf(protocol.ExitIntegrity, "patch_path_refused", format, args...)
	e.Message = "the path " + quoteAlways(p) + " is refused: " + e.Message
	return e.WithHint("change what the step writes, so that it stays in the workspace's own files")
}
