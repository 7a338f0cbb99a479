package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// KeyType is the kind of a signing key.
type KeyType string

// The kinds of keys that sign and verify. ECDSAP256 is the default.
const (
	ECDSAP256 KeyType = "ecdsa-p256"
	Ed25519   KeyType = "ed25519"
)

const pemPublic = "PUBLIC KEY"

// PublicKey is a key that statements can be verified with.
type PublicKey struct {
	key  crypto.PublicKey
	typ  KeyType
	spki []byte
	sum  [sha256.Size]byte
}

// ParsePublic reads a public key in PEM form ("PUBLIC KEY", PKIX): exactly one
// block without headers and nothing around it but white space. ECDSA keys on
// P-256 and ed25519 keys are accepted.
func ParsePublic(data []byte) (*PublicKey, error) {
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	if block.Type != pemPublic {
		return nil, keyError("a %q block is not a public key", block.Type).
			WithHint("give the .pub file: a PEM block of type %q", pemPublic)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, keyError("the public key does not parse: %w", err).WithHint("%s", hintGenerate)
	}
	pub, err := newPublicKey(key)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(pub.spki, block.Bytes) {
		return nil, keyError("the public key is not in DER form").WithHint("%s", hintGenerate)
	}
	return pub, nil
}

// Fingerprint names the key: the SHA-256 of its SubjectPublicKeyInfo in DER form,
// as "sha256:" and hex.
func (p *PublicKey) Fingerprint() string { return protocol.FormatDigest(p.sum[:]) }

// Type gives the kind of the key.
func (p *PublicKey) Type() KeyType { return p.typ }

// PEM gives the form that ParsePublic reads.
func (p *PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: p.spki})
}

// String gives the fingerprint.
func (p *PublicKey) String() string { return p.Fingerprint() }

// hint is the name of the key in a bundle, as cosign writes it.
func (p *PublicKey) hint() string { return base64.StdEncoding.EncodeToString(p.sum[:]) }

func newPublicKey(key crypto.PublicKey) (*PublicKey, error) {
	pub := &PublicKey{key: key}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, keyError("ECDSA keys on %s are not accepted", k.Params().Name).WithHint("%s", hintGenerate)
		}
		pub.typ = ECDSAP256
	case ed25519.PublicKey:
		pub.typ = Ed25519
	default:
		return nil, keyError("keys of type %s are not accepted", keyName(key)).WithHint("%s", hintGenerate)
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, keyError("the public key cannot be written: %w", err)
	}
	pub.spki = spki
	pub.sum = sha256.Sum256(spki)
	return pub, nil
}

// keyName names a key's type as people do, not by its Go path.
func keyName(key any) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprintf("%T", key), "*"), ".")
	return name
}

const hintGenerate = "use an ECDSA P-256 or ed25519 key, as `cabincrew keys generate` makes them"

// keyError makes an error about a key file; these are a person's own files.
func keyError(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, CodeKeyMalformed, format, args...)
}

// onlyBlock reads the one PEM block that data must be. Text before, after or
// inside it would be invisible to the reader and yet part of a file that people
// compare by its digest, so it is refused.
func onlyBlock(data []byte) (*pem.Block, error) {
	if len(data) > limits.KeyFileBytes {
		return nil, keyError("a key of %d bytes is too large (at most %d)", len(data), limits.KeyFileBytes).
			WithHint("name the key file itself")
	}
	text := bytes.TrimSpace(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")))
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, keyError("not a key in PEM form").WithHint("%s", hintGenerate)
	}
	if len(block.Headers) != 0 || !bytes.Equal(bytes.TrimSpace(pem.EncodeToMemory(block)), text) {
		return nil, keyError("a key file must be exactly one PEM block in its usual form, with nothing around it").
			WithHint("take out other blocks, headers and text")
	}
	return block, nil
}
