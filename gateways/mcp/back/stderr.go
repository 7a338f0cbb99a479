package back

import (
	"bytes"
	"log/slog"
	"time"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
)

// stderr logs what a child writes there, line by line. It never makes the child wait: of
// a flood it counts what it leaves out.
type stderr struct {
	server string
	log    *slog.Logger
	redact func(string) string // nil: there is nothing to hide
	now    func() time.Time

	part  []byte
	since time.Time
	lines int // since then
	left  int // lines left out
}

// ahead is how many bytes of a line are read after what is logged: a secret that the
// bound would cut through is seen whole, and hidden.
const ahead = 1 << 10

// Write takes bytes of the child.
func (s *stderr) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		line, more, whole := bytes.Cut(rest, []byte("\n"))
		s.part = append(s.part, line[:min(len(line), limits.MCPBackStderrLine+ahead-len(s.part))]...)
		if whole {
			s.flush()
		}
		rest = more
	}
	return len(b), nil
}

// flush logs the line that is there.
func (s *stderr) flush() {
	line := s.part
	s.part = s.part[:0]
	if now := s.now(); now.Sub(s.since) >= limits.MCPBackStderrTime {
		if s.left > 0 {
			s.log.Warn("lines of the server's stderr are left out", "server", s.server, "lines", s.left)
		}
		s.since, s.lines, s.left = now, 0, 0
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	if s.lines++; s.lines > limits.MCPBackStderrLines {
		s.left++
		return
	}
	text := string(line)
	if s.redact != nil {
		text = s.redact(text)
	}
	cut := len(text) > limits.MCPBackStderrLine
	text = harmless.OneLine(text[:min(len(text), limits.MCPBackStderrLine)])
	if cut {
		text += "..."
	}
	s.log.Info(text, "server", s.server, "stream", "stderr")
}

// close logs what is left.
func (s *stderr) close() {
	s.flush()
	if s.left > 0 {
		s.log.Warn("lines of the server's stderr are left out", "server", s.server, "lines", s.left)
	}
}
