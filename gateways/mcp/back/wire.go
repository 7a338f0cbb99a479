package back

import (
	"context"
	"net"
	"net/http"

	"github.com/cabincrew/action/internal/httpwire"
	"github.com/cabincrew/action/internal/limits"
)

// newWire makes a wire to a server that transports like t reach over plain HTTP.
func newWire(t *http.Transport, host, port string) *httpwire.Wire {
	if port == "" {
		port = "80"
	}
	addr, dial := net.JoinHostPort(host, port), t.DialContext
	return httpwire.New(httpwire.Options{
		Dial:         func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", addr) },
		Large:        t.Clone,
		RequestBytes: limits.MCPBackWireBytes, HeaderBytes: limits.MCPBackHeaderBytes, Hints: limits.MCPBackHints,
		IdleConns: limits.MCPBackIdleConns, IdleTime: limits.MCPBackIdleTime,
	})
}
