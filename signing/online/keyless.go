package online

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"slices"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/signing"
)

const pemCertificate = "CERTIFICATE"

// Keyless signs with a key that lives for one signature and a certificate about
// the identity of the job.
type Keyless struct {
	services Services
	tokens   TokenSource
}

var _ signing.Signer = (*Keyless)(nil)

// NewKeyless makes a signer for the identity that the tokens of the source tell.
func NewKeyless(tokens TokenSource, s Services) (*Keyless, error) {
	s, err := s.checked(true)
	if err != nil {
		return nil, err
	}
	if tokens == nil {
		return nil, tokenError("signing without a key needs an identity token")
	}
	return &Keyless{s, tokens}, nil
}

// Public gives nil: each signature has a key of its own.
func (*Keyless) Public() *signing.PublicKey { return nil }

// Describe names whose identity signs, and who certifies it.
func (k *Keyless) Describe() string {
	return k.tokens.Describe() + ", certified by " + k.services.Fulcio
}

// Sign gets a certificate and a time stamp and gives the bundle.
func (k *Keyless) Sign(ctx context.Context, statement []byte) ([]byte, error) {
	if err := signing.CheckStatement(statement); err != nil {
		return nil, err
	}
	ctx, cancel := bounds(ctx)
	defer cancel()
	token, err := k.tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, notSigned(err)
	}
	// The certificate comes first: where it is refused, nothing has been signed.
	der, err := k.certificate(ctx, private, token)
	if err != nil {
		return nil, err
	}
	key, err := signing.NewRemoteKey(&private.PublicKey, func(_ context.Context, message []byte) ([]byte, error) {
		sum := sha256.Sum256(message)
		return ecdsa.SignASN1(rand.Reader, private, sum[:])
	})
	if err != nil {
		return nil, notSigned(err)
	}
	bundle, err := key.Sign(ctx, statement)
	if err != nil {
		return nil, err
	}
	var b protobundle.Bundle
	if err := protojson.Unmarshal(bundle, &b); err != nil {
		return nil, notSigned(err)
	}
	b.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &common.X509Certificate{RawBytes: der}}
	if err := k.services.attest(ctx, &b, &pem.Block{Type: pemCertificate, Bytes: der}); err != nil {
		return nil, err
	}
	return k.services.finish(&b, func(bundle []byte) error {
		if len(k.services.Trust.Identities) == 0 {
			_, err := k.services.Trust.InsecureVerifyAnyIdentity(bundle, time.Time{})
			return err
		}
		_, err := k.services.Trust.Verify(bundle, time.Time{})
		return err
	})
}

// certificateRequest is the request of Fulcio's API v2 to sign a certificate.
type certificateRequest struct {
	PublicKeyRequest struct {
		PublicKey struct {
			Algorithm string `json:"algorithm"`
			Content   string `json:"content"`
		} `json:"publicKey"`
		ProofOfPossession []byte `json:"proofOfPossession"`
	} `json:"publicKeyRequest"`
}

// certificateChain is a chain in PEM form, in either of the places where Fulcio
// puts it.
type certificateChain struct {
	Chain struct {
		Certificates []string `json:"certificates"`
	} `json:"chain"`
}

// certificate asks Fulcio, and checks that the answer is about our key.
func (k *Keyless) certificate(ctx context.Context, private *ecdsa.PrivateKey, token Token) ([]byte, error) {
	c := call{"Fulcio (" + k.services.Fulcio + ")"}
	body, err := requestCertificate(private, token)
	if err != nil {
		return nil, err
	}
	answer, err := c.post(ctx, k.services.Transport, k.services.Fulcio+"/api/v2/signingCert", jsonType, body,
		http.Header{"Authorization": {"Bearer " + token.text()}})
	if err != nil {
		return nil, err
	}
	var chains struct {
		Embedded certificateChain `json:"signedCertificateEmbeddedSct"`
		Detached certificateChain `json:"signedCertificateDetachedSct"`
	}
	if err := json.Unmarshal(answer, &chains); err != nil {
		return nil, c.failed(ctx, refuses("its answer is no chain of certificates"))
	}
	list := slices.Concat(chains.Embedded.Chain.Certificates, chains.Detached.Chain.Certificates)
	if len(list) == 0 {
		return nil, c.failed(ctx, refuses("it answers without a certificate"))
	}
	block, _ := pem.Decode([]byte(list[0]))
	if block == nil || block.Type != pemCertificate {
		return nil, c.failed(ctx, refuses("its certificate is not in PEM form"))
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil { // which can quote it
		return nil, c.failed(ctx, refuses("its certificate cannot be read"))
	}
	if !private.PublicKey.Equal(leaf.PublicKey) {
		return nil, c.failed(ctx, refuses("its certificate is about another key"))
	}
	return block.Bytes, nil
}

func requestCertificate(private *ecdsa.PrivateKey, token Token) ([]byte, error) {
	subject, err := token.subject()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(subject))
	proof, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
	if err != nil {
		return nil, notSigned(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, notSigned(err)
	}
	var request certificateRequest
	request.PublicKeyRequest.PublicKey.Algorithm = "ECDSA"
	request.PublicKeyRequest.PublicKey.Content = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	request.PublicKeyRequest.ProofOfPossession = proof
	return json.Marshal(request)
}

func bounds(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, limits.SignerTimeout)
}
