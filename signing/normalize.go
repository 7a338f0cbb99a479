package signing

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	rekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// foreignMediaType is how some tools spell BundleMediaType.
const foreignMediaType = "application/vnd.dev.sigstore.bundle+json;version=0.3"

// Normalize brings a Sigstore bundle v0.3 that another tool wrote, such as cosign
// or npm sigstore, into the one form that Verify reads. Nothing is verified here,
// and nothing is dropped that verification would look at: what goes
// is key ids of the envelope, texts beside a time stamp's status, and times of log
// entries that no promise signs; besides, the spelling of base64, white space and
// the order of members change.
func Normalize(foreign []byte) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, protocol.Errorf(protocol.ExitIntegrity, CodeBundleMalformed,
			"not a Sigstore bundle v0.3 of one signed statement: %w", clipped(err)).WithHint("%s", hintReplace)
	}
	if len(foreign) > limits.BundleBytes {
		return fail(fmt.Errorf("%d bytes are too many (at most %d)", len(foreign), limits.BundleBytes))
	}
	// First the bounds and the one meaning: no member twice, not too deep.
	if _, err := protocol.DecodeAny(foreign); err != nil {
		return fail(err)
	}
	var b protobundle.Bundle
	if err := protoJSON().Unmarshal(foreign, &b); err != nil {
		return fail(err)
	}
	doc, err := normalized(&b)
	if err != nil {
		return fail(err)
	}
	out, err := protocol.Canonical(doc)
	if err != nil {
		return fail(err)
	}
	if _, err := parseBundle(out); err != nil {
		return nil, err
	}
	return out, nil
}

func normalized(b *protobundle.Bundle) (*bundleDoc, error) {
	if m := b.GetMediaType(); m != BundleMediaType && m != foreignMediaType {
		return nil, fmt.Errorf("mediaType is %.100q, not %q", m, BundleMediaType)
	}
	e := b.GetDsseEnvelope()
	if e == nil {
		return nil, errors.New("no DSSE envelope: a signature over bare bytes is no statement")
	}
	doc := &bundleDoc{MediaType: BundleMediaType, Envelope: dsseEnvelope{Payload: b64(e.GetPayload()), PayloadType: e.GetPayloadType()}}
	if n := len(e.GetSignatures()); n != 1 {
		return nil, fmt.Errorf("%d signatures, not exactly one", n)
	}
	doc.Envelope.Signatures = []signatureDoc{{Sig: b64(e.GetSignatures()[0].GetSig())}}
	m := b.GetVerificationMaterial()
	switch {
	case m.GetCertificate() != nil:
		doc.Material.Certificate = &rawDoc{b64(m.GetCertificate().GetRawBytes())}
	case m.GetPublicKey() != nil:
		doc.Material.PublicKey = &hintDoc{m.GetPublicKey().GetHint()}
	default:
		return nil, errors.New("neither a certificate nor the name of a public key")
	}
	if list := m.GetTimestampVerificationData().GetRfc3161Timestamps(); len(list) > 0 {
		doc.Material.Timestamps = &timestampsDoc{}
		for _, t := range list {
			stamp, err := plainStamp(t.GetSignedTimestamp())
			if err != nil {
				return nil, err
			}
			doc.Material.Timestamps.RFC3161 = append(doc.Material.Timestamps.RFC3161, timestampDoc{b64(stamp)})
		}
	}
	for _, entry := range m.GetTlogEntries() {
		doc.Material.LogEntries = append(doc.Material.LogEntries, normalizedEntry(entry))
	}
	return doc, nil
}

func normalizedEntry(e *rekor.TransparencyLogEntry) logEntryDoc {
	doc := logEntryDoc{
		Index: decimal(e.GetLogIndex()), LogID: logIDDoc{b64(e.GetLogId().GetKeyId())},
		Kind: kindDoc{e.GetKindVersion().GetKind(), e.GetKindVersion().GetVersion()}, Body: b64(e.GetCanonicalizedBody()),
	}
	if s := e.GetInclusionPromise().GetSignedEntryTimestamp(); len(s) > 0 {
		doc.Promise, doc.IntegratedTime = &setDoc{b64(s)}, decimal(e.GetIntegratedTime())
	}
	if p := e.GetInclusionProof(); p != nil {
		doc.Proof = &proofDoc{
			Index: decimal(p.GetLogIndex()), RootHash: b64(p.GetRootHash()), TreeSize: decimal(p.GetTreeSize()),
			Checkpoint: checkpointDoc{p.GetCheckpoint().GetEnvelope()},
		}
		for _, h := range p.GetHashes() {
			doc.Proof.Hashes = append(doc.Proof.Hashes, b64(h))
		}
	}
	return doc
}

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func decimal(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
