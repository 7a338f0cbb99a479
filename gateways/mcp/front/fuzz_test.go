package front

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/link"
)

func FuzzEventID(f *testing.F) {
	for _, id := range []string{"s_0", "", "~", "~YQ", "a b", "ü", "x.y", strings.Repeat("a", 1025), "a\nb", "a\x00"} {
		f.Add("session", id, id)
	}
	b := binder{[]byte("key")}
	f.Add("session", "a", b.bind("session", "a"))
	f.Fuzz(func(t *testing.T, session, id, foreign string) {
		bound := b.bind(session, id)
		if bound == "" {
			if id != "" && len(id) <= 1024 && !strings.ContainsAny(id, "\x00\r\n") {
				t.Fatalf("%q has no id", id)
			}
		} else {
			if !plain(bound) {
				t.Fatalf("%q is nothing for a header", bound)
			}
			if got, ok := b.unbind(session, bound); !ok || got != id {
				t.Fatalf("%q became %q %v", id, got, ok)
			}
			if _, ok := b.unbind(session+"x", bound); ok {
				t.Fatal("another session resumes")
			}
			if _, ok := (binder{[]byte("other")}).unbind(session, bound); ok {
				t.Fatal("another process resumes")
			}
		}
		if got, ok := b.unbind(session, foreign); ok && b.bind(session, got) != foreign {
			t.Fatalf("%q was not given, and names %q", foreign, got)
		}
	})
}

// FuzzPost sends any body and headers: what goes on is the very body, and nothing fails
// inside.
func FuzzPost(f *testing.F) {
	for _, body := range []string{ping, initialize("2025-11-25"), asks("tools/call", `"name":"x","arguments":{"a":[1]}`), "[" + ping + "]", "", "\xef\xbb\xbf{}"} {
		f.Add(body, "2025-11-25", "ping", "x", "1", true)
		f.Add(body, modern, "tools/call", "x", "=?base64?MQ==?=", false)
		f.Add(body, "", "", "", "", false)
	}
	f.Fuzz(func(t *testing.T, body, version, method, name, param string, session bool) {
		to := &fake{}
		door, err := NewHTTP(HTTPOptions{Open: to, MessageBytes: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		defer door.Close(t.Context()) //nolint:errcheck // a test
		ask := func(body string, header http.Header) *httptest.ResponseRecorder {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", strings.NewReader(body))
			req.Header = header
			req.Header["Content-Type"], req.Header["Accept"] = []string{contentJSON}, []string{"*/*"}
			w := httptest.NewRecorder()
			door.ServeHTTP(w, req)
			return w
		}
		header := http.Header{headerMethod: {method}, headerName: {name}, "Mcp-Param-X": {param}}
		if version != "" {
			header[headerVersion] = []string{version}
		}
		if session {
			header[headerSession] = []string{ask(initialize("2025-11-25"), http.Header{}).Header().Get(headerSession)}
		}
		_, _, before := to.count()
		w := ask(body, header)
		if _, _, after := to.count(); after > before && string(to.last().Message.Raw) != body {
			t.Fatalf("%q went on as %q", body, to.last().Message.Raw)
		}
		if w.Code >= 500 || w.Code >= 400 && !strings.Contains(w.Body.String(), `"error":{"code":-32`) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if door.held.Load() != 0 {
			t.Fatal("bytes are still counted")
		}
	})
}

// read is what a client makes of the text of events, after the rules of HTML 9.2.6.
func read(text []byte) (evs []link.Event) {
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	var ev link.Event
	data := false
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if len(line) == 0 {
			if data {
				ev.Data = ev.Data[:len(ev.Data)-1]
				evs = append(evs, ev)
			}
			ev, data = link.Event{}, false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "data":
			ev.Data, data = append(append(ev.Data, value...), '\n'), true
		case "id":
			ev.ID = string(value)
		case "event":
			ev.Type = string(value)
		}
	}
	return evs
}

func FuzzEncode(f *testing.F) {
	f.Add("message", "id", []byte(`{"a":1}`))
	f.Add("", "", []byte("a\nb\r\nc\rd\n"))
	f.Add("", " ", []byte("\n"))
	f.Add("a\nb", "\x00", []byte(""))
	f.Add(" x", "data: y", []byte(" data: z"))
	f.Fuzz(func(t *testing.T, kind, id string, data []byte) {
		out, err := encode(nil, link.Event{Type: kind, ID: id, Data: data, Retry: 5})
		if err != nil {
			if !strings.ContainsAny(kind, "\x00\r\n") && len(kind) <= 128 {
				t.Fatal(err)
			}
			return
		}
		if strings.ContainsAny(id, "\x00\r\n") {
			id = ""
		}
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		evs := read(append(out, out...))
		if len(evs) != 2 {
			t.Fatalf("%d events of %q", len(evs), out)
		}
		for _, ev := range evs {
			if ev.Type != kind || ev.ID != id || !bytes.Equal(ev.Data, data) {
				t.Fatalf("%q became %+v", out, ev)
			}
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n c"), 3)
	f.Add([]byte("aaaaaa\nb"), 3)
	f.Fuzz(func(t *testing.T, in []byte, most int) {
		most = most&0xff + 1
		var got [][]byte
		readLines(bytes.NewReader(in), most, func(line []byte) bool {
			got = append(got, line)
			return true
		})
		for line := range bytes.SplitSeq(in, []byte("\n")) {
			text := bytes.TrimRight(line, "\r")
			if len(bytes.TrimSpace(text)) == 0 && len(line) <= most {
				continue
			}
			switch {
			case len(got) == 0:
				if len(line) <= most {
					t.Fatalf("%q is missing", line)
				}
			case got[0] == nil && len(line) > most, bytes.Equal(got[0], text):
				got = got[1:]
			default:
				if len(bytes.TrimSpace(text)) > 0 {
					t.Fatalf("%q became %q", line, got[0])
				}
			}
		}
		if len(got) > 0 {
			t.Fatalf("%q is too much", got)
		}
	})
}
