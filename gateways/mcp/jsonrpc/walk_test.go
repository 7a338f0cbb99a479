package jsonrpc

import (
	"errors"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	doc := []byte(` { "a" : { "b\/c" : [ 1 , "x" , { "é" : null } ] , "\u0062" : 2.50 } , "" : "e" } `)
	for _, c := range []struct {
		path, want string
		ok         bool
	}{
		{"a,b/c,0", "1", true}, {"a,b/c,1", `"x"`, true}, {"a,b/c,2,é", "null", true}, {"a,b", "2.50", true}, {"", `"e"`, true},
		{"a,b/c,3", "", false}, {"a,b/c,00", "", false}, {"a,b/c,-1", "", false}, {"a,x", "", false}, {"A", "", false}, {"a,b,c", "", false},
	} {
		v, ok := Lookup(doc, strings.Split(c.path, ",")...)
		if ok != c.ok || string(v) != c.want {
			t.Errorf("%s: %q, %v", c.path, v, ok)
		}
		if ok && string(doc[Offset(doc, v):][:len(v)]) != c.want {
			t.Errorf("%s is not at %d", c.path, Offset(doc, v))
		}
	}
	if v, ok := Lookup(doc); !ok || v[0] != '{' || v[len(v)-1] != '}' {
		t.Errorf("without a path: %q, %v", v, ok)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	doc := []byte(`{ "a":1,"\u0062": {"x":[]},"c":"}" }`)
	got := ""
	err := Members(doc, func(key string, at int, value []byte) bool {
		got += key + "=" + string(value) + ";"
		if doc[at] != '"' {
			t.Errorf("%s is not at %d", key, at)
		}
		return key != "c"
	})
	if err != nil || got != `a=1;b={"x":[]};c="}";` {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{``, `[]`, `{"a"}`, `{"a":1`, `{"a":1 "b":2}`, `{a:1}`, `{"a":}`} {
		if err := Members([]byte(bad), func(string, int, []byte) bool { return true }); !errors.Is(err, errForm) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{``, `{}`, `[1`, `[1 2]`, `[,]`} {
		if err := Elements([]byte(bad), func(int, []byte) bool { return true }); !errors.Is(err, errForm) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestLiterals(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"a/b":["x",{"~":"y\n"}],"n":1,"z":"end"}`)
	var got []string
	Literals(doc, func(l Literal) bool {
		kind := "="
		if l.Key {
			kind = "#"
		}
		got = append(got, l.At+kind+l.Value)
		return true
	})
	if s := strings.Join(got, " "); s != "/a~1b#a/b /a~1b/0=x /a~1b/1/~0#~ /a~1b/1/~0=y\n /n#n /z#z /z=end" {
		t.Errorf("%q", s)
	}
	var values, keys int
	if !Strings(doc, func(string, int, int, string) bool { values++; return true }) || !Keys(doc, func(string, int, int, string) bool { keys++; return true }) {
		t.Error("the walk broke off")
	}
	if values != 3 || keys != 4 {
		t.Errorf("%d values, %d keys", values, keys)
	}
	if Strings(doc, func(string, int, int, string) bool { return false }) {
		t.Error("the walk went on")
	}
}

func TestSplice(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"a":"b"}`)
	if s := Splice(raw, []Edit{{5, 8, []byte(`"longer"`)}, {1, 4, []byte(`"x"`)}}); string(s) != `{"x":"longer"}` {
		t.Errorf("%s", s)
	}
	for _, bad := range [][]Edit{{{0, 2, nil}, {1, 3, nil}}, {{-1, 2, nil}}, {{3, 2, nil}}, {{0, 10, nil}}, {{10, 10, nil}}} {
		if s := Splice(raw, bad); s != nil {
			t.Errorf("%v: %s", bad, s)
		}
	}
	if Offset(raw, []byte(`"a"`)) != -1 || Offset(raw, nil) != -1 || Offset(raw[:3], raw[2:5]) != -1 {
		t.Error("what is no part is found")
	}
}

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
