package mcp

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestT28ListsThatLeaveOut: what a server left out of its list, or did not say any more,
// was never seen by anybody, and is not called.
func TestT28ListsThatLeaveOut(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("the stand-in knows no tools")
	}
	const first = `{"tools":[` + echoTool + `],"nextCursor":"two"}`
	for what, second := range map[string]answerer{
		"5xx":     func(w http.ResponseWriter, _ *http.Request, _ sent) { w.WriteHeader(http.StatusBadGateway) },
		"limited": func(w http.ResponseWriter, _ *http.Request, _ sent) { w.WriteHeader(http.StatusTooManyRequests) },
		"empty":   result(`{}`),
		"whole":   result(`{"tools":[{"name":"unlisted","inputSchema":{"type":"object"}}]}`),
		"error": func(w http.ResponseWriter, _ *http.Request, m sent) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"later"}}`, m.ID)
		},
	} {
		h := newHostile(t)
		h.answers("tools/list", func(w http.ResponseWriter, r *http.Request, m sent) {
			if strings.Contains(string(m.raw), `"two"`) {
				second(w, r, m)
				return
			}
			result(first)(w, r, m)
		})
		g := before(t, setting{}, h)
		c := g.session()
		got := c.tool(t, "unlisted", `{"text":"a"}`)
		if what == "whole" {
			passed(t, got)
			continue
		}
		if got.answer().Result != nil {
			t.Errorf("%s: what was not listed is called: %s", what, got)
		}
		h.untouched()
	}
}

// TestT28IssuerThatFails: tokens whose issuer cannot be asked let nobody in, and it is
// not asked for each of them.
func TestT28IssuerThatFails(t *testing.T) {
	t.Parallel()
	h, failing := newHostile(t), newIssuer(t)
	var asked atomic.Int64
	failing.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	g, a := secured(t, fmt.Sprintf("  oidc: [{issuer: %q, audience: gateway}]\n", failing.URL), nil, h)
	for range 20 {
		got := a.client(g.url, failing.token(failing.key, "k1", failing.says("aud", "gateway"))).must(t, begin)
		if got.status != http.StatusServiceUnavailable || got.answer().Result != nil {
			t.Errorf("let in without keys: %s", got)
		}
	}
	if n := asked.Load(); n != 2 { // by OpenID Connect, and by RFC 8414
		t.Errorf("the issuer was asked %d times", n)
	}
	h.untouched()
}
