package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
)

// client is a client without an SDK: it sends the bytes that a test wants.
type client struct {
	url     string
	http    *http.Client
	session string
	version string // the revision; none is sent if empty
	header  http.Header
}

// newClient gives a client with its own connections.
func newClient(url string) *client {
	return &client{url: url, version: "2025-06-18", http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: time.Minute}}
}

// reply is what came back for one POST.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	messages []message // of the body, whether it was one message or a stream of events
}

// answer is the message that answers the request, the last one.
func (r reply) answer() message {
	if len(r.messages) == 0 {
		return message{}
	}
	return r.messages[len(r.messages)-1]
}

func (r reply) String() string {
	return fmt.Sprintf("%d %s", r.status, bytes.TrimSpace(r.body))
}

func (c *client) request(ctx context.Context, method string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if c.version != "" {
		r.Header.Set("Mcp-Protocol-Version", c.version)
	}
	if c.session != "" {
		r.Header.Set("Mcp-Session-Id", c.session)
	}
	maps.Copy(r.Header, c.header)
	return r, nil
}

// post sends bytes and reads all that comes back.
func (c *client) post(ctx context.Context, body string) (reply, error) {
	r, err := c.request(ctx, http.MethodPost, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	got := reply{status: answer.StatusCode, header: answer.Header}
	got.body, err = io.ReadAll(answer.Body)
	got.messages = read(answer.Header.Get("Content-Type"), got.body)
	return got, err
}

// read gives the messages of an answer.
func read(kind string, body []byte) []message {
	var out []message
	add := func(data []byte) {
		var m message
		if json.Unmarshal(data, &m) == nil {
			out = append(out, m)
		}
	}
	if !strings.HasPrefix(kind, "text/event-stream") {
		add(body)
		return out
	}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, len(body)+1)
	for lines.Scan() {
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:")); ok && len(bytes.TrimSpace(data)) > 0 {
			add(bytes.TrimSpace(data))
		}
	}
	return out
}

// initialize begins a session.
func (c *client) initialize(ctx context.Context) error {
	got, err := c.post(ctx, `{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"judge","version":"1"}}}`)
	if err != nil {
		return err
	}
	if got.status != http.StatusOK || got.answer().Result == nil {
		return fmt.Errorf("initialize: %s", got)
	}
	c.session = got.header.Get("Mcp-Session-Id")
	got, err = c.post(ctx, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if err == nil && got.status/100 != 2 {
		err = fmt.Errorf("initialized: %s", got)
	}
	return err
}

// listen opens the stream of what the server sends unasked.
func (c *client) listen(ctx context.Context) (*http.Response, error) {
	r, err := c.request(ctx, http.MethodGet, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	free := *c.http
	free.Timeout = 0
	answer, err := free.Do(r)
	if err == nil && answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		_ = answer.Body.Close()
		err = fmt.Errorf("listen: %d %s", answer.StatusCode, body)
	}
	return answer, err
}
