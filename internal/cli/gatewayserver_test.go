package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// scriptedServer is the argument by which the test binary becomes an MCP server.
const scriptedServer = "mcp-server-of-tests"

// scriptedTools are what a scripted server lists unless its directory has a tools.json.
const scriptedTools = `[
 {"name":"echo","description":"Says what it is told.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}},
 {"name":"read","description":"Reads a file.","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}},
 {"name":"write","description":"Writes a file.","inputSchema":{"type":"object","properties":{"path":{"type":"string"},"text":{"type":"string"}}}},
 {"name":"wipe","description":"Wipes a disk.","inputSchema":{"type":"object"}},
 {"name":"env","description":"Tells its environment.","inputSchema":{"type":"object"}},
 {"name":"ask","description":"Asks the user.","inputSchema":{"type":"object"}}]`

// wire is a message as these tests read it.
type wire struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	} `json:"error,omitempty"`
}

// script answers as an MCP server does, and writes what came into received of its directory.
type script struct {
	dir  string
	name string // in front of those of its tools
	mu   sync.Mutex
}

func (s *script) record(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(s.dir, "received"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		_ = f.Close() // the next line says what is wrong
	}
	if err != nil {
		panic(err)
	}
}

// answer gives the result of a request; ask asks the client, where that is possible.
func (s *script) answer(m wire, ask func(string) string) string {
	switch m.Method {
	case "initialize":
		var p struct {
			ProtocolVersion string `json:"protocolVersion"`
		}
		_ = json.Unmarshal(m.Params, &p) // an empty version then
		return `{"protocolVersion":"` + p.ProtocolVersion + `","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"scripted","version":"1"}}`
	case "tools/list":
		tools, err := os.ReadFile(filepath.Join(s.dir, "tools.json"))
		if err != nil {
			tools = []byte(scriptedTools)
		}
		return `{"tools":` + strings.NewReplacer("\n", "", `"name":"`, `"name":"`+s.name).Replace(string(tools)) + `}`
	case "tools/call":
		return s.call(m, ask)
	}
	return `{}`
}

func (s *script) call(m wire, ask func(string) string) string {
	var p struct {
		Name      string `json:"name"`
		Arguments struct{ Path, Text string }
	}
	if err := json.Unmarshal(m.Params, &p); err != nil {
		return `{"content":[],"isError":true}`
	}
	text := "did " + p.Name
	switch strings.TrimPrefix(p.Name, s.name) {
	case "echo":
		text = p.Arguments.Text
	case "read":
		data, err := os.ReadFile(p.Arguments.Path)
		text = fmt.Sprintf("%s %v", data, err)
	case "write":
		text = fmt.Sprint(os.WriteFile(p.Arguments.Path, []byte(p.Arguments.Text), 0o600))
	case "env":
		text = strings.Join(os.Environ(), "\n")
	case "ask":
		text = "the person said " + ask(`{"message":"May I?","requestedSchema":{"type":"object","properties":{"ok":{"type":"boolean"}}}}`)
	}
	quoted, _ := json.Marshal(text) //nolint:errchkjson // a string encodes
	return `{"content":[{"type":"text","text":` + string(quoted) + `}]}`
}

// serveScripted is a server on stdin and stdout.
func serveScripted(dir string, in io.Reader, out io.Writer) {
	s := &script{dir: dir}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 8<<20)
	next := func() (m wire, ok bool) {
		if !lines.Scan() {
			return m, false
		}
		s.record(lines.Text())
		return m, json.Unmarshal(lines.Bytes(), &m) == nil
	}
	ask := func(params string) string {
		_, _ = fmt.Fprintln(out, `{"jsonrpc":"2.0","id":"ask-1","method":"elicitation/create","params":`+params+`}`)
		for {
			m, ok := next()
			if !ok {
				return "nothing"
			}
			if m.Method == "" && string(m.ID) == `"ask-1"` {
				if m.Error != nil {
					return m.Error.Message
				}
				return string(m.Result)
			}
		}
	}
	for {
		m, ok := next()
		if !ok {
			return
		}
		if m.Method != "" && len(m.ID) > 0 {
			_, _ = fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", m.ID, s.answer(m, ask))
		}
	}
}

// webServer is a scripted server that speaks streamable HTTP.
type webServer struct {
	*httptest.Server

	script  *script
	headers []http.Header
}

// newWebServer starts a server whose tools have a name in front: two servers with tools of
// one name shadow each other.
func newWebServer(t *testing.T, name string) *webServer {
	t.Helper()
	w := &webServer{script: &script{dir: t.TempDir(), name: name}}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *webServer) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		out.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(r.Body)
	var m wire
	if err != nil || json.Unmarshal(body, &m) != nil {
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	w.script.record(string(body))
	w.script.mu.Lock()
	w.headers = append(w.headers, r.Header.Clone())
	w.script.mu.Unlock()
	if len(m.ID) == 0 || m.Method == "" {
		out.WriteHeader(http.StatusAccepted)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, w.script.answer(m, func(string) string { return "nobody" }))
}

func (w *webServer) seen() []http.Header {
	w.script.mu.Lock()
	defer w.script.mu.Unlock()
	return slices.Clone(w.headers)
}

// received gives what came to a scripted server.
func received(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "received"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}
