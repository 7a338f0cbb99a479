package cli

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// approvedPlan gives the newest plan of the change itself, which people approved where
// the flight is another plan of it: that of a merge queue's group. It is fetched once,
// and only where an approval is missing. SPEC: docs/protocol.md 7.
func (r *ciRun) approvedPlan(s *session) func(context.Context) (*orchestrator.EarlierPlan, error) {
	own := *r
	own.group = github.MergeGroup{} // the change's own flight, not the group's
	fetch := sync.OnceValues(func() (*orchestrator.EarlierPlan, error) {
		id, err := own.fetchFlight()
		if err != nil {
			return nil, err
		}
		f, _, err := s.read([]string{id})
		if err == nil {
			err = own.isOfChange(f)
		}
		if err == nil {
			err = own.newestShown(r.ctx, f)
		}
		if err != nil {
			return nil, err
		}
		plan, err := orchestrator.PlanOf(f)
		if err != nil {
			return nil, err
		}
		// What the flight says of itself is what was signed.
		facts, err := s.crew.Signatures.Plan(plan.Bundle, plan.Manifest)
		if err != nil {
			return nil, err
		}
		if d := facts.Derived; d.Change != own.changeName() || d.HeadCommit != own.headCommit() || d.RepositoryID != own.repo.ID {
			return nil, protocol.Errorf(protocol.ExitIntegrity, "flight_foreign", "the signed plan of run %s is of change %s at commit %s, not of %s at %s", own.seal.ID, d.Change, d.HeadCommit, own.changeName(), own.headCommit()).
				WithHint("plan the change anew")
		}
		return &plan, nil
	})
	return func(context.Context) (*orchestrator.EarlierPlan, error) { return fetch() }
}

// queued is how GitHub names the branch of a merge queue's group: by its last change.
var queued = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`/pr-([1-9][0-9]{0,9})-[0-9a-f]{40}$`) })

// inGroup finds the change that a group brings. Whose it is decides nothing but whose
// approvals are looked at: they serve the group only if it wants what they were given for.
func (r *ciRun) inGroup() (github.Change, error) {
	found := queued().FindStringSubmatch(r.group.HeadRef)
	if found == nil {
		return github.Change{}, protocol.Errorf(protocol.ExitUnreachable, "group_unknown", "the branch %s does not say which change its group brings", r.group.HeadRef).
			WithHint("approvals cannot carry over to it: set approvals: {carry_over: none}, and tell the maintainers of this program how the branch is named")
	}
	number, err := strconv.Atoi(found[1])
	if err != nil {
		return github.Change{}, err
	}
	c, err := r.forge.Change(r.ctx, number)
	if err != nil {
		return c, err
	}
	if base := strings.TrimPrefix(r.group.BaseRef, branchTop); !c.Open || c.Base.RepositoryID != r.repo.ID || c.Base.Ref != base {
		return c, protocol.Errorf(protocol.ExitStale, "head_moved", "change %d of the group is not open for %s any more", number, base)
	}
	return c, nil
}

// carriesOver says whether the approvals that a merge queue's group waits for were given
// for its change, whose intent it must have. err is how the flight ended.
func (r *ciRun) carriesOver(s *session, f *orchestrator.Flight, err error) error {
	if r.group.HeadSHA == "" || protocol.ExitCode(err) != protocol.ExitWaiting || s.setup.Config.Approvals.CarryOver != config.CarrySameIntent {
		return err
	}
	member := *r
	var e error
	if member.change, e = r.inGroup(); e != nil {
		return e
	}
	s.crew.Forge, s.crew.Carry = &people{r: &member, s: s}, member.approvedPlan(s)
	s.touch(f)
	if e = s.crew.Approvals(r.ctx, f, s.setup); e != nil {
		r.report.Notes = append(r.report.Notes, "What change "+strconv.Itoa(member.change.Number)+" was approved for does not let this group merge: "+e.Error())
		return e
	}
	r.report.Notes = append(r.report.Notes, "What change "+strconv.Itoa(member.change.Number)+" was approved for carries over: this plan has the same intent.")
	return nil
}

// replan plans a merged change again where its plan is stale, and says so by done or err
// as if that had been its plan. It must want what the first plan wanted.
// SPEC: docs/protocol.md 7, 9.
func (r *ciRun) replan(s *session, was *orchestrator.Flight, stale error, opt orchestrator.TakeOffOptions) (f *orchestrator.Flight, done bool, err error) {
	first, err := orchestrator.PlanOf(was)
	if err != nil {
		return was, false, errors.Join(stale, err)
	}
	if err := s.crew.MayReplan(r.ctx, was, s.setup); err != nil {
		return was, false, err
	}
	r.text("the base moved on since the plan was made: planning again\n")
	if f, err = s.begin(); err != nil {
		return was, false, errors.Join(stale, err)
	}
	s.crew.Before, s.crew.Carry = nil, func(context.Context) (*orchestrator.EarlierPlan, error) { return &first, nil }
	if err = s.plan(r.ctx, f); err == nil {
		s.judges.running.begin(r.ctx)
		err = s.crew.Seal(r.ctx, f, s.setup)
	}
	if err == nil {
		err = s.crew.SameIntent(r.ctx, f, s.setup, first)
	}
	if err != nil {
		return f, false, err
	}
	s.crew.InsteadOf = was.Status.FlightToken
	r.report.Notes = append(r.report.Notes, "The base moved on since the change was planned. Planned again on it, it has the same intent; this is the plan that takes off.")
	done, err = s.crew.TakeOff(r.ctx, f, s.setup, opt)
	return f, done, err
}

// replans says whether a take-off that was refused may be planned again: the plan is
// stale, nothing began, and the governance of the plan and of the protected branch now
// both want that.
func (r *ciRun) replans(s *session, err error) bool {
	return protocol.ExitCode(err) == protocol.ExitStale && !r.fence.began() &&
		s.setup.Config.TakeOff.OnStale == config.StaleReplan && s.origin.config.TakeOff.OnStale == config.StaleReplan
}
