package back

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
)

// router knows what of a child belongs to whom: an answer to the request with its id;
// progress to the request with its token; what a subscription gives to the request that
// subscribed; all else to the one request under way, else to who listens, else to the
// newest request, else it waits for somebody to listen.
type router struct {
	server string
	most   int // bytes of a message

	mu      sync.Mutex
	calls   []*call // under way, the oldest first
	pending map[jsonrpc.ID]*call
	tokens  map[jsonrpc.ID]*call
	listens *queue
	crowd   *queue // that was put into last and is full; nil: none
	waiting [][]byte
	dropped int          // messages that nobody took, since somebody listened
	told    bool         // that there are some
	refuse  []jsonrpc.ID // requests of the child among them, which it is to be told
	last    uint64       // number of an alias
}

// methodListen is the request that is answered only when its subscription ends.
const methodListen = "subscriptions/listen"

// call is one message of the client with requests in it, under way.
type call struct {
	*queue

	ids    []jsonrpc.ID // that are not answered
	tokens []jsonrpc.ID
	stays  bool   // a subscription, which gets no more than what names it
	alias  *alias // nil: the child knows it by the client's own names
}

func newRouter(server string, most int) *router {
	return &router{server: server, most: most, pending: map[jsonrpc.ID]*call{}, tokens: map[jsonrpc.ID]*call{}}
}

// open takes a message's requests as under way.
func (r *router) open(m jsonrpc.Message, a *alias) (*call, error) {
	reqs := requests(m)
	if len(reqs) == 0 {
		return nil, nil
	}
	c := &call{alias: a, stays: len(reqs) == 1 && reqs[0].Method == methodListen}
	c.queue = newQueue(r.server, func() { r.drop(c) })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range reqs {
		if r.pending[q.ID] != nil || slices.Contains(c.ids, q.ID) {
			return nil, &link.Down{Server: r.server, Why: "a request with the same id is under way"}
		}
		c.ids = append(c.ids, q.ID)
		if t, ok := jsonrpc.Lookup(q.Params, "_meta", "progressToken"); ok {
			c.tokens = append(c.tokens, jsonrpc.IDOf(t))
		}
	}
	for _, id := range c.ids {
		r.pending[id] = c
	}
	for _, t := range c.tokens {
		r.tokens[t] = c
	}
	r.calls = append(r.calls, c)
	return c, nil
}

// late ends a call that took too long; false says that it was over.
func (r *router) late(c *call, why error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.calls, c) {
		return false
	}
	r.forget(c)
	c.finish(why)
	return true
}

// drop forgets a call.
func (r *router) drop(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(c)
}

// waits says whether a call is under way.
func (r *router) waits(c *call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.calls, c)
}

func (r *router) forget(c *call) {
	for _, id := range c.ids {
		if r.pending[id] == c {
			delete(r.pending, id)
		}
	}
	for _, t := range c.tokens {
		if r.tokens[t] == c {
			delete(r.tokens, t)
		}
	}
	if i := slices.Index(r.calls, c); i >= 0 {
		r.calls = slices.Delete(r.calls, i, i+1)
	}
}

// listen makes a stream of what belongs to no request. An earlier one ends: it may be of
// a connection that nobody noticed to be gone.
func (r *router) listen() *queue {
	q := newQueue(r.server, nil)
	q.onClose = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.listens == q {
			r.listens = nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listens != nil {
		r.listens.finish(io.EOF)
	}
	r.listens = q
	for _, data := range r.waiting {
		q.add(data, nil)
	}
	r.waiting, r.dropped = nil, 0
	return q
}

// put puts a message into a queue, and notes whether that is full.
func (r *router) put(q *queue, data []byte, end error) bool {
	ok := q.add(data, end)
	if full, _, _ := q.full(); full {
		r.crowd = q
	}
	return ok
}

// crowded gives the queue that the line before filled, once; nil if none is full.
func (r *router) crowded() *queue {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.crowd
	r.crowd = nil
	return q
}

// refused gives the requests of the child that nobody will answer, each once; first says
// that nothing was dropped before, as far as was told.
func (r *router) refused() (ids []jsonrpc.ID, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids, r.refuse = r.refuse, nil
	first = r.dropped > 0 && !r.told
	r.told = r.dropped > 0
	return ids, first
}

// over ends all that is under way.
func (r *router) over(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		c.finish(why)
	}
	if r.listens != nil {
		r.listens.finish(why)
	}
	r.calls, r.pending, r.tokens, r.listens, r.waiting = nil, map[jsonrpc.ID]*call{}, map[jsonrpc.ID]*call{}, nil, nil
}

// errNoise says that a line is no message.
var errNoise = errors.New("no message")

// take routes one line, which is the router's from here on. The error says that nobody
// gets it, and why.
func (r *router) take(line []byte) error {
	if line[0] != '{' && line[0] != '[' {
		return errNoise
	}
	m, err := jsonrpc.Scan(line, jsonrpc.Options{Batch: true, MaxBytes: r.most})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return r.unread(line, err)
	}
	if m.Kind == jsonrpc.Batch {
		return r.batch(m)
	}
	return r.one(m)
}

// unread fails the request that a line which is no message was meant to answer, as far
// as that can be told: it would wait for nothing.
func (r *router) unread(line []byte, err error) error {
	why := &link.Down{Server: r.server, Why: "answered with what is no message: " + plain(err), Err: err}
	var c *call
	if id, ok := jsonrpc.Lookup(line, "id"); ok {
		c = r.pending[jsonrpc.IDOf(id)]
	}
	if c == nil && len(r.calls) == 1 {
		c = r.calls[0]
	}
	if c != nil {
		r.forget(c)
		c.finish(why)
	}
	return fmt.Errorf("%w: %s", errNoise, plain(err))
}

func (r *router) batch(m jsonrpc.Message) error {
	var to *call
	for _, p := range m.Parts {
		if c := r.pending[p.ID]; c != nil && (p.Kind == jsonrpc.Response || p.Kind == jsonrpc.Failure) {
			if to != nil && to != c {
				to = nil
				break
			}
			to = c
		}
	}
	if to != nil && to.alias == nil { // as it came
		for _, p := range m.Parts {
			if p.Kind == jsonrpc.Response || p.Kind == jsonrpc.Failure {
				r.answered(to, p.ID)
			}
		}
		r.give(to, m.Raw)
		return nil
	}
	var errs []error
	for _, p := range m.Parts {
		errs = append(errs, r.one(p))
	}
	return errors.Join(errs...)
}

func (r *router) one(m jsonrpc.Message) error {
	switch m.Kind {
	case jsonrpc.Response, jsonrpc.Failure:
		c := r.pending[m.ID]
		if c == nil {
			return r.stray(m)
		}
		r.answered(c, m.ID)
		r.give(c, c.alias.restore(m))
	case jsonrpc.Request, jsonrpc.Notification:
		if c := r.belongs(m); c != nil && r.put(c.queue, c.alias.restore(m), nil) {
			return nil
		}
		r.unasked(m.Raw)
	}
	return nil
}

// stray is an answer to nothing that is under way. One without an id says that the child
// could not read what it got.
func (r *router) stray(m jsonrpc.Message) error {
	if m.ID != "null" && m.ID != "" {
		return fmt.Errorf("an answer to no request that is under way (id %s)", harmless.OneLine(clip(string(m.ID))))
	}
	if len(r.calls) == 1 {
		c := r.calls[0]
		r.forget(c)
		c.finish(&link.Down{Server: r.server, Why: "could not read the request: " + harmless.OneLine(clip(string(m.Error)))})
	}
	return errors.New("an error without an id: " + harmless.OneLine(clip(string(m.Error))))
}

func (r *router) answered(c *call, id jsonrpc.ID) {
	if r.pending[id] == c {
		delete(r.pending, id)
		c.ids = slices.DeleteFunc(c.ids, func(i jsonrpc.ID) bool { return i == id })
	}
}

// give gives an answer, which may be the last.
func (r *router) give(c *call, data []byte) {
	if len(c.ids) > 0 {
		r.put(c.queue, data, nil)
		return
	}
	r.forget(c)
	r.put(c.queue, data, io.EOF)
}

// belongs finds the request to which a message of the child belongs.
func (r *router) belongs(m jsonrpc.Message) *call {
	if len(r.calls) == 0 {
		return nil
	}
	if m.Method == "notifications/progress" {
		if t, ok := jsonrpc.Lookup(m.Params, "progressToken"); ok && r.tokens[jsonrpc.IDOf(t)] != nil {
			return r.tokens[jsonrpc.IDOf(t)]
		}
	}
	if id, ok := jsonrpc.Lookup(m.Params, "_meta", jsonrpc.MetaSubscription); ok {
		return r.pending[jsonrpc.IDOf(id)]
	}
	if id, ok := jsonrpc.Lookup(m.Params, "requestId"); ok && m.Method == "notifications/cancelled" && r.pending[jsonrpc.IDOf(id)] != nil {
		return r.pending[jsonrpc.IDOf(id)] // it takes back a subscription
	}
	var newest *call
	n := 0
	for _, c := range r.calls {
		if !c.stays {
			newest = c
			n++
		}
	}
	if n > 1 && r.listens != nil {
		return nil
	}
	return newest
}

// unasked gives a message to who listens, or keeps it for the next who does.
func (r *router) unasked(data []byte) {
	if r.listens != nil && r.put(r.listens, data, nil) {
		return
	}
	size := len(data)
	for _, w := range r.waiting {
		size += len(w)
	}
	r.waiting = append(r.waiting, data)
	for len(r.waiting) > limits.MCPBackQueueEvents || size > limits.MCPBackQueueBytes {
		size -= len(r.waiting[0])
		if m, err := jsonrpc.Scan(r.waiting[0], jsonrpc.Options{MaxBytes: len(r.waiting[0])}); err == nil && m.Kind == jsonrpc.Request {
			r.refuse = append(r.refuse, m.ID)
		}
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
		r.dropped++
	}
}
