package egress

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// TestFieldsInFlightPlan: no header field carries free text to a listed host.
func TestFieldsInFlightPlan(t *testing.T) {
	t.Parallel()
	leak := strings.Repeat("A secret of the workspace. ", 500)
	r := newRig(t, Options{}, nil)
	a, page := r.raw().send(get + "User-Agent: " + leak + "\r\n\r\n")
	if a == nil || a.StatusCode != http.StatusOK {
		t.Fatalf("answered %+v %s", a, page)
	}
	for name, c := range map[string]struct{ field, value, want string }{
		"no agent":        {"X", "x", "User-Agent: cabincrew"},
		"an agent":        {"User-Agent", "curl/8.5.0 (" + leak[:100] + ")", "User-Agent: cabincrew"},
		"git":             {"User-Agent", "git/2.43.0." + leak[:100], "User-Agent: git/2.0 (cabincrew)"},
		"no types":        {"X", "x", "Accept: */*"},
		"a type":          {"Accept", "application/vnd.oci.image.index.v1+json;q=0.123, text/x-secret;a=\"b\", text/html;v=1", "Accept: text/html, application/vnd.oci.image.index.v1+json"},
		"types in order":  {"Accept", "*/*, TEXT/plain, application/json", "Accept: application/json, text/plain, */*"},
		"many types":      {"Accept", strings.Join(planTypes(), ","), "Accept: " + strings.Join(planTypes()[:limits.EgressAccepts], ", ")},
		"unknown types":   {"Accept", "text/" + leak[:26], "Accept: */*"},
		"codings":         {"Accept-Encoding", "br;q=0.5, " + leak[:8] + ", GZip", "Accept-Encoding: gzip"},
		"no gzip":         {"Accept-Encoding", "gzip;q=0, br", "Accept-Encoding: identity"},
		"language":        {"Accept-Language", leak[:100], "Accept-Language: en"},
		"charset":         {"Accept-Charset", leak[:100], "Accept-Charset: "},
		"cache":           {"Cache-Control", leak[:100], "Cache-Control: "},
		"pragma":          {"Pragma", leak[:100], "Pragma: "},
		"tag":             {"If-None-Match", `W/"abc", "d:e/f-g"`, `If-None-Match: W/"abc", "d:e/f-g"`},
		"any tag":         {"If-Match", "*", "If-Match: *"},
		"date":            {"If-Modified-Since", "Mon, 23 Nov 2026 02:00:00 GMT", "If-Modified-Since: Mon, 23 Nov 2026 02:00:00 GMT"},
		"range":           {"Range", "bytes=0-499, 1000-, -5", "Range: bytes=0-499, 1000-, -5"},
		"condition":       {"If-Range", `"abc"`, `If-Range: "abc"`},
		"dated condition": {"If-Range", "Mon, 23 Nov 2026 02:00:00 GMT", "If-Range: Mon, 23 Nov 2026 02:00:00 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{}, nil)
			if a, page := r.raw().send(get + c.field + ": " + c.value + "\r\n\r\n"); a == nil || a.StatusCode != http.StatusOK {
				t.Fatalf("answered %+v %s", a, page)
			}
			header := r.seen[0].Header
			want, value, _ := strings.Cut(c.want, ": ")
			if got := strings.Join(header[want], "|"); got != value {
				t.Errorf("the host saw %s: %q, want %q", want, got, value)
			}
			n := 0
			for name, values := range header {
				n += len(name) + len(strings.Join(values, ""))
			}
			if q := r.last(); q.Sent != int64(n+len("http://example.com/")) {
				t.Errorf("recorded %d bytes, the host saw %d", q.Sent, n+len("http://example.com/"))
			}
		})
	}
}

// TestRefusedFields: a condition that is none does not leave, and is told of.
func TestRefusedFields(t *testing.T) {
	t.Parallel()
	tag := func(n int) string { return `"` + strings.Repeat("a", n-2) + `"` }
	for name, fields := range map[string][]string{
		"long tag":          {"If-None-Match: " + tag(limits.EgressConditionBytes+1)},
		"no tag":            {"If-None-Match: secret"},
		"open tag":          {`If-None-Match: "secret`},
		"tag with blanks":   {`If-None-Match: "a secret of the workspace"`},
		"tag, not ASCII":    {"If-Match: \"\xc3\xa9\""},
		"empty list":        {"If-Match: "},
		"no date":           {"If-Modified-Since: secret"},
		"another date":      {"If-Modified-Since: Mon, 23 Nov 2026 02:00:00 +0100"},
		"wrong day":         {"If-Unmodified-Since: Sun, 23 Nov 2026 02:00:00 GMT"},
		"no range":          {"Range: bytes=secret"},
		"other unit":        {"Range: secrets=0-1"},
		"empty range":       {"Range: bytes=-"},
		"long number":       {"Range: bytes=0-" + strings.Repeat("9", 20)},
		"neither":           {"If-Range: secret"},
		"twice":             {`If-None-Match: "a"`, `If-None-Match: "b"`},
		"too much together": {"If-None-Match: " + tag(200), "If-Match: " + tag(200), "If-Range: " + tag(198), "Range: bytes=0-1"},
		"long credential":   {"Authorization: Bearer " + strings.Repeat("x", limits.EgressCredentialBytes)},
		"two credentials":   {"Authorization: a", "Authorization: b"},
		"odd credential":    {"Authorization: Bearer \xc3\xa9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			send := get + strings.Join(fields, "\r\n") + "\r\n\r\n"
			r := newRig(t, Options{}, nil)
			a, page := r.raw().send(send)
			if a == nil || a.StatusCode != http.StatusForbidden || a.Header.Get("X-Cabincrew-Reason") != "field_not_allowed" || r.hits.Load() != 0 {
				t.Fatalf("answered %+v %s, %d requests reached the host", a, page, r.hits.Load())
			}
			if q := r.last(); q.Allowed || q.Reason != "field_not_allowed" || q.Sent != 0 {
				t.Errorf("recorded %+v", q)
			}
			off := newRig(t, Options{Mode: protocol.TakeOff}, nil)
			if a, _ := off.raw().send(send); a == nil || a.StatusCode != http.StatusOK {
				t.Errorf("in take-off it is answered %+v", a)
			}
		})
	}
}

// TestFewCredentials: a run cannot send data as one credential after another.
func TestFewCredentials(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{}, nil)
	for i := range limits.EgressCredentials + 1 {
		for range 2 {
			a, _ := r.raw().send(get + fmt.Sprintf("Authorization: Bearer %d\r\n\r\n", i))
			want := http.StatusOK
			if i == limits.EgressCredentials {
				want = http.StatusForbidden
			}
			if a == nil || a.StatusCode != want {
				t.Errorf("credential %d is answered %+v", i, a)
			}
		}
	}
	if n := r.hits.Load(); n != 2*limits.EgressCredentials {
		t.Errorf("%d requests reached the host", n)
	}
}
