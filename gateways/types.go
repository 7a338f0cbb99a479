package gateways

import (
	"context"
	"time"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Phase says which part of an exchange a document is about.
type Phase string

// The phases of an exchange.
const (
	PhaseRequest      Phase = "request"
	PhaseResponse     Phase = "response"
	PhaseNotification Phase = "notification"
)

// Document is what judges read of one message: the message as policies see it, and
// every text in it. Judges never write to it.
type Document struct {
	Phase Phase
	// Input is the MCPGatewayRequest or LLMGatewayRequest as a tree of map[string]any,
	// []any, string, json.Number, bool and nil.
	Input map[string]any
	// Texts are all strings (values and keys) of what is judged, decoded, in order.
	Texts []Text
}

// Text is one string of a message.
type Text = policies.Text

// The kinds of texts.
const (
	KindDescription = "description"
	KindText        = "text"
	KindResource    = "resource"
	KindError       = "error"
	KindArgument    = "argument"
)

// Verdict is what all judges together say of one message.
type Verdict struct {
	Decision             protocol.Decision
	Evaluations          []protocol.PolicyEvaluation
	Violations, Warnings []string
	// Requires are the roles that must approve, where the decision is require_approval.
	Requires []protocol.PreflightRequires
	// Changes are what is to be rewritten. Who forwards the message applies them to its
	// bytes and has the result judged again, once.
	Changes []Change
	// Hidden are secrets that were found in the message: whoever says or records anything
	// of it takes them out. It was done with what is said here.
	Hidden policies.Hidden
	// Named says that a rule of the configuration names the method of the message letter
	// by letter and decided of it: nobody need decide of it as of an unknown one.
	Named bool
}

// Change is one value of a message to be replaced, or removed.
type Change = policies.Rewrite

// Judge judges one message. An error means deny.
type Judge interface {
	Judge(ctx context.Context, d Document, at time.Time) (Verdict, error)
}

// Trail records events. When Append returns nil they are written, and on the disk if
// durable; after an error nothing may be forwarded.
type Trail interface {
	Append(ctx context.Context, durable bool, events ...protocol.AuditEvent) error
}

// Held is a call that waits for a person.
type Held struct {
	Request protocol.ApprovalRequest
	Payload []byte // the raw bytes of the message
	Binding Binding
	Expires time.Time
}

// Binding is what an approval is bound to beside the payload.
// SPEC: docs/protocol.md 3
type Binding struct {
	Server, Principal, Session, ToolPin, GovernanceHash string
}

// Holds keeps calls that wait for a person.
type Holds interface {
	// Hold blocks until the call was answered; the end of ctx withdraws the request.
	// An error means that nobody approved.
	Hold(ctx context.Context, h Held) (Answered, error)
}

// Answered is what a person said of a held call.
type Answered struct {
	Approved bool
	Approver string
	Reason   string
}
