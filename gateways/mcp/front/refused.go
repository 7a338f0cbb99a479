package front

import (
	"errors"
	"net"
	"net/http"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
)

// The reasons why a door refuses something before it is a message of a session. There
// are no others, so they can be labels.
const (
	ReasonHost    = "host"            // the gateway is not reached by this name
	ReasonOrigin  = "origin"          // a page of another site
	ReasonUnknown = "unauthenticated" // the client does not say who it is, or may not
	ReasonMethod  = "method"          // of HTTP
	ReasonSession = "session"         // there is none, or it is another client's
	ReasonHeaders = "headers"         // they are there twice, or contradict the message
	ReasonVersion = "version"         // of the protocol
	ReasonMessage = "message"         // no valid JSON-RPC
	ReasonLimit   = "limit"           // size, number or time
	ReasonRequest = "request"         // whatever else is wrong by HTTP's rules
)

// Refusal is something that a door refused.
type Refusal struct {
	Reason    string
	Principal string // "" where the door does not know
	Remote    string // the client's address, without its port; "" where it has none
}

// reasonOf says why err is refused; "" where the door refuses nothing: the server is
// away, or the gateway itself failed.
func reasonOf(err error) string {
	var scan *jsonrpc.Refusal
	if errors.As(err, &scan) {
		return ReasonMessage
	}
	switch f := failureOf(err); f.code {
	case codeDown, codeUnjudged:
		return ""
	case codeNoSession:
		return ReasonSession
	case codeHeaders:
		return ReasonHeaders
	case codeVersion:
		return ReasonVersion
	case codeTooMuch:
		return ReasonLimit
	}
	return ReasonRequest
}

// tell tells of a refusal, if anybody listens.
func tell(to func(Refusal), r *http.Request, principal, reason string) {
	if to == nil || reason == "" {
		return
	}
	host := ""
	if r != nil {
		host, _, _ = net.SplitHostPort(r.RemoteAddr) // of a socket there is none
	}
	to(Refusal{Reason: reason, Principal: principal, Remote: host})
}
