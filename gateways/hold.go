package gateways

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// payloadEvidence is the name of the evidence that is the call itself.
const payloadEvidence = "payload"

// Approver is a person whose key approves.
type Approver struct {
	Name, Email string
	Roles       []string
	Bot         bool
	Key         signing.TrustedKey
}

// HoldOptions are what HeldCalls need. Approvers are those of the configuration that the
// gateway started with: what is written there later does not count.
type HoldOptions struct {
	State     *os.Root // the state directory
	RunID     string
	Kind      string // of gateway: mcp, llm
	Trail     Trail
	Approvers []Approver
	// SelfApproval lets somebody approve calls of their own.
	SelfApproval bool
	Expire       time.Duration // 0: limits.GatewayHold
	Poll         time.Duration // 0: limits.GatewayHoldPoll
	KeepPayloads bool          // after the answer
	Keep         time.Duration // of what was answered; 0: limits.GatewayHeldKeep
	Now          func() time.Time
	Log          *slog.Logger // nil: none
}

// HeldCalls keeps calls that wait for a person in files of the state directory. Nothing
// is let through but by an answer to this call, signed by a person who holds the role,
// that came while the gateway ran which holds it.
type HeldCalls struct {
	o      HoldOptions
	trust  signing.Trust
	run    *os.File // locked while this runs
	ending chan struct{}
	once   sync.Once

	mu     sync.Mutex
	closed bool
	each   map[string]int // calls held, by principal
	all    sync.WaitGroup
}

var _ Holds = (*HeldCalls)(nil)

// NewHolds denies what earlier runs left waiting, and then holds calls. It must be closed.
func NewHolds(ctx context.Context, o HoldOptions) (*HeldCalls, error) {
	o.Expire = cmp.Or(o.Expire, limits.GatewayHold)
	o.Poll = cmp.Or(o.Poll, limits.GatewayHoldPoll)
	o.Keep = cmp.Or(o.Keep, limits.GatewayHeldKeep)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	h := &HeldCalls{o: o, ending: make(chan struct{}), each: map[string]int{}}
	for _, a := range o.Approvers {
		h.trust.Keys = append(h.trust.Keys, a.Key)
	}
	if !protocol.ValidWorkflowID(o.RunID) {
		return nil, protocol.Errorf(protocol.ExitUsage, "gateway_run", "%q does not name a run of a gateway", o.RunID)
	}
	if err := makeDirs(o.State, stateDir, heldPath); err != nil {
		return nil, err
	}
	if err := h.begin(); err != nil {
		return nil, unusableDir(heldPath, err)
	}
	if err := h.sweep(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// begin locks the file that says that this run still runs.
func (h *HeldCalls) begin() error {
	name := path.Join(heldPath, h.o.RunID+runFile)
	for range 100 {
		f, err := h.o.State.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = lockFile(f, true)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		// Another gateway that starts may have taken it for a dead one's before it was locked.
		mine, err := f.Stat()
		there, thereErr := h.o.State.Lstat(name)
		if err == nil && thereErr == nil && os.SameFile(mine, there) {
			h.run = f
			return nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return errors.New("the run's file is removed again and again")
}

// Close denies all calls that wait, and waits until they are.
func (h *HeldCalls) Close() (err error) {
	h.once.Do(func() {
		h.mu.Lock()
		h.closed = true
		h.mu.Unlock()
		close(h.ending)
		h.all.Wait()
		if h.run != nil {
			err = errors.Join(h.o.State.Remove(path.Join(heldPath, h.o.RunID+runFile)), h.run.Close())
		}
	})
	return err
}

// Waiting is how many calls wait.
func (h *HeldCalls) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, of := range h.each {
		n += of
	}
	return n
}

// enter takes a place for a call of a principal.
func (h *HeldCalls) enter(principal string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, of := range h.each {
		n += of
	}
	switch {
	case h.closed:
		return stopped()
	case n >= limits.GatewayHeld:
		return protocol.Errorf(protocol.ExitDenied, "held_full", "%d calls wait for a person, and no more can", n).WithHint("answer them: cabincrew status lists them")
	case h.each[principal] >= limits.GatewayHeldEach:
		return protocol.Errorf(protocol.ExitDenied, "held_full", "%d calls of this client wait for a person, and no more can", h.each[principal]).
			WithHint("answer them: cabincrew status lists them")
	}
	h.each[principal]++
	h.all.Add(1)
	return nil
}

func (h *HeldCalls) leave(principal string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.each[principal]--; h.each[principal] == 0 {
		delete(h.each, principal)
	}
	h.all.Done()
}

func stopped() *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "held_stopped", "the gateway is stopping").WithHint("call again when it runs")
}

// one is a call while it waits.
type one struct {
	*HeldCalls

	q        protocol.ApprovalRequest
	document []byte
	state    HeldState
	created  time.Time
	expires  time.Time
	binding  Binding
	gateway  *protocol.AuditGateway
	ignored  map[string]bool // digests of answers that were told of
}

// Hold writes a call down and blocks until a person has answered, it expires, ctx ends
// or the gateway stops. SPEC: docs/protocol.md 7, 10
func (h *HeldCalls) Hold(ctx context.Context, held Held) (Answered, error) {
	if err := h.enter(held.Binding.Principal); err != nil {
		return Answered{}, err
	}
	defer h.leave(held.Binding.Principal)
	c, err := h.prepare(held)
	if err != nil {
		return Answered{}, err
	}
	if err := c.write(held.Payload); err != nil {
		return Answered{}, err
	}
	if err := h.o.Trail.Append(ctx, true, c.event(protocol.EventApprovalRequest, c.q.Reason)); err != nil {
		return Answered{}, c.end(ctx, HeldDenied, "that it waits could not be recorded", err)
	}
	return c.wait(ctx)
}

// prepare makes the request. SPEC: docs/protocol.md 3
func (h *HeldCalls) prepare(held Held) (*one, error) {
	now := h.o.Now().UTC()
	c := &one{HeldCalls: h, q: held.Request, binding: held.Binding, created: now, expires: held.Expires, ignored: map[string]bool{}}
	if c.expires.IsZero() {
		c.expires = now.Add(h.o.Expire)
	}
	// The documents tell seconds; a call never waits longer than they say.
	c.expires = c.expires.UTC().Truncate(time.Second)
	if len(held.Payload) > limits.GatewayHeldPayload {
		return nil, protocol.Errorf(protocol.ExitDenied, "held_too_large", "the call has %d bytes; at most %d are held for a person to read", len(held.Payload), limits.GatewayHeldPayload).
			WithHint("send less at once, or change the policy that asks for approval")
	}
	if c.q.RequiredRole == "" || c.q.StepID == "" {
		return nil, unaskable(errors.New("role or request id is missing"))
	}
	if !h.anybody(c.q.RequiredRole) {
		return nil, protocol.Errorf(protocol.ExitDenied, "held_nobody", "a person with role %q must approve, and no approver of the configuration has it", c.q.RequiredRole).
			WithHint("list one with a key and this role under approvals.approvers")
	}
	digest := protocol.Digest(held.Payload)
	var err error
	if c.q.PlanTokenHash, err = PayloadHash(held.Binding, held.Payload); err != nil {
		return nil, unaskable(err)
	}
	c.q.WorkflowID = h.o.RunID
	if c.q.ApprovalID, err = heldID(c.q); err != nil {
		return nil, unaskable(err)
	}
	c.q.EngineOutput = maps.Clone(c.q.EngineOutput)
	if c.q.EngineOutput == nil {
		c.q.EngineOutput = map[string]any{}
	}
	c.q.EngineOutput["gateway"] = map[string]any{
		"kind": h.o.Kind, "server": held.Binding.Server, "principal": held.Binding.Principal, "tool_pin": held.Binding.ToolPin,
		"governance_hash": held.Binding.GovernanceHash, "created_at": stamp(now), "expires_at": stamp(c.expires), "bytes": len(held.Payload),
	}
	c.q.Evidence = append(slices.Clone(c.q.Evidence), protocol.PreflightEvidence{Name: payloadEvidence, Path: c.q.ApprovalID + payloadFile, Hash: digest})
	if c.document, err = protocol.Canonical(c.q); err != nil {
		return nil, unaskable(err)
	}
	if len(c.document) > limits.GatewayHeldRequest {
		return nil, unaskable(fmt.Errorf("it has %d bytes", len(c.document)))
	}
	tool, _ := c.q.EngineOutput["tool"].(string)
	c.gateway = &protocol.AuditGateway{GatewayType: h.o.Kind, RequestID: c.q.StepID, Tool: tool, PolicyDecision: protocol.RequireApproval}
	c.state = HeldState{
		Version: "1", ApprovalID: c.q.ApprovalID, RunID: h.o.RunID, Status: HeldWaiting, CreatedAt: stamp(now), ExpiresAt: stamp(c.expires),
		Approvers: h.mayApprove(c.q.RequiredRole), Gateway: h.o.Kind, Server: held.Binding.Server, Principal: held.Binding.Principal,
	}
	return c, nil
}

func unaskable(err error) error {
	return protocol.Errorf(protocol.ExitDenied, "held_request", "the call cannot be put before a person: %w", err)
}

// PayloadHash is what an approval of a gateway's call is bound to. SPEC: docs/protocol.md 3
func PayloadHash(b Binding, payload []byte) (string, error) {
	return protocol.HCanonical(protocol.KindPayload, map[string]string{
		"server": b.Server, "principal": b.Principal, "session": b.Session, "tool_pin": b.ToolPin,
		"governance_hash": b.GovernanceHash, "payload": protocol.Digest(payload),
	})
}

// heldID names a request: of one run, one call and one role. SPEC: docs/protocol.md 7
func heldID(q protocol.ApprovalRequest) (string, error) {
	h, err := protocol.HCanonical(protocol.KindApproval, []string{q.WorkflowID, q.PlanTokenHash, q.StepID, q.RequiredRole})
	return "apr-" + strings.TrimPrefix(h, "sha256:"), err
}

func (h *HeldCalls) anybody(role string) bool {
	return slices.ContainsFunc(h.o.Approvers, func(a Approver) bool { return !a.Bot && slices.Contains(a.Roles, role) })
}

func (h *HeldCalls) mayApprove(role string) []MayApprove {
	var out []MayApprove
	for _, a := range h.o.Approvers {
		if !a.Bot && slices.Contains(a.Roles, role) && len(out) < 100 {
			out = append(out, MayApprove{a.Name, a.Key.Key.Fingerprint()})
		}
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (c *one) file(suffix string) string { return path.Join(heldPath, c.q.ApprovalID+suffix) }

// write makes the files durable, the request last: it is what makes the others count.
func (c *one) write(payload []byte) error {
	state, err := protocol.Canonical(c.state)
	if err != nil {
		return unaskable(err)
	}
	for _, f := range []struct {
		suffix string
		data   []byte
	}{{payloadFile, payload}, {stateFile, state}, {requestFile, c.document}} {
		if err := makeFile(c.o.State, c.file(f.suffix), f.data); err != nil {
			if !errors.Is(err, fs.ErrExist) { // else it is another call's
				_ = c.o.State.Remove(c.file(payloadFile)) // what is left of it, the next start removes
			}
			return unusableDir(c.file(f.suffix), err)
		}
	}
	return nil
}

func (c *one) saveState() error {
	data, err := protocol.Canonical(c.state)
	if err == nil {
		err = replaceFile(c.o.State, c.file(stateFile), data)
	}
	return err
}

func (c *one) event(kind, message string) protocol.AuditEvent {
	return protocol.AuditEvent{
		EventType: kind, Message: message, Gateway: c.gateway,
		Approval: &protocol.AuditApproval{
			ApprovalID: c.q.ApprovalID, RequiredRole: c.q.RequiredRole, PlanTokenHash: c.q.PlanTokenHash,
			Timestamp: stamp(c.o.Now()), Reason: c.q.Reason,
		},
	}
}

// wait looks for an answer until there is one that counts, or none can come.
func (c *one) wait(ctx context.Context) (Answered, error) {
	left := time.NewTimer(c.expires.Sub(c.o.Now()))
	defer left.Stop()
	poll := time.NewTicker(c.o.Poll)
	defer poll.Stop()
	for {
		var end error
		select {
		case <-ctx.Done():
			end = c.end(ctx, HeldWithdrawn, "the client withdrew it", fmt.Errorf("call %s was withdrawn: %w", c.q.ApprovalID, context.Cause(ctx)))
		case <-c.ending:
			end = c.end(ctx, HeldDenied, "the gateway stopped", stopped())
		case <-left.C:
			end = c.expire(ctx)
		case <-poll.C:
			if !c.o.Now().Before(c.expires) {
				end = c.expire(ctx)
				break
			}
			got, done, err := c.look(ctx)
			if done || err != nil {
				return got, err
			}
		}
		if end != nil {
			return Answered{}, end
		}
	}
}

func (c *one) expire(ctx context.Context) error {
	return c.end(ctx, HeldExpired, "nobody answered in time", protocol.Errorf(protocol.ExitDenied, "held_expired", "nobody approved call %s by %s", c.q.ApprovalID, stamp(c.expires)).
		WithHint("call again, and have somebody with role %s approve it", c.q.RequiredRole))
}

// end closes a call that nobody approved; why is what the caller is told.
func (c *one) end(ctx context.Context, status HeldStatus, reason string, why error) error {
	ctx = context.WithoutCancel(ctx) // it is on the record although nobody waits for it
	c.state.Status, c.state.Reason, c.state.EndedAt = status, reason, stamp(c.o.Now())
	e := c.event(protocol.EventError, fmt.Sprintf("held call %s is %s: %s", c.q.ApprovalID, status, reason))
	e.Approval.Reason = reason
	e.Gateway = &protocol.AuditGateway{GatewayType: c.gateway.GatewayType, RequestID: c.gateway.RequestID, Tool: c.gateway.Tool, PolicyDecision: protocol.Deny}
	if err := c.o.Trail.Append(ctx, false, e); err != nil {
		c.o.Log.Error("what became of a held call is not on the record", "approval_id", c.q.ApprovalID, "error", err)
	}
	c.close()
	return why
}

// close writes the state down and removes what nobody needs any more. It lets nothing
// through, so that a failure is only told.
func (c *one) close() {
	if err := c.saveState(); err != nil {
		c.o.Log.Error("the state of a held call is not written", "approval_id", c.q.ApprovalID, "error", err)
	}
	if c.o.KeepPayloads {
		return
	}
	if err := c.o.State.Remove(c.file(payloadFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.o.Log.Error("the payload of a held call is not removed", "approval_id", c.q.ApprovalID, "error", err)
	}
}
