package cli

import (
	"context"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// workflowFiles gives the workflow whose runs plan, and the one that does what needs the
// rights of the base: NAME.yml and NAME-base.yml, or one that does both.
func (r *ciRun) workflowFiles() (plan, base string) {
	// owner/name/.github/workflows/file.yml@ref
	name, _, _ := strings.Cut(r.env["GITHUB_WORKFLOW_REF"], "@")
	own := path.Base(name)
	stem, ext := strings.TrimSuffix(own, path.Ext(own)), path.Ext(own)
	if stem, is := strings.CutSuffix(stem, baseSuffix); is {
		return stem + ext, own
	}
	return own, stem + baseSuffix + ext
}

const (
	baseSuffix   = "-base"
	workflowsDir = ".github/workflows/"
	dependabot   = "dependabot[bot]"
)

// planWorkflow is the file of the workflow whose runs plan changes.
func (r *ciRun) planWorkflow() string {
	plan, _ := r.workflowFiles()
	return plan
}

// plansThere refuses a flight of a workflow that did not govern when it was planned: the
// caller's file names it, and a change may bring a file of its own. SPEC: docs/threats.md T11, T15
func (r *ciRun) plansThere(o *origin) error {
	if o == nil || o.tree == nil {
		return protocol.Errorf(protocol.ExitIntegrity, "workflow_unknown", "no commit governs the flight, so which workflow plans cannot be told")
	}
	name := workflowsDir + r.planWorkflow()
	if r.planWorkflow() == "." || !strings.Contains(r.env["GITHUB_WORKFLOW_REF"], "/"+workflowsDir) {
		return protocol.Errorf(protocol.ExitIntegrity, "workflow_unknown", "the run is of %q, which is no workflow's file", r.env["GITHUB_WORKFLOW_REF"])
	}
	there, err := o.tree.Top().Has(name)
	if err != nil || there {
		return err
	}
	return protocol.Errorf(protocol.ExitIntegrity, "workflow_unknown", "the protected branch had no %s when the flight was planned (commit %s), so what its runs planned does not take off", name, o.commit).
		WithHint("add the workflow's file by a change of its own that the file before it plans, and remove that one later")
}

// byBase says whether what a run planned is sealed by a run of the base that follows it,
// since its own token may only read: that of a fork's change, and of one by Dependabot.
func (r *ciRun) byBase(run github.Run) bool {
	return run.HeadRepositoryID != r.repo.ID || run.Actor.Login == dependabot
}

// ofPlan checks that the run which this one follows planned a change for the base.
func (r *ciRun) ofPlan() error {
	if want := workflowsDir + r.planWorkflow(); r.from.WorkflowPath != want || r.from.Event != "pull_request" {
		return protocol.Errorf(protocol.ExitIntegrity, "run_foreign", "run %s is of workflow %s by %s, not of %s by pull_request", r.from.ID, r.from.WorkflowPath, r.from.Event, want).
			WithHint("what NAME.yml planned is sealed by NAME-base.yml, beside it")
	}
	if !r.byBase(r.from) {
		return usageError("ci_event", "run %s is of a change of this repository: it judges and signs by itself", r.from.ID)
	}
	return nil
}

// seals gives the runs that may have sealed the change's head, newest first: its own,
// and those of the base that came after runs which could not.
func (r *ciRun) seals(ctx context.Context) ([]github.Run, error) {
	runs, err := r.headRuns(ctx)
	if err != nil {
		return nil, err
	}
	var out []github.Run
	var since time.Time
	for _, run := range runs {
		switch {
		case !r.planned(run), r.elsewhere(run):
		case run.Event == "pull_request" && r.byBase(run) && run.HeadRepositoryID == r.change.Head.RepositoryID:
			since = run.CreatedAt
		default:
			out = append(out, run)
		}
	}
	if since.IsZero() {
		return out, nil
	}
	_, base := r.workflowFiles()
	after, err := r.forge.Runs(ctx, github.RunFilter{WorkflowFile: base, Event: "workflow_run", Most: mostRuns})
	if err != nil {
		return nil, err
	}
	for _, run := range after {
		if r.planned(run) && !run.CreatedAt.Before(since) {
			out = append(out, run)
		}
	}
	slices.SortStableFunc(out, func(a, b github.Run) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out, nil
}

// elsewhere says whether a run is of another repository's change: of a fork that has the
// same commit. A repository keeps its number for good, so a run of the change never
// becomes one of these; of two that are gone nobody can tell which was which.
func (r *ciRun) elsewhere(run github.Run) bool {
	return run.Event == "pull_request" && run.HeadRepositoryID != r.change.Head.RepositoryID
}

// startedAgain refuses a run that was started again, or only then, after the merge: what
// it hands over now was not there when the change was approved and merged.
func (r *ciRun) startedAgain(run github.Run) error {
	merged := r.change.MergedAt
	if merged.IsZero() || run.StartedAt.Before(merged) || run.StartedAt.Equal(run.CreatedAt) {
		return nil // when it was created is looked at elsewhere
	}
	return missingFlight(run, "was started again after the merge, at "+run.StartedAt.UTC().Format(time.RFC3339))
}

// newestSeal gives the newest run that sealed the change's head.
func (r *ciRun) newestSeal() (github.Run, error) {
	runs, err := r.seals(r.ctx)
	if err != nil {
		return github.Run{}, err
	}
	for _, run := range runs {
		if r.others[run.ID] != "" {
			continue
		}
		ours, err := r.sealed(run)
		if err != nil || ours {
			return run, err
		}
	}
	return github.Run{}, protocol.Errorf(protocol.ExitUnreachable, "flight_missing", "no run of %s planned commit %s of change %d", workflowsDir+r.planWorkflow(), r.change.Head.SHA, r.change.Number).
		WithHint("the workflow that plans must have run for the change's last commit; what NAME.yml planned takes off by the same file or by NAME-base.yml")
}

// sealed says whether a run sealed the change's head. That a run of the base did is
// told by nothing but what it sealed.
func (r *ciRun) sealed(run github.Run) (bool, error) {
	if run.Event != "workflow_run" {
		return true, r.ownSeal(run)
	}
	_, base := r.workflowFiles()
	if run.WorkflowPath != workflowsDir+base || run.RepositoryID != r.repo.ID || run.HeadRepositoryID != r.repo.ID {
		return false, foreignSeal(run, workflowsDir+base, r.repo.ID, run.HeadSHA)
	}
	if !r.change.MergedAt.IsZero() && run.CreatedAt.After(r.change.MergedAt) {
		return false, nil // what was sealed after the merge decides nothing about it
	}
	switch {
	case run.Status == "completed":
	case run.ID == r.env["GITHUB_RUN_ID"], !r.takesOff():
		return false, nil // what it seals, it tells itself
	default:
		return false, missingFlight(run, "may be in the making")
	}
	artifacts, err := r.artifactsOf(r.ctx, run)
	if err != nil {
		return false, err
	}
	top, err := os.MkdirTemp(r.env["RUNNER_TEMP"], "cabincrew-artifacts-")
	if err != nil {
		return false, unwritable("RUNNER_TEMP", err)
	}
	defer func() { _ = os.RemoveAll(top) }() // it was only looked at
	at, err := r.sealedPart(r.ctx, run, artifacts, artifactJudged, judgedPart, top)
	if err != nil || at == "" {
		return false, err
	}
	ours, err := r.sealsChange(at)
	if err == nil && ours {
		err = r.startedAgain(run)
	}
	return ours, err
}

// ownSeal checks a run that the change's head started.
func (r *ciRun) ownSeal(run github.Run) error {
	want := workflowsDir + r.planWorkflow()
	if run.WorkflowPath != want || run.HeadRepositoryID != r.change.Head.RepositoryID || run.HeadSHA != r.change.Head.SHA || run.RepositoryID != r.repo.ID {
		return foreignSeal(run, want, r.change.Head.RepositoryID, r.change.Head.SHA)
	}
	if run.Status != "completed" {
		return missingFlight(run, "is still being made")
	}
	return r.startedAgain(run)
}

func foreignSeal(run github.Run, workflow, repository, commit string) error {
	return protocol.Errorf(protocol.ExitIntegrity, "run_foreign", "run %s is of workflow %s, repository %s, commit %s, not of %s, %s, %s",
		run.ID, run.WorkflowPath, run.HeadRepositoryID, run.HeadSHA, workflow, repository, commit)
}

// sealsChange says whether an archive is of the change's head, by its manifest.
func (r *ciRun) sealsChange(archive string) (ours bool, err error) {
	err = r.withStore(func(s *session) error {
		u, err := s.unpack(archive, "")
		if err != nil {
			return err
		}
		root, err := os.OpenRoot(u.dir)
		if err != nil {
			return err
		}
		defer func() { _ = root.Close() }() // only read
		info, err := root.Lstat(orchestrator.ManifestFile)
		if err != nil || !info.Mode().IsRegular() || info.Size() > limits.ManifestFile {
			return protocol.Errorf(protocol.ExitIntegrity, "flight_unreadable", "it has no manifest").At(orchestrator.ManifestFile)
		}
		raw, err := root.ReadFile(orchestrator.ManifestFile)
		if err != nil {
			return err
		}
		m, err := plantoken.ParseManifest(raw)
		if err != nil {
			return protocol.Errorf(protocol.ExitIntegrity, "manifest_malformed", "%w", err).At(orchestrator.ManifestFile)
		}
		for _, step := range m.Steps {
			ours = step.Context.Change == r.changeName() && step.Context.HeadCommit == r.change.Head.SHA
		}
		return nil
	})
	return ours, err
}
