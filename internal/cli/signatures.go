package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// signatures implements orchestrator.Signatures with local keys.
type signatures struct {
	now       func() time.Time
	version   string
	approvers []signing.TrustedKey
	planKeys  []signing.TrustedKey
	planKey   func() (*signing.Key, error) // nil where plans are not signed
}

var _ orchestrator.Signatures = (*signatures)(nil)

// Signs says whether plans are signed.
func (s *signatures) Signs() bool { return s.planKey != nil }

// Approval verifies a response against the manifest. Windows of keys are judged
// by the orchestrator against the time of the approval, so none applies here.
func (s *signatures) Approval(bundle, manifest []byte) (*orchestrator.ApprovalStatement, error) {
	p, fingerprint, err := signing.VerifyApproval(bundle, manifest, s.now(), s.approvers...)
	if err != nil {
		return nil, err
	}
	return &orchestrator.ApprovalStatement{
		Request: p.Request, Response: p.Response, FlightToken: p.FlightToken, Code: p.Code, Role: p.Role, Fingerprint: fingerprint,
	}, nil
}

// SignPlan signs the plan statement.
func (s *signatures) SignPlan(ctx context.Context, manifest []byte, facts orchestrator.PlanFacts) ([]byte, error) {
	key, err := s.planKey()
	if err != nil {
		return nil, err
	}
	p := signing.FlightPlanPredicate{
		Version: signing.PredicateVersion, WorkflowID: facts.WorkflowID, FlightToken: facts.FlightToken, Decision: facts.Decision,
		ApprovalNonce: facts.Nonce, Claimed: map[string]string{},
		Derived:   signing.Derived{AuthorEmail: facts.AuthorEmail, BaseCommit: facts.HeadCommit, HeadCommit: facts.HeadCommit},
		AuditHead: signing.AuditHead{Size: strconv.FormatUint(facts.Audit.Size, 10), Root: facts.Audit.Root, LastHash: facts.Audit.Last, Checkpoint: facts.Audit.Checkpoint},
		IssuedAt:  facts.IssuedAt, NotAfter: facts.NotAfter, CabinCrew: s.version,
	}
	for _, step := range facts.Steps {
		p.Steps = append(p.Steps, signing.FlightPlanStep{
			StepID: step.StepID, Token: step.Token, Preimage: step.Preimage, Decision: step.Decision,
			Isolation: step.Isolation, Required: step.Roles,
		})
	}
	statement, err := signing.NewFlightPlan(manifest, p)
	if err != nil {
		return nil, err
	}
	return signing.Sign(ctx, key, statement)
}

// Plan verifies plan.sigstore.json.
func (s *signatures) Plan(bundle, manifest []byte) (*orchestrator.PlanFacts, error) {
	p, _, err := signing.VerifyFlightPlan(bundle, manifest, s.now(), s.planKeys...)
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseUint(p.AuditHead.Size, 10, 64)
	if err != nil {
		return nil, err // the statement's own check has looked
	}
	facts := &orchestrator.PlanFacts{
		WorkflowID: p.WorkflowID, FlightToken: p.FlightToken, Decision: p.Decision, Nonce: p.ApprovalNonce,
		AuthorEmail: p.Derived.AuthorEmail, HeadCommit: p.Derived.HeadCommit,
		Audit:    orchestrator.AuditHead{Size: size, Root: p.AuditHead.Root, Last: p.AuditHead.LastHash, Checkpoint: p.AuditHead.Checkpoint},
		IssuedAt: p.IssuedAt, NotAfter: p.NotAfter,
	}
	for _, step := range p.Steps {
		facts.Steps = append(facts.Steps, orchestrator.PlanFactStep{
			StepID: step.StepID, Token: step.Token, Preimage: step.Preimage, Decision: step.Decision, Roles: step.Required,
		})
	}
	return facts, nil
}

// auditRoot gives the RFC 6962 root of the first lines of an audit log.
func auditRoot(log io.Reader, lines uint64) (string, error) {
	tree, err := merkle.Read(log, &lines)
	if err != nil {
		return "", err
	}
	root, err := tree.Root()
	return protocol.FormatDigest(root[:]), err
}

// approvers reads the approvers' keys of a configuration.
func (a *app) approvers(c *config.Config, dir string) ([]orchestrator.Approver, []signing.TrustedKey, error) {
	var people []orchestrator.Approver
	var keys []signing.TrustedKey
	for _, p := range c.Approvals.Approvers {
		raw, err := config.ReadKey(dir, p.Key)
		if err != nil {
			return nil, nil, usageError("config_approver_key", "the key of %q cannot be read: %w", p.Name, err).At(p.Where).
				WithHint("put the public key at %s (cabincrew keys generate writes one)", p.Key)
		}
		key, err := signing.ParsePublic(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: the key of %q: %w", p.Where, p.Name, err)
		}
		people = append(people, orchestrator.Approver{
			Name: p.Name, Email: p.Email, Roles: p.Roles, Bot: p.Bot, Fingerprint: key.Fingerprint(), NotBefore: p.NotBefore, NotAfter: p.NotAfter,
		})
		keys = append(keys, signing.TrustedKey{Key: key})
	}
	return people, keys, nil
}

// signer prepares the plan's signatures from the configuration. The private key is
// the machine's, its public part that of the governance.
func (s *session) signer(o *origin) (func() (*signing.Key, error), []signing.TrustedKey, error) {
	name := o.config.Signing.Key
	switch {
	case o.config.Signing.Keyless:
		return nil, nil, usageError("signing_unsupported", "keyless signing is not supported by this version").
			WithHint("use signing: {key: FILE}")
	case name == "":
		return nil, nil, nil
	case strings.Contains(name, "://"):
		return nil, nil, usageError("signing_unsupported", "key services (%s) are not supported by this version", name).
			WithHint("use signing: {key: FILE}")
	}
	public, err := o.read(s.place, name+".pub")
	if err != nil {
		return nil, nil, err
	}
	load := func() (*signing.Key, error) { return s.app.openKey(s.place.file(name)) }
	raw, err := os.ReadFile(public) //nolint:gosec // the configuration names it
	if err != nil {
		return nil, nil, usageError("signing_key", "the public part of the signing key cannot be read: %w", err).
			WithHint("keep %s.pub beside the key; cabincrew keys generate writes both", name)
	}
	key, err := signing.ParsePublic(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s.pub: %w", name, err)
	}
	return load, []signing.TrustedKey{{Key: key}}, nil
}

// privateKey reads a private key, asking for its passphrase where it has one.
func (a *app) privateKey(path string) (*signing.Key, error) {
	f, err := os.Open(path) //nolint:gosec // the person names it
	if err != nil {
		code := protocol.ExitUsage
		if !errors.Is(err, fs.ErrNotExist) {
			code = protocol.ExitUnreachable
		}
		return nil, protocol.Errorf(code, "key_unreadable", "the private key cannot be read: %w", err).
			WithHint("cabincrew keys generate makes a key pair")
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, limits.KeyFileBytes))
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "key_unreadable", "the private key cannot be read: %w", err).At(path)
	}
	return signing.LoadPrivate(raw, func() ([]byte, error) { return a.passphrase("Passphrase of " + filepath.Base(path) + ": ") })
}

// passphrase comes from CABINCREW_KEY_PASSPHRASE or a prompt on the terminal.
func (a *app) passphrase(prompt string) ([]byte, error) {
	if p, ok := a.env["CABINCREW_KEY_PASSPHRASE"]; ok {
		return []byte(p), nil
	}
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, usageError("key_passphrase", "the key is encrypted and there is no terminal to ask for its passphrase").
			WithHint("set CABINCREW_KEY_PASSPHRASE")
	}
	_, _ = io.WriteString(a.err, prompt) // a prompt
	p, err := term.ReadPassword(int(in.Fd()))
	_, _ = io.WriteString(a.err, "\n") // the end of the prompt's line
	return p, err
}

func strconvQuote(r rune) string { return strconv.QuoteRuneToASCII(r) }
