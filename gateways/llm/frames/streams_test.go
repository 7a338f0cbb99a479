package frames_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/llm/frames"
)

func chatEvent(delta, finish string) string {
	return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-x","system_fingerprint":"fp_1","choices":[{"index":0,"delta":` +
		delta + `,"logprobs":null,"finish_reason":` + finish + "}]}\n\n"
}

func chatStream() string {
	return ": hello from a proxy\n\n" + chatEvent(`{"role":"assistant","content":""}`, "null") +
		chatEvent(`{"content":"Hi \u0041\ud83d\ude00 caf`+"é"+`"}`, "null") +
		chatEvent(`{"reasoning_content":"think","reasoning":"think"}`, "null") +
		chatEvent(`{"refusal":"no"}`, "null") +
		chatEvent(`{"tool_calls":[{"index":1,"id":"call_1","type":"function","function":{"name":"weath","arguments":""}}]}`, "null") +
		chatEvent(`{"tool_calls":[{"index":1,"function":{"name":"er","arguments":"{\"city\":"}}]}`, "null") +
		chatEvent(`{"tool_calls":[{"index":1,"function":{"arguments":"\"Ur\"}"}}]}`, "null") +
		chatEvent(`{}`, `"tool_calls"`) +
		`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-x","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":2}}}` + "\n\ndata: [DONE]\n\n"
}

func named(typ, rest string) string {
	return "event: " + typ + "\r\ndata: {\"type\":\"" + typ + `"` + rest + "}\r\n\r\n"
}

func responsesStream() string {
	n := 0
	ev := func(typ, rest string) string {
		n++
		return named(typ, fmt.Sprintf(`,"sequence_number":%d%s`, n-1, rest))
	}
	response := func(status, output string) string {
		return `,"response":{"id":"resp_1","object":"response","created_at":1700000000,"status":"` + status + `","model":"gpt-x","output":` + output +
			`,"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7,"output_tokens_details":{"reasoning_tokens":1}}}`
	}
	return ev("response.created", response("in_progress", "[]")) +
		ev("response.output_item.added", `,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}`) +
		ev("response.reasoning_summary_text.delta", `,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"because"`) +
		ev("response.reasoning_summary_text.done", `,"item_id":"rs_1","output_index":0,"summary_index":0,"text":"because"`) +
		ev("response.reasoning_text.delta", `,"item_id":"rs_1","output_index":0,"content_index":0,"delta":"hm"`) +
		ev("response.output_item.done", `,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"because"}],"content":[{"type":"reasoning_text","text":"hm"}]}`) +
		ev("response.output_item.added", `,"output_index":1,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}`) +
		ev("response.content_part.added", `,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}`) +
		ev("response.output_text.delta", `,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"Hel","logprobs":[]`) +
		ev("response.output_text.delta", `,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"lo","logprobs":[]`) +
		ev("response.refusal.delta", `,"item_id":"msg_1","output_index":1,"content_index":1,"delta":"no"`) +
		ev("response.output_text.done", `,"item_id":"msg_1","output_index":1,"content_index":0,"text":"Hello","logprobs":[]`) +
		ev("response.content_part.done", `,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"Hello","annotations":[]}`) +
		ev("response.output_item.added", `,"output_index":2,"item":{"id":"fc_1","type":"function_call","call_id":"call_1","name":"weather","arguments":""}`) +
		ev("response.function_call_arguments.delta", `,"item_id":"fc_1","output_index":2,"delta":"{\"city\""`) +
		ev("response.function_call_arguments.delta", `,"item_id":"fc_1","output_index":2,"delta":":\"Ur\"}"`) +
		ev("response.function_call_arguments.done", `,"item_id":"fc_1","output_index":2,"arguments":"{\"city\":\"Ur\"}"`) +
		ev("response.completed", response("completed", `[{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"because"}]},{"id":"msg_1","type":"message","content":[{"type":"output_text","text":"Hello","annotations":[]}]},{"id":"fc_1","type":"function_call","name":"weather","arguments":"{\"city\":\"Ur\"}"}]`))
}

func messagesStream() string {
	return named("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"output_tokens":1}}`) +
		named("content_block_start", `,"index":0,"content_block":{"type":"thinking","thinking":"","signature":""}`) +
		named("content_block_delta", `,"index":0,"delta":{"type":"thinking_delta","thinking":"let me see"}`) +
		named("content_block_delta", `,"index":0,"delta":{"type":"signature_delta","signature":"EqQBCgIYAhIM"}`) +
		named("content_block_stop", `,"index":0`) + named("ping", "") +
		named("content_block_start", `,"index":1,"content_block":{"type":"text","text":""}`) +
		named("content_block_delta", `,"index":1,"delta":{"type":"text_delta","text":"Hello"}`) +
		named("content_block_stop", `,"index":1`) +
		named("content_block_start", `,"index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}`) +
		named("content_block_delta", `,"index":2,"delta":{"type":"input_json_delta","partial_json":"{\"city\":"}`) +
		named("content_block_delta", `,"index":2,"delta":{"type":"input_json_delta","partial_json":"\"Ur\"}"}`) +
		named("content_block_stop", `,"index":2`) +
		named("message_delta", `,"delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}`) +
		named("message_stop", "")
}

type stream struct {
	format frames.Format
	text   string
}

func all() map[string]stream {
	chat := chatStream()
	return map[string]stream{
		"chat":         {frames.Chat, chat},
		"chat crlf":    {frames.Chat, strings.ReplaceAll(chat, "\n", "\r\n")},
		"chat cr":      {frames.Chat, strings.ReplaceAll(chat, "\n", "\r")},
		"chat in rows": {frames.Chat, strings.ReplaceAll(chat, `,"choices"`, ",\ndata:\"choices\"")},
		"responses":    {frames.Responses, responsesStream()},
		"messages":     {frames.Messages, messagesStream()},
	}
}

// read feeds chunks and gives the events; the bytes that are left are the last return.
func read(t testing.TB, chunks ...string) (events []string, rest string) {
	t.Helper()
	r := frames.NewReader(0)
	next := func() {
		for {
			ev, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if ev == nil {
				return
			}
			events = append(events, string(ev))
		}
	}
	for _, c := range chunks {
		r.Feed([]byte(c))
		next()
	}
	r.End()
	next()
	return events, string(r.Rest())
}

// summary decodes events and says what is in them.
func summary(d *frames.Decoder, events []string) (texts map[string]string, out string) {
	texts = map[string]string{}
	for _, ev := range events {
		f := d.Decode([]byte(ev))
		if f.Broken != "" {
			texts["broken"] += f.Broken + ";"
		}
		for _, p := range f.Pieces {
			key := fmt.Sprintf("%d.%d.%d%s", p.Lane.Index, p.Lane.Part, p.Lane.Kind, p.Lane.Name)
			if p.Whole {
				key += "="
				texts[key] = ""
			}
			if !p.Same {
				texts[key] += string(p.Text)
			}
		}
		for _, p := range f.Parts {
			if p.Name != "" && !strings.HasSuffix(texts[fmt.Sprintf("tool %d.%d.%d", p.Lane.Index, p.Lane.Part, p.Lane.Kind)], p.Name) {
				texts[fmt.Sprintf("tool %d.%d.%d", p.Lane.Index, p.Lane.Part, p.Lane.Kind)] += p.Name
			}
		}
		out += ev
	}
	return texts, out
}
