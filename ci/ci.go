// Package ci tells on which continuous-integration platform the program runs, and
// holds what forges have in common: people, and what they did.
//
// It promises never to take a bare CI variable for a platform: rules that are
// stricter in CI (only signed plans take off, no secrets in flight-plan) follow
// from a platform that was recognised by variables which only it sets.
package ci

// Platform names a continuous-integration platform; empty means a person's
// terminal or a shell that is no CI.
type Platform string

// The platforms that are recognised.
const (
	None    Platform = ""
	GitHub  Platform = "github"
	GitLab  Platform = "gitlab"
	Gitea   Platform = "gitea"
	Forgejo Platform = "forgejo"
	Jenkins Platform = "jenkins"
)

// Detect tells the platform from the environment. Gitea and Forgejo set GitHub's
// variables too, so they are looked for first.
func Detect(env map[string]string) Platform {
	switch {
	case env["FORGEJO_ACTIONS"] == "true":
		return Forgejo
	case env["GITEA_ACTIONS"] == "true":
		return Gitea
	case env["GITHUB_ACTIONS"] == "true":
		return GitHub
	case env["GITLAB_CI"] == "true":
		return GitLab
	case env["JENKINS_URL"] != "" && env["BUILD_ID"] != "":
		return Jenkins
	}
	return None
}
