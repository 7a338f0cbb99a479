package wasm

import (
	"errors"
	"io"
	"sync"
)

// errStream is what a write gets after the end.
var errStream = errors.New("no more output is taken")

// stream is the module's stdout or stderr: bounded, and closed when the program
// goes on without the module.
type stream struct {
	mu   sync.Mutex
	to   io.Writer
	left int64
	over func() // told when the bound is reached
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == nil {
		return 0, errStream
	}
	n, over := len(p), int64(len(p)) > s.left
	if over {
		n = int(s.left)
	}
	s.left -= int64(n)
	n, err := s.to.Write(p[:n])
	if err == nil && over {
		s.to, err = nil, errStream
		s.over()
	}
	return n, err
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = nil
}

// input is the module's stdin. It hides what the reader is from the runtime, which
// would show a file's or terminal's nature to the module.
type input struct{ io.Reader }
