package jsonrpc

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/rawjson"
	"github.com/cabincrew/action/protocol"
)

// Options say what Scan takes.
type Options struct {
	Batch    bool // lists of messages, where the revision has them
	MaxBytes int  // of the whole text; 0 is limits.MCPMessageBytes
}

// Scan reads one message, or one batch, and says what it is. The error is a *Refusal.
//
// protocol.DecodeAny reads as strictly but builds a tree of everything, and
// protocol.ScanCanonical takes the canonical form only; what comes from clients and
// servers is not canonical and must stay as it came. So this is a scanner of its own,
// which keeps nothing but places; FuzzScan holds it against both.
func Scan(raw []byte, o Options) (Message, error) {
	most := o.MaxBytes
	if most <= 0 {
		most = limits.MCPMessageBytes
	}
	if len(raw) > most {
		return Message{}, &Refusal{Code: "too_large", RPC: CodeInvalidRequest, At: most, What: fmt.Sprintf("the message is longer than %d bytes", most)}
	}
	s, _ := scanners.Get().(*scanner)
	defer s.release()
	s.data, s.pos = raw, 0
	m, r := s.document(o)
	if r != nil {
		return Message{}, r
	}
	return m, nil
}

// scanners keeps the scratch of scans that are over: no state, only memory.
var scanners = sync.Pool{New: func() any { return new(scanner) }}

type scanner struct {
	data  []byte
	pos   int
	keys  []name // of the objects that are open, outermost first
	arena []byte // names that had escapes, without them
}

// name is the name of a member of an object that is being read.
type name struct {
	text []byte
	at   int
}

func (s *scanner) release() {
	if cap(s.arena) > limits.MCPKeptBytes {
		s.arena = nil
	}
	if cap(s.keys) > limits.MCPKeptBytes/32 {
		s.keys = nil
	}
	clear(s.keys[:cap(s.keys)]) // keep no message alive
	s.data, s.keys, s.arena = nil, s.keys[:0], s.arena[:0]
	scanners.Put(s)
}

// broken refuses what is not JSON.
func (s *scanner) broken(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, RPC: CodeParse, At: s.pos, What: fmt.Sprintf(format, args...)}
}

// wrong refuses JSON that is no message, or that not everybody reads alike.
func (s *scanner) wrong(at int, code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, RPC: CodeInvalidRequest, At: at, What: fmt.Sprintf(format, args...)}
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0 // no token of JSON begins with it
}

func (s *scanner) document(o Options) (m Message, r *Refusal) {
	if bytes.HasPrefix(s.data, []byte("\ufeff")) {
		return m, s.broken("bom", "a byte-order mark is not allowed")
	}
	s.space()
	switch s.peek() {
	case '{':
		m, r = s.message(1)
	case '[':
		if !o.Batch {
			return m, s.wrong(s.pos, "batch", "a batch is not allowed here")
		}
		m, r = s.batch()
	default:
		if s.pos == len(s.data) {
			return m, s.broken("syntax", "the message is empty")
		}
		at := s.pos
		if r := s.value(0, free); r != nil {
			return m, r
		}
		return m, s.wrong(at, "not_object", "a message is an object")
	}
	if r != nil {
		return Message{}, r
	}
	s.space()
	if s.pos != len(s.data) {
		return Message{}, s.broken("trailing", "bytes after the end of the message")
	}
	return m, nil
}

func (s *scanner) batch() (Message, *Refusal) {
	from := s.pos
	s.pos++
	var parts []Message
	for {
		s.space()
		switch c := s.peek(); {
		case c == ']' && len(parts) == 0:
			return Message{}, s.wrong(from, "batch_empty", "an empty batch")
		case c == '[':
			return Message{}, s.wrong(s.pos, "batch_nested", "a batch within a batch")
		case c != '{':
			return Message{}, s.wrong(s.pos, "not_object", "a batch has messages only, which are objects")
		case len(parts) == limits.MCPBatch:
			return Message{}, s.wrong(s.pos, "batch_large", "a batch of more than %d messages", limits.MCPBatch)
		}
		at := s.pos
		m, r := s.message(2)
		if r != nil {
			return m, r
		}
		if m.Method == "initialize" {
			return m, s.wrong(at, "batch_initialize", "initialize is not allowed in a batch")
		}
		for _, p := range parts {
			if m.ID != "" && p.ID == m.ID && (p.Kind == Request) == (m.Kind == Request) && m.ID != "null" {
				return m, s.wrong(at, "batch_ids", "two messages of a batch have the id %s", shown([]byte(m.ID)))
			}
		}
		parts = append(parts, m)
		end, r := s.next(']')
		if r != nil {
			return m, r
		}
		if end {
			return Message{Raw: s.data[from:s.pos], Kind: Batch, Parts: parts}, nil
		}
	}
}

// value reads any value; in says which names of members are the protocol's.
func (s *scanner) value(depth int, in scope) *Refusal {
	switch c := s.peek(); {
	case c == '"':
		_, _, r := s.text()
		return r
	case c == '{':
		return s.object(depth+1, in)
	case c == '[':
		return s.list(depth+1, in)
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	if s.pos >= len(s.data) {
		return s.broken("syntax", "the message ends too early")
	}
	return s.broken("syntax", "no JSON value begins with byte %#02x", s.data[s.pos])
}

func (s *scanner) word(w string) *Refusal {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return s.broken("syntax", "no JSON value begins like this")
	}
	s.pos += len(w)
	return nil
}

// next reads a comma or the closing byte, and says which.
func (s *scanner) next(closing byte) (bool, *Refusal) {
	s.space()
	switch s.peek() {
	case ',':
		s.pos++
		return false, nil
	case closing:
		s.pos++
		return true, nil
	}
	if s.pos >= len(s.data) {
		return false, s.broken("syntax", "the message ends too early")
	}
	return false, s.broken("syntax", "expected ',' or %q", closing)
}

func (s *scanner) list(depth int, in scope) *Refusal {
	if depth > protocol.MaxDepth {
		return s.wrong(s.pos, "depth", "nested deeper than %d", protocol.MaxDepth)
	}
	s.pos++
	s.space()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		s.space()
		if r := s.value(depth, in); r != nil {
			return r
		}
		if end, r := s.next(']'); end || r != nil {
			return r
		}
	}
}

func (s *scanner) object(depth int, in scope) *Refusal {
	if depth > protocol.MaxDepth {
		return s.wrong(s.pos, "depth", "nested deeper than %d", protocol.MaxDepth)
	}
	s.pos++
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	base := len(s.keys)
	for {
		s.space()
		at := s.pos
		key, escaped, r := s.key(base)
		if r != nil {
			return r
		}
		inner := free
		if in != free {
			if r := s.lookalike(in, at, key, escaped); r != nil {
				return r
			}
			inner = in.under(key, s.peek())
		}
		if r := s.value(depth, inner); r != nil {
			return r
		}
		end, r := s.next('}')
		if r != nil {
			return r
		}
		if end {
			r := s.twice(base)
			s.keys = s.keys[:base]
			return r
		}
	}
}

// few is how many names are compared with each other as they come; of more, neighbours
// are compared once they are sorted.
const few = 12

// key reads the name of a member and its colon.
func (s *scanner) key(base int) (key []byte, escaped bool, r *Refusal) {
	at := s.pos
	if s.peek() != '"' {
		if s.pos >= len(s.data) {
			return nil, false, s.broken("syntax", "the message ends too early")
		}
		return nil, false, s.broken("syntax", "expected the name of a member")
	}
	key, escaped, r = s.text()
	if r != nil {
		return nil, false, r
	}
	if len(key) > limits.MCPKeyBytes {
		return nil, false, s.wrong(at, "key_long", "the name of a member is longer than %d bytes", limits.MCPKeyBytes)
	}
	if escaped {
		from := len(s.arena)
		s.arena = rawjson.AppendUnescaped(s.arena, key)
		key = s.arena[from:len(s.arena):len(s.arena)]
		if bytes.IndexByte(key, 0) >= 0 {
			return nil, false, s.wrong(at, "nul_key", "the name of a member has NUL in it: %s", shown(key))
		}
	}
	n := len(s.keys) - base
	if n == limits.MCPKeys {
		return nil, false, s.wrong(at, "too_many_keys", "an object of more than %d members", limits.MCPKeys)
	}
	if n < few {
		for _, k := range s.keys[base:] {
			if bytes.Equal(k.text, key) {
				return nil, false, s.duplicate(at, key)
			}
		}
	}
	s.keys = append(s.keys, name{key, at})
	s.space()
	if s.peek() != ':' {
		return nil, false, s.broken("syntax", "expected ':' after the name of a member")
	}
	s.pos++
	s.space()
	return key, escaped, nil
}

func (s *scanner) duplicate(at int, key []byte) *Refusal {
	return s.wrong(at, "duplicate_key", "the member %s is there twice", shown(key))
}

// twice looks for a name that an object of many members has twice.
func (s *scanner) twice(base int) *Refusal {
	keys := s.keys[base:]
	if len(keys) <= few {
		return nil
	}
	slices.SortFunc(keys, func(a, b name) int { return bytes.Compare(a.text, b.text) })
	for i := 1; i < len(keys); i++ {
		if bytes.Equal(keys[i-1].text, keys[i].text) {
			return s.duplicate(max(keys[i-1].at, keys[i].at), keys[i].text)
		}
	}
	return nil
}

// number accepts what the grammar has, if it is finite for those who keep numbers as
// doubles: others say infinity, null, or that it is no number.
func (s *scanner) number() *Refusal {
	from, exact := s.pos, true
	if s.data[s.pos] == '-' {
		s.pos++
	}
	first := s.pos
	if !s.digits() || s.data[first] == '0' && s.pos > first+1 {
		return s.broken("syntax", "a malformed number")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.broken("syntax", "a malformed number")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		exact = false
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.broken("syntax", "a malformed number")
		}
	}
	text := s.data[from:s.pos]
	if len(text) > limits.MCPNumberBytes {
		return s.wrong(from, "number_long", "a number of more than %d bytes", limits.MCPNumberBytes)
	}
	if !exact || len(text) > 300 { // shorter integers and fractions are finite
		if _, err := strconv.ParseFloat(string(text), 64); err != nil {
			return s.wrong(from, "number_large", "the number %s is not finite", shown(text))
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	from := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > from
}
