package front

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

func lost() error {
	return &link.Down{Server: "files", Why: "its process was ended", Err: link.ErrOver}
}

// TestOver: one clear failure, and then the client learns that its session is over.
func TestOver(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(c link.Call) (*link.Answer, error){
		"an error": func(link.Call) (*link.Answer, error) { return nil, lost() },
		"an answer": func(c link.Call) (*link.Answer, error) {
			return &link.Answer{Status: 200, Body: jsonrpc.NewFailure(c.Message.ID, codeDown, "server files: its process was ended", nil), Over: true}, nil
		},
		"a stream": func(link.Call) (*link.Answer, error) { return &link.Answer{Status: 200, Stream: feed(lost())}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{send: func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) { return send(c) }}
			r := newRig(t, HTTPOptions{}, f)
			id := r.session()
			other := r.session()
			resp := r.do(http.MethodPost, "/mcp", ping, headerSession, id)
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode == http.StatusNotFound || !strings.Contains(string(text), `"code":-32053,"message":"server files: its process was ended"`) {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
			r.want(404, "session not found", http.MethodPost, "/mcp", ping, headerSession, id)
			r.want(404, "session not found", http.MethodGet, "/mcp", "", headerSession, id)
			r.want(405, "", http.MethodGet, "/mcp", "", headerSession, other)
			if r.door.Sessions() != 1 {
				t.Errorf("%d sessions", r.door.Sessions())
			}
		})
	}
}

// TestOverListening: who listens learns it as well.
func TestOverListening(t *testing.T) {
	t.Parallel()
	f := &fake{onListen: func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(lost())}, nil
	}}
	r := newRig(t, HTTPOptions{}, f)
	id := r.session()
	resp := r.do(http.MethodGet, "/mcp", "", headerSession, id)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
	r.want(404, "session not found", http.MethodPost, "/mcp", ping, headerSession, id)
}

// TestOverStateless: clients without sessions need not learn it.
func TestOverStateless(t *testing.T) {
	t.Parallel()
	f := &fake{send: func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		if c.Message.Method == "tools/list" {
			return nil, lost()
		}
		return said(c, "{}"), nil
	}}
	r := newRig(t, HTTPOptions{}, f)
	say := func(status int, part, method string) {
		t.Helper()
		body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"_meta":{"` + jsonrpc.MetaRevision + `":"2026-07-28"}}}`
		r.want(status, part, http.MethodPost, "/mcp", body, headerVersion, "2026-07-28", headerMethod, method)
	}
	say(502, `-32053`, "tools/list")
	say(200, `"result"`, "ping")
	if o, _, _ := f.count(); o != 2 {
		t.Errorf("opened %d", o)
	}
}

// TestOverOlder: the stream of the older form ends after the failure.
func TestOverOlder(t *testing.T) {
	t.Parallel()
	f := &fake{send: func(context.Context, link.Session, link.Call) (*link.Answer, error) { return nil, lost() }}
	r := newRig(t, HTTPOptions{}, f)
	r.door.waits.over = 300 * time.Millisecond
	_, stream, where := r.older()
	r.want(202, "", http.MethodPost, where, ping)
	if rest, err := io.ReadAll(stream); err != nil || !strings.Contains(string(rest), `"id":7,"error":{"code":-32053`) {
		t.Errorf("%v, %s", err, rest)
	}
	r.want(404, "session not found", http.MethodPost, where, ping)
}

// TestOverStdio: a new session is opened when the client initializes anew, not before.
func TestOverStdio(t *testing.T) {
	t.Parallel()
	f := &fake{send: func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		if c.Message.Kind == jsonrpc.Request {
			return nil, lost()
		}
		return &link.Answer{Status: 202}, nil
	}}
	k := stdio(t, f, StdioOptions{})
	for i := range 3 {
		k.say(initialize("2025-11-25"))
		k.hear(`"protocolVersion":"2025-11-25"`)
		k.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		for range 2 {
			k.say(ping)
			k.hear(`"id":7,"error":{"code":-32053`)
		}
		if o, e, _ := f.count(); o != i+1 || e != i {
			t.Errorf("opened %d, ended %d", o, e)
		}
	}
	k.end()
	if f.opened[0].ID == f.opened[1].ID {
		t.Error("two sessions have one id")
	}
}
