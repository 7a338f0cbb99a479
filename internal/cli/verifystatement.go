package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// approvalsDir is where answers lie in a flight's directory.
const approvalsDir = "approvals"

// isStatement says whether an argument is the file of one signed statement.
func isStatement(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && strings.HasSuffix(name, ".json")
}

// lone is one signed statement, and what it must be about.
type lone struct {
	raw, manifest []byte
	plan          []byte // the signed plan that lies there; nil: none
	trust         *trusted
	now           time.Time
}

// verifyStatement checks one signed statement by itself.
func (a *app) verifyStatement(name string, v *verification) error {
	if v.insecure {
		return usageError("usage", "--insecure-ignore-signatures leaves nothing of a statement to be checked").WithHint("name keys with --key, or a policy with --policy")
	}
	st, err := v.open(name)
	if err != nil {
		return err
	}
	if v.alone() {
		st.trust, err = a.trustOf(v)
	} else {
		st.trust, err = a.configuredTrust()
	}
	if err != nil {
		return err
	}
	checks, doc, err := st.checks()
	if err != nil && len(checks) == 0 {
		return err
	}
	if err != nil && protocol.ExitCode(err) == protocol.ExitFailure {
		err = protocol.Errorf(protocol.ExitIntegrity, "statement_invalid", "%w", err)
	}
	if a.flags.output == outputJSON {
		out := map[string]any{"file": name, "verified": err == nil, "checks": checks}
		if doc != nil {
			out["statement"] = doc
		}
		if err != nil {
			out["error"] = a.errorOf(err)
		}
		a.printJSON(out)
	}
	a.textChecks(checks)
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	a.text(oneLine(name) + " verifies\n")
	return nil
}

// open reads a statement, the manifest that it must be about, and the signed plan
// that lies beside that.
func (v *verification) open(statement string) (*lone, error) {
	raw, err := readWhole(statement, limits.BundleBytes)
	if err != nil {
		return nil, usageError("statement_unreadable", "the statement cannot be read: %w", err).At(statement)
	}
	st := &lone{raw: raw, now: time.Now()}
	dirs, err := beside(statement)
	if err != nil {
		return nil, err
	}
	name := v.manifest
	for _, dir := range dirs {
		if at := filepath.Join(dir, orchestrator.ManifestFile); name == "" && there(at) {
			name = at
		}
	}
	if name == "" {
		return nil, usageError("verify_manifest", "a statement is about a manifest, and there is no %s beside it", orchestrator.ManifestFile).
			WithHint("name the manifest with --manifest")
	}
	if st.manifest, err = readWhole(name, limits.ManifestFile); err != nil {
		return nil, usageError("verify_manifest", "the manifest cannot be read: %w", err).At(name)
	}
	for _, dir := range append([]string{filepath.Dir(name)}, dirs...) {
		at := filepath.Join(dir, orchestrator.PlanBundle)
		if !there(at) {
			continue
		}
		if st.plan, err = readWhole(at, limits.BundleBytes); err != nil {
			return nil, usageError("verify_plan", "the signed plan cannot be read: %w", err).At(at)
		}
		return st, nil
	}
	return st, nil
}

// beside gives the directories in which what a statement is about may lie: its own,
// and for one in approvals/ that of the flight.
func beside(statement string) ([]string, error) {
	at, err := filepath.Abs(statement)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(at)
	if filepath.Base(dir) != approvalsDir {
		return []string{dir}, nil
	}
	return []string{dir, filepath.Dir(dir)}, nil
}

func there(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// checks does the checks of the statement in order, up to the first that fails. Where
// there are none, nobody is trusted.
func (st *lone) checks() (checks []orchestrator.Check, doc map[string]any, err error) {
	kind, err := signing.UnverifiedType(st.raw)
	if err != nil {
		return append(checks, checkOf("signature", "", err)), nil, err
	}
	trust, err := st.trust.of(kind)
	told := kind == signing.ApprovalType && st.trust.witnessed(st.raw, st.manifest, st.now)
	if told {
		trust, err = st.trust.plan, nil
	}
	if err != nil {
		return nil, nil, err
	}
	v, err := trust.Verify(st.raw, st.now)
	if err != nil {
		return append(checks, checkOf("signature", "", err)), nil, err
	}
	checks = append(checks, checkOf("signature", "by "+signerOf(v), nil))
	when := orchestrator.Check{Name: "time", Status: orchestrator.NotApplicable, Detail: "no authority attests when it was signed"}
	if !v.Time.IsZero() {
		when = checkOf("time", "signed at "+v.Time.UTC().Format(time.RFC3339)+" ("+v.TimeSource+")", nil)
	}
	checks = append(checks, when)
	doc = map[string]any{"predicate_type": v.Statement.PredicateType, "predicate": v.Statement.Predicate}
	var more []orchestrator.Check
	switch v.Statement.PredicateType {
	case signing.FlightPlanType:
		var p *signing.FlightPlanPredicate
		if p, _, err = trust.VerifyFlightPlan(st.raw, st.manifest, st.now); err == nil {
			more = append(more, st.validity(p))
		}
	case signing.TakeOffType:
		_, _, err = trust.VerifyTakeOff(st.raw, st.manifest, st.now)
	case signing.ApprovalType:
		var p *signing.ApprovalPredicate
		if p, _, err = trust.VerifyApproval(st.raw, st.manifest, st.now); err == nil {
			checks = append(checks, aboutManifest(v, nil))
			more, err = st.approval(p, v)
			return append(checks, more...), doc, err
		}
	default:
		err = protocol.Errorf(protocol.ExitIntegrity, signing.CodeStatementMismatch, "the statement's predicateType is %.100q, which this program does not know", v.Statement.PredicateType)
	}
	return append(append(checks, aboutManifest(v, err)), more...), doc, err
}

func aboutManifest(v *signing.Verified, err error) orchestrator.Check {
	return checkOf("statement", v.Statement.PredicateType+" about "+orchestrator.ManifestFile, err)
}

// validity tells until when a plan takes off. A plan that does no longer is as genuine
// as before.
func (st *lone) validity(p *signing.FlightPlanPredicate) orchestrator.Check {
	if p.NotAfter == "" {
		return checkOf("validity", "the plan takes off at any time", nil)
	}
	end, err := time.Parse(time.RFC3339, p.NotAfter)
	if err != nil {
		return checkOf("validity", "", err)
	}
	if st.now.After(end) {
		return checkOf("validity", "past: the plan took off until "+p.NotAfter, nil)
	}
	return checkOf("validity", "the plan takes off until "+p.NotAfter, nil)
}

// approval checks who approves, and which signed plan.
func (st *lone) approval(p *signing.ApprovalPredicate, v *signing.Verified) ([]orchestrator.Check, error) {
	answer := p.Response.Approver + " approves as " + p.Role
	if !p.Response.Approved {
		answer = p.Response.Approver + " rejects as " + p.Role
	}
	who := orchestrator.Check{Name: "approver", Status: orchestrator.NotApplicable, Detail: "it says that " + answer + "; nobody named who that is"}
	switch roles := governanceRoles(st.trust.answers); {
	case len(p.Witnesses) > 0 && !st.trust.witnessed(st.raw, st.manifest, st.now):
		err := protocol.Errorf(protocol.ExitIntegrity, "approval_witness", "it tells what people did on a forge, and is not signed by who signs plans")
		return []orchestrator.Check{checkOf("approver", answer, err)}, err
	case len(p.Witnesses) > 0 && len(roles) > 0:
		var err error
		if !slices.ContainsFunc(roles, func(r orchestrator.Role) bool { return r.Name == p.Role }) || p.Role != p.Request.RequiredRole {
			err = protocol.Errorf(protocol.ExitIntegrity, "approval_role", "the role %s is none that people of the forge hold", p.Role)
		}
		if who = checkOf("approver", answer+", as the forge told who signed the plan", err); err != nil {
			return []orchestrator.Check{who}, err
		}
	case len(p.Witnesses) > 0:
		who.Detail += "; it is the forge's word, told by who signed the plan"
	case len(st.trust.people) == 0 && len(roles) > 0:
		err := protocol.Errorf(protocol.ExitIntegrity, "approval_not_approver", "%q has no key here, and it names nothing that anybody did on a forge", p.Response.Approver)
		return []orchestrator.Check{checkOf("approver", answer, err)}, err
	case len(st.trust.people) > 0:
		err := st.trust.approver(p, v.KeyFingerprint)
		who = checkOf("approver", answer, err)
		if err != nil {
			return []orchestrator.Check{who}, err
		}
	}
	about := orchestrator.Check{Name: "signed plan", Status: orchestrator.NotApplicable, Detail: "it is about a plan that is not signed, and there is none that is"}
	if p.PlanBundle != "" || st.plan != nil {
		err := st.samePlan(p.PlanBundle)
		about = checkOf("signed plan", p.PlanBundle, err)
		return []orchestrator.Check{who, about}, err
	}
	return []orchestrator.Check{who, about}, nil
}

// samePlan refuses an approval of another signed plan than the one that lies there, and
// one of none where there is one: what is to be signed is not approved before.
func (st *lone) samePlan(named string) error {
	if st.plan == nil {
		return usageError("verify_plan", "the approval is about a signed plan, and there is no %s beside the manifest", orchestrator.PlanBundle).
			WithHint("put the signed plan there: whether it is the one that was approved cannot be told without it")
	}
	if have := protocol.Digest(st.plan); named != have {
		return protocol.Errorf(protocol.ExitIntegrity, "approval_mismatch", "the approval is about a signed plan with digest %q, this one has %q", named, have).
			WithHint("the plan must be approved as it is signed now")
	}
	return nil
}
