package onnx

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func cut(t testing.TB, r io.Reader, size, overlap int) []window {
	t.Helper()
	var out []window
	if err := windows(r, size, overlap, func(w window) error { out = append(out, w); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWindows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"empty":      {"", nil},
		"short":      {"abc", []string{"abc"}},
		"exact":      {"abcdefgh", []string{"abcdefgh"}},
		"two":        {"abcdefghij", []string{"abcdefgh", "ghij"}},
		"no tail":    {"abcdefghijklmn", []string{"abcdefgh", "ghijklmn"}},
		"blank":      {strings.Repeat(" ", 20), nil},
		"runes":      {"aaaaaaaéb", []string{"aaaaaaa", "aaéb"}},
		"long runes": {"🙂🙂🙂", []string{"🙂🙂", "🙂🙂"}},
		"no UTF-8":   {"a\xff\xfeb\x00c", []string{"a\ufffdbc"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []io.Reader{strings.NewReader(tc.text), iotest.OneByteReader(strings.NewReader(tc.text))} {
				var got []string
				for _, w := range cut(t, r, 8, 2) {
					got = append(got, w.text)
				}
				if strings.Join(got, "|") != strings.Join(tc.want, "|") {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			}
		})
	}
}

func TestWindowsGiveErrorsOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader("some text that is longer"), iotest.ErrReader(broken))
	if err := windows(r, 8, 2, func(window) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := windows(strings.NewReader("text"), 8, 2, func(window) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzWindows(f *testing.F) {
	f.Add([]byte("plain text that is longer than one window"), 2)
	f.Add([]byte("\xff\xfe\x00 \xf0\x9f\x99\x82\xf0\x9f"), 4)
	f.Add([]byte(strings.Repeat("é", 40)), 0)
	f.Add([]byte(strings.Repeat("é", 35)+"0\xa9"), 8) // the end of the text is the end of the buffer, and in no rune
	f.Fuzz(func(t *testing.T, b []byte, overlap int) {
		const size = 16
		overlap = min(max(overlap, 0), size/2)
		end := int64(0)
		for _, w := range cut(t, bytes.NewReader(b), size, overlap) {
			if w.bytes <= 0 || w.bytes > size || w.offset < 0 || w.offset+int64(w.bytes) > int64(len(b)) {
				t.Fatalf("a window of %d bytes at %d of %d", w.bytes, w.offset, len(b))
			}
			raw := b[w.offset : w.offset+int64(w.bytes)]
			if w.text != clean(raw) || !utf8.ValidString(w.text) || strings.ContainsRune(w.text, 0) {
				t.Fatalf("window %q of %q", w.text, raw)
			}
			if w.offset > end && strings.TrimSpace(clean(b[end:w.offset])) != "" {
				t.Fatalf("bytes %d to %d are in no window", end, w.offset)
			}
			end = max(end, w.offset+int64(w.bytes))
		}
		if strings.TrimSpace(clean(b[end:])) != "" {
			t.Fatalf("bytes from %d are in no window", end)
		}
		if utf8.Valid(b) { // no rune of a text is cut
			for _, w := range cut(t, bytes.NewReader(b), size, overlap) {
				if strings.ContainsRune(w.text, utf8.RuneError) && !bytes.ContainsRune(b, utf8.RuneError) {
					t.Fatalf("a rune is cut: %q", w.text)
				}
			}
		}
	})
}
