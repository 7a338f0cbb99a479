package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Decode reads one JSON document strictly (see DecodeAny) into v, a pointer to
// a type of this project. Refused, with the path of the place, are members that
// the type does not have, also those with another case of its names; null where
// the type is neither a pointer nor free-form; and a number in quotes.
func Decode(data []byte, v any) error {
	// Most large documents are our own, in canonical form. They are read in one pass,
	// which proves all that is looked at below; what it does not take is told there.
	if len(data) >= readFrom {
		_, err := DecodeExact(data, v)
		return err
	}
	return decode(data, v)
}

func decode(data []byte, v any) error {
	if t := reflect.TypeOf(v); t == nil || t.Kind() != reflect.Pointer {
		if _, err := DecodeAny(data); err != nil {
			return err
		}
		return fmt.Errorf("$: decoding needs a pointer, not %T", v) // a mistake of the caller
	}
	_, err := DecodeTree(data, v)
	return err
}

// DecodeTree is Decode into v, a pointer, and gives what DecodeAny gives as well.
func DecodeTree(data []byte, v any) (any, error) {
	tree, err := DecodeAny(data)
	if err != nil {
		return nil, err
	}
	l := layoutFor(reflect.TypeOf(v).Elem(), nil)
	if at, ok := l.zero(v); ok {
		if l.assign(at, tree) {
			return tree, nil
		}
		at.SetZero()
	}
	if err := (shapes{}).checkField("$", tree, reflect.TypeOf(v).Elem()); err != nil {
		return nil, err
	}
	return tree, fill(data, v)
}

// fill reads a document, whose members are known to fit, into v.
func fill(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err := d.Decode(v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		path := "$"
		if wrong.Field != "" {
			path += "." + wrong.Field
		}
		reason := fmt.Sprintf("%s does not fit here, want %s", clip(wrong.Value), kindName(wrong.Type))
		return &SyntaxError{Path: clip(path), Offset: int(wrong.Offset), Reason: reason}
	}
	if err != nil {
		return fmt.Errorf("$: %w", err)
	}
	return nil
}

// readFrom is the size in bytes from which reading the canonical form in one pass saves
// more than making the type's layout costs.
const readFrom = 1 << 10

// shapes keeps the fields of the struct types met while one document is checked.
type shapes map[reflect.Type]map[string]reflect.Type

var (
	typeNumber      = reflect.TypeFor[json.Number]()
	typeRaw         = reflect.TypeFor[json.RawMessage]()
	typeUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// checkValue walks a decoded document beside a Go type and refuses what
// encoding/json would take silently.
func (c shapes) checkValue(path string, v any, t reflect.Type, optional bool) error {
	if t.Kind() == reflect.Interface || t == typeRaw || t.Implements(typeUnmarshaler) ||
		reflect.PointerTo(t).Implements(typeUnmarshaler) {
		return nil
	}
	if v == nil {
		if optional {
			return nil
		}
		return &SyntaxError{Path: clip(path), Reason: "null does not fit here, want " + kindName(t)}
	}
	if _, quoted := v.(string); quoted && t == typeNumber {
		return &SyntaxError{Path: clip(path), Reason: "a string does not fit here, want a number"}
	}
	switch t.Kind() {
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok { // otherwise the decoder says what type it wants
			return c.checkMembers(path, m, c.fields(t))
		}
	case reflect.Slice, reflect.Array:
		if list, ok := v.([]any); ok {
			for i, member := range list {
				if err := c.checkField(path+"["+strconv.Itoa(i)+"]", member, t.Elem()); err != nil {
					return err
				}
			}
		}
	case reflect.Map:
		if m, ok := v.(map[string]any); ok && t.Elem().Kind() != reflect.Interface {
			for _, name := range slices.Sorted(maps.Keys(m)) {
				if err := c.checkField(path+"."+name, m[name], t.Elem()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkMembers goes by sorted names, so that one document always gives the same error.
func (c shapes) checkMembers(path string, m map[string]any, fields map[string]reflect.Type) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f, ok := fields[name]
		if !ok {
			return &SyntaxError{Path: clip(path + "." + name), Reason: "unknown field"}
		}
		if err := c.checkField(path+"."+name, m[name], f); err != nil {
			return err
		}
	}
	return nil
}

func (c shapes) checkField(path string, v any, t reflect.Type) error {
	optional := t.Kind() == reflect.Pointer
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return c.checkValue(path, v, t, optional)
}

func (c shapes) fields(t reflect.Type) map[string]reflect.Type {
	if _, ok := c[t]; !ok {
		c[t] = fieldsOf(t)
	}
	return c[t]
}

// kindName says what JSON a Go type is read from.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "an integer"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "an integer that is not negative"
	case reflect.String:
		if t == typeNumber {
			return "a number"
		}
		return "a string"
	default:
		return "a number"
	}
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			inner := f.Type
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			maps.Copy(fields, fieldsOf(inner))
		case name == "-" || !f.IsExported():
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}
