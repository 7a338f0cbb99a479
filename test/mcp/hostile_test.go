package mcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The codes of refusals. SPEC: docs/protocol.md 10
const (
	denied      = -32050
	rejected    = -32051
	unjudged    = -32052
	unreachable = -32053
	limited     = -32054
)

// sent is one message that a server got.
type sent struct {
	message
	raw    []byte
	header http.Header
}

// answerer answers one message in place of the server's own way.
type answerer func(w http.ResponseWriter, r *http.Request, m sent)

// code is the code of the error that answers, 0 if there is none.
func (r reply) code() int {
	if e := r.answer().Error; e != nil {
		return e.Code
	}
	return 0
}

// hostile is a server that does what a test says and remembers what it was sent.
type hostile struct {
	t   *testing.T
	url string

	mu    sync.Mutex
	tools []string            // as JSON
	on    map[string]answerer // by method
	seen  []sent
	push  []chan string // the open streams
}

// newHostile starts a server with the tool echo.
func newHostile(t *testing.T, tools ...string) *hostile {
	t.Helper()
	h := &hostile{t: t, tools: append([]string{echoTool}, tools...), on: map[string]answerer{}}
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	h.url = s.URL + "/mcp"
	return h
}

// offers replaces the tools.
func (h *hostile) offers(tools ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tools = tools
}

// answers sets how a method is answered.
func (h *hostile) answers(method string, a answerer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on[method] = a
}

// result is an answerer with this result.
func result(text string) answerer {
	return func(w http.ResponseWriter, _ *http.Request, m sent) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text)
	}
}

// saw gives what came in of a method, "" for all.
func (h *hostile) saw(method string) []sent {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []sent
	for _, s := range h.seen {
		if method == "" || s.Method == method {
			out = append(out, s)
		}
	}
	return out
}

// tell sends a message on every open stream, and waits until there is one.
func (h *hostile) tell(data string) {
	h.t.Helper()
	eventually(h.t, "a stream to the server", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, p := range h.push {
			p <- data
		}
		return len(h.push) > 0
	})
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		h.stream(w, r)
		return
	case http.MethodDelete:
		return
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, 256<<20))
	if err != nil {
		return
	}
	s := sent{raw: raw, header: r.Header.Clone()}
	_ = json.Unmarshal(raw, &s.message)
	h.mu.Lock()
	h.seen = append(h.seen, s)
	a, tools := h.on[s.Method], strings.Join(h.tools, ",")
	h.mu.Unlock()
	switch {
	case a != nil:
		a(w, r, s)
	case s.Method == "":
		w.WriteHeader(http.StatusAccepted)
	case s.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	case s.Method == "initialize":
		w.Header().Set("Mcp-Session-Id", rand.Text())
		result(`{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{},"prompts":{},"logging":{}},"serverInfo":{"name":"hostile","version":"1"}}`)(w, r, s)
	case s.Method == "tools/list":
		result(`{"tools":[`+tools+`]}`)(w, r, s)
	case s.Method == "tools/call":
		result(`{"content":[{"type":"text","text":"done"}]}`)(w, r, s)
	default:
		result(`{}`)(w, r, s)
	}
}

func (h *hostile) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	_ = control.Flush()
	events := make(chan string, 16)
	h.mu.Lock()
	h.push = append(h.push, events)
	h.mu.Unlock()
	for {
		select {
		case <-r.Context().Done():
			h.mu.Lock()
			h.push = slices.DeleteFunc(h.push, func(c chan string) bool { return c == events })
			h.mu.Unlock()
			return
		case e := <-events:
			_, _ = fmt.Fprintf(w, "event: message\ndata: %s\n\n", e)
			_ = control.Flush()
		}
	}
}

// eventually waits for something that happens in another process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// before starts the gateway before servers, the first of which is called one.
func before(t *testing.T, s setting, hosts ...*hostile) *gateway {
	t.Helper()
	names := []string{"one", "two", "three"}
	var list []string
	for i, h := range hosts {
		list = append(list, fmt.Sprintf("%s: {url: %q}", names[i], h.url))
	}
	s.servers = "{" + strings.Join(list, ", ") + "}"
	if standIn() {
		return &gateway{t: t, url: rawBefore(t, hosts[0].url), dir: t.TempDir()}
	}
	return open(t, s)
}

// session begins a session and lists the tools, as every client does.
func (g *gateway) session() *client {
	g.t.Helper()
	c := newClient(g.url)
	if err := c.initialize(context.Background()); err != nil {
		g.t.Fatalf("%v\n%s", err, g.said())
	}
	c.list(g.t)
	return c
}

func (g *gateway) said() string {
	if g.process == nil {
		return ""
	}
	return g.log.String()
}

// list gives the tools that the client sees, by name.
func (c *client) list(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	got := c.must(t, `{"jsonrpc":"2.0","id":"list","method":"tools/list"}`)
	var list struct{ Tools []json.RawMessage }
	_ = json.Unmarshal(got.answer().Result, &list)
	out := map[string]json.RawMessage{}
	for _, raw := range list.Tools {
		var tool struct{ Name string }
		_ = json.Unmarshal(raw, &tool)
		out[tool.Name] = raw
	}
	return out
}

// must posts and fails the test where there is no answer at all.
func (c *client) must(t testing.TB, body string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	got, err := c.post(ctx, body)
	if err != nil {
		t.Fatalf("no answer to %.200s: %v", body, err)
	}
	return got
}

// tool calls a tool.
func (c *client) tool(t testing.TB, name, arguments string) reply {
	t.Helper()
	return c.must(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":%q,"arguments":%s}}`, name, arguments))
}

// refused fails unless the answer is this refusal and says why in one line.
func refused(t *testing.T, got reply, code int) {
	t.Helper()
	e := got.answer().Error
	if e == nil || e.Code != code || e.Message == "" || strings.Contains(e.Message, "\n") {
		t.Errorf("want the refusal %d in one line, got %.600s", code, got)
	}
}

// passed fails unless the call was answered.
func passed(t *testing.T, got reply) {
	t.Helper()
	if got.answer().Result == nil {
		t.Errorf("want an answer, got %.600s", got)
	}
}

// untouched fails if the server saw a call.
func (h *hostile) untouched() {
	h.t.Helper()
	if calls := h.saw("tools/call"); len(calls) > 0 {
		h.t.Errorf("the server saw %s", calls[0].raw)
	}
}

// event is as much of an audit event as tests read.
type event struct {
	Type    string `json:"event_type"`
	Gateway struct {
		Request string `json:"request_id"`
		Tool    string `json:"tool"`
	} `json:"gateway"`
	Raw string `json:"-"`
}

// audited gives the events of the gateway's trail, wherever in its directory it lies.
func (g *gateway) audited() []event {
	g.t.Helper()
	var out []event
	err := filepath.WalkDir(g.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(name, "l") {
			return nil //nolint:nilerr // files of a running program come and go
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		for line := range bytes.Lines(data) {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Type != "" {
				e.Raw = string(line)
				out = append(out, e)
			}
		}
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// records fails unless the trail gets an event of this kind with these words.
func (g *gateway) records(kind string, words ...string) {
	t, ok := g.t.(*testing.T)
	if !ok || standIn() {
		return
	}
	t.Helper()
	eventually(t, "the event "+kind+" with "+strings.Join(words, ", "), func() bool {
		for _, e := range g.audited() {
			if e.Type == kind && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e.Raw, w) }) {
				return true
			}
		}
		return false
	})
}

// random is a secret that no rule of the scanner excludes as an example; it is put
// together here so that no file holds one.
func random() string {
	return "gh" + "p_" + "R7wQ2xVb9Lk4" + "Zt8NfM3cYs6HdJ1p" + "Ge5UaT0v"
}
