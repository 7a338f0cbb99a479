package ci

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Annotations are remarks about lines of files: what policies say and what would be
// changed, the gravest first. What names no line, or no path that is shown as it is,
// stands in the report alone.
func (r *Report) Annotations() []Annotation {
	var out []Annotation
	for i := range r.Steps {
		step := &r.Steps[i]
		for _, e := range step.Evaluations {
			if e.Decision == protocol.Allow {
				continue
			}
			path, line := spot(e.Evidence)
			level := LevelWarning
			if e.Decision.Severity() == protocol.Deny.Severity() {
				level = LevelFailure
			}
			out = remark(out, path, line, level, string(e.Decision)+": "+e.PolicyID, e.Reason)
		}
		for _, e := range step.Effects {
			out = remark(out, e.Path, e.Line, LevelNotice, "planned: "+e.Action+" "+e.What, e.Detail)
		}
	}
	rank := []string{LevelFailure, LevelWarning, LevelNotice}
	slices.SortStableFunc(out, func(a, b Annotation) int { return slices.Index(rank, a.Level) - slices.Index(rank, b.Level) })
	return out
}

func remark(list []Annotation, path string, line int, level, title, message string) []Annotation {
	if line < 1 || path == "." || !fs.ValidPath(path) || strings.ContainsFunc(path, harmless.Hidden) {
		return list
	}
	if message == "" {
		message = title
	}
	return append(list, Annotation{
		Path: path, StartLine: line, EndLine: line, Level: level,
		Title: clip(harmless.OneLine(title), limits.CheckTitle), Message: clip(Log(message), limits.AnnotationMessage),
	})
}

// clip ends a text that is too long, and says so.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := fmt.Sprintf(" … (%d bytes in all)", len(s))
	for most -= len(end); most > 0 && !utf8.RuneStart(s[most]); {
		most--
	}
	return s[:most] + end
}

// spot gives the file and line that the evidence of a policy names.
func spot(evidence map[string]any) (path string, line int) {
	path, _ = evidence["file"].(string)
	if path == "" {
		switch list := evidence["files"].(type) {
		case []string:
			if len(list) > 0 {
				path = list[0]
			}
		case []any:
			if len(list) > 0 {
				path, _ = list[0].(string)
			}
		}
	}
	switch x := evidence["line"].(type) {
	case int:
		line = x
	case int64:
		line = int(x)
	case float64:
		if x >= 1 && x <= 1<<31 {
			line = int(x)
		}
	case json.Number:
		line, _ = strconv.Atoi(x.String()) // what is no number is no line
	}
	return path, line
}
