package wire

import (
	"net/http"
	"strings"
)

// Format is a wire format: what goes to one endpoint, and what comes back.
type Format string

// The formats.
const (
	Chat        Format = "openai.chat"
	Responses   Format = "openai.responses"
	Embeddings  Format = "openai.embeddings"
	Models      Format = "openai.models"
	Messages    Format = "anthropic.messages"
	CountTokens Format = "anthropic.count_tokens"
	Rerank      Format = "rerank"
)

// Anthropic says whether a format is of Anthropic's form.
func (f Format) Anthropic() bool { return f == Messages || f == CountTokens }

// EndpointOf says which format an endpoint has. What is not listed here is not served:
// nobody could judge what goes there.
func EndpointOf(method, path string) (Format, bool) {
	path, version := strings.CutPrefix(path, "/v1")
	if method == http.MethodGet {
		if path == "/models" {
			return Models, true
		}
		name, ok := strings.CutPrefix(path, "/models/")
		return Models, ok && plainName(name)
	}
	if method != http.MethodPost {
		return "", false
	}
	switch path {
	case "/chat/completions":
		return Chat, true
	case "/responses":
		return Responses, true
	case "/embeddings":
		return Embeddings, true
	case "/messages":
		return Messages, true
	case "/messages/count_tokens":
		return CountTokens, true
	case "/rerank":
		return Rerank, true
	case "/v2/rerank":
		return Rerank, !version
	}
	return "", false
}

// plainName says whether the name of a model can stand in a path and leads nowhere else.
func plainName(name string) bool {
	if name == "" || len(name) > 256 {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._:/@", c) >= 0:
		default:
			return false
		}
	}
	return true
}
