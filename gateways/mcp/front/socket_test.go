package front

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/link"
)

// raw sends text on a connection of its own.
func (r *rig) raw(text string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", strings.TrimPrefix(r.srv.URL, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// reply reads one answer.
func (r *rig) reply(in *bufio.Reader) (int, string) {
	r.t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a test
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// head is a POST request up to its body.
func head(length int, header ...string) string {
	return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: %d\r\n%s\r\n", length, strings.Join(append(header, ""), "\r\n"))
}

func TestHeadersThatAreThereTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{}, nil)
	id := r.session()
	opened, _, calls := r.fake.count()
	for _, twice := range []string{
		"Mcp-Session-Id: " + id, "mcp-protocol-version: 2025-11-25", "MCP-METHOD: ping", "Mcp-Name: a", "Last-Event-ID: a",
		"Content-Type: application/json", "Content-Encoding: identity", "Mcp-Param-A: 1",
	} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			name, _, _ := strings.Cut(twice, ":")
			request := strings.Replace(head(len(ping), twice, twice, "Mcp-Session-Id: "+id), "POST", method, 1) + ping
			_, in := r.raw(request)
			if status, body := r.reply(in); status != 400 || !strings.Contains(body, "-32020") {
				t.Errorf("%s twice: %d %s", name, status, body)
			}
		}
	}
	_, in := r.raw(head(len(ping), "Mcp-Name: "+strings.Repeat("a", 9000)) + ping)
	if status, body := r.reply(in); status != 400 || !strings.Contains(body, "too long") {
		t.Errorf("long header: %d %s", status, body)
	}
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf("Mcp-Param-%d: 1", i))
	}
	_, in = r.raw(head(len(ping), many...) + ping)
	if status, body := r.reply(in); status != 400 || !strings.Contains(body, "Mcp-Param") {
		t.Errorf("many headers: %d %s", status, body)
	}
	for _, bad := range []string{"Host: other", "Content-Length: 1", "Mcp-Name : a", "Mcp-Name: a\x00b", "Transfer-Encoding: chunked, identity"} {
		_, in := r.raw(head(len(ping), bad) + ping)
		if status, body := r.reply(in); status != 400 && status != 501 {
			t.Errorf("%q: %d %s", bad, status, body)
		}
	}
	if o, _, c := r.fake.count(); o != opened || c != calls {
		t.Error("something went on")
	}
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{}, nil)
	r.door.waits.body = 50 * time.Millisecond
	id := r.session()
	_, in := r.raw(head(100, "Mcp-Session-Id: "+id) + `{"jsonrpc"`)
	if status, body := r.reply(in); status != http.StatusRequestTimeout || !strings.Contains(body, "-32054") {
		t.Errorf("%d %s", status, body)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the connection is still there: %v", err)
	}
	_, in = r.raw("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":")
	if status, _ := r.reply(in); status != http.StatusRequestTimeout {
		t.Errorf("chunked: %d", status)
	}
	if r.door.held.Load() != 0 {
		t.Errorf("%d bytes are still counted", r.door.held.Load())
	}
}

func TestBodyDeadlineDoesNotEndTheAnswer(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.send = func(ctx context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		select {
		case <-time.After(150 * time.Millisecond):
			return said(c, "{}"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r := newRig(t, HTTPOptions{}, f)
	r.door.waits.body = 50 * time.Millisecond
	r.want(200, "result", "POST", "/mcp", ping, headerSession, r.session())
}

func TestChunksAndPipelines(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{MessageBytes: 1000}, nil)
	id := r.session()
	chunked := strings.Replace(head(0, "Mcp-Session-Id: "+id), "Content-Length: 0", "Transfer-Encoding: chunked", 1)
	_, in := r.raw(chunked + fmt.Sprintf("5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", ping[:5], len(ping)-5, ping[5:]) + head(len(ping), "Mcp-Session-Id: "+id) + ping + "JUNK / HTTP/9\r\n\r\n")
	for range 2 {
		if status, body := r.reply(in); status != 200 || !strings.Contains(body, "result") {
			t.Errorf("%d %s", status, body)
		}
	}
	if status, _ := r.reply(in); status != 400 {
		t.Errorf("junk: %d", status)
	}
	long := strings.Repeat(" ", 600)
	_, in = r.raw(chunked + fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", len(long), long, len(long), long))
	if status, _ := r.reply(in); status != http.StatusRequestEntityTooLarge {
		t.Errorf("long chunks: %d", status)
	}
	_, in = r.raw(head(1<<40, "Mcp-Session-Id: "+id))
	if status, _ := r.reply(in); status != http.StatusRequestEntityTooLarge {
		t.Errorf("promised length: %d", status)
	}
}

func TestTooMuchInHand(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{}, nil)
	id := r.session()
	r.door.held.Add(256 << 20)
	resp := r.want(503, "-32054", "POST", "/mcp", ping, headerSession, id)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.door.held.Add(-256 << 20)
	r.want(200, "result", "POST", "/mcp", ping, headerSession, id)
}

// endless gives events as fast as they are taken.
type endless struct {
	data   []byte
	closed chan struct{}
}

func (e *endless) Next(ctx context.Context) (link.Event, error) {
	return link.Event{Data: e.data}, ctx.Err()
}
func (e *endless) Close() error { close(e.closed); return nil }

func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	stream := &endless{bytes.Repeat([]byte("x"), 60<<10), make(chan struct{})}
	f := &fake{onListen: func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: stream}, nil
	}}
	r := newRig(t, HTTPOptions{}, f)
	r.door.waits.write = 100 * time.Millisecond
	id := r.session()
	r.raw("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nMcp-Session-Id: " + id + "\r\n\r\n")
	select {
	case <-stream.closed:
	case <-time.After(10 * time.Second):
		t.Error("the stream is still open")
	}
}

func TestSilentStreamBreathes(t *testing.T) {
	t.Parallel()
	f := &fake{onListen: func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(nil)}, nil
	}}
	r := newRig(t, HTTPOptions{}, f)
	r.door.waits.silent = 5 * time.Millisecond
	resp := r.do("GET", "/mcp", "", headerSession, r.session())
	in := bufio.NewReader(resp.Body)
	for _, want := range []string{": ok\n", "\n", ": \n", "\n", ": \n"} {
		if line, err := in.ReadString('\n'); line != want || err != nil {
			t.Fatalf("%q %v, want %q", line, err, want)
		}
	}
}

func TestIdleSessionsEnd(t *testing.T) {
	t.Parallel()
	f := &fake{onListen: func(context.Context, http.Header) (*link.Answer, error) {
		return &link.Answer{Status: 200, Stream: feed(nil)}, nil
	}}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	r := newRig(t, HTTPOptions{Now: func() time.Time { return now }, Idle: time.Hour}, f)
	idle, open := r.session(), r.session()
	r.do("GET", "/mcp", "", headerSession, open)
	now = start.Add(time.Hour)
	r.door.endIdle()
	r.want(200, "result", "POST", "/mcp", ping, headerSession, idle)
	now = start.Add(2*time.Hour + 1)
	r.door.endIdle()
	r.want(404, "-32001", "POST", "/mcp", ping, headerSession, idle)
	r.want(200, "result", "POST", "/mcp", ping, headerSession, open)
	r.door.ends.Wait()
	if _, e, _ := f.count(); e != 1 {
		t.Errorf("ended %d", e)
	}
}

func TestIdleSessionsEndByThemselves(t *testing.T) {
	t.Parallel()
	r := newRig(t, HTTPOptions{Idle: 20 * time.Millisecond}, nil)
	r.session()
	for deadline := time.Now().Add(10 * time.Second); r.door.Sessions() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
}
