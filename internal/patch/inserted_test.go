package patch

import (
	"bytes"
	"compress/zlib"
	"io"
	"testing"
)

func block(t testing.TB, delta bool, content []byte) *Binary {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &Binary{Delta: delta, Size: int64(len(content)), data: b.Bytes()}
}

func TestInserted(t *testing.T) {
	t.Parallel()
	for delta, want := range map[string]struct {
		text  string
		whole bool
	}{
		"\x05\x03\x03abc":                  {"abc", true},
		"\x05\x06\x02ab\x91\x00\x02\x02cd": {"ab\ncd", false},
		"\x05\x04\x02ab\x02cd":             {"abcd", true},
		"\x05\x02\x90\x02":                 {"", false},
	} {
		text, whole, err := block(t, true, []byte(delta)).Inserted()
		if err != nil || string(text) != want.text || whole != want.whole {
			t.Errorf("%q: %q %v %v", delta, text, whole, err)
		}
	}
	for _, delta := range []string{"", "\x05", "\x05\x80", "\x05\x03\x00", "\x05\x03\x04abc", "\x05\x03\xff\x00"} {
		if _, _, err := block(t, true, []byte(delta)).Inserted(); err == nil {
			t.Errorf("%q was read", delta)
		}
	}
	r, err := block(t, false, []byte("content")).Open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "content" {
		t.Errorf("%q %v", got, err)
	}
}

func FuzzInserted(f *testing.F) {
	f.Add([]byte("\x05\x80\x02\x91\x00\x04\x03abc"))
	f.Fuzz(func(t *testing.T, delta []byte) {
		if text, _, err := block(t, true, delta).Inserted(); err == nil && len(text) > len(delta) {
			t.Fatalf("%d bytes became %d", len(delta), len(text))
		}
	})
}
