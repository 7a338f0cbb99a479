package frames

import "strings"

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
		d.last, d.counted = max(d.last, number), true
	}
	if !t.null(t.get(0, "error")) {
		f.Terminal = Failed
	}
	out := d.at(f, 0, "output_index")
	d.scope(0, out, 0)
	if e, ok := responseTexts[string(typ)]; ok {
		d.told(f, e, out)
		return
	}
	done := strings.HasSuffix(f.Type, ".done")
	switch f.Type {
	case "response.output_item.added", "response.output_item.done":
		if item := t.get(0, "item"); !d.item(f, item, out, done) && !done {
			// The provider makes the call, and says nothing more of what it asks for.
			f.ends = append(f.ends, Lane{Index: out, Kind: Arguments})
		}
		if done {
			f.finished = append(f.finished, out)
		}
	case "response.content_part.added", "response.content_part.done":
		d.part(f, t.get(0, "part"), Lane{Index: out, Part: d.at(f, 0, "content_index")}, done)
	case "response.reasoning_summary_part.added", "response.reasoning_summary_part.done":
		lane := Lane{Index: out, Part: d.at(f, 0, "summary_index"), Kind: Summary}
		t.plain(t.get(0, "part"))
		d.initial(f, lane, t.get(t.get(0, "part"), "text"), done)
	case "response.completed", "response.incomplete":
		f.Terminal = Done
		r := t.get(0, "response")
		if status := t.str(t.get(r, "status")); len(status) > 0 && f.Type != "response."+string(status) {
			f.breakWith("an end before the answer's end")
		}
		d.response(f, r)
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
	if e.kind == Arguments {
		if e.part != "" {
			lane.Part++ // the item itself is the first
		}
		d.argument(f, lane, "", 0, []string{e.field}, e.whole)
		return
	}
	d.piece(f, lane, t.get(0, e.field), e.whole)
	d.echo(f, t.get(0, "logprobs"), "[]", lane)
	if e.whole {
		f.ends = append(f.ends, lane)
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

// item reads an output item. It says false for a call by the provider of which nothing
// but its kind is told.
func (d *Decoder) item(f *Frame, item int32, out int, done bool) bool {
	t := &d.tree
	if !t.is(item, '{') {
		return true
	}
	d.scope(item, out, 0)
	t.plain(item)
	kind := string(t.str(t.get(item, "type")))
	told := true
	if p := (Part{Lane: Lane{Index: out, Kind: Arguments}}); isCall(t, item, kind) {
		p.Kind = strings.TrimSuffix(kind, "_call")
		d.toolName(f, &p, t.get(item, "name"))
		f.Parts = append(f.Parts, p)
		d.argument(f, p.Lane, "", item, callMembers, done)
		told = kind != "image_generation_call" && kind != "file_search_call"
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
			t.plain(p)
			d.initial(f, Lane{Index: out, Part: n, Kind: Summary}, t.get(p, "text"), done)
			n++
		}
	}
	return told
}

// callMembers are the members in which items tell what a call asks for; each has one.
var callMembers = []string{"arguments", "input", "code", "action", "operation"}

func isCall(t *tree, item int32, kind string) bool {
	if strings.HasSuffix(kind, "_call") || kind == "mcp_approval_request" {
		return true
	}
	return t.get(item, "arguments") >= 0
}

// part reads a content part.
func (d *Decoder) part(f *Frame, part int32, lane Lane, done bool) {
	t := &d.tree
	if !t.is(part, '{') {
		return
	}
	t.plain(part)
	lane.Kind = Refusal
	d.initial(f, lane, t.get(part, "refusal"), done)
	lane.Kind = Text
	if string(t.str(t.get(part, "type"))) == "reasoning_text" {
		lane.Kind = Reasoning
	}
	d.initial(f, lane, t.get(part, "text"), done)
	d.echo(f, t.get(part, "logprobs"), "[]", lane)
}

// response reads a response as a whole.
func (d *Decoder) response(f *Frame, r int32) {
	t := &d.tree
	t.plain(r)
	d.keep(slotID, t.get(r, "id"))
	d.keep(slotCreated, t.get(r, "created_at"))
	d.keep(slotModel, t.get(r, "model"))
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
