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
	"time"

	"golang.org/x/term"

	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// signatures implements orchestrator.Signatures with what the configuration trusts.
type signatures struct {
	now       func() time.Time
	approvers []signing.TrustedKey
	trust     signing.Trust
	// signer makes what signs plans and take-offs; nil where they are not signed.
	signer func(context.Context) (signing.Signer, error)
	// verifies says that nothing is signed here, but plans must be all the same.
	verifies bool
}

var _ orchestrator.Signatures = (*signatures)(nil)

// Signs says whether plans are signed.
func (s *signatures) Signs() bool { return s.signer != nil || s.verifies }

// Required says whether flights must be signed to verify.
func (s *signatures) Required() bool { return s.verifies }

// Ready opens what signs, so that a key that is not at hand shows early.
func (s *signatures) Ready(ctx context.Context) error {
	if s.signer == nil {
		return nil
	}
	_, err := s.signer(ctx)
	return err
}

// Approval verifies a response against the manifest. Windows of keys are judged
// by the orchestrator against the time of the approval, so none applies here.
func (s *signatures) Approval(bundle, manifest []byte) (*orchestrator.ApprovalStatement, error) {
	p, v, err := signing.TrustKeys(s.approvers...).VerifyApproval(bundle, manifest, s.now())
	if err == nil && len(p.Witnesses) == 0 {
		return &orchestrator.ApprovalStatement{
			Request: p.Request, Response: p.Response, FlightToken: p.FlightToken, Code: p.Code, Role: p.Role, Fingerprint: v.KeyFingerprint, PlanBundle: p.PlanBundle,
		}, nil
	}
	// Only who signs plans is believed what people did on a forge.
	told, _, toldErr := s.trust.VerifyApproval(bundle, manifest, s.now())
	switch {
	case toldErr == nil && len(told.Witnesses) > 0:
		st := &orchestrator.ApprovalStatement{
			Request: told.Request, Response: told.Response, FlightToken: told.FlightToken, Code: told.Code, Role: told.Role, PlanBundle: told.PlanBundle,
		}
		for _, w := range told.Witnesses {
			st.Witnesses = append(st.Witnesses, orchestrator.Witness(w))
		}
		if from := told.CarriedFrom; from != nil {
			carried := orchestrator.CarriedFrom(*from)
			st.CarriedFrom = &carried
		}
		return st, nil
	case err == nil: // it has witnesses
		return nil, toldErr
	}
	return nil, err
}

// SignApproval signs what people of a forge answered.
func (s *signatures) SignApproval(ctx context.Context, manifest []byte, st orchestrator.ApprovalStatement) ([]byte, error) {
	if s.signer == nil {
		return nil, usageError("signing_off", "nothing is signed here, so approvals of a forge cannot be kept").WithHint("set signing in the configuration")
	}
	p := signing.ApprovalPredicate{
		Version: signing.PredicateVersion, Request: st.Request, Response: st.Response, FlightToken: st.FlightToken, Code: st.Code, Role: st.Role, PlanBundle: st.PlanBundle,
	}
	for _, w := range st.Witnesses {
		p.Witnesses = append(p.Witnesses, signing.Witness(w))
	}
	if from := st.CarriedFrom; from != nil {
		carried := signing.CarriedFrom(*from)
		p.CarriedFrom = &carried
	}
	statement, err := signing.NewApproval(manifest, p)
	return s.sign(ctx, statement, err)
}

func (s *signatures) sign(ctx context.Context, statement []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	signer, err := s.signer(ctx)
	if err != nil {
		return nil, err
	}
	bundle, err := signer.Sign(ctx, statement)
	if err == nil {
		// What does not count here would be refused at take-off, after people did their part.
		_, err = s.trust.Verify(bundle, s.now())
	}
	return bundle, err
}

// SignPlan signs the plan statement.
func (s *signatures) SignPlan(ctx context.Context, manifest []byte, facts orchestrator.PlanFacts) ([]byte, error) {
	p := signing.FlightPlanPredicate{
		Version: signing.PredicateVersion, WorkflowID: facts.WorkflowID, FlightToken: facts.FlightToken, Decision: facts.Decision,
		Nonce: facts.Nonce, ApprovalNonce: facts.ApprovalNonce, Derived: signing.Derived(facts.Derived), Claimed: facts.Claimed,
		AuditHead: signedHead(facts.Audit), IssuedAt: facts.IssuedAt, NotAfter: facts.NotAfter, CabinCrew: facts.CabinCrew,
		FirstSealed: facts.FirstSealed, CodeNeeded: facts.CodeNeeded,
	}
	for _, step := range facts.Steps {
		out := signing.FlightPlanStep{
			StepID: step.StepID, Token: step.Token, Preimage: step.Preimage, Intent: step.Intent, Decision: step.Decision, Isolation: step.Isolation,
			Evaluations: []signing.Evaluation{}, Approvals: []signing.Approval{},
		}
		for _, e := range step.Evaluations {
			out.Evaluations = append(out.Evaluations, signing.Evaluation(e))
		}
		for _, a := range step.Approvals {
			out.Approvals = append(out.Approvals, signing.Approval(a))
		}
		p.Steps = append(p.Steps, out)
	}
	statement, err := signing.NewFlightPlan(manifest, p)
	return s.sign(ctx, statement, err)
}

// Plan verifies plan.sigstore.json.
func (s *signatures) Plan(bundle, manifest []byte) (*orchestrator.PlanFacts, error) {
	p, v, err := s.trust.VerifyFlightPlan(bundle, manifest, s.now())
	if err != nil {
		return nil, err
	}
	facts := &orchestrator.PlanFacts{
		WorkflowID: p.WorkflowID, FlightToken: p.FlightToken, Decision: p.Decision, Derived: orchestrator.Derived(p.Derived), Claimed: p.Claimed,
		SignedFacts: orchestrator.SignedFacts{
			Nonce: p.Nonce, ApprovalNonce: p.ApprovalNonce, IssuedAt: p.IssuedAt, NotAfter: p.NotAfter, CabinCrew: p.CabinCrew, Signer: signerOf(v),
			FirstSealed: p.FirstSealed, CodeNeeded: p.CodeNeeded,
		},
	}
	if facts.Audit, err = readHead(p.AuditHead); err != nil {
		return nil, err
	}
	for _, step := range p.Steps {
		out := orchestrator.PlanFactStep{
			StepID: step.StepID, Token: step.Token, Preimage: step.Preimage, Intent: step.Intent, Decision: step.Decision, Isolation: step.Isolation,
			Evaluations: []orchestrator.FactEvaluation{}, Approvals: []orchestrator.FactApproval{},
		}
		for _, e := range step.Evaluations {
			out.Evaluations = append(out.Evaluations, orchestrator.FactEvaluation(e))
		}
		for _, a := range step.Approvals {
			out.Approvals = append(out.Approvals, orchestrator.FactApproval(a))
		}
		facts.Steps = append(facts.Steps, out)
	}
	return facts, nil
}

// SignTakeOff signs the take-off statement.
func (s *signatures) SignTakeOff(ctx context.Context, manifest []byte, facts orchestrator.TakeOffFacts) ([]byte, error) {
	p := signing.TakeOffPredicate{
		Version: signing.PredicateVersion, WorkflowID: facts.WorkflowID, FlightToken: facts.FlightToken, Workflow: facts.Workflow, Verdict: facts.Verdict,
		Receipts: []signing.TakeOffReceipt{}, PlanBundle: facts.PlanBundle, Derived: signing.Derived(facts.Derived), AuditHead: signedHead(facts.Audit),
		PlannedAt: facts.PlannedAt, FinishedAt: facts.FinishedAt, CabinCrew: facts.CabinCrew, Commit: facts.Commit, InsteadOf: facts.InsteadOf, ConfigPath: facts.ConfigPath,
	}
	for _, r := range facts.Receipts {
		p.Receipts = append(p.Receipts, signing.TakeOffReceipt(r))
	}
	statement, err := signing.NewTakeOff(manifest, p)
	return s.sign(ctx, statement, err)
}

// TakeOff verifies take-off.sigstore.json.
func (s *signatures) TakeOff(bundle, manifest []byte) (*orchestrator.TakeOffFacts, error) {
	p, _, err := s.trust.VerifyTakeOff(bundle, manifest, s.now())
	if err != nil {
		return nil, err
	}
	return takeOffFacts(p)
}

func takeOffFacts(p *signing.TakeOffPredicate) (*orchestrator.TakeOffFacts, error) {
	facts := &orchestrator.TakeOffFacts{
		WorkflowID: p.WorkflowID, FlightToken: p.FlightToken, Workflow: p.Workflow, Verdict: p.Verdict, Receipts: []orchestrator.FactReceipt{},
		PlanBundle: p.PlanBundle, PlannedAt: p.PlannedAt,
		SignedEnd: orchestrator.SignedEnd{Derived: orchestrator.Derived(p.Derived), FinishedAt: p.FinishedAt, CabinCrew: p.CabinCrew, Commit: p.Commit, InsteadOf: p.InsteadOf, ConfigPath: p.ConfigPath},
	}
	for _, r := range p.Receipts {
		facts.Receipts = append(facts.Receipts, orchestrator.FactReceipt(r))
	}
	var err error
	facts.Audit, err = readHead(p.AuditHead)
	return facts, err
}

// Ended verifies take-off.sigstore.json of a flight that is not at hand.
func (s *signatures) Ended(bundle []byte) (*orchestrator.TakeOffFacts, error) {
	p, _, err := s.trust.VerifyEnd(bundle, s.now())
	if err != nil {
		return nil, err
	}
	return takeOffFacts(p)
}

// endedThen is Ended as of when the flight ended.
func (s *signatures) endedThen(bundle []byte) (*orchestrator.TakeOffFacts, error) {
	p, _, err := s.trust.VerifyEndThen(bundle, s.now())
	if err != nil {
		return nil, err
	}
	return takeOffFacts(p)
}

// signerOf names for people who signed.
func signerOf(v *signing.Verified) string {
	if v.Certificate == nil {
		return "key " + v.KeyFingerprint
	}
	return v.Certificate.SAN + " of " + v.Certificate.Issuer
}

func signedHead(h orchestrator.AuditHead) signing.AuditHead {
	return signing.AuditHead{Size: strconv.FormatUint(h.Size, 10), Root: h.Root, LastHash: h.Last, Checkpoint: h.Checkpoint}
}

func readHead(h signing.AuditHead) (orchestrator.AuditHead, error) {
	size, err := strconv.ParseUint(h.Size, 10, 64) // the statement's own check has looked
	return orchestrator.AuditHead{Size: size, Root: h.Root, Last: h.LastHash, Checkpoint: h.Checkpoint}, err
}

// auditRoot gives the RFC 6962 root of the first lines of an audit log, and the hash of
// the last of them, by which the next one is chained.
func auditRoot(log io.Reader, lines uint64) (root, last string, err error) {
	tree, err := merkle.Read(log, &lines)
	if err != nil {
		return "", "", err
	}
	if lines > 0 {
		last = protocol.H(protocol.KindAuditChain, tree.Last())
	}
	sum, err := tree.Root()
	return protocol.FormatDigest(sum[:]), last, err
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
