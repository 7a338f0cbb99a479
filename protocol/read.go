package protocol

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
)

// A Reader reads many documents of one Go type, as Decode does, with what there is to
// know of the type found out once. Readers never change once made.
type Reader[T any] struct{ layout *layout }

// ReaderOf gives the Reader of a type.
func ReaderOf[T any]() Reader[T] { return Reader[T]{layoutFor(reflect.TypeFor[T](), nil)} }

// Decode is Decode into a T.
func (r Reader[T]) Decode(data []byte) (v T, err error) {
	if read, _ := r.layout.read(data, &v); read {
		return v, nil
	}
	err = decode(data, &v)
	return v, err
}

// DecodeExact is Decode. Where exact is true, data is what Canonical gives for v; where
// it is not, that is not known.
func DecodeExact(data []byte, v any) (exact bool, err error) {
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer {
		if read, exact := layoutFor(t.Elem(), nil).read(data, v); read {
			return exact, nil
		}
	}
	return false, decode(data, v)
}

// read reads data, if that is the canonical form of a document with all members that
// its type must have, in one pass. Otherwise v is as it was. exact says that writing
// v gives data again: no member is there that would be left out.
func (l *layout) read(data []byte, v any) (read, exact bool) {
	at, ok := l.zero(v)
	if !ok {
		return false, false
	}
	r := reader{scanner: scanner{data: data}, source: string(data), exact: true}
	if !r.value(0, l, at) || r.pos != len(data) {
		at.SetZero()
		return false, false
	}
	return true, r.exact
}

// reader is a scanner that keeps what it sees. It never says why it stops: what it does
// not take is read the long way, which does.
type reader struct {
	scanner
	source string // the document, of which texts are parts
	exact  bool
}

// next takes a byte, if that is the next.
func (r *reader) next(c byte) bool {
	if r.pos < len(r.data) && r.data[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *reader) value(depth int, l *layout, v reflect.Value) bool {
	switch l.kind {
	case reflect.String:
		if l.number {
			start := r.pos
			ok := r.integer()
			v.SetString(r.source[start:r.pos])
			return ok
		}
		s, ok := r.string()
		v.SetString(s)
		return ok
	case reflect.Struct:
		return depth < MaxDepth && r.members(depth, l, v)
	case reflect.Slice:
		return depth < MaxDepth && r.elements(depth, l, v)
	case reflect.Map:
		return depth < MaxDepth && r.entries(depth, l, v)
	case reflect.Pointer:
		v.Set(reflect.New(l.elem.typ))
		return r.value(depth, l.elem, v.Elem())
	case reflect.Invalid, reflect.Interface:
		return r.free(depth, l, v)
	case reflect.Bool:
		is := strings.HasPrefix(r.source[r.pos:], "true")
		v.SetBool(is)
		return is && r.word("true") == nil || r.word("false") == nil
	default:
		start := r.pos
		return r.integer() && setInteger(v, r.source[start:r.pos])
	}
}

func (r *reader) integer() bool {
	return r.pos < len(r.data) && r.number() == nil
}

func setInteger(v reflect.Value, text string) bool {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return false
		}
		v.SetInt(n)
		return true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || v.OverflowUint(n) {
			return false
		}
		v.SetUint(n)
		return true
	}
	return false
}

func (r *reader) string() (string, bool) {
	if r.pos >= len(r.data) || r.data[r.pos] != '"' {
		return "", false
	}
	start := r.pos + 1
	raw, err := r.text()
	if err != nil {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') >= 0 {
		return unescape(raw), true
	}
	return r.source[start : start+len(raw)], true
}

// members reads a struct. Meeting its fields in their order proves the order.
func (r *reader) members(depth int, l *layout, v reflect.Value) bool {
	if !r.next('{') {
		return false
	}
	first := true
	for i := range l.fields {
		f := &l.fields[i]
		from := r.pos
		if !first && !r.next(',') || !strings.HasPrefix(r.source[r.pos:], f.key) {
			r.pos = from
			if f.omitEmpty || f.omitZero {
				continue
			}
			return false
		}
		first = false
		r.pos += len(f.key)
		at := v.Field(f.index)
		if !r.value(depth+1, f.layout, at) {
			return false
		}
		r.exact = r.exact && (!f.omitEmpty || !empty(at)) && (!f.omitZero || !at.IsZero())
	}
	return r.next('}')
}

func (r *reader) elements(depth int, l *layout, v reflect.Value) bool {
	if !r.next('[') {
		return false
	}
	v.Set(reflect.MakeSlice(l.typ, 0, 0))
	if r.next(']') {
		return true
	}
	for n := 0; ; n++ {
		if n == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(n + 1)
		if !r.value(depth+1, l.elem, v.Index(n)) {
			return false
		}
		if !r.next(',') {
			return r.next(']')
		}
	}
}

func (r *reader) entries(depth int, l *layout, v reflect.Value) bool {
	if !r.next('{') {
		return false
	}
	v.Set(reflect.MakeMap(l.typ))
	if r.next('}') {
		return true
	}
	for last := ""; ; {
		key, ok := r.string()
		if !ok || v.Len() > 0 && compareUTF16(last, key) >= 0 || !r.next(':') {
			return false
		}
		at := reflect.New(l.elem.typ).Elem()
		if !r.value(depth+1, l.elem, at) {
			return false
		}
		v.SetMapIndex(reflect.ValueOf(key), at)
		last = key
		if !r.next(',') {
			return r.next('}')
		}
	}
}

// free reads any value: as its bytes, or as DecodeAny gives it.
func (r *reader) free(depth int, l *layout, v reflect.Value) bool {
	start := r.pos
	if r.scanner.value(depth, nil) != nil {
		return false
	}
	raw := r.data[start:r.pos]
	if l.kind == reflect.Invalid {
		v.SetBytes(bytes.Clone(raw))
		return true
	}
	if raw[0] == 'n' {
		return true // it is nil already
	}
	tree, err := DecodeAny(raw)
	if err != nil {
		return false
	}
	v.Set(reflect.ValueOf(tree))
	return true
}
