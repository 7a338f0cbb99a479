package jsonrpc

import (
	"bytes"

	"github.com/cabincrew/action/internal/limits"
)

// envelope is what the members of a message are while it is read.
type envelope struct {
	version, id, method, params, result, fault place
}

// place is a member of the envelope; it is there if to is not 0.
type place struct{ at, from, to int }

func (p place) there() bool { return p.to > 0 }

func (e *envelope) place(key string) (*place, scope) {
	switch key {
	case "jsonrpc":
		return &e.version, free
	case "id":
		return &e.id, free
	case "method":
		return &e.method, free
	case "params":
		return &e.params, params
	case "result":
		return &e.result, wire
	case "error":
		return &e.fault, fault
	}
	return nil, free
}

// message reads one message. Members of the envelope have no other names than those of
// JSON-RPC, written without escapes: whatever else stands there is read by some
// parsers as one of them.
func (s *scanner) message(depth int) (Message, *Refusal) {
	from := s.pos
	var e envelope
	base := len(s.keys)
	s.pos++
	s.space()
	for end := s.peek() == '}'; !end; {
		s.space()
		at := s.pos
		key, escaped, r := s.key(base)
		if r != nil {
			return Message{}, r
		}
		p, in := e.place(string(key))
		if p == nil || escaped {
			return Message{}, s.envelopeMember(at, key, p != nil)
		}
		*p = place{at, s.pos, 0}
		if r := s.value(depth, in); r != nil {
			return Message{}, r
		}
		p.to = s.pos
		if end, r = s.next('}'); r != nil {
			return Message{}, r
		}
	}
	if len(s.keys) == base { // "{}": the loop read no closing brace
		s.pos++
	}
	s.keys = s.keys[:base]
	m := Message{Raw: s.data[from:s.pos]}
	r := s.settle(&m, e, from)
	if r != nil && m.ID != "null" {
		r.ID = m.ID
	}
	return m, r
}

func (s *scanner) envelopeMember(at int, key []byte, known bool) *Refusal {
	if known || skeletons[string(appendSkeleton(nil, key))] != "" {
		return s.wrong(at, "lookalike_key", "the member %s is read as another by some", shown(s.data[at:min(at+len(key)+2, len(s.data))]))
	}
	return s.wrong(at, "unknown_member", "a message has no member %s", shown(key))
}

// settle says what kind of message the members make.
func (s *scanner) settle(m *Message, e envelope, from int) *Refusal {
	part := func(p place) []byte {
		if !p.there() {
			return nil
		}
		return s.data[p.from:p.to]
	}
	m.Params, m.Result, m.Error = part(e.params), part(e.result), part(e.fault)
	if e.id.there() {
		if r := s.id(m, e.id, e.fault.there()); r != nil {
			return r
		}
	}
	if string(part(e.version)) != `"2.0"` {
		return s.wrong(e.version.from, "version", "a message must say that it is JSON-RPC 2.0")
	}
	answers := m.Result != nil || m.Error != nil
	switch {
	case e.method.there() && answers:
		return s.wrong(e.method.at, "kind", "a message with a method has no result and no error")
	case m.Result != nil && m.Error != nil:
		return s.wrong(e.fault.at, "kind", "an answer has a result or an error, not both")
	case e.method.there():
		return s.asks(m, e)
	case m.Params != nil:
		return s.wrong(e.params.at, "kind", "params without a method")
	case m.Error != nil:
		m.Kind = Failure
		return s.failure(m.Error, e.fault.from)
	case m.Result == nil:
		return s.wrong(from, "kind", "neither a method nor a result nor an error")
	case m.ID == "":
		return s.wrong(from, "id", "a result without the id of its request")
	case m.Result[0] != '{':
		return s.wrong(e.result.from, "result", "a result is an object")
	}
	m.Kind = Response
	return nil
}

func (s *scanner) asks(m *Message, e envelope) *Refusal {
	name, ok := Text(s.data[e.method.from:e.method.to])
	switch {
	case !ok || name == "":
		return s.wrong(e.method.from, "method", "a method is a text that is not empty")
	case len(name) > limits.MCPMethodBytes:
		return s.wrong(e.method.from, "method", "the name of a method is longer than %d bytes", limits.MCPMethodBytes)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return s.wrong(e.method.from, "method", "the method %s has more than visible ASCII in its name", shown([]byte(name)))
		}
	}
	m.Method = known(name)
	if len(m.Params) > 0 && m.Params[0] != '{' {
		return s.wrong(e.params.from, "params", "params are an object")
	}
	m.Kind = Request
	if m.ID == "" {
		m.Kind = Notification
	}
	return nil
}

// id takes strings and integers. A text gets one way of writing, so that ids compare
// as everybody reads them; integers have only one without -0.
func (s *scanner) id(m *Message, p place, failed bool) *Refusal {
	raw := s.data[p.from:p.to]
	if len(raw) > limits.MCPIDBytes {
		return s.wrong(p.from, "id", "an id is longer than %d bytes", limits.MCPIDBytes)
	}
	switch {
	case raw[0] == '"':
		m.ID = IDOf(raw)
		return nil
	case string(raw) == "null" && failed:
		m.ID = "null"
		return nil
	case integer(raw):
		m.ID = ID(raw)
		return nil
	}
	return s.wrong(p.from, "id", "an id is a text or an integer, not %s", shown(raw))
}

// IDOf gives what a value that names a request, or a token of progress, names: a text in
// the one way of writing that ids have, and all else as it is.
func IDOf(raw []byte) ID {
	if bytes.ContainsAny(raw, "\\\x7f") {
		if text, ok := Text(raw); ok {
			return ID(AppendString(nil, text))
		}
	}
	return ID(raw)
}

// integer says whether a scanned value is an integer that has one way of writing only.
func integer(raw []byte) bool {
	digits := bytes.TrimPrefix(raw, []byte("-"))
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(digits) > 0 && (len(digits) == len(raw) || digits[0] != '0')
}

// failure looks at the members that every error has.
func (s *scanner) failure(raw []byte, at int) *Refusal {
	if raw[0] != '{' {
		return s.wrong(at, "error", "an error is an object")
	}
	if code, ok := Lookup(raw, "code"); !ok || !integer(code) {
		return s.wrong(at, "error", "the code of an error is an integer")
	}
	if what, ok := Lookup(raw, "message"); !ok || what[0] != '"' {
		return s.wrong(at, "error", "the message of an error is a text")
	}
	return nil
}

// known gives the one copy of the name of a known method.
func known(name string) string {
	if m, ok := methods[name]; ok {
		return m.Name
	}
	return name
}
