package policies

import "github.com/cabincrew/action/internal/redact"

// Hidden are texts that a judge took for secrets: they must not be shown or recorded
// with what other judges say of the same input. The zero value hides nothing.
type Hidden struct {
	// Marks are what takes the place of each text.
	Marks map[string]string
	// More says that there are more texts than are listed.
	More bool
}

// Join adds what another judge found.
func (h *Hidden) Join(other Hidden) {
	h.More = h.More || other.More
	for text, mark := range other.Marks {
		if h.Marks == nil {
			h.Marks = map[string]string{}
		}
		if have, ok := h.Marks[text]; !ok || mark < have {
			h.Marks[text] = mark
		}
	}
}

// tooMany stands where a text cannot be told from a secret.
const tooMany = "[hidden: more secrets were found than can be told apart]"

// Discreet gives the result without the secrets that its judges found: reasons,
// evidence, files and explanations show marks in their places. Whoever shows or
// records a result calls it, after the last judge that reads file names.
func (r Result) Discreet() Result {
	if len(r.Hidden.Marks) == 0 && !r.Hidden.More {
		return r
	}
	marks := redact.NewMarked(r.Hidden.Marks)
	out := Result{Findings: make([]Finding, len(r.Findings)), Hidden: r.Hidden}
	for i, f := range r.Findings {
		f.PolicyID, f.Rule, f.Role, f.Artifact = marks.String(f.PolicyID), marks.String(f.Rule), marks.String(f.Role), marks.String(f.Artifact)
		f.Reason = marks.String(f.Reason)
		if f.Evidence != nil {
			f.Evidence, _ = marks.Value(f.Evidence).(map[string]any)
		}
		f.Files = discreet(marks, f.Files)
		if r.Hidden.More && !f.Discreet {
			f.Reason, f.Evidence, f.Files, f.Artifact, f.Cut = tooMany, nil, nil, "", len(f.Files) > 0
		}
		out.Findings[i] = f
	}
	for _, e := range r.Explanations {
		if e.Policy, e.Lines = marks.String(e.Policy), discreet(marks, e.Lines); r.Hidden.More {
			e.Lines = []string{tooMany}
		}
		out.Explanations = append(out.Explanations, e)
	}
	return out
}

// discreet gives texts with marks.
func discreet(marks *redact.Redactor, lines []string) []string {
	if lines == nil {
		return nil
	}
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = marks.String(l)
	}
	return out
}
