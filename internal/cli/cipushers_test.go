package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/protocol"
)

// TestT07WhoPushed: whose approval of a commit never counts, because they brought it.
func TestT07WhoPushed(t *testing.T) {
	t.Parallel()
	const head, base, fork, other = "c0ffee", "1", "2", "3"
	merged := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	who := func(name string) ci.Person {
		kind := "User"
		if strings.HasSuffix(name, "[bot]") {
			kind = "Bot"
		}
		return ci.NewPerson(name, name, kind)
	}
	push := func(name string) github.Push { return github.Push{Actor: who(name), After: head} }
	run := func(from, actor, again string) github.Run {
		return github.Run{Event: "pull_request", HeadRepositoryID: from, HeadSHA: head, Actor: who(actor), TriggeringActor: who(again), CreatedAt: merged.Add(-time.Hour)}
	}
	late := func(r github.Run) github.Run { r.CreatedAt = merged; return r }
	of := func(event string, r github.Run) github.Run { r.Event = event; return r }
	many := slices.Repeat([]github.Run{run(fork, "alice", "alice")}, mostRuns)
	for name, c := range map[string]struct {
		author, from string
		pushes       []github.Push
		runs         []github.Run
		want         string // who is excluded; "?" where it cannot be told
	}{
		"a person":                       {"alice", base, []github.Push{push("bob")}, nil, "bob"},
		"a person, of another commit":    {"alice", base, []github.Push{{Actor: who("bob"), After: "beef"}, push("carol")}, nil, "carol"},
		"two people":                     {"alice", base, []github.Push{push("bob"), push("carol")}, nil, "bob carol"},
		"who starts a run again may":     {"alice", base, []github.Push{push("alice")}, []github.Run{run(base, "alice", "bob"), run(base, "carol", "carol")}, "alice"},
		"not told, by a run":             {"alice", base, nil, []github.Run{run(base, "bob", "carol")}, "?"},
		"not told at all":                {"alice", base, nil, nil, "?"},
		"of a fork":                      {"alice", fork, nil, []github.Run{run(fork, "alice", "alice")}, "alice"},
		"of a fork, not the first run":   {"alice", fork, nil, []github.Run{run(fork, "bob", "bob"), run(fork, "alice", "alice")}, "alice bob"},
		"of a fork, started again":       {"alice", fork, nil, []github.Run{run(fork, "alice", "bob")}, "alice bob"},
		"of another fork":                {"alice", fork, nil, []github.Run{run(fork, "alice", "alice"), run(other, "bob", "bob")}, "alice"},
		"of another fork only":           {"alice", fork, nil, []github.Run{run(other, "bob", "bob")}, "?"},
		"of a fork, runs deleted":        {"alice", fork, nil, nil, "?"},
		"of a fork, too many runs":       {"alice", fork, nil, many, "?"},
		"of a fork, runs of reviews":     {"alice", fork, nil, []github.Run{of("pull_request_review", run(fork, "bob", "bob"))}, "?"},
		"of a fork that is gone":         {"alice", "", nil, []github.Run{run("", "alice", "alice")}, "alice"},
		"whoever merged it":              {"alice", fork, nil, []github.Run{late(run(fork, "bob", "bob")), run(fork, "alice", "alice")}, "alice"},
		"the job's token":                {"alice", base, []github.Push{push(jobToken)}, nil, "?"},
		"the job's token, a run by it":   {"alice", base, []github.Push{push(jobToken)}, []github.Run{run(base, jobToken, jobToken)}, "?"},
		"the job's token, opened again":  {"alice", base, []github.Push{push(jobToken)}, []github.Run{run(base, "bob", "bob")}, "bob"},
		"the job's token, started again": {"alice", base, []github.Push{push(jobToken)}, []github.Run{run(base, jobToken, "bob")}, "bob"},
		"the job's token, all of it":     {jobToken, base, []github.Push{push(jobToken)}, []github.Run{run(base, jobToken, jobToken)}, "?"},
		"the token, a branch restored":   {"alice", base, []github.Push{push("alice"), push(jobToken)}, nil, "?"},
		"an App on somebody's change":    {"alice", base, []github.Push{push("fix[bot]")}, []github.Run{run(base, "fix[bot]", "fix[bot]")}, "?"},
		"an App by itself":               {"renovate[bot]", base, []github.Push{push("renovate[bot]")}, []github.Run{run(base, "renovate[bot]", "renovate[bot]")}, ""},
		"an App, before its run":         {"renovate[bot]", base, []github.Push{push("renovate[bot]")}, nil, ""},
		"an App, started again":          {"renovate[bot]", base, []github.Push{push("renovate[bot]")}, []github.Run{run(base, "renovate[bot]", "bob")}, "bob"},
		"an App of a fork":               {"renovate[bot]", fork, nil, []github.Run{run(fork, "renovate[bot]", "renovate[bot]")}, ""},
		"an App, and somebody pushed":    {"renovate[bot]", base, []github.Push{push("bob")}, []github.Run{run(base, "bob", "bob")}, "bob"},
		"an App, and another pushed":     {"renovate[bot]", base, []github.Push{push("fix[bot]")}, []github.Run{run(base, "fix[bot]", "fix[bot]")}, "?"},
		"a deleted account":              {"alice", base, []github.Push{{After: head, Actor: ci.NewPerson("", "", "")}}, nil, "?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := github.Change{Author: who(c.author), Head: github.End{RepositoryID: c.from, SHA: head}, Base: github.End{RepositoryID: base}, Merged: true, MergedAt: merged}
			got, err := pushedBy(change, c.pushes, c.runs)
			var names []string
			for _, x := range got {
				if !x.Person.Bot {
					names = append(names, x.Person.Login)
				}
			}
			slices.Sort(names)
			told := strings.Join(slices.Compact(names), " ")
			if err != nil {
				told = "?"
				if !errors.Is(err, protocol.Code("pusher_unknown")) || protocol.ExitCode(err) != 7 {
					t.Error(err)
				}
			}
			if told != c.want {
				t.Errorf("%q, want %q (%v)", told, c.want, err)
			}
		})
	}
}
