package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cabincrew/action/internal/limits"
)

// What passes between the judging program and the process that runs one model:
// frames of a head and a body. The head is the length of the body, the kind, and
// the number of the request that it is about, all little-endian.
const (
	headBytes = 4 + 1 + 4

	// From the judge.
	kindStart = 's' // startNote as JSON: the library, the ports, the bounds
	kindModel = 'm' // the model's bytes
	kindRun   = 'i' // a text, or numbers of 32 bits
	kindStop  = 'x' // end a request
	// From the model's process.
	kindAlive  = 'a' // it runs; nothing was loaded yet
	kindReady  = 'r' // readyNote as JSON: the library is loaded, or cannot be
	kindLoaded = 'l' // loadedNote as JSON: the model is loaded, or cannot be
	kindScores = 'o' // a status, and with statusOK numbers of 64 bits
)

// Statuses of an answer.
const (
	statusOK = iota
	statusShape
	statusMemory
	statusFailed
	statusStopped
)

// wireBuffer, in bytes, is what each side reads or writes at a time.
const wireBuffer = 64 << 10

// longestNote, in bytes, is how long a note of a model's process may be, and
// longestReply the same of any of its frames.
const (
	longestNote  = 4 << 10
	longestReply = max(longestNote, 1+8*limits.OnnxLabels)
)

// startNote tells a model's process what to do.
type startNote struct {
	Library string  `json:"library"`
	Input   string  `json:"input"`
	InDims  []int64 `json:"in_dims"`
	Text    bool    `json:"text"`
	Output  string  `json:"output"`
	OutDims []int64 `json:"out_dims"`
	Double  bool    `json:"double"`
	Room    int64   `json:"room"` // bytes that it may take beyond what it has with the library
	Runs    int     `json:"runs"` // that it is to do at a time; it gets limits.OnnxAhead more
}

func (n startNote) ports() ports {
	return ports{input: n.Input, inDims: n.InDims, text: n.Text, output: n.Output, outDims: n.OutDims, double: n.Double}
}

type readyNote struct {
	Version string `json:"version,omitempty"`
	Code    string `json:"code,omitempty"` // of the error, if the library cannot be loaded
	Error   string `json:"error,omitempty"`
}

type loadedNote struct {
	Memory bool   `json:"memory,omitempty"` // it takes too much
	Error  string `json:"error,omitempty"`
}

// newFrame makes a frame in one piece.
func newFrame(kind byte, id uint32, body []byte) []byte {
	b := make([]byte, headBytes, headBytes+len(body))
	putHead(b, kind, id, len(body))
	return append(b, body...)
}

func putHead(b []byte, kind byte, id uint32, n int) {
	binary.LittleEndian.PutUint32(b, uint32(n)) //nolint:gosec // bodies are at most limits.OnnxFile
	b[4] = kind
	binary.LittleEndian.PutUint32(b[5:], id)
}

var errNonsense = errors.New("a frame makes no sense")

// readFrame reads one frame, whose body has at most as many bytes as most says for
// its kind. io.EOF is an end between two frames.
func readFrame(r io.Reader, most func(kind byte) int) (kind byte, id uint32, body []byte, err error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	n, kind := binary.LittleEndian.Uint32(head[:]), head[4]
	if int64(n) > int64(most(kind)) {
		return 0, 0, nil, fmt.Errorf("%w: %d bytes of kind %q", errNonsense, n, kind)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, 0, nil, fmt.Errorf("%w: it is cut off", errNonsense)
	}
	return kind, binary.LittleEndian.Uint32(head[5:]), body, nil
}

// fromJudge bounds what a model's process takes.
func fromJudge(kind byte) int {
	switch kind {
	case kindStart:
		return 64 << 10
	case kindModel:
		return limits.OnnxFile
	case kindRun:
		return 24 * limits.OnnxWindowMax // what is no text becomes twice as long, and its other form up to eleven times
	}
	return 0
}

// fromModel bounds what the judge takes.
func fromModel(kind byte) int {
	switch kind {
	case kindReady, kindLoaded:
		return longestNote
	case kindScores:
		return longestReply
	}
	return 0
}

// inputBytes gives the body of a request.
func inputBytes(in input) []byte {
	if in.features == nil {
		return []byte(in.text)
	}
	return featureBytes(in.features)
}

// readInput reads the body of a request.
func readInput(p ports, body []byte) (input, error) {
	if p.text {
		return input{text: string(body)}, nil
	}
	if len(body) != 4*len(features) {
		return input{}, errNonsense
	}
	in := input{features: make([]float32, len(features))}
	for i := range in.features {
		in.features[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
	}
	return in, nil
}

// answerBytes gives the body of an answer.
func answerBytes(scores []float64, err error) []byte {
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
	case errors.Is(err, errShape):
		return statusShape
	case errors.Is(err, errMemory):
		return statusMemory
	case errors.Is(err, errStopped):
		return statusStopped
	}
	return statusFailed
}

// readAnswer reads the body of an answer of n scores. What is no number is for the
// caller to find; what has another form is nonsense.
func readAnswer(body []byte, n int, double bool) ([]float64, error) {
	if len(body) == 0 || body[0] != statusOK && len(body) > 1 {
		return nil, errNonsense
	}
	switch body[0] {
	case statusOK:
	case statusShape:
		return nil, errShape
	case statusMemory:
		return nil, errMemory
	case statusFailed:
		return nil, errFailed
	case statusStopped:
		return nil, errStopped
	default:
		return nil, errNonsense
	}
	if len(body) != 1+8*n {
		return nil, errNonsense
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
