package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/gateways/identity"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/front"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

// stdioAll says that one client is served over stdin and stdout, with all servers.
const stdioAll = "*"

// gatewayFlags are what the command line says instead of a configuration.
type gatewayFlags struct {
	listen, stdio string
	roots, env    []string
	sandbox       string
}

const envHelp = "without a configuration: a variable of the server's environment, NAME=VALUE, or NAME for that of this command (again for more)"

func (a *app) gatewayMCPCommand() *cobra.Command {
	var f gatewayFlags
	cmd := &cobra.Command{
		Use: "mcp [-- COMMAND ARGUMENT…]", Short: "Judge every message between MCP clients and servers",
		Long: `Stands between MCP clients and MCP servers. Every message in both directions is judged
by the policies, dangerous calls wait for an approval (cabincrew status, approve, reject),
and everything is on the record. What is let through is the same bytes.

With --config (default ` + config.GatewayFile + `) it serves HTTP at /mcp, and each server
at /mcp/NAME. With --stdio it serves one client over stdin and stdout: all servers, or
with --stdio=NAME one of them. Without any file it wraps one server that speaks stdio:

    cabincrew gateway mcp -- npx server-filesystem .

The server gets PATH, HOME and LANG of this command's environment and nothing else but
what --env names: NAME passes a variable on, NAME=VALUE sets one. Pass credentials by
NAME: what stands on a command line can be read by others, and is not redacted.`,
		Args: cobra.ArbitraryArgs,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			p, err := a.gatewayPlace()
			if err != nil {
				return err
			}
			g, raw, err := a.gatewayConfig(p, f, args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			if f.stdio != "" && f.listen != "" {
				return usageError("usage", "--stdio serves stdin and stdout, --listen an address").WithHint("leave one of them out")
			}
			stdio := f.stdio
			if raw == nil && f.listen == "" && stdio == "" {
				stdio = stdioAll
			}
			return a.serveGateway(cmd.Context(), p, g, stdio)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "where to listen, instead of what the configuration says: HOST:PORT or unix:PATH")
	flags.StringVar(&f.stdio, "stdio", "", "serve one client over stdin and stdout; with a name, that server only")
	flags.Lookup("stdio").NoOptDefVal = stdioAll
	flags.StringArrayVar(&f.roots, "root", nil, "without a configuration: a directory that arguments may name files in (again for more)")
	flags.StringArrayVar(&f.env, "env", nil, envHelp)
	flags.StringVar(&f.sandbox, "sandbox", config.IsolationNone, "without a configuration: auto, required or none")
	cmd.AddCommand(a.gatewayImportCommand(), a.gatewayInspectCommand())
	return cmd
}

// gatewayConfig reads the configuration, or makes one for the server that the command
// line names; raw is nil then.
func (a *app) gatewayConfig(p place, f gatewayFlags, args []string, dash int) (*config.Gateway, []byte, error) {
	if len(args) > 0 {
		if dash != 0 {
			return nil, nil, usageError("usage", "%q is no command of cabincrew gateway mcp", oneLine(args[0])).
				WithHint("put the server's command after --: cabincrew gateway mcp -- %s", oneLine(strings.Join(args, " ")))
		}
		g, err := config.SingleServer(args, f.roots, f.env, f.sandbox)
		if err == nil && f.listen != "" {
			g.Listen = f.listen
		}
		return g, nil, err
	}
	if len(f.roots)+len(f.env) > 0 || f.sandbox != config.IsolationNone {
		return nil, nil, usageError("usage", "--root, --env and --sandbox are for a server that the command line names").WithHint("write them into %s", p.config)
	}
	g, raw, err := config.LoadGateway(p.config)
	if err != nil {
		return nil, nil, err
	}
	if f.listen != "" {
		g.Listen = f.listen
	}
	return g, raw, nil
}

// serveGateway runs a gateway until it is told to end.
func (a *app) serveGateway(ctx context.Context, p place, g *config.Gateway, stdio string) (err error) {
	kinds := gatewayKinds{transport: transportOf(stdio)}
	if stdio != "" && stdio != stdioAll {
		if !slices.ContainsFunc(g.Servers, func(s config.GatewayServer) bool { return s.Name == stdio }) {
			return noServer(g, stdio)
		}
		kinds.only = stdio
	}
	run, err := a.openGateway(ctx, p, g, kinds)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := run.done(); err == nil {
			err = closeErr
		}
	}()
	if stdio != "" {
		opener, err := run.named(stdio)
		if err != nil {
			return err
		}
		run.told("one client over stdin and stdout")
		ctx, stop := run.drained(ctx)
		defer stop()
		return front.ServeStdio(ctx, a.in, a.out, counted{opener, &run.under}, front.StdioOptions{MessageBytes: int(g.Limits.Message), Refused: run.refusedAtDoor, Log: run.log})
	}
	l, err := listenGateway(ctx, g, run.dir)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }() // closed already, where it served
	secure, err := tlsOf(g.Clients, run.dir)
	if err != nil {
		return err
	}
	gate, err := run.gate()
	if err != nil {
		return err
	}
	defer gate.Close()
	h, doors, err := run.doors(gate, publicURL(g.Clients.URL, l.Addr(), secure != nil))
	if err != nil {
		return err
	}
	run.told(reachedAt(l.Addr(), secure != nil))
	ctx, stop := run.drained(ctx)
	defer stop()
	return run.serve(ctx, l, h, secure, doors)
}

func transportOf(stdio string) string {
	if stdio != "" {
		return "stdio"
	}
	return "http"
}

// reachedAt says where clients come in.
func reachedAt(a net.Addr, secure bool) string {
	if a.Network() == "unix" {
		return "unix:" + a.String() + " at /mcp"
	}
	return scheme(secure) + "://" + a.String() + "/mcp"
}

func scheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// told says on stderr where the gateway serves, and what is not as safe as it could be.
func (r *gatewayRun) told(where string) {
	var b strings.Builder
	fmt.Fprintf(&b, "cabincrew gateway %s: %s, serving %s\n", r.id, countOf(len(r.servers), "server"), where)
	for _, line := range r.warnings {
		b.WriteString("  note: " + line + "\n")
	}
	_, _ = io.WriteString(r.app.err, tame(b.String())) // a closed stderr cannot be told of
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// named gives the link to one server, or to all of them.
func (r *gatewayRun) named(name string) (link.Opener, error) {
	if name == stdioAll {
		return r.all(), nil
	}
	for _, s := range r.servers {
		if s.Name == name {
			return s.Open, nil
		}
	}
	return nil, noServer(r.config, name)
}

func noServer(g *config.Gateway, name string) error {
	names := make([]string, 0, len(g.Servers))
	for _, s := range g.Servers {
		names = append(names, s.Name)
	}
	return usageError("gateway_server", "there is no server %q", oneLine(name)).At(g.Name).WithHint("it is one of: %s", strings.Join(names, ", "))
}

func (r *gatewayRun) all() link.Opener {
	return mcp.NewFan(mcp.FanOptions{Servers: r.servers, Version: Version(), Log: r.log, Own: r.own})
}

// doors makes the handlers of all endpoints: /mcp, /mcp/NAME, and those of the older
// HTTP with SSE beside each. base is the URL that clients reach the gateway by.
func (r *gatewayRun) doors(gate *identity.Gate, base *url.URL) (http.Handler, []*front.Door, error) {
	mux := http.NewServeMux()
	var doors []*front.Door
	add := func(path string, open link.Opener) error {
		metadata := ""
		if len(r.config.Clients.OIDC) > 0 { // nobody else has an authorization server to tell of
			var err error
			if metadata, err = r.tellOf(mux, gate, base, path); err != nil {
				return err
			}
		}
		d, err := front.NewHTTP(front.HTTPOptions{
			Open: counted{open, &r.under}, Auth: authenticator{gate, metadata}, MessagePath: path + "/message", MessageBytes: int(r.config.Limits.Message),
			Sessions: int(r.config.Limits.Sessions), SessionsEach: r.sessionsEach(), Idle: r.config.Limits.Idle.Duration, Log: r.log, Refused: r.refusedAtDoor,
		})
		if err != nil {
			return err
		}
		stream, messages := d.Older()
		mux.Handle(path, d)
		mux.Handle(path+"/sse", stream)
		mux.Handle(path+"/message", messages)
		doors = append(doors, d)
		return nil
	}
	if err := add("/mcp", r.all()); err != nil {
		return nil, nil, err
	}
	for _, s := range r.servers {
		if err := add("/mcp/"+s.Name, s.Open); err != nil {
			return nil, nil, err
		}
	}
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }) // the client may be gone
	mux.HandleFunc("/readyz", r.ready)
	if r.config.Metrics {
		metrics := r.calls.Handler()
		mux.HandleFunc("/metrics", func(w http.ResponseWriter, req *http.Request) {
			if !admitted(gate, w, req) {
				r.refusedAtDoor(front.Refusal{Reason: front.ReasonUnknown})
				return
			}
			n := 0
			for _, d := range doors {
				n += d.Sessions()
			}
			r.calls.State(n, r.waiting(), r.trail.Broken() != nil)
			metrics.ServeHTTP(w, req)
		})
	}
	return front.Guarded(mux, front.HostPolicy{Hosts: r.config.Clients.Hosts, Origins: r.config.Clients.Origins, Refused: r.refusedAtDoor}), doors, nil
}

// tellOf serves the metadata of an endpoint, and gives their URL for those who are
// refused there. A proxy in front may have taken the path of its own off, or not.
func (r *gatewayRun) tellOf(mux *http.ServeMux, gate *identity.Gate, base *url.URL, path string) (string, error) {
	resource := base.JoinPath(path).String()
	at, err := identity.MetadataURL(resource)
	if err != nil {
		return "", usageError("gateway_clients", "%w", err).At(r.config.Name).WithHint("look at clients.url")
	}
	h := gate.Metadata(resource)
	mux.Handle(identity.MetadataPath+path, h)
	if prefix := strings.TrimSuffix(base.Path, "/"); prefix != "" {
		mux.HandleFunc(identity.MetadataPath+prefix+path, h.ServeHTTP)
	}
	return at, nil
}

// sessionsEach keeps one client from taking all sessions, where there are several.
func (r *gatewayRun) sessionsEach() int {
	c, n := r.config.Clients, int(r.config.Limits.Sessions)
	if len(c.Tokens)+len(c.OIDC) == 0 && c.CA == "" {
		return n
	}
	return max(n/4, min(n, 16))
}

// ready says whether calls could be judged and recorded now.
func (r *gatewayRun) ready(w http.ResponseWriter, _ *http.Request) {
	if err := r.trail.Broken(); err != nil {
		http.Error(w, "the audit trail cannot be written; everything is denied", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n") // the client may be gone
}

// authenticator is the gate as the door asks it.
type authenticator struct {
	gate     *identity.Gate
	metadata string // the URL of the endpoint's metadata; "": it has none
}

func (a authenticator) Authenticate(r *http.Request) (front.Principal, error) {
	name, err := a.gate.Authenticate(r, a.metadata)
	if err != nil {
		return front.Principal{}, unauthorized(err)
	}
	return front.Principal{Name: name}, nil
}

func unauthorized(err error) error {
	if refused, ok := err.(*identity.Refusal); ok { //nolint:errorlint // it is never wrapped
		return &front.Unauthorized{Status: refused.Status, Challenge: refused.Challenge, Why: refused.Why}
	}
	return err
}

// admitted answers a request that may not come in.
func admitted(gate *identity.Gate, w http.ResponseWriter, r *http.Request) bool {
	_, err := gate.Authenticate(r, "")
	if err == nil {
		return true
	}
	status := http.StatusUnauthorized
	if refused, ok := err.(*identity.Refusal); ok { //nolint:errorlint // it is never wrapped
		status = refused.Status
		if refused.Challenge != "" {
			w.Header().Set("WWW-Authenticate", refused.Challenge)
		}
	}
	http.Error(w, http.StatusText(status), status)
	return false
}

// publicURL is how clients reach the gateway: as the configuration says, or else where it
// listens. What a request says of its host is its client's word and tells nothing.
func publicURL(configured string, at net.Addr, secure bool) *url.URL {
	if u, err := url.Parse(configured); err == nil && configured != "" {
		return u
	}
	u := &url.URL{Scheme: scheme(secure), Host: at.String()}
	if at.Network() == "unix" {
		u.Host = "localhost"
	}
	return u
}

// gate knows the clients of the configuration.
func (r *gatewayRun) gate() (*identity.Gate, error) {
	c := r.config.Clients
	o := identity.Options{Certificates: c.CA != "", Now: r.now}
	for _, t := range c.Tokens {
		o.Tokens = append(o.Tokens, identity.Token{Name: t.Name, SHA256: t.SHA256})
	}
	for _, i := range c.OIDC {
		issuer := &identity.Issuer{URL: i.Issuer, Audience: i.Audience, Claim: i.Claim, Scopes: i.Scopes}
		fetch := &identity.Fetcher{Client: &http.Client{}, Issuer: i.Issuer}
		switch {
		case strings.Contains(i.JWKS, "://"):
			fetch.URL = i.JWKS
			issuer.Keys = fetch.Keys
		case i.JWKS != "":
			path := below(r.dir, i.JWKS)
			issuer.Keys = func(context.Context) ([]byte, error) { return os.ReadFile(path) } //nolint:gosec // the configuration names it
		default:
			issuer.Keys = fetch.Keys
		}
		o.Issuers = append(o.Issuers, issuer)
	}
	g, err := identity.New(o)
	if err != nil {
		return nil, usageError("gateway_clients", "%w", err).At(r.config.Name).WithHint("look at clients")
	}
	return g, nil
}

// rootsOf gives the directories that a server's arguments may name files in.
func rootsOf(g *config.Gateway, s *config.GatewayServer, dir string) []string {
	roots := g.Roots
	if s.Roots != nil {
		roots = s.Roots
	}
	out := make([]string, 0, len(roots))
	for _, r := range roots {
		out = append(out, below(dir, r))
	}
	return slices.Compact(out)
}

// protectedOf are what no tool may name: the gateway's own files, and the patterns of the
// configuration.
func protectedOf(p place, g *config.Gateway, dir string) []string {
	return append(ownFiles(p, g, dir), g.Protected...)
}

// ownFiles are the files of the gateway itself, which no tool may touch: whoever writes
// them decides what is let through.
func ownFiles(p place, g *config.Gateway, dir string) []string {
	out := []string{p.config, p.stateDir, p.home(), below(dir, g.Tools.Lock)}
	for _, a := range g.Approvals.Approvers {
		out = append(out, below(dir, a.Key), below(dir, strings.TrimSuffix(a.Key, ".pub")))
	}
	for _, d := range g.Policies.Rego {
		out = append(out, below(dir, d))
	}
	for _, m := range g.Models {
		if m.Path != "" {
			out = append(out, below(dir, m.Path))
		}
	}
	files := []string{g.Audit.Key, g.Audit.Checkpoints, g.Clients.Key, g.Clients.Cert, g.Clients.CA, g.Policies.Secrets.Baseline}
	for _, i := range g.Clients.OIDC {
		if i.JWKS != "" && !strings.Contains(i.JWKS, "://") {
			files = append(files, i.JWKS)
		}
	}
	for _, f := range files {
		if f != "" {
			out = append(out, below(dir, f))
		}
	}
	for i := range g.Servers {
		out = append(out, serverFiles(&g.Servers[i], dir)...)
	}
	for i, f := range out {
		if resolved, err := filepath.EvalSymlinks(f); err == nil {
			out[i] = resolved
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// serverFiles are the files that the configuration names for one server.
func serverFiles(s *config.GatewayServer, dir string) []string {
	var out []string
	add := func(path string) {
		if path != "" {
			out = append(out, below(dir, path))
		}
	}
	add(s.CA)
	add(s.Unix)
	for _, secret := range s.Secrets {
		add(secret.File)
	}
	for _, h := range s.Headers {
		add(h.Value.File)
	}
	return out
}

func gatewayError(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, code, format, args...)
}
