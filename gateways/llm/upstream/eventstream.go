package upstream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// eventStream gives the binary frames of bedrock as the events that anthropic sends.
// SPEC: Amazon event stream encoding (smithy, amazon-eventstream); the frames of
// InvokeModelWithResponseStream as anthropic's own client reads them.
type eventStream struct {
	x     *exchange
	inner io.ReadCloser
	out   bytes.Buffer
	err   error
}

func (s *eventStream) Read(p []byte) (int, error) {
	for s.out.Len() == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.err = s.next()
	}
	return s.out.Read(p)
}

func (s *eventStream) Close() error { return s.inner.Close() }

// The parts of a frame.
const (
	framePrelude = 12 // the frame's and the headers' length, and the checksum of these
	frameEnd     = 4  // the checksum of all
)

var errFrame = errors.New("a frame of its stream is none")

// next reads one frame.
func (s *eventStream) next() error {
	var prelude [framePrelude]byte
	if _, err := io.ReadFull(s.inner, prelude[:]); err != nil {
		return s.cut(err)
	}
	size, headers := binary.BigEndian.Uint32(prelude[0:]), binary.BigEndian.Uint32(prelude[4:])
	switch {
	case crc32.ChecksumIEEE(prelude[:8]) != binary.BigEndian.Uint32(prelude[8:]):
		return s.wrong()
	case size < framePrelude+frameEnd || headers > size-framePrelude-frameEnd:
		return s.wrong()
	case size > limits.LLMEventBytes:
		return s.x.fail(TooLarge, errors.New("a frame of its stream"))
	}
	// Memory grows with what comes, not with what was said.
	var b bytes.Buffer
	b.Write(prelude[:])
	if _, err := io.CopyN(&b, s.inner, int64(size)-framePrelude); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return s.cut(err)
	}
	frame, end := b.Bytes()[:size-frameEnd], b.Bytes()[size-frameEnd:]
	if crc32.ChecksumIEEE(frame) != binary.BigEndian.Uint32(end) {
		return s.wrong()
	}
	fields, err := frameFields(frame[framePrelude : framePrelude+headers])
	if err != nil {
		return s.wrong()
	}
	return s.event(fields, frame[framePrelude+headers:])
}

// cut says how the stream ended.
func (s *eventStream) cut(err error) error {
	var f *Failure
	if errors.Is(err, io.EOF) || errors.As(err, &f) {
		return err
	}
	return s.x.fail(Cut, io.ErrUnexpectedEOF)
}

func (s *eventStream) wrong() error { return s.x.fail(Status, errFrame) }

// event writes what a frame says.
func (s *eventStream) event(fields map[string]string, payload []byte) error {
	switch fields[":message-type"] {
	case "event":
		if fields[":event-type"] != "chunk" {
			return nil // what is not known is not of the stream
		}
		var chunk struct {
			Bytes []byte `json:"bytes"`
		}
		var what struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(payload, &chunk) != nil || json.Unmarshal(chunk.Bytes, &what) != nil || !word(what.Type) {
			return s.wrong()
		}
		s.write(what.Type, chunk.Bytes)
	case "exception":
		var why struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(payload, &why) // it need not have one
		s.problem(fields[":exception-type"], why.Message)
	case "error":
		s.problem(fields[":error-code"], fields[":error-message"])
	default:
		return s.wrong()
	}
	return nil
}

// problem writes an error as anthropic does.
func (s *eventStream) problem(kind, message string) {
	if kind == "" {
		kind = "api_error"
	}
	if key := s.x.key; key != "" {
		kind, message = strings.ReplaceAll(kind, key, "[key]"), strings.ReplaceAll(message, key, "[key]")
	}
	type problem struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	text, err := json.Marshal(struct {
		Type  string  `json:"type"`
		Error problem `json:"error"`
	}{"error", problem{kind, message}})
	if err == nil {
		s.write("error", text)
	}
}

func (s *eventStream) write(event string, data []byte) {
	s.out.WriteString("event: " + event + "\n")
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		s.out.WriteString("data: ")
		s.out.Write(bytes.ReplaceAll(line, []byte("\r"), []byte(" "))) // JSON has it between values only
		s.out.WriteByte('\n')
	}
	s.out.WriteByte('\n')
}

// word says whether a text can be the type of an event.
func word(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// frameFields reads the headers of a frame that are texts.
func frameFields(b []byte) (map[string]string, error) {
	out := map[string]string{}
	take := func(n int) []byte {
		if n > len(b) {
			b = nil
			return nil
		}
		part := b[:n]
		b = b[n:]
		return part
	}
	for len(b) > 0 {
		name := take(1 + int(b[0]))
		kind := take(1)
		if len(name) < 2 || kind == nil {
			return nil, errFrame
		}
		size := map[byte]int{0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
		n, fixed := size[kind[0]]
		if !fixed {
			length := take(2)
			if length == nil || kind[0] != 6 && kind[0] != 7 {
				return nil, errFrame
			}
			n = int(binary.BigEndian.Uint16(length))
		}
		if n > len(b) {
			return nil, errFrame
		}
		value := take(n)
		if _, twice := out[string(name[1:])]; twice {
			return nil, errFrame
		}
		out[string(name[1:])] = ""
		if kind[0] == 7 {
			out[string(name[1:])] = string(value)
		}
	}
	return out, nil
}
