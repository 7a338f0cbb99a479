package github

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	actions "github.com/sethvargo/go-githubactions"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Runner is the side of a workflow's job that steps talk to: inputs come as variables,
// outputs and the summary go to files that it names, commands go to its log.
type Runner struct {
	env map[string]string
	to  *actions.Action
}

// NewRunner makes a Runner of a step's environment and log.
func NewRunner(env map[string]string, w io.Writer) *Runner {
	return &Runner{env: env, to: actions.New(actions.WithWriter(w), actions.WithGetenv(func(name string) string { return env[name] }))}
}

// Input gives an input of the step, without the spaces around it; empty if it is not
// set.
func (r *Runner) Input(name string) string { return r.to.GetInput(name) }

var outputNames = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,99}$`)

// Output sets an output of the step. Where the runner names no file for outputs, as
// outside Actions, nothing is set.
func (r *Runner) Output(name, value string) error {
	switch {
	case r.env["GITHUB_OUTPUT"] == "":
		return nil
	case !outputNames.MatchString(name):
		return protocol.Errorf(protocol.ExitFailure, "runner_output", "%.100q is no name of an output", name)
	case len(value) > limits.GitHubOutput:
		return protocol.Errorf(protocol.ExitFailure, "runner_output", "output %s has %d bytes, at most %d", name, len(value), limits.GitHubOutput)
	}
	// A value that held the line which ends it could set other outputs. The library's
	// line is always the same; no value holds a digest of itself.
	sum := sha256.Sum256([]byte(name + "\x00" + value))
	end := "cabincrew_" + hex.EncodeToString(sum[:])
	return r.file("output", name, "GITHUB_OUTPUT", name+"<<"+end+"\n"+value+"\n"+end)
}

// Summary adds to the summary of the step. One that would be larger than what the
// runner takes is refused: it would drop the whole.
func (r *Runner) Summary(markdown []byte) error {
	path := r.env["GITHUB_STEP_SUMMARY"]
	if path == "" {
		return nil
	}
	if room := r.SummaryRoom(); len(markdown) > room {
		return tooLong("summary of the step", len(markdown), room)
	}
	return r.file("step-summary", "summary", "GITHUB_STEP_SUMMARY", string(markdown))
}

// SummaryRoom gives how many bytes the step's summary still takes.
func (r *Runner) SummaryRoom() int {
	have := int64(0)
	if info, err := os.Stat(r.env["GITHUB_STEP_SUMMARY"]); err == nil {
		have = info.Size()
	}
	return int(max(0, limits.GitHubSummary-1-have)) // a line break goes behind each
}

// file appends to a file that the runner names. The library panics where it cannot.
func (r *Runner) file(command, what, variable, message string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = errors.New("it cannot be written")
			}
			err = protocol.Errorf(protocol.ExitUnreachable, "runner_output", "%s of the step: %w", what, cause).
				WithHint("The runner names the file in %s; it must be writable.", variable)
		}
	}()
	r.to.IssueFileCommand(&actions.Command{Name: command, Message: message})
	return nil
}

// say writes a command to the log. A log that cannot be written is no reason to stop.
func (r *Runner) say(f func(to *actions.Action)) {
	defer func() { _ = recover() }() //nolint:errcheck // what was recovered is a failed write to the log
	f(r.to)
}

// Mask hides a value in the log from now on; each of its lines, since the log is made
// of lines.
func (r *Runner) Mask(value string) {
	for line := range strings.SplitSeq(value, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			r.say(func(to *actions.Action) { to.AddMask(line) })
		}
	}
}

// Group begins a part of the log that can be folded.
func (r *Runner) Group(title string) {
	r.say(func(to *actions.Action) { to.Group(clean(title)) })
}

// EndGroup ends it.
func (r *Runner) EndGroup() { r.say((*actions.Action).EndGroup) }

// Annotate shows a remark on lines of a file.
func (r *Runner) Annotate(a Annotation) {
	fields := map[string]string{}
	if a.Title != "" {
		fields["title"] = a.Title
	}
	if a.Path != "" {
		fields["file"] = a.Path
	}
	if a.StartLine > 0 {
		fields["line"] = strconv.Itoa(a.StartLine)
		fields["endLine"] = strconv.Itoa(max(a.EndLine, a.StartLine))
	}
	r.say(func(to *actions.Action) {
		to = to.WithFieldsMap(fields)
		switch a.Level {
		case "failure":
			to.Errorf("%s", a.Message)
		case "warning":
			to.Warningf("%s", a.Message)
		default:
			to.Noticef("%s", a.Message)
		}
	})
}

// StopCommands has the runner take lines for text until resume is called, so that
// what others wrote can be shown. The token must be one that they cannot guess.
func (r *Runner) StopCommands(token string) (resume func()) {
	sum := sha256.Sum256([]byte(token))
	word := hex.EncodeToString(sum[:]) // whatever the token holds, this is one word
	r.say(func(to *actions.Action) { to.IssueCommand(&actions.Command{Name: "stop-commands", Message: word}) })
	return func() { r.say(func(to *actions.Action) { to.IssueCommand(&actions.Command{Name: word}) }) }
}
