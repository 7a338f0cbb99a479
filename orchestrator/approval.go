package orchestrator

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
	"github.com/cabincrew/action/protocol/plantoken"
)

// Answer is what a person says to a flight.
type Answer struct {
	Who      string // name of an approver in the configuration
	Manifest string // digest of the manifest that the person was shown
	Approved bool
	Reason   string
	Code     string // the approval code, where it is asked for
	// Fingerprint is of the key that will sign; Sign signs one statement.
	Fingerprint string
	Sign        func(ctx context.Context, manifest []byte, st ApprovalStatement) ([]byte, error)
}

// notCounted is an authentic approval that does not count: exit 4.
func notCounted(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitWaiting, code, format, args...)
}

// Answered records a person's answer to every open request of the flight whose
// role the person holds. A rejection ends the flight. SPEC: docs/protocol.md 7.
func (o *Orchestrator) Answered(ctx context.Context, f *Flight, s *Setup, a Answer) error {
	if f.Status.State != protocol.StateAwaitingApproval {
		return notCounted("approval_not_open", "flight %s is %s: it waits for no approval", f.ID(), f.Status.State).
			WithHint("cabincrew status says what the flight waits for")
	}
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return err
	}
	if got := protocol.Digest(v.raw); got != a.Manifest {
		return integrity("manifest_changed", "the manifest has digest %s, the one that was shown had %s", got, a.Manifest).At(ManifestFile)
	}
	approver, err := s.Governance.approver(a.Who, a.Fingerprint)
	if err != nil {
		return err
	}
	var last error
	var records []Record
	open := v.open(f)
	for _, q := range open {
		if !slices.Contains(approver.Roles, q.RequiredRole) {
			last = notCounted("approval_role", "%s does not hold role %s, which must approve step %s", a.Who, q.RequiredRole, q.StepID).
				WithHint("roles are under approvals.approvers of the configuration")
			continue
		}
		r, err := o.answer(ctx, f, s, v, q, a)
		if err != nil {
			return err
		}
		records = append(records, r)
		if !a.Approved {
			break
		}
	}
	if len(records) == 0 && last != nil {
		return last
	}
	if a.Approved && len(records) == len(open) {
		// The last answers and what follows from them are one write: a command that
		// is killed loses all of it or nothing.
		return o.append(f, append(records, f.settled()...)...)
	}
	if err := o.append(f, records...); err != nil {
		return err
	}
	return o.settle(f, v)
}

func (f *Flight) settled() []Record {
	return []Record{f.enter(protocol.StateApproved, "all approvals are in"), f.enter(protocol.StateReadyForTakeoff, "ready for take-off")}
}

// answer signs and checks the answer to one request and stores it; the record
// is for the journal.
func (o *Orchestrator) answer(ctx context.Context, f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, a Answer) (Record, error) {
	st := ApprovalStatement{
		Request: q, FlightToken: v.manifest.FlightToken, Code: a.Code, Role: q.RequiredRole, Fingerprint: a.Fingerprint, PlanBundle: f.Status.Digests[PlanBundle],
		Response: protocol.ApprovalResponse{
			ApprovalID: q.ApprovalID, Approved: a.Approved, Approver: a.Who, Reason: s.Redactor.String(a.Reason), Timestamp: stamp(o.Now()),
		},
	}
	if err := o.counts(f, s, v, q, &st); err != nil {
		return Record{}, err
	}
	bundle, err := a.Sign(ctx, v.raw, st)
	if err != nil {
		return Record{}, err
	}
	again, err := o.Signatures.Approval(bundle, v.raw)
	if err != nil {
		return Record{}, fmt.Errorf("checking the approval that was just signed: %w", err)
	}
	if err := o.counts(f, s, v, q, again); err != nil {
		return Record{}, err
	}
	return f.received(*again), f.WriteFile(responsePath(q.ApprovalID), bundle)
}

func (f *Flight) received(st ApprovalStatement) Record {
	r := st.Response
	word := "approved"
	if !r.Approved {
		word = "rejected"
	}
	e := f.event(protocol.EventApprovalResponse, st.Request.StepID, fmt.Sprintf("%s %s as %s", r.Approver, word, st.Role))
	e.Approval = &protocol.AuditApproval{
		ApprovalID: r.ApprovalID, RequiredRole: st.Role, Approved: r.Approved, Approver: r.Approver,
		PlanTokenHash: st.Request.PlanTokenHash, Timestamp: r.Timestamp, Reason: r.Reason,
	}
	return Record{protocol.WALApprovalReceived,
		protocol.ApprovalReceivedData{ApprovalID: r.ApprovalID, Approved: r.Approved, Approver: r.Approver}, e}
}

// settle enters the state that the answers so far give.
func (o *Orchestrator) settle(f *Flight, v *verified) error {
	for _, got := range f.Status.Received {
		if !got.Approved {
			err := protocol.Errorf(protocol.ExitDenied, "approval_rejected", "%s rejected the flight", got.Approver).
				WithHint("a rejected flight never takes off; plan again")
			return o.Fail(f, "", err)
		}
	}
	if open := v.open(f); len(open) > 0 {
		return v.waiting(open)
	}
	return o.append(f, f.settled()...)
}

func (v *verified) waiting(open []protocol.ApprovalRequest) error {
	roles := make([]string, len(open))
	for i, q := range open {
		roles[i] = q.RequiredRole + " for step " + q.StepID
	}
	return protocol.Errorf(protocol.ExitWaiting, "approval_waiting", "approval is still needed: %s", strings.Join(roles, ", ")).
		WithHint("cabincrew approve --as NAME --key FILE; a change on a forge is approved in a review")
}

// open gives the requests that have no answer yet, by id.
func (v *verified) open(f *Flight) []protocol.ApprovalRequest {
	var out []protocol.ApprovalRequest
	for _, q := range v.requests {
		if _, ok := f.Status.Received[q.ApprovalID]; !ok {
			out = append(out, q)
		}
	}
	return out
}

func (g Governance) approver(name, fingerprint string) (Approver, error) {
	for _, a := range g.Approvers {
		if a.Name != name {
			continue
		}
		if a.Fingerprint != fingerprint {
			return a, notCounted("approval_key", "the key has fingerprint %s, the configuration names %s for %s", fingerprint, a.Fingerprint, name).
				WithHint("sign with the key whose public part stands under approvals.approvers")
		}
		return a, nil
	}
	return Approver{}, notCounted("approval_not_approver", "%q is no approver of this configuration", name).
		WithHint("approvers are under approvals.approvers of the configuration")
}

// counts says whether a verified approval counts for a request now. Each refusal
// has a code of its own. SPEC: docs/protocol.md 7.
func (o *Orchestrator) counts(f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, st *ApprovalStatement) error {
	return o.countsAt(f, s, v, q, st, o.Now())
}

func (o *Orchestrator) countsAt(f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, st *ApprovalStatement, now time.Time) error {
	asked, err := protocol.Canonical(q)
	if err != nil {
		return err
	}
	signed, err := protocol.Canonical(st.Request)
	if err != nil {
		return err
	}
	r := st.Response
	if !bytes.Equal(asked, signed) || r.ApprovalID != q.ApprovalID || st.FlightToken != v.manifest.FlightToken || st.Role != q.RequiredRole {
		return integrity("approval_mismatch", "the approval is for request %s of flight token %s as %s, not for this request",
			r.ApprovalID, st.FlightToken, st.Role).At(responsePath(q.ApprovalID))
	}
	if err := samePlan(f, st); err != nil {
		return err
	}
	if len(st.Witnesses) > 0 {
		return o.witnessesCount(f, s, v, q, st, now)
	}
	a, err := s.Governance.approver(r.Approver, st.Fingerprint)
	if err != nil {
		return err
	}
	given, err := time.Parse(time.RFC3339, r.Timestamp)
	if err != nil {
		return integrity("approval_time", "the approval's time %q cannot be read", r.Timestamp).At(responsePath(q.ApprovalID))
	}
	author := authorOf(v.reports)
	switch {
	case a.Bot:
		return notCounted("approval_not_human", "%s is a bot; people approve", a.Name)
	case !slices.Contains(a.Roles, q.RequiredRole):
		return notCounted("approval_role", "%s does not hold role %s", a.Name, q.RequiredRole)
	case r.Approved && !s.Config.Approvals.SelfApproval && author != "" && strings.EqualFold(a.Email, author):
		return notCounted("approval_self", "%s is the author of the change (%s)", a.Name, author).
			WithHint("another person must approve, or set approvals.self_approval: true")
	case r.Approved && !s.Config.Approvals.SelfApproval && author == "" && a.Email != "" && v.reports[0].Derived.BaseCommit != "":
		return notCounted("approval_author_unknown", "who made the change is not known, so it may be %s", a.Name).
			WithHint("set the repository's user.email and plan again, or set approvals.self_approval: true")
	case !a.NotBefore.IsZero() && given.Before(a.NotBefore), !a.NotAfter.IsZero() && given.After(a.NotAfter):
		return notCounted("approval_key_window", "the key of %s was not valid at %s", a.Name, r.Timestamp)
	}
	return inTime(f, s, v, q, st, given, now)
}

// samePlan refuses an approval that is about another signed plan, or about none
// although the plan is signed: what is to be signed cannot be approved before.
func samePlan(f *Flight, st *ApprovalStatement) error {
	have := f.Status.Digests[PlanBundle]
	if st.PlanBundle == have {
		return nil
	}
	return integrity("approval_mismatch", "the approval is about a signed plan with digest %q, this one has %q", st.PlanBundle, have).
		At(responsePath(st.Request.ApprovalID)).WithHint("the plan must be approved as it is signed now")
}

func inTime(f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, st *ApprovalStatement, given, now time.Time) error {
	sealed, err := time.Parse(time.RFC3339, f.Status.SealedAt)
	if err != nil {
		return integrity("wal_time", "the time of sealing %q cannot be read", f.Status.SealedAt).At("wal.jsonl")
	}
	if given.Before(sealed) {
		return notCounted("approval_too_early", "the approval is of %s, before the token was made (%s)", st.Response.Timestamp, f.Status.SealedAt)
	}
	i := slices.IndexFunc(f.Status.Requested, func(r Requested) bool { return r.ApprovalID == q.ApprovalID })
	if i < 0 {
		return notCounted("approval_unknown", "approval %s was never asked for", q.ApprovalID)
	}
	expire := s.Config.Approvals.Expire
	late, end, err := expired(f.Status.Requested[i].At, expire.Text, expire.Duration, now)
	if err != nil {
		return integrity("wal_time", "%w", err).At("wal.jsonl")
	}
	// The WAL's own times are nobody's word; the answer's time is signed.
	if late || given.After(end) || now.After(given.Add(expire.Duration)) {
		return notCounted("approval_expired", "the request expired at %s", stamp(end)).
			WithHint("plan again with cabincrew flight-plan")
	}
	wrong := st.Code != "" && st.Code != v.code // it was read on another plan
	if wrong || s.Config.Approvals.Binding == "code" && st.Response.Approved && (v.code == "" || st.Code != v.code) {
		return notCounted("approval_code", "the approval names code %q, not the flight's", st.Code).
			WithHint("give the code that cabincrew status shows with --code; only signed plans have one")
	}
	return nil
}

func authorOf(reports []Report) string {
	for _, r := range reports {
		if r.Derived.AuthorEmail != "" {
			return r.Derived.AuthorEmail
		}
	}
	return ""
}

// readRequests reads the approval requests and compares them with what the
// reports ask for and what the WAL says was asked.
func (f *Flight) readRequests(m *plantoken.Manifest, reports []Report) ([]protocol.ApprovalRequest, error) {
	var out []protocol.ApprovalRequest
	for _, r := range reports {
		for _, need := range r.Requires {
			id, err := plantoken.ApprovalID(f.ID(), m.FlightToken, r.StepID, r.Token, need.Role)
			if err != nil {
				return nil, err
			}
			raw, err := f.ReadFile(requestPath(id), limits.Approval)
			if err != nil {
				return nil, integrity("flight_unreadable", "%w", err).At(requestPath(id))
			}
			var q protocol.ApprovalRequest
			if err := readOwn(raw, &q); err != nil {
				return nil, integrity("approval_malformed", "%w", err).At(requestPath(id))
			}
			if q.ApprovalID != id || q.WorkflowID != f.ID() || q.StepID != r.StepID || q.RequiredRole != need.Role || q.PlanTokenHash != r.Token {
				return nil, integrity("approval_mismatch", "the request does not belong to this flight, step and role").At(requestPath(id))
			}
			out = append(out, q)
		}
	}
	return out, f.sameRequests(out)
}

func (f *Flight) sameRequests(requests []protocol.ApprovalRequest) error {
	if !f.Status.State.Reached(protocol.StateAwaitingApproval) && len(f.Status.Requested) == 0 {
		return nil
	}
	asked := map[string]string{}
	for _, r := range f.Status.Requested {
		asked[r.ApprovalID] = r.RequiredRole
	}
	for _, q := range requests {
		if asked[q.ApprovalID] != q.RequiredRole {
			return integrity("approval_mismatch", "the WAL does not know request %s of role %s", q.ApprovalID, q.RequiredRole).At("wal.jsonl")
		}
	}
	if len(asked) != len(requests) {
		return integrity("approval_mismatch", "the WAL knows %d requests, the reports ask for %d", len(asked), len(requests)).At("wal.jsonl")
	}
	return nil
}

// responses verifies every response on disk: its signature, and that the WAL
// tells the same. Responses that the WAL does not know yet (a command that was
// killed in between) are given back.
func (o *Orchestrator) responses(f *Flight, v *verified) (known map[string]*ApprovalStatement, fresh []*ApprovalStatement, err error) {
	known = map[string]*ApprovalStatement{}
	for _, q := range v.requests {
		at := responsePath(q.ApprovalID)
		raw, err := f.ReadFile(at, limits.Approval)
		got, recorded := f.Status.Received[q.ApprovalID]
		if errors.Is(err, fs.ErrNotExist) {
			if recorded {
				return nil, nil, integrity("approval_missing", "the WAL tells of an approval whose response is gone").At(at)
			}
			continue
		}
		if err != nil {
			return nil, nil, integrity("flight_unreadable", "%w", err).At(at)
		}
		st, err := o.Signatures.Approval(raw, v.raw)
		if err != nil {
			return nil, nil, err
		}
		if st.Response.ApprovalID != q.ApprovalID {
			return nil, nil, integrity("approval_mismatch", "the response is for request %s", st.Response.ApprovalID).At(at)
		}
		if recorded && (got.Approved != st.Response.Approved || got.Approver != st.Response.Approver) {
			return nil, nil, integrity("approval_mismatch", "the response says %v by %s, the WAL %v by %s",
				st.Response.Approved, st.Response.Approver, got.Approved, got.Approver).At(at)
		}
		known[q.ApprovalID] = st
		if !recorded {
			fresh = append(fresh, st)
		}
	}
	return known, fresh, nil
}

// counted counts every answer that was recorded again, as of when that was.
func (o *Orchestrator) counted(f *Flight, s *Setup, v *verified) error {
	if s == nil {
		return nil
	}
	for _, q := range v.requests {
		got, recorded := f.Status.Received[q.ApprovalID]
		st := v.responses[q.ApprovalID]
		if !recorded || st == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339, got.At)
		if err != nil {
			return integrity("wal_time", "the time %q of an answer cannot be read", got.At).At("wal.jsonl")
		}
		if err := o.countsAt(f, s, v, q, st, at); err != nil {
			return err
		}
	}
	return nil
}

// approvalsHold counts every approval again for take-off.
func (o *Orchestrator) approvalsHold(f *Flight, s *Setup, v *verified) error {
	return o.approvalsHoldFor(f, s, v, "")
}

// approvalsHoldFor counts those of one role; "": of all.
func (o *Orchestrator) approvalsHoldFor(f *Flight, s *Setup, v *verified, role string) error {
	if open := v.open(f); len(open) > 0 {
		return v.waiting(open)
	}
	for _, q := range v.requests {
		if role != "" && q.RequiredRole != role {
			continue
		}
		st := v.responses[q.ApprovalID]
		if st == nil {
			return integrity("approval_missing", "there is no response to request %s", q.ApprovalID).At(requestPath(q.ApprovalID))
		}
		if err := o.counts(f, s, v, q, st); err != nil {
			return err
		}
		if !st.Response.Approved {
			return protocol.Errorf(protocol.ExitDenied, "approval_rejected", "%s rejected the flight", st.Response.Approver)
		}
	}
	return nil
}
