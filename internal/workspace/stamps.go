package workspace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// Touched is the Kind of a file whose times or owner changed, or its content
// without its size: nobody looked into it.
const Touched Kind = "touched"

// Stamps is what the system says of everything in a workspace, selected or not,
// ignored or not, and of what decides in its git directory: no file is read but the
// git index. It serves to find changes by somebody who cannot set times of status
// changes, which is everybody but root with a clock.
type Stamps map[string]mark

// mark is what is compared of one entry.
type mark struct {
	stamp  stamp
	digest string // of a git index, whose stamp does not count
}

// Stamped takes the stamps of a workspace. Of the directories state, relative slash
// paths, only the entries control are looked at: what else is there, this program
// writes itself.
func Stamped(ctx context.Context, dir string, state, control []string) (Stamps, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer func() { _ = root.Close() }() // only looked at
	s := &stamper{walker: &walker{ctx: ctx}, out: Stamps{}, state: map[string]bool{}, control: control}
	for _, d := range state {
		s.state[d] = true
	}
	if err := s.visit(root, "", 0, false); err != nil {
		return nil, err
	}
	return s.out, s.outside(dir)
}

type stamper struct {
	*walker

	out     Stamps
	state   map[string]bool
	control []string
}

// visit looks at one directory; git says that it is, or lies in, a git directory.
func (s *stamper) visit(root *os.Root, at string, depth int, git bool) error {
	if depth > limits.WorkspaceDepth {
		return tooMany("levels of directories", limits.WorkspaceDepth)
	}
	entries, err := s.list(root, at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := at + e.Name()
		inState := s.state[strings.TrimSuffix(at, "/")]
		if git && idle(at, e) || inState && !slices.Contains(s.control, e.Name()) {
			continue
		}
		info, err := listed(root, e)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since; a change if it was there before
		}
		if err != nil {
			return unreadable(p, err)
		}
		s.add(root, p, e.Name(), info, git)
		if !info.IsDir() {
			continue
		}
		inside, err := root.OpenRoot(e.Name())
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			continue // who starts the engine cannot look, and so cannot write
		}
		if err != nil {
			return unreadable(p, err)
		}
		err = s.visit(inside, p+"/", depth+1, git || strings.EqualFold(e.Name(), ".git"))
		_ = inside.Close() // only looked at
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// idle says whether an entry of a git directory decides nothing: objects, which are
// named by what they hold, and what git writes beside.
func idle(at string, e fs.DirEntry) bool {
	name := e.Name()
	if e.IsDir() {
		switch {
		case strings.HasSuffix(at, "/objects/"):
			return name != "info"
		case strings.HasSuffix(at, "/refs/"):
			return name == "remotes"
		}
		return name == "logs" || name == "lfs" || name == "rr-cache" || strings.HasPrefix(name, "fsmonitor--daemon")
	}
	switch name {
	case "FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "gc.log", "gc.pid":
		return true
	}
	return strings.HasSuffix(name, ".lock") || strings.HasPrefix(name, "fsmonitor--daemon")
}

func (s *stamper) add(root *os.Root, p, name string, info fs.FileInfo, git bool) {
	m := mark{}
	var ok bool
	if m.stamp, ok = stampOf(info); !ok {
		m.stamp = stamp{Size: info.Size(), MTime: info.ModTime().UnixNano(), Mode: info.Mode()}
	}
	switch {
	case info.IsDir():
		// Its times and size change with what is in it, which is compared itself.
		m.stamp.Size, m.stamp.MTime, m.stamp.CTime = 0, 0, 0
	case git && name == "index" && info.Mode().IsRegular():
		if f, err := root.OpenFile(name, openFlags, 0); err == nil {
			data, err := readAllBounded(f, limits.GitIndexBytes)
			_ = f.Close() // only read
			if err == nil {
				m = mark{stamp{Mode: info.Mode()}, indexDigest(data)}
			}
		}
	}
	s.out[p] = m
}

// outside adds the git directories of a workspace that lie elsewhere: above it, or
// where a linked work tree has them.
func (s *stamper) outside(dir string) error {
	repo, err := findRepository(dir)
	if err != nil || repo == nil {
		return err
	}
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return unreadable(dir, err)
	}
	for _, at := range slices.Compact([]string{repo.gitDir, repo.commonDir}) {
		if to, err := filepath.EvalSymlinks(at); err == nil {
			at = to
		}
		if rel, err := filepath.Rel(top, at); err == nil && filepath.IsLocal(rel) {
			continue // seen
		}
		root, err := os.OpenRoot(at)
		if err != nil {
			return unreadable(at, err)
		}
		err = s.visit(root, filepath.ToSlash(at)+"/", 1, true)
		_ = root.Close() // only looked at
		if err != nil {
			return err
		}
	}
	return nil
}

// Diff lists what differs afterwards, in the order of paths.
func (s Stamps) Diff(after Stamps) []Change {
	var out []Change
	for p, was := range s {
		now, there := after[p]
		switch {
		case !there:
			out = append(out, Change{p, Removed})
		case was == now:
		case was.digest != now.digest || was.stamp.Mode.Type() != now.stamp.Mode.Type() || was.stamp.Size != now.stamp.Size || was.stamp.Inode != now.stamp.Inode || was.stamp.Device != now.stamp.Device:
			out = append(out, Change{p, Changed})
		case was.stamp.Mode != now.stamp.Mode:
			out = append(out, Change{p, Mode})
		default:
			out = append(out, Change{p, Touched})
		}
	}
	for p := range after {
		if _, had := s[p]; !had {
			out = append(out, Change{p, Added})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return out
}
