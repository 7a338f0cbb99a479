package mcp

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/pins"
	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// What servers list that is pinned.
const (
	kindTool     = pins.Tool
	kindPrompt   = pins.Prompt
	kindTemplate = pins.Template
)

// listed says what the result of a method lists, and under which name.
func listed(method string) (kind, key string) {
	switch method {
	case "tools/list":
		return kindTool, "tools"
	case "prompts/list":
		return kindPrompt, "prompts"
	case "resources/templates/list":
		return kindTemplate, "resourceTemplates"
	}
	return "", ""
}

// nameOf says which member of an item tells it from others.
func nameOf(kind string) string {
	if kind == kindTemplate {
		return "uriTemplate"
	}
	return "name"
}

// PinJudge compares what a server lists with what was pinned. The items are the bytes of
// each, in their order, of all pages so far; so are the answers.
type PinJudge interface {
	Judge(server, kind string, items [][]byte) []pins.Judged
	// Gone gives what is recorded and is not among the names, which are all that the
	// server lists now. Each is given once in a run.
	Gone(server, kind string, names []string) []pins.Judged
}

// book is what is known of one kind of things that the server has.
type book struct {
	entries map[string]*entry
	items   [][]byte // of all pages so far
	names   []string // of the items
	next    string   // cursor of the page after them
	whole   bool     // the last page was seen
}

// entry is one tool, prompt or template as the server lists it.
type entry struct {
	pins.Judged

	kind, name string
	pin        string
	hidden     bool // no client sees or calls it
	approved   bool // a person approved it as it is
	tree       map[string]any
	about      map[string]any // for policies
}

// listing is one page of a list that is being judged.
type listing struct {
	kind, key string
	page      []*entry // in the order of the page
	cut       []*entry
	ask       []*entry
	warn      []*entry
	gone      []pins.Judged // recorded, and not listed any more
	set       string        // names the items that a person is to approve
	original  jsonrpc.Message
}

// judgeResponse judges the answer to a request of the client.
func (s *session) judgeResponse(ctx context.Context, m *matter) ruling {
	kind, key := listed(m.e.method)
	if m.msg.Kind != jsonrpc.Response || kind == "" {
		return s.wanted(ctx, m, s.judge(ctx, m))
	}
	return s.judgeList(ctx, m, kind, key)
}

// judgeList judges one page of a list: what is denied is cut out of it, as if the server
// had never listed it.
func (s *session) judgeList(ctx context.Context, m *matter, kind, key string) (r ruling) {
	defer func() {
		if p := recover(); p != nil {
			r = s.broke(m, p)
		}
	}()
	l := &listing{kind: kind, key: key, original: m.msg}
	m.list = l
	if why := s.openList(m, l); why != "" {
		return s.ruled(m, policyPins, why, codeUnjudged)
	}
	s.miss(m, l)
	for _, e := range l.page {
		s.sort(l, e)
	}
	s.settleSet(l)
	if m.cutAsked {
		l.withoutAsked()
	}
	if len(l.ask) > 0 {
		m.diff = l.difference()
	}
	if len(l.cut) > 0 {
		cut, err := cutOut(m.msg, l, s.scanOptions())
		if err != nil {
			return s.unjudged(m, err)
		}
		m.msg = cut
	}
	m.check = l.evaluations
	r = s.judge(ctx, m)
	r.changed = r.changed || len(l.cut) > 0
	return r
}

// openList reads the items of a page and what is known of them.
func (s *session) openList(m *matter, l *listing) string {
	list, ok := jsonrpc.Lookup(m.msg.Result, l.key)
	if !ok {
		return "" // a result without the list lists nothing
	}
	var items [][]byte
	var names []string
	err := jsonrpc.Elements(list, func(_ int, item []byte) bool {
		raw, _ := jsonrpc.Lookup(item, nameOf(l.kind))
		name, ok := jsonrpc.Text(raw)
		if !ok {
			name = ""
		}
		items, names = append(items, item), append(names, name)
		return len(items) <= limits.MCPGuardEntries
	})
	if err != nil {
		return "the list of the server is no list"
	}
	before, earlier := s.pages(m, l.kind)
	if len(before)+len(items) > limits.MCPGuardEntries {
		return "the server lists too many of one kind"
	}
	var known []pins.Judged
	if s.g.o.Pins != nil {
		known = s.g.o.Pins.Judge(s.g.o.Server, l.kind, append(slices.Clip(before), items...))
		if len(known) != len(before)+len(items) {
			return "what is pinned cannot be told"
		}
		known = known[len(before):]
	}
	seen := map[string]bool{}
	for _, n := range earlier {
		seen[n] = true
	}
	for i, item := range items {
		e := &entry{kind: l.kind, name: names[i]}
		if known != nil {
			e.Judged = known[i]
			e.Item = pins.Item{} // its bytes are not needed any more
		}
		e.pin = or(e.Pin, protocol.Digest(item))
		e.hidden = e.name == "" || seen[e.name] || s.g.o.Hidden != nil && s.g.o.Hidden(e.kind, e.name)
		seen[e.name] = true
		l.page = append(l.page, e)
	}
	return ""
}

// miss finds what the server had and does not list any more, where this page is the last
// of a list that was read from its beginning.
func (s *session) miss(m *matter, l *listing) {
	if next, _ := jsonrpc.Lookup(m.msg.Result, "nextCursor"); s.g.o.Pins == nil || isCursor(next) {
		return
	}
	var names []string
	if cursor := m.cursor(); cursor != "" {
		s.mu.Lock()
		b := s.books[l.kind]
		if b == nil || b.whole || b.next != cursor { // a page alone says nothing of the others
			s.mu.Unlock()
			return
		}
		names = slices.Clone(b.names)
		s.mu.Unlock()
	}
	for _, e := range l.page {
		names = append(names, e.name)
	}
	if l.gone = s.g.o.Pins.Gone(s.g.o.Server, l.kind, names); len(l.gone) == 0 {
		return
	}
	told := make([]string, 0, min(len(l.gone), limits.MCPGuardNamed))
	for i := range l.gone[:cap(told)] {
		told = append(told, brief(l.gone[i].Item.Name))
	}
	s.g.o.Log.Warn("the server does not list any more what it had", "server", s.g.o.Server, "kind", l.kind, "names", told, "count", len(l.gone))
}

// isCursor says whether a list goes on after the page that has this as its nextCursor.
func isCursor(raw []byte) bool {
	text, ok := jsonrpc.Text(raw)
	return ok && text != ""
}

// pages gives the items of the pages before this one: of none for the first.
func (s *session) pages(m *matter, kind string) (items [][]byte, names []string) {
	if m.cursor() == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.books[kind]
	if b == nil || b.whole {
		return nil, nil
	}
	return b.items, b.names
}

// cursor says which page of a list was asked for; "" is the first.
func (m *matter) cursor() string {
	params, _ := m.e.params.(map[string]any)
	cursor, _ := params["cursor"].(string)
	return cursor
}

// sort says what becomes of one item.
func (s *session) sort(l *listing, e *entry) {
	switch d := s.decide(e); {
	case e.hidden || d == protocol.Deny:
		e.hidden = true
		l.cut = append(l.cut, e)
	case d == protocol.RequireApproval:
		l.ask = append(l.ask, e)
	case d == protocol.Warn:
		l.warn = append(l.warn, e)
	}
}

// decide gives the decision on an item as it was pinned or not.
func (s *session) decide(e *entry) protocol.Decision {
	if s.g.o.Pins == nil {
		return protocol.Allow
	}
	p := &s.g.o.PinDecisions
	d := protocol.Deny // a state that nobody knows
	switch e.State {
	case pins.Pinned:
		return protocol.Allow
	case pins.New:
		d = p.New
	case pins.Changed:
		d = p.Changed
	case pins.Shadowing:
		d = p.Shadowing
	case pins.Unpinned:
		d = p.Unpinned
	}
	ids := e.suspected()
	switch {
	case len(ids) == 0:
	case e.State == pins.Unpinned && s.g.o.Environment == Local && !gateways.Grave(ids):
		d = protocol.MostSevere(d, protocol.Warn)
	default:
		d = protocol.MostSevere(d, p.Suspicious)
	}
	return d
}

// suspected gives the ids of what looks like an order in the item, without their places.
func (e *entry) suspected() []string {
	out := make([]string, 0, len(e.Suspicions))
	for _, one := range e.Suspicions {
		_, id := placed(one)
		out = append(out, id)
	}
	return out
}

// placed parts a suspicion of an item into where it is and what.
func placed(suspicion string) (at, id string) {
	i := strings.LastIndex(suspicion, ": ")
	if i < 0 {
		return "", suspicion
	}
	return suspicion[:i], suspicion[i+2:]
}

// items are what policies read of the items of a list, in the order of the list as it
// will go on.
func (l *listing) items(s *session) []any {
	out := make([]any, 0, len(l.page))
	for _, e := range l.page {
		if slices.Contains(l.cut, e) {
			continue
		}
		found := make([]any, 0, len(e.Suspicions))
		for _, one := range e.Suspicions {
			at, id := placed(one)
			found = append(found, map[string]any{"at": at, "id": id})
		}
		one := map[string]any{
			"name": e.name, "kind": e.kind, "state": or(e.State, pins.Unpinned), "pin": e.pin, "suspicions": found, "approved": e.approved,
		}
		if s.g.o.Pins != nil {
			one["decision"] = string(s.decide(e))
			if e.approved {
				one["decision"] = string(protocol.Allow)
			}
		}
		out = append(out, one)
	}
	return out
}

// cutOut gives the message without what is cut; every other byte stays.
func cutOut(msg jsonrpc.Message, l *listing, o jsonrpc.Options) (jsonrpc.Message, error) {
	list, _ := jsonrpc.Lookup(msg.Result, l.key)
	at := jsonrpc.Offset(msg.Raw, list)
	left := []byte{'['}
	err := jsonrpc.Elements(list, func(i int, item []byte) bool {
		if i < len(l.page) && !slices.Contains(l.cut, l.page[i]) {
			if len(left) > 1 {
				left = append(left, ',')
			}
			left = append(left, item...)
		}
		return true
	})
	if err != nil {
		return jsonrpc.Message{}, err
	}
	return spliced(msg, []jsonrpc.Edit{{From: at, To: at + len(list), New: append(left, ']')}}, o)
}

// evaluations are the guard's own words on a list.
func (l *listing) evaluations(m *matter) (out []protocol.PolicyEvaluation) {
	add := func(d protocol.Decision, what string, list []*entry) {
		if len(list) == 0 {
			return
		}
		var names []string
		var each []any
		for _, e := range list[:min(len(list), limits.MCPGuardNamed)] {
			names = append(names, e.name+" ("+e.known()+")")
			one := map[string]any{"name": e.name, "state": e.State, "pin": e.pin}
			if len(e.Suspicions) > 0 {
				one["suspicions"] = strings.Join(e.Suspicions, "; ")
			}
			each = append(each, one)
		}
		ev := evaluation(m, policyPins, d, what+": "+strings.Join(names, ", "))
		ev.Evidence = map[string]any{"items": each}
		out = append(out, ev)
	}
	add(protocol.Warn, "cut out of the list", l.cut)
	add(protocol.Warn, "not pinned", l.warn)
	add(protocol.RequireApproval, "not as it was pinned", l.ask)
	gone := make([]*entry, 0, len(l.gone))
	for _, j := range l.gone {
		gone = append(gone, &entry{Judged: j, kind: l.kind, name: j.Item.Name, pin: j.Was})
	}
	add(protocol.Warn, "not listed any more", gone)
	return out
}

// learnList notes what a client may call after a list: what it was told of.
func (s *session) learnList(m *matter) {
	l := m.list
	if l == nil {
		return
	}
	result, _ := m.tree.(map[string]any)
	shown := map[string]map[string]any{}
	items, _ := result[l.key].([]any)
	for _, item := range items {
		if tree, ok := item.(map[string]any); ok {
			name, _ := tree[nameOf(l.kind)].(string)
			shown[name] = tree
		}
	}
	more, _ := result["nextCursor"].(string)
	var raws [][]byte
	var names []string
	if list, ok := jsonrpc.Lookup(l.original.Result, l.key); ok {
		_ = jsonrpc.Elements(list, func(i int, item []byte) bool {
			raws, names = append(raws, bytes.Clone(item)), append(names, l.page[i].name)
			return true
		})
	}
	before, earlier := s.pages(m, l.kind)
	for _, e := range l.page { // both name places, and are told again when it is called
		e.Diff = m.shown(e.Diff)
		e.Suspicions = slices.Clone(e.Suspicions)
		for i, one := range e.Suspicions {
			e.Suspicions[i] = m.shown(one)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.books[l.kind]
	again := b != nil && b.whole && m.cursor() != "" // a later page of a list that is known
	if b == nil || len(before) == 0 && !again {
		b = &book{entries: map[string]*entry{}}
		s.books[l.kind] = b
	}
	if !again {
		b.items, b.names = append(slices.Clip(before), raws...), append(slices.Clip(earlier), names...)
		b.whole, b.next = more == "", more
	}
	if b.whole {
		b.items, b.names = nil, nil
	}
	for _, e := range l.page {
		e.tree = shown[e.name]
		e.hidden = e.hidden || e.tree == nil // policy took it out
		e.describe()
		if was := b.entries[e.name]; was == nil || !was.hidden && !e.hidden || was.pin == e.pin {
			b.entries[e.name] = e
		} else {
			was.hidden = true // two of one name: neither is called
		}
	}
}

// known says in a few words how an item stands to what was pinned.
func (e *entry) known() string {
	said := or(e.State, "hidden")
	if e.Like != "" {
		said += " " + harmless.OneLine(e.Like)
		if e.LikeServer != "" {
			said += " of server " + harmless.OneLine(e.LikeServer)
		}
	}
	return said
}

// describe makes what policies see of the item.
func (e *entry) describe() {
	e.about = map[string]any{"name": e.name, "pin": e.pin, "state": or(e.State, pins.Unpinned)}
	if e.approved {
		e.about["approved"] = true
	}
	for _, key := range []string{"title", "description", "annotations"} {
		if v, ok := e.tree[key]; ok {
			e.about[key] = v
		}
	}
}

// forget drops what is known of a kind: the server says that it is other now.
func (s *session) forget(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.books, kind)
}

func (s *session) known(kind, name string) (e *entry, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.books[kind]
	if b == nil {
		return nil, false
	}
	if e = b.entries[name]; e == nil {
		return nil, b.whole
	}
	now := *e // what is learned later changes nothing for who asked now
	return &now, b.whole
}
