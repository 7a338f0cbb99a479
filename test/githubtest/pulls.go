package githubtest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Pull is a pull request. What a test reads of it does not change.
type Pull struct {
	Number int
	ID     int64
	Repo   *Repo // the base
	Author *User

	title, body      string
	headRepo         *Repo
	headRef, headSHA string
	baseRef, baseSHA string
	state            string
	draft            bool
	labels           []string
	requested        []*User
	teams            []*Team
	reviews          []*Review
	created, updated time.Time
	merged           bool
	mergedBy         *User
	mergeSHA         string // the test merge, or what was merged
	mergeable        bool
	closedAt         time.Time
	tested           [2]string // head and base of the test merge
	introduced       []string  // what a merge brought into the base
}

// Opened is what Repo.Open makes a pull request of.
type Opened struct {
	Title, Body string
	Author      *User
	From        *Repo  // the repository of the head; nil is the base's own
	Head, Base  string // branches; Base empty is the default branch
	Draft       bool
	Labels      []string
	Requested   []*User
	Teams       []*Team
}

// Open opens a pull request of a branch. Its head follows the branch while it is open.
func (r *Repo) Open(o Opened) *Pull {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if o.From == nil {
		o.From = r
	}
	if o.Base == "" {
		o.Base = r.Default
	}
	r.numbers++
	p := &Pull{
		Number: r.numbers, ID: r.s.id(), Repo: r, Author: o.Author, title: o.Title, body: o.Body, headRepo: o.From, headRef: o.Head, baseRef: o.Base,
		state: "open", draft: o.Draft, labels: o.Labels, requested: o.Requested, teams: o.Teams, created: r.s.now, updated: r.s.now,
	}
	r.pulls = append(r.pulls, p)
	r.s.check(p.follow())
	return p
}

// refresh lets open pull requests follow their branches. The caller holds the lock.
func (r *Repo) refresh() {
	for _, p := range r.pulls {
		if p.state == "open" {
			r.s.check(p.follow())
		}
	}
}

// follow takes over the head's branch, and makes the test merge if head or base moved.
func (p *Pull) follow() error {
	r := p.Repo
	base := r.git.tip("refs/heads/" + p.baseRef)
	if p.headRepo != nil {
		if tip := p.headRepo.git.tip("refs/heads/" + p.headRef); tip != "" && tip != p.headSHA {
			if err := r.git.fetch(p.headRepo.git, tip); err != nil {
				return err
			}
			p.headSHA, p.baseSHA, p.updated = tip, base, r.s.now
			if err := r.git.set(p.ref("head"), tip); err != nil {
				return err
			}
		}
	}
	if p.tested == [2]string{p.headSHA, base} {
		return nil
	}
	p.tested = [2]string{p.headSHA, base}
	ours, err := r.git.commit(base)
	if err != nil {
		return err
	}
	theirs, err := r.git.commit(p.headSHA)
	if err != nil {
		return err
	}
	tree, err := r.git.merge(ours, theirs)
	if err != nil {
		return err
	}
	p.mergeable, p.mergeSHA = !tree.IsZero(), ""
	if !p.mergeable {
		return nil
	}
	message := "Merge " + p.headSHA + " into " + base
	if p.mergeSHA, err = r.git.record(tree, message, r.s.users[1], r.s.users[1], r.s.now, ours.Hash, theirs.Hash); err != nil {
		return err
	}
	return r.git.set(p.ref("merge"), p.mergeSHA)
}

func (p *Pull) ref(kind string) string { return "refs/pull/" + strconv.Itoa(p.Number) + "/" + kind }

// Head is the newest commit of the change.
func (p *Pull) Head() string {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	p.Repo.refresh()
	return p.headSHA
}

// MergeCommit is the test merge of an open pull request, or what was merged.
func (p *Pull) MergeCommit() string {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	p.Repo.refresh()
	return p.mergeSHA
}

// Push moves the head's branch.
func (p *Pull) Push(sha string, by *User) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	p.Repo.s.check(p.headRepo.push("refs/heads/"+p.headRef, sha, by))
	p.Repo.refresh()
}

// Retarget changes the base's branch.
func (p *Pull) Retarget(branch string) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	p.baseRef, p.tested = branch, [2]string{}
	p.baseSHA = p.Repo.git.tip("refs/heads/" + branch)
	p.Repo.refresh()
}

// Close closes without a merge; Reopen undoes that.
func (p *Pull) Close() {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	p.Repo.refresh()
	p.state, p.closedAt, p.updated = "closed", p.Repo.s.now, p.Repo.s.now
}

// Reopen opens a closed pull request again.
func (p *Pull) Reopen() {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	p.state, p.closedAt = "open", time.Time{}
	p.Repo.refresh()
}

// LoseHead deletes the repository that the change came from.
func (p *Pull) LoseHead() {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	p.headRepo = nil
}

// Merge merges in one of GitHub's ways, merge, squash or rebase, and gives the commit
// that the base's branch then has.
func (p *Pull) Merge(by *User, how string) string {
	s := p.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Repo.refresh()
	sha, err := p.merge(by, how)
	if err == nil {
		err = p.Repo.push("refs/heads/"+p.baseRef, sha, by)
	}
	s.check(err)
	last := &p.Repo.pushes[len(p.Repo.pushes)-1]
	last.kind = "pr_merge"
	p.state, p.merged, p.mergedBy, p.mergeSHA = "closed", true, by, sha
	p.closedAt, p.updated = s.now, s.now
	p.Repo.refresh()
	return sha
}

// MergedBy pushes a commit to the base that somebody made by hand, and which GitHub
// takes for the merge, since it contains the head.
func (p *Pull) MergedBy(by *User, sha string) {
	s := p.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check(p.Repo.push("refs/heads/"+p.baseRef, sha, by))
	p.state, p.merged, p.mergedBy, p.mergeSHA, p.introduced = "closed", true, by, sha, []string{sha}
	p.closedAt, p.updated = s.now, s.now
}

func (p *Pull) merge(by *User, how string) (string, error) {
	r := p.Repo
	ours, err := r.git.commit(r.git.tip("refs/heads/" + p.baseRef))
	if err != nil {
		return "", err
	}
	theirs, err := r.git.commit(p.headSHA)
	if err != nil {
		return "", err
	}
	if how == "rebase" {
		return p.rebase(by, ours, theirs)
	}
	tree, err := r.git.merge(ours, theirs)
	if err != nil {
		return "", err
	}
	parents := []plumbing.Hash{ours.Hash, theirs.Hash}
	author, message := by, "Merge pull request #"+strconv.Itoa(p.Number)+" from "+p.headRef+"\n\n"+p.title
	if how == "squash" {
		parents, author, message = parents[:1], p.Author, p.title+" (#"+strconv.Itoa(p.Number)+")"
	}
	sha, err := r.git.record(tree, message, author, r.s.users[1], r.s.now, parents...)
	p.introduced = []string{sha}
	return sha, err
}

// rebase puts the commits of the change one by one onto the base.
func (p *Pull) rebase(by *User, ours, theirs *object.Commit) (string, error) {
	git := p.Repo.git
	all, err := git.since(ours, theirs)
	if err != nil {
		return "", err
	}
	tip := ours
	for _, c := range all {
		parent, err := c.Parent(0)
		if err != nil {
			return "", err
		}
		tree, err := git.merge3(parent.TreeHash, tip.TreeHash, c.TreeHash)
		if err != nil {
			return "", err
		}
		author := p.Repo.s.author(c.Author.Email)
		if author == nil {
			author = by
		}
		sha, err := git.record(tree, c.Message, author, by, p.Repo.s.now, tip.Hash)
		if err != nil {
			return "", err
		}
		p.introduced = append(p.introduced, sha)
		if tip, err = git.commit(sha); err != nil {
			return "", err
		}
	}
	return tip.Hash.String(), nil
}

func (r *Repo) pull(number int) *Pull {
	for _, p := range r.pulls {
		if p.Number == number {
			return p
		}
	}
	return nil
}

func (c *call) pull() *Pull { return c.repo.pull(int(c.number("pull_number"))) }

// side is the head or the base of a pull request.
func (s *Server) side(r *Repo, ref, sha string) obj {
	if r == nil {
		return obj{"label": "unknown:" + ref, "ref": ref, "sha": sha, "repo": nil, "user": nil}
	}
	return obj{"label": r.Owner.Login + ":" + ref, "ref": ref, "sha": sha, "repo": s.repoBody(r), "user": s.userBody(r.Owner)}
}

func (s *Server) pullBody(p *Pull) obj {
	at := s.URL() + "/repos/" + p.Repo.FullName() + "/pulls/" + strconv.Itoa(p.Number)
	labels := []any{}
	for _, name := range p.labels {
		labels = append(labels, obj{"name": name, "color": "ededed", "default": false, "description": ""})
	}
	body := obj{
		"id": p.ID, "node_id": node("PR", p.ID), "number": p.Number, "url": at, "html_url": s.WebURL() + "/" + p.Repo.FullName() + "/pull/" + strconv.Itoa(p.Number),
		"state": p.state, "locked": false, "title": p.title, "body": p.body, "draft": p.draft, "user": s.userBody(p.Author), "labels": labels, "author_association": "CONTRIBUTOR",
		"head": s.side(p.headRepo, p.headRef, p.headSHA), "base": s.side(p.Repo, p.baseRef, p.baseSHA), "merge_commit_sha": orNull(p.mergeSHA),
		"created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": nil, "merged_at": nil, "auto_merge": nil, "milestone": nil, "assignee": nil,
		"requested_reviewers": c2list(s, p.requested), "requested_teams": s.teamList(p.teams), "active_lock_reason": nil,
	}
	if !p.closedAt.IsZero() {
		body["closed_at"] = stamp(p.closedAt)
	}
	if p.merged {
		body["merged_at"] = stamp(p.closedAt)
	}
	return body
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func c2list(s *Server, users []*User) []any {
	out := []any{}
	for _, u := range users {
		out = append(out, s.userBody(u))
	}
	return out
}

func (s *Server) teamList(teams []*Team) []any {
	out := []any{}
	for _, t := range teams {
		out = append(out, s.teamBody(t))
	}
	return out
}

func (c *call) getPull() reply {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	body := c.s.pullBody(p)
	files, commits := c.pullFiles(p), c.commitsOf(p)
	body["commits"], body["changed_files"], body["comments"], body["review_comments"] = len(commits), len(files), len(c.repo.commentsOf(p.Number)), 0
	body["merged"], body["merged_by"], body["mergeable"] = p.merged, c.s.userBody(p.mergedBy), nil
	body["mergeable_state"], body["rebaseable"], body["maintainer_can_modify"] = "unknown", nil, false
	if p.state == "open" {
		body["mergeable"], body["mergeable_state"] = p.mergeable, map[bool]string{true: "clean", false: "dirty"}[p.mergeable]
	}
	return ok(body)
}

func (c *call) listPulls() reply {
	state := c.query("state")
	if state == "" {
		state = "open"
	}
	var out []any
	for _, p := range slices.Backward(c.repo.pulls) {
		label := "unknown:" + p.headRef
		if p.headRepo != nil {
			label = p.headRepo.Owner.Login + ":" + p.headRef
		}
		if (state == "all" || state == p.state) && (c.query("base") == "" || c.query("base") == p.baseRef) && (c.query("head") == "" || strings.EqualFold(c.query("head"), label)) {
			out = append(out, c.s.pullBody(p))
		}
	}
	return c.page(out)
}

// ends are the commits that a pull request's listings compare.
func (c *call) ends(p *Pull) (base, head *object.Commit) {
	head, err := c.repo.git.commit(p.headSHA)
	c.s.check(err)
	ours, err := c.repo.git.commit(p.baseSHA)
	c.s.check(err)
	return ours, head
}

// mostCommits of a pull request are listed.
const mostCommits = 250

func (c *call) commitsOf(p *Pull) []any {
	base, head := c.ends(p)
	all, err := c.repo.git.since(base, head)
	c.s.check(err)
	out := []any{}
	for _, of := range all {
		out = append(out, c.commitBody(of))
	}
	return out
}

func (c *call) listPullCommits() reply {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	all := c.commitsOf(p)
	return c.page(all[:min(len(all), mostCommits)])
}

func (c *call) pullFiles(p *Pull) []any {
	base, head := c.ends(p)
	from, err := c.repo.git.base(base, head)
	c.s.check(err)
	var tree plumbing.Hash
	if from != nil {
		tree = from.TreeHash
	}
	return c.changes(tree, head.TreeHash)
}

func (c *call) listPullFiles() reply {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	all := c.pullFiles(p)
	return c.page(all[:min(len(all), mostFiles)])
}

func (c *call) requestedReviewers() reply {
	p := c.pull()
	if p == nil {
		return notFound()
	}
	return ok(obj{"users": c2list(c.s, p.requested), "teams": c.s.teamList(p.teams)})
}

// commitPulls answers the pull request that brought a commit, and those open ones that
// would.
func (c *call) commitPulls() reply {
	sha := c.vars["commit_sha"]
	if c.repo.git.resolve(sha) == nil {
		return invalid("No commit found for SHA: " + sha)
	}
	var out []any
	for _, p := range c.repo.pulls {
		if p.brings(c, sha) {
			out = append(out, c.s.pullBody(p))
		}
	}
	return c.page(out)
}

func (p *Pull) brings(c *call, sha string) bool {
	if slices.Contains(p.introduced, sha) {
		return true
	}
	if p.state == "closed" && !p.merged {
		return false
	}
	for _, of := range c.commitsOf(p) {
		if of.(obj)["sha"] == sha {
			return true
		}
	}
	return false
}

// Land merges with a commit that a merge queue made.
func (p *Pull) Land(by *User, sha string) {
	s := p.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Repo.refresh()
	s.check(p.Repo.push("refs/heads/"+p.baseRef, sha, by))
	p.Repo.pushes[len(p.Repo.pushes)-1].kind = "merge_queue_merge"
	p.state, p.merged, p.mergedBy, p.mergeSHA, p.introduced = "closed", true, by, sha, []string{sha}
	p.closedAt, p.updated = s.now, s.now
	p.Repo.refresh()
}
