package jsonrpc

import (
	"unicode/utf8"

	"github.com/cabincrew/action/internal/rawjson"
)

// text reads a string and gives what is between its quotes, escapes and all.
func (s *scanner) text() (inner []byte, escaped bool, r *Refusal) {
	s.pos++
	from, high := s.pos, false
	for {
		n, above := rawjson.Plain(s.data[s.pos:])
		s.pos += n
		high = high || above
		if s.pos == len(s.data) {
			return nil, false, s.broken("syntax", "the message ends within a string")
		}
		switch s.data[s.pos] {
		case '"':
			inner = s.data[from:s.pos]
			if high && !utf8.Valid(inner) {
				return nil, false, s.broken("utf8", "a string that is no UTF-8")
			}
			s.pos++
			return inner, escaped, nil
		case '\\':
			escaped = true
			if r := s.escape(); r != nil {
				return nil, false, r
			}
		default:
			return nil, false, s.broken("syntax", "a control character in a string")
		}
	}
}

// escape reads one escape, or the two of a pair of surrogates.
func (s *scanner) escape() *Refusal {
	_, size, ok := rawjson.Unescape(s.data[s.pos:])
	if size == 0 {
		return s.broken("syntax", "an escape that JSON does not have")
	}
	if !ok {
		return s.broken("surrogate", "a lone surrogate")
	}
	s.pos += size
	return nil
}

// Text gives the text of a JSON string; false if value is none.
func Text(value []byte) (string, bool) {
	s := scanner{data: value}
	s.space()
	if s.peek() != '"' {
		return "", false
	}
	inner, escaped, r := s.text()
	if r != nil {
		return "", false
	}
	if s.space(); s.pos != len(value) {
		return "", false
	}
	if !escaped {
		return string(inner), true
	}
	return string(rawjson.AppendUnescaped(make([]byte, 0, len(inner)), inner)), true
}
