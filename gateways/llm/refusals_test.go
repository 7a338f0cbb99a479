package llm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/protocol"
)

func hi(string, bool, []byte) string { return chatAnswer("hi") }

// TestRefusedBeforeItIsACall: nothing of it is sent, and the record tells of it.
func TestRefusedBeforeItIsACall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, path, body string
		header             [2]string
		status             int
		code               string
	}{
		"endpoint":   {http.MethodPost, "/v1/files", hello, [2]string{}, http.StatusNotFound, "unknown_endpoint"},
		"method":     {http.MethodDelete, "/v1/chat/completions", "", [2]string{}, http.StatusNotFound, "unknown_endpoint"},
		"dots":       {http.MethodGet, "/v1/models/../files", "", [2]string{}, http.StatusNotFound, "unknown_endpoint"},
		"no JSON":    {http.MethodPost, "/v1/chat/completions", "{", [2]string{}, http.StatusBadRequest, "llm_request"},
		"twice":      {http.MethodPost, "/v1/chat/completions", `{"model":"a","model":"b","messages":[{}]}`, [2]string{}, http.StatusBadRequest, "llm_request"},
		"no model":   {http.MethodPost, "/v1/chat/completions", `{"messages":[{}]}`, [2]string{}, http.StatusBadRequest, "llm_request"},
		"stream":     {http.MethodPost, "/v1/chat/completions", `{"model":"m","stream":"yes","messages":[{}]}`, [2]string{}, http.StatusBadRequest, "llm_request"},
		"large":      {http.MethodPost, "/v1/chat/completions", strings.Repeat(" ", 5000) + hello, [2]string{}, http.StatusRequestEntityTooLarge, "llm_request_size"},
		"compressed": {http.MethodPost, "/v1/chat/completions", hello, [2]string{"Content-Encoding", "gzip"}, http.StatusUnsupportedMediaType, "llm_request"},
		"anthropic":  {http.MethodPost, "/v1/messages", `{"model":"m"}`, [2]string{}, http.StatusBadRequest, "llm_request"},
		"unknown":    {http.MethodPost, "/v1/chat/completions", hello, [2]string{"X-Who", "nobody"}, http.StatusUnauthorized, "invalid_api_key"},
	} {
		f := newFeature(t, llm.Options{Body: 4096, Authenticate: func(r *http.Request) (llm.Caller, error) {
			if r.Header.Get("X-Who") == "nobody" {
				return llm.Caller{}, &llm.UnauthorizedError{Status: http.StatusUnauthorized, Challenge: "Bearer", Why: "no"}
			}
			return llm.Caller{Name: "somebody"}, nil
		}}, hi)
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(c.body))
		if c.header[0] != "" {
			r.Header.Set(c.header[0], c.header[1])
		}
		w := httptest.NewRecorder()
		f.gw.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.code) || !strings.Contains(w.Body.String(), "cabincrew: ") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if len(f.sent) > 0 {
			t.Errorf("%s: it was sent", name)
		}
		if len(f.trail.events) != 1 || f.trail.events[0].EventType != protocol.EventLLMDecision || f.trail.events[0].Policy.Decision != protocol.Deny {
			t.Errorf("%s: recorded %+v", name, f.trail.events)
		}
	}
}

// TestDeniedRequestIsNotSent: and what was denied is not repeated.
func TestDeniedRequestIsNotSent(t *testing.T) {
	t.Parallel()
	f := newFeature(t, llm.Options{}, hi)
	w := f.post(t, strings.Replace(hello, "hello", "the forbidden thing", 1))
	if w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "thing") || len(f.sent) > 0 {
		t.Errorf("%d %s %v", w.Code, w.Body, f.sent)
	}
	if len(f.trail.events) != 2 || f.trail.events[1].Policy.Decision != protocol.Deny {
		t.Errorf("%+v", f.trail.events)
	}
}

// changing wants a text changed as often as it finds it.
func changing(from, to string) judgeFunc {
	return func(d gateways.Document) gateways.Verdict {
		v := gateways.Verdict{Decision: protocol.Allow}
		for _, t := range d.Texts {
			if strings.Contains(t.Value, from) {
				v.Changes = append(v.Changes, gateways.Change{At: t.At, Value: strings.ReplaceAll(t.Value, from, to)})
			}
		}
		return v
	}
}

func TestChangedRequestIsJudgedAgain(t *testing.T) {
	t.Parallel()
	f := newFeature(t, llm.Options{Judge: changing("hello", "goodbye")}, hi)
	if w := f.post(t, ` {"messages":[{"role":"user","content":"hello"}],"x":1.50,"model":"m"} `); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if f.sent[0] != ` {"messages":[{"role":"user","content":"goodbye"}],"x":1.50,"model":"m"} ` {
		t.Errorf("sent %q", f.sent[0])
	}
	endless := newFeature(t, llm.Options{Judge: changing("l", "ll")}, hi)
	if w := endless.post(t, hello); w.Code != http.StatusForbidden || len(endless.sent) > 0 {
		t.Errorf("a request that is to be changed again and again: %d", w.Code)
	}
}

func TestChangedAnswer(t *testing.T) {
	t.Parallel()
	f := newFeature(t, llm.Options{Judge: changing("hi", "ho")}, func(string, bool, []byte) string { return chatAnswer("hi there") })
	if w := f.post(t, hello); w.Code != http.StatusOK || w.Body.String() != chatAnswer("ho there") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// brokenTrail fails from one of its events on.
type brokenTrail struct {
	trailOf

	good int
}

func (b *brokenTrail) Append(ctx context.Context, durable bool, events ...protocol.AuditEvent) error {
	if b.good--; b.good < 0 {
		return errors.New("the disk is full")
	}
	return b.trailOf.Append(ctx, durable, events...)
}

// TestNothingGoesOnUnrecorded: neither to the provider nor to the client.
func TestNothingGoesOnUnrecorded(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		for good, sent := range []int{0, 1} {
			asked := 0
			gw := gatewayOver(t, &brokenTrail{good: good}, map[string]llm.Upstream{"p": upstreamFunc(func(_ string, stream bool, _ []byte) string {
				asked++
				if stream {
					return chatStream("the answer")
				}
				return chatAnswer("the answer")
			})}, denyWord("forbidden"), nil)
			body := hello
			if stream {
				body = strings.Replace(hello, "{", `{"stream":true,`, 1)
			}
			w := send(t, gw, body)
			got := w.Body.String()
			if asked != sent || endsWell(w.Code, got) || !strings.Contains(got, "unrecorded") || !stream && strings.Contains(got, "the answer") {
				t.Errorf("stream %v, %d records: asked %d times, %d %s", stream, good, asked, w.Code, got)
			}
		}
	}
}

func send(t *testing.T, gw *llm.Gateway, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(body)))
	return w
}

func gatewayOver(t *testing.T, trail gateways.Trail, providers map[string]llm.Upstream, judge gateways.Judge, holds gateways.Holds) *llm.Gateway {
	t.Helper()
	var list []route.Provider
	for _, name := range []string{"p", "q"} {
		if providers[name] != nil {
			list = append(list, route.Provider{Name: name, Kind: route.OpenAI, Formats: []string{string(wire.Chat)}, Models: map[string]string{"*": "*"}})
		}
	}
	r, err := route.New(route.Options{Providers: list, Strategy: route.Fallback, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	gw, err := llm.New(llm.Options{
		Router: r, Retry: route.Retry{Attempts: 3, Base: time.Millisecond, Max: time.Millisecond, Deadline: time.Minute, MaxRetryAfter: time.Second, Random: func(int64) int64 { return 0 }},
		Providers: providers, Judge: judge, Trail: trail, Holds: holds, Role: "maintainer", Now: time.Now, NewID: func() string { n++; return fmt.Sprint("req-", n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return gw
}

// failing is a provider that gives no answer.
type failing struct {
	err    error
	status int
	kind   string
	body   string
	asked  int
}

func (f *failing) Do(context.Context, upstream.Call) (*upstream.Answer, error) {
	f.asked++
	if f.err != nil {
		return nil, f.err
	}
	return &upstream.Answer{Status: f.status, Header: http.Header{"Content-Type": {f.kind}}, Body: io.NopCloser(strings.NewReader(f.body)), Sent: true}, nil
}

func TestFallbacks(t *testing.T) {
	t.Parallel()
	good := upstreamFunc(hi)
	for name, c := range map[string]struct {
		first *failing
		asked int // of the first
		ok    bool
	}{
		"no connection":        {&failing{err: &upstream.Failure{Reason: upstream.Dial}}, 1, true},
		"sent, and no answer":  {&failing{err: &upstream.Failure{Reason: upstream.Cut, Sent: true}}, 1, false},
		"overloaded":           {&failing{status: 503, body: "{}"}, 1, true},
		"a wrong request":      {&failing{status: 400, body: `{"error":{"message":"no"}}`}, 1, false},
		"the gateway's client": {&failing{err: &upstream.Failure{Reason: upstream.Cancelled, Sent: true}}, 1, false},
	} {
		trail := &trailOf{}
		gw := gatewayOver(t, trail, map[string]llm.Upstream{"p": c.first, "q": good}, denyWord("forbidden"), nil)
		w := send(t, gw, hello)
		if (w.Code == http.StatusOK && strings.Contains(w.Body.String(), "hi")) != c.ok || c.first.asked != c.asked {
			t.Errorf("%s: %d %s after %d calls", name, w.Code, w.Body, c.first.asked)
		}
		var to []string
		for _, e := range trail.events {
			if e.EventType == protocol.EventLLMRequest {
				to = append(to, fmt.Sprint(e.Policy.PolicyEvaluations[0].Evidence["provider"]))
			}
		}
		if want := map[bool]string{true: "[p q]", false: "[p]"}[c.ok]; fmt.Sprint(to) != want {
			t.Errorf("%s: recorded %v", name, to)
		}
	}
}

// TestAnswersOfTheWrongKind: they are no answer.
func TestAnswersOfTheWrongKind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		p      *failing
		stream bool
	}{
		"a stream unasked": {&failing{status: 200, kind: "text/event-stream", body: chatStream("x")}, false},
		"no stream":        {&failing{status: 200, kind: "application/json", body: chatAnswer("x")}, true},
		"no JSON":          {&failing{status: 200, kind: "application/json", body: "<html>"}, false},
		"twice":            {&failing{status: 200, kind: "application/json", body: `{"a":1,"a":2}`}, false},
		"a page":           {&failing{status: 502, kind: "text/html", body: "<html>secret page</html>"}, false},
	} {
		body := hello
		if c.stream {
			body = strings.Replace(hello, "{", `{"stream":true,`, 1)
		}
		w := send(t, gatewayOver(t, &trailOf{}, map[string]llm.Upstream{"p": c.p}, denyWord("forbidden"), nil), body)
		if w.Code < 500 || !strings.Contains(w.Body.String(), "cabincrew: ") || strings.Contains(w.Body.String(), "html") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestErrorsOfProvidersAreJudged: they may repeat what nobody may see.
func TestErrorsOfProvidersAreJudged(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"the model does not exist": true, "the forbidden word": false} {
		w := send(t, gatewayOver(t, &trailOf{}, map[string]llm.Upstream{"p": &failing{status: 404, body: `{"error":{"message":"` + text + `"}}`}}, denyWord("forbidden"), nil), hello)
		if w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), text) != want {
			t.Errorf("%s: %d %s", text, w.Code, w.Body)
		}
	}
}

// people answer held calls.
type people struct {
	mu     sync.Mutex
	held   []gateways.Held
	answer gateways.Answered
	err    error
	wait   chan struct{}
}

func (p *people) Hold(ctx context.Context, h gateways.Held) (gateways.Answered, error) {
	p.mu.Lock()
	p.held = append(p.held, h)
	p.mu.Unlock()
	if p.wait != nil {
		select {
		case <-p.wait:
		case <-ctx.Done():
			return gateways.Answered{}, ctx.Err()
		}
	}
	return p.answer, p.err
}

// asking wants an approval of what has a word in it.
func asking(word string, phase gateways.Phase) judgeFunc {
	return func(d gateways.Document) gateways.Verdict {
		for _, t := range d.Texts {
			if d.Phase == phase && strings.Contains(t.Value, word) {
				return gateways.Verdict{Decision: protocol.RequireApproval, Requires: []protocol.PreflightRequires{{Role: "maintainer", Reason: "somebody must look"}}}
			}
		}
		return gateways.Verdict{Decision: protocol.Allow}
	}
}

func TestHeldCalls(t *testing.T) {
	t.Parallel()
	for _, phase := range []gateways.Phase{gateways.PhaseRequest, gateways.PhaseResponse} {
		for _, stream := range []bool{false, true} {
			for name, p := range map[string]*people{
				"approved": {answer: gateways.Answered{Approved: true, Approver: "ann"}},
				"rejected": {answer: gateways.Answered{Approver: "ann", Reason: "no"}},
				"expired":  {err: errors.New("nobody came")},
				"nobody":   nil,
			} {
				asked := 0
				trail := &trailOf{}
				var holds gateways.Holds
				if p != nil {
					holds = p
				}
				gw := gatewayOver(t, trail, map[string]llm.Upstream{"p": upstreamFunc(func(_ string, stream bool, _ []byte) string {
					asked++
					if stream {
						return chatStream("hello ", "you")
					}
					return chatAnswer("hello you")
				})}, asking("hello", phase), holds)
				body := hello
				if stream {
					body = strings.Replace(hello, "{", `{"stream":true,`, 1)
				}
				w := send(t, gw, body)
				got := w.Body.String()
				well := w.Code == http.StatusOK && !strings.Contains(got, `"error"`)
				if well != (name == "approved") {
					t.Errorf("%s %v %s: %d %s", phase, stream, name, w.Code, got)
				}
				if phase == gateways.PhaseRequest && (asked == 1) != (name == "approved") {
					t.Errorf("%s %s: asked %d times", phase, name, asked)
				}
				if p == nil {
					continue
				}
				if len(p.held) != 1 || p.held[0].Request.RequiredRole != "maintainer" || len(p.held[0].Payload) == 0 {
					t.Errorf("%s %s: held %+v", phase, name, p.held)
				}
			}
		}
	}
}

// TestHeldAnswersStayTheSame: what was approved is what comes.
func TestHeldAnswersStayTheSame(t *testing.T) {
	t.Parallel()
	p := &people{answer: gateways.Answered{Approved: true}}
	whole := chatStream("hello ", "you")
	gw := gatewayOver(t, &trailOf{}, map[string]llm.Upstream{"p": upstreamFunc(func(string, bool, []byte) string { return whole })}, asking("hello", gateways.PhaseResponse), p)
	if got := send(t, gw, strings.Replace(hello, "{", `{"stream":true,`, 1)).Body.String(); got != whole {
		t.Error(got)
	}
}

// TestClientThatGoesAway: the call is withdrawn, and its end is on the record.
func TestClientThatGoesAway(t *testing.T) {
	t.Parallel()
	p := &people{wait: make(chan struct{})}
	trail := &trailOf{}
	asked := 0
	gw := gatewayOver(t, trail, map[string]llm.Upstream{"p": upstreamFunc(func(string, bool, []byte) string { asked++; return chatAnswer("x") })}, asking("hello", gateways.PhaseRequest), p)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	gw.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", strings.NewReader(hello)))
	if asked != 0 {
		t.Error("it was sent")
	}
	last := trail.events[len(trail.events)-1]
	if last.Policy.Decision != protocol.Deny {
		t.Errorf("%+v", last)
	}
}
