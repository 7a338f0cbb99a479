package github

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
)

// Repository reads the repository itself.
func (c *Client) Repository(ctx context.Context) (Repository, error) {
	k := call{what: "read the settings", need: "metadata: read"}
	var r repository
	if _, err := c.do(ctx, k, &r); err != nil {
		return Repository{}, err
	}
	if r.ID == "" || r.DefaultBranch == "" || r.Owner == nil || r.Owner.ID == "" {
		return Repository{}, c.odd(k, "the repository has no id, owner or default branch")
	}
	return Repository{
		ID: string(r.ID), OwnerID: string(r.Owner.ID), FullName: r.FullName,
		DefaultBranch: r.DefaultBranch, Private: r.Private, Fork: r.Fork,
	}, nil
}

// Change reads a pull request.
func (c *Client) Change(ctx context.Context, number int) (Change, error) {
	k := call{what: fmt.Sprintf("read pull request %d", number), need: "pull-requests: read", path: fmt.Sprintf("pulls/%d", number)}
	var p pull
	if _, err := c.do(ctx, k, &p); err != nil {
		return Change{}, err
	}
	if err := p.check(); err != nil {
		return Change{}, c.odd(k, "%s", err)
	}
	if p.Number != number {
		return Change{}, c.odd(k, "it answers with pull request %d", p.Number)
	}
	return p.change(), nil
}

// ChangesOf reads the pull requests that a commit belongs to.
func (c *Client) ChangesOf(ctx context.Context, commit string) ([]Change, error) {
	k := call{what: "read the pull requests of commit " + short(commit), need: "pull-requests: read", path: "commits/" + url.PathEscape(commit) + "/pulls"}
	if !commitID.MatchString(commit) {
		return nil, c.odd(k, "%.70q is no commit", commit)
	}
	pulls, err := list(ctx, c, listing[pull]{call: k, id: func(p pull) string { return strconv.Itoa(p.Number) }})
	if err != nil {
		return nil, err
	}
	out := make([]Change, 0, len(pulls))
	for _, p := range pulls {
		if err := p.check(); err != nil {
			return nil, c.odd(k, "%s", err)
		}
		out = append(out, p.change())
	}
	return out, nil
}

// OpenChanges reads the open pull requests of a branch of somebody's repository. That a
// commit belongs to a fork's pull request is told by no other listing.
func (c *Client) OpenChanges(ctx context.Context, owner, branch string) ([]Change, error) {
	k := call{what: "list the pull requests of " + clean(owner) + ":" + clean(branch), need: "pull-requests: read", path: "pulls"}
	if !logins.MatchString(owner) || branch == "" {
		return nil, c.odd(k, "%.50q is nobody's login, or there is no branch", owner)
	}
	k.query = url.Values{"state": {"open"}, "head": {owner + ":" + branch}}
	pulls, err := list(ctx, c, listing[pull]{call: k, id: func(p pull) string { return strconv.Itoa(p.Number) }})
	if err != nil {
		return nil, err
	}
	out := make([]Change, 0, len(pulls))
	for _, p := range pulls {
		if err := p.check(); err != nil {
			return nil, c.odd(k, "%s", err)
		}
		out = append(out, p.change())
	}
	return out, nil
}

// short is enough of a commit's id for people.
func short(commit string) string { return clean(commit[:min(len(commit), 12)]) }

// Files reads the paths of a pull request, of which there are at least so many as the
// pull request itself says.
func (c *Client) Files(ctx context.Context, number, expect int) ([]File, error) {
	type wire struct {
		Filename string `json:"filename"`
		Previous string `json:"previous_filename"`
		Status   string `json:"status"`
	}
	k := call{what: fmt.Sprintf("read the files of pull request %d", number), need: "pull-requests: read", path: fmt.Sprintf("pulls/%d/files", number)}
	if expect > limits.GitHubFiles {
		return nil, c.odd(k, "the pull request changes %d files, and GitHub lists no more than %d", expect, limits.GitHubFiles)
	}
	files, err := list(ctx, c, listing[wire]{call: k, expect: expect, pages: limits.GitHubFiles / limits.GitHubPage, id: func(f wire) string { return f.Filename }})
	if err != nil {
		return nil, err
	}
	out := make([]File, 0, len(files))
	for _, f := range files {
		if f.Status == "renamed" && f.Previous == "" {
			return nil, c.odd(k, "a renamed file has no old name")
		}
		out = append(out, File{Path: f.Filename, Previous: f.Previous, Status: f.Status})
	}
	return out, nil
}

// CommitAuthors reads who wrote the commits of a pull request, as far as a verified
// signature says so: author and committer, since the signature is the latter's. An
// unsigned commit names whom it likes. SPEC: docs/protocol.md 7
func (c *Client) CommitAuthors(ctx context.Context, number, expect int) ([]ci.Person, error) {
	type wire struct {
		SHA    string `json:"sha"`
		Commit struct {
			Verification struct {
				Verified bool `json:"verified"`
			} `json:"verification"`
		} `json:"commit"`
		Author    *user `json:"author"`
		Committer *user `json:"committer"`
	}
	k := call{what: fmt.Sprintf("read the commits of pull request %d", number), need: "pull-requests: read", path: fmt.Sprintf("pulls/%d/commits", number)}
	if expect > limits.GitHubCommits {
		return nil, c.odd(k, "the pull request has %d commits, and GitHub lists no more than %d", expect, limits.GitHubCommits)
	}
	commits, err := list(ctx, c, listing[wire]{call: k, expect: expect, id: func(w wire) string { return w.SHA }})
	if err != nil {
		return nil, err
	}
	var out []ci.Person
	seen := map[string]bool{"": true}
	for _, w := range commits {
		if !w.Commit.Verification.Verified {
			continue
		}
		for _, u := range []*user{w.Author, w.Committer} {
			if p := u.person(); !seen[p.ID] {
				seen[p.ID] = true
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// Reviews reads the reviews of a pull request, oldest first.
func (c *Client) Reviews(ctx context.Context, number int) ([]ci.Act, error) {
	type wire struct {
		ID          ident  `json:"id"`
		User        *user  `json:"user"`
		Body        string `json:"body"`
		State       string `json:"state"`
		CommitID    string `json:"commit_id"`
		SubmittedAt stamp  `json:"submitted_at"`
		URL         string `json:"html_url"`
	}
	k := call{what: fmt.Sprintf("read the reviews of pull request %d", number), need: "pull-requests: read", path: fmt.Sprintf("pulls/%d/reviews", number)}
	reviews, err := list(ctx, c, listing[wire]{call: k, id: func(w wire) string { return string(w.ID) }})
	if err != nil {
		return nil, err
	}
	out := make([]ci.Act, 0, len(reviews))
	for _, w := range reviews {
		state, known := reviewState(w.State)
		if !known {
			return nil, c.odd(k, "review %s has the state %.30q, which nobody here knows", w.ID, w.State)
		}
		out = append(out, ci.Act{
			Kind: ci.ActReview, ID: string(w.ID), Person: w.User.person(), State: state,
			Commit: w.CommitID, At: w.SubmittedAt.Time, Text: w.Body, URL: w.URL,
		})
	}
	return out, nil
}

func reviewState(s string) (ci.ActState, bool) {
	switch strings.ToUpper(s) {
	case "APPROVED":
		return ci.StateApproved, true
	case "CHANGES_REQUESTED":
		return ci.StateChangesRequested, true
	case "COMMENTED":
		return ci.StateCommented, true
	case "DISMISSED":
		return ci.StateDismissed, true
	case "PENDING":
		return ci.StatePending, true
	}
	return "", false
}
