package cli

import (
	"path"
	"strings"
)

// planName is the name of the check that shows the run's plan. A plan of no change has
// one of its own: at the same commit it must neither make a change's check green nor be
// taken for a later plan of a change or of a queue's group. SPEC: docs/threats.md T10, T39
func (r *ciRun) planName() string {
	if r.headCommit() == "" {
		return r.checkName(driftCheck)
	}
	return r.checkName(planCheck)
}

// ofBranch refuses what somebody started by hand on another ref than the default branch:
// the checkout is the ref as it is, and a change is planned merged onto its base.
func (r *ciRun) ofBranch(branch string) error {
	if r.event.Name != "workflow_dispatch" || branch != "" && r.env["GITHUB_REF"] == branchTop+branch {
		return nil
	}
	return usageError("ci_event", "started by hand, a run plans only the default branch %q as it is, and this one is for %q", branch, r.env["GITHUB_REF"]).
		WithHint("to plan a change again, open the run of its pull request and choose Re-run all jobs, or push to the change")
}

// replanLink leads to where the plan is made again: of a change to the run that planned
// it, which can be started again, and of no change to where the workflow is started by
// hand. A check that belongs to Actions' own App has no buttons.
func (r *ciRun) replanLink() string {
	if r.change.Number != 0 {
		return r.runPage(r.planRun())
	}
	ref, _, _ := strings.Cut(r.env["GITHUB_WORKFLOW_REF"], "@")
	if r.headCommit() != "" || ref == "" || r.event.Name != "schedule" && r.event.Name != "workflow_dispatch" {
		return "" // a queue makes its groups by itself
	}
	return r.env["GITHUB_SERVER_URL"] + "/" + r.env["GITHUB_REPOSITORY"] + "/actions/workflows/" + path.Base(ref)
}

// planRun gives the number of the run that planned the change, as far as it is known
// without asking; "" where it is not.
func (r *ciRun) planRun() string {
	if r.from.Event == "pull_request" {
		return r.from.ID
	}
	for _, run := range r.runs {
		if run.Event == "pull_request" && r.planned(run) && !r.elsewhere(run) {
			return run.ID
		}
	}
	if r.event.Name == "pull_request" {
		return r.env["GITHUB_RUN_ID"]
	}
	return ""
}

// runPage is the page of a run; "" for none.
func (r *ciRun) runPage(id string) string {
	if id == "" {
		return ""
	}
	return r.env["GITHUB_SERVER_URL"] + "/" + r.env["GITHUB_REPOSITORY"] + "/actions/runs/" + id
}
