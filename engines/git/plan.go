package git

import (
	"context"
	"io"
	"os"
	"strconv"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// Types of the state artifacts.
const (
	typeBundle = "git-bundle"
	typePack   = "git-pack"
)

// plan computes the commit and writes it with its evidence.
func plan(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(r.Input.Config)
	if err != nil {
		return nil, err
	}
	key, err := s.signer(r)
	if err != nil {
		return nil, err
	}
	list, err := plannedChanges(r.Input.Context)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 && !s.allowEmpty {
		return nil, nothingToCommit()
	}
	dir := r.Env[gitDirVariable]
	if dir == "" {
		return nil, protocol.Errorf(protocol.ExitUsage, "git_repository", "%s is not set", gitDirVariable).
			WithHint("plan in a checkout of a git repository")
	}
	repo, err := openRepository(dir)
	if err != nil {
		return nil, err
	}
	m := maker{ctx: ctx, s: s, repo: repo, out: newObjects(), base: newObjects()}
	if err := m.openParent(); err != nil {
		return nil, err
	}
	if err := m.makeTree(r.Workspace, list); err != nil {
		return nil, err
	}
	if m.tree == m.parent.tree && !s.allowEmpty {
		return nil, nothingToCommit()
	}
	when := s.dateAfter(m.parent)
	content := s.encodeCommit(m.tree, m.parentID, when, "")
	if key != nil {
		signature, err := signCommit(key, content)
		if err != nil {
			return nil, err
		}
		content = s.encodeCommit(m.tree, m.parentID, when, signature)
	}
	return m.write(r, content)
}

func nothingToCommit() error {
	return protocol.Errorf(protocol.ExitFailure, "git_nothing_to_commit", "the earlier steps change nothing, so there is nothing to commit").
		WithHint("let the step need the steps whose patches it should commit, or set \"allow_empty: true\"")
}

// maker makes one commit.
type maker struct {
	ctx      context.Context
	s        *settings
	repo     *repository
	parentID plumbing.Hash
	parent   *commit
	tree     plumbing.Hash
	out      *objects // new trees and blobs
	base     *objects // the parent and its trees that change
}

func (m *maker) openParent() (err error) {
	if m.parentID = m.s.base; m.parentID.IsZero() {
		if m.parentID, err = m.repo.head(); err != nil {
			return err
		}
	}
	content, err := m.repo.get(plumbing.CommitObject, m.parentID)
	if err != nil {
		return err
	}
	if m.parent, err = parseCommit(content); err != nil {
		return m.repo.invalid("commit %s: %w", m.parentID, err)
	}
	m.base.add(plumbing.CommitObject, content)
	return nil
}

// makeTree makes the tree with the changed files in it.
func (m *maker) makeTree(workspace string, list []planned) error {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return protocol.Errorf(protocol.ExitFailure, "git_workspace_differs", "the workspace cannot be opened: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	v := view{root: root, left: limits.GitContentBytes}
	files := finder{repo: m.repo, root: m.parent.tree, known: map[plumbing.Hash]map[string]entry{}}
	contents := make([][]byte, len(list))
	updates := make([]update, 0, len(list))
	for i := range list {
		if err := m.ctx.Err(); err != nil {
			return context.Cause(m.ctx)
		}
		p := &list[i]
		if p.after == (state{}) {
			err = v.absent(p)
			updates = append(updates, update{path: p.path})
		} else if contents[i], err = v.read(p); err == nil {
			updates = append(updates, update{p.path, p.after.mode, m.out.add(plumbing.BlobObject, contents[i])})
		}
		if err != nil {
			return err
		}
	}
	attributes := newAttributes(m.repo, &files, list, contents)
	for i := range list {
		if err := m.checkParentHas(&files, &list[i], contents[i], attributes); err != nil {
			return err
		}
	}
	sortUpdates(updates)
	b := builder{old: m.repo.tree, out: m.out}
	if m.tree, err = b.build(m.parent.tree, updates, ""); err != nil {
		return err
	}
	if m.tree.IsZero() {
		m.tree = m.out.add(plumbing.TreeObject, nil)
	}
	return nil
}

// checkParentHas makes sure that the parent has at a path what the first of the
// earlier steps saw there, and that git would store the new content as it is.
func (m *maker) checkParentHas(files *finder, p *planned, content []byte, attributes *attributes) error {
	was, err := files.find(p.path)
	if err != nil {
		return err
	}
	var old []byte
	now := state{}
	if was.mode == modeGitlink {
		return badChange(p.path, "it is a submodule, which this engine leaves alone")
	}
	if was.mode != "" && !was.isTree() {
		if old, err = m.repo.get(plumbing.BlobObject, was.id); err != nil {
			return err
		}
		now = state{plainMode(was.mode), protocol.Digest(old)}
	}
	if p.after.mode == patch.ModeFile || p.after.mode == patch.ModeExecutable {
		if err := attributes.check(p.path, content, old); err != nil {
			return err
		}
	}
	if now != p.before {
		return badChange(p.path, "the parent commit %s has something else there than the earlier steps found (%s, they found %s)",
			m.parentID, now, p.before)
	}
	return nil
}

func (s state) String() string {
	if s.mode == "" {
		return "nothing"
	}
	return s.mode + " " + s.digest
}

// collect gives the bundle of a commit: the commit, then the trees and files in
// which it differs from its parent, in the order in which they are found. The
// parent's trees on the way become the base.
func (m *maker) collect(content []byte) (*bundle, error) {
	all := newObjects()
	keep := func(from trees, to *objects) trees {
		return func(id plumbing.Hash) ([]byte, error) {
			content, err := from(id)
			if err == nil {
				to.add(plumbing.TreeObject, content)
			}
			return content, err
		}
	}
	b := &bundle{commit: all.add(plumbing.CommitObject, content), parent: m.parentID, ref: m.s.ref(), objects: all}
	made := func(id plumbing.Hash) ([]byte, error) { return m.out.get(plumbing.TreeObject, id) }
	c := comparison{old: keep(m.repo.tree, m.base), newer: keep(made, all)}
	if m.tree != m.parent.tree {
		if err := c.compare(m.parent.tree, m.tree, "", 0); err != nil {
			return nil, err
		}
	}
	for _, x := range c.changes {
		if x.mode != "" {
			content, err := m.out.get(plumbing.BlobObject, x.content)
			if err != nil {
				return nil, err
			}
			all.add(plumbing.BlobObject, content)
		}
	}
	return b, nil
}

// write writes the artifacts.
func (m *maker) write(r *kit.Run, content []byte) (*protocol.EngineOutput, error) {
	b, err := m.collect(content)
	if err != nil {
		return nil, err
	}
	// What is written is described by the same way as at seal and in take-off.
	p, err := m.s.prove(b, m.base)
	if err != nil {
		return nil, err
	}
	evidence, err := m.s.evidence(p)
	if err != nil {
		return nil, err
	}
	if _, err := r.Artifact(commitName, protocol.RoleEvidence, evidence, nil); err != nil {
		return nil, err
	}
	data, err := encodeBundle(b.parent, b.commit, b.ref, b.objects)
	if err != nil {
		return nil, err
	}
	pack, err := encodePack(m.base)
	if err != nil {
		return nil, err
	}
	for _, a := range []struct {
		name string
		data []byte
		d    protocol.Artifact
	}{
		{objectsName, data, protocol.Artifact{ArtifactType: typeBundle, Action: "push", Target: evidence.Target, Mime: "application/x-git-bundle"}},
		{baseName, pack, protocol.Artifact{ArtifactType: typePack, Action: "inform", Mime: "application/x-git-pack"}},
	} {
		_, err := r.Artifact(a.name, protocol.RoleState, a.d, func(w io.Writer) error { _, err := w.Write(a.data); return err })
		if err != nil {
			return nil, err
		}
	}
	r.Logf("commit %s on %s, %d files changed", b.commit, b.parent, len(p.changes))
	return &protocol.EngineOutput{ReceiptID: receiptID(b.commit), Metrics: metrics(len(p.changes), len(b.order))}, nil
}

func receiptID(id plumbing.Hash) string { return ID + "-" + id.String()[:16] }

func metrics(files, count int) []protocol.EngineMetric {
	number := func(n int) protocol.Number { return protocol.Number(strconv.Itoa(n)) }
	return []protocol.EngineMetric{{Name: "files_changed", Value: number(files)}, {Name: "objects", Value: number(count)}}
}

// finder finds paths in the parent's tree.
type finder struct {
	repo  *repository
	root  plumbing.Hash
	known map[plumbing.Hash]map[string]entry
}

// find gives the entry at a path; one without mode where there is none. A
// submodule on the way is the answer for what would lie in it.
func (f *finder) find(path string) (entry, error) {
	at := entry{mode: modeTree, id: f.root}
	for name := range splitPath(path) {
		if !at.isTree() {
			if at.mode == modeGitlink {
				return at, nil
			}
			return entry{}, nil
		}
		dir := f.known[at.id]
		if dir == nil {
			list, err := readTree(f.repo.tree, at.id)
			if err != nil {
				return entry{}, err
			}
			dir = make(map[string]entry, len(list))
			for _, e := range list {
				dir[e.name] = e
			}
			f.known[at.id] = dir
		}
		at = dir[name]
	}
	return at, nil
}
