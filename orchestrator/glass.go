package orchestrator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

// glassLeast is how many people break the glass, at least.
const glassLeast = 2

// broken says whether an approval consists, in whole or in part, of acts that break the
// glass.
func broken(by []Witness) bool {
	return slices.ContainsFunc(by, func(w Witness) bool { return w.Kind == WitnessGlass })
}

// glassCounts says whether people broke the glass for a request as the configuration
// lets them. It stands in for approvals only: whatever else is wrong stays wrong.
// SPEC: docs/protocol.md 7
func glassCounts(s *Setup, t terms, st *ApprovalStatement, now time.Time) error {
	role, ok := s.Governance.role(config.RoleBreakGlass)
	glass := s.Config.Approvals.BreakGlass
	if !glass.On() || !ok {
		return notCounted("glass_off", "the configuration lets nobody break the glass").WithHint("have the people whom the roles ask for approve")
	}
	people := map[string]bool{}
	for _, w := range st.Witnesses {
		if w.Kind != WitnessGlass || w.PersonID == "" || w.ID == "" || w.Reason == "" {
			return integrity("approval_witness", "an act that breaks the glass has no id, person or reason, or stands beside another kind")
		}
		if t.code == "" || w.Code != t.code {
			return notCounted("approval_code", "%s named code %q, not the flight's", w.Person, w.Code).WithHint("name the code that the check shows")
		}
		at, err := time.Parse(time.RFC3339, w.At)
		if err != nil {
			return integrity("approval_witness", "the time %q of an act that breaks the glass cannot be read", w.At)
		}
		if w.Commit != "" && w.Commit != t.head {
			return notCounted("approval_stale_commit", "%s broke the glass for commit %q, the plan is of %q", w.Person, w.Commit, t.head).WithHint("break it again")
		}
		if !at.After(t.sealed) {
			return notCounted("approval_too_early", "%s broke the glass at %s, before the token was made (%s)", w.Person, w.At, stamp(t.sealed)).WithHint("break it again")
		}
		if end := at.Add(glass.Expire.Duration); now.After(end) {
			return notCounted("glass_expired", "%s broke the glass at %s, which held until %s", w.Person, w.At, stamp(end)).WithHint("break it again, or have the change approved")
		}
		people[w.PersonID] = true
	}
	if need := max(role.Count, glassLeast); len(people) < need {
		return notCounted("approval_waiting", "%d of %d people broke the glass", len(people), need)
	}
	return nil
}

// glassRecord says in the audit log, as loudly as it can, that the glass was broken.
func (f *Flight) glassRecord(q protocol.ApprovalRequest, by []Witness) Record {
	words := make([]string, len(by))
	for i, w := range by {
		words[i] = fmt.Sprintf("%s: %s", w.Person, w.Reason)
	}
	e := f.event(protocol.EventError, q.StepID, fmt.Sprintf("the glass was broken in place of role %s: %s", q.RequiredRole, strings.Join(words, "; ")))
	e.Severity = protocol.SeverityCritical
	return Record{Event: e}
}
