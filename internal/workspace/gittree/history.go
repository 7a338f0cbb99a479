package gittree

import (
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
