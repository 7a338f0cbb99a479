package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Events reads the events of a log one after another, strictly but without
// verifying ids and chain: that is what Verify is for. It ends at the first
// line that is not an event.
func Events(r io.Reader) iter.Seq2[protocol.AuditEvent, error] {
	return func(yield func(protocol.AuditEvent, error) bool) {
		shape := eventShape()
		for line, err := range rawLines(r) {
			var e protocol.AuditEvent
			if err == nil {
				if err = shape.Scan(line.text, nil); err == nil {
					err = protocol.Decode(line.text, &e)
				}
				if err != nil {
					err = protocol.Errorf(protocol.ExitIntegrity, "audit_changed", "line %d of the audit log is not an event: %w", line.number, err).
						At(fmt.Sprintf("audit.jsonl:%d", line.number)).WithHint("run `cabincrew audit verify`")
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

type rawLine struct {
	number int
	text   []byte // without newline; valid until the next one
}

// rawLines parts r into lines of bounded length.
func rawLines(r io.Reader) iter.Seq2[rawLine, error] {
	return func(yield func(rawLine, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		var long []byte
		for number := 1; ; number++ {
			long = long[:0]
			var err error
			for {
				var part []byte
				part, err = in.ReadSlice('\n')
				long = append(long, part...)
				if !errors.Is(err, bufio.ErrBufferFull) || len(long) > limits.AuditLine {
					break
				}
			}
			switch {
			case len(long) > limits.AuditLine+1:
				yield(rawLine{}, protocol.Errorf(protocol.ExitIntegrity, "audit_changed", "line %d of the audit log is longer than %d bytes", number, limits.AuditLine))
				return
			case err != nil && !errors.Is(err, io.EOF):
				yield(rawLine{}, protocol.Errorf(protocol.ExitFailure, "audit_unreadable", "the audit log cannot be read: %w", err))
				return
			case err != nil && len(long) == 0:
				return
			}
			if !yield(rawLine{number, bytes.TrimSuffix(long, []byte{'\n'})}, nil) || err != nil {
				return
			}
		}
	}
}
