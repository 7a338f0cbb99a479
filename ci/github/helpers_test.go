package github

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

const (
	token   = "ghx_0123456789abcdefghij"
	commitA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	commitC = "cccccccccccccccccccccccccccccccccccccccc"
)

// clock is a clock that only sleeping moves.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	slept time.Duration
}

func newClock() *clock { return &clock{at: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.slept = c.at.Add(d), c.slept+d
	return ctx.Err()
}

// seen is one request that a server got.
type seen struct {
	method, path, query, auth, body string
	header                          http.Header
}

// server answers as its handler does and remembers what it was asked.
type server struct {
	*httptest.Server

	mu   sync.Mutex
	seen []seen
}

func (s *server) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.seen...)
}

// serve starts a server and a client of it.
func serve(t *testing.T, h http.HandlerFunc) (*Client, *server, *clock) {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.seen = append(s.seen, seen{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), string(body), r.Header})
		s.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		h(w, r)
	}))
	t.Cleanup(s.Close)
	c, at := newClient(t, s.URL)
	return c, s, at
}

func newClient(t *testing.T, url string) (*Client, *clock) {
	t.Helper()
	at := newClock()
	c, err := New(Options{BaseURL: url, Token: token, Repository: "acme/shop", Now: at.now, Sleep: at.sleep, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, at
}

// reply writes JSON.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// one answers the same to everything.
func one(status int, v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, status, v) }
}

// paged answers with pages of a list, with links.
func paged(items []any, key string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		size, page = max(size, 1), max(page, 1)
		from, to := min((page-1)*size, len(items)), min(page*size, len(items))
		if to < len(items) {
			q := r.URL.Query()
			q.Set("page", strconv.Itoa(page+1))
			link := fmt.Sprintf(`<http://%s%s?%s>; rel="next"`, r.Host, r.URL.Path, q.Encode())
			q.Set("page", strconv.Itoa((len(items)+size-1)/size))
			w.Header().Set("Link", link+fmt.Sprintf(`, <http://%s%s?%s>; rel="last"`, r.Host, r.URL.Path, q.Encode()))
		}
		if key == "" {
			reply(w, http.StatusOK, append([]any{}, items[from:to]...))
			return
		}
		reply(w, http.StatusOK, map[string]any{"total_count": len(items), key: append([]any{}, items[from:to]...)})
	}
}

// wants checks an error's code and exit code, and that the token is not in it.
func wants(t *testing.T, err error, code string, exit int) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.ExitCode() != exit {
		t.Fatalf("error %v (%+v), want %s with exit %d", err, e, code, exit)
	}
	if strings.Contains(err.Error()+e.Hint, token) {
		t.Fatalf("the token stands in the error: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func person(id int, login string) map[string]any {
	return map[string]any{"id": id, "login": login, "type": "User"}
}

func asError(err error) *protocol.Error {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// routes answers by "METHOD path".
func routes(t *testing.T, m map[string]http.HandlerFunc) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		if h, ok := m[r.Method+" "+r.URL.Path]; ok {
			h(w, r)
			return
		}
		t.Errorf("%s %s is asked for", r.Method, r.URL.Path)
		reply(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
	}
}
