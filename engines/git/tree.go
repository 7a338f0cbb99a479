package git

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// trees gives the content of a tree.
type trees func(id plumbing.Hash) ([]byte, error)

// update is what becomes of one path: another file, or nothing (mode is empty).
type update struct {
	path string
	mode string
	id   plumbing.Hash
}

// builder makes new trees. Only directories with an update in them are read and
// written, so that the size of the rest does not matter.
type builder struct {
	old trees
	out *objects
}

// sortUpdates brings what lies in one directory together.
func sortUpdates(list []update) {
	slices.SortFunc(list, func(a, b update) int {
		return strings.Compare(strings.ReplaceAll(a.path, "/", "\x00"), strings.ReplaceAll(b.path, "/", "\x00"))
	})
}

// build gives the tree that the sorted updates make of old; the zero id stands
// for a directory that is not there.
func (b *builder) build(old plumbing.Hash, updates []update, at string) (plumbing.Hash, error) {
	entries := map[string]entry{}
	if !old.IsZero() {
		list, err := readTree(b.old, old)
		if err != nil {
			return old, err
		}
		for _, e := range list {
			entries[e.name] = e
		}
	}
	for len(updates) > 0 {
		name, _, _ := strings.Cut(updates[0].path[len(at):], "/")
		n := 1
		for n < len(updates) && strings.HasPrefix(updates[n].path[len(at):], name+"/") {
			n++
		}
		if err := b.place(entries, name, updates[:n], at); err != nil {
			return old, err
		}
		updates = updates[n:]
	}
	if len(entries) == 0 {
		return plumbing.ZeroHash, nil
	}
	list := make([]entry, 0, len(entries))
	for _, e := range entries {
		list = append(list, e)
	}
	return b.out.add(plumbing.TreeObject, encodeTree(list)), nil
}

// place does the updates of one name: of the file itself, of what lies below, or
// of both where a file becomes a directory or the other way round.
func (b *builder) place(entries map[string]entry, name string, updates []update, at string) error {
	whole := at + name
	own := updates[0].path == whole
	e, there := entries[name]
	if e.mode == modeGitlink {
		return badChange(whole, "it is a submodule, which this engine leaves alone")
	}
	below := updates
	if own {
		below = updates[1:]
	}
	sub := plumbing.ZeroHash
	if e.isTree() {
		sub = e.id
	} else if there && len(below) > 0 && (!own || updates[0].mode != "") {
		return badChange(whole, "it is a file in the parent commit, and the changes have something below it")
	}
	if len(below) > 0 {
		var err error
		if sub, err = b.build(sub, below, whole+"/"); err != nil {
			return err
		}
	}
	switch {
	case !sub.IsZero() && own && updates[0].mode != "":
		return badChange(whole, "it becomes a file, but as a directory it still holds files that no patch deletes")
	case !sub.IsZero():
		entries[name] = entry{name, modeTree, sub}
	case own && updates[0].mode != "":
		entries[name] = entry{name, updates[0].mode, updates[0].id}
	default:
		delete(entries, name)
	}
	return nil
}

func readTree(from trees, id plumbing.Hash) ([]entry, error) {
	content, err := from(id)
	if err != nil {
		return nil, err
	}
	list, err := parseTree(content)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", id, err)
	}
	return list, nil
}

// change is one file in which two trees differ. The side that is not there has
// an empty mode.
type change struct {
	path            string
	oldMode, mode   string
	before, content plumbing.Hash
}

// comparison walks two trees at once, only where they differ.
type comparison struct {
	old, newer trees
	changes    []change
}

// compare adds the changes below at; a zero id stands for no directory.
func (c *comparison) compare(old, newer plumbing.Hash, at string, depth int) error {
	if depth > limits.GitTreeDepth {
		return fmt.Errorf("%s: directories lie within each other more than %d deep", at, limits.GitTreeDepth)
	}
	sides := map[string][2]entry{}
	for i, side := range []struct {
		from trees
		id   plumbing.Hash
	}{{c.old, old}, {c.newer, newer}} {
		if side.id.IsZero() {
			continue
		}
		list, err := readTree(side.from, side.id)
		if err != nil {
			return err
		}
		if i == 1 && depth > 0 && len(list) == 0 {
			return fmt.Errorf("%s: it is an empty directory, which git does not keep", at)
		}
		for _, e := range list {
			pair := sides[e.name]
			pair[i] = e
			sides[e.name] = pair
		}
	}
	for name, pair := range sides {
		if pair[0] == pair[1] {
			delete(sides, name)
		}
	}
	names := make([]string, 0, len(sides))
	for name := range sides {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.compareEntry(sides[name], at+name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) compareEntry(pair [2]entry, path string, depth int) error {
	if err := patch.CheckPath(path, nil); err != nil {
		return err
	}
	was, is := &pair[0], &pair[1]
	if was.mode == modeGitlink || is.mode == modeGitlink || is.mode == modeGroup {
		return fmt.Errorf("%s: it has mode %s%s, which this engine never changes", path, was.mode, is.mode)
	}
	one := change{path: path}
	if was.mode != "" && !was.isTree() {
		one.oldMode, one.before = was.mode, was.id
	}
	if is.mode != "" && !is.isTree() {
		one.mode, one.content = is.mode, is.id
	}
	if one.oldMode != "" || one.mode != "" {
		if c.changes = append(c.changes, one); len(c.changes) > limits.GitChanges {
			return tooLarge("more than %d files change in one commit", limits.GitChanges)
		}
	}
	if !was.isTree() && !is.isTree() {
		return nil
	}
	var old, newer plumbing.Hash
	if was.isTree() {
		old = was.id
	}
	if is.isTree() {
		newer = is.id
	}
	return c.compare(old, newer, path+"/", depth+1)
}

func badChange(path, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "git_change_refused", format, args...).At(path).
		WithHint("the files in git must be those that the earlier step saw: commit or discard other changes, and see the step's inputs")
}

func tooLarge(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "git_too_large", format, args...).
		WithHint("split the change into several steps or flights")
}
