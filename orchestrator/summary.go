package orchestrator

import (
	"errors"
	"fmt"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// Summary is the document that --output json prints of a flight. Fields without
// a value are left out.
type Summary struct {
	WorkflowID   string                     `json:"workflow_id,omitempty"`
	State        protocol.State             `json:"state,omitempty"`
	Decision     protocol.Decision          `json:"decision,omitempty"`
	FlightToken  string                     `json:"flight_token,omitempty"`
	FlightDir    string                     `json:"flight_dir,omitempty"`
	Steps        []SummaryStep              `json:"steps,omitempty"`
	Approvals    []protocol.ApprovalRequest `json:"approvals,omitempty"`
	ApprovalCode string                     `json:"approval_code,omitempty"`
	Preview      *Preview                   `json:"preview,omitempty"`
	Error        *SummaryError              `json:"error,omitempty"`
}

// Preview is what the steps of a change's own configuration would plan. Nothing of it
// was judged, has a token or can take off.
type Preview struct {
	Steps   []SummaryStep `json:"steps,omitempty"`
	Changes []string      `json:"changes,omitempty"` // of files: step, what happens, path
	Without []string      `json:"without,omitempty"` // what its steps did not get
	Error   *SummaryError `json:"error,omitempty"`
}

// previewedChanges is how many changes of files a preview names.
const previewedChanges = 200

// Previewed tells of a flight that was planned as a preview.
func Previewed(f *Flight) (steps []SummaryStep, changes []string) {
	steps = Summarize(f).Steps
	for _, step := range steps {
		list, err := f.patchesOf(step.StepID)
		if err != nil {
			continue // it did not get so far
		}
		for _, p := range list {
			for i := range p.meta {
				m := &p.meta[i]
				if len(changes) == previewedChanges {
					return steps, append(changes, "and more")
				}
				changes = append(changes, fmt.Sprintf("%s: %s %s (+%d -%d)", step.StepID, m.Op, m.Path(), m.Added, m.Deleted))
			}
		}
	}
	return steps, changes
}

// SummaryStep is one step of a Summary.
type SummaryStep struct {
	StepID      string                      `json:"step_id"`
	EngineID    string                      `json:"engine_id,omitempty"`
	Token       string                      `json:"token,omitempty"`
	Decision    protocol.Decision           `json:"decision,omitempty"`
	Isolation   *engines.Isolation          `json:"isolation,omitempty"`
	Artifacts   []SummaryArtifact           `json:"artifacts,omitempty"`
	Evaluations []protocol.PolicyEvaluation `json:"evaluations,omitempty"`
}

// SummaryArtifact is one artifact of a SummaryStep. Size is in bytes.
type SummaryArtifact struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Hash string `json:"hash,omitempty"`
	Size int64  `json:"size"`
}

// SummaryError is an error in a Summary.
type SummaryError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// ErrorOf gives the summary form of an error, nil for nil.
func ErrorOf(err error) *SummaryError {
	if err == nil {
		return nil
	}
	out := &SummaryError{Code: "failure", Message: err.Error()}
	var e *protocol.Error
	if errors.As(err, &e) {
		out.Code, out.Hint = e.Code, e.Hint
	}
	return out
}

// Summarize tells what is known of a flight, also of one that does not verify:
// what cannot be read is left out. It verifies nothing.
func Summarize(f *Flight) Summary {
	s := Summary{
		WorkflowID: f.ID(), State: f.Status.State, FlightToken: f.Status.FlightToken, FlightDir: f.Dir.Dir(),
	}
	hashes := map[string]string{}
	for _, a := range f.Status.Artifacts {
		hashes[a.ArtifactID] = a.ArtifactHash
	}
	for _, id := range f.order() {
		step, requests := f.summaryStep(id, hashes)
		s.Steps = append(s.Steps, step)
		if step.Decision != "" {
			s.Decision = mildestUnset(s.Decision, step.Decision)
		}
		s.Approvals = append(s.Approvals, requests...)
	}
	return s
}

func mildestUnset(a, b protocol.Decision) protocol.Decision {
	if a == "" {
		return b
	}
	return protocol.MostSevere(a, b)
}

func (f *Flight) summaryStep(id string, hashes map[string]string) (SummaryStep, []protocol.ApprovalRequest) {
	step := SummaryStep{StepID: id, Token: f.Status.Tokens[id]}
	raw, err := f.ReadFile(stepPath(id, receiptFile), limits.ReceiptBytesMax)
	var receipt protocol.EngineOutput
	if err == nil && protocol.Decode(raw, &receipt) == nil {
		step.EngineID = receipt.EngineID
		for _, a := range receipt.Artifacts {
			item := SummaryArtifact{Name: a.Name, Role: a.Role, Hash: hashes[artifactID+id+"/"+a.Name]}
			item.Size = f.bodySize(id, a.Name)
			step.Artifacts = append(step.Artifacts, item)
		}
	}
	var iso engines.Isolation
	if raw, err := f.ReadFile(stepPath(id, isolationFile), limits.SmallFile); err == nil && readOwn(raw, &iso) == nil {
		step.Isolation = &iso
	}
	r, err := f.readReport(id)
	if err != nil {
		return step, nil
	}
	step.Decision, step.Evaluations = r.Decision, r.Evaluations
	var requests []protocol.ApprovalRequest
	for _, need := range r.Requires {
		apr, err := plantoken.ApprovalID(f.ID(), f.Status.FlightToken, id, r.Token, need.Role)
		if err != nil {
			continue
		}
		var q protocol.ApprovalRequest
		if raw, err := f.ReadFile(requestPath(apr), limits.Approval); err == nil && readOwn(raw, &q) == nil {
			requests = append(requests, q)
		}
	}
	return step, requests
}

func (f *Flight) bodySize(id, name string) int64 {
	raw, err := f.ReadFile(stepPath(id, artifactsDir, name, "artifact.json"), limits.ArtifactJSON)
	if err != nil {
		return 0
	}
	var a protocol.Artifact
	if protocol.Decode(raw, &a) != nil || a.BodyFile == "" {
		return 0
	}
	info, err := f.Root().Lstat(stepPath(id, artifactsDir, name, a.BodyFile))
	if err != nil {
		return 0
	}
	return info.Size()
}

// Code gives the approval code of a signed plan, "" for an unsigned one.
func (o *Orchestrator) Code(f *Flight) string {
	facts := o.planOf(f)
	if facts == nil {
		return ""
	}
	code, err := plantoken.ApprovalCode(f.Status.FlightToken, facts.ApprovalNonce)
	if err != nil {
		return ""
	}
	return code
}

// CodeNeeded says whether a signed plan wants approvals to name its code.
func (o *Orchestrator) CodeNeeded(f *Flight) bool {
	facts := o.planOf(f)
	return facts != nil && facts.CodeNeeded
}

// planOf gives what the signed plan says; nil for one that is unsigned or not verified.
func (o *Orchestrator) planOf(f *Flight) *PlanFacts {
	raw, err := f.ReadFile(PlanBundle, limits.Approval)
	if err != nil {
		return nil
	}
	manifest, err := f.ReadFile(ManifestFile, limits.ManifestFile)
	if err != nil {
		return nil
	}
	facts, err := o.Signatures.Plan(raw, manifest)
	if err != nil {
		return nil
	}
	return facts
}
