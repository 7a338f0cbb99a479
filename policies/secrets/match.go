package secrets

import (
	"encoding/hex"
	"strconv"

	"github.com/cabincrew/action/protocol"
)

// Rules that are not gitleaks'.
const (
	// RuleValue found the value of a secret that the flight maps.
	RuleValue = "value"
	// RuleUnjudged says that something could not be looked through.
	RuleUnjudged = "unjudged"
	// RuleDelta found a binary file that is given as a difference to one that is not at
	// hand: a secret may be put together of both.
	RuleDelta = "delta-unread"
)

// Parts of a step that are looked through, as matches name them.
const (
	PartAdded    = "added"    // added lines of a patch, with the lines around them
	PartDeleted  = "deleted"  // deleted lines of a patch; for mapped values only
	PartBinary   = "binary"   // content of a binary file in a patch
	PartPath     = "path"     // the name of a file
	PartBody     = "body"     // the body of an artifact
	PartMetadata = "metadata" // everything else that describes an artifact
	PartReceipt  = "receipt"  // what the engine reported
	PartContext  = "context"  // the context of the plan
	PartRequest  = "request"  // what the engine asked of the network

	PartIsolation = "isolation" // what held the engine, and what it tried
)

// Match is a place where a secret stands. It never holds the secret.
type Match struct {
	// Rule is the id that gitleaks gives the rule, or RuleValue.
	Rule string
	// Secret is the name of the mapped secret; for RuleValue only.
	Secret string
	// Fingerprint is the same wherever a rule finds the same secret, see Fingerprint.
	// It is empty for RuleValue, whose short values could be guessed from it.
	Fingerprint string
	// File is the path of the file of a patch, or the name of what was looked through.
	File string
	// Part says where it stands, such as PartAdded.
	Part string
	// Line and Column count from 1, the column in bytes; 0 where there are none.
	Line, Column int64
	// Encoding names the encodings around it, the outermost first, such as
	// "base64>hex"; empty for plain text.
	Encoding string
	// Entropy is Shannon's in bits for each character, with two decimals; empty for
	// RuleValue.
	Entropy string

	description string
}

// fingerprintBytes is how much of the hash is kept: enough that nobody finds a
// second secret for a known fingerprint.
const fingerprintBytes = 12

// Fingerprint gives the short name of a secret: the first 24 hex digits of the
// SHA-256 of the line "cabincrew/secret/v1", a line with the rule's id, and the
// secret's bytes. It is not keyed, so that a baseline holds on every machine; a
// secret that can be guessed can be checked against it, as against the artifact
// that it stands in.
func Fingerprint(rule, secret string) string {
	h := protocol.NewHash("secret")
	_, _ = h.Write([]byte(rule + "\n" + secret)) // a hash never fails
	return hex.EncodeToString(h.Sum(nil)[:fingerprintBytes])
}

// place describes where a match stands, for people.
func (m *Match) place() string {
	out := m.File
	if m.Line > 0 {
		out += ":" + strconv.FormatInt(m.Line, 10) + ":" + strconv.FormatInt(m.Column, 10)
	}
	switch m.Part {
	case PartAdded, PartBody:
	default:
		out += " (" + m.Part + ")"
	}
	if m.Encoding != "" {
		out += ", in " + m.Encoding
	}
	return out
}
