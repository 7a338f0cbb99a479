package mcp

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// fanGot is what one of several servers answered.
type fanGot struct {
	branch *fanBranch
	answer jsonrpc.Message
	err    error
}

// ok says whether it is a result.
func (g fanGot) ok() bool { return g.err == nil && g.answer.Kind == jsonrpc.Response }

func (g fanGot) why() string {
	switch {
	case g.err != nil:
		return fanWhy(g.err)
	case g.answer.Kind == jsonrpc.Failure:
		text, _ := fanText(g.answer.Error, "message")
		return "it answered " + fanShow(text)
	}
	return ""
}

// gather sends a request to several servers at once and waits for all answers.
func (v *fanServer) gather(ctx context.Context, c link.Call, to []*fanTo) []fanGot {
	got := make([]fanGot, len(to))
	settle := fanSettle(c, len(to))
	var all sync.WaitGroup
	for i, t := range to {
		all.Go(func() {
			got[i] = fanGot{branch: t.branch}
			got[i].answer, got[i].err = v.ask(ctx, c, t, settle)
		})
	}
	all.Wait()
	return got
}

// fanSettle gives what each of n calls gets as Sent: the last of them settles c.
func fanSettle(c link.Call, n int) func() func() {
	var left atomic.Int64
	left.Store(int64(n))
	return func() func() {
		return sync.OnceFunc(func() {
			if left.Add(-1) == 0 {
				c.Settled()
			}
		})
	}
}

func (v *fanServer) ask(ctx context.Context, c link.Call, t *fanTo, settle func() func()) (jsonrpc.Message, error) {
	sent := settle()
	defer sent()
	asked := c.Message
	m, err := fanEdit(asked, t.edits)
	if err != nil {
		return m, err
	}
	if !v.take(asked, t.branch) {
		return m, &link.Down{Server: t.branch.name, Why: "too many requests wait for an answer"}
	}
	defer v.landed(asked.ID, t.branch)
	if err := t.branch.ready(ctx); err != nil {
		return m, err
	}
	a, err := t.branch.server.Send(ctx, link.Call{Message: m, Header: fanHeader(c.Header, t), Sent: sent})
	if err != nil {
		return m, err
	}
	return v.await(ctx, t.branch, a, asked.ID)
}

// await reads an answer up to the message that answers id. What else the server says
// there goes to the stream that listens.
func (v *fanServer) await(ctx context.Context, b *fanBranch, a *link.Answer, id jsonrpc.ID) (jsonrpc.Message, error) {
	none := &link.Down{Server: b.name, Why: "it did not answer (status " + strconv.Itoa(a.Status) + ")"}
	if a.Stream == nil {
		m, err := jsonrpc.Scan(a.Body, jsonrpc.Options{Batch: true, MaxBytes: max(len(a.Body), 1)})
		if found, ok := fanFind(m, id); ok && err == nil {
			return found, nil
		}
		return m, none
	}
	defer a.Stream.Close() //nolint:errcheck // it was read as far as it matters
	for {
		e, err := a.Stream.Next(ctx)
		if err != nil {
			return jsonrpc.Message{}, none
		}
		if len(e.Data) == 0 || e.Type != "" && e.Type != "message" {
			continue
		}
		m, err := jsonrpc.Scan(e.Data, jsonrpc.Options{Batch: true, MaxBytes: len(e.Data)})
		if found, ok := fanFind(m, id); ok && err == nil {
			return found, nil
		}
		in := v.inbound(b, e.Data, func(jsonrpc.ID) bool { return false })
		if in.data == nil {
			v.held(ctx, b, in)
			continue
		}
		select {
		case v.loose <- link.Event{Data: in.data}:
		default:
			in.why = "nobody listens"
			if m.Kind == jsonrpc.Request {
				in.deny = []jsonrpc.ID{m.ID}
			}
			v.held(ctx, b, in)
		}
	}
}

// fanFind gives the message that answers id.
func fanFind(m jsonrpc.Message, id jsonrpc.ID) (jsonrpc.Message, bool) {
	for _, p := range append([]jsonrpc.Message{m}, m.Parts...) {
		if (p.Kind == jsonrpc.Response || p.Kind == jsonrpc.Failure) && p.ID == id {
			return p, true
		}
	}
	return jsonrpc.Message{}, false
}

// toAll sends a message without an answer to several servers.
func (v *fanServer) toAll(ctx context.Context, c link.Call, branches []*fanBranch) (*link.Answer, error) {
	answers := make([]*link.Answer, len(branches))
	errs := make([]error, len(branches))
	settle := fanSettle(c, len(branches))
	var all sync.WaitGroup
	for i, b := range branches {
		all.Go(func() {
			sent := settle()
			defer sent()
			t := &fanTo{branch: b}
			answers[i], errs[i] = b.server.Send(ctx, link.Call{Message: c.Message, Header: fanHeader(c.Header, t), Sent: sent})
		})
	}
	all.Wait()
	best := &link.Answer{Status: 202}
	failed := 0
	for i, a := range answers {
		if errs[i] != nil {
			failed++
			v.Log.Warn("mcp server was not told", "server", branches[i].name, "method", c.Message.Method, "why", fanWhy(errs[i]))
			continue
		}
		if a.Stream != nil {
			_ = a.Stream.Close()
		}
		if a.Status >= 400 {
			best = &link.Answer{Status: a.Status, Header: a.Header, Body: a.Body}
		}
	}
	if failed > 0 && failed == len(branches) {
		return nil, errs[0]
	}
	return best, nil
}

// fanKinds are the lists that are merged: the member of the result, the capability.
func fanKind(method string) (key, capability string) {
	switch method {
	case "tools/list":
		return "tools", "tools"
	case "prompts/list":
		return "prompts", "prompts"
	case "resources/list":
		return "resources", "resources"
	case "resources/templates/list":
		return "resourceTemplates", "resources"
	}
	return "tasks", "tasks"
}

// list merges one page of every server that has one.
func (v *fanServer) list(ctx context.Context, c link.Call) (*link.Answer, error) {
	m := c.Message
	key, capability := fanKind(m.Method)
	to, why := v.pages(m, capability)
	if why != "" {
		return v.refuse(ctx, c, jsonrpc.CodeInvalidParams, why)
	}
	page := fanPage{key: key, next: map[string]string{}}
	if len(to) == 0 {
		return v.say(ctx, c, fanAnswer(jsonrpc.NewResult(m.ID, page.result(v, m.Method))), nil)
	}
	got := v.gather(ctx, c, to)
	var failure *fanGot
	for i, g := range got {
		if !g.ok() {
			v.Log.Warn("mcp list without a server", "server", g.branch.name, "method", m.Method, "why", g.why())
			if failure == nil {
				failure = &got[i]
			}
			continue
		}
		v.addPage(&page, g)
	}
	if page.servers == 0 && failure != nil {
		if failure.err != nil {
			return nil, failure.err
		}
		return fanAnswer(failure.answer.Raw), nil
	}
	return fanAnswer(jsonrpc.NewResult(m.ID, page.result(v, m.Method))), nil
}

// pages says which servers are asked for which page.
func (v *fanServer) pages(m jsonrpc.Message, capability string) (to []*fanTo, why string) {
	value, ok := jsonrpc.Lookup(m.Params, "cursor")
	if !ok || string(value) == "null" {
		for _, b := range v.able(capability) {
			to = append(to, &fanTo{branch: b})
		}
		return to, ""
	}
	text, _ := jsonrpc.Text(value)
	cursors, ok := v.marked(m.Method, text)
	if !ok {
		return nil, "the cursor is none that this session was given"
	}
	for _, b := range v.able(capability) {
		if cursor, ok := cursors[b.name]; ok {
			to = append(to, &fanTo{branch: b, edits: []jsonrpc.Edit{fanReplace(m.Raw, value, cursor)}})
		}
	}
	return to, ""
}

// fanPage is a page of the merged list.
type fanPage struct {
	key     string
	servers int
	items   [][]byte
	next    map[string]string
	typed   bool // the servers say what type of result it is
	ttl     int64
	cached  bool
	private bool
}

func (v *fanServer) addPage(p *fanPage, g fanGot) {
	p.servers++
	result := g.answer.Result
	items, ok := jsonrpc.Lookup(result, p.key)
	n := 0
	if ok {
		_ = jsonrpc.Elements(items, func(_ int, item []byte) bool {
			if n++; n > limits.MCPFanItems {
				v.leftOut(g.branch, p.key, "", "the page is too long")
				return false
			}
			if out := v.item(g.branch, p.key, item); out != nil {
				p.items = append(p.items, out)
			}
			return true
		})
	}
	if cursor, ok := fanText(result, "nextCursor"); ok {
		if len(cursor) > limits.MCPFanCursor {
			v.leftOut(g.branch, p.key, "", "the cursor of the next page is too long")
		} else {
			p.next[g.branch.name] = cursor
		}
	}
	p.meta(result)
}

// meta keeps what a result says of itself.
func (p *fanPage) meta(result []byte) {
	if kind, ok := fanText(result, "resultType"); ok && kind == "complete" {
		p.typed = true
	}
	if value, ok := jsonrpc.Lookup(result, "ttlMs"); ok {
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			if !p.cached || n < p.ttl {
				p.ttl = n
			}
			p.cached = true
		}
	}
	if scope, ok := fanText(result, "cacheScope"); ok && scope != "public" {
		p.private = true
	}
}

func (v *fanServer) leftOut(b *fanBranch, key, name, why string) {
	v.Log.Warn("mcp entry is left out of a list", "server", b.name, "list", key, "name", fanShow(name), "why", why)
}

// item gives one entry of a list its name for the client; nil if it is left out.
func (v *fanServer) item(b *fanBranch, key string, item []byte) []byte {
	if item[0] != '{' {
		return nil
	}
	member := map[string]string{"tools": "name", "prompts": "name", "resources": "uri", "resourceTemplates": "uriTemplate", "tasks": "taskId"}[key]
	value, _ := jsonrpc.Lookup(item, member)
	text, ok := jsonrpc.Text(value)
	if !ok {
		v.leftOut(b, key, "", "it has no "+member)
		return nil
	}
	full := b.name + ":" + text
	switch key {
	case "tools", "prompts":
		var why string
		if full, why = v.fullName(b, key, text); why != "" {
			v.leftOut(b, key, text, why)
			return nil
		}
	case "resources":
		v.mu.Lock()
		v.uris.add(text, b)
		v.mu.Unlock()
		return item
	case "resourceTemplates":
		v.mu.Lock()
		v.forms.add(text, b)
		v.mu.Unlock()
		return item
	}
	return jsonrpc.Splice(item, []jsonrpc.Edit{fanReplace(item, value, full)})
}

func (p *fanPage) result(v *fanServer, method string) []byte {
	out := append([]byte(`{"`), p.key...)
	out = append(out, `":[`...)
	for i, item := range p.items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	out = append(out, ']')
	if len(p.next) > 0 {
		if cursor := v.mark(method, p.next); cursor != "" {
			out = jsonrpc.AppendString(append(out, `,"nextCursor":`...), cursor)
		}
	}
	return append(p.appendMeta(out, v), '}')
}

// appendMeta appends what a merged result says of itself.
func (p *fanPage) appendMeta(out []byte, v *fanServer) []byte {
	if p.typed {
		out = append(out, `,"resultType":"complete","_meta":{"`+jsonrpc.MetaServerInfo+`":`...)
		out = append(append(out, v.info()...), '}')
	}
	if p.cached {
		scope := "public"
		if p.private {
			scope = "private"
		}
		out = strconv.AppendInt(append(out, `,"ttlMs":`...), p.ttl, 10)
		out = jsonrpc.AppendString(append(out, `,"cacheScope":`...), scope)
	}
	return out
}

// info is the gateway as an implementation of the protocol.
func (v *fanServer) info() []byte {
	out := jsonrpc.AppendString([]byte(`{"name":"cabincrew","version":`), v.Version)
	return append(out, '}')
}

// setLevel tells all servers that log.
func (v *fanServer) setLevel(ctx context.Context, c link.Call) (*link.Answer, error) {
	var to []*fanTo
	for _, b := range v.able("logging") {
		to = append(to, &fanTo{branch: b})
	}
	if len(to) == 0 {
		return v.refuse(ctx, c, jsonrpc.CodeMethodNotFound, "none of the servers logs")
	}
	var failure []byte
	for _, g := range v.gather(ctx, c, to) {
		if g.ok() {
			return fanAnswer(jsonrpc.NewResult(c.Message.ID, []byte("{}"))), nil
		}
		if g.err == nil && failure == nil {
			failure = g.answer.Raw
		}
	}
	if failure != nil {
		return fanAnswer(failure), nil
	}
	return fanAnswer(jsonrpc.NewFailure(c.Message.ID, jsonrpc.CodeMethodNotFound, "none of the servers logs", nil)), nil
}
