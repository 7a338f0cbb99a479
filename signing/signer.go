package signing

import (
	"bytes"
	"context"
	"crypto"
	"io"

	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cabincrew/action/protocol"
)

// Signer signs statements: a Key, a key in a service (signing/kms), or a
// certificate made for the occasion (signing/online).
type Signer interface {
	// Sign gives the bundle of a statement (of NewApproval, NewFlightPlan or
	// NewTakeOff), verified again.
	Sign(ctx context.Context, statement []byte) ([]byte, error)
	// Public gives the key that verifies; nil where each signature has its own.
	Public() *PublicKey
	// Describe names the signer for people. It holds nothing secret.
	Describe() string
}

var _ Signer = (*Key)(nil)

// Sign is the package's Sign with this key.
func (k *Key) Sign(ctx context.Context, statement []byte) ([]byte, error) {
	return Sign(ctx, k, statement)
}

// Describe names the key by its fingerprint.
func (k *Key) Describe() string { return "key " + k.pub.Fingerprint() }

// NewRemoteKey makes a Key of a private key that something else holds. The sign
// function gets a whole message and gives an ECDSA signature over its SHA-256 in
// DER form, or an ed25519 signature.
func NewRemoteKey(public crypto.PublicKey, sign func(ctx context.Context, message []byte) ([]byte, error)) (*Key, error) {
	pub, err := newPublicKey(public)
	if err != nil {
		return nil, err
	}
	return &Key{signer: remote{public, sign}, pub: pub}, nil
}

// remote is a signature.Signer of sigstore.
type remote struct {
	public crypto.PublicKey
	sign   func(ctx context.Context, message []byte) ([]byte, error)
}

func (r remote) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return r.public, nil
}

func (r remote) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	ctx := context.Background()
	for _, o := range opts {
		o.ApplyContext(&ctx)
	}
	var data bytes.Buffer
	if _, err := data.ReadFrom(message); err != nil {
		return nil, err
	}
	return r.sign(ctx, data.Bytes())
}

// CheckStatement says whether a statement is one that may be signed.
func CheckStatement(statement []byte) error {
	if err := signable(statement); err != nil {
		return statementError(protocol.ExitFailure, "in-toto Statement v1", err)
	}
	return nil
}
