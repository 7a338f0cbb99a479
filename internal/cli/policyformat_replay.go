package cli

import (
	"fmt"
	"strings"

	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// tellReplay prints a replay and ends as it did: with 5 if a flight does not
// verify, with 1 where a change was asked to be a failure.
func (a *app) tellReplay(r replay, book map[string]rego.Rule, f replayFlags) error {
	var err error
	switch f.format {
	case outputJSON:
		a.printJSON(r)
	case formatSARIF:
		err = a.writeSARIF(r.remarks(), book)
	case formatJUnit:
		err = a.writeJUnit(r.junit())
	case formatGitHub:
		if err = a.write([]byte(r.github())); err == nil {
			a.text(r.summary())
		}
	default:
		for _, flight := range r.Flights {
			a.text(flight.render(f.all))
		}
		a.text(r.summary())
	}
	if err == nil {
		err = r.outcome(f.exitCode)
	}
	if err == nil {
		return nil
	}
	a.complain(err)
	return reportedError{err}
}

func (r replay) outcome(exitCode bool) error {
	switch {
	case r.Failed > 0:
		return protocol.Errorf(protocol.ExitIntegrity, "replay_failed", "%d of %d flights do not verify and were not judged", r.Failed, len(r.Flights)).
			WithHint("each is named above; cabincrew verify tells more of one")
	case r.Steps == 0:
		return usageError("replay_none", "there is no sealed flight to judge").WithHint("name a state directory, or a directory of flights' directories, with --flights")
	case r.Changed > 0 && exitCode:
		return protocol.Errorf(protocol.ExitFailure, "replay_changed", "%d decisions would change", r.Changed).WithHint("each is named above with the findings that make it")
	}
	return nil
}

func (r replay) summary() string {
	text := fmt.Sprintf("%d steps of %d flights: %d decisions change, %d stay", r.Steps, len(r.Flights)-r.Skipped-r.Failed, r.Changed, r.Unchanged)
	if r.Shifted > 0 {
		text += fmt.Sprintf(" (%d by other findings)", r.Shifted)
	}
	if r.Skipped > 0 {
		text += fmt.Sprintf("; %d flights were never sealed", r.Skipped)
	}
	if r.Failed > 0 {
		text += fmt.Sprintf("; %d flights do not verify", r.Failed)
	}
	return text + "\n"
}

// render tells what changes of a flight; all tells other findings too.
func (f replayedFlight) render(all bool) string {
	var b strings.Builder
	if f.Status == replayFailed && f.Error != nil {
		_, _ = fmt.Fprintf(&b, "flight %s is left out: %s [%s]\n", oneLine(f.Flight), oneLine(f.Error.Message), f.Error.Code)
		return b.String()
	}
	for _, s := range f.Steps {
		if !s.Changed && (!all || !s.differs()) {
			continue
		}
		_, _ = fmt.Fprintf(&b, "flight %s  workflow %s  step %s  %s\n", oneLine(f.Flight), oneLine(f.Workflow), oneLine(s.StepID), s.verdict())
		line := func(sign, decision string, m matched) {
			text := strings.TrimRight(fmt.Sprintf("  %s %-16s  %s  %s", sign, decision, oneLine(m.PolicyID), oneLine(m.Reason)), " ")
			if len(m.Files) > 0 {
				text += " (" + filesText(m.spots()) + ")"
			}
			_, _ = fmt.Fprintln(&b, text)
		}
		for _, m := range s.Added {
			line("+", string(m.Decision), m)
		}
		for _, m := range s.Altered {
			line("~", string(m.Old)+" -> "+string(m.Decision), m.matched)
		}
		for _, m := range s.Gone {
			line("-", string(m.Decision), m)
		}
		_, _ = fmt.Fprintf(&b, "    the policies were told nothing of: %s\n", strings.Join(s.Unknown, ", "))
	}
	return b.String()
}

// verdict writes how a step's decision changes.
func (s replayedStep) verdict() string {
	word := func(d protocol.Decision, roles []string) string {
		if len(roles) == 0 {
			return string(d)
		}
		return string(d) + " by " + oneLine(strings.Join(roles, ", "))
	}
	if !s.Changed {
		return word(s.Old, s.OldRoles) + " as before"
	}
	return word(s.Old, s.OldRoles) + " -> " + word(s.New, s.NewRoles)
}

func (r replay) remarks() []remark {
	var out []remark
	for _, f := range r.Flights {
		for _, s := range f.Steps {
			out = append(out, s.remarks(f.Flight+"/"+s.StepID)...)
		}
	}
	return out
}

// junit makes a suite of each flight and a test of each step: one whose decision
// would change has failed.
func (r replay) junit() junitReport {
	out := junitReport{Name: "cabincrew policy replay"}
	for _, f := range r.Flights {
		s := junitSuite{Name: oneLine(f.Flight), Time: junitTime(0)}
		class := junitClass("replay", f.Flight)
		switch f.Status {
		case replayFailed:
			s.Cases = append(s.Cases, junitCase{Name: "flight", Class: class, Time: s.Time, Error: newJUnitMessage(f.Error.Code, f.Error.Message, f.Error.Hint)})
		case replaySkipped:
			s.Cases = append(s.Cases, junitCase{Name: "flight", Class: class, Time: s.Time, Skipped: newJUnitMessage("", "it was never sealed", "")})
		}
		for _, step := range f.Steps {
			c := junitCase{Name: oneLine(step.StepID), Class: class, Time: s.Time}
			if step.Changed {
				one := f
				one.Steps = []replayedStep{step}
				c.Failure = newJUnitMessage("changed", step.verdict(), one.render(false))
			} else {
				c.Output = visible(step.verdict())
			}
			s.Cases = append(s.Cases, c)
		}
		out.Suites = append(out.Suites, s)
	}
	return out
}

// github writes a command for each step whose decision would change. It names no
// file: those of a recorded flight may be others by now.
func (r replay) github() string {
	var b strings.Builder
	for _, f := range r.Flights {
		title := "flight " + f.Flight
		if f.Status == replayFailed {
			b.WriteString(githubCommand("error", spot{}, title, "it does not verify: "+f.Error.Message))
		}
		for _, s := range f.Steps {
			if !s.Changed {
				continue
			}
			level := githubLevel(s.New)
			if level == "" || s.New.Severity() < s.Old.Severity() {
				level = "notice"
			}
			one := f
			one.Steps = []replayedStep{s}
			b.WriteString(githubCommand(level, spot{}, title+", step "+s.StepID, one.render(false)))
		}
	}
	return b.String()
}
