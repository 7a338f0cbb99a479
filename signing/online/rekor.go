package online

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net/http"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekorpb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"
)

// addEntry has a log of Rekor v2 take a bundle's signature in, and puts the proof
// into the bundle. The log learns a hash of the statement, not the statement.
func (s Services) addEntry(ctx context.Context, b *protobundle.Bundle, who *pem.Block) error {
	envelope := b.GetDsseEnvelope()
	verifier := &rekorpb.Verifier{
		KeyDetails: common.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
		Verifier:   &rekorpb.Verifier_PublicKey{PublicKey: &rekorpb.PublicKey{RawBytes: who.Bytes}},
	}
	if who.Type == pemCertificate {
		verifier.Verifier = &rekorpb.Verifier_X509Certificate{X509Certificate: &common.X509Certificate{RawBytes: who.Bytes}}
	}
	sum := sha256.Sum256(dsse.PAE(envelope.GetPayloadType(), envelope.GetPayload()))
	body, err := protojson.Marshal(&rekorpb.CreateEntryRequest{
		Spec: &rekorpb.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: &rekorpb.HashedRekordRequestV002{
			Digest: sum[:], Signature: &rekorpb.Signature{Content: envelope.GetSignatures()[0].GetSig(), Verifier: verifier},
		}},
	})
	if err != nil {
		return err
	}
	c := call{service: "the transparency log (" + s.Rekor + ")"}
	answer, err := c.post(ctx, s.Transport, s.Rekor+"/api/v2/log/entries", jsonType, body, nil)
	if err != nil {
		return err
	}
	var entry rekorv1.TransparencyLogEntry
	if err := protojson.Unmarshal(answer, &entry); err != nil {
		return c.failed(ctx, refuses("its answer is no log entry"))
	}
	b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, &entry)
	return nil
}

const jsonType = "application/json"

// post sends a body to a service and gives its answer. Any status but 200 and 201
// is an error.
func (c call) post(ctx context.Context, transport http.RoundTripper, url, contentType string, body []byte, header http.Header) ([]byte, error) {
	req, err := newRequest(ctx, url, contentType, body, header)
	if err != nil {
		return nil, c.failed(ctx, refuses("its address is none"))
	}
	status, answer, kind, bad := roundTrip(transport, req)
	if bad == nil && status != http.StatusOK && status != http.StatusCreated {
		bad = &problem{text: fmt.Sprintf("it answers %d%s", status, kind)}
	}
	if bad != nil {
		return nil, c.failed(ctx, bad)
	}
	return answer, nil
}
