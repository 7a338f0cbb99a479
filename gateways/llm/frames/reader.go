package frames

import (
	"bytes"
	"errors"

	"github.com/cabincrew/action/internal/limits"
)

// ErrEventSize says that an event is larger than the reader may hold.
var ErrEventSize = errors.New("an event of the stream is larger than the limit")

// Reader splits a stream into events. Feed gives it a chunk, Next the events that are
// whole by then. Whatever the chunks are, the events are the same, and the bytes of all
// events and of Rest are the bytes of the stream.
type Reader struct {
	max   int
	buf   []byte // what is not given out; of the reader, or the chunk itself
	own   []byte // the memory that outlives a chunk
	owned bool   // buf is in it
	start int    // of the event
	line  int    // where its last line begins
	at    int    // up to where it was searched for the end of that line
	ended bool
	err   error
}

// NewReader makes a reader of events of at most so many bytes; 0 stands for the limit
// that all streams have.
func NewReader(most int) *Reader {
	if most <= 0 {
		most = limits.LLMEventBytes
	}
	return &Reader{max: most}
}

// Feed takes the next chunk. The chunk, and the events that Next gives, are the reader's
// and the caller's alike until Next has said that there is none.
func (r *Reader) Feed(chunk []byte) {
	if r.ended || r.err != nil || len(chunk) == 0 {
		return
	}
	if r.start == len(r.buf) {
		r.buf, r.owned, r.start, r.line, r.at = chunk, false, 0, 0, 0
		return
	}
	r.keep()
	r.own = append(r.own, chunk...)
	r.buf = r.own
}

// keep moves what is left to the reader's own memory.
func (r *Reader) keep() {
	if len(r.buf) == 0 || r.owned && r.start == 0 {
		return
	}
	left := r.buf[r.start:]
	if cap(r.own) > limits.LLMEventKept && len(left) < limits.LLMEventKept/2 {
		r.own = append(make([]byte, 0, limits.LLMEventKept), left...)
	} else {
		r.own = append(r.own[:0], left...)
	}
	r.line -= r.start
	r.at -= r.start
	r.buf, r.owned, r.start = r.own, true, 0
}

// End says that the stream has ended: a carriage return at its very end ends a line.
func (r *Reader) End() { r.ended = true }

// Next gives the next event with the empty line that ends it; nil if none is whole.
func (r *Reader) Next() ([]byte, error) {
	for r.err == nil {
		empty, found := r.nextLine()
		if !found {
			break
		}
		if empty {
			event := r.buf[r.start:r.line]
			r.start = r.line
			if len(event) > r.max {
				r.err = ErrEventSize
				break
			}
			return event, nil
		}
	}
	if r.err == nil && len(r.buf)-r.start > r.max {
		r.err = ErrEventSize
	}
	if r.err != nil {
		return nil, r.err
	}
	r.keep()
	return nil, nil
}

// nextLine goes to the line after this one and says whether this one is empty.
func (r *Reader) nextLine() (empty, found bool) {
	end := len(r.buf)
	if i := bytes.IndexByte(r.buf[r.at:], '\n'); i >= 0 {
		end = r.at + i
	}
	next := end + 1
	if i := bytes.IndexByte(r.buf[r.at:end], '\r'); i >= 0 {
		end = r.at + i
		next = end + 1
		switch {
		case next < len(r.buf) && r.buf[next] == '\n':
			next++
		case next == len(r.buf) && !r.ended: // a line feed may follow, and belongs to it
			r.at = end
			return false, false
		}
	} else if end == len(r.buf) {
		r.at = end
		return false, false
	}
	empty = end == r.line
	r.line, r.at = next, next
	return empty, true
}

// Rest gives the bytes after the last event: if there are any at the end of a stream, it
// was cut off.
func (r *Reader) Rest() []byte { return r.buf[r.start:] }
