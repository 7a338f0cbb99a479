package protocol

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxSafe is the largest integer that every JSON implementation keeps: 2^53-1.
const maxSafe = 1<<53 - 1

var (
	typeMarshaler     = reflect.TypeFor[json.Marshaler]()
	typeTextMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// Canonical gives the RFC 8785 form of one of this project's own documents.
// Integers must lie within ±(2^53-1) and fractions are not allowed: they are
// written as decimal strings. Text must be valid UTF-8. Struct fields follow
// their json tags; a nil slice is an empty list. Bytes and types that marshal
// themselves, such as time.Time, are refused. Depth is bounded by MaxDepth. SPEC: docs/protocol.md 3.
func Canonical(v any) ([]byte, error) {
	return encoder{}.appendValue(nil, reflect.ValueOf(v), 0)
}

// An Encoder writes documents as Canonical does and keeps what it learnt of their types,
// which is what many small documents of few types spend their time on. It is for one
// goroutine.
type Encoder struct{ known encoder }

// Append writes the canonical form of v behind b.
func (e *Encoder) Append(b []byte, v any) ([]byte, error) {
	if e.known == nil {
		e.known = encoder{}
	}
	return e.known.appendValue(b, reflect.ValueOf(v), 0)
}

// encoder keeps the fields of the struct types met while one document is written.
type encoder map[reflect.Type][]column

// column is one field of a struct, in canonical order.
type column struct {
	name                string
	key                 []byte // its name in quotes, and the colon
	index               int
	omitEmpty, omitZero bool
}

// columns gives the fields of a struct type in canonical order; nil where it embeds
// another, or two fields share a name: then each value is looked at by itself.
func (e encoder) columns(t reflect.Type) []column {
	list, known := e[t]
	if known {
		return list
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if name == "" {
			name = f.Name
		}
		key, err := AppendText(nil, name)
		if err != nil || f.Anonymous || slices.ContainsFunc(list, func(c column) bool { return c.name == name }) {
			list = nil
			break
		}
		list = append(list, column{name, append(key, ':'), i, strings.Contains(opts, "omitempty"), strings.Contains(opts, "omitzero")})
	}
	slices.SortFunc(list, func(x, y column) int { return compareUTF16(x.name, y.name) })
	e[t] = list
	return list
}

func (e encoder) appendStruct(b []byte, v reflect.Value, columns []column, depth int) ([]byte, error) {
	var err error
	b = append(b, '{')
	first := true
	for _, c := range columns {
		field := v.Field(c.index)
		if c.omitEmpty && empty(field) || c.omitZero && field.IsZero() {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if b, err = e.appendValue(append(b, c.key...), field, depth+1); err != nil {
			return nil, fmt.Errorf("%s: %w", clip(c.name), err)
		}
	}
	return append(b, '}'), nil
}

// CheckCanonical says whether data is exactly the canonical form of a document
// that strict reading accepts.
func CheckCanonical(data []byte) error {
	tree, err := DecodeAny(data)
	if err != nil {
		return err
	}
	again, err := Canonical(tree)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return &SyntaxError{Path: "$", Reason: "not in canonical form (RFC 8785)"}
	}
	return nil
}

// appendValue writes v, which depth objects and arrays surround.
func (e encoder) appendValue(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if !v.IsValid() {
		return append(b, "null"...), nil
	}
	switch t := v.Type(); {
	case t == typeNumber:
		return appendNumber(b, v.String())
	case t == typeRaw:
		tree, err := DecodeAny(v.Bytes())
		if err != nil {
			return nil, err
		}
		return e.appendValue(b, reflect.ValueOf(tree), depth)
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
	case t.Implements(typeMarshaler) || t.Implements(typeTextMarshaler):
		// Reflection would not see what such a type (time.Time, say) means.
		return nil, fmt.Errorf("a %s has no canonical form here (write it as text)", t)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return e.appendValue(b, v.Elem(), depth)
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return appendNumber(b, strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return appendNumber(b, strconv.FormatUint(v.Uint(), 10))
	case reflect.String:
		return AppendText(b, v.String())
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		if depth >= MaxDepth {
			return nil, fmt.Errorf("nested deeper than %d", MaxDepth)
		}
		return e.appendNested(b, v, depth)
	default:
		return nil, fmt.Errorf("a %s has no canonical form here (write fractions as decimal strings)", v.Kind())
	}
}

func (e encoder) appendNested(b []byte, v reflect.Value, depth int) ([]byte, error) {
	switch v.Kind() {
	case reflect.Map:
		return e.appendMap(b, v, depth)
	case reflect.Struct:
		if columns := e.columns(v.Type()); columns != nil {
			return e.appendStruct(b, v, columns, depth)
		}
		return e.appendMembers(b, structMembers(nil, v), depth)
	default:
		return e.appendList(b, v, depth)
	}
}

func appendNumber(b []byte, s string) ([]byte, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > maxSafe || n < -maxSafe || strings.HasPrefix(s, "-0") {
		return nil, fmt.Errorf("number %q is not an integer within 2^53 (write others as strings)", clip(s))
	}
	return strconv.AppendInt(b, n, 10), nil
}

func (e encoder) appendList(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return nil, errors.New("bytes have no canonical form here (write them as text, or as json.RawMessage)")
	}
	var err error
	b = append(b, '[') // a nil slice is an empty list, never null
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = e.appendValue(b, v.Index(i), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

type member struct {
	name  string
	value reflect.Value
}

func (e encoder) appendMap(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("a map with %s keys has no canonical form", v.Type().Key())
	}
	if m, ok := mapOf(v); ok {
		return e.appendTree(b, m, depth)
	}
	members := make([]member, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		members = append(members, member{it.Key().String(), it.Value()})
	}
	return e.appendMembers(b, members, depth)
}

func mapOf(v reflect.Value) (m map[string]any, ok bool) {
	if v.CanInterface() {
		m, ok = reflect.TypeAssert[map[string]any](v)
	}
	return m, ok
}

// appendTree writes a map as appendMap does, and looks at the types of few members.
func (e encoder) appendTree(b []byte, m map[string]any, depth int) ([]byte, error) {
	var few [16]string
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, compareUTF16)
	var err error
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = AppendText(b, name); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if text, ok := m[name].(string); ok {
			b, err = AppendText(b, text)
		} else {
			b, err = e.appendValue(b, reflect.ValueOf(m[name]), depth+1)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", clip(name), err)
		}
	}
	return append(b, '}'), nil
}

func structMembers(members []member, v reflect.Value) []member {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			members = structMembers(members, v.Field(i))
			continue
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Pointer:
			if inner := v.Field(i); !inner.IsNil() {
				members = structMembers(members, inner.Elem())
			}
			continue
		case name == "-" || !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		if strings.Contains(opts, "omitempty") && empty(v.Field(i)) ||
			strings.Contains(opts, "omitzero") && v.Field(i).IsZero() {
			continue
		}
		members = append(members, member{name, v.Field(i)})
	}
	return members
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String, reflect.Array:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}

func (e encoder) appendMembers(b []byte, members []member, depth int) ([]byte, error) {
	slices.SortFunc(members, func(x, y member) int { return compareUTF16(x.name, y.name) })
	var err error
	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			if members[i-1].name == m.name { // two embedded structs can do that
				return nil, fmt.Errorf("member %q is there twice", m.name)
			}
			b = append(b, ',')
		}
		if b, err = AppendText(b, m.name); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = e.appendValue(b, m.value, depth+1); err != nil {
			return nil, fmt.Errorf("%s: %w", clip(m.name), err)
		}
	}
	return append(b, '}'), nil
}

// compareUTF16 orders text by UTF-16 code units, as RFC 8785 3.2.3 asks. It
// differs from byte order only where a character above U+FFFF meets one in
// U+E000..U+FFFF.
func compareUTF16(x, y string) int {
	if !high(x) && !high(y) {
		return cmp.Compare(x, y)
	}
	return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(y)))
}

func high(s string) bool {
	for i := range len(s) {
		if s[i] >= 0xee {
			return true
		}
	}
	return false
}

// AppendText appends text to b as it stands in the canonical form.
func AppendText(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("text %q is not valid UTF-8", clip(s))
	}
	const hexdigits = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hexdigits[c>>4], hexdigits[c&15])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"'), nil
}
