package ci_test

import (
	"testing"

	"github.com/cabincrew/action/ci"
)

func TestDetect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		env  map[string]string
		want ci.Platform
	}{
		{"terminal", nil, ci.None},
		{"a bare CI variable is no platform", map[string]string{"CI": "true"}, ci.None},
		{"github", map[string]string{"CI": "true", "GITHUB_ACTIONS": "true"}, ci.GitHub},
		{"gitea looks like github", map[string]string{"GITHUB_ACTIONS": "true", "GITEA_ACTIONS": "true"}, ci.Gitea},
		{"forgejo looks like both", map[string]string{"GITHUB_ACTIONS": "true", "GITEA_ACTIONS": "true", "FORGEJO_ACTIONS": "true"}, ci.Forgejo},
		{"gitlab", map[string]string{"GITLAB_CI": "true"}, ci.GitLab},
		{"jenkins", map[string]string{"JENKINS_URL": "http://localhost", "BUILD_ID": "7"}, ci.Jenkins},
		{"half of jenkins", map[string]string{"BUILD_ID": "7"}, ci.None},
	} {
		if got := ci.Detect(c.env); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
