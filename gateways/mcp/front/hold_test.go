package front

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// TestNobodyTakesAllMemory holds that a client has its share of what the door holds, and
// that all together have no more than that.
func TestNobodyTakesAllMemory(t *testing.T) {
	t.Parallel()
	var d Door
	const each = limits.MCPFrontHeldEach
	for _, c := range []struct {
		who  string
		n    int64
		want bool
	}{{"ann", each, true}, {"ann", 1, false}, {"bob", each - 1, true}, {"ann", -1, true}, {"bob", 1, true}, {"eve", 1, false}} {
		if got := d.hold(c.who, c.n); got != c.want {
			t.Errorf("%s, %d: %v", c.who, c.n, got)
		}
	}
	for who, n := range map[string]int64{"ann": each, "bob": each, "eve": 1} {
		d.hold(who, -n)
	}
	if d.held.Load() != 0 || len(d.shares) != 0 {
		t.Errorf("%d bytes, %v are still counted", d.held.Load(), d.shares)
	}
}

// TestUnreadEvents: a stream whose client has too much unread ends, and small events go on
// wherever there is no large one.
func TestUnreadEvents(t *testing.T) {
	t.Parallel()
	d := Door{waits: patient()}
	w := httptest.NewRecorder()
	e := d.begin(w, "ann", true)
	defer e.end()
	large := link.Event{Data: []byte(`"` + strings.Repeat("x", limits.MCPFrontLarge) + `"`)}
	if err := e.send(large); err != nil || d.held.Load() != 0 {
		t.Fatalf("%v, %d bytes are still counted", err, d.held.Load())
	}
	d.hold("ann", limits.MCPFrontHeldEach) // what her other streams have
	if err := e.send(link.Event{Data: []byte(`1`)}); err != nil {
		t.Error(err)
	}
	if err := e.send(large); !errors.Is(err, errUnread) {
		t.Error(err)
	}
	if err := e.send(link.Event{Data: []byte(`2`)}); !errors.Is(err, errUnread) || strings.Contains(w.Body.String(), "data: 2") {
		t.Errorf("it goes on: %v", err)
	}
	other := d.begin(httptest.NewRecorder(), "bob", true)
	defer other.end()
	if err := other.send(large); err != nil {
		t.Errorf("another client: %v", err)
	}
	if got := d.held.Load(); got != limits.MCPFrontHeldEach {
		t.Errorf("%d bytes are counted", got)
	}
}
