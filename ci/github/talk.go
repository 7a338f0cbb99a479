package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

var markers = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,200}$`)

// post is a comment or an issue.
type post struct {
	ID     ident     `json:"id"`
	Number int       `json:"number"`
	User   *user     `json:"user"`
	Body   string    `json:"body"`
	Title  string    `json:"title"`
	State  string    `json:"state"`
	URL    string    `json:"html_url"`
	Pull   *struct{} `json:"pull_request"`
}

// Comment writes one comment on a pull request, or changes the one that it wrote
// before: that which we wrote and which has the hidden marker. A comment of somebody
// else is never changed, since its author could change our words afterwards.
func (c *Client) Comment(ctx context.Context, number int, marker, body string) (string, error) {
	body, err := marked(marker, body)
	if err != nil {
		return "", err
	}
	k := call{what: fmt.Sprintf("read the comments of pull request %d", number), need: "pull-requests: write", path: fmt.Sprintf("issues/%d/comments", number)}
	have, err := list(ctx, c, listing[post]{call: k, id: func(p post) string { return string(p.ID) }})
	if err != nil {
		return "", err
	}
	send := call{
		what: fmt.Sprintf("comment on pull request %d", number), need: "pull-requests: write",
		method: http.MethodPost, path: k.path, body: map[string]string{"body": body},
	}
	ours, err := c.ours(ctx, have, marker)
	if err != nil {
		return "", err
	}
	if ours != nil {
		if ours.Body == body {
			return ours.URL, nil
		}
		send.method, send.path, send.repeat = http.MethodPatch, "issues/comments/"+string(ours.ID), true
	}
	var made post
	_, err = c.do(ctx, send, &made)
	return made.URL, err
}

// OpenIssue opens an issue, or changes the open one that it opened before.
func (c *Client) OpenIssue(ctx context.Context, marker, title, body string, labels []string) (string, error) {
	body, err := marked(marker, body)
	if err != nil {
		return "", err
	}
	if len(title) > limits.GitHubName {
		return "", tooLong("title of an issue", len(title), limits.GitHubName)
	}
	k := call{what: "read the open issues", need: "issues: write", path: "issues", query: url.Values{"state": {"open"}}}
	if len(labels) > 0 {
		k.query.Set("labels", strings.Join(labels, ","))
	}
	have, err := list(ctx, c, listing[post]{call: k, id: func(p post) string { return string(p.ID) }})
	if err != nil {
		return "", err
	}
	issues := have[:0:0]
	for _, p := range have {
		if p.Pull == nil {
			issues = append(issues, p)
		}
	}
	ours, err := c.ours(ctx, issues, marker)
	if err != nil {
		return "", err
	}
	send := call{
		what: "open an issue", need: "issues: write", method: http.MethodPost, path: "issues",
		body: map[string]any{"title": title, "body": body, "labels": append([]string{}, labels...)},
	}
	if ours != nil {
		send.what, send.method, send.path, send.repeat = "change an issue", http.MethodPatch, fmt.Sprintf("issues/%d", ours.Number), true
		send.body = map[string]string{"title": title, "body": body}
	}
	var made post
	_, err = c.do(ctx, send, &made)
	return made.URL, err
}

// marked puts the hidden marker before a body.
func marked(marker, body string) (string, error) {
	if !markers.MatchString(marker) || strings.Contains(marker, "--") {
		return "", protocol.Errorf(protocol.ExitFailure, "forge_options", "%.100q is no marker", marker)
	}
	body = hidden(marker) + "\n" + body
	if len(body) > limits.GitHubComment {
		return "", tooLong("comment", len(body), limits.GitHubComment)
	}
	return body, nil
}

func hidden(marker string) string { return "<!-- " + marker + " -->" }

// ours finds what we wrote with a marker; nil if there is nothing.
func (c *Client) ours(ctx context.Context, have []post, marker string) (*post, error) {
	var me string
	for i, p := range have {
		if !strings.HasPrefix(p.Body, hidden(marker)) || p.User == nil {
			continue
		}
		if me == "" {
			var err error
			if me, err = c.me(ctx); err != nil {
				return nil, err
			}
		}
		if p.User.Login == me && strings.HasSuffix(me, "[bot]") == (p.User.Type == "Bot") {
			return &have[i], nil
		}
	}
	return nil, nil
}

// actionsBot is who a job's own token speaks for.
const actionsBot = "github-actions[bot]"

// me tells whom the token speaks for. A token of an App may not ask that; then it is
// the App of the check that was made with it, or that of Actions.
func (c *Client) me(ctx context.Context) (string, error) {
	c.mu.Lock()
	app, login := c.app, c.login
	c.mu.Unlock()
	switch {
	case app != "":
		return app + "[bot]", nil
	case login != "":
		return login, nil
	case strings.HasPrefix(c.gov.token, "ghs_"):
		return actionsBot, nil
	}
	var u user
	a, err := c.do(ctx, call{what: "say whose the token is", need: "none", path: "/user", allow: []int{http.StatusForbidden}}, &u)
	if err != nil {
		return "", err
	}
	if login = u.Login; a.status == http.StatusForbidden || login == "" {
		login = actionsBot
	}
	c.mu.Lock()
	c.login = login
	c.mu.Unlock()
	return login, nil
}
