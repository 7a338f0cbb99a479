package frames

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// node is a value of an event's document, with the name that it has in its object. The
// values within it are the nodes from the next one to end.
type node struct {
	kind          byte // one of { [ " 0 t f n
	escaped       bool // a text with escapes
	keyEscaped    bool
	used          bool  // said by the format
	key, keyTo    int32 // what is between the quotes of the name; both 0 without
	from, to, end int32
	parent        int32
	nth           int32 // which element of a list it is
	index, part   int32 // of the lane that it is a part of
	scoped        bool  // index and part are its own, and not those of what it is within
	plain         bool  // its members are those of the format: ids and words have a value of their own in each event
	grows         bool  // clients put what is in it behind what came before
}

// tree is a document, read strictly: one value, no name twice in an object.
type tree struct {
	data  []byte
	nodes []node
	pos   int
}

// parse says what is wrong with data; "" if nothing is.
func (t *tree) parse(data []byte) string {
	if cap(t.nodes) > limits.LLMEventKept {
		t.nodes = nil
	}
	t.data, t.nodes, t.pos = data, t.nodes[:0], 0
	if !utf8.Valid(data) {
		return "data that is no UTF-8"
	}
	if len(data) > math.MaxInt32/2 {
		return "data that is too large"
	}
	t.space()
	if r := t.value(0, -1); r != "" {
		return r
	}
	if t.space(); t.pos != len(data) {
		return "data that is more than one JSON value"
	}
	if t.nodes[0].kind != '{' {
		return "data that is no JSON object"
	}
	return ""
}

var literals = [...][]byte{'t': []byte("true"), 'f': []byte("false"), 'n': []byte("null")}

const badSyntax = "data that is no JSON"

func (t *tree) space() {
	for t.pos < len(t.data) {
		switch t.data[t.pos] {
		case ' ', '\t', '\n', '\r':
			t.pos++
		default:
			return
		}
	}
}

func (t *tree) peek() byte {
	if t.pos < len(t.data) {
		return t.data[t.pos]
	}
	return 0
}

// take reads that byte, and the white space before and after it.
func (t *tree) take(c byte) bool {
	t.space()
	if t.peek() != c {
		return false
	}
	t.pos++
	t.space()
	return true
}

func (t *tree) add(kind byte, parent int32) int32 {
	t.nodes = append(t.nodes, node{kind: kind, from: int32(t.pos), parent: parent}) //nolint:gosec // parse bounds it
	return int32(len(t.nodes) - 1)                                                  //nolint:gosec // LLMEventValues bounds it
}

func (t *tree) close(i int32) {
	n := &t.nodes[i]
	n.to, n.end = int32(t.pos), int32(len(t.nodes)) //nolint:gosec // as in add
}

// value reads a value; space before it is read.
func (t *tree) value(depth int, parent int32) string {
	if depth > limits.LLMEventDepth {
		return "data that nests too deep"
	}
	if len(t.nodes) >= limits.LLMEventValues {
		return "data with too many values"
	}
	c := t.peek()
	switch c {
	case '{':
		return t.object(depth, parent)
	case '[':
		return t.list(depth, parent)
	case '"':
		i := t.add('"', parent)
		_, _, escaped, ok := t.text()
		if !ok {
			return badSyntax
		}
		t.nodes[i].escaped = escaped
		t.close(i)
		return ""
	case 't', 'f', 'n':
		word := literals[c]
		if !bytes.HasPrefix(t.data[t.pos:], word) {
			return badSyntax
		}
		i := t.add(c, parent)
		t.pos += len(word)
		t.close(i)
		return ""
	}
	i := t.add('0', parent)
	if !t.number() {
		return badSyntax
	}
	t.close(i)
	return ""
}

func (t *tree) object(depth int, parent int32) string {
	i := t.add('{', parent)
	t.pos++
	t.space()
	if !t.take('}') {
		for {
			if t.peek() != '"' {
				return badSyntax
			}
			key, keyTo, escaped, ok := t.text()
			if !ok || !t.take(':') {
				return badSyntax
			}
			at := len(t.nodes)
			if r := t.value(depth+1, i); r != "" {
				return r
			}
			n := &t.nodes[at]
			n.key, n.keyTo, n.keyEscaped = int32(key), int32(keyTo), escaped //nolint:gosec // as in add
			if t.take(',') {
				continue
			}
			if t.peek() != '}' {
				return badSyntax
			}
			t.pos++
			break
		}
	} else {
		t.back()
	}
	t.close(i)
	return t.twice(i)
}

// back undoes the reading of white space after a bracket.
func (t *tree) back() {
	for t.data[t.pos-1] != '}' && t.data[t.pos-1] != ']' {
		t.pos--
	}
}

func (t *tree) list(depth int, parent int32) string {
	i := t.add('[', parent)
	t.pos++
	t.space()
	if !t.take(']') {
		for nth := int32(0); ; nth++ {
			at := len(t.nodes)
			if r := t.value(depth+1, i); r != "" {
				return r
			}
			t.nodes[at].nth = nth
			if t.nodes[at].kind == '0' { // nobody asks for numbers of a list, and there are many
				t.nodes = t.nodes[:at]
			}
			if t.take(',') {
				continue
			}
			if t.peek() != ']' {
				return badSyntax
			}
			t.pos++
			break
		}
	} else {
		t.back()
	}
	t.close(i)
	return ""
}

// text reads a string and says where what is between its quotes stands.
func (t *tree) text() (from, to int, escaped, ok bool) {
	t.pos++
	from = t.pos
	for t.pos < len(t.data) {
		switch c := t.data[t.pos]; {
		case c == '"':
			t.pos++
			return from, t.pos - 1, escaped, true
		case c == '\\':
			_, size := unescape(t.data[t.pos:])
			if size == 0 {
				return 0, 0, false, false
			}
			escaped = true
			t.pos += size
		case c < 0x20:
			return 0, 0, false, false
		default:
			t.pos++
		}
	}
	return 0, 0, false, false
}

func (t *tree) digits() bool {
	from := t.pos
	for c := t.peek(); c >= '0' && c <= '9'; c = t.peek() {
		t.pos++
	}
	return t.pos > from
}

func (t *tree) number() bool {
	if t.peek() == '-' {
		t.pos++
	}
	if t.peek() == '0' {
		t.pos++
	} else if !t.digits() {
		return false
	}
	if t.peek() == '.' {
		if t.pos++; !t.digits() {
			return false
		}
	}
	if c := t.peek(); c == 'e' || c == 'E' {
		t.pos++
		if c := t.peek(); c == '+' || c == '-' {
			t.pos++
		}
		return t.digits()
	}
	return true
}

// twice looks for a name that an object has twice: clients read such an object in
// different ways.
func (t *tree) twice(obj int32) string {
	const few = 24
	n := 0
	for c := t.first(obj); c >= 0; c = t.next(obj, c) {
		if n++; n > few {
			return t.twiceOfMany(obj)
		}
		for d := t.first(obj); d != c; d = t.next(obj, d) {
			if t.sameKey(c, d) {
				return "data with a name twice in an object"
			}
		}
	}
	return ""
}

func (t *tree) twiceOfMany(obj int32) string {
	seen := map[string]struct{}{}
	for c := t.first(obj); c >= 0; c = t.next(obj, c) {
		key := string(t.key(c))
		if _, ok := seen[key]; ok {
			return "data with a name twice in an object"
		}
		seen[key] = struct{}{}
	}
	return ""
}

func (t *tree) sameKey(a, b int32) bool {
	x, y := &t.nodes[a], &t.nodes[b]
	if !x.keyEscaped && !y.keyEscaped {
		return x.keyTo-x.key == y.keyTo-y.key && bytes.Equal(t.data[x.key:x.keyTo], t.data[y.key:y.keyTo])
	}
	return bytes.Equal(t.key(a), t.key(b))
}

// key gives a name without escapes.
func (t *tree) key(i int32) []byte {
	n := &t.nodes[i]
	raw := t.data[n.key:n.keyTo]
	if n.keyEscaped {
		return appendText(nil, raw)
	}
	return raw
}

// first gives the first value within a value; -1 if there is none.
func (t *tree) first(i int32) int32 {
	if i < 0 || t.nodes[i].end <= i+1 {
		return -1
	}
	return i + 1
}

// next gives the value after c in the value i.
func (t *tree) next(i, c int32) int32 {
	if c = t.nodes[c].end; c < t.nodes[i].end {
		return c
	}
	return -1
}

// get gives a member of an object; -1 if there is none.
func (t *tree) get(obj int32, name string) int32 {
	if obj < 0 || t.nodes[obj].kind != '{' {
		return -1
	}
	for c := t.first(obj); c >= 0; c = t.next(obj, c) {
		n := &t.nodes[c]
		if n.keyEscaped {
			if string(t.key(c)) == name {
				return c
			}
		} else if string(t.data[n.key:n.keyTo]) == name {
			return c
		}
	}
	return -1
}

func (t *tree) is(i int32, kind byte) bool { return i >= 0 && t.nodes[i].kind == kind }

// plain says of an object that its members are those of the format.
func (t *tree) plain(i int32) {
	if i >= 0 {
		t.nodes[i].plain = true
	}
}

// null says that a value is missing or null.
func (t *tree) null(i int32) bool { return i < 0 || t.nodes[i].kind == 'n' }

// raw gives the bytes of a value.
func (t *tree) raw(i int32) []byte { return t.data[t.nodes[i].from:t.nodes[i].to] }

// inner gives what is between the quotes of a text.
func (t *tree) inner(i int32) []byte { return t.data[t.nodes[i].from+1 : t.nodes[i].to-1] }

// str gives a text without escapes; "" for anything else.
func (t *tree) str(i int32) []byte {
	if !t.is(i, '"') {
		return nil
	}
	if t.nodes[i].escaped {
		return appendText(nil, t.inner(i))
	}
	return t.inner(i)
}

// count gives a number of tokens.
func (t *tree) count(i int32) (int64, bool) {
	if !t.is(i, '0') {
		return 0, false
	}
	n, err := strconv.ParseInt(string(t.raw(i)), 10, 64)
	return n, err == nil && n >= 0
}

// index gives an index; 0 if it is missing.
func (t *tree) index(i int32) (int, bool) {
	if t.null(i) {
		return 0, true
	}
	n, ok := t.count(i)
	return int(n), ok && n <= limits.LLMIndex
}
