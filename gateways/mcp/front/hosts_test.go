package front

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestGuarded(t *testing.T) {
	t.Parallel()
	inner := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	srv := httptest.NewServer(Guarded(inner, HostPolicy{Hosts: []string{"GW.example", "other.example:8443"}, Origins: []string{"https://App.example/"}}))
	defer srv.Close()
	own := strings.TrimPrefix(srv.URL, "http://")
	for _, c := range []struct {
		name, host, origin, site string
		status                   int
	}{
		{"own address", own, "", "", 418},
		{"localhost", "localhost:1", "", "", 418},
		{"localhost with dot", "LOCALHOST.", "", "", 418},
		{"loopback", "127.9.9.9", "", "", 418},
		{"loopback 6", "[::1]:9", "", "", 418},
		{"mapped", "[::ffff:127.0.0.1]", "", "", 418},
		{"listed", "gw.example:3940", "", "", 418},
		{"listed with port", "other.example:8443", "", "", 418},
		{"listed with another port", "other.example:1", "", "", 403},
		{"rebinding", "evil.example", "", "", 403},
		{"rebinding to a name with loopback", "127.0.0.1.evil.example", "", "", 403},
		{"prefix", "localhost.evil.example", "", "", 403},
		{"suffix", "evillocalhost", "", "", 403},
		{"other address", "10.0.0.1", "", "", 403},
		{"any address", "0.0.0.0", "", "", 403},
		{"brackets", "[localhost", "", "", 403},
		{"page of this machine", own, "http://localhost:5173", "", 418},
		{"page of this machine 6", own, "http://[::1]:5173", "", 418},
		{"page of the own address", own, "http://" + own, "", 418},
		{"listed page", own, "https://app.example", "", 418},
		{"listed page, other scheme", own, "http://app.example", "", 403},
		{"other page", own, "http://evil.example", "", 403},
		{"null", own, "null", "", 403},
		{"page with user", own, "http://localhost@evil.example", "", 403},
		{"page of a file", own, "file://localhost", "", 403},
		{"page of a file 2", own, "file://", "", 403},
		{"page with path", own, "http://localhost/a", "", 403},
		{"image on another site", own, "", "cross-site", 403},
		{"image on a sibling site", own, "", "same-site", 403},
		{"typed address", own, "", "none", 418},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/mcp", nil)
			req.Host = c.host
			if c.origin != "" {
				req.Header.Set("Origin", c.origin)
			}
			if c.site != "" {
				req.Header.Set("Sec-Fetch-Site", c.site)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("%d", resp.StatusCode)
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); (got != "") != (c.origin == "https://app.example") {
				t.Errorf("allowed origin %q", got)
			}
		})
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	req.Header["Origin"] = []string{"http://localhost", "http://localhost"}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("two origins: %d", resp.StatusCode)
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{}, nil)
	resp := r.want(204, "", "OPTIONS", "/mcp", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "content-type, mcp-param-where, x-evil")
	if h := resp.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(h, "Mcp-Param-Where") || strings.Contains(h, "vil") || !strings.Contains(h, "Mcp-Session-Id") {
		t.Errorf("headers %q", h)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" || resp.Header.Get("Vary") == "" || resp.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%v", resp.Header)
	}
	r.want(405, "", "OPTIONS", "/mcp", "", "Origin", "http://localhost:1", "Access-Control-Request-Method", "POST")
	r.want(403, "", "OPTIONS", "/mcp", "", "Origin", "http://evil.example", "Access-Control-Request-Method", "POST")
	resp = r.want(200, "", "POST", "/mcp", initialize("2025-11-25"), "Origin", "https://app.example")
	if !strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "Mcp-Session-Id") {
		t.Error("the session id is not shown to the page")
	}
}
