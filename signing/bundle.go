package signing

import (
	"bytes"
	"context"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// BundleMediaType is the one version of Sigstore bundles that is written and read.
const BundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// bundleDoc is all that a bundle may say: the protobuf-JSON form of a Sigstore
// bundle, restricted to what verification uses. Anything further (key ids, chains
// of certificates) would be bytes that nothing vouches for.
type bundleDoc struct {
	MediaType string       `json:"mediaType"`
	Material  materialDoc  `json:"verificationMaterial"`
	Envelope  dsseEnvelope `json:"dsseEnvelope"`
}

type dsseEnvelope struct {
	Payload     string         `json:"payload"`
	PayloadType string         `json:"payloadType"`
	Signatures  []signatureDoc `json:"signatures"`
}

type signatureDoc struct {
	Sig string `json:"sig"`
}

// Sign signs a statement (of NewApproval, NewFlightPlan or NewTakeOff) and gives
// the Sigstore bundle v0.3 in JCS form. Nothing but the signature differs from
// one call to the next. The bundle has been verified again when it is given back.
func Sign(ctx context.Context, key *Key, statement []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := CheckStatement(statement); err != nil {
		return nil, err
	}
	sig, err := key.signPAE(ctx, statement)
	if err != nil {
		var known *protocol.Error
		if errors.As(err, &known) {
			return nil, err // a key service has its own
		}
		return nil, protocol.Errorf(protocol.ExitFailure, CodeSignFailed, "the key does not sign: %w", err)
	}
	bundle, err := protocol.Canonical(bundleDoc{
		MediaType: BundleMediaType,
		Material:  materialDoc{PublicKey: &hintDoc{Hint: key.pub.hint()}},
		Envelope: dsseEnvelope{
			Payload:     base64.StdEncoding.EncodeToString(statement),
			PayloadType: PayloadType,
			Signatures:  []signatureDoc{{Sig: base64.StdEncoding.EncodeToString(sig)}},
		},
	})
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, CodeSignFailed, "the bundle cannot be written: %w", err)
	}
	// A faulty signature must never leave this place: it would surface only at
	// take-off, after people have done their part.
	parts, err := parseBundle(bundle)
	if err == nil {
		_, err = verifyWithKey(bundle, parts, key.pub, nil)
	}
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, CodeSignFailed, "the new signature does not verify: %w", err)
	}
	return bundle, nil
}

func signable(statement []byte) error {
	if _, err := parseStatement(statement); err != nil {
		return err
	}
	return protocol.CheckCanonical(statement)
}

// bundleParts is what a well-formed bundle holds, nothing of it verified.
type bundleParts struct {
	hint        string // of a key; empty where there is a certificate
	certificate []byte // DER; nil where there is a key
	timestamps  int
	logEntries  int
	payload     []byte
	signature   []byte
}

// parseBundle reads a bundle in the one form that Sign writes. Comparing the
// whole document with its own canonical form leaves no byte that could be
// changed without changing a value.
func parseBundle(data []byte) (*bundleParts, error) {
	if len(data) > limits.BundleBytes {
		return nil, malformed(fmt.Errorf("%d bytes are too many (at most %d)", len(data), limits.BundleBytes))
	}
	var doc bundleDoc
	exact, err := protocol.DecodeExact(data, &doc)
	if err != nil {
		return nil, malformed(err)
	}
	again := data
	if !exact {
		if again, err = protocol.Canonical(doc); err != nil {
			return nil, malformed(err)
		}
	}
	if doc.MediaType != BundleMediaType {
		return nil, malformed(fmt.Errorf("mediaType is %.100q, not %q", doc.MediaType, BundleMediaType))
	}
	if doc.Envelope.PayloadType != PayloadType {
		return nil, malformed(fmt.Errorf("payloadType is %.100q, not %q", doc.Envelope.PayloadType, PayloadType))
	}
	if n := len(doc.Envelope.Signatures); n != 1 {
		return nil, malformed(fmt.Errorf("%d signatures, not exactly one", n))
	}
	if !bytes.Equal(again, data) {
		return nil, malformed(fmt.Errorf("not in canonical form (RFC 8785), or a member is missing (%s)", firstDifference(again, data)))
	}
	parts := &bundleParts{}
	if err := doc.Material.read(parts); err != nil {
		return nil, malformed(err)
	}
	if parts.payload, err = strictBase64("payload", doc.Envelope.Payload, limits.StatementBytes); err != nil {
		return nil, malformed(err)
	}
	if parts.signature, err = strictBase64("signature", doc.Envelope.Signatures[0].Sig, limits.SignatureBytes); err != nil {
		return nil, malformed(err)
	}
	return parts, nil
}

// strictBase64 decodes text that has no second spelling: encoding/base64 alone
// would skip line breaks and, unless Strict, unused bits.
func strictBase64(name, text string, limit int) ([]byte, error) {
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	// Each byte that was skipped makes the text longer than it need be.
	if base64.StdEncoding.EncodedLen(len(data)) != len(text) {
		return nil, fmt.Errorf("%s is not in strict base64", name)
	}
	if len(data) == 0 || len(data) > limit {
		return nil, fmt.Errorf("%s has %d bytes (1 to %d)", name, len(data), limit)
	}
	return data, nil
}

// strictSignature refuses second spellings of an ECDSA signature: sigstore also
// takes r and s side by side, with any number of leading zeros.
func strictSignature(typ KeyType, sig []byte) error {
	if typ != ECDSAP256 {
		return nil // ed25519 has one form, which crypto/ed25519 checks
	}
	var rs struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(sig, &rs)
	if err != nil {
		return fmt.Errorf("the signature is not in DER form: %w", err)
	}
	again, err := asn1.Marshal(rs)
	if err != nil || len(rest) != 0 || !bytes.Equal(again, sig) {
		return fmt.Errorf("the signature is not in DER form")
	}
	return nil
}

func malformed(err error) error {
	return protocol.Errorf(protocol.ExitIntegrity, CodeBundleMalformed, "not a Sigstore bundle as CabinCrew writes it: %w", clipped(err)).
		WithHint("%s", hintReplace)
}
