package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// glass lets people who break the glass stand in for approvals that are missing. Who
// asked for changes, or another governance that has no such key, is not passed by.
// SPEC: docs/protocol.md 7
func (p *people) glass(ctx context.Context, q ci.Question, acts []ci.Act, c config.Approvals, answers []orchestrator.ForgeAnswer, counts []ci.RoleCount) error {
	roles := forgeRoles(c)
	i := slices.IndexFunc(roles, func(r ci.Role) bool { return r.Name == config.RoleBreakGlass })
	missing := slices.ContainsFunc(answers, func(a orchestrator.ForgeAnswer) bool { return !a.Approved })
	if !c.BreakGlass.On() || i < 0 || !missing {
		return nil
	}
	broke, err := ci.Glass(ctx, q, roles[i], c.BreakGlass.Expire.Duration, acts, p.r.forge)
	if err != nil || !broke.Approved() {
		return err
	}
	var by []orchestrator.Witness
	for _, act := range broke.By {
		w := witnessOf(act, q.Code)
		w.Kind, w.Reason = orchestrator.WitnessGlass, ci.GlassReason(act.Text)
		by = append(by, w)
	}
	for j := range answers {
		if !answers[j].Approved && counts[j].Blocked == nil {
			answers[j].Approved, answers[j].Why, answers[j].By = true, "", by
			counts[j] = ci.RoleCount{Role: counts[j].Role, Need: broke.Need, By: broke.By}
		}
	}
	return nil
}

// brokenGlass gives those who broke the glass for a flight, by its signed approvals.
func (r *ciRun) brokenGlass(s *session, f *orchestrator.Flight) []orchestrator.Witness {
	var out []orchestrator.Witness
	manifest, err := f.ReadFile(orchestrator.ManifestFile, limits.ManifestFile)
	if err != nil {
		return nil
	}
	for id := range f.Status.Received {
		raw, err := f.ReadFile("approvals/"+id+".response.json", limits.Approval)
		if err != nil {
			continue
		}
		st, err := s.crew.Signatures.Approval(raw, manifest)
		if err != nil {
			continue
		}
		for _, w := range st.Witnesses {
			if w.Kind == orchestrator.WitnessGlass {
				out = append(out, w)
			}
		}
	}
	slices.SortFunc(out, func(a, b orchestrator.Witness) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(out, func(a, b orchestrator.Witness) bool { return a.ID == b.ID })
}

// followUp opens an issue about a flight for which the glass was broken. It holds
// nothing up: that it cannot be opened is said as loudly.
func (r *ciRun) followUp(s *session, f *orchestrator.Flight, flown error) {
	by := r.brokenGlass(s, f)
	if len(by) == 0 {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "The glass was broken for change %d: people of the role %s let it take off without the approvals that it needed.\n\n", r.change.Number, config.RoleBreakGlass)
	for _, w := range by {
		fmt.Fprintf(&b, "- who: %s (account %s), at %s\n- why: `%s`\n", plainWords(w.Person), w.PersonID, w.At, plainWords(w.Reason))
	}
	fmt.Fprintf(&b, "- what: plan `%s` of commit `%s`\n- run: %s\n- result: exit %d\n\nSomebody who did not break it looks at what was done, and closes this.\n",
		f.Status.FlightToken, r.change.Head.SHA, r.runURL(), protocol.ExitCode(flown))
	token := strings.TrimPrefix(f.Status.FlightToken, "sha256:")
	at, err := r.forge.OpenIssue(r.ctx, "cabincrew-break-glass-"+token, fmt.Sprintf("The glass was broken for change %d", r.change.Number), s.setup.Redactor.String(b.String()), nil)
	told := "The glass was broken: people of the role " + config.RoleBreakGlass + " let this take off without approvals."
	if err != nil {
		told += " No issue could be opened about it, so open one: " + err.Error()
		r.complain(err)
	} else {
		told += " The issue about it: " + at
	}
	r.report.Notes = append(r.report.Notes, told)
}

// plainWords makes words of people harmless in Markdown: nothing in them ends the code
// that they stand in, mentions somebody or is a line of its own.
func plainWords(text string) string {
	const most = 1000
	text = strings.NewReplacer("`", "'", "@", "(at)", "<", "(", ">", ")").Replace(oneLine(text))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}
