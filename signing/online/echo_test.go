package online_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cabincrew/action/signing/online"
	"github.com/cabincrew/action/signing/signingtest"
)

// with puts bytes between those of a text.
func with(text, between string, every int) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteByte(text[i])
		if i%every == every-1 {
			b.WriteString(between)
		}
	}
	return b.String()
}

// echoes are ways to send a secret back that no search for the secret finds.
func echoes(secret string) map[string]string {
	reversed := []byte(secret)
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return map[string]string{
		"as it is": secret, "no UTF-8 between": with(secret, "\xff", 1), "spaces": with(secret, " ", 1), "lines": with(secret, "\n", 7),
		"zero width": with(secret, "\u200b", 3), "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "hex": hex.EncodeToString([]byte(secret)),
		"URL": strings.ReplaceAll(url.QueryEscape(secret), ".", "%2E"), "upper": strings.ToUpper(secret), "cut": secret[:len(secret)-3],
		"first half": secret[:len(secret)/2], "reversed": string(reversed), "JSON": fmt.Sprintf(`{"message":%q}`, with(secret, "\u00ad", 2)),
		"quoted": fmt.Sprintf("%+q", with(secret, "\x00", 5)),
	}
}

// raw answers with bytes that need not be HTTP.
func raw(t *testing.T, answer string) string {
	t.Helper()
	return failing(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, err = conn.Write([]byte(answer))
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Error(err)
		}
	})
}

// Whatever a service sends, nothing of it is in an error: the errors are the same as
// where it sends something else.
func TestErrorsQuoteNoAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := signingtest.Token("fine")
	answers := map[string]func(text string) string{
		"body": func(text string) string { return "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + text },
		"JSON body": func(text string) string {
			return "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + text
		},
		"web page": func(text string) string {
			return "HTTP/1.1 404 Not Found\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n\r\n" + text
		},
		"another kind": func(text string) string {
			return "HTTP/1.1 403 No\r\nContent-Type: " + text + "\r\nConnection: close\r\n\r\n"
		},
		"status text":   func(text string) string { return "HTTP/1.1 403 " + text + "\r\nConnection: close\r\n\r\n" },
		"no HTTP":       func(text string) string { return text + "\r\n\r\n" },
		"a bad version": func(text string) string { return "HTTP/" + text + " 200 OK\r\n\r\n" },
		"a bad header":  func(text string) string { return "HTTP/1.1 200 OK\r\n" + text + "\r\n\r\n" },
		"a bad length":  func(text string) string { return "HTTP/1.1 200 OK\r\nContent-Length: x" + text + "\r\n\r\n" },
		"a redirect": func(text string) string {
			return "HTTP/1.1 307 X\r\nLocation: https://" + text + "\r\nConnection: close\r\n\r\n"
		},
		"success": func(text string) string { return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + text },
		"a certificate": func(text string) string {
			block := bytes.ReplaceAll(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}), []byte("\n"), []byte(`\n`))
			return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + `{"signedCertificateEmbeddedSct":{"chain":{"certificates":["` + string(block) + `"]}}}`
		},
		// A refusal of RFC 3161 with a text.
		"time stamps": func(text string) string {
			text = text[:min(len(text), 60)]
			der := "\x0c" + string(rune(len(text))) + text
			der = "\x30" + string(rune(len(der))) + der
			der = "\x02\x01\x02" + der
			der = "\x30" + string(rune(len(der))) + der
			return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\x30" + string(rune(len(der))) + der
		},
	}
	places := map[string]func(s *online.Services, url string){
		"Fulcio":      func(s *online.Services, url string) { s.Fulcio = url },
		"time stamps": func(s *online.Services, url string) { s.Timestamp = url },
		"log":         func(s *online.Services, url string) { s.Rekor = url },
	}
	sign := func(place, answer string) string {
		s := r.services()
		at := raw(t, answer)
		places[place](&s, at)
		signer, err := online.NewKeyless(given(t, token), s)
		if err != nil {
			t.Fatal(err)
		}
		_, err = signer.Sign(t.Context(), statement(t))
		if err == nil {
			t.Fatalf("%s: signed", place)
		}
		all := err.Error()
		for cause := err; cause != nil; cause = errors.Unwrap(cause) {
			all += fmt.Sprintf(" %v %+v %#v", cause, cause, cause)
		}
		all, _, _ = strings.Cut(strings.ReplaceAll(all, at, "URL"), "(0x") // addresses of memory
		return all
	}
	for place := range places {
		for kind, answer := range answers {
			want := sign(place, answer("something else"))
			for name, text := range maps.All(echoes(token)) {
				if kind != "body" && kind != "no HTTP" && name != "as it is" && name != "spaces" && name != "base64" {
					continue // once for each place is enough
				}
				if got := sign(place, answer(text)); got != want {
					t.Errorf("%s, %s, %s: the error depends on what was sent:\n%s\n%s", place, kind, name, got, want)
				}
			}
		}
	}
}
