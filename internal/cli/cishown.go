package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/orchestrator"
)

// codeNeeded says whether an approval must name the code, and notes why: because the
// configuration says so, because the commit had another plan too, or because a check
// has no room for all of the plan. Whoever counts approvals finds the same from the
// flight's bytes. SPEC: docs/protocol.md 7, docs/threats.md T44
func (r *ciRun) codeNeeded(s *session, f *orchestrator.Flight, v *flightView) bool {
	hidden, besides := 0, false
	for _, step := range v.Steps {
		for _, a := range step.Views {
			hidden += a.LeftOut
			besides = besides || a.hides(patched(step.Views))
		}
	}
	if hidden > 0 {
		r.report.Notes = append(r.report.Notes, fmt.Sprintf("%d lines of the plan are shown nowhere here: read them in the flight itself (cabincrew show).", hidden))
	}
	return s.setup.Config.Approvals.Binding == "code" || s.crew.CodeNeeded(f) || hidden > 0 || besides || r.report.Redacted || !whole(&r.report)
}

// whole says whether a check shows all that a flight itself says, with room left for
// what else the report of a run has.
func whole(rep *ci.Report) bool {
	bare := *rep
	bare.CodeNeeded, bare.Approvals, bare.Notes, bare.Failure, bare.Bundle, bare.Links = false, nil, nil, nil, nil, ci.ReportLinks{}
	const room = limits.GitHubCheckText - limits.GitHubCheckText/8
	return !bare.Summary(room).Cut && !bare.Text(room).Cut
}

// conceal takes the secrets that the run knows out of a report.
func conceal(rep *ci.Report, by *redact.Redactor) error {
	if by.Empty() {
		return nil
	}
	bundle := rep.Bundle
	rep.Bundle = nil // it is verified by its bytes, and has no secret: plan looked
	defer func() { rep.Bundle = bundle }()
	before, err := json.Marshal(rep)
	if err != nil {
		return err
	}
	var document any
	if err := json.Unmarshal(before, &document); err != nil {
		return err
	}
	same, err := json.Marshal(document)
	if err != nil {
		return err
	}
	after, err := json.Marshal(by.Value(document))
	if err != nil || bytes.Equal(same, after) {
		return err
	}
	var out ci.Report
	if err := json.Unmarshal(after, &out); err != nil {
		return err
	}
	*rep = out
	rep.Redacted = true
	return nil
}

// signedText is what the signing job adds to the check of the judging one: the signed
// plan, and the code, which there is none of before. Where the check does not show
// everything, the code stands in this job's summary only, beside which the whole report
// is. SPEC: docs/threats.md T35, T44
func (r *ciRun) signedText(text, summary string) (string, error) {
	if r.code == "" {
		return text, nil
	}
	if ci.Withheld(summary) {
		return text, r.job.Summary([]byte("The check does not show the whole plan. Read the file report.md of the judging job, then approve with the code " + r.code + ".\n"))
	}
	why := "where you are asked for it"
	if r.codeAsked {
		why = "; without it an approval does not count"
	}
	return "**Approval code:** `" + r.code + "`. Write it into your approval " + why + ".\n\n" + text, nil
}
