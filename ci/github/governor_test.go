package github

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

var theRepository = map[string]any{
	"id": 42, "full_name": "acme/shop", "default_branch": "main", "private": true, "owner": map[string]any{"id": 7, "login": "acme"},
}

func TestRepository(t *testing.T) {
	t.Parallel()
	c, s, _ := serve(t, one(200, theRepository))
	r, err := c.Repository(t.Context())
	must(t, err)
	if want := (Repository{ID: "42", OwnerID: "7", FullName: "acme/shop", DefaultBranch: "main", Private: true}); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	got := s.requests()[0]
	if got.path != "/repos/acme/shop" || got.auth != "Bearer "+token || got.header.Get("X-Github-Api-Version") == "" || got.header.Get("User-Agent") != "cabincrew" {
		t.Errorf("asked %+v", got)
	}
	if c.Calls() != 1 {
		t.Errorf("%d calls", c.Calls())
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    Options
		ok   bool
	}{
		{"github.com", Options{Repository: "a/b"}, true},
		{"own server", Options{BaseURL: "https://ghe.example.com/api/v3", Repository: "a/b"}, true},
		{"loopback", Options{BaseURL: "http://127.0.0.1:8080", Repository: "a/b"}, true},
		{"loopback of version 6", Options{BaseURL: "http://[::1]:8080/api/v3/", Repository: "a/b"}, true},
		{"in the clear", Options{BaseURL: "http://api.github.com", Repository: "a/b"}, false},
		{"in the clear beside loopback", Options{BaseURL: "http://127.0.0.1.example.com", Repository: "a/b"}, false},
		{"credentials", Options{BaseURL: "https://u:p@api.github.com", Repository: "a/b"}, false},
		{"query", Options{BaseURL: "https://api.github.com?x=y", Repository: "a/b"}, false},
		{"other scheme", Options{BaseURL: "file:///etc", Repository: "a/b"}, false},
		{"no repository", Options{}, false},
		{"half a repository", Options{Repository: "a"}, false},
		{"three parts", Options{Repository: "a/b/c"}, false},
		{"a way out", Options{Repository: "../b"}, false},
		{"a way out behind", Options{Repository: "a/.."}, false},
		{"line break in the token", Options{Repository: "a/b", Token: "x\n"}, false},
	} {
		client, err := New(c.o)
		if (err == nil) != c.ok || (client == nil) == c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			wants(t, err, "forge_options", 2)
		}
	}
	c, err := New(Options{BaseURL: "https://ghe.example.com/api/v3", Repository: "a/b"})
	must(t, err)
	if got := c.base.String(); got != "https://ghe.example.com/api/v3/" {
		t.Errorf("base %s", got)
	}
}

// TestT28FailuresThatPass has GitHub fail twice and then answer.
func TestT28FailuresThatPass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fail  http.HandlerFunc
		least time.Duration
	}{
		{"500", one(500, map[string]string{"message": "oops"}), limits.GitHubDelay},
		{"502 without JSON", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }, limits.GitHubDelay},
		{"503 with a time", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, 14 * time.Second},
		{"cut connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, limits.GitHubDelay},
		{"cut answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"id":`))
			panic(http.ErrAbortHandler)
		}, limits.GitHubDelay},
		{"secondary limit", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "30")
			reply(w, http.StatusForbidden, map[string]string{"message": "You have exceeded a secondary rate limit. Please wait."})
		}, time.Minute},
		{"secondary limit without a time", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusForbidden, map[string]string{"message": "You have exceeded a secondary rate limit."})
		}, 2 * limits.GitHubLimited},
		{"too many requests", one(http.StatusTooManyRequests, map[string]string{}), 2 * limits.GitHubLimited},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := 0
			client, s, at := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if n++; n <= 2 {
					c.fail(w, r)
					return
				}
				reply(w, 200, theRepository)
			})
			if _, err := client.Repository(t.Context()); err != nil {
				t.Fatal(err)
			}
			if at.slept < c.least || at.slept > limits.GitHubWait || len(s.requests()) != 3 || client.Calls() != 3 {
				t.Errorf("slept %s for %d requests", at.slept, len(s.requests()))
			}
		})
	}
}

func TestPrimaryLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		after time.Duration
		ok    bool
	}{{"ends soon", 5 * time.Minute, true}, {"ends late", 50 * time.Minute, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()

			n := 0
			client, s, at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if n++; n == 1 {
					w.Header().Set("X-Ratelimit-Remaining", "0")
					w.Header().Set("X-Ratelimit-Reset", strconv.FormatInt(newClock().at.Add(c.after).Unix(), 10))
					reply(w, http.StatusForbidden, map[string]string{"message": "API rate limit exceeded for installation ID 1."})
					return
				}
				reply(w, 200, theRepository)
			})
			_, err := client.Repository(t.Context())
			if c.ok {
				must(t, err)
				if at.slept < c.after || at.slept > c.after+2*time.Second {
					t.Errorf("slept %s", at.slept)
				}
				return
			}
			wants(t, err, "forge_rate_limited", 7)
			if at.slept != 0 || len(s.requests()) != 1 {
				t.Errorf("slept %s, asked %d times", at.slept, len(s.requests()))
			}
			if _, err := client.Change(t.Context(), 1); err == nil || len(s.requests()) != 1 {
				t.Errorf("it asks on while the limit lasts: %v", err)
			}
		})
	}
}

// TestLastCallOfTheHour is told by a good answer that there is none left.
func TestLastCallOfTheHour(t *testing.T) {
	t.Parallel()
	client, s, at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Ratelimit-Remaining", "0")
		w.Header().Set("X-Ratelimit-Reset", strconv.FormatInt(newClock().at.Add(time.Minute).Unix(), 10))
		reply(w, 200, theRepository)
	})
	for range 2 {
		_, err := client.Repository(t.Context())
		must(t, err)
	}
	if at.slept != time.Minute || len(s.requests()) != 2 {
		t.Errorf("slept %s", at.slept)
	}
}

// TestT28Unreachable has GitHub fail for good.
func TestT28Unreachable(t *testing.T) {
	t.Parallel()
	client, s, _ := serve(t, one(500, map[string]string{"message": "it was " + token + "\x1b[31m"}))
	_, err := client.Repository(t.Context())
	wants(t, err, "forge_unreachable", 7)
	if len(s.requests()) != limits.GitHubTries || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "acme/shop") {
		t.Errorf("%d requests, %q", len(s.requests()), err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	client, _ = newClient(t, gone.URL)
	_, err = client.Repository(t.Context())
	wants(t, err, "forge_unreachable", 7)
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	client, s, at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "200")
		reply(w, http.StatusTooManyRequests, map[string]string{})
	})
	_, err := client.Repository(t.Context())
	wants(t, err, "forge_rate_limited", 7)
	if at.slept > limits.GitHubWait || len(s.requests()) > limits.GitHubTries {
		t.Errorf("slept %s for %d requests", at.slept, len(s.requests()))
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 404, 410, 422, 451} {
		client, s, at := serve(t, one(status, map[string]any{"message": "Resource not accessible by integration", "errors": []any{map[string]string{"field": "x", "code": "custom"}}}))
		_, err := client.Reviews(t.Context(), 7)
		wants(t, err, "forge_refused", 7)
		var hint string
		if e := asError(err); e != nil {
			hint = e.Hint
		}
		if len(s.requests()) != 1 || at.slept != 0 || !strings.Contains(hint, "pull-requests: read") || !strings.Contains(err.Error(), "not accessible") {
			t.Errorf("%d: %v (%s)", status, err, hint)
		}
	}
}

// TestChangesAreNotRepeated sends what has an effect once, whatever happens to it.
func TestChangesAreNotRepeated(t *testing.T) {
	t.Parallel()
	client, s, _ := serve(t, one(502, map[string]string{}))
	err := client.Dispatch(t.Context(), "flight-plan.yml", "main", map[string]string{"a": "b"})
	wants(t, err, "forge_unreachable", 7)
	if len(s.requests()) != 1 {
		t.Errorf("asked %d times", len(s.requests()))
	}
	n := 0
	client, s, _ = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 1 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	must(t, client.Dispatch(t.Context(), "flight-plan.yml", "main", map[string]string{"a": "b"}))
	if got := s.requests(); len(got) != 2 || got[0].body != got[1].body || !strings.Contains(got[1].body, `"inputs":{"a":"b"}`) {
		t.Errorf("asked %+v", got)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	client, s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range limits.GitHubBody/len(chunk) + 1 {
			_, _ = w.Write(chunk)
		}
	})
	_, err := client.Repository(t.Context())
	wants(t, err, "forge_incomplete", 7)
	if len(s.requests()) != 1 {
		t.Errorf("asked %d times", len(s.requests()))
	}
}

func TestTheTokenStaysAtHome(t *testing.T) {
	t.Parallel()
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = true
		reply(w, 200, theRepository)
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 307, 308} {
		client, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/repos/acme/shop", status)
		})
		_, err := client.Repository(t.Context())
		if wants(t, err, "forge_unreachable", 7); asked {
			t.Errorf("%d: the other host was asked", status)
		}
	}
	client, s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/repositories/42" {
			reply(w, 200, theRepository)
			return
		}
		http.Redirect(w, r, "/repositories/42", http.StatusMovedPermanently)
	})
	_, err := client.Repository(t.Context())
	must(t, err)
	if got := s.requests(); len(got) != 2 || got[1].auth != "Bearer "+token {
		t.Errorf("a renamed repository is asked %+v", got)
	}
	client, s, _ = serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if err := client.Dispatch(t.Context(), "a.yml", "main", nil); err == nil || len(s.requests()) != 1 {
		t.Errorf("a change is redirected: %v", err)
	}
	client, s, _ = serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) })
	if _, err := client.Repository(t.Context()); err == nil || len(s.requests()) > limits.GitHubHops+1 {
		t.Errorf("redirected without end: %v, %d", err, len(s.requests()))
	}
}

func TestETags(t *testing.T) {
	t.Parallel()
	client, s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `W/"one"`)
		if r.Header.Get("If-None-Match") == `W/"one"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		reply(w, 200, theRepository)
	})
	for range 3 {
		r, err := client.Repository(t.Context())
		if must(t, err); r.ID != "42" {
			t.Errorf("%+v", r)
		}
	}
	got := s.requests()
	if got[0].header.Get("If-None-Match") != "" || got[2].header.Get("If-None-Match") == "" || got[0].header.Get("Cache-Control") != "no-cache" {
		t.Errorf("asked %+v", got)
	}
	client, _, _ = serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	if _, err := client.Repository(t.Context()); err == nil {
		t.Error("an answer that nobody has is taken")
	}
}

func TestKeptIsBounded(t *testing.T) {
	t.Parallel()
	k := newKept()
	body := make([]byte, limits.GitHubCache/8)
	for i := range 4 * limits.GitHubCached {
		req := httptest.NewRequest(http.MethodGet, "/x/"+strconv.Itoa(i), nil)
		k.put(req, http.Header{"Etag": {"a"}}, body[:len(body)*(i%2)])
	}
	if len(k.order) > limits.GitHubCached || k.bytes > limits.GitHubCache || len(k.answers) != len(k.order) {
		t.Errorf("%d answers, %d bytes", len(k.answers), k.bytes)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client, _, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(http.StatusInternalServerError)
	})
	_, err := client.Repository(ctx)
	wants(t, err, "forge_unreachable", 7)
}
