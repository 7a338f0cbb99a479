package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/cabincrew/action/protocol"
)

const (
	pemPrivate         = string(cryptoutils.PrivateKeyPEMType)
	pemEncrypted       = string(cryptoutils.EncryptedSigstorePrivateKeyPEMType)
	pemEncryptedCosign = "ENCRYPTED COSIGN PRIVATE KEY" // what cosign wrote before 2.0
	p256ScalarBytes    = 32
	p256Tries          = 64 // a draw is out of range once in 2^32; so many in a row mean a broken source
)

// Key is a private key that signs statements. Printing it shows its fingerprint only.
type Key struct {
	signer signature.Signer
	pub    *PublicKey
}

// Public gives the key that verifies what this key signs.
func (k *Key) Public() *PublicKey { return k.pub }

// String gives the fingerprint; a private key must never get into a log.
func (k *Key) String() string { return "private key " + k.pub.Fingerprint() }

// GoString is String, for the %#v verb.
func (k *Key) GoString() string { return k.String() }

// signPAE signs a payload in DSSE's pre-authentication encoding.
func (k *Key) signPAE(ctx context.Context, payload []byte) ([]byte, error) {
	return k.signer.SignMessage(bytes.NewReader(dsse.PAE(PayloadType, payload)), options.WithContext(ctx))
}

// Generate makes a key pair of a type (ECDSAP256 if empty). With a passphrase the
// private key has sigstore's "ENCRYPTED SIGSTORE PRIVATE KEY" form (scrypt and
// NaCl secretbox), which cosign reads; without (nil) it is a plain PKCS#8
// "PRIVATE KEY". The public key has the PKIX form. All are PEM.
//
// The key is drawn from rand, crypto/rand.Reader if nil. Salt and nonce of the
// encryption always come from crypto/rand.
func Generate(typ KeyType, passphrase []byte, rand io.Reader) (private, public []byte, err error) {
	if passphrase != nil && len(passphrase) == 0 {
		return nil, nil, protocol.Errorf(protocol.ExitUsage, CodeKeyPassphrase, "the passphrase is empty").
			WithHint("give a passphrase, or say --no-passphrase for a key that is not encrypted")
	}
	if rand == nil {
		rand = cryptorand.Reader
	}
	signer, err := draw(typ, rand)
	if err != nil {
		return nil, nil, err
	}
	pub, err := newPublicKey(signer.Public())
	if err != nil {
		return nil, nil, err
	}
	private, err = encodePrivate(signer, passphrase)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.ExitFailure, CodeKeyGenerate, "the private key cannot be written: %w", err)
	}
	return private, pub.PEM(), nil
}

func draw(typ KeyType, rand io.Reader) (crypto.Signer, error) {
	fail := func(err error) error {
		return protocol.Errorf(protocol.ExitFailure, CodeKeyGenerate, "no random bytes for a key: %w", err)
	}
	switch typ {
	case Ed25519:
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(rand, seed); err != nil {
			return nil, fail(err)
		}
		return ed25519.NewKeyFromSeed(seed), nil
	case ECDSAP256, "":
		// ecdsa.GenerateKey ignores its reader since Go 1.26; rejection sampling
		// (FIPS 186-5 A.2.2) keeps the injected one.
		scalar := make([]byte, p256ScalarBytes)
		for range p256Tries {
			if _, err := io.ReadFull(rand, scalar); err != nil {
				return nil, fail(err)
			}
			if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar); err == nil {
				return key, nil
			}
		}
		return nil, fail(errors.New("the random source gives no number in range"))
	default:
		return nil, protocol.Errorf(protocol.ExitUsage, CodeKeyGenerate, "no such key type: %q", typ).
			WithHint("use %s or %s", ECDSAP256, Ed25519)
	}
}

func encodePrivate(signer crypto.Signer, passphrase []byte) ([]byte, error) {
	if passphrase == nil {
		return cryptoutils.MarshalPrivateKeyToPEM(signer)
	}
	sealed, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(signer, cryptoutils.StaticPasswordFunc(passphrase))
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemEncrypted, Bytes: sealed}), nil
}

// LoadPrivate reads a private key: what Generate writes, or an encrypted key of
// cosign. The passphrase is asked for only if the key is encrypted; a nil
// function means that there is none.
func LoadPrivate(data []byte, passphrase func() ([]byte, error)) (*Key, error) {
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	var key crypto.PrivateKey
	switch block.Type {
	case pemPrivate:
		key, err = cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), nil)
		if err != nil {
			return nil, keyError("the private key does not parse: %w", err).WithHint("%s", hintGenerate)
		}
	case pemEncrypted, pemEncryptedCosign:
		if key, err = decrypt(block, passphrase); err != nil {
			return nil, err
		}
	default:
		return nil, keyError("a %q block is not a private key that can be read", block.Type).
			WithHint("give a key of `cabincrew keys generate` or `cosign generate-key-pair`, " +
				"or convert it with `openssl pkcs8 -topk8 -nocrypt`")
	}
	return newKey(key)
}

func decrypt(block *pem.Block, passphrase func() ([]byte, error)) (crypto.PrivateKey, error) {
	if passphrase == nil {
		return nil, protocol.Errorf(protocol.ExitUsage, CodeKeyPassphrase, "the private key is encrypted and there is no passphrase").
			WithHint("set CABINCREW_KEY_PASSPHRASE, or run it on a terminal")
	}
	if !json.Valid(block.Bytes) {
		return nil, keyError("the encrypted private key is damaged").WithHint("restore the file from a copy")
	}
	pass, err := passphrase()
	if err != nil {
		var known *protocol.Error
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, protocol.Errorf(protocol.ExitUsage, CodeKeyPassphrase, "the passphrase cannot be read: %w", err).
			WithHint("set CABINCREW_KEY_PASSPHRASE, or run it on a terminal")
	}
	if pass == nil {
		pass = []byte{} // nil would make the library take the sealed bytes for the key
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), cryptoutils.StaticPasswordFunc(pass))
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUsage, CodeKeyPassphrase, "the private key does not open with this passphrase: %w", err).
			WithHint("check CABINCREW_KEY_PASSPHRASE; if the passphrase is right, the file is damaged")
	}
	return key, nil
}

func newKey(key crypto.PrivateKey) (*Key, error) {
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, keyError("keys of type %s cannot sign", keyName(key)).WithHint("%s", hintGenerate)
	}
	pub, err := newPublicKey(s.Public())
	if err != nil {
		return nil, err
	}
	signer, err := signature.LoadSigner(key, crypto.SHA256)
	if err != nil {
		return nil, keyError("the private key cannot sign: %w", err).WithHint("%s", hintGenerate)
	}
	return &Key{signer: signer, pub: pub}, nil
}
