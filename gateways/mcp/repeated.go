package mcp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
)

// headerParam begins the names of the headers that repeat arguments (revision 2026-07-28).
const headerParam = "Mcp-Param-"

var errTarget = errors.New("what a request calls cannot be rewritten")

// target is what a request calls: a tool, a prompt, a resource or a task.
func target(m jsonrpc.Message) string {
	var path []string
	switch m.Method {
	case methodCall, methodPrompt:
		path = []string{"name"}
	case methodRead, "resources/subscribe", "resources/unsubscribe":
		path = []string{"uri"}
	case "tasks/get", "tasks/update", "tasks/cancel", "tasks/result":
		path = []string{"taskId"}
	case "completion/complete":
		path = []string{"ref"}
	default:
		return ""
	}
	if m.Params == nil {
		return ""
	}
	raw, _ := jsonrpc.Lookup(m.Params, path...)
	return string(raw)
}

// realigned gives the headers of a request that was rewritten: those that repeat its
// arguments repeat what the arguments say now, so that nobody who reads headers reads
// what was taken out. Those that repeat what is not there any more are dropped.
func realigned(h http.Header, was, now jsonrpc.Message) (http.Header, error) {
	var out http.Header
	for name, values := range h {
		if !strings.HasPrefix(name, headerParam) {
			continue
		}
		if out == nil {
			out = h.Clone()
		}
		value, err := repeatedNow(values, was, now)
		if err != nil {
			return nil, errors.New("it cannot be told which argument the header " + name + " repeats")
		}
		if value == "" {
			out.Del(name)
			continue
		}
		out[name] = []string{value}
	}
	if out == nil {
		return h, nil
	}
	return out, nil
}

// repeatedNow gives what a header that repeated an argument of one message says of the
// other; "" is that the argument is gone, or is nothing that a header repeats.
func repeatedNow(values []string, was, now jsonrpc.Message) (string, error) {
	if len(values) != 1 {
		return "", errors.New("not one value")
	}
	said, ok := headerText(values[0])
	if !ok {
		return "", errors.New("no valid Base64")
	}
	var out []string
	if arguments, ok := jsonrpc.Lookup(was.Params, "arguments"); ok {
		saying(arguments, []string{"arguments"}, said, func(path []string) {
			value, _ := jsonrpc.Lookup(now.Params, path...)
			if text := headerValue(value); !slices.Contains(out, text) {
				out = append(out, text)
			}
		})
	}
	if len(out) != 1 {
		return "", errors.New("none or several")
	}
	return out[0], nil
}

// saying visits the members of an object, and of those within, that say a text.
func saying(object []byte, path []string, said string, visit func(path []string)) {
	_ = jsonrpc.Members(object, func(key string, _ int, value []byte) bool {
		here := append(slices.Clip(path), key)
		if value[0] == '{' {
			saying(value, here, said, visit)
		} else if says(value, said) {
			visit(here)
		}
		return true
	})
}

func says(value []byte, said string) bool {
	switch value[0] {
	case '[', 'n':
		return false
	case '"':
		text, ok := jsonrpc.Text(value)
		return ok && text == said
	case 't', 'f':
		return string(value) == said
	}
	if string(value) == said {
		return true
	}
	a, err := strconv.ParseFloat(string(value), 64)
	b, err2 := strconv.ParseFloat(said, 64)
	return err == nil && err2 == nil && a == b
}

// headerValue writes a value for a header; "" where headers cannot repeat it.
func headerValue(value []byte) string {
	if len(value) == 0 {
		return ""
	}
	switch value[0] {
	case '{', '[', 'n':
		return ""
	case '"':
		text, _ := jsonrpc.Text(value)
		if needsBase64(text) {
			return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?="
		}
		return text
	case 't', 'f':
		return string(value)
	}
	if bytes.ContainsAny(value, ".eE") {
		return "" // only integers are repeated
	}
	return string(value)
}

// needsBase64 says whether a text cannot stand in a header as it is.
func needsBase64(text string) bool {
	if text != strings.Trim(text, " \t") || strings.HasPrefix(text, "=?base64?") {
		return true
	}
	for i := range len(text) {
		if text[i] < 0x20 || text[i] > 0x7e {
			return true
		}
	}
	return false
}

// headerText reads a value that may be written in Base64.
func headerText(value string) (string, bool) {
	text, ok := strings.CutPrefix(value, "=?base64?")
	if !ok {
		return value, true
	}
	if text, ok = strings.CutSuffix(text, "?="); !ok {
		return value, true
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	return string(raw), err == nil
}
