package protocol

// ProtocolVersion is the version that this implementation writes.
// SPEC: docs/protocol.md 2.
const ProtocolVersion = "draft"

// The types below mirror docs/protocol.md, "Wire fields". Times are RFC 3339
// text, as on the wire; digests are "sha256:" and 64 lower-case hex digits.

// EngineInput is what an engine reads on stdin and from CABINCREW_INPUT_FILE.
type EngineInput struct {
	ProtocolVersion   string              `json:"protocol_version"`
	Mode              Mode                `json:"mode"`
	Meta              EngineMeta          `json:"meta"`
	Config            map[string]any      `json:"config,omitempty"`
	Secrets           map[string]any      `json:"secrets,omitempty"`
	AllowedSecrets    []string            `json:"allowed_secrets,omitempty"`
	Context           map[string]any      `json:"context,omitempty"`
	IdentityToken     string              `json:"identity_token,omitempty"`
	Orchestrator      *EngineOrchestrator `json:"orchestrator,omitempty"`
	ExpectedPlanToken string              `json:"expected_plan_token,omitempty"`
}

// EngineMeta names the flight and the step.
type EngineMeta struct {
	WorkflowID string `json:"workflow_id"`
	StepID     string `json:"step_id"`
}

// EngineOrchestrator is what the orchestrator tells an engine of the run.
type EngineOrchestrator struct {
	RunIndex      *int64 `json:"run_index,omitempty"`
	WorkspaceHash string `json:"workspace_hash,omitempty"`
	ArtifactsSalt string `json:"artifacts_salt,omitempty"`
}

// EngineOutput is the receipt of an engine.
type EngineOutput struct {
	ProtocolVersion string           `json:"protocol_version"`
	EngineID        string           `json:"engine_id"`
	Mode            Mode             `json:"mode"`
	ReceiptID       string           `json:"receipt_id"`
	Status          string           `json:"status"`
	Error           string           `json:"error,omitempty"`
	Warnings        []string         `json:"warnings,omitempty"`
	Diagnostics     any              `json:"diagnostics,omitempty"`
	Artifacts       []EngineArtifact `json:"artifacts,omitempty"`
	Metrics         []EngineMetric   `json:"metrics,omitempty"`
	PlanToken       string           `json:"plan_token,omitempty"`
}

// Receipt statuses.
const (
	StatusSuccess = "success"
	StatusFailure = "failure"
)

// EngineArtifact declares one artifact in a receipt.
type EngineArtifact struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Path string `json:"path"`
	Hash string `json:"hash"`
	// Size is the engine's word; a foreign number, so it stays text.
	Size Number `json:"size,omitempty"`
}

// EngineMetric is one measured value of an engine.
type EngineMetric struct {
	Name  string         `json:"name"`
	Value Number         `json:"value"`
	Tags  map[string]any `json:"tags,omitempty"`
}

// Artifact is artifact.json, the description of one artifact.
type Artifact struct {
	ArtifactType string         `json:"artifact_type"`
	Action       string         `json:"action"`
	Target       string         `json:"target,omitempty"`
	Mime         string         `json:"mime"`
	Body         any            `json:"body,omitempty"`
	BodyFile     string         `json:"body_file,omitempty"`
	Metadata     map[string]any `json:"metadata,omitempty"`
}

// PlanToken binds what one step planned. SPEC: docs/protocol.md 3.
type PlanToken struct {
	Token           string             `json:"token"`
	Version         string             `json:"version"`
	Artifacts       []PlanArtifactHash `json:"artifacts"`
	Model           string             `json:"model"`
	EngineID        string             `json:"engine_id"`
	ProtocolVersion string             `json:"protocol_version"`
	WorkspaceHash   string             `json:"workspace_hash"`
	CreatedAt       string             `json:"created_at"`
	PolicyDigest    string             `json:"policy_digest,omitempty"`
	GovernanceHash  string             `json:"governance_hash,omitempty"`
}

// PlanArtifactHash is one artifact in a plan-token. Size is in bytes of the body file.
type PlanArtifactHash struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	Size int64  `json:"size"`
}

// PreflightInput is what a foreign preflight service is given.
type PreflightInput struct {
	WorkflowID   string              `json:"workflow_id"`
	StepID       string              `json:"step_id"`
	Mode         Mode                `json:"mode"`
	EngineOutput map[string]any      `json:"engine_output"`
	Evidence     []PreflightEvidence `json:"evidence,omitempty"`
	Context      map[string]any      `json:"context,omitempty"`
	PlanToken    *PlanToken          `json:"plan_token,omitempty"`
}

// PreflightEvidence points at one artifact.
type PreflightEvidence struct {
	Name string `json:"name"`
	Path string `json:"path"`
	Hash string `json:"hash"`
}

// PreflightOutput is the answer of a judge.
type PreflightOutput struct {
	Decision   Decision           `json:"decision"`
	Violations []string           `json:"violations,omitempty"`
	Warnings   []string           `json:"warnings,omitempty"`
	Requires   *PreflightRequires `json:"requires,omitempty"`
}

// PreflightRequires says who must approve and why.
type PreflightRequires struct {
	Role   string `json:"role,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// ApprovalRequest asks for the approval of one step by one role.
type ApprovalRequest struct {
	ApprovalID    string              `json:"approval_id"`
	WorkflowID    string              `json:"workflow_id"`
	StepID        string              `json:"step_id"`
	Reason        string              `json:"reason"`
	RequiredRole  string              `json:"required_role"`
	EngineOutput  map[string]any      `json:"engine_output,omitempty"`
	Evidence      []PreflightEvidence `json:"evidence,omitempty"`
	PlanTokenHash string              `json:"plan_token_hash"`
}

// ApprovalResponse answers one ApprovalRequest.
type ApprovalResponse struct {
	ApprovalID string `json:"approval_id"`
	Approved   bool   `json:"approved"`
	Approver   string `json:"approver,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Timestamp  string `json:"timestamp,omitempty"`
}

// PolicyEvaluation is the word of one judge on one step.
type PolicyEvaluation struct {
	Source      string         `json:"source"`
	PolicyID    string         `json:"policy_id"`
	Decision    Decision       `json:"decision"`
	Severity    int            `json:"severity"`
	Reason      string         `json:"reason,omitempty"`
	Evidence    map[string]any `json:"evidence,omitempty"`
	EvaluatedAt string         `json:"evaluated_at"`
}
