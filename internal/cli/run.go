package cli

import (
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/orchestrator"
)

// runOf tells where this command runs, as the CI platform says in variables that its
// jobs cannot set otherwise. The change is what a person names, or the one that started
// the run: a take-off runs for another event than the plan. SPEC: docs/protocol.md 3.
func runOf(env map[string]string, change string) orchestrator.Run {
	platform := ci.Detect(env)
	var r orchestrator.Run
	switch platform {
	case ci.GitHub, ci.Gitea, ci.Forgejo:
		r = orchestrator.Run{
			Forge: string(platform), RepositoryID: env["GITHUB_REPOSITORY_ID"], Repository: env["GITHUB_REPOSITORY"], Event: env["GITHUB_EVENT_NAME"],
			RunID: env["GITHUB_RUN_ID"], RunAttempt: env["GITHUB_RUN_ATTEMPT"],
		}
		ref := env["GITHUB_REF"]
		number, merge := strings.CutSuffix(strings.TrimPrefix(ref, "refs/pull/"), "/merge")
		switch {
		case merge && strings.HasPrefix(ref, "refs/pull/"):
			r.Change = "pull/" + number
		case r.Event == "merge_group":
			r.Change = "merge_group/" + strings.TrimPrefix(ref, "refs/heads/")
		}
	case ci.GitLab:
		r = orchestrator.Run{
			Forge: string(platform), RepositoryID: env["CI_PROJECT_ID"], Repository: env["CI_PROJECT_PATH"], Event: env["CI_PIPELINE_SOURCE"],
			RunID: env["CI_PIPELINE_ID"],
		}
		if number := env["CI_MERGE_REQUEST_IID"]; number != "" {
			r.Change = "merge_requests/" + number
		}
	default:
		return r // outside of CI there is no change
	}
	switch {
	case change != "":
		r.Change = change
	case r.Change == "" && r.RunID != "":
		r.Change = "run/" + r.RunID
	}
	return r
}

// merged finds, in CI, which tree is checked out, and, where that is a change merged
// onto its base, which commit the base is. What the repository does not hold stays empty.
func (s *session) merged(head string) {
	run := &s.setup.Source.Run
	if run.Forge == "" || head == "" {
		return
	}
	tree, err := gittree.Open(s.place.workspace, head)
	if err != nil {
		return
	}
	run.MergeTree = tree.ID()
	const merge = 2
	if p := tree.Parents(); len(p) == merge && !strings.HasPrefix(run.Change, "run/") {
		run.BaseCommit = p[0]
	}
}
