package redact_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

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
	if _, err := redact.New(map[string]string{"PIN": "123"}); err == nil {
		t.Fatal("a value of three bytes was accepted")
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
