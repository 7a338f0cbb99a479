package cli

import (
	"slices"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/protocol"
)

// replanAction is how the button of a check is told apart from others.
const replanAction = "replan"

// replanButton gives the check of a change a button by which its plan is made anew,
// where the token is of an App of its own: GitHub starts no workflow for buttons of the
// App of jobs, so there a button would do nothing.
func (r *ciRun) replanButton(k github.Check) []github.CheckAction {
	if k.Name != planCheck || k.AppID == "" || ofJobs(k) || r.change.Number == 0 {
		return nil
	}
	return []github.CheckAction{{Label: "Re-plan", Description: "Run the newest plan's workflow again", Identifier: replanAction}}
}

// ofJobs says whether a check is of the App whose tokens jobs get.
func ofJobs(k github.Check) bool { return k.AppID == actionsAppID || k.App == actionsSlug }

// actionsAppID is the number of that App on github.com.
const actionsAppID = "15368"

// replanJob has the newest plan of a change made anew because somebody pressed the button
// of its check. Such an event has the rights of the base repository, so nothing is planned
// here: the run that planned is started again, with no more rights than it had.
// SPEC: docs/threats.md T14.
func (r *ciRun) replanJob() error {
	e := r.event
	if e.Action != "requested_action" || e.RequestedAction != replanAction {
		return usageError("ci_event", "check_run %s %.20q asks for nothing here", e.Action, e.RequestedAction).
			WithHint("run this job for requested_action with the identifier %s only", replanAction)
	}
	if err := r.api(); err != nil {
		return err
	}
	if err := r.repository(); err != nil {
		return err
	}
	check, err := r.pressed()
	if err != nil {
		return err
	}
	if err := r.mayPress(); err != nil {
		return err
	}
	if r.change, err = r.changeAt(check.HeadSHA); err != nil {
		return err
	}
	if err := r.forge.OwnCheck(r.ctx, check); err != nil {
		return err
	}
	run, err := r.newestPlan()
	if err != nil {
		return err
	}
	if run.Status != "completed" {
		r.note = "run " + run.ID + " is planning the change already"
		return nil
	}
	if err := r.forge.Rerun(r.ctx, run.ID); err != nil {
		return err
	}
	r.note = "run " + run.ID + " plans change " + r.changeName() + " again, as " + e.Sender.Login + " asked"
	return nil
}

// pressed reads the check whose button was pressed. That its App is that of this token is
// asked later, by a request that changes nothing. SPEC: docs/threats.md T10.
func (r *ciRun) pressed() (github.Check, error) {
	k, err := r.forge.CheckRun(r.ctx, r.event.CheckID)
	if err != nil {
		return k, err
	}
	if k.Name != planCheck || k.HeadSHA != r.event.HeadSHA || k.AppID == "" || ofJobs(k) {
		return k, protocol.Errorf(protocol.ExitIntegrity, "check_foreign", "check %s, %.80q of App %q at commit %s, is none whose button plans again", k.ID, k.Name, k.App, k.HeadSHA).
			WithHint("only the check %q has that button, where an App of your own made it", planCheck)
	}
	return k, nil
}

// mayPress refuses who may not write to the repository: everybody who may read sees the
// button.
func (r *ciRun) mayPress() error {
	who := r.event.Sender
	may, err := r.forge.Permission(r.ctx, who)
	if err != nil {
		return err
	}
	if who.Bot || !slices.Contains([]string{"write", "maintain", "admin"}, may) {
		return protocol.Errorf(protocol.ExitDenied, "replan_refused", "%s may not have the change planned again: the permission is %q, and it takes write", who.Login, may).
			WithHint("somebody who may write to the repository presses the button")
	}
	return nil
}

// changeAt finds the one open change of this repository whose head a commit is.
func (r *ciRun) changeAt(commit string) (github.Change, error) {
	changes, err := r.forge.ChangesOf(r.ctx, commit)
	if err != nil {
		return github.Change{}, err
	}
	changes = slices.DeleteFunc(changes, func(c github.Change) bool {
		return !c.Open || c.Head.SHA != commit || c.Base.RepositoryID != r.repo.ID
	})
	switch len(changes) {
	case 0:
		return github.Change{}, protocol.Errorf(protocol.ExitStale, "head_moved", "no open change has commit %s as its head any more", commit).
			WithHint("press the button of the newest check")
	case 1:
		return changes[0], nil
	}
	return github.Change{}, protocol.Errorf(protocol.ExitIntegrity, "change_ambiguous", "changes %d and %d both have commit %s as head", changes[0].Number, changes[1].Number, commit).
		WithHint("close one of them")
}

// newestPlan gives the newest run that planned the change's head by itself.
func (r *ciRun) newestPlan() (github.Run, error) {
	runs, err := r.headRuns(r.ctx)
	if err != nil {
		return github.Run{}, err
	}
	want := workflowsDir + r.planWorkflow()
	for _, run := range runs {
		if run.Event != "pull_request" || !r.planned(run) || run.WorkflowPath != want || run.HeadSHA != r.change.Head.SHA ||
			run.HeadRepositoryID != r.change.Head.RepositoryID || run.RepositoryID != r.repo.ID {
			continue
		}
		if run.Conclusion == "action_required" {
			return run, protocol.Errorf(protocol.ExitDenied, "replan_refused", "run %s has not run yet: it waits until somebody lets a newcomer's change run (%s)", run.ID, run.URL).
				WithHint("look at the change, then approve that run on its page")
		}
		return run, nil
	}
	return github.Run{}, protocol.Errorf(protocol.ExitUnreachable, "flight_missing", "no run of %s planned commit %s of change %d", want, r.change.Head.SHA, r.change.Number).
		WithHint("the workflow that plans is NAME.yml where this one is NAME.yml or NAME%s.yml", baseSuffix)
}
