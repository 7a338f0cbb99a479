package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
	"github.com/cabincrew/action/storage/file"
)

// place is where a command works: paths, before anything was read.
type place struct {
	config     string // absolute path of the configuration
	configPath string // slash path relative to the workspace
	workspace  string // absolute
	stateDir   string // absolute
}

func (a *app) place() (place, error) {
	var p place
	var err error
	if p.config, err = filepath.Abs(a.flags.config); err != nil {
		return p, err
	}
	p.workspace = filepath.Dir(p.config)
	if a.flags.workspace != "" {
		if p.workspace, err = filepath.Abs(a.flags.workspace); err != nil {
			return p, err
		}
	}
	if resolved, err := filepath.EvalSymlinks(p.workspace); err == nil {
		p.workspace = resolved
	}
	if resolved, err := filepath.EvalSymlinks(filepath.Dir(p.config)); err == nil {
		p.config = filepath.Join(resolved, filepath.Base(p.config))
	}
	p.stateDir = filepath.Join(p.workspace, ".cabincrew")
	if a.flags.stateDir != "" {
		if p.stateDir, err = filepath.Abs(a.flags.stateDir); err != nil {
			return p, err
		}
	}
	rel, err := filepath.Rel(p.workspace, p.config)
	if err != nil || !filepath.IsLocal(rel) {
		return p, usageError("config_outside", "the configuration %s is not inside the workspace %s", p.config, p.workspace).
			WithHint("name the workspace that holds it with --workspace")
	}
	p.configPath = filepath.ToSlash(rel)
	return p, nil
}

// file gives the place of a file that the configuration names.
func (p place) file(name string) string {
	if name = filepath.FromSlash(name); filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(p.config), name)
}

// home is the default state directory. Locks and marks are there whatever state
// directory a command uses, so that all of them meet.
func (p place) home() string { return filepath.Join(p.workspace, ".cabincrew") }

// statCache is the file that saves hashing what has not changed.
func (p place) statCache() string { return filepath.Join(p.home(), "cache", "stat") }

// exclude gives the paths that are never part of the workspace: the state
// directory, private keys and files with secrets, which no engine may read.
func (p place) exclude(c *config.Config) []string {
	var out []string
	add := func(path string) {
		if rel, err := filepath.Rel(p.workspace, path); err == nil && filepath.IsLocal(rel) && rel != "." {
			out = append(out, filepath.ToSlash(rel))
		}
	}
	add(p.stateDir)
	add(p.home())
	if stored, ok := strings.CutPrefix(c.Storage.Flights, "dir:"); ok {
		add(p.file(stored)) // storing one flight must not change what the next one sees
	}
	dir := filepath.Dir(p.config)
	if c.Signing.Key != "" && !strings.Contains(c.Signing.Key, "://") {
		add(p.file(c.Signing.Key))
	}
	if c.Audit.Key != "" {
		add(p.file(c.Audit.Key))
	}
	for _, who := range c.Approvals.Approvers {
		if private, ok := strings.CutSuffix(who.Key, ".pub"); ok {
			add(filepath.Join(dir, filepath.FromSlash(private)))
		}
	}
	for i := range c.Steps {
		for _, secret := range c.Steps[i].Secrets {
			switch path := filepath.FromSlash(secret.File); {
			case path == "":
			case filepath.IsAbs(path):
				add(path)
			default:
				add(filepath.Join(dir, path))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// session is a command with everything that it works on.
type session struct {
	app   *app
	place place
	store *file.Store
	home  *file.Store // locks and marks of the workspace
	// homeErr is why home is only the command's own state directory.
	homeErr  error
	checkout string // the commit that is checked out; "" where there is none
	ending   bool   // the command ends the flight: nothing is refused
	setup    *orchestrator.Setup
	crew     *orchestrator.Orchestrator
	judges   *judges
	origin   *origin
	planned  *origin    // the governance of the flight that is open; origin, where none is
	seal     *auditSeal // signs the audit log; nil: it is not signed
	shown    *orchestrator.Preview
	held     []heldDocument // calls that gateways hold, to be told of beside the flight
	close    []func() error
	// stored says that the flight is a copy out of an archive, which is only read.
	stored bool
	// endorsements says of governances, by commit, whether they are endorsed.
	endorsements map[string]endorsement
	ends         map[string][]string // tags of the ends of take-offs, by commit
	// owners are the governances by which policy owners must approve too.
	owners []owners
}

// open reads configuration and governance and opens the state directory. The
// session must be closed.
func (a *app) open(ctx context.Context) (_ *session, err error) {
	s := &session{app: a}
	if s.place, err = a.place(); err != nil {
		return nil, err
	}
	if a.flags.governanceRef == "" {
		// Before anything is made in the workspace.
		if s.origin, err = s.originOf(""); err != nil {
			return nil, err
		}
	}
	if err := s.openStore(); err != nil {
		return nil, err
	}
	if s.origin == nil {
		if s.origin, err = s.originOf(a.flags.governanceRef); err != nil {
			return nil, errors.Join(err, s.done())
		}
	}
	if err := s.under(ctx, s.origin); err != nil {
		return nil, errors.Join(err, s.done())
	}
	return s, nil
}

// under prepares the session for flights under a governance.
func (s *session) under(ctx context.Context, o *origin) error {
	dir := filepath.Dir(s.place.config)
	s.planned = o
	c := *o.config
	if only := s.app.flags.step; only != "" {
		if err := c.Only(only); err != nil {
			return err
		}
	}
	setup := &orchestrator.Setup{
		Config: &c, ConfigPath: s.place.configPath, Workspace: s.place.workspace, Exclude: s.place.exclude(o.config),
		Secrets: s.app.secrets(dir), Env: s.app.mapped,
	}
	if s.setup != nil {
		setup.Tip = s.setup.Tip
	}
	s.setup = setup
	if err := s.govern(ctx, o, dir); err != nil {
		return err
	}
	for _, x := range s.owners {
		setup.Owners = append(setup.Owners, x.tip)
	}
	return s.source(o)
}

func (s *session) openStore() error {
	store, err := file.Open(s.place.stateDir)
	if err != nil {
		return err
	}
	s.store = store
	s.close = append(s.close, store.Close)
	return s.openHome()
}

// source fills what repository and environment say, and the orchestrator itself.
func (s *session) source(o *origin) error {
	a := s.app
	info, err := workspace.Git(s.place.workspace, a.env)
	if err != nil {
		return err
	}
	s.setup.Source = orchestrator.Source{HeadCommit: info.Head, Checkout: info.Head, AuthorEmail: info.Email, Branch: info.Branch, GovernanceCommit: o.commit, Run: runOf(a.env, a.flags.change)}
	if gitDir, _, prefix, err := workspace.Repository(s.place.workspace); err != nil {
		return err
	} else if gitDir != "" {
		s.setup.Source.ConfigPath = prefix + s.place.configPath
	}
	s.checkout = info.Head
	s.merged(info.Head)
	if a.onForge != nil {
		if err := a.onForge(s); err != nil {
			return err
		}
	}
	if s.setup.Redactor, err = a.redactor(o.config, filepath.Dir(s.place.config)); err != nil {
		return err
	}
	log := a.logger(s.setup.Redactor)
	s.crew.Notify = a.notify(log)
	log.Debug("opened", "workspace", s.place.workspace, "state_dir", s.place.stateDir, "config", s.place.configPath,
		"platform", string(s.platform()), "policy_digest", s.setup.Governance.PolicyDigest, "governance_hash", s.setup.Governance.Hash)
	return nil
}

// govern loads the governance and makes the orchestrator that flies under it.
func (s *session) govern(ctx context.Context, o *origin, dir string) error {
	a := s.app
	var err error
	if s.seal, err = s.sealOf(o); err != nil {
		return err
	}
	g, signed, err := s.governance(ctx, o, dir)
	if err != nil {
		return err
	}
	signed.now = time.Now
	s.setup.Governance = g
	isolation := a.isolation(o.config)
	s.crew = &orchestrator.Orchestrator{
		Partly: a.flags.step != "",
		Now:    time.Now, Rand: rand.Reader, Version: Version(), Runner: process.Runner{Proxy: newProxy}, Programs: programs{env: a.env, cache: filepath.Join(s.place.home(), "cache"), workspace: s.place.workspace, temp: s.temp, images: &images{have: map[string]orchestrator.Image{}},
			secret: func(x config.Secret) (string, error) { return a.secret(dir, x) }, isolation: isolation}, Fence: s.fence(o),
		Signatures: signed, AuditRoot: auditRoot, AtLeast: atLeast, Earlier: s.earlier(signed), Temp: s.store.Temp, Isolation: isolation,
	}
	if s.seal != nil {
		s.crew.Audit = s.seal
	}
	return nil
}

// done closes what the session opened.
func (s *session) done() error {
	var err error
	for _, c := range slices.Backward(s.close) {
		err = errors.Join(err, c())
	}
	s.close = nil
	return err
}

// temp makes a directory that lasts until the session is done.
func (s *session) temp(pattern string) (string, error) {
	if s.store == nil { // a command that has no state directory
		sweepTemps(os.TempDir(), time.Now())
		dir, err := os.MkdirTemp("", "cabincrew-"+pattern)
		if err == nil {
			s.close = append(s.close, func() error { return os.RemoveAll(dir) })
		}
		return dir, err
	}
	dir, remove, err := s.store.Temp(pattern)
	if err == nil {
		s.close = append(s.close, remove)
	}
	return dir, err
}

// lock takes a lock until the session is done.
func (s *session) lock(store *file.Store, name string) error {
	l, err := store.Lock(name)
	if err != nil {
		return err
	}
	s.close = append(s.close, l.Release)
	return nil
}

// openHome opens the store that all commands of this workspace share. Where it
// cannot be had, the state directory takes its place for all but a take-off.
func (s *session) openHome() error {
	s.home = s.store
	if s.place.stateDir == s.place.home() {
		return nil
	}
	home, err := file.Open(s.place.home())
	if err != nil {
		s.homeErr = protocol.Errorf(protocol.ExitUnreachable, "fence_unreachable", "whether a flight took off before cannot be told: %w", err).
			WithHint("let this user write %s", s.place.home())
		return nil
	}
	s.home = home
	s.close = append(s.close, home.Close)
	return nil
}

func (s *session) lockWorkspace() error {
	if err := s.lock(s.home, "workspace"); err != nil {
		return err
	}
	return s.store.SweepTemp()
}

func (s *session) platform() ci.Platform { return ci.Detect(s.app.env) }

// secrets gives a step's secret values. In flight-plan only those with plan: true,
// and none in CI, where nobody has endorsed the code that would read them.
func (a *app) secrets(dir string) func(*config.Step, protocol.Mode) (map[string]string, error) {
	return func(step *config.Step, mode protocol.Mode) (map[string]string, error) {
		out := map[string]string{}
		for name, secret := range step.Secrets {
			if mode == protocol.FlightPlan && (!secret.Plan || ci.Detect(a.env) != ci.None) {
				continue
			}
			value, err := a.secret(dir, secret)
			if err != nil {
				return nil, usageError("secret_missing", "secret %s of step %s cannot be had: %w", name, step.ID, err).At(step.Where).
					WithHint("set %s", secret.Source())
			}
			out[name] = value
		}
		return out, nil
	}
}

func (a *app) secret(dir string, secret config.Secret) (string, error) {
	if secret.File == "" {
		value, ok := a.env[secret.Env]
		if !ok {
			return "", fmt.Errorf("the variable %s is not set", secret.Env)
		}
		return value, nil
	}
	path := filepath.FromSlash(secret.File)
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > limits.SecretFile) {
		err = fmt.Errorf("%s is not a regular file of at most %d bytes", secret.File, limits.SecretFile)
	}
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path) //nolint:gosec // the configuration names it
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), err
}

// secretValues gives every secret of the configuration that can be had now, whether
// or not a step is given it.
func (a *app) secretValues(c *config.Config, dir string) map[string]string {
	values := map[string]string{}
	for i := range c.Steps {
		for name, secret := range c.Steps[i].Secrets {
			if value, err := a.secret(dir, secret); err == nil && value != "" {
				values[c.Steps[i].ID+"."+name] = value
			}
		}
	}
	return values
}

// redactor knows every secret of the configuration that can be had now.
func (a *app) redactor(c *config.Config, dir string) (*redact.Redactor, error) {
	r, err := redact.New(a.secretValues(c, dir))
	if err != nil {
		return nil, usageError("secret_short", "%w", err).WithHint("use longer secrets")
	}
	return r, nil
}

// mapped gives the environment variables that a step maps.
func (a *app) mapped(step *config.Step) (map[string]string, error) {
	out := map[string]string{}
	for name, v := range step.Env {
		if v.From == "" {
			out[name] = v.Literal
			continue
		}
		value, ok := a.env[v.From]
		if !ok {
			return nil, usageError("env_missing", "step %s maps %s from the variable %s, which is not set", step.ID, name, v.From).At(step.Where)
		}
		out[name] = value
	}
	return out, nil
}

// programs finds built-in engines in this program and others in PATH.
type programs struct {
	env       map[string]string
	cache     string // directory for what is fetched and compiled
	workspace string
	// temp makes a directory that is removed when the command ends.
	temp   func(pattern string) (string, error)
	images *images
	// secret gives a secret's value, isolation what this machine offers.
	secret    func(config.Secret) (string, error)
	isolation func(context.Context) sandbox.Found
}

var _ orchestrator.Programs = programs{}

// Builtin gives the command line of a built-in engine: this program again.
func (programs) Builtin(name string) (engines.Builtin, []string, string, bool) {
	for _, b := range builtins() {
		if b.Name == name {
			self, err := os.Executable()
			if err != nil {
				return b.Builtin, nil, "", false
			}
			return b.Builtin, []string{self, "engine", "run", name}, plantoken.BuiltinDigest(b.Name, b.Version), true
		}
	}
	return engines.Builtin{}, nil, "", false
}
