package githubtest

import (
	"encoding/base64"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

func signature(s object.Signature) obj {
	return obj{"name": s.Name, "email": s.Email, "date": stamp(s.When)}
}

func (c *call) parents(of *object.Commit) []any {
	out := []any{}
	for _, p := range of.ParentHashes {
		out = append(out, obj{"sha": p.String(), "url": c.gitURL("commits", p.String()), "html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/commit/" + p.String()})
	}
	return out
}

func (c *call) commitBody(of *object.Commit) obj {
	sha := of.Hash.String()
	return obj{
		"sha": sha, "node_id": "C_" + sha, "url": c.s.URL() + "/repos/" + c.repo.FullName() + "/commits/" + sha, "html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/commit/" + sha,
		"comments_url": c.s.URL() + "/repos/" + c.repo.FullName() + "/commits/" + sha + "/comments",
		"author":       c.s.userBody(c.s.author(of.Author.Email)), "committer": c.s.userBody(c.s.author(of.Committer.Email)), "parents": c.parents(of),
		"commit": obj{
			"url": c.gitURL("commits", sha), "author": signature(of.Author), "committer": signature(of.Committer), "message": of.Message, "comment_count": 0,
			"tree": obj{"sha": of.TreeHash.String(), "url": c.gitURL("trees", of.TreeHash.String())}, "verification": unsigned(),
		},
	}
}

func (c *call) getCommit() reply {
	of := c.repo.git.resolve(c.vars["ref"])
	if of == nil {
		return invalid("No commit found for SHA: " + c.vars["ref"])
	}
	body := c.commitBody(of)
	var parent plumbing.Hash
	if first, err := of.Parent(0); err == nil {
		parent = first.TreeHash
	}
	files := c.changes(parent, of.TreeHash)
	added, removed := 0, 0
	for _, f := range files {
		added += f.(obj)["additions"].(int)
		removed += f.(obj)["deletions"].(int)
	}
	body["files"], body["stats"] = c.cut(files[:min(len(files), mostFiles)]), obj{"additions": added, "deletions": removed, "total": added + removed}
	return ok(body)
}

func (c *call) listCommits() reply {
	from := c.query("sha")
	if from == "" {
		from = c.repo.Default
	}
	tip := c.repo.git.resolve(from)
	if tip == nil {
		return notFound()
	}
	all, err := c.repo.git.since(nil, tip)
	c.s.check(err)
	slices.Reverse(all)
	var out []any
	for _, of := range all {
		if at := c.query("path"); at == "" || c.touches(of, at) {
			out = append(out, c.commitBody(of))
		}
	}
	return c.page(out)
}

// touches tells whether a commit changes a file or something below a directory.
func (c *call) touches(of *object.Commit, at string) bool {
	var before map[string]file
	if first, err := of.Parent(0); err == nil {
		before, err = c.repo.git.files(first.TreeHash)
		c.s.check(err)
	}
	after, err := c.repo.git.files(of.TreeHash)
	c.s.check(err)
	for name := range union(before, after) {
		if (name == at || strings.HasPrefix(name, at+"/")) && before[name] != after[name] {
			return true
		}
	}
	return false
}

func (c *call) getGitCommit() reply {
	of, err := c.repo.git.commit(c.vars["commit_sha"])
	if err != nil {
		return notFound()
	}
	sha := of.Hash.String()
	return ok(obj{
		"sha": sha, "node_id": "C_" + sha, "url": c.gitURL("commits", sha), "html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/commit/" + sha,
		"author": signature(of.Author), "committer": signature(of.Committer), "message": of.Message, "parents": c.parents(of),
		"tree": obj{"sha": of.TreeHash.String(), "url": c.gitURL("trees", of.TreeHash.String())}, "verification": unsigned(),
	})
}

const mostTree = 100_000

func (c *call) getTree() reply {
	name := c.vars["tree_sha"]
	hash := plumbing.NewHash(name)
	if of := c.repo.git.resolve(name); of != nil {
		hash = of.TreeHash
	}
	t, err := object.GetTree(c.repo.git.store(), hash)
	if err != nil {
		return notFound()
	}
	entries, truncated := []any{}, false
	walk := object.NewTreeWalker(t, c.query("recursive") != "", nil)
	defer walk.Close()
	for {
		at, e, err := walk.Next()
		if err != nil {
			break // the end
		}
		if len(entries) == mostTree {
			truncated = true
			break
		}
		kind := "blob"
		switch e.Mode {
		case filemode.Dir:
			kind = "tree"
		case filemode.Submodule:
			kind = "commit"
		}
		entries = append(entries, obj{"path": at, "mode": strings.TrimPrefix(e.Mode.String(), "0"), "type": kind, "sha": e.Hash.String(), "url": c.gitURL(kind+"s", e.Hash.String())})
	}
	return ok(obj{"sha": hash.String(), "url": c.gitURL("trees", hash.String()), "tree": entries, "truncated": truncated})
}

func (c *call) getContent() reply {
	ref := c.query("ref")
	if ref == "" {
		ref = c.repo.Default
	}
	of := c.repo.git.resolve(ref)
	if of == nil {
		return refused(404, "No commit found for the ref "+ref)
	}
	at := strings.Trim(c.vars["path"], "/")
	files, err := c.repo.git.files(of.TreeHash)
	c.s.check(err)
	if f, there := files[at]; there {
		text := c.read(f.hash)
		return ok(obj{
			"type": "file", "encoding": "base64", "size": len(text), "name": path.Base(at), "path": at, "sha": f.hash.String(),
			"content": base64.StdEncoding.EncodeToString([]byte(text)), "url": c.s.URL() + c.r.URL.Path,
		})
	}
	return c.listContent(files, at)
}

func (c *call) listContent(files map[string]file, dir string) reply {
	seen, out := map[string]bool{}, []any{}
	for name, f := range files {
		rest, inside := strings.CutPrefix(name, strings.TrimPrefix(dir+"/", "/"))
		if !inside {
			continue
		}
		first, _, deep := strings.Cut(rest, "/")
		if seen[first] {
			continue
		}
		seen[first] = true
		kind, sha := "file", f.hash.String()
		if deep {
			kind, sha = "dir", plumbing.ZeroHash.String()
		}
		out = append(out, obj{"type": kind, "size": 0, "name": first, "path": path.Join(dir, first), "sha": sha, "url": c.s.URL() + c.r.URL.Path + "/" + first})
	}
	if len(out) == 0 {
		return notFound()
	}
	slices.SortFunc(out, func(a, b any) int { return strings.Compare(a.(obj)["name"].(string), b.(obj)["name"].(string)) })
	return ok(out)
}

func (c *call) read(hash plumbing.Hash) string {
	b, err := object.GetBlob(c.repo.git.store(), hash)
	if err != nil {
		return "" // a submodule
	}
	r, err := b.Reader()
	if err != nil {
		return ""
	}
	defer func() { _ = r.Close() }() // it was read
	text := new(strings.Builder)
	if _, err := copyText(text, r); err != nil {
		return ""
	}
	return text.String()
}

// mostFiles are the files of a change that GitHub lists.
const mostFiles = 3000

// changes are the files that differ between two trees, renames found as git does.
func (c *call) changes(before, after plumbing.Hash) []any {
	from, err := c.repo.git.files(before)
	c.s.check(err)
	to, err := c.repo.git.files(after)
	c.s.check(err)
	gone := map[plumbing.Hash][]string{} // by content: a rename has the same
	for name, f := range from {
		if _, there := to[name]; !there {
			gone[f.hash] = append(gone[f.hash], name)
		}
	}
	out := map[string]obj{}
	for name, f := range to {
		old, there := from[name]
		switch {
		case there && old == f:
		case there:
			out[name] = c.change(name, "modified", old.hash, f.hash)
		case len(gone[f.hash]) > 0:
			names := gone[f.hash]
			slices.Sort(names)
			out[name] = c.change(name, "renamed", f.hash, f.hash)
			out[name]["previous_filename"] = names[0]
			gone[f.hash] = names[1:]
		default:
			out[name] = c.change(name, "added", plumbing.ZeroHash, f.hash)
		}
	}
	for hash, names := range gone {
		for _, name := range names {
			out[name] = c.change(name, "removed", hash, plumbing.ZeroHash)
		}
	}
	names := make([]string, 0, len(out))
	for name := range out {
		names = append(names, name)
	}
	slices.Sort(names)
	list := []any{}
	for _, name := range names {
		list = append(list, out[name])
	}
	return list
}

func (c *call) change(name, status string, before, after plumbing.Hash) obj {
	old, next := lines(c.read(before)), lines(c.read(after))
	added, removed := 0, 0
	if status != "renamed" {
		added, removed = len(next), len(old)
	}
	sha := after
	if after.IsZero() {
		sha = before
	}
	body := obj{
		"sha": sha.String(), "filename": name, "status": status, "additions": added, "deletions": removed, "changes": added + removed,
		"blob_url": c.s.WebURL() + "/" + c.repo.FullName() + "/blob/" + name, "raw_url": c.s.WebURL() + "/" + c.repo.FullName() + "/raw/" + name, "contents_url": c.s.URL() + "/repos/" + c.repo.FullName() + "/contents/" + name,
	}
	if patch := whole(old, next); status != "renamed" && patch != "" {
		body["patch"] = patch
	}
	return body
}
