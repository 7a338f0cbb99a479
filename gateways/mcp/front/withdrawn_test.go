package front

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/link"
)

// TestWithdrawn ends the stream of a call that the client cancelled: there is no answer.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	f := &fake{send: func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		if c.Message.Method != "tools/call" {
			return said(c, `{"protocolVersion":"2025-11-25"}`), nil
		}
		return &link.Answer{Status: http.StatusOK, Stream: feed(link.ErrWithdrawn, link.Event{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`)})}, nil
	}}
	k := stdio(t, f, StdioOptions{})
	k.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)
	k.hear("notifications/progress")
	k.end()

	r := newRig(t, HTTPOptions{}, f)
	s := r.session()
	resp := r.do(http.MethodPost, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`, "Mcp-Session-Id", s)
	defer resp.Body.Close() //nolint:errcheck // a test's
	got, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(got), "error") || !strings.Contains(string(got), "notifications/progress") {
		t.Errorf("%v, %s", err, got)
	}
}
