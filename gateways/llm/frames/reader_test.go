package frames_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/llm/frames"
)

func TestEverySplitGivesTheSameEvents(t *testing.T) {
	t.Parallel()
	for name, s := range all() {
		whole, rest := read(t, s.text)
		if rest != "" || strings.Join(whole, "") != s.text || len(whole) < 8 {
			t.Fatalf("%s: %d events, %q is left", name, len(whole), rest)
		}
		for i := range s.text {
			if got, rest := read(t, s.text[:i], s.text[i:]); rest != "" || !reflect.DeepEqual(got, whole) {
				t.Fatalf("%s, split at %d: %q", name, i, got)
			}
		}
		if got, _ := read(t, strings.Split(s.text, "")...); !reflect.DeepEqual(got, whole) {
			t.Errorf("%s, byte by byte: %q", name, got)
		}
	}
}

func TestACutStreamLeavesARest(t *testing.T) {
	t.Parallel()
	events, rest := read(t, "data: 1\n\ndata: 2\n")
	if len(events) != 1 || rest != "data: 2\n" {
		t.Errorf("%q, rest %q", events, rest)
	}
}

func TestAnEventIsBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"data: 123456789012\n\n", "data: 1234567890", strings.Repeat(":\n", 20)} {
		r := frames.NewReader(12)
		var err error
		for i := 0; i < len(text) && err == nil; i++ {
			r.Feed([]byte(text[i : i+1]))
			_, err = r.Next()
		}
		if !errors.Is(err, frames.ErrEventSize) {
			t.Errorf("%q: %v", text, err)
		}
		if _, again := r.Next(); !errors.Is(again, frames.ErrEventSize) {
			t.Errorf("%q goes on after it: %v", text, again)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range all() {
		f.Add([]byte(s.text), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		whole, rest := read(t, string(text))
		if strings.Join(whole, "")+rest != string(text) {
			t.Fatal("bytes are lost")
		}
		var chunks []string
		for left := string(text); left != ""; {
			n := min(len(left), int(step)%7+1)
			chunks = append(chunks, left[:n])
			left = left[n:]
		}
		if got, _ := read(t, chunks...); !reflect.DeepEqual(got, whole) {
			t.Fatalf("in chunks %q, whole %q", got, whole)
		}
	})
}
