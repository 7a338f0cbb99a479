package back

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/link"
)

// parse reads a whole stream that comes in pieces of n bytes.
func parse(t *testing.T, stream string, n, most int) ([]link.Event, error) {
	t.Helper()
	p := parser{most: most}
	var out []link.Event
	for len(stream) > 0 {
		room := p.spare()
		k := copy(room, stream[:min(n, len(stream))])
		p.took(k)
		stream = stream[k:]
		for {
			ev, ok, err := p.next()
			if err != nil {
				return out, err
			}
			if !ok {
				break
			}
			out = append(out, ev)
		}
	}
	return out, nil
}

func same(a, b link.Event) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Retry == b.Retry && string(a.Data) == string(b.Data)
}

func event(data string) link.Event { return link.Event{Data: []byte(data)} }

func TestParser(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, stream string
		want         []link.Event
	}{
		{"one", "data: {}\n\n", []link.Event{event("{}")}},
		{"no space", "data:{}\n\n", []link.Event{event("{}")}},
		{"two spaces", "data:  {}\n\n", []link.Event{event(" {}")}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []link.Event{event("a"), event("b")}},
		{"CR", "data: a\r\rdata: b\r\r", []link.Event{event("a"), event("b")}},
		{"mixed", "data: a\r\n\ndata: b\r\n\rdata: c\n\r\n", []link.Event{event("a"), event("b"), event("c")}},
		{"mark", "\xef\xbb\xbfdata: a\n\n", []link.Event{event("a")}},
		{"mark later", "data: a\n\n\xef\xbb\xbfdata: b\n\n", []link.Event{event("a")}},
		{"comments", ": ping\n\n:\n\ndata: a\n: x\ndata: b\n\n", []link.Event{event("a\nb")}},
		{"lines", "data: {\ndata:  \"a\": 1\ndata: }\n\n", []link.Event{event("{\n \"a\": 1\n}")}},
		{"all", "id: 7\nevent: message\nretry: 1500\ndata: a\n\n", []link.Event{{ID: "7", Type: "message", Retry: 1500, Data: []byte("a")}}},
		{"resume only", "id: 7\ndata:\n\n", []link.Event{{ID: "7"}}},
		{"retry only", "retry: 10\n\n", []link.Event{{Retry: 10}}},
		{"nothing", "event: x\n\ndata\n\n\n\n", nil},
		{"type does not stay", "event: x\n\ndata: a\n\n", []link.Event{event("a")}},
		{"NUL in id", "id: a\x00b\ndata: a\n\n", []link.Event{event("a")}},
		{"bad retry", "retry: 1x\nretry: -1\nretry: 999999999999999999999\ndata: a\n\n", []link.Event{event("a")}},
		{"unknown field", "Data: no\nfoo: bar\nfoo\ndata: a\n\n", []link.Event{event("a")}},
		{"half", "data: a\n\ndata: b\n", []link.Event{event("a")}},
		{"half line", "data: a\n\ndata: b", []link.Event{event("a")}},
		{"colons", "data: a: b\nid: x:y\n\n", []link.Event{{ID: "x:y", Data: []byte("a: b")}}},
		{"empty", "", nil},
	} {
		for _, n := range []int{1, 2, 3, 7, 1 << 20} {
			got, err := parse(t, c.stream, n, 1000)
			if err != nil || !slices.EqualFunc(got, c.want, same) {
				t.Errorf("%s in pieces of %d: %+v, %v; want %+v", c.name, n, got, err, c.want)
			}
		}
	}
}

func TestParserBounds(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"line without end":  "data: " + strings.Repeat("a", 3000),
		"long data":         "data: " + strings.Repeat("a", 1001) + "\n\n",
		"many lines":        strings.Repeat("data: aaaaaaaaa\n", 1000),
		"empty lines":       strings.Repeat("data:\n", 2000),
		"comment":           ":" + strings.Repeat("a", 3000),
		"id":                "id: " + strings.Repeat("a", 1025) + "\n",
		"type":              "event: " + strings.Repeat("a", 129) + "\n",
		"only a field name": strings.Repeat("a", 3000),
	} {
		for _, n := range []int{1, 100, 1 << 20} {
			_, err := parse(t, stream, n, 1000)
			var over boundsError
			if !errors.As(err, &over) {
				t.Errorf("%s in pieces of %d: %v", name, n, err)
			}
		}
	}
	if _, err := parse(t, strings.Repeat(": ping\n\n", 10000), 100, 1000); err != nil {
		t.Errorf("comments: %v", err)
	}
	got, err := parse(t, "data: "+strings.Repeat("a", 1<<20)+"\n\ndata: b\n\n", 1000, 2<<20)
	if err != nil || len(got) != 2 || len(got[0].Data) != 1<<20 {
		t.Errorf("a large event: %d events, %v", len(got), err)
	}
}

// FuzzParser holds that pieces make no difference, and that bounds are kept.
func FuzzParser(f *testing.F) {
	for _, s := range []string{"data: a\r\n\r\n", "\xef\xbb\xbfid: 1\nretry: 3\n\n", ":\r\rdata\r\n", "data: a\ndata: b\n\n", "event: x\r"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, stream string, n int) {
		if n < 1 || n > 1<<16 {
			n = 1
		}
		const most = 64
		whole, err1 := parse(t, stream, 1<<20, most)
		pieces, err2 := parse(t, stream, n, most)
		if (err1 == nil) != (err2 == nil) || !slices.EqualFunc(whole, pieces, same) && err1 == nil {
			t.Fatalf("%q: %+v, %v; in pieces of %d: %+v, %v", stream, whole, err1, n, pieces, err2)
		}
		for _, ev := range whole {
			if len(ev.Data) > most || strings.ContainsAny(ev.ID, "\x00\r\n") || ev.Retry < 0 {
				t.Fatalf("%q gives %+v", stream, ev)
			}
		}
	})
}
