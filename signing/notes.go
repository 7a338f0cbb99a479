package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	notes "github.com/transparency-dev/formats/note"
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

// algECDSA is the type byte of ECDSA with SHA-256 in a note's verifier key. Such a
// key's hash is of its PKIX form, without the name.
const algECDSA = 2

// NoteVerifier gives the key as one that verifies notes which a name signed.
func (p *PublicKey) NoteVerifier(name string) (note.Verifier, error) {
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsSpace) || strings.Contains(name, "+") {
		return nil, keyError("%q is no name of a signer: one word without +", name)
	}
	var text string
	var err error
	switch key := p.key.(type) {
	case ed25519.PublicKey:
		if text, err = note.NewEd25519VerifierKey(name, key); err == nil {
			var v note.Verifier
			if v, err = note.NewVerifier(text); err == nil {
				return v, nil
			}
		}
	case *ecdsa.PublicKey:
		text = fmt.Sprintf("%s+%08x+%s", name, binary.BigEndian.Uint32(p.sum[:]), base64.StdEncoding.EncodeToString(append([]byte{algECDSA}, p.spki...)))
		var v note.Verifier
		if v, err = notes.NewECDSAVerifier(text); err == nil {
			return v, nil
		}
	default:
		err = fmt.Errorf("keys of type %T sign no notes", key)
	}
	return nil, keyError("the key cannot sign or verify notes as %q: %w", name, err).WithHint("%s", hintGenerate)
}
