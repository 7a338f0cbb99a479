package cli

import (
	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/orchestrator"
)

// runOf tells where this command runs, as the CI platform says in variables that its
// jobs cannot set otherwise. Which change a run belongs to is not among them: a
// take-off runs for another event than the plan.
func runOf(env map[string]string) orchestrator.Run {
	platform := ci.Detect(env)
	switch platform {
	case ci.GitHub, ci.Gitea, ci.Forgejo:
		return orchestrator.Run{
			Forge: string(platform), RepositoryID: env["GITHUB_REPOSITORY_ID"], Repository: env["GITHUB_REPOSITORY"], Event: env["GITHUB_EVENT_NAME"],
			RunID: env["GITHUB_RUN_ID"], RunAttempt: env["GITHUB_RUN_ATTEMPT"],
		}
	case ci.GitLab:
		return orchestrator.Run{
			Forge: string(platform), RepositoryID: env["CI_PROJECT_ID"], Repository: env["CI_PROJECT_PATH"], Event: env["CI_PIPELINE_SOURCE"],
			RunID: env["CI_PIPELINE_ID"],
		}
	}
	return orchestrator.Run{}
}
