package cli

import (
	"cmp"
	"context"
	"errors"
	"os"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// mostSeals is how many earlier runs of one commit are looked at.
const mostSeals = 5

// sealedBefore tells of earlier plans of the change's head. An equal plan keeps the
// approvals since it was first sealed; where there was another one, or that cannot be
// told, approvals must name the code. SPEC: docs/protocol.md 7, docs/threats.md T06.
func (r *ciRun) sealedBefore(s *session) func(context.Context, string) (orchestrator.Sealed, error) {
	return func(ctx context.Context, token string) (orchestrator.Sealed, error) {
		if r.change.Number == 0 {
			return orchestrator.Sealed{}, nil
		}
		if other, err := r.shownBefore(ctx, token); err != nil || other {
			return orchestrator.Sealed{Other: other}, err
		}
		runs, err := r.seals(ctx)
		if err != nil {
			return orchestrator.Sealed{}, err
		}
		looked := 0
		for _, run := range runs {
			own := run.ID == r.env["GITHUB_RUN_ID"] // an earlier attempt of it may have planned
			if own && r.env["GITHUB_RUN_ATTEMPT"] == "1" {
				continue
			}
			if looked++; looked > mostSeals {
				return orchestrator.Sealed{Other: true}, nil
			}
			facts, there, err := r.earlierPlan(ctx, s, run)
			if err != nil {
				return orchestrator.Sealed{}, err
			}
			ofBase := run.Event == "workflow_run"
			switch {
			case ofBase && (!there || facts != nil && facts.Derived.HeadCommit != r.change.Head.SHA):
				looked-- // it sealed another change, or did something else
				continue
			case facts == nil && (own || run.Conclusion == "failure"):
				continue // no check shows another token, so nobody was shown one
			case facts == nil || facts.FlightToken != token || facts.CodeNeeded || facts.Derived.HeadCommit != r.change.Head.SHA:
				return orchestrator.Sealed{Other: true}, nil
			}
			return orchestrator.Sealed{First: cmp.Or(facts.FirstSealed, facts.IssuedAt)}, nil
		}
		return orchestrator.Sealed{}, nil
	}
}

// planned says whether a run is one that plans. What a merge itself started, as a
// change that was closed, does not.
func (r *ciRun) planned(run github.Run) bool {
	if merged := r.change.MergedAt; !merged.IsZero() && run.Event == "pull_request" && !run.CreatedAt.Before(merged) {
		return false
	}
	return (run.Event == "pull_request" || run.Event == "workflow_run" || run.Event == "merge_group") && run.Conclusion != "skipped"
}

// earlierPlan reads what a run signed; nil where that cannot be had or does not verify.
// there says that there was something.
func (r *ciRun) earlierPlan(ctx context.Context, s *session, run github.Run) (facts *orchestrator.PlanFacts, there bool, err error) {
	artifacts, err := r.artifactsOf(ctx, run)
	if err != nil {
		return nil, false, err
	}
	top, err := os.MkdirTemp(r.env["RUNNER_TEMP"], "cabincrew-artifacts-")
	if err != nil {
		return nil, false, unwritable("RUNNER_TEMP", err)
	}
	defer func() { _ = os.RemoveAll(top) }() // it was only looked at
	for _, part := range []struct{ artifact, name string }{{artifactSigned, signedPart}, {artifactJudged, judgedPart}} {
		at, err := r.sealedPart(ctx, run, artifacts, part.artifact, part.name, top)
		if protocol.ExitCode(err) == protocol.ExitUnreachable && !errors.Is(err, protocol.Code("flight_missing")) {
			return nil, true, err // what it planned is nobody's guess
		}
		there = there || err != nil || at != ""
		if err != nil || at == "" {
			continue
		}
		u, err := s.unpack(at, "")
		if err != nil {
			continue
		}
		if facts := planIn(u.dir, s.crew.Signatures); facts != nil {
			return facts, true, nil
		}
	}
	return nil, there, nil
}

// planIn verifies the signed plan in a directory; nil where there is none that verifies.
func planIn(dir string, by orchestrator.Verifier) *orchestrator.PlanFacts {
	d, err := file.OpenDir(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }() // only read
	bundle, err := d.ReadFile(orchestrator.PlanBundle, limits.BundleBytes)
	if err != nil {
		return nil
	}
	manifest, err := d.ReadFile(orchestrator.ManifestFile, limits.ManifestFile)
	if err != nil {
		return nil
	}
	facts, err := by.Plan(bundle, manifest)
	if err != nil {
		return nil
	}
	return facts
}
