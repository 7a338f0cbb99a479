package signing_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// Nobody can forge a signature, so whatever is accepted must be the very file
// that was signed. ed25519 signs the same twice, so the file is known.
func FuzzVerify(f *testing.F) {
	key := newKey(f, signing.Ed25519, 1)
	good := signedApproval(f, key)
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("v0.3"), []byte("v0.2"), 1))
	f.Add(bytes.Replace(good, []byte(`"sig"`), []byte(`"keyid":"","sig"`), 1))
	f.Add(bytes.Replace(good, []byte(`"mediaType"`), []byte(`"mediaType":"x","mediaType"`), 1))
	f.Add(signedApproval(f, newKey(f, signing.ECDSAP256, 1)))
	f.Add(good[:len(good)/2])
	f.Add([]byte("{}"))
	f.Add([]byte("null"))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	keys := trust(key, newKey(f, signing.ECDSAP256, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, err := signing.VerifyApproval(data, manifest, today, keys...)
		if err == nil && !bytes.Equal(data, good) {
			t.Fatalf("accepted:\n%s", data)
		}
		if err != nil && protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
		}
	})
}

// FuzzStatement feeds genuinely signed payloads to the reader of predicates.
func FuzzStatement(f *testing.F) {
	smith, good := newForger(f), string(approvalStatement(f))
	f.Add(good)
	f.Add(strings.Replace(good, "/v1", "/v0.1", 1))
	f.Add(strings.Replace(good, `"approved":true`, `"approved":null`, 1))
	f.Add(strings.Replace(good, `"subject":[`, `"subject":[{},`, 1))
	f.Add("{}")
	f.Add(`{"_type":"https://in-toto.io/Statement/v1","predicate":null,"predicateType":"","subject":null}`)
	f.Fuzz(func(t *testing.T, payload string) {
		if payload == "" {
			return // a bundle without payload is FuzzVerify's
		}
		p, _, err := signing.VerifyApproval(smith.bundle(t, payload), manifest, today, smith.keys...)
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
			}
			return
		}
		// What was read must be all that was signed.
		again, err := signing.NewApproval(manifest, *p)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := protocol.DecodeAny([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if want, err := protocol.Canonical(tree); err != nil || !bytes.Equal(want, again) {
			t.Fatalf("%v: read as\n%s\nbut signed was\n%s", err, again, want)
		}
	})
}

func FuzzParsePublic(f *testing.F) {
	for _, typ := range keyTypes {
		public := newKey(f, typ, 1).Public().PEM()
		f.Add(public)
		f.Add(append(bytes.Clone(public), public...))
		f.Add(append([]byte("text\n"), public...))
		f.Add(bytes.ReplaceAll(public, []byte("\n"), []byte("\r\n")))
	}
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pub, err := signing.ParsePublic(data)
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitUsage {
				t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
			}
			return
		}
		again, err := signing.ParsePublic(pub.PEM())
		if err != nil || again.Fingerprint() != pub.Fingerprint() {
			t.Fatalf("%v: %s became another key", err, pub)
		}
		if got := bytes.Join(bytes.Fields(pub.PEM()), nil); !bytes.Equal(got, bytes.Join(bytes.Fields(data), nil)) {
			t.Fatalf("the file holds more than the key: %q", data)
		}
	})
}

// FuzzLoadPrivate leaves encrypted keys closed: opening one costs 0.1 s on purpose.
func FuzzLoadPrivate(f *testing.F) {
	for _, typ := range keyTypes {
		private, public, err := signing.Generate(typ, nil, source(1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(private)
		f.Add(public)
		f.Add(bytes.ReplaceAll(private, []byte("PRIVATE"), []byte("ENCRYPTED SIGSTORE PRIVATE")))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := signing.LoadPrivate(data, nil)
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitUsage {
				t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
			}
			return
		}
		if _, err := signing.ParsePublic(key.Public().PEM()); err != nil {
			t.Fatal(err)
		}
	})
}
