package signing_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/signingtest"
)

// Whatever Normalize accepts is in the one form, and is brought into it again.
func FuzzNormalize(f *testing.F) {
	r := newRig(f)
	f.Add(r.logged(f).canonical(f))
	f.Add(r.bundle(signingtest.GitHub()))
	f.Add(signedApproval(f, newKey(f, signing.Ed25519, 1)))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.3","dsseEnvelope":{"signatures":[{"sig":"AA=="}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := signing.Normalize(data)
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
			}
			return
		}
		again, err := signing.Normalize(out)
		if err != nil || !bytes.Equal(again, out) || protocol.CheckCanonical(out) != nil {
			t.Fatalf("%v:\n%s\nbecame\n%s", err, out, again)
		}
	})
}

// Nobody can forge a certificate or a time stamp either.
func FuzzVerifyCertificate(f *testing.F) {
	r := newRig(f)
	good, trust := r.bundle(signingtest.GitHub()), r.trust()
	f.Add(good)
	f.Add(r.logged(f).canonical(f))
	f.Add(r.unstamped(approvalStatement(f), signingtest.GitHub()).canonical(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := trust.Verify(data, today)
		if err == nil && !bytes.Equal(data, good) {
			t.Fatalf("accepted:\n%s", data)
		}
		if err != nil && protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
		}
	})
}

func FuzzTrustedRoot(f *testing.F) {
	r := newRig(f)
	f.Add(r.TrustedRoot(signingtest.Parts{CA: true, TSA: true, Log: true, CT: true}))
	f.Add(r.TrustedRoot(signingtest.Parts{TSA: true}))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{}]}`))
	f.Add([]byte(`{"certificateAuthorities":[{"certChain":{"certificates":[{}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := signing.ParseTrustedRoot(data); err != nil && protocol.ExitCode(err) != protocol.ExitUsage {
			t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
		}
	})
}

// FuzzCertificate feeds certificates to the reader of facts; what it reads must be
// refused all the same, since nobody trusted has issued it.
func FuzzCertificate(f *testing.F) {
	r, stranger := newRig(f), signingtest.New(f, today)
	key := newKey(f, signing.ECDSAP256, 1)
	d := open(f, r.bundle(signingtest.GitHub()))
	certificate := func(bundle []byte) []byte {
		der, err := base64.StdEncoding.DecodeString(open(f, bundle).in("verificationMaterial", "certificate")["rawBytes"].(string))
		if err != nil {
			f.Fatal(err)
		}
		return der
	}
	other := &rig{stranger, f}
	f.Add(certificate(other.bundle(signingtest.GitHub())))
	f.Add(certificate(other.bundle(signingtest.GitHub().With(11, "").With(99, "x"))))
	f.Add(certificate(other.bundle(signingtest.Facts{SAN: "a@example.com", Email: true, Extensions: map[int]string{1: "https://x"}})))
	f.Add(key.Public().PEM())
	trust := r.trust()
	f.Fuzz(func(t *testing.T, der []byte) {
		d.in("verificationMaterial")["certificate"] = map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(der)}
		if _, err := trust.InsecureVerifyAnyIdentity(d.canonical(t), today); err == nil || protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Fatalf("%v", err)
		}
	})
}
