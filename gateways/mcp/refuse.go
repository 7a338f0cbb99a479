package mcp

import (
	"net/http"
	"strings"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// The codes of the guard's own errors.
const (
	codeDenied      = -32050 // by a policy or the guard itself
	codeRejected    = -32051 // by a person, or nobody answered in time
	codeUnjudged    = -32052 // it cannot be judged, held or recorded
	codeUnreachable = -32053 // the server cannot be asked, or its answer cannot be read
	codeLimit       = -32054 // size, rate or number
)

// refusalData is what a client's program can read of a refusal.
type refusalData struct {
	Decision   protocol.Decision `json:"decision"`
	Violations []string          `json:"violations,omitempty"`
	Policies   []string          `json:"policies,omitempty"`
	RequestID  string            `json:"request_id"`
	Approval   *refusalApproval  `json:"approval,omitempty"`
}

type refusalApproval struct {
	Role   string `json:"required_role,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// unrecorded is the ruling where the record cannot be written.
func (s *session) unrecorded(m *matter) ruling {
	return s.ruled(m, policyMessage, "the gateway cannot write its record", codeUnjudged)
}

// refusal is the answer to a refused request. What it says is for people and for models:
// it holds nothing that the server or a policy could use to speak further.
func (s *session) refusal(e *exchange, r ruling, id jsonrpc.ID) []byte {
	why, policies := r.reasons()
	for i := range why {
		why[i] = brief(s.clean(why[i]))
	}
	line := lineOf(r, why, policies)
	if s.g.o.DenialsAsResults && e.method == methodCall && e.from == fromClient && id != "null" {
		result := jsonrpc.AppendString([]byte(`{"content":[{"type":"text","text":`), line)
		return jsonrpc.NewResult(id, append(result, `}],"isError":true}`...))
	}
	data := refusalData{Decision: protocol.Deny, Violations: why, Policies: policies, RequestID: e.request}
	if len(r.Requires) > 0 {
		data.Approval = &refusalApproval{Role: r.Requires[0].Role, Reason: brief(s.clean(r.Requires[0].Reason))}
	}
	return jsonrpc.NewFailure(id, or(r.code, codeDenied), line, data)
}

// clean takes secrets out of a text of the guard's own.
func (s *session) clean(text string) string {
	if s.g.o.Redact == nil {
		return text
	}
	return s.g.o.Redact.String(text)
}

func lineOf(r ruling, why, policies []string) string {
	b := strings.Builder{}
	switch or(r.code, codeDenied) {
	case codeUnreachable:
		b.WriteString("no answer")
	case codeRejected:
		b.WriteString("not approved")
	default:
		b.WriteString("denied by the gateway")
	}
	if len(policies) > 0 && or(r.code, codeDenied) == codeDenied {
		b.WriteString(" (" + policies[0] + ")")
	}
	if len(why) > 0 {
		b.WriteString(": " + why[0])
	}
	return brief(b.String())
}

// refuse answers a request of the client with a refusal.
func (s *session) refuse(e *exchange, r ruling) *link.Answer {
	return answerOf(s.refusal(e, r, e.id))
}

// answerOf is an answer that is one message.
func answerOf(body []byte) *link.Answer {
	return &link.Answer{
		Status: http.StatusOK, Body: body,
		Header: http.Header{"Content-Type": {"application/json"}},
	}
}

// taken is the answer to what has no answer.
func taken() *link.Answer { return &link.Answer{Status: http.StatusAccepted} }
