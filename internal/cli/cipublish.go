package cli

import (
	"slices"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// commentMark marks the one comment of a change that is ours.
const commentMark = "cabincrew:report"

// beside publishes what the configuration asks for beside the one check: a check for
// each step, a comment, a deployment. The check itself says how it stands, so none of
// these holds anything up.
func (r *ciRun) beside(flown error) {
	var errs []error
	if r.check.Name == r.planName() && r.wants.Checks == config.ChecksPerStep {
		errs = append(errs, r.stepChecks(flown)...)
	}
	if mark := r.artifactName(commentMark); r.wants.Comment && r.change.Number != 0 {
		body := r.report.Comment("", limits.GitHubComment-len(mark)-len("<!--  -->\n")).Markdown
		_, err := r.forge.Comment(r.ctx, r.change.Number, mark, body)
		errs = append(errs, err)
	}
	errs = append(errs, r.deployed(flown))
	for _, err := range errs {
		if err != nil {
			r.complain(err)
		}
	}
}

// stepChecks makes one check for each step. Their names prove nothing, like that of the
// one for all.
func (r *ciRun) stepChecks(flown error) []error {
	var errs []error
	for i := range r.report.Steps {
		rep := r.report
		step := r.report.Steps[i]
		rep.Steps, rep.Decision, rep.FlightToken, rep.Bundle = r.report.Steps[i:i+1], protocol.Decision(step.Decision), step.Token, nil
		rep.Approvals = slices.DeleteFunc(slices.Clone(r.report.Approvals), func(a ci.ReportApproval) bool { return a.Step != step.ID })
		k := github.Check{
			Name: r.planName() + " / " + step.ID, HeadSHA: r.check.HeadSHA, ExternalID: step.Token, Status: "completed", Conclusion: stepConclusion(&rep, flown),
			DetailsURL: r.runURL(), Title: rep.Title(), Summary: rep.Summary(limits.GitHubCheckText).Markdown, Text: rep.Text(limits.GitHubCheckText).Markdown,
		}
		_, err := r.forge.StartCheck(r.ctx, k)
		errs = append(errs, err)
	}
	return errs
}

// stepConclusion is how one step stands: by its own decision and approvals, unless all
// of the flight failed.
func stepConclusion(rep *ci.Report, flown error) string {
	if flown != nil && protocol.ExitCode(flown) != protocol.ExitWaiting && protocol.ExitCode(flown) != protocol.ExitDenied {
		return "failure"
	}
	switch rep.Decision {
	case protocol.Deny:
		return "failure"
	case protocol.RequireApproval:
		if slices.ContainsFunc(rep.Approvals, func(a ci.ReportApproval) bool { return a.Status != ci.ApprovalApproved }) {
			return "action_required"
		}
		return "success"
	case protocol.Warn:
		return "neutral"
	case protocol.Allow:
		return "success"
	}
	return "failure" // nobody judged it
}
