package jsonrpc

import (
	"strings"
	"testing"
)

func TestBuilders(t *testing.T) {
	t.Parallel()
	for want, got := range map[string][]byte{
		`{"jsonrpc":"2.0","id":7,"error":{"code":-32050,"message":"no \"x\"\n\u0000","data":{"a":1}}}`: NewFailure("7", -32050, "no \"x\"\n\x00", map[string]int{"a": 1}),
		`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"�"}}`:                                 NewFailure("", 1, "\xff", func() {}),
		`{"jsonrpc":"2.0","id":"a","result":{}}`:                                                       NewResult(`"a"`, []byte(`{}`)),
		`{"jsonrpc":"2.0","method":"x"}`:                                                               NewNotification("x", nil),
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1}}`:                                       NewRequest("1", "x", []byte(`{"a":1}`)),
	} {
		if string(got) != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if _, err := Scan(got, Options{}); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", "\x00\x1f\"\\/\b\f\n\r\t\x7f", "é😀\u2028\ufeff", strings.Repeat("x", 100) + "\n"} {
		if got, ok := Text(AppendString(nil, s)); !ok || got != s {
			t.Errorf("%q: %q, %v", s, got, ok)
		}
	}
	for _, bad := range []string{``, `1`, `"`, `"a`, `"a"x`, `"\x"`, `"\ud800"`, "\"\xff\"", `{}`} {
		if got, ok := Text([]byte(bad)); ok {
			t.Errorf("%s: %q", bad, got)
		}
	}
}

func TestRevisions(t *testing.T) {
	t.Parallel()
	batches, stateless, sessions := 0, 0, 0
	for _, r := range Revisions() {
		if !Known(r) {
			t.Errorf("%s is not known", r)
		}
		for f, n := range map[*int]bool{&batches: HasBatch(r), &stateless: Stateless(r), &sessions: HasSessions(r)} {
			if n {
				*f++
			}
		}
		if Stateless(r) && HasSessions(r) {
			t.Errorf("%s has sessions and is stateless", r)
		}
	}
	if batches != 1 || stateless != 1 || sessions != 3 {
		t.Errorf("%d with batches, %d stateless, %d with sessions", batches, stateless, sessions)
	}
	for _, r := range []Revision{"", "2024-11-06", "2025-3-26", "DRAFT-2026-v1"} {
		if Known(r) || HasBatch(r) || Stateless(r) || HasSessions(r) {
			t.Errorf("%q is known", r)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from     Sender
		r        Revision
		in, note bool
	}{
		"initialize": {FromClient, Revision20260728, false, false}, "tools/call": {FromClient, Revision20241105, true, false}, "server/discover": {FromClient, Revision20251125, false, false},
		"roots/list": {FromServer, Revision20250618, true, false}, "elicitation/create": {FromServer, Revision20250326, false, false}, "notifications/progress": {FromClient | FromServer, Revision20260728, true, true},
		"notifications/elicitation/complete": {FromServer, Revision20250618, false, true}, "tasks/get": {FromClient | FromServer, Revision20250618, false, false}, "ping": {FromClient | FromServer, Revision20251125, true, false},
	} {
		m, ok := Find(name)
		if !ok || m.Name != name || m.From != c.from || m.In(c.r) != c.in || m.Notification != c.note {
			t.Errorf("%s: %+v", name, m)
		}
	}
	for _, m := range Methods() {
		if strings.HasPrefix(m.Name, "notifications/") != m.Notification || m.Since > m.Until || !Known(m.Since) || !Known(m.Until) || m.From == 0 || !m.In("") {
			t.Errorf("%+v", m)
		}
	}
	if _, ok := Find("Tools/call"); ok {
		t.Error("another case is found")
	}
}

// TestMisplaced holds methods to the kinds of messages that they are.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind   Kind
		method string
		bad    bool
	}{
		{Request, "tools/call", false},
		{Notification, "tools/call", true},
		{Notification, "notifications/initialized", false},
		{Request, "notifications/initialized", true},
		{Request, "Tools/Call", true},
		{Notification, "Notifications/Initialized", true},
		{Request, "x/y", false},
		{Notification, "x/y", true},
		{Notification, "notifications/x", false},
		{Request, "notifications/x", true},
		{Response, "tools/call", false},
	} {
		if why := Misplaced(c.kind, c.method); (why != "") != c.bad {
			t.Errorf("%v %s: %q", c.kind, c.method, why)
		}
	}
}
