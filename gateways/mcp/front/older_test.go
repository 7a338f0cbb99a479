package front

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// event reads one event: its lines, joined.
func event(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, b.String())
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

// older opens a session of the older form; the first event says where messages go.
func (r *rig) older(header ...string) (*http.Response, *bufio.Reader, string) {
	r.t.Helper()
	resp := r.do("GET", "/sse", "", header...)
	out := bufio.NewReader(resp.Body)
	where, ok := strings.CutPrefix(event(r.t.(*testing.T), out), "event: endpoint\ndata: ")
	if !ok || !strings.HasPrefix(where, "/message?sessionId=") {
		r.t.Fatalf("endpoint %q", where)
	}
	return resp, out, strings.TrimSpace(where)
}

func TestOlderForm(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.send = func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		switch c.Message.Method {
		case "ping":
			return &link.Answer{Status: 200, Stream: feed(nil, link.Event{ID: "1"}, link.Event{ID: "2", Data: jsonrpc.NewNotification("n", nil)}, link.Event{Data: said(c, "{}").Body})}, nil
		case "fail":
			return nil, errors.New("secret")
		}
		return said(c, "{}"), nil
	}
	f.onListen = func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(nil, link.Event{Data: jsonrpc.NewNotification("unasked", nil)})}, nil
	}
	r := newRig(t, HTTPOptions{Auth: byToken{}}, f)
	anna, bert := []string{"Authorization", "Bearer anna"}, []string{"Authorization", "Bearer bert"}
	r.want(401, "", "GET", "/sse", "")
	r.want(406, "", "GET", "/sse", "", append(anna, "Accept", "application/json")...)
	resp, out, where := r.older(anna...)
	if resp.Header.Get("Content-Type") != contentEvents {
		t.Errorf("%v", resp.Header)
	}
	r.want(202, "", "POST", where, initialize("2024-11-05"), append(anna, "Accept", "")...)
	if ev := event(t, out); !strings.HasPrefix(ev, "event: message\ndata: {") || !strings.Contains(ev, `"protocolVersion":"2024-11-05"`) {
		t.Errorf("%q", ev)
	}
	r.want(202, "", "POST", where, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, anna...)
	if ev := event(t, out); !strings.Contains(ev, "unasked") {
		t.Errorf("%q", ev)
	}
	r.want(202, "", "POST", where, ping, anna...)
	for _, want := range []string{`"method":"n"`, `"id":7,"result"`} {
		if ev := event(t, out); !strings.Contains(ev, want) || strings.Contains(ev, "id: ") {
			t.Errorf("%q", ev)
		}
	}
	r.want(202, "", "POST", where, `{"jsonrpc":"2.0","id":8,"method":"fail"}`, anna...)
	if ev := event(t, out); !strings.Contains(ev, `"id":8,"error":{"code":-32052,"message":"the gateway failed"`) {
		t.Errorf("%q", ev)
	}
	id := strings.TrimPrefix(where, "/message?sessionId=")
	r.want(404, "-32001", "POST", where, ping, bert...)
	r.want(401, "", "POST", where, ping)
	r.want(404, "-32001", "POST", "/message?sessionId=x", ping, anna...)
	r.want(400, "sessionId", "POST", "/message", ping, anna...)
	r.want(400, "sessionId", "POST", where+"&sessionId="+id, ping, anna...)
	r.want(404, "-32001", "POST", "/mcp", ping, append(anna, headerSession, id)...)
	r.want(404, "-32001", "POST", "/message?sessionId="+r.session(anna...), ping, anna...)
	r.want(415, "", "POST", where, ping, append(anna, "Content-Type", "text/plain")...)
	r.want(400, "-32700", "POST", where, "x", anna...)
	r.want(400, "-32022", "POST", where, asks("tools/list", ""), anna...)
	r.want(405, "", "POST", "/sse", ping, anna...)
	r.want(405, "", "GET", where, "", anna...)
	_ = resp.Body.Close()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if _, e, _ := f.count(); e == 1 {
			break
		}
	}
	r.want(404, "-32001", "POST", where, ping, anna...)
	if r.door.held.Load() != 0 {
		t.Errorf("%d bytes are still counted", r.door.held.Load())
	}
	if _, e, _ := f.count(); e != 1 || r.door.Sessions() != 1 {
		t.Errorf("ended %d, open %d", e, r.door.Sessions())
	}
}

func TestOlderFormThatCannotOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{SessionsEach: 1}, &fake{})
	r.session()
	r.want(429, "-32054", "GET", "/sse", "")
	r = newRig(t, HTTPOptions{}, &fake{open: func(link.Session) error { return &link.Down{Server: "files", Why: "no"} }})
	r.want(502, "-32053", "GET", "/sse", "")
	if r.door.Sessions() != 0 {
		t.Error("still reserved")
	}
}

// Not parallel: it counts goroutines.
//
//nolint:paralleltest // it counts goroutines
func TestNothingLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	f := &fake{onListen: func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(nil)}, nil
	}}
	r := newRig(t, HTTPOptions{}, f)
	var open []*http.Response
	for range 20 {
		id := r.session()
		open = append(open, r.do("GET", "/mcp", "", headerSession, id))
		r.want(200, "result", "POST", "/mcp", asks("tools/list", ""), headerVersion, modern, headerMethod, "tools/list")
		resp, _, where := r.older()
		open = append(open, resp)
		r.want(202, "", "POST", where, initialize("2024-11-05"))
		r.want(202, "", "POST", where, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	}
	r.close()
	for _, resp := range open {
		_ = resp.Body.Close()
	}
	r.srv.Client().CloseIdleConnections()
	settled(t, before)
	if o, e, _ := f.count(); o != 41 || e != 41 {
		t.Errorf("opened %d, ended %d", o, e)
	}
}
