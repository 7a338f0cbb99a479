package signing_test

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

var keyTypes = []signing.KeyType{signing.ECDSAP256, signing.Ed25519}

func TestRoundTripOfEachStatement(t *testing.T) {
	t.Parallel()
	for _, typ := range keyTypes {
		key := newKey(t, typ, 1)
		wantKey := key.Public().Fingerprint()

		a, fp, err := signing.VerifyApproval(signedApproval(t, key), manifest, today, trust(key)...)
		if err != nil || fp != wantKey {
			t.Fatalf("%v, key %s", err, fp)
		}
		if d := cmp.Diff(approval(), *a); d != "" {
			t.Error(d)
		}

		s, err := signing.NewFlightPlan(manifest, flightPlan())
		if err != nil {
			t.Fatal(err)
		}
		p, fp, err := signing.VerifyFlightPlan(signed(t, key, s), manifest, today, trust(key)...)
		if err != nil || fp != wantKey {
			t.Fatalf("%v, key %s", err, fp)
		}
		if d := cmp.Diff(flightPlan(), *p); d != "" {
			t.Error(d)
		}

		if s, err = signing.NewTakeOff(manifest, takeOff()); err != nil {
			t.Fatal(err)
		}
		o, fp, err := signing.VerifyTakeOff(signed(t, key, s), manifest, today, trust(key)...)
		if err != nil || fp != wantKey {
			t.Fatalf("%v, key %s", err, fp)
		}
		if d := cmp.Diff(takeOff(), *o); d != "" {
			t.Error(d)
		}
	}
}

// A bundle must be what sigstore's own types would write, so that any tool of
// theirs reads it, and must be canonical.
func TestBundleIsSigstores(t *testing.T) {
	t.Parallel()
	for _, typ := range keyTypes {
		key := newKey(t, typ, 1)
		data := signedApproval(t, key)
		if err := protocol.CheckCanonical(data); err != nil {
			t.Error(err)
		}
		var b bundle.Bundle
		if err := b.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		again, err := protojson.Marshal(b.Bundle)
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := protocol.Canonical(json.RawMessage(again))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(canonical, data) {
			t.Errorf("sigstore writes it as\n%s\nwe as\n%s", canonical, data)
		}
		v, err := signing.Verify(data, today, trust(key)...)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(v.Payload, approvalStatement(t)) || v.Statement.Type != signing.StatementType {
			t.Errorf("another payload came out: %s", v.Payload)
		}
	}
}

func TestEveryChangedByteIsRefused(t *testing.T) {
	t.Parallel()
	for _, typ := range keyTypes {
		key := newKey(t, typ, 1)
		good := signedApproval(t, key)
		keys := trust(key, newKey(t, typ, 2))
		for _, mask := range []byte{0x01, 0x20, 0x80} {
			t.Run(fmt.Sprintf("%s/xor %#02x", typ, mask), func(t *testing.T) {
				t.Parallel()
				data := bytes.Clone(good)
				for i := range data {
					data[i] ^= mask
					if _, _, err := signing.VerifyApproval(data, manifest, today, keys...); err == nil {
						t.Errorf("byte %d changed to %q: accepted", i, data[i])
					} else if protocol.ExitCode(err) != protocol.ExitIntegrity {
						t.Errorf("byte %d: exit %d: %v", i, protocol.ExitCode(err), err)
					}
					data[i] ^= mask
				}
			})
		}
		t.Run(string(typ)+"/one byte less or more", func(t *testing.T) {
			t.Parallel()
			for i := range good {
				less := append(bytes.Clone(good[:i]), good[i+1:]...)
				if _, _, err := signing.VerifyApproval(less, manifest, today, keys...); err == nil {
					t.Errorf("byte %d taken out: accepted", i)
				}
			}
			for _, more := range []string{"\n", " ", "\x00", "{}"} {
				for _, data := range [][]byte{append([]byte(more), good...), append(bytes.Clone(good), more...)} {
					_, _, err := signing.VerifyApproval(data, manifest, today, keys...)
					wantError(t, err, protocol.ExitIntegrity, signing.CodeBundleMalformed)
				}
			}
		})
	}
}

// rewrite changes a bundle's text; the old text must be there.
func rewrite(t testing.TB, data []byte, old, changed string) []byte {
	t.Helper()
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("no %q in %s", old, data)
	}
	return bytes.Replace(data, []byte(old), []byte(changed), 1)
}

func TestMalformedBundles(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.ECDSAP256, 1)
	good := signedApproval(t, key)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, good, "", " "); err != nil {
		t.Fatal(err)
	}
	mediaType := `"mediaType":"` + signing.BundleMediaType + `"`
	payload := `"payload":"`
	sig := textBetween(t, good, `"signatures":[`, `]`)
	for name, c := range map[string]struct {
		data []byte
		part string
	}{
		"empty":               {nil, "early"},
		"null":                {[]byte("null"), ""},
		"a list":              {[]byte("[]"), ""},
		"indented":            {pretty.Bytes(), "canonical"},
		"duplicate member":    {rewrite(t, good, mediaType, mediaType+","+mediaType), "duplicate"},
		"unknown member":      {rewrite(t, good, mediaType, `"extra":1,`+mediaType), "unknown field"},
		"proto name":          {rewrite(t, good, `"mediaType"`, `"media_type"`), "unknown field"},
		"another case":        {rewrite(t, good, `"mediaType"`, `"mediatype"`), "unknown field"},
		"media type v0.1":     {rewrite(t, good, signing.BundleMediaType, "application/vnd.dev.sigstore.bundle+json;version=0.1"), "mediaType"},
		"media type v0.2":     {rewrite(t, good, signing.BundleMediaType, "application/vnd.dev.sigstore.bundle+json;version=0.2"), "mediaType"},
		"old media type v0.3": {rewrite(t, good, signing.BundleMediaType, "application/vnd.dev.sigstore.bundle+json;version=0.3"), "mediaType"},
		"payload type":        {rewrite(t, good, signing.PayloadType, "application/json"), "payloadType"},
		"no signature":        {rewrite(t, good, sig, ""), "0 signatures"},
		"two signatures":      {rewrite(t, good, sig, sig+","+sig), "2 signatures"},
		"key id":              {rewrite(t, good, `{"sig"`, `{"keyid":"","sig"`), "unknown field"},
		"log entries":         {rewrite(t, good, `"verificationMaterial":{`, `"verificationMaterial":{"tlogEntries":[],`), "not in canonical form"},
		"time stamps":         {rewrite(t, good, `"verificationMaterial":{`, `"verificationMaterial":{"timestampVerificationData":{},`), "not in canonical form"},
		"certificate":         {rewrite(t, good, `"verificationMaterial":{`, `"verificationMaterial":{"certificate":{"rawBytes":"AA=="},`), "not exactly one of publicKey and certificate"},
		"no hint":             {rewrite(t, good, textBetween(t, good, `"publicKey":`, `},"x`[:1]), `{`), "canonical"},
		"line break in it":    {rewrite(t, good, payload, payload+`\n`), "strict base64"},
		"no padding":          {rewrite(t, good, `","payloadType"`, `A","payloadType"`), "base64"},
		"empty payload":       {rewrite(t, good, textBetween(t, good, payload, `"`), ""), "0 bytes"},
		"byte-order mark":     {append([]byte("\ufeff"), good...), "byte-order"},
		"escaped letter":      {rewrite(t, good, "mediaType", `m\u0065diaType`), "canonical"},
		"long signature":      {rewrite(t, good, textBetween(t, good, `"sig":"`, `"`), strings.Repeat("AAAA", 100)), "signature has 300 bytes"},
		"too large":           {bytes.Repeat([]byte{' '}, limits.BundleBytes+1), "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := signing.VerifyApproval(c.data, manifest, today, trust(key)...)
			wantError(t, err, protocol.ExitIntegrity, signing.CodeBundleMalformed, c.part)
		})
	}
}

func textBetween(t testing.TB, data []byte, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(data), from)
	if !ok {
		t.Fatalf("no %q in %s", from, data)
	}
	text, _, ok := strings.Cut(rest, to)
	if !ok {
		t.Fatalf("no %q after %q", to, from)
	}
	return text
}

// An ECDSA signature has spellings that sigstore accepts; there must be one only.
func TestOtherSpellingsOfASignature(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.ECDSAP256, 1)
	good := signedApproval(t, key)
	text := textBetween(t, good, `"sig":"`, `"`)
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, 64)
	rs.R.FillBytes(plain[:32])
	rs.S.FillBytes(plain[32:])
	padded := make([]byte, 66)
	rs.R.FillBytes(padded[:33])
	rs.S.FillBytes(padded[33:])
	for name, sig := range map[string][]byte{
		"side by side": plain, "side by side with zeros": padded, "bytes after": append(bytes.Clone(der), 0),
	} {
		data := rewrite(t, good, text, base64.StdEncoding.EncodeToString(sig))
		if len(sig) > limits.SignatureBytes {
			continue
		}
		_, err := signing.Verify(data, today, trust(key)...)
		wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureInvalid, "DER")
		if name == "bytes after" {
			continue
		}
		// The judge that we build on would let it pass, so the rule is ours to keep.
		pub, err := cryptoutils.UnmarshalPEMToPublicKey(key.Public().PEM())
		if err != nil {
			t.Fatal(err)
		}
		v, err := signature.LoadVerifier(pub, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		pae := dsse.PAE(signing.PayloadType, approvalStatement(t))
		if err := v.VerifySignature(bytes.NewReader(sig), bytes.NewReader(pae)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongKeys(t *testing.T) {
	t.Parallel()
	for _, typ := range keyTypes {
		key, other := newKey(t, typ, 1), newKey(t, typ, 2)
		good := signedApproval(t, key)

		_, err := signing.Verify(good, today)
		wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureUntrusted, "0 trusted keys")
		_, err = signing.Verify(good, today, signing.TrustedKey{})
		wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureUntrusted)
		_, err = signing.Verify(good, today, make([]signing.TrustedKey, limits.TrustedKeys+1)...)
		wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureUntrusted)
		_, err = signing.Verify(good, today, trust(other)...)
		wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureUntrusted, key.Public().Fingerprint())

		hint := func(k *signing.Key) string { return textBetween(t, signedApproval(t, k), `"hint":"`, `"`) }
		_, err = signing.Verify(rewrite(t, good, hint(key), hint(other)), today, trust(key, other)...)
		wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureInvalid, other.Public().Fingerprint())
		_, err = signing.Verify(rewrite(t, good, hint(key), "first-maintainer"), today, trust(key)...)
		wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureUntrusted, "first-maintainer")

		v, err := signing.Verify(good, today, trust(other, key)...)
		if err != nil || v.KeyFingerprint != key.Public().Fingerprint() {
			t.Errorf("one of two keys: %v", err)
		}
	}
}

func TestKeyWindows(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.Ed25519, 1)
	good := signedApproval(t, key)
	const day = 24 * time.Hour
	window := func(from, to time.Time) signing.TrustedKey {
		return signing.TrustedKey{Key: key.Public(), NotBefore: from, NotAfter: to}
	}
	var none time.Time
	for name, c := range map[string]struct {
		at   time.Time
		keys []signing.TrustedKey
		ok   bool
	}{
		"no window":             {today, []signing.TrustedKey{window(none, none)}, true},
		"no window, no time":    {none, []signing.TrustedKey{window(none, none)}, true},
		"inside":                {today, []signing.TrustedKey{window(today.Add(-day), today.Add(day))}, true},
		"first moment":          {today, []signing.TrustedKey{window(today, none)}, true},
		"last moment":           {today, []signing.TrustedKey{window(none, today)}, true},
		"expired":               {today, []signing.TrustedKey{window(none, today.Add(-1))}, false},
		"not yet valid":         {today, []signing.TrustedKey{window(today.Add(1), none)}, false},
		"window, no time":       {none, []signing.TrustedKey{window(none, today)}, false},
		"second window":         {today, []signing.TrustedKey{window(none, today.Add(-day)), window(today, none)}, true},
		"between two windows":   {today, []signing.TrustedKey{window(none, today.Add(-day)), window(today.Add(day), none)}, false},
		"in another time zone":  {today.In(time.FixedZone("far", 14*3600)), []signing.TrustedKey{window(today, today)}, true},
		"expired among foreign": {today, append(trust(newKey(t, signing.Ed25519, 2)), window(none, today.Add(-day))), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := signing.Verify(good, c.at, c.keys...)
			if c.ok && err != nil {
				t.Error(err)
			}
			if !c.ok {
				wantError(t, err, protocol.ExitIntegrity, signing.CodeSignatureKeyWindow, key.Public().Fingerprint())
			}
		})
	}
}

func TestStatementOfSomethingElse(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.Ed25519, 1)
	good := signedApproval(t, key)
	keys := trust(key)

	changed := bytes.Replace(manifest, []byte("wf-1"), []byte("wf-2"), 1)
	_, _, err := signing.VerifyApproval(good, changed, today, keys...)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeStatementMismatch, protocol.Digest(manifest), protocol.Digest(changed))
	for i := range manifest {
		changed := bytes.Clone(manifest)
		changed[i] ^= 1
		if _, _, err := signing.VerifyApproval(good, changed, today, keys...); err == nil {
			t.Errorf("byte %d of the manifest changed: accepted", i)
		}
	}
	_, _, err = signing.VerifyTakeOff(good, manifest, today, keys...)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeStatementMismatch, signing.ApprovalType, signing.TakeOffType)
	_, _, err = signing.VerifyFlightPlan(good, manifest, today, keys...)
	wantError(t, err, protocol.ExitIntegrity, signing.CodeStatementMismatch, signing.FlightPlanType)
	if _, err = signing.VerifyStatement(good, protocol.Digest(manifest), signing.ApprovalType, today, keys...); err != nil {
		t.Error(err)
	}
	_, err = signing.VerifyStatement(good, "md5:0", signing.ApprovalType, today, keys...)
	wantError(t, err, protocol.ExitFailure, signing.CodeStatementMismatch, "md5:0")
}
