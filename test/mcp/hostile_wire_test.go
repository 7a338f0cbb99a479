package mcp

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// differential are messages that parsers read differently. What is refused must not
// reach the server, what is not must reach it as the same bytes.
var differential = []struct {
	name, body string
	refused    bool
}{
	{"plain", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}`, false},
	{"white space", " {\n\t\"jsonrpc\" : \"2.0\" ,\r\n \"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"x\"}} }\n", false},
	{"order of keys", `{"params":{"arguments":{"b":1,"a":2},"name":"echo"},"method":"tools/call","id":1,"jsonrpc":"2.0"}`, false},
	{"large integers", `{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"echo","arguments":{"n":[9007199254740993,-0,1.0,0.1e-7,123456789012345678901234567890]}}}`, false},
	{"escapes", `{"jsonrpc":"2.0","id":"\u0061","method":"tools\/call","params":{"name":"\u0065cho","arguments":{"text":"\ud83c\udf0d\u2028\u0000"}}}`, false},
	{"unknown members of arguments", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"":"","Text":"x","text":"y","__proto__":{}},"_meta":{"a/b":[[[]]]}}}`, false},

	{"infinite number", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"n":1e400}}}`, true},
	{"escaped key", `{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"duplicate method", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"duplicate through an escape", `{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"duplicate name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"delete","arguments":{}}}`, true},
	{"duplicate deep in arguments", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":[{"path":"/ok","path":"/etc/passwd"}]}}}`, true},
	{"other case", `{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"other case beside it", `{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"NUL behind a key", `{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"two messages", `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"something behind", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}]`, true},
	{"NUL behind", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{}}}\x00", true},
	{"byte-order mark", "\ufeff{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{}}}", true},
	{"bad UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"a\":\"\xff\"}}}", true},
	{"overlong UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"a\":\"\xc0\xaf\"}}}", true},
	{"lone surrogate", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":"\ud800"}}}`, true},
	{"surrogate as UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"a\":\"\xed\xa0\x80\"}}}", true},
	{"control character", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"a\":\"\n\"}}}", true},
	{"batch", `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}]`, true},
	{"depth", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}}}`, true},
	{"fraction as id", `{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"exponent as id", `{"jsonrpc":"2.0","id":1e0,"method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"null as id", `{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"list as id", `{"jsonrpc":"2.0","id":[1],"method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"request and answer", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}},"result":{}}`, true},
	{"result and error", `{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}`, true},
	{"version", `{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"no version", `{"id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`, true},
	{"comment", `{"jsonrpc":"2.0","id":1,"method":"tools/call"/**/,"params":{"name":"echo","arguments":{}}}`, true},
	{"trailing comma", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{},}}`, true},
	{"not a number", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":NaN}}}`, true},
	{"leading zero", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":01}}}`, true},
	{"truncated", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{`, true},
	{"name is a list", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["echo"],"arguments":{}}}`, true},
	{"params is a list", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["echo",{}]}`, true},
}

// TestDifferentialRequests sends them; nothing of a refused one reaches the server.
func TestDifferentialRequests(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	g := before(t, setting{}, h)
	for _, d := range differential {
		c := g.session()
		from := len(h.saw(""))
		got := c.must(t, d.body)
		news := h.saw("")[from:]
		switch {
		case d.refused && len(news) > 0:
			t.Errorf("%s: the server saw %q", d.name, news[0].raw)
		case d.refused && got.answer().Error == nil && got.status < 400:
			t.Errorf("%s: not refused: %s", d.name, got)
		case !d.refused && (len(news) != 1 || !bytes.Equal(bytes.TrimSpace(news[0].raw), bytes.TrimSpace([]byte(d.body)))):
			t.Errorf("%s: sent %s, answered %s, and the server saw %d messages, or other bytes", d.name, d.body, got, len(news))
		case !d.refused:
			passed(t, got)
		}
	}
}

// TestDifferentialAnswers has the server answer with what parsers read differently: the
// client gets the same bytes or a refusal, and never a part.
func TestDifferentialAnswers(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	g := before(t, setting{}, h)
	for _, d := range []struct {
		name, body string // %s is the id
		refused    bool
	}{
		{"plain", `{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"MARK"}]}}`, false},
		{"odd but sound", "{ \"result\":{\"content\":[{\"text\":\"MARK \\ud83c\\udf0d\",\"type\":\"text\"}],\"n\":[1e30,-0,9007199254740993]},\n\"id\":%s,\"jsonrpc\":\"2.0\"}", false},
		{"duplicate key", `{"jsonrpc":"2.0","id":%s,"result":{"content":[],"content":[{"type":"text","text":"MARK"}]}}`, true},
		{"other case", `{"jsonrpc":"2.0","id":%s,"result":{},"Result":{"content":[{"type":"text","text":"MARK"}]}}`, true},
		{"something behind", `{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}{"text":"MARK"}`, true},
		{"bad UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"MARK\xff\"}]}}", true},
		{"lone surrogate", `{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"MARK\udc00"}]}}`, true},
		{"byte-order mark", "\ufeff{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"MARK\"}]}}", true},
		{"depth", `{"jsonrpc":"2.0","id":%s,"result":{"content":["MARK",` + strings.Repeat("[", 80) + strings.Repeat("]", 80) + `]}}`, true},
		{"another id", `{"jsonrpc":"2.0","id":1%s,"result":{"content":[{"type":"text","text":"MARK"}]}}`, true},
		{"no message", `<html>MARK %s</html>`, true},
	} {
		h.answers("tools/call", func(w http.ResponseWriter, _ *http.Request, m sent) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, d.body, m.ID)
		})
		c := g.session()
		got := c.must(t, `{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"echo","arguments":{}}}`)
		switch {
		case d.refused && (bytes.Contains(got.body, []byte("MARK")) || got.answer().Error == nil):
			t.Errorf("%s: %s", d.name, got)
		case !d.refused && !bytes.Contains(got.body, bytes.TrimSpace(fmt.Appendf(nil, d.body, "77"))) && !strings.Contains(string(got.body), "\ndata:"):
			t.Errorf("%s: not the same bytes: %s", d.name, got)
		}
	}
}

// TestLimits sends and answers with more than the limits allow.
func TestLimits(t *testing.T) {
	t.Parallel()
	const limit = "limits: {message: 64KiB}\n"
	big := strings.Repeat("x", 200<<10)
	t.Run("request", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		c := before(t, setting{more: limit}, h).session()
		got := c.tool(t, "echo", `{"text":"`+big+`"}`)
		if got.status != http.StatusRequestEntityTooLarge && got.code() != limited {
			t.Errorf("%.300s", got)
		}
		h.untouched()
	})
	t.Run("answer", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		h.answers("tools/call", result(`{"content":[{"type":"text","text":"`+big+`"}]}`))
		refused(t, before(t, setting{more: limit}, h).session().tool(t, "echo", `{}`), unreachable)
	})
	t.Run("rate", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		c := before(t, setting{more: "limits: {rate: 20}\n"}, h).session()
		var last reply
		for range 40 {
			last = c.tool(t, "echo", `{}`)
		}
		if last.code() != limited && last.status != http.StatusTooManyRequests {
			t.Errorf("%s", last)
		}
		if n := len(h.saw("")); n > 25 {
			t.Errorf("the server saw %d messages", n)
		}
	})
	t.Run("endless line", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		gone := make(chan struct{})
		h.answers("tools/call", func(w http.ResponseWriter, _ *http.Request, _ sent) {
			defer close(gone)
			w.Header().Set("Content-Type", "text/event-stream")
			if _, err := io.WriteString(w, "data: "); err != nil {
				return
			}
			for range 4096 { // a GiB at most
				if _, err := io.WriteString(w, strings.Repeat("a", 256<<10)); err != nil {
					return
				}
			}
		})
		g := before(t, setting{more: limit}, h)
		refused(t, g.session().tool(t, "echo", `{}`), unreachable)
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Error("the gateway still reads")
		}
	})
	t.Run("gzip bomb of a server", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		var bomb bytes.Buffer
		z := gzip.NewWriter(&bomb)
		zeros := make([]byte, 1<<20)
		for range 512 {
			_, _ = z.Write(zeros)
		}
		_ = z.Close()
		h.answers("tools/call", func(w http.ResponseWriter, _ *http.Request, _ sent) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		})
		g := before(t, setting{more: limit}, h)
		got := g.session().tool(t, "echo", `{}`)
		if got.answer().Error == nil {
			t.Errorf("%.300s", got)
		}
	})
	t.Run("gzip of a client", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		c := before(t, setting{}, h).session()
		var body bytes.Buffer
		z := gzip.NewWriter(&body)
		_, _ = io.WriteString(z, call(1))
		_ = z.Close()
		c.header = http.Header{"Content-Encoding": {"gzip"}}
		if got := c.must(t, body.String()); got.status < 400 {
			t.Errorf("%s", got)
		}
		h.untouched()
	})
}

// TestSlowBody holds connections open with bodies that never end; others still work.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	h := newHostile(t)
	g := before(t, setting{}, h)
	for range 50 {
		c, err := net.Dial("tcp", g.at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 1000\r\n\r\n{", g.at)
	}
	passed(t, g.session().tool(t, "echo", `{"text":"x"}`))
}

// TestEndlessEvents has a server answer with events that never end: others still work,
// and it ends when the client cancels and goes.
func TestEndlessEvents(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	gone := make(chan struct{})
	h.answers("tools/call", func(w http.ResponseWriter, r *http.Request, _ sent) {
		defer close(gone)
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}\n\n"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	})
	g := before(t, setting{}, h)
	c := g.session()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = c.post(ctx, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{},"_meta":{"progressToken":1}}}`)
	passed(t, g.session().must(t, `{"jsonrpc":"2.0","id":2,"method":"ping"}`))
	r, err := c.request(context.Background(), http.MethodDelete, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("the gateway still reads for a session that ended")
	}
}

// TestDuplicateIDsInFlight sends a second request with the id of one that is under way.
func TestDuplicateIDsInFlight(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	h := newHostile(t)
	hold, inside := make(chan struct{}), make(chan struct{}, 2)
	h.answers("tools/call", func(w http.ResponseWriter, r *http.Request, m sent) {
		inside <- struct{}{}
		<-hold
		result(`{"content":[{"type":"text","text":"first"}]}`)(w, r, m)
	})
	c := before(t, setting{}, h).session()
	const body = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"%s"}}}`
	var wg sync.WaitGroup
	var first reply
	wg.Go(func() { first = c.must(t, fmt.Sprintf(body, "first")) })
	<-inside
	second := c.must(t, fmt.Sprintf(body, "second"))
	close(hold)
	wg.Wait()
	passed(t, first)
	if second.answer().Error == nil {
		t.Errorf("the second was answered: %s", second)
	}
	if n := len(h.saw("tools/call")); n != 1 {
		t.Errorf("the server saw %d calls", n)
	}
}

// TestServerDies ends a server in the middle of a call: one clear error.
func TestServerDies(t *testing.T) {
	t.Parallel()
	for name, die := range map[string]answerer{
		"before the answer": func(http.ResponseWriter, *http.Request, sent) { panic(http.ErrAbortHandler) },
		"within the answer": func(w http.ResponseWriter, _ *http.Request, _ sent) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":"c","result":{"content":[{"type":"text","text":"MARK`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"within the events": func(w http.ResponseWriter, _ *http.Request, _ sent) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"jsonrpc\":\"2.0\",\"id\":\"c\",\"result\":{\"content\":\"MARK")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if standIn() {
				t.Skip("of the gateway")
			}
			h := newHostile(t)
			h.answers("tools/call", die)
			got := before(t, setting{}, h).session().tool(t, "echo", `{}`)
			refused(t, got, unreachable)
			if len(got.messages) != 1 || bytes.Contains(got.body, []byte("MARK")) {
				t.Errorf("%s", got)
			}
		})
	}
}
