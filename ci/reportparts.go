package ci

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// diffs says how differences are shown.
type diffs int

const (
	noDiffs diffs = iota
	openDiffs
	foldedDiffs
)

// knownActions are the words that stand as they are, the gravest first.
func knownActions() []string {
	return []string{"delete", "replace", "update", "create", "rename", "change", "run", "send", "push", "apply", "import", "read"}
}

func known(action string) bool { return slices.Contains(knownActions(), action) }

func actionText(action string) string {
	if known(action) {
		return "**" + action + "**"
	}
	return "action " + code(action)
}

// decisionText writes a decision; an unknown one is foreign text.
func decisionText(d string) string {
	if protocol.Decision(d).Valid() {
		return "**" + strings.ReplaceAll(d, "_", " ") + "**"
	}
	return code(d)
}

func stepHeading(s *ReportStep) string {
	out := "**Step** " + named(s.ID)
	if s.Target != "" {
		out += " on " + named(s.Target)
	}
	if s.Engine != "" {
		out += " by engine " + named(s.Engine)
	}
	if s.Opaque {
		out += "; **what it does is not in the plan**"
	}
	return out
}

func (r *Report) failureSection() section {
	s := section{title: "What went wrong"}
	f := r.Failure
	if f == nil {
		return s
	}
	line := func(label, foreign, text string) {
		if foreign != "" {
			s.add("- "+label+": "+text+"\n", func() string { return "- " + label + ": " + digested(foreign) + "\n" })
		}
	}
	line("what", f.Message, code(f.Message))
	line("where", f.Where, code(f.Where))
	line("how to mend it", f.Hint, prose(f.Hint))
	return s
}

func (r *Report) changeSection(how diffs) section {
	s := section{title: "What the plan changes"}
	for i := range r.Steps {
		step := &r.Steps[i]
		s.groups = append(s.groups, stepHeading(step))
		for _, e := range step.Effects {
			e.add(&s, how)
		}
		if len(step.Effects) == 0 {
			text := "- nothing\n"
			if step.Opaque {
				text = "- unknown\n"
			}
			s.add(text, func() string { return text })
		}
	}
	return s
}

func (e Effect) add(s *section, how diffs) {
	line := actionText(e.Action) + " " + code(e.What)
	if e.Detail != "" {
		line += ": " + code(e.Detail)
	}
	small := func() string {
		out := "- one change, left out here: " + named(e.Action) + " " + named(e.What)
		if e.Detail != "" {
			out += ", detail " + digested(e.Detail)
		}
		if how != noDiffs && e.Diff != "" {
			out += ", difference " + digested(e.Diff)
		}
		return out + "\n"
	}
	switch {
	case how == noDiffs || e.Diff == "":
		s.add("- "+line+"\n", small)
	case how == openDiffs:
		s.addBlock("- "+line+"\n\n"+fence("diff", e.Diff), small)
	default:
		text := "<details><summary>" + htmlCode(e.Action) + " " + htmlCode(e.What) + "</summary>\n\n"
		if e.Detail != "" {
			text += "Detail: " + code(e.Detail) + "\n\n"
		}
		s.addBlock(text+fence("diff", e.Diff)+"\n</details>\n", small)
	}
}

// policySection tells what the policies say: everything, or what is not plain consent.
func (r *Report) policySection(all bool) section {
	s := section{title: "What the policies say"}
	for i := range r.Steps {
		step := &r.Steps[i]
		heading := "**Step** " + named(step.ID)
		if step.Decision != "" {
			heading += ": " + decisionText(short(step.Decision))
		}
		s.groups = append(s.groups, heading)
		allowed := 0
		for _, severity := range []int{3, 2, 1, 0} {
			for _, e := range step.Evaluations {
				switch {
				case e.Decision.Severity() != severity:
				case severity == 0 && !all:
					allowed++
				default:
					s.add(evaluationText(e, all), func() string { return evaluationSmall(e) })
				}
			}
		}
		text := ""
		if allowed > 0 {
			text = "- " + many(allowed, "policy allows", "policies allow") + " it\n"
		} else if len(step.Evaluations) == 0 {
			text = "- no policy was asked\n"
		}
		if text != "" {
			s.add(text, func() string { return text })
		}
	}
	return s
}

func short(decision string) string {
	if protocol.Decision(decision).Valid() {
		return decision
	}
	return "unknown"
}

func evaluationText(e protocol.PolicyEvaluation, all bool) string {
	out := "- " + decisionText(string(e.Decision)) + " by " + code(e.PolicyID)
	if all {
		out += " of " + code(e.Source) + ", severity " + strconv.Itoa(e.Severity)
	}
	if e.Reason != "" {
		out += ": " + code(e.Reason)
	}
	if more := evidence(e.Evidence); all && more != "" {
		out += "\n  evidence: " + more
	}
	return out + "\n"
}

func evaluationSmall(e protocol.PolicyEvaluation) string {
	return "- " + decisionText(short(string(e.Decision))) + " by " + named(e.PolicyID) + ", left out here: " + digested(evaluationText(e, true)) + "\n"
}

func (r *Report) approvalSection() section {
	s := section{title: "Who must approve, and how"}
	for _, a := range r.Approvals {
		s.add(a.text(), func() string {
			return "- role " + named(a.Role) + ", left out here: " + digested(a.text()) + "\n"
		})
	}
	return s
}

func (a ReportApproval) text() string {
	var b strings.Builder
	b.WriteString("- role " + code(a.Role))
	if a.Step != "" {
		b.WriteString(" for step " + code(a.Step))
	}
	switch a.Status {
	case ApprovalOpen, ApprovalApproved, ApprovalBlocked, ApprovalRejected:
		b.WriteString(": **" + a.Status + "**")
	default:
		b.WriteString(": " + code(a.Status))
	}
	b.WriteString(", " + strconv.Itoa(len(a.By)) + " of " + strconv.Itoa(a.Need))
	for i, by := range a.By {
		b.WriteString([]string{", ", " by "}[b2i(i == 0)] + code(by))
	}
	b.WriteString("\n")
	if a.How != "" && a.Status != ApprovalApproved {
		b.WriteString("  - how: " + prose(a.How) + "\n")
	}
	for _, refused := range a.Refused {
		b.WriteString("  - does not count: " + prose(refused) + "\n")
	}
	return b.String()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *Report) stepSection() section {
	s := section{title: "Steps"}
	for _, step := range r.Steps {
		var b strings.Builder
		b.WriteString("- step " + code(step.ID))
		for _, part := range [][2]string{{"target", step.Target}, {"engine", step.Engine}, {"isolation", step.Isolation}, {"token", step.Token}, {"decision", step.Decision}} {
			if part[1] != "" {
				b.WriteString(", " + part[0] + " " + code(part[1]))
			}
		}
		b.WriteString("\n")
		text := b.String()
		s.add(text, func() string { return "- step " + named(step.ID) + ", left out here: " + digested(text) + "\n" })
	}
	return s
}

func (r *Report) artifactSection() section {
	s := section{title: "Artifacts"}
	for i := range r.Steps {
		step := &r.Steps[i]
		s.groups = append(s.groups, "**Step** "+named(step.ID))
		for _, a := range step.Artifacts {
			text := "- " + code(a.Name) + ", " + code(a.Role) + ", " + strconv.FormatInt(a.Size, 10) + " bytes, " + code(a.Hash) + "\n"
			s.add(text, func() string { return "- artifact " + named(a.Name) + ", left out here: " + digested(text) + "\n" })
		}
	}
	return s
}

func (r *Report) noteSection() section {
	s := section{title: "Notes"}
	for _, n := range r.Notes {
		s.add("- "+prose(n)+"\n", func() string { return "- one note, left out here: " + digested(n) + "\n" })
	}
	return s
}

// filled gives the sections that have entries.
func filled(list ...section) []section {
	return slices.DeleteFunc(list, func(s section) bool { return len(s.entries) == 0 })
}
