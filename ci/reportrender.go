package ci

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Title is the report in one line of at most 255 bytes, without any foreign word.
func (r *Report) Title() string {
	out := r.verdict()
	if f := r.Failure; f != nil {
		return fmt.Sprintf("%s: %s (exit %d)", out, errorCode(f.Code), f.Exit)
	}
	out += ": " + r.counts()
	if n := len(r.open()); n > 0 {
		out += "; " + many(n, "approval open", "approvals open")
	}
	return clip(out, limits.CheckTitle)
}

// Summary tells the decision, what would change, and who must approve and how. Where
// it or the Text of the same room is not whole it is Cut, and the approval code is not
// in it: the two are read together.
func (r *Report) Summary(most int) Rendered {
	d := document{
		head: r.head, least: r.least, foot: r.links(), gap: r.gap,
		sections: filled(r.failureSection(), r.changeSection(noDiffs), r.approvalSection(), r.policySection(false), r.noteSection()),
	}
	return d.render(most, r.Text(most).Cut)
}

// Text tells the rest: each step, what each policy says, each difference, and the
// signed plan where there is room for it.
func (r *Report) Text(most int) Rendered {
	most = max(most, limits.ReportLeast)
	foot, block := r.bundle()
	d := document{
		head: r.origin, least: r.least, foot: foot, gap: r.gap,
		sections: filled(r.stepSection(), r.policySection(true), r.changeSection(openDiffs), r.artifactSection()),
	}
	out := d.render(most, false)
	if rest, ok := strings.CutSuffix(out.Markdown, foot); ok && block != "" && len(rest)+len(block) <= most {
		out.Markdown = rest + block
	}
	return out
}

// JobSummary is the whole report on one page.
func (r *Report) JobSummary(most int) Rendered {
	foot, _ := r.bundle()
	d := document{
		head:     func(cut bool) string { return "## " + r.Title() + "\n\n" + r.head(cut) + "\n" + r.origin(false) },
		least:    r.least,
		foot:     r.links() + foot,
		gap:      r.gap,
		sections: r.everything(openDiffs),
	}
	return d.render(most, false)
}

// Comment is the report for the conversation of a change, its differences folded. The
// marker is in its first line, by which it is found again.
func (r *Report) Comment(marker string, most int) Rendered {
	d := document{
		head:  func(cut bool) string { return markerLine(marker) + "### " + r.Title() + "\n\n" + r.head(cut) },
		least: func() string { return markerLine(marker) + r.least() },
		foot:  r.links(), gap: r.gap,
		sections: filled(r.failureSection(), r.approvalSection(), r.changeSection(foldedDiffs), r.policySection(true), r.noteSection()),
	}
	return d.render(most, false)
}

// Full is everything, uncut, with the approval code: the file that others link to.
func (r *Report) Full() []byte {
	foot, block := r.bundle()
	if block != "" {
		foot = block
	}
	d := document{
		head: func(cut bool) string {
			return "# " + r.Title() + "\n\n" + r.decide() + r.codeText(cut, true) + "\n" + r.origin(false)
		},
		least:    r.least,
		foot:     r.links() + foot,
		gap:      r.gap,
		sections: r.everything(openDiffs),
	}
	return []byte(d.render(math.MaxInt, false).Markdown)
}

func (r *Report) everything(how diffs) []section {
	return filled(r.failureSection(), r.approvalSection(), r.changeSection(how), r.policySection(true), r.stepSection(), r.artifactSection(), r.noteSection())
}

// markerLine is an HTML comment of ours; nothing in it ends it.
func markerLine(marker string) string {
	if marker == "" {
		return ""
	}
	if len(marker) > limits.ReportName || !plainMarker.MatchString(marker) || strings.Contains(marker, "--") {
		marker = protocol.Digest([]byte(marker))
	}
	return "<!-- " + marker + " -->\n\n"
}

var (
	plainMarker = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9 .:/_]*[A-Za-z0-9]$`)
	plainCode   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// errorCode gives a stable error code, or a word in place of what is none.
func errorCode(s string) string {
	if plainCode.MatchString(s) && !hexWord.MatchString(s) {
		return s
	}
	return "error"
}

// least is what is told where there is room for nothing else.
func (r *Report) least() string { return "**" + r.Title() + "**\n" + r.codeText(true, false) }

// head is what is read first.
func (r *Report) head(cut bool) string { return r.decide() + r.codeText(cut, false) }

func (r *Report) decide() string {
	out := "**" + r.verdict() + ".** " + r.meaning() + "\n\n"
	if f := r.Failure; f != nil {
		out += "Error `" + errorCode(f.Code) + fmt.Sprintf("`, exit %d.\n\n", f.Exit)
	}
	out += "Changes: " + r.counts()
	if r.Workflow != "" {
		out += ", by workflow " + named(r.Workflow)
	}
	return out + ".\n" + r.toApprove()
}

// verdict is where the flight stands, in one or two words.
func (r *Report) verdict() string {
	switch {
	case r.Failure != nil && r.Failure.Exit == protocol.ExitDenied:
		return "Denied"
	case r.Failure != nil, r.State == string(protocol.StateFailed):
		return "Failed"
	case r.State == string(protocol.StateCompleted):
		return "Done"
	case r.Decision == "":
		return "Not judged yet"
	case r.Decision.Severity() == protocol.Deny.Severity():
		return "Denied"
	case r.stands(ApprovalRejected):
		return "Rejected"
	case r.stands(ApprovalBlocked):
		return "Blocked"
	case len(r.open()) > 0:
		return "Approval needed"
	case r.Decision == protocol.RequireApproval && len(r.Approvals) == 0:
		return "Approval needed"
	case r.Decision == protocol.RequireApproval:
		return "Approved"
	case r.Decision == protocol.Warn:
		return "Allowed, with warnings"
	}
	return "Allowed"
}

func (r *Report) meaning() string {
	switch r.verdict() {
	case "Denied":
		return "Nothing of this takes off."
	case "Failed":
		return "This flight has ended."
	case "Done":
		return "This plan took off, once."
	case "Not judged yet":
		return "No policy has spoken about this plan."
	case "Rejected":
		return "Somebody who may approve this plan rejected it."
	case "Blocked":
		return "Somebody who may approve this plan asks for changes."
	case "Approval needed":
		return "Exactly this plan takes off when it is approved."
	}
	return "Exactly this plan may take off."
}

func (r *Report) stands(status string) bool {
	return slices.ContainsFunc(r.Approvals, func(a ReportApproval) bool { return a.Status == status })
}

func (r *Report) open() []ReportApproval {
	var out []ReportApproval
	for _, a := range r.Approvals {
		if a.Status != ApprovalApproved {
			out = append(out, a)
		}
	}
	return out
}

// counts tells how many effects of which kind there are, the gravest first.
func (r *Report) counts() string {
	kinds, opaque, other := map[string]int{}, 0, 0
	for i := range r.Steps {
		opaque += b2i(r.Steps[i].Opaque)
		for _, e := range r.Steps[i].Effects {
			if known(e.Action) {
				kinds[e.Action]++
			} else {
				other++
			}
		}
	}
	var parts []string
	for _, action := range knownActions() {
		if n := kinds[action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, action))
		}
	}
	if other > 0 {
		parts = append(parts, fmt.Sprintf("%d other", other))
	}
	out := strings.Join(parts, ", ")
	if out == "" {
		out = "none"
	}
	if len(r.Steps) > 1 {
		out += fmt.Sprintf(" in %d steps", len(r.Steps))
	}
	if opaque > 0 {
		out += ", and what " + many(opaque, "step does", "steps do") + " is not in the plan"
	}
	return out
}

// toApprove says in the first lines whose approval is missing, and how it is given.
func (r *Report) toApprove() string {
	const most = 3
	open := r.open()
	if len(open) == 0 {
		return ""
	}
	var roles []string
	same := true
	for i, a := range open {
		same = same && a.How == open[0].How
		if i < most {
			roles = append(roles, fmt.Sprintf("role %s (%d of %d)", named(a.Role), len(a.By), a.Need))
		}
	}
	out := "\nStill to approve: " + strings.Join(roles, ", ")
	if more := len(open) - most; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	out += ". "
	if how := prose(open[0].How); same && open[0].How != "" && len(how) <= limits.ReportHow {
		return out + "How: " + how + "\n"
	}
	return out + "How: see below.\n"
}

// asks says whether anybody is asked for an approval.
func (r *Report) asks() bool {
	return r.CodeNeeded || len(r.Approvals) > 0 || r.Decision == protocol.RequireApproval
}

// codeText says whether an approval needs the code. It is shown only to those who are
// shown everything.
func (r *Report) codeText(cut, full bool) string {
	switch {
	case !r.asks() && cut:
		return "\nNot everything is shown here; the full report: " + r.report() + ".\n"
	case !r.asks() && r.Redacted:
		return "\nSecrets were taken out of this report.\n"
	case !r.asks():
		return ""
	case cut:
		return "\n**An approval needs the approval code**, " + withheld + ". The code stands in the full report: " + r.report() + ".\n"
	case !r.CodeNeeded && !r.Redacted && !full:
		return ""
	}
	out := "\n**Approval code:** " + named(r.Code)
	if r.Code == "" {
		out = noCode
	}
	switch {
	case r.Redacted:
		return out + ". Write it into your approval: secrets were taken out of this report, so without it an approval does not count.\n"
	case r.CodeNeeded:
		return out + ". Write it into your approval; without it an approval does not count.\n"
	}
	return out + ". Write it into your approval where you are asked for it.\n"
}

// noCode stands where the code will, once another job signed.
const noCode = "\n**Approval code:** there is none yet"

// WithCode puts the code into the summary of a report that was made before there was one.
// Its own line comes before what engines and policies say; where it has none, and they say
// the same, people read nothing that the text beside it does not show.
func WithCode(summary, code string) string {
	if code == "" {
		return summary
	}
	return strings.Replace(summary, noCode+". ", "\n**Approval code:** "+named(code)+". ", 1)
}

// withheld says why a report that is not whole does not have the code.
const withheld = "because not everything is shown here"

// Withheld says whether the summary of a report kept the code back.
func Withheld(summary string) bool { return strings.Contains(summary, withheld) }

// report is where everything is shown.
func (r *Report) report() string {
	for _, to := range []string{r.Links.Report, r.Links.Artifacts, r.Links.Run} {
		if out := link("open it", to); out != "" {
			return out
		}
	}
	return "a file of this run"
}

func (r *Report) gap(entries, bytes int) string {
	return "*" + many(entries, "entry", "entries") + " (" + many(bytes, "byte", "bytes") + ") left out; the full report: " + r.report() + "*"
}

func (r *Report) links() string {
	var out []string
	for _, l := range [][2]string{{"Full report", r.Links.Report}, {"Run", r.Links.Run}, {"Plan again", r.Links.Replan}, {"Artifacts", r.Links.Artifacts}} {
		if s := link(l[0], l[1]); s != "" {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "Links: " + strings.Join(out, " · ") + "\n\n"
}

// origin says which flight this is.
func (r *Report) origin(cut bool) string {
	var out []string
	for _, part := range [][2]string{{"flight", r.WorkflowID}, {"token", r.FlightToken}, {"change", r.Change}, {"commit", r.Head}, {"state", r.State}} {
		if part[1] != "" {
			out = append(out, part[0]+" "+named(part[1]))
		}
	}
	text := "This report: " + strings.Join(out, ", ") + ".\n"
	if len(out) == 0 {
		text = ""
	}
	if cut {
		text += r.codeText(true, false)
	}
	return text
}

// bundle is the signed plan by its digest, and the same in full. What is no plain text
// is never shown: it must be the bytes that were signed.
func (r *Report) bundle() (by, full string) {
	if len(r.Bundle) == 0 && r.BundleDigest == "" {
		return "", ""
	}
	by = "### Signed plan\n\nSigstore bundle " + named(r.BundleDigest)
	if r.BundleAt != "" {
		by += " at " + named(r.BundleAt)
	}
	by += ".\n"
	body := string(r.Bundle)
	if text, marked := shown(body, true); body == "" || marked || text != body || !utf8.ValidString(body) {
		return by, ""
	}
	return by, by + "\n" + fence("json", body)
}
