package audit

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cabincrew/action/protocol"
)

// TimelineOptions are how a timeline looks.
type TimelineOptions struct {
	Colour bool // ANSI colours by severity
}

// Timeline writes events for people: when, how long after the first, how
// severe, what, which step, and the message. Control characters and characters
// that turn the direction of text are written as escapes, since messages may
// hold foreign text. It ends at the first line that cannot be read.
func Timeline(r io.Reader, w io.Writer, o TimelineOptions) error {
	out := bufio.NewWriter(w)
	var first time.Time
	for e, err := range Events(r) {
		if err != nil {
			return firstError(err, out.Flush())
		}
		at, err := parseTime(e.Timestamp)
		if err != nil {
			return firstError(err, out.Flush())
		}
		if first.IsZero() {
			first = at
		}
		line := fmt.Sprintf("%s %10s  %-8s  %-20s  %-16s  %s", at.Format(time.DateTime+".000"), offset(at.Sub(first)),
			visible(e.Severity), visible(e.EventType), visible(flatten(e).workflow.StepID), visible(summary(e)))
		line = strings.TrimRight(line, " ")
		if o.Colour {
			line = colour(e.Severity, line)
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return out.Flush()
}

func firstError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func offset(d time.Duration) string {
	if d < 0 {
		return "-" + offset(-d)
	}
	if d >= time.Hour {
		return "+" + d.Truncate(time.Second).String()
	}
	return fmt.Sprintf("+%.3fs", d.Seconds())
}

// summary is the message without its reference to the WAL, or what the event
// says otherwise.
func summary(e protocol.AuditEvent) string {
	if text, _, _, _ := cutRef(e.Message); text != "" {
		return text
	}
	f := flatten(e)
	var parts []string
	for _, s := range []string{f.decision, f.engine.EngineID, f.engine.Status, f.engine.Error, f.approval.RequiredRole, f.approval.Approver} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return e.WorkflowState
	}
	return strings.Join(parts, " ")
}

// visible writes characters that could move the cursor, start an escape
// sequence or turn text around as \u escapes.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f, r == 0xad, r == 0x61c, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e,
			r >= 0x2060 && r <= 0x206f, r == 0xfeff, r >= 0xe0000 && r <= 0xe0fff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func colour(severity, line string) string {
	var code string
	switch severity {
	case protocol.SeverityWarning:
		code = "33"
	case protocol.SeverityError, protocol.SeverityCritical:
		code = "31"
	case protocol.SeverityDebug:
		code = "2"
	default:
		return line
	}
	return "\x1b[" + code + "m" + line + "\x1b[0m"
}
