package githubtest

import (
	"slices"
	"strconv"
	"time"
)

// mostComment is what a comment or an issue may have; the server counts bytes.
const mostComment = 65_536

type issue struct {
	number        int
	id            int64
	title, body   string
	state, reason string
	labels        []string
	by            *User
	at, changed   time.Time
}

type comment struct {
	id          int64
	issue       int
	body        string
	by          *User
	app         int64
	at, changed time.Time
}

// Issue is an issue as a test sees it.
type Issue struct {
	Number             int
	Title, Body, State string
	Labels             []string
	By                 string
}

// Comment is a comment on an issue or a pull request as a test sees it.
type Comment struct {
	ID     int64
	Number int
	Body   string
	By     string
}

// Issues are the issues of a repository, without pull requests.
func (r *Repo) Issues() []Issue {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var out []Issue
	for _, i := range r.issues {
		out = append(out, Issue{i.number, i.title, i.body, i.state, slices.Clone(i.labels), i.by.Login})
	}
	return out
}

// OpenIssue opens an issue as somebody.
func (r *Repo) OpenIssue(by *User, title, body string, labels ...string) int {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.addIssue(by, title, body, labels).number
}

func (r *Repo) addIssue(by *User, title, body string, labels []string) *issue {
	r.numbers++
	i := &issue{number: r.numbers, id: r.s.id(), title: title, body: body, state: "open", labels: labels, by: by, at: r.s.now, changed: r.s.now}
	r.issues = append(r.issues, i)
	return i
}

// Comments are the comments of an issue or a pull request.
func (r *Repo) Comments(number int) []Comment {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var out []Comment
	for _, c := range r.commentsOf(number) {
		out = append(out, Comment{c.id, c.issue, c.body, c.by.Login})
	}
	return out
}

// Comment writes a comment as somebody.
func (r *Repo) Comment(number int, by *User, text string) int64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	c := &comment{id: r.s.id(), issue: number, body: text, by: by, at: r.s.now, changed: r.s.now}
	r.comments = append(r.comments, c)
	return c.id
}

func (r *Repo) commentsOf(number int) []*comment {
	var out []*comment
	for _, c := range r.comments {
		if c.issue == number {
			out = append(out, c)
		}
	}
	return out
}

func (c *call) issueBody(i *issue) obj {
	api := c.s.URL() + "/repos/" + c.repo.FullName()
	at := api + "/issues/" + strconv.Itoa(i.number)
	labels := []any{}
	for _, name := range i.labels {
		labels = append(labels, obj{"name": name, "color": "ededed", "default": false, "description": ""})
	}
	body := obj{
		"id": i.id, "node_id": node("I", i.id), "number": i.number, "title": i.title, "body": i.body, "state": i.state, "state_reason": orNull(i.reason), "labels": labels,
		"user": c.s.userBody(i.by), "created_at": stamp(i.at), "updated_at": stamp(i.changed), "closed_at": nil, "url": at, "repository_url": api, "html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/issues/" + strconv.Itoa(i.number),
		"comments": len(c.repo.commentsOf(i.number)), "author_association": "NONE", "locked": false, "assignee": nil, "milestone": nil,
	}
	if i.state == "closed" {
		body["closed_at"] = stamp(i.changed)
	}
	return body
}

// issueOfPull is a pull request as the issues' operations have it.
func (c *call) issueOfPull(p *Pull) obj {
	body := c.issueBody(&issue{number: p.Number, id: p.ID, title: p.title, body: p.body, state: p.state, labels: p.labels, by: p.Author, at: p.created, changed: p.updated})
	at := c.s.URL() + "/repos/" + c.repo.FullName() + "/pulls/" + strconv.Itoa(p.Number)
	body["pull_request"] = obj{"url": at, "html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/pull/" + strconv.Itoa(p.Number), "diff_url": at + ".diff", "patch_url": at + ".patch"}
	return body
}

func (c *call) issue() *issue {
	for _, i := range c.repo.issues {
		if int64(i.number) == c.number("issue_number") {
			return i
		}
	}
	return nil
}

// listIssues answers issues and pull requests, newest first.
func (c *call) listIssues() reply {
	state := c.query("state")
	if state == "" {
		state = "open"
	}
	var numbered [][2]any
	for _, i := range c.repo.issues {
		numbered = append(numbered, [2]any{i.number, c.issueBody(i)})
	}
	for _, p := range c.repo.pulls {
		numbered = append(numbered, [2]any{p.Number, c.issueOfPull(p)})
	}
	slices.SortFunc(numbered, func(a, b [2]any) int { return b[0].(int) - a[0].(int) })
	var out []any
	for _, n := range numbered {
		body := n[1].(obj)
		if (state == "all" || body["state"] == state) && hasLabels(body, c.query("labels")) && c.wants("creator", body["user"].(obj)["login"].(string)) {
			out = append(out, body)
		}
	}
	return c.page(out)
}

func hasLabels(body obj, want string) bool {
	for name := range splitComma(want) {
		if !slices.ContainsFunc(body["labels"].([]any), func(l any) bool { return l.(obj)["name"] == name }) {
			return false
		}
	}
	return true
}

func (c *call) labels() []string {
	var out []string
	all, _ := c.body["labels"].([]any)
	for _, l := range all {
		switch l := l.(type) {
		case string:
			out = append(out, l)
		case obj:
			name, _ := l["name"].(string)
			out = append(out, name)
		}
	}
	return out
}

func (c *call) createIssue() reply {
	title, isText := c.body["title"].(string)
	if !isText || title == "" {
		return invalid("Validation Failed: title is missing")
	}
	if len(c.text("body")) > mostComment {
		return invalid("Validation Failed: body is too long (maximum is 65536 characters)")
	}
	return created(c.issueBody(c.repo.addIssue(c.by.user, title, c.text("body"), c.labels())))
}

func (c *call) getIssue() reply {
	if i := c.issue(); i != nil {
		return ok(c.issueBody(i))
	}
	if p := c.repo.pull(int(c.number("issue_number"))); p != nil {
		return ok(c.issueOfPull(p))
	}
	return notFound()
}

func (c *call) updateIssue() reply {
	i := c.issue()
	if i == nil {
		return notFound()
	}
	if len(c.text("body")) > mostComment {
		return invalid("Validation Failed: body is too long (maximum is 65536 characters)")
	}
	for field, to := range map[string]*string{"title": &i.title, "body": &i.body, "state": &i.state, "state_reason": &i.reason} {
		if c.has(field) {
			*to = c.text(field)
		}
	}
	if c.has("labels") {
		i.labels = c.labels()
	}
	i.changed = c.s.now
	return ok(c.issueBody(i))
}

func (c *call) commentBody(m *comment) obj {
	api := c.s.URL() + "/repos/" + c.repo.FullName()
	id := strconv.FormatInt(m.id, 10)
	return obj{
		"id": m.id, "node_id": node("IC", m.id), "body": m.body, "user": c.s.userBody(m.by), "created_at": stamp(m.at), "updated_at": stamp(m.changed), "author_association": "NONE",
		"url": api + "/issues/comments/" + id, "issue_url": api + "/issues/" + strconv.Itoa(m.issue), "html_url": c.s.WebURL() + "/" + c.repo.FullName() + "/issues/" + strconv.Itoa(m.issue) + "#issuecomment-" + id,
	}
}

func (c *call) listComments() reply {
	var out []any
	for _, m := range c.repo.commentsOf(int(c.number("issue_number"))) {
		out = append(out, c.commentBody(m))
	}
	return c.page(out)
}

func (c *call) createComment() reply {
	number := int(c.number("issue_number"))
	if c.issue() == nil && c.repo.pull(number) == nil {
		return notFound()
	}
	if len(c.text("body")) > mostComment {
		return invalid("Validation Failed: body is too long (maximum is 65536 characters)")
	}
	m := &comment{id: c.s.id(), issue: number, body: c.text("body"), by: c.by.user, app: c.by.App, at: c.s.now, changed: c.s.now}
	c.repo.comments = append(c.repo.comments, m)
	return created(c.commentBody(m))
}

func (c *call) comment() *comment {
	for _, m := range c.repo.comments {
		if m.id == c.number("comment_id") {
			return m
		}
	}
	return nil
}

func (c *call) getComment() reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	return ok(c.commentBody(m))
}

func (c *call) updateComment() reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	if len(c.text("body")) > mostComment {
		return invalid("Validation Failed: body is too long (maximum is 65536 characters)")
	}
	m.body, m.changed = c.text("body"), c.s.now
	return ok(c.commentBody(m))
}

func (c *call) deleteComment() reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	c.repo.comments = slices.DeleteFunc(c.repo.comments, func(have *comment) bool { return have == m })
	return none()
}
