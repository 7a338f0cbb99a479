package cli

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// spot is a place in a file; Line is 0 where only the file is known.
type spot struct {
	File string
	Line int
}

// remark is one thing that a policy command tells, whatever the format.
type remark struct {
	Rule     string // policy id
	Decision protocol.Decision
	Message  string
	Spots    []spot
	// Subject is what it is about: a step, a flight with a step.
	Subject string
	// Change says how it differs from what was recorded: new, updated, unchanged, absent, or "".
	Change string
}

// evaluation is one finding as policy eval tells it.
type evaluation struct {
	protocol.PolicyEvaluation
	Files    []string `json:"files,omitempty"`
	Line     int      `json:"line,omitempty"`     // in the first of the files
	Policy   string   `json:"policy,omitempty"`   // file:line of the rule
	SpentUS  int64    `json:"spent_us,omitempty"` // of the whole policy, in microseconds
	Unjudged bool     `json:"unjudged,omitempty"`
}

func evaluationOf(f policies.Finding, sets policySets) evaluation {
	e := evaluation{PolicyEvaluation: f.PolicyEvaluation, Files: f.Files, SpentUS: f.Spent.Microseconds(), Unjudged: f.Unjudged}
	if at, ok := f.Evidence["at"].(string); ok {
		e.Policy = sets.shown(at)
	}
	if list := spotsOf(f.PolicyEvaluation); len(list) > 0 {
		e.Line = list[0].Line
		if len(e.Files) == 0 {
			for _, s := range list {
				e.Files = append(e.Files, s.File)
			}
		}
	}
	return e
}

func (e evaluation) remark(subject string) remark {
	r := remark{Rule: e.PolicyID, Decision: e.Decision, Message: e.Reason, Subject: subject}
	for i, name := range e.Files {
		s := spot{File: name}
		if i == 0 {
			s.Line = e.Line
		}
		r.Spots = append(r.Spots, s)
	}
	return r
}

func (e evaluation) spent() time.Duration { return time.Duration(e.SpentUS) * time.Microsecond }

// spotsOf gives the places that an evaluation's evidence names.
func spotsOf(e protocol.PolicyEvaluation) []spot {
	var out []spot
	add := func(v any) {
		if name, ok := v.(string); ok && name != "" && !slices.ContainsFunc(out, func(s spot) bool { return s.File == name }) {
			out = append(out, spot{File: name})
		}
	}
	add(e.Evidence["file"])
	switch list := e.Evidence["files"].(type) {
	case []string:
		for _, name := range list {
			add(name)
		}
	case []any:
		for _, name := range list {
			add(name)
		}
	}
	if len(out) > 0 {
		out[0].Line = lineOf(e.Evidence["line"])
	}
	return out
}

func lineOf(v any) int {
	n := 0
	switch x := v.(type) {
	case int:
		n = x
	case int64:
		n = int(x)
	case json.Number:
		n, _ = strconv.Atoi(x.String()) // what is no number is no line
	}
	return max(n, 0)
}

// toldApart are the members of evidence that are not shown among the rest.
var toldApart = []string{"at", "file", "files", "line", "role", "rule"}

// evidenceText gives what else the evidence says, as JSON.
func evidenceText(e protocol.PolicyEvaluation) string {
	rest := map[string]any{}
	for k, v := range e.Evidence {
		if !slices.Contains(toldApart, k) {
			rest[k] = v
		}
	}
	if len(rest) == 0 {
		return ""
	}
	text, err := json.Marshal(rest)
	if err != nil {
		return "" // evidence came from JSON; a judge of another kind shows nothing
	}
	return string(text)
}

// filesText names files for people, the first few of many.
func filesText(spots []spot) string {
	const most = 10
	var names []string
	for i, s := range spots {
		if i == most {
			names = append(names, strconv.Itoa(len(spots)-most)+" more")
			break
		}
		name := oneLine(s.File)
		if s.Line > 0 {
			name += ":" + strconv.Itoa(s.Line)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// write prints a whole document that needs no taming any more.
func (a *app) write(data []byte) error {
	if _, err := a.out.Write(data); err != nil {
		return protocol.Errorf(protocol.ExitFailure, "output_failed", "the report cannot be written: %w", err)
	}
	return nil
}

func (a *app) writeSARIF(list []remark, book map[string]rego.Rule) error {
	data, err := sarif(list, book)
	if err != nil {
		return err
	}
	return a.write(data)
}

func (a *app) writeJUnit(r junitReport) error {
	data, err := r.document()
	if err != nil {
		return err
	}
	return a.write(data)
}
