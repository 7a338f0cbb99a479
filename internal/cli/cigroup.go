package cli

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/protocol"
)

// branchTop begins the full name of a branch.
const branchTop = "refs/heads/"

// groupName is what the protocol calls a group of a merge queue. SPEC: docs/protocol.md 3.
func groupName(g github.MergeGroup) string {
	return "merge_group/" + strings.TrimPrefix(g.HeadRef, branchTop)
}

// headCommit is the commit that is planned: the change's newest, or that of its group.
func (r *ciRun) headCommit() string { return cmp.Or(r.group.HeadSHA, r.change.Head.SHA) }

// ofGroup asks the forge about the group of the event: its branch must still be at the
// commit that the run is for.
func (r *ciRun) ofGroup() error {
	g := r.event.MergeGroup
	ref, ok := strings.CutPrefix(g.HeadRef, branchTop)
	base, isBranch := strings.CutPrefix(g.BaseRef, branchTop)
	if !ok || !isBranch {
		return usageError("ci_event", "the merge group goes from %q into %q, which are no branches", g.HeadRef, g.BaseRef)
	}
	tip, err := r.forge.Branch(r.ctx, ref)
	if err != nil {
		return err
	}
	if tip.SHA != g.HeadSHA {
		return protocol.Errorf(protocol.ExitStale, "head_moved", "the merge group %s is at commit %s now, the run is for %s", ref, tip.SHA, g.HeadSHA).
			WithHint("the run that the newer group started plans it")
	}
	r.group = g
	return r.protected(base)
}

// groupIs gives the run as the queue made it.
func (r *ciRun) groupIs(s *session) error {
	src, g := &s.setup.Source, r.group
	if r.judging && s.checkout != g.HeadSHA { // the job that signs has the base's checkout
		return protocol.Errorf(protocol.ExitStale, "checkout_wrong", "the checkout is commit %s, the merge group is %s", s.checkout, g.HeadSHA).
			WithHint("check out the commit that the event names, with its whole history (fetch-depth: 0)")
	}
	src.Run.Forge, src.Run.RepositoryID, src.Run.Repository = string(ci.GitHub), r.repo.ID, r.repo.FullName
	src.Run.Change, src.HeadCommit, src.Branch = groupName(g), g.HeadSHA, strings.TrimPrefix(g.BaseRef, branchTop)
	if g.BaseSHA != "" {
		src.Run.BaseCommit = g.BaseSHA
	}
	if r.change.Number != 0 {
		src.Line = "pull/" + strconv.Itoa(r.change.Number) // which merges once, as itself or as a group
	}
	src.AuthorEmail = "" // the forge knows people by their numbers
	return nil
}

// fetchMerged gets the flight of a merged commit: of the merge queue's group that made
// it, where one was planned, or else of the change.
func (r *ciRun) fetchMerged(commit string) (string, error) {
	run, found, err := r.groupRun(commit)
	if err != nil {
		return "", err
	}
	if !found {
		return r.fetchFlight()
	}
	r.group = github.MergeGroup{HeadSHA: commit, HeadRef: branchTop + run.HeadBranch, BaseRef: branchTop + r.change.Base.Ref}
	return r.fetchFrom(run)
}

// groupRun finds the newest run that planned a commit as the group of a merge queue.
// Who is in the queue is the forge's word, which it gives by the event.
func (r *ciRun) groupRun(commit string) (github.Run, bool, error) {
	if who := r.event.Sender; r.event.Name == "push" && r.event.After == commit && r.within == "" && who.ID != "" && !who.Bot {
		return github.Run{}, false, nil // a merge queue merges as a bot: what a person pushed is the change's own
	}
	runs, err := r.forge.Runs(r.ctx, github.RunFilter{WorkflowFile: r.planWorkflow(), HeadSHA: commit, Event: "merge_group", Most: mostRuns})
	if err != nil {
		return github.Run{}, false, err
	}
	i := slices.IndexFunc(runs, func(run github.Run) bool { return run.Conclusion != "skipped" })
	if i < 0 {
		return github.Run{}, false, nil
	}
	run, want := runs[i], ".github/workflows/"+r.planWorkflow()
	switch {
	case run.WorkflowPath != want || run.HeadRepositoryID != r.repo.ID || run.RepositoryID != r.repo.ID || run.HeadSHA != commit:
		return run, false, protocol.Errorf(protocol.ExitIntegrity, "run_foreign", "run %s is of workflow %s, repository %s, commit %s, not of %s, %s, %s",
			run.ID, run.WorkflowPath, run.HeadRepositoryID, run.HeadSHA, want, r.repo.ID, commit)
	case run.Status != "completed":
		return run, false, missingFlight(run, "is still being made")
	}
	return run, true, r.startedAgain(run)
}
