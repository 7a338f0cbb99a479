package front

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// JSON-RPC codes of what the door refuses. Those from -32020 on are the protocol's own,
// -32000 and -32001 are what its SDKs use at this place.
const (
	codeRefused   = -32000 // a bad request by HTTP's rules
	codeNoSession = -32001
	codeHeaders   = -32020 // headers say something else than the message
	codeVersion   = -32022 // unknown revision of the protocol
	codeUnjudged  = -32052 // cannot be judged or recorded, or anything inside failed
	codeDown      = -32053 // the server cannot be reached
	codeTooMuch   = -32054 // rate or size
	noID          = jsonrpc.ID("null")
	contentJSON   = "application/json"
	contentEvents = "text/event-stream"
)

// refusal is what a request is answered with in place of the server.
type refusal struct {
	status int
	code   int
	what   string
	data   any
	id     jsonrpc.ID // "" where the message is known, or nothing is
}

var errPanic = errors.New("panic")

func no(status, code int, what string) error { return &refusal{status: status, code: code, what: what} }

func (f *refusal) Error() string { return f.what }

// refuse answers with a failure.
func refuse(w http.ResponseWriter, status int, id jsonrpc.ID, code int, what string, data any) {
	if id == "" {
		id = noID
	}
	h := w.Header()
	h.Set("Content-Type", contentJSON)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(limits.MCPFrontRetry))
	}
	w.WriteHeader(status)
	_, _ = w.Write(jsonrpc.NewFailure(id, code, what, data))
}

// failureOf says what a client is told when there is no answer of a server. Only what is
// meant for clients is repeated: an error may hold anything.
func failureOf(err error) refusal {
	var down *link.Down
	var own *refusal
	var scan *jsonrpc.Refusal
	switch {
	case errors.As(err, &own):
		return *own
	case errors.As(err, &scan):
		return refusal{status: http.StatusBadRequest, code: scan.RPC, what: scan.Error(), id: scan.ID}
	case errors.As(err, &down):
		return refusal{status: http.StatusBadGateway, code: codeDown, what: line(down.Error())}
	case errors.Is(err, context.DeadlineExceeded):
		return refusal{status: http.StatusGatewayTimeout, code: codeDown, what: "the server did not answer in time"}
	case errors.Is(err, context.Canceled):
		return refusal{status: http.StatusServiceUnavailable, code: codeUnjudged, what: "the request was broken off"}
	}
	return refusal{status: http.StatusInternalServerError, code: codeUnjudged, what: "the gateway failed"}
}

// line makes one line of text.
func line(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
