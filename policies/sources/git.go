package sources

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// objects gives the content of git objects, each of which hashes to its id.
type objects interface {
	get(kind plumbing.ObjectType, id plumbing.Hash, most int64) ([]byte, error)
}

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

func loadGit(ctx context.Context, s *config.Source, name string, o *Options) (policies.Set, error) {
	where := s.Git + "@" + s.Ref
	if !validRef(s.Ref) {
		return policies.Set{}, badRef(where, "%q names no branch, tag or commit", s.Ref)
	}
	from, commit, err := openGit(ctx, s, where, o)
	if err != nil {
		return policies.Set{}, err
	}
	g := &gitTree{from: from, where: where}
	root, commit, err := g.root(commit)
	if err != nil {
		return policies.Set{}, err
	}
	o.Log.Debug("policy source", "set", name, "git", s.Git, "ref", s.Ref, "commit", commit.String())
	at, err := g.descend(root, s.Dir)
	if err != nil {
		return policies.Set{}, err
	}
	files := &tree{root: g.dir(".", at)}
	set, err := policies.FromFS(ctx, name, where+":"+s.Dir, files)
	if err != nil && files.err != nil && ctx.Err() == nil {
		err = files.err // the reader's own words for it would have another exit code
	}
	return set, err
}

// openGit finds the repository of an entry and the object that its ref names.
func openGit(ctx context.Context, s *config.Source, where string, o *Options) (objects, plumbing.Hash, error) {
	if strings.Contains(s.Git, "://") {
		return fetch(ctx, s, where, o)
	}
	r, err := openNamed(s, where, o)
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	id, err := r.resolve(s.Ref)
	return r, id, err
}

// openNamed opens a repository of this machine: the workspace's own, or one that no
// change of the workspace can edit. SPEC: docs/protocol.md 8
func openNamed(s *config.Source, where string, o *Options) (*local, error) {
	if s.Git == "." {
		return openLocal(o.Workspace, true, where)
	}
	within := func(path string) error {
		if !workspace.Through(o.Workspace, path) {
			return nil
		}
		return protocol.Errorf(protocol.ExitUsage, "policy_git_inside", "the repository lies in the workspace, where what it judges could edit it").At(where).
			WithHint("write git: . for the workspace's own repository, name one outside of the workspace, or put the policies under policies.rego")
	}
	dir := filepath.FromSlash(s.Git)
	if err := within(dir); err != nil {
		return nil, err
	}
	r, err := openLocal(dir, false, where)
	if err != nil {
		return nil, err
	}
	for _, d := range r.dirs {
		if err := within(d); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// validRef says whether a text may be a name: no path leads out of refs by it.
func validRef(ref string) bool {
	return fs.ValidPath(ref) && ref != "." && !strings.Contains(ref, "..") && !strings.Contains(ref, "@{") && !strings.HasSuffix(ref, ".lock") &&
		!strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || strings.ContainsRune("~^:?*[\\\x7f", r) })
}

// candidates are the names that a ref may mean.
func candidates(ref string) []plumbing.ReferenceName {
	if strings.HasPrefix(ref, "refs/") {
		return []plumbing.ReferenceName{plumbing.ReferenceName(ref)}
	}
	return []plumbing.ReferenceName{
		plumbing.NewBranchReferenceName(ref), plumbing.NewTagReferenceName(ref),
		plumbing.NewRemoteReferenceName("origin", ref), // what a checkout in CI has
		plumbing.ReferenceName("refs/remotes/" + ref),
	}
}

// choose resolves a ref by the ids that look gives for names. Where it may mean several
// that differ, none is meant.
func choose(ref, where string, look func(plumbing.ReferenceName) (plumbing.Hash, error)) (plumbing.Hash, error) {
	if commitID.MatchString(ref) {
		return plumbing.NewHash(ref), nil
	}
	var found plumbing.Hash
	var taken plumbing.ReferenceName
	for _, name := range candidates(ref) {
		id, err := look(name)
		if errors.Is(err, plumbing.ErrReferenceNotFound) {
			continue
		}
		if err != nil {
			return found, badRepository(where, "%s cannot be read: %w", name, err)
		}
		if taken != "" && found != id {
			// A branch of this clone may be the change itself.
			return found, badRef(where, "%q may be %s, which is %s, or %s, which is %s", ref, taken, found, name, id).
				WithHint("write %s, %s or the whole commit id", taken, name)
		}
		taken, found = name, id
	}
	if taken != "" {
		return found, nil
	}
	return plumbing.ZeroHash, badRef(where, "the repository has no branch or tag %q", ref)
}

func badRef(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_git_ref", format, args...).At(where).
		WithHint("name a branch, a tag or a whole commit id that is there; in a shallow checkout fetch it first")
}

func badRepository(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_git_invalid", format, args...).At(where).
		WithHint("see whether git fsck finds the repository whole; a clone with --filter lacks objects")
}

// gitTree reads trees of one repository.
type gitTree struct {
	from  objects
	where string
}

// root gives the tree of what a ref names, through annotated tags, and the commit.
func (g *gitTree) root(id plumbing.Hash) (plumbing.Hash, plumbing.Hash, error) {
	for range limits.SourceGitTags {
		content, err := g.from.get(plumbing.CommitObject, id, limits.SourceGitObject)
		if err == nil {
			head, ok := headerID(content, "tree ")
			if !ok {
				return id, id, badRepository(g.where, "the commit %s is malformed", id)
			}
			return head, id, nil
		}
		if !errors.Is(err, errKind) {
			return id, id, err
		}
		if content, err = g.from.get(plumbing.TagObject, id, limits.SourceGitObject); err != nil {
			if errors.Is(err, errKind) {
				err = badRef(g.where, "%s is no commit", id)
			}
			return id, id, err
		}
		next, ok := headerID(content, "object ")
		if !ok {
			return id, id, badRepository(g.where, "the tag %s is malformed", id)
		}
		id = next
	}
	return id, id, badRepository(g.where, "more than %d tags name each other", limits.SourceGitTags)
}

// headerID reads the id in the first line of a commit or tag.
func headerID(content []byte, name string) (plumbing.Hash, bool) {
	line, _, _ := bytes.Cut(content, []byte("\n"))
	text, ok := strings.CutPrefix(string(line), name)
	return plumbing.NewHash(text), ok && commitID.MatchString(text)
}

// descend gives the tree of a directory.
func (g *gitTree) descend(id plumbing.Hash, dir string) (plumbing.Hash, error) {
	if dir == "." || dir == "" {
		return id, nil
	}
	for part := range strings.SplitSeq(path.Clean(dir), "/") {
		list, err := g.entries(id)
		if err != nil {
			return id, err
		}
		i := slices.IndexFunc(list, func(e gitEntry) bool { return e.name == part })
		if i < 0 || list[i].mode != modeTree {
			return id, protocol.Errorf(protocol.ExitDenied, "policy_set_missing", "the commit has no directory %q", dir).At(g.where).
				WithHint("name a directory of the repository with path; links are not followed")
		}
		id = list[i].id
	}
	return id, nil
}

// Modes of a tree's entries.
const (
	modeTree = "40000"
	modeLink = "120000"
	modeSub  = "160000"
)

type gitEntry struct {
	mode, name string
	id         plumbing.Hash
}

// entries reads a tree object.
func (g *gitTree) entries(id plumbing.Hash) ([]gitEntry, error) {
	content, err := g.from.get(plumbing.TreeObject, id, limits.SourceGitObject)
	if errors.Is(err, errKind) {
		err = badRepository(g.where, "%s is no tree", id)
	}
	if err != nil {
		return nil, err
	}
	out, err := parseTree(content)
	if err != nil {
		return nil, badRepository(g.where, "the tree %s is malformed: %w", id, err)
	}
	return out, nil
}

var errTree = errors.New("an entry has no mode, name or id, or a name that no file can have, or is there twice")

func parseTree(content []byte) ([]gitEntry, error) {
	var out []gitEntry
	seen := map[string]bool{}
	for len(content) > 0 {
		head, rest, ok := bytes.Cut(content, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		if !ok || !spaced || len(rest) < len(plumbing.ZeroHash) || name == "" || name == "." || name == ".." || strings.Contains(name, "/") || seen[name] {
			return nil, errTree
		}
		seen[name] = true
		e := gitEntry{mode: mode, name: name}
		copy(e.id[:], rest)
		out = append(out, e)
		content = rest[len(plumbing.ZeroHash):]
	}
	return out, nil
}

// dir makes a node of a tree object.
func (g *gitTree) dir(name string, id plumbing.Hash) *node {
	return &node{name: name, mode: fs.ModeDir, children: func() ([]*node, error) {
		list, err := g.entries(id)
		if err != nil {
			return nil, err
		}
		out := make([]*node, 0, len(list))
		for _, e := range list {
			switch e.mode {
			case modeTree:
				out = append(out, g.dir(e.name, e.id))
			case "100644", "100755", "100664":
				out = append(out, g.file(e.name, e.id))
			case modeLink:
				out = append(out, &node{name: e.name, mode: fs.ModeSymlink})
			case modeSub:
				return nil, protocol.Errorf(protocol.ExitUsage, "policy_file_kind", "submodules are not followed in a policy directory").
					At(g.where + ":" + printable(e.name)).WithHint("name the submodule's repository as a source of its own")
			default:
				return nil, badRepository(g.where, "%q has the unknown mode %q", short(e.name), short(e.mode))
			}
		}
		slices.SortFunc(out, func(a, b *node) int { return strings.Compare(a.name, b.name) })
		return out, nil
	}}
}

func printable(name string) string {
	if utf8.ValidString(name) {
		return short(name)
	}
	return "?"
}

// file makes a node of a blob.
func (g *gitTree) file(name string, id plumbing.Hash) *node {
	return &node{name: name, data: func() ([]byte, error) {
		content, err := g.from.get(plumbing.BlobObject, id, limits.PolicyFile)
		switch {
		case errors.Is(err, errTooLarge):
			return nil, protocol.Errorf(protocol.ExitUsage, "policy_set_size", "the file has more than %d bytes", limits.PolicyFile).
				At(g.where + ":" + printable(name)).WithHint("split it")
		case errors.Is(err, errKind):
			return nil, badRepository(g.where, "%s is no blob", id)
		}
		return content, err
	}}
}

// errKind says that an object is of another kind.
var errKind = errors.New("the object is of another kind")

// isDir says whether a path is a directory.
func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
