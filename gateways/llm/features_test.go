package llm_test

import (
	"context"
	"encoding/json"
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

// judgeFunc is a judge of tests.
type judgeFunc func(d gateways.Document) gateways.Verdict

func (f judgeFunc) Judge(_ context.Context, d gateways.Document, _ time.Time) (gateways.Verdict, error) {
	return f(d), nil
}

// denyWord denies what has a word in it.
func denyWord(word string) judgeFunc {
	return func(d gateways.Document) gateways.Verdict {
		for _, t := range d.Texts {
			if strings.Contains(t.Value, word) {
				return gateways.Verdict{Decision: protocol.Deny, Violations: []string{"a word that is not wanted"}}
			}
		}
		return gateways.Verdict{Decision: protocol.Allow}
	}
}

// trailOf keeps events.
type trailOf struct {
	mu     sync.Mutex
	events []protocol.AuditEvent
}

func (t *trailOf) Append(_ context.Context, _ bool, events ...protocol.AuditEvent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range events { // as the real trail
		if p := e.Policy; p != nil && !p.Decision.Valid() {
			return fmt.Errorf("%s: no decision", e.EventType)
		}
	}
	t.events = append(t.events, events...)
	return nil
}

// outcomes gives the outcomes of calls in their order.
func (t *trailOf) outcomes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, e := range t.events {
		if e.EventType == protocol.EventLLMResponse {
			out = append(out, fmt.Sprint(e.Policy.PolicyEvaluations[0].Evidence["outcome"]))
		}
	}
	return out
}

// upstreamFunc answers in the provider's place.
type upstreamFunc func(model string, stream bool, body []byte) string

func (f upstreamFunc) Do(_ context.Context, c upstream.Call) (*upstream.Answer, error) {
	var q struct{ Model string }
	if err := json.Unmarshal(c.Body, &q); err != nil {
		return nil, err
	}
	kind := "application/json"
	if c.Stream {
		kind = "text/event-stream"
	}
	return &upstream.Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(f(q.Model, c.Stream, c.Body))), Sent: true}, nil
}

func chatAnswer(text string) string {
	return fmt.Sprintf(`{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`, text)
}

func chatStream(texts ...string) string {
	var b strings.Builder
	for _, t := range texts {
		fmt.Fprintf(&b, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", t)
	}
	b.WriteString("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	return b.String()
}

type feature struct {
	gw    *llm.Gateway
	trail *trailOf
	sent  []string
}

func newFeature(t *testing.T, o llm.Options, answer upstreamFunc) *feature {
	t.Helper()
	var f *feature
	f = newFeatureOver(t, o, upstreamFunc(func(model string, stream bool, body []byte) string {
		f.sent = append(f.sent, string(body))
		return answer(model, stream, body)
	}))
	return f
}

func newFeatureOver(t *testing.T, o llm.Options, provider llm.Upstream) *feature {
	t.Helper()
	f := &feature{trail: &trailOf{}}
	o.Trail = f.trail
	var err error
	o.Router, err = route.New(route.Options{
		Providers: []route.Provider{{Name: "p", Kind: route.OpenAI, Formats: []string{string(wire.Chat), string(wire.Responses), string(wire.Messages)}, Models: map[string]string{"*": "*"}}},
		Strategy:  route.Fallback, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Retry = route.Retry{Attempts: 2, Base: time.Millisecond, Max: time.Millisecond, Deadline: time.Minute, MaxRetryAfter: time.Second, Random: func(int64) int64 { return 0 }}
	o.Providers = map[string]llm.Upstream{"p": provider}
	if o.Judge == nil {
		o.Judge = denyWord("forbidden")
	}
	n := 0
	o.Now, o.NewID = time.Now, func() string { n++; return fmt.Sprint("req-", n) }
	if f.gw, err = llm.New(o); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *feature) post(t *testing.T, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.gw.ServeHTTP(w, r)
	return w
}

const hello = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`

func TestCacheKeepsCallersApart(t *testing.T) {
	t.Parallel()
	asked := 0
	f := newFeature(t, llm.Options{
		Cache: llm.NewCache(1<<20, time.Hour),
		Authenticate: func(r *http.Request) (llm.Caller, error) {
			return llm.Caller{Name: r.Header.Get("X-Who"), Workflow: r.Header.Get("X-Flow")}, nil
		},
	}, func(string, bool, []byte) string {
		asked++
		return chatAnswer(fmt.Sprint("answer ", asked))
	})
	for i, c := range []struct{ who, flow, want string }{
		{"a", "1", "answer 1"}, {"a", "1", "answer 1"}, {"b", "1", "answer 2"}, {"a", "2", "answer 3"}, {"a", "1", "answer 1"},
	} {
		if got := f.post(t, hello, "X-Who", c.who, "X-Flow", c.flow).Body.String(); !strings.Contains(got, c.want) {
			t.Errorf("%d: %s", i, got)
		}
	}
	if got := strings.Join(f.trail.outcomes(), " "); got != "ok cached ok ok cached" {
		t.Errorf("recorded %s", got)
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	asked := 0
	f := newFeature(t, llm.Options{Cache: llm.NewCache(4<<10, time.Hour)}, func(string, bool, []byte) string {
		asked++
		return chatAnswer(strings.Repeat("x", 2<<10))
	})
	other := strings.Replace(hello, "hello", "other", 1)
	for _, body := range []string{hello, other, hello} {
		f.post(t, body)
	}
	if asked != 3 {
		t.Errorf("asked %d times: two answers had room where one has", asked)
	}
}

func TestSaferModelIsAsked(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		f := newFeature(t, llm.Options{Safer: "safe", Whole: true}, func(model string, stream bool, _ []byte) string {
			text := "a forbidden word"
			if model == "safe" {
				text = "a kind word"
			}
			if stream {
				return chatStream(text)
			}
			return chatAnswer(text)
		})
		body := hello
		if stream {
			body = strings.Replace(hello, "{", `{"stream":true,`, 1)
		}
		got := f.post(t, body).Body.String()
		if !strings.Contains(got, "a kind word") || strings.Contains(got, "forbidden") {
			t.Errorf("stream %v: %s", stream, got)
		}
		if o := strings.Join(f.trail.outcomes(), " "); o != "regenerated ok" {
			t.Errorf("stream %v: recorded %s", stream, o)
		}
	}
}

// TestSaferModelIsAskedOnce: what is denied again is denied.
func TestSaferModelIsAskedOnce(t *testing.T) {
	t.Parallel()
	f := newFeature(t, llm.Options{Safer: "safe"}, func(string, bool, []byte) string { return chatAnswer("forbidden") })
	if w := f.post(t, hello); w.Code != http.StatusForbidden || len(f.sent) != 2 {
		t.Errorf("%d after %d calls", w.Code, len(f.sent))
	}
}

func TestWindowsAreJudgedBeforeTheyAreGiven(t *testing.T) {
	t.Parallel()
	prose := strings.Repeat("some words of prose ", 20)
	f := newFeature(t, llm.Options{Judge: denyWord("never"), Windows: denyWord("forbidden")}, func(string, bool, []byte) string {
		// The word is split over two events, and over two windows.
		return chatStream(prose, prose, prose[:len(prose)-6], " forb", "idden", prose, prose, prose)
	})
	got := f.post(t, strings.Replace(hello, "{", `{"stream":true,`, 1)).Body.String()
	if strings.Contains(got, "idden") || !strings.Contains(got, "answer_denied") || !strings.HasSuffix(got, "data: [DONE]\n\n") {
		t.Error(got)
	}
	if strings.Count(got, "prose") < 40 {
		t.Error("what was judged was not given on")
	}
	clean := newFeature(t, llm.Options{Judge: denyWord("never"), Windows: denyWord("forbidden")}, func(string, bool, []byte) string { return chatStream(prose, prose, prose, prose) })
	if got := clean.post(t, strings.Replace(hello, "{", `{"stream":true,`, 1)).Body.String(); strings.Count(got, "prose") != 80 || strings.Contains(got, "error") {
		t.Error(got)
	}
}

func TestShapeIsJudgedAndSent(t *testing.T) {
	t.Parallel()
	cold := 0.0
	f := newFeature(t, llm.Options{Shape: llm.Shape{MaxTokens: 50, Temperature: &cold}}, func(string, bool, []byte) string { return chatAnswer("x") })
	f.post(t, `{"model":"m","max_tokens": 100,"messages":[{"role":"user","content":"hello"}],"temperature":1}`)
	if len(f.sent) != 1 || f.sent[0] != `{"model":"m","max_tokens": 50,"messages":[{"role":"user","content":"hello"}],"temperature":0}` {
		t.Error(f.sent)
	}
	s := newFeature(t, llm.Options{Shape: llm.Shape{System: "Be kind.", SchemaName: "answer", Schema: map[string]any{"type": "object"}}}, func(string, bool, []byte) string { return chatAnswer("x") })
	s.post(t, hello)
	if len(s.sent) != 1 || !strings.Contains(s.sent[0], `"messages":[{"content":"Be kind.","role":"system"},{"role":"user"`) || !strings.Contains(s.sent[0], `"strict":true`) {
		t.Error(s.sent)
	}
	bad := newFeature(t, llm.Options{Shape: llm.Shape{System: "forbidden"}}, func(string, bool, []byte) string { return chatAnswer("x") })
	if bad.post(t, hello); len(bad.sent) > 0 {
		t.Error("what the gateway adds is not judged")
	}
	e := f.trail.events[0].Policy.PolicyEvaluations[0].Evidence
	if e["digest"] == e["forwarded_digest"] || e["forwarded_digest"] != protocol.Digest([]byte(f.sent[0])) {
		t.Errorf("%v", e)
	}
}
