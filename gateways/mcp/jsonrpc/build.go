package jsonrpc

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// OneLine gives raw as one line, for transports that end messages with a newline. In
// scanned text newlines are white space between tokens and nothing else.
func OneLine(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return raw
	}
	out := bytes.Clone(raw)
	for i, c := range out {
		if c == '\n' || c == '\r' {
			out[i] = ' '
		}
	}
	return out
}

// NewFailure gives an error answer. The id "" is null; data that is no JSON is left out.
func NewFailure(id ID, code int, message string, data any) []byte {
	b := appendHead(id)
	b = strconv.AppendInt(append(b, `,"error":{"code":`...), int64(code), 10)
	b = AppendString(append(b, `,"message":`...), message)
	if data != nil {
		if text, err := json.Marshal(data); err == nil {
			b = append(append(b, `,"data":`...), text...)
		}
	}
	return append(b, "}}"...)
}

// NewResult gives an answer with the JSON text result.
func NewResult(id ID, result []byte) []byte {
	return append(append(append(appendHead(id), `,"result":`...), result...), '}')
}

// NewNotification gives a notification; params are JSON text, or nil for none.
func NewNotification(method string, params []byte) []byte {
	return appendAsk([]byte(`{"jsonrpc":"2.0"`), method, params)
}

// NewRequest gives a request; params are JSON text, or nil for none.
func NewRequest(id ID, method string, params []byte) []byte {
	return appendAsk(appendHead(id), method, params)
}

func appendHead(id ID) []byte {
	if id == "" {
		id = "null"
	}
	return append([]byte(`{"jsonrpc":"2.0","id":`), id...)
}

func appendAsk(b []byte, method string, params []byte) []byte {
	b = AppendString(append(b, `,"method":`...), method)
	if params != nil {
		b = append(append(b, `,"params":`...), params...)
	}
	return append(b, '}')
}
