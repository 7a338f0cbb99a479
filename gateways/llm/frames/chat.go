package frames

import "github.com/cabincrew/action/internal/limits"

// The fields in which servers of chats tell what the model thought; some use both in one
// event, so each is a lane.
var reasoningFields = [...]string{"reasoning_content", "reasoning"}

// oldCall is the part of the call that chats could make before there were several.
const oldCall = -1

func (d *Decoder) chat(f *Frame) {
	t := &d.tree
	if !t.null(t.get(0, "error")) {
		f.Terminal = Failed
	}
	d.keep(slotID, t.get(0, "id"))
	d.keep(slotCreated, t.get(0, "created"))
	d.keep(slotModel, t.get(0, "model"))
	d.counts(t.get(0, "usage"))
	choices := t.get(0, "choices")
	if !t.is(choices, '[') {
		return
	}
	for c := t.first(choices); c >= 0; c = t.next(choices, c) {
		index := d.at(f, c, "index")
		d.scope(c, index, 0)
		t.plain(c)
		if m := t.get(c, "message"); !t.null(t.get(m, "tool_calls")) || !t.null(t.get(m, "function_call")) {
			f.breakWith("calls in a whole message")
		}
		d.begins(f, index)
		d.delta(f, t.get(c, "delta"), index)
		d.echo(f, t.get(c, "logprobs"), "null", Lane{Index: index})
		if why := t.get(c, "finish_reason"); !t.null(why) {
			f.finishes(t.str(why))
			f.finished = append(f.finished, index)
			d.choices[index] = true
		}
	}
}

// begins notes a choice; one that has no finish when the stream ends was cut off.
func (d *Decoder) begins(f *Frame, index int) {
	if _, ok := d.choices[index]; ok {
		return
	}
	if len(d.choices) >= limits.LLMLanes {
		f.breakWith("too many choices, items or calls")
		return
	}
	d.choices[index] = false
}

// cut says that a choice has no finish.
func (d *Decoder) cut() bool {
	for _, finished := range d.choices {
		if !finished {
			return true
		}
	}
	return false
}

func (d *Decoder) delta(f *Frame, delta int32, index int) {
	t := &d.tree
	if !t.is(delta, '{') {
		return
	}
	t.plain(delta)
	t.nodes[delta].grows = true
	d.piece(f, Lane{Index: index, Kind: Text}, t.get(delta, "content"), false)
	d.piece(f, Lane{Index: index, Kind: Refusal}, t.get(delta, "refusal"), false)
	for i, name := range reasoningFields {
		d.piece(f, Lane{Index: index, Part: i, Kind: Reasoning}, t.get(delta, name), false)
	}
	if call := t.get(delta, "function_call"); t.is(call, '{') {
		lane := Lane{Index: index, Part: oldCall, Kind: Arguments}
		d.scope(call, index, oldCall)
		d.function(f, call, Part{Lane: lane})
	}
	calls := t.get(delta, "tool_calls")
	if !t.is(calls, '[') {
		return
	}
	for c := t.first(calls); c >= 0; c = t.next(calls, c) {
		lane := Lane{Index: index, Part: d.at(f, c, "index"), Kind: Arguments}
		d.scope(c, lane.Index, lane.Part)
		if !t.is(c, '{') {
			continue
		}
		t.plain(c)
		p := Part{Lane: lane, ID: string(t.str(t.get(c, "id")))}
		n := 0
		for m := t.first(c); m >= 0; m = t.next(c, m) { // function, custom, or what else there will be
			if t.is(m, '{') {
				p.Kind = string(t.key(m))
				d.function(f, m, p)
				n++
			}
		}
		if n == 0 {
			p.Kind = string(t.str(t.get(c, "type")))
			f.Parts = append(f.Parts, p)
		}
	}
}

// function reads the name and the arguments of a call.
func (d *Decoder) function(f *Frame, function int32, p Part) {
	t := &d.tree
	t.plain(function)
	d.toolName(f, &p, t.get(function, "name"))
	p.More = true
	f.Parts = append(f.Parts, p)
	d.argument(f, p.Lane, p.ID, function, []string{"arguments", "input"}, false)
}
