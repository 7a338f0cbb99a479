package wire

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func want(t *testing.T, what string, got, wanted any) {
	t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.Marshal(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if string(g) != string(w) {
		t.Errorf("%s: %s, not %s", what, g, w)
	}
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != "llm_request" {
		t.Errorf("%s: %v", what, err)
	}
}

// every checks that each text of a document, names of members too, is among the texts at
// its own place.
func every(t *testing.T, texts []policies.Text, at string, v any) {
	t.Helper()
	has := func(at, value string) {
		if !slices.ContainsFunc(texts, func(x policies.Text) bool { return x.At == at && x.Value == value }) {
			t.Errorf("%q at %s is not among the texts", value, at)
		}
	}
	switch v := v.(type) {
	case string:
		has(at, v)
	case []any:
		for i, e := range v {
			b, _ := json.Marshal(i) //nolint:errchkjson // a number
			every(t, texts, at+"/"+string(b), e)
		}
	case map[string]any:
		for k, e := range v {
			under := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k)
			has(under, k)
			every(t, texts, under, e)
		}
	}
}

const chatBody = `{"model":"gpt","stream":true,"max_tokens":5,"max_completion_tokens":7,"messages":[
 {"role":"system","content":"be kind"},{"role":"developer","content":"dev"},
 {"role":"user","content":[{"type":"text","text":"hi \u0041"},{"type":"image_url","image_url":{"url":"https://x/y.png"}}]},
 {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":\"x\\u0041\"}"}}]},
 {"role":"tool","tool_call_id":"c1","content":"result"}],
 "tools":[{"type":"function","function":{"name":"f","description":"does","parameters":{"type":"object","properties":{"a/b~":{"type":"string"}}}}},{"type":"web_search"}],
 "functions":[{"name":"old"}],"web_search_options":{},"vendor_field":{"deep":["x",{"k":"v"}]}}`

var requests = []struct {
	name   string
	format Format
	body   string
	model  string
	stream bool
	max    int64
	tools  []Tool
	unread []Unread
	texts  []policies.Text // some of them
}{
	{
		"chat", Chat, chatBody, "gpt", true, 7,
		[]Tool{{"f", "function", "/tools/0", false}, {"", "web_search", "/tools/1", true}, {"old", "function", "/functions/0", false}, {"web_search", "web_search", "/web_search_options", true}},
		[]Unread{{"/messages/2/content/1/image_url/url", "image"}},
		[]policies.Text{
			{At: "/messages/0/content", Value: "be kind", Kind: KindSystem},
			{At: "/messages/1/content", Value: "dev", Kind: KindSystem},
			{At: "/messages/2/content/0/text", Value: "hi A", Kind: KindUser},
			{At: "/messages/3/tool_calls/0/function/arguments", Value: "xA", Kind: KindArguments},
			{At: "/messages/4/content", Value: "result", Kind: KindToolResult},
			{At: "/tools/0/function/description", Value: "does", Kind: KindTool},
			{At: "/vendor_field/deep/1/k", Value: "v"},
		},
	},
	{
		"responses", Responses, `{"model":"r","instructions":"sys","max_output_tokens":3,"input":[{"role":"user","content":[{"type":"input_text","text":"q"}]},
		 {"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":\"\\n\"}"},{"type":"function_call_output","call_id":"c","output":"out"}],
		 "tools":[{"type":"function","name":"f"},{"type":"web_search_preview"},{"type":"mcp","server_label":"m","server_url":"https://m"},{"type":"local_shell"}]}`, "r", false, 3,
		[]Tool{{"f", "function", "/tools/0", false}, {"web_search_preview", "web_search_preview", "/tools/1", true}, {"mcp", "mcp", "/tools/2", true}, {"local_shell", "local_shell", "/tools/3", false}},
		nil,
		[]policies.Text{
			{At: "/instructions", Value: "sys", Kind: KindSystem}, {At: "/input/0/content/0/text", Value: "q", Kind: KindUser},
			{At: "/input/1/arguments", Value: "\n", Kind: KindArguments}, {At: "/input/2/output", Value: "out", Kind: KindToolResult},
		},
	},
	{
		"messages", Messages, `{"model":"c","max_tokens":1e3,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"u"},
		 {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":"b"}}]}],
		 "tools":[{"name":"f","input_schema":{}},{"type":"bash_20250124","name":"bash"},{"type":"web_search_20250305","name":"web_search"}],"mcp_servers":[{"name":"srv","type":"url"}]}`, "c", false, 1000,
		[]Tool{{"f", "function", "/tools/0", false}, {"bash", "bash_20250124", "/tools/1", false}, {"web_search", "web_search_20250305", "/tools/2", true}, {"srv", "mcp", "/mcp_servers/0", true}},
		nil,
		[]policies.Text{{At: "/system/0/text", Value: "s", Kind: KindSystem}, {At: "/messages/0/content", Value: "u", Kind: KindUser}},
	},
	{"count", CountTokens, `{"model":"c","messages":[{"role":"user","content":"u"}]}`, "c", false, 0, nil, nil, nil},
	{"embeddings", Embeddings, `{"model":"e","input":["a","b"]}`, "e", false, 0, nil, nil, []policies.Text{{At: "/input/1", Value: "b", Kind: KindUser}}},
	{"rerank", Rerank, `{"model":"r","query":"q","documents":["d",{"text":"e"}]}`, "r", false, 0, nil, nil, []policies.Text{{At: "/documents/1/text", Value: "e", Kind: KindDocument}, {At: "/query", Value: "q", Kind: KindUser}}},
	{"conversation kept", Responses, `{"model":"r","previous_response_id":"x"}`, "r", false, 0, nil, []Unread{{"/previous_response_id", "kept"}}, nil},
}

func TestRequests(t *testing.T) {
	t.Parallel()
	for _, c := range requests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q, err := ParseRequest(c.format, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			want(t, "model", q.Model, c.model)
			want(t, "stream", q.Stream, c.stream)
			want(t, "max tokens", q.MaxTokens, c.max)
			want(t, "tools", q.Tools, c.tools)
			want(t, "unread", q.Unread, c.unread)
			every(t, q.Texts, "", q.Tree)
			for _, x := range c.texts {
				if !slices.Contains(q.Texts, x) {
					t.Errorf("%+v is not among %+v", x, q.Texts)
				}
			}
		})
	}
}

func TestRequestsAreReadStrictly(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for _, body := range []string{
		``, `x`, `[]`, `"a"`, `null`, `{}`, `{"model":"m"}`, `{"model":"","messages":[{}]}`, `{"model":5,"messages":[{}]}`,
		`{"messages":[{}]}`, `{"model":"m","messages":[]}`, `{"model":"m","messages":{}}`, `{"model":"m","messages":"x"}`,
		`{"model":"m","model":"n","messages":[{}]}`, `{"model":"m","\u006dodel":"n","messages":[{}]}`,
		`{"model":"m","Model":"n","messages":[{}]}`, `{"model":"m","STREAM":true,"messages":[{}]}`, `{"model":"m","meſsages":[{}],"messages":[{}]}`,
		`{"model":"m","messages":[{"a":1,"a":2}]}`, `{"model":"m","messages":[{}]} x`, `{"model":"m","messages":[{}]}{}`,
		"\ufeff" + `{"model":"m","messages":[{}]}`, `{"model":"m","messages":[{}],"x":` + deep + `}`,
		`{"model":"m","messages":[{}],"stream":"yes"}`, `{"model":"m","messages":[{}],"stream":1}`,
		`{"model":"m","messages":[{}],"max_tokens":"5"}`, `{"model":"m","messages":[{}],"max_tokens":-1}`, `{"model":"m","messages":[{}],"max_tokens":1.5}`,
		`{"model":"m","messages":[{}],"max_completion_tokens":1e99}`, `{"model":"\ud800","messages":[{}]}`, "{\"model\":\"\xff\",\"messages\":[{}]}",
	} {
		_, err := ParseRequest(Chat, []byte(body))
		refused(t, body, err)
	}
	for f, body := range map[Format]string{
		Embeddings: `{"model":"m"}`, Rerank: `{"model":"m","query":"q"}`, Responses: `{"model":"m"}`,
		CountTokens: `{"model":"m","messages":[{}],"stream":true}`,
	} {
		_, err := ParseRequest(f, []byte(body))
		refused(t, body, err)
	}
}

// Arguments that a strict reader refuses are read by others all the same.
func TestArgumentsHideNothing(t *testing.T) {
	t.Parallel()
	for _, arguments := range []string{
		`{"a":"\u0041KEY"}`, `{"a":"\u0041KEY","a":1}`, `{"a":"\u0041KEY"`, `{"a":"\u0041KEY"} x`, `["\u0041KEY"]`, `"\u0041KEY"`, `{"\u0041KEY":1}`,
	} {
		quoted, err := json.Marshal(arguments)
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseAnswer(Chat, []byte(`{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":`+string(quoted)+`}}]}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(a.Texts, func(x policies.Text) bool { return x.Value == "AKEY" && x.Kind == KindArguments }) {
			t.Errorf("%s: %+v", arguments, a.Texts)
		}
		if len(a.Calls) != 1 || a.Calls[0].Raw != arguments {
			t.Errorf("%s: %+v", arguments, a.Calls)
		}
	}
}

func TestUnreadMedia(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("QUJD", 2000)
	for _, c := range []struct {
		part   string
		kind   string
		isText bool
	}{
		{`{"type":"image_url","image_url":{"url":"data:image/png;base64,` + big + `"}}`, "image", false},
		{`{"type":"input_audio","input_audio":{"format":"wav","data":"` + big + `"}}`, "audio", false},
		{`{"type":"file","file":{"file_data":"data:application/pdf;base64,` + big + `"}}`, "file", false},
		{`{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}`, "image", true},
		{`{"type":"image_url","image_url":{"url":"data:My Secret Here;base64,` + big + `"}}`, "", true},
		{`{"type":"image_url","image_url":{"url":"data:text/plain,` + big + `"}}`, "", true},
		{`{"type":"text","text":"` + big + `"}`, "", true},
		{`{"data":"words, no data: ` + big + `"}`, "", true},
	} {
		q, err := ParseRequest(Chat, []byte(`{"model":"m","messages":[{"role":"user","content":[`+c.part+`]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		short := c.part[:min(len(c.part), 70)]
		kind := ""
		if len(q.Unread) > 0 {
			kind = q.Unread[0].Kind
		}
		if kind != c.kind {
			t.Errorf("%s: %+v", short, q.Unread)
		}
		held := slices.ContainsFunc(q.Texts, func(x policies.Text) bool { return strings.Contains(x.Value, "QUJD") })
		if held != c.isText {
			t.Errorf("%s: among the texts: %v", short, held)
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format Format
		body   string
		said   []string
		calls  []Call
		usage  Usage
		finish string
	}{
		{
			Chat, `{"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello","refusal":"no","reasoning_content":"hm","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"},{"message":{"content":[{"type":"text","text":"part"}],"function_call":{"name":"g","arguments":"{"}}}],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}}`,
			[]string{"hello", "no", "hm", "part"},
			[]Call{{"f", "/choices/0/message/tool_calls/0", map[string]any{"a": json.Number("1")}, `{"a":1}`}, {"g", "/choices/1/message/function_call", "{", "{"}},
			Usage{3, 4, 2, 0, 1, true}, "tool_calls",
		},
		{
			Messages, `{"model":"m","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"hello"},{"type":"tool_use","id":"t","name":"f","input":{"a":"b"}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4}}`,
			[]string{"hm", "hello"}, []Call{{Name: "f", At: "/content/2", Arguments: map[string]any{"a": "b"}}}, Usage{8, 2, 3, 4, 0, true}, "tool_use",
		},
		{
			Responses, `{"model":"m","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hello"},{"type":"refusal","refusal":"no"}]},{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"type":"function_call","name":"f","arguments":"{}"},{"type":"web_search_call","action":{"query":"q"}}],"usage":{"input_tokens":1,"output_tokens":2}}`,
			[]string{"hello", "no", "hm"}, []Call{{"f", "/output/2", map[string]any{}, "{}"}, {Name: "web_search", At: "/output/3", Arguments: map[string]any{"query": "q"}}}, Usage{1, 2, 0, 0, 0, true}, "completed",
		},
		{CountTokens, `{"input_tokens":5}`, nil, nil, Usage{}, ""},
		{Rerank, `{"model":"m","results":[{"index":0,"relevance_score":0.5,"document":{"text":"d"}}],"usage":{"total_tokens":9}}`, nil, nil, Usage{Input: 9, Given: true}, ""},
		{Models, `{"object":"list","data":[{"id":"a"}]}`, nil, nil, Usage{}, ""},
	} {
		a, err := ParseAnswer(c.format, []byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		want(t, "said", a.Said, c.said)
		want(t, "calls", a.Calls, c.calls)
		want(t, "usage", a.Usage, c.usage)
		want(t, "finish", a.Finish, c.finish)
		every(t, a.Texts, "", a.Tree)
	}
	for _, body := range []string{``, `[]`, `{"a":1,"a":2}`, `{}x`} {
		for _, f := range []Format{Chat, Embeddings} {
			_, err := ParseAnswer(f, []byte(body))
			refused(t, body, err)
		}
	}
}

func TestEmbeddingsAreNotKept(t *testing.T) {
	t.Parallel()
	a, err := ParseAnswer(Embeddings, []byte(`{"model":"m","data":[{"embedding":[0.1,2]},{"embedding":"QUJD"},{"embedding":"a text!"}],"usage":{"prompt_tokens":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "unread", a.Unread, []Unread{{"/data/1/embedding", "file"}})
	if a.Tree["data"] != nil || a.Usage.Input != 2 {
		t.Errorf("%+v", a)
	}
	for _, x := range a.Texts {
		if x.Value == "QUJD" {
			t.Error("a vector is among the texts")
		}
	}
	if !slices.ContainsFunc(a.Texts, func(x policies.Text) bool { return x.Value == "a text!" }) {
		t.Error("what is no vector is not among the texts")
	}
}

// TestKindsOfBlocks: what a tool or a document says is not the user's word, although it
// comes in a message of the user.
func TestKindsOfBlocks(t *testing.T) {
	t.Parallel()
	q, err := ParseRequest(Messages, []byte(`{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"w1"},{"type":"tool_use","id":"t","name":"run","input":{"a":"w2"}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"w3"}]},{"type":"tool_result","content":"w4"},{"type":"document","source":{"type":"text","data":"w5 w"}},
		{"type":"search_result","content":[{"type":"text","text":"w6"}]},{"type":"mcp_tool_result","content":"w7"},{"type":"text","text":"w8"}]},{"role":"user","content":"w9"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range q.Texts {
		if strings.HasPrefix(x.Value, "w") {
			got[x.Value] = x.Kind
		}
	}
	want(t, "kinds", got, map[string]string{
		"w1": KindAssistant, "w2": KindArguments, "w3": KindToolResult, "w4": KindToolResult, "w5 w": KindDocument, "w6": KindDocument,
		"w7": KindToolResult, "w8": KindUser, "w9": KindUser,
	})
	a, err := ParseAnswer(Responses, []byte(`{"output":[{"type":"custom_tool_call","name":"w1","input":"w2"},{"type":"local_shell_call","action":{"command":["w3"]}},{"type":"message","content":[{"type":"output_text","text":"w4"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got = map[string]string{}
	for _, x := range a.Texts {
		if strings.HasPrefix(x.Value, "w") {
			got[x.Value] = x.Kind
		}
	}
	want(t, "kinds of an answer", got, map[string]string{"w1": KindText, "w2": KindArguments, "w3": KindArguments, "w4": KindText})
}

// TestWhatNobodyRead: what a request only refers to is told of.
func TestWhatNobodyRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format Format
		body   string
		want   []Unread
	}{
		{Responses, `{"model":"m","previous_response_id":"r"}`, []Unread{{"/previous_response_id", "kept"}}},
		{Responses, `{"model":"m","conversation":{"id":"c"},"prompt":{"id":"p"}}`, []Unread{{"/conversation", "kept"}, {"/prompt/id", "kept"}}},
		{Responses, `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}`, []Unread{{"/input/0/content/0/file_id", "file"}}},
		{Embeddings, `{"model":"m","input":[1,2,3]}`, []Unread{{"/input", "tokens"}}},
		{Embeddings, `{"model":"m","input":[[1],[2]]}`, []Unread{{"/input", "tokens"}}},
		{Embeddings, `{"model":"m","input":["a","b"]}`, nil},
	} {
		q, err := ParseRequest(c.format, []byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		want(t, c.body, q.Unread, c.want)
	}
}

// TestWhatAnAnswerMayTake: the larger bound counts, once for each answer.
func TestWhatAnAnswerMayTake(t *testing.T) {
	t.Parallel()
	for body, most := range map[string]int64{
		`{"max_tokens":5}`: 5, `{"max_tokens":5,"max_completion_tokens":9}`: 9, `{"max_tokens":9,"max_completion_tokens":5}`: 9,
		`{"max_tokens":5,"n":3}`: 15, `{"n":3}`: 0, `{"max_tokens":999999999999999,"n":60000}`: limits.LLMRouteTokens,
	} {
		q, err := ParseRequest(Chat, []byte(strings.Replace(body, "{", `{"model":"m","messages":[{"role":"user","content":"x"}],`, 1)))
		if err != nil || q.MaxTokens != most {
			t.Errorf("%s: %+v, %v", body, q, err)
		}
	}
	for _, n := range []string{`-1`, `"a"`, `1.5`, `99999999`} {
		_, err := ParseRequest(Chat, []byte(`{"model":"m","messages":[{"role":"user","content":"x"}],"n":`+n+`}`))
		refused(t, n, err)
	}
}

// TestCachedTokensAreInput: whatever format tells of them.
func TestCachedTokensAreInput(t *testing.T) {
	t.Parallel()
	for f, usage := range map[Format]string{
		Messages: `{"input_tokens":3,"cache_read_input_tokens":4,"cache_creation_input_tokens":5,"output_tokens":1}`,
		Chat:     `{"prompt_tokens":12,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens":1}`,
	} {
		a, err := ParseAnswer(f, []byte(`{"usage":`+usage+`}`))
		if err != nil || a.Usage.Input != 12 || a.Usage.CacheRead != 4 {
			t.Errorf("%s: %+v, %v", f, a, err)
		}
	}
	if u := (Usage{Input: math.MaxInt64, CacheRead: math.MaxInt64}).Of(Messages); u.Input < 0 {
		t.Errorf("%+v", u)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path string
		format       Format
		ok           bool
	}{
		{"POST", "/v1/chat/completions", Chat, true}, {"POST", "/chat/completions", Chat, true}, {"POST", "/v1/responses", Responses, true},
		{"POST", "/v1/embeddings", Embeddings, true}, {"POST", "/v1/messages", Messages, true}, {"POST", "/v1/messages/count_tokens", CountTokens, true},
		{"POST", "/v1/rerank", Rerank, true}, {"POST", "/v2/rerank", Rerank, true}, {"POST", "/v1/v2/rerank", "", false}, {"GET", "/v1/models", Models, true},
		{"GET", "/v1/models/org/m:7b", Models, true}, {"GET", "/v1/models/", "", false}, {"GET", "/v1/models/..", "", false},
		{"GET", "/v1/models/a/../../files", "", false}, {"GET", "/v1/models/a//b", "", false}, {"GET", "/v1/models/a?b", "", false},
		{"GET", "/v1/models/a%2f", "", false}, {"GET", "/v1/models/a\nb", "", false}, {"GET", "/v1/models/" + strings.Repeat("a", 300), "", false},
		{"GET", "/v1/chat/completions", "", false}, {"POST", "/v1/models", "", false}, {"DELETE", "/v1/models/a", "", false}, {"PUT", "/v1/messages", "", false},
		{"POST", "/v1/files", "", false}, {"POST", "/v1/chat/completions/", "", false}, {"POST", "/v1/../v1/messages", "", false},
		{"POST", "/v1/v1/messages", "", false}, {"POST", "//v1/messages", "", false}, {"POST", "/V1/messages", "", false}, {"POST", "", "", false}, {"", "", "", false},
		{"post", "/v1/messages", "", false}, {http.MethodPost, "/v1/messages/batches", "", false}, {"POST", "/v1/responses/x", "", false},
	} {
		f, ok := EndpointOf(c.method, c.path)
		if ok != c.ok || ok && f != c.format {
			t.Errorf("%s %s: %q, %v", c.method, c.path, f, ok)
		}
	}
}

func TestEdits(t *testing.T) {
	t.Parallel()
	schema := map[string]any{"type": "object"}
	for _, c := range []struct {
		name, in, out string
		edit          func([]byte) ([]byte, error)
	}{
		{"model", ` { "x" : 1.0 , "model" : "a" }` + "\n", ` { "x" : 1.0 , "model" : "b" }` + "\n", func(b []byte) ([]byte, error) { return WithModel(b, Chat, "b") }},
		{"escaped name", `{"mod\u0065l":"a"}`, `{"mod\u0065l":"b"}`, func(b []byte) ([]byte, error) { return WithModel(b, Chat, "b") }},
		{"max added", ` { "a":"\u0041"}`, ` {"max_tokens":5, "a":"\u0041"}`, func(b []byte) ([]byte, error) { return WithMaxTokens(b, Chat, 5) }},
		{"max into nothing", `{ }`, `{"max_output_tokens":5 }`, func(b []byte) ([]byte, error) { return WithMaxTokens(b, Responses, 5) }},
		{"max of both", `{"max_tokens":9,"max_completion_tokens":4}`, `{"max_tokens":5,"max_completion_tokens":4}`, func(b []byte) ([]byte, error) { return WithMaxTokens(b, Chat, 5) }},
		{"max elsewhere", `{"input":1}`, `{"input":1}`, func(b []byte) ([]byte, error) { return WithMaxTokens(b, Embeddings, 5) }},
		{"temperature", `{"temperature":1e0,"b":1E2}`, `{"temperature":0,"b":1E2}`, func(b []byte) ([]byte, error) { return WithTemperature(b, Messages, 0) }},
		{"temperature elsewhere", `{"a":1}`, `{"a":1}`, func(b []byte) ([]byte, error) { return WithTemperature(b, Rerank, 0) }},
		{"rewrite", `{"a":"x","b":[1, "y" ,2]}`, `{"a":"z","b":[1 ,2]}`, func(b []byte) ([]byte, error) {
			return Rewrite(b, []policies.Rewrite{{At: "/a", Value: "z"}, {At: "/b/1"}})
		}},
		{"system chat", `{"messages":[ {"role":"user"}]}`, `{"messages":[{"content":"S","role":"system"}, {"role":"user"}]}`, func(b []byte) ([]byte, error) { return WithSystem(b, Chat, "S") }},
		{"system responses", `{"instructions" : "I","x":1}`, `{"instructions" : "S\n\nI","x":1}`, func(b []byte) ([]byte, error) { return WithSystem(b, Responses, "S") }},
		{"system responses new", `{"x":1}`, `{"instructions":"S","x":1}`, func(b []byte) ([]byte, error) { return WithSystem(b, Responses, "S") }},
		{"system messages", `{"system":"I"}`, `{"system":"S\n\nI"}`, func(b []byte) ([]byte, error) { return WithSystem(b, Messages, "S") }},
		{"system messages list", `{"system":[{"type":"text","text":"I"}]}`, `{"system":[{"text":"S","type":"text"},{"type":"text","text":"I"}]}`, func(b []byte) ([]byte, error) { return WithSystem(b, Messages, "S") }},
		{"system messages empty list", `{"system":[ ]}`, `{"system":"S"}`, func(b []byte) ([]byte, error) { return WithSystem(b, Messages, "S") }},
		{"system messages null", `{"system":null}`, `{"system":"S"}`, func(b []byte) ([]byte, error) { return WithSystem(b, CountTokens, "S") }},
		{"schema chat", `{"a":1}`, `{"response_format":{"json_schema":{"name":"n","schema":{"type":"object"},"strict":true},"type":"json_schema"},"a":1}`, func(b []byte) ([]byte, error) { return WithSchema(b, Chat, "n", schema) }},
		{"schema responses", `{"text":{"verbosity":"low","format":{"type":"text"}}}`, `{"text":{"verbosity":"low","format":{"name":"n","schema":{"type":"object"},"strict":true,"type":"json_schema"}}}`, func(b []byte) ([]byte, error) { return WithSchema(b, Responses, "n", schema) }},
		{"schema responses new", `{"text":{"verbosity":"low"}}`, `{"text":{"format":{"name":"n","schema":{"type":"object"},"strict":true,"type":"json_schema"},"verbosity":"low"}}`, func(b []byte) ([]byte, error) { return WithSchema(b, Responses, "n", schema) }},
		{"schema messages", `{"a":1}`, `{"output_config":{"format":{"schema":{"type":"object"},"type":"json_schema"}},"a":1}`, func(b []byte) ([]byte, error) { return WithSchema(b, Messages, "n", schema) }},
		{"schema messages, effort", `{"output_config": {"effort":"low"}}`, `{"output_config": {"format":{"schema":{"type":"object"},"type":"json_schema"},"effort":"low"}}`, func(b []byte) ([]byte, error) { return WithSchema(b, Messages, "n", schema) }},
		{"schema messages, empty", `{"output_config":{}}`, `{"output_config":{"format":{"schema":{"type":"object"},"type":"json_schema"}}}`, func(b []byte) ([]byte, error) { return WithSchema(b, Messages, "n", schema) }},
	} {
		got, err := c.edit([]byte(c.in))
		if err != nil || string(got) != c.out {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
}

func TestEditsRefused(t *testing.T) {
	t.Parallel()
	give := func(b []byte, err error) error {
		if err == nil {
			t.Errorf("it gave %s", b)
		}
		return err
	}
	refused(t, "system of embeddings", give(WithSystem([]byte(`{"input":"a"}`), Embeddings, "S")))
	refused(t, "system of rerank", give(WithSystem([]byte(`{}`), Rerank, "S")))
	refused(t, "system of no list", give(WithSystem([]byte(`{"messages":"a"}`), Chat, "S")))
	refused(t, "system of a number", give(WithSystem([]byte(`{"system":5}`), Messages, "S")))
	refused(t, "system of a list", give(WithSystem([]byte(`{"instructions":["a"]}`), Responses, "S")))
	refused(t, "schema of tokens", give(WithSchema([]byte(`{}`), CountTokens, "n", true)))
	refused(t, "schema of a config that is none", give(WithSchema([]byte(`{"output_config":[]}`), Messages, "n", true)))
	refused(t, "schema of a text", give(WithSchema([]byte(`{"text":"a"}`), Responses, "n", true)))
	refused(t, "model of a list", give(WithModel([]byte(`[]`), Chat, "m")))
	refused(t, "a place that is not there", give(Rewrite([]byte(`{"a":1}`), []policies.Rewrite{{At: "/b", Value: "x"}})))
	refused(t, "one place twice", give(Rewrite([]byte(`{"a":1}`), []policies.Rewrite{{At: "/a", Value: "x"}, {At: "/a"}})))
}

func TestErrorsOfTheVendors(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"no", "\"quotes\" \\ \n\x00 é \xff"} {
		var anthropic struct {
			Type  string                         `json:"type"`
			Error struct{ Type, Message string } `json:"error"`
		}
		if err := json.Unmarshal(AppendError(nil, Messages, "k", "c", message), &anthropic); err != nil {
			t.Fatal(err)
		}
		clean := strings.ToValidUTF8(message, "\ufffd")
		if anthropic.Type != "error" || anthropic.Error.Type != "k" || anthropic.Error.Message != clean+" (c)" {
			t.Errorf("%+v", anthropic)
		}
		var openai struct {
			Error struct {
				Message, Type, Code string
				Param               *string
			} `json:"error"`
		}
		if err := json.Unmarshal(AppendError(nil, Chat, "k", "c", message), &openai); err != nil {
			t.Fatal(err)
		}
		if openai.Error.Type != "k" || openai.Error.Code != "c" || openai.Error.Message != clean {
			t.Errorf("%+v", openai)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, c := range requests {
		f.Add(string(c.format), []byte(c.body))
	}
	f.Add("openai.chat", []byte(`{"model":"m","messages":[{"role":"user","content":"\ud83d\ude00"}]}`))
	f.Fuzz(func(t *testing.T, format string, body []byte) {
		q, err := ParseRequest(Format(format), body)
		if err != nil {
			refused(t, "a body", err)
			return
		}
		if len(q.Unread) == 0 {
			every(t, q.Texts, "", q.Tree)
		}
		out, err := WithModel(body, q.Format, "other \"model\"")
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRequest(q.Format, out)
		if err != nil || r.Model != "other \"model\"" || len(r.Texts) != len(q.Texts) {
			t.Fatalf("%s: %v", out, err)
		}
	})
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte(chatBody), "/messages/0/content", "new")
	f.Add([]byte(`{"a":[1,{"b~/c":"x"}]}`), "/a/1/b~0~1c", "\x00\"")
	f.Fuzz(func(t *testing.T, body []byte, at, value string) {
		tree, err := object(body)
		if err != nil {
			return
		}
		out, err := Rewrite(body, []policies.Rewrite{{At: at, Value: value}})
		if err != nil {
			refused(t, at, err)
			return
		}
		again, err := object(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		put(tree, strings.Split(at, "/")[1:], strings.ToValidUTF8(value, "\ufffd"))
		want(t, at, again, tree)
	})
}

// put puts a text at a place of a tree.
func put(v any, path []string, value string) {
	step := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
	next := func(old any) any {
		if len(path) == 1 {
			return value
		}
		put(old, path[1:], value)
		return old
	}
	switch v := v.(type) {
	case map[string]any:
		v[step] = next(v[step])
	case []any:
		var i int
		if json.Unmarshal([]byte(step), &i) == nil {
			v[i] = next(v[i])
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	body := []byte(strings.Replace(chatBody, "result", strings.Repeat("some words ", 90), 1))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(Chat, body); err != nil {
			b.Fatal(err)
		}
	}
}
