package cli

import (
	"context"
	"slices"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/protocol"
)

// jobToken is who pushes with the token of a workflow's job: a bot for all who start
// workflows.
const jobToken = "github-actions[bot]"

// pushers names who brought the head commit, as far as the forge's activity and the runs
// for the commit tell.
func (r *ciRun) pushers(ctx context.Context) ([]ci.Excluded, error) {
	var pushes []github.Push
	var err error
	if r.change.Head.RepositoryID == r.repo.ID {
		if pushes, err = r.forge.Activity(ctx, "refs/heads/"+r.change.Head.Ref); err != nil {
			return nil, err
		}
	}
	runs, err := r.headRuns(ctx)
	if err != nil {
		return nil, err
	}
	return pushedBy(r.change, pushes, runs)
}

// pushedBy names who pushed the head of a change. Where its repository's activity names
// people, it is them. Nobody can delete from that, but it is not told of forks, and where
// it names a bot, somebody may have had the bot push: then everybody counts who started
// or restarted a run for the commit, since runs can be deleted and the first that is left
// need not be the push's. A bot that works by itself is the change's author and pushes
// with a name of its own; of any other somebody must be known. SPEC: docs/protocol.md 7
func pushedBy(c github.Change, pushes []github.Push, runs []github.Run) ([]ci.Excluded, error) {
	var out []ci.Excluded
	var pushed []ci.Person
	for _, p := range pushes {
		if p.After == c.Head.SHA {
			pushed = append(pushed, p.Actor)
			out = append(out, ci.Excluded{Person: p.Actor, Why: ci.WhyPusher})
		}
	}
	if len(pushed) == 0 && c.Head.RepositoryID == c.Base.RepositoryID {
		// Whoever may write deletes runs, until one that somebody else started is left.
		return nil, unknownPusher(c, "the activity of branch %s does not name that commit", c.Head.Ref)
	}
	bot := func(p ci.Person) bool { return p.Bot }
	if len(pushed) > 0 && !slices.ContainsFunc(pushed, bot) && !c.Author.Bot {
		return out, nil
	}
	told, whole := len(pushed) > 0, len(runs) < mostRuns
	var started []ci.Person
	for _, run := range runs {
		late := c.Merged && !run.CreatedAt.Before(c.MergedAt) // it is about the merge
		if run.Event != "pull_request" || run.HeadRepositoryID != c.Head.RepositoryID || late {
			continue
		}
		started = append(started, run.Actor, run.TriggeringActor)
		out = append(out, ci.Excluded{Person: run.TriggeringActor, Why: ci.WhyTriggered})
		if told {
			out = append(out, ci.Excluded{Person: run.Actor, Why: ci.WhyTriggered})
		} else {
			pushed = append(pushed, run.Actor)
			out = append(out, ci.Excluded{Person: run.Actor, Why: ci.WhyPusher})
		}
	}
	itself := func(p ci.Person) bool {
		return !p.Bot || p.ID != "" && p.ID == c.Author.ID && p.Login != jobToken
	}
	alone := len(pushed) > 0 && !slices.ContainsFunc(pushed, func(p ci.Person) bool { return !itself(p) })
	people := slices.ContainsFunc(started, func(p ci.Person) bool { return !p.Bot })
	switch {
	case !told && !whole:
		return nil, unknownPusher(c, "it has %d runs or more, and the first is beyond them", mostRuns)
	case len(pushed) == 0:
		return nil, unknownPusher(c, "neither the activity of its repository nor a run for it tells")
	case !alone && !people:
		return nil, unknownPusher(c, "%s did, and for whom is not told", pushed[slices.IndexFunc(pushed, func(p ci.Person) bool { return !itself(p) })].Login)
	}
	return out, nil
}

func unknownPusher(c github.Change, format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUnreachable, "pusher_unknown", "who pushed commit %s, and so may not approve it, cannot be told: "+format, append([]any{c.Head.SHA}, args...)...).
		WithHint("push another commit as a person, and have it planned")
}

// headRuns gives the runs that the change's head started.
func (r *ciRun) headRuns(ctx context.Context) ([]github.Run, error) {
	if r.runs == nil {
		runs, err := r.forge.Runs(ctx, github.RunFilter{WorkflowFile: r.planWorkflow(), HeadSHA: r.change.Head.SHA, Most: mostRuns})
		if err != nil {
			return nil, err
		}
		r.runs = runs
	}
	return r.runs, nil
}

// mostRuns is how many runs of one commit are looked at.
const mostRuns = 100
