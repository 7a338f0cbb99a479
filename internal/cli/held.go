package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// heldVerdict is how long a person waits for the gateway to read an answer.
const heldVerdict = 10 * time.Second

// heldDocument is a held call as JSON output tells it.
type heldDocument struct {
	ApprovalID string                   `json:"approval_id"`
	Status     gateways.HeldStatus      `json:"status"`
	Request    protocol.ApprovalRequest `json:"request"`
	CreatedAt  string                   `json:"created_at"`
	ExpiresAt  string                   `json:"expires_at"`
	EndedAt    string                   `json:"ended_at,omitempty"`
	Approver   string                   `json:"approver,omitempty"`
	Reason     string                   `json:"reason,omitempty"`
	Approvers  []gateways.MayApprove    `json:"approvers,omitempty"`
	Refusals   []gateways.HeldRefusal   `json:"refusals,omitempty"`
	Running    bool                     `json:"gateway_running"`
	Payload    string                   `json:"payload,omitempty"` // the call as the client sent it
	Error      any                      `json:"error,omitempty"`
}

func documentOf(c *gateways.HeldCall) heldDocument {
	s := c.State
	return heldDocument{
		ApprovalID: c.Request.ApprovalID, Status: s.Status, Request: c.Request, CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, EndedAt: s.EndedAt,
		Approver: s.Approver, Reason: s.Reason, Approvers: s.Approvers, Refusals: s.Refusals, Running: c.Alive,
	}
}

// isHeld says whether an argument names a held call and no flight.
func isHeld(args []string) bool { return len(args) == 1 && strings.HasPrefix(args[0], "apr-") }

// onState opens the state directory, if there is one; it is not made.
func (a *app) onState(f func(*os.Root) error) (err error) {
	p, err := a.place()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(p.stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return usageError("held_unknown", "there is no state directory, so no call is held").At(p.stateDir).WithHint("name that of the gateway with --state-dir")
	}
	if err != nil {
		return protocol.Errorf(protocol.ExitUnreachable, "gateway_state", "the state directory cannot be opened: %w", err).At(p.stateDir)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return f(root)
}

// heldCalls lists the calls that wait for a person.
func (a *app) heldCalls() (list []gateways.HeldCall, err error) {
	err = a.onState(func(state *os.Root) (err error) {
		list, err = gateways.ListHeld(state, false)
		return err
	})
	if errors.Is(err, protocol.Code("held_unknown")) {
		err = nil // nothing ever ran here
	}
	return list, err
}

// errNoFlights says that there is a gateway, which has no flights.
var errNoFlights = errors.New("a gateway has no flights")

// statusHere says which calls wait for a person and where the open flight stands, which
// flight does. Where there is a gateway and neither, that is no mistake.
func (a *app) statusHere(flight func([]heldDocument) error) error {
	list, err := a.heldCalls()
	if err != nil {
		_, _ = fmt.Fprintf(a.err, "warning: held calls: %s\n", oneLine(err.Error())) // there is nowhere else to tell
	}
	p, placeErr := a.place()
	if placeErr != nil {
		return placeErr
	}
	if config.IsGateway(p.config) {
		flight = func([]heldDocument) error { return errNoFlights }
		if err != nil {
			return err // there is nothing else to tell of
		}
	}
	if len(list) > 0 {
		return a.statusWithHeld(list, flight)
	}
	flightErr := flight(nil)
	if err != nil || !noFlight(flightErr) || !errors.Is(flightErr, errNoFlights) && !besideGateway(p) {
		return flightErr
	}
	a.text("no call is held\n")
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"held": []heldDocument{}})
	}
	return nil
}

// noFlight says that an error means no more than that nobody flies here.
func noFlight(err error) bool {
	return errors.Is(err, errNoFlights) || errors.Is(err, protocol.Code("flight_unknown")) || errors.Is(err, protocol.Code("config_not_found"))
}

// besideGateway says whether there is a gateway's configuration, or the state of one.
func besideGateway(p place) bool {
	for _, name := range []string{filepath.Join(p.workspace, config.GatewayFile), filepath.Join(p.workspace, config.LLMFile), filepath.Join(p.stateDir, "gateways")} {
		if _, err := os.Lstat(name); err == nil {
			return true
		}
	}
	return false
}

// statusWithHeld says which calls wait for a person, and then where the open flight
// stands, which flight does.
func (a *app) statusWithHeld(list []gateways.HeldCall, flight func([]heldDocument) error) error {
	docs := make([]heldDocument, 0, len(list))
	for i := range list {
		docs = append(docs, documentOf(&list[i]))
	}
	a.text(renderHeldList(list, time.Now()))
	waiting := protocol.Errorf(protocol.ExitWaiting, "held_waiting", "%s of a gateway wait for a person", countOf(len(list), "call")).
		WithHint("cabincrew approve %s --as NAME --key FILE shows one and answers it", list[0].Request.ApprovalID[:16])
	err := flight(docs)
	var reported reportedError
	switch {
	case err == nil:
		a.complain(waiting)
		return reportedError{waiting}
	case errors.As(err, &reported):
		return err
	case noFlight(err):
		err = waiting // nobody flies here, which is nothing to complain of
	}
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"held": docs, "error": a.errorOf(err)})
	}
	a.complain(err)
	return reportedError{err}
}

func renderHeldList(list []gateways.HeldCall, now time.Time) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%-20s  %-8s  %-16s  %-20s  %-16s  %s\n", "HELD CALL", "LEFT", "SERVER", "TOOL", "ROLE", "REASON")
	for _, c := range list {
		tool, _ := c.Request.EngineOutput["tool"].(string)
		line := fmt.Sprintf("%-20s  %-8s  %-16s  %-20s  %-16s  %s", c.Request.ApprovalID[:20], left(c.State, now), oneLine(c.State.Server),
			oneLine(cmp.Or(tool, "-")), oneLine(c.Request.RequiredRole), oneLine(c.Request.Reason))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String() + "\n"
}

func left(s gateways.HeldState, now time.Time) string {
	end, err := time.Parse(time.RFC3339, s.ExpiresAt)
	if err != nil {
		return "?"
	}
	return age(end.Sub(now))
}

// statusHeld tells of one held call; the exit code is 4 while it waits.
func (a *app) statusHeld(begin string) error {
	return a.onState(func(state *os.Root) error {
		c, err := gateways.ReadHeld(state, begin)
		if err != nil {
			return err
		}
		doc := documentOf(c)
		err = c.Open(time.Now())
		switch {
		case err == nil:
			payload, payloadErr := gateways.HeldPayload(state, c)
			if payloadErr != nil {
				return payloadErr
			}
			doc.Payload = string(payload)
			a.text(renderHeld(c, payload, time.Now()))
			err = protocol.Errorf(protocol.ExitWaiting, "held_waiting", "call %s waits for a person with role %s", c.Request.ApprovalID, c.Request.RequiredRole).
				WithHint("cabincrew approve %s --as NAME --key FILE", c.Request.ApprovalID[:16])
		case c.State.Status == gateways.HeldApproved:
			err = nil
			a.text(renderHeld(c, nil, time.Now()))
		default:
			a.text(renderHeld(c, nil, time.Now()))
		}
		return a.heldEnd(doc, err)
	})
}

// heldEnd prints the document of a held call, and its error, and passes the error on.
func (a *app) heldEnd(doc heldDocument, err error) error {
	if err != nil {
		doc.Error = a.errorOf(err)
	}
	if a.flags.output == outputJSON {
		a.printJSON(doc)
	}
	if err == nil {
		return nil
	}
	a.complain(err)
	return reportedError{err}
}

// renderHeld shows a held call: who calls what, why a person is asked, and the call itself
// as the client sent it, with nothing in it that would play tricks on who reads.
func renderHeld(c *gateways.HeldCall, payload []byte, now time.Time) string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			b.WriteString(padded(name, 10) + oneLine(value) + "\n")
		}
	}
	q, s := c.Request, c.State
	gateway, _ := q.EngineOutput["gateway"].(map[string]any)
	say := func(key string) string { text, _ := gateway[key].(string); return text }
	tool, _ := q.EngineOutput["tool"].(string)
	row("call", q.ApprovalID)
	row("server", say("server"))
	row("tool", tool)
	row("from", say("principal"))
	row("pin", say("tool_pin"))
	row("reason", q.Reason)
	row("role", q.RequiredRole)
	row("gateway", say("kind")+", run "+q.WorkflowID+", request "+q.StepID)
	switch {
	case s.Status != gateways.HeldWaiting:
		row("status", strings.TrimSpace(string(s.Status)+" "+s.EndedAt+" "+s.Approver+" "+s.Reason))
	default:
		row("waits", fmt.Sprintf("since %s until %s (%s left)", say("created_at"), s.ExpiresAt, left(s, now)))
	}
	for _, r := range s.Refusals {
		row("refused", fmt.Sprintf("%s [%s] %s", r.At, r.Code, r.Why))
	}
	more := map[string]any{}
	for name, value := range q.EngineOutput {
		if name != "gateway" && name != "tool" {
			more[name] = value
		}
	}
	if len(more) > 0 {
		if text, err := protocol.Canonical(more); err == nil {
			b.WriteString("\nwhat the gateway says of it\n" + quoted(text))
		}
	}
	if payload != nil {
		_, _ = fmt.Fprintf(&b, "\nwhat the client sent (%d bytes, %s)\n%s", len(payload), protocol.Digest(payload), quoted(payload))
	}
	return b.String()
}

// quoted shows JSON with a line for each member, behind a gutter; what is none as it is.
func quoted(doc []byte) string {
	var pretty bytes.Buffer
	if json.Indent(&pretty, doc, "", "  ") == nil {
		doc = pretty.Bytes()
	}
	var b strings.Builder
	for line := range strings.Lines(visible(string(doc))) {
		b.WriteString(gutter + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// answerHeld shows a held call, signs an answer to it and tells what the gateway makes of
// that.
func (a *app) answerHeld(ctx context.Context, begin string, flags answerFlags, approved bool) error {
	if flags.code != "" {
		return usageError("usage", "a held call has no approval code").WithHint("leave --code away")
	}
	verb := "reject"
	if approved {
		verb = "approve"
	}
	return a.onState(func(state *os.Root) error {
		c, err := gateways.ReadHeld(state, begin)
		if err == nil {
			err = c.Open(time.Now())
		}
		if err != nil {
			return err
		}
		payload, err := gateways.HeldPayload(state, c)
		if err != nil {
			return err
		}
		a.text(renderHeld(c, payload, time.Now()) + "\n")
		if err := a.confirm(verb, "call "+c.Request.ApprovalID[:20]); err != nil {
			return err
		}
		k, err := a.privateKey(flags.key)
		if err == nil {
			err = mayAnswer(c, flags.who, k.Public())
		}
		if err == nil {
			c, err = again(state, c)
		}
		if err != nil {
			return err
		}
		bundle, err := gateways.SignAnswer(ctx, k, c, protocol.ApprovalResponse{
			Approved: approved, Approver: flags.who, Reason: flags.reason, Timestamp: time.Now().UTC().Format(time.RFC3339),
		})
		if err == nil {
			err = gateways.PutAnswer(state, c.Request.ApprovalID, bundle)
		}
		if err != nil {
			return err
		}
		c, err = a.awaitGateway(ctx, state, c, protocol.Digest(bundle), approved)
		if err == nil {
			a.text(fmt.Sprintf("call %s is %s\n", c.Request.ApprovalID, c.State.Status))
		}
		return a.heldEnd(documentOf(c), err)
	})
}

// again reads a held call once more, since a person took their time: what is signed is
// what was shown.
func again(state *os.Root, shown *gateways.HeldCall) (*gateways.HeldCall, error) {
	c, err := gateways.ReadHeld(state, shown.Request.ApprovalID)
	if err == nil && !bytes.Equal(c.Document, shown.Document) {
		err = protocol.Errorf(protocol.ExitIntegrity, "held_changed", "the request was changed while it was shown").WithHint("do not approve; somebody writes to the state directory")
	}
	if err == nil {
		err = c.Open(time.Now())
	}
	return c, err
}

// mayAnswer tells early what the gateway would refuse. What counts is what it says.
func mayAnswer(c *gateways.HeldCall, who string, key *signing.PublicKey) error {
	var names []string
	for _, m := range c.State.Approvers {
		if m.Name == who && m.Key == key.Fingerprint() {
			return nil
		}
		names = append(names, oneLine(m.Name))
	}
	if slices.ContainsFunc(c.State.Approvers, func(m gateways.MayApprove) bool { return m.Name == who }) {
		return protocol.Errorf(protocol.ExitWaiting, "approval_key", "the key has fingerprint %s, and the gateway knows another one for %s", key.Fingerprint(), who).
			WithHint("sign with the key whose public part stands under approvals.approvers")
	}
	return protocol.Errorf(protocol.ExitWaiting, "approval_role", "%s does not hold role %s, as the gateway was configured when it started", who, c.Request.RequiredRole).
		WithHint("these do: %s", strings.Join(names, ", "))
}

// awaitGateway waits until the gateway has read an answer.
func (a *app) awaitGateway(ctx context.Context, state *os.Root, c *gateways.HeldCall, digest string, approved bool) (*gateways.HeldCall, error) {
	ctx, cancel := context.WithTimeout(ctx, heldVerdict)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		now, err := gateways.ReadHeld(state, c.Request.ApprovalID)
		if err != nil {
			return c, err
		}
		c = now
		for _, r := range c.State.Refusals {
			if r.Response == digest {
				return c, protocol.Errorf(protocol.ExitWaiting, "held_refused", "the gateway does not count this answer: [%s] %s", r.Code, r.Why).
					WithHint("the call still waits: a person whose answer counts may give it")
			}
		}
		want := gateways.HeldRejected
		if approved {
			want = gateways.HeldApproved
		}
		if c.State.Status == want {
			return c, nil
		}
		if err := c.Open(time.Now()); err != nil {
			return c, err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return c, protocol.Errorf(protocol.ExitWaiting, "held_unread", "the answer is written, but the gateway has not read it yet").
				WithHint("look again: cabincrew status %s; the log of the gateway says whether it took the answer for none", c.Request.ApprovalID[:16])
		}
	}
}
