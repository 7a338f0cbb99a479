package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
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
as a configuration has them.`,
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
			return a.with(cmd.Context(), func(s *session) error {
				dir, err := s.find(args)
				if err != nil {
					return err
				}
				return s.verify(cmd.Context(), dir)
			})
		}),
	}
	f := cmd.Flags()
	f.StringArrayVar(&v.keys, "key", nil, "trust this public key (PEM) for plans and take-offs; may be repeated")
	f.StringVar(&v.root, "trusted-root", "", "the trusted_root.json with the authorities for certificates and time stamps")
	f.StringVar(&v.policy, "policy", "", "a file that says whose signatures count")
	f.StringVar(&v.manifest, "manifest", "", "of a statement: the plan-manifest.json that it must be about (default: the one beside it)")
	f.BoolVar(&v.offline, "offline", false, "refuse whatever would need the network")
	f.BoolVar(&v.insecure, "insecure-ignore-signatures", false, "check everything but who signed")
	return cmd
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
			err = s.underPlanned(ctx, f, false)
		}
		checks = append(checks, checkOf("flight", "", err))
		if err == nil {
			var more []orchestrator.Check
			more, err = s.crew.Verify(ctx, f, s.setup)
			checks = append(checks, more...)
		}
	}
	return s.app.verdict(dir.ID(), checks, err)
}

// verifyAlone checks a flight by what the command line trusts, without a workspace.
func (a *app) verifyAlone(ctx context.Context, args []string, v *verification) (err error) {
	if len(args) == 0 {
		return usageError("usage", "name the flight's directory or archive")
	}
	trust, approvers, err := a.trustOf(v)
	if err != nil {
		return err
	}
	s := &session{app: a}
	defer func() { err = errors.Join(err, s.done()) }()
	dir, err := s.openFlight(args[0])
	if err != nil {
		return err
	}
	signed := &signatures{now: time.Now, trust: trust, approvers: approvers, verifies: !v.insecure}
	s.crew = &orchestrator.Orchestrator{
		Now: time.Now, Version: Version(), Signatures: signed, AuditRoot: auditRoot, Unsigned: v.insecure, KnowsApprovers: len(approvers) > 0,
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

// trustOf is whose signatures count by the command line.
func (a *app) trustOf(v *verification) (signing.Trust, []signing.TrustedKey, error) {
	var t signing.Trust
	var approvers []signing.TrustedKey
	if v.policy != "" {
		raw, err := readWhole(v.policy, limits.ConfigBytes)
		if err != nil {
			return t, nil, usageError("policy_unreadable", "the policy cannot be read: %w", err).At(v.policy)
		}
		p, err := config.ParsePolicy(v.policy, raw)
		if err != nil {
			return t, nil, err
		}
		if t, approvers, err = a.policyTrust(p); err != nil {
			return t, nil, err
		}
	}
	for _, name := range v.keys {
		raw, err := readWhole(name, limits.KeyFileBytes)
		if err != nil {
			return t, nil, usageError("key_unreadable", "the public key cannot be read: %w", err).At(name)
		}
		key, err := signing.ParsePublic(raw)
		if err != nil {
			return t, nil, fmt.Errorf("%s: %w", name, err)
		}
		t.Keys = append(t.Keys, signing.TrustedKey{Key: key})
	}
	if v.root != "" {
		raw, err := readWhole(v.root, limits.TrustedRootBytes)
		if err != nil {
			return t, nil, usageError("trusted_root_unreadable", "the trusted root cannot be read: %w", err).At(v.root)
		}
		if t.Root, err = signing.ParseTrustedRoot(raw); err != nil {
			return t, nil, err
		}
	}
	if !v.insecure && len(t.Keys)+len(t.Identities) == 0 {
		return t, nil, usageError("verify_nobody", "nobody's signature would count: a trusted root says which certificates are genuine, not whose").
			WithHint("name keys with --key, or identities in the file of --policy; --insecure-ignore-signatures checks everything but who signed")
	}
	return t, approvers, nil
}

// policyTrust is whose signatures count by a policy file, whose files lie beside it.
func (a *app) policyTrust(p *config.Policy) (signing.Trust, []signing.TrustedKey, error) {
	at, err := filepath.Abs(p.Name)
	if err != nil {
		return signing.Trust{}, nil, err
	}
	dir := filepath.Dir(at)
	s := &session{app: a, place: place{config: at, workspace: dir}}
	t, err := s.planTrust(&origin{config: &config.Config{Name: p.Name, Signing: p.Signing}, dir: dir})
	if err != nil {
		return t, nil, err
	}
	_, approvers, err := a.approvers(&config.Config{Name: p.Name, Approvals: p.Approvals}, dir)
	return t, approvers, err
}

// isStatement says whether an argument is the file of one signed statement.
func isStatement(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && strings.HasSuffix(name, ".json")
}

// verifyStatement checks one signed statement by itself.
func (a *app) verifyStatement(name string, v *verification) error {
	raw, err := readWhole(name, limits.BundleBytes)
	if err != nil {
		return usageError("statement_unreadable", "the statement cannot be read: %w", err).At(name)
	}
	manifest, err := v.manifestFor(name)
	if err != nil {
		return err
	}
	var trust signing.Trust
	switch {
	case v.insecure:
		return usageError("usage", "--insecure-ignore-signatures leaves nothing of a statement to be checked").WithHint("name keys with --key, or a policy with --policy")
	case v.alone():
		if trust, _, err = a.trustOf(v); err != nil {
			return err
		}
	default:
		if trust, err = a.configuredTrust(); err != nil {
			return err
		}
	}
	checks, doc, err := statementChecks(raw, manifest, trust)
	if err != nil && protocol.ExitCode(err) == protocol.ExitFailure {
		err = protocol.Errorf(protocol.ExitIntegrity, "statement_invalid", "%w", err)
	}
	if a.flags.output == outputJSON {
		out := map[string]any{"file": name, "verified": err == nil, "checks": checks}
		if doc != nil {
			out["statement"] = doc
		}
		if err != nil {
			out["error"] = a.errorOf(err)
		}
		a.printJSON(out)
	}
	a.textChecks(checks)
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	a.text(oneLine(name) + " verifies\n")
	return nil
}

// manifestFor reads the manifest that a statement must be about; nil: there is none.
func (v *verification) manifestFor(statement string) ([]byte, error) {
	name := v.manifest
	if name == "" {
		name = filepath.Join(filepath.Dir(statement), orchestrator.ManifestFile)
		if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
			return nil, usageError("verify_manifest", "a statement is about a manifest, and there is no %s beside it", orchestrator.ManifestFile).
				WithHint("name the manifest with --manifest")
		}
	}
	raw, err := readWhole(name, limits.ManifestFile)
	if err != nil {
		return nil, usageError("verify_manifest", "the manifest cannot be read: %w", err).At(name)
	}
	return raw, nil
}

// statementChecks does the checks of one statement in order, up to the first that fails.
func statementChecks(raw, manifest []byte, trust signing.Trust) (checks []orchestrator.Check, doc map[string]any, err error) {
	v, err := trust.Verify(raw, time.Now())
	if err != nil {
		return append(checks, checkOf("signature", "", err)), nil, err
	}
	checks = append(checks, checkOf("signature", "by "+signerOf(v), nil))
	when := orchestrator.Check{Name: "time", Status: orchestrator.NotApplicable, Detail: "no authority attests when it was signed"}
	if !v.Time.IsZero() {
		when = checkOf("time", "signed at "+v.Time.UTC().Format(time.RFC3339)+" ("+v.TimeSource+")", nil)
	}
	checks = append(checks, when)
	doc = map[string]any{"predicate_type": v.Statement.PredicateType, "predicate": v.Statement.Predicate}
	switch v.Statement.PredicateType {
	case signing.FlightPlanType:
		_, _, err = trust.VerifyFlightPlan(raw, manifest, time.Now())
	case signing.TakeOffType:
		_, _, err = trust.VerifyTakeOff(raw, manifest, time.Now())
	case signing.ApprovalType:
		_, _, err = trust.VerifyApproval(raw, manifest, time.Now())
	default:
		err = protocol.Errorf(protocol.ExitIntegrity, signing.CodeStatementMismatch, "the statement's predicateType is %.100q, which this program does not know", v.Statement.PredicateType)
	}
	return append(checks, checkOf("statement", v.Statement.PredicateType+" about "+orchestrator.ManifestFile, err)), doc, err
}

// configuredTrust is whose signatures the workspace's configuration trusts.
func (a *app) configuredTrust() (signing.Trust, error) {
	s := &session{app: a}
	var err error
	if s.place, err = a.place(); err != nil {
		return signing.Trust{}, err
	}
	o, err := s.originOf("")
	if err != nil {
		return signing.Trust{}, err
	}
	t, err := s.planTrust(o)
	if err == nil && len(t.Keys)+len(t.Identities) == 0 {
		err = usageError("verify_nobody", "the configuration trusts nobody's signature").WithHint("name keys with --key, or a policy with --policy")
	}
	return t, err
}

func (a *app) verdict(id string, checks []orchestrator.Check, err error) error {
	if err != nil && protocol.ExitCode(err) == protocol.ExitFailure {
		err = protocol.Errorf(protocol.ExitIntegrity, "flight_invalid", "%w", err)
	}
	if a.flags.output == outputJSON {
		doc := map[string]any{"workflow_id": id, "verified": err == nil, "checks": checks}
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
	a.text("flight " + id + " verifies\n")
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
