package git

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// proven is what the state artifacts prove.
type proven struct {
	bundle  *bundle
	changes []change
	commit  *commit
	when    int64
}

// prove makes sure that a bundle holds the commit that the settings ask for on
// top of its parent, and nothing beside; base holds the parent and those of its
// trees that change. Every id in both was computed from bytes before.
func (s *settings) prove(b *bundle, base *objects) (*proven, error) {
	if b.ref != s.ref() {
		return nil, fmt.Errorf("the bundle is for %s, the configuration for %s", b.ref, s.ref())
	}
	raw, err := b.get(plumbing.CommitObject, b.commit)
	if err != nil {
		return nil, err
	}
	p := &proven{bundle: b}
	if p.commit, err = parseCommit(raw); err != nil {
		return nil, err
	}
	if len(p.commit.parents) != 1 || p.commit.parents[0] != b.parent {
		return nil, fmt.Errorf("the commit %s does not have the one parent %s", b.commit, b.parent)
	}
	rawParent, err := base.get(plumbing.CommitObject, b.parent)
	if err != nil {
		return nil, err
	}
	parent, err := parseCommit(rawParent)
	if err != nil {
		return nil, err
	}
	p.when = s.dateAfter(parent)
	if !bytes.Equal(s.encodeCommit(p.commit.tree, b.parent, p.when, p.commit.signature), raw) {
		return nil, fmt.Errorf("the commit %s has another message, author or date than the configuration asks for", b.commit)
	}
	if err := s.checkSignature(p); err != nil {
		return nil, err
	}
	newer, old := used{b.objects, map[plumbing.Hash]bool{b.commit: true}}, used{base, map[plumbing.Hash]bool{b.parent: true}}
	c := comparison{old: old.tree, newer: newer.tree}
	if parent.tree != p.commit.tree {
		if err := c.compare(parent.tree, p.commit.tree, "", 0); err != nil {
			return nil, err
		}
	} else if !s.allowEmpty {
		return nil, fmt.Errorf("the commit %s changes nothing", b.commit)
	}
	for i := range c.changes {
		if id := c.changes[i].content; c.changes[i].mode != "" {
			if _, err := newer.blob(id); err != nil {
				return nil, fmt.Errorf("%s: %w", c.changes[i].path, err)
			}
		}
	}
	if err := newer.all(); err != nil {
		return nil, fmt.Errorf("the bundle: %w", err)
	}
	if err := old.all(); err != nil {
		return nil, fmt.Errorf("the parent's part: %w", err)
	}
	slices.SortFunc(c.changes, func(a, b change) int { return strings.Compare(a.path, b.path) })
	p.changes = c.changes
	return p, nil
}

// dateAfter is the date of the commit.
func (s *settings) dateAfter(parent *commit) int64 {
	if s.date >= 0 {
		return s.date
	}
	return parent.when + 1
}

// used are objects that remember which of them were asked for.
type used struct {
	*objects
	seen map[plumbing.Hash]bool
}

func (u used) tree(id plumbing.Hash) ([]byte, error) {
	u.seen[id] = true
	return u.get(plumbing.TreeObject, id)
}

func (u used) blob(id plumbing.Hash) ([]byte, error) {
	u.seen[id] = true
	return u.get(plumbing.BlobObject, id)
}

// all refuses objects that nobody asked for.
func (u used) all() error {
	for _, id := range u.order {
		if !u.seen[id] {
			return fmt.Errorf("it holds %s %s, which is no part of the commit", u.byID[id].kind, id)
		}
	}
	return nil
}

// evidence describes the commit and where it goes. It is a function of the two
// state artifacts and the configuration alone.
func (s *settings) evidence(p *proven) (protocol.Artifact, error) {
	date := time.Unix(p.when, 0).UTC().Format(time.RFC3339)
	body := map[string]any{
		"commit": p.bundle.commit.String(), "tree": p.commit.tree.String(), "parent": p.bundle.parent.String(),
		"author": s.author.evidence(), "committer": s.committer.evidence(), "date": date, "message": s.fullMessage(),
		"branch": s.branch, "remote": s.remote.text, "create": s.create, "signed": p.commit.signature != "",
		"files_changed": len(p.changes),
	}
	if !s.expect.IsZero() {
		body["expect"] = s.expect.String()
	}
	if p.commit.signature != "" {
		fingerprint, err := signatureFingerprint(p.commit.signature)
		if err != nil {
			return protocol.Artifact{}, err
		}
		body["signing_key"] = fingerprint
	}
	files := make([]any, 0, len(p.changes))
	for i := range p.changes {
		file, err := p.changes[i].evidence(p.bundle.objects)
		if err != nil {
			return protocol.Artifact{}, err
		}
		files = append(files, file)
	}
	body["files"] = files
	return protocol.Artifact{
		ArtifactType: "commit", Action: "push", Target: s.remote.text + "#" + s.branch, Mime: "application/json", Body: body,
	}, nil
}

func (i identity) evidence() map[string]any {
	return map[string]any{"name": i.name, "email": i.email}
}

func (c *change) evidence(o *objects) (map[string]any, error) {
	file := map[string]any{"path": c.path}
	if c.oldMode != "" {
		file["old_mode"], file["before"] = plainMode(c.oldMode), c.before.String()
	}
	if c.mode != "" {
		content, err := o.get(plumbing.BlobObject, c.content)
		if err != nil {
			return nil, err
		}
		file["mode"], file["after"], file["digest"] = c.mode, c.content.String(), protocol.Digest(content)
	}
	switch {
	case c.oldMode == "":
		file["op"] = string(patch.Add)
	case c.mode == "":
		file["op"] = string(patch.Delete)
	default:
		file["op"] = string(patch.Modify)
	}
	return file, nil
}

// plainMode takes the mode that old versions of git wrote for that of a file.
func plainMode(mode string) string {
	if mode == modeGroup {
		return patch.ModeFile
	}
	return mode
}
