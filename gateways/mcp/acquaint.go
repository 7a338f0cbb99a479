package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/gateways/mcp/paths"
	"github.com/cabincrew/action/gateways/mcp/pins"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// called says what kind of thing a method calls by name.
func called(method string) (kind, list string) {
	switch method {
	case methodCall:
		return kindTool, "tools/list"
	case methodPrompt:
		return kindPrompt, "prompts/list"
	}
	return "", ""
}

// acquaint finds what a request calls among what the server lists. Where the client never
// asked for the list, or the server said that it is other now, the gateway asks.
func (s *session) acquaint(ctx context.Context, m *matter) {
	e := m.e
	kind, list := called(e.method)
	if s.unlisted(kind) {
		return
	}
	known, whole := s.known(kind, e.name)
	if known == nil && !whole {
		if err := s.ownList(ctx, e, kind, list); err != nil && s.g.o.Pins != nil {
			s.g.o.Log.Warn("the gateway cannot list what the server has", "list", list, "error", err)
			m.unknown = "what the server says of it cannot be known: " + err.Error()
			return
		}
		known, _ = s.known(kind, e.name)
	}
	if e.entry = known; known != nil {
		e.tool = known.about
	}
}

// unlisted says whether nothing depends on what the server lists of a kind.
func (s *session) unlisted(kind string) bool {
	o := &s.g.o
	return kind == "" || o.Pins == nil && o.Hidden == nil && (o.Paths == nil || kind != kindTool)
}

// checkRequest is what the guard itself says of a request of the client.
func (s *session) checkRequest(m *matter) []protocol.PolicyEvaluation {
	var out []protocol.PolicyEvaluation
	e := m.e
	if kind, _ := called(e.method); kind != "" {
		if ev := s.checkPin(m, kind); ev != nil {
			out = append(out, *ev)
		}
	}
	if ev := s.checkTemplate(m); ev != nil {
		out = append(out, *ev)
	}
	out = append(out, s.checkPaths(m)...)
	return append(out, s.checkOther(m)...)
}

func (s *session) checkPin(m *matter, kind string) *protocol.PolicyEvaluation {
	e := m.e
	say := func(d protocol.Decision, why string) *protocol.PolicyEvaluation {
		ev := evaluation(m, policyPins, d, kind+" "+e.name+" "+why)
		return &ev
	}
	known := e.entry
	switch {
	case m.unknown != "":
		ev := evaluation(m, policyPins, protocol.Deny, m.unknown)
		return &ev
	case known == nil && s.g.o.Pins != nil:
		return say(protocol.Deny, "is not among what the server lists")
	case known == nil && s.g.o.Hidden != nil && s.g.o.Hidden(kind, e.name):
		return say(protocol.Deny, "is hidden")
	case known == nil:
		return nil
	case known.hidden:
		return say(protocol.Deny, "is hidden")
	case known.approved:
		return nil
	}
	d := s.decide(known)
	if d == protocol.Allow {
		return nil
	}
	why := "is not pinned"
	if known.State != pins.Unpinned {
		why = "is " + known.known()
	}
	if len(known.Suspicions) > 0 {
		why += "; suspicious: " + strings.Join(known.Suspicions, "; ")
	}
	m.diff = known.Diff
	return say(d, why)
}

// checkPaths looks where the files lie that a request names.
func (s *session) checkPaths(m *matter) []protocol.PolicyEvaluation {
	e := m.e
	e.files = nil
	if s.g.o.Paths == nil {
		return nil
	}
	params, _ := m.tree.(map[string]any)
	var found []paths.Finding
	prefix := "/params"
	switch e.method {
	case methodCall:
		tool := paths.Tool{Name: e.name}
		if s.g.o.Tool != nil {
			tool = s.g.o.Tool(e.name)
			tool.Name = e.name
		}
		if e.entry != nil {
			tool.Schema = e.entry.tree["inputSchema"]
		}
		prefix = "/params/arguments"
		found = s.g.o.Paths.Check(tool, params["arguments"])
	case methodRead, "resources/subscribe", "resources/unsubscribe":
		found = s.checkURI(e.method, params)
	case methodPrompt:
		prefix = "/params/arguments"
		found = s.g.o.Paths.Check(paths.Tool{Name: e.name}, params["arguments"])
	case "completion/complete":
		found = s.checkCompletion(params)
	default:
		return nil
	}
	return m.namedFiles(prefix, found)
}

// checkURI looks at the URI of a resource if it may be read as a file.
func (s *session) checkURI(method string, of map[string]any) []paths.Finding {
	uri, _ := of["uri"].(string)
	switch {
	case !strings.Contains(uri, ":"), paths.IsFileURI(uri):
	case strings.ContainsFunc(uri, func(r rune) bool { return r < ' ' || r == 0x7f }):
	case strings.Contains(uri, "/../") && !paths.IsWeb(uri):
	default:
		return nil
	}
	return s.g.o.Paths.Check(paths.Tool{Name: method, Pointers: []string{"/uri"}}, map[string]any{"uri": uri})
}

// checkCompletion looks at what is to be completed: the template of a resource, and the
// value as the argument whose name it is for.
func (s *session) checkCompletion(params map[string]any) []paths.Finding {
	var out []paths.Finding
	if ref, _ := params["ref"].(map[string]any); ref["uri"] != nil {
		for _, f := range s.checkURI("completion/complete", ref) {
			f.At = "/ref" + f.At
			out = append(out, f)
		}
	}
	arg, _ := params["argument"].(map[string]any)
	if name, _ := arg["name"].(string); name != "" {
		for _, f := range s.g.o.Paths.Check(paths.Tool{Name: "completion/complete"}, map[string]any{name: arg["value"]}) {
			f.At = "/argument/value"
			out = append(out, f)
		}
	}
	return out
}

// ownList lists tools or prompts for the gateway itself. What comes is judged like a
// list that the client asked for.
func (s *session) ownList(ctx context.Context, like *exchange, kind, list string) error {
	ctx, cancel := context.WithTimeout(ctx, limits.MCPGuardOwn)
	defer cancel()
	select {
	case s.listing <- struct{}{}:
		defer func() { <-s.listing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, whole := s.known(kind, like.name); whole {
		return nil // another call asked meanwhile
	}
	cursor := ""
	for range limits.MCPGuardPages {
		next, err := s.ownPage(ctx, like, list, cursor)
		if err != nil || next == "" {
			return err
		}
		cursor = next
	}
	return errors.New("the list has too many pages")
}

func (s *session) ownPage(ctx context.Context, like *exchange, list, cursor string) (next string, err error) {
	params := map[string]any{}
	if cursor != "" {
		params["cursor"] = cursor
	}
	if meta := ownMeta(like.params); meta != nil {
		params["_meta"] = meta
	}
	text, err := json.Marshal(params)
	if err != nil {
		return "", err
	}
	id := jsonrpc.ID(jsonrpc.AppendString(nil, "cabincrew-"+s.g.o.NewID()))
	msg, err := jsonrpc.Scan(jsonrpc.NewRequest(id, list, text), jsonrpc.Options{})
	if err != nil {
		return "", err
	}
	header := s.ownHeader(like)
	if header != nil && jsonrpc.Stateless(jsonrpc.Revision(like.revision)) {
		header = http.Header{"Mcp-Protocol-Version": {like.revision}, "Mcp-Method": {list}}
	}
	e := &exchange{
		id: id, request: s.g.o.NewID(), from: fromClient, method: list, own: true,
		params: params, revision: like.revision, header: header,
	}
	asked := &matter{s: s, e: e, phase: gateways.PhaseRequest, from: fromClient, msg: msg, at: s.g.o.Now()}
	allowed := ruling{Verdict: gateways.Verdict{Decision: protocol.Allow}, message: msg}
	if err := s.record(ctx, asked, allowed); err != nil {
		return "", err
	}
	a, err := s.next.Send(ctx, link.Call{Message: msg, Header: header})
	if err != nil {
		s.heed(err)
		return "", err
	}
	got, err := s.ownAnswer(ctx, e, a)
	if err != nil {
		return "", err
	}
	return s.ownPageOf(ctx, e, got)
}

var errRefused = errors.New("the server refuses to list")

// ownPageOf judges a page and learns from it.
func (s *session) ownPageOf(ctx context.Context, e *exchange, got jsonrpc.Message) (next string, err error) {
	if got.Kind != jsonrpc.Response {
		return "", errRefused
	}
	m := &matter{
		s: s, e: e, phase: gateways.PhaseResponse, from: fromServer, msg: got, at: s.g.o.Now(),
		came: protocol.Digest(got.Raw),
	}
	r := s.judgeResponse(ctx, m)
	if err := s.record(ctx, m, r); err != nil {
		return "", err
	}
	if r.Decision == protocol.Deny {
		return "", errors.New("its list is denied")
	}
	// What needs an approval is not approved by this: its call will need it.
	s.learnList(m)
	value, _ := jsonrpc.Lookup(got.Result, "nextCursor")
	next, _ = jsonrpc.Text(value)
	return next, nil
}

// ownMeta gives what a request of the revision without sessions says of itself.
func ownMeta(params any) map[string]any {
	m, _ := params.(map[string]any)
	meta, _ := m["_meta"].(map[string]any)
	if _, ok := meta[jsonrpc.MetaRevision]; !ok {
		return nil
	}
	out := map[string]any{}
	for _, key := range []string{jsonrpc.MetaRevision, jsonrpc.MetaClientInfo, jsonrpc.MetaClientCapabilities} {
		if v, ok := meta[key]; ok {
			out[key] = v
		}
	}
	return out
}

// ownAnswer reads the answer to a request of the gateway. What else the server says
// meanwhile has nobody to hear it: its requests are refused.
func (s *session) ownAnswer(ctx context.Context, e *exchange, a *link.Answer) (jsonrpc.Message, error) {
	if a.Stream == nil {
		defer a.Judged()
		msg, err := jsonrpc.Scan(a.Body, s.scanOptions())
		if err != nil {
			return msg, errors.New("its answer cannot be read")
		}
		if msg.ID != e.id {
			return msg, errors.New("it answers another request")
		}
		return msg, nil
	}
	defer func() { _ = a.Stream.Close() }() // nothing more is wanted of it
	for range limits.MCPGuardInFlight {
		ev, err := a.Stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			return jsonrpc.Message{}, errors.New("it ended its answer before it gave one")
		}
		if err != nil {
			return jsonrpc.Message{}, err
		}
		ev.Judged() // only as much is kept as is asked for
		if len(ev.Data) == 0 {
			continue
		}
		msg, err := jsonrpc.Scan(ev.Data, s.scanOptions())
		if err != nil {
			return msg, errors.New("its answer cannot be read")
		}
		switch {
		case msg.ID == e.id && msg.Method == "":
			return msg, nil
		case msg.Kind == jsonrpc.Request:
			m := s.unasked(msg, e, gateways.PhaseRequest)
			r := s.often(m, policySession, "nobody waits for requests here", codeDenied)
			_ = s.record(ctx, m, r) // refused, recorded or not
			s.refuseServer(m.e, r)
		}
	}
	return jsonrpc.Message{}, errors.New("it says too much before its answer")
}

// stale says why what was approved is not what would be called now: while a person
// decides, the server may list another tool under the name, and a file that is named may
// become a link to another. Files are looked at last, right before the call goes on.
func (s *session) stale(ctx context.Context, m *matter) string {
	if why := s.staleItem(ctx, m); why != "" {
		return why
	}
	if m.check == nil {
		return ""
	}
	before, item := m.e.files, m.e.entry
	s.acquaintTemplates(ctx, m) // where the server said that they are others
	for _, ev := range m.check(m) {
		if ev.Decision == protocol.Deny {
			return "it changed while it was held: " + ev.Reason
		}
	}
	if now := m.e.entry; (now == nil) != (item == nil) || now != nil && now.pin != item.pin {
		return "what makes the resource changed while it was held"
	}
	if !reflect.DeepEqual(before, m.e.files) {
		return "a file that it names is another than when it was held"
	}
	return ""
}

// staleItem says so of the tool or prompt that is called.
func (s *session) staleItem(ctx context.Context, m *matter) string {
	e := m.e
	kind, list := called(e.method)
	if m.phase != gateways.PhaseRequest || s.unlisted(kind) {
		return ""
	}
	was := e.entry
	s.forget(kind)
	if err := s.ownList(ctx, e, kind, list); err != nil {
		if was == nil && s.g.o.Pins == nil {
			return ""
		}
		return "what the server says of it cannot be known any more"
	}
	now, _ := s.known(kind, e.name)
	switch {
	case now == nil && was == nil:
		return ""
	case was == nil:
		return kind + " " + e.name + " was not there when the call was held"
	case now == nil || now.hidden:
		return kind + " " + e.name + " is not there any more"
	case now.pin != was.pin:
		return kind + " " + e.name + " changed while the call was held"
	case s.decide(now).Severity() > s.decide(was).Severity():
		return kind + " " + e.name + " is " + now.known() + " since the call was held"
	}
	return ""
}
