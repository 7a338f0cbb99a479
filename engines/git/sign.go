package git

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Parts of OpenSSH's signature format (PROTOCOL.sshsig), as "git verify-commit" reads it.
const (
	sshsigMagic     = "SSHSIG"
	sshsigVersion   = 1
	sshsigNamespace = "git"
	sshsigHash      = "sha512"
	sshsigBegin     = "-----BEGIN SSH SIGNATURE-----"
	sshsigEnd       = "-----END SSH SIGNATURE-----"
	sshsigLine      = 70
)

// signedData is what the key signs.
type signedData struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// signature is what stands in the commit.
type signature struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// signer gives the key that signs, or nil where nothing is to be signed.
func (s *settings) signer(r *kit.Run) (ssh.Signer, error) {
	text, there := r.Secret(secretSigningKey)
	switch {
	case s.sign != nil && !*s.sign, s.sign == nil && !there:
		return nil, nil //nolint:nilnil // no key is a result
	case !there || text == "":
		return nil, protocol.Errorf(protocol.ExitUsage, "git_signing_key", "\"sign: true\" is set, but there is no secret %s", secretSigningKey).
			WithHint("map it in the step: secrets: {%s: {from: …, plan: true}}; the signature is part of the commit, so it is made in flight-plan", secretSigningKey)
	}
	return parseKey(secretSigningKey, text)
}

// parseKey reads a private key. The error never holds any of it.
func parseKey(name, text string) (ssh.Signer, error) {
	bad := func(why, hint string) error {
		return protocol.Errorf(protocol.ExitUsage, "git_key_invalid", "the secret %s %s", name, why).WithHint("%s", hint)
	}
	if strings.Contains(text, "BEGIN PGP") {
		return nil, bad("is an OpenPGP key", "use an OpenSSH key: ssh-keygen -t ed25519")
	}
	// A secret store may have cut the last newline, which the format needs.
	key, err := ssh.ParsePrivateKey([]byte(strings.TrimSpace(text) + "\n"))
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return nil, bad("is locked with a passphrase", "use a key of its own for this, without a passphrase: ssh-keygen -t ed25519 -N ''")
	}
	if err != nil {
		return nil, bad("is no private key in OpenSSH's or PEM form", "it begins with -----BEGIN OPENSSH PRIVATE KEY-----; keep its line breaks")
	}
	if key.PublicKey().Type() == "ssh-dss" {
		return nil, bad("is a DSA key", "use ssh-keygen -t ed25519")
	}
	return key, nil
}

// signCommit gives the armoured signature of a commit without signature.
func signCommit(key ssh.Signer, content []byte) (string, error) {
	digest := sha512.Sum512(content)
	data := append([]byte(sshsigMagic), ssh.Marshal(signedData{sshsigNamespace, "", sshsigHash, digest[:]})...)
	signed, err := signData(key, data)
	if err != nil {
		return "", protocol.Errorf(protocol.ExitFailure, "git_signing_failed", "the commit cannot be signed: %w", err)
	}
	blob := append([]byte(sshsigMagic), ssh.Marshal(signature{
		sshsigVersion, key.PublicKey().Marshal(), sshsigNamespace, "", sshsigHash, ssh.Marshal(signed),
	})...)
	var b strings.Builder
	b.WriteString(sshsigBegin + "\n")
	for text := base64.StdEncoding.EncodeToString(blob); text != ""; {
		n := min(len(text), sshsigLine)
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString(sshsigEnd)
	return b.String(), nil
}

// signData signs without randomness: the commit id must be the same in each
// planning. Without it ECDSA signs as RFC 6979 says; Ed25519 and RSA (PKCS #1)
// need none.
func signData(key ssh.Signer, data []byte) (*ssh.Signature, error) {
	algorithms, ok := key.(ssh.AlgorithmSigner)
	if !ok {
		return key.Sign(rand.Reader, data)
	}
	algorithm := key.PublicKey().Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512 // SHA-1 is what the type alone means
	}
	return algorithms.SignWithAlgorithm(nil, data, algorithm)
}

// readSignature reads an armoured signature.
func readSignature(armoured string) (*signature, ssh.PublicKey, error) {
	block, rest := pem.Decode([]byte(armoured + "\n"))
	if block == nil || block.Type != "SSH SIGNATURE" || len(bytes.TrimSpace(rest)) != 0 || len(block.Bytes) > limits.GitCommitBytes {
		return nil, nil, errors.New("it is no SSH signature")
	}
	body, ok := bytes.CutPrefix(block.Bytes, []byte(sshsigMagic))
	var sig signature
	if !ok || ssh.Unmarshal(body, &sig) != nil || sig.Version != sshsigVersion {
		return nil, nil, errors.New("it is malformed")
	}
	key, err := ssh.ParsePublicKey(sig.PublicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("its key is malformed: %w", err)
	}
	return &sig, key, nil
}

func signatureFingerprint(armoured string) (string, error) {
	_, key, err := readSignature(armoured)
	if err != nil {
		return "", fmt.Errorf("the signature: %w", err)
	}
	return key.Type() + " " + ssh.FingerprintSHA256(key), nil
}

// checkSignature makes sure that the signature of a commit is one of the key in
// it. Whose key that is, is for those who read the evidence.
func (s *settings) checkSignature(p *proven) error {
	armoured := p.commit.signature
	if armoured == "" {
		if s.sign != nil && *s.sign {
			return errors.New("the commit is not signed, as the configuration asks for")
		}
		return nil
	}
	if s.sign != nil && !*s.sign {
		return errors.New("the commit is signed, which the configuration forbids")
	}
	sig, key, err := readSignature(armoured)
	if err != nil {
		return fmt.Errorf("the signature: %w", err)
	}
	if sig.Namespace != sshsigNamespace || sig.Reserved != "" || sig.Hash != sshsigHash {
		return errors.New("the signature is not one over a commit")
	}
	var raw ssh.Signature
	if err := ssh.Unmarshal(sig.Signature, &raw); err != nil {
		return errors.New("the signature is malformed")
	}
	digest := sha512.Sum512(s.encodeCommit(p.commit.tree, p.bundle.parent, p.when, ""))
	data := append([]byte(sshsigMagic), ssh.Marshal(signedData{sshsigNamespace, "", sshsigHash, digest[:]})...)
	if err := key.Verify(data, &raw); err != nil {
		return errors.New("the signature does not fit the commit")
	}
	return nil
}
