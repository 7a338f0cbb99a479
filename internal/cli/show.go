package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// stepView is a step as people see it.
type stepView struct {
	orchestrator.SummaryStep
	Views []artifactView
}

// approvalView is one approval, asked for and perhaps answered.
type approvalView struct {
	ApprovalID string `json:"approval_id"`
	StepID     string `json:"step_id"`
	Role       string `json:"required_role"`
	Reason     string `json:"reason,omitempty"`
	AskedAt    string `json:"asked_at,omitempty"`
	Status     string `json:"status"` // open, approved or rejected
	Approver   string `json:"approver,omitempty"`
	At         string `json:"answered_at,omitempty"`
	Comment    string `json:"comment,omitempty"`
	// Signed says that the answer's signature is of a key of the configuration.
	Signed bool `json:"signature_verified"`
}

// flightView is everything that is shown of a flight. Fields are zero where the
// flight is too broken to tell.
type flightView struct {
	ID        string
	Info      orchestrator.Info
	Summary   orchestrator.Summary
	Failure   string
	Checks    []orchestrator.Check
	Err       error
	Steps     []stepView
	Approvals []approvalView
	Timeline  []string
	MoreLines int // events that Timeline leaves out
}

func (a *app) showCommand() *cobra.Command {
	var page string
	lines := limits.ShowLines
	cmd := &cobra.Command{
		Use: "show [FLIGHT]", Short: "Show a flight: changes, decisions, approvals, timeline; verifies it too", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *session) error {
				dir, err := s.find(args)
				if err != nil {
					return err
				}
				most, events := max(lines, 0), limits.ShowTimeline
				if page != "" {
					most, events = limits.ShowPageLines, limits.ShowPageEvents
				}
				v := s.view(cmd.Context(), dir, most, events)
				if page != "" {
					err = writeFile(page, func(w io.Writer) error { return renderPage(w, v) })
					if err != nil {
						return err
					}
				}
				return a.tellView(v, page)
			})
		}),
	}
	cmd.Flags().StringVar(&page, "html", "", "write one self-contained HTML page to this file")
	cmd.Flags().IntVar(&lines, "lines", limits.ShowLines, "lines of artifacts to show at most")
	return cmd
}

// tellView prints a view and gives the error of a flight that does not verify.
func (a *app) tellView(v flightView, page string) error {
	switch {
	case a.flags.output == outputJSON:
		a.printJSON(a.viewDocument(v, page))
	case page != "":
		a.text("wrote " + oneLine(page) + "\n")
	default:
		a.text(v.render(a.colours()))
	}
	if v.Err == nil {
		return nil
	}
	a.complain(v.Err)
	return reportedError{v.Err}
}

// view reads and verifies a flight. It never fails: what is broken is told.
func (s *session) view(ctx context.Context, dir *file.Flight, lines, events int) flightView {
	v := flightView{ID: dir.ID()}
	f, checks, err := s.verifyAll(ctx, dir)
	v.Checks, v.Err = checks, err
	if f != nil {
		s.fill(&v, f, lines)
	}
	v.Timeline, v.MoreLines = timeline(dir, events)
	return v
}

// verifyAll checks a flight from its bytes. The flight is given back also where a
// check failed, if it could be read at all.
func (s *session) verifyAll(ctx context.Context, dir *file.Flight) (*orchestrator.Flight, []orchestrator.Check, error) {
	entries, _, checks, err := checkLogs(dir)
	f, loadErr := orchestrator.Load(dir, nil, entries)
	if loadErr != nil {
		f = nil
	}
	if err == nil {
		err = loadErr
		checks = append(checks, checkOf("flight", "", err))
	}
	if err == nil {
		var more []orchestrator.Check
		more, err = s.crew.Verify(ctx, f, s.setup)
		checks = append(checks, more...)
	}
	if err != nil && protocol.ExitCode(err) == protocol.ExitFailure {
		err = protocol.Errorf(protocol.ExitIntegrity, "flight_invalid", "%w", err)
	}
	return f, checks, err
}

func (s *session) fill(v *flightView, f *orchestrator.Flight, lines int) {
	v.Info, v.Summary = f.Info, orchestrator.Summarize(f)
	v.Summary.ApprovalCode = s.crew.Code(f)
	if f.Status.Failure != nil {
		v.Failure = f.Status.Failure.Error
	}
	budget := &lineBudget{left: lines}
	for _, step := range v.Summary.Steps {
		view := stepView{SummaryStep: step}
		for _, a := range step.Artifacts {
			one := viewArtifact(f, step.StepID, a, budget)
			one.Told = one.Type == summaryType && s.builtIn(step.StepID)
			view.Views = append(view.Views, one)
		}
		v.Steps = append(v.Steps, view)
	}
	v.Approvals = s.approvalViews(f, v.Summary.Approvals)
}

// summaryType is the type of artifacts in which built-in engines tell again what their
// patch does.
const summaryType = "summary"

// builtIn says whether a step's engine comes with the program.
func (s *session) builtIn(step string) bool {
	if s.setup == nil || s.setup.Config == nil {
		return false
	}
	c, ok := s.setup.Config.Step(step)
	return ok && c.Engine.Use != ""
}

func (s *session) approvalViews(f *orchestrator.Flight, requests []protocol.ApprovalRequest) []approvalView {
	reasons := map[string]string{}
	for _, q := range requests {
		reasons[q.ApprovalID] = q.Reason
	}
	manifest, err := f.ReadFile(orchestrator.ManifestFile, limits.ManifestFile)
	var out []approvalView
	for _, q := range f.Status.Requested {
		v := approvalView{
			ApprovalID: q.ApprovalID, StepID: q.StepID, Role: q.RequiredRole, Reason: reasons[q.ApprovalID], AskedAt: q.At, Status: "open",
		}
		got, answered := f.Status.Received[q.ApprovalID]
		if answered {
			v.Status, v.Approver, v.At = "approved", got.Approver, got.At
			if !got.Approved {
				v.Status = "rejected"
			}
		}
		if raw, readErr := f.ReadFile("approvals/"+q.ApprovalID+".response.json", limits.Approval); answered && err == nil && readErr == nil {
			// An answer that does not verify is shown without its reason; Verify says why.
			if st, err := s.crew.Signatures.Approval(raw, manifest); err == nil && st.Response.ApprovalID == q.ApprovalID {
				v.Signed, v.Comment = true, st.Response.Reason
			}
		}
		out = append(out, v)
	}
	return out
}

// openAudit opens the audit log of a flight for reading.
func openAudit(dir *file.Flight) (*os.File, error) {
	if info, err := dir.Root().Lstat(auditName); err != nil || !info.Mode().IsRegular() {
		if err == nil {
			err = errors.New("it is not a regular file")
		}
		return nil, protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "the audit log cannot be read: %w", err).At(auditName).
			WithHint("restore audit.jsonl from a copy")
	}
	// Without waiting, should it have become a pipe since.
	f, err := dir.Root().OpenFile(auditName, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "the audit log cannot be read: %w", err).At(auditName)
	}
	return f, nil
}

// timeline gives the first lines of the timeline, as far as the log can be read.
func timeline(dir *file.Flight, most int) (lines []string, more int) {
	in, err := openAudit(dir)
	if err != nil {
		return nil, 0
	}
	defer func() { _ = in.Close() }() // only read
	w := &firstLines{most: most}
	_ = audit.Timeline(in, w, audit.TimelineOptions{}) // where it ends early, the checks say why
	return w.lines, w.more
}

// firstLines keeps the first lines that are written to it and counts the others.
type firstLines struct {
	lines []string
	part  strings.Builder
	most  int
	more  int
}

func (w *firstLines) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c != '\n':
			if w.part.Len() < limits.ShowLineBytes {
				w.part.WriteByte(c)
			}
			continue
		case len(w.lines) < w.most:
			w.lines = append(w.lines, strings.ToValidUTF8(w.part.String(), ""))
		default:
			w.more++
		}
		w.part.Reset()
	}
	return len(p), nil
}

// verdictLine says whether the flight verifies.
func (v *flightView) verdictLine() string {
	if v.Err == nil {
		return "verified  every check passed"
	}
	return "NOT VERIFIED  " + oneLine(v.Err.Error())
}

func (v *flightView) render(colour bool) string {
	var b strings.Builder
	ink := paintGreen
	if v.Err != nil {
		ink = paintRed
	}
	b.WriteString(ink.on(colour, v.verdictLine()) + "\n")
	if v.Summary.WorkflowID == "" {
		b.WriteString("flight    " + oneLine(v.ID) + "\n")
	} else {
		b.WriteString("workflow  " + oneLine(v.Info.Workflow) + ", created " + oneLine(v.Info.CreatedAt) + "\n")
		b.WriteString(renderSummary(v.Summary))
	}
	if v.Failure != "" {
		b.WriteString("failed    " + oneLine(v.Failure) + "\n")
	}
	v.renderPlan(&b, colour)
	v.renderApprovals(&b)
	if len(v.Timeline) > 0 {
		b.WriteString("\n" + paintBold.on(colour, "timeline") + "\n")
		for _, line := range v.Timeline {
			b.WriteString("  " + line + "\n")
		}
	}
	if v.MoreLines > 0 {
		_, _ = fmt.Fprintf(&b, "  … %d events are left out; cabincrew audit show has them all\n", v.MoreLines)
	}
	if v.Err != nil {
		b.WriteString("\n" + paintRed.on(colour, "This flight does not verify: trust nothing above.") + "\n")
	}
	return b.String()
}

// renderPlan writes what each step would do and what was decided of it.
func (v *flightView) renderPlan(b *strings.Builder, colour bool) {
	for i := range v.Steps {
		step := &v.Steps[i]
		b.WriteString("\n" + paintBold.on(colour, "step "+oneLine(step.StepID)) + "\n")
		for j := range step.Views {
			step.Views[j].render(b, colour)
		}
		for _, e := range step.Evaluations {
			ink := paintDim
			if e.Decision == protocol.Deny || e.Decision == protocol.RequireApproval {
				ink = paintRed
			}
			line := fmt.Sprintf("decision %s by %s", e.Decision, oneLine(e.PolicyID))
			if e.Reason != "" {
				line += ": " + oneLine(e.Reason)
			}
			b.WriteString("  " + ink.on(colour, line) + "\n")
		}
	}
}

func (v *flightView) renderApprovals(b *strings.Builder) {
	if len(v.Approvals) == 0 {
		return
	}
	b.WriteString("\napprovals\n")
	for _, q := range v.Approvals {
		_, _ = fmt.Fprintf(b, "  %-9s role %s, step %s, asked %s: %s\n", q.Status, oneLine(q.Role), oneLine(q.StepID), q.AskedAt, oneLine(q.Reason))
		if q.Status == "open" {
			continue
		}
		word := "signature verified"
		if !q.Signed {
			word = "SIGNATURE NOT VERIFIED"
		}
		_, _ = fmt.Fprintf(b, "            by %s at %s, %s", oneLine(q.Approver), q.At, word)
		if q.Comment != "" {
			b.WriteString(": " + oneLine(q.Comment))
		}
		b.WriteString("\n")
	}
}

// leftOut gives how many lines of artifacts a view does not show.
func (v *flightView) leftOut() int {
	n := 0
	for _, step := range v.Steps {
		for _, a := range step.Views {
			n += a.LeftOut
		}
	}
	return n
}

// showPlan shows a person what a flight would do and what was decided of it,
// before they answer. It gives how many lines it left out.
func (a *app) showPlan(s *session, f *orchestrator.Flight) (leftOut int) {
	var v flightView
	s.fill(&v, f, limits.ShowPageLines)
	var b strings.Builder
	v.renderPlan(&b, a.colours())
	v.renderApprovals(&b)
	n := v.leftOut()
	if n > 0 {
		_, _ = fmt.Fprintf(&b, "\nNot everything is shown (%d lines are left out): look at the artifacts in %s before you answer.\n", n, oneLine(f.Dir.Dir()))
	}
	b.WriteString("\n")
	a.text(b.String())
	return n
}

// viewPatch names the files of one patch in the JSON document.
type viewPatch struct {
	StepID   string       `json:"step_id"`
	Artifact string       `json:"artifact"`
	Files    []patch.File `json:"files"`
	Problem  string       `json:"problem,omitempty"`
}

// viewDocument is the JSON form: the summary and what show adds to it.
func (a *app) viewDocument(v flightView, page string) any {
	doc := struct {
		orchestrator.Summary
		Workflow  string               `json:"workflow,omitempty"`
		CreatedAt string               `json:"created_at,omitempty"`
		Verified  bool                 `json:"verified"`
		Checks    []orchestrator.Check `json:"checks"`
		Patches   []viewPatch          `json:"patches"`
		Answers   []approvalView       `json:"approval_records"`
		Failure   string               `json:"failure,omitempty"`
		HTML      string               `json:"html,omitempty"`
	}{
		Summary: v.Summary, Workflow: v.Info.Workflow, CreatedAt: v.Info.CreatedAt, Verified: v.Err == nil, Checks: v.Checks,
		Patches: []viewPatch{}, Answers: append([]approvalView{}, v.Approvals...), Failure: v.Failure, HTML: page,
	}
	doc.WorkflowID = v.ID
	if v.Err != nil {
		doc.Error = a.errorOf(v.Err)
	}
	for _, step := range v.Steps {
		for _, art := range step.Views {
			if art.Type == orchestrator.TypePatch {
				doc.Patches = append(doc.Patches, viewPatch{step.StepID, art.Name, append([]patch.File{}, art.Files...), art.Problem})
			}
		}
	}
	return doc
}
