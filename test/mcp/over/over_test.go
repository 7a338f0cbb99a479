package over_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/back"
	"github.com/cabincrew/action/gateways/mcp/front"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// TestMain lets this binary be a server as well.
func TestMain(m *testing.M) {
	if os.Getenv("MCP_TEST_SERVER") != "" {
		serveLines(os.Stdin, os.Stdout)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveLines answers requests with the process's id; those with the word sleep never.
func serveLines(in io.Reader, out io.Writer) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		msg, err := jsonrpc.Scan(bytes.Clone(lines.Bytes()), jsonrpc.Options{})
		switch {
		case err != nil || msg.Kind != jsonrpc.Request || bytes.Contains(msg.Raw, []byte("sleep")):
		case msg.Method == "initialize":
			_, _ = fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"t","version":"1"}}}`+"\n", msg.ID)
		default:
			_, _ = fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"pid":%d}}`+"\n", msg.ID, os.Getpid())
		}
	}
}

// mortal is the chain in front of a real process.
func mortal(t *testing.T) link.Opener {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child, err := back.NewChild(back.ChildOptions{Name: "files", Argv: []string{self}, Dir: t.TempDir(), Env: map[string]string{"MCP_TEST_SERVER": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	return mcp.NewGuard(mcp.GuardOptions{
		Server: "files", Next: child, Judge: allowing{}, Trail: forgetting{}, Now: time.Now, NewID: func() string { return fmt.Sprint("req-", n.Add(1)) },
	})
}

// allowing lets everything through.
type allowing struct{}

func (allowing) Judge(context.Context, gateways.Document, time.Time) (gateways.Verdict, error) {
	return gateways.Verdict{Decision: protocol.Allow, Evaluations: []protocol.PolicyEvaluation{{PolicyID: "test", Decision: protocol.Allow}}}, nil
}

// forgetting records nothing: what is recorded is tried elsewhere.
type forgetting struct{}

func (forgetting) Append(context.Context, bool, ...protocol.AuditEvent) error { return nil }

const (
	overInit  = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`
	overReady = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	overPing  = `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	overSleep = `{"jsonrpc":"2.0","id":3,"method":"ping","params":{"_meta":{"x":"sleep"}}}`
)

// kill kills the process that answered.
func kill(t *testing.T, answer string) {
	t.Helper()
	_, rest, _ := strings.Cut(answer, `"pid":`)
	pid, err := strconv.Atoi(strings.TrimRight(rest, "}\n"))
	if err != nil || pid == os.Getpid() {
		t.Fatalf("%s: %v", answer, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// client is a client over HTTP.
type client struct {
	t       *testing.T
	url     string
	session string
}

func (c *client) do(method, message string) (int, string, http.Header) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url, strings.NewReader(message))
	if err != nil {
		c.t.Error(err)
		return 0, "", nil
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if c.session != "" {
		r.Header.Set("Mcp-Session-Id", c.session)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Error(err)
		return 0, "", nil
	}
	defer resp.Body.Close() //nolint:errcheck // it is read
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// want posts a message.
func (c *client) want(message string, status int, part string) string {
	c.t.Helper()
	got, text, _ := c.do(http.MethodPost, message)
	if got != status || !strings.Contains(text, part) {
		c.t.Fatalf("%s: %d %s, want %d with %s", message, got, text, status, part)
	}
	return text
}

func (c *client) open() {
	c.t.Helper()
	c.session = ""
	status, text, header := c.do(http.MethodPost, overInit)
	if c.session = header.Get("Mcp-Session-Id"); status != 200 || c.session == "" {
		c.t.Fatalf("%d %s", status, text)
	}
	c.want(overReady, 202, "")
}

func overHTTP(t *testing.T, open link.Opener) *client {
	t.Helper()
	door, err := front.NewHTTP(front.HTTPOptions{Open: open})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(door)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := door.Close(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return &client{t: t, url: srv.URL}
}

// TestServerDiesHTTP: what waits gets one clear failure, also who listens, and after
// that the client is told to initialize anew.
func TestServerDiesHTTP(t *testing.T) {
	t.Parallel()
	c := overHTTP(t, mortal(t))
	c.open()
	type got struct {
		status int
		text   string
	}
	waits, listens := make(chan got, 1), make(chan got, 1)
	pid := c.want(overPing, 200, `"pid"`)
	go func() { s, text, _ := c.do(http.MethodPost, overSleep); waits <- got{s, text} }()
	go func() { s, text, _ := c.do(http.MethodGet, ""); listens <- got{s, text} }()
	time.Sleep(50 * time.Millisecond) // either is under way, or learns the same a moment later
	kill(t, pid)
	w, l := <-waits, <-listens
	if w.status != 200 && w.status != 404 || w.status == 200 && (!strings.Contains(w.text, `"id":3,"error":{"code":-32053`) || !strings.Contains(w.text, "SIGKILL")) {
		t.Errorf("who waits got %+v", w)
	}
	if l.status != 200 && l.status != 404 {
		t.Errorf("who listens got %+v", l)
	}
	c.want(overPing, 404, "session not found")
	c.open()
	pid = c.want(overPing, 200, `"pid"`)
	kill(t, pid) // while nobody asks anything
	text := c.want(overPing, 200, "")
	for strings.Contains(text, "result") { // it was faster than the kill
		text = c.want(overPing, 200, "")
	}
	if !strings.Contains(text, `"code":-32053`) || !strings.Contains(text, "SIGKILL") {
		t.Errorf("told %s", text)
	}
	c.want(overPing, 404, "session not found")
}

// TestServerDiesStdio: the client hears of each request that it failed, until it
// initializes anew.
func TestServerDiesStdio(t *testing.T) {
	t.Parallel()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	over, open := make(chan error, 1), mortal(t)
	go func() {
		err := front.ServeStdio(t.Context(), inR, outW, open, front.StdioOptions{})
		_ = outW.Close()
		over <- err
	}()
	out := bufio.NewReader(outR)
	ask := func(line, want string) string {
		t.Helper()
		if _, err := io.WriteString(inW, line+"\n"); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			return ""
		}
		text, err := out.ReadString('\n')
		if err != nil || !strings.Contains(text, want) {
			t.Fatalf("%s: %q %v, want %s", line, text, err, want)
		}
		return text
	}
	for range 2 {
		ask(overInit, `"protocolVersion"`)
		ask(overReady, "")
		pid := ask(overPing, `"pid"`)
		ask(overSleep, "")
		kill(t, pid)
		if text, err := out.ReadString('\n'); err != nil || !strings.Contains(text, `"id":3,"error":{"code":-32053`) || !strings.Contains(text, "SIGKILL") {
			t.Fatalf("%q %v", text, err)
		}
		for range 2 {
			ask(overPing, `"id":2,"error":{"code":-32053`)
		}
	}
	_ = inW.Close()
	if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}
