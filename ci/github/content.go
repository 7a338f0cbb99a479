package github

import (
	"context"
	"encoding/base64"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Branch reads a branch.
func (c *Client) Branch(ctx context.Context, name string) (Branch, error) {
	k := call{what: "read branch " + clean(name), need: "contents: read", path: "branches/" + url.PathEscape(name)}
	if err := refName(name); err != nil {
		return Branch{}, err
	}
	var w struct {
		Name   string `json:"name"`
		Commit struct {
			SHA string `json:"sha"`
		} `json:"commit"`
		Protected bool `json:"protected"`
	}
	if _, err := c.do(ctx, k, &w); err != nil {
		return Branch{}, err
	}
	if w.Name != name || !commitID.MatchString(w.Commit.SHA) {
		return Branch{}, c.odd(k, "it answers with branch %.100q, or with no commit", w.Name)
	}
	return Branch{Name: w.Name, SHA: w.Commit.SHA, Protected: w.Protected}, nil
}

func refName(name string) error {
	if name == "" || len(name) > limits.GitHubName || strings.Contains(name, "..") || name[0] == '/' || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return protocol.Errorf(protocol.ExitFailure, "forge_options", "%.100q is no name of a branch", name)
	}
	return nil
}

// IsAncestor tells whether one commit is among those that lead to another, or is it.
func (c *Client) IsAncestor(ctx context.Context, old, young string) (bool, error) {
	k := call{
		what: "compare commits " + short(old) + " and " + short(young), need: "contents: read",
		path: "compare/" + old + "..." + young, query: url.Values{"per_page": {"1"}, "page": {"2"}}, // files stand on the first page only
	}
	if !commitID.MatchString(old) || !commitID.MatchString(young) {
		return false, c.odd(k, "these are no commits")
	}
	if old == young {
		return true, nil
	}
	var w struct {
		Status string `json:"status"`
	}
	if _, err := c.do(ctx, k, &w); err != nil {
		return false, err
	}
	switch w.Status {
	case "ahead", "identical":
		return true, nil
	case "behind", "diverged":
		return false, nil
	}
	return false, c.odd(k, "its answer is %.30q", w.Status)
}

// Activity reads the newest hundred changes of a ref, newest first: who pushed what.
func (c *Client) Activity(ctx context.Context, ref string) ([]Push, error) {
	k := call{
		what: "read who pushed " + clean(ref), need: "contents: read", path: "activity",
		query: url.Values{"ref": {ref}, "per_page": {strconv.Itoa(limits.GitHubPage)}},
	}
	var have []struct {
		Before string `json:"before"`
		After  string `json:"after"`
		Ref    string `json:"ref"`
		Kind   string `json:"activity_type"`
		At     stamp  `json:"timestamp"`
		Actor  *user  `json:"actor"`
	}
	if _, err := c.do(ctx, k, &have); err != nil {
		return nil, err
	}
	out := make([]Push, 0, len(have))
	for _, w := range have {
		if full := strings.HasPrefix(ref, "refs/"); full && w.Ref != ref || !full && w.Ref != "refs/heads/"+ref {
			return nil, c.odd(k, "it answers with the ref %.100q", w.Ref)
		}
		p := Push{Before: w.Before, After: w.After, Kind: w.Kind, At: w.At.Time}
		if p.Actor = w.Actor.person(); w.Actor != nil && w.Actor.Type == "" { // the list leaves the type out in old servers
			p.Actor = ci.NewPerson(string(w.Actor.ID), w.Actor.Login, "User")
		}
		out = append(out, p)
	}
	return out, nil
}

// Content reads a file as it is at a ref. It gives false where there is none there.
func (c *Client) Content(ctx context.Context, path, ref string, most int64) (data []byte, found bool, err error) {
	k := call{
		what: "read " + clean(path) + " at " + clean(ref), need: "contents: read", path: "contents/" + escapePath(path),
		query: url.Values{"ref": {ref}}, allow: []int{http.StatusNotFound},
	}
	if !fs.ValidPath(path) || path == "." || len(path) > limits.GitHubPath {
		return nil, false, c.odd(k, "%.100q is no path", path)
	}
	if err := refName(ref); err != nil {
		return nil, false, err
	}
	var w struct {
		Type     string `json:"type"`
		Encoding string `json:"encoding"`
		Content  string `json:"content"`
		Path     string `json:"path"`
		Size     int64  `json:"size"`
	}
	a, err := c.do(ctx, k, &w)
	switch {
	case err != nil:
		return nil, false, err
	case a.status == http.StatusNotFound:
		return nil, false, c.absent(ctx, k, ref)
	case w.Type != "file" || w.Path != path:
		return nil, false, c.odd(k, "it is no file")
	case w.Size > min(most, limits.GitHubBody):
		return nil, false, protocol.Errorf(protocol.ExitIntegrity, "file_too_large", "%s of %s at %s has %d bytes, at most %d", clean(path), c.FullName(), clean(ref), w.Size, most)
	case w.Encoding == "base64":
		data, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(w.Content, "\n", ""))
	default:
		k.accept = "application/vnd.github.raw+json"
		_, err = c.do(ctx, k, &data)
	}
	if err != nil || int64(len(data)) != w.Size {
		return nil, false, c.odd(k, "its content is not of the size that it tells")
	}
	return data, true, nil
}

// absent tells a file that is not there from a ref that is not there, which GitHub
// answers alike: a file is believed to be missing only at a commit that was found.
func (c *Client) absent(ctx context.Context, k call, ref string) error {
	c.mu.Lock()
	seen := c.refs[ref]
	c.mu.Unlock()
	if seen {
		return nil
	}
	look := call{what: k.what, need: k.need, path: "commits/" + url.PathEscape(ref), query: url.Values{"per_page": {"1"}, "page": {"2"}}}
	var w object
	if _, err := c.do(ctx, look, &w); err != nil {
		return err
	}
	if !commitID.MatchString(w.SHA) || commitID.MatchString(ref) && w.SHA != ref {
		return c.odd(k, "the ref is no commit")
	}
	c.mu.Lock()
	c.refs[ref] = commitID.MatchString(ref) // a branch may go, a commit that was found stays
	c.mu.Unlock()
	return nil
}

func escapePath(p string) string {
	elements := strings.Split(p, "/")
	for i, e := range elements {
		elements[i] = url.PathEscape(e)
	}
	return strings.Join(elements, "/")
}

// Deploy says that a ref is deployed to an environment.
func (c *Client) Deploy(ctx context.Context, d Deployment) (id string, err error) {
	if err := short1("description of a deployment", d.Description, limits.GitHubDescription); err != nil {
		return "", err
	}
	body := gh.DeploymentRequest{
		Ref: &d.Ref, Task: text(d.Task), AutoMerge: new(bool), RequiredContexts: &[]string{},
		Environment: &d.Environment, Description: &d.Description, TransientEnvironment: &d.Transient, ProductionEnvironment: &d.Production,
	}
	if len(d.Payload) > 0 {
		body.Payload = d.Payload
	}
	k := call{what: "make a deployment", need: "deployments: write", method: http.MethodPost, path: "deployments", body: body}
	var w struct {
		ID ident `json:"id"`
	}
	a, err := c.do(ctx, k, &w)
	if err == nil && (a.status != http.StatusCreated || w.ID == "") {
		err = c.odd(k, "it made none")
	}
	return string(w.ID), err
}

// Deployed says how a deployment stands.
func (c *Client) Deployed(ctx context.Context, id string, s DeploymentState) error {
	if !isID(id) {
		return protocol.Errorf(protocol.ExitFailure, "forge_options", "%.30q is no id of a deployment", id)
	}
	if err := short1("description of a deployment", s.Description, limits.GitHubDescription); err != nil {
		return err
	}
	inactive := !s.KeepOthersActive
	_, err := c.do(ctx, call{
		what: "say how a deployment stands", need: "deployments: write", method: http.MethodPost, path: "deployments/" + id + "/statuses", repeat: true,
		body: gh.DeploymentStatusRequest{
			State: &s.State, LogURL: text(s.LogURL), EnvironmentURL: text(s.EnvironmentURL), Description: &s.Description, AutoInactive: &inactive,
		},
	}, nil)
	return err
}
