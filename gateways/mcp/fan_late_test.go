package mcp

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// TestFanReadsUnlisted: a client may name a resource that it was told of elsewhere.
func TestFanReadsUnlisted(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, func(a, b *fanFake) {
		a.results["resources/list"] = `{"resources":[{"uri":"x://a","name":"a"}]}`
		a.results["resources/read"] = `{"contents":["a"]}`
		b.results["resources/list"] = `{"resources":[{"uri":"x://b","name":"b"}]}`
		b.results["resources/templates/list"] = `{"resourceTemplates":[{"uriTemplate":"y://{id}","name":"y"}]}`
		b.results["resources/read"] = `{"contents":["b"]}`
	})
	r.ask(fanAsk(1, "initialize", `{"protocolVersion":"2025-11-25"}`))
	read := func(uri string) string { return r.ask(fanAsk(2, "resources/read", fmt.Sprintf(`{"uri":%q}`, uri))) }
	for uri, want := range map[string]string{"x://a": `"a"`, "x://b": `"b"`, "y://7": `"b"`} {
		if got := read(uri); !strings.Contains(got, `"contents":[`+want) {
			t.Errorf("%s: %s", uri, got)
		}
	}
	before := r.a.count()
	if got := read("z://1"); !strings.Contains(got, "no server has listed") {
		t.Error(got)
	}
	if r.a.count() != before {
		t.Error("it listed more than once")
	}
}

// TestFanListsWithoutSessions: what the gateway asks by itself says what the client said.
func TestFanListsWithoutSessions(t *testing.T) {
	t.Parallel()
	r := newFanRig(t, nil)
	meta := `{"` + jsonrpc.MetaRevision + `":"2026-07-28"}`
	c := r.call(fanAsk(1, "resources/read", `{"uri":"x://1","_meta":`+meta+`}`))
	c.Header = http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"resources/read"}, "Mcp-Name": {"x://1"}}
	if _, err := r.s.Send(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := r.a.last(); !strings.Contains(got, `"method":"resources/templates/list"`) || !strings.Contains(got, `"_meta":`+meta) {
		t.Error(got)
	}
	if h := r.a.header[len(r.a.header)-1]; h.Get("Mcp-Method") != "resources/templates/list" || h.Get("Mcp-Name") != "" || c.Header.Get("Mcp-Name") == "" {
		t.Error(h)
	}
}

// fanLate fails so many times.
type fanLate struct {
	fanFake

	fails int
}

func (f *fanLate) Open(ctx context.Context, s link.Session) (link.Server, error) {
	if f.fails--; f.fails >= 0 {
		return nil, &link.Down{Server: "late", Why: "connection refused"}
	}
	return f.fanFake.Open(ctx, s)
}

// TestFanOpensLater: a session that lasts for all requests of a client without sessions
// gets a server that was not there when it began.
func TestFanOpensLater(t *testing.T) {
	t.Parallel()
	for _, stateless := range []bool{true, false} {
		a, late := &fanFake{results: map[string]string{}}, &fanLate{fails: 3}
		late.results = map[string]string{"tools/call": `{"content":[]}`}
		pauses, again := make(chan time.Duration, 8), make(chan struct{})
		o := FanOptions{Servers: []Named{{"a", a}, {"late", late}}, Wait: func(ctx context.Context, d time.Duration) error {
			pauses <- d
			select {
			case <-again:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		s, err := NewFan(o).Open(t.Context(), link.Session{ID: "s", Stateless: stateless})
		if err != nil {
			t.Fatal(err)
		}
		r := &fanRig{t: t, s: s}
		call := fanAsk(1, "tools/call", `{"name":"late__x"}`)
		if got := r.ask(call); !strings.Contains(got, "connection refused") {
			t.Error(got)
		}
		if stateless {
			for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
				if d := <-pauses; d != want {
					t.Errorf("waited %s", d)
				}
				again <- struct{}{}
			}
			for try := 0; strings.Contains(r.ask(call), "connection refused"); try++ {
				if try > 5000 {
					t.Fatal("it is not there")
				}
				time.Sleep(time.Millisecond)
			}
		}
		if err := s.End(t.Context()); err != nil {
			t.Error(err)
		}
		if len(pauses) != 0 || stateless != (late.ended == 1) {
			t.Errorf("%d pauses, ended %d times", len(pauses), late.ended)
		}
	}
}
