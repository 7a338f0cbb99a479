package githubtest

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/memory"
)

// objects are what git keeps of a repository: in memory, or in a directory, which is
// opened anew for each use, since others write to it too.
type objects struct {
	dir    string
	shared *memory.Storage          // nil for a directory
	own    *memory.ReferenceStorage // the refs, if they are not those of the directory
}

func newObjects() *objects {
	return &objects{shared: memory.NewStorage(), own: &memory.ReferenceStorage{}}
}

// fork has the same objects and other refs.
func (o *objects) fork() *objects {
	return &objects{dir: o.dir, shared: o.shared, own: &memory.ReferenceStorage{}}
}

func (o *objects) store() storer.EncodedObjectStorer {
	if o.shared != nil {
		return o.shared
	}
	return o.directory()
}

func (o *objects) refs() storer.ReferenceStorer {
	if o.own != nil {
		return o.own
	}
	return o.directory()
}

func (o *objects) directory() *filesystem.Storage {
	dir := o.dir
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		dir = filepath.Join(dir, ".git")
	}
	return filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRUDefault())
}

func (o *objects) each(f func(*plumbing.Reference) error) error {
	all, err := o.refs().IterReferences()
	if err != nil {
		return err
	}
	return all.ForEach(f)
}

// tip is what a ref names, or nothing.
func (o *objects) tip(ref string) string {
	r, err := o.refs().Reference(plumbing.ReferenceName(ref))
	if err != nil {
		return ""
	}
	return r.Hash().String()
}

func (o *objects) set(ref, sha string) error {
	return o.refs().SetReference(plumbing.NewHashReference(plumbing.ReferenceName(ref), plumbing.NewHash(sha)))
}

func (o *objects) commit(sha string) (*object.Commit, error) {
	return object.GetCommit(o.store(), plumbing.NewHash(sha))
}

// resolve gives the commit of a name: a full SHA, a branch, a tag.
func (o *objects) resolve(name string) *object.Commit {
	if len(name) == 40 {
		if c, err := o.commit(name); err == nil {
			return c
		}
	}
	for _, ref := range []string{name, "refs/" + name, "refs/heads/" + name, "refs/tags/" + name} {
		at := o.tip(ref)
		if at == "" {
			continue
		}
		if tag, err := object.GetTag(o.store(), plumbing.NewHash(at)); err == nil {
			at = tag.Target.String()
		}
		if c, err := o.commit(at); err == nil {
			return c
		}
	}
	return nil
}

// file is one entry of a whole tree.
type file struct {
	mode filemode.FileMode
	hash plumbing.Hash
}

// files are all of a tree by path.
func (o *objects) files(tree plumbing.Hash) (map[string]file, error) {
	out := map[string]file{}
	if tree.IsZero() {
		return out, nil
	}
	t, err := object.GetTree(o.store(), tree)
	if err != nil {
		return nil, err
	}
	walk := object.NewTreeWalker(t, true, nil)
	defer walk.Close()
	for {
		path, entry, err := walk.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if entry.Mode != filemode.Dir {
			out[path] = file{entry.Mode, entry.Hash}
		}
	}
}

// write makes the trees of some files.
func (o *objects) write(files map[string]file) (plumbing.Hash, error) {
	below := map[string]map[string]file{}
	t := &object.Tree{}
	for path, f := range files {
		dir, rest, deep := strings.Cut(path, "/")
		if !deep {
			t.Entries = append(t.Entries, object.TreeEntry{Name: path, Mode: f.mode, Hash: f.hash})
			continue
		}
		if below[dir] == nil {
			below[dir] = map[string]file{}
		}
		below[dir][rest] = f
	}
	for dir, inside := range below {
		hash, err := o.write(inside)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		t.Entries = append(t.Entries, object.TreeEntry{Name: dir, Mode: filemode.Dir, Hash: hash})
	}
	slices.SortFunc(t.Entries, func(a, b object.TreeEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	return o.put(t)
}

// sortName is what git sorts a tree by.
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

// put stores an object of git.
func (o *objects) put(v interface {
	Encode(o plumbing.EncodedObject) error
}) (plumbing.Hash, error) {
	e := &plumbing.MemoryObject{}
	if err := v.Encode(e); err != nil {
		return plumbing.ZeroHash, err
	}
	return o.store().SetEncodedObject(e)
}

func (o *objects) blob(content string) (plumbing.Hash, error) {
	e := &plumbing.MemoryObject{}
	e.SetType(plumbing.BlobObject)
	if _, err := io.WriteString(e, content); err != nil {
		return plumbing.ZeroHash, err
	}
	return o.store().SetEncodedObject(e)
}

// merged are the files of ours with what theirs changed since base, or false where
// both changed one file.
func merged(base, ours, theirs map[string]file) (map[string]file, bool) {
	out := maps.Clone(ours)
	for path := range union(base, theirs) {
		if base[path] == theirs[path] {
			continue
		}
		if ours[path] != base[path] && ours[path] != theirs[path] {
			return nil, false
		}
		if _, there := theirs[path]; there {
			out[path] = theirs[path]
		} else {
			delete(out, path)
		}
	}
	return out, true
}

func union(a, b map[string]file) map[string]file {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// base is where two commits part.
func (o *objects) base(a, b *object.Commit) (*object.Commit, error) {
	all, err := a.MergeBase(b)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// merge gives the tree of theirs merged into ours; a zero hash where they conflict.
func (o *objects) merge(ours, theirs *object.Commit) (plumbing.Hash, error) {
	base, err := o.base(ours, theirs)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	var from plumbing.Hash
	if base != nil {
		from = base.TreeHash
	}
	return o.merge3(from, ours.TreeHash, theirs.TreeHash)
}

func (o *objects) merge3(base, ours, theirs plumbing.Hash) (plumbing.Hash, error) {
	var sides [3]map[string]file
	for i, tree := range []plumbing.Hash{base, ours, theirs} {
		var err error
		if sides[i], err = o.files(tree); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	out, clean := merged(sides[0], sides[1], sides[2])
	if !clean {
		return plumbing.ZeroHash, nil
	}
	return o.write(out)
}

// write a commit of a tree.
func (o *objects) record(tree plumbing.Hash, message string, author, committer *User, at time.Time, parents ...plumbing.Hash) (string, error) {
	sign := func(u *User) object.Signature { return object.Signature{Name: u.Login, Email: u.Email(), When: at} }
	hash, err := o.put(&object.Commit{Author: sign(author), Committer: sign(committer), Message: message, TreeHash: tree, ParentHashes: parents})
	return hash.String(), err
}

// since are the commits of tip that base does not have, oldest first.
func (o *objects) since(base, tip *object.Commit) ([]*object.Commit, error) {
	have := map[plumbing.Hash]bool{}
	if base != nil {
		err := object.NewCommitPreorderIter(base, nil, nil).ForEach(func(c *object.Commit) error {
			have[c.Hash] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var out []*object.Commit
	err := object.NewCommitPreorderIter(tip, have, nil).ForEach(func(c *object.Commit) error {
		out = append(out, c)
		return nil
	})
	slices.Reverse(out)
	return out, err
}

// fetch brings a commit and all below it from another store.
func (o *objects) fetch(from *objects, sha string) error {
	if o.shared != nil && o.shared == from.shared || o.dir != "" && o.dir == from.dir {
		return nil
	}
	return copyAll(from.store(), o.store(), plumbing.NewHash(sha))
}
