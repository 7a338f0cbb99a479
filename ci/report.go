package ci

import "github.com/cabincrew/action/protocol"

// Report is what people are told of a flight, the same on each platform. Every text
// in it may come from an engine, a policy or a change and is hostile: the functions
// that write it out make it harmless, so it is put in as it is. Only secrets are to
// be redacted before; Redacted says that some were.
type Report struct {
	WorkflowID, FlightToken, Workflow string
	State, Change, Head               string

	Decision protocol.Decision
	Failure  *ReportFailure // nil where nothing failed

	Steps     []ReportStep
	Approvals []ReportApproval

	Code       string // approval code; empty where there is none yet
	CodeNeeded bool   // an approval must name it, whatever is shown

	Bundle                 []byte // the signed manifest as a Sigstore bundle; nil where unsigned
	BundleDigest, BundleAt string // its digest, and where it can be found

	Links    ReportLinks
	Notes    []string // what the reader has to know of how this was made, such as what the form with one job gives up
	Redacted bool     // secrets were taken out of what is shown
}

// ReportFailure is why there is no decision, or why a take-off ended badly.
type ReportFailure struct {
	Code, Message, Where, Hint string
	Exit                       int
}

// ReportStep is one step of a flight.
type ReportStep struct {
	ID, Target, Engine, Token, Decision, Isolation string

	Opaque      bool // what it does is not in the plan
	Evaluations []protocol.PolicyEvaluation
	Effects     []Effect
	Artifacts   []ReportArtifact
}

// Effect is one thing that a step would do.
type Effect struct {
	Action string // create, update, delete, replace, run, send …
	What   string // path or resource
	Detail string
	Diff   string // unified diff; may be empty
	Path   string // in the repository; empty where it is about no file
	Line   int    // 1 is the first; 0 where none is known
}

// ReportArtifact is one artifact of a step.
type ReportArtifact struct {
	Name, Role, Hash string
	Size             int64
}

// The states of an approval in a report.
const (
	ApprovalOpen     = "open"
	ApprovalApproved = "approved"
	ApprovalBlocked  = "blocked"
	ApprovalRejected = "rejected"
)

// ReportApproval is one approval that a flight needs.
type ReportApproval struct {
	Step, Role, Status string   // Status is one of the constants
	How                string   // how such an approval is given
	Need               int      // how many persons
	By                 []string // who approved
	Refused            []string // what did not count, and why
}

// ReportLinks are addresses that the platform gave: they are shown as links.
type ReportLinks struct {
	Run, Report, Replan, Artifacts string
}

// Rendered is a part of a report as Markdown.
type Rendered struct {
	Markdown string
	Cut      bool // entries were left out
}

// The levels of an annotation.
const (
	LevelNotice  = "notice"
	LevelWarning = "warning"
	LevelFailure = "failure"
)

// Annotation is a remark about lines of a file.
type Annotation struct {
	Path               string
	StartLine, EndLine int
	Level              string // one of the constants
	Title, Message     string
}
