package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// Names of the artifacts under which a workflow keeps what its jobs hand over.
const (
	artifactJudged = "cabincrew-judged"
	artifactSigned = "cabincrew-signed"
)

// mergedChange finds the change whose merge a commit is. A commit that was pushed
// without one has no flight.
func (r *ciRun) mergedChange(commit string) (bool, error) {
	changes, err := r.forge.ChangesOf(r.ctx, commit)
	if err != nil {
		return false, err
	}
	var merged []github.Change
	for _, c := range changes {
		if c.Merged && c.MergeCommit == commit && c.Base.RepositoryID == r.env["GITHUB_REPOSITORY_ID"] {
			merged = append(merged, c)
		}
	}
	switch len(merged) {
	case 0:
		r.note = "commit " + commit + " is the merge of no change: there is no flight to take off"
		return false, nil
	case 1:
	default:
		return false, protocol.Errorf(protocol.ExitIntegrity, "change_ambiguous", "commit %s is the merge of %d changes, such as %d and %d", commit, len(merged), merged[0].Number, merged[1].Number)
	}
	r.change = merged[0]
	if n := r.event.Number; n != 0 && n != r.change.Number {
		return false, protocol.Errorf(protocol.ExitIntegrity, "ci_event", "the event is of change %d, the commit is the merge of %d", n, r.change.Number)
	}
	r.repo = github.Repository{ID: r.change.Base.RepositoryID, FullName: r.change.Base.Repository, DefaultBranch: r.change.Base.DefaultBranch, Private: r.change.Base.Private}
	return true, r.protected(r.change.Base.Ref)
}

func (r *ciRun) takeOff(commit string) error {
	if err := r.notOlder(commit); err != nil {
		return err
	}
	id, err := r.fetchMerged(commit)
	if err != nil {
		return err
	}
	fence := &forgeFence{ctx: func() context.Context { return r.ctx }, forge: r.forge, commit: commit, run: r.runURL(), step: r.flags.step, start: r.underWay, made: map[string]string{}, absent: map[string]bool{}, refused: map[string]bool{}}
	r.fence = fence
	r.judging = true
	r.onForge = func(s *session) error {
		if err := r.runIs(s); err != nil {
			return err
		}
		fence.home = s.crew.Fence
		fence.brought = s.tags
		s.crew.Fence = fence
		s.crew.Forge = &people{r: r, s: s}
		s.crew.Gate = r.gates(s)
		if r.group.HeadSHA != "" {
			s.crew.Carry = r.approvedPlan(s)
		}
		return nil
	}
	err = r.with(r.ctx, func(s *session) error {
		if err := s.lockWorkspace(); err != nil {
			return err
		}
		if head := s.checkout; head != commit {
			return protocol.Errorf(protocol.ExitStale, "checkout_wrong", "the checkout is commit %s, the merge is %s", head, commit).
				WithHint("check out the commit that the event names, with its whole history (fetch-depth: 0)")
		}
		f, err := s.write([]string{id})
		if err == nil {
			err = r.mayTakeOff(s, f)
		}
		if err != nil {
			return err
		}
		opt := orchestrator.TakeOffOptions{RequireSigned: true}
		done, err := s.crew.TakeOff(r.ctx, f, s.setup, opt)
		if r.replans(s, err) {
			f, done, err = r.replan(s, f, err, opt)
			id = f.ID()
		}
		if !done {
			r.followUp(s, f, err)
		}
		if done && err == nil {
			r.note = "this plan took off before; nothing was done"
			r.report.Notes = append(r.report.Notes, r.note)
		}
		return errors.Join(err, r.describe(s, f, err))
	})
	return errors.Join(err, r.export(id, landedPart))
}

// mayTakeOff refuses a flight that is not the newest plan of the merged change, by the
// workflow that planned when its governance did, and notes what it touches.
func (r *ciRun) mayTakeOff(s *session, f *orchestrator.Flight) error {
	if err := r.isOfChange(f); err != nil {
		return err
	}
	if err := r.newestShown(r.ctx, f); err != nil {
		return err
	}
	if err := s.underPlanned(r.ctx, f, true); err != nil {
		return err
	}
	if err := r.plansThere(s.planned); err != nil {
		return err
	}
	steps := s.setup.Config.PlanOrder()
	if err := r.behind(s.checkout, steps); err != nil {
		return err
	}
	if r.flags.step != "" {
		r.fence.steps = steps
	}
	s.touch(f)
	return nil
}

// fetchFlight gets the newest plan of the change's head. Only the newest counts: a
// later, stricter one is not passed by because it cannot be had. SPEC: docs/threats.md
// T15, T39.
func (r *ciRun) fetchFlight() (id string, err error) {
	for range mostSeals {
		run, err := r.newestSeal()
		if err != nil {
			return "", err
		}
		if id, err = r.fetchFrom(run); err != nil {
			return "", err
		}
		if other, err := r.ofAnotherChange(id); err != nil || !other {
			return id, err
		}
	}
	return "", protocol.Errorf(protocol.ExitUnreachable, "flight_missing", "the newest %d runs for commit %s planned other changes", mostSeals, r.change.Head.SHA).
		WithHint("plan the change anew")
}

// ofAnotherChange says whether a run planned another change that has the same head: what
// it signed itself says so. Then the newest plan of this one is older.
func (r *ciRun) ofAnotherChange(id string) (other bool, err error) {
	if r.seal.Event != "pull_request" {
		return false, nil
	}
	err = r.withStore(func(s *session) error {
		f, _, err := s.read([]string{id})
		if err != nil {
			return err
		}
		d, sealed, err := f.Derived()
		if err != nil || !sealed || d.Change == r.changeName() || d.HeadCommit != r.headCommit() || d.RepositoryID != r.repo.ID || d.RunID != r.seal.ID {
			return err // ours, or for isOfChange to refuse
		}
		if s.origin, err = s.originOf(r.flags.governanceRef); err != nil {
			return err
		}
		if err := s.trusting(s.origin); err != nil {
			return err
		}
		plan, err := orchestrator.PlanOf(f)
		if err != nil {
			return nil //nolint:nilerr // not signed: for isOfChange to refuse
		}
		facts, err := s.crew.Signatures.Plan(plan.Bundle, plan.Manifest)
		if err != nil || facts.Derived.Change != d.Change || facts.Derived.HeadCommit != d.HeadCommit || facts.Derived.RunID != d.RunID || facts.Derived.RepositoryID != d.RepositoryID {
			return nil //nolint:nilerr // nobody says so but the flight: for isOfChange to refuse
		}
		if r.others == nil {
			r.others = map[string]string{}
		}
		r.others[r.seal.ID], other = facts.FlightToken, true
		return nil
	})
	return other, err
}

// fetchFrom gets the flight that a run sealed.
func (r *ciRun) fetchFrom(run github.Run) (id string, err error) {
	r.seal = run
	artifacts, err := r.artifactsOf(r.ctx, run)
	if err != nil {
		return "", err
	}
	top, err := os.MkdirTemp(r.env["RUNNER_TEMP"], "cabincrew-artifacts-")
	if err != nil {
		return "", unwritable("RUNNER_TEMP", err)
	}
	defer func() { _ = os.RemoveAll(top) }() // what was in it is in the state directory
	judged, err := r.sealedPart(r.ctx, run, artifacts, artifactJudged, judgedPart, top)
	if err != nil {
		return "", err
	}
	if judged == "" {
		return "", r.nowhere(run)
	}
	signed, err := r.signedPart(run, artifacts, judged, top)
	if err != nil {
		return "", err
	}
	return r.join(judged, signed)
}

func missingFlight(run github.Run, why string) error {
	return protocol.Errorf(protocol.ExitUnreachable, "flight_missing", "the newest plan of the change, of run %s, %s", run.ID, why).
		WithHint("an older plan never takes its place: run that workflow again (%s), or plan the change anew", run.URL)
}

// fetchPart downloads an artifact and gives the archive in it; "" where there is none.
func (r *ciRun) fetchPart(artifacts []github.Artifact, name, part, top string) (string, error) {
	var newest *github.Artifact
	for i, a := range artifacts {
		if a.Name == name && (newest == nil || a.CreatedAt.After(newest.CreatedAt)) {
			newest = &artifacts[i]
		}
	}
	switch {
	case newest == nil:
		return "", nil
	case newest.Expired:
		return "", protocol.Errorf(protocol.ExitUnreachable, "flight_missing", "the artifact %s of run %s has expired", name, newest.RunID).WithHint("plan the change anew")
	}
	zip, err := os.CreateTemp(top, part+"-*.zip")
	if err != nil {
		return "", unwritable(top, err)
	}
	defer func() { _ = zip.Close() }() // only read from here on
	if err := r.forge.Download(r.ctx, *newest, zip, limits.StorageArchive); err != nil {
		return "", err
	}
	info, err := zip.Stat()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(top, part)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", unwritable(dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }() // every file in it is closed
	if err := github.Unzip(zip, info.Size(), root, github.ZipLimits{Files: mostParts, Bytes: 2 * limits.StorageArchive, File: limits.StorageArchive, Ratio: limits.GitHubArchiveRatio}); err != nil {
		return "", err
	}
	for _, at := range []string{flightArchive, part + "/" + flightArchive} {
		if info, err := root.Lstat(at); err == nil && info.Mode().IsRegular() {
			return filepath.Join(dir, at), nil
		}
	}
	return "", protocol.Errorf(protocol.ExitIntegrity, "run_foreign", "the artifact %s of run %s holds no %s", name, newest.RunID, flightArchive)
}

// mostParts is how many files an artifact may hold: archives, and reports beside them.
const mostParts = 100

// join puts what the signing job added onto the sealed flight. Everything is verified
// afterwards; here only names and sizes are.
func (r *ciRun) join(judged, signed string) (id string, err error) {
	err = r.withStore(func(s *session) error {
		u, err := s.unpack(judged, "")
		if err != nil {
			return err
		}
		if signed != "" {
			if err := s.overlay(u.dir, signed); err != nil {
				return err
			}
		}
		dir, err := file.OpenDir(u.dir)
		if err != nil {
			return err
		}
		id = dir.ID()
		if err := dir.Close(); err != nil {
			return err
		}
		return s.pull(u, r.env["CABINCREW_AGE_IDENTITY"], "")
	})
	return id, err
}

func (s *session) overlay(onto, archive string) error {
	u, err := s.unpack(archive, "")
	if err != nil {
		return err
	}
	from, err := os.OpenRoot(u.dir)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // only read
	to, err := os.OpenRoot(onto)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }() // every file in it is closed
	return fs.WalkDir(from.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !decided(name) {
			return protocol.Errorf(protocol.ExitIntegrity, "file_extra", "the signing job has no business with it").At(name)
		}
		data, err := from.ReadFile(name)
		if err != nil {
			return err
		}
		return to.WriteFile(name, data, 0o600)
	})
}
