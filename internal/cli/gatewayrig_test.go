package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/signing"
)

// gatewayRules is a configuration of one scripted server; %s is its command.
const gatewayRules = `version: 1
listen: 127.0.0.1:0
servers:
  files: {command: %s}
roots: [work]
rules:
  - {match: {server: files}, action: allow, metadata: {id: all}}
  - {match: {tool: wipe}, action: deny, metadata: {id: no-wiping, reason: nothing is wiped}}
  - {match: {tool: write}, action: require_approval, metadata: {id: writing, reason: writes are looked at, role: maintainer}}
approvals:
  expire: 1m
  approvers: [{name: boss, roles: [maintainer], key: keys/boss.pub}]
`

// patience is how long anything of these tests may take.
const patience = 10 * time.Second

// tower is a directory with a gateway's configuration, and a scripted server.
type tower struct {
	*desk

	server string // the directory of the scripted server
}

func newTower(t *testing.T, files map[string]string) *tower {
	t.Helper()
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &tower{desk: &desk{t: t, dir: filepath.Join(t.TempDir(), "ws")}, server: t.TempDir()}
	all := map[string]string{
		config.GatewayFile: fmt.Sprintf(gatewayRules, w.command()), "work/a.txt": "a file\n", "keys/boss.pub": string(public), "keys/boss": string(private),
	}
	maps.Copy(all, files)
	for name, text := range all {
		w.write(name, text)
	}
	w.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	return w
}

// command is that of the scripted server, as YAML and JSON have it.
func (w *tower) command() string {
	raw, err := json.Marshal([]string{os.Args[0], scriptedServer, w.server})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw)
}

// configure writes the configuration; %s in it is the command of the scripted server.
func (w *tower) configure(text string) {
	w.t.Helper()
	w.write(config.GatewayFile, strings.ReplaceAll(text, "%s", w.command()))
}

// say runs one command on the gateway's directory that is to end with a code and to say words.
func (w *tower) say(want int, words []string, args ...string) string {
	w.t.Helper()
	code, out, errs := w.tell("", args...)
	if code != want {
		w.t.Fatalf("%q: exit %d, want %d\n%s%s", args, code, want, out, errs)
	}
	for _, word := range words {
		if !strings.Contains(out+errs, word) {
			w.t.Errorf("%q: %q is missing in\n%s%s", args, word, out, errs)
		}
	}
	return out
}

// tell runs one command on the gateway's directory.
func (w *tower) tell(stdin string, args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	code = Main(w.t.Context(), w.onConfig(args), strings.NewReader(stdin), &out, &errs, w.env)
	return code, out.String(), errs.String()
}

// onConfig names the configuration, before what belongs to a server.
func (w *tower) onConfig(args []string) []string {
	return append([]string{"--config", w.path(config.GatewayFile)}, args...)
}

// into reads the document that a command prints.
func (w *tower) into(want int, v any, args ...string) {
	w.t.Helper()
	code, out, errs := w.tell("", append([]string{"--output", "json"}, args...)...)
	if code != want {
		w.t.Fatalf("%q: exit %d, want %d\n%s%s", args, code, want, out, errs)
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		w.t.Fatalf("%q: %v in\n%s", args, err, out)
	}
}

// said collects what a gateway writes on stderr.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newSaid() *said { return &said{more: make(chan struct{}, 1)} }

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// flying is a gateway that runs in this process.
type flying struct {
	t    *testing.T
	log  *said
	stop context.CancelFunc
	code chan int
	base string // http://HOST:PORT, without /mcp
	http *http.Client
	bear string // the client's token
	// of the client of a session
	session, revision string
	n                 int
}

// end ends the gateway and gives its exit code.
func (f *flying) end() int {
	f.t.Helper()
	f.stop()
	return f.ended()
}

// ended waits until the gateway has ended.
func (f *flying) ended() int {
	f.t.Helper()
	select {
	case code := <-f.code:
		f.code <- code
		return code
	case <-time.After(patience):
		f.t.Fatalf("the gateway does not end\n%s", f.log)
	}
	return -1
}

// start runs a gateway in this process.
func (w *tower) start(in io.Reader, out io.Writer, args ...string) *flying {
	ctx, stop := context.WithCancel(context.Background())
	f := &flying{t: w.t, log: newSaid(), stop: stop, code: make(chan int, 1), http: &http.Client{Timeout: patience}}
	go func() {
		f.code <- Main(ctx, w.onConfig(append([]string{"gateway", "mcp"}, args...)), in, out, f.log, w.env)
	}()
	w.t.Cleanup(func() { f.end(); f.http.CloseIdleConnections() })
	return f
}

var serving = regexp.MustCompile(`serving (https?://[^\s/]+)/mcp`)

// serve starts a gateway that serves HTTP, and waits until it does.
func (w *tower) serve(args ...string) *flying {
	w.t.Helper()
	f := w.start(strings.NewReader(""), io.Discard, args...)
	late := time.After(patience)
	for {
		if m := serving.FindStringSubmatch(f.log.String()); m != nil {
			f.base = m[1]
			return f
		}
		select {
		case <-f.log.more:
		case code := <-f.code:
			f.code <- code
			w.t.Fatalf("the gateway ended with %d\n%s", code, f.log)
		case <-late:
			w.t.Fatalf("the gateway does not serve\n%s", f.log)
		}
	}
}

// throughSocket makes the client use a unix socket.
func (f *flying) throughSocket(path string) {
	f.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	f.base = "http://localhost"
}

func (f *flying) request(method, path, body string, headers map[string]string) (int, http.Header, string) {
	f.t.Helper()
	status, head, text, err := f.try(method, path, body, headers)
	if err != nil {
		f.t.Fatalf("%s %s: %v\n%s", method, path, err, f.log)
	}
	return status, head, text
}

func (f *flying) try(method, path, body string, headers map[string]string) (int, http.Header, string, error) {
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	if f.bear != "" {
		r.Header.Set("Authorization", "Bearer "+f.bear)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	answer, err := f.http.Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	data, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, string(data), errors.Join(err, answer.Body.Close())
}

// post sends one message to an endpoint and gives the answer with its id.
func (f *flying) post(path, body string) (wire, http.Header) {
	f.t.Helper()
	headers := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	if f.session != "" {
		headers["Mcp-Session-Id"], headers["MCP-Protocol-Version"] = f.session, f.revision
	}
	status, head, text := f.request(http.MethodPost, path, body, headers)
	var m wire
	if status == http.StatusAccepted {
		return m, head
	}
	for line := range strings.Lines(text) {
		if data, is := strings.CutPrefix(line, "data:"); is {
			text = data // the last is the answer
		}
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		f.t.Fatalf("%s: status %d, %v: %s\n%s", body, status, err, text, f.log)
	}
	return m, head
}

// hello begins a session at an endpoint.
func (f *flying) hello(path string) {
	f.t.Helper()
	f.session, f.revision = "", "2025-11-25"
	m, head := f.post(path, hello)
	if m.Error != nil {
		f.t.Fatalf("%+v\n%s", m.Error, f.log)
	}
	f.session = head.Get("Mcp-Session-Id")
	f.post(path, ready)
}

const (
	hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"tester","version":"1"}}}`
	ready = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
)

func callOf(id int, tool string, arguments any) string {
	raw, _ := json.Marshal(map[string]any{ //nolint:errchkjson // texts encode
		"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": map[string]any{"name": tool, "arguments": arguments},
	})
	return string(raw)
}

// call calls a tool.
func (f *flying) call(path, tool string, arguments any) wire {
	f.t.Helper()
	f.n++
	m, _ := f.post(path, callOf(f.n, tool, arguments))
	return m
}

// allowed demands that a call was answered with a text.
func allowed(t *testing.T, m wire, want string) {
	t.Helper()
	if m.Error != nil || !strings.Contains(string(m.Result), want) {
		t.Errorf("%s, %s; want %q", m.Result, m.failure(), want)
	}
}

// refused demands that a call was refused with a code and words.
func refused(t *testing.T, m wire, code int, words ...string) {
	t.Helper()
	if m.Error == nil || m.Error.Code != code {
		t.Errorf("%s, %s; want %d", m.Result, m.failure(), code)
		return
	}
	for _, word := range words {
		if !strings.Contains(m.Error.Message+string(m.Error.Data), word) {
			t.Errorf("%q is not in %s %s", word, m.Error.Message, m.Error.Data)
		}
	}
}

// piped is a client on the stdin and stdout of a gateway.
type piped struct {
	*flying

	in    *io.PipeWriter
	lines *bufio.Scanner
	hang  func() // ends both pipes
}

// pipe starts a gateway that serves one client over stdin and stdout.
func (w *tower) pipe(args ...string) *piped {
	w.t.Helper()
	gets, in := io.Pipe()
	out, says := io.Pipe()
	p := &piped{in: in, lines: bufio.NewScanner(out)}
	p.hang = func() {
		_ = gets.CloseWithError(os.ErrDeadlineExceeded)
		_ = says.CloseWithError(os.ErrDeadlineExceeded)
	}
	p.flying = w.start(gets, says, args...)
	p.lines.Buffer(nil, 8<<20)
	ended := p.code
	p.code = make(chan int, 1)
	go func() {
		code := <-ended
		p.code <- code
		_ = says.Close() // the client reads no more
	}()
	w.t.Cleanup(func() { _ = in.Close(); _ = out.Close() }) // as a client that goes
	return p
}

// end ends the gateway, whose last words the client reads.
func (p *piped) end() int {
	go func() {
		for p.lines.Scan() { // until the gateway has ended
		}
	}()
	return p.flying.end()
}

func (p *piped) send(line string) {
	p.t.Helper()
	defer time.AfterFunc(patience, p.hang).Stop()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("%v\n%s", err, p.log)
	}
}

// next reads the next message of the gateway.
func (p *piped) next() wire {
	p.t.Helper()
	defer time.AfterFunc(patience, p.hang).Stop()
	var m wire
	if !p.lines.Scan() {
		p.t.Fatalf("the gateway says nothing more: %v\n%s", p.lines.Err(), p.log)
	}
	if err := json.Unmarshal(p.lines.Bytes(), &m); err != nil {
		p.t.Fatalf("%v in %s", err, p.lines.Text())
	}
	return m
}

// answer reads until the answer to a request.
func (p *piped) answer(id int) wire {
	p.t.Helper()
	for {
		if m := p.next(); m.Method == "" && string(m.ID) == strconv.Itoa(id) {
			return m
		}
	}
}

func (p *piped) hello() {
	p.t.Helper()
	p.send(hello)
	if m := p.answer(0); m.Error != nil {
		p.t.Fatalf("%+v\n%s", m.Error, p.log)
	}
	p.send(ready)
}

func (p *piped) call(tool string, arguments any) wire {
	p.t.Helper()
	p.n++
	p.send(callOf(p.n, tool, arguments))
	return p.answer(p.n)
}

// argv gives one part of the scripted server's command.
func (w *tower) argv(i int) string { return []string{os.Args[0], scriptedServer, w.server}[i] }

func (m wire) failure() string {
	if m.Error == nil {
		return "no error"
	}
	return fmt.Sprintf("%d %s %s", m.Error.Code, m.Error.Message, m.Error.Data)
}
