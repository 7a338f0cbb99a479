package link

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
)

// Call is what a client sends: one message, or where the revision has them one batch.
type Call struct {
	// Message is what was scanned of the bytes that came in; Message.Raw is what is
	// sent on, unless somebody on the way replaces the whole Message.
	Message jsonrpc.Message
	// Header has those of the client's headers that the protocol defines
	// (MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Param-*, Last-Event-ID), and no
	// other: never Authorization, never Cookie. Nil for stdio.
	Header http.Header
	// Sent, if not nil, is called once, as soon as it is settled what becomes of the
	// message: it was written to the server, refused, or is held. What a client sends
	// next on an ordered transport may then be handled.
	Sent func()
}

// Settled calls Sent if there is one.
func (c Call) Settled() {
	if c.Sent != nil {
		c.Sent()
	}
}

// Answer is what came back for a Call or for a request to listen. Exactly one of Body
// and Stream is set, or none where the answer has no content (202).
type Answer struct {
	// Status is the server's HTTP status, or what it would be for other transports.
	Status int
	// Header has the headers for the client that the protocol defines, and
	// Content-Type; the id of a session is the matter of the two ends and not here.
	Header http.Header
	// Body is the whole answer: one message (or one batch), or foreign text where the
	// status is an error.
	Body []byte
	// Stream gives messages one after another. Who gets it closes it.
	Stream Stream
	// Over says that the session cannot go on after this answer, as a Down with ErrOver
	// does where there is no answer.
	Over bool
	// Free, if not nil, is called once Body was judged: other large messages of the
	// server wait for it. Who gives the answer on leaves it out.
	Free func()
}

// Judged calls Free if there is one.
func (a *Answer) Judged() {
	if a.Free != nil {
		a.Free()
		a.Free = nil
	}
}

// Stream is a stream of events. It is used by one goroutine at a time.
type Stream interface {
	// Next waits for the next event. io.EOF is a clean end, another error a broken
	// stream; ctx ends the waiting.
	Next(ctx context.Context) (Event, error)
	Close() error
}

// Event is one event of a stream.
type Event struct {
	// ID is where a client can resume after this event; "" if it cannot.
	ID string
	// Type is the type of the event; "" and "message" carry messages.
	Type string
	// Retry is after how many milliseconds a client may come again; 0 says nothing.
	Retry int
	// Data is one message; it is empty in events that only carry ID or Retry.
	Data []byte
	// Free is as that of an Answer.
	Free func()
}

// Judged calls Free if there is one.
func (e *Event) Judged() {
	if e.Free != nil {
		e.Free()
		e.Free = nil
	}
}

// Server is one session with a server, or what acts as one. Its methods may be called
// from several goroutines.
type Server interface {
	// Send sends a message. An error means that there is no answer of the server;
	// it is a *Down where the server cannot be reached or broke off.
	Send(ctx context.Context, c Call) (*Answer, error)
	// Listen opens the stream of what the server sends unasked, or resumes a stream
	// after the event that header's Last-Event-ID names.
	Listen(ctx context.Context, header http.Header) (*Answer, error)
	// End ends the session; nothing else is called afterwards.
	End(ctx context.Context) error
}

// Session says for whom a Server is opened.
type Session struct {
	// ID is the gateway's own name of the session: random, never the server's. Of
	// clients that have no sessions (revision 2026-07-28) it names the principal.
	ID string
	// Principal is the authenticated client; "local" for stdio and where nobody need
	// authenticate.
	Principal string
	// Stateless says that the client's revision has no sessions: the Server is shared
	// by all requests of the principal.
	Stateless bool
}

// Ref names the session where others read it: ID itself lets its bearer in.
func (s Session) Ref() string {
	sum := sha256.Sum256([]byte("session\n" + s.ID))
	return hex.EncodeToString(sum[:8])
}

// Opener opens sessions.
type Opener interface {
	Open(ctx context.Context, s Session) (Server, error)
}

// Down says that a server cannot be asked.
type Down struct { //nolint:errname // what it says of a server, not what went wrong
	Server string // its name in the configuration
	Why    string // for people; holds no secret and no foreign text that was not made harmless
	Err    error
}

// ErrOver is the cause of a Down after which the session cannot go on: its client must
// initialize anew, which over HTTP it learns by 404.
var ErrOver = errors.New("the session is over")

// ErrWithdrawn ends a stream in which a request stays without its answer on purpose: the
// client cancelled it, and is told nothing more of it.
var ErrWithdrawn = errors.New("the client cancelled the request")

func (d *Down) Error() string { return "server " + d.Server + ": " + d.Why }

func (d *Down) Unwrap() error { return d.Err }
