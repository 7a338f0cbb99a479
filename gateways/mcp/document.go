package mcp

import (
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/protocol"
)

// matter is one message that is to be judged, and the exchange that it belongs to: a
// notification has one of its own.
type matter struct {
	s     *session
	e     *exchange
	phase gateways.Phase
	from  direction
	msg   jsonrpc.Message
	at    time.Time
	came  string // the digest of the bytes that came
	// foreign is an answer that is no message, as servers give it with an HTTP status
	// that is an error.
	foreign []byte
	// within names the part of the message that is judged, where it is not all of it.
	within string
	part   []byte

	list     *listing // what the answer lists
	cutAsked bool     // what a person would have to approve is cut out of it
	diff     string   // for the person who is to approve
	unknown  string   // why it is not known what the server says of what is called

	stamped string // at, once it was written
	tree    any
	client  map[string]any
	texts   []gateways.Text
	edits   []jsonrpc.Edit // what redaction replaces
	sealed  []string       // pointers to texts in base64, which cannot be rewritten in place
	leaks   bool           // one of them holds what redaction would replace
	// check is what the guard itself says of the message as it is; may be nil.
	check func(*matter) []protocol.PolicyEvaluation
}

// body gives the part of the message that is judged and the pointer to it.
func (m *matter) body() (part []byte, at string) {
	switch {
	case m.part != nil:
		return m.part, m.within
	case m.phase != gateways.PhaseResponse:
		return m.msg.Params, "/params"
	case m.msg.Kind == jsonrpc.Failure:
		return m.msg.Error, "/error"
	}
	return m.msg.Result, "/result"
}

// read builds the tree and the texts of the message from its bytes. They are those that
// are forwarded, but for secrets that redaction takes out.
func (m *matter) read() error {
	if m.foreign != nil {
		text := m.redacted(string(m.foreign))
		m.tree = map[string]any{"message": text}
		m.texts = append(m.texts, gateways.Text{Value: text, Kind: gateways.KindError})
		return nil
	}
	body, at := m.body()
	if body == nil {
		m.tree = nil
		return nil
	}
	tree, err := jsonrpc.Tree(body)
	if err != nil {
		return err
	}
	m.tree = tree
	m.collect(body, at)
	if m.phase == gateways.PhaseRequest && m.part == nil {
		m.e.params = tree
	}
	return nil
}

func (m *matter) redacted(text string) string {
	if m.s.g.o.Redact == nil {
		return text
	}
	return m.s.g.o.Redact.String(text)
}

// collect notes every text of the part of the message, and where secrets stand in it.
func (m *matter) collect(body []byte, prefix string) {
	base := jsonrpc.Offset(m.msg.Raw, body)
	jsonrpc.Literals(body, func(l jsonrpc.Literal) bool {
		if !l.Key && m.phase == gateways.PhaseResponse && (strings.HasSuffix(l.At, "/data") || strings.HasSuffix(l.At, "/blob")) {
			decoded, read := m.blob(l.At, l.Value)
			if decoded != "" {
				m.sealed = append(m.sealed, prefix+l.At)
				m.leaks = m.leaks || m.redacted(decoded) != decoded
				m.texts = append(m.texts, gateways.Text{At: prefix + l.At, Value: decoded, Kind: m.kind(prefix, l.At)})
				read = len(l.Value) < blobBytes
				if !read && m.redacted(l.Value) != l.Value {
					m.leaks = true
				}
			}
			if !read {
				return true
			}
		}
		value := l.Value
		if m.s.g.o.Redact != nil {
			if value = m.s.g.o.Redact.String(l.Value); value != l.Value && base >= 0 {
				m.edits = append(m.edits, jsonrpc.Edit{From: base + l.From, To: base + l.To, New: jsonrpc.AppendString(nil, value)})
			}
		}
		m.texts = append(m.texts, gateways.Text{At: prefix + l.At, Value: value, Kind: m.kind(prefix, l.At)})
		return true
	})
}

// kind says what the text at a place is for.
func (m *matter) kind(prefix, at string) string {
	switch {
	case prefix == "/error":
		return gateways.KindError
	case m.phase == gateways.PhaseResponse:
		return kindInResult(m.e.method, at)
	case strings.HasPrefix(at, "/arguments"):
		return gateways.KindArgument
	case m.from == fromServer:
		return gateways.KindText
	}
	return ""
}

func kindInResult(method, at string) string {
	switch method {
	case "initialize", "server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list":
		return gateways.KindDescription
	case "resources/read":
		return gateways.KindResource
	}
	if strings.Contains(at, "/resource/") {
		return gateways.KindResource
	}
	return gateways.KindText
}

// pointerStep writes a name as a step of an RFC 6901 pointer.
func pointerStep(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// put replaces the value at a pointer of a tree.
func put(tree any, at string, value any) {
	steps := strings.Split(strings.TrimPrefix(at, "/"), "/")
	for i, step := range steps {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		last := i == len(steps)-1
		switch node := tree.(type) {
		case map[string]any:
			if last {
				node[step] = value
				return
			}
			tree = node[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n < 0 || n >= len(node) {
				return
			}
			if last {
				node[n] = value
				return
			}
			tree = node[n]
		default:
			return
		}
	}
}

// document gives what judges read of the message.
func (m *matter) document() gateways.Document {
	o := &m.s.g.o
	e := m.e
	about := map[string]any{
		"phase":       string(m.phase),
		"direction":   string(e.from), // of the request, also where its answer is judged
		"transport":   o.Transport,
		"revision":    e.revision,
		"session":     m.s.ref,
		"principal":   m.s.who.Principal,
		"environment": string(o.Environment),
		"known":       known(e.method, e.from, m.phase, e.revision),

		"unknown_methods": string(o.UnknownMethods),
	}
	if e.tool != nil {
		about["tool"] = e.tool
	}
	if e.files != nil {
		about["paths"] = e.files
	}
	if len(o.Roots) > 0 {
		about["roots"] = m.s.g.roots
	}
	if m.client != nil {
		about["client"] = m.client
	}
	if m.within != "" {
		about["within"] = m.within
	}
	if m.list != nil {
		about["items"] = m.list.items(m.s)
	}
	params := m.tree
	if m.phase == gateways.PhaseResponse {
		params = e.params
		if m.msg.Kind == jsonrpc.Failure || m.foreign != nil {
			about["error"] = m.tree
		} else {
			about["result"] = m.tree
		}
	}
	input := map[string]any{
		"request_id": e.request,
		"timestamp":  m.time(),
		"source":     m.s.who.Principal,
		"server_id":  o.Server,
		"method":     e.method,
		"context":    about,
	}
	if params != nil {
		input["params"] = params
	}
	return gateways.Document{Phase: m.phase, Input: input, Texts: m.texts}
}

// known says whether a revision of the protocol has the method for that sender.
func known(method string, from direction, phase gateways.Phase, revision string) bool {
	m, ok := jsonrpc.Find(method)
	if !ok {
		return false
	}
	sender := jsonrpc.FromClient
	if from == fromServer {
		sender = jsonrpc.FromServer
	}
	r := jsonrpc.Revision(revision)
	if !jsonrpc.Known(r) {
		r = ""
	}
	return m.From&sender != 0 && m.In(r) && m.Notification == (phase == gateways.PhaseNotification)
}

// time gives when the message came, as records and policies read it.
func (m *matter) time() string {
	if m.stamped == "" {
		m.stamped = stamp(m.at)
	}
	return m.stamped
}

// stamp writes a time as records and policies read it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
