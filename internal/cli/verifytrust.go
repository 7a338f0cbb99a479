package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// trusted is whose signatures count for whom verifies.
type trusted struct {
	plan      signing.Trust           // of plans and take-offs
	people    []orchestrator.Approver // who may approve, by name
	approvers []signing.TrustedKey    // their keys
	given     []signing.TrustedKey    // keys without a name, of the command line
	answers   config.Approvals        // how approvals count
}

// approving is what answers are counted by; nil where nobody is known who may answer.
func (t *trusted) approving() *orchestrator.Setup {
	roles := governanceRoles(t.answers)
	if len(t.people)+len(roles) == 0 {
		return nil
	}
	return &orchestrator.Setup{Config: &config.Config{Approvals: t.answers}, Governance: orchestrator.Governance{Approvers: t.people, Roles: roles}}
}

// nobody says that no plan and no take-off could verify.
func (t *trusted) nobody() bool { return len(t.plan.Keys)+len(t.plan.Identities) == 0 }

func nobodyTrusted() error {
	return usageError("verify_nobody", "nobody's signature would count: a trusted root says which certificates are genuine, not whose").
		WithHint("name keys with --key, or identities in the file of --policy; --insecure-ignore-signatures checks everything but who signed")
}

// of gives whose signatures count for a type of statement. Approvals are those of
// approvers, who sign neither plans nor take-offs; a key of the command line has no
// name, and stands for an approver only where none is known by name.
func (t *trusted) of(predicateType string) (signing.Trust, error) {
	if predicateType != signing.ApprovalType {
		if t.nobody() {
			return signing.Trust{}, nobodyTrusted()
		}
		return t.plan, nil
	}
	keys := t.approvers
	if len(t.people) == 0 {
		keys = t.given
	}
	if len(keys) == 0 && len(governanceRoles(t.answers)) > 0 && !t.nobody() {
		return t.plan, nil // only people of a forge approve, whose word the signer passes on
	}
	if len(keys) == 0 {
		return signing.Trust{}, usageError("verify_nobody", "nobody is named who may approve").
			WithHint("name approvers under approvals.approvers of a policy (--policy) or of the configuration, or the approver's key with --key")
	}
	return signing.TrustKeys(keys...), nil
}

// witnessed says whether a statement is an approval that people gave on a forge, told by
// who signs plans. Nobody else is believed that.
func (t *trusted) witnessed(bundle, manifest []byte, now time.Time) bool {
	p, _, err := t.plan.VerifyApproval(bundle, manifest, now)
	return err == nil && len(p.Witnesses) > 0
}

// approver says whether an approval is signed by whom it names, in a role that this
// person holds. Whether it counts for a flight is said by verifying the flight.
func (t *trusted) approver(p *signing.ApprovalPredicate, fingerprint string) error {
	i := slices.IndexFunc(t.people, func(a orchestrator.Approver) bool { return a.Name == p.Response.Approver })
	if i < 0 {
		return protocol.Errorf(protocol.ExitIntegrity, "approval_not_approver", "%q is not among the approvers", p.Response.Approver)
	}
	given, err := time.Parse(time.RFC3339, p.Response.Timestamp)
	if err != nil {
		return protocol.Errorf(protocol.ExitIntegrity, "approval_time", "the approval's time %q cannot be read", p.Response.Timestamp)
	}
	switch a := t.people[i]; {
	case a.Fingerprint != fingerprint:
		return protocol.Errorf(protocol.ExitIntegrity, "approval_key", "the approval of %s is signed by the key %s, theirs is %s", a.Name, fingerprint, a.Fingerprint)
	case a.Bot:
		return protocol.Errorf(protocol.ExitIntegrity, "approval_not_human", "%s is a bot; people approve", a.Name)
	case p.Role != p.Request.RequiredRole || !slices.Contains(a.Roles, p.Role):
		return protocol.Errorf(protocol.ExitIntegrity, "approval_role", "%s does not hold role %s", a.Name, p.Request.RequiredRole)
	case !a.NotBefore.IsZero() && given.Before(a.NotBefore), !a.NotAfter.IsZero() && given.After(a.NotAfter):
		return protocol.Errorf(protocol.ExitIntegrity, "approval_key_window", "the key of %s was not valid at %s", a.Name, p.Response.Timestamp)
	}
	return nil
}

// trustOf is whose signatures count by the command line.
func (a *app) trustOf(v *verification) (*trusted, error) {
	t := &trusted{}
	if v.policy != "" {
		raw, err := readWhole(v.policy, limits.ConfigBytes)
		if err != nil {
			return nil, usageError("policy_unreadable", "the policy cannot be read: %w", err).At(v.policy)
		}
		p, err := config.ParsePolicy(v.policy, raw)
		if err != nil {
			return nil, err
		}
		if t, err = a.policyTrust(p); err != nil {
			return nil, err
		}
	}
	for _, name := range v.keys {
		raw, err := readWhole(name, limits.KeyFileBytes)
		if err != nil {
			return nil, usageError("key_unreadable", "the public key cannot be read: %w", err).At(name)
		}
		key, err := signing.ParsePublic(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t.given = append(t.given, signing.TrustedKey{Key: key})
	}
	t.plan.Keys = append(t.plan.Keys, t.given...)
	if v.root != "" {
		raw, err := readWhole(v.root, limits.TrustedRootBytes)
		if err != nil {
			return nil, usageError("trusted_root_unreadable", "the trusted root cannot be read: %w", err).At(v.root)
		}
		if t.plan.Root, err = signing.ParseTrustedRoot(raw); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// policyTrust is whose signatures count by a policy file, whose files lie beside it.
func (a *app) policyTrust(p *config.Policy) (*trusted, error) {
	at, err := filepath.Abs(p.Name)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(at)
	s := &session{app: a, place: place{config: at, workspace: dir}}
	return s.trustedBy(&origin{config: &config.Config{Name: p.Name, Signing: p.Signing, Approvals: p.Approvals}, dir: dir})
}

// trustedBy is whose signatures count by a configuration.
func (s *session) trustedBy(o *origin) (*trusted, error) {
	t := &trusted{answers: o.config.Approvals}
	var err error
	if t.plan, err = s.planTrust(o); err != nil {
		return nil, err
	}
	t.people, t.approvers, err = s.app.approvers(o.config, o.dir)
	return t, err
}

// configuredTrust is whose signatures the configuration that governs trusts: the
// workspace's, or that of the governance ref.
func (a *app) configuredTrust() (_ *trusted, err error) {
	s := &session{app: a}
	defer func() { err = errors.Join(err, s.done()) }()
	if s.place, err = a.place(); err != nil {
		return nil, err
	}
	o, err := s.originOf(a.flags.governanceRef)
	if err != nil {
		return nil, err
	}
	return s.trustedBy(o)
}
