package front

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/link"
)

const modern = "2026-07-28"

// asks is a request of the revision without sessions.
func asks(method, params string) string {
	if params != "" {
		params += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":9,"method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":%q,"io.modelcontextprotocol/clientCapabilities":{}}}}`, method, params, modern)
}

func TestStateless(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{Auth: byToken{}}, nil)
	call := asks("tools/call", `"name":"run","arguments":{"where":"Köln","deep":{"n":5},"yes":true,"list":["item"],"none":null}`)
	odd := asks("tools/call", `"name":"läuft","arguments":{}`)
	for _, c := range []struct {
		name   string
		status int
		part   string
		body   string
		header []string
		gone   string // headers that went on
	}{
		{"plain", 200, `"result"`, asks("tools/list", ""), []string{headerMethod, "tools/list"}, "Mcp-Method Mcp-Protocol-Version"},
		{"no session is read", 400, `without sessions`, asks("tools/list", ""), []string{headerMethod, "tools/list", headerSession, "OWN"}, ""},
		{"unknown session", 404, `-32001`, asks("tools/list", ""), []string{headerMethod, "tools/list", headerSession, "X"}, ""},
		{"no method", 400, `"id":9,"error":{"code":-32020`, asks("tools/list", ""), nil, ""},
		{"other method", 400, `-32020`, asks("tools/list", ""), []string{headerMethod, "tools/call"}, ""},
		{"other case", 400, `-32020`, asks("tools/list", ""), []string{headerMethod, "TOOLS/LIST"}, ""},
		{"no meta", 400, `"id":9,"error":{"code":-32602`, `{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{}}`, []string{headerMethod, "tools/list"}, ""},
		{"no params", 400, `-32602`, `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, []string{headerMethod, "tools/list"}, ""},
		{"meta is no text", 400, `-32020`, `{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}`, []string{headerMethod, "tools/list"}, ""},
		{"other version in meta", 400, `-32020`, strings.Replace(asks("tools/list", ""), modern, "v999.0.0", 1), []string{headerMethod, "tools/list"}, ""},
		{"unknown version", 400, `"id":9,"error":{"code":-32022`, strings.Replace(asks("server/discover", ""), modern, "v999.0.0", 1), []string{headerMethod, "server/discover", headerVersion, "v999.0.0"}, ""},
		{"batch", 400, `-32600`, "[" + asks("tools/list", "") + "]", []string{headerMethod, "tools/list"}, ""},
		{"response", 400, `-32600`, `{"jsonrpc":"2.0","id":1,"result":{}}`, nil, ""},
		{"initialize", 200, `"result"`, asks("initialize", `"protocolVersion":"2026-07-28"`), []string{headerMethod, "initialize"}, "Mcp-Method Mcp-Protocol-Version"},
		{"notification", 202, ``, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, []string{headerMethod, "notifications/cancelled"}, "Mcp-Method Mcp-Protocol-Version"},
		{"name", 200, `"result"`, call, []string{headerMethod, "tools/call", headerName, "run"}, "Mcp-Method Mcp-Name Mcp-Protocol-Version"},
		{"name with space around", 200, `"result"`, call, []string{headerMethod, "tools/call", headerName, "  run  "}, "Mcp-Method Mcp-Name Mcp-Protocol-Version"},
		{"no name", 400, `-32020`, call, []string{headerMethod, "tools/call"}, ""},
		{"other name", 400, `-32020`, call, []string{headerMethod, "tools/call", headerName, "walk"}, ""},
		{"name in the body is no text", 400, `-32020`, asks("tools/call", `"name":5`), []string{headerMethod, "tools/call", headerName, "5"}, ""},
		{"encoded name", 200, `"result"`, odd, []string{headerMethod, "tools/call", headerName, "=?base64?bMOkdWZ0?="}, "Mcp-Method Mcp-Name Mcp-Protocol-Version"},
		{"badly encoded name", 400, `-32020`, odd, []string{headerMethod, "tools/call", headerName, "=?base64?bMOkdWZ?="}, ""},
		{"uri", 200, `"result"`, asks("resources/read", `"uri":"file:///a"`), []string{headerMethod, "resources/read", headerName, "file:///a"}, "Mcp-Method Mcp-Name Mcp-Protocol-Version"},
		{"other uri", 400, `-32020`, asks("resources/read", `"uri":"file:///a"`), []string{headerMethod, "resources/read", headerName, "file:///b"}, ""},
		{"other task", 400, `-32020`, asks("tasks/get", `"taskId":"1"`), []string{headerMethod, "tasks/get", headerName, "2"}, ""},
		{"task without a header", 200, `"result"`, asks("tasks/get", `"taskId":"1"`), []string{headerMethod, "tasks/get"}, "Mcp-Method Mcp-Protocol-Version"},
		{"params", 200, `"result"`, call, []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-Where", "=?base64?S8O2bG4=?=", "Mcp-Param-N", "5", "Mcp-Param-Yes", "true"}, "Mcp-Method Mcp-Name Mcp-Param-N Mcp-Param-Where Mcp-Param-Yes Mcp-Protocol-Version"},
		{"numbers of other form", 200, `"result"`, call, []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-N", "5.0"}, "Mcp-Method Mcp-Name Mcp-Param-N Mcp-Protocol-Version"},
		{"param that no argument says", 400, `"id":9,"error":{"code":-32020`, call, []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-Where", "Bonn"}, ""},
		{"param of a list", 400, `-32020`, call, []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-Where", "item"}, ""},
		{"param of null", 400, `-32020`, call, []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-Where", "null"}, ""},
		{"param that is the name", 400, `-32020`, call, []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-Where", "run"}, ""},
		{"param badly encoded", 400, `-32020`, call, []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-Where", "=?base64?S8O2bG4?="}, ""},
		{"param without arguments", 400, `-32020`, asks("tools/call", `"name":"run"`), []string{headerMethod, "tools/call", headerName, "run", "Mcp-Param-Where", "x"}, ""},
		{"name where it says nothing", 200, `"result"`, asks("tools/list", ""), []string{headerMethod, "tools/list", headerName, "x", "Mcp-Param-X", "1"}, "Mcp-Method Mcp-Protocol-Version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rr := *r
			rr.t = t
			_, _, before := r.fake.count()
			header := append([]string{"Authorization", "Bearer a", headerVersion, modern}, c.header...)
			for i, v := range header {
				if v == "OWN" {
					header[i] = rr.session("Authorization", "Bearer a")
					before++
				}
			}
			resp := rr.want(c.status, c.part, "POST", "/mcp", c.body, header...)
			if resp.Header.Get(headerSession) != "" {
				t.Error("a session was given")
			}
			_, _, after := r.fake.count()
			if (after > before) != (c.gone != "") {
				t.Fatalf("%d went on", after-before)
			}
			if c.gone != "" && sorted(r.fake.last().Header) != c.gone {
				t.Errorf("headers %v", r.fake.last().Header)
			}
		})
	}
	r.want(200, "result", "POST", "/mcp", asks("tools/list", ""), headerVersion, modern, headerMethod, "tools/list", "Authorization", "Bearer b")
	var shared []link.Session
	for _, s := range r.fake.opened {
		if s.Stateless {
			shared = append(shared, s)
		}
	}
	if len(shared) != 2 || shared[0] != (link.Session{ID: "stateless/a", Principal: "a", Stateless: true}) || shared[1].Principal != "b" {
		t.Errorf("opened %+v", shared)
	}
}

func sorted(h http.Header) string {
	var names []string
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestStatelessOpensOnce(t *testing.T) {
	t.Parallel()
	f := &fake{open: func(link.Session) error { return nil }}
	f.send = func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(io.EOF, link.Event{ID: "1", Data: said(c, "{}").Body})}, nil
	}
	r := newRig(t, HTTPOptions{}, f)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			resp := r.want(200, "data: {", "POST", "/mcp", asks("tools/list", ""), headerVersion, modern, headerMethod, "tools/list")
			if resp.Header.Get("Content-Type") != contentEvents {
				t.Error("no stream")
			}
		})
	}
	all.Wait()
	if o, _, calls := f.count(); o != 1 || calls != 20 {
		t.Errorf("opened %d, calls %d", o, calls)
	}
	r.door.o.Now = func() (now time.Time) { return now.AddDate(9000, 0, 0) }
	r.door.endIdle()
	r.door.ends.Wait()
	if _, e, _ := f.count(); e != 1 || r.door.Sessions() != 0 {
		t.Errorf("ended %d, open %d", e, r.door.Sessions())
	}
	r.want(200, "data: {", "POST", "/mcp", asks("tools/list", ""), headerVersion, modern, headerMethod, "tools/list")
	if o, _, _ := f.count(); o != 2 {
		t.Errorf("opened %d", o)
	}
}

func TestStatelessThatCannotOpen(t *testing.T) {
	t.Parallel()
	var down error = &link.Down{Server: "files", Why: "no"}
	f := &fake{open: func(link.Session) error { return down }}
	r := newRig(t, HTTPOptions{}, f)
	header := []string{headerVersion, modern, headerMethod, "tools/list"}
	r.want(502, `"id":9,"error":{"code":-32053`, "POST", "/mcp", asks("tools/list", ""), header...)
	if r.door.Sessions() != 0 {
		t.Error("still reserved")
	}
	f.mu.Lock()
	f.open = nil
	f.mu.Unlock()
	r.want(200, `result`, "POST", "/mcp", asks("tools/list", ""), header...)
}
