package frames

import (
	"math"
	"strconv"
)

func (d *Decoder) member(dst []byte, name string, s slot) []byte {
	if len(d.values[s]) == 0 {
		return dst
	}
	dst = append(append(append(dst, '"'), name...), `":`...)
	return append(append(dst, d.values[s]...), ',')
}

// number appends the number of an event that is added.
func (d *Decoder) number(dst []byte) []byte {
	if !d.counted {
		return dst
	}
	if d.last < math.MaxInt64 {
		d.last++
	}
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
