package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// server is a fake of what is behind the guard.
type server struct {
	mu      sync.Mutex
	got     []string // everything that it was sent
	headers []http.Header
	answer  func(msg jsonrpc.Message) (*link.Answer, error)
	listen  link.Stream
	text    []byte // with a refusal to listen
	ended   bool
}

func (s *server) Open(context.Context, link.Session) (link.Server, error) { return s, nil }

func (s *server) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	s.mu.Lock()
	s.got = append(s.got, string(c.Message.Raw))
	s.headers = append(s.headers, c.Header)
	s.mu.Unlock()
	c.Settled()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.Message.Kind == jsonrpc.Notification || c.Message.Kind == jsonrpc.Response || c.Message.Kind == jsonrpc.Failure {
		return &link.Answer{Status: http.StatusAccepted}, nil
	}
	return s.answer(c.Message)
}

func (s *server) Listen(context.Context, http.Header) (*link.Answer, error) {
	if s.listen == nil {
		return &link.Answer{Status: http.StatusMethodNotAllowed, Body: s.text}, nil
	}
	return &link.Answer{Status: http.StatusOK, Stream: s.listen}, nil
}

func (s *server) End(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return nil
}

// sent gives what the server was sent whose text holds part.
func (s *server) sent(part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, m := range s.got {
		if strings.Contains(m, part) {
			out = append(out, m)
		}
	}
	return out
}

// body answers with one message.
func body(text string) (*link.Answer, error) {
	return &link.Answer{Status: http.StatusOK, Body: []byte(text), Header: http.Header{"Content-Type": {"application/json"}}}, nil
}

// echo answers every request with its own params.
func echo(msg jsonrpc.Message) (*link.Answer, error) {
	return body(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"done"}]}}`, msg.ID))
}

// events is a stream of given events; after them it ends, or waits if it is open.
type events struct {
	list   []link.Event
	open   bool
	closed chan struct{}
	once   sync.Once
	err    error
}

func streamOf(data ...string) *events {
	s := &events{closed: make(chan struct{})}
	for _, d := range data {
		s.list = append(s.list, link.Event{Data: []byte(d)})
	}
	return s
}

func (s *events) Next(ctx context.Context) (link.Event, error) {
	if len(s.list) > 0 {
		ev := s.list[0]
		s.list = s.list[1:]
		return ev, nil
	}
	if s.open {
		select {
		case <-ctx.Done():
			return link.Event{}, ctx.Err()
		case <-s.closed:
		}
	}
	if s.err != nil {
		return link.Event{}, s.err
	}
	return link.Event{}, io.EOF
}

func (s *events) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// judge decides by what a message holds.
type judge struct {
	mu   sync.Mutex
	docs []gateways.Document
	say  func(d gateways.Document) (gateways.Verdict, error)
}

func (j *judge) Judge(_ context.Context, d gateways.Document, _ time.Time) (gateways.Verdict, error) {
	j.mu.Lock()
	j.docs = append(j.docs, d)
	j.mu.Unlock()
	return j.say(d)
}

func verdict(d protocol.Decision, why string) (gateways.Verdict, error) {
	v := gateways.Verdict{Decision: d, Evaluations: []protocol.PolicyEvaluation{{
		Source: "opa", PolicyID: "test", Decision: d, Severity: d.Severity(), Reason: why,
	}}}
	if d == protocol.Deny {
		v.Violations = []string{why}
	}
	return v, nil
}

func allow(gateways.Document) (gateways.Verdict, error) { return verdict(protocol.Allow, "") }

// when decides on messages whose texts hold part, and allows others.
func when(part string, d protocol.Decision) func(gateways.Document) (gateways.Verdict, error) {
	return func(doc gateways.Document) (gateways.Verdict, error) {
		for _, t := range doc.Texts {
			if strings.Contains(t.Value, part) {
				return verdict(d, "it says "+part)
			}
		}
		return allow(doc)
	}
}

// trail keeps events, or fails.
type trail struct {
	mu     sync.Mutex
	events []protocol.AuditEvent
	fail   func(protocol.AuditEvent) bool
	last   int // of the appends that work; -1: all
	n      int // appends
	synced int // of them, how many waited for the disk
}

func (t *trail) Append(_ context.Context, durable bool, events ...protocol.AuditEvent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n++; t.last >= 0 && t.n > t.last {
		return errors.New("no space left on device")
	}
	if durable {
		t.synced++
	}
	for _, e := range events {
		if t.fail != nil && t.fail(e) {
			return errors.New("no space left on device")
		}
	}
	t.events = append(t.events, events...)
	return nil
}

// told gives the types and decisions of all events.
func (t *trail) told() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, e := range t.events {
		name := strings.TrimPrefix(e.EventType, "mcp_")
		if e.Gateway.PolicyDecision != "" {
			name += "=" + string(e.Gateway.PolicyDecision)
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// people holds calls until the test answers.
type people struct {
	asked chan gateways.Held
	reply chan gateways.Answered
}

func newPeople() *people {
	return &people{asked: make(chan gateways.Held, 16), reply: make(chan gateways.Answered, 16)}
}

func (p *people) Hold(ctx context.Context, h gateways.Held) (gateways.Answered, error) {
	p.asked <- h
	select {
	case a := <-p.reply:
		return a, nil
	case <-ctx.Done():
		return gateways.Answered{}, ctx.Err()
	}
}

// rig is a guard between a test and a fake server.
type rig struct {
	t      *testing.T
	server *server
	judge  *judge
	trail  *trail
	people *people
	opts   mcp.GuardOptions
	link.Server
}

func newRig(t *testing.T, change ...func(*mcp.GuardOptions)) *rig {
	t.Helper()
	r := &rig{t: t, server: &server{answer: echo}, judge: &judge{say: allow}, trail: &trail{last: -1}, people: newPeople()}
	var n int
	var mu sync.Mutex
	r.opts = mcp.GuardOptions{
		Server: "files", Next: r.server, Judge: r.judge, Trail: r.trail, Holds: r.people,
		Now: func() time.Time { return time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC) },
		NewID: func() string {
			mu.Lock()
			defer mu.Unlock()
			n++
			return fmt.Sprintf("req-%d", n)
		},
		GovernanceHash: "sha256:governance",
		Progress:       time.Millisecond,
	}
	for _, c := range change {
		c(&r.opts)
	}
	r.Server = r.session("session-1")
	return r
}

func (r *rig) session(id string) link.Server {
	r.t.Helper()
	s, err := mcp.NewGuard(r.opts).Open(r.t.Context(), link.Session{ID: id, Principal: "agent"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.End(context.Background()) })
	return s
}

func scan(t *testing.T, text string) jsonrpc.Message {
	t.Helper()
	m, err := jsonrpc.Scan([]byte(text), jsonrpc.Options{Batch: true})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// send sends a message as over HTTP and gives all messages of the answer.
func (r *rig) send(text string) []string {
	r.t.Helper()
	return r.all(r.start(text))
}

func (r *rig) start(text string) *link.Answer {
	r.t.Helper()
	a, err := r.Send(r.t.Context(), link.Call{Message: scan(r.t, text), Header: http.Header{}})
	if err != nil {
		r.t.Fatalf("%s: %v", text, err)
	}
	return a
}

func (r *rig) all(a *link.Answer) []string {
	r.t.Helper()
	if a.Stream == nil {
		if a.Body == nil {
			return nil
		}
		return []string{string(a.Body)}
	}
	defer func() { _ = a.Stream.Close() }()
	var out []string
	for {
		ev, err := a.Stream.Next(r.t.Context())
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, link.ErrWithdrawn) {
				out = append(out, "error: "+err.Error())
			}
			return out
		}
		if ev.Data != nil && !strings.Contains(string(ev.Data), "notifications/progress") {
			out = append(out, string(ev.Data))
		}
	}
}

// code gives the code of a failure; 0 for a result.
func code(t *testing.T, text string) int {
	t.Helper()
	var m struct {
		Error struct {
			Code    int
			Message string
			Data    map[string]any
		}
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m.Error.Code
}

// one wants one message as the answer and gives its code.
func (r *rig) one(text string) (string, int) {
	r.t.Helper()
	got := r.send(text)
	if len(got) != 1 {
		r.t.Fatalf("%s: %d messages: %q", text, len(got), got)
	}
	return got[0], code(r.t, got[0])
}

func call(id, tool, args string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, args)
}
