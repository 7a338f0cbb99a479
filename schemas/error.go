package schemas

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

const (
	maxProblems = 10   // told in one error
	maxShown    = 256  // bytes of one path, name or text
	maxError    = 4096 // bytes of an error's text
)

// Error says what is wrong with a document. Values of the document are not
// repeated in it, as they may be secrets; names of members are, shortened.
type Error struct {
	Kind     string
	Problems []Problem // at most ten, by place
	More     int       // problems that were left out
}

// Problem is one thing that is wrong at one place.
type Problem struct {
	Where string   // for people: $.artifacts[0].name
	Path  []string // the same as the names and indexes on the way, nil for the document
	Text  string
}

// Error gives all problems on one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "not a valid %s: ", clip(e.Kind))
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Where + ": " + p.Text)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more", e.More)
	}
	if text := b.String(); len(text) > maxError {
		return strings.ToValidUTF8(text[:maxError], "") + "..."
	}
	return b.String()
}

func newError(of string, doc any, err error) error {
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return fmt.Errorf("checking a %s: %w", of, err)
	}
	problems := leaves(nil, invalid)
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(slices.Compare(a.Path, b.Path), cmp.Compare(a.Text, b.Text))
	})
	e := &Error{Kind: of, Problems: problems[:min(len(problems), maxProblems)]}
	e.More = len(problems) - len(e.Problems)
	for i := range e.Problems {
		e.Problems[i].Where = place(doc, e.Problems[i].Path)
	}
	return e
}

// leaves gathers the errors that have no cause of their own. Of alternatives
// none of which fits, it follows the one that comes nearest, since the errors
// of the others would only hide it.
func leaves(to []Problem, e *jsonschema.ValidationError) []Problem {
	if len(e.Causes) == 0 {
		return append(to, Problem{Path: e.InstanceLocation, Text: describe(e.ErrorKind)})
	}
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		var nearest []Problem
		for _, c := range e.Causes {
			if found := leaves(nil, c); nearest == nil || len(found) < len(nearest) {
				nearest = found
			}
		}
		for i := range nearest {
			nearest[i].Text += fmt.Sprintf(" (nearest of %d forms)", len(e.Causes))
		}
		return append(to, nearest...)
	}
	for _, c := range e.Causes {
		to = leaves(to, c)
	}
	return to
}

// describe says what is wrong without repeating values of the document.
func describe(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("is %s, want %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Required:
		return "is missing " + list(k.Missing)
	case *kind.AdditionalProperties:
		return "has unknown " + list(k.Properties)
	case *kind.FalseSchema:
		return "is not allowed here"
	case *kind.Enum:
		return clip(fmt.Sprintf("is none of %v", k.Want))
	case *kind.Const:
		return clip(fmt.Sprintf("is not %v", k.Want))
	case *kind.Format:
		if k.Want == "date-time" {
			return errDateTime.Error()
		}
		return "is not a valid " + k.Want
	case *kind.Pattern:
		return "does not match " + clip(k.Want)
	case *kind.Minimum:
		return "is less than " + k.Want.RatString()
	case *kind.Maximum:
		return "is more than " + k.Want.RatString()
	case *kind.MinLength:
		return fmt.Sprintf("is shorter than %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("is longer than %d characters", k.Want)
	case *kind.PropertyNames:
		return "has a member with a name that is not allowed: " + strconv.Quote(clip(k.Property))
	}
	return clip(k.LocalizedString(message.NewPrinter(language.English)))
}

// list writes names in a fixed order, at most as many as fit.
func list(names []string) string {
	quoted := make([]string, 0, len(names))
	for _, n := range slices.Sorted(slices.Values(names)) {
		quoted = append(quoted, strconv.Quote(clip(n)))
	}
	return clip(strings.Join(quoted, ", "))
}

// place writes a path as $.artifacts[0].name, looking at the document to tell an
// index from a name.
func place(doc any, path []string) string {
	var b strings.Builder
	b.WriteString("$")
	for _, step := range path {
		switch v := doc.(type) {
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return b.String()
			}
			fmt.Fprintf(&b, "[%d]", i)
			doc = v[i]
		case map[string]any:
			b.WriteString("." + clip(step))
			doc = v[step]
		}
	}
	return clip(b.String())
}

func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "..."
}
