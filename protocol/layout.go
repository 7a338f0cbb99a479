package protocol

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// A layout says how documents are read into a Go type without encoding/json. Types
// for which that would not do the same have none: they are read the long way.
type layout struct {
	kind   reflect.Kind // Interface: any value; Invalid: a json.RawMessage
	typ    reflect.Type
	number bool       // a json.Number, of kind String
	fields []layoutOf // of a Struct, in canonical order
	elem   *layout    // of a Slice, Map or Pointer
}

// layoutOf is one field of a struct.
type layoutOf struct {
	name                string
	key                 string // the name in quotes, and the colon
	index               int
	omitEmpty, omitZero bool
	layout              *layout
}

var typeTextUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// layoutFor gives the layout of a type; nil where there is none. within are the
// structs around it.
func layoutFor(t reflect.Type, within []reflect.Type) *layout {
	l := &layout{kind: t.Kind(), typ: t}
	switch {
	case t == typeRaw:
		l.kind = reflect.Invalid
		return l
	case t == typeNumber:
		l.number = true
		return l
	case marshals(t) || marshals(reflect.PointerTo(t)):
		return nil
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return l
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return nil
		}
		return l
	case reflect.Map:
		if t.Key() != reflect.TypeFor[string]() {
			return nil
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 { // bytes are written in base64
			return nil
		}
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Pointer {
			return nil
		}
	case reflect.Struct:
		return l.withFields(within)
	default:
		return nil
	}
	if l.elem = layoutFor(t.Elem(), within); l.elem == nil {
		return nil
	}
	return l
}

func marshals(t reflect.Type) bool {
	return t.Implements(typeMarshaler) || t.Implements(typeTextMarshaler) || t.Implements(typeUnmarshaler) || t.Implements(typeTextUnmarshaler)
}

func (l *layout) withFields(within []reflect.Type) *layout {
	if slices.Contains(within, l.typ) {
		return nil
	}
	within = append(slices.Clone(within), l.typ)
	for i := range l.typ.NumField() {
		f := l.typ.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "" {
			return nil
		}
		x := layoutOf{name: name, index: i, layout: layoutFor(f.Type, within)}
		for opt := range strings.SplitSeq(opts, ",") {
			switch opt {
			case "":
			case "omitempty":
				x.omitEmpty = true
			case "omitzero":
				x.omitZero = true
			default:
				return nil
			}
		}
		key, err := AppendText(nil, name)
		if name == "-" || err != nil || x.layout == nil || slices.ContainsFunc(l.fields, func(o layoutOf) bool { return strings.EqualFold(o.name, name) }) {
			return nil
		}
		x.key = string(key) + ":"
		l.fields = append(l.fields, x)
	}
	slices.SortFunc(l.fields, func(x, y layoutOf) int { return compareUTF16(x.name, y.name) })
	return l
}

// zero gives what v points to, where that is of the layout's type and holds nothing yet.
func (l *layout) zero(v any) (reflect.Value, bool) {
	at := reflect.ValueOf(v)
	if l == nil || at.Kind() != reflect.Pointer || at.IsNil() || at.Type().Elem() != l.typ || !at.Elem().IsZero() {
		return reflect.Value{}, false
	}
	return at.Elem(), true
}

// assign puts what DecodeAny gave into v, which holds nothing yet. It says no where a
// member is unknown, null or of another type; then what v holds counts for nothing.
func (l *layout) assign(v reflect.Value, x any) bool {
	switch x := x.(type) {
	case map[string]any:
		switch l.kind {
		case reflect.Struct:
			return l.assignStruct(v, x)
		case reflect.Map:
			v.Set(reflect.MakeMapWithSize(l.typ, len(x)))
			for name, member := range x {
				at := reflect.New(l.elem.typ).Elem()
				if !l.elem.assign(at, member) {
					return false
				}
				v.SetMapIndex(reflect.ValueOf(name), at)
			}
			return true
		}
	case []any:
		if l.kind == reflect.Slice {
			v.Set(reflect.MakeSlice(l.typ, len(x), len(x)))
			for i := range x {
				if !l.elem.assign(v.Index(i), x[i]) {
					return false
				}
			}
			return true
		}
	case string:
		if l.kind == reflect.String && !l.number {
			v.SetString(x)
			return true
		}
	case json.Number:
		if l.number {
			v.SetString(string(x))
			return true
		}
	case bool:
		if l.kind == reflect.Bool {
			v.SetBool(x)
			return true
		}
	}
	return l.assignOther(v, x)
}

// assignOther puts values in place that are not what the document's type says by itself.
func (l *layout) assignOther(v reflect.Value, x any) bool {
	switch n, number := x.(json.Number); {
	case l.kind == reflect.Pointer && x != nil:
		v.Set(reflect.New(l.elem.typ))
		return l.elem.assign(v.Elem(), x)
	case l.kind == reflect.Interface:
		if x != nil {
			v.Set(reflect.ValueOf(x))
		}
		return true
	case number:
		return setInteger(v, string(n))
	}
	return false
}

func (l *layout) assignStruct(v reflect.Value, members map[string]any) bool {
	known := 0
	for i := range l.fields {
		f := &l.fields[i]
		if x, ok := members[f.name]; ok {
			known++
			if !f.layout.assign(v.Field(f.index), x) {
				return false
			}
		}
	}
	return known == len(members)
}
