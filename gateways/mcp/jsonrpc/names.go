package jsonrpc

import (
	"unicode"
	"unicode/utf8"
)

// scope says what the names of an object's members are: the protocol's, or anybody's.
type scope int

const (
	free   scope = iota // anybody's: arguments, schemas, structured content
	wire                // the protocol's, and so are those of the objects within
	params              // wire, of the params themselves
	fault               // of an error
	meta                // of _meta
)

// under gives the scope of the member key of an object of this scope; first is the
// first byte of its value.
func (in scope) under(key []byte, first byte) scope {
	if in == fault || in == meta {
		return free
	}
	switch string(key) {
	case "_meta":
		return meta
	case "arguments", "structuredContent", "inputSchema", "outputSchema", "requestedSchema",
		"metadata", "data", "experimental", "extensions", "input", "inputResponses", "inputRequests":
		return free
	case "content": // a list of blocks; or, of an elicitation, what a person filled in
		if first == '{' {
			return free
		}
	}
	return wire
}

// lookalike refuses a name that some parsers read as one of the protocol's: those that
// ignore letter case, end names at NUL, or drop what cannot be seen.
func (s *scanner) lookalike(in scope, at int, key []byte, escaped bool) *Refusal {
	if _, ok := protocolNames[string(key)]; ok {
		if escaped {
			return s.wrong(at, "lookalike_key", "the member %s is written with escapes", shown(key))
		}
		return nil
	}
	for _, c := range key {
		if c < ' ' || c == 0x7f {
			return s.wrong(at, "control_key", "the name of a member has a control character: %s", shown(key))
		}
	}
	var room [nameBytes]byte
	if like := skeletons[string(appendSkeleton(room[:0], key))]; like != "" {
		return s.wrong(at, "lookalike_key", "the member %s is read as %q by some", shown(key), like)
	}
	return nil
}

// nameBytes is longer than every name in names.
const nameBytes = 64

// appendSkeleton appends what is left of a name for a reader that ignores letter case
// (by the folding of Unicode: U+212A is k, U+017F is s), what cannot be seen, and what
// follows NUL. It stops where nothing known is as long.
func appendSkeleton(dst, key []byte) []byte {
	for i := 0; i < len(key) && len(dst) < nameBytes; {
		r, size := rune(key[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(key[i:])
		}
		i += size
		switch {
		case r == 0:
			return dst
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_':
			dst = append(dst, byte(r)) //nolint:gosec // ASCII
		case r >= 'A' && r <= 'Z':
			dst = append(dst, byte(r)+'a'-'A')
		case r == 0x212a:
			dst = append(dst, 'k')
		case r == 0x17f:
			dst = append(dst, 's')
		case r == 0x130 || r == 0x131: // İ and ı are i for those who fold as Turkish does
			dst = append(dst, 'i')
		case r <= ' ' || r == 0x7f || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		case r >= 0xff01 && r <= 0xff5e: // full width
			full := byte(r - 0xff01 + '!')
			if full >= 'A' && full <= 'Z' {
				full += 'a' - 'A'
			}
			dst = append(dst, full)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// names are the members that the protocol gives a meaning, in all revisions.
func names() []string {
	return []string{
		"jsonrpc", "id", "method", "params", "result", "error", "code", "message", "data",
		"_meta", "name", "arguments", "uri", "cursor", "nextCursor", "level", "logger", "ref", "argument", "value", "context",
		"protocolVersion", "capabilities", "clientInfo", "serverInfo", "instructions", "supportedVersions",
		"requestId", "reason", "progressToken", "progress", "total", "type", "text", "mimeType", "blob", "resource",
		"tools", "prompts", "resources", "resourceTemplates", "uriTemplate", "title", "description", "icons", "src", "sizes", "theme",
		"inputSchema", "outputSchema", "annotations", "audience", "priority", "lastModified", "size", "required",
		"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint", "execution", "taskSupport",
		"content", "contents", "structuredContent", "isError", "messages", "role", "completion", "values", "hasMore",
		"roots", "listChanged", "subscribe", "sampling", "elicitation", "logging", "completions", "experimental", "extensions",
		"includeContext", "maxTokens", "metadata", "modelPreferences", "stopSequences", "systemPrompt", "temperature",
		"toolChoice", "model", "stopReason", "hints", "costPriority", "speedPriority", "intelligencePriority", "toolUseId", "input",
		"mode", "requestedSchema", "url", "elicitationId", "elicitations", "action",
		"task", "tasks", "taskId", "ttl", "pollInterval", "status", "statusMessage", "createdAt", "lastUpdatedAt",
		"resultType", "inputRequests", "inputResponses", "requestState", "notifications", "ttlMs", "cacheScope",
		"toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "version", "websiteUrl",
		"io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/serverInfo",
		"io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel", "io.modelcontextprotocol/subscriptionId",
		"io.modelcontextprotocol/related-task", "io.modelcontextprotocol/model-immediate-response",
	}
}

// protocolNames and skeletons are made of names once and never written again.
var (
	protocolNames = func() map[string]struct{} {
		m := map[string]struct{}{}
		for _, n := range names() {
			m[n] = struct{}{}
		}
		return m
	}()
	skeletons = func() map[string]string {
		m := map[string]string{}
		for _, n := range names() {
			m[string(appendSkeleton(nil, []byte(n)))] = n
		}
		return m
	}()
)
