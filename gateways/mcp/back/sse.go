package back

import (
	"bytes"
	"fmt"

	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// parser reads server-sent events of bytes as they come in: by the standard's rules for
// line ends, byte-order mark, comments, and fields, with bounds that it does not have.
// An event that only names where to resume or when to come again is an event too.
type parser struct {
	most int // bytes of one line, and of one event's data

	buf  []byte // bytes that were not read yet
	from int    // begin of the line in buf
	seen int    // bytes of buf in which no line end is

	begun  bool // the byte-order mark is past
	skipLF bool // the line before ended with CR

	event link.Event
	lines int  // of data in event
	some  bool // the event has a field that counts
}

// boundsError says which bound a stream went over.
type boundsError struct{ what string }

func (e boundsError) Error() string { return e.what }

// spare gives room for at least a few KiB after the bytes that are there.
func (p *parser) spare() []byte {
	if p.from > 0 {
		n := copy(p.buf, p.buf[p.from:])
		p.buf, p.seen, p.from = p.buf[:n], p.seen-p.from, 0
	}
	switch free := cap(p.buf) - len(p.buf); {
	case len(p.buf) == 0 && cap(p.buf) > 64<<10:
		p.buf, p.seen = make([]byte, 0, 4<<10), 0 // a large event is over
	case free < 1<<10:
		grown := make([]byte, len(p.buf), max(4<<10, 2*cap(p.buf)))
		copy(grown, p.buf)
		p.buf = grown
	}
	return p.buf[len(p.buf):cap(p.buf)]
}

// pending says how many bytes there are of an event that is not whole.
func (p *parser) pending() int { return len(p.buf) - p.from + len(p.event.Data) }

// took says how many bytes were put into what spare gave.
func (p *parser) took(n int) { p.buf = p.buf[:len(p.buf)+n] }

// next gives the next event of the bytes that are there; ok is false if they hold no
// whole one.
func (p *parser) next() (ev link.Event, ok bool, err error) {
	for {
		line, whole := p.line()
		if !whole {
			if len(p.buf)-p.from > p.most+len("data: ") {
				return link.Event{}, false, boundsError{fmt.Sprintf("a line has more than %d bytes", p.most)}
			}
			return link.Event{}, false, nil
		}
		if len(line) > 0 {
			if err := p.field(line); err != nil {
				return link.Event{}, false, err
			}
			continue
		}
		ev, ok = p.event, p.some
		p.event, p.lines, p.some = link.Event{}, 0, false
		if ok {
			return ev, true, nil
		}
	}
}

// line gives the next line without its end.
func (p *parser) line() (line []byte, ok bool) {
	if !p.begun {
		mark := []byte("\xef\xbb\xbf")
		if len(p.buf) < len(mark) && bytes.HasPrefix(mark, p.buf) {
			return nil, false
		}
		p.begun = true
		if bytes.HasPrefix(p.buf, mark) {
			p.from, p.seen = len(mark), len(mark)
		}
	}
	if p.skipLF && p.from < len(p.buf) {
		if p.buf[p.from] == '\n' {
			p.from++
			p.seen = max(p.seen, p.from)
		}
		p.skipLF = false
	}
	at := bytes.IndexByte(p.buf[p.seen:], '\n')
	rest := p.buf[p.seen:]
	if at >= 0 {
		rest = rest[:at]
	}
	if cr := bytes.IndexByte(rest, '\r'); cr >= 0 {
		at, p.skipLF = cr, true
	}
	if at < 0 {
		p.seen = len(p.buf)
		return nil, false
	}
	end := p.seen + at
	line = p.buf[p.from:end]
	p.from, p.seen = end+1, end+1
	return line, true
}

// field takes one line that is not empty into the event.
func (p *parser) field(line []byte) error {
	name, value, _ := bytes.Cut(line, []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) { // "" is a comment
	case "data":
		if len(p.event.Data)+len(value)+1 > p.most {
			return boundsError{fmt.Sprintf("an event has more than %d bytes", p.most)}
		}
		if p.lines > 0 {
			p.event.Data = append(p.event.Data, '\n')
		}
		p.event.Data = append(p.event.Data, value...)
		p.lines++
		p.some = p.some || len(p.event.Data) > 0
	case "id":
		if len(value) > limits.MCPBackEventIDBytes {
			return boundsError{fmt.Sprintf("the id of an event has more than %d bytes", limits.MCPBackEventIDBytes)}
		}
		if bytes.IndexByte(value, 0) < 0 {
			p.event.ID, p.some = string(value), p.some || len(value) > 0
		}
	case "event":
		if len(value) > limits.MCPBackTypeBytes {
			return boundsError{fmt.Sprintf("the type of an event has more than %d bytes", limits.MCPBackTypeBytes)}
		}
		p.event.Type = string(value)
	case "retry":
		if n, ok := milliseconds(value); ok {
			p.event.Retry, p.some = n, p.some || n > 0
		}
	}
	return nil
}

func milliseconds(digits []byte) (n int, ok bool) {
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int(d-'0')
	}
	return n, len(digits) > 0 && len(digits) <= limits.MCPBackRetryDigits
}
