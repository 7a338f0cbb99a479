package frames_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/llm/frames"
)

func TestLanesOfAStream(t *testing.T) {
	t.Parallel()
	chat := map[string]string{
		"0.0.1": "Hi A😀 café", "0.0.3": "think", "0.1.3": "think", "0.0.5": "no", "0.1.2": `{"city":"Ur"}`, "tool 0.1.2": "weather",
		"0.0.6/id": "chatcmpl-1", "0.0.6/model": "gpt-x", "0.0.6/system_fingerprint": "fp_1", "0.1.6/choices/0/delta/tool_calls/0/id": "call_1",
		"0.1.6/choices/0/delta/tool_calls/0/function/name": "weather", "0.0.6:comment": "hello from a proxy",
	}
	want := map[string]map[string]string{
		"chat": chat, "chat crlf": chat, "chat cr": chat, "chat in rows": chat,
		"responses": {
			"0.0.4": "because", "0.0.4=": "because", "0.0.3": "hm", "0.0.3=": "hm", "1.0.1": "Hello", "1.0.1=": "Hello", "1.1.5": "no",
			"2.0.2": `{"city":"Ur"}`, "2.0.2=": "{}", "tool 2.0.2": "weather", "tool 2.0.2=": "weather",
		},
		"messages": {
			"0.0.3": "let me see", "1.0.1": "Hello", "2.0.2": `{"city":"Ur"}`, "tool 2.0.2": "weather",
			"0.0.6content_block_delta/delta/signature": "EqQBCgIYAhIM",
		},
	}
	for name, s := range all() {
		events, _ := read(t, s.text)
		d := frames.NewDecoder(s.format)
		got, out := summary(d, events)
		if out != s.text {
			t.Errorf("%s: a stream that nobody changes is not the same", name)
		}
		for key, text := range want[name] {
			if got[key] != text {
				t.Errorf("%s: lane %s is %q, want %q (all: %q)", name, key, got[key], text, got)
			}
		}
		if got["broken"] != "" || d.Ended() != frames.Done || !d.Usage().Given || d.Usage().Output < 4 {
			t.Errorf("%s: broken %q, ended %v, usage %+v", name, got["broken"], d.Ended(), d.Usage())
		}
		if name[0] == 'c' && len(got) != len(chat) {
			t.Errorf("%s: lanes %q", name, got)
		}
	}
}

// TestNoTextIsPassedOver puts a word in the place of every text, name, comment and field
// of each stream: each time some piece has it, and without that piece the event has not.
func TestNoTextIsPassedOver(t *testing.T) {
	t.Parallel()
	const secret = "zz-secret-zz"
	found := 0
	for name, s := range all() {
		events, _ := read(t, s.text)
		for at, ev := range events {
			for i := range ev {
				if i == 0 || ev[i-1] != '"' && ev[i-1] != ' ' {
					continue
				}
				d := frames.NewDecoder(s.format)
				for _, before := range events[:at] {
					d.Decode([]byte(before))
				}
				f := d.Decode([]byte(ev[:i] + secret + ev[i:]))
				if f.Broken != "" {
					continue
				}
				for i, p := range f.Pieces {
					if strings.Contains(string(p.Text), secret) {
						found++
						f.Replace(i, nil)
					}
				}
				if out := string(f.Append(nil)); strings.Contains(out, secret) {
					t.Fatalf("%s: unseen in %s", name, out)
				}
			}
		}
	}
	if found < 500 {
		t.Errorf("the word was in %d places only", found)
	}
}

func TestOnlyWhatIsReplacedChanges(t *testing.T) {
	t.Parallel()
	ev := chatEvent(`{"content":"a secret","x_new":"kept"}`, "null")
	d := frames.NewDecoder(frames.Chat)
	f := d.Decode([]byte(ev))
	for i, p := range f.Pieces {
		if got := ev[p.From:p.To]; got != `"`+string(p.Text)+`"` {
			t.Errorf("piece %d stands at %q", i, got)
		}
		if p.Lane.Kind == frames.Text {
			f.Replace(i, []byte("a \"b\"\n\x01\xff"))
		}
	}
	if got, want := string(f.Append(nil)), strings.Replace(ev, "a secret", `a \"b\"\n\u0001`+"\ufffd", 1); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestProbabilitiesGoWithTheText(t *testing.T) {
	t.Parallel()
	ev := strings.Replace(chatEvent(`{"content":"sec"}`, "null"), `"logprobs":null`, `"logprobs":{"content":[{"token":"sec","bytes":[115],"logprob":-0.1,"top_logprobs":[]}]}`, 1)
	d := frames.NewDecoder(frames.Chat)
	f := d.Decode([]byte(ev))
	if got := string(f.Append(nil)); got != ev || !f.Echoed() {
		t.Errorf("changed without need: %s", got)
	}
	for i, p := range f.Pieces {
		if p.Lane.Kind == frames.Text || strings.HasSuffix(p.Lane.Name, "token") {
			f.Replace(i, nil)
		}
	}
	if got := string(f.Append(nil)); got != chatEvent(`{"content":""}`, "null") {
		t.Errorf("%s", got)
	}
}

func TestHeldTextComesOutAsAnEventOfItsLane(t *testing.T) {
	t.Parallel()
	for name, s := range all() {
		events, _ := read(t, s.text)
		d := frames.NewDecoder(s.format)
		held, said, lanes := map[frames.Lane][]byte{}, map[frames.Lane]string{}, map[frames.Lane]bool{}
		var out []byte
		for _, ev := range events { // every delta is held until its lane ends
			f := d.Decode([]byte(ev))
			for i, p := range f.Pieces {
				if p.Lane.Kind != frames.Other && !p.Whole {
					held[p.Lane] = append(held[p.Lane], p.Text...)
					said[p.Lane] += string(p.Text)
					lanes[p.Lane] = true
					f.Replace(i, nil)
				}
			}
			for lane, text := range held {
				if f.Ends(lane) {
					out, _ = d.Emit(out, lane, text)
					delete(held, lane)
				}
			}
			out = f.Append(out)
		}
		if len(held) > 0 {
			t.Errorf("%s: %v never ended", name, held)
		}
		again, rest := read(t, string(out))
		d2, last := frames.NewDecoder(s.format), int64(-1)
		got := map[frames.Lane]string{}
		for _, ev := range again {
			f := d2.Decode([]byte(ev))
			if f.Broken != "" {
				t.Fatalf("%s: %s: %s", name, f.Broken, ev)
			}
			for _, p := range f.Pieces {
				if lanes[p.Lane] && !p.Whole {
					got[p.Lane] += string(p.Text)
				}
			}
			last = numbered(t, ev, last)
		}
		if rest != "" || !reflect.DeepEqual(got, said) || d2.Ended() != frames.Done {
			t.Errorf("%s: %v, want %v; rest %q", name, got, said, rest)
		}
	}
}

// numbered says the number of an event and fails if it does not follow the last one.
func numbered(t *testing.T, ev string, last int64) int64 {
	t.Helper()
	_, data, _ := strings.Cut(ev, "data: ")
	var e struct {
		N *int64 `json:"sequence_number"`
	}
	if json.Unmarshal([]byte(data), &e) != nil || e.N == nil {
		return last
	}
	if *e.N != last+1 {
		t.Errorf("event %d follows %d", *e.N, last)
	}
	return *e.N
}

func TestAStoppedStreamEndsWithAnError(t *testing.T) {
	t.Parallel()
	for name, s := range all() {
		events, _ := read(t, s.text)
		for stop := range events {
			d := frames.NewDecoder(s.format)
			d2 := frames.NewDecoder(s.format)
			var out []byte
			for _, ev := range events[:stop] {
				out = d.Decode([]byte(ev)).Append(out)
			}
			if d.Ended() != frames.Open {
				continue
			}
			out = d.AppendFailure(out, frames.Failure{Code: "CC_X", Message: `stopped "here"`})
			got, rest := read(t, string(out))
			_, same := summary(d2, got)
			if rest != "" || same != string(out) || d2.Ended() != frames.Failed {
				t.Errorf("%s stopped at %d: %q, ended %v", name, stop, got, d2.Ended())
			}
			if s.format == frames.Messages && strings.Count(string(out), "event: content_block_stop") != strings.Count(string(out), "event: content_block_start") {
				t.Errorf("%s stopped at %d leaves a block open: %s", name, stop, out)
			}
			last := map[frames.Format]string{frames.Chat: "data: [DONE]\n\n", frames.Messages: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"}[s.format]
			if !strings.HasSuffix(string(out), last) || s.format == frames.Responses && !strings.Contains(got[len(got)-1], `"type":"response.failed"`) {
				t.Errorf("%s ends with %s", name, got[len(got)-1])
			}
		}
	}
}

func TestBrokenEvents(t *testing.T) {
	t.Parallel()
	for text, format := range map[string]frames.Format{
		"data: {\"a\":1,\"a\":2}\n\n":                                 frames.Chat,
		"data: {\"a\":1,\"\\u0061\":2}\n\n":                           frames.Chat,
		"data: {\"a\":}\n\n":                                          frames.Chat,
		"data: {} {}\n\n":                                             frames.Chat,
		"data: [DONE] and more\n\n":                                   frames.Chat,
		"data: \"text\"\n\n":                                          frames.Chat,
		"data: {\"a\":\"\xff\"}\n\n":                                  frames.Chat,
		"data: {\"a\":\"\\x\"}\n\n":                                   frames.Chat,
		"data: {\"a\":01}\n\n":                                        frames.Chat,
		"\xef\xbb\xbfdata: {}\n\n":                                    frames.Chat,
		"event: a\nevent: b\ndata: {}\n\n":                            frames.Chat,
		"data: {\"choices\":[{\"index\":-1}]}\n\n":                    frames.Chat,
		"data: {\"choices\":[{\"index\":1.5}]}\n\n":                   frames.Chat,
		"data: " + strings.Repeat("[", 100) + "\n\n":                  frames.Chat,
		"data: {\"x\":1}\n\n":                                         frames.Messages,
		"event: ping\ndata: {\"type\":\"message_stop\"}\n\n":          frames.Messages,
		"data: [DONE]\n\n":                                            frames.Responses,
		"event: error\ndata: {\"type\":\"response.completed\"}\n\n":   frames.Responses,
		"data: {\"type\":\"error\",\"sequence_number\":\"text\"}\n\n": frames.Responses,
	} {
		if f := frames.NewDecoder(format).Decode([]byte(text)); f.Broken == "" {
			t.Errorf("taken: %q", text)
		}
	}
	d := frames.NewDecoder(frames.Chat)
	d.Decode([]byte("data: [DONE]\n\n"))
	if f := d.Decode([]byte(chatEvent(`{"content":"late"}`, "null"))); f.Broken == "" {
		t.Error("an event after the end is taken")
	}
}

func TestAReplacedFieldStaysReplaced(t *testing.T) {
	t.Parallel()
	d := frames.NewDecoder(frames.Chat)
	for range 3 {
		f := d.Decode([]byte(chatEvent(`{"content":"a"}`, "null")))
		for i, p := range f.Pieces {
			if p.Field == "model" {
				if p.Same {
					t.Error("the same as one that was replaced")
				}
				f.Replace(i, []byte("other"))
			}
		}
		if out, _ := d.Emit(f.Append(nil), frames.Lane{Kind: frames.Text}, []byte("b")); strings.Contains(string(out), "gpt-x") || strings.Count(string(out), `"other"`) != 2 {
			t.Errorf("%s", out)
		}
	}
}

func TestCallsAreHeldWhole(t *testing.T) {
	t.Parallel()
	for name, s := range all() {
		events, _ := read(t, s.text)
		d, calls := frames.NewDecoder(s.format), frames.NewCalls(100)
		var got []string
		for _, ev := range events {
			f := d.Decode([]byte(ev))
			for i := range f.Pieces {
				if f.Pieces[i].Lane.Kind == frames.Arguments {
					if err := calls.Add(&f.Pieces[i]); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, c := range calls.Ended(f) {
				got = append(got, c.Tool+string(c.Text))
			}
		}
		if calls.Open() != 0 || len(got) == 0 || got[0] != `weather{"city":"Ur"}` {
			t.Errorf("%s: %q, %d open", name, got, calls.Open())
		}
	}
	calls := frames.NewCalls(4)
	if err := calls.Add(&frames.Piece{Text: []byte("12345")}); err == nil {
		t.Error("too much was held")
	}
}

func TestManyLanesAreRefused(t *testing.T) {
	t.Parallel()
	d, broken := frames.NewDecoder(frames.Chat), 0
	for i := range 2000 {
		if d.Decode(fmt.Appendf(nil, "data: {\"k%d\":\"v\",\"choices\":[{\"index\":%d,\"delta\":{\"content\":\"a\"}}]}\n\n", i, i)).Broken != "" {
			broken++
		}
	}
	if broken == 0 || broken > 1000 {
		t.Errorf("%d of 2000 events with another choice each are refused", broken)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for n, want := range []int{0, 1, 1, 3, 4, 4, 4, 4, 8, 8} {
		if got := frames.Cut([]byte("aéb😀"), n); got != want {
			t.Errorf("cut at %d is %d, want %d", n, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range all() {
		events, _ := read(f, s.text)
		for _, ev := range events {
			f.Add([]byte(ev), uint8(s.format))
		}
	}
	f.Fuzz(func(t *testing.T, event []byte, format uint8) {
		d := frames.NewDecoder(frames.Format(format%3 + 1))
		fr := d.Decode(event)
		if string(fr.Append(nil)) != string(event) {
			t.Fatal("an event that nobody changes is not the same")
		}
		broken := fr.Broken
		for i, p := range fr.Pieces {
			if p.From < 0 || p.To > len(event) || p.From >= p.To {
				t.Fatalf("a piece at %d to %d", p.From, p.To)
			}
			fr.Replace(i, p.Text)
		}
		out := string(fr.Append(nil))
		again := frames.NewDecoder(frames.Format(format%3 + 1)).Decode([]byte(out))
		if again.Broken != broken {
			t.Fatalf("%q, and rewritten %q: %s", broken, again.Broken, out)
		}
		d.Emit(nil, frames.Lane{Kind: frames.Text}, []byte("x"))
		d.AppendFailure(nil, frames.Failure{})
	})
}
