package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"

	"github.com/cabincrew/action/protocol"
)

// SignEvent signs an audit event in JCS form without its signature. No statement and
// no note begins as an event does, so none can be taken for one.
// SPEC: docs/protocol.md 11
func (k *Key) SignEvent(event []byte) ([]byte, error) {
	if len(event) == 0 || event[0] != '{' {
		return nil, protocol.Errorf(protocol.ExitFailure, CodeSignFailed, "what is to be signed is no event")
	}
	return k.signer.SignMessage(bytes.NewReader(event))
}

var errEventSignature = errors.New("it is not that of this key over this event")

// VerifyEvent checks the signature of an event.
func (p *PublicKey) VerifyEvent(event, signature []byte) error {
	if err := strictSignature(p.typ, signature); err != nil {
		return err
	}
	holds := false
	switch key := p.key.(type) {
	case ed25519.PublicKey:
		holds = ed25519.Verify(key, event, signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(event)
		holds = ecdsa.VerifyASN1(key, sum[:], signature)
	}
	if !holds {
		return errEventSignature
	}
	return nil
}
