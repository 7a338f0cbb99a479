package llm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cabincrew/action/internal/limits"
)

// errBusy says that too much is under way to read another body.
var errBusy = errors.New("there is no room for another large body now")

// readBody reads a body of at most so many bytes. What is large waits for room, which is
// given back when the call ends.
func (x *exchange) readBody(in io.Reader, said, most int64, room *semaphore.Weighted) ([]byte, error) {
	if said > most {
		return nil, errTooLarge
	}
	most = min(most, limits.LLMRoom)
	if said <= 0 {
		said = 0
	}
	if said > limits.LLMSmall {
		if err := x.take(room, said); err != nil {
			return nil, err
		}
	}
	b := make([]byte, 0, max(said, 512)+1)
	taken := said > limits.LLMSmall
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := in.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > most:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, err
		}
		if !taken && len(b) > limits.LLMSmall { // nobody said how large it will be
			if err := x.take(room, most); err != nil {
				return nil, err
			}
			taken = true
		}
	}
}

// take waits for room until the end of the call.
func (x *exchange) take(room *semaphore.Weighted, n int64) error {
	ctx, cancel := context.WithTimeout(x.ctx, limits.LLMRoomWait)
	defer cancel()
	if room.Acquire(ctx, n) != nil {
		return errBusy
	}
	x.rooms = append(x.rooms, func() { room.Release(n) })
	return nil
}

// done gives back what the call took.
func (x *exchange) done() {
	for _, give := range x.rooms {
		give()
	}
	x.rooms = nil
}

// write gives on a whole body to a client that must read it in time.
func (x *exchange) write(b []byte) {
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(limits.LLMWrite + time.Duration(len(b)/limits.LLMSmall)*time.Second)) //nolint:forbidigo // the connection's clock
	_, _ = x.w.Write(b)                                                                                                                       // the client may be gone
}
