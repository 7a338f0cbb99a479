package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// listenGateway opens the gateway's door. One that more than this machine can reach
// needs clients that say who they are.
func listenGateway(ctx context.Context, g *config.Gateway, dir string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(g.Listen, "unix:"); ok {
		return listenSocket(ctx, below(dir, path))
	}
	host, _, err := net.SplitHostPort(g.Listen)
	if err != nil {
		return nil, usageError("gateway_listen", "%s is no address: %w", oneLine(g.Listen), err).WithHint("write 127.0.0.1:3940")
	}
	named := len(g.Clients.Tokens) > 0 || len(g.Clients.OIDC) > 0 || g.Clients.CA != ""
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && (!named || g.Clients.Cert == "") {
		return nil, usageError("gateway_open", "%s can be reached from other machines, and %s", oneLine(g.Listen), missingOf(named)).At(g.Name).
			WithHint("listen on 127.0.0.1, or give clients: tokens, oidc or ca, and cert and key")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", g.Listen)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "gateway_listen", "the gateway cannot listen on %s: %w", oneLine(g.Listen), err).
			WithHint("end what listens there, or choose another address with --listen")
	}
	return l, nil
}

func missingOf(named bool) string {
	if named {
		return "it has no certificate"
	}
	return "nobody need say who they are"
}

// listenSocket opens a socket that only this user can reach.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		switch {
		case err == nil:
			_ = conn.Close() // it was a question only
			return nil, protocol.Errorf(protocol.ExitUnreachable, "gateway_listen", "another gateway listens there").At(path).WithHint("end it, or choose another socket")
		case errors.Is(err, syscall.ECONNREFUSED):
			_ = os.Remove(path) // what a killed gateway left; Listen says what is wrong
		}
	}
	l, err := privateSocket(ctx, path)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "gateway_listen", "the gateway cannot listen on the socket: %w", err).At(path).WithHint("choose a directory that this user can write")
	}
	return l, nil
}

// privateSocket makes a socket where nobody else can reach it, and shows it in its place
// when it is closed to others: between the two nobody can come in.
func privateSocket(ctx context.Context, path string) (_ net.Listener, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var lc net.ListenConfig
	hidden := filepath.Join(dir, "s")
	l, err := lc.Listen(ctx, "unix", hidden)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err = os.Chmod(hidden, 0o600); err == nil {
		err = os.Link(hidden, path) // unlike a rename, it takes nobody's place
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{l, path}, nil
}

// socket is a listener whose socket was moved.
type socket struct {
	net.Listener

	path string
}

func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

func (s *socket) Close() error {
	err := s.Listener.Close()
	if err == nil {
		_ = os.Remove(s.path) // the next gateway removes what is left
	}
	return err
}

// below gives a path that the configuration names relative to its directory.
func below(dir, path string) string {
	if path = filepath.FromSlash(path); filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// tlsOf reads certificates. nil: clear text.
func tlsOf(c config.GatewayClients, dir string) (*tls.Config, error) {
	if c.Cert == "" {
		return nil, nil //nolint:nilnil // documented
	}
	cert, err := tls.LoadX509KeyPair(below(dir, c.Cert), below(dir, c.Key))
	if err != nil {
		return nil, usageError("gateway_tls", "the gateway's certificate cannot be used: %w", err).WithHint("look at clients.cert and clients.key")
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if c.CA != "" {
		if t.ClientCAs, err = certificatesOf(below(dir, c.CA)); err != nil {
			return nil, err
		}
		t.ClientAuth = tls.VerifyClientCertIfGiven
		if len(c.Tokens) == 0 && len(c.OIDC) == 0 {
			t.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return t, nil
}

func certificatesOf(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the configuration names it
	if err != nil {
		return nil, usageError("gateway_tls", "certificates cannot be read: %w", err).At(path).WithHint("name a PEM file")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, usageError("gateway_tls", "there is no certificate in the file").At(path).WithHint("name a PEM file")
	}
	return pool, nil
}

// serveHTTP serves until ctx ends, calls end, and lets answers that are under way go out.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, t *tls.Config, log *slog.Logger, end func()) error {
	if t != nil {
		t.NextProtos = []string{"h2", "http/1.1"}
		l = tls.NewListener(l, t)
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler: h, TLSConfig: t, ReadHeaderTimeout: limits.GatewayHeaderTime, IdleTimeout: limits.GatewayIdleConn, MaxHeaderBytes: limits.GatewayHeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), BaseContext: func(net.Listener) context.Context { return base },
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return protocol.Errorf(protocol.ExitUnreachable, "gateway_listen", "the gateway cannot serve any more: %w", err).WithHint("see the log")
	case <-ctx.Done():
	}
	end()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), limits.GatewayGrace)
	defer done()
	stop := time.AfterFunc(limits.GatewayGrace/2, cancel) // streams do not end by themselves
	defer stop.Stop()
	if err := srv.Shutdown(grace); err != nil {
		cancel()
		_ = srv.Close() // what did not end is cut
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		log.Debug("the door closed", "error", err)
	}
	return nil
}
