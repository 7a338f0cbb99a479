package cli

import (
	"fmt"
	"strings"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// renderSummary tells people of a flight: what, and what the policies say.
func renderSummary(s orchestrator.Summary) string {
	var b strings.Builder
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format, args...) }
	p("flight    %s\n", s.WorkflowID)
	p("state     %s\n", s.State)
	if s.Decision != "" {
		p("decision  %s\n", s.Decision)
	}
	if s.FlightToken != "" {
		p("token     %s\n", s.FlightToken)
	}
	if s.ApprovalCode != "" {
		p("code      %s\n", s.ApprovalCode)
	}
	renderSteps(&b, s.Steps)
	for _, q := range s.Approvals {
		if s.State != protocol.StateAwaitingApproval {
			break // answered, or of no use any more
		}
		p("\napproval  role %s, step %s\n", oneLine(q.RequiredRole), q.StepID)
	}
	if s.Preview != nil {
		p("\npreview   of the configuration that this change brings: not judged, without a token, it never takes off\n")
		for _, what := range s.Preview.Without {
			p("  %s\n", oneLine(what))
		}
		renderSteps(&b, s.Preview.Steps)
		for _, change := range s.Preview.Changes {
			p("  %s\n", oneLine(change))
		}
		if e := s.Preview.Error; e != nil {
			p("  it cannot be planned: %s (%s)\n", oneLine(e.Message), oneLine(e.Code))
		}
	}
	return b.String()
}

// renderNext tells people at a terminal what to type next.
func renderNext(s orchestrator.Summary) string {
	if next := nextCommand(s); next != "" {
		return "\nnext      " + next + "\n"
	}
	return ""
}

func renderSteps(b *strings.Builder, steps []orchestrator.SummaryStep) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format, args...) }
	for _, step := range steps {
		p("\nstep %s", step.StepID)
		if step.EngineID != "" {
			p("  engine %s", oneLine(step.EngineID))
		}
		if step.Isolation != nil {
			p("  isolation %s", oneLine(step.Isolation.Tier))
		}
		if step.Decision != "" {
			p("  decision %s", step.Decision)
		}
		p("\n")
		for _, a := range step.Artifacts {
			p("  artifact %s (%s, %d bytes)\n", oneLine(a.Name), oneLine(a.Role), a.Size)
		}
		for _, e := range step.Evaluations {
			if e.Decision != protocol.Allow {
				p("  %s: %s\n", e.Decision, oneLine(e.Reason))
			}
		}
	}
}

func nextCommand(s orchestrator.Summary) string {
	switch s.State {
	case protocol.StateAwaitingApproval:
		return "cabincrew approve " + s.WorkflowID + " --as NAME --key FILE"
	case protocol.StateReadyForTakeoff:
		return "cabincrew take-off " + s.WorkflowID
	case protocol.StatePlanGenerated:
		return "cabincrew seal " + s.WorkflowID
	case protocol.StateCompleted, protocol.StateFailed:
		return ""
	}
	return "cabincrew resume " + s.WorkflowID
}
