package workspace

import (
	"context"
	"os"
	"path"
	"slices"
	"sort"
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
	keep := make([]string, len(files))
	for i, f := range files {
		keep[i] = f.Path
	}
	if !slices.IsSorted(keep) {
		slices.Sort(keep)
	}
	h := &hider{walker: &walker{ctx: ctx, bare: true}}
	err = h.visit(root, "", keep, 0)
	slices.Sort(h.hidden)
	return h.hidden, err
}

// HiddenIn gives what Hidden does, of a scan's files and others instead of a walk:
// all, sorted, are everything that the scan gave. It is false where the scan did not
// look into a directory that holds one of the files which are kept, in any order.
func HiddenIn(all []File, others []string, keep []File) (hidden []string, ok bool) {
	kept, above := make(map[string]bool, len(keep)), map[string]bool{}
	for i := range keep {
		f := &keep[i]
		kept[f.Path] = true
		for d := path.Dir(f.Path); d != "." && !above[d]; d = path.Dir(d) {
			above[d] = true
		}
	}
	last := "" // topmost, with all before it in its directory
	hide := func(p string) {
		if last != "" && strings.HasPrefix(p, last) && len(p) > len(last) && p[len(last)] == '/' {
			return
		}
		for i := range len(p) {
			if p[i] == '/' && !above[p[:i]] {
				p = p[:i]
				break
			}
		}
		last = p
		hidden = append(hidden, p)
	}
	for _, p := range others {
		if above[p] {
			return nil, false
		}
		if !kept[p] {
			hide(p)
		}
	}
	for i := range all {
		// Where another layer has a directory, that covers this file.
		if name := all[i].Path; !kept[name] && !above[name] {
			hide(name)
		}
	}
	slices.Sort(hidden)
	return slices.Compact(hidden), true
}

type hider struct {
	*walker

	hidden []string
}

// visit compares a directory with the files below it that are kept, in their order.
func (h *hider) visit(root *os.Root, at string, keep []string, depth int) error {
	if depth > limits.WorkspaceDepth {
		return tooMany("levels of directories", limits.WorkspaceDepth)
	}
	entries, err := h.list(root, at)
	if err != nil {
		return err
	}
	children := childrenOf(at, keep)
	for _, e := range entries {
		name := e.Name()
		below, kept := children[name]
		switch {
		case kept && e.IsDir() && below != nil:
			inside, err := root.OpenRoot(name)
			if err != nil {
				return unreadable(at+name, err)
			}
			err = h.visit(inside, at+name+"/", below, depth+1)
			_ = inside.Close() // only looked at
			if err != nil {
				return err
			}
		case kept && !e.IsDir():
			// A file that is kept; or another layer has a directory here, which covers it.
		default:
			h.hidden = append(h.hidden, at+name)
		}
	}
	return nil
}

// childrenOf gives the names in a directory that sorted paths, all below it, need:
// nil for a file itself, and for a directory its own paths.
func childrenOf(at string, keep []string) map[string][]string {
	children := make(map[string][]string, min(len(keep), 256))
	for i := 0; i < len(keep); {
		name, _, dir := strings.Cut(keep[i][len(at):], "/")
		end := i + 1
		if dir {
			// What begins with a path lies together in byte order, since it ends with a slash.
			prefix := keep[i][:len(at)+len(name)+1]
			end = i + sort.Search(len(keep)-i, func(k int) bool { return keep[i+k] > prefix && !strings.HasPrefix(keep[i+k], prefix) })
			children[name] = keep[i:end]
		} else if _, there := children[name]; !there {
			children[name] = nil
		}
		i = end
	}
	return children
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
