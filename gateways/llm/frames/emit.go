package frames

import "strconv"

// Emit appends an event that adds text to a lane, in the form of the stream's own
// events. It says false, and appends nothing, for a lane that has no such event: one of
// the kind Other, or one that the format does not have.
func (d *Decoder) Emit(dst []byte, lane Lane, text []byte) ([]byte, bool) {
	switch d.format {
	case Chat:
		return d.emitChat(dst, lane, text)
	case Responses:
		return d.emitResponse(dst, lane, text)
	case Messages:
		return d.emitMessage(dst, lane, text)
	}
	return dst, false
}

func (d *Decoder) emitChat(dst []byte, lane Lane, text []byte) ([]byte, bool) {
	var before string
	after := "}"
	switch {
	case lane.Kind == Text:
		before = `{"content":`
	case lane.Kind == Refusal:
		before = `{"refusal":`
	case lane.Kind == Reasoning && lane.Part >= 0 && lane.Part < len(reasoningFields):
		before = `{"` + reasoningFields[lane.Part] + `":`
	case lane.Kind == Arguments && lane.Part == oldCall:
		before, after = `{"function_call":{"arguments":`, "}}"
	case lane.Kind == Arguments:
		before = `{"tool_calls":[{"index":` + strconv.Itoa(lane.Part) + `,"function":{"arguments":`
		after = "}}]}"
	default:
		return dst, false
	}
	dst = append(dst, `data: {`...)
	dst = d.member(dst, "id", slotID)
	dst = append(dst, `"object":"chat.completion.chunk",`...)
	dst = d.member(dst, "created", slotCreated)
	dst = d.member(dst, "model", slotModel)
	dst = d.member(dst, "system_fingerprint", slotPrint)
	dst = strconv.AppendInt(append(dst, `"choices":[{"index":`...), int64(lane.Index), 10)
	dst = appendQuoted(append(append(dst, `,"delta":`...), before...), text)
	return append(append(dst, after...), `,"finish_reason":null}]}`+"\n\n"...), true
}

func (d *Decoder) member(dst []byte, name string, s slot) []byte {
	if len(d.values[s]) == 0 {
		return dst
	}
	dst = append(append(append(dst, '"'), name...), `":`...)
	return append(append(dst, d.values[s]...), ',')
}

func (d *Decoder) emitMessage(dst []byte, lane Lane, text []byte) ([]byte, bool) {
	var before string
	switch lane.Kind {
	case Text:
		before = `{"type":"text_delta","text":`
	case Arguments:
		before = `{"type":"input_json_delta","partial_json":`
	case Reasoning:
		before = `{"type":"thinking_delta","thinking":`
	default:
		return dst, false
	}
	dst = append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(lane.Index), 10)
	dst = appendQuoted(append(append(dst, `,"delta":`...), before...), text)
	return append(dst, "}}\n\n"...), true
}

func (d *Decoder) emitResponse(dst []byte, lane Lane, text []byte) ([]byte, bool) {
	typ := d.deltas[lane]
	if typ == "" {
		typ = map[Kind]string{
			Text: "response.output_text.delta", Refusal: "response.refusal.delta",
			Reasoning: "response.reasoning_text.delta", Summary: "response.reasoning_summary_text.delta",
			Arguments: "response.function_call_arguments.delta",
		}[lane.Kind]
	}
	if typ == "" {
		return dst, false
	}
	dst = append(append(append(dst, "event: "...), typ...), "\ndata: {\"type\":"...)
	dst = append(appendQuoted(dst, typ), ',')
	if id := d.items[lane.Index]; len(id) > 0 {
		dst = append(append(append(dst, `"item_id":`...), id...), ',')
	}
	dst = strconv.AppendInt(append(dst, `"output_index":`...), int64(lane.Index), 10)
	if part := responseTexts[typ].part; part != "" {
		dst = append(append(append(dst, `,"`...), part...), `":`...)
		dst = strconv.AppendInt(dst, int64(lane.Part), 10)
	}
	dst = appendQuoted(append(dst, `,"delta":`...), text)
	if lane.Kind == Text {
		dst = append(dst, `,"logprobs":[]`...)
	}
	return append(d.number(dst), "}\n\n"...), true
}

// number appends the number of an event that is added; those after it are moved up.
func (d *Decoder) number(dst []byte) []byte {
	if !d.counted {
		return dst
	}
	d.last++
	d.added++
	return strconv.AppendInt(append(dst, `,"sequence_number":`...), d.last, 10)
}

// Failure is what a client is told of a stream that is stopped. It must not repeat what
// was stopped.
type Failure struct {
	Type    string // of the error, in the words of the format; "" for a general one
	Code    string
	Message string
}

// AppendFailure ends the stream: an event that the clients of the format take for an
// error, and the format's end. Content blocks that are open are closed before it.
func (d *Decoder) AppendFailure(dst []byte, e Failure) []byte {
	if e.Type == "" {
		e.Type = "api_error"
	}
	defer func() { d.ended = Failed }()
	switch d.format {
	case Messages:
		return d.failMessage(dst, e)
	case Responses:
		return d.failResponse(dst, e)
	}
	dst = appendQuoted(append(dst, `data: {"error":{"message":`...), e.Message)
	dst = appendQuoted(append(dst, `,"type":`...), e.Type)
	dst = appendQuoted(append(dst, `,"param":null,"code":`...), e.Code)
	return append(dst, "}}\n\ndata: [DONE]\n\n"...)
}

func (d *Decoder) failMessage(dst []byte, e Failure) []byte {
	for _, index := range d.blocks {
		dst = append(dst, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
		dst = append(strconv.AppendInt(dst, int64(index), 10), "}\n\n"...)
	}
	d.blocks = d.blocks[:0]
	dst = append(dst, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"...)
	dst = appendQuoted(append(appendQuoted(dst, e.Type), `,"message":`...), e.Message)
	dst = appendQuoted(append(dst, `,"code":`...), e.Code)
	return append(dst, "}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

func (d *Decoder) failResponse(dst []byte, e Failure) []byte {
	dst = appendQuoted(append(dst, "event: error\ndata: {\"type\":\"error\",\"code\":"...), e.Code)
	dst = appendQuoted(append(dst, `,"message":`...), e.Message)
	d.counted = true // the clients ask for numbers
	dst = d.number(append(dst, `,"param":null`...))
	dst = append(dst, "}\n\nevent: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{"...)
	for _, m := range []struct {
		name, without string
		slot          slot
	}{{"id", `""`, slotID}, {"created_at", "0", slotCreated}, {"model", `""`, slotModel}} {
		if len(d.values[m.slot]) == 0 {
			d.values[m.slot] = []byte(m.without)
		}
		dst = d.member(dst, m.name, m.slot)
	}
	dst = appendQuoted(append(dst, `"object":"response","status":"failed","error":{"code":`...), e.Code)
	dst = appendQuoted(append(dst, `,"message":`...), e.Message)
	dst = append(dst, `},"incomplete_details":null,"instructions":null,"metadata":{},"output":[],`...)
	dst = append(dst, `"parallel_tool_calls":true,"temperature":null,"tool_choice":"auto","tools":[],"top_p":null,"usage":null}`...)
	return append(d.number(dst), "}\n\n"...)
}
