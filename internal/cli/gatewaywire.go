package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/back"
	"github.com/cabincrew/action/gateways/mcp/front"
	"github.com/cabincrew/action/gateways/mcp/link"
	mcppaths "github.com/cabincrew/action/gateways/mcp/paths"
	"github.com/cabincrew/action/gateways/mcp/pins"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/internal/telemetry"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/policies/secrets"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
	"github.com/cabincrew/action/signing"
)

// gatewayKinds say what a gateway is opened for.
type gatewayKinds struct {
	transport string // for policies to read: http or stdio
	// only names the one server that is served; "": all are.
	only string
	// looking serves an inspection: nothing is recorded, held or called.
	looking bool
	// through replaces the link to a server; nil: as it is.
	through func(link.Opener) link.Opener
	observe func(mcp.Observation)
}

// gatewayRun is one run of a gateway, from its start to its end.
type gatewayRun struct {
	app      *app
	place    place
	config   *config.Gateway
	resolved governed // what the governance hash is of
	dir      string   // of the configuration
	id       string
	now      func() time.Time
	log      *slog.Logger
	redactor *redact.Redactor
	kind     string // mcp or llm: its name in the state directory
	judge    *gateways.Panel
	said     *gateways.Panel // as judge, without the search for secrets
	windows  *gateways.Panel // the models alone, for parts of what streams; nil: there are none
	search   *secrets.Messages
	hash     string // governance_hash
	state    *os.Root
	trail    gatewayTrail
	tally    *gateways.Tally // of what is refused over and over; nil in an inspection
	holds    gateways.Holds
	waiting  func() int
	keeper   *pins.Keeper
	endHolds func() error // denies what waits for a person
	under    atomic.Int64 // requests of clients without their answers
	calls    *telemetry.Calls
	servers  []mcp.Named
	kinds    gatewayKinds
	secrets  map[string]string // by server and name
	warnings []string
	close    []func() error
}

// governed is a configuration that says what governs.
type governed interface {
	Governance(keyDigest func(path string) (string, error)) (map[string]any, error)
}

// gatewayTrail is where events go, and why they may not any more.
type gatewayTrail interface {
	gateways.Trail
	Broken() error
}

// noTrail is that of an inspection, in which nothing is called.
type noTrail struct{}

func (noTrail) Append(context.Context, bool, ...protocol.AuditEvent) error { return nil }
func (noTrail) Broken() error                                              { return nil }

// openGateway loads everything that judges and records, and puts the links together.
// The run must be closed.
func (a *app) openGateway(ctx context.Context, p place, g *config.Gateway, k gatewayKinds) (_ *gatewayRun, err error) {
	r := &gatewayRun{app: a, place: p, config: g, resolved: g, kind: gatewayKind, dir: filepath.Dir(p.config), now: time.Now, kinds: k, waiting: func() int { return 0 }}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.done())
		}
	}()
	if r.id, err = newRunID(r.now()); err != nil {
		return nil, err
	}
	if err := r.readSecrets(); err != nil {
		return nil, err
	}
	r.log = a.logger(r.redactor)
	if err := r.judges(ctx); err != nil {
		return nil, err
	}
	if err := r.telemetry(ctx); err != nil {
		return nil, err
	}
	r.trail = noTrail{}
	if !k.looking {
		if err := r.records(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.link(ctx, k); err != nil {
		return nil, err
	}
	r.warn()
	return r, nil
}

func newRunID(now time.Time) (string, error) { return gateways.NewRunID(now, rand.Reader) }

// done ends everything that the run opened, the last first.
func (r *gatewayRun) done() error {
	var err error
	for _, c := range slices.Backward(r.close) {
		err = errors.Join(err, c())
	}
	r.close = nil
	return err
}

// readSecrets reads the credentials of all servers, which nothing that is logged or
// answered may hold.
func (r *gatewayRun) readSecrets() error {
	r.secrets = map[string]string{}
	for i := range r.config.Servers {
		s := &r.config.Servers[i]
		if r.idle(s) {
			continue
		}
		read := func(name string, from config.Secret) error {
			value, err := r.app.secret(r.dir, from)
			if err == nil && value == "" {
				err = errors.New("it is empty")
			}
			if err != nil {
				return usageError("gateway_secret", "the secret %s of the server %s cannot be had: %w", name, s.Name, err).At(s.Where).
					WithHint("set the variable or write the file before the gateway starts")
			}
			r.secrets[s.Name+"."+name] = value
			return nil
		}
		for name, from := range s.Secrets {
			if err := read(name, from); err != nil {
				return err
			}
		}
		for name, h := range s.Headers {
			if err := read(name, h.Value); err != nil {
				return err
			}
		}
	}
	var err error
	if r.redactor, err = redact.New(r.secrets); err != nil {
		return usageError("gateway_secret", "%w", err).At(r.config.Name).WithHint("use a longer secret")
	}
	return nil
}

// idle says whether a server is not served by this run: its credentials need not be there.
func (r *gatewayRun) idle(s *config.GatewayServer) bool {
	return r.kinds.only != "" && r.kinds.only != s.Name
}

// judges compiles what judges messages, and computes the governance hash.
func (r *gatewayRun) judges(ctx context.Context) error {
	c := r.config
	sets, err := gatewaySets(ctx, c.Policies, r.dir)
	if err != nil {
		return err
	}
	o := gateways.PanelOptions{Rules: c.Rules, Role: c.Approvals.DefaultRole, Method: c.Policies.Aggregation, AllowWithoutPolicies: c.Policies.AllowWithoutPolicies}
	if len(sets) > 0 {
		messages, err := rego.NewMessages(ctx, sets, rego.Options{Role: c.Approvals.DefaultRole, Time: c.Policies.Timeout.Duration, Data: c.Policies.Data})
		if err != nil {
			return err
		}
		r.close = append(r.close, messages.Close)
		o.Policies = messages
	}
	baseline := ""
	if c.Policies.Secrets.Scan {
		var so secrets.Options
		flights := &config.Config{Policies: c.Policies, Approvals: c.Approvals}
		if so, baseline, err = secretOptions(flights, r.dir, r.secrets); err != nil {
			return err
		}
		if r.search, err = messageSecrets(so, c.Secrets); err != nil {
			return err
		}
	}
	models, named, err := r.app.messageModels(ctx, r)
	if err != nil {
		return err
	}
	o.Models = models
	if r.kind == llm.Kind {
		o.Source, o.Reads = protocol.SourceLLMGateway, true
	}
	if models != nil && r.kind == llm.Kind {
		w := gateways.PanelOptions{Models: models, Role: o.Role, Method: o.Method, AllowWithoutPolicies: true, Source: o.Source}
		if r.windows, err = gateways.NewPanel(w); err != nil {
			return err
		}
	}
	if r.said, err = gateways.NewPanel(o); err != nil {
		return err
	}
	r.judge = r.said
	if r.search != nil {
		o.Secrets = r.search
		if r.judge, err = gateways.NewPanel(o); err != nil {
			return err
		}
	}
	return r.governance(sets, named, baseline)
}

func (r *gatewayRun) governance(sets []policies.Set, models []plantoken.GovernanceModel, baseline string) error {
	digest, err := policies.Digest(sets)
	if err != nil {
		return err
	}
	resolved, err := r.resolved.Governance(config.KeyDigests(r.dir))
	if err != nil {
		return err
	}
	resolved["secret_scan"] = map[string]any{"rules": secrets.RulesDigest(), "known": baseline}
	r.hash, err = plantoken.GovernanceHash(digest, models, resolved)
	return err
}

// gatewaySets reads the policy sets of a gateway.
func gatewaySets(ctx context.Context, p config.Policies, dir string) ([]policies.Set, error) {
	var sets []policies.Set
	for _, name := range p.Bundled {
		set, err := policies.GatewayBundled(name)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	own, err := loadSets(ctx, nil, p.Rego, dir)
	return append(sets, own...), err
}

func (r *gatewayRun) telemetry(ctx context.Context) error {
	var tracer *telemetry.Tracer
	if r.config.Traces != "" {
		var err error
		if tracer, err = telemetry.NewTracer(ctx, r.config.Traces, Version()); err != nil {
			return usageError("gateway_traces", "traces cannot be sent: %w", err).At(r.config.Name).WithHint("write traces: http://127.0.0.1:4318")
		}
		r.close = append(r.close, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), limits.GatewayGrace/2)
			defer cancel()
			if err := tracer.Close(ctx); err != nil {
				r.log.Warn("traces were lost", "error", err.Error())
			}
			return nil
		})
	}
	r.calls = telemetry.NewCalls(tracer)
	return nil
}

// records opens the trail and the store of held calls in the state directory.
func (r *gatewayRun) records(ctx context.Context) error {
	s := &session{app: r.app, place: r.place}
	if err := s.openStore(); err != nil {
		return err
	}
	r.close = append(r.close, s.done)
	var err error
	if r.state, err = os.OpenRoot(r.place.stateDir); err != nil {
		return gatewayError("gateway_state", "the state directory cannot be opened: %w", err).At(r.place.stateDir).WithHint("let this user write it")
	}
	r.close = append(r.close, r.state.Close)
	root, err := gateways.MakeRun(r.state, r.kind, r.id)
	if err != nil {
		return err
	}
	r.close = append(r.close, root.Close)
	o := gateways.TrailOptions{Root: root, RunID: r.id, Kind: r.kind, Redact: r.redactor.String, Now: r.now, Sync: r.config.Audit.Sync.Duration}
	if err := r.seal(&o); err != nil {
		return err
	}
	trail, err := gateways.NewTrail(o)
	if err != nil {
		return err
	}
	r.trail = trail
	r.close = append(r.close, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), limits.GatewayGrace)
		defer cancel()
		return trail.Close(ctx)
	})
	r.tally = gateways.NewTally(gateways.TallyOptions{Trail: trail, Kind: r.kind, Now: r.now, Log: r.log})
	r.close = append(r.close, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), limits.GatewayGrace)
		defer cancel()
		return r.tally.Close(ctx)
	})
	return r.hold(ctx, trail)
}

// gatewayKind names this kind of gateway in the state directory.
const gatewayKind = "mcp"

func (r *gatewayRun) hold(ctx context.Context, trail gateways.Trail) error {
	people, keys, err := r.app.approvers(&config.Config{Approvals: r.config.Approvals}, r.dir)
	if err != nil {
		return err
	}
	var approvers []gateways.Approver
	for i, p := range people {
		key := keys[i]
		key.NotBefore, key.NotAfter = p.NotBefore, p.NotAfter
		approvers = append(approvers, gateways.Approver{Name: p.Name, Email: p.Email, Roles: p.Roles, Bot: p.Bot, Key: key})
	}
	held, err := gateways.NewHolds(ctx, gateways.HoldOptions{
		State: r.state, RunID: r.id, Kind: r.kind, Trail: trail, Approvers: approvers, Expire: r.config.Approvals.Expire.Duration, Now: r.now, Log: r.log,
	})
	if err != nil {
		return err
	}
	r.holds, r.waiting, r.endHolds = held, held.Waiting, held.Close
	r.close = append(r.close, held.Close)
	return nil
}

// seal signs the trail, or how far it has come.
func (r *gatewayRun) seal(o *gateways.TrailOptions) error {
	c := r.config.Audit
	o.About = map[string]any{aboutGovernance: r.hash}
	if c.Sign == "" {
		return nil
	}
	o.About[aboutSign], o.About[aboutCheckpoints] = c.Sign, checkpointName
	key, err := r.app.openKey(below(r.dir, c.Key))
	if err != nil {
		return err
	}
	repository := repositoryOf(r.app.env)
	seal := &auditSeal{
		auditTrust: auditTrust{keys: []*signing.PublicKey{key.Public()}, each: c.Sign == config.AuditEach, repository: repository},
		load:       func() (*signing.Key, error) { return key, nil },
	}
	if seal.each {
		o.Signer = seal
	}
	if o.Origin, err = audit.Origin(repository, r.id); err != nil {
		return err
	}
	to := filepath.Join(r.place.stateDir, "gateways", r.kind, r.id, checkpointName)
	if c.Checkpoints != "" {
		to = below(r.dir, c.Checkpoints)
		o.About[aboutCheckpoints] = to
	}
	o.Checkpoint = func(_ context.Context, cp merkle.Checkpoint) error {
		text, err := seal.sign(cp)
		if err != nil {
			return err
		}
		return appendCheckpoint(to, text)
	}
	return nil
}

// link puts the chain to each server together.
func (r *gatewayRun) link(ctx context.Context, k gatewayKinds) error {
	book, err := r.pins()
	if err != nil {
		return err
	}
	for i := range r.config.Servers {
		s := &r.config.Servers[i]
		if r.idle(s) {
			continue
		}
		opener, transport, err := r.backTo(ctx, s)
		if err != nil {
			return err
		}
		if k.through != nil {
			opener = k.through(opener)
		}
		guarded, err := r.guard(s, opener, book, transport)
		if err != nil {
			return err
		}
		r.servers = append(r.servers, mcp.Named{Name: s.Name, Open: timed{next: guarded, server: s.Name, calls: r.calls, now: r.now}})
	}
	return nil
}

func (r *gatewayRun) guard(s *config.GatewayServer, next link.Opener, book mcp.PinJudge, transport string) (link.Opener, error) {
	c := r.config
	roots := rootsOf(c, s, r.dir)
	base := below(r.dir, s.Dir)
	if len(s.Command) == 0 {
		base = r.dir
	}
	checker, err := mcppaths.New(mcppaths.Options{Roots: roots, Protected: protectedOf(r.place, c, r.dir), Base: base, Home: r.app.env["HOME"]})
	if err != nil {
		return nil, usageError("gateway_roots", "the roots of the server %s cannot be used: %w", s.Name, err).At(s.Where).WithHint("roots are directories that exist")
	}
	o := r.guardOptions(s.Name, next, transport)
	o.Paths, o.Pins, o.Roots = checker, book, checker.Roots()
	o.Tool = func(name string) mcppaths.Tool {
		return mcppaths.Tool{Pointers: append(slices.Clone(s.Paths["*"]), s.Paths[name]...), Never: append(slices.Clone(s.NoPaths["*"]), s.NoPaths[name]...)}
	}
	return mcp.NewGuard(o), nil
}

// environment says where the gateway works.
func (r *gatewayRun) environment() mcp.Environment {
	switch {
	case r.config.Environment == config.EnvironmentCI, r.config.Environment == "" && ci.Detect(r.app.env) != ci.None:
		return mcp.CI
	}
	return mcp.Local
}

// requestID names a message: nobody can guess it.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return "req-" + hex.EncodeToString(b[:])
}

// backTo makes the link to a server.
// keepFrom covers the gateway's own files in the roots of a child. What is not there yet
// cannot be covered, so a child that may write must not be able to make it.
func (r *gatewayRun) keepFrom(c *back.Confinement, s *config.GatewayServer) error {
	for _, p := range ownFiles(r.place, r.config, r.dir) {
		for _, root := range c.Roots {
			rel, err := filepath.Rel(root.Path, p)
			if err != nil || !filepath.IsLocal(rel) || rel == "." {
				continue
			}
			if _, err := os.Lstat(p); err != nil {
				if root.Write && p != r.place.config {
					return usageError("gateway_roots", "the server %s could make %s, which the gateway will read", s.Name, oneLine(rel)).At(s.Where).
						WithHint("make it first (cabincrew gateway mcp inspect --pin writes the lock file), name it outside of the roots, or write: false")
				}
				continue
			}
			c.Hidden = append(c.Hidden, p)
		}
	}
	slices.Sort(c.Hidden)
	c.Hidden = slices.Compact(c.Hidden)
	return nil
}

func (r *gatewayRun) backTo(ctx context.Context, s *config.GatewayServer) (link.Opener, string, error) {
	bounds := back.Limits{MessageBytes: int(r.config.Limits.Message), AnswerTime: s.Timeout.Duration, QuietTime: s.Timeout.Duration}
	var headers func(context.Context) (http.Header, error)
	if len(s.Headers) > 0 {
		fields := http.Header{}
		for name, h := range s.Headers {
			fields.Set(name, h.Prefix+r.secrets[s.Name+"."+name])
		}
		headers = func(context.Context) (http.Header, error) { return fields, nil }
	}
	switch {
	case s.URL != "":
		o := back.HTTPOptions{Name: s.Name, URL: s.URL, Headers: headers, AllowPrivate: s.Private, Limits: bounds, Log: r.log}
		if s.CA != "" {
			pool, err := certificatesOf(below(r.dir, s.CA))
			if err != nil {
				return nil, "", err
			}
			o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
		}
		h, err := back.NewHTTP(o)
		return h, "http", err
	case s.Unix != "":
		u, err := back.NewUnix(back.UnixOptions{Name: s.Name, Path: below(r.dir, s.Unix), URLPath: s.Path, Headers: headers, Limits: bounds, Log: r.log})
		return u, "unix", err
	}
	c, err := r.child(ctx, s, bounds)
	return c, "stdio", err
}

func (r *gatewayRun) child(ctx context.Context, s *config.GatewayServer, bounds back.Limits) (link.Opener, error) {
	env := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		if v := r.app.env[name]; v != "" {
			env[name] = v
		}
	}
	for name, v := range s.Env {
		env[name] = v.Literal
		if v.From != "" {
			value, ok := r.app.env[v.From]
			if !ok {
				return nil, usageError("env_missing", "the server %s maps %s from the variable %s, which is not set", s.Name, name, v.From).At(s.Where).
					WithHint("set it before the gateway starts")
			}
			env[name] = value
		}
	}
	for name := range s.Secrets {
		env[name] = r.secrets[s.Name+"."+name]
	}
	o := back.ChildOptions{
		Name: s.Name, Argv: s.Command, Dir: below(r.dir, s.Dir), Env: env, Limits: bounds, Redact: r.redactor.String, Log: r.log,
		Children: int(r.config.Limits.Sessions), Now: r.now,
	}
	if s.Sandbox != config.IsolationNone {
		confine, err := r.confinement(ctx, s)
		if err != nil {
			return nil, err
		}
		o.Confine = confine
	}
	return back.NewChild(o)
}

// warn says what is not as safe as it could be.
func (r *gatewayRun) warn() {
	c := r.config
	for i := range c.Servers {
		s := &c.Servers[i]
		if len(rootsOf(c, s, r.dir)) == 0 {
			r.warnings = append(r.warnings, s.Name+": there are no roots, so there are no rules about paths but protected names")
		}
		if len(s.Command) > 0 && s.Sandbox == config.IsolationNone {
			r.warnings = append(r.warnings, s.Name+": it runs without a sandbox, so by itself it could reach the gateway's own files; sandbox: auto holds it to its roots")
		}
	}
	if len(c.Policies.Bundled)+len(c.Policies.Rego)+len(c.Rules)+len(c.Models) == 0 {
		what := "everything is denied"
		if c.Policies.AllowWithoutPolicies {
			what = "everything is allowed that the gateway itself does not refuse"
		}
		r.warnings = append(r.warnings, "no policy judges: "+what+"; policies: {bundled: [mcp]} is a beginning")
	}
	if len(c.Approvals.Approvers) == 0 {
		r.warnings = append(r.warnings, "there are no approvers, so what needs an approval is refused when it expires")
	}
}

// serve serves HTTP until ctx ends.
func (r *gatewayRun) serve(ctx context.Context, l net.Listener, h http.Handler, secure *tls.Config, doors []*front.Door) error {
	end := func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.GatewayGrace)
		defer cancel()
		for _, d := range doors {
			if err := d.Close(grace); err != nil {
				r.log.Warn("a session did not end", "error", err.Error())
			}
		}
	}
	return serveHTTP(ctx, l, h, secure, r.log, end)
}

// messageSecrets looks for secrets in messages.
func messageSecrets(o secrets.Options, g config.GatewaySecrets) (*secrets.Messages, error) {
	ev, err := secrets.New(o)
	if err != nil {
		return nil, err
	}
	return ev.Messages(g.Requests, g.Results)
}

// confinement holds a child to its roots, and keeps the gateway's own files from it.
func (r *gatewayRun) confinement(ctx context.Context, s *config.GatewayServer) (*back.Confinement, error) {
	may := ci.Detect(r.app.env) != ci.None
	c := &back.Confinement{Tier: sandbox.TierA, Found: sandbox.Probe(ctx, may)}
	if s.Sandbox == config.IsolationAuto && c.Found.Isolation.Tier == sandbox.TierB {
		c.Tier = sandbox.TierB
	}
	roots := rootsOf(r.config, s, r.dir)
	if len(roots) == 0 {
		return nil, usageError("gateway_roots", "the server %s is to be held to its roots, and has none", s.Name).At(s.Where).WithHint("roots: [DIRECTORY]")
	}
	for _, root := range roots {
		resolved, err := filepath.EvalSymlinks(root)
		if err != nil {
			return nil, usageError("gateway_roots", "a root of the server %s cannot be used: %w", s.Name, err).At(s.Where).WithHint("roots are directories that exist")
		}
		c.Roots = append(c.Roots, back.Root{Path: resolved, Write: s.Write && !r.kinds.looking})
	}
	for _, p := range s.Programs {
		c.Programs = append(c.Programs, below(r.dir, p))
	}
	names, err := mcppaths.New(mcppaths.Options{Protected: r.config.Protected, Base: r.dir})
	if err != nil {
		return nil, err
	}
	c.Kept = names.Protects
	return c, r.keepFrom(c, s)
}
