package signing

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cabincrew/action/internal/limits"
)

// materialDoc is what a bundle says about who signed and when: exactly one of a
// key's name and a certificate, time stamps of RFC 3161, and entries of
// transparency logs. Numbers are text, as in protobuf-JSON; a zero is left out.
type materialDoc struct {
	PublicKey   *hintDoc       `json:"publicKey,omitempty"`
	Certificate *rawDoc        `json:"certificate,omitempty"`
	LogEntries  []logEntryDoc  `json:"tlogEntries,omitempty"`
	Timestamps  *timestampsDoc `json:"timestampVerificationData,omitempty"`
}

type hintDoc struct {
	Hint string `json:"hint"`
}

type rawDoc struct {
	RawBytes string `json:"rawBytes"`
}

type timestampsDoc struct {
	RFC3161 []timestampDoc `json:"rfc3161Timestamps"`
}

type timestampDoc struct {
	Signed string `json:"signedTimestamp"`
}

type logEntryDoc struct {
	Index          string    `json:"logIndex,omitempty"`
	LogID          logIDDoc  `json:"logId"`
	Kind           kindDoc   `json:"kindVersion"`
	IntegratedTime string    `json:"integratedTime,omitempty"`
	Promise        *setDoc   `json:"inclusionPromise,omitempty"`
	Proof          *proofDoc `json:"inclusionProof,omitempty"`
	Body           string    `json:"canonicalizedBody"`
}

type logIDDoc struct {
	KeyID string `json:"keyId"`
}

type kindDoc struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

type setDoc struct {
	Signed string `json:"signedEntryTimestamp"`
}

type proofDoc struct {
	Index      string        `json:"logIndex,omitempty"`
	RootHash   string        `json:"rootHash"`
	TreeSize   string        `json:"treeSize"`
	Hashes     []string      `json:"hashes,omitempty"`
	Checkpoint checkpointDoc `json:"checkpoint"`
}

type checkpointDoc struct {
	Envelope string `json:"envelope"`
}

// read checks the form of the material and puts it into parts.
func (m *materialDoc) read(parts *bundleParts) error {
	switch {
	case (m.PublicKey == nil) == (m.Certificate == nil):
		return errors.New("not exactly one of publicKey and certificate")
	case m.PublicKey != nil:
		parts.hint = m.PublicKey.Hint
	default:
		der, err := strictBase64("certificate", m.Certificate.RawBytes, limits.CertificateBytes)
		if err != nil {
			return err
		}
		parts.certificate = der
	}
	if m.Timestamps != nil {
		if n := len(m.Timestamps.RFC3161); n == 0 || n > limits.BundleTimestamps {
			return fmt.Errorf("%d time stamps (1 to %d, or no timestampVerificationData)", n, limits.BundleTimestamps)
		}
		for _, t := range m.Timestamps.RFC3161 {
			if _, err := strictBase64("signedTimestamp", t.Signed, limits.TimestampBytes); err != nil {
				return err
			}
		}
		parts.timestamps = len(m.Timestamps.RFC3161)
	}
	if n := len(m.LogEntries); n > limits.BundleLogEntries {
		return fmt.Errorf("%d log entries (at most %d)", n, limits.BundleLogEntries)
	}
	for i := range m.LogEntries {
		if err := m.LogEntries[i].check(); err != nil {
			return fmt.Errorf("tlogEntries[%d]: %w", i, err)
		}
	}
	parts.logEntries = len(m.LogEntries)
	return nil
}

func (e *logEntryDoc) check() error {
	numbers := map[string]string{"logIndex": e.Index, "integratedTime": e.IntegratedTime}
	blobs := map[string]string{"keyId": e.LogID.KeyID, "canonicalizedBody": e.Body}
	if e.Promise != nil {
		blobs["signedEntryTimestamp"] = e.Promise.Signed
	}
	if p := e.Proof; p != nil {
		numbers["inclusionProof.logIndex"], numbers["treeSize"] = p.Index, p.TreeSize
		blobs["rootHash"] = p.RootHash
		if n := len(p.Hashes); n > limits.LogProofHashes {
			return fmt.Errorf("%d hashes (at most %d)", n, limits.LogProofHashes)
		}
		for i, h := range p.Hashes {
			blobs["hashes["+strconv.Itoa(i)+"]"] = h
		}
		if len(p.Checkpoint.Envelope) > limits.LogEntryBytes {
			return errors.New("the checkpoint is too long")
		}
	}
	for name, text := range numbers {
		if n, err := strconv.ParseInt(text, 10, 64); text != "" && (err != nil || n <= 0 || strconv.FormatInt(n, 10) != text) {
			return fmt.Errorf("%s is not a decimal number above 0 (a zero is left out)", name)
		}
	}
	for name, text := range blobs {
		if _, err := strictBase64(name, text, limits.LogEntryBytes); err != nil {
			return err
		}
	}
	return nil
}
