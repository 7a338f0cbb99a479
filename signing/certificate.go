package signing

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	fulcio "github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/cabincrew/action/internal/limits"
)

// Certificate is what a certificate of Fulcio says about who signed. A fact that
// it does not state is empty.
type Certificate struct {
	Issuer                string // who issued the identity token
	SAN                   string // the subject alternative name: a URI or an email address
	Email                 bool   // the SAN is an email address
	BuildSignerURI        string // the workflow that signed, with @ref
	BuildSignerDigest     string // the commit of that workflow
	RunnerEnvironment     string // github-hosted, gitlab-hosted or self-hosted
	SourceRepositoryURI   string
	SourceRepositoryID    string
	SourceRepositoryRef   string
	SourceDigest          string // the commit that was built
	OwnerURI              string // of the source repository
	OwnerID               string
	BuildConfigURI        string // the workflow that was started, with @ref
	BuildConfigDigest     string
	BuildTrigger          string // the event
	RunInvocationURI      string
	Visibility            string // of the source repository when it signed
	DeploymentEnvironment string
	Subject               string // of the identity token
	NotBefore, NotAfter   time.Time
}

// fields says where each extension of Fulcio (1.3.6.1.4.1.57264.1.n) goes.
func (c *Certificate) fields() map[int]*string {
	return map[int]*string{
		9: &c.BuildSignerURI, 10: &c.BuildSignerDigest, 11: &c.RunnerEnvironment, 12: &c.SourceRepositoryURI,
		13: &c.SourceDigest, 14: &c.SourceRepositoryRef, 15: &c.SourceRepositoryID, 16: &c.OwnerURI, 17: &c.OwnerID,
		18: &c.BuildConfigURI, 19: &c.BuildConfigDigest, 20: &c.BuildTrigger, 21: &c.RunInvocationURI,
		22: &c.Visibility, 23: &c.DeploymentEnvironment, 24: &c.Subject,
	}
}

// Extensions of Fulcio by their last number.
const (
	fulcioIssuerRaw = 1 // the issuer's bytes, an older form of:
	fulcioIssuer    = 8
)

// isCI says whether the certificate is of a job and not of a person.
func (c *Certificate) isCI() bool {
	return c.BuildSignerURI != "" || c.SourceRepositoryID != "" || c.BuildTrigger != "" || c.RunnerEnvironment != ""
}

// readCertificate reads the facts of a certificate strictly. They count only once
// the chain is verified.
func readCertificate(der []byte) (*Certificate, *x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(leaf.Raw, der) {
		return nil, nil, errors.New("bytes after the certificate")
	}
	c := &Certificate{NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	switch n := len(leaf.URIs) + len(leaf.EmailAddresses) + len(leaf.DNSNames) + len(leaf.IPAddresses); {
	case n != 1 || len(leaf.URIs)+len(leaf.EmailAddresses) != 1:
		return nil, nil, errors.New("not exactly one subject alternative name that is a URI or an email address")
	case len(leaf.URIs) == 1:
		c.SAN = leaf.URIs[0].String()
	default:
		c.SAN, c.Email = leaf.EmailAddresses[0], true
	}
	if err := c.readExtensions(leaf); err != nil {
		return nil, nil, err
	}
	if err := plainFact("subject alternative name", c.SAN); err != nil {
		return nil, nil, err
	}
	return c, leaf, nil
}

func (c *Certificate) readExtensions(leaf *x509.Certificate) error {
	base, fields := fulcio.OIDIssuerV2[:len(fulcio.OIDIssuerV2)-1], c.fields()
	older := ""
	for _, e := range leaf.Extensions {
		if len(e.Id) != len(base)+1 || !slices.Equal(e.Id[:len(base)], base) {
			continue
		}
		n := e.Id[len(base)]
		if n == fulcioIssuerRaw {
			older = string(e.Value)
			continue
		}
		to := fields[n]
		if n == fulcioIssuer {
			to = &c.Issuer
		}
		if to == nil {
			continue // older names of the same facts, and what is not known yet
		}
		if err := utf8String(e.Value, to); err != nil {
			return fmt.Errorf("extension 1.3.6.1.4.1.57264.1.%d: %w", n, err)
		}
	}
	if c.Issuer == "" {
		c.Issuer = older
	}
	if older != "" && older != c.Issuer {
		return errors.New("the certificate names two issuers")
	}
	if c.Issuer == "" {
		return errors.New("the certificate names no issuer")
	}
	return plainFact("issuer", c.Issuer)
}

// utf8String reads a DER UTF8String that has no second spelling.
func utf8String(der []byte, to *string) error {
	var text string
	rest, err := asn1.UnmarshalWithParams(der, &text, "utf8")
	if err != nil {
		return err
	}
	again, err := asn1.MarshalWithParams(text, "utf8")
	if err != nil || len(rest) != 0 || !bytes.Equal(again, der) {
		return errors.New("not a UTF8String in DER form")
	}
	*to = text
	return plainFact("value", text)
}

// plainFact refuses text that could look like another one on a screen or in a log.
func plainFact(name, text string) error {
	if len(text) > limits.CertificateFactBytes {
		return fmt.Errorf("the %s has %d bytes (at most %d)", name, len(text), limits.CertificateFactBytes)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("the %s is not UTF-8", name)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the %s has a character that does not print (%U)", name, r)
		}
	}
	return nil
}
