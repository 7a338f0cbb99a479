package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

const stepID = "check"

// bench is where an engine is checked.
type bench struct {
	o       Options
	source  string           // the sample workspace
	files   []workspace.File // of it
	results map[string]Result
	last    time.Time
	count   int // directories made

	secrets map[string]any
	finder  *redact.Redactor

	// What the runs showed on the way.
	leaks     []string
	attempts  map[string]int
	survivors map[string]int

	// What the first flight-plan gave; ok says whether it went well.
	ok       bool
	first    plan
	begun    time.Time
	ended    time.Time
	bound    string // the workspace of the first flight-plan
	engineID string
	repeated bool // the flight-plan was made a second time
}

func newBench(ctx context.Context, o Options) (*bench, error) {
	b := &bench{o: o, results: map[string]Result{}, secrets: map[string]any{}, attempts: map[string]int{}, survivors: map[string]int{}, source: o.Workspace}
	values := map[string]string{}
	for i, name := range append([]string{"CABINCREW_CHECK"}, o.Secrets...) {
		// Not a secret of anybody: it only must not occur by chance.
		values[name] = "made-up-by-engine-check-" + strings.TrimPrefix(protocol.Digest([]byte(name)), "sha256:")[:24] + strconv.Itoa(i)
		b.secrets[name] = values[name]
	}
	var err error
	if b.finder, err = redact.New(values); err != nil {
		return nil, err
	}
	if b.source == "" {
		if b.source, err = b.dir("sample"); err != nil {
			return nil, err
		}
		if err := writeSample(b.source); err != nil {
			return nil, fmt.Errorf("writing the sample workspace: %w", err)
		}
	}
	b.files, err = workspace.Scan(ctx, b.source, workspace.Options{Exclude: []string{".cabincrew"}})
	return b, err
}

// dir makes a new directory.
func (b *bench) dir(name string) (string, error) {
	b.count++
	at := filepath.Join(b.o.Temp, fmt.Sprintf("%02d-%s", b.count, name))
	return at, os.Mkdir(at, 0o700)
}

// close gives directories back that an engine has locked, so that whoever made
// the temporary directory can remove it.
func (b *bench) close() {
	_ = filepath.WalkDir(b.o.Temp, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // where it fails, the removal fails and says so
		}
		if err != nil {
			return fs.SkipDir
		}
		return nil
	})
}

// surroundings are how a copy of the workspace is made.
type surroundings struct {
	backwards bool // files are made in the reverse order
	modified  time.Time
	parent    string // directory to make it in; "" for the common one
}

// copyWorkspace makes a copy of the sample with the engine's own files.
func (b *bench) copyWorkspace(ctx context.Context, s surroundings) (string, error) {
	var at string
	var err error
	if s.parent == "" {
		at, err = b.dir("workspace")
	} else {
		at, err = os.MkdirTemp(s.parent, "cabincrew-check-")
	}
	if err != nil {
		return "", err
	}
	if err := os.Chmod(at, 0o755); err != nil { //nolint:gosec // as a checkout's
		return at, err
	}
	from, err := os.OpenRoot(b.source)
	if err != nil {
		return at, err
	}
	defer func() { _ = from.Close() }() // only read
	to, err := os.OpenRoot(at)
	if err != nil {
		return at, err
	}
	defer func() { _ = to.Close() }() // files are closed one by one
	files := slices.Clone(b.files)
	if s.backwards {
		slices.Reverse(files)
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		if err := copyFile(from, to, f); err != nil {
			return at, fmt.Errorf("copying the workspace's %s: %w", f.Path, err)
		}
	}
	for _, f := range b.o.Files {
		if err := copyIn(f.Source, to, f.Path); err != nil {
			return at, fmt.Errorf("copying the engine's file %s: %w", f.Source, err)
		}
	}
	return at, touch(to, s.modified)
}

func copyFile(from, to *os.Root, f workspace.File) error {
	if err := to.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return err
	}
	if f.Letter == workspace.Link {
		target, err := from.Readlink(f.Path)
		if err != nil {
			return err
		}
		return to.Symlink(target, f.Path)
	}
	in, err := from.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	return write(in, to, f.Path, f.Letter == workspace.Executable)
}

// copyIn copies an engine's file, where the sample does not have it.
func copyIn(source string, to *os.Root, name string) error {
	if _, err := to.Lstat(name); err == nil {
		return nil
	}
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := to.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return write(in, to, name, info.Mode()&0o100 != 0)
}

func write(in io.Reader, to *os.Root, name string, executable bool) error {
	mode := fs.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	// Whatever this process' umask is, a checkout has these modes.
	return errors.Join(err, out.Close(), to.Chmod(name, mode))
}

// touch gives everything in a directory one time of modification.
func touch(root *os.Root, at time.Time) error {
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return root.Chtimes(p, at, at)
	})
}

// scan lists everything in a directory.
func scan(ctx context.Context, dir string) ([]workspace.File, error) {
	return workspace.Scan(ctx, dir, workspace.Options{NoIgnore: true, Tracked: []string{}})
}

// changes names what differs between two scans, at most a few.
func changes(before, after []workspace.File) string {
	list := []string{}
	was := map[string]workspace.File{}
	for _, f := range before {
		was[f.Path] = f
	}
	for _, f := range after {
		old, there := was[f.Path]
		delete(was, f.Path)
		switch {
		case !there:
			list = append(list, "added "+quoted(f.Path))
		case old.Digest != f.Digest || old.Letter != f.Letter:
			list = append(list, "changed "+quoted(f.Path))
		case old.Mode != f.Mode:
			list = append(list, fmt.Sprintf("changed the mode of %s to %04o", quoted(f.Path), f.Mode.Perm()))
		}
	}
	for _, f := range before {
		if _, left := was[f.Path]; left {
			list = append(list, "removed "+quoted(f.Path))
		}
	}
	const most = 5
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(list, ", ")
}

// quoted leaves plain names as they are.
func quoted(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - limits.CheckLogTail; over > 0 {
		t.data = append([]byte(nil), t.data[over:]...)
	}
	return len(p), nil
}

// said gives the log's last line, for a message.
func (t *tail) said() string {
	lines := bytes.Split(bytes.TrimSpace(t.data), []byte("\n"))
	if last := bytes.TrimSpace(lines[len(lines)-1]); len(last) > 0 {
		return fmt.Sprintf("; its log ends with %q", bytes.ToValidUTF8(last, []byte("?")))
	}
	return ""
}

// writeSample makes a small workspace: names and contents on which engines that
// depend on order, locale or quoting give themselves away.
func writeSample(dir string) error {
	for name, content := range map[string]string{
		"README.md":               "# Sample\n\nA small workspace for engine check.\n",
		"CHANGELOG.md":            "# Changes\n\n## 1.4.2\n\n- A first change.\n- Größe und Maß.\n",
		"LICENSE":                 "Do with it what you like.\n",
		"VERSION":                 "1.4.2\n",
		"package.json":            "{\n  \"name\": \"sample\",\n  \"version\": \"1.4.2\"\n}\n",
		"src/main.go":             "package main\n\nfunc main() {}\n",
		"src/lib/helper.py":       "def helper():\n    return 42\n",
		"src/lib/Zebra.txt":       "upper case\n",
		"src/lib/apple.txt":       "lower case\n",
		"src/lib/äpfel.txt":       "outside ASCII\n",
		"docs/with space.md":      "A name with a space.\n",
		"docs/it's \"quoted\".md": "A name with quotes.\n",
		"docs/empty.md":           "",
		"docs/no-newline.txt":     "no newline at the end",
		".hidden/settings":        "key=value\n",
		"scripts/run.sh":          "#!/bin/sh\necho run\n",
	} {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // as a checkout's
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(at, []byte(content), mode); err != nil {
			return err
		}
	}
	return os.Symlink("README.md", filepath.Join(dir, "docs", "index.md"))
}

// plan is what a flight-plan left, checked and copied out of the engine's reach.
type plan struct {
	dir       string
	artifacts []engines.Artifact
}

// withRole gives the artifacts of a role.
func (p plan) withRole(roles ...string) []engines.Artifact {
	var out []engines.Artifact
	for _, a := range p.artifacts {
		if slices.Contains(roles, a.Role) {
			out = append(out, a)
		}
	}
	return out
}
