package mcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// Named is a server of several behind one endpoint.
type Named struct {
	Name string
	Open link.Opener
}

// FanOptions say what NewFan needs.
type FanOptions struct {
	Servers []Named // in the order in which their tools are listed
	Version string  // of the gateway, for clients
	Log     *slog.Logger
	Random  io.Reader                                        // nil: crypto/rand
	Wait    func(ctx context.Context, d time.Duration) error // nil: a timer
	// Own stands before what the fan answers itself, as a guard stands before a server:
	// such messages are to be judged, too. nil: nothing does.
	Own func(next link.Opener) link.Opener
}

// NewFan puts several servers behind one endpoint: tools and prompts get the name of
// their server in front, lists are merged, and every message goes to the server that it
// is for. What names no server is an error and never a guess. One server alone is
// passed through as it is.
func NewFan(o FanOptions) link.Opener {
	if len(o.Servers) == 1 {
		return o.Servers[0].Open
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Wait == nil {
		o.Wait = fanWait
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &fanOpener{FanOptions: o, key: make([]byte, 32)}
	if _, err := io.ReadFull(o.Random, f.key); err != nil {
		f.err = err
	}
	if f.err == nil {
		f.err = fanCheckServers(o.Servers)
	}
	return f
}

func fanWait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

type fanOpener struct {
	FanOptions

	key []byte // of the marks that clients bring back
	err error
}

// fanBranch is one server within one session.
type fanBranch struct {
	name   string
	server link.Server
	link   *fanLink // is server, where the client has a session that can be lost; else nil

	mu       sync.Mutex
	out      string           // why it is left out; "" if it is not
	revision jsonrpc.Revision // "" until it said so
	can      map[string]bool  // its capabilities; nil until it told them
}

// has says whether the server may have that capability.
func (b *fanBranch) has(capability string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out == "" && (b.can == nil || b.can[capability])
}

// ready sees to it that the server has a session with the client.
func (b *fanBranch) ready(ctx context.Context) error {
	if b.link == nil {
		return nil
	}
	return b.link.again(ctx)
}

func (b *fanBranch) leaveOut(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == "" {
		b.out = why
	}
}

func (b *fanBranch) gone() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out
}

// fanServer is a session with all of the servers.
type fanServer struct {
	*fanOpener

	session  link.Session
	branches []*fanBranch
	own      link.Server     // what the fan answers itself goes through; nil if nothing is there
	loose    chan link.Event // what servers send where nobody listens yet

	mu      sync.Mutex
	flights map[jsonrpc.ID][]*fanBranch
	waiting int // how many flights there are
	tokens  *fanOwners
	uris    *fanOwners
	forms   *fanOwners // templates of resources
	kept    []fanFlight
	named   map[*fanBranch]int
	tasks   *fanOwners        // tasks of the client
	looks   map[string]string // names as they look, and as they are

	listed sync.Once // resources, by the gateway itself
	life   context.Context
	end    context.CancelFunc
	late   sync.WaitGroup // servers that are opened later
}

// fanFlight is a request that a server has.
type fanFlight struct {
	id     jsonrpc.ID
	branch *fanBranch
}

// Open opens a session with every server. Those that cannot be opened are left out.
func (f *fanOpener) Open(ctx context.Context, s link.Session) (link.Server, error) {
	if f.err != nil {
		return nil, f.err
	}
	v := &fanServer{
		fanOpener: f, session: s, loose: make(chan link.Event, limits.MCPFanLoose),
		flights: map[jsonrpc.ID][]*fanBranch{}, tokens: newFanOwners(), uris: newFanOwners(), tasks: newFanOwners(),
		forms: newFanOwners(), looks: map[string]string{}, named: map[*fanBranch]int{},
	}
	if f.Own != nil {
		var err error
		if v.own, err = f.Own(fanOwn{v}).Open(ctx, s); err != nil {
			return nil, err
		}
	}
	v.life, v.end = context.WithCancel(context.Background())
	v.branches = make([]*fanBranch, len(f.Servers))
	errs := make([]error, len(f.Servers))
	var all sync.WaitGroup
	for i, n := range f.Servers {
		b := &fanBranch{name: n.Name}
		v.branches[i] = b
		all.Go(func() {
			if b.server, errs[i] = n.Open.Open(ctx, s); errs[i] != nil {
				b.leaveOut(fanWhy(errs[i]))
				f.Log.Warn("mcp server is left out", "server", b.name, "why", b.out)
				return
			}
			if !s.Stateless {
				b.link = newFanLink(v, b, n.Open, b.server)
				b.server = b.link
			}
		})
	}
	all.Wait()
	if len(v.live()) == 0 {
		return nil, &link.Down{Server: "cabincrew", Why: "none of the servers can be reached", Err: errors.Join(errors.Join(errs...), v.End(ctx))}
	}
	if s.Stateless { // it lasts, and nobody initializes it anew
		for i, b := range v.branches {
			if b.server == nil {
				v.late.Go(func() { v.openLater(b, f.Servers[i].Open) })
			}
		}
	}
	return v, nil
}

// openLater tries to open a server that could not be, until it can or the session ends.
func (v *fanServer) openLater(b *fanBranch, o link.Opener) {
	for pause := limits.MCPFanAgain; v.Wait(v.life, pause) == nil; pause = min(2*pause, limits.MCPFanAgainMost) {
		server, err := o.Open(v.life, v.session)
		if err != nil {
			continue
		}
		b.mu.Lock()
		b.server, b.out = server, ""
		b.mu.Unlock()
		v.Log.Info("mcp server is there again", "server", b.name)
		return
	}
}

func fanWhy(err error) string {
	if down, ok := errors.AsType[*link.Down](err); ok {
		return down.Why
	}
	return "it cannot be asked"
}

// live are the branches that are not left out.
func (v *fanServer) live() []*fanBranch {
	var live []*fanBranch
	for _, b := range v.branches {
		if b.gone() == "" {
			live = append(live, b)
		}
	}
	return live
}

func (v *fanServer) able(capability string) []*fanBranch {
	var able []*fanBranch
	for _, b := range v.branches {
		if b.has(capability) {
			able = append(able, b)
		}
	}
	return able
}

func (v *fanServer) branch(name string) *fanBranch {
	for _, b := range v.branches {
		if b.name == name {
			return b
		}
	}
	return nil
}

// End ends the sessions with all servers.
func (v *fanServer) End(ctx context.Context) error {
	v.end()
	v.late.Wait()
	errs := make([]error, len(v.branches))
	var all sync.WaitGroup
	for i, b := range v.branches {
		if b.server != nil {
			all.Go(func() { errs[i] = b.server.End(ctx) })
		}
	}
	all.Wait()
	err := errors.Join(errs...)
	if v.own != nil {
		err = errors.Join(err, v.own.End(ctx))
	}
	return err
}

// Send sends a message to the server that it is for, or to all.
func (v *fanServer) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	if c.Sent != nil {
		c.Sent = sync.OnceFunc(c.Sent)
	}
	defer c.Settled()
	switch c.Message.Kind {
	case jsonrpc.Request:
		return v.request(ctx, c)
	case jsonrpc.Notification:
		return v.notification(ctx, c)
	case jsonrpc.Response, jsonrpc.Failure:
		return v.reply(ctx, c)
	case jsonrpc.Batch:
		return v.batch(ctx, c)
	}
	return v.refuse(ctx, c, jsonrpc.CodeInvalidRequest, "this is no message")
}

// fanTo is where a request goes and what becomes of its bytes.
type fanTo struct {
	branch *fanBranch
	edits  []jsonrpc.Edit
	name   string // for the header Mcp-Name; "" leaves it
}

// request routes one request of the client.
func (v *fanServer) request(ctx context.Context, c link.Call) (*link.Answer, error) {
	m := c.Message
	switch m.Method {
	case "initialize":
		return v.initialize(ctx, c)
	case "server/discover":
		return v.discover(ctx, c)
	case "ping":
		return v.say(ctx, c, fanPong(m), nil)
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list", "tasks/list":
		return v.list(ctx, c)
	case "logging/setLevel":
		return v.setLevel(ctx, c)
	case "subscriptions/listen":
		return v.subscribe(ctx, c)
	}
	to, why := v.route(m)
	if to == nil && fanReads(m) {
		v.listed.Do(func() { v.listResources(ctx, c) })
		to, why = v.route(m)
	}
	if to == nil {
		return v.refuse(ctx, c, fanCode(m), why)
	}
	return v.pass(ctx, c, to)
}

// route says which server a request is for; nil and why if none is named.
func (v *fanServer) route(m jsonrpc.Message) (*fanTo, string) {
	switch m.Method {
	case "tools/call":
		return v.byName(m, "tools", m.Params, "name")
	case "prompts/get":
		return v.byName(m, "prompts", m.Params, "name")
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		return v.byURI(m, "uri")
	case "completion/complete":
		if kind, _ := fanText(m.Params, "ref", "type"); kind == "ref/prompt" {
			return v.byName(m, "prompts", m.Params, "ref", "name")
		}
		return v.byURI(m, "ref", "uri")
	case "tasks/get", "tasks/result", "tasks/cancel", "tasks/update":
		return v.byTask(m)
	}
	return nil, "several servers are behind this endpoint, and the method " + fanShow(m.Method) + " does not say which of them it is for: use the endpoint of one server"
}

// pass sends a request to one server and its answer back.
func (v *fanServer) pass(ctx context.Context, c link.Call, to *fanTo) (*link.Answer, error) {
	asked := c.Message
	m, err := fanEdit(asked, to.edits)
	if err != nil {
		return nil, err
	}
	if !v.take(asked, to.branch) {
		return v.refuse(ctx, c, fanBusy, "too many requests wait for an answer")
	}
	if err := to.branch.ready(ctx); err != nil {
		v.landed(asked.ID, to.branch)
		return v.refuse(ctx, c, fanDown, "server "+to.branch.name+": "+fanWhy(err))
	}
	c.Message = m
	c.Header = fanHeader(c.Header, to)
	a, err := to.branch.server.Send(ctx, c)
	if err != nil {
		v.landed(asked.ID, to.branch)
		return nil, err
	}
	return v.relayed(ctx, asked, to.branch, a)
}

// fanBusy is the gateway's code for a rate or size that is exceeded.
const fanBusy = -32054

func fanAnswer(body []byte) *link.Answer {
	return &link.Answer{Status: 200, Header: map[string][]string{"Content-Type": {"application/json"}}, Body: body}
}

// fanEdit gives a message with other bytes in it.
func fanEdit(m jsonrpc.Message, edits []jsonrpc.Edit) (jsonrpc.Message, error) {
	if len(edits) == 0 {
		return m, nil
	}
	raw := jsonrpc.Splice(m.Raw, edits)
	out, err := jsonrpc.Scan(raw, jsonrpc.Options{Batch: m.Kind == jsonrpc.Batch, MaxBytes: max(2*len(m.Raw), limits.MCPMessageBytes)})
	if err != nil {
		return m, fmt.Errorf("a message cannot be given its server's names: %w", err)
	}
	return out, nil
}
