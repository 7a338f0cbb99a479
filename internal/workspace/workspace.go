package workspace

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Letters of a File. SPEC: docs/protocol.md 3.
const (
	Regular    byte = 'f'
	Executable byte = 'x' // a file with the owner's execute bit
	Link       byte = 'l'
)

// File is one file of a workspace.
type File struct {
	Path   string // slash path relative to the workspace, valid UTF-8
	Letter byte
	Digest string // "sha256:…" of the bytes on disk, or of a link's target
	Size   int64  // bytes of the file or of the link's target
	Mode   fs.FileMode
	Own    bool // of this process' user and group, when it was looked at
}

// Options say which files count.
type Options struct {
	// Inputs are doublestar globs; empty selects everything that is not ignored.
	Inputs []string
	// Extra files count whatever the globs and .gitignore files say, for example
	// the engine's own executable. One that does not exist is left out.
	Extra []string
	// Exclude are slash paths of directories that are never seen, for example
	// the state directory.
	Exclude []string
	// Tracked, if not nil, takes the place of the git index: these paths are
	// never ignored. For private copies, which have no index.
	Tracked []string
	// NoIgnore lists everything, also ignored files and .git: for a private copy,
	// to see whether anything in it was changed.
	NoIgnore bool
	// Only, if not empty, are the only paths that are looked at; a directory stands
	// for all below it. Ignore files on the way to them count.
	Only []string
	// Others, if not nil, gets what the scan saw beside the files that it gives, in
	// no order: files, and directories that hold none of the files it walked to.
	Others *[]string
	// Cache, if not nil, saves hashing what has not changed. Never at seal and take-off.
	Cache *Cache
	// Workers is how many files are hashed at once; 0 means one a processor.
	Workers int
}

// Scan lists and hashes the files of a workspace, sorted by path bytes.
// SPEC: docs/protocol.md 3 (workspace_hash).
func Scan(ctx context.Context, dir string, o Options) ([]File, error) {
	if err := CheckInputs(o.Inputs); err != nil {
		return nil, err
	}
	for _, list := range [][]string{o.Extra, o.Exclude, o.Tracked, o.Only} {
		for _, p := range list {
			if !cleanPath(p) {
				return nil, protocol.Errorf(protocol.ExitUsage, "path_invalid",
					"%q is not a clean slash path inside the workspace", p)
			}
		}
	}
	tracked := o.Tracked
	if tracked == nil {
		var err error
		if tracked, err = trackedFiles(dir); err != nil {
			return nil, err
		}
	} else {
		tracked = slices.Sorted(slices.Values(tracked))
	}
	w, err := newWalker(ctx, dir, o, tracked)
	if err != nil {
		return nil, err
	}
	files, err := w.run(workers(o.Workers))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return files, nil
}

func workers(n int) int {
	if n <= 0 {
		n = runtime.NumCPU()
	}
	return min(n, limits.WorkspaceWorkers)
}

// CheckInputs checks the globs of a step.
func CheckInputs(globs []string) error {
	if len(globs) > limits.InputPatterns {
		return badGlob("", "there are %d globs, more than %d", len(globs), limits.InputPatterns)
	}
	for _, g := range globs {
		switch {
		case g == "":
			return badGlob(g, "it is empty")
		case len(g) > limits.InputPatternBytes:
			return badGlob(g[:40]+"…", "it is longer than %d bytes", limits.InputPatternBytes)
		case !utf8.ValidString(g):
			return badGlob(g, "it is not UTF-8")
		case strings.ContainsAny(g, "\n\r\x00"):
			return badGlob(g, "it has a line break or a NUL byte")
		case strings.HasPrefix(g, "/"):
			return badGlob(g, "it is absolute; globs are relative to the workspace")
		case slices.ContainsFunc(strings.FieldsFunc(g, isGlobSeparator), func(s string) bool { return s == ".." }):
			return badGlob(g, "it has a .. element")
		case path.Clean(g) != g:
			return badGlob(g, "it is not in clean form (write %q)", path.Clean(g))
		case alternatives(g) > limits.InputAlternatives:
			return badGlob(g, "its braces stand for more than %d patterns", limits.InputAlternatives)
		case !doublestar.ValidatePattern(g):
			return badGlob(g, "a bracket, brace or backslash is not closed")
		}
	}
	return nil
}

// isGlobSeparator also takes the marks of braces for separators, so that {a,..}/b is found.
func isGlobSeparator(r rune) bool { return strings.ContainsRune("/{},", r) }

// alternatives bounds from above how many patterns the braces of a glob stand
// for, since doublestar tries them one by one.
func alternatives(g string) int {
	n, in := 1, 0
	for i := 0; i < len(g) && n <= limits.InputAlternatives; i++ {
		switch g[i] {
		case '\\':
			i++
		case '{':
			in = 1
		case ',':
			in++
		case '}':
			n *= max(in, 1)
		}
	}
	if strings.Count(g, "{") > 8 { // nested groups are not counted exactly; so few that it does not matter
		return limits.InputAlternatives + 1
	}
	return n
}

func badGlob(g, format string, args ...any) error {
	e := protocol.Errorf(protocol.ExitUsage, "glob_invalid", format, args...)
	e.Message = "the glob is refused: " + e.Message
	return e.At(g).WithHint("write inputs as globs like \"**/*.go\" or \"docs/**\"")
}

// cleanPath says whether p is a relative slash path without tricks.
func cleanPath(p string) bool {
	return p != "" && p != "." && len(p) <= limits.PathBytes && fs.ValidPath(p) && !strings.ContainsRune(p, 0)
}

// unreadable makes the error for something that the system does not let us read.
func unreadable(p string, err error) error {
	var known *protocol.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // its path names the directory handle, which says nothing
	}
	return protocol.Errorf(protocol.ExitFailure, "workspace_unreadable", "cannot be read: %w", err).At(p).
		WithHint("make it readable, ignore it in .gitignore, or narrow the step's inputs")
}

func tooMany(what string, n int) error {
	return protocol.Errorf(protocol.ExitUsage, "workspace_too_large", "the workspace has more than %d %s", n, what).
		WithHint("narrow the step's inputs or ignore generated files in .gitignore")
}
