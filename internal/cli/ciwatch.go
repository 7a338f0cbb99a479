package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// issueLabel is the label of the issues that are opened here.
const issueLabel = "cabincrew"

// watch does what a run does that no change started: look for take-offs without an end,
// and for what the default branch would change if it were planned now.
func (r *ciRun) watch(err error) error {
	if !r.drifts() {
		return err
	}
	if failed := errors.Join(r.drift(err), r.alerts()); failed != nil {
		return errors.Join(failed, err) // what cannot be told decides the exit code
	}
	return err
}

// drifts says whether the run plans the default branch as it is, for no change.
func (r *ciRun) drifts() bool {
	if r.change.Number != 0 {
		return false
	}
	return r.event.Name == "schedule" || r.event.Name == "workflow_dispatch" && r.ofBranch(r.repo.DefaultBranch) == nil
}

// drift tells in an issue what a plan of the default branch would do: what is there is
// not what the branch says. A plan without effects is none; nothing is closed by itself.
func (r *ciRun) drift(err error) error {
	switch {
	case r.report.FlightToken == "" && r.report.Failure == nil:
		return nil
	case r.report.FlightToken == "" || err != nil && protocol.ExitCode(err) != protocol.ExitWaiting && protocol.ExitCode(err) != protocol.ExitDenied:
		return nil // there is no plan to compare; the run fails and says why
	case !drifted(&r.report):
		r.note = "a plan of " + r.repo.DefaultBranch + " would change nothing"
		return nil
	}
	body := "A plan of the branch as it is would change something, so what is there is not what the branch says. Apply it by a change, or take back what was done by hand; then close this issue.\n\n" +
		r.report.JobSummary(limits.GitHubComment-limits.GitHubIssueHead).Markdown
	at, err := r.forge.OpenIssue(r.ctx, "cabincrew/drift/"+markerWord(r.report.Workflow), clipped("Drift: "+r.report.Title()), body, []string{issueLabel})
	if err == nil {
		r.note = "a plan of " + r.repo.DefaultBranch + " would change something: " + at
	}
	return err
}

// drifted says whether a plan would do anything, or what it would do cannot be told, or
// is forbidden.
func drifted(rep *ci.Report) bool {
	if rep.Decision == protocol.Deny {
		return true
	}
	return slices.ContainsFunc(rep.Steps, func(s ci.ReportStep) bool {
		return s.Opaque || slices.ContainsFunc(s.Effects, func(e ci.Effect) bool { return e.Action != "inform" })
	})
}

var notMarker = regexp.MustCompile(`[^A-Za-z0-9_.]+`)

// markerWord makes a word of a text that may stand in a hidden marker.
func markerWord(s string) string {
	return cmp.Or(strings.Trim(notMarker.ReplaceAllString(s, "_"), "_."), "flight")
}

// clipped makes a text of one line a title.
func clipped(s string) string {
	s = oneLine(s)
	for len(s) > limits.GitHubName {
		runes := []rune(s)
		s = string(runes[:len(runes)-1])
	}
	return s
}

// alertsJob looks for take-offs that began and have no end.
func (r *ciRun) alertsJob() error {
	if err := r.api(); err != nil {
		return err
	}
	if err := r.repository(); err != nil {
		return err
	}
	return r.alerts()
}

// openTakeOff is a take-off that began and has no end.
type openTakeOff struct {
	token, run string
	at         time.Time
}

// alerts opens an issue about take-offs that began and have no end by their deadline: a
// runner was killed, and what it did nobody wrote down. SPEC: docs/threats.md T46.
func (r *ciRun) alerts() error {
	open, more, err := r.openTakeOffs(time.Now())
	if err != nil || len(open) == 0 {
		return err
	}
	at, err := r.forge.OpenIssue(r.ctx, "cabincrew/take-off", fmt.Sprintf("Take-offs that began and did not end: %d", len(open)+more), alertText(open, more), []string{issueLabel})
	if err != nil {
		return err
	}
	r.note = strings.TrimPrefix(r.note+"\n", "\n") + "take-offs began and have no end: " + at
	return nil
}

var tokenHex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// openTakeOffs lists the take-offs without an end that began before their deadline, by
// token, and says how many more were not looked at.
func (r *ciRun) openTakeOffs(now time.Time) (open []openTakeOff, more int, err error) {
	tags, err := r.forge.Marks(r.ctx, tagTop)
	if err != nil {
		return nil, 0, err
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		token, begun := strings.CutSuffix(strings.TrimPrefix(name, tagTop), "/begun")
		if _, done := tags[tagTop+token+"/done"]; begun && !done && tokenHex.MatchString(token) {
			names = append(names, name)
		}
	}
	for i, name := range names {
		if i == limits.GitHubAlerts {
			return open, len(names) - i, nil
		}
		message, at, made, err := r.forge.MarkedAt(r.ctx, name)
		if err != nil {
			return nil, 0, err
		}
		// A time to come, or none, is nobody's clock: that mark is told of at once.
		if age := now.Sub(at); !made || age >= -limits.GitHubClock && age < limits.TakeOffDeadline {
			continue
		}
		open = append(open, openTakeOff{token: strings.TrimSuffix(strings.TrimPrefix(name, tagTop), "/begun"), run: r.runOfMark(message), at: at})
	}
	return open, 0, nil
}

// runOfMark gives the run that a mark's message names, if it is one of this repository.
func (r *ciRun) runOfMark(message string) string {
	var m markMessage
	if protocol.Decode([]byte(message), &m) != nil {
		return ""
	}
	id, ok := strings.CutPrefix(m.Run, r.env["GITHUB_SERVER_URL"]+"/"+r.env["GITHUB_REPOSITORY"]+"/actions/runs/")
	if !ok || id == "" || strings.Trim(id, "0123456789") != "" || len(id) > limits.GitHubID {
		return ""
	}
	return m.Run
}

// alertText says which take-offs these are and what a person has to do. Nothing that
// somebody else wrote is in it.
func alertText(open []openTakeOff, more int) string {
	var b strings.Builder
	b.WriteString("These take-offs began and were not marked as done in time. A runner may have been killed in the middle, so what was applied is known to nobody but the target itself. Nothing that was merged later takes off until a person has looked.\n\n")
	for _, o := range open {
		run := o.run
		if run == "" {
			run = "a run that its mark does not name"
		}
		began := "at a time that its mark does not tell"
		if !o.at.IsZero() {
			began = o.at.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "- plan-token `sha256:%s`, begun %s, by %s\n", o.token, began, run)
	}
	if more > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more)
	}
	b.WriteString("\nWhat to do, for each:\n\n" +
		"1. Look whether the run is still at work, and what its log says it did.\n" +
		"2. Compare the target with the plan, which the run for the pull request kept as an artifact, and finish or take back by hand what is missing.\n" +
		"3. Say that it ended: `git tag cabincrew/TOKEN/done COMMIT && git push origin cabincrew/TOKEN/done`, with the 64 digits of the token and the commit of its tag `begun`. The same plan never takes off again; what is still wanted is planned by a new change.\n" +
		"4. Close this issue.\n")
	return b.String()
}
