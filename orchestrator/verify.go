package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// Check is the outcome of one check of a flight.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // "pass", "fail" or "not applicable"
	Detail string `json:"detail,omitempty"`
}

// Statuses of a Check.
const (
	Pass          = "pass"
	FailStatus    = "fail"
	NotApplicable = "not applicable"
)

// verified is a flight whose bytes all hold together.
type verified struct {
	plans     []*stepPlan
	manifest  *plantoken.Manifest
	raw       []byte // of the manifest
	reports   []Report
	requests  []protocol.ApprovalRequest
	responses map[string]*ApprovalStatement
	fresh     []*ApprovalStatement // signed responses that the WAL does not know yet
	plan      *PlanFacts           // of the signed plan, nil where unsigned
	code      string               // approval code, "" where unsigned
	early     early
}

// Verify checks a flight from its bytes: every file that the manifest names,
// tokens, decisions, approvals, signatures. With a Setup, approvals are verified
// with the keys of its governance. It writes nothing. SPEC: docs/protocol.md 9.
func (o *Orchestrator) Verify(ctx context.Context, f *Flight, s *Setup) ([]Check, error) {
	var checks []Check
	_, err := o.run(ctx, f, s, func(c Check) { checks = append(checks, c) })
	return checks, err
}

func (o *Orchestrator) verified(ctx context.Context, f *Flight, s *Setup) (*verified, error) {
	return o.run(ctx, f, s, func(Check) {})
}

// run does the checks in order, tells each, and stops at the first that fails.
func (o *Orchestrator) run(ctx context.Context, f *Flight, s *Setup, tell func(Check)) (*verified, error) {
	v := &verified{}
	sealed := f.Status.Digests[ManifestFile] != ""
	if sealed {
		defer v.ahead(o, f)()
	}
	steps := []struct {
		name    string
		applies bool
		check   func() (string, error)
	}{
		{"steps", f.Status.State.Reached(protocol.StatePlanGenerated) || sealed, func() (string, error) { return v.readSteps(ctx, f, s) }},
		{"manifest", sealed, func() (string, error) { return v.readManifest(f) }},
		{"tokens", sealed, func() (string, error) { return v.readTokens(f) }},
		{"manifest record", sealed, func() (string, error) { return f.recorded(ManifestFile, "manifest_changed", v.raw) }},
		{"artifact records", sealed, func() (string, error) { return v.artifactRecords(f) }},
		{"decisions", sealed, func() (string, error) { return v.readDecisions(f) }},
		{"plan signature", v.wanted(o, f), func() (string, error) { return v.readPlanBundle(o, f) }},
		{"audit head", v.signed(o, f), func() (string, error) { return v.auditHolds(o, f) }},
		{"plan record", f.Status.Digests[PlanBundle] != "", func() (string, error) { return f.planRecord() }},
		{"audit signatures", o.Audit != nil, func() (string, error) { return o.Audit.Holds(f.Dir) }},
		{"approval requests", sealed, func() (string, error) { return v.readRequests(f) }},
		{"approvals", sealed && (s != nil || o.Approving != nil), func() (string, error) { return v.readResponses(o, f, s) }},
		{"take-off records", len(f.Status.Began) > 0, func() (string, error) { return v.takeoffRecords(f) }},
		{"take-off signature", !o.Unsigned && (f.ends() || !f.Status.State.Terminal() && f.has(TakeOffBundle)), func() (string, error) { return v.readTakeOffBundle(o, f) }},
	}
	for _, step := range steps {
		if !step.applies {
			tell(Check{Name: step.name, Status: NotApplicable})
			continue
		}
		detail, err := step.check()
		if err != nil {
			tell(Check{Name: step.name, Status: FailStatus, Detail: err.Error()})
			return v, err
		}
		tell(Check{Name: step.name, Status: Pass, Detail: detail})
	}
	return v, nil
}

// signed says whether the plan is signed, and that is to be verified.
func (v *verified) signed(o *Orchestrator, f *Flight) bool {
	return !o.Unsigned && f.Status.Digests[PlanBundle] != ""
}

// has says whether the flight's directory has a file.
func (f *Flight) has(name string) bool {
	_, err := f.Root().Lstat(name)
	return err == nil
}

// wanted says whether the plan's signature is to be verified: where there is one, and
// where there must be. A flight that was denied or cancelled was never signed; but one
// whose take-off began must have been.
func (v *verified) wanted(o *Orchestrator, f *Flight) bool {
	switch sealed, failed := f.Status.Digests[ManifestFile] != "", f.Status.State == protocol.StateFailed && len(f.Status.Began) == 0; {
	case o.Unsigned:
		return false
	case f.Status.Digests[PlanBundle] != "", o.Signatures.Required():
		return true
	default:
		return sealed && o.Signatures.Signs() && !o.NoSign && !failed
	}
}

// planRecord compares the signed plan with what the WAL says of it.
func (f *Flight) planRecord() (string, error) {
	raw, err := f.ReadFile(PlanBundle, limits.Approval)
	if err != nil {
		return "", integrity("plan_unsigned", "%w", err).At(PlanBundle)
	}
	return f.recorded(PlanBundle, "plan_bundle_changed", raw)
}

func (v *verified) readSteps(ctx context.Context, f *Flight, s *Setup) (string, error) {
	var c *config.Config
	var secrets *redact.Redactor
	if s != nil {
		c, secrets = s.Config, s.Redactor
	}
	var err error
	if v.plans, err = f.readAll(ctx, c, secrets); err != nil {
		return "", asIntegrity(err, "")
	}
	n := 0
	for _, p := range v.plans {
		n += len(p.artifacts)
	}
	return fmt.Sprintf("%d steps, %d artifacts", len(v.plans), n), nil
}

func (v *verified) readManifest(f *Flight) (string, error) {
	read := v.early.manifest
	if read == nil {
		read = f.parseManifest
	}
	m := read()
	if m.err != nil {
		return "", m.err
	}
	v.raw, v.manifest = m.raw, m.manifest
	if v.manifest.WorkflowID != f.ID() {
		return "", integrity("manifest_mismatch", "its workflow_id is %s, this is flight %s", v.manifest.WorkflowID, f.ID()).At(ManifestFile)
	}
	if v.manifest.FlightToken != f.Status.FlightToken {
		return "", integrity("manifest_mismatch", "its flight_token is %s, the WAL says %s", v.manifest.FlightToken, f.Status.FlightToken).At(ManifestFile)
	}
	ids := make([]string, len(v.manifest.Steps))
	for i, s := range v.manifest.Steps {
		ids[i] = s.StepID
	}
	if !slices.Equal(ids, f.order()) {
		return "", integrity("manifest_mismatch", "its steps (step_id) are not those of flight.json").At(ManifestFile)
	}
	have, err := f.listed(v.plans)
	if err != nil {
		return "", err
	}
	if err := sameFiles(v.manifest.Files, have); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d files", len(have)), nil
}

// manifestOnly reads the manifest, and compares it with the WAL, for those who make no
// other check of it.
func (v *verified) manifestOnly(f *Flight) error {
	_, err := v.readManifest(f)
	if err == nil {
		_, err = f.recorded(ManifestFile, "manifest_changed", v.raw)
	}
	return err
}

// recorded compares a file with what the WAL says of it. It comes after all that can
// name a member: a digest names none.
func (f *Flight) recorded(name, code string, raw []byte) (string, error) {
	got := protocol.Digest(raw)
	if got != f.Status.Digests[name] {
		return "", integrity(code, "it has digest %s, the WAL says %s", got, f.Status.Digests[name]).At(name)
	}
	return got, nil
}

// sameFiles names the first file that differs from the manifest.
func sameFiles(want, have []plantoken.ManifestFile) error {
	found := make(map[string]plantoken.ManifestFile, len(have))
	for _, f := range have {
		found[f.Path] = f
	}
	for _, w := range want {
		h, ok := found[w.Path]
		switch {
		case !ok:
			return integrity("file_missing", "the manifest names it, but it is gone").At(w.Path)
		case h.Digest != w.Digest || h.Size != w.Size:
			return integrity("file_changed", "it has digest %s (%d bytes), the manifest says %s (%d bytes)", h.Digest, h.Size, w.Digest, w.Size).At(w.Path)
		case h.Mode != w.Mode:
			return integrity("file_changed", "it has mode %s, the manifest says %s", h.Mode, w.Mode).At(w.Path)
		}
		delete(found, w.Path)
	}
	for _, name := range sortedKeys(found) {
		return integrity("file_extra", "the manifest does not name it").At(name)
	}
	return nil
}

func (v *verified) readTokens(f *Flight) (string, error) {
	if err := f.contexts(v.manifest); err != nil {
		return "", err
	}
	if err := f.readTokens(v.plans, v.manifest); err != nil {
		return "", err
	}
	return v.manifest.FlightToken, nil
}

// contexts compares what is known of the contexts, whose every member is part of a
// token: a token that differs would not tell which one it was.
func (f *Flight) contexts(m *plantoken.Manifest) error {
	for _, step := range m.Steps {
		r, err := f.readReport(step.StepID)
		if err != nil {
			return err
		}
		c, d := step.Context, r.Derived
		for _, x := range []struct{ name, says, is string }{
			{"step_id", c.StepID, step.StepID}, {"workflow", c.Workflow, f.Info.Workflow}, {"config_path", c.ConfigPath, f.Info.ConfigPath},
			{"head_commit", c.HeadCommit, d.HeadCommit}, {"forge", c.Forge, d.Forge}, {"repository", c.Repository, d.RepositoryID}, {"change", c.Change, d.Change},
		} {
			if x.says != x.is {
				return integrity("token_mismatch", "the manifest says context.%s is %q, the flight says %q", x.name, x.says, x.is).At(ManifestFile)
			}
		}
	}
	return nil
}

func (v *verified) artifactRecords(f *Flight) (string, error) {
	recorded := map[string]string{}
	for _, a := range f.Status.Artifacts {
		recorded[a.ArtifactID] = a.ArtifactHash
	}
	n := 0
	for _, p := range v.plans {
		for i, a := range p.artifacts {
			n++
			if id := artifactID + p.id + "/" + a.Name; recorded[id] != p.hashes[i].Hash {
				return "", integrity("artifact_changed", "artifact %s has hash %s, the WAL says %s", a.Name, p.hashes[i].Hash, recorded[id]).At("step " + p.id)
			}
		}
	}
	if n != len(recorded) {
		return "", integrity("artifact_changed", "the WAL tells of %d artifacts, the flight has %d", len(recorded), n).At("wal.jsonl")
	}
	return fmt.Sprintf("%d artifacts as recorded", n), nil
}

func (v *verified) readDecisions(f *Flight) (string, error) {
	var err error
	if v.reports, err = f.readReports(v.plans); err != nil {
		return "", err
	}
	for i, r := range v.reports {
		if intent, err := v.plans[i].intent(); err != nil || r.Intent != intent {
			return "", errors.Join(err, integrity("preflight_mismatch", "the report says that the intent is %q, it is %q", r.Intent, intent).At(stepPath(r.StepID, preflightFile)))
		}
	}
	recorded := map[string]protocol.PolicyEvaluationRecord{}
	for _, e := range f.Status.Evaluations {
		recorded[e.EvaluationID] = e
	}
	n := 0
	for _, r := range v.reports {
		for i, e := range r.Evaluations {
			id := fmt.Sprintf("%s/%d", r.StepID, i)
			if got := recorded[id]; got.Decision != e.Decision || got.PolicyName != e.PolicyID {
				return "", integrity("decision_mismatch", "evaluation %s says %s by %s, the WAL %s by %s", id, e.Decision, e.PolicyID, got.Decision, got.PolicyName).
					At(stepPath(r.StepID, preflightFile))
			}
			n++
		}
	}
	if n != len(recorded) {
		return "", integrity("decision_mismatch", "the WAL tells of %d evaluations, the reports of %d", len(recorded), n).At("wal.jsonl")
	}
	d := worst(v.reports)
	state := f.Status.State
	if d == protocol.Deny && state != protocol.StateFailed && state.Reached(protocol.StateReadyForTakeoff) ||
		d == protocol.RequireApproval && state.Reached(protocol.StateReadyForTakeoff) && len(f.Status.Received) == 0 {
		return "", integrity("decision_mismatch", "the decision is %s, yet the flight is %s", d, state).At("wal.jsonl")
	}
	return string(d), nil
}

func (v *verified) readPlanBundle(o *Orchestrator, f *Flight) (string, error) {
	read := v.early.plan
	if read == nil { // a flight that must be signed, but is not sealed
		read = func() (*PlanFacts, error) { return o.planSaid(f, v.raw) }
	}
	var err error
	if v.plan, err = read(); err != nil {
		return "", err
	}
	if err := v.says(f); err != nil {
		return "", err
	}
	v.code, err = plantoken.ApprovalCode(v.manifest.FlightToken, v.plan.ApprovalNonce)
	return "signed by " + v.plan.Signer + " at " + v.plan.IssuedAt, err
}

func (v *verified) readRequests(f *Flight) (string, error) {
	var err error
	v.requests, err = f.readRequests(v.manifest, v.reports)
	return fmt.Sprintf("%d requests", len(v.requests)), err
}

func (v *verified) readResponses(o *Orchestrator, f *Flight, s *Setup) (string, error) {
	var err error
	if v.responses, v.fresh, err = o.responses(f, v); err != nil {
		return "", err
	}
	if s == nil {
		s = o.Approving
	}
	if err := o.counted(f, s, v); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d of %d answered", len(v.responses), len(v.requests)), f.noStrayApprovals(v.requests)
}

// noStrayApprovals refuses files under approvals/ that belong to no request.
func (f *Flight) noStrayApprovals(requests []protocol.ApprovalRequest) error {
	entries, err := fs.ReadDir(f.Root().FS(), "approvals")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return integrity("flight_unreadable", "%w", err).At("approvals")
	}
	for _, e := range entries {
		id, _, _ := strings.Cut(e.Name(), ".")
		if !slices.ContainsFunc(requests, func(q protocol.ApprovalRequest) bool { return q.ApprovalID == id }) {
			return integrity("file_extra", "it belongs to no approval request").At("approvals/" + e.Name())
		}
	}
	return nil
}

// takeoffRecords compares what take-off wrote with what the WAL says of it.
func (v *verified) takeoffRecords(f *Flight) (string, error) {
	n := 0
	for _, id := range f.order() {
		for _, name := range []string{takeoffReceipt, takeoffLog} {
			at := stepPath(id, name)
			want := f.Status.Digests[at]
			if want == "" {
				continue
			}
			file, _, err := engines.OpenRegular(f.Root(), at)
			got, err := digestOf(file, err)
			if err != nil {
				return "", integrity("flight_unreadable", "%w", err).At(at)
			}
			if got != want {
				return "", integrity("file_changed", "it has digest %s, the WAL says %s", got, want).At(at)
			}
			n++
		}
		if f.Status.TakenOff[id] && f.Status.Digests[stepPath(id, takeoffReceipt)] == "" {
			return "", integrity("file_missing", "step %s took off, but the WAL names no receipt", id).At("wal.jsonl")
		}
	}
	return fmt.Sprintf("%d files", n), nil
}

// artifactsFor gives the artifacts that a take-off may read: planned evidence and
// state, never logs. SPEC: docs/protocol.md 2.
func artifactsFor(p *stepPlan) []engines.Artifact {
	return slices.DeleteFunc(slices.Clone(p.artifacts), func(a engines.Artifact) bool { return a.Role == protocol.RoleLog })
}
