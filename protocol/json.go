package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may be nested in JSON that is judged
// or hashed. SPEC: docs/protocol.md 3.
const MaxDepth = 64

// Number is a JSON number kept as its text, so that nothing is rounded.
type Number = json.Number

// A SyntaxError says where strict reading stopped and why.
type SyntaxError struct {
	Path   string // JSON Pointer-like path of the value, "$" for the document
	Offset int    // bytes from the start of the document
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s: %s (byte %d)", e.Path, e.Reason, e.Offset)
}

// DecodeAny reads one JSON document strictly and gives it as map[string]any,
// []any, string, Number, bool or nil. Refused are duplicate keys at any depth
// (compared after unescaping), invalid UTF-8, lone surrogates, a byte-order
// mark, bytes after the document and a depth over MaxDepth.
func DecodeAny(data []byte) (any, error) {
	p := parser{data: data}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return nil, p.fail("a byte-order mark is not allowed")
	}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos != len(p.data) {
		return nil, p.fail("bytes after the end of the document")
	}
	return v, nil
}

// maxShown bounds text of a hostile document within an error, in bytes.
const maxShown = 256

// clip bounds text of a document for an error.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "..."
}

type parser struct {
	data []byte
	pos  int
	path []segment
}

// segment is one step of the path to a value: a member's name, or an index.
type segment struct {
	name  string
	index int // -1 for a member
}

func (p *parser) fail(format string, args ...any) error {
	var path strings.Builder
	path.WriteString("$")
	for _, s := range p.path {
		if path.Len() > maxShown {
			break
		}
		if s.index >= 0 {
			path.WriteString("[" + strconv.Itoa(s.index) + "]")
		} else {
			path.WriteString("." + clip(s.name))
		}
	}
	return &SyntaxError{Path: clip(path.String()), Offset: p.pos, Reason: fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) (any, error) {
	if p.pos >= len(p.data) {
		return nil, p.fail("the document ends too early")
	}
	switch c := p.data[p.pos]; {
	case c == '{':
		return p.object(depth + 1)
	case c == '[':
		return p.array(depth + 1)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	default:
		return p.literal()
	}
}

// literal reads true, false or null; what follows it is judged by the caller.
func (p *parser) literal() (any, error) {
	rest := p.data[p.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte("true")):
		p.pos += len("true")
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		p.pos += len("false")
		return false, nil
	case bytes.HasPrefix(rest, []byte("null")):
		p.pos += len("null")
		return nil, nil
	}
	return nil, p.fail("no JSON value starts with byte %#02x", rest[0])
}

func (p *parser) object(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, p.fail("nested deeper than %d", MaxDepth)
	}
	p.pos++
	m := map[string]any{}
	p.space()
	if p.pos < len(p.data) && p.data[p.pos] == '}' {
		p.pos++
		return m, nil
	}
	for {
		p.space()
		if p.pos >= len(p.data) || p.data[p.pos] != '"' {
			return nil, p.fail("expected a member name")
		}
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		if _, dup := m[key]; dup {
			return nil, p.fail("duplicate member %q", clip(key))
		}
		p.space()
		if p.pos >= len(p.data) || p.data[p.pos] != ':' {
			return nil, p.fail("expected ':' after member %q", clip(key))
		}
		p.pos++
		p.space()
		p.path = append(p.path, segment{key, -1})
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		m[key] = v
		done, err := p.next('}')
		if err != nil {
			return nil, err
		}
		if done {
			return m, nil
		}
	}
}

func (p *parser) array(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, p.fail("nested deeper than %d", MaxDepth)
	}
	p.pos++
	list := []any{}
	p.space()
	if p.pos < len(p.data) && p.data[p.pos] == ']' {
		p.pos++
		return list, nil
	}
	for {
		p.space()
		p.path = append(p.path, segment{"", len(list)})
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		list = append(list, v)
		done, err := p.next(']')
		if err != nil {
			return nil, err
		}
		if done {
			return list, nil
		}
	}
}

// next reads a comma or the closing byte.
func (p *parser) next(closing byte) (bool, error) {
	p.space()
	if p.pos >= len(p.data) {
		return false, p.fail("the document ends too early")
	}
	switch p.data[p.pos] {
	case ',':
		p.pos++
		return false, nil
	case closing:
		p.pos++
		return true, nil
	}
	return false, p.fail("expected ',' or %q", closing)
}

func (p *parser) number() (any, error) {
	start := p.pos
	digits := func() bool {
		from := p.pos
		for p.pos < len(p.data) && p.data[p.pos] >= '0' && p.data[p.pos] <= '9' {
			p.pos++
		}
		return p.pos > from
	}
	if p.data[p.pos] == '-' {
		p.pos++
	}
	first := p.pos
	if !digits() || p.data[first] == '0' && p.pos > first+1 {
		return nil, p.fail("malformed number")
	}
	if p.pos < len(p.data) && p.data[p.pos] == '.' {
		p.pos++
		if !digits() {
			return nil, p.fail("malformed number")
		}
	}
	if p.pos < len(p.data) && (p.data[p.pos] == 'e' || p.data[p.pos] == 'E') {
		p.pos++
		if p.pos < len(p.data) && (p.data[p.pos] == '+' || p.data[p.pos] == '-') {
			p.pos++
		}
		if !digits() {
			return nil, p.fail("malformed number")
		}
	}
	return Number(p.data[start:p.pos]), nil
}

func (p *parser) text() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.data) { // the common case: no escape, nothing to copy twice
		c := p.data[p.pos]
		if c == '"' {
			s := p.data[start:p.pos]
			if !utf8.Valid(s) {
				return "", p.fail("invalid UTF-8")
			}
			p.pos++
			return string(s), nil
		}
		if c == '\\' {
			break
		}
		if c < 0x20 {
			return "", p.fail("a control character in a string must be escaped")
		}
		p.pos++
	}
	b := append([]byte(nil), p.data[start:p.pos]...)
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		switch {
		case c == '"':
			if !utf8.Valid(b) {
				return "", p.fail("invalid UTF-8")
			}
			p.pos++
			return string(b), nil
		case c < 0x20:
			return "", p.fail("a control character in a string must be escaped")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
			p.pos++
		}
	}
	return "", p.fail("the document ends inside a string")
}

func (p *parser) escape() (rune, error) {
	if p.pos+1 >= len(p.data) {
		return 0, p.fail("the document ends inside a string")
	}
	c := p.data[p.pos+1]
	if c != 'u' {
		const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
		i := strings.IndexByte(from, c)
		if i < 0 {
			return 0, p.fail("unknown escape \\ and byte %#02x", c)
		}
		p.pos += 2
		return rune(to[i]), nil
	}
	r, err := p.hex4(p.pos + 2)
	if err != nil {
		return 0, err
	}
	p.pos += 6
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.pos+1 < len(p.data) && p.data[p.pos] == '\\' && p.data[p.pos+1] == 'u' {
		low, err := p.hex4(p.pos + 2)
		if err != nil {
			return 0, err
		}
		if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
			p.pos += 6
			return full, nil
		}
	}
	return 0, p.fail("a lone surrogate")
}

func (p *parser) hex4(at int) (rune, error) {
	if at+4 > len(p.data) {
		return 0, p.fail("the document ends inside a string")
	}
	var r rune
	for _, c := range p.data[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, p.fail("malformed \\u escape")
		}
	}
	return r, nil
}
