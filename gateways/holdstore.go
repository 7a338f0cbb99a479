package gateways

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// The files of one held call, behind its id; and the one that a gateway locks while it
// runs, behind the id of its run.
const (
	requestFile  = ".request.json"
	payloadFile  = ".payload.json"
	stateFile    = ".state.json"
	responseFile = ".response.json"
	releasedFile = ".released"
	runFile      = ".run"

	heldPath = stateDir + "/" + heldDir
)

// HeldStatus says where a held call stands.
type HeldStatus string

// What a held call can come to. Only the first one is open.
const (
	HeldWaiting   HeldStatus = "waiting"
	HeldApproved  HeldStatus = "approved"
	HeldRejected  HeldStatus = "rejected"
	HeldExpired   HeldStatus = "expired"
	HeldWithdrawn HeldStatus = "withdrawn" // the client does not want it any more
	HeldDenied    HeldStatus = "denied"    // the gateway stopped, or could not record
)

// HeldState is what becomes of a held call, for people: no gateway ever reads what
// another one wrote there to let something through.
type HeldState struct {
	Version    string        `json:"version"`
	ApprovalID string        `json:"approval_id"`
	RunID      string        `json:"run_id"`
	Status     HeldStatus    `json:"status"`
	CreatedAt  string        `json:"created_at"`
	ExpiresAt  string        `json:"expires_at"`
	EndedAt    string        `json:"ended_at,omitempty"`
	Approver   string        `json:"approver,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	Approvers  []MayApprove  `json:"approvers,omitempty"`
	Refusals   []HeldRefusal `json:"refusals,omitempty"`
	Gateway    string        `json:"gateway,omitempty"`
	Server     string        `json:"server,omitempty"`
	Principal  string        `json:"principal,omitempty"`
}

// MayApprove is somebody whose approval the gateway would take.
type MayApprove struct {
	Name string `json:"name"`
	Key  string `json:"key"` // its fingerprint
}

// HeldRefusal is an answer that did not count.
type HeldRefusal struct {
	At       string `json:"at"`
	Response string `json:"response"` // digest of the file
	Code     string `json:"code"`
	Why      string `json:"why"`
}

// HeldCall is a held call as it lies in a state directory.
type HeldCall struct {
	Request  protocol.ApprovalRequest
	Document []byte // of the request, which an answer is about
	State    HeldState
	// Alive says that the gateway still runs that holds the call.
	Alive bool
}

// Open says whether the call can still be answered.
func (c *HeldCall) Open(now time.Time) error {
	end, err := time.Parse(time.RFC3339, c.State.ExpiresAt)
	switch {
	case c.State.Status == HeldWaiting && !c.Alive:
		return protocol.Errorf(protocol.ExitWaiting, "held_restarted", "the gateway that held call %s has ended; nothing lets that call through any more", c.State.ApprovalID).
			WithHint("let the client call again")
	case c.State.Status == HeldWaiting && err != nil:
		return protocol.Errorf(protocol.ExitIntegrity, "held_unreadable", "the state of held call %s cannot be read: %w", c.State.ApprovalID, err)
	case c.State.Status == HeldExpired, c.State.Status == HeldWaiting && !now.Before(end):
		return protocol.Errorf(protocol.ExitWaiting, "held_expired", "call %s waited until %s and was denied", c.State.ApprovalID, c.State.ExpiresAt).
			WithHint("let the client call again")
	case c.State.Status != HeldWaiting:
		return protocol.Errorf(protocol.ExitWaiting, "held_answered", "call %s waits no more: %s%s", c.State.ApprovalID, c.State.Status, because(c.State)).
			WithHint("one approval is for one call; let the client call again")
	}
	return nil
}

func because(s HeldState) string {
	why := ""
	if s.Approver != "" {
		why += " by " + s.Approver
	}
	if s.Reason != "" {
		why += " (" + s.Reason + ")"
	}
	return why
}

// IsApprovalID says whether a text is the id of an approval, of a held call or of a
// flight's step.
func IsApprovalID(s string) bool {
	digits, ok := strings.CutPrefix(s, "apr-")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// ListHeld lists the held calls of a state directory, oldest first: those that wait, and
// with all those that do not any more. What cannot be read is left out and told of by the
// error, which comes with the list.
func ListHeld(state *os.Root, all bool) ([]HeldCall, error) {
	list, err := names(state, heldPath, limits.GatewayHeldFiles)
	if err != nil {
		return nil, absentIsNone(err)
	}
	var out []HeldCall
	alive := map[string]bool{}
	for _, name := range list {
		id, ok := strings.CutSuffix(name, requestFile)
		if !ok || !IsApprovalID(id) {
			continue
		}
		c, readErr := readHeld(state, id, alive)
		if readErr != nil {
			err = errors.Join(err, readErr)
			continue
		}
		if all || c.State.Status == HeldWaiting && c.Alive {
			out = append(out, *c)
		}
	}
	slices.SortStableFunc(out, func(a, b HeldCall) int { return cmp.Compare(a.State.CreatedAt, b.State.CreatedAt) })
	return out, err
}

func absentIsNone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadHeld finds a held call by its id or an unambiguous beginning of it.
func ReadHeld(state *os.Root, begin string) (*HeldCall, error) {
	unknown := protocol.Errorf(protocol.ExitUsage, "held_unknown", "no held call is called %.80q", begin).
		WithHint("cabincrew status lists the calls that wait")
	list, err := names(state, heldPath, limits.GatewayHeldFiles)
	if err != nil {
		return nil, cmp.Or(absentIsNone(err), error(unknown))
	}
	var found []string
	for _, name := range list {
		if id, ok := strings.CutSuffix(name, requestFile); ok && IsApprovalID(id) && strings.HasPrefix(id, begin) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return nil, unknown
	case 1:
		return readHeld(state, found[0], map[string]bool{})
	}
	return nil, protocol.Errorf(protocol.ExitUsage, "held_ambiguous", "%d held calls begin with %.80q", len(found), begin).WithHint("write more of the id")
}

func readHeld(state *os.Root, id string, alive map[string]bool) (*HeldCall, error) {
	at := path.Join(heldPath, id)
	unreadable := func(err error, name string) error {
		return protocol.Errorf(protocol.ExitIntegrity, "held_unreadable", "a held call cannot be read: %w", err).At(at + name)
	}
	c := &HeldCall{}
	var err error
	if c.Document, err = readPlain(state, at+requestFile, limits.GatewayHeldRequest); err == nil {
		err = protocol.Decode(c.Document, &c.Request)
	}
	if err == nil && c.Request.ApprovalID != id {
		err = fmt.Errorf("it is of %.80q", c.Request.ApprovalID)
	}
	if err != nil {
		return nil, unreadable(err, requestFile)
	}
	if c.State, err = readState(state, id); err != nil {
		return nil, unreadable(err, stateFile)
	}
	run := c.Request.WorkflowID
	if _, known := alive[run]; !known {
		alive[run] = runs(state, run)
	}
	c.Alive = alive[run]
	return c, nil
}

func readState(state *os.Root, id string) (s HeldState, err error) {
	raw, err := readPlain(state, path.Join(heldPath, id+stateFile), limits.GatewayHeldState)
	if err == nil {
		err = protocol.Decode(raw, &s)
	}
	if err == nil && s.ApprovalID != id {
		err = fmt.Errorf("it is of %.80q", s.ApprovalID)
	}
	return s, err
}

// runs says whether the gateway of a run still runs: then it holds the lock of its file.
func runs(state *os.Root, runID string) bool {
	if !protocol.ValidWorkflowID(runID) {
		return false
	}
	f, err := openPlain(state, path.Join(heldPath, runID+runFile))
	if err != nil {
		return false
	}
	free, err := lockFile(f, false)
	_ = f.Close() // it gives the lock up, too
	return err == nil && !free
}

// HeldPayload gives the call itself, as the client sent it, if it is what the request is
// about.
func HeldPayload(state *os.Root, c *HeldCall) ([]byte, error) {
	name := path.Join(heldPath, c.Request.ApprovalID+payloadFile)
	data, err := readPlain(state, name, limits.GatewayHeldPayload)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "held_unreadable", "what the held call says cannot be read: %w", err).At(name)
	}
	digest := protocol.Digest(data)
	if !slices.ContainsFunc(c.Request.Evidence, func(e protocol.PreflightEvidence) bool { return e.Name == payloadEvidence && e.Hash == digest }) {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "held_changed", "the file with the held call is not the one that the request is about").At(name).
			WithHint("do not approve; somebody writes to the state directory")
	}
	return data, nil
}

// SignAnswer signs an answer to a held call. SPEC: docs/protocol.md 7
func SignAnswer(ctx context.Context, key *signing.Key, c *HeldCall, r protocol.ApprovalResponse) ([]byte, error) {
	r.ApprovalID = c.Request.ApprovalID
	statement, err := signing.NewApproval(c.Document, signing.ApprovalPredicate{
		Version: signing.PredicateVersion, Request: c.Request, Response: r, FlightToken: c.Request.PlanTokenHash, Role: c.Request.RequiredRole,
	})
	if err != nil {
		return nil, err
	}
	return signing.Sign(ctx, key, statement)
}

// PutAnswer lays an answer where the gateway looks for it: whole, and only if there is
// none yet.
func PutAnswer(state *os.Root, id string, bundle []byte) error {
	name := path.Join(heldPath, id+responseFile)
	temp := path.Join(heldPath, "."+id+responseFile+"."+protocol.Digest(bundle)[len("sha256:"):][:16])
	err := makeFile(state, temp, bundle)
	if err == nil || errors.Is(err, fs.ErrExist) && sameBytes(state, temp, bundle) {
		err = errors.Join(state.Link(temp, name), state.Remove(temp)) // unlike a rename, a link replaces nothing
	}
	if err == nil {
		err = syncDir(state, heldPath)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return protocol.Errorf(protocol.ExitWaiting, "held_answered", "call %s has an answer already that the gateway is about to read", id).At(name).
			WithHint("look again with cabincrew status in a moment")
	case err != nil:
		return unusableDir(name, err)
	}
	return nil
}
