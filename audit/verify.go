package audit

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Kind says what is wrong with a log.
type Kind string

// The kinds of problems.
const (
	Changed   Kind = "changed"   // a line is not what was written
	Missing   Kind = "missing"   // a line that was written is gone
	Inserted  Kind = "inserted"  // a line was put in
	Reordered Kind = "reordered" // a line stands elsewhere than it was written
	Cut       Kind = "cut"       // the end is gone
	Unsigned  Kind = "unsigned"  // a line has no signature where each must
	Forged    Kind = "forged"    // a line's signature is not that of a key that may sign
)

// A Problem is the first thing that is wrong with a log.
type Problem struct {
	Kind     Kind   `json:"kind"`
	Line     int    `json:"line"`               // from 1
	EventID  string `json:"event_id,omitempty"` // as the line says
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	Reason   string `json:"reason"`
	// Torn says that only the last write is incomplete, as a crash leaves it.
	Torn bool `json:"torn,omitempty"`
}

// VerifyOptions are what a log is held against beside itself.
type VerifyOptions struct {
	// Refs asks for the references to WAL entries, for CrossCheck.
	Refs bool
	// Count and Head, if set, are how many events the log had at an earlier
	// time, and the hash of the last one then (Report.Head, a checkpoint).
	Count int
	Head  string
	// Signed, if set, judges the signature that each event must have.
	Signed SignedBy
	// After, if set, is the head of the log that this one goes on from.
	After string
}

// A Report is what verifying a log found. With a Problem, the other fields
// speak of the lines before it.
type Report struct {
	Events    int       `json:"events"`
	Head      string    `json:"head"` // what the next line's chain_hash must be
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	LastEvent string    `json:"last_event,omitempty"`
	Warnings  []string  `json:"warnings,omitempty"`
	Problem   *Problem  `json:"problem,omitempty"`
	Refs      []Ref     `json:"-"`
	Bytes     int64     `json:"bytes"` // of whole good lines
}

const maxWarnings = 20 // more of the same tells nobody anything

// Verify reads a whole log and checks each line and the chain. The error is a
// *protocol.Error with the code audit_<kind> that Report.Problem explains, or
// one of reading. SPEC: docs/protocol.md 11.
func Verify(r io.Reader, workflowID string, o VerifyOptions) (Report, error) {
	start, err := startOf(workflowID, o.After)
	if err != nil {
		return Report{}, protocol.Errorf(protocol.ExitUsage, "audit_after", "the head that the log goes on from is no digest: %w", err)
	}
	p := startPipeline(r, o)
	defer p.close()
	v := verifier{pipeline: p, options: o, prev: start}
	v.start = v.prev
	for {
		in := p.next()
		if in == nil {
			break
		}
		if problem := v.line(in); problem != nil {
			v.report.Problem = problem
			return v.finish(), problem.err()
		}
	}
	if p.err != nil {
		return v.finish(), protocol.Errorf(protocol.ExitFailure, "audit_unreadable", "the audit log cannot be read: %w", p.err)
	}
	if o.Count > v.report.Events {
		v.report.Problem = &Problem{
			Kind: Cut, Line: v.report.Events + 1, Expected: fmt.Sprintf("%d events", o.Count),
			Got: fmt.Sprintf("%d events", v.report.Events), Reason: "the end of the log is gone",
		}
		return v.finish(), v.report.Problem.err()
	}
	return v.finish(), nil
}

type verifier struct {
	*pipeline
	options     VerifyOptions
	report      Report
	start, prev sum
	before      []seen // the last lines, at most limits.AuditWindow, as a ring
}

// seen is what is kept of a line for telling what happened near it.
type seen struct {
	number     int
	self, prev sum
	valid      bool
}

func (v *verifier) finish() Report {
	v.report.Head = digest(v.prev)
	return v.report
}

func (v *verifier) line(in *lineInfo) *Problem {
	switch {
	case in.bad != nil:
		return v.changed(in)
	case in.prev != v.prev:
		return v.broken(in)
	case in.open:
		return &Problem{
			Kind: Cut, Line: in.number, EventID: hexOf(in.id), Torn: true,
			Reason: "the last line is whole but its newline is missing, as an interrupted write leaves it",
		}
	}
	v.prev = in.self
	r := &v.report
	if v.options.Count == in.number && v.options.Head != "" && v.options.Head != digest(in.self) {
		return &Problem{
			Kind: Changed, Line: in.number, EventID: hexOf(in.id), Expected: v.options.Head, Got: digest(in.self),
			Reason: "the log up to this line is not the one that the checkpoint is of",
		}
	}
	if r.Events == 0 {
		r.First = in.at
	} else if in.at.Before(r.Last) && len(r.Warnings) < maxWarnings {
		r.Warnings = append(r.Warnings, fmt.Sprintf("line %d is dated %s, before the line above it (%s)",
			in.number, in.at.Format(time.RFC3339Nano), r.Last.Format(time.RFC3339Nano)))
	}
	r.Events, r.Last, r.LastEvent, r.Bytes = in.number, in.at, in.kind, in.end
	if in.hasRef {
		if len(r.Refs) >= limits.AuditRefs {
			return &Problem{Kind: Inserted, Line: in.number, EventID: hexOf(in.id), Reason: "more references to WAL entries than a WAL can have"}
		}
		r.Refs = append(r.Refs, in.ref)
	}
	v.remember(seen{in.number, in.self, in.prev, true})
	return nil
}

func (v *verifier) remember(s seen) {
	if len(v.before) < limits.AuditWindow {
		v.before = append(v.before, s)
		return
	}
	v.before[(s.number-1)%limits.AuditWindow] = s
}

// changed describes a line that does not stand on its own.
func (v *verifier) changed(in *lineInfo) *Problem {
	p := &Problem{Kind: Changed, Line: in.number, Reason: in.bad.Error()}
	switch {
	case in.torn && (!in.hasPrev || in.prev == v.prev):
		p.Kind, p.Torn = Cut, true
		p.Reason = "the last line ends in its middle, as an interrupted write leaves it"
	case errors.Is(in.bad, errEventID):
		p.EventID, p.Expected, p.Got = hexOf(in.id), hexOf(in.want), hexOf(in.id)
	case errors.Is(in.bad, errUnsigned):
		p.Kind, p.EventID = Unsigned, hexOf(in.id)
	case errors.Is(in.bad, errForged):
		p.Kind, p.EventID = Forged, hexOf(in.id)
	case in.id != sum{}:
		p.EventID = hexOf(in.id)
	}
	return p
}

// broken describes a line that is whole but does not follow the one before it.
// Each line names the hash of its predecessor, so looking for that hash among
// the lines around tells what happened.
func (v *verifier) broken(line *lineInfo) *Problem {
	in := *line // reading on makes the line's own memory invalid
	around := append([]seen{{number: 0, self: v.start, valid: true}}, v.before...)
	next := seen{}
	for range limits.AuditWindow {
		f := v.next()
		if f == nil {
			break
		}
		s := seen{f.number, f.self, f.prev, f.bad == nil}
		if f.number == in.number+1 {
			next = s
		}
		around = append(around, s)
	}
	at, twin := -1, -1 // the line that this one follows, and one that is equal to it
	for _, s := range around {
		if s.self == in.prev {
			at = s.number
		}
		if s.self == in.self {
			twin = s.number
		}
	}
	p := &Problem{Line: in.number, EventID: hexOf(in.id), Expected: digest(v.prev), Got: digest(in.prev)}
	extra := next.valid && next.prev == v.prev // without this line, the chain would hold
	switch {
	case twin >= 0:
		p.Kind, p.Reason = Inserted, fmt.Sprintf("it is a copy of line %d", twin)
	case at > in.number:
		p.Kind, p.Reason = Reordered, fmt.Sprintf("it was written right after what is now line %d", at)
	case extra:
		p.Kind, p.Reason = Inserted, "the line after it follows the line before it"
	case at >= 0:
		p.Kind, p.Line, p.EventID = Inserted, at+1, ""
		p.Reason = fmt.Sprintf("line %d was written right after line %d; what stands between was put in", in.number, at)
		if at == 0 {
			p.Reason = fmt.Sprintf("line %d was the first; what stands before it was put in", in.number)
		}
	case in.number == 1:
		p.Kind, p.Reason = Missing, "the beginning of the log is gone, or the log is of another flight"
	default:
		p.Kind, p.Reason = Missing, "no line here is the one that it follows: that line was removed or replaced"
	}
	return p
}

// err gives the problem as the error that a user sees.
func (p *Problem) err() error {
	text := fmt.Sprintf("the audit log does not verify: line %d: %s: %s", p.Line, p.Kind, p.Reason)
	if p.EventID != "" {
		text += ", event_id " + p.EventID
	}
	if p.Expected != "" {
		text += fmt.Sprintf(" (expected %s, got %s)", p.Expected, p.Got)
	}
	e := protocol.Errorf(protocol.ExitIntegrity, "audit_"+string(p.Kind), "%s", text).At(fmt.Sprintf("audit.jsonl:%d", p.Line))
	if p.Torn {
		return e.WithHint("the last write was interrupted; `cabincrew resume` cuts the torn line off and records that it did")
	}
	return e.WithHint("do not trust this log from line %d on; compare it with a copy or an export made elsewhere", p.Line)
}

func hexOf(s sum) string { return digest(s)[len("sha256:"):] }
