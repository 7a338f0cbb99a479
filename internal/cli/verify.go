package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/storage/file"
)

// verification is what a person asks of verify.
type verification struct {
	keys     []string
	root     string
	policy   string
	manifest string
	offline  bool
	insecure bool // nothing is known of who may sign
}

// alone says whether something else than the workspace's configuration is to say whose
// signatures count.
func (v *verification) alone() bool {
	return len(v.keys) > 0 || v.root != "" || v.policy != "" || v.insecure
}

func (a *app) verifyCommand() *cobra.Command {
	v := &verification{}
	cmd := &cobra.Command{
		Use: "verify [FLIGHT|BUNDLE]", Short: "Verify a flight or a signed statement from its bytes; each check by name", Args: cobra.MaximumNArgs(1),
		Long: `Verifies a flight: an id, a directory, an archive (.tar.zst) or a reference; or one
signed statement, such as plan.sigstore.json. Each check is told by name, and the
first that fails ends with exit 5. Nothing is written, and nothing is fetched but
the flight itself.

Whose signatures count is said by the configuration of the workspace, or, if --key
or --policy is given, by these alone, so that no configuration is needed. A policy
is a file with the keys version, signing (trusted, trusted_root ...) and approvals,
as a configuration has them. What decides whom to trust (--key, --policy,
--trusted-root, --insecure-ignore-signatures) is taken from the command line only,
never from a variable.`,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if v.insecure && (len(v.keys) > 0 || v.policy != "") {
				return usageError("usage", "--insecure-ignore-signatures beside --key or --policy: one of them decides whose signatures count")
			}
			if v.offline && len(args) > 0 && strings.HasPrefix(args[0], "oci:") {
				return usageError("verify_offline", "%s is in a registry, and --offline touches no network", oneLine(args[0])).WithHint("cabincrew pull it first")
			}
			if len(args) == 1 && isStatement(args[0]) {
				return a.verifyStatement(args[0], v)
			}
			if v.alone() {
				return a.verifyAlone(cmd.Context(), args, v)
			}
			return a.verifyConfigured(cmd.Context(), args)
		}),
	}
	f := cmd.Flags()
	f.StringArrayVar(&v.keys, "key", nil, "trust this public key (PEM) for plans and take-offs, and for an approval that is verified by itself; may be repeated")
	f.StringVar(&v.root, "trusted-root", "", "the trusted_root.json with the authorities for certificates and time stamps")
	f.StringVar(&v.policy, "policy", "", "a file that says whose signatures count")
	f.StringVar(&v.manifest, "manifest", "", "of a statement: the plan-manifest.json that it must be about (default: the one beside it)")
	f.BoolVar(&v.offline, "offline", false, "refuse whatever would need the network")
	f.BoolVar(&v.insecure, "insecure-ignore-signatures", false, "check everything but who signed")
	for _, name := range []string{"key", "policy", "trusted-root", "insecure-ignore-signatures"} {
		f.Lookup(name).Annotations = map[string][]string{commandLineOnly: {"true"}}
	}
	return cmd
}

// verifyConfigured checks a flight by what the workspace's configuration trusts, or
// that of the governance ref. Of it only that is read: what judges is not asked, so it
// is neither loaded nor fetched, and nothing is made in the workspace.
func (a *app) verifyConfigured(ctx context.Context, args []string) (err error) {
	s := &session{app: a}
	defer func() { err = errors.Join(err, s.done()) }()
	if s.place, err = a.place(); err != nil {
		return err
	}
	if s.origin, err = s.originOf(a.flags.governanceRef); err != nil {
		return err
	}
	if err := s.trusting(s.origin); err != nil {
		return err
	}
	dir, err := s.findThere(args)
	if err != nil {
		return err
	}
	return s.verify(ctx, dir)
}

// trusting prepares the session for verifying, and nothing else, under a governance.
func (s *session) trusting(o *origin) error {
	a, dir := s.app, filepath.Dir(s.place.config)
	t, err := s.trustedBy(o)
	if err != nil {
		return err
	}
	seal, err := s.sealOf(o)
	if err != nil {
		return err
	}
	s.setup = &orchestrator.Setup{
		Config: o.config, ConfigPath: s.place.configPath, Workspace: s.place.workspace, Governance: orchestrator.Governance{Approvers: t.people, Roles: governanceRoles(o.config.Approvals)},
	}
	if s.setup.Redactor, err = a.redactor(o.config, dir); err != nil {
		return err
	}
	s.crew = &orchestrator.Orchestrator{
		Now: time.Now, Version: Version(), AuditRoot: auditRoot,
		// Nothing is signed: that there is a signer says that plans must be.
		Signatures: &signatures{now: time.Now, trust: t.plan, approvers: t.approvers, signer: s.signer(o, t.plan)},
	}
	if seal != nil {
		s.crew.Audit = seal
	}
	return nil
}

// findThere is find without making the state directory.
func (s *session) findThere(args []string) (*file.Flight, error) {
	if len(args) > 0 && isStored(args[0]) {
		return s.openStored(args[0])
	}
	store, err := file.OpenExisting(s.place.stateDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(args) == 0:
		return nil, usageError("flight_unknown", "no flight is open").WithHint("name a flight: its directory, an archive or a reference")
	case errors.Is(err, fs.ErrNotExist):
		if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
			return nil, usageError("flight_unknown", "there is no flight %q", args[0]).WithHint("there is no state directory %s", s.place.stateDir)
		}
		return s.openFlight(args[0])
	case err != nil:
		return nil, err
	}
	s.close = append(s.close, store.Close)
	// The session itself has no store: what it makes for a while is not to lie there.
	there := &session{app: s.app, place: s.place, store: store, home: store}
	if home, err := file.OpenExisting(s.place.home()); err == nil {
		there.home = home
		s.close = append(s.close, home.Close)
	}
	dir, err := there.find(args)
	s.close = append(s.close, there.close...)
	return dir, err
}

// verify checks a flight under the session's governance.
func (s *session) verify(ctx context.Context, dir *file.Flight) error {
	if err := readable(dir); err != nil {
		return err
	}
	entries, _, checks, err := checkLogs(dir)
	if err == nil {
		var f *orchestrator.Flight
		f, err = orchestrator.Load(dir, nil, entries)
		if err == nil && s.origin != nil {
			var o *origin
			if o, err = s.plannedUnder(f, false); err == nil && o != nil {
				err = s.trusting(o)
			}
		}
		checks = append(checks, checkOf("flight", "", err))
		if err == nil {
			var more []orchestrator.Check
			more, err = s.crew.Verify(ctx, f, s.setup)
			checks = append(checks, more...)
		}
		s.tellApprovals(checks)
	}
	return s.app.verdict(dir.ID(), checks, err)
}

// tellApprovals says why nobody looked at approvals.
func (s *session) tellApprovals(checks []orchestrator.Check) {
	for i := range checks {
		if c := &checks[i]; c.Name == "approvals" && c.Status == orchestrator.NotApplicable && s.setup == nil && s.crew.Approving == nil {
			c.Detail = "not looked at: nobody named who may approve (--policy, or a configuration)"
		}
	}
}

// verifyAlone checks a flight by what the command line trusts, without a workspace.
func (a *app) verifyAlone(ctx context.Context, args []string, v *verification) (err error) {
	if len(args) == 0 {
		return usageError("usage", "name the flight's directory or archive")
	}
	t, err := a.trustOf(v)
	if err != nil {
		return err
	}
	if !v.insecure && t.nobody() {
		return nobodyTrusted()
	}
	s := &session{app: a}
	defer func() { err = errors.Join(err, s.done()) }()
	dir, err := s.openFlight(args[0])
	if err != nil {
		return err
	}
	signed := &signatures{now: time.Now, trust: t.plan, approvers: t.approvers, verifies: !v.insecure}
	s.crew = &orchestrator.Orchestrator{
		Now: time.Now, Version: Version(), Signatures: signed, AuditRoot: auditRoot, Unsigned: v.insecure, Approving: t.approving(),
	}
	return s.verify(ctx, dir)
}

// openFlight opens a flight that lies anywhere: a directory, an archive, a reference.
func (s *session) openFlight(name string) (*file.Flight, error) {
	if isStored(name) {
		return s.openStored(name)
	}
	return s.keep(file.OpenDir(name))
}

// readable refuses a flight with files that are still encrypted: what they hold is
// what the plan's token is made of, and nobody can tell whether it does.
func readable(dir *file.Flight) error {
	left, err := bundle.Encrypted(dir.Root())
	if err != nil || len(left) == 0 {
		return err
	}
	return protocol.Errorf(protocol.ExitUnreachable, "state_encrypted", "%d files are encrypted, so that the flight cannot be verified here", len(left)).At(left[0].Path).
		WithHint("set CABINCREW_AGE_IDENTITY to the file of an age identity that decrypts them, or pull the flight with --age-identity")
}

// signedBy says whether the plan's signature is among what was verified.
func signedBy(checks []orchestrator.Check) bool {
	return slices.ContainsFunc(checks, func(c orchestrator.Check) bool { return c.Name == "plan signature" && c.Status == orchestrator.Pass })
}

func (a *app) verdict(id string, checks []orchestrator.Check, err error) error {
	switch protocol.ExitCode(err) {
	case protocol.ExitFailure:
		err = protocol.Errorf(protocol.ExitIntegrity, "flight_invalid", "%w", err)
	case protocol.ExitWaiting:
		// An answer that was recorded and does not count: nothing is waited for here.
		var known *protocol.Error
		if errors.As(err, &known) {
			refused := *known
			refused.Exit, err = protocol.ExitIntegrity, &refused
		}
	}
	if a.flags.output == outputJSON {
		doc := map[string]any{"workflow_id": id, "verified": err == nil, "signed": signedBy(checks), "checks": checks}
		if err != nil {
			doc["error"] = a.errorOf(err)
		}
		a.printJSON(doc)
	}
	a.textChecks(checks)
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	if signedBy(checks) {
		a.text("flight " + id + " verifies\n")
	} else {
		a.text("flight " + id + " verifies, as far as it goes: nobody's signature of its plan was verified\n")
	}
	return nil
}

func (a *app) textChecks(checks []orchestrator.Check) {
	for _, c := range checks {
		a.text(padded(c.Status, 15) + padded(c.Name, 19) + visible(c.Detail) + "\n")
	}
}

func padded(s string, n int) string {
	for len(s) < n {
		s += " "
	}
	return s
}
