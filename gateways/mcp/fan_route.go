package mcp

import (
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// fanOwners remembers which servers a name belongs to; of each server the oldest are
// forgotten, so that none can make the names of another forgotten. It is used under the
// lock of its session.
type fanOwners struct {
	of    map[string][]*fanBranch
	order map[*fanBranch][]string
	bytes map[*fanBranch]int
}

func newFanOwners() *fanOwners {
	return &fanOwners{of: map[string][]*fanBranch{}, order: map[*fanBranch][]string{}, bytes: map[*fanBranch]int{}}
}

func (o *fanOwners) add(name string, b *fanBranch) {
	owners := o.of[name]
	if len(name) > limits.MCPFanCursor || slices.Contains(owners, b) {
		return
	}
	o.of[name] = append(slices.Clip(owners), b)
	o.order[b] = append(o.order[b], name)
	o.bytes[b] += len(name)
	for len(o.order[b]) > limits.MCPFanKnown || o.bytes[b] > limits.MCPFanKnownBytes {
		oldest := o.order[b][0]
		o.order[b] = o.order[b][1:]
		o.bytes[b] -= len(oldest)
		if left := slices.DeleteFunc(slices.Clone(o.of[oldest]), func(of *fanBranch) bool { return of == b }); len(left) > 0 {
			o.of[oldest] = left
		} else {
			delete(o.of, oldest)
		}
	}
}

// byURI routes by the server that listed an address, or by the only template or the
// only server that can have it.
func (v *fanServer) byURI(m jsonrpc.Message, path ...string) (*fanTo, string) {
	uri, ok := fanText(m.Params, path...)
	if !ok {
		return nil, "params." + strings.Join(path, ".") + " is no text"
	}
	b, why := v.owner(uri)
	if b == nil {
		return nil, why
	}
	if why := b.gone(); why != "" {
		return nil, "the server " + b.name + " is left out: " + why
	}
	return &fanTo{branch: b}, ""
}

func (v *fanServer) owner(uri string) (*fanBranch, string) {
	v.mu.Lock()
	owners := v.uris.of[uri]
	if len(owners) == 0 {
		owners = v.forms.of[uri]
	}
	if len(owners) == 0 {
		for form, of := range v.forms.of {
			if fanMatches(form, uri) {
				for _, b := range of {
					if !slices.Contains(owners, b) {
						owners = append(slices.Clip(owners), b)
					}
				}
			}
		}
	}
	v.mu.Unlock()
	if len(owners) == 0 {
		owners = v.able("resources")
		if len(owners) != 1 {
			return nil, "no server has listed the resource " + fanShow(uri) + ": list the resources first, or use the endpoint of its server"
		}
	}
	if len(owners) > 1 {
		names := make([]string, 0, len(owners))
		for _, b := range owners {
			names = append(names, b.name)
		}
		slices.Sort(names)
		return nil, "the resource " + fanShow(uri) + " is one of several servers (" + strings.Join(names, ", ") + "): use the endpoint of one"
	}
	return owners[0], ""
}

// fanMatches says whether an address can come of a template (RFC 6570): the texts
// between its expressions stand in it, in order.
func fanMatches(form, uri string) bool {
	first, rest, ok := strings.Cut(form, "{")
	if !ok {
		return form == uri
	}
	if first == "" || !strings.HasPrefix(uri, first) { // a template of nothing fixed is everybody's
		return false
	}
	uri = uri[len(first):]
	for {
		_, after, ok := strings.Cut(rest, "}")
		if !ok {
			return false
		}
		fixed, next, more := strings.Cut(after, "{")
		if !more {
			return strings.HasSuffix(uri, fixed)
		}
		at := strings.Index(uri, fixed)
		if at < 0 {
			return false
		}
		uri, rest = uri[at+len(fixed):], next
	}
}

// byTask routes by the id of a task with its server's name in front.
func (v *fanServer) byTask(m jsonrpc.Message) (*fanTo, string) {
	value, _ := jsonrpc.Lookup(m.Params, "taskId")
	full, ok := jsonrpc.Text(value)
	if !ok {
		return nil, "params.taskId is no text"
	}
	b, id := v.prefixed(full)
	if b == nil {
		return nil, "the task " + fanShow(full) + " is of no server here"
	}
	if why := b.gone(); why != "" {
		return nil, "the server " + b.name + " is left out: " + why
	}
	to := &fanTo{b, []jsonrpc.Edit{fanReplace(m.Raw, value, id)}, id}
	if e, ok := v.related(b, m.Raw, m.Params); ok {
		to.edits = append(to.edits, e)
	}
	return to, ""
}

// prefixed takes the name of a server off a mark that the gateway made of it.
func (v *fanServer) prefixed(mark string) (*fanBranch, string) {
	server, rest, ok := strings.Cut(mark, ":")
	if !ok {
		return nil, ""
	}
	return v.branch(server), rest
}

// related takes the name of a server off the task that a message belongs to.
func (v *fanServer) related(b *fanBranch, raw, part []byte) (jsonrpc.Edit, bool) {
	value, ok := jsonrpc.Lookup(part, "_meta", jsonrpc.MetaRelatedTask, "taskId")
	if !ok {
		return jsonrpc.Edit{}, false
	}
	full, _ := jsonrpc.Text(value)
	if of, id := v.prefixed(full); of == b {
		return fanReplace(raw, value, id), true
	}
	return jsonrpc.Edit{}, false
}

// reply sends an answer of the client to the server that asked.
func (v *fanServer) reply(ctx context.Context, c link.Call) (*link.Answer, error) {
	m := c.Message
	mark, _ := jsonrpc.Text([]byte(m.ID))
	b, id := v.prefixed(mark)
	if b == nil || !fanID(id) || b.gone() != "" {
		return v.refuse(ctx, c, jsonrpc.CodeInvalidRequest, "no server has asked what this answers")
	}
	value, _ := jsonrpc.Lookup(m.Raw, "id")
	at := jsonrpc.Offset(m.Raw, value)
	edits := []jsonrpc.Edit{{From: at, To: at + len(value), New: []byte(id)}}
	if e, ok := v.related(b, m.Raw, m.Result); ok && m.Result != nil {
		edits = append(edits, e)
	}
	if task, ok := fanText(m.Result, "task", "taskId"); ok {
		v.mu.Lock()
		v.tasks.add(task, b)
		v.mu.Unlock()
	}
	var err error
	if c.Message, err = fanEdit(m, edits); err != nil {
		return nil, err
	}
	c.Header = fanHeader(c.Header, &fanTo{branch: b})
	return b.server.Send(ctx, c)
}

// fanID says whether text is the id of a request as JSON text.
func fanID(text string) bool {
	_, err := jsonrpc.Scan(jsonrpc.NewResult(jsonrpc.ID(text), []byte("{}")), jsonrpc.Options{})
	return err == nil && text != ""
}

// notification sends a notification of the client to whom it concerns.
func (v *fanServer) notification(ctx context.Context, c link.Call) (*link.Answer, error) {
	m := c.Message
	switch m.Method {
	case "notifications/initialized", "notifications/roots/list_changed":
		if live := v.live(); len(live) > 0 {
			for _, b := range live {
				if b.link != nil && m.Method == "notifications/initialized" {
					b.link.told(c)
				}
			}
			return v.toAll(ctx, c, live)
		}
		return v.say(ctx, c, &link.Answer{Status: 202}, nil)
	case "notifications/cancelled":
		return v.cancelled(ctx, c)
	case "notifications/progress":
		value, _ := jsonrpc.Lookup(m.Params, "progressToken")
		mark, _ := jsonrpc.Text(value)
		b, token := v.prefixed(mark)
		if b == nil || !fanID(token) || b.gone() != "" {
			return v.refuse(ctx, c, jsonrpc.CodeInvalidParams, "no server has given this progress token")
		}
		at := jsonrpc.Offset(m.Raw, value)
		return v.forward(ctx, c, b, []jsonrpc.Edit{{From: at, To: at + len(value), New: []byte(token)}})
	case "notifications/tasks/status":
		task, _ := fanText(m.Params, "taskId")
		v.mu.Lock()
		owners := v.tasks.of[task]
		v.mu.Unlock()
		if len(owners) != 1 {
			return v.refuse(ctx, c, jsonrpc.CodeInvalidParams, "the task is of no server here, or of several")
		}
		return v.forward(ctx, c, owners[0], nil)
	}
	return v.refuse(ctx, c, jsonrpc.CodeMethodNotFound, "several servers are behind this endpoint, and "+fanShow(m.Method)+" does not say which of them it is for")
}

// cancelled goes to the server that has the request.
func (v *fanServer) cancelled(ctx context.Context, c link.Call) (*link.Answer, error) {
	value, _ := jsonrpc.Lookup(c.Message.Params, "requestId")
	id := jsonrpc.ID(value)
	if text, ok := jsonrpc.Text(value); ok {
		id = jsonrpc.ID(jsonrpc.AppendString(nil, text))
	}
	v.mu.Lock()
	to := slices.Clone(v.flights[id])
	v.mu.Unlock()
	if len(to) == 0 { // it is answered already; the protocol says to ignore that
		return v.say(ctx, c, &link.Answer{Status: 202}, nil)
	}
	return v.toAll(ctx, c, to)
}

// forward sends a message without an answer to one server.
func (v *fanServer) forward(ctx context.Context, c link.Call, b *fanBranch, edits []jsonrpc.Edit) (*link.Answer, error) {
	m, err := fanEdit(c.Message, edits)
	if err != nil {
		return nil, err
	}
	c.Message, c.Header = m, fanHeader(c.Header, &fanTo{branch: b})
	return b.server.Send(ctx, c)
}

// take remembers where a request went, for what is said of it while it waits.
func (v *fanServer) take(m jsonrpc.Message, b *fanBranch) bool {
	token, ok := jsonrpc.Lookup(m.Params, "_meta", "progressToken")
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting >= limits.MCPFanFlights {
		return false
	}
	v.waiting++
	v.flights[m.ID] = append(v.flights[m.ID], b)
	if ok {
		v.tokens.add(fanToken(token), b)
	}
	return true
}

// fanToken gives the one way of writing a progress token.
func fanToken(value []byte) string {
	if text, ok := jsonrpc.Text(value); ok {
		return string(jsonrpc.AppendString(nil, text))
	}
	return string(value)
}

// landed forgets a request that is answered.
func (v *fanServer) landed(id jsonrpc.ID, b *fanBranch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	of := v.flights[id]
	i := slices.Index(of, b)
	if i < 0 {
		return
	}
	v.waiting--
	if len(of) == 1 {
		delete(v.flights, id)
		return
	}
	v.flights[id] = slices.Delete(slices.Clone(of), i, i+1)
}

// keep remembers a request whose stream the client left, until it goes on with it or
// too many others were left.
func (v *fanServer) keep(id jsonrpc.ID, b *fanBranch) {
	v.mu.Lock()
	v.kept = append(v.kept, fanFlight{id, b})
	var oldest fanFlight
	if len(v.kept) > limits.MCPFanKept {
		oldest, v.kept = v.kept[0], v.kept[1:]
	}
	v.mu.Unlock()
	if oldest.branch != nil {
		v.landed(oldest.id, oldest.branch)
	}
}

// flying says whether a server has a request with that id.
func (v *fanServer) flying(id jsonrpc.ID, b *fanBranch) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Contains(v.flights[id], b)
}
