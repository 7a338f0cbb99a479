package frames

import (
	"errors"

	"github.com/cabincrew/action/internal/limits"
)

// ErrCallSize says that the arguments of calls are more than may be held.
var ErrCallSize = errors.New("the arguments of the stream's calls are more than the limit")

// Call is the arguments of one call as far as they came.
type Call struct {
	Lane Lane
	Tool string
	Text []byte
}

// Calls holds the arguments of calls until they are whole and judged.
type Calls struct {
	most, held int
	calls      []Call
}

// NewCalls makes a holder of at most so many bytes.
func NewCalls(most int) *Calls { return &Calls{most: most} }

// Add adds a piece; one that is whole takes the place of what came before it.
func (c *Calls) Add(p *Piece) error {
	at := -1
	for i := range c.calls {
		if c.calls[i].Lane == p.Lane {
			at = i
		}
	}
	if at < 0 {
		if len(c.calls) >= limits.LLMLanes {
			return ErrCallSize
		}
		at = len(c.calls)
		c.calls = append(c.calls, Call{Lane: p.Lane})
	}
	call := &c.calls[at]
	if p.Whole {
		c.held -= len(call.Text)
		call.Text = call.Text[:0]
	}
	if c.held+len(p.Text) > c.most {
		return ErrCallSize
	}
	call.Tool = p.Tool
	call.Text = append(call.Text, p.Text...)
	c.held += len(p.Text)
	return nil
}

// Ended takes out the calls that end with a frame, in the order in which they began.
func (c *Calls) Ended(f *Frame) []Call {
	var out []Call
	left := c.calls[:0]
	for _, call := range c.calls {
		if f.Ends(call.Lane) {
			out = append(out, call)
			c.held -= len(call.Text)
		} else {
			left = append(left, call)
		}
	}
	clear(c.calls[len(left):])
	c.calls = left
	return out
}

// Open says how many calls are held.
func (c *Calls) Open() int { return len(c.calls) }
