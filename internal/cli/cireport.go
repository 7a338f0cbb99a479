package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// Names of the checks. Trust is never in them: they are for people.
const (
	planCheck    = "cabincrew / flight-plan"
	driftCheck   = "cabincrew / drift" // of no change
	takeOffCheck = "cabincrew / take-off"
)

// checkName is the name of a check: flights of single steps have their own.
func (r *ciRun) checkName(kind string) string {
	if r.flags.step == "" {
		return kind
	}
	return kind + " (" + r.flags.step + ")"
}

// artifactName is the name of an artifact, with the step whose flight is kept in it.
func (r *ciRun) artifactName(part string) string {
	if r.flags.step == "" {
		return part
	}
	return part + "-" + r.flags.step
}

// begin shows that the job is at work.
func (r *ciRun) begin(name, head string) error {
	r.report.Links.Run = r.runURL()
	if name == r.planName() {
		r.report.Links.Replan = r.replanLink()
	}
	var err error
	r.check, err = r.forge.StartCheck(r.ctx, github.Check{Name: name, HeadSHA: head, Status: "in_progress", DetailsURL: r.runURL(), Title: "at work", Summary: "The job is at work."})
	if err == nil {
		err = r.job.Output("check-run-url", r.check.URL)
	}
	return err
}

func (r *ciRun) runURL() string {
	return r.runPage(r.env["GITHUB_RUN_ID"])
}

// describe fills in the report from a flight, as far as it can be read.
func (r *ciRun) describe(s *session, f *orchestrator.Flight, flown error) error {
	var v flightView
	s.fill(&v, f, limits.ShowPageLines)
	sum := v.Summary
	r.text(renderSummary(sum))
	r.depict(s, f, &v)
	if flown != nil && protocol.ExitCode(flown) != protocol.ExitWaiting {
		r.report.Failure = failureOf(flown)
	}
	r.redactor, r.wants.Comment, r.wants.Checks = s.setup.Redactor, s.setup.Config.Comment, s.setup.Config.Checks
	return r.tell(f)
}

// depict fills in what a flight itself says.
func (r *ciRun) depict(s *session, f *orchestrator.Flight, v *flightView) {
	sum, rep := v.Summary, &r.report
	rep.WorkflowID, rep.FlightToken, rep.Workflow, rep.State, rep.Decision = f.ID(), sum.FlightToken, f.Info.Workflow, string(sum.State), sum.Decision
	rep.Change, rep.Head = r.changeName(), s.setup.Source.HeadCommit
	rep.Code = sum.ApprovalCode
	rep.Steps = nil
	for _, step := range v.Steps {
		out := ci.ReportStep{ID: step.StepID, Engine: step.EngineID, Token: step.Token, Decision: string(step.Decision), Evaluations: step.Evaluations}
		if c, ok := s.setup.Config.Step(step.StepID); ok {
			out.Target = c.Target
		}
		if step.Isolation != nil {
			out.Isolation = step.Isolation.Tier
		}
		for _, a := range step.Views {
			out.Artifacts = append(out.Artifacts, ci.ReportArtifact{Name: a.Name, Role: a.Role, Hash: a.Hash, Size: a.Size})
			out.Effects = append(out.Effects, effectsOf(&a, patched(step.Views))...)
		}
		if secretIn(step.Evaluations) {
			withhold(out.Effects)
			rep.Redacted = true
		}
		rep.Steps = append(rep.Steps, out)
	}
	r.approvals(s, v.Approvals)
	if raw, err := f.ReadFile(orchestrator.PlanBundle, limits.BundleBytes); err == nil {
		rep.Bundle, rep.BundleDigest = raw, protocol.Digest(raw)
	}
	rep.CodeNeeded = r.codeNeeded(s, f, v)
}

// approvals tells who must approve, and how.
func (r *ciRun) approvals(s *session, views []approvalView) {
	r.report.Approvals = nil
	var counts []ci.RoleCount
	if p, ok := s.crew.Forge.(*people); ok {
		counts = p.counted
	}
	for _, q := range views {
		a := ci.ReportApproval{Step: q.StepID, Role: q.Role, Status: q.Status, Need: 1, How: howTo(s, q.Role)}
		if q.Approver != "" {
			a.By = []string{q.Approver}
		}
		for _, role := range s.setup.Governance.Roles {
			if role.Name == q.Role {
				a.Need = role.Count
			}
		}
		for _, c := range counts {
			if c.Role != q.Role {
				continue
			}
			for _, act := range c.By {
				a.By = append(a.By, act.Person.Login)
			}
			for _, x := range c.Refused {
				a.Refused = append(a.Refused, x.Act.Person.Login+": "+x.Why)
			}
			if c.Blocked != nil {
				a.Status = ci.ApprovalBlocked
			} else if c.Approved() {
				a.Status = ci.ApprovalApproved
			}
		}
		slices.Sort(a.By)
		a.By = slices.Compact(a.By)
		r.report.Approvals = append(r.report.Approvals, a)
	}
}

// howTo says how a role's approval is given.
func howTo(s *session, role string) string {
	for _, c := range forgeRoles(s.setup.Config.Approvals) {
		if c.Name != role {
			continue
		}
		var who []string
		who = append(who, c.Users...)
		for _, t := range c.Teams {
			who = append(who, "team "+t)
		}
		if c.Permission != "" {
			who = append(who, "whoever may "+c.Permission)
		}
		if c.CodeOwners {
			who = append(who, "the code owners")
		}
		return "approve the change in a review (" + strings.Join(who, ", ") + ")"
	}
	return "cabincrew approve --as NAME --key FILE"
}

// patched says whether a step plans by patches: then what lies beside them only tells
// of them.
func patched(views []artifactView) bool {
	return slices.ContainsFunc(views, func(a artifactView) bool { return a.Type == orchestrator.TypePatch && a.Size > 0 })
}

// effectsOf tells what an artifact would do.
func effectsOf(a *artifactView, beside bool) []ci.Effect {
	if a.Role != protocol.RoleEvidence || beside && a.Type != orchestrator.TypePatch {
		return nil
	}
	if a.Type == orchestrator.TypePatch && a.Size == 0 {
		return nil // it changes nothing
	}
	if len(a.Files) == 0 {
		e := ci.Effect{Action: a.Action, What: a.Target, Detail: a.Type}
		if e.Action == "" && e.What == "" {
			e.Action, e.What = "write", a.Name
		}
		var b strings.Builder
		for _, l := range a.Lines {
			b.WriteString(l.Text + "\n")
		}
		e.Diff = b.String()
		if a.Problem != "" {
			e.Detail = "cannot be shown: " + a.Problem
		}
		return []ci.Effect{e}
	}
	return fileEffects(a)
}

func fileEffects(a *artifactView) []ci.Effect {
	var out []ci.Effect
	next := 0
	for _, m := range a.Files {
		e := ci.Effect{Action: string(m.Op), What: m.Path(), Path: m.Path(), Detail: fmt.Sprintf("+%d -%d", m.Added, m.Deleted)}
		if m.Op == patch.Rename {
			e.What = m.OldPath + " -> " + m.NewPath
		}
		var b strings.Builder
		if next < len(a.Lines) && a.Lines[next].Kind == lineFile {
			next++
		}
		for ; next < len(a.Lines) && a.Lines[next].Kind != lineFile; next++ {
			if a.Lines[next].Kind == lineHunk && e.Line == 0 {
				_, _ = fmt.Sscanf(a.Lines[next].Text[strings.IndexByte(a.Lines[next].Text, '+')+1:], "%d", &e.Line) // 0 where it says nothing
			}
			b.WriteString(a.Lines[next].Text + "\n")
		}
		e.Diff = b.String()
		out = append(out, e)
	}
	return out
}

func failureOf(err error) *ci.ReportFailure {
	f := &ci.ReportFailure{Code: "failure", Message: err.Error(), Exit: protocol.ExitCode(err)}
	var known *protocol.Error
	if errors.As(err, &known) {
		f.Code, f.Message, f.Where, f.Hint = known.Code, known.Message, known.Where, known.Hint
	}
	return f
}

// concluded tells the forge how the job ended, and passes the error on. What cannot be
// told is an error too: nobody would know what the plan came to.
func (r *ciRun) concluded(err error) error {
	if err != nil && protocol.ExitCode(err) != protocol.ExitWaiting && r.report.Failure == nil {
		r.report.Failure = failureOf(err)
	}
	return errors.Join(err, r.publish(err))
}

// publish writes the check, the job's summary, the comment and the whole report.
func (r *ciRun) publish(err error) error {
	rep := &r.report
	if err := conceal(rep, r.redactor); err != nil {
		return err
	}
	k := r.check
	conclusion, room := conclusionOf(rep, err), limits.GitHubCheckText
	waits := r.toBeSigned(conclusion)
	if waits {
		room -= limits.GitHubSignNote
	}
	k.Status, k.Conclusion, k.ExternalID, k.DetailsURL = checkDone, conclusion, rep.FlightToken, r.runURL()
	remarks := rep.Annotations()
	if more := len(remarks) - limits.GitHubAnnotationsAll; more > 0 { // the gravest come first
		remarks = remarks[:limits.GitHubAnnotationsAll]
		rep.Notes = append(rep.Notes, fmt.Sprintf("%d remarks more than a check holds do not stand at the changed lines.", more))
	}
	k.Title = rep.Title()
	k.Summary = rep.Summary(room).Markdown
	k.Text = rep.Text(room).Markdown
	k.Annotations, k.Actions = nil, r.replanButton(k)
	for _, a := range remarks {
		k.Annotations = append(k.Annotations, github.Annotation(a))
	}
	if waits {
		k = opened(k)
	}
	shown, updated := r.forge.UpdateCheck(r.ctx, k)
	if updated == nil {
		updated = r.handCheck(shown, conclusion)
	}
	summed := r.summed()
	r.beside(err)
	return errors.Join(updated, summed, r.keepReport())
}

// summed writes the report into the step's summary, as far as there is room: a step that
// flies several merges has one summary for all.
func (r *ciRun) summed() error {
	room := r.job.SummaryRoom()
	if room < leastSummary {
		return nil
	}
	return r.job.Summary([]byte(r.report.JobSummary(room).Markdown))
}

// leastSummary is enough for a report without its plan.
const leastSummary = 16 << 10

// keepReport writes the whole report beside the flight.
func (r *ciRun) keepReport() error {
	dir, err := r.handOver("report")
	if err != nil {
		return err
	}
	at := filepath.Join(dir, "report.md")
	if err := os.WriteFile(at, r.report.Full(), 0o600); err != nil {
		return unwritable(at, err)
	}
	// The judging job hands on nothing but the flight: the report goes beside it.
	beside := filepath.Join(r.out, judgedPart)
	if _, err := os.Stat(beside); err == nil {
		if err := os.WriteFile(filepath.Join(beside, "report.md"), r.report.Full(), 0o600); err != nil {
			return unwritable(beside, err)
		}
	}
	return r.job.Output("report-path", at)
}

func conclusionOf(rep *ci.Report, err error) string {
	switch {
	case err != nil && protocol.ExitCode(err) == protocol.ExitWaiting:
		return "action_required"
	case err != nil, rep.Decision == protocol.Deny:
		return "failure"
	case rep.Decision == protocol.Warn:
		return "neutral"
	}
	return "success"
}
