package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/llm/route"
)

// secret is the key of the provider in tests.
const secret = "sk-test-0123456789abcdef"

func key(context.Context) (string, error) { return secret, nil }

// client makes a client of the provider at url.
func client(t testing.TB, url string, with ...func(*Options)) *Client {
	t.Helper()
	o := Options{Name: "far", Kind: route.OpenAI, BaseURL: url, Key: key}
	for _, f := range with {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serve starts a provider.
func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// raw starts a provider that answers each connection's requests with what answer writes. It
// gives how many requests came.
func raw(t testing.TB, answer func(c net.Conn)) (url string, requests chan string) {
	t.Helper()
	return rawMany(t, &sync.WaitGroup{}, answer)
}

// rawMany is raw that counts open connections.
func rawMany(t testing.TB, open *sync.WaitGroup, answer func(c net.Conn)) (url string, requests chan string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	requests = make(chan string, 2000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer func() { _ = c.Close() }()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				body, _ := io.ReadAll(r.Body)
				requests <- string(body)
				answer(c)
			})
		}
	}()
	return "http://" + l.Addr().String(), requests
}

// says gives an answer that is these bytes.
func says(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// ask is a call as a client makes it.
func ask() Call {
	return Call{Endpoint: "chat", Model: "m", Path: "/chat/completions", Body: []byte(`{"model":"m"}`)}
}

// whole makes a call and reads all of its answer.
func whole(t testing.TB, c *Client, call Call) (*Answer, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := c.Do(ctx, call)
	if err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(a.Body)
	_ = a.Body.Close()
	return a, string(text), err
}

// failed says whether an error is a failure for a reason, without the key.
func failed(t testing.TB, err error, reason Reason, sent bool) {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) || f.Reason != reason || f.Sent != sent {
		t.Errorf("%v (%+v): want %s, sent %v", err, f, reason, sent)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("an error holds the key or a line's end: %q", err)
		}
	}
}
