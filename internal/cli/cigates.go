package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// gates says whether people opened the gates of environments for this run. That the job
// runs proves nothing: it need not name the environment, and administrators may pass by
// its rules. SPEC: docs/threats.md T09
func (r *ciRun) gates(s *session) func(context.Context, []string, orchestrator.Asked) error {
	return func(ctx context.Context, names []string, ask orchestrator.Asked) error {
		acts, err := r.forge.RunApprovals(ctx, r.env["GITHUB_RUN_ID"])
		if err != nil {
			return err
		}
		excluded, err := r.excluded(ctx)
		if err != nil {
			return err
		}
		self := s.setup.Config.Approvals.SelfApproval && (s.setup.Tip == nil || s.setup.Tip.Approvals.SelfApproval)
		for _, name := range names {
			e, err := r.forge.Environment(ctx, name)
			if err != nil {
				return err
			}
			g := gate{r: r, name: name, env: e, code: ask.Code}
			if !self {
				g.excluded = excluded
			}
			if err := g.opened(ctx, acts); err != nil {
				return err
			}
		}
		return nil
	}
}

// gate is what guards one environment in one run.
type gate struct {
	r        *ciRun
	name     string
	env      github.Environment
	excluded []ci.Excluded
	code     string
}

// opened looks for an approval of the environment by somebody whose word counts.
func (g *gate) opened(ctx context.Context, acts []ci.Act) error {
	if !g.env.Found || !slices.Contains(g.env.Rules, "required_reviewers") || len(g.env.Reviewers) == 0 {
		return g.shut("environment_unprotected", "environment %s asks nobody, so it is no gate", g.name).
			WithHint("name reviewers in the environment's protection rules, and the environment in the job that takes off")
	}
	acts = slices.DeleteFunc(slices.Clone(acts), func(a ci.Act) bool { return !slices.Contains(a.Environments, g.name) })
	var why *protocol.Error
	approved, open := false, false
	for i := range acts {
		switch acts[i].State {
		case ci.StateRejected, ci.StateChangesRequested, ci.StateDismissed:
			return g.shut("environment_not_approved", "%s rejected the take-off in environment %s", acts[i].Person.Login, g.name)
		case ci.StateApproved:
			approved = true
			refused, err := g.refuse(ctx, &acts[i])
			switch {
			case err != nil:
				return err
			case refused == nil:
				open = true
			default:
				why = refused
			}
		case ci.StateCommented, ci.StatePending:
		}
	}
	switch {
	case open:
		return nil
	case approved:
		return why
	}
	return g.shut("environment_bypassed", "environment %s requires reviewers, the job runs, and nobody approved it: an administrator passed by its rules, or the job does not name the environment", g.name)
}

// refuse says why an approval does not open the gate; nil where it does.
func (g *gate) refuse(ctx context.Context, a *ci.Act) (*protocol.Error, error) {
	p := a.Person
	if p.Bot || p.ID == "" {
		return g.shut("environment_not_approved", "%s, who approved environment %s, is no person's account", p.Login, g.name), nil
	}
	for _, x := range g.excluded {
		if x.Person.ID == p.ID {
			return g.shut("environment_not_approved", "%s approved environment %s and is the %s of the change", p.Login, g.name, x.Why), nil
		}
	}
	// The forge tells neither when nor in which attempt somebody approved.
	if (g.r.env["GITHUB_RUN_ATTEMPT"] != "1" || g.r.within != "") && !ci.Names(a.Text, g.code) {
		return g.shut("environment_not_approved", "the run was started again or flies an earlier merge too, and %s did not name the flight's code where environment %s was approved, so that may have been for something else", p.Login, g.name).
			WithHint("approve with the code %s in the comment", g.code), nil
	}
	asked, err := g.asks(ctx, p)
	if err != nil || asked {
		return nil, err
	}
	return g.shut("environment_bypassed", "%s let the run into environment %s as its administrator, and is none of its reviewers", p.Login, g.name), nil
}

// asks says whether the environment asks a person. Where nobody can pass by its rules,
// who approved is one of those whom it asks.
func (g *gate) asks(ctx context.Context, p ci.Person) (bool, error) {
	if g.env.AdminsCanBypass == github.No {
		return true, nil
	}
	if slices.ContainsFunc(g.env.Reviewers, func(x github.Reviewer) bool { return x.Kind == "User" && x.ID == p.ID }) {
		return true, nil
	}
	owner, _, _ := strings.Cut(g.r.repo.FullName, "/")
	for _, x := range g.env.Reviewers {
		if x.Kind != "Team" {
			continue
		}
		if in, err := g.r.forge.InTeam(ctx, owner+"/"+x.Name, p); in || err != nil {
			return in, err
		}
	}
	return false, nil
}

func (g *gate) shut(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitWaiting, code, format, args...).
		WithHint("one of the environment's reviewers, who is not the change's author or pusher, approves the run's deployment; administrators leave its rules alone")
}
