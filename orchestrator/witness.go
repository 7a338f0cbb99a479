package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

// Witness is one act of a person on a forge that speaks for an approval, as the forge
// told it to the program that signs.
type Witness struct {
	Kind     string // such as "review"
	ID       string // of the act
	PersonID string // the forge's number: names can be taken over
	Person   string // its name, for people
	Commit   string // that the person looked at; "" where the forge does not tell
	At       string // when; "" where the forge does not tell
	Code     string // the approval code, where the person named it
	URL      string
	Reason   string // why, of a kind that needs one
}

// WitnessGlass is the kind of an act that breaks the glass: it stands in for approvals
// that are missing.
const WitnessGlass = "break-glass"

// Asked is what a forge is asked about a flight.
type Asked struct {
	Roles  []string  // that must approve
	Head   string    // the planned head commit
	Sealed time.Time // when the token was made
	Code   string    // the approval code; "" where the plan is not signed
	Coded  time.Time // when the flight was sealed whose code it is; not before Sealed
	// CodeNeeded says that only who names the code approves.
	CodeNeeded bool
}

// ForgeAnswer is what people said for one role.
type ForgeAnswer struct {
	Role     string
	Approved bool
	By       []Witness // whose acts count
	Why      string    // what is missing, for people
}

// Glass says whether the answer is that people broke the glass.
func (a ForgeAnswer) Glass() bool { return broken(a.By) }

// Forge tells what people said of the change where it is reviewed. It counts, and what
// it cannot tell is an error.
type Forge interface {
	Answers(ctx context.Context, ask Asked) ([]ForgeAnswer, error)
}

// Role is a role that people of a forge hold.
type Role struct {
	Name  string
	Count int // of people who must approve
}

func (g Governance) role(name string) (Role, bool) {
	i := slices.IndexFunc(g.Roles, func(r Role) bool { return r.Name == name })
	if i < 0 {
		return Role{}, false
	}
	return g.Roles[i], true
}

// terms are by what people's acts are counted for a flight: those of its own plan, or of
// the earlier one that they approved.
type terms struct {
	head       string    // that people must have looked at
	sealed     time.Time // before which nothing counts
	coded      time.Time // when that code was made, before which nobody named it
	code       string
	codeNeeded bool
	from       *carried // nil: its own
	reasons    func(step string) []FactEvaluation
	why        error // why the earlier plan's approvals do not serve it
}

// terms gives those of the flight's own plan.
func (v *verified) terms(f *Flight, s *Setup) (terms, error) {
	t := terms{head: headOf(v.reports), code: v.code, codeNeeded: v.codeNeeded(s)}
	var err error
	if t.sealed, err = v.firstSealed(f); err != nil {
		return t, err
	}
	if t.coded, err = time.Parse(time.RFC3339, f.Status.SealedAt); err != nil {
		return t, integrity("wal_time", "the time of sealing %q cannot be read", f.Status.SealedAt).At("wal.jsonl")
	}
	return t, nil
}

// terms gives those of the earlier plan.
func (c *carried) terms(s *Setup) terms {
	return terms{
		head: c.facts.Derived.HeadCommit, sealed: c.sealed, coded: c.coded, code: c.code, codeNeeded: s.Config.Approvals.Binding == config.BindingCode || c.facts.CodeNeeded, from: c,
	}
}

// asking gives the terms by which a forge is asked about a flight now.
func (o *Orchestrator) asking(ctx context.Context, f *Flight, s *Setup, v *verified) (terms, error) {
	c, why, err := o.carry(ctx, v, s)
	if err != nil {
		return terms{}, err
	}
	if c != nil {
		t := c.terms(s)
		t.reasons = v.reasons
		return t, nil
	}
	t, err := v.terms(f, s)
	t.why = why
	return t, err
}

// lacks says what a role lacks for a request; "" where it approved.
func (t terms) lacks(q protocol.ApprovalRequest, a ForgeAnswer) string {
	switch {
	case t.from != nil && !t.from.asked(q.StepID, q.RequiredRole, t.reasons(q.StepID)):
		return fmt.Sprintf("the plan that people approved (%s) did not ask about step %s for the same reasons", t.from.facts.FlightToken, q.StepID)
	case a.Approved:
		return ""
	case t.why != nil:
		return cmp.Or(a.Why, "nobody of the forge holds it") + "; what was approved of the change does not carry over: " + t.why.Error()
	}
	return cmp.Or(a.Why, "nobody of the forge holds it")
}

// askForge puts a question about roles to the forge, and gives the answers by role.
func (o *Orchestrator) askForge(ctx context.Context, f *Flight, s *Setup, v *verified, roles []string) (map[string]ForgeAnswer, terms, error) {
	t, err := o.asking(ctx, f, s, v)
	if err != nil {
		return nil, t, err
	}
	slices.Sort(roles)
	answers, err := o.Forge.Answers(ctx, Asked{Roles: slices.Compact(roles), Head: t.head, Sealed: t.sealed, Coded: t.coded, Code: t.code, CodeNeeded: t.codeNeeded})
	if err != nil {
		return nil, t, err
	}
	out := map[string]ForgeAnswer{}
	for _, a := range answers {
		out[a.Role] = a
	}
	return out, t, nil
}

// firstSealed is when the flight's token was first sealed: an equal plan that was made
// again keeps its approvals. SPEC: docs/protocol.md 7.
func (v *verified) firstSealed(f *Flight) (time.Time, error) {
	at := f.Status.SealedAt
	if v.plan != nil && v.plan.FirstSealed != "" {
		at = v.plan.FirstSealed
	}
	sealed, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return sealed, integrity("wal_time", "the time of sealing %q cannot be read", at).At("wal.jsonl")
	}
	return sealed, nil
}

// codeNeeded says whether an approval must name the code. SPEC: docs/protocol.md 7.
func (v *verified) codeNeeded(s *Setup) bool {
	return s.Config.Approvals.Binding == config.BindingCode || v.plan != nil && v.plan.CodeNeeded
}

func headOf(reports []Report) string {
	for _, r := range reports {
		if r.Derived.HeadCommit != "" {
			return r.Derived.HeadCommit
		}
	}
	return ""
}

// witness asks the forge about the open requests whose roles its people hold, signs
// what counts, and records it. SPEC: docs/protocol.md 7.
func (o *Orchestrator) witness(ctx context.Context, f *Flight, s *Setup, v *verified) (why []string, err error) {
	var open []protocol.ApprovalRequest
	var roles []string
	for _, q := range v.open(f) {
		if _, ok := s.Governance.role(q.RequiredRole); ok {
			open, roles = append(open, q), append(roles, q.RequiredRole)
		}
	}
	if o.Forge == nil || len(open) == 0 {
		return nil, nil
	}
	answers, t, err := o.askForge(ctx, f, s, v, roles)
	if err != nil {
		return nil, err
	}
	for _, q := range open {
		a := answers[q.RequiredRole]
		if lacks := t.lacks(q, a); lacks != "" {
			why = append(why, fmt.Sprintf("role %s: %s", q.RequiredRole, lacks))
			continue
		}
		record, err := o.witnessed(ctx, f, s, v, q, a, t.from)
		if err != nil {
			return why, err
		}
		records := []Record{record}
		if a.Glass() {
			records = append(records, f.glassRecord(q, a.By))
		}
		if err := o.append(f, records...); err != nil {
			return why, err
		}
	}
	slices.Sort(why)
	return slices.Compact(why), nil
}

// Approvals asks the forge about every request of a flight that waits, and records
// nothing: the error says what is still needed.
func (o *Orchestrator) Approvals(ctx context.Context, f *Flight, s *Setup) error {
	if f.Status.State != protocol.StateAwaitingApproval {
		return o.Outcome(ctx, f, s)
	}
	v, err := o.verified(ctx, f, s)
	if err != nil {
		return err
	}
	var roles []string
	for _, q := range v.open(f) {
		roles = append(roles, q.RequiredRole)
	}
	answers, t, err := o.askForge(ctx, f, s, v, roles)
	if err != nil {
		return err
	}
	if t.from == nil { // what carries over was signed with the earlier plan
		if err := o.signedPlan(v, true); err != nil {
			return err
		}
	}
	var why []string
	for _, q := range v.open(f) {
		if lacks := t.lacks(q, answers[q.RequiredRole]); lacks != "" {
			why = append(why, "role "+q.RequiredRole+": "+lacks)
		}
	}
	if len(why) == 0 {
		return nil
	}
	slices.Sort(why)
	return protocol.Errorf(protocol.ExitWaiting, "approval_waiting", "approval is still needed: %s", strings.Join(slices.Compact(why), "; ")).WithHint("%s", askPeople)
}

// witnessed signs that people of the forge answered a request.
func (o *Orchestrator) witnessed(ctx context.Context, f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, a ForgeAnswer, from *carried) (Record, error) {
	names := make([]string, len(a.By))
	var code string
	for i, w := range a.By {
		names[i] = w.Person
		code = w.Code
	}
	slices.Sort(names)
	st := ApprovalStatement{
		Request: q, FlightToken: v.manifest.FlightToken, Role: q.RequiredRole, Code: code, PlanBundle: f.Status.Digests[PlanBundle], Witnesses: a.By,
		Response: protocol.ApprovalResponse{ApprovalID: q.ApprovalID, Approved: true, Approver: strings.Join(names, ", "), Timestamp: stamp(o.Now())},
	}
	if from != nil {
		named := from.by[q.StepID]
		st.CarriedFrom = &named
		if err := from.keep(f, q.ApprovalID); err != nil {
			return Record{}, err
		}
	}
	if err := o.counts(f, s, v, q, &st); err != nil {
		return Record{}, err
	}
	bundle, err := o.Signatures.SignApproval(ctx, v.raw, st)
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

// witnessesCount says whether the acts that a signed approval tells of count for its
// role. Who the people are is the forge's word, which the signer passed on.
func (o *Orchestrator) witnessesCount(f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, st *ApprovalStatement, now time.Time) error {
	role, ok := s.Governance.role(q.RequiredRole)
	if !ok {
		return notCounted("approval_role", "the configuration names no role %s that people of the forge hold", q.RequiredRole).
			WithHint("roles of people of a forge are under approvals.roles")
	}
	t, err := o.countedBy(f, s, v, q, st, now)
	if err != nil {
		return err
	}
	if broken(st.Witnesses) {
		return glassCounts(s, t, st, now)
	}
	people := map[string]bool{}
	for _, w := range st.Witnesses {
		if err := w.counts(t, now, s.Config.Approvals.Expire.Duration); err != nil {
			return err
		}
		people[w.PersonID] = true
	}
	if need := max(role.Count, 1); len(people) < need {
		return notCounted("approval_waiting", "%d of %d people with role %s approved", len(people), need, q.RequiredRole)
	}
	return nil
}

// countedBy gives the terms by which a signed approval is counted.
func (o *Orchestrator) countedBy(f *Flight, s *Setup, v *verified, q protocol.ApprovalRequest, st *ApprovalStatement, now time.Time) (terms, error) {
	if st.CarriedFrom == nil {
		return v.terms(f, s)
	}
	c, err := o.carriedFor(f, s, v, q, st, now)
	if err != nil {
		return terms{}, err
	}
	return c.terms(s), nil
}

func (w Witness) counts(t terms, now time.Time, expire time.Duration) error {
	named := t.code != "" && w.Code == t.code
	if w.PersonID == "" || w.ID == "" {
		return integrity("approval_witness", "an act that the approval tells of has no id")
	}
	if w.Code != "" && !named || t.codeNeeded && !named {
		return notCounted("approval_code", "%s named code %q, not the flight's", w.Person, w.Code).WithHint("name the code that the check shows")
	}
	if w.Commit != t.head && (w.Commit != "" || !named) {
		return notCounted("approval_stale_commit", "%s approved commit %q, the plan is of %q", w.Person, w.Commit, t.head).WithHint("approve the commit that was planned")
	}
	end := t.sealed // where the forge tells no time, the code does: it was made then
	if w.At != "" {
		at, err := time.Parse(time.RFC3339, w.At)
		if err != nil {
			return integrity("approval_witness", "the time %q of the approval of %s cannot be read", w.At, w.Person)
		}
		if !at.After(t.sealed) {
			return notCounted("approval_too_early", "%s approved at %s, before the token was made (%s)", w.Person, w.At, stamp(t.sealed)).WithHint("approve again")
		}
		if w.Code != "" && !at.After(t.coded) {
			return notCounted("approval_edited", "the approval of %s of %s names a code that was made later (%s)", w.Person, w.At, stamp(t.coded)).WithHint("approve again")
		}
		end = at
	} else if !named {
		return notCounted("approval_code", "the forge does not tell when %s approved, and the code is not named", w.Person).WithHint("name the code that the check shows")
	}
	if end = end.Add(expire); now.After(end) {
		return notCounted("approval_expired", "the approval of %s expired at %s", w.Person, stamp(end)).WithHint("approve again")
	}
	return nil
}

// standing asks the forge again, right before the first engine starts, about every
// approval that it gave: whoever took theirs back, or lost the role, no longer approves.
func (o *Orchestrator) standing(ctx context.Context, f *Flight, s *Setup, v *verified) error {
	var roles []string
	for _, st := range v.responses {
		if len(st.Witnesses) > 0 {
			roles = append(roles, st.Role)
		}
	}
	if len(roles) == 0 {
		return nil
	}
	if o.Forge == nil {
		return protocol.Errorf(protocol.ExitUnreachable, "forge_unreachable", "whether the approvals of %s still stand cannot be asked", strings.Join(slices.Compact(slices.Sorted(slices.Values(roles))), ", ")).
			WithHint("take off in a run of the forge's CI: cabincrew ci take-off")
	}
	answers, t, err := o.askForge(ctx, f, s, v, roles)
	if err != nil {
		return err
	}
	for _, q := range v.requests {
		st := v.responses[q.ApprovalID]
		if st == nil || len(st.Witnesses) == 0 {
			continue
		}
		a := answers[st.Role]
		if lacks := t.lacks(q, a); lacks != "" {
			return notCounted("approval_withdrawn", "what approved step %s as %s does not stand any more: %s", q.StepID, st.Role, lacks).
				WithHint("the change must be approved again")
		}
		for _, w := range st.Witnesses {
			if !slices.ContainsFunc(a.By, func(x Witness) bool { return x.PersonID == w.PersonID }) {
				return notCounted("approval_withdrawn", "the approval of %s as %s does not stand any more", w.Person, st.Role).WithHint("the change must be approved again")
			}
		}
	}
	return nil
}
