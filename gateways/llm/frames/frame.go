package frames

import "slices"

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
	Field    string // the name of the member, where it is one that the format has
	Whole    bool   // the lane's text from its beginning, which earlier pieces gave in parts
	Same     bool   // of an Other: an earlier event had the same text there
	Joined   bool   // of an Other: clients may put it behind what earlier events had there
	Key      bool   // the name of a member
	Raw      bool   // no JSON: a comment, a field of the event, data that cannot be read
}

// Part is what an event says of a call of a tool. A call that has no arguments has a part
// too.
type Part struct {
	Lane  Lane
	ID    string // by which some clients tell the calls of a lane apart
	Name  string // of the tool, or a part of it
	More  bool   // clients may put the name behind those that came before
	Kind  string // what the tool is where it has no name
	Text  []byte // of the arguments; until the next Decode
	Whole bool   // the text is all of the arguments
	Value []byte // arguments that are no text, as JSON; until the next Decode
}

// Echo is a value that repeats the text of an event in another form: the probabilities of
// its tokens. What it is without them is Empty.
type Echo struct {
	From, To int
	Empty    string
	Odd      bool // it repeats another text than the event has
}

// Frame is an event that was read. It is valid until the next Decode.
type Frame struct {
	Raw      []byte
	Type     string // of the event, where it is one that the format has
	Pieces   []Piece
	Parts    []Part
	Echoes   []Echo
	Terminal Terminal
	Finish   string // why the model stopped, where the event says so
	Usage    Usage  // of the stream so far
	Broken   string // what is wrong with it: it must not be given on. "" if nothing is

	finished []int  // indexes that end
	ends     []Lane // lanes that end
}

// Ends says that a lane has no pieces after this frame: what is held of it has to be
// given out before the frame, or in it.
func (f *Frame) Ends(l Lane) bool {
	if f.Terminal != Open || slices.Contains(f.finished, l.Index) {
		return true
	}
	l.Name = ""
	return slices.Contains(f.ends, l)
}
