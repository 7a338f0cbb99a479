package llm

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/policies"
)

// digester digests what comes in pieces.
type digester struct{ h hash.Hash }

func (d *digester) write(b []byte) {
	if d.h == nil {
		d.h = sha256.New()
	}
	_, _ = d.h.Write(b) // a hash never fails
}

func (d *digester) sum() string {
	if d.h == nil {
		return ""
	}
	return "sha256:" + hex.EncodeToString(d.h.Sum(nil))
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// pointer escapes a member's name for an RFC 6901 pointer.
func pointer(s string) string { return pointerEscape.Replace(s) }

// discreet gives a text without the secrets that were found in the message.
func discreet(h policies.Hidden, s string) string {
	switch {
	case s == "":
		return s
	case h.More:
		return "[hidden]"
	case len(h.Marks) == 0:
		return s
	}
	return redact.NewMarked(h.Marks).String(s)
}
