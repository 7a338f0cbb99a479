package redact_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cabincrew/action/internal/redact"
)

const token = "s3cr/et+Value==&\"x\""

func TestForms(t *testing.T) {
	t.Parallel()
	r, err := redact.New(map[string]string{"TOKEN": token, "OTHER": "s3cr/et+Value==&\"x\"-longer"})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"plain": token, "query": url.QueryEscape(token), "path": url.PathEscape(token),
		"hex": hex.EncodeToString([]byte(token)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(token))),
		"base64": base64.StdEncoding.EncodeToString([]byte(token)), "base64url": base64.URLEncoding.EncodeToString([]byte(token)),
		"base64 with a user": base64.StdEncoding.EncodeToString([]byte("u:" + token)), "shift2": base64.StdEncoding.EncodeToString([]byte("us:" + token + "\n")),
		"json": strings.ReplaceAll(token, `"`, `\"`), "longer": token + "-longer", "twice": token + token,
		"after a false start": token[:7] + token,
	} {
		got := r.String("before " + text + " after")
		if !strings.Contains(got, "[redacted:") {
			t.Errorf("%s: not redacted: %q", name, got)
		}
		if strings.Contains(got, token) || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") {
			t.Errorf("%s: %q", name, got)
		}
		d := r.Detector()
		_, _ = d.Write([]byte(text))
		if d.Found() == "" {
			t.Errorf("%s: not detected", name)
		}
	}
	if got := r.String("nothing s3cr here s3cr/et+Valu"); got != "nothing s3cr here s3cr/et+Valu" {
		t.Errorf("ordinary text changed: %q", got)
	}
	if got := r.String("x" + token + "-longer"); strings.Contains(got, "longer") {
		t.Errorf("the longer secret's tail is left: %q", got)
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"123", "12\r\n", "   \n\n", "\ufeff12"} {
		if _, err := redact.New(map[string]string{"PIN": value}); err == nil {
			t.Errorf("%q was accepted", value)
		}
	}
}

// TestWhiteSpaceAround: engines and programs leave off what a file or a variable has
// around a secret.
func TestWhiteSpaceAround(t *testing.T) {
	t.Parallel()
	const bare = "h7-Zz%q!pw/9"
	for _, value := range []string{bare + "\n", bare + "\r", bare + "\r\n", " " + bare, "\ufeff" + bare + "\x00", "\t" + bare + "\u2028\n\n"} {
		r, err := redact.New(map[string]string{"TOK": value})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			bare, value, strings.TrimSuffix(value, "\n"), url.QueryEscape(bare), hex.EncodeToString([]byte(bare)),
			base64.StdEncoding.EncodeToString([]byte(bare)), base64.StdEncoding.EncodeToString([]byte("u:" + bare)),
		} {
			if got := r.String("<" + text + ">"); !strings.Contains(got, "[redacted:TOK]") || strings.Contains(got, bare) {
				t.Errorf("%q: %q is left as %q", value, text, got)
			}
			d := r.Detector()
			_, _ = d.Write([]byte(text))
			if d.Found() == "" {
				t.Errorf("%q: %q is not detected", value, text)
			}
		}
	}
}

func TestUTF16(t *testing.T) {
	t.Parallel()
	const value = "pä/ss w+rd𝄞"
	r, err := redact.New(map[string]string{"TOK": value, "RAW": "\xff\xfe\xfdraw"})
	if err != nil {
		t.Fatal(err)
	}
	for name, order := range map[string]binary.AppendByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
		wide := func(s string) []byte {
			var b []byte
			for _, u := range utf16.Encode([]rune(s)) {
				b = order.AppendUint16(b, u)
			}
			return b
		}
		all := wide("\ufeffid: " + value + "\r\n")
		for encoding, text := range map[string]string{
			"plain": string(all), "base64": base64.StdEncoding.EncodeToString(all), "base64url": base64.URLEncoding.EncodeToString(append([]byte{1}, all...)),
			"hex": hex.EncodeToString(all), "HEX": strings.ToUpper(hex.EncodeToString(all)),
		} {
			if got := r.String(text); !strings.Contains(got, "[redacted:TOK]") {
				t.Errorf("%s %s: %q", name, encoding, got)
			}
		}
	}
	if got := r.String("\xff\x00\xfe\x00\xfd\x00r\x00a\x00w\x00"); got != "[redacted:RAW]" {
		t.Errorf("%q", got)
	}
}

func TestNilAndEmpty(t *testing.T) {
	t.Parallel()
	var r *redact.Redactor
	if got := r.String("x"); got != "x" {
		t.Fatal(got)
	}
	v := r.Value(map[string]any{"a": "b"})
	if v.(map[string]any)["a"] != "b" {
		t.Fatal(v)
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	r, err := redact.New(map[string]string{"T": "hunter2hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	got := r.Value(map[string]any{"hunter2hunter2": []any{"a hunter2hunter2", 1}}).(map[string]any)
	if list, ok := got["[redacted:T]"].([]any); !ok || list[0] != "a [redacted:T]" {
		t.Fatal(got)
	}
}

func TestSeveralLines(t *testing.T) {
	t.Parallel()
	r, err := redact.New(map[string]string{"KEY": "-----BEGIN-----\nabcdefghijklmnopqrstuvwxyz\n-----END-----\n"})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.String("> abcdefghijklmnopqrstuvwxyz"); got != "> [redacted:KEY line 2]" {
		t.Fatal(got)
	}
}

// FuzzSplits proves that cutting the stream anywhere gives the same output, and
// that no value survives.
func FuzzSplits(f *testing.F) {
	f.Add("a hunter2hunter2 b aaab aab", 5, 9)
	f.Add("hunter2hunhunter2hunter2", 1, 2)
	f.Add("aaaaab", 3, 4)
	r, err := redact.New(map[string]string{"A": "hunter2hunter2", "B": "aaab", "C": "ter2hunter2aa"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string, i, j int) {
		whole := r.String(s)
		for _, secret := range []string{"hunter2hunter2", "aaab"} {
			if strings.Contains(whole, secret) {
				t.Fatalf("%q is left in %q", secret, whole)
			}
		}
		clamp := func(n, low int) int { return min(max(n, low), len(s)) }
		i = clamp(i, 0)
		j = clamp(j, i)
		var b strings.Builder
		w := r.Writer(&b)
		for _, part := range []string{s[:i], s[i:j], s[j:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if b.String() != whole {
			t.Fatalf("cut at %d and %d: %q, whole %q", i, j, b.String(), whole)
		}
	})
}
