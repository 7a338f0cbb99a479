package cli

import (
	"cmp"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/workspace"
)

// forgeGitHub is what --for may be.
const forgeGitHub = "github"

func forgeFlag(cmd *cobra.Command, forge *string) {
	cmd.Flags().StringVar(forge, "for", "", "the forge that changes come from: github")
}

func badForge(forge string) error {
	return usageError("usage", "--for is %q; it is %s", forge, forgeGitHub)
}

const publicGitHub = "https://github.com"

// hub is the repository on GitHub that the workspace is a checkout of.
type hub struct {
	name   string // owner/name; "" where nothing tells
	server string // https://github.com
	api    string
	token  string
}

// onGitHub finds out which repository the workspace belongs to, by the variables of
// GitHub's jobs or by the remote origin. The token goes to the API of the server that
// the variables name, never to a host that only the checkout names.
func (a *app) onGitHub(dir string) (hub, error) {
	h := hub{
		name: a.env["GITHUB_REPOSITORY"], server: strings.TrimSuffix(cmp.Or(a.env["GITHUB_SERVER_URL"], publicGitHub), "/"),
		api: a.env["GITHUB_API_URL"], token: cmp.Or(a.env["GITHUB_TOKEN"], a.env["GH_TOKEN"]),
	}
	if h.api == "" {
		if h.api = h.server + "/api/v3"; h.public() {
			h.api = "https://api.github.com"
		}
	}
	if h.name != "" {
		return h, nil
	}
	remote, err := workspace.Remote(dir, "origin", a.env)
	if remote == "" || err != nil {
		return h, err
	}
	host, name, err := github.FromRemote(remote)
	if err != nil {
		return h, err
	}
	if u, err := url.Parse(h.server); err != nil || !strings.EqualFold(u.Host, host) {
		return h, usageError("forge_options", "the remote origin is on %.200s, not on %.200s", host, h.server).
			WithHint("set GITHUB_SERVER_URL, and GITHUB_API_URL, to those of your server")
	}
	h.name = name
	return h, nil
}

// public says whether it is github.com.
func (h hub) public() bool { return h.server == publicGitHub }

// client makes a client of the repository, or of another one on the same server.
func (h hub) client(name string) (*github.Client, error) {
	return github.New(github.Options{BaseURL: h.api, Token: h.token, Repository: name, Now: time.Now, UserAgent: "cabincrew/" + Version()})
}
