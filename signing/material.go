package signing

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
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
			stamp, err := strictBase64("signedTimestamp", t.Signed, limits.TimestampBytes)
			if err != nil {
				return err
			}
			if again, err := plainStamp(stamp); err != nil || !bytes.Equal(again, stamp) {
				return errors.New("signedTimestamp is not a granted time stamp of RFC 3161 without a text")
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
	if (e.IntegratedTime == "") != (e.Promise == nil) {
		return errors.New("integratedTime without the promise that signs it, or the other way round")
	}
	if e.Proof == nil {
		return errors.New("no inclusionProof")
	}
	numbers := map[string]string{"logIndex": e.Index, "integratedTime": e.IntegratedTime}
	blobs := map[string]string{"keyId": e.LogID.KeyID, "canonicalizedBody": e.Body}
	if e.Promise != nil {
		blobs["signedEntryTimestamp"] = e.Promise.Signed
	}
	p := e.Proof
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
	if err := e.checkUnsigned(); err != nil {
		return err
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

// checkUnsigned compares what an entry repeats beside its body and its checkpoint:
// the libraries look at those only, and nobody at the repetition.
func (e *logEntryDoc) checkUnsigned() error {
	const (
		fields  = 4 // origin, size, root, and what follows
		rekorV2 = "0.0.2"
	)
	lines := strings.SplitN(e.Proof.Checkpoint.Envelope, "\n", fields)
	if len(lines) != fields || lines[1] != e.Proof.TreeSize || lines[2] != e.Proof.RootHash {
		return errors.New("treeSize or rootHash is not the checkpoint's")
	}
	if e.Kind.Kind == "hashedrekord" && e.Kind.Version == rekorV2 && e.Proof.Index != e.Index {
		return errors.New("the two indexes differ")
	}
	body, err := strictBase64("canonicalizedBody", e.Body, limits.LogEntryBytes)
	if err != nil {
		return err
	}
	tree, err := protocol.DecodeAny(body)
	if err != nil {
		return fmt.Errorf("canonicalizedBody: %w", err)
	}
	if m, ok := tree.(map[string]any); !ok || m["kind"] != e.Kind.Kind || m["apiVersion"] != e.Kind.Version {
		return errors.New("kindVersion is not the body's")
	}
	return nil
}
