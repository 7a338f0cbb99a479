package mcp

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// blobBytes is from which length on base64 counts as the bytes of a picture, a sound or
// a file: what is shorter is read like any text, too.
const blobBytes = 256

// nature says what a text of a result is.
type nature int

const (
	plainText nature = iota
	textBlob         // base64 of what its item says is text, or says nothing of
	byteBlob         // base64 of what its item says is none
)

// natureOf says what stands at a place of a result: base64 stands only where the
// protocol has it, in pictures, sounds and resources. Everywhere else text is text.
func natureOf(tree any, at string) nature {
	steps := strings.Split(strings.TrimPrefix(at, "/"), "/")
	last := steps[len(steps)-1]
	parent := strings.TrimSuffix(at, "/"+last)
	steps = steps[:len(steps)-1]
	switch last {
	case "data":
		if !isItem(steps) {
			return plainText
		}
		item, _ := get(tree, parent).(map[string]any)
		kind, _ := item["type"].(string)
		mime := mimeOf(item)
		if (kind == "image" || kind == "audio") && strings.HasPrefix(mime, kind+"/") && !textual(mime) {
			return byteBlob
		}
		return textBlob
	case "blob":
		n := len(steps)
		if !(n == 2 && steps[0] == "contents" || n > 1 && steps[n-1] == "resource" && isItem(steps[:n-1])) {
			return plainText
		}
		item, _ := get(tree, parent).(map[string]any)
		if textual(mimeOf(item)) {
			return textBlob
		}
		return byteBlob
	}
	return plainText
}

// isItem says whether steps lead to an item of content: of a tool's result, of a
// prompt's message, or of what a model said.
func isItem(steps []string) bool {
	n := len(steps)
	switch {
	case n > 2 && steps[0] == "messages":
		return steps[2] == "content" && n <= 4
	case n > 0 && steps[0] == "content":
		return n <= 2
	}
	return false
}

func mimeOf(item map[string]any) string {
	mime, _ := item["mimeType"].(string)
	mime, _, _ = strings.Cut(strings.ToLower(mime), ";")
	return strings.TrimSpace(mime)
}

// textual says whether a media type is of text. What is not said may be text.
func textual(mime string) bool {
	kind, sub, ok := strings.Cut(mime, "/")
	if !ok || kind == "text" || kind == "message" || kind == "multipart" {
		return true
	}
	for _, part := range []string{"json", "xml", "yaml", "toml", "script", "text", "sql", "pem", "x-sh", "form-urlencoded", "svg", "csv"} {
		if strings.Contains(sub, part) {
			return true
		}
	}
	return false
}

// unbase64 decodes base64 in any of its forms.
func unbase64(value string) ([]byte, bool) {
	encoding := base64.StdEncoding
	if strings.ContainsAny(value, "-_") {
		encoding = base64.URLEncoding
	}
	if out, err := encoding.DecodeString(value); err == nil {
		return out, true
	}
	out, err := encoding.WithPadding(base64.NoPadding).DecodeString(value)
	return out, err == nil
}

// blob gives what a text in base64 says to those who decode it, and whether the text
// itself is read, too. Bytes that are no text are left out, and told by their number.
func (m *matter) blob(at, value string) (decoded string, read bool) {
	n := natureOf(m.tree, at)
	if n == plainText {
		return "", true
	}
	raw, ok := unbase64(value)
	if !ok {
		return "", true
	}
	// Whatever an item says of itself: what is all text is read as text.
	if text := utf8.Valid(raw) && bytes.IndexByte(raw, 0) < 0; n == byteBlob && !text {
		if len(value) < blobBytes {
			return "", true
		}
		put(m.tree, at, "base64, "+strconv.Itoa(len(value))+" characters")
		return "", false
	}
	return strings.ToValidUTF8(string(raw), "\uFFFD"), true
}

// get gives the value at a pointer of a tree.
func get(tree any, at string) any {
	if at == "" {
		return tree
	}
	for step := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
		switch node := tree.(type) {
		case map[string]any:
			tree = node[strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n < 0 || n >= len(node) {
				return nil
			}
			tree = node[n]
		default:
			return nil
		}
	}
	return tree
}
