package rawjson

import (
	"bytes"
	"errors"
	"strconv"
)

// The functions below walk over JSON text that was checked, or that is a part of it. Of
// other text they find what they find, but they neither panic nor run on.

// maxDepth is beyond what protocol.DecodeAny takes.
const maxDepth = 128

var errForm = errors.New("not the JSON text that was expected")

// walker is a place in JSON text.
type walker struct {
	data []byte
	pos  int
}

func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

// take reads one byte, if it is that one.
func (w *walker) take(c byte) bool {
	w.space()
	if w.pos < len(w.data) && w.data[w.pos] == c {
		w.pos++
		return true
	}
	return false
}

// text reads a string and gives what is between its quotes.
func (w *walker) text() (inner []byte, ok bool) {
	if !w.take('"') {
		return nil, false
	}
	from := w.pos
	for {
		n, _ := Plain(w.data[w.pos:])
		w.pos += n
		switch {
		case w.pos >= len(w.data):
			return nil, false
		case w.data[w.pos] == '"':
			w.pos++
			return w.data[from : w.pos-1], true
		case w.data[w.pos] == '\\':
			w.pos = min(w.pos+2, len(w.data))
		default:
			return nil, false
		}
	}
}

// skip reads any value.
func (w *walker) skip() (value []byte, ok bool) {
	w.space()
	from := w.pos
	for open := 0; w.pos < len(w.data); {
		switch w.data[w.pos] {
		case '"':
			if _, ok := w.text(); !ok {
				return nil, false
			}
		case '{', '[':
			open++
			w.pos++
		case '}', ']':
			if open == 0 {
				return w.data[from:w.pos], w.pos > from
			}
			open--
			w.pos++
		default:
			if w.word(open > 0); open > 0 {
				continue
			}
			return w.data[from:w.pos], w.pos > from
		}
		if open == 0 {
			return w.data[from:w.pos], true
		}
	}
	return nil, false
}

// word reads up to the next string or bracket; or, outside of all brackets, up to what
// ends a value.
func (w *walker) word(within bool) {
	for ; w.pos < len(w.data); w.pos++ {
		switch w.data[w.pos] {
		case '"', '{', '}', '[', ']':
			return
		case ',', ':', ' ', '\t', '\n', '\r':
			if !within {
				return
			}
		}
	}
}

// Members visits the members of an object in order until visit says false: the name
// without escapes, where its literal begins in obj, and the text of the value.
func Members(obj []byte, visit func(key string, keyFrom int, value []byte) bool) error {
	w := walker{data: obj}
	if !w.take('{') {
		return errForm
	}
	for end := w.take('}'); !end; end = w.take('}') {
		w.space()
		at := w.pos
		inner, ok := w.text()
		if !ok || !w.take(':') {
			return errForm
		}
		value, ok := w.skip()
		if !ok {
			return errForm
		}
		if !visit(plainKey(inner), at, value) {
			return nil
		}
		if w.take('}') {
			return nil
		}
		if !w.take(',') {
			return errForm
		}
	}
	return nil
}

// Elements visits the elements of a list in order until visit says false.
func Elements(list []byte, visit func(i int, value []byte) bool) error {
	w := walker{data: list}
	if !w.take('[') {
		return errForm
	}
	if w.take(']') {
		return nil
	}
	for i := 0; ; i++ {
		value, ok := w.skip()
		if !ok {
			return errForm
		}
		if !visit(i, value) || w.take(']') {
			return nil
		}
		if !w.take(',') {
			return errForm
		}
	}
}

func plainKey(inner []byte) string {
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	return string(AppendUnescaped(make([]byte, 0, len(inner)), inner))
}

// same compares what is between the quotes of a name with a text.
func same(inner []byte, text string) bool {
	if string(inner) == text {
		return true
	}
	return bytes.IndexByte(inner, '\\') >= 0 && plainKey(inner) == text
}

// Lookup gives the text of the value that path leads to: names of members, and indexes
// of lists. Without a path it gives doc without the white space around it.
func Lookup(doc []byte, path ...string) (value []byte, ok bool) {
	w := walker{data: doc}
	if value, ok = w.skip(); !ok {
		return nil, false
	}
	for _, step := range path {
		if value, ok = child(value, step); !ok {
			return nil, false
		}
	}
	return value, true
}

func child(value []byte, step string) (found []byte, ok bool) {
	w := walker{data: value}
	if value[0] == '[' {
		n, err := strconv.Atoi(step)
		if err != nil || n < 0 || strconv.Itoa(n) != step {
			return nil, false
		}
		_ = Elements(value, func(i int, v []byte) bool {
			found, ok = v, i == n
			return i < n
		})
		return found, ok
	}
	if !w.take('{') {
		return nil, false
	}
	for {
		inner, ok := w.text()
		if !ok || !w.take(':') {
			return nil, false
		}
		v, ok := w.skip()
		if !ok {
			return nil, false
		}
		if same(inner, step) {
			return v, true
		}
		if !w.take(',') {
			return nil, false
		}
	}
}

// Literal is one text of a document.
type Literal struct {
	At       string // RFC 6901 pointer of the value; of a key, of the member that it names
	From, To int    // of the literal with its quotes
	Key      bool
	Value    string
}

// Literals visits all texts of a document, keys and values, in order, until visit says
// false; then it gives false.
func Literals(doc []byte, visit func(Literal) bool) bool {
	t := texts{walker: walker{data: doc}, visit: visit}
	return t.value(0)
}

// Strings visits the texts of a document that are values, in order, until visit says
// false; then it gives false.
func Strings(doc []byte, visit func(at string, from, to int, value string) bool) bool {
	return Literals(doc, func(l Literal) bool { return l.Key || visit(l.At, l.From, l.To, l.Value) })
}

// Keys visits the names of members of a document, in order, until visit says false;
// then it gives false.
func Keys(doc []byte, visit func(at string, from, to int, key string) bool) bool {
	return Literals(doc, func(l Literal) bool { return !l.Key || visit(l.At, l.From, l.To, l.Value) })
}

type texts struct {
	walker

	at    []byte
	visit func(Literal) bool
}

func (t *texts) literal(key bool) bool {
	t.space()
	from := t.pos
	inner, ok := t.text()
	if !ok {
		return false
	}
	text := plainKey(inner)
	if key {
		t.at = append(t.at, '/')
		t.at = appendPointer(t.at, text)
	}
	return t.visit(Literal{string(t.at), from, t.pos, key, text})
}

func (t *texts) value(depth int) bool {
	t.space()
	if t.pos >= len(t.data) || depth > maxDepth {
		return false
	}
	switch t.data[t.pos] {
	case '"':
		return t.literal(false)
	case '{':
		return t.members(depth + 1)
	case '[':
		return t.elements(depth + 1)
	}
	_, ok := t.skip()
	return ok
}

func (t *texts) members(depth int) bool {
	t.pos++
	if t.take('}') {
		return true
	}
	for at := len(t.at); ; {
		if !t.literal(true) || !t.take(':') || !t.value(depth) {
			return false
		}
		t.at = t.at[:at]
		if t.take('}') {
			return true
		}
		if !t.take(',') {
			return false
		}
	}
}

func (t *texts) elements(depth int) bool {
	t.pos++
	if t.take(']') {
		return true
	}
	at := len(t.at)
	for i := 0; ; i++ {
		t.at = strconv.AppendInt(append(t.at, '/'), int64(i), 10)
		if !t.value(depth) {
			return false
		}
		t.at = t.at[:at]
		if t.take(']') {
			return true
		}
		if !t.take(',') {
			return false
		}
	}
}

// appendPointer appends one step of an RFC 6901 pointer.
func appendPointer(dst []byte, step string) []byte {
	for i := range len(step) {
		switch step[i] {
		case '~':
			dst = append(dst, '~', '0')
		case '/':
			dst = append(dst, '~', '1')
		default:
			dst = append(dst, step[i])
		}
	}
	return dst
}
