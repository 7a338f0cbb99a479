package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/llm/route"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		_, _ = io.WriteString(w, "{}")
	})
	for _, c := range []struct {
		name    string
		kind    route.Kind
		base    string
		version string
		call    Call
		want    string // path and query
		key     string // the header field and its value
	}{
		{"openai", route.OpenAI, "/v1", "", Call{Path: "/chat/completions"}, "/v1/chat/completions", "Authorization: Bearer " + secret},
		{"openai with version", route.OpenAI, "/v1/", "", Call{Path: "/v1/embeddings"}, "/v1/embeddings", "Authorization: Bearer " + secret},
		{"a model's name", route.OpenAI, "/v1", "", Call{Method: "GET", Path: "/models/a%2Fb:8b"}, "/v1/models/a%2Fb:8b", "Authorization: Bearer " + secret},
		{"another base", route.OpenAI, "/api/openai", "", Call{Path: "/responses", Query: url.Values{"beta": {"true"}, "key": {"x"}}}, "/api/openai/responses?beta=true", "Authorization: Bearer " + secret},
		{"rerank", route.OpenAI, "/v1", "", Call{Path: "/v2/rerank"}, "/v2/rerank", "Authorization: Bearer " + secret},
		{"rerank at its version", route.OpenAI, "/v2", "", Call{Path: "/v2/rerank"}, "/v2/rerank", "Authorization: Bearer " + secret},
		{"rerank of the first version", route.OpenAI, "/v1", "", Call{Path: "/v1/rerank"}, "/v1/rerank", "Authorization: Bearer " + secret},
		{"anthropic", route.Anthropic, "", "", Call{Path: "/messages"}, "/v1/messages", "X-Api-Key: " + secret},
		{"anthropic with version", route.Anthropic, "/v1", "", Call{Path: "/v1/messages/count_tokens"}, "/v1/messages/count_tokens", "X-Api-Key: " + secret},
		{"azure", route.Azure, "", "2024-10-21", Call{Path: "/chat/completions", Model: "my gpt/4"}, "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21", "Api-Key: " + secret},
		{"azure behind a prefix", route.Azure, "/apim/", "2024-10-21", Call{Path: "/embeddings", Model: "e"}, "/apim/openai/deployments/e/embeddings?api-version=2024-10-21", "Api-Key: " + secret},
		{"azure, no deployment", route.Azure, "", "2025-04-01-preview", Call{Path: "/responses", Model: "m"}, "/openai/responses?api-version=2025-04-01-preview", "Api-Key: " + secret},
		{"azure v1", route.Azure, "/openai/v1/", "", Call{Path: "/chat/completions", Model: "m"}, "/openai/v1/chat/completions", "Api-Key: " + secret},
		{"azure v1 preview", route.Azure, "/openai/v1", "preview", Call{Path: "/responses", Model: "m"}, "/openai/v1/responses?api-version=preview", "Api-Key: " + secret},
	} {
		k := client(t, base+c.base, func(o *Options) {
			o.Kind, o.Version, o.Headers = c.kind, c.version, map[string]string{"x-own": "1"}
		})
		c.call.Header = http.Header{
			"Authorization": {"Bearer client"}, "X-Api-Key": {"client"}, "Api-Key": {"client"}, "Cookie": {"a=b"}, "X-Stainless-Lang": {"js"},
			"X-Forwarded-For": {"1.2.3.4"}, "Openai-Organization": {"theirs"}, "Anthropic-Beta": {"a", "b"}, "Openai-Beta": {"c"},
		}
		if c.call.Method == "" {
			c.call.Body = []byte(`{"a": 1}`)
		}
		if _, text, err := whole(t, k, c.call); err != nil || text != "{}" {
			t.Errorf("%s: %q, %v", c.name, text, err)
			continue
		}
		if uri := got.URL.RequestURI(); uri != c.want || body != string(c.call.Body) {
			t.Errorf("%s: %s %q", c.name, uri, body)
		}
		name, value, _ := strings.Cut(c.key, ": ")
		h := got.Header
		for _, never := range []string{"Authorization", "X-Api-Key", "Api-Key", "Cookie", "X-Stainless-Lang", "X-Forwarded-For", "Openai-Organization"} {
			if v := h.Get(never); v != "" && never != name {
				t.Errorf("%s: %s: %s goes on", c.name, never, v)
			}
		}
		if h.Get(name) != value || h.Get("X-Own") != "1" || h.Get("Accept-Encoding") != "identity" || h.Get("Accept") != "application/json" {
			t.Errorf("%s: %v", c.name, h)
		}
		anthropic := c.kind == route.Anthropic
		if h.Get("Openai-Beta") == "c" == anthropic || len(h["Anthropic-Beta"]) == 2 != anthropic || h.Get("Anthropic-Version") == "2023-06-01" != anthropic {
			t.Errorf("%s: %v", c.name, h)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"no name":      {Kind: route.OpenAI, BaseURL: "http://127.0.0.1"},
		"no kind":      {Name: "a", BaseURL: "http://127.0.0.1"},
		"no url":       {Name: "a", Kind: route.OpenAI},
		"user":         {Name: "a", Kind: route.OpenAI, BaseURL: "https://u:" + secret + "@x"},
		"bad url":      {Name: "a", Kind: route.OpenAI, BaseURL: "https://" + secret + "@x:port"},
		"query":        {Name: "a", Kind: route.OpenAI, BaseURL: "https://x/?key=" + secret},
		"fragment":     {Name: "a", Kind: route.OpenAI, BaseURL: "https://x/#a"},
		"scheme":       {Name: "a", Kind: route.OpenAI, BaseURL: "ftp://x"},
		"dots":         {Name: "a", Kind: route.OpenAI, BaseURL: "https://x/../a"},
		"escaped dots": {Name: "a", Kind: route.OpenAI, BaseURL: "https://x/%2e%2e/a"},
		"metadata":     {Name: "a", Kind: route.OpenAI, BaseURL: "http://metadata.google.internal/"},
		"plain":        {Name: "a", Kind: route.OpenAI, BaseURL: "http://example.com", Key: key},
		"azure":        {Name: "a", Kind: route.Azure, BaseURL: "https://x"},
		"authority":    {Name: "a", Kind: route.OpenAI, BaseURL: "https://x", CA: []byte("no")},
		"time":         {Name: "a", Kind: route.OpenAI, BaseURL: "https://x", Idle: -1},
		"key's field":  {Name: "a", Kind: route.OpenAI, BaseURL: "https://x", Key: key, Headers: map[string]string{"authorization": secret}},
		"framing":      {Name: "a", Kind: route.OpenAI, BaseURL: "https://x", Headers: map[string]string{"transfer-encoding": "x"}},
		"line":         {Name: "a", Kind: route.OpenAI, BaseURL: "https://x", Headers: map[string]string{"x": "a\r\nb: c"}},
		"no region":    {Name: "a", Kind: route.Bedrock, Key: key},
		"odd region":   {Name: "a", Kind: route.Bedrock, Key: key, Region: "a.evil/"},
		"no key":       {Name: "a", Kind: route.Bedrock, Region: "us-east-1"},
		"no project":   {Name: "a", Kind: route.Vertex, Region: "us-east5", Key: key},
		"odd project":  {Name: "a", Kind: route.Vertex, Region: "us-east5", Key: key, Project: "a/../b"},
		"its project":  {Name: "a", Kind: route.Bedrock, Region: "us-east-1", Key: key, Project: "p"},
		"region":       {Name: "a", Kind: route.OpenAI, BaseURL: "https://x", Region: "us-east-1"},
		"version":      {Name: "a", Kind: route.Anthropic, BaseURL: "https://x", Version: "a\nb"},
	} {
		if c, err := New(o); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestCallsRefused(t *testing.T) {
	t.Parallel()
	u, requests := raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	c := client(t, u)
	for _, path := range []string{"", "chat", "/a?b", "/a#b", "/../admin", "/a/%2e%2e/b", "/a//b", "/a\r\nb", "/a b", "/%zz", "/%0d%0a", `/a\b`, "/a%5cb", "/" + strings.Repeat("a", 2000), "/v1/../x"} {
		call := ask()
		call.Path = path
		_, _, err := whole(t, c, call)
		failed(t, err, Refused, false)
	}
	for _, h := range []http.Header{{"Openai-Beta": {"a\r\nx: y"}}, {"Idempotency-Key": {strings.Repeat("a", 9000)}}} {
		call := ask()
		call.Header = h
		_, _, err := whole(t, c, call)
		failed(t, err, Refused, false)
	}
	for _, f := range []func(context.Context) (string, error){
		func(context.Context) (string, error) { return "", nil },
		func(context.Context) (string, error) { return "a\nb", nil },
		func(context.Context) (string, error) { return secret, errors.New("no " + secret) },
	} {
		_, _, err := whole(t, client(t, u, func(o *Options) { o.Key = f }), ask())
		failed(t, err, Key, false)
	}
	if n := len(requests); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func bomb() string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 10<<20))
	_ = w.Close()
	return b.String()
}

// TestHostileProviders says that no answer which is none, or not whole, looks like one.
func TestHostileProviders(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	const limit = 1 << 16
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		reason Reason
	}{
		{"redirect to metadata", says("HTTP/1.1 307 T\r\nLocation: http://169.254.169.254/" + secret + "\r\nContent-Length: 0\r\n\r\n"), Redirect},
		{"redirect with the key", says("HTTP/1.1 302 T\r\nLocation: http://" + secret + ".x/\r\nContent-Length: 0\r\n\r\n"), Redirect},
		{"redirect to nowhere", says("HTTP/1.1 301 T\r\nContent-Length: 0\r\n\r\n"), Redirect},
		{"not modified", says("HTTP/1.1 304 T\r\n\r\n"), Redirect},
		{"gzip bomb", says(ok + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + bomb()), Status},
		{"encoding", says(ok + "Content-Encoding: br\r\nContent-Length: 1\r\n\r\na"), Status},
		{"two encodings", says(ok + "Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na"), Status},
		{"switches", says("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"), Status},
		{"no HTTP", says("SSH-2.0-" + secret + "\r\n"), Status},
		{"HTTP/2", says("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80"), Cut},
		{"status 999", says("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), Status},
		{"nothing", func(net.Conn) {}, Cut},
		{"reset", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, Cut},
		{"half a header", says("HTTP/1.1 200 OK\r\nContent-Le"), Cut},
		{"endless header", func(c net.Conn) {
			_, _ = io.WriteString(c, ok)
			for line := []byte("X-A: " + strings.Repeat("a", 1000) + "\r\n"); ; {
				if _, err := c.Write(line); err != nil {
					return
				}
			}
		}, Status},
		{"endless line", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 ")
			for {
				if _, err := c.Write(bytes.Repeat([]byte("a"), 1000)); err != nil {
					return
				}
			}
		}, Status},
		{"interim flood", func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 E\r\nLink: a\r\n\r\n"); err != nil {
					return
				}
			}
		}, Status},
		{"two lengths", says(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "), Status},
		{"odd length", says(ok + "Content-Length: +2\r\n\r\n{}"), Status},
		{"short body", says(ok + "Content-Length: 100\r\n\r\n{}"), Cut},
		{"reset in the body", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Content-Length: 100\r\n\r\n{}")
			time.Sleep(20 * time.Millisecond)
			_ = c.(*net.TCPConn).SetLinger(0)
		}, Cut},
		{"chunks without an end", says(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), Cut},
		{"half a chunk", says(ok + "Transfer-Encoding: chunked\r\n\r\nff\r\n{}"), Cut},
		{"no chunk", says(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"), Cut},
		{"long chunk", says(ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}"), Cut},
		{"a chunk ends elsewhere", says(ok + "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"), Cut},
		{"chunk line flood", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n2;"+strings.Repeat("a", 1<<20))
		}, Cut},
		{"trailer flood", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
			for {
				if _, err := io.WriteString(c, "X-A: "+strings.Repeat("a", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, Cut},
		{"odd encoding", says(ok + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), Status},
		{"too long", says(ok + "Content-Length: 1000000\r\n\r\n"), TooLarge},
		{"endless", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "400\r\n"+strings.Repeat("a", 1024)+"\r\n"); err != nil {
					return
				}
			}
		}, TooLarge},
		{"endless without a mark", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"\r\n")
			for {
				if _, err := c.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}, TooLarge},
		{"silent", func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, FirstByte},
		{"silent after the header", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n")
			_, _ = c.Read(make([]byte, 1))
		}, FirstByte},
		{"one interim answer and no more", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 103 E\r\n\r\n")
			_, _ = c.Read(make([]byte, 1))
		}, FirstByte},
		{"stalls in the body", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Content-Length: 100\r\n\r\n{}")
			_, _ = c.Read(make([]byte, 1))
		}, Idle},
		{"drips", func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"Content-Length: 1000\r\n\r\n{}")
			for {
				time.Sleep(10 * time.Millisecond)
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
			}
		}, Total},
	} {
		for size, body := range map[string]string{"small": `{"model":"m"}`, "large": strings.Repeat(" ", 100_000)} {
			t.Run(c.name+"/"+size, func(t *testing.T) {
				t.Parallel()
				u, requests := raw(t, c.answer)
				k := client(t, u, func(o *Options) {
					o.FirstByte, o.Idle, o.Total, o.MaxAnswer = 300*time.Millisecond, 300*time.Millisecond, time.Second, limit
				})
				call := ask()
				call.Body = []byte(body)
				call.Header = http.Header{"Idempotency-Key": {"once"}} // a transport would take it for leave to send again
				_, text, err := whole(t, k, call)
				failed(t, err, c.reason, true)
				if len(text) > limit || len(requests) != 1 {
					t.Errorf("%d bytes, sent %d times", len(text), len(requests))
				}
				if n := len(k.slots); n != 0 {
					t.Errorf("%d calls are still counted", n)
				}
			})
		}
	}
}

// TestProviderErrors says that an error of the provider comes as it is, but for the key.
func TestProviderErrors(t *testing.T) {
	t.Parallel()
	for status, size := range map[int]int{400: 10, 401: 100, 429: 1000, 500: 10_000, 529: 100_000} {
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Retry-After", "7")
			h.Set("X-Ratelimit-Limit-Requests", "5")
			h.Set("X-Request-ID", secret)
			h.Set("Set-Cookie", "a=b")
			h.Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":"wrong key `+secret+`"}`+strings.Repeat(" ", size))
		})
		a, text, err := whole(t, client(t, u), ask())
		if size > 65536 {
			failed(t, err, TooLarge, true)
		} else if err != nil {
			t.Fatal(err)
		}
		if a.Status != status || !strings.HasPrefix(text, `{"error":"wrong key [key]"}`) || len(text) > 65536 {
			t.Errorf("%d: %d %.100q", status, a.Status, text)
		}
		if h := a.Header; len(h) != 3 || h.Get("Retry-After") != "7" || h.Get("X-Ratelimit-Limit-Requests") != "5" || h.Get("Content-Type") != "application/json" {
			t.Errorf("%v", h)
		}
	}
}

func TestUnmarkedEnd(t *testing.T) {
	t.Parallel()
	u, _ := raw(t, says("HTTP/1.1 200 OK\r\n\r\n{}"))
	a, text, err := whole(t, client(t, u), ask())
	if err != nil || text != "{}" || !a.Unmarked {
		t.Errorf("%+v %q %v", a, text, err)
	}
	u, _ = raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	if a, text, err = whole(t, client(t, u), ask()); err != nil || text != "{}" || a.Unmarked {
		t.Errorf("%+v %q %v", a, text, err)
	}
}

// TestAddresses says where no provider is looked for.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for url, reason := range map[string]Reason{
		"http://169.254.169.254/latest": Refused, "http://[fe80::1%25lo]/": Refused, "http://[fd00:ec2::254]/": Refused, "http://0.0.0.0:1/": Refused,
		"http://[::ffff:169.254.169.254]/": Refused, "http://127.0.0.1:1/": Dial, "http://localhost:1": Dial, "https://localhost:1": Dial,
	} {
		c := client(t, url, func(o *Options) { o.Key = nil })
		_, _, err := whole(t, c, ask())
		failed(t, err, reason, false)
	}
}

func TestBusyAndClosed(t *testing.T) {
	t.Parallel()
	u, _ := raw(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	c := client(t, u, func(o *Options) { o.MaxConcurrent = 1 })
	done := make(chan error)
	go func() {
		_, err := c.Do(t.Context(), ask())
		done <- err
	}()
	for len(c.slots) == 0 {
		time.Sleep(time.Millisecond)
	}
	_, err := c.Do(t.Context(), ask())
	failed(t, err, Busy, false)
	time.Sleep(20 * time.Millisecond)
	c.Close()
	failed(t, <-done, Cancelled, true)
	_, err = c.Do(t.Context(), ask())
	failed(t, err, Cancelled, false)
}

// TestCancelEndsTheConnection says that a client which goes away takes the provider's
// connection with it, before and in the answer.
func TestCancelEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"} {
		gone := make(chan error, 1)
		u, requests := raw(t, func(c net.Conn) {
			_, _ = io.WriteString(c, first)
			_, err := c.Read(make([]byte, 1))
			gone <- err
		})
		c := client(t, u)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if first == "" {
			go func() { <-requests; cancel() }()
		}
		a, err := c.Do(ctx, ask())
		if first != "" {
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(20*time.Millisecond, cancel)
			_, err = io.ReadAll(a.Body)
			_ = a.Body.Close()
		}
		failed(t, err, Cancelled, true)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		select {
		case err := <-gone:
			if err == nil {
				t.Error("the connection goes on")
			}
		case <-time.After(5 * time.Second):
			t.Error("the connection stays")
		}
	}
}
