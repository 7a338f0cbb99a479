package frames

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
	d.keep(slotID, t.get(0, "id"), 0)
	d.keep(slotCreated, t.get(0, "created"), 0)
	d.keep(slotModel, t.get(0, "model"), 0)
	d.keep(slotPrint, t.get(0, "system_fingerprint"), 0)
	d.counts(t.get(0, "usage"))
	choices := t.get(0, "choices")
	if !t.is(choices, '[') {
		return
	}
	for c := t.first(choices); c >= 0; c = t.next(choices, c) {
		index := d.at(f, c, "index")
		d.scope(c, index, 0)
		d.delta(f, t.get(c, "delta"), index)
		d.echo(f, t.get(c, "logprobs"), "null")
		if why := t.get(c, "finish_reason"); !t.null(why) {
			f.finishes(t.str(why))
			f.finished = append(f.finished, index)
		}
	}
}

func (d *Decoder) delta(f *Frame, delta int32, index int) {
	t := &d.tree
	if !t.is(delta, '{') {
		return
	}
	d.piece(f, Lane{Index: index, Kind: Text}, t.get(delta, "content"), false)
	d.piece(f, Lane{Index: index, Kind: Refusal}, t.get(delta, "refusal"), false)
	for i, name := range reasoningFields {
		d.piece(f, Lane{Index: index, Part: i, Kind: Reasoning}, t.get(delta, name), false)
	}
	if call := t.get(delta, "function_call"); t.is(call, '{') {
		d.call(f, call, call, Lane{Index: index, Part: oldCall, Kind: Arguments})
	}
	calls := t.get(delta, "tool_calls")
	if !t.is(calls, '[') {
		return
	}
	for c := t.first(calls); c >= 0; c = t.next(calls, c) {
		d.call(f, c, t.get(c, "function"), Lane{Index: index, Part: d.at(f, c, "index"), Kind: Arguments})
	}
}

func (d *Decoder) call(f *Frame, whole, function int32, lane Lane) {
	d.scope(whole, lane.Index, lane.Part)
	if d.tree.is(function, '{') {
		d.tool(lane, d.tree.get(function, "name"), true)
		d.piece(f, lane, d.tree.get(function, "arguments"), false)
	}
}
