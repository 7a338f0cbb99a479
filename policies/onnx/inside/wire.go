package inside

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cabincrew/action/internal/limits"
)

// HeadBytes is the head of a frame. What passes between the judging program and the
// process that runs one model are frames of a head and a body. The head is the
// length of the body, the kind, and the number of the request that it is about, all
// little-endian.
const HeadBytes = 4 + 1 + 4

// Kinds of frames from the judge.
const (
	KindStart = 's' // StartNote as JSON: the library, the ports, the bounds
	KindModel = 'm' // the model's bytes
	KindRun   = 'i' // a text, or numbers of 32 bits
	KindStop  = 'x' // end a request
)

// Kinds of frames from the model's process.
const (
	KindAlive  = 'a' // it runs; nothing was loaded yet
	KindReady  = 'r' // ReadyNote as JSON: the library is loaded, or cannot be
	KindLoaded = 'l' // LoadedNote as JSON: the model is loaded, or cannot be
	KindScores = 'o' // a status, and with StatusOK numbers of 64 bits
)

// Statuses of an answer.
const (
	StatusOK = iota
	StatusShape
	StatusMemory
	StatusFailed
	StatusStopped
)

// WireBuffer is how many bytes each side reads or writes at a time.
const WireBuffer = 64 << 10

// LongestNote, in bytes, is how long a note of a model's process may be, and
// LongestReply the same of any of its frames.
const (
	LongestNote  = 4 << 10
	LongestReply = max(LongestNote, 1+8*limits.OnnxLabels)
)

// StartNote tells a model's process what to do.
type StartNote struct {
	Ports

	Library string `json:"library"`
	Room    int64  `json:"room"` // bytes that it may take beyond what it has with the library
	Runs    int    `json:"runs"` // that it is to do at a time; it gets limits.OnnxAhead more
}

// ReadyNote says that the library is loaded, or cannot be.
type ReadyNote struct {
	Version string `json:"version,omitempty"`
	Code    string `json:"code,omitempty"` // of the error, if the library cannot be loaded
	Error   string `json:"error,omitempty"`
}

// LoadedNote says that the model is loaded, or cannot be.
type LoadedNote struct {
	Memory bool   `json:"memory,omitempty"` // it takes too much
	Error  string `json:"error,omitempty"`
}

// NewFrame makes a frame in one piece.
func NewFrame(kind byte, id uint32, body []byte) []byte {
	b := make([]byte, HeadBytes, HeadBytes+len(body))
	PutHead(b, kind, id, len(body))
	return append(b, body...)
}

// PutHead writes the head of a frame of n bytes.
func PutHead(b []byte, kind byte, id uint32, n int) {
	binary.LittleEndian.PutUint32(b, uint32(n)) //nolint:gosec // bodies are at most limits.OnnxFile
	b[4] = kind
	binary.LittleEndian.PutUint32(b[5:], id)
}

// ErrNonsense says that what came has a form that it cannot have.
var ErrNonsense = errors.New("a frame makes no sense")

// ReadFrame reads one frame, whose body has at most as many bytes as most says for
// its kind. io.EOF is an end between two frames.
func ReadFrame(r io.Reader, most func(kind byte) int) (kind byte, id uint32, body []byte, err error) {
	var head [HeadBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	n, kind := binary.LittleEndian.Uint32(head[:]), head[4]
	if int64(n) > int64(most(kind)) {
		return 0, 0, nil, fmt.Errorf("%w: %d bytes of kind %q", ErrNonsense, n, kind)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, 0, nil, fmt.Errorf("%w: it is cut off", ErrNonsense)
	}
	return kind, binary.LittleEndian.Uint32(head[5:]), body, nil
}

// FromJudge bounds what a model's process takes.
func FromJudge(kind byte) int {
	switch kind {
	case KindStart:
		return 64 << 10
	case KindModel:
		return limits.OnnxFile
	case KindRun:
		return 24 * limits.OnnxWindowMax // what is no text becomes twice as long, and its other form up to eleven times
	}
	return 0
}

// FromModel bounds what the judge takes.
func FromModel(kind byte) int {
	switch kind {
	case KindReady, KindLoaded:
		return LongestNote
	case KindScores:
		return LongestReply
	}
	return 0
}

// ReadInput reads the body of a request.
func ReadInput(p Ports, body []byte) (Input, error) {
	if p.Text {
		return Input{Text: string(body)}, nil
	}
	if len(body) != 4*size(p.InDims) {
		return Input{}, ErrNonsense
	}
	in := Input{Features: make([]float32, len(body)/4)}
	for i := range in.Features {
		in.Features[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
	}
	return in, nil
}

// AnswerBytes gives the body of an answer.
func AnswerBytes(scores []float64, err error) []byte {
	if err != nil {
		return []byte{statusOf(err)}
	}
	b := make([]byte, 1, 1+8*len(scores))
	for _, s := range scores {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s))
	}
	return b
}

func statusOf(err error) byte {
	switch {
	case errors.Is(err, ErrShape):
		return StatusShape
	case errors.Is(err, ErrMemory):
		return StatusMemory
	case errors.Is(err, ErrStopped):
		return StatusStopped
	}
	return StatusFailed
}

// ReadAnswer reads the body of an answer of n scores. What is no number is for the
// caller to find; what has another form is nonsense.
func ReadAnswer(body []byte, n int, double bool) ([]float64, error) {
	if len(body) == 0 || body[0] != StatusOK && len(body) > 1 {
		return nil, ErrNonsense
	}
	switch body[0] {
	case StatusOK:
	case StatusShape:
		return nil, ErrShape
	case StatusMemory:
		return nil, ErrMemory
	case StatusFailed:
		return nil, ErrFailed
	case StatusStopped:
		return nil, ErrStopped
	default:
		return nil, ErrNonsense
	}
	if len(body) != 1+8*n {
		return nil, ErrNonsense
	}
	scores := make([]float64, n)
	for i := range scores {
		scores[i] = math.Float64frombits(binary.LittleEndian.Uint64(body[1+8*i:]))
		if !double {
			scores[i] = float64(float32(scores[i])) // as the model declares them
		}
	}
	return scores, nil
}

// size gives how many numbers a tensor of some dimensions has.
func size(dims []int64) int {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return int(n)
}
