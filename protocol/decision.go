package protocol

// Decision is what one judge, or all judges together, say of a plan.
type Decision string

// The four decisions, from the mildest to the most severe.
const (
	Allow           Decision = "allow"
	Warn            Decision = "warn"
	RequireApproval Decision = "require_approval"
	Deny            Decision = "deny"
)

// Severity gives the order of decisions: 0 allow, 1 warn, 2 require_approval,
// 3 deny. An unknown decision is as severe as deny, so that a word that nobody
// knows never lets anything through.
func (d Decision) Severity() int {
	switch d {
	case Allow:
		return 0
	case Warn:
		return 1
	case RequireApproval:
		return 2
	default:
		return 3
	}
}

// Valid says whether d is one of the four decisions.
func (d Decision) Valid() bool {
	switch d {
	case Allow, Warn, RequireApproval, Deny:
		return true
	}
	return false
}

// MostSevere gives the more severe of two decisions; an unknown one counts as deny.
func MostSevere(a, b Decision) Decision {
	if !a.Valid() {
		a = Deny
	}
	if !b.Valid() {
		b = Deny
	}
	if b.Severity() > a.Severity() {
		return b
	}
	return a
}

// Aggregation is the method by which evaluations become one decision.
// SPEC: docs/protocol.md 6.
type Aggregation string

// The aggregation methods of the protocol.
const (
	MostRestrictive Aggregation = "most_restrictive"
	Unanimous       Aggregation = "unanimous"
	Majority        Aggregation = "majority"
	AnyDeny         Aggregation = "any_deny"
	AllAllow        Aggregation = "all_allow"
	CustomRule      Aggregation = "custom"
)

// Mode is the mode that an engine runs in.
type Mode string

// The two modes of an engine.
const (
	FlightPlan Mode = "flight-plan"
	TakeOff    Mode = "take-off"
)

// Evaluation sources of a PolicyEvaluation.
const (
	SourceOPA        = "opa"
	SourceONNX       = "onnx"
	SourceMCPGateway = "mcp_gateway"
	SourceLLMGateway = "llm_gateway"
	SourceCustom     = "custom"
)

// Roles of an artifact.
const (
	RoleEvidence = "evidence"
	RoleState    = "state"
	RoleLog      = "log"
)
