package mcp_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// TestJudgedMessagesAreFreed: what a connection lends for a large message is given back
// once the message was judged, whatever came out, and nobody further on sees it.
func TestJudgedMessagesAreFreed(t *testing.T) {
	t.Parallel()
	const right = `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	for name, body := range map[string]string{"answer": right, "no message": "{", "of another": `{"jsonrpc":"2.0","id":5,"result":{}}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, streams := range []bool{false, true} {
				var freed atomic.Int32
				free := func() { freed.Add(1) }
				r := newRig(t)
				r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
					if !streams {
						return &link.Answer{Status: http.StatusOK, Body: []byte(body), Header: http.Header{"Content-Type": {"application/json"}}, Free: free}, nil
					}
					return &link.Answer{Status: http.StatusOK, Stream: &events{closed: make(chan struct{}), list: []link.Event{{Data: []byte(body), Free: free}}}}, nil
				}
				r.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`)
				if freed.Load() != 1 {
					t.Errorf("stream %v: freed %d times", streams, freed.Load())
				}
			}
		})
	}
}

// TestSilentRefusalIsToldOf: a server's status without a body reaches the client with words.
func TestSilentRefusalIsToldOf(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.server.answer = func(jsonrpc.Message) (*link.Answer, error) {
		return &link.Answer{Status: http.StatusInternalServerError, Header: http.Header{}}, nil
	}
	got := r.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`)
	if len(got) != 1 || !strings.Contains(got[0], `"id":1`) || !strings.Contains(got[0], "Internal Server Error") {
		t.Errorf("%q", got)
	}
}
