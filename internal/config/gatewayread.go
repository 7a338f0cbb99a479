package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The patterns stand in schemas/gateway.schema.json too; a test compares.
var (
	// No __ in it: that parts a server's name from its tool's.
	gatewayServer = lazily(`^[a-z0-9]{1,63}(?:[_-][a-z0-9]{1,63}){0,15}$`)
	headerName    = lazily(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)
	pointerText   = lazily(`^(?:/(?:[^~/]|~0|~1)*){1,16}$`)
	toolText      = lazily(`^(?:\*|[A-Za-z0-9_./:-]{1,128})$`)
	claimName     = lazily(`^[A-Za-z0-9_.:/-]{1,128}$`)
)

// LoadGateway reads a gateway's configuration at a path. See Parse for the errors.
func LoadGateway(path string) (*Gateway, []byte, error) {
	data, err := readBounded(path, limits.ConfigBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, protocol.Errorf(protocol.ExitUsage, "config_not_found", "there is no gateway's configuration").At(path).
			WithHint("write one with cabincrew gateway mcp import, wrap one server without any by cabincrew gateway mcp -- COMMAND, or name another with --config")
	}
	if err != nil {
		return nil, nil, loadError(path, err)
	}
	g, err := ParseGateway(path, data)
	return g, data, err
}

// IsGateway says whether a file is a gateway's configuration, by its name or by what it
// says, however wrong that may be otherwise.
func IsGateway(path string) bool {
	if base := filepath.Base(path); base == GatewayFile || base == LLMFile {
		return true
	}
	data, err := readBounded(path, limits.ConfigBytes)
	if err != nil {
		return false
	}
	root := (&reader{name: path, ofGate: true, places: map[string]*yaml.Node{}}).parse(data)
	if root == nil || root.Kind != yaml.MappingNode {
		return false
	}
	has := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		has[root.Content[i].Value] = true
	}
	return (has["servers"] || has["providers"]) && !has["steps"]
}

// ParseGateway reads a gateway's configuration; see Parse.
func ParseGateway(name string, data []byte) (*Gateway, error) {
	r := &reader{name: name, ofGate: true, places: map[string]*yaml.Node{}}
	root := r.parse(data)
	if root == nil || !r.structure(root, 0) || r.unfilled > 0 {
		return nil, r.err()
	}
	g := r.gateway(root)
	r.checkGateway(root, g)
	if err := r.err(); err != nil {
		return nil, err
	}
	return g, nil
}

func (r *reader) gateway(n *yaml.Node) *Gateway {
	o := r.object(n, "", "version", "listen", "servers", "roots", "protected", "policies", "rules", "models", "secrets", "approvals", "tools", "limits", "clients",
		"audit", "environment", "unknown_methods", "denials", "traces", "metrics")
	o.require("version", "servers")
	if v := o.int("version", Version, 0, maxSafe); v != Version {
		at, _ := o.at("version")
		r.failf(at, "config_version", fmt.Sprintf("this program reads version %d; use a program that knows version %d", Version, v),
			"version %d of the configuration is not known", v)
	}
	g := &Gateway{
		Name: r.name, Listen: o.text("listen", limits.GatewayListen, listenAddress),
		Roots: o.texts("roots", 0, true, directory), Protected: o.texts("protected", 0, true, textGlob),
		Policies: r.policies(o), Rules: []protocol.MCPGatewayRule{}, Models: []Model{},
		Environment:    o.text("environment", "", oneOf(EnvironmentLocal, EnvironmentCI)),
		UnknownMethods: o.decision("unknown_methods", ""),
		Denials:        o.text("denials", DenialsError, oneOf(DenialsError, DenialsResult)),
		Traces:         o.text("traces", "", service),
		Metrics:        true,
	}
	if on, set := o.bool("metrics"); set {
		g.Metrics = on
	}
	o.entries("servers", serverNameCheck, func(name, p string, n *yaml.Node) {
		g.Servers = append(g.Servers, r.gatewayServer(name, n, p))
	})
	o.each("rules", limits.ConfigList, func(n *yaml.Node, p string) { g.Rules = append(g.Rules, r.gatewayRule(n, p)) })
	o.each("models", limits.OnnxModels, func(n *yaml.Node, p string) { g.Models = append(g.Models, r.model(n, p)) })
	g.Approvals = r.gatewayApprovals(o)
	g.Tools = r.gatewayTools(o)
	g.Secrets = r.gatewaySecrets(o, g.Policies.Secrets.Decision)
	g.Limits = r.gatewayLimits(o)
	g.Clients = r.gatewayClients(o)
	g.Audit = r.gatewayAudit(o)
	return g
}

func (r *reader) gatewayServer(name string, n *yaml.Node, p string) GatewayServer {
	o := r.object(n, p, "command", "dir", "env", "sandbox", "write", "programs", "url", "unix", "path", "ca", "private", "headers", "secrets", "roots", "paths", "no_paths", "timeout")
	o.exactlyOne("command", "url", "unix")
	o.only("command", "dir", "env", "sandbox", "write", "programs", "secrets")
	o.only("url", "ca", "private")
	o.only("unix", "path")
	s := GatewayServer{
		Where: r.where(n), Name: name,
		Command: o.texts("command", 1, false, argument), Dir: o.text("dir", ".", directory), Env: r.env(o),
		Sandbox: o.text("sandbox", IsolationNone, oneOf(IsolationAuto, IsolationRequired, IsolationNone)),
		URL:     o.text("url", "", service), Unix: o.text("unix", "", directory), Path: o.text("path", "/mcp", urlPath), CA: o.text("ca", "", secretFile),
		Headers: map[string]GatewayHeader{}, Secrets: r.secrets(o), Programs: o.texts("programs", 0, true, directory), Timeout: o.duration("timeout", limits.GatewayCallText, limits.GatewayCallMax),
		Paths: r.pointers(o, "paths"), NoPaths: r.pointers(o, "no_paths"),
	}
	s.Private, _ = o.bool("private")
	s.Write = true
	if may, set := o.bool("write"); set {
		s.Write = may
	}
	if own, _ := o.at("roots"); own != nil {
		s.Roots = o.texts("roots", 0, true, directory)
	}
	if at, where := o.at("headers"); at != nil && s.Command != nil && len(s.Command) > 0 {
		r.failf(at, "config_value", "give a child its credentials by secrets", "%s is for a server with url or unix", where)
	}
	o.entries("headers", matching(headerName, "a header's name"), func(name, p string, n *yaml.Node) {
		if h, ok := r.gatewayHeader(name, n, p); ok {
			s.Headers[name] = h
		}
	})
	return s
}

// ownHeaders are those that the protocol or HTTP itself decides.
var ownHeaders = []string{"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host", "last-event-id", "te", "trailer", "transfer-encoding", "upgrade"}

func (r *reader) gatewayHeader(name string, n *yaml.Node, p string) (GatewayHeader, bool) {
	if lower := strings.ToLower(name); slices.Contains(ownHeaders, lower) || strings.HasPrefix(lower, "mcp-") {
		r.failf(n, "config_value", "leave it out", "%s: the gateway itself decides this header", p)
		return GatewayHeader{}, false
	}
	var h GatewayHeader
	from, where := n, p
	if n.Kind == yaml.MappingNode {
		o := r.object(n, p, "from", "prefix")
		o.require("from")
		if from, where = o.at("from"); from == nil {
			return h, false
		}
		h.Prefix = o.text("prefix", "", headerText)
	}
	text, ok := r.source(from, where)
	if !ok {
		return h, false
	}
	if file, isFile := strings.CutPrefix(text, sourceFile); isFile {
		h.Value.File = path.Clean(file)
	} else {
		h.Value.Env = strings.TrimPrefix(text, sourceEnv)
	}
	return h, true
}

func (r *reader) pointers(o *object, key string) map[string][]string {
	out := map[string][]string{}
	o.entries(key, matching(toolText, "a tool's name, or *"), func(name, p string, n *yaml.Node) {
		if !r.list(n, p, 0, limits.ConfigList) {
			return
		}
		for i, e := range n.Content {
			if s, ok := r.text(e, fmt.Sprintf("%s[%d]", p, i), matching(pointerText, "a JSON pointer such as /path")); ok {
				out[name] = append(out[name], s)
			}
		}
	})
	return out
}

// gatewayRule reads one rule. What match may hold is said by the gateway's rules, which
// refuse what they do not know.
func (r *reader) gatewayRule(n *yaml.Node, p string) protocol.MCPGatewayRule {
	o := r.object(n, p, "match", "action", "metadata")
	o.require("match", "action")
	return protocol.MCPGatewayRule{
		Match:    o.free("match"),
		Action:   o.text("action", "", oneOf(append(slices.Clone(decisionWords), "redact", "hide")...)),
		Metadata: o.free("metadata"),
	}
}

func (r *reader) gatewayApprovals(top *object) Approvals {
	n, p := top.at("approvals")
	o := r.object(n, p, "expire", "default_role", "approvers")
	out := Approvals{
		Expire:      o.duration("expire", limits.GatewayHoldText, limits.GatewayHoldMax),
		DefaultRole: o.text("default_role", "maintainer", plain), Binding: BindingAuto, Approvers: []Approver{},
	}
	o.each("approvers", limits.ConfigList, func(n *yaml.Node, p string) { out.Approvers = append(out.Approvers, r.approver(n, p)) })
	return out
}

func (r *reader) gatewayTools(top *object) GatewayTools {
	n, p := top.at("tools")
	o := r.object(n, p, "lock", "new", "changed", "unpinned", "role")
	return GatewayTools{
		Lock:     o.text("lock", ".cabincrew.lock", inside),
		New:      o.decision("new", protocol.RequireApproval, decisionWords[1:]...),
		Changed:  o.decision("changed", protocol.RequireApproval, decisionWords[2:]...),
		Unpinned: o.decision("unpinned", protocol.Warn),
		Role:     o.text("role", "", matching(roleName, "a role's name")),
	}
}

// gatewaySecrets says what is done about secrets; without it, what policies.secrets says.
func (r *reader) gatewaySecrets(top *object, def protocol.Decision) GatewaySecrets {
	n, p := top.at("secrets")
	o := r.object(n, p, "requests", "results")
	words := oneOf(append(slices.Clone(decisionWords[1:]), SecretsRedact)...)
	return GatewaySecrets{Requests: o.text("requests", string(def), words), Results: o.text("results", string(def), words)}
}

func (r *reader) gatewayLimits(top *object) GatewayLimits {
	n, p := top.at("limits")
	o := r.object(n, p, "message", "rate", "concurrent", "sessions", "idle")
	return GatewayLimits{
		Message:    o.size("message", limits.GatewayMessage, limits.GatewayMessageMax),
		Rate:       o.int("rate", limits.GatewayRate, 1, limits.GatewayRateMax),
		Concurrent: o.int("concurrent", limits.GatewayConcurrent, 1, limits.GatewayConcurrentMax),
		Sessions:   o.int("sessions", limits.GatewaySessions, 1, limits.GatewaySessionsMax),
		Idle:       o.duration("idle", limits.GatewayIdleText, limits.GatewayIdleMax),
	}
}

func (r *reader) gatewayClients(top *object) GatewayClients {
	n, p := top.at("clients")
	o := r.object(n, p, "url", "hosts", "origins", "tokens", "oidc", "ca", "cert", "key")
	c := GatewayClients{
		URL:   o.text("url", "", publicURL),
		Hosts: o.texts("hosts", 0, true, plain), Origins: o.texts("origins", 0, true, origin),
		CA: o.text("ca", "", secretFile), Cert: o.text("cert", "", secretFile), Key: o.text("key", "", secretFile),
	}
	o.each("tokens", limits.ConfigList, func(n *yaml.Node, p string) {
		t := r.object(n, p, "name", "sha256")
		t.require("name", "sha256")
		c.Tokens = append(c.Tokens, GatewayToken{Name: t.text("name", "", plain), SHA256: t.text("sha256", "", matching(hexDigest, "a SHA-256 in hex"))})
	})
	o.each("oidc", limits.ConfigList, func(n *yaml.Node, p string) {
		t := r.object(n, p, "issuer", "audience", "jwks", "claim", "scopes")
		t.require("issuer", "audience")
		c.OIDC = append(c.OIDC, GatewayOIDC{
			Issuer: t.text("issuer", "", service), Audience: t.text("audience", "", plain), JWKS: t.text("jwks", "", plain),
			Claim: t.text("claim", "sub", matching(claimName, "a claim's name")), Scopes: t.texts("scopes", 0, true, plain),
		})
	})
	if (c.Cert == "") != (c.Key == "") {
		r.failf(n, "config_missing", "name both files", "%s has only one of cert and key", p)
	}
	if c.CA != "" && c.Cert == "" {
		at, where := o.at("ca")
		r.failf(at, "config_missing", "give the listener a certificate too: cert and key", "%s: client certificates are shown over TLS only", where)
	}
	return c
}

func (r *reader) gatewayAudit(top *object) GatewayAudit {
	n, p := top.at("audit")
	o := r.object(n, p, "sign", "key", "sync", "checkpoints")
	a := GatewayAudit{
		Audit:       Audit{Sign: o.text("sign", "", oneOf(AuditEach, AuditCheckpoint)), Key: o.text("key", "", auditKey)},
		Checkpoints: o.text("checkpoints", "", secretFile), Every: time.Minute,
	}
	if (a.Sign == "") != (a.Key == "") {
		r.failf(n, "config_missing", "audit: {sign: checkpoint, key: FILE}", "%s has only one of sign and key", p)
	}
	if a.Checkpoints != "" && a.Sign == "" {
		at, where := o.at("checkpoints")
		r.failf(at, "config_missing", "audit: {sign: checkpoint, key: FILE}", "%s: a checkpoint needs a key that signs it", where)
	}
	if at, _ := o.at("sync"); at != nil && at.Value == "each" {
		a.Sync = Duration{Text: "each"}
	} else {
		a.Sync = o.duration("sync", limits.GatewaySyncText, limits.GatewaySyncMax)
	}
	return a
}

// serverNameCheck accepts names that can stand before those of tools.
func serverNameCheck(s string) (string, string) {
	if len(s) > limits.GatewayServerName {
		return fmt.Sprintf("is too long: %q", short(s)), fmt.Sprintf("at most %d bytes", limits.GatewayServerName)
	}
	if s == "gateway" {
		return "is the gateway's own", "choose another name"
	}
	return matching(gatewayServer, "a server's name")(s)
}

// checkGateway refuses what makes no sense as a whole.
func (r *reader) checkGateway(root *yaml.Node, g *Gateway) {
	switch {
	case len(g.Servers) == 0 && r.err() == nil:
		r.failf(root, "config_missing", "servers: {NAME: {command: [PROGRAM, ARGUMENT]}}", "servers has no entry")
	case len(g.Servers) > limits.GatewayServers:
		r.failf(root, "config_value", fmt.Sprintf("at most %d", limits.GatewayServers), "servers has %d entries", len(g.Servers))
	}
	r.checkBoth(root, g)
}

// checkBoth refuses what makes no sense in any gateway's configuration.
func (r *reader) checkBoth(root *yaml.Node, g *Gateway) {
	if len(g.Policies.Sources) > 0 || len(g.Policies.Exemptions) > 0 || g.Policies.Explain || g.Policies.Aggregation == protocol.CustomRule {
		r.failf(r.placeOr(root, "policies"), "config_value", "remove it", "policies: sources, exemptions, explain and the custom aggregation are for flights only")
	}
	names := map[string]bool{}
	for _, a := range g.Approvals.Approvers {
		if names[a.Name] {
			r.failf(root, "config_value", "give each approver a name of its own", "approvals.approvers repeats the name %q", short(a.Name))
		}
		names[a.Name] = true
	}
	names = map[string]bool{}
	for _, t := range g.Clients.Tokens {
		if names[t.Name] {
			r.failf(root, "config_value", "give each token a name of its own", "clients.tokens repeats the name %q", short(t.Name))
		}
		names[t.Name] = true
	}
}

func (r *reader) placeOr(root *yaml.Node, path string) *yaml.Node {
	if n := r.places[path]; n != nil {
		return n
	}
	return root
}

// directory accepts a path of a directory or socket, absolute or relative to the
// configuration; also one that leads out, since a person wrote it.
func directory(s string) (string, string) {
	return pathText(s)
}

// listenAddress accepts HOST:PORT and unix:PATH.
func listenAddress(s string) (string, string) {
	const hint = "write 127.0.0.1:3940, or unix:PATH for a socket"
	if p, ok := strings.CutPrefix(s, "unix:"); ok {
		return pathText(p)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return fmt.Sprintf("is no address: %q", short(s)), hint
	}
	return "", ""
}

func urlPath(s string) (string, string) {
	u, err := url.Parse(s)
	if err != nil || !strings.HasPrefix(s, "/") || u.Host != "" || u.Fragment != "" {
		return fmt.Sprintf("is no path of a URL: %q", short(s)), "write /mcp"
	}
	return "", ""
}

func origin(s string) (string, string) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return fmt.Sprintf("is no origin: %q", short(s)), "write https://HOST or https://HOST:PORT"
	}
	return "", ""
}

// publicURL accepts the URL of a service that can stand in quotes in a header.
func publicURL(s string) (string, string) {
	if wrong, hint := service(s); wrong != "" {
		return wrong, hint
	}
	if strings.ContainsAny(s, "\"\\ {}") {
		return fmt.Sprintf("is not a plain URL: %q", short(s)), "write https://HOST or https://HOST/PATH"
	}
	return "", ""
}

// headerText accepts what may stand before a credential in a header.
func headerText(s string) (string, string) {
	if len(s) > limits.ConfigText {
		return "is too long", fmt.Sprintf("at most %d bytes", limits.ConfigText)
	}
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "has characters that no header holds", "use visible ASCII"
	}
	return "", ""
}
