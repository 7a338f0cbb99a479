package mcp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// fanInbound is a message of a server as the client may see it.
type fanInbound struct {
	data []byte       // nil: it is not passed on
	done []jsonrpc.ID // requests that it answers
	why  string       // it is not passed on
	deny []jsonrpc.ID // requests of the server that cannot be passed on
	m    jsonrpc.Message
}

// inbound gives a message of a server the marks by which what answers it finds the
// server again, and holds back what is not the server's to say: answers to others'
// requests, progress of others' calls.
func (v *fanServer) inbound(b *fanBranch, data []byte, mine func(jsonrpc.ID) bool) fanInbound {
	m, err := jsonrpc.Scan(data, jsonrpc.Options{Batch: true, MaxBytes: len(data)})
	if err != nil {
		return fanInbound{why: "it is no message: " + err.Error()}
	}
	in := fanInbound{m: m}
	parts := []jsonrpc.Message{m}
	if m.Kind == jsonrpc.Batch {
		parts = m.Parts
	}
	var edits []jsonrpc.Edit
	for _, p := range parts {
		e, why := v.inboundEdits(b, m.Raw, p, mine)
		if why != "" {
			in.why = why
			if p.Kind == jsonrpc.Request {
				in.deny = append(in.deny, p.ID)
			}
			return in
		}
		edits = append(edits, e...)
		if p.Kind == jsonrpc.Response || p.Kind == jsonrpc.Failure {
			in.done = append(in.done, p.ID)
		}
	}
	if in.data = m.Raw; len(edits) > 0 {
		in.data = jsonrpc.Splice(m.Raw, edits)
	}
	return in
}

func (v *fanServer) inboundEdits(b *fanBranch, raw []byte, p jsonrpc.Message, mine func(jsonrpc.ID) bool) (edits []jsonrpc.Edit, why string) {
	text := func(value []byte) {
		if id, ok := jsonrpc.Text(value); ok {
			edits = append(edits, fanReplace(raw, value, b.name+":"+id))
		}
	}
	switch p.Kind {
	case jsonrpc.Response, jsonrpc.Failure:
		if p.ID != "" && p.ID != "null" && !mine(p.ID) {
			return nil, "it answers a request that this server was not asked"
		}
		for _, path := range [][]string{{"taskId"}, {"task", "taskId"}, {"_meta", jsonrpc.MetaRelatedTask, "taskId"}} {
			if value, ok := jsonrpc.Lookup(p.Result, path...); ok {
				text(value)
			}
		}
		v.learn(b, p.Result)
		return edits, ""
	case jsonrpc.Request:
		value, _ := jsonrpc.Lookup(p.Raw, "id")
		if edits = append(edits, fanReplace(raw, value, b.name+":"+string(p.ID))); len(edits[0].New) > limits.MCPIDBytes {
			return nil, "the id of its request is too long"
		}
		if value, ok := jsonrpc.Lookup(p.Params, "_meta", "progressToken"); ok {
			edits = append(edits, fanReplace(raw, value, b.name+":"+fanToken(value)))
		}
	case jsonrpc.Notification:
		if edits, why = v.inboundNotice(b, raw, p); why != "" {
			return nil, why
		}
	}
	if value, ok := jsonrpc.Lookup(p.Params, "_meta", jsonrpc.MetaRelatedTask, "taskId"); ok && !v.clients(value, b) {
		text(value)
	}
	return edits, ""
}

// clients says whether a task is one that the client made for the server.
func (v *fanServer) clients(value []byte, b *fanBranch) bool {
	id, _ := jsonrpc.Text(value)
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Contains(v.tasks.of[id], b)
}

func (v *fanServer) inboundNotice(b *fanBranch, raw []byte, p jsonrpc.Message) (edits []jsonrpc.Edit, why string) {
	switch p.Method {
	case "notifications/progress":
		token, ok := jsonrpc.Lookup(p.Params, "progressToken")
		v.mu.Lock()
		owners := v.tokens.of[fanToken(token)]
		v.mu.Unlock()
		if !ok || !slices.Contains(owners, b) {
			return nil, "it tells the progress of a request that this server was not asked"
		}
	case "notifications/cancelled":
		if value, ok := jsonrpc.Lookup(p.Params, "requestId"); ok {
			edits = append(edits, fanReplace(raw, value, b.name+":"+fanToken(value)))
		}
	case "notifications/tasks/status", "notifications/tasks":
		if value, ok := jsonrpc.Lookup(p.Params, "taskId"); ok {
			if id, ok := jsonrpc.Text(value); ok {
				edits = append(edits, fanReplace(raw, value, b.name+":"+id))
			}
		}
	}
	return edits, ""
}

// learn remembers the resources that a result links to. What somebody has listed stays
// theirs.
func (v *fanServer) learn(b *fanBranch, result []byte) {
	content, ok := jsonrpc.Lookup(result, "content")
	if !ok || content[0] != '[' {
		return
	}
	_ = jsonrpc.Elements(content, func(_ int, block []byte) bool {
		if kind, _ := fanText(block, "type"); kind == "resource_link" {
			if uri, ok := fanText(block, "uri"); ok {
				v.mu.Lock()
				if len(v.uris.of[uri]) == 0 {
					v.uris.add(uri, b)
				}
				v.mu.Unlock()
			}
		}
		return true
	})
}

// held says of a message that is not passed on, and answers it if it was a request.
func (v *fanServer) held(ctx context.Context, b *fanBranch, in fanInbound) {
	v.Log.Warn("mcp message of a server is not passed on", "server", b.name, "session", v.session.Ref(), "why", in.why)
	for _, id := range in.deny {
		raw := jsonrpc.NewFailure(id, jsonrpc.CodeInvalidRequest, "the gateway cannot pass this on: "+in.why, nil)
		if m, err := jsonrpc.Scan(raw, jsonrpc.Options{}); err == nil {
			if _, err := b.server.Send(ctx, link.Call{Message: m}); err != nil {
				v.Log.Warn("mcp server cannot be told so", "server", b.name, "why", fanWhy(err))
			}
		}
	}
}

// relayed gives the client what one server answered.
func (v *fanServer) relayed(ctx context.Context, asked jsonrpc.Message, b *fanBranch, a *link.Answer) (*link.Answer, error) {
	if a.Stream != nil {
		out := *a
		out.Stream = &fanRelay{v: v, b: b, in: a.Stream, asked: asked.ID, single: true}
		return &out, nil
	}
	v.landed(asked.ID, b)
	if len(a.Body) == 0 {
		return a, nil
	}
	in := v.inbound(b, a.Body, func(id jsonrpc.ID) bool { return id == asked.ID })
	if in.data == nil {
		if a.Status >= 400 && in.m.Kind == 0 {
			return a, nil // foreign text of whatever answers there
		}
		v.held(ctx, b, in)
		return nil, &link.Down{Server: b.name, Why: "its answer is not one: " + in.why}
	}
	out := *a
	out.Body = in.data
	return &out, nil
}

// fanRelay is the stream of one server.
type fanRelay struct {
	v      *fanServer
	b      *fanBranch
	in     link.Stream
	asked  jsonrpc.ID // the request that it answers; "" for a stream that listens or goes on
	marked bool       // it can be resumed
	done   bool
	single bool // it is given to the client as it is, with marks of its own
}

func (r *fanRelay) mine(id jsonrpc.ID) bool {
	if r.asked != "" {
		return id == r.asked
	}
	return r.v.flying(id, r.b)
}

func (r *fanRelay) Next(ctx context.Context) (link.Event, error) {
	for {
		e, err := r.in.Next(ctx)
		if err != nil {
			return link.Event{}, err
		}
		if e.Type != "" && e.Type != "message" {
			e.Data = nil
		}
		if len(e.Data) > 0 {
			in := r.v.inbound(r.b, e.Data, r.mine)
			if in.data == nil {
				r.v.held(ctx, r.b, in)
			}
			e.Data = in.data
			for _, id := range in.done {
				r.done = r.done || id == r.asked
				r.v.landed(id, r.b)
			}
		}
		if len(e.ID) > limits.MCPFanEvent {
			e.ID = ""
		}
		if e.ID != "" {
			r.marked = true
			if r.single {
				e.ID = r.v.mark("event", map[string]string{r.b.name: e.ID})
			}
		}
		if len(e.Data) > 0 || e.ID != "" || e.Retry > 0 {
			return e, nil
		}
	}
}

func (r *fanRelay) Close() error {
	if r.asked != "" && !r.done {
		r.done = true
		if r.marked && !r.v.session.Stateless {
			r.v.keep(r.asked, r.b)
		} else {
			r.v.landed(r.asked, r.b)
		}
	}
	return r.in.Close()
}

// mark gives a text that the client may bring back: what servers said by the names of
// the servers, authenticated for this session and this use.
func (v *fanServer) mark(use string, said map[string]string) string {
	payload, err := json.Marshal(said)
	if err != nil {
		return ""
	}
	text := base64.RawURLEncoding.EncodeToString(append(v.seal(use, payload), payload...))
	if len(text) > limits.MCPFanMark {
		return ""
	}
	return text
}

// marked reads a mark; false if this session was not given it for this use.
func (v *fanServer) marked(use, text string) (map[string]string, bool) {
	if len(text) > limits.MCPFanMark {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < fanSeal {
		return nil, false
	}
	var said map[string]string
	if !hmac.Equal(raw[:fanSeal], v.seal(use, raw[fanSeal:])) || json.Unmarshal(raw[fanSeal:], &said) != nil {
		return nil, false
	}
	return said, true
}

// fanSeal is the length of the seal of a mark, in bytes.
const fanSeal = 16

func (v *fanServer) seal(use string, payload []byte) []byte {
	h := hmac.New(sha256.New, v.key)
	for _, part := range []string{use, v.session.Principal, v.session.ID} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(payload)
	return h.Sum(nil)[:fanSeal]
}
