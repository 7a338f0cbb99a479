package llm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/policies/secrets"
	"github.com/cabincrew/action/protocol"
)

// leaked are secrets that nobody has, of several kinds, put together here so that nobody
// takes this file for a leak.
func leaked() map[string]string {
	return map[string]string{
		"github":  "ghp_" + "x9Qk2mZ7Lr4TvB8nW1sYc6Hd3Jf5Gp0aEoUi",
		"aws":     "AKIA" + "Z3MSQ7TLXW5RQK2N",
		"slack":   "xoxb-" + "263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1",
		"gitlab":  "glpat-" + "8zQm3Kx7Rv2TnLp5WcYd",
		"stripe":  "sk_live_" + "51HqLyjWDarjtT1zdp7dcQ8x",
		"pem":     "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEAx7Qk2mZ7Lr4TvB8nW1sYc6Hd3Jf5Gp0aEoUiq8Zt2Xw9\nR4TvB8nW1sYc6Hd3Jf5Gp0aEoUiq8Zt2Xw9x7Qk2mZ7LMIIEpAIBAAKCAQEAzz\n-----END RSA PRIVATE" + " KEY-----",
		"mapped":  "correct-horse-battery-9Staple",
		"anthrop": "sk-ant-api03-" + strings.Repeat("aB3dE5gH7jK9mN1p", 6)[:93] + "AA",
	}
}

// shown are the parts of a secret that give it away.
func (l *leakRig) leaks(text string) string {
	for name, s := range leaked() {
		if strings.Contains(text, s) {
			return name
		}
		if body := s[len(s)/2:]; len(body) > 8 && strings.Contains(text, body) { // its second half is enough
			return name
		}
	}
	return ""
}

type leakRig struct {
	t     testing.TB
	gw    *llm.Gateway
	trail *trailOf
	log   bytes.Buffer
	body  io.ReadCloser

	search func() llm.Search
}

type searching struct{ s *secrets.Stream }

func (s searching) Feed(ctx context.Context, piece []byte) (int64, []llm.Found, error) {
	n, found, err := s.s.Feed(ctx, piece)
	return n, converted(found), err
}

func (s searching) End(ctx context.Context) ([]llm.Found, error) {
	found, err := s.s.End(ctx)
	return converted(found), err
}

func converted(list []secrets.StreamMatch) (out []llm.Found) {
	for _, f := range list {
		out = append(out, llm.Found{From: f.From, To: f.To, Rule: f.Rule, Fingerprint: f.Fingerprint})
	}
	return out
}

type bodyOf struct{ l *leakRig }

func (b bodyOf) Do(context.Context, upstream.Call) (*upstream.Answer, error) {
	return &upstream.Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: b.l.body, Sent: true}, nil
}

func newLeakRig(t testing.TB, answers string) *leakRig {
	t.Helper()
	ev, err := secrets.New(secrets.Options{Values: map[string]string{"mapped": leaked()["mapped"]}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ev.Messages(secrets.Redact, answers)
	if err != nil {
		t.Fatal(err)
	}
	said, err := gateways.NewPanel(gateways.PanelOptions{AllowWithoutPolicies: true, Source: protocol.SourceLLMGateway, Reads: true})
	if err != nil {
		t.Fatal(err)
	}
	judge, err := gateways.NewPanel(gateways.PanelOptions{AllowWithoutPolicies: true, Source: protocol.SourceLLMGateway, Reads: true, Secrets: m})
	if err != nil {
		t.Fatal(err)
	}
	l := &leakRig{t: t, trail: &trailOf{}}
	r, err := route.New(route.Options{
		Providers: []route.Provider{{Name: "p", Kind: route.OpenAI, Formats: []string{string(wire.Chat), string(wire.Responses), string(wire.Messages)}, Models: map[string]string{"*": "*"}}},
		Strategy:  route.Fallback, Now: time.Now, Breaker: route.Breaker{Failures: 1 << 20, Open: time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.search = func() llm.Search { return searching{m.Stream()} }
	n := 0
	l.gw, err = llm.New(llm.Options{
		Router: r, Retry: route.Retry{Attempts: 1, Base: time.Millisecond, Max: time.Millisecond, Deadline: time.Minute, MaxRetryAfter: time.Second, Random: func(int64) int64 { return 0 }},
		Providers: map[string]llm.Upstream{"p": bodyOf{l}}, Judge: judge, Said: said, Secrets: answers,
		Search: l.search,
		Trail:  l.trail, Now: time.Now, NewID: func() string { n++; return fmt.Sprint("req-", n) }, Log: slog.New(slog.NewTextHandler(&l.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// chunked gives a body in chunks of its own making.
type chunked struct {
	rest []byte
	size func() int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(c.rest), max(1, c.size()))
	copy(p, c.rest[:n])
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunked) Close() error { return nil }

func (l *leakRig) post(format wire.Format, body string, size func() int) string {
	l.t.Helper()
	l.body = &chunked{rest: []byte(body), size: size}
	path, ask := "/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`
	switch format {
	case wire.Responses:
		path, ask = "/v1/responses", `{"model":"m","stream":true,"input":"x"}`
	case wire.Messages:
		path, ask = "/v1/messages", `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`
	}
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, path, strings.NewReader(ask))
	w := httptest.NewRecorder()
	l.gw.ServeHTTP(w, req)
	return w.Body.String()
}

// quote writes a text as JSON: plainly, or with each character escaped.
func quote(s string, escaped bool) string {
	if !escaped {
		out, err := json.Marshal(s)
		if err != nil {
			return `""`
		}
		return string(out)
	}
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\u%04x`, s[i])
	}
	return `"` + b.String() + `"`
}

// place is where a text stands in a stream.
type place struct {
	name   string
	format wire.Format
	// build gives the stream whose text is the pieces.
	build func(pieces []string, esc bool) string
	// json says that the text is JSON by itself.
	json bool
}

func chatPlace(name, delta string) place {
	return place{name: name, format: wire.Chat, build: func(pieces []string, esc bool) string {
		const head = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[`
		var b strings.Builder
		for _, p := range pieces {
			b.WriteString(head + strings.ReplaceAll(delta, "@", quote(p, esc)) + "]}\n\n")
		}
		b.WriteString(head + `{"index":0,"delta":{},"finish_reason":"stop"}`)
		if strings.Contains(delta, `{"index":1,"delta"`) {
			b.WriteString(`,{"index":1,"delta":{},"finish_reason":"stop"}`)
		}
		b.WriteString("]}\n\ndata: [DONE]\n\n")
		return b.String()
	}}
}

func event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

func messagesPlace(name, start, delta string) place {
	return place{name: name, format: wire.Messages, build: func(pieces []string, esc bool) string {
		var b strings.Builder
		b.WriteString(event("message_start", `{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}}`))
		b.WriteString(event("content_block_start", `{"type":"content_block_start","index":0,"content_block":`+start+`}`))
		for _, p := range pieces {
			b.WriteString(event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":`+strings.ReplaceAll(delta, "@", quote(p, esc))+`}`))
		}
		b.WriteString(event("content_block_stop", `{"type":"content_block_stop","index":0}`))
		b.WriteString(event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}`))
		b.WriteString(event("message_stop", `{"type":"message_stop"}`))
		return b.String()
	}}
}

func responsesPlace(name string, args bool) place {
	return place{name: name, format: wire.Responses, build: func(pieces []string, esc bool) string {
		whole := strings.Join(pieces, "")
		n := 0
		var b strings.Builder
		say := func(typ, rest string) {
			b.WriteString(event(typ, `{"type":"`+typ+`","sequence_number":`+strconv.Itoa(n)+rest+`}`))
			n++
		}
		item := func(text, status string) string {
			if args {
				return `{"type":"function_call","id":"i1","call_id":"c1","name":"run","arguments":` + text + `,"status":"` + status + `"}`
			}
			content := `{"type":"output_text","text":` + text + `,"annotations":[]}`
			if text == `""` {
				content = ""
			}
			return `{"type":"message","id":"i1","role":"assistant","status":"` + status + `","content":[` + content + `]}`
		}
		say("response.created", `,"response":{"id":"r1","object":"response","status":"in_progress","model":"m","output":[]}`)
		say("response.output_item.added", `,"output_index":0,"item":`+item(`""`, "in_progress"))
		if !args {
			say("response.content_part.added", `,"item_id":"i1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}`)
		}
		for _, p := range pieces {
			if args {
				say("response.function_call_arguments.delta", `,"item_id":"i1","output_index":0,"delta":`+quote(p, esc))
				continue
			}
			say("response.output_text.delta", `,"item_id":"i1","output_index":0,"content_index":0,"delta":`+quote(p, esc))
		}
		if args {
			say("response.function_call_arguments.done", `,"item_id":"i1","output_index":0,"arguments":`+quote(whole, esc))
		} else {
			say("response.output_text.done", `,"item_id":"i1","output_index":0,"content_index":0,"text":`+quote(whole, esc))
			say("response.content_part.done", `,"item_id":"i1","output_index":0,"content_index":0,"part":{"type":"output_text","text":`+quote(whole, esc)+`,"annotations":[]}`)
		}
		say("response.output_item.done", `,"output_index":0,"item":`+item(quote(whole, esc), "completed"))
		say("response.completed", `,"response":{"id":"r1","object":"response","status":"completed","model":"m","output":[`+item(quote(whole, esc), "completed")+`],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}`)
		return b.String()
	}, json: args}
}

func places() []place {
	args := chatPlace("chat/arguments", `{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"run","arguments":@}}]},"finish_reason":null}`)
	args.json = true
	input := messagesPlace("messages/arguments", `{"type":"tool_use","id":"t","name":"run","input":{}}`, `{"type":"input_json_delta","partial_json":@}`)
	input.json = true
	return []place{
		chatPlace("chat/text", `{"index":0,"delta":{"content":@},"finish_reason":null}`),
		chatPlace("chat/choice", `{"index":0,"delta":{"content":"x"},"finish_reason":null},{"index":1,"delta":{"content":@},"finish_reason":null}`),
		chatPlace("chat/reasoning", `{"index":0,"delta":{"reasoning_content":@},"finish_reason":null}`),
		chatPlace("chat/unknown", `{"index":0,"delta":{"note":@},"finish_reason":null}`),
		chatPlace("chat/transcript", `{"index":0,"delta":{"audio":{"transcript":@}},"finish_reason":null}`),
		chatPlace("chat/name", `{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":@,"arguments":""}}]},"finish_reason":null}`),
		chatPlace("chat/refusal", `{"index":0,"delta":{"refusal":@},"finish_reason":null}`),
		args,
		responsesPlace("responses/text", false), responsesPlace("responses/arguments", true),
		messagesPlace("messages/text", `{"type":"text","text":""}`, `{"type":"text_delta","text":@}`),
		messagesPlace("messages/thinking", `{"type":"thinking","thinking":"","signature":""}`, `{"type":"thinking_delta","thinking":@}`),
		input,
	}
}

// heard puts together what a client hears: for each place of the events, all that was said
// there.
func heard(body string) map[string]string {
	out := map[string]string{}
	for ev := range strings.SplitSeq(body, "\n\n") {
		_, data, ok := strings.Cut("\n"+ev, "\ndata: ")
		if !ok || data == "[DONE]" {
			continue
		}
		tree, err := protocol.DecodeAny([]byte(data))
		if err != nil {
			out["broken"] += data
			continue
		}
		gather(out, "", tree)
	}
	return out
}

func gather(out map[string]string, at string, v any) {
	switch v := v.(type) {
	case string:
		out[at] += v
	case []any:
		for i, e := range v {
			// What says its own index need not stand there.
			if o, ok := e.(map[string]any); ok && o["index"] != nil {
				gather(out, at+fmt.Sprint("/#", o["index"]), e)
				continue
			}
			gather(out, at+"/"+strconv.Itoa(i), e)
		}
	case map[string]any:
		for k, e := range v {
			gather(out, at+"/"+k, e)
		}
	}
}

// streams is how many streams a test makes: a few at every test, and the whole corpus
// where CABINCREW_LLM_STREAMS says so.
func streams(otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv("CABINCREW_LLM_STREAMS")); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// TestNothingLeaksFromStreams puts secrets of each kind, one a stream, into every place
// that has text, split at every byte, in chunks of every size.
func TestNothingLeaksFromStreams(t *testing.T) {
	t.Parallel()
	for _, answers := range []string{llm.SecretsDeny, llm.SecretsRedact} {
		l := newLeakRig(t, answers)
		random := rand.New(rand.NewPCG(1, 2))
		kinds := []string{"github", "aws", "slack", "gitlab", "stripe", "pem", "mapped", "anthrop"}
		n, most := 0, streams(1500)/2
		for round := 0; n < most; round++ {
			for _, p := range places() {
				kind := kinds[n%len(kinds)]
				secret := leaked()[kind]
				text := "Here it is: " + secret + " and that was all of it."
				if p.json {
					text = `{"cmd":` + quote("echo "+secret+" done", round%3 == 1) + `}`
				}
				at := (round*7 + n) % (len(text) - 1)
				pieces := []string{text[:at+1], text[at+1:]}
				if round%4 == 3 { // each byte by itself
					pieces = strings.Split(text, "")
				}
				body := p.build(pieces, round%5 == 4)
				size := 1 + random.IntN(40)
				got := l.post(p.format, body, func() int { return size })
				n++
				said := heard(got)
				for where, text := range said {
					if k := l.leaks(text); k != "" {
						t.Fatalf("%s (%s, %s, cut at %d, chunks of %d): %s holds a secret (%s): %q", p.name, kind, answers, at, size, where, k, text)
					}
				}
				if k := l.leaks(got); k != "" {
					t.Fatalf("%s (%s): the body holds a secret (%s)", p.name, kind, k)
				}
				if answers == llm.SecretsDeny && !strings.Contains(got, "answer_denied") {
					t.Fatalf("%s (%s, cut at %d): it was not stopped: %s", p.name, kind, at, got)
				}
			}
		}
		if k := l.leaks(l.log.String()); k != "" {
			t.Errorf("the log holds a secret (%s)", k)
		}
		events, err := json.Marshal(l.trail.events)
		if err != nil {
			t.Fatal(err)
		}
		if k := l.leaks(string(events)); k != "" {
			t.Errorf("the record holds a secret (%s)", k)
		}
		t.Logf("%s: %d streams", answers, n)
	}
}

// TestCleanStreamsStayTheSame: the same streams without secrets say the same.
func TestCleanStreamsStayTheSame(t *testing.T) {
	t.Parallel()
	l := newLeakRig(t, llm.SecretsDeny)
	texts := []string{
		"Here it is: a token of thanks, and the key to the door at 9 o'clock. That was all of it.",
		"The api of ghp and the AKI of sk_live: nothing of it is a key. AKIA-like words come, glpat- too.\nAnd a new line.",
		"Grüße aus Zürich, 你好, and a 🙂 at the end",
		"func main() { fmt.Println(\"token\", os.Getenv(\"API_KEY\")) } // 2f8a9d1c7b6e\n",
	}
	for n := range streams(600) {
		all := places()
		p := all[n%len(all)]
		text := texts[n%len(texts)]
		if p.json {
			text = `{"cmd":` + quote(text, false) + `}`
		}
		runes := []rune(text)
		at := n % (len(runes) - 1)
		pieces := []string{string(runes[:at+1]), string(runes[at+1:])}
		if n%3 == 2 {
			pieces = strings.Split(text, "")
		}
		body := p.build(pieces, false)
		size := 1 + n%37
		got := l.post(p.format, body, func() int { return size })
		if got != body {
			t.Fatalf("%s: %q, and was %q", p.name, got, body)
		}
		if strings.Contains(got, "error") {
			t.Fatalf("%s: %s", p.name, got)
		}
	}
}
