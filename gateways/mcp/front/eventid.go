package front

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// binder ties the ids of a server's events to one session. It keeps nothing: the tie is
// a MAC in the id itself, under a key of this process.
type binder struct{ key []byte }

const (
	boundBytes = 16                     // of the MAC
	boundText  = (boundBytes*8 + 5) / 6 // of the MAC as text
	boundMark  = "~"                    // before ids that a header cannot carry
)

// bind returns the id for the client, or "" where an event cannot have one: nobody can
// resume after it then.
func (b binder) bind(session, id string) string {
	if id == "" || len(id) > limits.MCPFrontEventID || strings.ContainsAny(id, "\x00\r\n") {
		return ""
	}
	text := id
	if !plain(id) || strings.HasPrefix(id, boundMark) {
		text = boundMark + base64.RawURLEncoding.EncodeToString([]byte(id))
	}
	return text + "." + b.mac(session, id)
}

// unbind returns the server's id of what a client wants to resume after. It says false
// of every id that was not given in this session.
func (b binder) unbind(session, bound string) (string, bool) {
	at := len(bound) - boundText - 1
	if at < 1 || bound[at] != '.' || len(bound) > 2*limits.MCPFrontEventID {
		return "", false
	}
	id := bound[:at]
	if text, ok := strings.CutPrefix(id, boundMark); ok {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil {
			return "", false
		}
		id = string(raw)
	}
	if !hmac.Equal([]byte(bound[at+1:]), []byte(b.mac(session, id))) {
		return "", false
	}
	return id, true
}

func (b binder) mac(session, id string) string {
	m := hmac.New(sha256.New, b.key)
	m.Write([]byte(session))
	m.Write([]byte{0})
	m.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:boundBytes])
}

// plain says that a header carries the text as it is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
