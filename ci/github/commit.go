package github

import (
	"context"
	"net/url"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// CommitOf gives the commit that a branch, a tag or a commit's id names now.
func (c *Client) CommitOf(ctx context.Context, ref string) (string, error) {
	k := call{
		what: "read the commit of " + clean(ref), need: "contents: read", path: "commits/" + url.PathEscape(ref),
		query: url.Values{"per_page": {"1"}, "page": {"2"}}, // files stand on the first page only
	}
	if err := refName(ref); err != nil {
		return "", err
	}
	var w object
	if _, err := c.do(ctx, k, &w); err != nil {
		return "", err
	}
	if !commitID.MatchString(w.SHA) || commitID.MatchString(ref) && w.SHA != ref {
		return "", c.odd(k, "the ref is no commit")
	}
	return w.SHA, nil
}

// FromRemote gives host and owner/name of a git remote on GitHub, in any of the forms
// that git takes. The remote is not repeated in an error: it may hold a credential.
func FromRemote(remote string) (host, name string, err error) {
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" { // user@host:path
		_, rest, _ := strings.Cut(remote, "@")
		host, path, ok := strings.Cut(rest, ":")
		if u = nil; ok && host != "" && !strings.ContainsAny(host, "/@") {
			u = &url.URL{Host: host, Path: path}
		}
	}
	if u != nil {
		host, name = strings.ToLower(u.Host), strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
		if u.Scheme == "ssh" {
			host = u.Hostname()
		}
		owner, repo, _ := strings.Cut(name, "/")
		if repositoryName.MatchString(name) && !dots(owner) && !dots(repo) {
			return strings.TrimPrefix(host, "ssh."), name, nil // ssh.github.com is GitHub's, on the port of https
		}
	}
	return "", "", protocol.Errorf(protocol.ExitUsage, "forge_options", "the git remote names no repository on GitHub").
		WithHint("Set GITHUB_REPOSITORY to OWNER/NAME.")
}
