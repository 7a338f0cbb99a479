package signingtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
)

// Authority issues certificates, time stamps and log entries.
type Authority struct {
	// Now is what its clock says.
	Now time.Time
	// LeafLife is how long certificates are valid.
	LeafLife time.Duration
	// Start and End bound the time for which TrustedRoot names it; End may be zero.
	Start, End time.Time
	// LogOrigin is the host of its log.
	LogOrigin string

	t                 testing.TB
	root, ca, tsaRoot *x509.Certificate
	tsa               *x509.Certificate
	caKey, tsaKey     *ecdsa.PrivateKey
	logKey            *ecdsa.PrivateKey
}

// New makes an authority whose certificates are valid around a time.
func New(t testing.TB, now time.Time) *Authority {
	t.Helper()
	const year = 365 * 24 * time.Hour
	a := &Authority{t: t, Now: now, LeafLife: 10 * time.Minute, Start: now.Add(-year), LogOrigin: "127.0.0.1"}
	authority := func(name string, use ...x509.ExtKeyUsage) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name, Organization: []string{"test"}}, NotBefore: now.Add(-year), NotAfter: now.Add(year),
			KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: use, BasicConstraintsValid: true, IsCA: true,
		}
	}
	rootKey, tsaRootKey := a.key(), a.key()
	a.caKey, a.tsaKey, a.logKey = a.key(), a.key(), a.key()
	a.root = a.issue(authority("fulcio root"), nil, &rootKey.PublicKey, rootKey)
	a.ca = a.issue(authority("fulcio", x509.ExtKeyUsageCodeSigning), a.root, &a.caKey.PublicKey, rootKey)
	a.tsaRoot = a.issue(authority("tsa root"), nil, &tsaRootKey.PublicKey, tsaRootKey)
	leaf := authority("tsa")
	leaf.IsCA, leaf.KeyUsage = false, x509.KeyUsageDigitalSignature
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	a.must(err)
	leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
	a.tsa = a.issue(leaf, a.tsaRoot, &a.tsaKey.PublicKey, tsaRootKey)
	return a
}

func (a *Authority) must(err error) {
	if err != nil {
		a.t.Helper()
		a.t.Fatal(err)
	}
}

func (a *Authority) key() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	return k
}

func (a *Authority) issue(template, parent *x509.Certificate, public crypto.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
	if parent == nil {
		parent = template
	}
	const serialBits = 64
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	a.must(err)
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	a.must(err)
	c, err := x509.ParseCertificate(der)
	a.must(err)
	return c
}

// Facts are what a certificate says: its subject alternative name, and Fulcio's
// extensions by their last number.
type Facts struct {
	SAN        string
	Email      bool
	Extensions map[int]string
}

// GitHub gives the facts of a job of a reusable workflow, as Fulcio states them.
func GitHub() Facts {
	const (
		signer = "https://github.com/cabincrew/flights/.github/workflows/plan.yml@refs/heads/main"
		commit = "1111111111111111111111111111111111111111"
		source = "https://github.com/acme/infra"
	)
	return Facts{SAN: signer, Extensions: map[int]string{
		8: "https://token.actions.githubusercontent.com", 9: signer, 10: commit, 11: "github-hosted",
		12: source, 13: "2222222222222222222222222222222222222222", 14: "refs/heads/main", 15: "17", 16: "https://github.com/acme", 17: "7",
		18: source + "/.github/workflows/infra.yml@refs/heads/main", 19: "2222222222222222222222222222222222222222",
		20: "push", 21: source + "/actions/runs/5/attempts/1", 22: "private", 24: "repo:acme/infra:ref:refs/heads/main",
	}}
}

// With gives the facts with one of them changed; an empty value takes it out.
func (f Facts) With(number int, value string) Facts {
	f.Extensions = maps.Clone(f.Extensions)
	if f.Extensions[number] = value; value == "" {
		delete(f.Extensions, number)
	}
	return f
}

// Signer gives the facts with another workflow.
func (f Facts) Signer(uri string) Facts {
	f = f.With(9, uri) //nolint:mnd // the Build Signer URI
	f.SAN = uri
	return f
}

// Certificate issues a certificate (DER) for a key.
func (a *Authority) Certificate(public crypto.PublicKey, f Facts) []byte {
	a.t.Helper()
	leaf := &x509.Certificate{
		NotBefore: a.Now, NotAfter: a.Now.Add(a.LeafLife), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if f.Email {
		leaf.EmailAddresses = []string{f.SAN}
	} else {
		u, err := url.Parse(f.SAN)
		a.must(err)
		leaf.URIs = []*url.URL{u}
	}
	for _, n := range slices.Sorted(maps.Keys(f.Extensions)) {
		value, err := asn1.MarshalWithParams(f.Extensions[n], "utf8")
		a.must(err)
		if n == 1 {
			value = []byte(f.Extensions[n])
		}
		leaf.ExtraExtensions = append(leaf.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: value})
	}
	return a.issue(leaf, a.ca, public, a.caKey).Raw
}

// Timestamp gives a time stamp over a signature, at the time of the clock.
func (a *Authority) Timestamp(signature []byte) []byte {
	sum := sha256.Sum256(signature)
	return a.stamp(sum[:])
}

func (a *Authority) stamp(sum []byte) []byte {
	stamp := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum, Time: a.Now, Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
		AddTSACertificate: true,
	}
	out, err := stamp.CreateResponseWithOpts(a.tsa, a.tsaKey, crypto.SHA256)
	a.must(err)
	return out
}

// Parts says what TrustedRoot names.
type Parts struct{ CA, TSA, Log, CT bool }

// TrustedRoot gives a trusted_root.json.
func (a *Authority) TrustedRoot(parts Parts) []byte {
	a.t.Helper()
	period := map[string]string{"start": a.Start.Format(time.RFC3339)}
	if !a.End.IsZero() {
		period["end"] = a.End.Format(time.RFC3339)
	}
	authority := func(chain ...*x509.Certificate) []any {
		var list []any
		for _, c := range chain {
			list = append(list, map[string]any{"rawBytes": c.Raw})
		}
		return []any{map[string]any{
			"subject": map[string]any{"organization": "test", "commonName": "test"}, "uri": "http://127.0.0.1/" + chain[0].Subject.CommonName,
			"certChain": map[string]any{"certificates": list}, "validFor": period,
		}}
	}
	log := func() []any {
		spki, err := x509.MarshalPKIXPublicKey(&a.logKey.PublicKey)
		a.must(err)
		return []any{map[string]any{
			"baseUrl": "https://" + a.LogOrigin, "hashAlgorithm": "SHA2_256", "logId": map[string]any{"keyId": a.logID()},
			"publicKey": map[string]any{"rawBytes": spki, "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": period},
		}}
	}
	doc := map[string]any{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
	if parts.CA {
		doc["certificateAuthorities"] = authority(a.ca, a.root)
	}
	if parts.TSA {
		doc["timestampAuthorities"] = authority(a.tsa, a.tsaRoot)
	}
	if parts.Log {
		doc["tlogs"] = log()
	}
	if parts.CT {
		doc["ctlogs"] = log()
	}
	out, err := json.Marshal(doc)
	a.must(err)
	return out
}

func (a *Authority) logID() []byte {
	spki, err := x509.MarshalPKIXPublicKey(&a.logKey.PublicKey)
	a.must(err)
	sum := sha256.Sum256(spki)
	return sum[:]
}
