package back

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// eventStream is the body of an answer as a stream. Bytes are read by a goroutine that
// lives only while somebody waits for them, so that a waiting can end without the stream.
type eventStream struct {
	server string
	body   io.ReadCloser
	cancel context.CancelCauseFunc // of the request
	why    func() error            // why the request was ended by us, or nil

	parser  parser
	results chan readResult
	reading bool
	cut     error // what the body ended with, until the events that are there are given
	ended   error // what is said for good

	room  *largeRoom
	lease *lease // of the message that is being read, if it is large

	awaits  *awaited // nil: nothing is owed
	resumes bool     // an event had an id

	quiet      time.Duration // 0: for ever
	mostEvents int           // 0: any number
	mostBytes  int64         // as above
	events     int
	bytes      int64
}

type readResult struct {
	n   int
	err error
}

// Next waits for the next event.
func (s *eventStream) Next(ctx context.Context) (link.Event, error) {
	for {
		ev, ok, err := s.parser.next()
		if err != nil {
			return link.Event{}, s.broken("sent a stream that is over a limit: "+err.Error(), err)
		}
		if ok {
			s.events++
			if s.mostEvents > 0 && s.events > s.mostEvents {
				return link.Event{}, s.broken(fmt.Sprintf("answered with more than %d events", s.mostEvents), nil)
			}
			ev.Free, s.lease = s.lease.whole(), nil
			s.resumes = s.resumes || ev.ID != ""
			s.awaits.see(ev.Data)
			return ev, nil
		}
		if s.ended == nil && s.cut != nil {
			s.ended = s.end(s.cut)
		}
		if s.ended != nil {
			return link.Event{}, s.ended
		}
		if err := s.read(ctx); err != nil {
			return link.Event{}, err
		}
	}
}

// read waits for more bytes.
func (s *eventStream) read(ctx context.Context) error {
	if !s.reading {
		if s.lease == nil && s.parser.pending() > limits.MCPBackLarge {
			l, err := s.room.take(ctx, func(why error) { s.cancel(why) })
			if err != nil {
				return err
			}
			s.lease = l
		}
		s.reading = true
		room := s.parser.spare()
		go func() {
			n, err := s.body.Read(room)
			s.results <- readResult{n, err}
		}()
	}
	var quiet <-chan time.Time
	if s.quiet > 0 {
		t := time.NewTimer(s.quiet)
		defer t.Stop()
		quiet = t.C
	}
	select {
	case r := <-s.results:
		s.reading = false
		s.parser.took(r.n)
		s.bytes += int64(r.n)
		if s.mostBytes > 0 && s.bytes > s.mostBytes {
			return s.broken(fmt.Sprintf("answered with more than %d bytes", s.mostBytes), nil)
		}
		s.cut = r.err
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-quiet:
		return s.broken(fmt.Sprintf("sent nothing for %s", s.quiet), nil)
	}
}

// end says what the end of the body means. A clean end without the answer is one only
// where the client can come again for the rest.
func (s *eventStream) end(err error) error {
	if errors.Is(err, io.EOF) {
		if s.awaits.open() && !s.resumes {
			return &link.Down{Server: s.server, Why: "ended its answer before the answer was whole", Err: io.ErrUnexpectedEOF}
		}
		return io.EOF
	}
	if s.awaits.whole() {
		return io.EOF // what else it had to say, nobody waits for
	}
	if why := s.why(); why != nil {
		return why
	}
	return &link.Down{Server: s.server, Why: "the connection broke off: " + plain(err), Err: err}
}

// broken ends the stream for good.
func (s *eventStream) broken(why string, err error) error {
	s.ended = &link.Down{Server: s.server, Why: why, Err: err}
	s.parser = parser{most: s.parser.most, begun: true}
	_ = s.Close()
	return s.ended
}

// Close ends the stream; a read that is under way ends too.
func (s *eventStream) Close() error {
	if s.ended == nil {
		s.ended = &link.Down{Server: s.server, Why: "the stream was closed", Err: io.ErrClosedPipe}
	}
	s.lease.give()
	s.lease = nil
	s.cancel(context.Canceled)
	_ = s.body.Close() // nobody wants the rest
	return nil
}

// awaited are the requests of a call whose answers have not come.
type awaited struct {
	ids  map[jsonrpc.ID]bool
	note func(answer []byte) // of each answer; nil: nobody wants it
}

// await lists the requests of a message; nil if it has none.
func await(m jsonrpc.Message, note func([]byte)) *awaited {
	a := &awaited{note: note}
	for _, r := range requests(m) {
		if a.ids == nil {
			a.ids = make(map[jsonrpc.ID]bool, 1)
		}
		a.ids[r.ID] = true
	}
	if a.ids == nil {
		return nil
	}
	return a
}

// requests gives the requests of a message.
func requests(m jsonrpc.Message) []jsonrpc.Message {
	switch m.Kind {
	case jsonrpc.Request:
		return []jsonrpc.Message{m}
	case jsonrpc.Batch:
		var out []jsonrpc.Message
		for _, p := range m.Parts {
			if p.Kind == jsonrpc.Request {
				out = append(out, p)
			}
		}
		return out
	default:
		return nil
	}
}

// whole says that all that was owed came.
func (a *awaited) whole() bool { return a != nil && len(a.ids) == 0 }

func (a *awaited) open() bool { return a != nil && len(a.ids) > 0 }

// see takes off what a message answers.
func (a *awaited) see(data []byte) {
	if !a.open() || len(data) == 0 {
		return
	}
	if !bytes.Contains(data, []byte(`"id"`)) {
		return // most notifications; an answer with an escaped key is passed on, and missed
	}
	m, err := jsonrpc.Scan(data, jsonrpc.Options{Batch: true, MaxBytes: len(data)})
	if err != nil {
		return // whoever judges it says so
	}
	for _, part := range parts(m) {
		if (part.Kind == jsonrpc.Response || part.Kind == jsonrpc.Failure) && a.ids[part.ID] {
			delete(a.ids, part.ID)
			if a.note != nil {
				a.note(part.Result)
			}
		}
	}
}

// parts gives the messages of a batch, or the one message.
func parts(m jsonrpc.Message) []jsonrpc.Message {
	if m.Kind == jsonrpc.Batch {
		return m.Parts
	}
	return []jsonrpc.Message{m}
}
