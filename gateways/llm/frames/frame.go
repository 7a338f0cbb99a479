package frames

import (
	"cmp"
	"slices"
	"strconv"
)

// Format is the form of a stream.
type Format uint8

// The formats.
const (
	Chat      Format = iota + 1 // chat completions of OpenAI's form
	Responses                   // responses of OpenAI's form
	Messages                    // messages of Anthropic's form
)

// String gives the name of a format.
func (f Format) String() string {
	switch f {
	case Chat:
		return "openai.chat"
	case Responses:
		return "openai.responses"
	case Messages:
		return "anthropic.messages"
	}
	return "unknown"
}

// Kind is what a lane says.
type Kind uint8

// The kinds of lanes.
const (
	Text      Kind = iota + 1 // the answer
	Arguments                 // of a call of a tool, or the code or command of one
	Reasoning                 // what the model thought
	Summary                   // of what it thought
	Refusal                   // why it does not answer
	Other                     // what the format has no place for, or what is no text of the model
)

// Lane is where pieces of one text come one after the other.
type Lane struct {
	Index int // of the choice, output item or content block
	Part  int // of the call, content part or summary; for Reasoning of a chat which field it is
	Kind  Kind
	Name  string // of an Other: where it stands
}

// Terminal is whether a stream has ended.
type Terminal uint8

// The ends of a stream. One that is Open when no more bytes come was cut off.
const (
	Open   Terminal = iota
	Done            // properly
	Failed          // with an error that the server told of
)

// Usage is the tokens that the server counted, as far as it said so.
type Usage struct {
	Input, Output, CacheRead, CacheWrite, Reasoning int64
	Given                                           bool
}

// Piece is a text in an event.
type Piece struct {
	Lane     Lane
	From, To int    // of the literal, with its quotes, in the event's bytes
	Text     []byte // without escapes; until the next Decode
	Tool     string // of Arguments: the tool's name
	Field    string // the name of the member, where it is one that the format has
	Whole    bool   // the lane's text from its beginning, which earlier pieces gave in parts
	Same     bool   // of an Other: an earlier event had the same text there
	Key      bool   // the name of a member
	Raw      bool   // no JSON: a comment, a field of the event, data that cannot be read

	slot    slot
	place   *other
	changed bool
	text    []byte
}

type span struct {
	from, to int
	empty    string
}

// Frame is an event that was read. It is valid until the next Decode.
type Frame struct {
	Raw      []byte
	Type     string // of the event, where it is one that the format has
	Pieces   []Piece
	Terminal Terminal
	Finish   string // why the model stopped, where the event says so
	Usage    Usage  // of the stream so far
	Broken   string // what is wrong with it: it must not be given on. "" if nothing is

	d        *Decoder
	echoes   []span
	noEchoes bool
	edits    []edit
	finished []int  // indexes that end
	ends     []Lane // lanes that end
	sequence span   // the number of the event
	number   int64
}

type edit struct {
	from, to int
	piece    int // -1: text is what is written
	text     string
}

// Replace gives the i-th piece another text. Without its text, a piece is empty and the
// event is valid. The text is the frame's until the next Decode.
func (f *Frame) Replace(i int, text []byte) {
	p := &f.Pieces[i]
	p.changed, p.text = true, text
	if p.place != nil {
		p.place.seen = false // the same text has to be replaced again
	}
	if p.slot != noSlot {
		f.d.fill(p.slot, p.Lane.Index, appendQuoted(nil, text))
	}
}

// Echoed says that the event repeats the text in another form: the probabilities of its
// tokens. They go when a piece that is no Other is replaced, and with DropEchoes.
func (f *Frame) Echoed() bool { return len(f.echoes) > 0 }

// DropEchoes leaves out what repeats the text in another form.
func (f *Frame) DropEchoes() { f.noEchoes = true }

// Ends says that a lane has no pieces after this frame: what is held of it has to be
// given out before the frame, or in it.
func (f *Frame) Ends(l Lane) bool {
	if f.Terminal != Open || slices.Contains(f.finished, l.Index) {
		return true
	}
	l.Name = ""
	return slices.Contains(f.ends, l)
}

// Append appends the event as it is given on: the bytes that came, except for what was
// replaced and for the number of an event after added ones.
func (f *Frame) Append(dst []byte) []byte {
	f.edits = f.edits[:0]
	drop := f.noEchoes
	for i := range f.Pieces {
		if p := &f.Pieces[i]; p.changed {
			f.edits = append(f.edits, edit{p.From, p.To, i, ""})
			drop = drop || p.Lane.Kind != Other
		}
	}
	if drop {
		for _, e := range f.echoes {
			f.edits = append(f.edits, edit{e.from, e.to, -1, e.empty})
		}
	}
	if f.sequence.to > 0 {
		out := f.number + f.d.added
		if f.d.added > 0 {
			f.edits = append(f.edits, edit{f.sequence.from, f.sequence.to, -1, strconv.FormatInt(out, 10)})
		}
		f.d.last = max(f.d.last, out)
	}
	if len(f.edits) == 0 {
		return append(dst, f.Raw...)
	}
	return f.splice(dst)
}

func (f *Frame) splice(dst []byte) []byte {
	// what encloses another edit comes first, and that other is left out
	slices.SortFunc(f.edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to))
	})
	at := 0
	for _, e := range f.edits {
		if e.from < at {
			continue
		}
		dst = append(dst, f.Raw[at:e.from]...)
		switch {
		case e.piece < 0:
			dst = append(dst, e.text...)
		case f.Pieces[e.piece].Raw:
			dst = appendLine(dst, f.Pieces[e.piece].text)
		default:
			dst = appendQuoted(dst, f.Pieces[e.piece].text)
		}
		at = e.to
	}
	return append(dst, f.Raw[at:]...)
}

// appendLine appends a text that must not end its line.
func appendLine(dst, text []byte) []byte {
	for _, c := range text {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}
