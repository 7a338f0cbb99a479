package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// NoteSigner gives the key as one that signs notes (C2SP signed-note) under a name,
// as checkpoints of the audit log are.
func (k *Key) NoteSigner(name string) (note.Signer, error) {
	v, err := k.pub.NoteVerifier(name)
	if err != nil {
		return nil, err
	}
	return noteSigner{k, v}, nil
}

type noteSigner struct {
	key *Key
	as  note.Verifier
}

func (s noteSigner) Name() string    { return s.as.Name() }
func (s noteSigner) KeyHash() uint32 { return s.as.KeyHash() }

func (s noteSigner) Sign(text []byte) ([]byte, error) {
	return s.key.signer.SignMessage(bytes.NewReader(text))
}

// NoteVerifier gives the key as one that verifies notes which a name signed.
func (p *PublicKey) NoteVerifier(name string) (note.Verifier, error) {
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsSpace) || strings.Contains(name, "+") {
		return nil, keyError("%q is no name of a signer: one word without +", name)
	}
	switch key := p.key.(type) {
	case ed25519.PublicKey:
		text, err := note.NewEd25519VerifierKey(name, key)
		if err != nil {
			return nil, keyError("the key verifies no notes: %w", err)
		}
		return note.NewVerifier(text)
	case *ecdsa.PublicKey:
		// C2SP signed-note, type 2: the hash is of the key's PKIX form, without the name.
		return ecdsaNotes{name: name, hash: binary.BigEndian.Uint32(p.sum[:]), key: key}, nil
	}
	return nil, keyError("keys of type %T sign no notes", p.key).WithHint("%s", hintGenerate)
}

// ecdsaNotes verifies notes with ECDSA over SHA-256, which x/mod does not know.
type ecdsaNotes struct {
	name string
	hash uint32
	key  *ecdsa.PublicKey
}

func (v ecdsaNotes) Name() string    { return v.name }
func (v ecdsaNotes) KeyHash() uint32 { return v.hash }

func (v ecdsaNotes) Verify(text, sig []byte) bool {
	sum := sha256.Sum256(text)
	return ecdsa.VerifyASN1(v.key, sum[:], sig)
}
