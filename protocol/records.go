package protocol

import "encoding/json"

// WorkflowState is the short form of where a flight stands.
type WorkflowState struct {
	State         State    `json:"state"`
	WorkflowID    string   `json:"workflow_id,omitempty"`
	StepID        string   `json:"step_id,omitempty"`
	LastDecision  Decision `json:"last_decision,omitempty"`
	PlanTokenHash string   `json:"plan_token_hash,omitempty"`
}

// WorkflowStateRecord is what replaying a WAL gives; it is never stored as a
// second truth. PlanTokenHash is the flight token.
type WorkflowStateRecord struct {
	WorkflowID        string                   `json:"workflow_id"`
	CurrentState      State                    `json:"current_state"`
	PlanTokenHash     string                   `json:"plan_token_hash"`
	CreatedAt         string                   `json:"created_at"`
	UpdatedAt         string                   `json:"updated_at"`
	StepsCompleted    []string                 `json:"steps_completed"`
	StepsPending      []string                 `json:"steps_pending"`
	Approvals         []ApprovalRecord         `json:"approvals"`
	Artifacts         []ArtifactRecord         `json:"artifacts"`
	PolicyEvaluations []PolicyEvaluationRecord `json:"policy_evaluations"`
	Metadata          map[string]any           `json:"metadata,omitempty"`
}

// ApprovalRecord is one approval in a WorkflowStateRecord.
type ApprovalRecord struct {
	ApprovalID     string   `json:"approval_id"`
	StepID         string   `json:"step_id"`
	PlanTokenHash  string   `json:"plan_token_hash"`
	Approved       bool     `json:"approved"`
	Approver       string   `json:"approver"`
	ApprovedAt     string   `json:"approved_at"`
	Reason         string   `json:"reason,omitempty"`
	EvidenceHashes []string `json:"evidence_hashes,omitempty"`
}

// ArtifactRecord is one artifact in a WorkflowStateRecord.
type ArtifactRecord struct {
	ArtifactID   string         `json:"artifact_id"`
	StepID       string         `json:"step_id"`
	ArtifactHash string         `json:"artifact_hash"`
	ArtifactType string         `json:"artifact_type"`
	CreatedAt    string         `json:"created_at"`
	Metadata     map[string]any `json:"metadata,omitempty"`
}

// PolicyEvaluationRecord is one evaluation in a WorkflowStateRecord.
type PolicyEvaluationRecord struct {
	EvaluationID   string   `json:"evaluation_id"`
	StepID         string   `json:"step_id"`
	PolicyName     string   `json:"policy_name"`
	Decision       Decision `json:"decision"`
	EvaluatedAt    string   `json:"evaluated_at"`
	Reason         string   `json:"reason,omitempty"`
	EvidenceHashes []string `json:"evidence_hashes,omitempty"`
}

// WALEntryType is the kind of a WAL entry.
type WALEntryType string

// The nine kinds of WAL entries.
const (
	WALWorkflowStarted   WALEntryType = "workflow_started"
	WALStepStarted       WALEntryType = "step_started"
	WALStepCompleted     WALEntryType = "step_completed"
	WALArtifactCreated   WALEntryType = "artifact_created"
	WALPolicyEvaluated   WALEntryType = "policy_evaluated"
	WALApprovalRequested WALEntryType = "approval_requested"
	WALApprovalReceived  WALEntryType = "approval_received"
	WALWorkflowCompleted WALEntryType = "workflow_completed"
	WALWorkflowFailed    WALEntryType = "workflow_failed"
)

// WALEntry is one line of wal.jsonl. Data is one of the nine *Data types,
// chosen by EntryType, in raw form. SPEC: docs/protocol.md 5.
type WALEntry struct {
	Sequence   int64           `json:"sequence"`
	Timestamp  string          `json:"timestamp"`
	WorkflowID string          `json:"workflow_id"`
	EntryType  WALEntryType    `json:"entry_type"`
	Data       json.RawMessage `json:"data"`
	Checksum   string          `json:"checksum"`
}

// WorkflowStartedData is the data of workflow_started.
type WorkflowStartedData struct {
	PlanTokenHash string `json:"plan_token_hash"`
	InitialState  State  `json:"initial_state"`
}

// StepStartedData is the data of step_started. StepType holds a State.
type StepStartedData struct {
	StepID   string `json:"step_id"`
	StepType string `json:"step_type"`
}

// StepCompletedData is the data of step_completed.
type StepCompletedData struct {
	StepID    string   `json:"step_id"`
	Artifacts []string `json:"artifacts,omitempty"`
}

// ApprovalRequestedData is the data of approval_requested.
type ApprovalRequestedData struct {
	ApprovalID   string `json:"approval_id"`
	StepID       string `json:"step_id"`
	RequiredRole string `json:"required_role"`
}

// ApprovalReceivedData is the data of approval_received.
type ApprovalReceivedData struct {
	ApprovalID string `json:"approval_id"`
	Approved   bool   `json:"approved"`
	Approver   string `json:"approver"`
}

// ArtifactCreatedData is the data of artifact_created.
type ArtifactCreatedData struct {
	ArtifactID   string `json:"artifact_id"`
	ArtifactHash string `json:"artifact_hash"`
	ArtifactType string `json:"artifact_type"`
}

// PolicyEvaluatedData is the data of policy_evaluated.
type PolicyEvaluatedData struct {
	EvaluationID string   `json:"evaluation_id"`
	PolicyName   string   `json:"policy_name"`
	Decision     Decision `json:"decision"`
}

// WorkflowCompletedData is the data of workflow_completed.
type WorkflowCompletedData struct {
	FinalState State    `json:"final_state"`
	Artifacts  []string `json:"artifacts"`
}

// WorkflowFailedData is the data of workflow_failed.
type WorkflowFailedData struct {
	Error      string `json:"error"`
	FailedStep string `json:"failed_step,omitempty"`
}

// AuditEvent is one line of audit.jsonl. SPEC: docs/protocol.md 11.
type AuditEvent struct {
	EventID         string          `json:"event_id"`
	Timestamp       string          `json:"timestamp"`
	EventType       string          `json:"event_type"`
	Workflow        *AuditWorkflow  `json:"workflow,omitempty"`
	WorkflowState   string          `json:"workflow_state"`
	Engine          *AuditEngine    `json:"engine,omitempty"`
	PlanToken       *PlanToken      `json:"plan_token,omitempty"`
	Artifacts       []AuditArtifact `json:"artifacts,omitempty"`
	Policy          *AuditPolicy    `json:"policy,omitempty"`
	Approval        *AuditApproval  `json:"approval,omitempty"`
	IntegrityCheck  *AuditIntegrity `json:"integrity_check,omitempty"`
	Gateway         *AuditGateway   `json:"gateway,omitempty"`
	Signature       string          `json:"signature,omitempty"`
	SignatureKeyRef string          `json:"signature_key_ref,omitempty"`
	ChainHash       string          `json:"chain_hash,omitempty"`
	Message         string          `json:"message,omitempty"`
	Severity        string          `json:"severity,omitempty"`
}

// Audit event types.
const (
	EventEngineStart         = "engine_start"
	EventEngineComplete      = "engine_complete"
	EventEnvironmentPrepared = "environment_prepared"
	EventArtifactValidated   = "artifact_validated"
	EventPlanTokenCreated    = "plan_token_created"
	EventPlanTokenVerified   = "plan_token_verified"
	EventPolicyResult        = "policy_result"
	EventDecisionAggregated  = "decision_aggregated"
	EventApprovalRequest     = "approval_request"
	EventApprovalResponse    = "approval_response"
	EventApprovalMismatch    = "approval_mismatch"
	EventTakeoffStart        = "takeoff_start"
	EventTakeoffComplete     = "takeoff_complete"
	EventMCPRequest          = "mcp_request"
	EventMCPDecision         = "mcp_decision"
	EventMCPResponse         = "mcp_response"
	EventLLMRequest          = "llm_request"
	EventLLMDecision         = "llm_decision"
	EventLLMResponse         = "llm_response"
	EventStateTransition     = "state_transition"
	EventWorkflowComplete    = "workflow_complete"
	EventWorkflowFailure     = "workflow_failure"
	EventError               = "error"
)

// Severities of an audit event.
const (
	SeverityDebug    = "debug"
	SeverityInfo     = "info"
	SeverityWarning  = "warning"
	SeverityError    = "error"
	SeverityCritical = "critical"
)

// AuditWorkflow names the flight, step and mode of an event.
type AuditWorkflow struct {
	WorkflowID string `json:"workflow_id,omitempty"`
	StepID     string `json:"step_id,omitempty"`
	Mode       string `json:"mode,omitempty"`
}

// AuditEngine names the engine of an event.
type AuditEngine struct {
	EngineID  string `json:"engine_id,omitempty"`
	ReceiptID string `json:"receipt_id,omitempty"`
	Status    string `json:"status,omitempty"`
	Error     string `json:"error,omitempty"`
}

// AuditArtifact is one artifact in an event. Size is in bytes.
type AuditArtifact struct {
	Name string `json:"name,omitempty"`
	Role string `json:"role,omitempty"`
	Path string `json:"path,omitempty"`
	Hash string `json:"hash,omitempty"`
	Size int64  `json:"size,omitempty"`
}

// AuditPolicy holds decisions in an event.
type AuditPolicy struct {
	Decision          Decision           `json:"decision"`
	PolicyEvaluations []PolicyEvaluation `json:"policy_evaluations,omitempty"`
	AggregationMethod Aggregation        `json:"aggregation_method,omitempty"`
	WorkflowState     string             `json:"workflow_state"`
	Violations        []string           `json:"violations,omitempty"`
	Warnings          []string           `json:"warnings,omitempty"`
	Engine            string             `json:"engine,omitempty"`
}

// AuditApproval is one approval in an event.
type AuditApproval struct {
	ApprovalID    string `json:"approval_id"`
	RequiredRole  string `json:"required_role"`
	Approved      bool   `json:"approved"`
	Approver      string `json:"approver"`
	PlanTokenHash string `json:"plan_token_hash"`
	Timestamp     string `json:"timestamp"`
	Reason        string `json:"reason,omitempty"`
}

// AuditIntegrity is the outcome of verifying a plan.
type AuditIntegrity struct {
	ExpectedPlanToken string   `json:"expected_plan_token,omitempty"`
	ActualPlanToken   string   `json:"actual_plan_token,omitempty"`
	PlanTokenMatch    *bool    `json:"plan_token_match,omitempty"`
	ArtifactsMatch    *bool    `json:"artifacts_match,omitempty"`
	Differences       []string `json:"differences,omitempty"`
}

// AuditGateway is the gateway's part of an event.
type AuditGateway struct {
	GatewayType    string   `json:"gateway_type,omitempty"`
	RequestID      string   `json:"request_id,omitempty"`
	Model          string   `json:"model,omitempty"`
	Tool           string   `json:"tool,omitempty"`
	PolicyDecision Decision `json:"policy_decision,omitempty"`
}
