package signingtest

import (
	"crypto"
	"encoding/json"

	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekorpb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
)

// LogEntry takes a request of Rekor v2 into a log of its own, as the first entry,
// and gives the answer.
func (a *Authority) LogEntry(body []byte) []byte {
	var request rekorpb.CreateEntryRequest
	a.must(protojson.Unmarshal(body, &request))
	r := request.GetHashedRekordRequestV002()
	raw, err := protojson.Marshal(&rekorpb.Entry{ApiVersion: "0.0.2", Kind: "hashedrekord", Spec: &rekorpb.Spec{
		Spec: &rekorpb.Spec_HashedRekordV002{HashedRekordV002: &rekorpb.HashedRekordLogEntryV002{
			Data: &common.HashOutput{Algorithm: common.HashAlgorithm_SHA2_256, Digest: r.GetDigest()}, Signature: r.GetSignature(),
		}},
	}})
	a.must(err)
	var tree any
	a.must(json.Unmarshal(raw, &tree))
	entry, err := json.Marshal(tree) // sorted, and without what JCS writes in another way
	a.must(err)
	hash := rfc6962.DefaultHasher.HashLeaf(entry)
	sv, err := signature.LoadECDSASignerVerifier(a.logKey, crypto.SHA256)
	a.must(err)
	signer, err := rekornote.NewNoteSigner(a.t.Context(), a.LogOrigin, sv)
	a.must(err)
	checkpoint, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: a.LogOrigin, Size: 1, Hash: hash}.Marshal())}, signer)
	a.must(err)
	out, err := protojson.Marshal(&rekorv1.TransparencyLogEntry{
		LogId: &common.LogId{KeyId: a.logID()}, KindVersion: &rekorv1.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		InclusionProof: &rekorv1.InclusionProof{
			TreeSize: 1, RootHash: hash, Checkpoint: &rekorv1.Checkpoint{Envelope: string(checkpoint)},
		},
		CanonicalizedBody: entry,
	})
	a.must(err)
	return out
}
