package config

import (
	"strings"
	"testing"
)

// TestUnfilledIsRefused: what init leaves open is refused, each with its place and
// what is wanted, and nothing else is told.
func TestUnfilledIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Parse("c.yaml", TemplateGitHub(OnGitHub{Workflow: "infra"}))
	list := Problems(err)
	if len(list) != 5 {
		t.Fatalf("%d problems: %v", len(list), err)
	}
	for _, p := range list {
		if p.Code != "config_unfilled" || !strings.HasPrefix(p.Where, "c.yaml:") || p.Hint == "" || strings.HasSuffix(p.Hint, ">") {
			t.Errorf("%+v", p)
		}
	}
	for name, o := range map[string]OnGitHub{
		"pinned": {Workflow: "a name that no workflow has", RepositoryID: "7", OwnerID: "8", Public: true, Commit: strings.Repeat("0a", 20)},
		"tag":    {Workflow: "2026", RepositoryID: "7", OwnerID: "8", Public: true},
	} {
		c, err := Parse("c.yaml", TemplateGitHub(o))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(c.Signing.Trusted.Identities) != 2 || c.Signing.Trusted.Identities[0].RepositoryID != "7" || c.Signing.Trusted.Identities[1].OwnerID != "8" {
			t.Errorf("%s: %+v", name, c.Signing)
		}
	}
}
