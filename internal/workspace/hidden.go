package workspace

import (
	"context"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Hidden lists the topmost paths below dir that hold none of the files: what must
// be hidden for dir to show exactly those. Directories without any of them, empty
// ones too, are hidden as a whole and not looked into.
func Hidden(ctx context.Context, dir string, files []File) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer func() { _ = root.Close() }() // only looked at
	h := &hider{walker: &walker{ctx: ctx, bare: true}, keep: make(map[string]bool, len(files)), above: map[string]bool{}}
	for _, f := range files {
		h.keep[f.Path] = true
		for d := path.Dir(f.Path); d != "." && !h.above[d]; d = path.Dir(d) {
			h.above[d] = true
		}
	}
	err = h.visit(root, "", 0)
	slices.Sort(h.hidden)
	return h.hidden, err
}

type hider struct {
	*walker

	keep   map[string]bool // files
	above  map[string]bool // directories that hold one of them
	hidden []string
}

func (h *hider) visit(root *os.Root, at string, depth int) error {
	if depth > limits.WorkspaceDepth {
		return tooMany("levels of directories", limits.WorkspaceDepth)
	}
	entries, err := h.list(root, at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := at + e.Name()
		switch {
		case e.IsDir() && h.above[p]:
			inside, err := root.OpenRoot(e.Name())
			if err != nil {
				return unreadable(p, err)
			}
			err = h.visit(inside, p+"/", depth+1)
			_ = inside.Close() // only looked at
			if err != nil {
				return err
			}
		case !e.IsDir() && h.keep[p]:
		case !e.IsDir() && h.above[p]:
			// Another layer has a directory here, which covers it.
		default:
			h.hidden = append(h.hidden, strings.TrimSuffix(p, "/"))
		}
	}
	return nil
}

// AllOwn says whether all files, and the directories above them, belong to this
// process' user and group. Files that are not there do not count, and files that a
// scan found to be own are not looked at again.
func AllOwn(dir string, files []File) (bool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, unreadable(dir, err)
	}
	defer func() { _ = root.Close() }() // only looked at
	uid, gid := os.Getuid(), os.Getgid()
	seen := map[string]bool{}
	own := func(p string) bool {
		info, err := root.Lstat(p)
		return err != nil || ownedBy(info, uid, gid)
	}
	for _, f := range files {
		if !f.Own && !own(f.Path) {
			return false, nil
		}
		for d := path.Dir(f.Path); !seen[d]; d = path.Dir(d) {
			seen[d] = true
			if !own(d) {
				return false, nil
			}
		}
	}
	return true, nil
}

// Repositories lists everything below dir that is called .git in any case, with the
// digest of what git would run or follow there: its configuration and where it
// points to. What an engine leaves there is executed by the next git command.
func Repositories(ctx context.Context, dir string) (map[string]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer func() { _ = root.Close() }() // only looked at
	r := &repositories{walker: &walker{ctx: ctx, bare: true}, found: map[string]string{}}
	err = r.visit(root, "", 0)
	return r.found, err
}

type repositories struct {
	*walker

	found map[string]string
}

func (r *repositories) visit(root *os.Root, at string, depth int) error {
	if depth > limits.WorkspaceDepth {
		return tooMany("levels of directories", limits.WorkspaceDepth)
	}
	entries, err := r.list(root, at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := at + e.Name()
		if strings.EqualFold(e.Name(), ".git") {
			r.found[p] = telling(root, e)
			continue
		}
		if !e.IsDir() {
			continue
		}
		inside, err := root.OpenRoot(e.Name())
		if err != nil {
			return unreadable(p, err)
		}
		err = r.visit(inside, p+"/", depth+1)
		_ = inside.Close() // only looked at
		if err != nil {
			return err
		}
	}
	return nil
}

// telling describes a .git by what decides over what git does there.
func telling(root *os.Root, e os.DirEntry) string {
	var out strings.Builder
	out.WriteString(e.Type().String())
	for _, name := range []string{"", "config", "config.worktree", "commondir", "HEAD", "hooks"} {
		p := path.Join(e.Name(), name)
		info, err := root.Lstat(p)
		if err != nil {
			continue
		}
		out.WriteString(" " + name + " " + info.Mode().Type().String())
		if !info.Mode().IsRegular() || name == "HEAD" || info.Size() > limits.GitFileBytes {
			continue
		}
		if f, err := root.OpenFile(p, openFlags, 0); err == nil {
			data, err := readAllBounded(f, limits.GitFileBytes)
			_ = f.Close() // only read
			if err == nil {
				out.WriteString(protocol.Digest(data))
			}
		}
	}
	return out.String()
}
