package plantoken

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// Version is the plan-token format that this package makes and reads.
const Version = "1"

// NoModel is the model of a plan that no model made.
const NoModel = "none"

// Context says where a plan belongs. Every field is text; outside CI the forge,
// repository and change are empty. SPEC: docs/protocol.md 3.
type Context struct {
	Forge        string `json:"forge"`
	Repository   string `json:"repository"`
	Change       string `json:"change"`
	HeadCommit   string `json:"head_commit"`
	Workflow     string `json:"workflow"`
	ConfigPath   string `json:"config_path"`
	Target       string `json:"target"`
	StepID       string `json:"step_id"`
	EngineDigest string `json:"engine_digest"`
	ConfigDigest string `json:"config_digest"`
}

// Preimage is everything that a plan-token is made of.
type Preimage struct {
	Version         string                      `json:"version"`
	ProtocolVersion string                      `json:"protocol_version"`
	EngineID        string                      `json:"engine_id"`
	Model           string                      `json:"model"`
	WorkspaceHash   string                      `json:"workspace_hash"`
	PolicyDigest    string                      `json:"policy_digest"`
	GovernanceHash  string                      `json:"governance_hash"`
	Artifacts       []protocol.PlanArtifactHash `json:"artifacts"`
	Context         Context                     `json:"context"`
}

// Of puts a plan-token and its context together again into the token's preimage.
func Of(t protocol.PlanToken, c Context) Preimage {
	return Preimage{
		Version: t.Version, ProtocolVersion: t.ProtocolVersion, EngineID: t.EngineID, Model: t.Model,
		WorkspaceHash: t.WorkspaceHash, PolicyDigest: t.PolicyDigest, GovernanceHash: t.GovernanceHash,
		Artifacts: t.Artifacts, Context: c,
	}
}

// normal gives the preimage with its artifacts sorted by name bytes, checked.
func (p Preimage) normal() (Preimage, error) {
	p.Artifacts = slices.SortedFunc(slices.Values(p.Artifacts), func(a, b protocol.PlanArtifactHash) int {
		return cmp.Compare(a.Name, b.Name)
	})
	if p.Artifacts == nil {
		p.Artifacts = []protocol.PlanArtifactHash{}
	}
	for i, a := range p.Artifacts {
		if !protocol.ValidArtifactName(a.Name) {
			return p, fmt.Errorf("artifact name %q is not allowed", a.Name)
		}
		if i > 0 && p.Artifacts[i-1].Name == a.Name {
			return p, fmt.Errorf("artifact %q is there twice", a.Name)
		}
		if _, err := protocol.ParseDigest(a.Hash); err != nil {
			return p, fmt.Errorf("artifact %q: %w", a.Name, err)
		}
	}
	for name, digest := range map[string]string{
		"workspace_hash": p.WorkspaceHash, "policy_digest": p.PolicyDigest, "governance_hash": p.GovernanceHash,
		"engine_digest": p.Context.EngineDigest, "config_digest": p.Context.ConfigDigest,
	} {
		if _, err := protocol.ParseDigest(digest); err != nil {
			return p, fmt.Errorf("%s: %w", name, err)
		}
	}
	if p.Version != Version {
		return p, fmt.Errorf("plan-token version %q is not known (this program makes %q)", p.Version, Version)
	}
	if p.Model == "" {
		return p, fmt.Errorf("model is empty (write %q if there is none)", NoModel)
	}
	return p, nil
}

// Token gives the token of the preimage. SPEC: docs/protocol.md 3, row token.
func (p Preimage) Token() (string, error) {
	n, err := p.normal()
	if err != nil {
		return "", err
	}
	return protocol.HCanonical(protocol.KindPlanToken, n)
}

// PlanToken gives the wire form. createdAt is RFC 3339 and not part of the token.
func (p Preimage) PlanToken(createdAt string) (protocol.PlanToken, error) {
	n, err := p.normal()
	if err != nil {
		return protocol.PlanToken{}, err
	}
	token, err := n.Token()
	if err != nil {
		return protocol.PlanToken{}, err
	}
	return protocol.PlanToken{
		Token: token, Version: n.Version, Artifacts: n.Artifacts, Model: n.Model, EngineID: n.EngineID,
		ProtocolVersion: n.ProtocolVersion, WorkspaceHash: n.WorkspaceHash, CreatedAt: createdAt,
		PolicyDigest: n.PolicyDigest, GovernanceHash: n.GovernanceHash,
	}, nil
}

// Intent gives the hash of what is wanted, whatever it was planned on: the
// preimage without workspace_hash, change and head commit, with evidence
// artifacts only. roles gives the role of each artifact by name.
func (p Preimage) Intent(roles map[string]string) (string, error) {
	n, err := p.normal()
	if err != nil {
		return "", err
	}
	evidence := []protocol.PlanArtifactHash{}
	for _, a := range n.Artifacts {
		role, ok := roles[a.Name]
		if !ok {
			return "", fmt.Errorf("artifact %q has no role", a.Name)
		}
		if role == protocol.RoleEvidence {
			evidence = append(evidence, a)
		}
	}
	c := n.Context
	return protocol.HCanonical(protocol.KindIntent, map[string]any{
		"version": n.Version, "protocol_version": n.ProtocolVersion, "engine_id": n.EngineID, "model": n.Model,
		"policy_digest": n.PolicyDigest, "governance_hash": n.GovernanceHash, "artifacts": evidence,
		"context": map[string]string{
			"forge": c.Forge, "repository": c.Repository, "workflow": c.Workflow, "config_path": c.ConfigPath,
			"target": c.Target, "step_id": c.StepID, "engine_digest": c.EngineDigest, "config_digest": c.ConfigDigest,
		},
	})
}

// ArtifactHash gives the hash of one artifact from the digest of artifact.json's
// bytes and the digest of its body file ("" without one).
func ArtifactHash(name, role, artifactDigest, bodyDigest string) (string, error) {
	// There can be thousands: the canonical form of an object with these four members.
	var space [512]byte
	b := append(space[:0], "{"...)
	for i, m := range [...]struct{ key, text string }{{"artifact", artifactDigest}, {"body", bodyDigest}, {"name", name}, {"role", role}} {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), m.key...), `":`...)
		if i == 1 && m.text == "" {
			b = append(b, "null"...)
			continue
		}
		var err error
		if b, err = protocol.AppendText(b, m.text); err != nil {
			return "", fmt.Errorf("%s: %w", m.key, err)
		}
	}
	return protocol.H(protocol.KindArtifact, append(b, '}')), nil
}

// WorkspaceHash gives the hash of what an engine can see of the workspace.
func WorkspaceHash(files []protocol.FileRecord) (string, error) {
	return protocol.HashRecords(protocol.KindWorkspace, files)
}

// GovernanceModel is one model in a governance hash.
type GovernanceModel struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// GovernanceHash gives the hash of everything that judges: policies, models and
// the whole resolved configuration without its steps.
func GovernanceHash(policyDigest string, models []GovernanceModel, config map[string]any) (string, error) {
	sorted := slices.SortedFunc(slices.Values(models), func(a, b GovernanceModel) int { return cmp.Compare(a.Name, b.Name) })
	if sorted == nil {
		sorted = []GovernanceModel{}
	}
	return protocol.HCanonical(protocol.KindGovernance, map[string]any{
		"policy_digest": policyDigest, "models": sorted, "config": config,
	})
}

// ConfigDigest gives the hash of a step's resolved configuration.
func ConfigDigest(resolved map[string]any) (string, error) {
	return protocol.HCanonical(protocol.KindConfig, resolved)
}

// EngineDigest gives the digest of an engine from the digest of its executable
// and of the further workspace files that its arguments name, in order.
func EngineDigest(digests ...string) (string, error) {
	switch len(digests) {
	case 0:
		return "", fmt.Errorf("an engine has at least one file")
	case 1:
		_, err := protocol.ParseDigest(digests[0])
		return digests[0], err
	}
	return protocol.HCanonical(protocol.KindEngine, digests)
}

// BuiltinDigest gives the engine digest of a built-in engine.
func BuiltinDigest(name, version string) string {
	return protocol.Digest([]byte("builtin:" + name + "@" + version))
}

// StepToken is one step's token in plan order.
type StepToken struct {
	StepID string
	Token  string
}

// FlightToken gives the token of the whole flight from its steps in plan order.
func FlightToken(steps []StepToken) (string, error) {
	if len(steps) == 0 {
		return "", fmt.Errorf("steps is empty: a flight has at least one step")
	}
	pairs := make([][]string, len(steps))
	for i, s := range steps {
		if _, err := protocol.ParseDigest(s.Token); err != nil {
			return "", fmt.Errorf("step %q: %w", s.StepID, err)
		}
		pairs[i] = []string{s.StepID, s.Token}
	}
	return protocol.HCanonical(protocol.KindFlightToken, pairs)
}

// ApprovalID gives the id of the request for one role's approval of one step.
func ApprovalID(workflowID, flightToken, stepID, token, role string) (string, error) {
	h, err := protocol.HCanonical(protocol.KindApproval, []string{workflowID, flightToken, stepID, token, role})
	if err != nil {
		return "", err
	}
	return "apr-" + strings.TrimPrefix(h, "sha256:"), nil
}

// NonceBytes is the length of an approval nonce: 128 bits.
const NonceBytes = 16

// ApprovalCode gives the 12 hex digits that a person names in an approval.
func ApprovalCode(flightToken, nonceHex string) (string, error) {
	raw, err := hex.DecodeString(nonceHex)
	if err != nil || len(raw) != NonceBytes || strings.ToLower(nonceHex) != nonceHex {
		return "", fmt.Errorf("the approval nonce is not %d bytes of lower-case hex", NonceBytes)
	}
	h := protocol.H(protocol.KindApprovalCode, []byte(flightToken+"\n"+nonceHex))
	return strings.TrimPrefix(h, "sha256:")[:12], nil
}

// Payload is what the approval of one gateway call is bound to.
type Payload struct {
	Server         string `json:"server"`
	Principal      string `json:"principal"`
	Session        string `json:"session"`
	ToolPin        string `json:"tool_pin"`
	GovernanceHash string `json:"governance_hash"`
	Payload        string `json:"payload"` // digest of the raw bytes
}

// Hash gives the payload hash.
func (p Payload) Hash() (string, error) { return protocol.HCanonical(protocol.KindPayload, p) }
