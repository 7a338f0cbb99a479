package front

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// heard collects refusals.
type heard struct {
	mu   sync.Mutex
	list []string
}

func (h *heard) hear(f Refusal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, strings.TrimSpace(f.Reason+" "+f.Principal))
}

func (h *heard) want(t *testing.T, want ...string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.list, want) {
		t.Errorf("told of %q, not of %q", h.list, want)
	}
	h.list = nil
}

// TestDoorTellsOfWhatItRefuses: whatever never becomes a message of a session.
func TestDoorTellsOfWhatItRefuses(t *testing.T) {
	t.Parallel()
	var h heard
	r := newRig(t, HTTPOptions{Refused: h.hear, MessageBytes: 1000}, nil)
	id := r.session()
	h.want(t)
	in := func(more ...string) []string { return append([]string{headerSession, id}, more...) }
	for _, c := range []struct {
		reason, method, path, body string
		header                     []string
	}{
		{ReasonMessage, http.MethodPost, "/mcp", `{"jsonrpc":"2.0","jsonrpc":"2.0"}`, in()},
		{ReasonMessage, http.MethodPost, "/mcp", `no JSON`, in()},
		{ReasonSession, http.MethodPost, "/mcp", `{}`, []string{headerSession, "nobody's"}},
		{ReasonSession, http.MethodDelete, "/mcp", "", []string{headerSession, "nobody's"}},
		{ReasonVersion, http.MethodPost, "/mcp", initialize("2025-11-25"), []string{headerVersion, "1999-01-01"}},
		{ReasonHeaders, http.MethodPost, "/mcp", initialize("2025-11-25"), []string{headerMethod, strings.Repeat("x", 9000)}},
		{ReasonLimit, http.MethodPost, "/mcp", strings.Repeat(" ", 2000), in()},
		{ReasonRequest, http.MethodPost, "/mcp", `{}`, in("Content-Type", "text/plain")},
		{ReasonRequest, http.MethodPost, "/message", `{}`, nil},
		{ReasonSession, http.MethodPost, "/message?sessionId=x", `{}`, nil},
	} {
		r.do(c.method, c.path, c.body, c.header...)
		h.want(t, c.reason+" "+Local)
	}
	r.do(http.MethodPut, "/mcp", "")
	h.want(t, ReasonMethod)
}

func TestGuardTellsOfHostsAndOrigins(t *testing.T) {
	t.Parallel()
	var h heard
	srv := httptest.NewServer(Guarded(http.NotFoundHandler(), HostPolicy{Refused: h.hear}))
	defer srv.Close()
	for _, c := range []struct{ header, value, reason string }{
		{"Host", "evil.example", ReasonHost}, {"Origin", "https://evil.example", ReasonOrigin}, {"Sec-Fetch-Site", "cross-site", ReasonOrigin},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(c.header, c.value)
		if c.header == "Host" {
			req.Host = c.value
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		h.want(t, c.reason)
	}
}

func TestDoorTellsOfClientsWithoutAName(t *testing.T) {
	t.Parallel()
	var h heard
	r := newRig(t, HTTPOptions{Refused: h.hear, Auth: nobody{}}, nil)
	r.do(http.MethodPost, "/mcp", initialize("2025-11-25"))
	h.want(t, ReasonUnknown)
}

type nobody struct{}

func (nobody) Authenticate(*http.Request) (Principal, error) { return Principal{}, &Unauthorized{} }

func TestStdioTellsOfWhatItRefuses(t *testing.T) {
	t.Parallel()
	var h heard
	in := strings.NewReader("no JSON\n" + strings.Repeat("x", 3000) + "\n" + fmt.Sprintln(`{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`))
	if err := ServeStdio(context.Background(), in, io.Discard, &fake{}, StdioOptions{Refused: h.hear, MessageBytes: 1000}); err != nil {
		t.Fatal(err)
	}
	h.want(t, "message local", "limit local", "message local")
}
