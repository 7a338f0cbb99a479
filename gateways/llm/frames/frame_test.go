package frames_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/llm/frames"
)

func TestLanesOfAStream(t *testing.T) {
	t.Parallel()
	chat := map[string]string{
		"0.0.1": "Hi A😀 café", "0.0.3": "think", "0.1.3": "think", "0.0.5": "no", "0.1.2": `{"city":"Ur"}`, "tool 0.1.2": "weather",
		"0.0.6/id": "chatcmpl-1", "0.0.6/model": "gpt-x", "0.0.6/system_fingerprint": "fp_1", "0.1.6/choices/#0/delta/tool_calls/#1/id": "call_1",
		"0.1.6/choices/#0/delta/tool_calls/#1/function/name": "weather", "0.0.6:comment": "hello from a proxy",
	}
	want := map[string]map[string]string{
		"chat": chat, "chat crlf": chat, "chat cr": chat, "chat in rows": chat,
		"responses": {
			"0.0.4": "because", "0.0.4=": "because", "0.0.3": "hm", "0.0.3=": "hm", "1.0.1": "Hello", "1.0.1=": "Hello", "1.1.5": "no",
			"2.0.2": `{"city":"Ur"}`, "2.0.2=": `{"city":"Ur"}`, "tool 2.0.2": "weather",
		},
		"messages": {
			"0.0.3": "let me see", "1.0.1": "Hello", "2.0.2": `{"city":"Ur"}`, "tool 2.0.2": "weather",
			"0.0.6content_block_delta/delta/signature": "EqQBCgIYAhIM",
		},
	}
	for name, s := range all() {
		events, _ := read(t, s.text)
		d := frames.NewDecoder(s.format)
		got, out := summary(d, events)
		if out != s.text {
			t.Errorf("%s: a stream that nobody changes is not the same", name)
		}
		for key, text := range want[name] {
			if got[key] != text {
				t.Errorf("%s: lane %s is %q, want %q (all: %q)", name, key, got[key], text, got)
			}
		}
		if got["broken"] != "" || d.Ended() != frames.Done || !d.Usage().Given || d.Usage().Output < 4 {
			t.Errorf("%s: broken %q, ended %v, usage %+v", name, got["broken"], d.Ended(), d.Usage())
		}
		if name[0] == 'c' && len(got) != len(chat) {
			t.Errorf("%s: lanes %q", name, got)
		}
	}
}

// TestNoTextIsPassedOver puts a word in the place of every text, name, comment and field
// of each stream: each time some piece has it, and without that piece the event has not.
func TestNoTextIsPassedOver(t *testing.T) {
	t.Parallel()
	const secret = "zz-secret-zz"
	found := 0
	for name, s := range all() {
		events, _ := read(t, s.text)
		for at, ev := range events {
			for i := range ev {
				if i == 0 || ev[i-1] != '"' && ev[i-1] != ' ' {
					continue
				}
				d := frames.NewDecoder(s.format)
				for _, before := range events[:at] {
					d.Decode([]byte(before))
				}
				f := d.Decode([]byte(ev[:i] + secret + ev[i:]))
				if f.Broken != "" {
					continue
				}
				out := ev[:i] + secret + ev[i:]
				for _, p := range f.Pieces {
					if strings.Contains(string(p.Text), secret) {
						found++
						out = out[:p.From] + strings.Repeat("x", p.To-p.From) + out[p.To:]
					}
				}
				if strings.Contains(out, secret) {
					t.Fatalf("%s: unseen in %s", name, out)
				}
			}
		}
	}
	if found < 500 {
		t.Errorf("the word was in %d places only", found)
	}
}

func TestPiecesStandWhereTheySay(t *testing.T) {
	t.Parallel()
	ev := chatEvent(`{"content":"a secret","x_new":"kept"}`, "null")
	f := frames.NewDecoder(frames.Chat).Decode([]byte(ev))
	for i, p := range f.Pieces {
		if got := ev[p.From:p.To]; got != `"`+string(p.Text)+`"` {
			t.Errorf("piece %d stands at %q", i, got)
		}
	}
	text := []byte("a \"b\"\n\x01\xff")
	if got := frames.AppendUnquoted(nil, frames.AppendQuoted(nil, text)); string(got) != "a \"b\"\n\x01\ufffd" {
		t.Errorf("%q", got)
	}
}

// TestProbabilitiesRepeatTheText: tokens that say something else than the text are told of.
func TestProbabilitiesRepeatTheText(t *testing.T) {
	t.Parallel()
	for tokens, odd := range map[string]bool{
		`[{"token":"sec","logprob":-0.1,"top_logprobs":[]}]`:   false,
		`[{"token":"s"},{"token":"ec"}]`:                       false,
		`[{"token":"s"},{"token":"ecret"}]`:                    true,
		`[{"token":"s"}]`:                                      true,
		`[{"token":null},{"token":"sec"}]`:                     true,
		`"sec"`:                                                true,
		`[{"token":"sec"},{"other":"AKIA"},{"token":"-more"}]`: true,
	} {
		ev := strings.Replace(chatEvent(`{"content":"sec"}`, "null"), `"logprobs":null`, `"logprobs":{"content":`+tokens+`}`, 1)
		f := frames.NewDecoder(frames.Chat).Decode([]byte(ev))
		if len(f.Echoes) != 1 || f.Echoes[0].Odd != odd || ev[f.Echoes[0].From:f.Echoes[0].To] != `{"content":`+tokens+`}` {
			t.Errorf("%s: %+v", tokens, f.Echoes)
		}
	}
}

// TestWhatClientsPutTogether: a word of the format is no value of its own where clients
// put texts together.
func TestWhatClientsPutTogether(t *testing.T) {
	t.Parallel()
	for delta, want := range map[string]bool{
		`{"note":"tool"}`:                            true,
		`{"content":["tool"]}`:                       true,
		`{"reasoning_details":[{"status":"low"}]}`:   true,
		`{"reasoning_details":[{"type":"text"}]}`:    true,
		`{"role":"tool"}`:                            false,
		`{"tool_calls":[{"index":0,"type":"text"}]}`: false,
	} {
		f := frames.NewDecoder(frames.Chat).Decode([]byte(chatEvent(delta, "null")))
		got := false
		for _, p := range f.Pieces {
			got = got || p.Joined && strings.Contains(p.Lane.Name, "/delta/")
		}
		if got != want {
			t.Errorf("%s: %v", delta, got)
		}
	}
}

func TestAStoppedStreamEndsWithAnError(t *testing.T) {
	t.Parallel()
	for name, s := range all() {
		events, _ := read(t, s.text)
		for stop := range events {
			d := frames.NewDecoder(s.format)
			d2 := frames.NewDecoder(s.format)
			var out []byte
			for _, ev := range events[:stop] {
				d.Decode([]byte(ev))
				out = append(out, ev...)
			}
			if d.Ended() != frames.Open {
				continue
			}
			out = d.AppendFailure(out, frames.Failure{Code: "CC_X", Message: `stopped "here"`})
			got, rest := read(t, string(out))
			_, same := summary(d2, got)
			if rest != "" || same != string(out) || d2.Ended() != frames.Failed {
				t.Errorf("%s stopped at %d: %q, ended %v", name, stop, got, d2.Ended())
			}
			if s.format == frames.Messages && strings.Count(string(out), "event: content_block_stop") != strings.Count(string(out), "event: content_block_start") {
				t.Errorf("%s stopped at %d leaves a block open: %s", name, stop, out)
			}
			last := map[frames.Format]string{frames.Chat: "data: [DONE]\n\n", frames.Messages: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"}[s.format]
			if !strings.HasSuffix(string(out), last) || s.format == frames.Responses && !strings.Contains(got[len(got)-1], `"type":"response.failed"`) {
				t.Errorf("%s ends with %s", name, got[len(got)-1])
			}
		}
	}
}

func TestBrokenEvents(t *testing.T) {
	t.Parallel()
	for text, format := range map[string]frames.Format{
		"data: {\"a\":1,\"a\":2}\n\n":                                 frames.Chat,
		"data: {\"a\":1,\"\\u0061\":2}\n\n":                           frames.Chat,
		"data: {\"a\":}\n\n":                                          frames.Chat,
		"data: {} {}\n\n":                                             frames.Chat,
		"data: [DONE] and more\n\n":                                   frames.Chat,
		"data: \"text\"\n\n":                                          frames.Chat,
		"data: {\"a\":\"\xff\"}\n\n":                                  frames.Chat,
		"data: {\"a\":\"\\x\"}\n\n":                                   frames.Chat,
		"data: {\"a\":01}\n\n":                                        frames.Chat,
		"\xef\xbb\xbfdata: {}\n\n":                                    frames.Chat,
		"event: a\nevent: b\ndata: {}\n\n":                            frames.Chat,
		"data: {\"choices\":[{\"index\":-1}]}\n\n":                    frames.Chat,
		"data: {\"choices\":[{\"index\":1.5}]}\n\n":                   frames.Chat,
		"data: " + strings.Repeat("[", 100) + "\n\n":                  frames.Chat,
		"data: {\"x\":1}\n\n":                                         frames.Messages,
		"event: ping\ndata: {\"type\":\"message_stop\"}\n\n":          frames.Messages,
		"data: [DONE]\n\n":                                            frames.Responses,
		"event: error\ndata: {\"type\":\"response.completed\"}\n\n":   frames.Responses,
		"data: {\"type\":\"error\",\"sequence_number\":\"text\"}\n\n": frames.Responses,
	} {
		if f := frames.NewDecoder(format).Decode([]byte(text)); f.Broken == "" {
			t.Errorf("taken: %q", text)
		}
	}
	d := frames.NewDecoder(frames.Chat)
	d.Decode([]byte("data: [DONE]\n\n"))
	if f := d.Decode([]byte(chatEvent(`{"content":"late"}`, "null"))); f.Broken == "" {
		t.Error("an event after the end is taken")
	}
}

// told gives the calls that a stream makes, as they are judged.
func told(t *testing.T, format frames.Format, text string) (out []string, err error) {
	t.Helper()
	events, _ := read(t, text)
	d, calls := frames.NewDecoder(format), frames.NewCalls(1000)
	for _, ev := range events {
		f := d.Decode([]byte(ev))
		if f.Broken != "" {
			return out, errors.New(f.Broken)
		}
		for i := range f.Parts {
			if err := calls.Add(&f.Parts[i]); err != nil {
				return out, err
			}
		}
		for _, c := range calls.Ended(f) {
			out = append(out, strings.Join(c.Tools(), "|")+" "+string(c.Text)+string(bytes.Join(c.Values, []byte("|"))))
		}
	}
	if calls.Open() != 0 {
		t.Errorf("%d calls are open at the end", calls.Open())
	}
	return out, nil
}

func TestCallsAreHeldWhole(t *testing.T) {
	t.Parallel()
	for name, s := range all() {
		got, err := told(t, s.format, s.text)
		want := `weather {"city":"Ur"}`
		if s.format == frames.Chat { // the name comes in two parts
			want = `weather|weath|er {"city":"Ur"}`
		}
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	calls := frames.NewCalls(4)
	for _, p := range []frames.Part{{Text: []byte("12345")}, {Name: "12345"}, {Value: []byte("12345")}} {
		if err := calls.Add(&p); err == nil {
			t.Error("too much was held")
		}
	}
}

// TestCallsHoweverTheyAreTold: a call is a call without arguments in parts too, and no
// two readings of it are told apart by clients.
func TestCallsHoweverTheyAreTold(t *testing.T) {
	t.Parallel()
	chat := func(deltas ...string) string {
		var b strings.Builder
		for _, d := range deltas {
			if d == "stop" {
				b.WriteString(chatEvent(`{}`, `"tool_calls"`))
				continue
			}
			b.WriteString(chatEvent(d, "null"))
		}
		return b.String() + chatEvent(`{}`, `"tool_calls"`) + "data: [DONE]\n\n"
	}
	call := func(index int, rest string) string {
		return fmt.Sprintf(`{"tool_calls":[{"index":%d,%s}]}`, index, rest)
	}
	message := func(start string, deltas ...string) string {
		out := named("message_start", `,"message":{"content":[]}`) + named("content_block_start", `,"index":0,"content_block":`+start)
		for _, d := range deltas {
			if d == "stop" {
				out += named("content_block_stop", `,"index":0`)
				continue
			}
			out += named("content_block_delta", `,"index":0,"delta":`+d)
		}
		return out + named("content_block_stop", `,"index":0`) + named("message_delta", `,"delta":{"stop_reason":"tool_use"}`) + named("message_stop", "")
	}
	item := func(items ...string) string {
		out, done := "", ""
		for i, it := range items {
			if strings.HasPrefix(it, "response.") {
				typ, rest, _ := strings.Cut(it, " ")
				out += named(typ, `,"output_index":0,`+rest)
				continue
			}
			if done != "" {
				done += ","
			}
			done += it
			out += named("response.output_item.done", fmt.Sprintf(`,"output_index":%d,"item":`, min(i, 0))+it)
		}
		return out + named("response.completed", `,"response":{"status":"completed","output":[`+done+`]}`)
	}
	delta := func(text string) string {
		return `{"type":"input_json_delta","partial_json":` + strconv.Quote(text) + `}`
	}
	for name, c := range map[string]struct {
		format frames.Format
		text   string
		want   string // the calls; "" for an error
	}{
		"name only":        {frames.Chat, chat(call(0, `"function":{"name":"run"}`)), "run "},
		"without function": {frames.Chat, chat(call(0, `"type":"odd"`)), "odd "},
		"custom":           {frames.Chat, chat(call(0, `"custom":{"name":"run","input":"rm"}`)), "run rm"},
		"legacy":           {frames.Chat, chat(`{"function_call":{"name":"run"}}`), "run "},
		"object":           {frames.Chat, chat(call(0, `"function":{"name":"run","arguments":{"a":1}}`)), `run {"a":1}`},
		"name in parts":    {frames.Chat, chat(call(0, `"function":{"name":"run","arguments":"{}"}`), call(0, `"function":{"name":"_all"}`)), "run_all|run|_all {}"},
		"by id": {
			frames.Chat, chat(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"ls","arguments":"{\"a\":1}"}}]}`), `run {};ls {"a":1}`,
		},
		"by id, mixed":        {frames.Chat, chat(call(0, `"id":"a","function":{"name":"run","arguments":"{\"a\":"}`), call(0, `"id":"b","function":{"arguments":"1}"}`)), ""},
		"two places":          {frames.Chat, chat(call(0, `"function":{"name":"run","arguments":"{}","input":"x"}`)), ""},
		"resumed":             {frames.Chat, chat(call(0, `"function":{"name":"run","arguments":"{\"a\":"}`), "stop", call(0, `"function":{"arguments":"1}"}`)), ""},
		"whole message":       {frames.Chat, `data: {"choices":[{"index":0,"message":{"tool_calls":[{"function":{"name":"run"}}]}}]}` + "\n\n", ""},
		"no input":            {frames.Messages, message(`{"type":"tool_use","name":"run","input":{}}`), "run {}"},
		"input at the start":  {frames.Messages, message(`{"type":"tool_use","name":"run","input":{"a":1}}`), `run {"a":1}`},
		"input twice":         {frames.Messages, message(`{"type":"tool_use","name":"run","input":{"a":1}}`, delta("{}")), `run {}{"a":1}`},
		"name in a delta":     {frames.Messages, message(`{"type":"tool_use","name":"run","input":{}}`, `{"type":"input_json_delta","partial_json":"{}","name":"ls"}`), "run {}"},
		"server tool":         {frames.Messages, message(`{"type":"server_tool_use","name":"web_search","input":{}}`), "web_search {}"},
		"resumed block":       {frames.Messages, message(`{"type":"tool_use","name":"run","input":{}}`, delta(`{"a":`), "stop", delta(`1}`)), ""},
		"item":                {frames.Responses, item(`{"type":"function_call","name":"run"}`), "run "},
		"item with an object": {frames.Responses, item(`{"type":"function_call","name":"run","arguments":{"a":1}}`), `run {"a":1}`},
		"shell":               {frames.Responses, item(`{"type":"local_shell_call","action":{"command":["rm"]}}`), `local_shell {"command":["rm"]}`},
		"web search":          {frames.Responses, item(`{"type":"web_search_call"}`), "web_search "},
		"item in two places":  {frames.Responses, item(`{"type":"function_call","name":"run","arguments":"{}","input":"x"}`), ""},
		"other words":         {frames.Responses, item(`response.function_call_arguments.delta "delta":"{\"a\":1}"`, `response.function_call_arguments.done "arguments":"{}"`), ""},
		"other item":          {frames.Responses, item(`response.function_call_arguments.delta "delta":"{\"a\":1}"`, `{"type":"function_call","name":"run","arguments":"{}"}`), ""},
		"other name": {
			frames.Responses, named("response.output_item.done", `,"output_index":0,"item":{"type":"function_call","name":"run","arguments":"{}"}`) +
				named("response.completed", `,"response":{"output":[{"type":"function_call","name":"ls","arguments":"{}"}]}`), "",
		},
	} {
		got, err := told(t, c.format, c.text)
		if (err == nil) != (c.want != "") || err == nil && strings.Join(got, ";") != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestCutAnswersAreNoEnds: the format's end without the answer's is none.
func TestCutAnswersAreNoEnds(t *testing.T) {
	t.Parallel()
	for text, format := range map[string]frames.Format{
		chatEvent(`{"content":"half"}`, "null") + "data: [DONE]\n\n":                    frames.Chat,
		named("message_start", `,"message":{"content":[]}`) + named("message_stop", ""): frames.Messages,
		named("message_start", `,"message":{"content":[{"type":"text","text":"a"}]}`):   frames.Messages,
		named("response.completed", `,"response":{"status":"in_progress"}`):             frames.Responses,
		named("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`) + named("message_delta", `,"delta":{"stop_reason":"end_turn"}`) + named("message_stop", ""): frames.Messages,
	} {
		if _, err := told(t, format, text); err == nil {
			t.Errorf("taken: %s", text)
		}
	}
}

func TestManyLanesAreRefused(t *testing.T) {
	t.Parallel()
	d, broken := frames.NewDecoder(frames.Chat), 0
	for i := range 2000 {
		if d.Decode(fmt.Appendf(nil, "data: {\"k%d\":\"v\",\"choices\":[{\"index\":%d,\"delta\":{\"content\":\"a\"}}]}\n\n", i, i)).Broken != "" {
			broken++
		}
	}
	if broken == 0 || broken > 1000 {
		t.Errorf("%d of 2000 events with another choice each are refused", broken)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for n, want := range []int{0, 1, 1, 3, 4, 4, 4, 4, 8, 8} {
		if got := frames.Cut([]byte("aéb😀"), n); got != want {
			t.Errorf("cut at %d is %d, want %d", n, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range all() {
		events, _ := read(f, s.text)
		for _, ev := range events {
			f.Add([]byte(ev), uint8(s.format))
		}
	}
	f.Fuzz(func(t *testing.T, event []byte, format uint8) {
		d := frames.NewDecoder(frames.Format(format%3 + 1))
		fr := d.Decode(event)
		for _, p := range fr.Pieces {
			if p.From < 0 || p.To > len(event) || p.From >= p.To {
				t.Fatalf("a piece at %d to %d", p.From, p.To)
			}
			if !p.Raw && p.Lane.Kind != 0 && string(frames.AppendUnquoted(nil, event[p.From:p.To])) != string(p.Text) {
				t.Fatalf("a piece that is not what stands at its place: %q", p.Text)
			}
		}
		for _, e := range fr.Echoes {
			if e.From < 0 || e.To > len(event) || e.From >= e.To {
				t.Fatalf("an echo at %d to %d", e.From, e.To)
			}
		}
		calls := frames.NewCalls(1 << 20)
		for i := range fr.Parts {
			if calls.Add(&fr.Parts[i]) != nil {
				break
			}
		}
		calls.Ended(fr)
		d.AppendFailure(nil, frames.Failure{})
	})
}
