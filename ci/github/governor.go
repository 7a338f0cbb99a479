package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	secondary "github.com/gofri/go-github-ratelimit/v2/github_ratelimit/github_secondary_ratelimit"

	"github.com/cabincrew/action/internal/limits"
)

// governor is the transport below the API's client: it adds the token, waits where
// GitHub asks to wait, tries again what may be tried again, and gives whole answers
// only. How GitHub words its secondary limits is known to go-github-ratelimit; the
// waiting is done here, since the library's knows no clock but the machine's, and
// bounds neither the wait for a primary limit nor both together.
type governor struct {
	next  http.RoundTripper
	base  *url.URL
	token string
	now   func() time.Time
	sleep func(context.Context, time.Duration) error
	rand  io.Reader

	mu     sync.Mutex
	calls  int
	waited time.Duration
	until  time.Time // nothing is asked before
	kept   *kept
}

type (
	// limitError says that GitHub's limit does not end in time.
	limitError struct{ until time.Time }
	// redirectError says that the API sent us somewhere else.
	redirectError struct{ why string }
	// sizeError says that an answer is too large.
	sizeError  struct{}
	repeatable struct{} // key of a context: the request may be sent twice
)

func (e *limitError) Error() string {
	return "its rate limit is used up until " + e.until.UTC().Format(time.RFC3339)
}
func (e *redirectError) Error() string { return "it redirects " + e.why }
func (*sizeError) Error() string {
	return fmt.Sprintf("the answer is larger than %d bytes", limits.GitHubBody)
}

// repeat marks requests that have the same effect if they are sent twice.
func repeat(ctx context.Context) context.Context {
	return context.WithValue(ctx, repeatable{}, true)
}

// follow lets questions be redirected within the API, as GitHub does after a
// repository was renamed; never anything else, and never elsewhere.
func (g *governor) follow(req *http.Request, via []*http.Request) error {
	switch {
	case req.URL.Host != g.base.Host || req.URL.Scheme != g.base.Scheme:
		return &redirectError{"to another host"}
	case via[0].Method != http.MethodGet:
		return &redirectError{"what is not a question"}
	case len(via) > limits.GitHubHops:
		return &redirectError{"too often"}
	}
	return nil
}

// RoundTrip sends a request until it has an answer that counts.
func (g *governor) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != g.base.Host || req.URL.Scheme != g.base.Scheme {
		return nil, &redirectError{"to another host"}
	}
	ctx := req.Context()
	again := req.Method == http.MethodGet || ctx.Value(repeatable{}) != nil
	for try := 1; ; try++ {
		if err := g.turn(ctx); err != nil {
			return nil, err
		}
		resp, body, err := g.once(ctx, req)
		if err == nil {
			if d, limited := g.limited(resp, body, try); limited {
				// nothing was done, so this may be sent again whatever it was
				g.hold(g.now().Add(d))
				if try >= limits.GitHubTries {
					return nil, &limitError{g.now().Add(d)}
				}
				continue
			}
			if resp.StatusCode < http.StatusInternalServerError {
				return g.settle(req, resp, body), nil
			}
		}
		if !again || try >= limits.GitHubTries || !passing(err) || ctx.Err() != nil {
			if err != nil {
				return nil, err
			}
			return g.settle(req, resp, body), nil
		}
		if err := g.wait(ctx, g.backoff(resp, try)); err != nil {
			return nil, err
		}
	}
}

// passing tells whether a failure may be another's next time.
func passing(err error) bool {
	var size *sizeError
	return !errors.As(err, &size)
}

// once sends the request and reads its whole answer.
func (g *governor) once(ctx context.Context, req *http.Request) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limits.GitHubRequest, fmt.Errorf("no answer within %s", limits.GitHubRequest))
	defer cancel()
	r := req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, nil, err
		}
		r.Body = body
	}
	if g.token != "" {
		r.Header.Set("Authorization", "Bearer "+g.token)
	}
	r.Header.Set("Cache-Control", "no-cache") // a cache on the way must ask whether its answer is still true
	g.mu.Lock()
	g.calls++
	if tag := g.kept.tag(req); tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	g.mu.Unlock()
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limits.GitHubBody+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("the answer is cut: %w", err)
	case len(body) > limits.GitHubBody:
		return nil, nil, &sizeError{}
	}
	return resp, body, nil
}

// settle makes the response that the client above reads: out of what was kept where
// GitHub says that it is still true.
func (g *governor) settle(req *http.Request, resp *http.Response, body []byte) *http.Response {
	g.mu.Lock()
	defer g.mu.Unlock()
	if remaining := resp.Header.Get(secondary.HeaderXRateLimitRemaining); remaining == "0" && core(resp.Header) {
		if at, ok := reset(resp.Header); ok && at.After(g.until) {
			g.until = at
		}
	}
	header := resp.Header.Clone()
	switch resp.StatusCode {
	case http.StatusNotModified:
		if old, ok := g.kept.get(req); ok {
			resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
			header, body = old.header.Clone(), old.body
		}
	case http.StatusOK:
		g.kept.put(req, header, body)
	}
	// The client above would refuse to ask by these, by a clock of its own.
	for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} {
		header.Del(name)
	}
	resp.Header = header
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Request = req
	return resp
}

// limited tells whether GitHub refused for a limit, and how long to wait.
func (g *governor) limited(resp *http.Response, body []byte, try int) (time.Duration, bool) {
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		return 0, false
	}
	after, asked := retryAfter(resp.Header)
	var text secondary.SecondaryRateLimitBody
	_ = json.Unmarshal(body, &text) //nolint:errcheck // what is no JSON says nothing of a limit
	until, told := reset(resp.Header)
	switch {
	case asked:
		return after, true
	case told && resp.Header.Get(secondary.HeaderXRateLimitRemaining) == "0":
		return max(until.Sub(g.now()), 0) + time.Second, true
	case text.IsSecondaryRateLimit(), resp.StatusCode == http.StatusTooManyRequests:
		return limits.GitHubLimited << min(try-1, 8), true
	}
	return 0, false
}

// turn waits until GitHub takes requests again.
func (g *governor) turn(ctx context.Context) error {
	g.mu.Lock()
	d := g.until.Sub(g.now())
	g.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	return g.wait(ctx, d)
}

// wait sleeps, if all waiting together stays within its bound.
func (g *governor) wait(ctx context.Context, d time.Duration) error {
	g.mu.Lock()
	if g.waited+d > limits.GitHubWait || d > limits.GitHubWait {
		g.mu.Unlock()
		return &limitError{g.now().Add(d)}
	}
	g.waited += d
	g.mu.Unlock()
	return g.sleep(ctx, d)
}

func (g *governor) hold(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.until) {
		g.until = until
	}
}

// backoff gives how long to wait after a failure: longer each time, and not all
// clients alike.
func (g *governor) backoff(resp *http.Response, try int) time.Duration {
	if resp != nil {
		if d, ok := retryAfter(resp.Header); ok {
			return d
		}
	}
	d := limits.GitHubDelay << (try - 1)
	var b [1]byte
	if _, err := io.ReadFull(g.rand, b[:]); err != nil {
		return d
	}
	return d/2 + d*time.Duration(b[0])/math.MaxUint8
}

func retryAfter(h http.Header) (time.Duration, bool) {
	n, err := strconv.ParseInt(h.Get("Retry-After"), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

func reset(h http.Header) (time.Time, bool) {
	n, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
	return time.Unix(n, 0), err == nil && n > 0
}

func core(h http.Header) bool {
	r := h.Get("X-Ratelimit-Resource")
	return r == "" || r == "core"
}
