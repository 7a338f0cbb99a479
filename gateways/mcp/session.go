package mcp

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// direction says who sent a message.
type direction string

const (
	fromClient direction = "client_to_server"
	fromServer direction = "server_to_client"
)

// session is one session with one server, and everything that the guard knows of it.
// Nothing in it is shared with another.
type session struct {
	g    *guard
	next link.Server
	who  link.Session
	ref  string // names the session in records and to policies: never its id, which is a key
	over context.Context
	end  context.CancelFunc

	listing chan struct{} // held by who lists tools for the gateway itself
	lost    atomic.Bool   // the server forgot the session: its client must initialize anew
	dropped atomic.Int64  // messages of the server

	mu        sync.Mutex
	asked     map[jsonrpc.ID]*exchange // requests of the client that wait for their answers
	finished  []*exchange              // answered ones that a resumed stream may tell again
	served    map[jsonrpc.ID]*exchange // requests of the server that wait for theirs
	held      int
	client    map[string]any       // what the client says that it is
	revision  string               // as negotiated
	books     map[string]*book     // by kind
	resources map[string]bool      // URIs that the server listed
	sets      map[string]toolset   // that people were asked about
	asking    map[string]*question // that nobody answered yet
}

// exchange is one request and what belongs to it until it is answered.
type exchange struct {
	id        jsonrpc.ID
	request   string // the gateway's own id of it
	from      direction
	method    string
	name      string // of the tool or prompt that it calls
	params    any    // the tree
	digest    string // of the bytes
	tool      map[string]any
	entry     *entry
	files     []any  // findings of paths, for policies
	token     []byte // of progress, as JSON text; nil if the client asked for none
	revision  string
	header    http.Header
	counted   bool               // has a place among the principal's open requests
	own       bool               // the gateway's own request
	cancel    context.CancelFunc // withdraws it while it is held; else nil
	sent      bool               // it went on: before, nobody can answer it
	held      bool               // a person is asked, or was, and it did not go on yet
	withdrawn bool
	resumable bool        // an event of its stream had an id
	broken    bool        // its stream ended before its answer came
	unwanted  bool        // the client cancelled it after it was sent on
	concealed []concealed // secrets in what belongs to it, not to be told of
	answer    string      // the digest of its answer; "" while there is none
	answerOn  *stream     // that its answer came on
}

func newSession(g *guard, who link.Session, next link.Server) *session {
	over, end := context.WithCancel(context.Background())
	return &session{
		g: g, next: next, who: who, over: over, end: end, listing: make(chan struct{}, 1),
		ref: protocol.Digest([]byte(who.ID)), books: map[string]*book{},
	}
}

// Send judges what the client sends, sends it on if that is what was decided, and
// gives the answer as it was judged.
func (s *session) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	if c.Sent != nil {
		c.Sent = sync.OnceFunc(c.Sent)
		defer c.Sent() // whatever became of it, it is settled now
	}
	if s.over.Err() != nil {
		return nil, &link.Down{Server: s.g.o.Server, Why: "the session has ended"}
	}
	switch c.Message.Kind {
	case jsonrpc.Request:
		a := s.ask(ctx, c)
		if s.lost.Load() && !a.Over {
			over := *a // what the server gave is not ours to change
			over.Over, a = true, &over
		}
		return a, nil
	case jsonrpc.Notification:
		return s.tell(ctx, c)
	case jsonrpc.Response, jsonrpc.Failure:
		return s.reply(ctx, c)
	case jsonrpc.Batch:
		return s.batch(ctx, c)
	}
	return nil, errors.New("a message of no known kind")
}

// heed takes note of an error of the server that ends the session.
func (s *session) heed(err error) {
	if errors.Is(err, link.ErrOver) {
		s.lost.Store(true)
	}
}

// Listen opens the stream of what the server sends unasked.
func (s *session) Listen(ctx context.Context, header http.Header) (*link.Answer, error) {
	if s.over.Err() != nil {
		return nil, &link.Down{Server: s.g.o.Server, Why: "the session has ended"}
	}
	a, err := s.next.Listen(ctx, header)
	if err != nil {
		s.heed(err)
		return nil, err
	}
	if a.Stream == nil {
		defer a.Judged()
		return s.judgedText(ctx, &exchange{method: "", header: header, request: s.g.o.NewID(), from: fromClient}, a), nil
	}
	return &link.Answer{Status: a.Status, Header: a.Header, Stream: s.stream(a.Stream, nil)}, nil
}

// End ends the session: what is held is withdrawn.
func (s *session) End(ctx context.Context) error {
	s.end()
	s.g.tally.Settle(ctx, s.g.o.Server, s.who.Principal)
	s.mu.Lock()
	for _, e := range s.asked {
		if e.counted {
			e.counted = false
			s.g.rates.done(s.who.Principal)
		}
	}
	s.asked, s.finished, s.served = nil, nil, nil
	s.books, s.resources, s.sets, s.asking = map[string]*book{}, nil, nil, nil
	s.mu.Unlock()
	return s.next.End(ctx)
}

const whyTwice = "a request with this id waits for its answer"

// begin takes the request among those that wait for their answers. The answer is ""
// or why it cannot be one of them.
func (s *session) begin(e *exchange) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.Err() != nil {
		return "the session has ended"
	}
	if s.asked == nil {
		s.asked = map[jsonrpc.ID]*exchange{}
	}
	// Where many clients share one session, each answer comes on the client's own
	// connection, and equal ids of two clients are no mistake.
	if was := s.asked[e.id]; was != nil && !was.broken && !s.who.Stateless {
		return whyTwice
	}
	if len(s.asked) >= limits.MCPGuardInFlight && !s.forgetBroken() {
		return "too many requests of this session wait for their answers"
	}
	if s.who.Stateless {
		// Kept under a name that cannot be an id of JSON, only to be counted.
		s.asked[jsonrpc.ID("shared:"+e.request)] = e
		return ""
	}
	s.asked[e.id] = e
	return ""
}

// forgetBroken makes place: the answer of a request whose stream broke off, or that was
// cancelled, may never come.
func (s *session) forgetBroken() bool {
	for id, e := range s.asked {
		if e.broken || e.unwanted {
			s.release(e)
			delete(s.asked, id)
			return true
		}
	}
	return false
}

func (s *session) release(e *exchange) {
	if e.counted {
		e.counted = false
		s.g.rates.done(s.who.Principal)
	}
}

// finish takes the request out of those that wait.
func (s *session) finish(e *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(e)
	key := e.id
	if s.who.Stateless {
		key = jsonrpc.ID("shared:" + e.request)
	}
	if s.asked[key] != e {
		return
	}
	delete(s.asked, key)
	if e.resumable {
		if len(s.finished) >= limits.MCPGuardFinished {
			s.finished = append(s.finished[:0], s.finished[1:]...)
		}
		s.finished = append(s.finished, e)
	}
}

// breaks notes that the stream of a request ended before its answer: where events had
// ids, it may be resumed, and the answer come there.
func (s *session) breaks(e *exchange) {
	if !e.resumable || s.who.Stateless {
		s.finish(e)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(e)
	e.broken = true
}

// waits says whether a request still waits for its answer.
func (s *session) waits(e *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[e.id] == e
}

// firstAnswer notes the answer to a request. Another one is none, but the same bytes told
// again on a stream that resumes the one that they came on.
func (s *session) firstAnswer(e *exchange, on *stream, digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.answer != "" && (e.answer != digest || e.answerOn == on) {
		return false
	}
	e.answer, e.answerOn = digest, on
	return true
}

// hasBatch says whether the revision that was agreed has batches.
func (s *session) hasBatch() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return jsonrpc.HasBatch(jsonrpc.Revision(s.revision))
}

// find gives the request of the client that id answers, on a stream that is not that
// of one request alone.
func (s *session) find(id jsonrpc.ID) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.asked[id]; e != nil && e.sent {
		return e
	}
	for _, e := range slices.Backward(s.finished) {
		if e.id == id {
			return e
		}
	}
	return nil
}

// sends notes that a request goes on now: before, it is being judged, and an answer that
// comes already answers nothing.
func (s *session) sends(e *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.sent = true
}

// serve takes a request of the server among those that the client is to answer. Told
// again on a resumed stream, the same bytes are the same request.
func (s *session) serve(e *exchange) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served == nil {
		s.served = map[jsonrpc.ID]*exchange{}
	}
	if was := s.served[e.id]; was != nil {
		if was.digest != e.digest {
			return "a request of the server with this id waits for its answer"
		}
		return ""
	}
	if len(s.served) >= limits.MCPGuardServed && !s.forgetServed() {
		return "too many requests of the server wait for their answers"
	}
	s.served[e.id] = e
	return ""
}

// forgetServed makes place: what the server cancelled need not be answered.
func (s *session) forgetServed() bool {
	for id, e := range s.served {
		if e.unwanted {
			delete(s.served, id)
			return true
		}
	}
	return false
}

// answered gives the request of the server that the client answers, once.
func (s *session) answered(id jsonrpc.ID) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.served[id]
	if e == nil || !e.sent {
		return nil
	}
	delete(s.served, id)
	return e
}

// unserve forgets a request of the server that the client does not see; it is false
// where it was answered.
func (s *session) unserve(e *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served[e.id] == nil {
		return false
	}
	delete(s.served, e.id)
	return true
}

// withdraw ends the waiting of a held request of the client.
func (s *session) withdraw(id jsonrpc.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.asked[id]
	if e == nil {
		return false
	}
	if !e.held {
		e.unwanted = true // the server need not answer it any more
		return false
	}
	e.withdrawn = true
	if e.cancel != nil {
		e.cancel()
	}
	return true
}

// isWithdrawn says whether the client cancelled a request while it was held.
func (s *session) isWithdrawn(e *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.withdrawn
}

// goes ends the holding of what goes on now. It is false where it was cancelled before.
func (s *session) goes(e *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.held = false
	return !e.withdrawn
}

// greet remembers what an initialize request says of the client.
func (s *session) greet(params any) {
	m, _ := params.(map[string]any)
	info, _ := m["clientInfo"].(map[string]any)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = clientOf(info)
}

func clientOf(info map[string]any) map[string]any {
	if info == nil {
		return nil
	}
	name, _ := info["name"].(string)
	version, _ := info["version"].(string)
	return map[string]any{"name": name, "version": version}
}

// agreed remembers the revision that the server chose.
func (s *session) agreed(result any) {
	m, _ := result.(map[string]any)
	if v, ok := m["protocolVersion"].(string); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.revision = v
	}
}

// revisionOf gives the revision of a message: what it says itself, or what was agreed.
func (s *session) revisionOf(header http.Header, params any) (revision string, client map[string]any) {
	s.mu.Lock()
	revision, client = s.revision, s.client
	s.mu.Unlock()
	m, _ := params.(map[string]any)
	meta, _ := m["_meta"].(map[string]any)
	if v, ok := meta["io.modelcontextprotocol/protocolVersion"].(string); ok {
		revision = v
		if info, ok := meta["io.modelcontextprotocol/clientInfo"].(map[string]any); ok {
			client = clientOf(info)
		}
		return revision, client
	}
	if v := header.Get("Mcp-Protocol-Version"); revision == "" && v != "" {
		revision = v
	}
	return revision, client
}
