package llm

import (
	"bytes"

	"github.com/cabincrew/action/gateways/llm/frames"
)

// lane is one text of a stream as far as it came.
type lane struct {
	at     frames.Lane
	search Search
	raw    []byte // what came
	given  int    // how much of it was given on
	skip   int    // up to where it was found to be a secret, whose mark was given on
	found  []Found
	said   []byte // what was given on, where that is not the beginning of raw
	other  bool   // it is not
	ended  bool
	seen   int // how much of raw the judges of windows have seen
}

// spoken gives what the client was told.
func (l *lane) spoken() []byte {
	if l.other {
		return l.said
	}
	return l.raw[:l.given]
}

// release gives what may be given on, up to a place of the text, with marks where secrets
// stood. What it gives is valid until the next call.
func (l *lane) release(to int) []byte {
	if to < len(l.raw) {
		to = l.given + frames.Cut(l.raw[l.given:], to-l.given)
	}
	if to <= l.given {
		return nil
	}
	if len(l.found) == 0 && l.skip <= l.given && !l.other {
		out := l.raw[l.given:to]
		l.given = to
		return out
	}
	if !l.other {
		l.said, l.other = bytes.Clone(l.raw[:l.given]), true
	}
	begin := len(l.said)
	for l.given < to {
		if l.given < l.skip {
			l.given = min(l.skip, to)
			continue
		}
		next := to
		if len(l.found) > 0 && int(l.found[0].From) < to {
			next = max(int(l.found[0].From), l.given)
		}
		l.said = append(l.said, l.raw[l.given:next]...)
		l.given = next
		if len(l.found) > 0 && next == max(int(l.found[0].From), l.given) && next < to {
			l.said = append(l.said, "[REDACTED:"+l.found[0].Rule+"]"...)
			l.skip = max(l.skip, int(l.found[0].To))
			l.found = l.found[1:]
			for len(l.found) > 0 && int(l.found[0].From) < l.skip {
				l.skip = max(l.skip, int(l.found[0].To))
				l.found = l.found[1:]
			}
		}
	}
	return l.said[begin:]
}
