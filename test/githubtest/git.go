package githubtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/revlist"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Commit is what Repo.Commit makes.
type Commit struct {
	Message   string
	Author    *User // nil is an author without an account
	Committer *User // the author if nil
	Email     string
	Parents   []string          // SHAs; the files of the first are kept
	Files     map[string]string // what is written, by path
	Remove    []string
	At        time.Time // the fake's time if zero
}

// Commit makes a commit, on no branch yet, and gives its SHA.
func (r *Repo) Commit(c Commit) string {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	sha, err := r.record(c)
	r.s.check(err)
	return sha
}

func (r *Repo) record(c Commit) (string, error) {
	files := map[string]file{}
	var parents []plumbing.Hash
	for i, p := range c.Parents {
		parent, err := r.git.commit(p)
		if err != nil {
			return "", fmt.Errorf("%s has no commit %s", r.FullName(), p)
		}
		parents = append(parents, parent.Hash)
		if i == 0 {
			if files, err = r.git.files(parent.TreeHash); err != nil {
				return "", err
			}
		}
	}
	for path, content := range c.Files {
		hash, err := r.git.blob(content)
		if err != nil {
			return "", err
		}
		files[path] = file{filemode.Regular, hash}
	}
	for _, path := range c.Remove {
		delete(files, path)
	}
	tree, err := r.git.write(files)
	if err != nil {
		return "", err
	}
	if c.At.IsZero() {
		c.At = r.s.now
	}
	author := object.Signature{Name: "Nobody", Email: "nobody@example.com", When: c.At}
	if c.Author != nil {
		author.Name, author.Email = c.Author.Login, c.Author.Email()
	}
	if c.Email != "" {
		author.Email = c.Email
	}
	committer := author
	if c.Committer != nil {
		committer.Name, committer.Email = c.Committer.Login, c.Committer.Email()
	}
	hash, err := r.git.put(&object.Commit{Author: author, Committer: committer, Message: c.Message, TreeHash: tree, ParentHashes: parents})
	return hash.String(), err
}

// Push moves a branch, or makes it, and notes who did.
func (r *Repo) Push(branch, sha string, by *User) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.check(r.push("refs/heads/"+branch, sha, by))
}

func (r *Repo) push(ref, sha string, by *User) error {
	next, err := r.git.commit(sha)
	if err != nil {
		return fmt.Errorf("%s has no commit %s", r.FullName(), sha)
	}
	p := push{id: r.s.id(), by: by, ref: ref, before: r.git.tip(ref), after: sha, kind: "push", at: r.s.now}
	if p.before == "" {
		p.before, p.kind = plumbing.ZeroHash.String(), "branch_creation"
	} else if old, err := r.git.commit(p.before); err == nil {
		if straight, err := old.IsAncestor(next); err == nil && !straight {
			p.kind = "force_push"
		}
	}
	r.pushes = append(r.pushes, p)
	return r.git.set(ref, sha)
}

// Tag sets a tag on an object.
func (r *Repo) Tag(name, sha string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.check(r.git.set("refs/tags/"+name, sha))
}

// Tip is what a ref such as refs/heads/main names; empty where there is none.
func (r *Repo) Tip(ref string) string {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.refresh()
	return r.git.tip(ref)
}

// Refs are the names of all refs that begin so.
func (r *Repo) Refs(prefix string) []string {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.names(prefix)
}

func (r *Repo) names(prefix string) []string {
	var out []string
	r.s.check(r.git.each(func(ref *plumbing.Reference) error {
		if name := ref.Name().String(); strings.HasPrefix(name, prefix) && ref.Type() == plumbing.HashReference {
			out = append(out, name)
		}
		return nil
	}))
	slices.Sort(out)
	return out
}

// copyAll brings an object and all below it into another store.
func copyAll(from, to storer.EncodedObjectStorer, sha plumbing.Hash) error {
	s, ok := from.(storer.Storer)
	if !ok {
		return errors.New("a store without refs")
	}
	all, err := revlist.Objects(s, []plumbing.Hash{sha}, nil)
	if err != nil {
		return err
	}
	for _, hash := range all {
		o, err := from.EncodedObject(plumbing.AnyObject, hash)
		if err == nil {
			_, err = to.SetEncodedObject(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *call) gitURL(kind, name string) string {
	return c.s.URL() + "/repos/" + c.repo.FullName() + "/git/" + kind + "/" + name
}

func (c *call) refBody(name string) obj {
	sha := c.repo.git.tip(name)
	kind := "commit"
	if o, err := c.repo.git.store().EncodedObject(plumbing.AnyObject, plumbing.NewHash(sha)); err == nil {
		kind = o.Type().String()
	}
	return obj{"ref": name, "node_id": "REF_" + name, "url": c.gitURL("refs", strings.TrimPrefix(name, "refs/")), "object": obj{"type": kind, "sha": sha, "url": c.gitURL(kind+"s", sha)}}
}

func (c *call) getRef() reply {
	name := "refs/" + c.vars["ref"]
	if c.repo.git.tip(name) == "" {
		return notFound()
	}
	return ok(c.refBody(name))
}

// matchingRefs answers all refs that begin so, unpaged.
func (c *call) matchingRefs() reply {
	out := []any{}
	for _, name := range c.repo.names("refs/" + c.vars["ref"]) {
		out = append(out, c.refBody(name))
	}
	return ok(out)
}

func (c *call) createRef() reply {
	name, sha := c.text("ref"), c.text("sha")
	if !strings.HasPrefix(name, "refs/") || strings.Count(name, "/") < 2 || plumbing.ReferenceName(name).Validate() != nil {
		return invalid("Reference name must start with 'refs/' and contain at least two slashes, and be well formed.")
	}
	if c.repo.git.tip(name) != "" {
		return invalid("Reference already exists")
	}
	for _, have := range c.repo.names("refs/") {
		if strings.HasPrefix(have, name+"/") || strings.HasPrefix(name, have+"/") {
			return invalid("Reference update failed") // git keeps refs as files and directories
		}
	}
	if !c.exists(sha) {
		return invalid("Object does not exist")
	}
	if c.forbids(name, "creation") {
		return invalid("Repository rule violations found\n\nCannot create ref due to creations being restricted.\n\n")
	}
	c.s.check(c.repo.git.set(name, sha))
	return created(c.refBody(name))
}

func (c *call) exists(sha string) bool {
	_, err := c.repo.git.store().EncodedObject(plumbing.AnyObject, plumbing.NewHash(sha))
	return len(sha) == 40 && err == nil
}

func (c *call) updateRef() reply {
	name, sha := "refs/"+c.vars["ref"], c.text("sha")
	have := c.repo.git.tip(name)
	if have == "" {
		return invalid("Reference does not exist")
	}
	if !c.exists(sha) {
		return invalid("Object does not exist")
	}
	if c.forbids(name, "update") {
		return invalid("Repository rule violations found\n\nCannot update this protected ref.\n\n")
	}
	if force, _ := c.body["force"].(bool); !force {
		old, err := c.repo.git.commit(have)
		next, err2 := c.repo.git.commit(sha)
		if err != nil || err2 != nil {
			return invalid("Update is not a fast forward")
		}
		if straight, err := old.IsAncestor(next); err != nil || !straight {
			return invalid("Update is not a fast forward")
		}
	}
	if strings.HasPrefix(name, "refs/heads/") {
		c.s.check(c.repo.push(name, sha, c.by.user))
	} else {
		c.s.check(c.repo.git.set(name, sha))
	}
	return ok(c.refBody(name))
}

func (c *call) deleteRef() reply {
	name := "refs/" + c.vars["ref"]
	if c.repo.git.tip(name) == "" {
		return invalid("Reference does not exist")
	}
	if c.forbids(name, "deletion") {
		return invalid("Repository rule violations found\n\nCannot delete this protected ref.\n\n")
	}
	c.s.check(c.repo.git.refs().RemoveReference(plumbing.ReferenceName(name)))
	return none()
}

func (c *call) createTag() reply {
	target := c.text("object")
	o, err := c.repo.git.store().EncodedObject(plumbing.AnyObject, plumbing.NewHash(target))
	if err != nil || o.Type().String() != c.text("type") {
		return invalid("Could not verify object")
	}
	tagger := object.Signature{Name: c.by.user.Login, Email: c.by.user.Email(), When: c.s.now}
	if t, ok := c.body["tagger"].(obj); ok {
		tagger.Name, _ = t["name"].(string)
		tagger.Email, _ = t["email"].(string)
		if at, ok := t["date"].(string); ok {
			if tagger.When, err = time.Parse(time.RFC3339, at); err != nil {
				return invalid("Invalid date")
			}
		}
	}
	message := c.text("message")
	hash, err := c.repo.git.put(&object.Tag{Name: c.text("tag"), Message: message, Tagger: tagger, TargetType: o.Type(), Target: o.Hash()})
	c.s.check(err)
	return c.tagReply(created, hash)
}

func (c *call) getTag() reply {
	return c.tagReply(ok, plumbing.NewHash(c.vars["tag_sha"]))
}

func (c *call) tagReply(how func(any) reply, hash plumbing.Hash) reply {
	t, err := object.GetTag(c.repo.git.store(), hash)
	if err != nil {
		return notFound()
	}
	kind, sha := t.TargetType.String(), t.Target.String()
	return how(obj{
		"sha": hash.String(), "node_id": "TA_" + hash.String(), "tag": t.Name, "message": t.Message, "url": c.gitURL("tags", hash.String()),
		"tagger": obj{"name": t.Tagger.Name, "email": t.Tagger.Email, "date": stamp(t.Tagger.When)},
		"object": obj{"type": kind, "sha": sha, "url": c.gitURL(kind+"s", sha)}, "verification": unsigned(),
	})
}

func unsigned() obj {
	return obj{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
}
