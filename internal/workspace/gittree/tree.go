package gittree

import (
	"errors"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// Tree is the tree of one commit.
type Tree struct {
	store  *filesystem.Storage
	commit plumbing.Hash
	root   plumbing.Hash

	parents []plumbing.Hash
	name    string // the ref that was asked for, for messages
	prefix  string // of the directory in the work tree, with a slash at the end, or empty
}

// File is one file of a tree.
type File struct {
	Path       string // with slashes, relative to the directory that was opened
	Executable bool
	Data       []byte
}

var (
	objectID = regexp.MustCompile(`^[0-9a-f]{40}$`)
	refName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/@+-]{0,200}$`)
)

// Open opens the tree of a ref in the repository that dir lies in: a whole commit
// id, or the name of a branch (local, of origin or, with its name, of another
// remote) or a tag. Where a name means several that differ, none is taken. Names of
// files are relative to dir.
func Open(dir, ref string) (*Tree, error) {
	if !refName.MatchString(ref) || strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.HasSuffix(ref, ".lock") {
		return nil, protocol.Errorf(protocol.ExitUsage, "git_ref", "%q is no name of a branch, tag or commit", clip(ref))
	}
	gitDir, common, prefix, err := workspace.Repository(dir)
	if err != nil {
		return nil, err
	}
	if gitDir == "" {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "git_repository", "there is no git repository").At(dir).
			WithHint("check the repository out with its history, or leave the ref out")
	}
	dot := dotgit.NewRepositoryFilesystem(osfs.New(filepath.Clean(gitDir)), osfs.New(filepath.Clean(common)))
	t := &Tree{store: filesystem.NewStorage(dot, cache.NewObjectLRU(cache.DefaultMaxSize)), name: ref, prefix: prefix}
	if t.commit, err = t.resolve(ref); err != nil {
		return nil, err
	}
	h, err := t.header(t.commit)
	t.root, t.parents = h.tree, h.parents
	return t, err
}

func (t *Tree) resolve(ref string) (plumbing.Hash, error) {
	if objectID.MatchString(ref) {
		return plumbing.NewHash(ref), nil
	}
	var taken plumbing.ReferenceName
	var commit plumbing.Hash
	for _, name := range candidates(ref) {
		found, err := storer.ResolveReference(t.store, name)
		if errors.Is(err, plumbing.ErrReferenceNotFound) {
			continue
		}
		if err != nil {
			return plumbing.ZeroHash, t.unreachable(err)
		}
		id, err := t.peel(found.Hash())
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if taken != "" && id != commit {
			return plumbing.ZeroHash, protocol.Errorf(protocol.ExitUsage, "git_ref_ambiguous", "%q may be %s, which is %s, or %s, which is %s", ref, taken, commit, name, id).
				WithHint("write %s, %s or the whole commit id", taken, name)
		}
		taken, commit = name, id
	}
	if taken != "" {
		return commit, nil
	}
	return plumbing.ZeroHash, protocol.Errorf(protocol.ExitUnreachable, "git_ref_missing", "the repository has no branch, tag or commit %q", ref).
		WithHint("fetch it first: git fetch origin %s", ref)
}

// candidates are the refs that a name may mean.
func candidates(ref string) []plumbing.ReferenceName {
	if strings.HasPrefix(ref, "refs/") {
		return []plumbing.ReferenceName{plumbing.ReferenceName(ref)}
	}
	return []plumbing.ReferenceName{
		plumbing.NewBranchReferenceName(ref), plumbing.NewRemoteReferenceName("origin", ref), plumbing.NewTagReferenceName(ref),
		plumbing.ReferenceName("refs/remotes/" + ref),
	}
}

// peel follows annotated tags to a commit.
func (t *Tree) peel(id plumbing.Hash) (plumbing.Hash, error) {
	for range limits.GitSymrefs {
		content, err := t.get(plumbing.TagObject, id, limits.GitCommitBytes)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			return id, nil
		}
		if err != nil {
			return id, err
		}
		line, _, _ := strings.Cut(string(content), "\n")
		target, ok := strings.CutPrefix(line, "object ")
		if !ok || !objectID.MatchString(target) {
			return id, t.unreachable(errors.New("a tag names no object"))
		}
		id = plumbing.NewHash(target)
	}
	return id, t.unreachable(errors.New("a tag of tags has no end"))
}

func (t *Tree) header(id plumbing.Hash) (header, error) {
	content, err := t.get(plumbing.CommitObject, id, limits.GitCommitBytes)
	if err != nil {
		return header{}, t.unreachable(err)
	}
	h, err := parseCommit(content)
	if err != nil {
		return h, t.unreachable(err)
	}
	return h, nil
}

func (t *Tree) unreachable(err error) error {
	if errors.As(err, new(*protocol.Error)) {
		return err
	}
	return protocol.Errorf(protocol.ExitUnreachable, "git_object_missing", "what %s names cannot be read: %w", t.name, err).
		WithHint("fetch it first, with its history: git fetch origin %s", t.name)
}

// At gives the tree of another commit of the same repository.
func (t *Tree) At(commit string) (*Tree, error) {
	u := *t
	u.name, u.commit = commit, plumbing.NewHash(commit)
	h, err := u.header(u.commit)
	u.root, u.parents = h.tree, h.parents
	return &u, err
}

// Path gives the path from the top of the repository of a file that a name means.
func (t *Tree) Path(name string) string { return t.prefix + name }

// Top gives the same tree with names relative to the top of the repository.
func (t *Tree) Top() *Tree {
	u := *t
	u.prefix = ""
	return &u
}

// ID gives git's id of the tree.
func (t *Tree) ID() string { return t.root.String() }

// Parents gives the ids of the commit's parents.
func (t *Tree) Parents() []string {
	var out []string
	for _, p := range t.parents {
		out = append(out, p.String())
	}
	return out
}

// Commit gives the id of the commit.
func (t *Tree) Commit() string { return t.commit.String() }

// find looks a path up; ok is false if it is not there.
func (t *Tree) find(name string) (entry, bool, error) {
	at := entry{mode: modeTree, id: t.root}
	if name = strings.Trim(t.prefix+strings.Trim(path.Clean("/"+name), "/"), "/"); name == "" {
		return at, true, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if at.mode != modeTree {
			return at, false, nil
		}
		list, err := t.entries(at.id)
		if err != nil {
			return at, false, err
		}
		i := slices.IndexFunc(list, func(e entry) bool { return e.name == part })
		if i < 0 {
			return at, false, nil
		}
		at = list[i]
	}
	return at, true, nil
}

func (t *Tree) entries(id plumbing.Hash) ([]entry, error) {
	content, err := t.get(plumbing.TreeObject, id, limits.GitObjectBytes)
	if err != nil {
		return nil, t.unreachable(err)
	}
	list, err := parseTree(content)
	if err != nil {
		return nil, t.unreachable(err)
	}
	return list, nil
}

// Has says whether there is a file or directory of that name.
func (t *Tree) Has(name string) (bool, error) {
	_, ok, err := t.find(name)
	return ok, err
}

// Read gives a regular file of at most so many bytes.
func (t *Tree) Read(name string, most int64) (File, error) {
	e, ok, err := t.find(name)
	if err != nil {
		return File{}, err
	}
	if !ok {
		return File{}, t.missing(name)
	}
	return t.file(name, e, most)
}

func (t *Tree) missing(name string) error {
	return protocol.Errorf(protocol.ExitUsage, "git_file_missing", "commit %s has no %q", t.commit, clip(name))
}

func (t *Tree) file(name string, e entry, most int64) (File, error) {
	if e.mode != modeFile && e.mode != modeGroup && e.mode != modeExecutable {
		return File{}, protocol.Errorf(protocol.ExitUsage, "git_file_kind", "%q of commit %s is no regular file", clip(name), t.commit).
			WithHint("links and submodules are not followed; put the file itself there")
	}
	content, err := t.get(plumbing.BlobObject, e.id, most)
	var large *sizeError
	if errors.As(err, &large) {
		return File{}, t.tooMuch("%q has %d bytes, more than %d", clip(name), large.size, large.most)
	}
	if err != nil {
		return File{}, t.unreachable(err)
	}
	return File{Path: name, Executable: e.mode == modeExecutable, Data: content}, nil
}

func (t *Tree) tooMuch(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "git_file_size", "commit "+t.commit.String()+": "+format, args...)
}

// Files gives all files below a directory with at most so many bytes together,
// sorted by path; "" and "." are the root.
func (t *Tree) Files(dir string, most int64) ([]File, error) {
	e, ok, err := t.find(dir)
	if err != nil {
		return nil, err
	}
	if !ok || e.mode != modeTree {
		return nil, t.missing(dir)
	}
	w := &walk{t: t, left: most}
	if err := w.dir(e.id, strings.Trim(path.Clean("/"+dir), "/"), 0); err != nil {
		return nil, err
	}
	slices.SortFunc(w.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return w.files, nil
}

type walk struct {
	t     *Tree
	left  int64
	files []File
}

func (w *walk) dir(id plumbing.Hash, at string, depth int) error {
	if depth > limits.PolicyDepth {
		return w.t.tooMuch("directories nested deeper than %d", limits.PolicyDepth)
	}
	list, err := w.t.entries(id)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Join(at, e.name)
		if e.mode == modeTree {
			if err := w.dir(e.id, name, depth+1); err != nil {
				return err
			}
			continue
		}
		if len(w.files) >= limits.PolicyEntries {
			return w.t.tooMuch("more than %d files", limits.PolicyEntries)
		}
		f, err := w.t.file(name, e, w.left)
		if err != nil {
			return err
		}
		w.left -= int64(len(f.Data))
		w.files = append(w.files, f)
	}
	return nil
}

// Contains says whether the history of this tree's commit holds another commit: the
// commit itself or one of its ancestors. A history that is cut off is an error
// where the answer would be no.
func (t *Tree) Contains(commit string) (bool, error) {
	if !objectID.MatchString(commit) {
		return false, nil
	}
	want := plumbing.NewHash(commit)
	seen := map[plumbing.Hash]bool{t.commit: true}
	queue := []plumbing.Hash{t.commit}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if id == want {
			return true, nil
		}
		h, err := t.header(id)
		if err != nil {
			return false, err
		}
		for _, p := range h.parents {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
		if len(seen) > limits.GitHistory {
			return false, t.tooMuch("its history has more than %d commits", limits.GitHistory)
		}
	}
	return false, nil
}

const maxShown = 80

func clip(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}
