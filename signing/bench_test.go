package signing_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/signing/signingtest"
)

func BenchmarkSign(b *testing.B) {
	for _, typ := range keyTypes {
		b.Run(string(typ), func(b *testing.B) {
			key, statement := newKey(b, typ, 1), approvalStatement(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := signing.Sign(b.Context(), key, statement); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, typ := range keyTypes {
		b.Run(string(typ), func(b *testing.B) {
			key := newKey(b, typ, 1)
			bundle, keys := signedApproval(b, key), trust(key)
			b.ReportAllocs()
			b.ReportMetric(float64(len(bundle)), "bundle-bytes")
			for b.Loop() {
				if _, _, err := signing.VerifyApproval(bundle, manifest, today, keys...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerifyCertificate verifies a certificate with its time stamp, and with
// an entry of a log besides.
func BenchmarkVerifyCertificate(b *testing.B) {
	r := newRig(b)
	logged := r.trust()
	logged.Root = r.root(signingtest.Parts{CA: true, TSA: true, Log: true})
	for name, c := range map[string]struct {
		trust  signing.Trust
		bundle []byte
	}{"time-stamp": {r.trust(), r.bundle(signingtest.GitHub())}, "log": {logged, r.logged(b).canonical(b)}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.ReportMetric(float64(len(c.bundle)), "bundle-bytes")
			for b.Loop() {
				if _, _, err := c.trust.VerifyApproval(c.bundle, manifest, today); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerifyFlightPlan reads a plan whose preimage names that many artifacts.
func BenchmarkVerifyFlightPlan(b *testing.B) {
	for _, artifacts := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(artifacts), func(b *testing.B) {
			list := make([]string, artifacts)
			for i := range list {
				list[i] = fmt.Sprintf(`{"hash":%q,"name":"artifact-%05d","role":"evidence","size":10240}`, digestA, i)
			}
			p := flightPlan()
			p.Steps[0].Preimage = json.RawMessage(`{"artifacts":[` + strings.Join(list, ",") + `]}`)
			statement, err := signing.NewFlightPlan(manifest, p)
			if err != nil {
				b.Fatal(err)
			}
			key := newKey(b, signing.ECDSAP256, 1)
			bundle, keys := signed(b, key, statement), trust(key)
			b.ReportMetric(float64(len(bundle)), "bundle-bytes")
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := signing.VerifyFlightPlan(bundle, manifest, today, keys...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
