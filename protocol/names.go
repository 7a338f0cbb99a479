package protocol

import "regexp"

var (
	artifactName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	stepID       = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	workflowID   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

// WorkflowStep is the step id that WAL entries of the whole flight use; no step has it.
const WorkflowStep = "workflow"

// ValidArtifactName says whether an artifact may have this name. SPEC: docs/protocol.md 2.
func ValidArtifactName(s string) bool { return artifactName.MatchString(s) }

// ValidStepID says whether a step may have this id. SPEC: docs/protocol.md 3.
func ValidStepID(s string) bool { return s != WorkflowStep && stepID.MatchString(s) }

// ValidWorkflowID says whether a flight may have this id; it is also a directory name.
func ValidWorkflowID(s string) bool { return workflowID.MatchString(s) }
