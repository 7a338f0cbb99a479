package orchestrator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// PlanFacts is what a plan statement says beside the manifest. Everything but
// SignedFacts can be made again from the flight's own bytes, and is compared with them
// whenever a statement is read.
type PlanFacts struct {
	WorkflowID  string            `json:"workflow_id"`
	FlightToken string            `json:"flight_token"`
	Steps       []PlanFactStep    `json:"steps"`
	Decision    protocol.Decision `json:"decision"`
	Derived     Derived           `json:"derived"`
	// Claimed is what only the side that planned says, by name.
	Claimed map[string]string `json:"claimed"`

	SignedFacts `json:"-"`
}

// SignedFacts are facts that come to be when a statement is signed.
type SignedFacts struct {
	Nonce              string // of the statement, 32 hex digits
	ApprovalNonce      string // 32 hex digits
	Audit              AuditHead
	IssuedAt, NotAfter string
	CabinCrew          string // version of the program that signed
	Signer             string // who signed, for people; known when it is read
	// FirstSealed is when the same token was first sealed for the same change and commit:
	// approvals since then count. "": with this flight.
	FirstSealed string
	// CodeNeeded says that approvals must name the code: the commit had another token too,
	// or people were not shown everything.
	CodeNeeded bool
}

// Sealed is what is known of earlier plans of the same change and commit.
type Sealed struct {
	First string // when the same token was first sealed; "": never before
	Other bool   // there was another token, or that cannot be told
}

// PlanFactStep is one step of PlanFacts.
type PlanFactStep struct {
	StepID      string            `json:"step_id"`
	Token       string            `json:"token"`
	Preimage    json.RawMessage   `json:"preimage"`
	Intent      string            `json:"intent"`
	Decision    protocol.Decision `json:"decision"`
	Evaluations []FactEvaluation  `json:"evaluations"`
	Isolation   map[string]any    `json:"isolation"`
	Approvals   []FactApproval    `json:"approvals"`
}

// FactEvaluation is one evaluation, whole by its digest.
type FactEvaluation struct {
	Source   string            `json:"source"`
	PolicyID string            `json:"policy_id"`
	Decision protocol.Decision `json:"decision"`
	Digest   string            `json:"digest"`
}

// FactApproval is one approval that is required.
type FactApproval struct {
	ApprovalID string `json:"approval_id"`
	Role       string `json:"role"`
}

// planFacts makes the facts of a flight from its verified bytes.
func (f *Flight) planFacts(plans []*stepPlan, reports []Report) (PlanFacts, error) {
	facts := PlanFacts{WorkflowID: f.ID(), Decision: worst(reports), Claimed: f.claimed(reports)}
	var err error
	if facts.FlightToken, err = flightToken(plans); err != nil {
		return facts, err
	}
	for i, p := range plans {
		r := reports[i]
		if i == 0 {
			facts.Derived = r.Derived
		} else if r.Derived != facts.Derived {
			return facts, integrity("preflight_mismatch", "its derived facts are not those of step %s", reports[0].StepID).At(stepPath(p.id, preflightFile))
		}
		step := PlanFactStep{StepID: p.id, Token: p.token, Intent: r.Intent, Decision: r.Decision, Evaluations: []FactEvaluation{}, Approvals: []FactApproval{}}
		if step.Preimage, err = protocol.Canonical(p.preimage); err != nil {
			return facts, err
		}
		step.Isolation = isolationFacts(r)
		for _, e := range r.Evaluations {
			raw, err := protocol.Canonical(e)
			if err != nil {
				return facts, err
			}
			step.Evaluations = append(step.Evaluations, FactEvaluation{Source: e.Source, PolicyID: e.PolicyID, Decision: e.Decision, Digest: protocol.Digest(raw)})
		}
		for _, q := range r.Requires {
			id, err := plantoken.ApprovalID(f.ID(), facts.FlightToken, r.StepID, r.Token, q.Role)
			if err != nil {
				return facts, err
			}
			step.Approvals = append(step.Approvals, FactApproval{ApprovalID: id, Role: q.Role})
		}
		facts.Steps = append(facts.Steps, step)
	}
	return facts, nil
}

// isolationFacts is what held an engine while it planned, and which tools it had.
func isolationFacts(r Report) map[string]any {
	tools := []any{}
	for _, t := range r.Isolation.Tools {
		tools = append(tools, map[string]any{"name": t.Name, "digest": t.Digest})
	}
	return map[string]any{
		"tier": r.Isolation.Tier, "missing": r.Isolation.Missing, "landlock_abi": r.Isolation.LandlockABI, "netns": r.Isolation.NetNS, "seccomp_sha256": r.Isolation.Seccomp, "tools": tools,
	}
}

// claimed is what the side that planned says and the sealing side cannot find out:
// who planned, when, and what held the engines.
func (f *Flight) claimed(reports []Report) map[string]string {
	claimed := map[string]string{"cabincrew": f.Info.CabinCrew, "created_at": f.Info.CreatedAt}
	for _, r := range reports {
		claimed["isolation."+r.StepID] = r.Isolation.Tier
	}
	return claimed
}

// sign draws the nonces and signs manifest and decisions.
func (o *Orchestrator) sign(ctx context.Context, f *Flight, s *Setup, plans []*stepPlan, reports []Report, manifest []byte) ([]byte, error) {
	facts, err := f.planFacts(plans, reports)
	if err != nil {
		return nil, err
	}
	for _, n := range []*string{&facts.Nonce, &facts.ApprovalNonce} {
		nonce := make([]byte, plantoken.NonceBytes)
		if _, err := io.ReadFull(o.Rand, nonce); err != nil {
			return nil, fmt.Errorf("drawing a nonce: %w", err)
		}
		*n = hex.EncodeToString(nonce)
	}
	if facts.Audit, err = o.auditHead(f); err != nil {
		return nil, err
	}
	if o.Before != nil {
		before, err := o.Before(ctx, facts.FlightToken)
		if err != nil {
			return nil, err
		}
		facts.FirstSealed, facts.CodeNeeded = before.First, before.Other
	}
	now := o.Now()
	facts.IssuedAt, facts.NotAfter, facts.CabinCrew = stamp(now), stamp(now.Add(s.Config.Approvals.Expire.Duration)), o.Version
	return o.Signatures.SignPlan(ctx, manifest, facts)
}

// says compares what a signed plan says with the flight. The first member that
// differs is named.
func (v *verified) says(f *Flight) error {
	want, err := f.planFacts(v.plans, v.reports)
	if err != nil {
		return err
	}
	where, got, wanted, err := firstDifference(lighter(*v.plan, &want), want)
	if err != nil {
		return err
	}
	if where != "" {
		return integrity("plan_bundle_mismatch", "the signed plan says %s is %s, the flight says %s", where, got, wanted).At(PlanBundle)
	}
	// When it was signed lies between the token and the record of the bundle.
	for _, c := range []struct{ first, then, text string }{
		{cmp.Or(v.plan.FirstSealed, f.Status.SealedAt), f.Status.SealedAt, "first_sealed is %[1]s, but the tokens were made at %[2]s"},
		{f.Status.SealedAt, v.plan.IssuedAt, "issued_at is %[2]s, but the tokens were made at %[1]s"},
		{v.plan.IssuedAt, f.Status.SignedAt, "issued_at is %[1]s, but it was recorded at %[2]s"},
		{v.plan.IssuedAt, v.plan.NotAfter, "not_after is %[2]s, but issued_at is %[1]s"},
	} {
		if ordered, err := inOrder(c.first, c.then); err != nil || !ordered {
			return integrity("plan_bundle_mismatch", "the signed plan says "+c.text, c.first, c.then).At(PlanBundle)
		}
	}
	return nil
}

// lighter leaves the preimages out of two plans, which are most of them, where they are
// the same bytes: how they are written need not be found out to compare them.
func lighter(got PlanFacts, want *PlanFacts) PlanFacts {
	got.Steps = slices.Clone(got.Steps)
	for i := range min(len(got.Steps), len(want.Steps)) {
		if bytes.Equal(got.Steps[i].Preimage, want.Steps[i].Preimage) {
			got.Steps[i].Preimage, want.Steps[i].Preimage = json.RawMessage("{}"), json.RawMessage("{}")
		}
	}
	return got
}

// inOrder says whether two times of our documents follow each other or are the same,
// as far as both are exact: statements hold milliseconds, the WAL more.
func inOrder(first, then string) (bool, error) {
	a, err := time.Parse(time.RFC3339, first)
	if err != nil {
		return false, err
	}
	b, err := time.Parse(time.RFC3339, then)
	return !a.Truncate(time.Millisecond).After(b), err
}

// firstDifference names the first member in which two documents differ, and what it
// is in both; "" if they are equal.
func firstDifference(a, b any) (where, x, y string, err error) {
	left, errA := protocol.Canonical(a)
	right, errB := protocol.Canonical(b)
	if err := errors.Join(errA, errB); err != nil || bytes.Equal(left, right) {
		return "", "", "", err
	}
	l, errA := protocol.DecodeAny(left)
	r, errB := protocol.DecodeAny(right)
	if err := errors.Join(errA, errB); err != nil {
		return "", "", "", err
	}
	where, x, y = differ("", l, r)
	return where, x, y, nil
}

func differ(at string, a, b any) (where, x, y string) {
	switch l := a.(type) {
	case map[string]any:
		r, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := append(sortedKeys(l), sortedKeys(r)...)
		slices.Sort(keys)
		for _, k := range slices.Compact(keys) {
			if where, x, y := differ(member(at, k), l[k], r[k]); where != "" {
				return where, x, y
			}
		}
		return "", "", ""
	case []any:
		r, ok := b.([]any)
		if !ok || len(l) != len(r) {
			break
		}
		for i := range l {
			if where, x, y := differ(at+"["+strconv.Itoa(i)+"]", l[i], r[i]); where != "" {
				return where, x, y
			}
		}
		return "", "", ""
	default:
		if a == b {
			return "", "", ""
		}
	}
	return at, brief(a), brief(b)
}

func member(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// brief shows a value of a foreign document on one short line.
func brief(v any) string {
	const most = 120
	if v == nil {
		return "not there"
	}
	raw, err := protocol.Canonical(v)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("%.*s", most, raw)
}
