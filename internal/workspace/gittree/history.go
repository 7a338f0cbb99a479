package gittree

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
)

// FirstParents gives the ids of the commit and of its ancestors along first parents,
// newest first, at most so many: what the branch was, merge by merge.
func (t *Tree) FirstParents(most int) ([]string, error) {
	var out []string
	id := t.commit
	for len(out) < most {
		out = append(out, id.String())
		h, err := t.header(id)
		if err != nil {
			return out, err
		}
		if len(h.parents) == 0 {
			break
		}
		id = h.parents[0]
	}
	return out, nil
}

// Tags gives the commits that tags point to whose names begin so, by the whole name.
func (t *Tree) Tags(prefix string) (map[string]string, error) {
	refs, err := t.store.IterReferences()
	if err != nil {
		return nil, t.unreachable(err)
	}
	defer refs.Close()
	out := map[string]string{}
	err = refs.ForEach(func(r *plumbing.Reference) error {
		name, ok := strings.CutPrefix(string(r.Name()), "refs/tags/")
		if !ok || !strings.HasPrefix(name, prefix) || r.Type() != plumbing.HashReference {
			return nil
		}
		if len(out) >= limits.GitTags {
			return t.tooMuch("it has more than %d tags %s", limits.GitTags, prefix)
		}
		commit, err := t.peel(r.Hash())
		if err != nil {
			return err
		}
		out[name] = commit.String()
		return nil
	})
	if err != nil {
		return nil, t.unreachable(err)
	}
	return out, nil
}

// TagMessage gives the message of an annotated tag that is of this name by its own word,
// and of this commit itself. false: it is another one, or there is none.
func (t *Tree) TagMessage(name, commit string) (message string, ok bool, err error) {
	r, err := t.store.Reference(plumbing.NewTagReferenceName(name))
	if errors.Is(err, plumbing.ErrReferenceNotFound) || err == nil && r.Type() != plumbing.HashReference {
		return "", false, nil
	}
	if err != nil {
		return "", false, t.unreachable(err)
	}
	content, err := t.get(plumbing.TagObject, r.Hash(), limits.GitCommitBytes)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return "", false, nil // it is lightweight
	}
	if err != nil {
		return "", false, err
	}
	head, message, _ := strings.Cut(string(content), "\n\n")
	if !strings.HasPrefix(head, "object "+commit+"\ntype commit\ntag "+name+"\n") {
		return "", false, nil
	}
	return message, true, nil
}

// Change is the newest commit along first parents that has something else at some names
// than its parent.
type Change struct {
	Commit string // "": none of those that were looked at
	First  bool   // no commit before it has anything at the first of the names
	Whole  bool   // the line was looked at to its beginning
}

// LastChange finds the newest change at some names, looking at so many commits at most.
// A commit without parents changes whatever it has.
func (t *Tree) LastChange(names []string, most int) (Change, error) {
	var out Change
	id := t.commit
	now, err := t.idents(id, names)
	if err != nil {
		return out, err
	}
	for i := 1; ; i++ {
		h, err := t.header(id)
		if err != nil {
			return out, err
		}
		before := make([]string, len(names))
		if len(h.parents) > 0 {
			if i == most { // what was before is not looked at
				out.First = false
				return out, nil
			}
			if before, err = t.idents(h.parents[0], names); err != nil {
				return out, err
			}
		}
		if out.Commit == "" && !slices.Equal(now, before) {
			out.Commit, out.First = id.String(), true
			// From here on only the first one's absence counts.
			names, before = names[:1], before[:1]
		}
		out.First, out.Whole = out.First && before[0] == "", len(h.parents) == 0
		if out.Commit != "" && !out.First || out.Whole {
			return out, nil
		}
		id, now = h.parents[0], before
	}
}

// idents gives the ids of what a commit has at some names; "" where it has nothing.
func (t *Tree) idents(commit plumbing.Hash, names []string) ([]string, error) {
	h, err := t.header(commit)
	if err != nil {
		return nil, err
	}
	u := *t
	u.commit, u.root = commit, h.tree
	out := make([]string, len(names))
	for i, name := range names {
		e, ok, err := u.find(name)
		if err != nil {
			return nil, err
		}
		if ok {
			out[i] = fmt.Sprintf("%s %s", e.mode, e.id)
		}
	}
	return out, nil
}
