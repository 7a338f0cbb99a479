package cli

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

const artifactPlanned = "cabincrew-planned"

// reviewJob counts the approvals of a change again and tells the forge. The token of a
// run for a fork's change can only read: then a run that follows it does the same.
func (r *ciRun) reviewJob() error {
	switch r.event.Name {
	case "pull_request_review", "workflow_run":
	default:
		if err := r.mayPlan(); err != nil {
			return err
		}
	}
	if err := r.derive(); err != nil {
		return err
	}
	if r.event.Name == "pull_request_review" && r.change.Head.RepositoryID != r.repo.ID {
		r.note = "the change comes from a fork: the run that follows this one counts its approvals"
		return nil
	}
	return r.recount()
}

// recount counts what people said of the newest plan, and shows it in the check.
func (r *ciRun) recount() error {
	id, err := r.fetchFlight()
	if err != nil {
		return err
	}
	if err := r.begin(r.checkName(planCheck), r.change.Head.SHA); err != nil {
		return err
	}
	r.onForge = func(s *session) error {
		s.crew.Forge = &people{r: r, s: s}
		return r.runIs(s)
	}
	return r.concluded(r.with(r.ctx, func(s *session) error {
		f, _, err := s.read([]string{id})
		if err == nil {
			err = r.isOfChange(f)
		}
		if err == nil {
			err = r.newestShown(r.ctx, f)
		}
		if err == nil {
			err = s.underPlanned(r.ctx, f, false)
		}
		if err != nil {
			return err
		}
		s.touch(f)
		err = s.crew.Approvals(r.ctx, f, s.setup)
		return errors.Join(err, r.describe(s, f, err))
	}))
}

// touch tells the forge's people which paths a flight's artifacts change, and whether
// reviewers were shown all of it.
func (s *session) touch(f *orchestrator.Flight) {
	p, ok := s.crew.Forge.(*people)
	if !ok {
		return
	}
	var v flightView
	s.fill(&v, f, limits.ShowPageLines)
	notes := p.r.report.Notes // whoever describes the flight says more again
	p.r.depict(s, f, &v)
	p.codeNeeded, p.r.report.Notes = p.r.report.CodeNeeded, notes
	budget := &lineBudget{}
	for _, step := range orchestrator.Summarize(f).Steps {
		for _, a := range step.Artifacts {
			view := viewArtifact(f, step.StepID, a, budget)
			if at, ok := pathOfTarget(view.Target); ok {
				p.touched = append(p.touched, at)
			}
			for _, m := range view.Files {
				for _, at := range []string{m.OldPath, m.NewPath} {
					if at != "" {
						p.touched = append(p.touched, at)
					}
				}
			}
		}
	}
}

// afterRun does in the base repository what a run for a fork's change could not: seal
// what it planned, or count approvals. It runs nothing of the fork's.
func (r *ciRun) afterRun() error {
	switch r.event.RunEvent {
	case "pull_request_review":
		return r.reviewJob()
	case "pull_request":
		return r.sealForked()
	}
	return usageError("ci_event", "a run that %s started asks for nothing here", r.event.RunEvent)
}

// sealForked seals and signs what a fork's change planned in a run of its own.
func (r *ciRun) sealForked() error {
	if err := r.derive(); err != nil {
		return err
	}
	if !r.byBase(r.from) {
		r.note = "the change comes from this repository: its own run judges and signs it"
		return nil
	}
	if err := r.ofPlan(); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	if err := r.begin(r.checkName(planCheck), r.change.Head.SHA); err != nil {
		return err
	}
	return r.concluded(r.sealFrom(r.from))
}

func (r *ciRun) sealFrom(run github.Run) error {
	artifacts, err := r.forge.Artifacts(r.ctx, run.ID)
	if err != nil {
		return err
	}
	top, err := os.MkdirTemp(r.env["RUNNER_TEMP"], "cabincrew-artifacts-")
	if err != nil {
		return unwritable("RUNNER_TEMP", err)
	}
	defer func() { _ = os.RemoveAll(top) }() // what was in it is in the state directory
	at, err := r.fetchPart(artifacts, r.artifactName(artifactPlanned), plannedPart, top)
	if err != nil {
		return err
	}
	if at == "" {
		return missingFlight(run, "has no artifact "+r.artifactName(artifactPlanned))
	}
	remove, err := r.fetchMerge()
	if err != nil {
		return err
	}
	defer remove()
	r.signs = true
	return r.judge(at)
}

// fetchMerge gets the change merged onto its base as files, in a work tree of its own
// in which nothing is run.
func (r *ciRun) fetchMerge() (remove func(), err error) {
	ref := "refs/pull/" + strconv.Itoa(r.change.Number) + "/merge"
	local := "refs/cabincrew/pull/" + strconv.Itoa(r.change.Number)
	cmd := exec.CommandContext(r.ctx, "git", "-C", r.flags.workspace, "-c", "core.hooksPath=/dev/null", "fetch", "--no-tags", "origin", "+"+ref+":"+local) //nolint:gosec // a number
	cmd.Env = append(r.gitEnv(), r.gitAuth()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "git_fetch", "%s cannot be fetched: %w: %.200s", ref, err, strings.ReplaceAll(string(out), r.token, "***"))
	}
	rel, err := filepath.Rel(r.flags.workspace, r.flags.config)
	if err != nil {
		return nil, err
	}
	at, remove, err := r.checkout(local)
	if err != nil {
		return nil, err
	}
	r.flags.workspace, r.flags.config = at, filepath.Join(at, rel)
	return remove, nil
}

// gitAuth gives git the job's token in its environment, where no argument list shows it.
func (r *ciRun) gitAuth() []string {
	basic := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + r.token))
	r.job.Mask(basic)
	return []string{
		"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http." + r.env["GITHUB_SERVER_URL"] + "/.extraheader",
		"GIT_CONFIG_VALUE_0=AUTHORIZATION: basic " + basic,
	}
}
