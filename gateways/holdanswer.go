package gateways

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

const (
	// tooEarly is by how much the clock of who answers may be behind.
	tooEarly = time.Minute
	// maxRefusals is how many answers that do not count a state tells of.
	maxRefusals = 20
	// maxIgnored is how many files that are no answer are told of in the log.
	maxIgnored = 100
)

// look reads the answer that lies there, if one does.
func (c *one) look(ctx context.Context) (got Answered, done bool, err error) {
	name := c.file(responseFile)
	bundle, err := readPlain(c.o.State, name, limits.BundleBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return got, false, nil
	}
	digest := protocol.Digest(bundle)
	if err != nil {
		c.ignore("unreadable", err)
		c.remove(name)
		return got, false, nil
	}
	if c.ignored[digest] {
		c.remove(name)
		return got, false, nil
	}
	// Whoever may write there may write anything; what nobody of the approvers signed is
	// not even worth a record.
	now := c.o.Now()
	verified, err := c.trust.Verify(bundle, now)
	if err != nil {
		c.ignore(digest, err)
		c.remove(name)
		return got, false, nil
	}
	p, _, err := c.trust.VerifyApproval(bundle, c.document, now)
	var who Approver
	if err != nil {
		err = protocol.Errorf(protocol.ExitIntegrity, "approval_mismatch", "it is signed, but is no answer to this call: %w", err)
	} else {
		who, err = c.counts(p, verified.KeyFingerprint)
	}
	if err != nil {
		return got, false, c.refuse(ctx, name, digest, verified.KeyFingerprint, err)
	}
	got = Answered{Approved: p.Response.Approved, Approver: who.Name, Reason: p.Response.Reason}
	if err := c.take(ctx, p, digest); err != nil {
		return Answered{}, true, err
	}
	return got, true, nil
}

// ignore tells of a file that is no answer, once.
func (c *one) ignore(what string, err error) {
	if c.ignored[what] {
		return
	}
	if len(c.ignored) < maxIgnored {
		c.ignored[what] = true
	}
	c.o.Log.Warn("a file in the place of an answer is none", "approval_id", c.q.ApprovalID, "digest", what, "error", err)
}

// remove makes room for another answer.
func (c *one) remove(name string) {
	if err := c.o.State.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.ignore("not removed", err)
	}
}

func refusal(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitWaiting, code, format, args...)
}

// counts says whose answer a verified one is, or why it does not count. Each refusal has
// a code of its own. SPEC: docs/protocol.md 7
func (c *one) counts(p *signing.ApprovalPredicate, fingerprint string) (Approver, error) {
	signed, err := protocol.Canonical(p.Request)
	if err != nil || !bytes.Equal(signed, c.document) || p.FlightToken != c.q.PlanTokenHash || p.Role != c.q.RequiredRole ||
		len(p.Witnesses) > 0 || p.CarriedFrom != nil || p.PlanBundle != "" || p.Code != "" {
		return Approver{}, protocol.Errorf(protocol.ExitIntegrity, "approval_mismatch", "it is an answer to another request")
	}
	i := slices.IndexFunc(c.o.Approvers, func(a Approver) bool { return a.Name == p.Response.Approver })
	if i < 0 {
		return Approver{}, refusal("approval_not_approver", "%q is no approver of this configuration", p.Response.Approver)
	}
	a := c.o.Approvers[i]
	given, err := time.Parse(time.RFC3339, p.Response.Timestamp)
	switch {
	case err != nil:
		return a, protocol.Errorf(protocol.ExitIntegrity, "approval_time", "its time %q cannot be read", p.Response.Timestamp)
	case a.Key.Key.Fingerprint() != fingerprint:
		return a, refusal("approval_key", "it is signed with the key %s, that of %s is %s", fingerprint, a.Name, a.Key.Key.Fingerprint())
	case a.Bot:
		return a, refusal("approval_not_human", "%s is a bot; people approve", a.Name)
	case !slices.Contains(a.Roles, c.q.RequiredRole):
		return a, refusal("approval_role", "%s does not hold role %s", a.Name, c.q.RequiredRole)
	case p.Response.Approved && !c.o.SelfApproval && c.own(a):
		return a, refusal("approval_self", "%s is whose call it is", a.Name)
	case !a.Key.NotBefore.IsZero() && given.Before(a.Key.NotBefore), !a.Key.NotAfter.IsZero() && given.After(a.Key.NotAfter):
		return a, refusal("approval_key_window", "the key of %s was not valid at %s", a.Name, p.Response.Timestamp)
	case given.Before(c.created.Add(-tooEarly)):
		return a, refusal("approval_too_early", "it is of %s, before the call (%s)", p.Response.Timestamp, stamp(c.created))
	}
	return a, nil
}

// own says whether a call is an approver's own.
func (c *one) own(a Approver) bool {
	who := plainPrincipal(c.binding.Principal)
	return who != "" && (strings.EqualFold(who, a.Name) || a.Email != "" && strings.EqualFold(who, a.Email))
}

// plainPrincipal gives the name in a principal such as token:NAME, cert:NAME or
// oidc:ISSUER#NAME: the same person may hold a key under it.
func plainPrincipal(who string) string {
	kind, name, ok := strings.Cut(who, ":")
	switch {
	case ok && (kind == "token" || kind == "cert"):
		return name
	case ok && kind == "oidc":
		return name[strings.LastIndexByte(name, '#')+1:]
	}
	return who
}

// refuse records an answer of somebody whose word does not count, and goes on waiting.
func (c *one) refuse(ctx context.Context, name, digest, fingerprint string, why error) error {
	code := "approval_mismatch"
	var known *protocol.Error
	if errors.As(why, &known) {
		code = known.Code
	}
	e := c.event(protocol.EventApprovalMismatch, fmt.Sprintf("the answer %s, signed with the key %s, does not count: [%s] %v", digest, fingerprint, code, why))
	e.Severity = protocol.SeverityWarning
	if err := c.o.Trail.Append(ctx, true, e); err != nil {
		return c.end(ctx, HeldDenied, "an answer could not be recorded", err)
	}
	c.ignored[digest] = true
	if len(c.state.Refusals) < maxRefusals {
		c.state.Refusals = append(c.state.Refusals, HeldRefusal{At: stamp(c.o.Now()), Response: digest, Code: code, Why: why.Error()})
		if err := c.saveState(); err != nil {
			return c.end(ctx, HeldDenied, "its state could not be written", unusableDir(c.file(stateFile), err))
		}
	}
	c.remove(name)
	return nil
}

// take makes an answer count, once: the mark and the record are on the disk before the
// call goes on.
func (c *one) take(ctx context.Context, p *signing.ApprovalPredicate, digest string) error {
	r := p.Response
	if err := ctx.Err(); err != nil {
		return c.end(ctx, HeldWithdrawn, "the client withdrew it", fmt.Errorf("call %s was withdrawn: %w", c.q.ApprovalID, context.Cause(ctx)))
	}
	if !c.o.Now().Before(c.expires) {
		return c.expire(ctx)
	}
	if r.Approved {
		if err := makeFile(c.o.State, c.file(releasedFile), []byte(digest+"\n")); err != nil {
			return c.end(ctx, HeldDenied, "that it was approved could not be written", unusableDir(c.file(releasedFile), err))
		}
	}
	word, status := "rejected", HeldRejected
	if r.Approved {
		word, status = "approved", HeldApproved
	}
	e := c.event(protocol.EventApprovalResponse, fmt.Sprintf("%s %s as %s (%s)", r.Approver, word, c.q.RequiredRole, digest))
	e.Approval.Approved, e.Approval.Approver, e.Approval.Timestamp, e.Approval.Reason = r.Approved, r.Approver, r.Timestamp, r.Reason
	if err := c.o.Trail.Append(context.WithoutCancel(ctx), true, e); err != nil {
		return c.end(ctx, HeldDenied, "the answer could not be recorded", err)
	}
	c.state.Status, c.state.Approver, c.state.Reason, c.state.EndedAt = status, r.Approver, r.Reason, stamp(c.o.Now())
	c.close()
	return nil
}

// HoldAll holds one call that several roles must approve, each by a request of its own.
// The first that is not approved withdraws the others.
func HoldAll(ctx context.Context, holds Holds, requests []Held) (Answered, error) {
	if len(requests) == 0 {
		return Answered{}, unaskable(errors.New("nobody is asked"))
	}
	if len(requests) == 1 {
		return holds.Hold(ctx, requests[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		i   int
		got Answered
		err error
	}
	results := make(chan result, len(requests))
	for i, r := range requests {
		go func() {
			got, err := holds.Hold(ctx, r)
			results <- result{i, got, err}
		}()
	}
	all := make([]Answered, len(requests))
	var first *result
	for range requests {
		r := <-results
		all[r.i] = r.got
		if first == nil && (r.err != nil || !r.got.Approved) {
			first = &r
			cancel()
		}
	}
	if first != nil {
		return first.got, first.err
	}
	var who, why []string
	for _, a := range all {
		who = append(who, a.Approver)
		if a.Reason != "" {
			why = append(why, a.Reason)
		}
	}
	return Answered{Approved: true, Approver: strings.Join(slices.Compact(who), ", "), Reason: strings.Join(why, "; ")}, nil
}
