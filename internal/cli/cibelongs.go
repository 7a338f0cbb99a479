package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// isOfChange compares a flight that a run handed over with the change that it is wanted
// for, and with that run: a signature is genuine on a plan of anything. That the flight
// says so of itself is verified with the signed statement, before anything is done.
// SPEC: docs/threats.md T02, T03, T15, T39.
func (r *ciRun) isOfChange(f *orchestrator.Flight) error {
	d, sealed, err := f.Derived()
	if err != nil {
		return err
	}
	foreign := func(what, has, want string) error {
		return protocol.Errorf(protocol.ExitIntegrity, "flight_foreign", "what run %s handed over is the plan of %s %q, not of %q", r.seal.ID, what, has, want).
			WithHint("somebody put another plan in its place: look at who changed the workflow of that run (%s), then plan the change anew", r.seal.URL)
	}
	switch {
	case !sealed:
		return protocol.Errorf(protocol.ExitIntegrity, "flight_foreign", "what run %s handed over was never sealed", r.seal.ID).
			WithHint("plan the change anew")
	case d.RepositoryID != r.repo.ID:
		return foreign("repository", d.RepositoryID, r.repo.ID)
	case d.Change != r.changeName():
		return foreign("change", d.Change, r.changeName())
	case d.HeadCommit != r.headCommit():
		return foreign("commit", d.HeadCommit, r.headCommit())
	case d.RunID != r.seal.ID:
		return foreign("run", d.RunID, r.seal.ID)
	}
	// What a later attempt of the run failed to plan, or denied, is not replaced by what
	// an earlier one planned.
	planned, err := strconv.Atoi(d.RunAttempt)
	newest, also := strconv.Atoi(r.seal.Attempt)
	if err != nil || also != nil || planned > newest {
		return foreign("attempt", d.RunAttempt, r.seal.Attempt)
	}
	if planned < newest && r.seal.Conclusion != "success" {
		return missingFlight(r.seal, "is of attempt "+d.RunAttempt+", and attempt "+r.seal.Attempt+" did not succeed")
	}
	return nil
}

// shownBefore says whether people were shown another token for the same commit. Runs and
// their artifacts can be deleted by whoever may write, a check cannot; and what a check
// says is only ever taken against the plan, never for it. SPEC: docs/threats.md T06, T35.
func (r *ciRun) shownBefore(ctx context.Context, token string) (bool, error) {
	checks, err := r.forge.Checks(ctx, r.change.Head.SHA, r.checkName(planCheck))
	return slices.ContainsFunc(checks, func(k github.Check) bool { return k.ExternalID != "" && k.ExternalID != token }), err
}

// hides says whether the report leaves an evidence artifact out because a patch lies
// beside it, though it may do more than tell of that. SPEC: docs/threats.md T44.
func (v *artifactView) hides(beside bool) bool {
	return beside && v.Role == protocol.RoleEvidence && v.Type != orchestrator.TypePatch && !v.Told
}

// secretIn says whether a search for secrets found one in a step.
func secretIn(evaluations []protocol.PolicyEvaluation) bool {
	return slices.ContainsFunc(evaluations, func(e protocol.PolicyEvaluation) bool {
		return strings.HasPrefix(e.PolicyID, "secrets/") && e.Decision != protocol.Allow
	})
}

// withhold takes the content out of what a step does, where a secret stands in it: more
// people can read a check than the file. SPEC: docs/threats.md T22.
func withhold(effects []ci.Effect) {
	for i := range effects {
		if effects[i].Diff != "" {
			effects[i].Diff, effects[i].Detail = "", "not shown: there is a secret in it"
		}
	}
}
