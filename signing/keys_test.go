package signing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

func pass(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func TestGenerateAndLoad(t *testing.T) {
	t.Parallel()
	for _, typ := range []signing.KeyType{"", signing.ECDSAP256, signing.Ed25519} {
		for _, phrase := range []string{"", "correct horse"} {
			t.Run(fmt.Sprintf("%s/%q", typ, phrase), func(t *testing.T) {
				t.Parallel()
				var secret []byte
				header := "-----BEGIN PRIVATE KEY-----\n"
				if phrase != "" {
					secret, header = []byte(phrase), "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
				}
				private, public, err := signing.Generate(typ, secret, nil)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.HasPrefix(private, []byte(header)) || !bytes.HasPrefix(public, []byte("-----BEGIN PUBLIC KEY-----\n")) {
					t.Fatalf("unexpected forms:\n%s%s", private, public)
				}
				key, err := signing.LoadPrivate(private, pass(phrase))
				if err != nil {
					t.Fatal(err)
				}
				pub, err := signing.ParsePublic(public)
				if err != nil {
					t.Fatal(err)
				}
				if pub.Fingerprint() != key.Public().Fingerprint() || !bytes.Equal(pub.PEM(), public) {
					t.Error("the private and the public key are not a pair")
				}
				if want := typ; want != "" && pub.Type() != want || want == "" && pub.Type() != signing.ECDSAP256 {
					t.Errorf("type %q for %q", pub.Type(), typ)
				}
				block, _ := pem.Decode(public)
				if want := protocol.Digest(block.Bytes); pub.Fingerprint() != want {
					t.Errorf("fingerprint %s, want the SPKI's digest %s", pub.Fingerprint(), want)
				}
				b := signedApproval(t, key)
				if _, _, err := signing.VerifyApproval(b, manifest, today, signing.TrustedKey{Key: pub}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestGenerateUsesTheGivenSource(t *testing.T) {
	t.Parallel()
	for _, typ := range []signing.KeyType{signing.ECDSAP256, signing.Ed25519} {
		one, other := newKey(t, typ, 1).Public().Fingerprint(), newKey(t, typ, 2).Public().Fingerprint()
		if again := newKey(t, typ, 1).Public().Fingerprint(); one != again || one == other {
			t.Errorf("%s: %s, %s again, %s from another source", typ, one, again, other)
		}
		_, _, err := signing.Generate(typ, nil, strings.NewReader("short"))
		wantError(t, err, protocol.ExitFailure, signing.CodeKeyGenerate, "random")
	}
	_, _, err := signing.Generate(signing.ECDSAP256, nil, bytes.NewReader(bytes.Repeat([]byte{0xff}, 1<<16)))
	wantError(t, err, protocol.ExitFailure, signing.CodeKeyGenerate, "in range")
	_, _, err = signing.Generate("rsa", nil, nil)
	wantError(t, err, protocol.ExitUsage, signing.CodeKeyGenerate, "rsa")
	_, _, err = signing.Generate("", []byte{}, nil)
	wantError(t, err, protocol.ExitUsage, signing.CodeKeyPassphrase, "empty")
}

func TestLoadPrivateRefuses(t *testing.T) {
	t.Parallel()
	sealed, public, err := signing.Generate("", []byte("right"), nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, _, err := signing.Generate("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := cryptoutils.MarshalPrivateKeyToPEM(p384)
	if err != nil {
		t.Fatal(err)
	}
	damaged := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("{")})
	huge := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: make([]byte, limits.KeyFileBytes)})
	for name, c := range map[string]struct {
		data []byte
		pass func() ([]byte, error)
		code string
		part string
	}{
		"wrong passphrase":  {sealed, pass("wrong"), signing.CodeKeyPassphrase, "does not open"},
		"empty passphrase":  {sealed, pass(""), signing.CodeKeyPassphrase, "does not open"},
		"nil passphrase":    {sealed, func() ([]byte, error) { return nil, nil }, signing.CodeKeyPassphrase, "does not open"},
		"no passphrase":     {sealed, nil, signing.CodeKeyPassphrase, "encrypted"},
		"failing prompt":    {sealed, func() ([]byte, error) { return nil, errors.New("no terminal") }, signing.CodeKeyPassphrase, "no terminal"},
		"public key":        {public, nil, signing.CodeKeyMalformed, "PUBLIC KEY"},
		"two blocks":        {append(bytes.Clone(plain), plain...), nil, signing.CodeKeyMalformed, "one PEM block"},
		"trailing text":     {append(bytes.Clone(plain), "x"...), nil, signing.CodeKeyMalformed, "one PEM block"},
		"not PEM":           {[]byte("hello"), nil, signing.CodeKeyMalformed, "PEM"},
		"empty":             {nil, nil, signing.CodeKeyMalformed, "PEM"},
		"other curve":       {curve, nil, signing.CodeKeyMalformed, "P-384"},
		"damaged encrypted": {damaged, pass("right"), signing.CodeKeyMalformed, "damaged"},
		"damaged plain":     {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), nil, signing.CodeKeyMalformed, "parse"},
		"too large":         {huge, nil, signing.CodeKeyMalformed, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := signing.LoadPrivate(c.data, c.pass)
			wantError(t, err, protocol.ExitUsage, c.code, c.part)
		})
	}
	own := protocol.Errorf(protocol.ExitInterrupted, "interrupted", "interrupted")
	if _, err := signing.LoadPrivate(sealed, func() ([]byte, error) { return nil, own }); !errors.Is(err, own) {
		t.Errorf("the prompt's own error became %v", err)
	}
}

func TestLoadPrivateReadsWhatCosignWroteBefore(t *testing.T) {
	t.Parallel()
	sealed, public, err := signing.Generate(signing.Ed25519, []byte("right"), nil)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.ReplaceAll(sealed, []byte("SIGSTORE"), []byte("COSIGN"))
	key, err := signing.LoadPrivate(old, pass("right"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key.Public().PEM(), public) {
		t.Error("another key came out")
	}
}

func TestPrivateKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.Ed25519, 1)
	want := "private key " + key.Public().Fingerprint()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, key); got != want {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

func TestParsePublic(t *testing.T) {
	t.Parallel()
	good := newKey(t, signing.ECDSAP256, 1).Public().PEM()
	for name, data := range map[string][]byte{
		"as written":     good,
		"no newline":     bytes.TrimSpace(good),
		"DOS newlines":   bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"blank lines":    append([]byte("\n\n"), append(bytes.Clone(good), '\n')...),
		"another kind":   newKey(t, signing.Ed25519, 1).Public().PEM(),
		"after a parser": mustReparse(t, good),
	} {
		if _, err := signing.ParsePublic(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	for name, c := range map[string]struct {
		data []byte
		part string
	}{
		"text before":    {append([]byte("hello\n"), good...), "one PEM block"},
		"text after":     {append(bytes.Clone(good), "hello\n"...), "one PEM block"},
		"two keys":       {append(bytes.Clone(good), good...), "one PEM block"},
		"headers":        {pem.EncodeToMemory(&pem.Block{Type: block.Type, Headers: map[string]string{"a": "b"}, Bytes: block.Bytes}), "one PEM block"},
		"RSA":            {spki(t, rsaKey.Public()), "rsa"},
		"another type":   {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}), "CERTIFICATE"},
		"trailing bytes": {pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: append(bytes.Clone(block.Bytes), 0)}), "parse"},
		"too large":      {bytes.Repeat([]byte{'\n'}, limits.KeyFileBytes+1), "too large"},
		"empty":          {nil, "PEM"},
	} {
		_, err := signing.ParsePublic(c.data)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, protocol.ExitUsage, signing.CodeKeyMalformed, c.part)
	}
}

func spki(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func mustReparse(t testing.TB, data []byte) []byte {
	t.Helper()
	pub, err := signing.ParsePublic(data)
	if err != nil {
		t.Fatal(err)
	}
	return pub.PEM()
}
