package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Predicate types of the statements. A change of form is a new type.
const (
	ApprovalType   = "https://cabincrew.dev/approval/v1"
	FlightPlanType = "https://cabincrew.dev/flight-plan/v1"
	TakeOffType    = "https://cabincrew.dev/take-off/v1"
)

// PredicateVersion is the version that every predicate carries.
const PredicateVersion = "1"

// Verdicts of a take-off.
const (
	VerdictCompleted = "completed"
	VerdictFailed    = "failed"
)

// ApprovalPredicate is a person's answer to one approval request.
// SPEC: docs/protocol.md 7
type ApprovalPredicate struct {
	Version     string                    `json:"version"`
	Request     protocol.ApprovalRequest  `json:"request"`
	Response    protocol.ApprovalResponse `json:"response"`
	FlightToken string                    `json:"flight_token"`
	Code        string                    `json:"code,omitempty"` // the approval code, where it was asked for
	Role        string                    `json:"role"`           // the role under which the person acts
	// Witnesses are acts on a forge, where people did not sign themselves: then whoever
	// signs plans signs what the forge said.
	Witnesses []Witness `json:"witnesses,omitempty"`
	// CarriedFrom is the plan that people approved, where it is an earlier one of the same
	// intent.
	CarriedFrom *CarriedFrom `json:"carried_from,omitempty"`

	// PlanBundle is the digest of plan.sigstore.json, the statement's second subject;
	// empty where the plan is not signed.
	PlanBundle string `json:"-"`
}

// Witness is one act of a person on a forge that speaks for an approval. Ids are the
// forge's numbers as texts; empty is what the forge does not tell.
type Witness struct {
	Kind     string `json:"kind"` // such as review
	ID       string `json:"id"`
	PersonID string `json:"person_id"`
	Person   string `json:"person"` // name, which may change hands
	Commit   string `json:"commit"`
	At       string `json:"at"`
	Code     string `json:"code"` // that the person named
	URL      string `json:"url"`
	Reason   string `json:"reason,omitempty"` // of a kind that needs one
}

// CarriedFrom names an earlier plan of the same intent. SPEC: docs/protocol.md 7
type CarriedFrom struct {
	FlightToken string `json:"flight_token"`
	Token       string `json:"token"`       // of the step
	HeadCommit  string `json:"head_commit"` // that people looked at
	PlanBundle  string `json:"plan_bundle"` // digest of the signed plan
	Intent      string `json:"intent"`      // of the step, in both plans
	// Workspace says why the approval may serve: "equal", what both were planned on is the
	// same, or "hidden", the step's take-off sees nothing of it.
	Workspace string `json:"workspace"`
}

func (c *CarriedFrom) check() error {
	if c == nil {
		return nil
	}
	err := allOf(wantDigest("carried_from.flight_token", c.FlightToken), wantDigest("carried_from.token", c.Token),
		wantDigest("carried_from.plan_bundle", c.PlanBundle), wantDigest("carried_from.intent", c.Intent))
	if c.Workspace != "equal" && c.Workspace != "hidden" {
		err = allOf(err, fmt.Errorf("carried_from.workspace is %q, neither equal nor hidden", c.Workspace))
	}
	return err
}

// FlightPlanPredicate is what was planned and judged. Its tokens can be
// recomputed from the preimages and these from the files of the manifest.
type FlightPlanPredicate struct {
	Version       string            `json:"version"`
	WorkflowID    string            `json:"workflow_id"`
	FlightToken   string            `json:"flight_token"`
	Steps         []FlightPlanStep  `json:"steps"`
	Decision      protocol.Decision `json:"decision"`
	Nonce         string            `json:"nonce"`          // 32 hex digits, of this statement alone
	ApprovalNonce string            `json:"approval_nonce"` // 32 hex digits, drawn at seal
	Derived       Derived           `json:"derived"`
	Claimed       map[string]string `json:"claimed"` // what only the planning side says
	AuditHead     AuditHead         `json:"audit_head"`
	IssuedAt      string            `json:"issued_at"`
	NotAfter      string            `json:"not_after"` // empty: no end
	CabinCrew     string            `json:"cabincrew"` // version of the program
	// FirstSealed is when the same token was first sealed for the same change and commit,
	// in an earlier flight; left out where there was none.
	FirstSealed string `json:"first_sealed,omitempty"`
	// CodeNeeded says that approvals must name the code.
	CodeNeeded bool `json:"code_needed,omitempty"`
}

// FlightPlanStep is one step of a flight plan.
type FlightPlanStep struct {
	StepID      string            `json:"step_id"`
	Token       string            `json:"token"`
	Preimage    json.RawMessage   `json:"preimage"` // all that the token is the hash of
	Intent      string            `json:"intent"`   // what the step wants, whatever it was planned on
	Decision    protocol.Decision `json:"decision"`
	Evaluations []Evaluation      `json:"evaluations"`
	Isolation   map[string]any    `json:"isolation"`
	Approvals   []Approval        `json:"approvals"` // that are required
}

// Evaluation is one judge's word. Digest is of the whole evaluation, with reason and
// evidence, in canonical form, as preflight.json holds it.
type Evaluation struct {
	Source   string            `json:"source"`
	PolicyID string            `json:"policy_id"`
	Decision protocol.Decision `json:"decision"`
	Digest   string            `json:"digest"`
}

// Approval is an approval that a step needs.
type Approval struct {
	ApprovalID string `json:"approval_id"`
	Role       string `json:"role"`
}

// Derived is what the signing side found out itself; empty where there is none. Ids
// are texts, since a forge's may pass 2^53.
type Derived struct {
	AuthorEmail      string `json:"author_email"`
	BaseCommit       string `json:"base_commit"`
	HeadCommit       string `json:"head_commit"`
	GovernanceCommit string `json:"governance_commit"` // where policies and approvers came from; empty: the workspace
	MergeTree        string `json:"merge_tree"`        // git's tree that was planned on, of the change merged onto its base
	Forge            string `json:"forge"`
	RepositoryID     string `json:"repository_id"`
	Repository       string `json:"repository"`
	Change           string `json:"change"`
	Event            string `json:"event"`
	RunID            string `json:"run_id"`
	RunAttempt       string `json:"run_attempt"`
}

// AuditHead is how far the audit log had come: its size in lines (a decimal number
// as text, since it has no upper bound), the RFC 6962 root of these lines, and the
// hash of the last one. Checkpoint is a signed note that says the same of the log, left
// out where the audit is not signed.
type AuditHead struct {
	Size       string `json:"size"`
	Root       string `json:"root"`
	LastHash   string `json:"last_hash"`
	Checkpoint string `json:"checkpoint,omitempty"`
}

// TakeOffPredicate is how a flight ended.
type TakeOffPredicate struct {
	Version     string           `json:"version"`
	WorkflowID  string           `json:"workflow_id"`
	FlightToken string           `json:"flight_token"`
	Workflow    string           `json:"workflow"`
	Verdict     string           `json:"verdict"`
	Receipts    []TakeOffReceipt `json:"receipts"`
	PlanBundle  string           `json:"plan_bundle"` // digest of plan.sigstore.json; empty: unsigned
	Derived     Derived          `json:"derived"`     // of the run that took off
	AuditHead   AuditHead        `json:"audit_head"`
	PlannedAt   string           `json:"planned_at"` // when the tokens were made
	FinishedAt  string           `json:"finished_at"`
	CabinCrew   string           `json:"cabincrew"`
	// Commit is the one that was checked out: what took off there, as a merge. Left out
	// where there is no repository.
	Commit string `json:"commit,omitempty"`
	// InsteadOf is the flight token of a plan that had become stale, in place of which this
	// one was made and took off; left out where there was none.
	InsteadOf string `json:"instead_of,omitempty"`
	// ConfigPath is the path of the configuration that flew, from the top of the repository:
	// one may have several. Left out where there is no repository.
	ConfigPath string `json:"config_path,omitempty"`
}

// TakeOffReceipt names the receipt and log of one step's take-off by digest;
// empty where the step did not get so far.
type TakeOffReceipt struct {
	StepID    string `json:"step_id"`
	Target    string `json:"target"` // the step's; empty if it names none
	Digest    string `json:"digest"`
	LogDigest string `json:"log_digest"`
}

// NewApproval gives the approval statement about a manifest's bytes, and about the
// signed plan where p names it, to be signed.
func NewApproval(manifest []byte, p ApprovalPredicate) ([]byte, error) {
	return newStatement(manifest, &p)
}

// NewFlightPlan gives the flight-plan statement about a manifest's bytes, to be signed.
func NewFlightPlan(manifest []byte, p FlightPlanPredicate) ([]byte, error) {
	return newStatement(manifest, &p)
}

// NewTakeOff gives the take-off statement about a manifest's bytes, to be signed.
func NewTakeOff(manifest []byte, p TakeOffPredicate) ([]byte, error) {
	return newStatement(manifest, &p)
}

func (*ApprovalPredicate) predicateType() string   { return ApprovalType }
func (*FlightPlanPredicate) predicateType() string { return FlightPlanType }
func (*TakeOffPredicate) predicateType() string    { return TakeOffType }

func (p *ApprovalPredicate) check() error {
	err := allOf(
		wantVersion(p.Version),
		wantDigest("flight_token", p.FlightToken),
		wantDigest("request.plan_token_hash", p.Request.PlanTokenHash),
		wantText("request.approval_id", p.Request.ApprovalID),
		wantText("request.workflow_id", p.Request.WorkflowID),
		wantText("response.approver", p.Response.Approver),
		wantTime("response.timestamp", p.Response.Timestamp),
		wantText("role", p.Role),
		optionalDigest("plan bundle", p.PlanBundle),
		p.CarriedFrom.check(),
	)
	if p.Response.ApprovalID != p.Request.ApprovalID {
		err = allOf(err, fmt.Errorf("response.approval_id is %q, but the request is %q",
			p.Response.ApprovalID, p.Request.ApprovalID))
	}
	if len(p.Witnesses) > limits.ApprovalWitnesses {
		err = allOf(err, fmt.Errorf("there are %d witnesses, at most %d are read", len(p.Witnesses), limits.ApprovalWitnesses))
	}
	for i, w := range p.Witnesses {
		at := fmt.Sprintf("witnesses[%d].", i)
		err = allOf(err, wantText(at+"kind", w.Kind), wantText(at+"id", w.ID), wantText(at+"person_id", w.PersonID), wantText(at+"person", w.Person))
		if w.At != "" {
			err = allOf(err, wantTime(at+"at", w.At))
		}
	}
	return err
}

func (p *FlightPlanPredicate) check() error {
	err := allOf(
		wantVersion(p.Version),
		wantText("workflow_id", p.WorkflowID),
		wantDigest("flight_token", p.FlightToken),
		wantDecision("decision", p.Decision),
		p.AuditHead.check(),
		wantTime("issued_at", p.IssuedAt),
		wantText("cabincrew", p.CabinCrew),
	)
	for name, v := range map[string]string{"nonce": p.Nonce, "approval_nonce": p.ApprovalNonce} {
		if !nonce.MatchString(v) {
			err = allOf(err, fmt.Errorf("%s %q is not 32 lower-case hex digits", name, v))
		}
	}
	if p.NotAfter != "" {
		err = allOf(err, wantTime("not_after", p.NotAfter))
	}
	if p.FirstSealed != "" {
		err = allOf(err, wantTime("first_sealed", p.FirstSealed))
	}
	if len(p.Steps) == 0 {
		err = allOf(err, errors.New("steps is empty"))
	}
	for i, s := range p.Steps {
		at := fmt.Sprintf("steps[%d].", i)
		err = allOf(err,
			wantStep(at+"step_id", s.StepID),
			wantDigest(at+"token", s.Token),
			wantObject(at+"preimage", s.Preimage),
			wantDigest(at+"intent", s.Intent),
			wantDecision(at+"decision", s.Decision),
		)
		for j, e := range s.Evaluations {
			at := fmt.Sprintf("%sevaluations[%d].", at, j)
			err = allOf(err, wantText(at+"policy_id", e.PolicyID), wantDecision(at+"decision", e.Decision), wantDigest(at+"digest", e.Digest))
		}
		for j, a := range s.Approvals {
			at := fmt.Sprintf("%sapprovals[%d].", at, j)
			err = allOf(err, wantText(at+"approval_id", a.ApprovalID), wantText(at+"role", a.Role))
		}
	}
	return err
}

func (p *TakeOffPredicate) check() error {
	err := allOf(
		wantVersion(p.Version),
		wantText("workflow_id", p.WorkflowID),
		wantDigest("flight_token", p.FlightToken),
		optionalDigest("plan_bundle", p.PlanBundle),
		p.AuditHead.check(),
		wantText("workflow", p.Workflow),
		wantTime("planned_at", p.PlannedAt),
		wantTime("finished_at", p.FinishedAt),
		wantText("cabincrew", p.CabinCrew),
	)
	err = allOf(err, optionalDigest("instead_of", p.InsteadOf))
	if p.Commit != "" && !commitID.MatchString(p.Commit) {
		err = allOf(err, fmt.Errorf("commit is %.80q", p.Commit))
	}
	if p.Verdict != VerdictCompleted && p.Verdict != VerdictFailed {
		err = allOf(err, fmt.Errorf("verdict %q is neither %s nor %s", p.Verdict, VerdictCompleted, VerdictFailed))
	}
	for i, r := range p.Receipts {
		at := fmt.Sprintf("receipts[%d].", i)
		err = allOf(err,
			wantStep(at+"step_id", r.StepID),
			optionalDigest(at+"digest", r.Digest),
			optionalDigest(at+"log_digest", r.LogDigest),
		)
	}
	return err
}

func (h AuditHead) check() error {
	n, err := strconv.ParseUint(h.Size, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != h.Size {
		return fmt.Errorf("audit_head.size %q is not a decimal number", h.Size)
	}
	if err := wantDigest("audit_head.root", h.Root); err != nil {
		return err
	}
	if len(h.Checkpoint) > limits.AuditCheckpoint {
		return fmt.Errorf("audit_head.checkpoint is longer than %d bytes", limits.AuditCheckpoint)
	}
	if n == 0 && h.LastHash == "" {
		return nil
	}
	return wantDigest("audit_head.last_hash", h.LastHash)
}

// allOf gives one error that says all that is wrong, on one line; nil if nothing is.
func allOf(errs ...error) error {
	var texts []string
	for _, err := range errs {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

var commitID = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)

var nonce = regexp.MustCompile(`^[0-9a-f]{32}$`)

func wantVersion(v string) error {
	if v != PredicateVersion {
		return fmt.Errorf("version is %q, this program reads %q", v, PredicateVersion)
	}
	return nil
}

func wantText(name, v string) error {
	if v == "" {
		return fmt.Errorf("%s is empty", name)
	}
	return nil
}

func wantDigest(name, v string) error {
	if _, err := protocol.ParseDigest(v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func optionalDigest(name, v string) error {
	if v == "" {
		return nil
	}
	return wantDigest(name, v)
}

func wantTime(name, v string) error {
	if _, err := time.Parse(time.RFC3339, v); err != nil {
		return fmt.Errorf("%s %q is not a time in RFC 3339 form", name, v)
	}
	return nil
}

func wantDecision(name string, v protocol.Decision) error {
	if !v.Valid() {
		return fmt.Errorf("%s %q is not a decision", name, v)
	}
	return nil
}

func wantStep(name, v string) error {
	if !protocol.ValidStepID(v) {
		return fmt.Errorf("%s %q is not a step id", name, v)
	}
	return nil
}

// wantObject looks at the first byte only: what is read has been decoded
// strictly by then, and what is written is decoded to bring it in JCS form.
func wantObject(name string, v json.RawMessage) error {
	if v = bytes.TrimSpace(v); len(v) == 0 || v[0] != '{' {
		return fmt.Errorf("%s is not an object", name)
	}
	return nil
}
