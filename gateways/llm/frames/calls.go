package frames

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/cabincrew/action/internal/limits"
)

// The errors of calls.
var (
	// ErrCallSize says that the calls of a stream are more than may be held.
	ErrCallSize = errors.New("the stream's calls are more than the limit")
	// ErrCallAgain says that a call goes on, or is told in other words, after its end.
	ErrCallAgain = errors.New("a call goes on where it had ended, or is told in other words")
	// ErrCallMixed says that clients would put the parts of calls together differently.
	ErrCallMixed = errors.New("the parts of calls are mixed")
)

// Call is a call of a tool as far as it came.
type Call struct {
	Lane   Lane
	Text   []byte   // of the arguments
	Values [][]byte // arguments that are no text, as JSON

	id, kind string
	names    []string
	more     bool // the names are parts
	whole    bool // the text is all of it
	ended    bool
}

// Tools gives the names under which clients may see the call: those who get a name in
// parts put them together or take one of them.
func (c *Call) Tools() []string {
	if len(c.names) == 0 {
		return []string{c.kind}
	}
	if !c.more || len(c.names) == 1 {
		return c.names
	}
	out := []string{""}
	for _, n := range c.names {
		out[0] += n
	}
	for _, n := range []string{c.names[0], c.names[len(c.names)-1]} {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// Calls holds the calls of a stream until they are whole and judged, and remembers them:
// what is told of them again must be the same.
type Calls struct {
	most, held, open int
	calls            []*Call
}

// NewCalls makes a holder of at most so many bytes.
func NewCalls(most int) *Calls { return &Calls{most: most} }

// Add adds what an event says of a call.
func (c *Calls) Add(p *Part) error {
	call := c.last(p.Lane)
	if call != nil && call.id != "" && p.ID != "" && call.id != p.ID {
		// Some servers number none of their calls. Clients that go by the number put
		// them together, which must be no arguments at all.
		if call.ended || !object(call.Text) {
			return ErrCallMixed
		}
		call = nil
	}
	if call == nil {
		if len(c.calls) >= limits.LLMLanes {
			return ErrCallSize
		}
		call = &Call{Lane: p.Lane}
		c.calls = append(c.calls, call)
		c.open++
	}
	if call.id == "" {
		call.id = p.ID
	}
	if call.kind == "" {
		call.kind = p.Kind
	}
	if err := c.name(call, p); err != nil {
		return err
	}
	if err := c.text(call, p); err != nil {
		return err
	}
	return c.value(call, p)
}

func (c *Calls) last(l Lane) *Call {
	for _, call := range slices.Backward(c.calls) {
		if call.Lane == l {
			return call
		}
	}
	return nil
}

func object(b []byte) bool { return json.Valid(b) && bytes.TrimSpace(b)[0] == '{' }

// take makes room for what is remembered.
func (c *Calls) take(call *Call, n int) error {
	if call.ended {
		return ErrCallAgain
	}
	if c.held+n > c.most {
		return ErrCallSize
	}
	c.held += n
	return nil
}

func (c *Calls) name(call *Call, p *Part) error {
	if p.Name == "" || !p.More && slices.Contains(call.names, p.Name) {
		return nil
	}
	if p.More && call.ended && len(call.names) == 1 && call.names[0] == p.Name {
		return nil
	}
	if err := c.take(call, len(p.Name)); err != nil {
		return err
	}
	if len(call.names) >= limits.LLMLanes {
		return ErrCallSize
	}
	call.more = p.More
	call.names = append(call.names, p.Name)
	return nil
}

func (c *Calls) text(call *Call, p *Part) error {
	if p.Whole && (len(call.Text) > 0 || call.whole || call.ended) {
		if !bytes.Equal(call.Text, p.Text) {
			return ErrCallAgain
		}
		call.whole = true
		return nil
	}
	if len(p.Text) == 0 {
		return nil
	}
	if call.whole {
		return ErrCallAgain
	}
	if err := c.take(call, len(p.Text)); err != nil {
		return err
	}
	call.whole = p.Whole
	call.Text = append(call.Text, p.Text...)
	return nil
}

func (c *Calls) value(call *Call, p *Part) error {
	if len(p.Value) == 0 {
		return nil
	}
	for _, old := range call.Values {
		if same(old, p.Value) {
			return nil
		}
	}
	if err := c.take(call, len(p.Value)); err != nil {
		return err
	}
	if len(call.Values) >= limits.LLMLanes {
		return ErrCallSize
	}
	call.Values = append(call.Values, bytes.Clone(p.Value))
	return nil
}

// same says that two values are one, in whatever order their members stand.
func same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, ok := decoded(a)
	y, too := decoded(b)
	return ok && too && reflect.DeepEqual(x, y)
}

func decoded(b []byte) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err := d.Decode(&v)
	return v, err == nil
}

// Ended gives the calls that end with a frame, in the order in which they began.
func (c *Calls) Ended(f *Frame) []*Call {
	var out []*Call
	for _, call := range c.calls {
		if call.ended || !f.Ends(call.Lane) {
			continue
		}
		call.ended = true
		c.open--
		if len(call.Text) > 0 {
			// An input that is empty at its beginning is told in the text.
			call.Values = slices.DeleteFunc(call.Values, func(v []byte) bool { return same(v, []byte("{}")) })
		}
		if call.kind == "" && len(call.names) == 0 {
			call.kind = c.of(call.Lane.Index)
		}
		out = append(out, call)
	}
	return out
}

// of gives the name of the tool of another lane of the same item.
func (c *Calls) of(index int) string {
	for _, call := range c.calls {
		if call.Lane.Index == index && (len(call.names) > 0 || call.kind != "") {
			return call.Tools()[0]
		}
	}
	return ""
}

// Open says how many calls are held.
func (c *Calls) Open() int { return c.open }
