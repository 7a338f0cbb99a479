package llm_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/protocol"
)

// faults are what the upstream does with a stream. Only the first two end it well.
var faults = []string{"clean", "bytes", "cut", "cut-frame", "reset", "stall", "half", "no-end", "json", "gzip", "status", "close", "twice", "bad-chunk"}

// faulty is a server of a single purpose: it does what the user's message says, over bare
// connections, since no server of HTTP would.
func faulty(t testing.TB) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	over := make(chan struct{})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { faultyConn(c, over) })
		}
	})
	t.Cleanup(func() {
		close(over)
		_ = l.Close()
		all.Wait()
	})
	return "http://" + l.Addr().String() + "/v1"
}

func faultyConn(c net.Conn, over chan struct{}) {
	defer func() { _ = c.Close() }()
	go func() { <-over; _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		mode := "clean"
		for _, f := range faults {
			if strings.Contains(string(body), `"do `+f+`"`) {
				mode = f
			}
		}
		if !serveFault(c, mode) {
			return
		}
	}
}

// serveFault says whether the connection can be used again.
func serveFault(c net.Conn, mode string) bool {
	stream := chatStream("one ", "two ", "three ", "four ", "five")
	if mode == "status" {
		_, err := io.WriteString(c, "HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		return err == nil
	}
	if mode == "close" { // its end is the connection's: nothing tells that it is whole but the stream
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"+stream[:len(stream)/2])
		return false
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
	if mode == "gzip" {
		head += "Content-Encoding: gzip\r\n"
	}
	w := bufio.NewWriter(c)
	_, _ = w.WriteString(head + "\r\n")
	chunk := func(s string) { _, _ = fmt.Fprintf(w, "%x\r\n%s\r\n", len(s), s) }
	switch mode {
	case "bytes":
		for i := range len(stream) {
			chunk(stream[i : i+1])
		}
	case "cut", "cut-frame", "reset", "stall":
		at := strings.Index(stream, "three")
		if mode == "cut" {
			at = strings.Index(stream, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},")
		}
		chunk(stream[:at])
		_ = w.Flush()
		if mode == "stall" {
			time.Sleep(200 * time.Millisecond)
		}
		if tcp, ok := c.(*net.TCPConn); ok && mode == "reset" {
			_ = tcp.SetLinger(0)
		}
		return false
	case "half":
		chunk(strings.TrimSuffix(stream, "\n\n")) // the last event has no end
	case "no-end":
		chunk(strings.TrimSuffix(stream, "data: [DONE]\n\n"))
	case "json":
		chunk(strings.Replace(stream, `"three "`, `"three `, 1))
	case "twice":
		chunk(stream + stream)
	case "bad-chunk":
		chunk(stream[:100])
		_, _ = w.WriteString("zz\r\n")
		_ = w.Flush()
		return false
	default:
		chunk(stream)
	}
	_, _ = w.WriteString("0\r\n\r\n")
	return w.Flush() == nil
}

// endsWell says whether a client of the format takes a stream for a whole answer.
func endsWell(code int, body string) bool {
	if at := strings.Index(body, "data: [DONE]\n\n"); at >= 0 { // clients read no further
		body = body[:at+len("data: [DONE]\n\n")]
	}
	return code == http.StatusOK && !strings.Contains(body, `"error"`) && strings.HasSuffix(body, "data: [DONE]\n\n") && strings.Contains(body, `"finish_reason":"stop"`)
}

// TestBrokenStreamsNeverEndWell lets upstreams fail in every way that they have.
func TestBrokenStreamsNeverEndWell(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("streams", func(t *testing.T) {
		client, err := upstream.New(upstream.Options{Name: "p", Kind: route.OpenAI, BaseURL: faulty(t), Idle: 100 * time.Millisecond, FirstByte: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		panel, err := gateways.NewPanel(gateways.PanelOptions{AllowWithoutPolicies: true})
		if err != nil {
			t.Fatal(err)
		}
		r, err := route.New(route.Options{
			Providers: []route.Provider{{Name: "p", Kind: route.OpenAI, Formats: []string{string(wire.Chat)}, Models: map[string]string{"*": "*"}}},
			Strategy:  route.Fallback, Now: time.Now, Breaker: route.Breaker{Failures: 1 << 20, Open: time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		trail := &trailOf{}
		var mu sync.Mutex
		n := 0
		gw, err := llm.New(llm.Options{
			Router: r, Retry: route.Retry{Attempts: 1, Base: time.Millisecond, Max: time.Millisecond, Deadline: time.Minute, MaxRetryAfter: time.Second, Random: func(int64) int64 { return 0 }},
			Providers: map[string]llm.Upstream{"p": client}, Judge: panel, Trail: trail, Now: time.Now,
			NewID: func() string { mu.Lock(); defer mu.Unlock(); n++; return fmt.Sprint("req-", n) },
		})
		if err != nil {
			t.Fatal(err)
		}
		total := streams(1400)
		jobs := make(chan int)
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				for i := range jobs {
					mode := faults[i%len(faults)]
					body := `{"model":"m","stream":true,"messages":[{"role":"user","content":"do ` + mode + `"}]}`
					w := httptest.NewRecorder()
					gw.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(body)))
					got := w.Body.String()
					want := mode == "clean" || mode == "bytes"
					if endsWell(w.Code, got) != want {
						t.Errorf("%s: %d %s", mode, w.Code, got)
					}
					if want && !strings.Contains(got, `"content":"five"`) {
						t.Errorf("%s: %s", mode, got)
					}
					if !want && w.Code == http.StatusOK && (!strings.Contains(got, `"error"`) || !strings.HasSuffix(got, "data: [DONE]\n\n")) {
						t.Errorf("%s: the client hears of no error: %s", mode, got)
					}
				}
			})
		}
		order := rand.New(rand.NewPCG(3, 4)).Perm(total)
		for _, i := range order {
			jobs <- i
		}
		close(jobs)
		all.Wait()
		recorded(t, trail, total)
	})
}

// recorded wants an intent, a decision and an outcome of each call, and nothing else.
func recorded(t *testing.T, trail *trailOf, calls int) {
	t.Helper()
	byCall := map[string][]string{}
	for _, e := range trail.events {
		byCall[e.Gateway.RequestID] = append(byCall[e.Gateway.RequestID], e.EventType)
	}
	want := fmt.Sprint([]string{protocol.EventLLMRequest, protocol.EventLLMDecision, protocol.EventLLMResponse})
	for id, got := range byCall {
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v", id, got)
		}
	}
	if len(byCall) != calls {
		t.Errorf("%d calls are recorded, of %d", len(byCall), calls)
	}
}
