package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Shape says what canonical documents of one Go type look like: which members
// there are, which must be there (those without omitempty) and of which type.
// The nil Shape accepts every document. Shapes never change once made.
type Shape struct {
	kind   reflect.Kind // Invalid accepts any value
	name   string       // of the type, for messages
	fields []field      // of a Struct, in canonical order
	elem   *Shape       // of a Slice or Map
	words  []string     // of a String with a fixed vocabulary
}

type field struct {
	name     string
	required bool
	shape    *Shape
}

// ShapeOf gives the shape of v's type, which must be one of this project's
// message types: structs, slices, maps, text, integers, booleans and any.
func ShapeOf(v any) *Shape { return shapeOf(reflect.TypeOf(v)) }

func shapeOf(t reflect.Type) *Shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := &Shape{kind: t.Kind(), name: t.Name()}
	switch {
	case t == reflect.TypeFor[json.RawMessage]() || t.Kind() == reflect.Interface:
		return nil
	case t == reflect.TypeFor[json.Number]():
		s.kind = reflect.Int
		return s
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			s.fields = append(s.fields, field{name, !strings.Contains(opts, "omitempty"), shapeOf(f.Type)})
		}
		slices.SortFunc(s.fields, func(x, y field) int { return compareUTF16(x.name, y.name) })
	case reflect.Slice, reflect.Map:
		s.elem = shapeOf(t.Elem())
	case reflect.String:
		s.words = vocabulary(t)
	case reflect.Int, reflect.Int64:
		s.kind = reflect.Int
	}
	return s
}

// vocabulary gives the words of the text types that have a fixed set of them.
func vocabulary(t reflect.Type) []string {
	var words []string
	switch t {
	case reflect.TypeFor[Decision]():
		words = []string{string(Allow), string(Warn), string(RequireApproval), string(Deny)}
	case reflect.TypeFor[State]():
		for _, s := range append(slices.Clone(stateOrder), StateFailed) {
			words = append(words, string(s))
		}
	case reflect.TypeFor[Aggregation]():
		for _, a := range []Aggregation{MostRestrictive, Unanimous, Majority, AnyDeny, AllAllow, CustomRule} {
			words = append(words, string(a))
		}
	case reflect.TypeFor[WALEntryType]():
		for _, w := range []WALEntryType{
			WALWorkflowStarted, WALStepStarted, WALStepCompleted, WALArtifactCreated, WALPolicyEvaluated,
			WALApprovalRequested, WALApprovalReceived, WALWorkflowCompleted, WALWorkflowFailed,
		} {
			words = append(words, string(w))
		}
	}
	return words
}

// accepts checks the first byte of the next value.
func (s *Shape) accepts(p *scanner) error {
	if s == nil {
		return nil
	}
	c := p.data[p.pos]
	var ok bool
	var want string
	switch s.kind {
	case reflect.Struct, reflect.Map:
		ok, want = c == '{', "an object"
	case reflect.Slice:
		ok, want = c == '[', "a list"
	case reflect.String:
		ok, want = c == '"', "text"
	case reflect.Bool:
		ok, want = c == 't' || c == 'f', "true or false"
	case reflect.Int:
		ok, want = c == '-' || c >= '0' && c <= '9', "an integer"
	default:
		want = "nothing of type " + s.name
	}
	if !ok {
		return p.fail("expected %s", want)
	}
	return nil
}

// oneOf checks text against the vocabulary of its type.
func (s *Shape) oneOf(p *scanner, text []byte) error {
	if s == nil || s.words == nil {
		return nil
	}
	if slices.Contains(s.words, string(text)) {
		return nil
	}
	return p.fail("%q is not a %s", text, s.name)
}

// element gives the shape of the values of a list or map.
func (s *Shape) element() *Shape {
	if s == nil {
		return nil
	}
	return s.elem
}

// A cursor walks the fields of a shape beside the members of an object. Both
// are in canonical order, so one look at each is enough.
type cursor struct {
	shape *Shape
	rest  []field
}

func (s *Shape) start() cursor {
	if s == nil || s.kind != reflect.Struct {
		return cursor{shape: s}
	}
	return cursor{s, s.fields}
}

func (c *cursor) open() bool { return c.shape == nil || c.shape.kind != reflect.Struct }

// next gives the shape of the member key.
func (c *cursor) next(p *scanner, key []byte) (*Shape, error) {
	if c.open() {
		return c.shape.element(), nil
	}
	for i := range c.rest {
		f := &c.rest[i]
		switch {
		case string(key) == f.name:
			c.rest = c.rest[i+1:]
			return f.shape, nil
		case f.required && f.name < string(key):
			return nil, p.fail("field %q is missing", f.name)
		case f.name > string(key):
			return nil, under(p.fail("unknown field"), fmt.Sprintf(".%s", key))
		}
	}
	return nil, under(p.fail("unknown field"), fmt.Sprintf(".%s", key))
}

// end checks that no required field is left.
func (c *cursor) end(p *scanner) error {
	for i := range c.rest {
		if c.rest[i].required {
			return p.fail("field %q is missing", c.rest[i].name)
		}
	}
	return nil
}

// begins gives errShort if a field that may stand here begins with part.
func (c *cursor) begins(p *scanner, part []byte) error {
	if c.open() {
		return errShort
	}
	for i := range c.rest {
		if bytes.HasPrefix([]byte(c.rest[i].name), part) {
			return errShort
		}
		if c.rest[i].required {
			break
		}
	}
	return p.fail("no field that may stand here begins with %q", part)
}
