package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
)

// Where another job signs, the judging job leaves its check open: a change whose plan is
// not signed must not merge, since it could never take off. SPEC: docs/threats.md T42
const (
	checkOpen = "in_progress"
	checkDone = "completed"

	openTitle   = "; not signed yet"
	failedTitle = "; not signed"
	openNote    = "**Not signed yet.** The job that signs concludes this check; without a signature nothing of this takes off.\n\n"
	failedNote  = "**Not signed.** "
)

// shownAt is the commit whose check shows the plan.
func (r *ciRun) shownAt() string { return cmp.Or(r.headCommit(), r.env["GITHUB_SHA"]) }

// toBeSigned says whether a check that would be concluded so waits for a job that signs.
func (r *ciRun) toBeSigned(conclusion string) bool { return r.unsigned && concludes(conclusion) }

// concludes says whether the signing job may conclude a check so: what was denied, or
// failed, is never signed.
func concludes(conclusion string) bool {
	return slices.Contains([]string{"success", "neutral", "action_required"}, conclusion)
}

// opened leaves a check open, and says why.
func opened(k github.Check) github.Check {
	k.Status, k.Conclusion, k.Summary = checkOpen, "", openNote+k.Summary
	if len(k.Title)+len(openTitle) <= limits.GitHubCheckTitle {
		k.Title += openTitle
	}
	return k
}

// closed is the check that opened left open, as the judging job would have concluded it.
func closed(k github.Check, conclusion string) github.Check {
	k.Status, k.Conclusion = checkDone, conclusion
	k.Title, k.Summary = strings.TrimSuffix(k.Title, openTitle), strings.TrimPrefix(k.Summary, openNote)
	return k
}

// reopened is the check that a signing job failed, as it was before: what failed it may
// be over when that job runs again.
func reopened(k github.Check) github.Check {
	note, failed := strings.CutPrefix(k.Summary, failedNote)
	_, was, whole := strings.Cut(note, "\n\n")
	if !failed || !whole || k.Status != checkDone || k.Conclusion != "failure" {
		return k
	}
	k.Status, k.Conclusion, k.Summary = checkOpen, "", openNote+was
	if title, ok := strings.CutSuffix(k.Title, failedTitle); ok {
		k.Title = title + openTitle
	}
	return k
}

// notSigned concludes the check of what could not be signed, as far as the forge can be
// reached. What the error says stands in the log only, where secrets are masked.
func (r *ciRun) notSigned(shown *judgedCheck, why error) error {
	if shown.posted.Conclusion == "" {
		return nil // it was concluded before
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), limits.GitHubRequest)
	defer cancel()
	k := shown.check
	if k.ID == "" {
		checks, err := r.forge.Checks(ctx, r.shownAt(), r.planName())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(checks, func(k github.Check) bool { return k.ID == shown.posted.ID })
		if i < 0 {
			return nil // it is of another commit, and none of this job's business
		}
		k = reopened(checks[i])
	}
	failure := failureOf(why)
	note := failedNote + "Error `" + failure.Code + "`, " + fmt.Sprintf("exit %d: the log of the job that signs tells more. Mend that and re-run the failed jobs, or plan again; without a signature nothing of this takes off.\n\n", failure.Exit)
	was := closed(k, "failure")
	if was.Title != k.Title {
		was.Title += failedTitle
	}
	was.Summary, was.DetailsURL, was.Annotations, was.Actions = note+was.Summary, r.runURL(), nil, r.replanButton(k)
	if len(was.Summary) > limits.GitHubCheckText { // it is not what was posted
		was.Summary = note
	}
	_, err := r.forge.UpdateCheck(ctx, was)
	return err
}
