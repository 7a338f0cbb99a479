package orchestrator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// Report is preflight.json: what the judges said of one step.
type Report struct {
	Version     string                       `json:"version"`
	WorkflowID  string                       `json:"workflow_id"`
	StepID      string                       `json:"step_id"`
	Token       string                       `json:"token"`
	Decision    protocol.Decision            `json:"decision"`
	Aggregation protocol.Aggregation         `json:"aggregation"`
	Evaluations []protocol.PolicyEvaluation  `json:"evaluations"`
	Violations  []string                     `json:"violations"`
	Warnings    []string                     `json:"warnings"`
	Requires    []protocol.PreflightRequires `json:"requires"`
	Isolation   engines.Isolation            `json:"isolation"`
	Opaque      bool                         `json:"opaque"`
	// Intent is what the step wants, whatever it was planned on.
	Intent  string  `json:"intent"`
	Derived Derived `json:"derived"`
	// Explanations tell what each policy's rules came to, if policies.explain asks for it.
	Explanations []policies.Explanation `json:"explanations,omitempty"`
}

// Judgement is a report with what the judges said beside what a report keeps.
type Judgement struct {
	Report
	// Findings are the report's evaluations, one for one, with places and times.
	Findings []policies.Finding
}

// Derived is what the sealing side found out itself of the change; empty where there
// is none. Ids are texts.
type Derived struct {
	AuthorEmail string `json:"author_email"`
	BaseCommit  string `json:"base_commit"`
	HeadCommit  string `json:"head_commit"`
	// GovernanceCommit is the commit that governance was taken from; empty: the workspace.
	GovernanceCommit string `json:"governance_commit"`
	MergeTree        string `json:"merge_tree"`
	Forge            string `json:"forge"`
	RepositoryID     string `json:"repository_id"`
	Repository       string `json:"repository"`
	Change           string `json:"change"`
	Event            string `json:"event"`
	RunID            string `json:"run_id"`
	RunAttempt       string `json:"run_attempt"`
}

// derived is what a command finds out of the change.
func (s Source) derived() Derived {
	r := s.Run
	return Derived{
		AuthorEmail: s.AuthorEmail, BaseCommit: cmp.Or(r.BaseCommit, s.HeadCommit), HeadCommit: s.HeadCommit, GovernanceCommit: s.GovernanceCommit,
		MergeTree: r.MergeTree, Forge: r.Forge, RepositoryID: r.RepositoryID, Repository: r.Repository, Change: r.Change, Event: r.Event,
		RunID: r.RunID, RunAttempt: r.RunAttempt,
	}
}

// judge asks the judges about one step. Judging that breaks is a denial.
func (o *Orchestrator) judge(ctx context.Context, f *Flight, s *Setup, p *stepPlan, token protocol.PlanToken) (Report, error) {
	j, err := o.judgement(ctx, f, s, p, token)
	return j.Report, err
}

func (o *Orchestrator) judgement(ctx context.Context, f *Flight, s *Setup, p *stepPlan, token protocol.PlanToken) (Judgement, error) {
	in, err := f.input(s, p, token)
	if err != nil {
		return Judgement{}, unreadable(err, p.id)
	}
	return o.ask(ctx, f, s, p, in)
}

func unreadable(err error, step string) error {
	return protocol.Errorf(protocol.ExitDenied, "policy_input", "step %s cannot be judged: %w", step, err)
}

// ask asks the judges of a setup about one input document.
func (o *Orchestrator) ask(ctx context.Context, f *Flight, s *Setup, p *stepPlan, in policies.Input) (Judgement, error) {
	j := Judgement{Report: Report{
		Version: "1", WorkflowID: f.ID(), StepID: p.id, Token: p.token, Decision: protocol.Deny,
		Aggregation: cmp.Or(s.Governance.Decide.Method, protocol.MostRestrictive),
		Evaluations: []protocol.PolicyEvaluation{}, Violations: []string{}, Warnings: []string{}, Requires: []protocol.PreflightRequires{},
		Isolation: isolationOf(p.isolation), Opaque: p.opaque,
		Derived: s.Source.derived(),
	}}
	r := &j.Report
	var err error
	if r.Intent, err = p.intent(); err != nil {
		return j, err
	}
	result, err := s.Governance.Judge.Evaluate(ctx, in, stamp(o.Now()))
	if err != nil {
		if ctx.Err() != nil {
			return j, err
		}
		return j, denial(err, p.id)
	}
	result = s.Shown(result)
	if r.Decision, err = policies.Decide(result.Findings, s.Governance.Decide); err != nil {
		return j, denial(err, p.id)
	}
	for _, found := range result.Findings {
		found.Evidence = tame(found.Evidence)
		r.Evaluations = append(r.Evaluations, found.PolicyEvaluation)
		j.Findings = append(j.Findings, found)
	}
	r.Violations = append(r.Violations, result.Violations()...)
	r.Warnings = append(r.Warnings, result.Warnings()...)
	r.Explanations = explained(result.Explanations)
	if len(r.Evaluations) == 0 && r.Decision == protocol.Deny {
		r.Violations = append(r.Violations, "no policy judged this step; name one under policies, or set policies.allow_without_policies: true")
	}
	if r.Decision != protocol.RequireApproval {
		return j, nil
	}
	r.Requires = append(r.Requires, result.Requires()...)
	for _, q := range r.Requires {
		if !roleName.MatchString(q.Role) {
			return j, denial(fmt.Errorf("a policy asks for the role %q, which is no role's name", q.Role), p.id)
		}
	}
	if len(r.Requires) == 0 {
		r.Requires = append(r.Requires, protocol.PreflightRequires{
			Role: s.Config.Approvals.DefaultRole, Reason: "the aggregation of the decisions asks for approval",
		})
	}
	return j, nil
}

// explained bounds what a report tells of how decisions came about: a report that
// is too large to be read would end the flight.
func explained(all []policies.Explanation) []policies.Explanation {
	var out []policies.Explanation
	left := limits.PolicyExplained
	for _, e := range all {
		short := policies.Explanation{Policy: e.Policy, Lines: []string{}}
		for i, line := range e.Lines {
			if left -= len(line); left < 0 {
				short.Lines = append(short.Lines, fmt.Sprintf("%d more lines are left out", len(e.Lines)-i))
				break
			}
			short.Lines = append(short.Lines, line)
		}
		if out = append(out, short); left < 0 {
			break
		}
	}
	return out
}

// roleName is what a role may be called; a policy may have built it from foreign text.
var roleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$`)

// denial makes sure that what broke judging ends as a denial (exit 3).
func denial(err error, step string) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.Exit == protocol.ExitDenied {
		return err
	}
	return protocol.Errorf(protocol.ExitDenied, "policy_error", "step %s could not be judged: %w", step, err).
		WithHint("what cannot be judged is denied; mend the policy and plan again")
}

// tame makes evidence fit for our own documents: numbers that are no integers
// within 2^53 become text. SPEC: docs/protocol.md 3.
func tame(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out, _ := tameValue(m).(map[string]any)
	return out
}

func tameValue(v any) any {
	switch x := v.(type) {
	case json.Number:
		if _, err := protocol.Canonical(x); err != nil {
			return x.String()
		}
	case float64:
		if float64(int64(x)) == x && int64(x) < 1<<53 && int64(x) > -1<<53 {
			return int64(x)
		}
		return strconv.FormatFloat(x, 'g', -1, 64)
	case []any:
		list := make([]any, len(x))
		for i := range x {
			list[i] = tameValue(x[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(x))
		for k := range x {
			m[k] = tameValue(x[k])
		}
		return m
	}
	return v
}

// preflight judges every step, writes reports, requests and manifest, and enters
// the state that the decision gives.
func (o *Orchestrator) preflight(ctx context.Context, f *Flight, s *Setup, plans []*stepPlan) error {
	if f.Status.State == protocol.StateTokenCreated {
		if err := o.append(f, f.enter(protocol.StatePreflightRunning, "preflight begins")); err != nil {
			return err
		}
	}
	o.progress(Progress{Stage: "preflight", Message: "asking the policies"})
	reports := make([]Report, 0, len(plans))
	for _, p := range plans {
		token, err := p.preimage.PlanToken(f.Status.SealedAt)
		if err != nil {
			return err
		}
		r, err := o.judge(ctx, f, s, p, token)
		if err != nil {
			return err
		}
		raw, err := protocol.Canonical(r)
		if err != nil {
			return denial(err, p.id)
		}
		if err := f.WriteFile(stepPath(p.id, preflightFile), raw); err != nil {
			return err
		}
		reports = append(reports, r)
	}
	requests, err := o.requests(f, plans, reports)
	if err != nil {
		return err
	}
	manifest, err := o.writeManifest(f, plans)
	if err != nil {
		return err
	}
	return o.judged(ctx, f, s, plans, reports, requests, manifest)
}

// requests writes one approval request per step and role. SPEC: docs/protocol.md 7.
func (o *Orchestrator) requests(f *Flight, plans []*stepPlan, reports []Report) ([]protocol.ApprovalRequest, error) {
	flight, err := flightToken(plans)
	if err != nil {
		return nil, err
	}
	if err := f.Root().RemoveAll("approvals"); err != nil { // what an interrupted preflight left
		return nil, err
	}
	if err := f.Root().MkdirAll("approvals", 0o755); err != nil {
		return nil, err
	}
	var out []protocol.ApprovalRequest
	for i, r := range reports {
		for _, q := range r.Requires {
			id, err := plantoken.ApprovalID(f.ID(), flight, r.StepID, r.Token, q.Role)
			if err != nil {
				return nil, err
			}
			request := protocol.ApprovalRequest{
				ApprovalID: id, WorkflowID: f.ID(), StepID: r.StepID, Reason: q.Reason, RequiredRole: q.Role, PlanTokenHash: r.Token,
			}
			for j, a := range plans[i].artifacts {
				if a.Role == protocol.RoleEvidence {
					request.Evidence = append(request.Evidence, protocol.PreflightEvidence{
						Name: a.Name, Path: stepPath(r.StepID, artifactsDir, a.Name), Hash: plans[i].hashes[j].Hash,
					})
				}
			}
			raw, err := protocol.Canonical(request)
			if err != nil {
				return nil, err
			}
			if err := f.WriteFile(requestPath(id), raw); err != nil {
				return nil, err
			}
			out = append(out, request)
		}
	}
	return out, nil
}

func requestPath(id string) string  { return "approvals/" + id + ".request.json" }
func responsePath(id string) string { return "approvals/" + id + ".response.json" }

func (o *Orchestrator) writeManifest(f *Flight, plans []*stepPlan) ([]byte, error) {
	flight, err := flightToken(plans)
	if err != nil {
		return nil, err
	}
	m := plantoken.Manifest{Version: plantoken.Version, WorkflowID: f.ID(), FlightToken: flight}
	for _, p := range plans {
		m.Steps = append(m.Steps, plantoken.ManifestStep{StepID: p.id, Token: p.token, Context: p.preimage.Context})
	}
	if m.Files, err = f.listed(plans); err != nil {
		return nil, err
	}
	raw, err := m.Bytes()
	if err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	return raw, f.WriteFile(ManifestFile, raw)
}

// judged records the decisions and enters the state that follows from them.
func (o *Orchestrator) judged(ctx context.Context, f *Flight, s *Setup, plans []*stepPlan, reports []Report,
	requests []protocol.ApprovalRequest, manifest []byte) error {
	decision := worst(reports)
	var bundle []byte
	if decision != protocol.Deny && o.Signatures.Signs() && !o.NoSign {
		var err error
		if bundle, err = o.sign(ctx, f, s, plans, reports, manifest); err != nil {
			return err
		}
		if err := f.WriteFile(PlanBundle, bundle); err != nil {
			return err
		}
	}
	records := decisionRecords(f, s, reports)
	records = append(records, f.artifactRecord(ManifestFile, protocol.Digest(manifest), "plan-manifest", "", protocol.EventPlanTokenCreated, "the manifest is fixed"))
	if bundle != nil {
		records = append(records, f.artifactRecord(PlanBundle, protocol.Digest(bundle), "plan-bundle", "", protocol.EventPlanTokenCreated, "the plan is signed"))
	}
	records = append(records, f.enter(protocol.StatePreflightComplete, "preflight ended: "+string(decision)))
	switch decision {
	case protocol.Deny:
		if err := o.append(f, records...); err != nil {
			return err
		}
		return denied(reports)
	case protocol.RequireApproval:
		records = append(records, f.enter(protocol.StateAwaitingApproval, "approval is needed"))
		for _, q := range requests {
			e := f.event(protocol.EventApprovalRequest, q.StepID, "role "+q.RequiredRole+" must approve: "+q.Reason)
			e.WorkflowState = string(protocol.StateAwaitingApproval)
			records = append(records, Record{protocol.WALApprovalRequested,
				protocol.ApprovalRequestedData{ApprovalID: q.ApprovalID, StepID: q.StepID, RequiredRole: q.RequiredRole}, e})
		}
	default:
		records = append(records, f.enter(protocol.StateReadyForTakeoff, "ready for take-off"))
	}
	return o.append(f, records...)
}

func worst(reports []Report) protocol.Decision {
	d := protocol.Allow
	for _, r := range reports {
		d = protocol.MostSevere(d, r.Decision)
	}
	return d
}

func decisionRecords(f *Flight, s *Setup, reports []Report) []Record {
	var records []Record
	for _, r := range reports {
		for i, e := range r.Evaluations {
			ev := f.event(protocol.EventPolicyResult, r.StepID, fmt.Sprintf("%s says %s", e.PolicyID, e.Decision))
			ev.Policy = &protocol.AuditPolicy{Decision: e.Decision, PolicyEvaluations: []protocol.PolicyEvaluation{e}, WorkflowState: string(f.Status.State)}
			records = append(records, Record{protocol.WALPolicyEvaluated,
				protocol.PolicyEvaluatedData{EvaluationID: r.StepID + "/" + strconv.Itoa(i), PolicyName: e.PolicyID, Decision: e.Decision}, ev})
		}
		ev := f.event(protocol.EventDecisionAggregated, r.StepID, fmt.Sprintf("step decision: %s", r.Decision))
		ev.Policy = &protocol.AuditPolicy{
			Decision: r.Decision, AggregationMethod: r.Aggregation, WorkflowState: string(f.Status.State),
			Violations: r.Violations, Warnings: r.Warnings,
		}
		records = append(records, Record{Event: ev})
	}
	return records
}

func denied(reports []Report) error {
	for _, r := range reports {
		if r.Decision != protocol.Deny {
			continue
		}
		e := protocol.Errorf(protocol.ExitDenied, "policy_denied", "step %s is denied by policy", r.StepID)
		if len(r.Violations) > 0 {
			e.Message += ": " + r.Violations[0]
		}
		return e.WithHint("cabincrew show names every decision; change what the step does, or the policy, and plan again")
	}
	return protocol.Errorf(protocol.ExitDenied, "policy_denied", "denied by policy")
}

// readReports reads preflight.json of every step.
func (f *Flight) readReports(plans []*stepPlan) ([]Report, error) {
	out := make([]Report, 0, len(plans))
	for _, p := range plans {
		r, err := f.readReport(p.id)
		if err != nil {
			return nil, err
		}
		if r.WorkflowID != f.ID() || r.StepID != p.id || r.Token != p.token {
			return nil, integrity("preflight_mismatch", "the report is of flight %s, step %s, token %s", r.WorkflowID, r.StepID, r.Token).
				At(stepPath(p.id, preflightFile))
		}
		out = append(out, r)
	}
	return out, nil
}

func (f *Flight) readReport(id string) (Report, error) {
	var r Report
	at := stepPath(id, preflightFile)
	raw, err := f.ReadFile(at, limits.Preflight)
	if err != nil {
		return r, integrity("flight_unreadable", "%w", err).At(at)
	}
	if err := protocol.Decode(raw, &r); err != nil {
		return r, integrity("preflight_malformed", "%w", err).At(at)
	}
	again, err := protocol.Canonical(r)
	if err != nil || !bytes.Equal(again, raw) {
		return r, integrity("preflight_malformed", "it is not in canonical form, or fields are missing").At(at)
	}
	if !r.Decision.Valid() || slices.ContainsFunc(r.Evaluations, func(e protocol.PolicyEvaluation) bool { return !e.Decision.Valid() }) {
		return r, integrity("preflight_malformed", "it holds an unknown decision").At(at)
	}
	return r, nil
}

// Sign signs a sealed flight that is not signed yet. It reads the manifest and
// the decisions only, each held against the manifest, never an artifact: what
// parses hostile bytes and what can sign need not be one process.
func (o *Orchestrator) Sign(ctx context.Context, f *Flight, s *Setup) error {
	if !o.Signatures.Signs() {
		return protocol.Errorf(protocol.ExitUsage, "signing_off", "the configuration signs nothing").WithHint("set signing: {key: FILE}")
	}
	if !f.Status.State.Reached(protocol.StatePreflightComplete) || f.Status.State.Reached(protocol.StateTakeoffRunning) {
		return protocol.Errorf(protocol.ExitUsage, "state_wrong", "flight %s is %s: it cannot be signed", f.ID(), f.Status.State)
	}
	if f.Status.Digests[PlanBundle] != "" {
		return nil // signed before; a second nonce would make a second code
	}
	var v verified
	raw, err := f.ReadFile(ManifestFile, limits.ManifestFile)
	if err != nil {
		return integrity("flight_unreadable", "%w", err).At(ManifestFile)
	}
	if v.manifest, err = plantoken.ParseManifest(raw); err != nil {
		return integrity("manifest_malformed", "%w", err).At(ManifestFile)
	}
	if got := protocol.Digest(raw); got != f.Status.Digests[ManifestFile] {
		return integrity("manifest_changed", "it has digest %s, the WAL says %s", got, f.Status.Digests[ManifestFile]).At(ManifestFile)
	}
	plans, reports, err := f.decisionsOnly(v.manifest)
	if err != nil {
		return err
	}
	for i, r := range reports {
		if err := ofHere(r.StepID, plans[i].preimage.Context, s.Source.Run); err != nil {
			return err
		}
		// A job that signs may have no checkout; what it knows must be as it was sealed.
		for _, x := range []struct{ what, plan, now string }{
			{"commit", r.Derived.HeadCommit, s.Source.HeadCommit}, {"governance commit", r.Derived.GovernanceCommit, s.Source.GovernanceCommit},
		} {
			if x.now != "" && x.plan != x.now {
				return integrity("plan_foreign", "the plan is of another %s: %q, this is %q", x.what, x.plan, x.now).At("step " + r.StepID).
					WithHint("sign it where its commit is checked out")
			}
		}
	}
	bundle, err := o.sign(ctx, f, s, plans, reports, raw)
	if err != nil {
		return err
	}
	if err := f.WriteFile(PlanBundle, bundle); err != nil {
		return err
	}
	return o.append(f, f.artifactRecord(PlanBundle, protocol.Digest(bundle), "plan-bundle", "", protocol.EventPlanTokenCreated, "the plan is signed"))
}

// decisionsOnly reads plan-token.json and preflight.json of every step, held
// against the manifest's digests.
func (f *Flight) decisionsOnly(m *plantoken.Manifest) ([]*stepPlan, []Report, error) {
	digests := map[string]string{}
	for _, file := range m.Files {
		digests[file.Path] = file.Digest
	}
	var plans []*stepPlan
	for _, step := range m.Steps {
		p := &stepPlan{id: step.StepID}
		for _, name := range []string{tokenFile, preflightFile} {
			at := stepPath(p.id, name)
			raw, err := f.ReadFile(at, limits.Preflight)
			if err != nil {
				return nil, nil, integrity("flight_unreadable", "%w", err).At(at)
			}
			if protocol.Digest(raw) != digests[at] {
				return nil, nil, integrity("file_changed", "it is not what the manifest says").At(at)
			}
			if name != tokenFile {
				continue
			}
			var t protocol.PlanToken
			if err := readOwn(raw, &t); err != nil {
				return nil, nil, integrity("token_malformed", "%w", err).At(at)
			}
			p.preimage = plantoken.Of(t, step.Context)
			if p.token, err = p.preimage.Token(); err != nil || p.token != step.Token {
				return nil, nil, integrity("token_mismatch", "the bytes give token %s, the manifest says %s", p.token, step.Token).At(at)
			}
		}
		plans = append(plans, p)
	}
	reports, err := f.readReports(plans)
	for i := range reports {
		plans[i].isolation = reports[i].Isolation
	}
	return plans, reports, err
}
