package jsonrpc

import (
	"fmt"
	"strings"
)

// The codes of JSON-RPC for messages that are refused.
const (
	CodeParse          = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603
)

// Refusal says why a message is none.
type Refusal struct { //nolint:errname // the refusal is an answer as well as an error
	Code string // such as "duplicate_key"; stable
	RPC  int    // CodeParse or CodeInvalidRequest
	At   int    // byte of the document
	What string // for people; text of the message in it is quoted and cut
	ID   ID     // of the request, where it is known; else ""
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s (byte %d)", r.What, r.At)
}

// shownBytes bounds text of a message within a refusal.
const shownBytes = 80

// shown makes text of a message harmless to show.
func shown(b []byte) string {
	if len(b) <= shownBytes {
		return fmt.Sprintf("%+q", b)
	}
	return fmt.Sprintf("%+q...", strings.ToValidUTF8(string(b[:shownBytes]), ""))
}
