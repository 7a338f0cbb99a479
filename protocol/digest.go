package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
	"unicode/utf8"
)

// The kinds of hashes of this project; each has a domain line of its own.
// SPEC: docs/protocol.md 3.
const (
	KindArtifact     = "artifact"
	KindWorkspace    = "workspace"
	KindPolicies     = "policies"
	KindGovernance   = "governance"
	KindConfig       = "config"
	KindEngine       = "engine"
	KindPlanToken    = "plan-token"
	KindFlightToken  = "flight-token"
	KindIntent       = "intent"
	KindApproval     = "approval"
	KindApprovalCode = "approval-code"
	KindPayload      = "payload"
	KindWAL          = "wal"
	KindAuditEvent   = "audit-event"
	KindAuditChain   = "audit-chain"
)

const digestPrefix = "sha256:"

// NewHash starts the hash H(kind, …): SHA-256 over the domain line
// "cabincrew/<kind>/v1" and a newline, then what is written to it.
func NewHash(kind string) hash.Hash {
	h := sha256.New()
	_, _ = h.Write([]byte("cabincrew/" + kind + "/v1\n")) // a hash never fails
	return h
}

// H gives H(kind, content) in digest form.
func H(kind string, content []byte) string {
	var space [1 << 10]byte // most content is small, and there is much of it
	b := append(append(append(space[:0], "cabincrew/"...), kind...), "/v1\n"...)
	sum := sha256.Sum256(append(b, content...))
	return FormatDigest(sum[:])
}

// HCanonical gives H(kind, JCS(v)).
func HCanonical(kind string, v any) (string, error) {
	b, err := Canonical(v)
	if err != nil {
		return "", err
	}
	return H(kind, b), nil
}

// Digest gives the plain SHA-256 of bytes, with no domain line.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return FormatDigest(sum[:])
}

// FormatDigest writes a SHA-256 sum as "sha256:" and lower-case hex.
func FormatDigest(sum []byte) string {
	var text [len(digestPrefix) + 2*sha256.Size]byte
	return string(hex.AppendEncode(append(text[:0], digestPrefix...), sum))
}

// ParseDigest checks that s is "sha256:" and 64 lower-case hex digits and gives the hex.
func ParseDigest(s string) (string, error) {
	h, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || !isHex(h) {
		return "", fmt.Errorf("%q is not a digest (sha256: and 64 lower-case hex digits)", s)
	}
	return h, nil
}

// NormalDigest accepts "sha256:<hex>" or bare hex, as receipts may write it, and
// gives the form with prefix. SPEC: docs/protocol.md 2.
func NormalDigest(s string) (string, error) {
	h := strings.TrimPrefix(s, digestPrefix)
	if !isHex(h) {
		return "", fmt.Errorf("%q is not a SHA-256 digest (64 lower-case hex digits, with or without sha256:)", s)
	}
	return digestPrefix + h, nil
}

func isHex(h string) bool {
	if len(h) != 2*sha256.Size {
		return false
	}
	for i := range len(h) {
		if c := h[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// FileRecord is one file in a hash over a set of files: a letter ('f' file, 'x'
// file with the owner's execute bit, 'l' symbolic link), the digest of its bytes
// or link target, and its slash path.
type FileRecord struct {
	Letter byte
	Digest string // "sha256:" and hex
	Path   string
}

// HashRecords gives H(kind, records): per file, sorted by path bytes, its
// letter, space, hex digest, space, path, NUL. SPEC: docs/protocol.md 3.
func HashRecords(kind string, files []FileRecord) (string, error) {
	byPath := func(a, b FileRecord) int { return strings.Compare(a.Path, b.Path) }
	sorted := files
	if !slices.IsSortedFunc(files, byPath) {
		sorted = slices.SortedFunc(slices.Values(files), byPath)
	}
	var record []byte
	h := NewHash(kind)
	for i, f := range sorted {
		hexDigest, err := ParseDigest(f.Digest)
		if err != nil {
			return "", fmt.Errorf("%s: %w", f.Path, err)
		}
		if f.Letter != 'f' && f.Letter != 'x' && f.Letter != 'l' {
			return "", fmt.Errorf("%s: unknown letter %q", f.Path, f.Letter)
		}
		if f.Path == "" || !utf8.ValidString(f.Path) || strings.ContainsRune(f.Path, 0) {
			return "", fmt.Errorf("path %q is empty, not UTF-8 or has a NUL", f.Path)
		}
		if i > 0 && sorted[i-1].Path == f.Path {
			return "", fmt.Errorf("path %q is there twice", f.Path)
		}
		record = append(record[:0], f.Letter, ' ')
		record = append(append(record, hexDigest...), ' ')
		record = append(append(record, f.Path...), 0)
		_, _ = h.Write(record) // a hash never fails
	}
	return FormatDigest(h.Sum(nil)), nil
}
