package link_test

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/link"
)

// TestSessionRef: what names a session to others does not let them in.
func TestSessionRef(t *testing.T) {
	t.Parallel()
	a, b := link.Session{ID: "secret-a"}, link.Session{ID: "secret-b"}
	if ref := a.Ref(); len(ref) != 16 || strings.Contains(ref, "secret") || ref == b.Ref() || ref != a.Ref() {
		t.Errorf("%q and %q", a.Ref(), b.Ref())
	}
}
