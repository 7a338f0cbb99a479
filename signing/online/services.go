package online

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// The public instances of Sigstore, which publish what they see for good.
const (
	publicDomain    = "sigstore.dev"
	publicFulcio    = "https://fulcio.sigstore.dev"
	publicTimestamp = "https://timestamp.sigstore.dev/api/v1/timestamp"
)

// Names of the configuration's keys, for errors.
const (
	keyFulcio    = "signing.fulcio_url"
	keyTimestamp = "signing.timestamp_url"
	keyRekor     = "signing.rekor_url"
	keyPublic    = "signing.public"
)

// Services are what signing needs besides a key.
type Services struct {
	// Fulcio is the URL of the authority that issues certificates.
	Fulcio string
	// Timestamp is the URL, with its path, of a time stamping authority (RFC 3161).
	Timestamp string
	// Rekor is the URL of a transparency log (Rekor v2); empty: none.
	Rekor string
	// Public allows the public instances of Sigstore, and takes their Fulcio and
	// time stamping authority where none is named. Whoever looks sees then that,
	// when and by which workflow something was signed.
	Public bool
	// Transport carries all requests; nil is a direct one without a proxy.
	Transport http.RoundTripper
	// Trust is what new bundles are verified by before they leave, if it has a
	// Root. Without identities the one that signed is accepted, whoever it is.
	Trust signing.Trust
}

// checked reads the URLs.
func (s Services) checked(certificates bool) (Services, error) {
	if s.Public && certificates {
		if s.Fulcio == "" {
			s.Fulcio = publicFulcio
		}
		if s.Timestamp == "" {
			s.Timestamp = publicTimestamp
		}
	}
	s.Transport = direct(s.Transport)
	for _, service := range []struct {
		key, text string
		needed    bool
	}{{keyFulcio, s.Fulcio, certificates}, {keyTimestamp, s.Timestamp, certificates}, {keyRekor, s.Rekor, false}} {
		if service.text == "" {
			if service.needed {
				return s, configError("signing without a key needs %s", service.key).
					WithHint("set %s; for the public instances of Sigstore, which publish what they see, set %s: true", service.key, keyPublic)
			}
			continue
		}
		u, err := serviceURL(service.key, service.text)
		if err != nil {
			return s, err
		}
		if !s.Public && public(u) {
			return s, configError("%s is a public instance, which publishes what it sees", service.key).
				WithHint("if that is wanted, set %s: true", keyPublic)
		}
	}
	s.Fulcio, s.Rekor = strings.TrimSuffix(s.Fulcio, "/"), strings.TrimSuffix(s.Rekor, "/")
	return s, nil
}

func public(u *url.URL) bool {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	return host == publicDomain || strings.HasSuffix(host, "."+publicDomain)
}

// attest has the services attest a signature: it adds a time stamp and a log entry
// to a new bundle of a key or of a certificate.
func (s Services) attest(ctx context.Context, b *protobundle.Bundle, who *pem.Block) error {
	if s.Timestamp != "" {
		stamp, err := s.timestamp(ctx, b.GetDsseEnvelope().GetSignatures()[0].GetSig())
		if err != nil {
			return err
		}
		b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*common.RFC3161SignedTimestamp{{SignedTimestamp: stamp}},
		}
	}
	if s.Rekor == "" {
		return nil
	}
	return s.addEntry(ctx, b, who)
}

// timestamp asks for a time stamp over a signature, and checks that it is one.
func (s Services) timestamp(ctx context.Context, signature []byte) ([]byte, error) {
	c := call{service: "the time stamping authority (" + s.Timestamp + ")"}
	sum := sha256.Sum256(signature)
	request := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Certificates: true}
	body, err := request.Marshal()
	if err != nil {
		return nil, c.failed(ctx, refuses("the request cannot be made"))
	}
	answer, err := c.post(ctx, s.Transport, s.Timestamp, "application/timestamp-query", body, nil)
	if err != nil {
		return nil, err
	}
	stamp, err := timestamp.ParseResponse(answer)
	if err != nil { // which can quote it
		return nil, c.failed(ctx, refuses("its answer is no time stamp"))
	}
	if stamp.HashAlgorithm != crypto.SHA256 || !bytes.Equal(stamp.HashedMessage, sum[:]) {
		return nil, c.failed(ctx, refuses("its time stamp is about something else"))
	}
	return answer, nil
}

// finish brings a new bundle into its one form and verifies it.
func (s Services) finish(b *protobundle.Bundle, verify func(bundle []byte) error) ([]byte, error) {
	raw, err := protojson.Marshal(b)
	if err != nil {
		return nil, notSigned(err)
	}
	bundle, err := signing.Normalize(raw)
	if err != nil {
		return nil, notSigned(err)
	}
	if s.Trust.Root == nil {
		return bundle, nil
	}
	if err := verify(bundle); err != nil {
		return nil, notSigned(err)
	}
	return bundle, nil
}

// notSigned keeps a bundle here that would be refused elsewhere. Of why, it tells the
// code only: the text could quote a certificate, which is what a service has sent.
func notSigned(err error) error {
	why := "it cannot be put together"
	var known *protocol.Error
	if errors.As(err, &known) {
		why = known.Code
	}
	var fact interface{ Fact() string } // our own word for what differs
	if errors.As(err, &fact) {
		why += ", the " + fact.Fact() + " is another"
	}
	return protocol.Errorf(protocol.ExitFailure, signing.CodeSignFailed, "the new signature does not verify: %s", why).
		WithHint("the services must be those of signing.trusted_root, and the identity one of signing.trusted.identities; docs/errors.md explains the code")
}

// Key is a key whose signatures have a time stamp, and a log entry if wanted.
type Key struct {
	services Services
	key      signing.Signer
}

var _ signing.Signer = (*Key)(nil)

// NewKey adds the services to a key.
func NewKey(key signing.Signer, s Services) (*Key, error) {
	s, err := s.checked(false)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Timestamp == "" && s.Rekor == "":
		return nil, configError("no service is named").WithHint("set %s", keyTimestamp)
	case key.Public() == nil:
		return nil, configError("this signer has no key of its own").WithHint("name the services where it is made")
	case s.Rekor != "" && key.Public().Type() != signing.ECDSAP256:
		return nil, configError("%s takes no signatures of %s keys", keyRekor, key.Public().Type()).WithHint("use an ECDSA P-256 key")
	}
	return &Key{s, key}, nil
}

// Public gives the key that verifies.
func (k *Key) Public() *signing.PublicKey { return k.key.Public() }

// Describe names the key.
func (k *Key) Describe() string { return k.key.Describe() }

// Sign signs with the key and has the services attest it.
func (k *Key) Sign(ctx context.Context, statement []byte) ([]byte, error) {
	ctx, cancel := bounds(ctx)
	defer cancel()
	bundle, err := k.key.Sign(ctx, statement)
	if err != nil {
		return nil, err
	}
	var b protobundle.Bundle
	if err := protojson.Unmarshal(bundle, &b); err != nil {
		return nil, notSigned(err)
	}
	block, _ := pem.Decode(k.Public().PEM())
	if err := k.services.attest(ctx, &b, block); err != nil {
		return nil, err
	}
	return k.services.finish(&b, func(bundle []byte) error {
		trust := k.services.Trust
		trust.Keys, trust.RequireTimestamp = []signing.TrustedKey{{Key: k.Public()}}, k.services.Timestamp != ""
		v, err := trust.Verify(bundle, time.Time{})
		if err == nil && v.KeyFingerprint != k.Public().Fingerprint() {
			err = fmt.Errorf("signed by key %s", v.KeyFingerprint)
		}
		return err
	})
}
