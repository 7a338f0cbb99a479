package signing

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"

	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// TrustedRoot holds the authorities whose certificates, time stamps and log
// entries count: what a pinned trusted_root.json of Sigstore says. Nothing is
// ever fetched.
type TrustedRoot struct {
	root   *root.TrustedRoot
	digest string
}

// ParseTrustedRoot reads a trusted_root.json strictly: no unknown or repeated
// member, each certificate whole, each chain in order up to its root, each
// authority and key with the time from which it counts.
func ParseTrustedRoot(data []byte) (*TrustedRoot, error) {
	fail := func(err error) (*TrustedRoot, error) {
		return nil, protocol.Errorf(protocol.ExitUsage, CodeTrustedRootMalformed, "not a trusted root of Sigstore: %w", clipped(err)).
			WithHint("give a trusted_root.json, as `cosign trusted-root create` writes it")
	}
	if len(data) > limits.TrustedRootBytes {
		return fail(fmt.Errorf("%d bytes are too many (at most %d)", len(data), limits.TrustedRootBytes))
	}
	if _, err := protocol.DecodeAny(data); err != nil {
		return fail(err)
	}
	doc, err := root.NewTrustedRootProtobuf(data)
	if err != nil {
		return fail(err)
	}
	if err := checkRoot(doc); err != nil {
		return fail(err)
	}
	r, err := root.NewTrustedRootFromProtobuf(doc)
	if err != nil {
		return fail(err)
	}
	return &TrustedRoot{r, protocol.Digest(data)}, nil
}

// Digest names the file that was read.
func (r *TrustedRoot) Digest() string { return r.digest }

func (r *TrustedRoot) hasTimestamps() bool {
	return r != nil && len(r.root.TimestampingAuthorities()) > 0
}
func (r *TrustedRoot) hasLogs() bool   { return r != nil && len(r.root.RekorLogs()) > 0 }
func (r *TrustedRoot) hasCTLogs() bool { return r != nil && len(r.root.CTLogs()) > 0 }

// material gives it to sigstore-go; a root that is not there trusts nothing.
func (r *TrustedRoot) material() root.TrustedMaterial {
	if r == nil {
		return &root.BaseTrustedMaterial{}
	}
	return r.root
}

func checkRoot(doc *trustroot.TrustedRoot) error {
	counts := map[string]int{
		"certificateAuthorities": len(doc.GetCertificateAuthorities()), "timestampAuthorities": len(doc.GetTimestampAuthorities()),
		"tlogs": len(doc.GetTlogs()), "ctlogs": len(doc.GetCtlogs()),
	}
	total := 0
	for name, n := range counts {
		if total += n; n > limits.TrustedRootEntries {
			return fmt.Errorf("%s: %d entries are too many (at most %d)", name, n, limits.TrustedRootEntries)
		}
	}
	if total == 0 {
		return errors.New("it trusts nothing")
	}
	for i, a := range doc.GetCertificateAuthorities() {
		if err := checkAuthority(a, x509.ExtKeyUsageCodeSigning); err != nil {
			return fmt.Errorf("certificateAuthorities[%d]: %w", i, err)
		}
	}
	for i, a := range doc.GetTimestampAuthorities() {
		if err := checkAuthority(a, x509.ExtKeyUsageTimeStamping); err != nil {
			return fmt.Errorf("timestampAuthorities[%d]: %w", i, err)
		}
	}
	seen := map[string]bool{}
	for _, log := range append(doc.GetTlogs(), doc.GetCtlogs()...) {
		if log.GetPublicKey().GetValidFor().GetStart() == nil {
			return fmt.Errorf("log %.100q: the key has no time from which it counts", log.GetBaseUrl())
		}
		if err := checkRange(log.GetPublicKey().GetValidFor()); err != nil {
			return fmt.Errorf("log %.100q: %w", log.GetBaseUrl(), err)
		}
	}
	for _, logs := range [][]*trustroot.TransparencyLogInstance{doc.GetTlogs(), doc.GetCtlogs()} {
		clear(seen)
		for _, log := range logs {
			// A second key under the same id would silently take the first one's place.
			id := string(log.GetLogId().GetKeyId())
			if id == "" || seen[id] {
				return fmt.Errorf("log %.100q: its id is missing or another's", log.GetBaseUrl())
			}
			seen[id] = true
		}
	}
	return nil
}

func checkAuthority(a *trustroot.CertificateAuthority, use x509.ExtKeyUsage) error {
	if a.GetValidFor().GetStart() == nil {
		return errors.New("no time from which it counts (validFor.start)")
	}
	if err := checkRange(a.GetValidFor()); err != nil {
		return err
	}
	list := a.GetCertChain().GetCertificates()
	if n := len(list); n == 0 || n > limits.TrustedRootChain {
		return fmt.Errorf("%d certificates in the chain (1 to %d)", n, limits.TrustedRootChain)
	}
	var below *x509.Certificate
	for i, raw := range list {
		if len(raw.GetRawBytes()) > limits.CertificateBytes {
			return fmt.Errorf("certificate %d is too long", i)
		}
		c, err := x509.ParseCertificate(raw.GetRawBytes())
		if err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
		if below != nil {
			if err := below.CheckSignatureFrom(c); err != nil {
				return fmt.Errorf("certificate %d is not signed by certificate %d: %w", i-1, i, err)
			}
		}
		leaf := use == x509.ExtKeyUsageTimeStamping && i == 0 && len(list) > 1
		if !c.IsCA && !leaf {
			return fmt.Errorf("certificate %d is not an authority's", i)
		}
		below = c
	}
	if !bytes.Equal(below.RawIssuer, below.RawSubject) {
		return errors.New("the chain does not end with a root")
	}
	return nil
}

func checkRange(r *common.TimeRange) error {
	if r.GetStart() != nil && !r.GetStart().IsValid() || r.GetEnd() != nil && !r.GetEnd().IsValid() {
		return errors.New("validFor is not a time")
	}
	if r.GetEnd() != nil && r.GetEnd().AsTime().Before(r.GetStart().AsTime()) {
		return errors.New("validFor ends before it starts")
	}
	return nil
}

// protoJSON reads protobuf-JSON without unknown members.
func protoJSON() protojson.UnmarshalOptions { return protojson.UnmarshalOptions{RecursionLimit: 32} }
