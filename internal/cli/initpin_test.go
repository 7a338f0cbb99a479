package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/test/githubtest"
)

// TestInitPinsTheRelease asks a forge for the commit of a release: the one that the tag
// names, and only if that commit installs the release.
func TestInitPinsTheRelease(t *testing.T) {
	t.Parallel()
	g := githubtest.New(t)
	who := g.User("maintainer")
	repo := g.Repo(ownAction)
	commit := func(version string) string {
		return repo.Commit(githubtest.Commit{Author: who, Message: version, Files: map[string]string{"ci/release.json": `{"version": "` + version + `"}`}})
	}
	good := commit("1.2.3")
	repo.Push("main", good, who)
	repo.Tag("v1.2.3", good)
	repo.Tag("v1.2.4", good)
	h := hub{name: "acme/infra", server: g.WebURL(), api: g.URL(), token: g.Token(githubtest.Token{Repo: repo, Permissions: githubtest.JobPermissions()})}

	s := start{hub: h, branch: "main"}
	if err := s.pinned(t.Context(), "1.2.3"); err != nil || s.on.Commit != good || s.version != "1.2.3" || len(s.warnings) != 0 {
		t.Fatalf("%v: %+v", err, s)
	}
	if text := string(s.workflow("on:\n  push:\n    branches: [main] # x\n    uses: a/b@v1\n")); !strings.Contains(text, "uses: a/b@"+good+" # v1.2.3\n") || !strings.Contains(text, `branches: ["main"]`) {
		t.Error(text)
	}
	s = start{hub: h}
	var e *protocol.Error
	if err := s.pinned(t.Context(), "1.2.4"); !errors.As(err, &e) || e.Code != "release_pin" || e.ExitCode() != protocol.ExitIntegrity || s.on.Commit != "" {
		t.Errorf("a tag that was moved: %v, %+v", err, s)
	}
	if err := s.pinned(t.Context(), "1.2.5"); err != nil || s.on.Commit != "" || len(s.warnings) != 1 || !strings.Contains(s.warnings[0], "@v1") {
		t.Errorf("a release without a tag: %v, %+v", err, s)
	}
}
