package back

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// TestSessionsShareNoConnection: what a server sends late on a connection, or too much of,
// never answers a request of another session. Small requests, large ones, and by TLS.
func TestSessionsShareNoConnection(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, size := range []int{10, limits.MCPBackWireBytes + 1} {
			var mu sync.Mutex
			by := map[string]string{} // the session of a connection
			requests := 0
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				name, _, _ := strings.Cut(string(body), `,"method"`)
				mu.Lock()
				defer mu.Unlock()
				requests++
				if was, ok := by[r.RemoteAddr]; ok && was != name {
					t.Errorf("the connection of %s has a request of %s", was, name)
				}
				by[r.RemoteAddr] = name
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, name+`,"result":{}}`)
			}))
			o := HTTPOptions{Name: "far"}
			if secure {
				srv.StartTLS()
				pool := x509.NewCertPool()
				pool.AddCert(srv.Certificate())
				o.TLS = &tls.Config{RootCAs: pool} //nolint:gosec // NewHTTP sets the version
			} else {
				srv.Start()
			}
			o.URL = srv.URL + "/mcp"
			t.Cleanup(srv.Close)
			h, err := NewHTTP(o)
			if err != nil {
				t.Fatal(err)
			}
			sessions := map[string]link.Server{}
			for _, name := range []string{"ann", "bob"} {
				if sessions[name], err = h.Open(t.Context(), link.Session{ID: name, Principal: name}); err != nil {
					t.Fatal(err)
				}
			}
			for range 4 {
				for name, s := range sessions {
					text := `{"jsonrpc":"2.0","id":"` + name + `","method":"tools/call","params":{"x":"` + strings.Repeat("x", size) + `"}}`
					if _, err := s.Send(t.Context(), callOf(t, text)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if requests != 8 || len(by) != 2 {
				t.Errorf("%d requests over %d connections", requests, len(by))
			}
			for _, s := range sessions {
				if err := s.End(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if len(h.open) != 0 {
				t.Errorf("%d sessions are left", len(h.open))
			}
		}
	}
}
