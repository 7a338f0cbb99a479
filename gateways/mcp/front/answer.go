package front

import (
	"context"
	"net/http"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// passed are the headers of an answer that go to the client.
var passed = []string{headerVersion, "Retry-After", "Allow"}

// answer gives a server's answer to the client.
func (d *Door) answer(ctx context.Context, x *exchange, a *link.Answer) error {
	h := x.w.Header()
	for _, name := range passed {
		if v := a.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	if a.Stream != nil {
		if x.opening {
			h.Set(headerSession, x.s.id)
		}
		return d.stream(ctx, x, a.Stream)
	}
	status := statusFor(a)
	if x.opening && d.agreed(x.s, x.msg.ID, a.Body) {
		h.Set(headerSession, x.s.id)
	}
	if status == http.StatusNotFound && !x.opening && !x.s.stateless() {
		// To the client this is the end of its session.
		d.sessions.remove(x.s)
	}
	if len(a.Body) == 0 {
		x.w.WriteHeader(status)
		return nil
	}
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Content-Type-Options", "nosniff")
	if isJSON(a.Header.Get("Content-Type")) || a.Header.Get("Content-Type") == "" && status == http.StatusOK {
		h.Set("Content-Type", contentJSON)
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	control := http.NewResponseController(x.w)
	_ = control.SetWriteDeadline(time.Now().Add(d.waits.longer(len(a.Body))))
	x.w.WriteHeader(status)
	_, _ = x.w.Write(a.Body)
	return nil
}

// statusFor returns the status for the client. What only concerns the gateway and the
// server (redirects, the gateway's credentials) is no status for clients.
func statusFor(a *link.Answer) int {
	s := a.Status
	switch {
	case s == 0 && len(a.Body) == 0, s == http.StatusOK && len(a.Body) == 0:
		return http.StatusAccepted
	case s == 0:
		return http.StatusOK
	case s < 200, s >= 300 && s < 400, s > 599, s == http.StatusUnauthorized, s == http.StatusProxyAuthRequired:
		return http.StatusBadGateway
	}
	return s
}

// agreed notes what the two ends negotiated, if body is the result of initialize.
func (d *Door) agreed(s *session, id jsonrpc.ID, body []byte) bool {
	if !answers(body, id) {
		return false
	}
	value, ok := jsonrpc.Lookup(body, "result", "protocolVersion")
	if !ok {
		return false
	}
	text, ok := jsonrpc.Text(value)
	if ok {
		s.agree(jsonrpc.Revision(text))
	}
	return ok && text != ""
}

// answers says that a message answers the request with this id.
func answers(message []byte, id jsonrpc.ID) bool {
	value, ok := jsonrpc.Lookup(message, "id")
	if !ok || string(value) != string(id) {
		return false
	}
	_, request := jsonrpc.Lookup(message, "method")
	return !request
}
