package inside

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
)

// Ports are the input and the output that are used of a model.
type Ports struct {
	Input  string  `json:"input"`
	InDims []int64 `json:"in_dims"` // of one run: one window, or one row of features
	Text   bool    `json:"text"`

	Output  string  `json:"output"`
	OutDims []int64 `json:"out_dims"` // of one run: a score for each label
	Double  bool    `json:"double"`   // the output's numbers have 64 bits
}

// Bits says how many bits a score has.
func (p Ports) Bits() int {
	if p.Double {
		return 64
	}
	return 32
}

// Input is what one run gets: a text, or a row of features.
type Input struct {
	Text     string
	Features []float32
}

// Bytes gives it as it is sent and digested.
func (in Input) Bytes() []byte {
	if in.Features == nil {
		return []byte(in.Text)
	}
	b := make([]byte, 0, 4*len(in.Features))
	for _, x := range in.Features {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// session runs the model; it is safe for concurrent use.
type session interface {
	// run gives the scores. It ends soon after ctx does.
	run(ctx context.Context, in Input) ([]float64, error)
	close() error
}

// Why a run failed, as far as the runtime's own words need not be shown: they can
// hold parts of the text.
var (
	ErrShape   = errors.New("its output has another shape or type than it declares")
	ErrMemory  = errors.New("it asks for more memory than models may have")
	ErrFailed  = errors.New("the runtime failed on this input")
	ErrStopped = errors.New("it was told to stop")
)

// UnsupportedError says that this program has no runtime.
type UnsupportedError struct{}

func (UnsupportedError) Error() string {
	return "this program was built without cgo, so it has no models"
}

// Codes of a library that cannot be had.
const (
	CodeMissing = "model_library_missing"
	CodeVersion = "model_library_version"
)

// libraryError says why the library cannot be loaded.
type libraryError struct{ code, text string }

func (e libraryError) Error() string { return e.text }

// runError gives the reason of a failed run without the runtime's words, which can
// hold parts of the text.
func runError(err error) error {
	text := err.Error()
	for _, is := range []struct {
		part string
		err  error
	}{
		{"Got invalid dimensions for output", ErrShape},
		{"shape verification failed", ErrShape},
		{"Unexpected output data type", ErrShape},
		{"Got invalid rank for output", ErrShape},
		{"Available memory of", ErrMemory},
		{"Failed to allocate", ErrMemory},
		{"bad_alloc", ErrMemory},
		{"bad allocation", ErrMemory},
		{"terminate flag", ErrStopped},
	} {
		if strings.Contains(text, is.part) {
			return is.err
		}
	}
	return ErrFailed
}

// Short cuts a text from elsewhere for a message.
func Short(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) > longestQuote {
		s = strings.ToValidUTF8(s[:longestQuote], "") + " ..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// longestQuote is how many bytes of a foreign text a message shows.
const longestQuote = 300
