package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// talk is a client on stdio.
type talk struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *bufio.Reader
	over chan error
}

func stdio(t *testing.T, f link.Opener, o StdioOptions) *talk {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	k := &talk{t, inW, bufio.NewReader(outR), make(chan error, 1)}
	go func() {
		err := ServeStdio(t.Context(), inR, outW, f, o)
		_ = outW.Close()
		k.over <- err
	}()
	t.Cleanup(func() { _ = inW.Close(); _ = outR.Close() })
	return k
}

func (k *talk) say(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.in, line+"\n"); err != nil {
		k.t.Fatal(err)
	}
}

func (k *talk) hear(want string) {
	k.t.Helper()
	line, err := k.out.ReadString('\n')
	if err != nil || !strings.Contains(line, want) {
		k.t.Fatalf("heard %q %v, want %s", line, err, want)
	}
}

// end closes the client's end and checks that nothing more is said.
func (k *talk) end() {
	k.t.Helper()
	_ = k.in.Close()
	rest, _ := io.ReadAll(k.out)
	if err := <-k.over; err != nil || len(rest) > 0 {
		k.t.Errorf("%v, rest %q", err, rest)
	}
}

func TestStdio(t *testing.T) {
	t.Parallel()
	f := &fake{}
	listening := make(chan struct{})
	f.onListen = func(context.Context, http.Header) (*link.Answer, error) {
		close(listening)
		return &link.Answer{Status: 200, Stream: feed(nil, link.Event{Data: []byte("{\"jsonrpc\":\"2.0\",\n\"method\":\"hi\"}")})}, nil
	}
	f.send = func(_ context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		a := said(c, "{\n\t\"text\": \"a\\nb\"\r\n}")
		return a, nil
	}
	k := stdio(t, f, StdioOptions{})
	k.say(initialize("2025-11-25"))
	k.hear(`"protocolVersion":"2025-11-25"`)
	k.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	k.hear("{\"jsonrpc\":\"2.0\", \"method\":\"hi\"}\n")
	<-listening
	k.say("")
	k.say("  \r")
	k.say(ping + "\r")
	k.hear("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{ \t\"text\": \"a\\nb\"  }}\n")
	k.say(`{"jsonrpc":"2.0","id":5,"method":"x","id":6}`)
	k.hear(`"id":null,"error":{"code":-32600`)
	k.say(`nonsense`)
	k.hear(`"id":null,"error":{"code":-32700`)
	k.end()
	if o, e, _ := f.count(); o != 1 || e != 1 {
		t.Errorf("opened %d, ended %d", o, e)
	}
	if s := f.opened[0]; s.Principal != Local || len(s.ID) != 32 || s.Stateless {
		t.Errorf("%+v", s)
	}
	if got := f.headers[0].Get(headerVersion); got != "2025-11-25" {
		t.Errorf("version %q", got)
	}
}

func TestStdioLongLines(t *testing.T) {
	t.Parallel()
	f := &fake{}
	k := stdio(t, f, StdioOptions{MessageBytes: 1000})
	go func() {
		long := strings.Repeat("x", 1<<20)
		for range 20 {
			_, _ = io.WriteString(k.in, long)
		}
		_, _ = io.WriteString(k.in, "\n"+ping+"\n")
	}()
	k.hear(`"id":null,"error":{"code":-32054`)
	k.hear(`"id":7,"result"`)
	k.end()
}

func TestStdioLastLineWithoutEnd(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	f := &fake{}
	if err := ServeStdio(t.Context(), strings.NewReader(initialize("2025-06-18")+"\n"+ping), &out, f, StdioOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), `"id":7,"result"`) {
		t.Errorf("%s", out.String())
	}
}

func TestStdioOrder(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	second := make(chan struct{})
	f := &fake{}
	f.send = func(ctx context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		switch string(c.Message.ID) {
		case "1": // settled late: the next waits for that, not for the answer
			<-release
			c.Settled()
			<-second
		case "2":
			close(second)
		}
		return said(c, "{}"), nil
	}
	k := stdio(t, f, StdioOptions{})
	k.say(`{"jsonrpc":"2.0","id":1,"method":"a"}`)
	go func() { _, _ = io.WriteString(k.in, `{"jsonrpc":"2.0","id":2,"method":"b"}`+"\n") }()
	for {
		if _, _, n := f.count(); n == 1 {
			break
		}
		runtime.Gosched()
	}
	select {
	case <-second:
		t.Error("the second message went before the first")
	default:
	}
	close(release)
	k.hear(`"result"`)
	k.hear(`"result"`)
	k.end()
}

func TestStdioFailures(t *testing.T) {
	t.Parallel()
	type answer = func() (*link.Answer, error)
	for name, c := range map[string]struct {
		answer answer
		want   string
	}{
		"down":    {func() (*link.Answer, error) { return nil, &link.Down{Server: "files", Why: "it died"} }, `"id":7,"error":{"code":-32053,"message":"server files: it died"`},
		"other":   {func() (*link.Answer, error) { return nil, errors.New("secret") }, `"id":7,"error":{"code":-32052,"message":"the gateway failed"`},
		"panic":   {func() (*link.Answer, error) { panic("secret") }, `"id":7,"error":{"code":-32052,"message":"the gateway failed"`},
		"nothing": {func() (*link.Answer, error) { return &link.Answer{Status: 202}, nil }, `"id":7,"error":{"code":-32053`},
		"foreign": {func() (*link.Answer, error) { return &link.Answer{Status: 503, Body: []byte("<html>\nsorry")}, nil }, `"id":7,"error":{"code":-32053,"message":"server behind the gateway: it answered with HTTP status 503 and no message"`},
		"null id": {func() (*link.Answer, error) {
			return &link.Answer{Status: 400, Body: jsonrpc.NewFailure("", -1, "x", nil)}, nil
		}, `"id":7,"error"`},
		"bad status": {func() (*link.Answer, error) {
			return &link.Answer{Status: 404, Body: jsonrpc.NewFailure("7", -32601, "x", nil)}, nil
		}, `"id":7,"error":{"code":-32601`},
		"broken off": {func() (*link.Answer, error) {
			return &link.Answer{Stream: feed(&link.Down{Server: "files", Why: "it died"})}, nil
		}, `"id":7,"error":{"code":-32053,"message":"server files: it died"`},
		"no response": {func() (*link.Answer, error) { return &link.Answer{Stream: feed(io.EOF)}, nil }, `"id":7,"error":{"code":-32053`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{send: func(context.Context, link.Session, link.Call) (*link.Answer, error) { return c.answer() }}
			k := stdio(t, f, StdioOptions{})
			k.say(ping)
			k.hear(c.want)
			k.end()
		})
	}
}

func TestStdioResumes(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.send = func(context.Context, link.Session, link.Call) (*link.Answer, error) {
		return &link.Answer{Stream: feed(io.EOF, link.Event{ID: "s_1", Retry: 1, Type: "prime"})}, nil
	}
	f.onListen = func(_ context.Context, h http.Header) (*link.Answer, error) {
		if h.Get("Last-Event-ID") != "s_1" {
			return nil, fmt.Errorf("resumed after %q", h.Get("Last-Event-ID"))
		}
		return &link.Answer{Stream: feed(io.EOF, link.Event{ID: "s_2", Data: jsonrpc.NewResult("7", []byte(`"late"`))})}, nil
	}
	k := stdio(t, f, StdioOptions{})
	k.say(ping)
	k.hear(`"id":7,"result":"late"`)
	k.end()
}

func TestStdioTooManyRequests(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.send = func(ctx context.Context, _ link.Session, c link.Call) (*link.Answer, error) {
		c.Settled()
		if c.Message.Kind == jsonrpc.Request {
			<-ctx.Done()
		}
		return nil, ctx.Err()
	}
	k := stdio(t, f, StdioOptions{Grace: 10 * time.Millisecond})
	for i := range busyEach {
		k.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"a"}`, i))
	}
	k.say(`{"jsonrpc":"2.0","id":"more","method":"a"}`)
	k.hear(`"id":"more","error":{"code":-32054`)
	k.say(`{"jsonrpc":"2.0","id":1,"result":{}}`) // answers still come through
	_ = k.in.Close()
	rest, _ := io.ReadAll(k.out)
	if n := bytes.Count(rest, []byte("\n")); n != busyEach {
		t.Errorf("%d failures", n)
	}
	if err := <-k.over; err != nil {
		t.Error(err)
	}
}

func TestStdioEnds(t *testing.T) {
	t.Parallel()
	f := &fake{}
	inR, inW := io.Pipe()
	defer inW.Close() //nolint:errcheck // a pipe
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ServeStdio(ctx, inR, io.Discard, f, StdioOptions{}); err != nil {
		t.Error(err)
	}
	outR, outW := io.Pipe()
	_ = outR.CloseWithError(errors.New("nobody reads"))
	if err := ServeStdio(t.Context(), strings.NewReader(ping+"\n"), outW, f, StdioOptions{}); err == nil {
		t.Error("nobody read, and it was no error")
	}
	if err := ServeStdio(t.Context(), inR, io.Discard, &fake{open: func(link.Session) error { return errors.New("no") }}, StdioOptions{}); err == nil {
		t.Error("nothing was opened, and it was no error")
	}
	if _, e, _ := f.count(); e != 2 {
		t.Errorf("ended %d", e)
	}
}
