package protocol

import "strings"

// WorkflowStep is the step id that WAL entries of the whole flight use; no step has it.
const WorkflowStep = "workflow"

// ValidArtifactName says whether an artifact may have this name:
// [A-Za-z0-9][A-Za-z0-9._-]{0,127}. SPEC: docs/protocol.md 2.
func ValidArtifactName(s string) bool { return len(s) <= 128 && named(s, true, "._-") }

// ValidStepID says whether a step may have this id: [a-z0-9][a-z0-9_-]{0,62}.
// SPEC: docs/protocol.md 3.
func ValidStepID(s string) bool { return s != WorkflowStep && len(s) <= 63 && named(s, false, "_-") }

// ValidWorkflowID says whether a flight may have this id; it is also a directory
// name: [A-Za-z0-9][A-Za-z0-9._-]{0,127}.
func ValidWorkflowID(s string) bool { return len(s) <= 128 && named(s, true, "._-") }

// named says whether a name is of letters and digits, and of marks after the first.
// It is no regular expression: those are compiled at every start of the program.
func named(s string, upper bool, marks string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', upper && c >= 'A' && c <= 'Z':
		case i > 0 && strings.IndexByte(marks, c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
