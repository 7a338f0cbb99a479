package orchestrator

import (
	"fmt"
	"slices"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// Ids of the artifact_created entries that say, when a step has planned, over
// what it did and what it left. A token is derived later, perhaps elsewhere, from
// the checkout and the bytes as they are then: these tie it to what the engine
// really saw and gave. SPEC: docs/protocol.md 5.
const (
	workspaceID = "workspace:"
	plannedID   = "step:"
)

// plannedStep is what a step left in the flight, by digests.
type plannedStep struct {
	Receipt   string                      `json:"receipt"`
	Isolation string                      `json:"isolation"`
	Log       string                      `json:"log"`
	Artifacts []protocol.PlanArtifactHash `json:"artifacts"`
}

// plannedHash gives the hash of what a step left. The log's digest is taken from
// the flight.
func (f *Flight) plannedHash(id string, receipt, isolation []byte, hashes []protocol.PlanArtifactHash) (string, error) {
	at := stepPath(id, logFile)
	info, err := f.Root().Lstat(at)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", logFile)
	}
	if err != nil {
		return "", integrity("flight_unreadable", "%w", err).At(at)
	}
	log, err := digestOf(f.Root().Open(at))
	if err != nil {
		return "", integrity("flight_unreadable", "%w", err).At(at)
	}
	if hashes == nil {
		hashes = []protocol.PlanArtifactHash{}
	}
	return protocol.HCanonical("step", plannedStep{
		Receipt: protocol.Digest(receipt), Isolation: protocol.Digest(isolation), Log: log, Artifacts: hashes,
	})
}

func artifactHashes(artifacts []engines.Artifact) ([]protocol.PlanArtifactHash, error) {
	var hashes []protocol.PlanArtifactHash
	for _, a := range artifacts {
		hash, err := plantoken.ArtifactHash(a.Name, a.Role, a.RawDigest, a.BodyDigest)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, protocol.PlanArtifactHash{Name: a.Name, Hash: hash, Size: a.Size})
	}
	return hashes, nil
}

// completed stores what goes with the artifacts and records that a step planned.
func (p *planner) completed(id string, r *room, result engines.Result, receipt protocol.EngineOutput, artifacts []engines.Artifact) error {
	if step, _ := p.s.Config.Step(id); step.TakeOffWorkspace == config.WorkspaceNone && slices.ContainsFunc(artifacts, func(a engines.Artifact) bool { return a.Description.ArtifactType == TypePatch }) {
		return protocol.Errorf(protocol.ExitUsage, "take_off_workspace", "step %s takes off without the workspace, and plans to change files of it", id).At(step.Where).
			WithHint("leave take_off.workspace: none out")
	}
	isolation, err := protocol.Canonical(isolationOf(p.s.discreet(result.Isolation)))
	if err != nil {
		return err
	}
	if err := p.f.WriteFile(stepPath(id, isolationFile), isolation); err != nil {
		return err
	}
	if err := p.f.WriteFile(stepPath(id, receiptFile), result.Receipt); err != nil {
		return err
	}
	hashes, err := artifactHashes(artifacts)
	if err != nil {
		return err
	}
	planned, err := p.f.plannedHash(id, result.Receipt, isolation, hashes)
	if err != nil {
		return err
	}
	names := make([]string, len(receipt.Artifacts))
	for i, a := range receipt.Artifacts {
		names[i] = a.Name
	}
	slices.Sort(names)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f.saw == nil {
		p.f.saw = map[string][]workspace.File{}
	}
	p.f.saw[id] = r.composed.files
	e := p.f.event(protocol.EventEngineComplete, id, fmt.Sprintf("engine planned %d artifacts", len(names)))
	e.Workflow.Mode = string(protocol.FlightPlan)
	e.Engine = &protocol.AuditEngine{EngineID: receipt.EngineID, ReceiptID: receipt.ReceiptID, Status: receipt.Status}
	return p.o.append(p.f,
		p.f.artifactRecord(workspaceID+id, r.composed.hash, "workspace", id, protocol.EventEnvironmentPrepared, "what the step saw of the workspace"),
		p.f.artifactRecord(plannedID+id, planned, "step", id, protocol.EventEnvironmentPrepared, "what the step left"),
		Record{protocol.WALStepCompleted, protocol.StepCompletedData{StepID: id, Artifacts: names}, e})
}

// recorded gives what the WAL says of what a step left.
func (p *planner) recorded(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.f.Status.Digests[plannedID+id]
}

// asPlanned refuses a step whose files are not what they were when it had planned.
func (f *Flight) asPlanned(p *stepPlan, recorded string) error {
	isolation, err := f.ReadFile(stepPath(p.id, isolationFile), limits.SmallFile)
	if err != nil {
		return integrity("flight_unreadable", "%w", err).At(stepPath(p.id, isolationFile))
	}
	got, err := f.plannedHash(p.id, p.raw, isolation, p.hashes)
	if err != nil {
		return err
	}
	if got != recorded {
		return integrity("file_changed", "receipt, isolation, log and artifacts have the hash %s, the WAL says %q", got, recorded).
			At(stepPath(p.id)).WithHint("the flight is not what its engines left; plan again")
	}
	return nil
}

// sawThis refuses to seal plans over another workspace than the engines saw.
func (f *Flight) sawThis(s *Setup, plans []*stepPlan) error {
	for _, p := range plans {
		saw := f.Status.Digests[workspaceID+p.id]
		if saw == p.preimage.WorkspaceHash {
			continue
		}
		// The flight keeps a hash of what the step saw; which files it was is known
		// where this process planned.
		what := ":"
		if list, ok := f.saw[p.id]; ok {
			what += listed(workspace.Diff(list, p.sees))
		} else if step, _ := s.Config.Step(p.id); len(step.Inputs) > 0 {
			what = fmt.Sprintf(", which are the inputs %q:", step.Inputs)
		}
		return stale(p, fmt.Sprintf("the workspace, as far as the step sees it, changed while or after it was planned%s (%s then, %s now)",
			what, saw, p.preimage.WorkspaceHash))
	}
	return nil
}
