package audit

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// signer signs with a key of the test.
type signer struct {
	ref string
	key ed25519.PrivateKey
	err error
}

func (s signer) KeyRef() string                    { return s.ref }
func (s signer) Sign(event []byte) ([]byte, error) { return ed25519.Sign(s.key, event), s.err }

func (s signer) by(ref string, event, signature []byte) error {
	if ref != s.ref || !ed25519.Verify(s.key.Public().(ed25519.PublicKey), event, signature) { //nolint:forcetypeassert // it is one
		return fmt.Errorf("not by %s", s.ref)
	}
	return nil
}

func newSigner(tb testing.TB, ref string) signer {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return signer{ref: ref, key: key}
}

func signedLog(tb testing.TB, n int, by Signer) []byte {
	tb.Helper()
	dir := tb.TempDir()
	l, _ := openLog(tb, dir, Options{Signer: by})
	for i := range n {
		if err := l.Append(sampleEvent(i)); err != nil {
			tb.Fatal(err)
		}
	}
	return readLog(tb, dir)
}

// TestSignatures holds signed logs against the key that signed them.
func TestSignatures(t *testing.T) {
	t.Parallel()
	mine, stranger := newSigner(t, "sha256:mine"), newSigner(t, "sha256:mine")
	log := signedLog(t, 9, mine)
	lines := bytes.SplitAfter(bytes.TrimSuffix(log, []byte{'\n'}), []byte{'\n'})
	check := func(log []byte) (Report, error) {
		return Verify(bytes.NewReader(log), flight, VerifyOptions{Signed: mine.by})
	}
	if r, err := check(log); err != nil || r.Events != 9 {
		t.Fatalf("%+v %v", r, err)
	}
	if _, err := verify(log); err != nil {
		t.Errorf("where nobody asks for signatures: %v", err)
	}
	// The document that is signed is the event without its signature, and nothing else.
	var e protocol.AuditEvent
	if err := protocol.Decode(bytes.TrimSuffix(lines[0], []byte{'\n'}), &e); err != nil || e.SignatureKeyRef != mine.ref {
		t.Fatal(err, e.SignatureKeyRef)
	}
	cutSignature := func(line []byte) []byte {
		m, err := member(bytes.TrimSuffix(line, []byte{'\n'}), "signature")
		if err != nil {
			t.Fatal(err)
		}
		return append(protocol.AppendWithout(nil, bytes.TrimSuffix(line, []byte{'\n'}), m), '\n')
	}
	other := signedLog(t, 9, stranger)
	another := signedLog(t, 9, signer{ref: "sha256:other", key: mine.key})
	for name, c := range map[string]struct {
		log  []byte
		code string
		line int
	}{
		"no signature at all":        {sampleLog(t, 9), "audit_unsigned", 1},
		"the last one's removed":     {append(bytes.Join(lines[:8], nil), cutSignature(lines[8])...), "audit_unsigned", 9},
		"by a stranger":              {other, "audit_forged", 1},
		"under another name":         {another, "audit_forged", 1},
		"not in base64":              {bytes.Replace(log, []byte(`"signature":"`), []byte(`"signature":"!`), 1), "audit_forged", 1},
		"of another event":           {bytes.Replace(log, []byte(e.Signature), []byte(secondOf(t, lines)), 1), "audit_forged", 1},
		"second spelling of padding": {bytes.Replace(log, []byte(e.Signature), []byte(respelled(e.Signature)), 1), "audit_forged", 1},
	} {
		r, err := check(c.log)
		if !errors.Is(err, protocol.Code(c.code)) || protocol.ExitCode(err) != protocol.ExitIntegrity || r.Problem == nil || r.Problem.Line != c.line {
			t.Errorf("%s: %+v %v", name, r.Problem, err)
		}
		if c.line == 1 {
			if err := CheckLine(bytes.TrimSuffix(bytes.SplitAfter(c.log, []byte{'\n'})[0], []byte{'\n'}), mine.by); err == nil {
				t.Errorf("%s: the line alone is taken", name)
			}
		}
	}
	if err := CheckLine(bytes.TrimSuffix(lines[3], []byte{'\n'}), mine.by); err != nil || EventID(bytes.TrimSuffix(lines[3], []byte{'\n'})) == "" {
		t.Error(err)
	}
	for i := range lines[2][:len(lines[2])-1] { // no byte of a signed line can be another one
		changed := bytes.Clone(lines[2][:len(lines[2])-1])
		changed[i] ^= 1
		if CheckLine(changed, mine.by) == nil {
			t.Errorf("byte %d changed: %s", i, changed)
		}
	}
}

func secondOf(t *testing.T, lines [][]byte) string {
	t.Helper()
	var e protocol.AuditEvent
	if err := protocol.Decode(bytes.TrimSuffix(lines[1], []byte{'\n'}), &e); err != nil {
		t.Fatal(err)
	}
	return e.Signature
}

// respelled sets a bit of base64 that stands for nothing.
func respelled(signature string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := strings.IndexByte(signature, '=') - 1
	return signature[:at] + string(digits[strings.IndexByte(digits, signature[at])^1]) + signature[at+1:]
}

// TestUnsignable: what cannot be signed is not written, and the log goes on after it.
func TestUnsignable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSigner(t, "sha256:mine")
	s.err = errors.New("no key")
	l, _ := openLog(t, dir, Options{Signer: &s})
	wantCode(t, l.Append(sampleEvent(0)), "audit_event_invalid")
	if len(readLog(t, dir)) != 0 {
		t.Error("an event was written unsigned")
	}
	s.err = nil
	if err := l.Append(sampleEvent(0)); err != nil {
		t.Fatal(err)
	}
	given := sampleEvent(1)
	given.SignatureKeyRef = "x"
	wantCode(t, l.Append(given), "audit_event_invalid")
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	for _, repository := range []string{"42", LocalRepository, "a.b-c_d"} {
		o, err := Origin(repository, flight)
		if err != nil {
			t.Fatal(err)
		}
		if r, id, err := ParseOrigin(o); err != nil || r != repository || id != flight || o != "cabincrew.dev/"+repository+"/"+flight {
			t.Errorf("%s: %s %s %v", o, r, id, err)
		}
	}
	for _, bad := range []string{"", "cabincrew.dev/", "cabincrew.dev/42", "cabincrew.dev//w1", "cabincrew.dev/42/w1/x", "cabincrew.dev/4 2/w1", "cabincrew.dev/4+2/w1", "example.com/42/w1", "cabincrew.dev/42/w1\n"} {
		if _, _, err := ParseOrigin(bad); err == nil {
			t.Errorf("%q names a log", bad)
		}
	}
}

func BenchmarkSignedAppend(b *testing.B) {
	l, _ := openLog(b, b.TempDir(), Options{Signer: newSigner(b, "sha256:mine")})
	event := sampleEvent(0)
	for b.Loop() {
		if _, _, err := l.line(event, l.head); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifySigned(b *testing.B) {
	s := newSigner(b, "sha256:mine")
	log := signedLog(b, 2000, s)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if _, err := Verify(bytes.NewReader(log), flight, VerifyOptions{Signed: s.by}); err != nil {
			b.Fatal(err)
		}
	}
}
