package frames

import (
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// told is how an event of a response tells a text.
type told struct {
	kind  Kind
	field string
	part  string // which member says the part; "" if there is one only
	whole bool
}

var responseTexts = map[string]told{
	"response.output_text.delta":                {Text, "delta", "content_index", false},
	"response.output_text.done":                 {Text, "text", "content_index", true},
	"response.refusal.delta":                    {Refusal, "delta", "content_index", false},
	"response.refusal.done":                     {Refusal, "refusal", "content_index", true},
	"response.reasoning_text.delta":             {Reasoning, "delta", "content_index", false},
	"response.reasoning_text.done":              {Reasoning, "text", "content_index", true},
	"response.reasoning_summary_text.delta":     {Summary, "delta", "summary_index", false},
	"response.reasoning_summary_text.done":      {Summary, "text", "summary_index", true},
	"response.function_call_arguments.delta":    {Arguments, "delta", "", false},
	"response.function_call_arguments.done":     {Arguments, "arguments", "", true},
	"response.mcp_call_arguments.delta":         {Arguments, "delta", "", false},
	"response.mcp_call_arguments.done":          {Arguments, "arguments", "", true},
	"response.custom_tool_call_input.delta":     {Arguments, "delta", "", false},
	"response.custom_tool_call_input.done":      {Arguments, "input", "", true},
	"response.code_interpreter_call_code.delta": {Arguments, "delta", "", false},
	"response.code_interpreter_call_code.done":  {Arguments, "code", "", true},
	"response.shell_call_command.delta":         {Arguments, "delta", "command_index", false},
	"response.shell_call_command.done":          {Arguments, "command", "command_index", true},
}

func (d *Decoder) responses(f *Frame) {
	t := &d.tree
	typ := d.kind(f)
	if n := t.get(0, "sequence_number"); n >= 0 {
		number, ok := t.count(n)
		if !ok {
			f.breakWith("a sequence number that is none")
		}
		from := d.place(int(t.nodes[n].from))
		f.sequence, f.number, d.counted = span{from, from + len(t.raw(n)), ""}, number, true
	}
	if !t.null(t.get(0, "error")) {
		f.Terminal = Failed
	}
	out := d.at(f, 0, "output_index")
	d.scope(0, out, 0)
	d.keep(slotItem, t.get(0, "item_id"), out)
	if e, ok := responseTexts[string(typ)]; ok {
		d.told(f, e, out)
		return
	}
	done := strings.HasSuffix(f.Type, ".done")
	switch f.Type {
	case "response.output_item.added", "response.output_item.done":
		d.item(f, t.get(0, "item"), out, done)
		if done {
			f.finished = append(f.finished, out)
		}
	case "response.content_part.added", "response.content_part.done":
		d.part(f, t.get(0, "part"), Lane{Index: out, Part: d.at(f, 0, "content_index")}, done)
	case "response.reasoning_summary_part.added", "response.reasoning_summary_part.done":
		lane := Lane{Index: out, Part: d.at(f, 0, "summary_index"), Kind: Summary}
		d.initial(f, lane, t.get(t.get(0, "part"), "text"), done)
	case "response.completed", "response.incomplete":
		f.Terminal = Done
		d.response(f, t.get(0, "response"))
	case "response.failed":
		f.Terminal = Failed
		d.response(f, t.get(0, "response"))
	case "response.created", "response.in_progress", "response.queued":
		d.response(f, t.get(0, "response"))
	case "error":
		f.Terminal = Failed
	}
}

func (d *Decoder) told(f *Frame, e told, out int) {
	t := &d.tree
	lane := Lane{Index: out, Kind: e.kind}
	if e.part != "" {
		lane.Part = d.at(f, 0, e.part)
		d.scope(0, out, lane.Part)
	}
	d.piece(f, lane, t.get(0, e.field), e.whole)
	d.echo(f, t.get(0, "logprobs"), "[]")
	if e.whole {
		f.ends = append(f.ends, lane)
		return
	}
	if old, ok := d.deltas[lane]; old != f.Type && (ok || len(d.deltas) < limits.LLMLanes) {
		d.deltas[lane] = f.Type
	}
}

// initial reports a text that stands in an item or part: at its end all of it, at its
// beginning what comes before the pieces, which mostly is nothing.
func (d *Decoder) initial(f *Frame, lane Lane, i int32, done bool) {
	if d.tree.is(i, '"') && (done || len(d.tree.inner(i)) > 0) {
		d.piece(f, lane, i, done)
		if done {
			f.ends = append(f.ends, lane)
		}
	}
}

// item reads an output item.
func (d *Decoder) item(f *Frame, item int32, out int, done bool) {
	t := &d.tree
	if !t.is(item, '{') {
		return
	}
	calls := Lane{Index: out, Kind: Arguments}
	d.scope(item, out, 0)
	d.keep(slotItem, t.get(item, "id"), out)
	d.tool(calls, t.get(item, "name"), false)
	for _, name := range []string{"arguments", "input", "code"} {
		d.initial(f, calls, t.get(item, name), done)
	}
	if list := t.get(item, "content"); t.is(list, '[') {
		n := 0
		for p := t.first(list); p >= 0; p = t.next(list, p) {
			d.part(f, p, Lane{Index: out, Part: n}, done)
			n++
		}
	}
	if list := t.get(item, "summary"); t.is(list, '[') {
		n := 0
		for p := t.first(list); p >= 0; p = t.next(list, p) {
			d.initial(f, Lane{Index: out, Part: n, Kind: Summary}, t.get(p, "text"), done)
			n++
		}
	}
}

// part reads a content part.
func (d *Decoder) part(f *Frame, part int32, lane Lane, done bool) {
	t := &d.tree
	if !t.is(part, '{') {
		return
	}
	lane.Kind = Refusal
	d.initial(f, lane, t.get(part, "refusal"), done)
	lane.Kind = Text
	if string(t.str(t.get(part, "type"))) == "reasoning_text" {
		lane.Kind = Reasoning
	}
	d.initial(f, lane, t.get(part, "text"), done)
	d.echo(f, t.get(part, "logprobs"), "[]")
}

// response reads a response as a whole.
func (d *Decoder) response(f *Frame, r int32) {
	t := &d.tree
	d.keep(slotID, t.get(r, "id"), 0)
	d.keep(slotCreated, t.get(r, "created_at"), 0)
	d.keep(slotModel, t.get(r, "model"), 0)
	d.counts(t.get(r, "usage"))
	f.finishes(t.str(t.get(t.get(r, "incomplete_details"), "reason")))
	out := t.get(r, "output")
	if !t.is(out, '[') {
		return
	}
	n := 0
	for i := t.first(out); i >= 0; i = t.next(out, i) {
		d.item(f, i, n, true)
		n++
	}
}
