package llm_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
)

// part is one chunk of a chat; what stands for @ and # are the halves of a secret.
func part(delta, rest string) string {
	return `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + delta + rest + `}]}` + "\n\n"
}

const chatEnd = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"

func ofMessages(rest string) string {
	return event("message_start", `{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"m","content":[]}}`) + rest +
		event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`) + event("message_stop", `{"type":"message_stop"}`)
}

func ofResponses(rest, output string) string {
	return rest + event("response.completed", `{"type":"response.completed","response":{"status":"completed","output":[`+output+`]}}`)
}

// TestHostileProvidersCannotHide: secrets in the places where a provider might hide them
// from the search, and clients find them again.
func TestHostileProvidersCannotHide(t *testing.T) {
	t.Parallel()
	logprobs := func(tokens string) string { return `,"logprobs":{"content":[` + tokens + `]}` }
	cases := map[string]struct {
		format wire.Format
		body   string
	}{
		"word between":     {wire.Chat, part(`{"note":"@"}`, "") + part(`{"note":"tool"}`, "") + part(`{"note":"#"}`, "") + chatEnd},
		"word's member":    {wire.Chat, part(`{"details":[{"status":"@"}]}`, "") + part(`{"details":[{"status":"#"}]}`, "") + chatEnd},
		"by index":         {wire.Chat, part(`{"details":[{"index":0,"text":"@"}]}`, "") + part(`{"details":[{"index":1,"text":"."},{"index":0,"text":"#"}]}`, "") + chatEnd},
		"custom input":     {wire.Chat, part(`{"tool_calls":[{"index":0,"custom":{"name":"a","input":"@"}}]}`, "") + part(`{"tool_calls":[{"index":0,"custom":{"input":"#"}}]}`, "") + chatEnd},
		"content parts":    {wire.Chat, part(`{"content":[{"type":"text","text":"@"}]}`, "") + part(`{"content":[{"type":"text","text":"#"}]}`, "") + chatEnd},
		"late reasoning":   {wire.Chat, part(`{"reasoning":"@"}`, "") + part(`{"content":"."}`, "") + part(`{"reasoning":"#"}`, "") + chatEnd},
		"late details":     {wire.Chat, part(`{"note":"@"}`, "") + part(`{"content":"."}`, "") + part(`{"note":"#"}`, "") + chatEnd},
		"tokens":           {wire.Chat, part(`{"content":""}`, logprobs(`{"token":"@"}`)) + part(`{"content":""}`, logprobs(`{"token":"#"}`)) + chatEnd},
		"tokens of one":    {wire.Chat, part(`{"content":" "}`, logprobs(`{"token":"@"},{"token":"#"}`)) + chatEnd},
		"other arguments":  {wire.Responses, ofResponses(event("response.function_call_arguments.delta", `{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"a\":\"@#\"}"}`)+event("response.function_call_arguments.done", `{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{}"}`), "")},
		"two arguments":    {wire.Responses, ofResponses(event("response.output_item.done", `{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","name":"a","arguments":"{\"a\":\"@#\"}","input":"x"}}`), "")},
		"content at first": {wire.Messages, strings.Replace(ofMessages(event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"#"}}`)+event("content_block_stop", `{"type":"content_block_stop","index":0}`)), `"content":[]`, `"content":[{"type":"text","text":"@"}]`, 1)},
		"start and delta":  {wire.Messages, ofMessages(event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"@"}}`) + event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"#"}}`) + event("content_block_stop", `{"type":"content_block_stop","index":0}`))},
	}
	secret := leaked()["github"]
	for _, answers := range []string{llm.SecretsDeny, llm.SecretsRedact} {
		l := newLeakRig(t, answers)
		for name, c := range cases {
			for _, half := range []int{6, 20, 34} {
				body := strings.NewReplacer("@", secret[:half], "#", secret[half:]).Replace(c.body)
				got := l.post(c.format, body, func() int { return 1000 })
				joined := ""
				for where, text := range heard(got) {
					joined += text
					if strings.Contains(text, secret[half:]) {
						t.Errorf("%s (%s, %d): %s holds the rest of the secret: %s", name, answers, half, where, got)
					}
				}
				if strings.Contains(joined, secret) || strings.Contains(got, secret) {
					t.Errorf("%s (%s): %s", name, answers, got)
				}
			}
		}
	}
}

// TestOddButHonestStreams: what servers do that is odd, and does no harm, goes on as it is.
func TestOddButHonestStreams(t *testing.T) {
	t.Parallel()
	item := `{"id":"i1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"","annotations":[]}]}`
	big := strings.Repeat("iVBORw0KGgoAAAANSUhEUgAA", 20000)
	for name, c := range map[string]struct {
		format wire.Format
		body   string
	}{
		"empty text": {wire.Responses, ofResponses(event("response.output_item.added", `{"type":"response.output_item.added","output_index":0,"item":{"id":"i1","type":"message","content":[]}}`)+
			event("response.content_part.added", `{"type":"response.content_part.added","output_index":0,"content_index":0,"part":{"type":"output_text","text":""}}`)+
			event("response.output_text.done", `{"type":"response.output_text.done","output_index":0,"content_index":0,"text":""}`)+
			event("response.content_part.done", `{"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"type":"output_text","text":""}}`)+
			event("response.output_item.done", `{"type":"response.output_item.done","output_index":0,"item":`+item+`}`), item)},
		"empty after the finish": {wire.Chat, part(`{"content":"Hello you"}`, "") + part(`{}`, `,"finish_reason":"stop"`) + part(`{"role":"assistant","content":""}`, "") + "data: [DONE]\n\n"},
		"probabilities":          {wire.Chat, part(`{"content":"Hello you"}`, `,"logprobs":{"content":[{"token":"Hello","bytes":[1]},{"token":" you","top_logprobs":[{"token":" me"}]}]}`) + part(`{"content":" there"}`, "") + chatEnd},
		"half a character":       {wire.Chat, part(`{"content":"a \ud83d"}`, "") + part(`{"content":"\ude00 b"}`, "") + chatEnd},
		"image":                  {wire.Responses, ofResponses(event("response.image_generation_call.partial_image", `{"type":"response.image_generation_call.partial_image","output_index":0,"partial_image_b64":"`+big+`"}`), `{"type":"image_generation_call","result":"`+big+`"}`)},
		"sound":                  {wire.Chat, strings.Repeat(part(`{"audio":{"data":"`+big[:6000]+`"}}`, ""), 60) + chatEnd},
		"sealed":                 {wire.Responses, ofResponses("", `{"type":"reasoning","encrypted_content":"`+big+`"}`)},
		"search":                 {wire.Responses, ofResponses(event("response.output_item.added", `{"type":"response.output_item.added","output_index":0,"item":{"id":"w","type":"web_search_call","status":"in_progress"}}`)+event("response.web_search_call.searching", `{"type":"response.web_search_call.searching","output_index":0,"item_id":"w"}`)+event("response.output_item.done", `{"type":"response.output_item.done","output_index":0,"item":{"id":"w","type":"web_search_call","action":{"type":"search","query":"weather"}}}`), `{"id":"w","type":"web_search_call","action":{"query":"weather","type":"search"}}`)},
		"shell":                  {wire.Responses, ofResponses(event("response.output_item.added", `{"type":"response.output_item.added","output_index":0,"item":{"id":"w","type":"shell_call","action":{"commands":[]}}}`)+event("response.shell_call_command.delta", `{"type":"response.shell_call_command.delta","output_index":0,"command_index":0,"delta":"ls"}`)+event("response.shell_call_command.done", `{"type":"response.shell_call_command.done","output_index":0,"command_index":0,"command":"ls"}`)+event("response.output_item.done", `{"type":"response.output_item.done","output_index":0,"item":{"id":"w","type":"shell_call","action":{"commands":["ls"]}}}`), "")},
		"calls by id":            {wire.Chat, part(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"run","arguments":"{}"}}]}`, "") + chatEnd},
		"comment":                {wire.Chat, ": hello\n\n" + part(`{"content":"Hello"}`, "") + ": OPENROUTER PROCESSING\n\n" + chatEnd},
	} {
		l := newLeakRig(t, llm.SecretsDeny)
		if got := l.post(c.format, c.body, func() int { return 3000 }); got != c.body {
			t.Errorf("%s: %.600s, and was %.600s", name, got, c.body)
		}
	}
}

type headed struct{ header http.Header }

func (h headed) Do(_ context.Context, c upstream.Call) (*upstream.Answer, error) {
	a := &upstream.Answer{Status: http.StatusOK, Header: h.header.Clone(), Sent: true, Body: io.NopCloser(strings.NewReader(chatAnswer("hi")))}
	a.Header.Set("Content-Type", "application/json")
	if c.Stream {
		a.Header.Set("Content-Type", "text/event-stream")
		a.Body = io.NopCloser(strings.NewReader(part(`{"content":"hi"}`, "") + chatEnd))
	}
	return a, nil
}

// TestHeadersHideNoSecret: what a provider says in the fields of an answer is searched too.
func TestHeadersHideNoSecret(t *testing.T) {
	t.Parallel()
	secret := leaked()["github"]
	l := newLeakRig(t, llm.SecretsRedact)
	for _, stream := range []bool{false, true} {
		f := newFeatureOver(t, llm.Options{Secrets: llm.SecretsRedact, Search: l.search}, headed{http.Header{
			"X-Request-Id": {secret}, "X-Ratelimit-" + secret: {"1"}, "Retry-After": {"5"},
		}})
		ask := hello
		if stream {
			ask = strings.Replace(hello, "{", `{"stream":true,`, 1)
		}
		w := f.post(t, ask)
		if w.Code != http.StatusOK || w.Header().Get("Retry-After") != "5" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		if got := fmt.Sprint(w.Header()); strings.Contains(got, secret) {
			t.Error(got)
		}
	}
}

// TestModelsAreOfTheKeysProviders: a key that may use some providers only lists the models
// of no other.
func TestModelsAreOfTheKeysProviders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		may  []string
		code int
	}{{nil, http.StatusOK}, {[]string{"p"}, http.StatusOK}, {[]string{"other"}, http.StatusNotFound}} {
		f := newFeatureOver(t, llm.Options{Order: []string{"p"}, Authenticate: func(*http.Request) (llm.Caller, error) {
			return llm.Caller{Name: "key:k", Key: "k", Scope: route.Scope{Providers: c.may}}, nil
		}}, headed{http.Header{}})
		w := httptest.NewRecorder()
		f.gw.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/models", http.NoBody))
		if w.Code != c.code {
			t.Errorf("%v: %d %s", c.may, w.Code, w.Body)
		}
	}
}

// TestCommentsBehindTheEnd: what keeps a connection alive is no answer that goes on.
func TestCommentsBehindTheEnd(t *testing.T) {
	t.Parallel()
	l := newLeakRig(t, llm.SecretsDeny)
	body := part(`{"content":"Hello you"}`, "") + chatEnd
	if got := l.post(wire.Chat, body+": ping\n\n: ping\n\n", func() int { return 10000 }); got != body {
		t.Error(got)
	}
	if got := l.post(wire.Chat, body+part(`{"content":"more"}`, ""), func() int { return 10000 }); strings.Contains(got, "more") || !strings.Contains(got, "upstream_event") {
		t.Error(got)
	}
}

// TestCutAnswersDoNotEndWell: the format's end is none where the answer has not ended.
func TestCutAnswersDoNotEndWell(t *testing.T) {
	t.Parallel()
	l := newLeakRig(t, llm.SecretsDeny)
	for format, body := range map[wire.Format]string{
		wire.Chat:      part(`{"content":"half an ans"}`, "") + "data: [DONE]\n\n",
		wire.Messages:  strings.Replace(ofMessages(""), `"end_turn"`, `null`, 1),
		wire.Responses: strings.Replace(ofResponses("", ""), `"status":"completed"`, `"status":"in_progress"`, 1),
	} {
		if got := l.post(format, body, func() int { return 100 }); !strings.Contains(got, "upstream_event") {
			t.Errorf("%s: %s", format, got)
		}
	}
}

// TestFailedAnswersAreToldWhole: a provider's error is given on also where the whole
// answer is held until its end, and nothing of what nobody judged is.
func TestFailedAnswersAreToldWhole(t *testing.T) {
	t.Parallel()
	body := part(`{"content":"half of it"}`, "") + `data: {"error":{"message":"overloaded"}}` + "\n\n"
	for _, whole := range []bool{false, true} {
		f := newFeature(t, llm.Options{Judge: denyWord("never"), Said: denyWord("never"), Whole: whole}, func(string, bool, []byte) string { return body })
		got := f.post(t, strings.Replace(hello, "{", `{"stream":true,`, 1)).Body.String()
		if !strings.Contains(got, "overloaded") || strings.Contains(got, "half of it") == whole {
			t.Errorf("whole %v: %s", whole, got)
		}
	}
}

// TestOpenConnectionEndsWithTheAnswer: the end is given on although the provider keeps
// its connection open.
func TestOpenConnectionEndsWithTheAnswer(t *testing.T) {
	t.Parallel()
	l := newLeakRig(t, llm.SecretsDeny)
	r, w := io.Pipe()
	l.body = r
	body := part(`{"content":"Hello you"}`, "") + chatEnd
	go func() { _, _ = io.WriteString(w, body) }() // and it is never closed
	ctx := t.Context()
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`))
	out, done := httptest.NewRecorder(), make(chan struct{})
	go func() { l.gw.ServeHTTP(out, req); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the answer never ended")
	}
	if out.Body.String() != body {
		t.Error(out.Body.String())
	}
}

// TestWordsDoNotHoldTheAnswer: what a provider tells beside the answer, and what the model
// thought, keeps none of the answer back.
func TestWordsDoNotHoldTheAnswer(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{
		"details":   part(`{"reasoning_details":[{"type":"reasoning.encrypted","format":"anthropic-claude-v1","text":"Let me think about it","index":0}]}`, ""),
		"reasoning": part(`{"reasoning_content":"Let me make some considerations"}`, ""),
		"unknown":   part(`{"note":"Weather"}`, ""),
		"sound":     part(`{"audio":{"id":"audio_1"}}`, "") + part(`{"audio":{"data":"`+strings.Repeat("QUJD", 200)+`"}}`, ""),
	} {
		l := newLeakRig(t, llm.SecretsDeny)
		r, w := io.Pipe()
		l.body = r
		said := first + part(`{"content":"It is warm. "}`, "") + part(`{"content":"It is dry. "}`, "")
		out := &told{ResponseRecorder: httptest.NewRecorder(), heard: make(chan string, 100)}
		done := make(chan struct{})
		go func() {
			l.gw.ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`)))
			close(done)
		}()
		_, _ = io.WriteString(w, said) // the gateway reads it, or the test ends in time
		got := ""
		for late := time.After(20 * time.Second); !strings.Contains(got, "It is warm"); {
			select {
			case text := <-out.heard:
				got += text
			case <-late:
				t.Fatalf("%s: only %q was given on", name, got)
			}
		}
		_, _ = io.WriteString(w, chatEnd)
		_ = w.Close()
		<-done
		if out.Body.String() != said+chatEnd {
			t.Errorf("%s: %s", name, out.Body)
		}
	}
}

// told tells of what is written.
type told struct {
	*httptest.ResponseRecorder
	heard chan string
}

func (w *told) Write(p []byte) (int, error) {
	w.heard <- string(p)
	return w.ResponseRecorder.Write(p)
}

// TestCallsInStreamsAreJudged: a call that the policy does not want is stopped however a
// provider tells it.
func TestCallsInStreamsAreJudged(t *testing.T) {
	t.Parallel()
	item := func(item string) string {
		return ofResponses(event("response.output_item.done", `{"type":"response.output_item.done","output_index":0,"item":`+item+`}`), item)
	}
	block := func(block string) string {
		return ofMessages(event("content_block_start", `{"type":"content_block_start","index":0,"content_block":`+block+`}`) + event("content_block_stop", `{"type":"content_block_stop","index":0}`))
	}
	for name, c := range map[string]struct{ path, body string }{
		"chat, name only":   {"/v1/chat/completions", part(`{"tool_calls":[{"index":0,"function":{"name":"forbidden"}}]}`, "") + chatEnd},
		"chat, custom":      {"/v1/chat/completions", part(`{"tool_calls":[{"index":0,"custom":{"name":"run","input":"forbidden"}}]}`, "") + chatEnd},
		"chat, legacy":      {"/v1/chat/completions", part(`{"function_call":{"name":"forbidden"}}`, "") + chatEnd},
		"chat, object":      {"/v1/chat/completions", part(`{"tool_calls":[{"index":0,"function":{"name":"run","arguments":{"a":["forbidden"]}}}]}`, "") + chatEnd},
		"chat, name later":  {"/v1/chat/completions", part(`{"tool_calls":[{"index":0,"function":{"name":"for","arguments":"{}"}}]}`, "") + part(`{"tool_calls":[{"index":0,"function":{"name":"bidden"}}]}`, "") + chatEnd},
		"item, no args":     {"/v1/responses", item(`{"type":"function_call","name":"forbidden"}`)},
		"item, shell":       {"/v1/responses", item(`{"type":"local_shell_call","action":{"command":["forbidden"]}}`)},
		"item, web":         {"/v1/responses", item(`{"type":"web_search_call","action":{"query":"forbidden"}}`)},
		"late item":         {"/v1/responses", ofResponses("", `{"type":"function_call","name":"forbidden","arguments":"{}"}`)},
		"message, no input": {"/v1/messages", block(`{"type":"tool_use","name":"forbidden","input":{}}`)},
		"message, input":    {"/v1/messages", block(`{"type":"tool_use","name":"run","input":{"cmd":"forbidden"}}`)},
		"message, server":   {"/v1/messages", block(`{"type":"server_tool_use","name":"forbidden","input":{}}`)},
	} {
		f := newFeature(t, llm.Options{Judge: denyWord("forbidden")}, func(string, bool, []byte) string { return c.body })
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, c.path, strings.NewReader(map[string]string{
			"/v1/chat/completions": `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`,
			"/v1/responses":        `{"model":"m","stream":true,"input":"x"}`,
			"/v1/messages":         `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`,
		}[c.path]))
		w := httptest.NewRecorder()
		f.gw.ServeHTTP(w, req)
		if got := w.Body.String(); !strings.Contains(got, "answer was stopped") && !strings.Contains(got, "answer_denied") || strings.Contains(got, "forbidden\"") {
			t.Errorf("%s: %d %s", name, w.Code, got)
		}
	}
}
